#include "block/hostfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/checked.h"
#include "block/blk.h"
#include "block/iov.h"

enum { BOUNCE_MAX = 1 << 20, ZEROES = 1 << 16, DIRECT_ALIGN = 4096 };

static const uint8_t zeroes[ZEROES] __attribute__((aligned(DIRECT_ALIGN)));

/* -- The kernel ----------------------------------------------------------- */

static int64_t kernel_preadv(void *arg, int fd, const struct iovec *iov, int n,
                             uint64_t off)
{
    ssize_t got = preadv(fd, iov, n, (off_t)off);

    (void)arg;
    return got < 0 ? -errno : got;
}

static int64_t kernel_pwritev(void *arg, int fd, const struct iovec *iov, int n,
                              uint64_t off, bool dsync)
{
    ssize_t put = pwritev2(fd, iov, n, (off_t)off, dsync ? RWF_DSYNC : 0);

    (void)arg;
    return put < 0 ? -errno : put;
}

static int kernel_datasync(void *arg, int fd, const char *why)
{
    (void)arg;
    (void)why;
    return fdatasync(fd) < 0 ? -errno : 0;
}

static int kernel_punch(void *arg, int fd, uint64_t off, uint64_t len,
                        bool keep)
{
    int mode = (keep ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE) |
               FALLOC_FL_KEEP_SIZE;

    (void)arg;
    return fallocate(fd, mode, (off_t)off, (off_t)len) < 0 ? -errno : 0;
}

static int kernel_truncate(void *arg, int fd, uint64_t size)
{
    (void)arg;
    return ftruncate(fd, (off_t)size) < 0 ? -errno : 0;
}

const struct hostfile_ops hostfile_kernel = {.preadv = kernel_preadv,
                                             .pwritev = kernel_pwritev,
                                             .datasync = kernel_datasync,
                                             .punch = kernel_punch,
                                             .truncate = kernel_truncate};

/* -- Opening -------------------------------------------------------------- */

/* The finest alignment that O_DIRECT takes here: try 512, else a page. */
static int find_align(struct hostfile *f, const char *path, struct err *err)
{
    void *buf = aligned_alloc(DIRECT_ALIGN, DIRECT_ALIGN);
    ssize_t got;

    if (!buf)
        return err_set(err, -ENOMEM, "open %s: out of memory", path);
    f->align = 512;
    got = pread(f->fd, (char *)buf + 512, 512, 512);
    if (got < 0 && errno == EINVAL) {
        f->align = DIRECT_ALIGN;
        got = pread(f->fd, buf, DIRECT_ALIGN, 0);
    }
    free(buf);
    return got < 0 ? err_sys(err, "read %s past the page cache", path) : 0;
}

static int set_up(struct hostfile *f, const char *path, unsigned flags,
                  struct err *err)
{
    struct stat st;

    if (fstat(f->fd, &st) < 0)
        return err_sys(err, "open %s", path);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return err_set(err, -EINVAL,
                       "open %s: neither a regular file nor a block device",
                       path);
    f->is_device = S_ISBLK(st.st_mode);
    f->readonly = flags & BLK_RDONLY;
    f->direct = flags & BLK_DIRECT;
    atomic_init(&f->min_size, f->is_device ? 0 : (uint64_t)st.st_size);
    f->align = 1;
    atomic_init(&f->can_punch, true);
    atomic_init(&f->can_zero, true);
    if (!f->direct)
        return 0;
    if (fcntl(f->fd, F_SETFL, fcntl(f->fd, F_GETFL) | O_DIRECT) < 0)
        return err_sys(err, "open %s past the page cache", path);
    return find_align(f, path, err);
}

