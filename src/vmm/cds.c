#include "vmm/cds.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "block/raw.h"

_Static_assert((int)VMCONF_MAX_CDS == (int)PC_MAX_CDS,
               "more drives can be named than there are");

enum { CD_BLOCK = 2048 };

static int open_image(struct cd *cd, const char *path, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), rc;

    *cd = (struct cd){NULL, NULL};
    if (fd < 0)
        return err_sys(err, "open the CD image '%s'", path);
    rc = raw_open(path, fd, BLK_RDONLY, NULL, NULL, &cd->blk, err);
    if (rc < 0) {
        (void)close(fd);
        return rc;
    }
    cd->path = strdup(path);
    if (!cd->path)
        rc = err_set(err, -ENOMEM, "open '%s': out of memory", path);
    else if (blk_size(cd->blk) < CD_BLOCK)
        rc = err_set(err, -EINVAL,
                     "open the CD image '%s': %llu bytes are less than one "
                     "block of a CD",
                     path, (unsigned long long)blk_size(cd->blk));
    return rc;
}

static void close_image(struct cd *cd)
{
    /* Nothing was written: there is nothing to lose. */
    if (cd->blk && blk_close(cd->blk) < 0)
        log_warn("cd", "close '%s'", cd->path ? cd->path : "an image");
    free(cd->path);
    *cd = (struct cd){NULL, NULL};
}

int cds_open(struct cds *cds, const struct vmconf *conf, struct err *err)
{
    *cds = (struct cds){.nr = 0};
    while (cds->nr < conf->nr_isos) {
        const char *path = conf->iso[cds->nr];
        int rc = path ? open_image(&cds->cd[cds->nr], path, err) : 0;

        cds->nr++;
        if (rc < 0) {
            cds_close(cds);
            return rc;
        }
    }
    return 0;
}

void cds_close(struct cds *cds)
{
    while (cds->nr)
        close_image(&cds->cd[--cds->nr]);
}

int cds_change(struct cds *cds, struct pc *pc, unsigned n, const char *path,
               bool force, struct err *err)
{
    struct cd cd = {NULL, NULL};
    struct blk *old = NULL;
    int rc = path ? open_image(&cd, path, err) : 0;

    if (rc == 0)
        rc = pc_change_cd(pc, n, cd.blk, force, &old, err);
    if (rc < 0) {
        close_image(&cd);
        return rc;
    }
    close_image(&cds->cd[n]);
    cds->cd[n] = cd;
    return 0;
}
