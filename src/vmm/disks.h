#ifndef HUSK_VMM_DISKS_H
#define HUSK_VMM_DISKS_H

#include <sys/types.h>

#include "config/vmconf.h"
#include "event/loop.h"
#include "machine/pc.h"
#include "vmm/vmm.h"

/*
 * The disks of a machine: those that the caller of vmm_run brings, then those
 * of --disk, which are opened, locked and closed here. While the machine runs
 * a slow timer looks whether their files are still what they were. All on the
 * loop's thread.
 */
struct disk {
    struct blk *blk;
    bool owned;
    char *path; /* NULL = a throw-away disk */
    char serial[VMCONF_DISK_SERIAL + 1];
    bool ide;
    int fd; /* of our own, for its locks and to look at the file; or -1 */
    bool locked;
    uint64_t seen;       /* its length when it was looked at last */
    const char *problem; /* what happened to the file, or NULL */
};

struct disks {
    struct disk disk[PC_MAX_DISKS];
    struct pc_disk pc[PC_MAX_DISKS]; /* for pc_config */
    unsigned nr;
    struct timer watch;
};

/* Open them all, or none: -errno with err. */
MUST_CHECK int disks_open(struct disks *ds, const struct vmm_config *cfg,
                          struct loop *loop, struct err *err);
/* Flush and close; says what goes wrong. After the machine is gone. -errno if
 * what was written last may be lost. */
int disks_close(struct disks *ds);

/* Look at the files from now on. */
void disks_watch(struct disks *ds);
/* Look once: a disk whose file was replaced, deleted or cut gets a problem,
 * which is said once. */
void disks_look(struct disks *ds);
/* Everything that the guest wrote is on stable storage. -errno with err. */
MUST_CHECK int disks_flush(struct disks *ds, struct err *err);

#endif
