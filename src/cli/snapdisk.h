#ifndef HUSK_CLI_SNAPDISK_H
#define HUSK_CLI_SNAPDISK_H

#include <limits.h>

#include "block/qcow2.h"
#include "cli/args.h"

/*
 * A VM's disk as it was in a snapshot, for reading. The VM may run meanwhile:
 * the snapshot is pinned, so that nobody deletes what is read.
 */
struct snapdisk {
    struct qcow2 *q;
    const struct args *a;
    char path[PATH_MAX];
    bool lent; /* a snapshot that was made for this only */
};

/* The snapshot with this id. -ENOENT with err: it is gone. */
MUST_CHECK int snapdisk_open(struct snapdisk *d, const struct args *a,
                             const char *path, const char *id, struct err *err);
/* The disk of a running VM as it is now: the VM lends a snapshot of it. -ENOENT
 * with err: it does not run, or takes no commands. */
MUST_CHECK int snapdisk_borrow(struct snapdisk *d, const struct args *a,
                               const char *path, struct err *err);
void snapdisk_close(struct snapdisk *d);

#endif