int hostfile_open(struct hostfile *f, const char *path, int fd, unsigned flags,
                  const struct hostfile_ops *ops, void *arg, struct err *err)
{
    bool own = fd < 0;
    int mode = flags & BLK_RDONLY ? O_RDONLY : O_RDWR;
    int rc;

    memset(f, 0, sizeof(*f));
    f->ops = ops ? ops : &hostfile_kernel;
    f->arg = arg;
    /* O_NONBLOCK: a fifo must not make us wait; it means nothing to files. */
    f->fd = own ? open(path, mode | O_CLOEXEC | O_NONBLOCK) : fd;
    if (f->fd < 0)
        return err_sys(err, "open %s", path);
    rc = pthread_rwlock_init(&f->rmw, NULL);
    if (rc) {
        errno = rc;
        rc = err_sys(err, "make a lock for %s", path);
        goto close_fd;
    }
    rc = set_up(f, path, flags, err);
    if (!rc)
        return 0;
    (void)pthread_rwlock_destroy(&f->rmw);
close_fd:
    if (own)
        (void)close(f->fd);
    f->fd = -1;
    return rc;
}

void hostfile_close(struct hostfile *f)
{
    if (f->fd < 0)
        return;
    (void)pthread_rwlock_destroy(&f->rmw);
    (void)close(f->fd);
    f->fd = -1;
}

void hostfile_let_go(struct hostfile *f)
{
    if (f->fd < 0)
        return;
    (void)pthread_rwlock_destroy(&f->rmw);
    f->fd = -1;
}

/* -- Plain transfers ------------------------------------------------------ */

/* Bytes read before the end of the file, or -errno. */
static int64_t read_pieces(struct hostfile *f, uint64_t off,
                           const struct iovec *iov, int n)
{
    uint64_t len = iov_len(iov, n), done = 0;

    while (done < len) {
        struct iovec part[IOV_BATCH];
        int m = iov_slice(iov, n, done, len - done, part, IOV_BATCH, NULL);
        int64_t got = f->ops->preadv(f->arg, f->fd, part, m, off + done);

        if (got == -EINTR || got == -EAGAIN)
            continue;
        if (got < 0)
            return got;
        if (!got)
            break;
        done += (uint64_t)got;
    }
    return (int64_t)done;
}

static int write_pieces(struct hostfile *f, uint64_t off,
                        const struct iovec *iov, int n, bool dsync)
{
    uint64_t len = iov_len(iov, n), done = 0;

    while (done < len) {
        struct iovec part[IOV_BATCH];
        int m = iov_slice(iov, n, done, len - done, part, IOV_BATCH, NULL);
        int64_t put =
            f->ops->pwritev(f->arg, f->fd, part, m, off + done, dsync);

        if (put == -EINTR || put == -EAGAIN)
            continue;
        if (put <= 0)
            return put < 0 ? (int)put : -EIO;
        done += (uint64_t)put;
    }
    return 0;
}

static bool pieces_aligned(const struct hostfile *f, uint64_t off,
                           const struct iovec *iov, int n)
{
    if (!is_aligned(off, f->align))
        return false;
    for (int i = 0; i < n; i++)
        if (!is_aligned((uintptr_t)iov[i].iov_base, f->align) ||
            !is_aligned(iov[i].iov_len, f->align))
            return false;
    return true;
}

/* Whether somebody has made the file shorter. */
static bool was_cut(struct hostfile *f)
{
    uint64_t size;

    return !f->is_device && !hostfile_size(f, &size) &&
           size < atomic_load(&f->min_size);
}

/* -- Transfers past the page cache that are not aligned ------------------- */

/* The aligned range around [off, off + len), at most BOUNCE_MAX of it. */
static void around(const struct hostfile *f, uint64_t off, uint64_t len,
                   uint64_t *start, uint64_t *size)
{
    uint64_t end = off + len;

    *start = align_down(off, f->align);
    if (end - *start > BOUNCE_MAX)
        end = *start + BOUNCE_MAX;
    *size = align_down(end - *start + f->align - 1, f->align);
}

static int64_t bounce_fill(struct hostfile *f, uint64_t start, uint8_t *buf,
                           uint64_t size)
{
    struct iovec one = {buf, size};
    int64_t got = read_pieces(f, start, &one, 1);

    if (got >= 0 && (uint64_t)got < size && was_cut(f))
        return -EIO;
    if (got >= 0)
        memset(buf + got, 0, size - (uint64_t)got);
    return got;
}

