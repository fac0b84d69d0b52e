#include <errno.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "devices/virtio/virtio_blk_int.h"

/*
 * Small requests that only copy to and from the host's page cache take less
 * time than waking a thread of the pool does (2 to 5 us). They are carried out
 * at once, on the thread of the notification. For reads the disk can say
 * whether that is so. Writes are tried: one that made the thread wait sends
 * the next ones to the pool, more of them each time. Being preempted is not
 * waiting.
 */
enum {
    NOW_MAX_BYTES = 32 << 10,
    SLOW_NS = 50000,
    HOLD_MIN = 16,
    HOLD_MAX = 8192,
    FORGIVE = 256 /* requests without a wait that halve the next hold */
};

static long waits_so_far(void)
{
    struct rusage u;

    return getrusage(RUSAGE_THREAD, &u) < 0 ? 0 : u.ru_nvcsw;
}

static bool may_be_quick(const struct virtio_blk *vb, const struct blk_req *r)
{
    uint64_t bytes = 0;

    if ((vb->blk->flags & BLK_DIRECT) || (r->flags & BLK_FUA) ||
        (r->op != BLK_OP_READ && r->op != BLK_OP_WRITE))
        return false;
    for (int i = 0; i < r->nr_iov; i++)
        bytes += r->iov[i].iov_len;
    return bytes <= NOW_MAX_BYTES;
}

static void learn(struct virtio_blk_now *now, bool waited)
{
    if (waited) {
        now->next_hold = now->next_hold ? 2 * now->next_hold : HOLD_MIN;
        if (now->next_hold > HOLD_MAX)
            now->next_hold = HOLD_MAX;
        now->hold = now->next_hold;
        now->good = 0;
    } else if (++now->good == FORGIVE) {
        now->next_hold /= 2;
        now->good = 0;
    }
}

static bool write_now(struct virtio_blk *vb, const struct blk_req *r, int *rc)
{
    uint64_t start;
    long waits;

    if (vb->now.hold) {
        vb->now.hold--;
        return false;
    }
    waits = waits_so_far();
    start = clock_now_ns();
    *rc = blk_writev(vb->blk, r->off, r->iov, r->nr_iov, r->flags);
    learn(&vb->now,
          clock_now_ns() - start > SLOW_NS && waits_so_far() != waits);
    return true;
}

bool virtio_blk_do_now(struct virtio_blk *vb, const struct blk_req *r, int *rc)
{
    if (!may_be_quick(vb, r))
        return false;
    if (r->op == BLK_OP_WRITE)
        return write_now(vb, r, rc);
    *rc = blk_readv_cached(vb->blk, r->off, r->iov, r->nr_iov);
    return *rc != -EAGAIN;
}
