#include "tests/unit/devices/virtio/fake_blk.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "base/compiler.h"

uint8_t fake_blk_byte(uint64_t off)
{
    return (uint8_t)(off / 512 + off);
}

static struct fake_blk *fake_of(struct blk *b)
{
    return CONTAINER_OF(b, struct fake_blk, blk);
}

/* Past the gate; what the request shall return. */
static int enter(struct fake_blk *f, enum fake_blk_op op, uint64_t off,
                 uint64_t len, unsigned flags)
{
    int rc;

    lock_take(&f->lock);
    f->waiting++;
    (void)pthread_cond_broadcast(&f->changed);
    while (f->closed)
        (void)pthread_cond_wait(&f->changed, &f->lock.m);
    f->waiting--;
    if (f->nr_log < FAKE_BLK_LOG) {
        f->log[f->nr_log].op = op;
        f->log[f->nr_log].off = off;
        f->log[f->nr_log].len = len;
        f->log[f->nr_log++].flags = flags;
    }
    rc = f->fail;
    lock_drop(&f->lock);
    return rc;
}

static uint64_t total(const struct iovec *iov, int n)
{
    uint64_t len = 0;

    for (int i = 0; i < n; i++)
        len += iov[i].iov_len;
    return len;
}

static int fake_readv(struct blk *b, uint64_t off, const struct iovec *iov,
                      int n)
{
    struct fake_blk *f = fake_of(b);
    int rc = enter(f, FAKE_READ, off, total(iov, n), 0);

    for (int i = 0; i < n && rc == 0; i++) {
        memcpy(iov[i].iov_base, f->data + off, iov[i].iov_len);
        off += iov[i].iov_len;
    }
    return rc;
}

static int fake_readv_cached(struct blk *b, uint64_t off,
                             const struct iovec *iov, int n)
{
    return fake_of(b)->cached ? fake_readv(b, off, iov, n) : -EAGAIN;
}

static int fake_writev(struct blk *b, uint64_t off, const struct iovec *iov,
                       int n, unsigned flags)
{
    struct fake_blk *f = fake_of(b);
    int rc = enter(f, FAKE_WRITE, off, total(iov, n), flags);

    if (f->slow)
        (void)usleep(1000);
    for (int i = 0; i < n && rc == 0; i++) {
        memcpy(f->data + off, iov[i].iov_base, iov[i].iov_len);
        off += iov[i].iov_len;
    }
    return rc;
}

static int fake_zero(struct blk *b, uint64_t off, uint64_t len, unsigned flags)
{
    struct fake_blk *f = fake_of(b);
    int rc = enter(f, FAKE_ZERO, off, len, flags);

    if (rc == 0)
        memset(f->data + off, 0, len);
    return rc;
}

static int fake_discard(struct blk *b, uint64_t off, uint64_t len)
{
    return enter(fake_of(b), FAKE_DISCARD, off, len, 0);
}

static int fake_flush(struct blk *b)
{
    return enter(fake_of(b), FAKE_FLUSH, 0, 0, 0);
}

static int fake_resize(struct blk *b, uint64_t size, struct err *err)
{
    (void)err;
    atomic_store(&b->size, size);
    return 0;
}

static void fake_limits(struct blk *b, struct blk_limits *l)
{
    (void)b;
    *l = (struct blk_limits){
        .physical_block = 4096, .opt_io = 65536, .discard_granularity = 8192};
}

static const struct blk_ops fake_ops = {
    .name = "fake",
    .readv = fake_readv,
    .readv_cached = fake_readv_cached,
    .writev = fake_writev,
    .zero = fake_zero,
    .discard = fake_discard,
    .flush = fake_flush,
    .resize = fake_resize,
    .limits = fake_limits,
};

void fake_blk_init(struct fake_blk *f, unsigned flags)
{
    memset(f, 0, sizeof(*f));
    f->blk.ops = &fake_ops;
    f->blk.flags = flags;
    atomic_store(&f->blk.size, FAKE_BLK_SIZE);
    for (size_t i = 0; i < sizeof(f->data); i++)
        f->data[i] = fake_blk_byte(i);
    lock_init(&f->lock);
    (void)pthread_cond_init(&f->changed, NULL);
}

void fake_blk_fini(struct fake_blk *f)
{
    (void)pthread_cond_destroy(&f->changed);
    lock_fini(&f->lock);
}

static void set_gate(struct fake_blk *f, bool closed)
{
    lock_take(&f->lock);
    f->closed = closed;
    (void)pthread_cond_broadcast(&f->changed);
    lock_drop(&f->lock);
}

void fake_blk_close_gate(struct fake_blk *f)
{
    set_gate(f, true);
}

void fake_blk_open_gate(struct fake_blk *f)
{
    set_gate(f, false);
}

void fake_blk_wait(struct fake_blk *f, unsigned nr)
{
    lock_take(&f->lock);
    while (f->waiting < nr)
        (void)pthread_cond_wait(&f->changed, &f->lock.m);
    lock_drop(&f->lock);
}

void fake_blk_fail(struct fake_blk *f, int rc)
{
    lock_take(&f->lock);
    f->fail = rc;
    lock_drop(&f->lock);
}
