#include "block/blk.h"

#include <errno.h>
#include <stdatomic.h>

#include "base/checked.h"
#include "block/iov.h"

uint64_t blk_size(const struct blk *b)
{
    return atomic_load_explicit(&b->size, memory_order_acquire);
}

static int check_read(const struct blk *b, uint64_t off, uint64_t len)
{
    return range_ok(off, len, blk_size(b)) ? 0 : -EINVAL;
}

static int check_write(const struct blk *b, uint64_t off, uint64_t len)
{
    if (b->flags & BLK_RDONLY)
        return -EROFS;
    return check_read(b, off, len);
}

int blk_readv(struct blk *b, uint64_t off, const struct iovec *iov, int n)
{
    uint64_t len = iov_len(iov, n);
    int rc = check_read(b, off, len);

    return rc || !len ? rc : b->ops->readv(b, off, iov, n);
}

int blk_readv_cached(struct blk *b, uint64_t off, const struct iovec *iov,
                     int n)
{
    uint64_t len = iov_len(iov, n);
    int rc = check_read(b, off, len);

    if (rc || !len)
        return rc;
    return b->ops->readv_cached ? b->ops->readv_cached(b, off, iov, n)
                                : -EAGAIN;
}

int blk_writev(struct blk *b, uint64_t off, const struct iovec *iov, int n,
               unsigned flags)
{
    uint64_t len = iov_len(iov, n);
    int rc = check_write(b, off, len);

    return rc || !len ? rc : b->ops->writev(b, off, iov, n, flags);
}

int blk_read(struct blk *b, uint64_t off, void *buf, uint64_t len)
{
    struct iovec iov = {buf, len};

    return blk_readv(b, off, &iov, 1);
}

int blk_write(struct blk *b, uint64_t off, const void *buf, uint64_t len,
              unsigned flags)
{
    struct iovec iov = iov_const(buf, len);

    return blk_writev(b, off, &iov, 1, flags);
}

int blk_zero(struct blk *b, uint64_t off, uint64_t len, unsigned flags)
{
    int rc = check_write(b, off, len);

    return rc || !len ? rc : b->ops->zero(b, off, len, flags);
}

int blk_discard(struct blk *b, uint64_t off, uint64_t len)
{
    int rc = check_write(b, off, len);

    return rc || !len ? rc : b->ops->discard(b, off, len);
}

int blk_flush(struct blk *b)
{
    return b->flags & BLK_RDONLY ? 0 : b->ops->flush(b);
}

int blk_resize(struct blk *b, uint64_t size, struct err *err)
{
    if (b->flags & BLK_RDONLY)
        return err_set(err, -EROFS, "resize a disk that is read-only");
    if (size == blk_size(b))
        return 0;
    return b->ops->resize(b, size, err);
}

void blk_limits(struct blk *b, struct blk_limits *l)
{
    *l = (struct blk_limits){.physical_block = 512};
    if (b->ops->limits)
        b->ops->limits(b, l);
}

int blk_close(struct blk *b)
{
    return b->ops->close(b);
}
