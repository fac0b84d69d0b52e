#ifndef HUSK_VMFILE_VMFILE_H
#define HUSK_VMFILE_VMFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block/qcow2.h"

/*
 * A VM file that is open: its disk, its settings, its lock. docs/vm-file.md
 * has the format.
 *
 * The settings are a text here (JSON, config/settings.h); they live in
 * slots.h's slots. They may be changed while another process runs the VM: a
 * lock of their own, held for the moment of the change, keeps writers apart,
 * and readers need none. Everything else is for who holds the VM's lock.
 */
struct vmfile;

enum {
    /* Take the VM's lock and open its disk for writing. Without it: read only,
     * beside whoever runs the VM. */
    VMFILE_WRITE = 1 << 0,
    /* Settings only: the disk is not opened, vmfile_qcow2 is NULL. With
     * VMFILE_WRITE: settings may be changed, and the VM's lock is not taken. */
    VMFILE_SETTINGS = 1 << 1,
    /* An image without settings will do: vmfile_has_settings tells. */
    VMFILE_PLAIN = 1 << 2,
    /* As QCOW2_FOR_CHECK. */
    VMFILE_CHECK = 1 << 3,
    /* As BLK_DIRECT. */
    VMFILE_DIRECT = 1 << 4,
    /* As QCOW2_NO_BACKING. */
    VMFILE_NO_BACKING = 1 << 5
};

/*
 * Open the VM at path; doing (the verb) goes into the owner record. -ENOENT: no
 * such file, or (without VMFILE_PLAIN) no VM; -EBUSY with VMFILE_WRITE: another
 * process holds it, and err names it; else as qcow2_open and slots_read.
 */
MUST_CHECK int vmfile_open(const char *path, unsigned flags, const char *doing,
                           struct vmfile **out, struct err *err);
/* Frees vf in any case. -errno if the disk could not be flushed. */
MUST_CHECK int vmfile_close(struct vmfile *vf);

/*
 * Make a VM file with a disk of so many bytes, all zeroes, and these settings.
 * It comes to be under path complete, or not at all; -EEXIST if something is
 * there. Not locked.
 */
MUST_CHECK int vmfile_create(const char *path, uint64_t disk_bytes,
                             const char *settings, size_t len, struct err *err);
/* The same in two steps, so that it can be filled before it is seen: *vf has it
 * open and locked under a name of its own, and vmfile_publish gives it path. A
 * vf that is closed before is gone. */
MUST_CHECK int vmfile_create_hidden(const char *path, uint64_t disk_bytes,
                                    const char *settings, size_t len,
                                    struct vmfile **out, struct err *err);
MUST_CHECK int vmfile_publish(struct vmfile *vf, struct err *err);

/* vf's; the path is that of vmfile_open. */
const char *vmfile_path(const struct vmfile *vf);
int vmfile_fd(const struct vmfile *vf);
struct qcow2 *vmfile_qcow2(const struct vmfile *vf);
bool vmfile_has_settings(const struct vmfile *vf);

/* The VM's other disks, which its snapshots span: q stays the caller's and must
 * live as long as vf. At most VMFILE_MAX_DISKS - 1. A disk that cannot be
 * snapshotted (q is NULL) makes snapshots fail with a sentence that names it.
 * Snapshots of q that vf does not know, for a crash came between, are deleted
 * if husk made them. */
enum { VMFILE_MAX_DISKS = 16 };
MUST_CHECK int vmfile_span(struct vmfile *vf, const char *path, struct qcow2 *q,
                           struct err *err);

/* After vmfile_open with VMFILE_WRITE and vmfile_span, before anything else is
 * done to the disks: finish a restore that was cut short, delete the doomed
 * snapshots that nobody has mapped any more. */
MUST_CHECK int vmfile_recover(struct vmfile *vf, struct err *err);

/* --- Settings ------------------------------------------------------------- */

/* The text as it is in the file now; caller frees. */
MUST_CHECK int vmfile_settings(struct vmfile *vf, char **text, size_t *len,
                               struct err *err);
/* Between these two, nobody else changes the settings. Waits for a few seconds
 * for who does, then -EBUSY. Closing vf ends it, too. */
MUST_CHECK int vmfile_settings_begin(struct vmfile *vf, struct err *err);
void vmfile_settings_end(struct vmfile *vf);
/* Between them. On stable storage when it returns; all or nothing. */
MUST_CHECK int vmfile_settings_write(struct vmfile *vf, const char *text,
                                     size_t len, struct err *err);

/* --- Snapshots ------------------------------------------------------------ */

/*
 * Snapshots of the disk, each with the settings of its moment. Of those whose
 * deletion waits for another process (doomed) nothing is said. All but list
 * need VMFILE_WRITE; they may be called while the guest writes to the disk.
 */
struct vmsnap {
    char *id, *name;
    char *text;       /* what a person said of it; "" if nothing */
    char *settings;   /* of its moment, unless they are in the state area;
                         NULL if it has none (QEMU's) */
    char *parent;     /* id of the one before it; "" if there was none */
    uint64_t created; /* seconds since 1970 */
    uint64_t disk_bytes;
    uint64_t state_bytes; /* of its state area; 0: it has none */
    bool safety;          /* made by husk itself, before a restore */
};

enum { VMSNAP_TEXT_MAX = 400 };

MUST_CHECK int vmsnap_list(struct vmfile *vf, struct vmsnap **list, size_t *n,
                           struct err *err);
void vmsnap_free(struct vmsnap *list, size_t n);
/* The one of this name or else this id; of several with one name, the last.
 * -ENOENT with err. */
MUST_CHECK int vmsnap_find(const struct vmfile *vf, const struct vmsnap *list,
                           size_t n, const char *name, size_t *index,
                           struct err *err);

struct vmsnap_new {
    const char *name; /* NULL: "snap1", "snap2" ... */
    const char *text; /* or NULL */
    bool safety;
};
/* name_out has room for QCOW2_SNAP_NAME_MAX + 1. -EEXIST: the name is taken. */
MUST_CHECK int vmsnap_create(struct vmfile *vf, const struct vmsnap_new *s,
                             char *name_out, struct err *err);
/* Disk, settings and firmware variables become those of the snapshot; but the
 * VM stays itself: name, uuid, network addresses, protection. keep_settings:
 * all but the settings. The guest must not run. */
MUST_CHECK int vmsnap_restore(struct vmfile *vf, const char *name,
                              bool keep_settings, struct err *err);
/* At once, or (returns 1) when the last process that has it mapped ends. */
MUST_CHECK int vmsnap_delete(struct vmfile *vf, const char *name,
                             struct err *err);

/*
 * For who reads the disk while the VM goes on: a snapshot of the main disk that
 * nobody sees, doomed from its beginning. id has room for
 * QCOW2_SNAP_ID_MAX + 1. Who reads pins it (vmsnap_hold), and vmsnap_reap, or
 * the next open for writing, deletes it when nobody does any more.
 */
MUST_CHECK int vmsnap_lend(struct vmfile *vf, char *id, struct err *err);
/* Delete the doomed snapshots that nobody has mapped. */
MUST_CHECK int vmsnap_reap(struct vmfile *vf, struct err *err);
/* Keep the snapshot's clusters as they are until fd, open for reading on the
 * VM's file, is closed. -EBUSY: it is being deleted. */
MUST_CHECK int vmsnap_hold(int fd, const char *id);

#endif
