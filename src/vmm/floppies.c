#include "vmm/floppies.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "block/raw.h"
#include "devices/floppy/fdc.h"

_Static_assert((int)VMCONF_MAX_FLOPPIES == (int)PC_MAX_FLOPPIES,
               "more drives can be named than there are");

enum { OPEN_FLAGS = O_CLOEXEC | O_NONBLOCK | O_NOCTTY };

static int open_file(const char *path, unsigned *flags)
{
    int fd = open(path, O_RDWR | OPEN_FLAGS);

    *flags = 0;
    if (fd >= 0 || (errno != EACCES && errno != EROFS && errno != EPERM))
        return fd;
    *flags = BLK_RDONLY;
    return open(path, O_RDONLY | OPEN_FLAGS);
}

static int open_image(struct blk **out, const char *path, struct err *err)
{
    unsigned flags = 0;
    int fd = open_file(path, &flags), rc;

    if (fd < 0)
        return err_sys(err, "open the floppy image '%s'", path);
    rc = raw_open(path, fd, flags, NULL, NULL, out, err);
    if (rc < 0) {
        (void)close(fd);
        return rc;
    }
    if (fdc_format_of(blk_size(*out)))
        return 0;
    return err_set(err, -EINVAL,
                   "open the floppy image '%s': no floppy disk has %llu bytes; "
                   "extend it to 360, 720, 1200, 1440 or 2880 KiB",
                   path, (unsigned long long)blk_size(*out));
}

int floppies_open(struct floppies *fl, const struct vmconf *conf,
                  struct err *err)
{
    *fl = (struct floppies){.nr = 0};
    while (fl->nr < conf->nr_floppies) {
        int rc = open_image(&fl->blk[fl->nr], conf->floppy[fl->nr], err);

        fl->nr++;
        if (rc < 0) {
            (void)floppies_close(fl);
            return rc;
        }
    }
    return 0;
}

int floppies_close(struct floppies *fl)
{
    int rc = 0;

    while (fl->nr) {
        struct blk *blk = fl->blk[--fl->nr];
        int closed = blk ? blk_close(blk) : 0;

        if (closed < 0) {
            rc = closed;
            log_warn("floppy", "what the guest wrote may be lost: %s",
                     strerrordesc_np(-rc));
        }
    }
    return rc;
}
