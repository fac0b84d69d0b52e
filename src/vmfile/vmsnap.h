#ifndef HUSK_VMFILE_VMSNAP_H
#define HUSK_VMFILE_VMSNAP_H

#include <jansson.h>

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

/* The list, and the place in it of the one of that name. The caller frees the
 * list, also on an error. */
int vmsnap_list_and_find(struct vmfile *vf, const char *name,
                         struct vmsnap **list, size_t *n, size_t *index,
                         struct err *err);

#endif