static int bounce_read(struct hostfile *f, uint64_t off,
                       const struct iovec *iov, int n)
{
    uint64_t len = iov_len(iov, n), done = 0, start, size;
    uint8_t *buf;
    int rc = 0;

    around(f, off, len, &start, &size);
    buf = aligned_alloc(DIRECT_ALIGN,
                        align_down(size + DIRECT_ALIGN - 1, DIRECT_ALIGN));
    if (!buf)
        return -ENOMEM;
    while (done < len) {
        uint64_t skip, take;
        int64_t got;

        around(f, off + done, len - done, &start, &size);
        got = bounce_fill(f, start, buf, size);
        if (got < 0) {
            rc = (int)got;
            break;
        }
        skip = off + done - start;
        take = size - skip < len - done ? size - skip : len - done;
        iov_put(iov, n, done, buf + skip, take);
        done += take;
    }
    free(buf);
    return rc;
}

/* One aligned piece of a write: what the caller does not give is read. */
static int bounce_put(struct hostfile *f, uint64_t start, uint8_t *buf,
                      uint64_t size, bool dsync)
{
    struct iovec one = {buf, size};

    return write_pieces(f, start, &one, 1, dsync);
}

static int bounce_write(struct hostfile *f, uint64_t off,
                        const struct iovec *iov, int n, bool dsync)
{
    uint64_t len = iov_len(iov, n), done = 0, start, size;
    uint8_t *buf;
    int rc = 0;

    around(f, off, len, &start, &size);
    buf = aligned_alloc(DIRECT_ALIGN,
                        align_down(size + DIRECT_ALIGN - 1, DIRECT_ALIGN));
    if (!buf)
        return -ENOMEM;
    while (!rc && done < len) {
        uint64_t skip, take;

        around(f, off + done, len - done, &start, &size);
        skip = off + done - start;
        take = size - skip < len - done ? size - skip : len - done;
        if (skip || take < size) {
            int64_t got = bounce_fill(f, start, buf, size);

            rc = got < 0 ? (int)got : 0;
        }
        if (rc)
            break;
        iov_get(iov, n, done, buf + skip, take);
        rc = bounce_put(f, start, buf, size, dsync);
        done += take;
    }
    free(buf);
    return rc;
}

/* -- What the formats call ------------------------------------------------ */

int hostfile_readv(struct hostfile *f, uint64_t off, const struct iovec *iov,
                   int n)
{
    uint64_t len = iov_len(iov, n), end;
    int64_t got;

    if (!add_ok(off, len, &end) || end > INT64_MAX)
        return -EINVAL;
    if (f->direct && !pieces_aligned(f, off, iov, n))
        return bounce_read(f, off, iov, n);
    got = read_pieces(f, off, iov, n);
    if (got >= 0 && (uint64_t)got < len && was_cut(f))
        got = -EIO;
    if (got < 0)
        return (int)got;
    iov_zero(iov, n, (uint64_t)got, len - (uint64_t)got);
    return 0;
}

/* Not through ops: a test that delays or fails reads gets all of them. */
int hostfile_readv_cached(struct hostfile *f, uint64_t off,
                          const struct iovec *iov, int n)
{
    uint64_t len = iov_len(iov, n);

    if (f->direct || f->ops != &hostfile_kernel || n > IOV_MAX ||
        off > INT64_MAX)
        return -EAGAIN;
    return preadv2(f->fd, iov, n, (off_t)off, RWF_NOWAIT) == (ssize_t)len
               ? 0
               : -EAGAIN;
}

bool hostfile_is_plain(const struct hostfile *f, uint64_t off,
                       const struct iovec *iov, int n)
{
    /* Blocks of 512 bytes: no request of sectors is ever bounced in part. */
    return f->direct && f->align <= 512 && f->ops == &hostfile_kernel &&
           n <= IOV_MAX && off <= INT64_MAX && pieces_aligned(f, off, iov, n);
}

int hostfile_read(struct hostfile *f, uint64_t off, void *buf, uint64_t len)
{
    struct iovec one = {buf, len};

    return hostfile_readv(f, off, &one, 1);
}

