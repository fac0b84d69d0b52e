#ifndef HUSK_VMM_CDS_H
#define HUSK_VMM_CDS_H

#include "config/vmconf.h"
#include "machine/pc.h"

/*
 * The CD-ROM drives of a machine and the images in them, which are opened and
 * closed here; they can be changed while it runs. All on the loop's thread.
 */
struct cd {
    struct blk *blk; /* NULL = empty */
    char *path;      /* of the image; NULL = empty */
};

struct cds {
    struct cd cd[PC_MAX_CDS];
    unsigned nr;
};

/* Open all images, or none: -errno with err. */
MUST_CHECK int cds_open(struct cds *cds, const struct vmconf *conf,
                        struct err *err);
/* After the machine is gone. */
void cds_close(struct cds *cds);

/* Put the image at path into drive n, or take out what is in it (NULL). See
 * ide_change_medium for force. -errno with err: nothing has changed. */
MUST_CHECK int cds_change(struct cds *cds, struct pc *pc, unsigned n,
                          const char *path, bool force, struct err *err);

#endif
