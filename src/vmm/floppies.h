#ifndef HUSK_VMM_FLOPPIES_H
#define HUSK_VMM_FLOPPIES_H

#include "config/vmconf.h"
#include "machine/pc.h"

/* The disks in the floppy drives of a machine: raw images, which are opened and
 * closed here. All on the loop's thread. */
struct floppies {
    struct blk *blk[PC_MAX_FLOPPIES];
    unsigned nr;
};

/*
 * Open all images, or none: -errno with err, -EINVAL if one is of a size that
 * no floppy disk has. One that may not be written is write-protected.
 */
MUST_CHECK int floppies_open(struct floppies *fl, const struct vmconf *conf,
                             struct err *err);
/* After the machine is gone. -errno, which was logged, if what the guest wrote
 * may not be on the host's disk. */
int floppies_close(struct floppies *fl);

#endif