int hostfile_writev(struct hostfile *f, uint64_t off, const struct iovec *iov,
                    int n, bool dsync)
{
    uint64_t end;
    bool whole;
    int rc;

    if (!add_ok(off, iov_len(iov, n), &end) || end > INT64_MAX)
        return -EINVAL;
    if (!f->direct)
        return write_pieces(f, off, iov, n, dsync);
    whole = is_aligned(off, f->align) && is_aligned(end, f->align);
    /* A block that is read, changed and written back must not take along what
     * others wrote to it in between. */
    if (whole)
        (void)pthread_rwlock_rdlock(&f->rmw);
    else
        (void)pthread_rwlock_wrlock(&f->rmw);
    if (pieces_aligned(f, off, iov, n))
        rc = write_pieces(f, off, iov, n, dsync);
    else
        rc = bounce_write(f, off, iov, n, dsync);
    (void)pthread_rwlock_unlock(&f->rmw);
    return rc;
}

int hostfile_write(struct hostfile *f, uint64_t off, const void *buf,
                   uint64_t len)
{
    struct iovec one = iov_const(buf, len);

    return hostfile_writev(f, off, &one, 1, false);
}

int hostfile_sync(struct hostfile *f, const char *why)
{
    return was_cut(f) ? -EIO : f->ops->datasync(f->arg, f->fd, why);
}

static bool is_unsupported(int rc)
{
    return rc == -EOPNOTSUPP || rc == -ENOSYS || rc == -ENODEV || rc == -EINVAL;
}

static int write_zeroes(struct hostfile *f, uint64_t off, uint64_t len)
{
    int rc = 0;

    while (!rc && len) {
        uint64_t take = len < ZEROES ? len : ZEROES;

        rc = hostfile_write(f, off, zeroes, take);
        off += take;
        len -= take;
    }
    return rc;
}

int hostfile_zero(struct hostfile *f, uint64_t off, uint64_t len, bool keep)
{
    int rc = -EOPNOTSUPP;

    if (!keep && atomic_load(&f->can_punch)) {
        rc = f->ops->punch(f->arg, f->fd, off, len, false);
        if (is_unsupported(rc))
            atomic_store(&f->can_punch, false);
    }
    if (is_unsupported(rc) && atomic_load(&f->can_zero)) {
        rc = f->ops->punch(f->arg, f->fd, off, len, true);
        if (is_unsupported(rc))
            atomic_store(&f->can_zero, false);
    }
    return is_unsupported(rc) ? write_zeroes(f, off, len) : rc;
}

int hostfile_discard(struct hostfile *f, uint64_t off, uint64_t len)
{
    int rc;

    if (!len || !atomic_load(&f->can_punch))
        return 0;
    rc = f->ops->punch(f->arg, f->fd, off, len, false);
    if (is_unsupported(rc))
        atomic_store(&f->can_punch, false);
    return rc == -EIO ? rc : 0;
}

int hostfile_size(struct hostfile *f, uint64_t *size)
{
    struct stat st;

    if (f->is_device)
        return ioctl(f->fd, BLKGETSIZE64, size) < 0 ? -errno : 0;
    if (fstat(f->fd, &st) < 0)
        return -errno;
    *size = (uint64_t)st.st_size;
    return 0;
}

int hostfile_truncate(struct hostfile *f, uint64_t size)
{
    uint64_t before = atomic_load(&f->min_size);
    int rc;

    if (f->is_device)
        return -ENOTSUP;
    if (size > INT64_MAX)
        return -EFBIG;
    if (size < before)
        atomic_store(&f->min_size, size);
    rc = f->ops->truncate(f->arg, f->fd, size);
    if (rc)
        atomic_store(&f->min_size, before);
    return rc;
}

int hostfile_used(struct hostfile *f, uint64_t *bytes)
{
    struct stat st;

    if (f->is_device)
        return hostfile_size(f, bytes);
    if (fstat(f->fd, &st) < 0)
        return -errno;
    *bytes = (uint64_t)st.st_blocks * 512;
    return 0;
}
