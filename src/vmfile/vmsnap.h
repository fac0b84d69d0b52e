#ifndef HUSK_VMFILE_VMSNAP_H
#define HUSK_VMFILE_VMSNAP_H

#include <jansson.h>

#include "vmfile/statearea.h"
#include "vmfile/vmfile_int.h"

/* What the functions of snapshots share. */

/* A key of the settings: the id of the snapshot that the disk comes from. */
#define VMSNAP_PARENT "parent"

/* The settings as an object, a new reference; -EUCLEAN with err. */
int vmsnap_read_settings(struct vmfile *vf, json_t **root, struct err *err);
int vmsnap_write_settings(struct vmfile *vf, const json_t *root,
                          struct err *err);

/* The snapshot that the active disk comes from; "" for none. */
int vmsnap_get_parent(struct vmfile *vf, char id[QCOW2_SNAP_ID_MAX + 1],
                      struct err *err);
int vmsnap_set_parent(struct vmfile *vf, const char *id, struct err *err);

/* A snapshot's state area: what goes into it, or what was in it. */
struct vmsnap_state {
    struct statearea area;
    uint8_t head[STATEAREA_HEAD];
    struct qcow2_piece pieces[3]; /* to be written */
    unsigned nr_pieces;           /* 0: it needs none */
    uint64_t bytes;
    char *settings; /* that were in it; NULL: none */
    uint8_t *vars;  /* the firmware's variables; NULL: none */
    size_t vars_len;
    bool damaged; /* not all of what was in it can be read */
};

/* What a new one needs now: these settings (borrowed; NULL: they are elsewhere)
 * and the variables. */
int vmsnap_state_take(struct vmfile *vf, const char *settings,
                      struct vmsnap_state *st, struct err *err);
int vmsnap_state_read(struct vmfile *vf, const struct vmsnap *s,
                      struct vmsnap_state *st, struct err *err);
void vmsnap_state_free(struct vmsnap_state *st);

/* The number that pins a snapshot (vmlock.h). */
uint32_t vmsnap_pin(const char *id);

/* The list, and the place in it of the one of that name. The caller frees the
 * list, also on an error. */
int vmsnap_list_and_find(struct vmfile *vf, const char *name,
                         struct vmsnap **list, size_t *n, size_t *index,
                         struct err *err);

#endif
