#include "block/raw.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/bits.h"

struct raw {
    struct blk blk;
    struct hostfile f;
    /* Writes that returned, and how many of them the last sync covered: a flush
     * with nothing to flush costs nothing. */
    _Atomic uint64_t written, synced;
    /* A sync has failed: the kernel has forgotten what it could not write, and
     * a later one that succeeds would prove nothing. */
    atomic_bool broken;
};

static struct raw *raw_of(struct blk *b)
{
    return CONTAINER_OF(b, struct raw, blk);
}

static int raw_readv(struct blk *b, uint64_t off, const struct iovec *iov,
                     int n)
{
    return hostfile_readv(&raw_of(b)->f, off, iov, n);
}

static int raw_readv_cached(struct blk *b, uint64_t off,
                            const struct iovec *iov, int n)
{
    return hostfile_readv_cached(&raw_of(b)->f, off, iov, n);
}

static int raw_map(struct blk *b, uint64_t off, const struct iovec *iov, int n,
                   bool write, struct blk_extent *e)
{
    struct raw *r = raw_of(b);

    (void)write;
    if (!hostfile_is_plain(&r->f, off, iov, n))
        return -EAGAIN;
    *e = (struct blk_extent){.fd = r->f.fd, .off = off};
    return 0;
}

static void raw_unmap(struct blk *b, const struct blk_extent *e, bool written)
{
    (void)e;
    if (written)
        atomic_fetch_add(&raw_of(b)->written, 1);
}

static int raw_writev(struct blk *b, uint64_t off, const struct iovec *iov,
                      int n, unsigned flags)
{
    struct raw *r = raw_of(b);
    int rc = hostfile_writev(&r->f, off, iov, n, flags & BLK_FUA);

    atomic_fetch_add(&r->written, 1);
    return rc;
}

static int raw_flush(struct blk *b)
{
    struct raw *r = raw_of(b);
    uint64_t seen = atomic_load(&r->written);
    int rc;

    if (atomic_load(&r->broken))
        return -EIO;
    if (atomic_load(&r->synced) >= seen)
        return 0;
    rc = hostfile_sync(&r->f, "guest-flush");
    if (!rc)
        atomic_store(&r->synced, seen);
    else
        atomic_store(&r->broken, true);
    return rc;
}

static int raw_zero(struct blk *b, uint64_t off, uint64_t len, unsigned flags)
{
    struct raw *r = raw_of(b);
    int rc = hostfile_zero(&r->f, off, len, !(flags & BLK_UNMAP));

    atomic_fetch_add(&r->written, 1);
    return rc || !(flags & BLK_FUA) ? rc : raw_flush(b);
}

static int raw_discard(struct blk *b, uint64_t off, uint64_t len)
{
    struct raw *r = raw_of(b);
    int rc = hostfile_discard(&r->f, off, len);

    atomic_fetch_add(&r->written, 1);
    return rc;
}

static int raw_resize(struct blk *b, uint64_t size, struct err *err)
{
    struct raw *r = raw_of(b);
    int rc;

    if (r->f.is_device)
        return err_set(err, -ENOTSUP, "resize a block device");
    if (size < blk_size(b))
        return err_set(err, -ENOTSUP, "make a raw disk smaller");
    if (size > INT64_MAX)
        return err_set(err, -EFBIG,
                       "make a raw disk larger than a file can be");
    rc = hostfile_truncate(&r->f, size);
    if (!rc)
        rc = hostfile_sync(&r->f, "resize");
    if (rc) {
        errno = -rc;
        return err_sys(err, "resize a raw disk to %llu bytes",
                       (unsigned long long)size);
    }
    atomic_store(&b->size, size);
    return 0;
}

static void raw_limits(struct blk *b, struct blk_limits *l)
{
    struct raw *r = raw_of(b);
    struct stat st;
    unsigned phys = 0;

    if (r->f.is_device && !ioctl(r->f.fd, BLKPBSZGET, &phys) && is_pow2(phys) &&
        phys >= 512)
        l->physical_block = phys;
    else if (!r->f.is_device && !fstat(r->f.fd, &st) &&
             is_pow2((uint64_t)st.st_blksize) && st.st_blksize >= 512 &&
             st.st_blksize <= 65536)
        l->physical_block = (uint32_t)st.st_blksize;
    l->discard_granularity = l->physical_block;
}

static int raw_close(struct blk *b)
{
    struct raw *r = raw_of(b);
    int rc = r->f.readonly ? 0 : raw_flush(b);

    hostfile_close(&r->f);
    free(r);
    return rc;
}

static const struct blk_ops raw_ops = {.name = "raw",
                                       .readv = raw_readv,
                                       .readv_cached = raw_readv_cached,
                                       .map = raw_map,
                                       .unmap = raw_unmap,
                                       .writev = raw_writev,
                                       .zero = raw_zero,
                                       .discard = raw_discard,
                                       .flush = raw_flush,
                                       .resize = raw_resize,
                                       .limits = raw_limits,
                                       .close = raw_close};

int raw_open(const char *path, int fd, unsigned flags,
             const struct hostfile_ops *ops, void *arg, struct blk **out,
             struct err *err)
{
    struct raw *r = calloc(1, sizeof(*r));
    uint64_t size;
    int rc;

    if (!r)
        return err_set(err, -ENOMEM, "open %s: out of memory", path);
    rc = hostfile_open(&r->f, path, fd, flags, ops, arg, err);
    if (rc)
        goto free_raw;
    rc = hostfile_size(&r->f, &size);
    if (rc || !align_up_ok(size, 512, &size)) {
        rc = err_set(err, rc ? rc : -EFBIG, "open %s: its size is unknown",
                     path);
        goto close_file;
    }
    r->blk.ops = &raw_ops;
    r->blk.flags = flags & (BLK_RDONLY | BLK_DIRECT);
    atomic_init(&r->blk.size, size);
    *out = &r->blk;
    return 0;

close_file:
    if (fd >= 0)
        hostfile_let_go(&r->f);
    hostfile_close(&r->f);
free_raw:
    free(r);
    return rc;
}
