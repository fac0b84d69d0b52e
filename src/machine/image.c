#include "machine/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fdio.h"

/* O_NONBLOCK: opening a FIFO would wait for its other end. */
int image_open(struct image *img, const char *what, const char *path,
               struct err *err)
{
    struct stat sb;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    int rc;

    if (fd < 0)
        return err_sys(err, "open %s '%s'", what, path);
    if (fstat(fd, &sb) < 0)
        rc = err_sys(err, "look at %s '%s'", what, path);
    else if (S_ISDIR(sb.st_mode))
        rc = err_set(err, -EISDIR, "open %s '%s': it is a directory", what,
                     path);
    else if (!S_ISREG(sb.st_mode))
        rc = err_set(err, -EINVAL, "open %s '%s': it is not a regular file",
                     what, path);
    else
        rc = 0;
    if (rc < 0) {
        (void)close(fd);
        return rc;
    }
    *img = (struct image){.fd = fd, .what = what, .path = path};
    return 0;
}

void image_close(struct image *img)
{
    if (img->fd >= 0)
        (void)close(img->fd);
    img->fd = -1;
}

int image_read(const struct image *img, size_t max, uint8_t **buf, size_t *len,
               struct err *err)
{
    struct stat sb;
    uint8_t *p;
    ssize_t n;

    if (fstat(img->fd, &sb) < 0)
        return err_sys(err, "look at %s '%s'", img->what, img->path);
    if ((uint64_t)sb.st_size > max)
        return err_set(err, -EFBIG,
                       "read %s '%s': it has %lld MiB and does not fit into "
                       "the guest's memory of %zu MiB",
                       img->what, img->path, (long long)sb.st_size >> 20,
                       max >> 20);
    p = malloc(sb.st_size > 0 ? (size_t)sb.st_size : 1);
    if (!p)
        return err_set(err, -ENOMEM, "read %s '%s': out of memory", img->what,
                       img->path);
    n = fd_pread_full(img->fd, p, (size_t)sb.st_size, 0);
    if (n < 0) {
        free(p);
        errno = (int)-n;
        return err_sys(err, "read %s '%s'", img->what, img->path);
    }
    *buf = p;
    *len = (size_t)n;
    return 0;
}
