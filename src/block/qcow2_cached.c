/*
 * What needs no waiting. Reads: the lock is free, the piece of the L2 table is
 * in memory, and the bytes are one run of it in the host's page cache (or
 * zeroes). The bytes move under the lock, so nothing can be put in their place
 * meanwhile; a few pages take a few microseconds. And extents: clusters of the
 * disk's own that others read or overwrite in place; they are a request that
 * has begun until they are unmapped. All else is -EAGAIN.
 */
#include <errno.h>
#include <stdatomic.h>

#include "block/iov.h"
#include "block/qcow2_int.h"

/* Beyond that the copy would hold up others for too long. */
enum { CACHED_MAX_BYTES = 64 << 10 };

/* Whether q_map can be asked about the cluster without reading. */
static bool can_map(struct qcow2 *q, uint64_t cluster) REQUIRES(q->lock)
{
    uint64_t i = cluster >> q->l2_bits, off, at;

    if (i >= q->h.l1_size)
        return false;
    off = q->l1[i] & Q_OFFSET;
    at = (cluster & bits_mask(q->l2_bits)) * q->l2_entry_size;
    return !off || q_cache_has(q, off + align_down(at, q->cache.slice_size));
}

/* The run that holds all of [off, off + len). */
static int map_whole(struct qcow2 *q, uint64_t off, uint64_t len,
                     struct q_run *run) REQUIRES(q->lock)
{
    uint64_t cluster = off >> q->cluster_bits;
    uint64_t at = off & (q->cluster_size - 1);

    if (q->frozen || q->l2_entry_size != 8 || !can_map(q, cluster) ||
        q_map(q, cluster, q_clusters(q, at + len), run) ||
        run->n << q->cluster_bits < at + len)
        return -EAGAIN;
    return 0;
}

static int read_locked(struct qcow2 *q, uint64_t off, const struct iovec *iov,
                       int n, uint64_t len) REQUIRES(q->lock)
{
    uint64_t at = off & (q->cluster_size - 1);
    struct q_run run;
    int rc = map_whole(q, off, len, &run);

    if (rc)
        return rc;
    switch (run.kind) {
    case Q_NORMAL: return hostfile_readv_cached(&q->f, run.off + at, iov, n);
    case Q_ZERO_PLAIN:
    case Q_ZERO_ALLOC: break;
    case Q_UNALLOC:
        if (q->backing || q->backing_name)
            return -EAGAIN;
        break;
    case Q_PACKED: return -EAGAIN;
    }
    iov_zero(iov, n, 0, len);
    return 0;
}

int q_readv_cached(struct blk *b, uint64_t off, const struct iovec *iov,
                   int n) NO_TSA
{
    struct qcow2 *q = q_of(b);
    uint64_t len = iov_len(iov, n);
    int rc;

    if (len > CACHED_MAX_BYTES || !lock_try(&q->lock))
        return -EAGAIN;
    rc = read_locked(q, off, iov, n, len);
    lock_drop(&q->lock);
    return rc;
}

/* In place, as a write that allocates nothing and needs no new header. */
static bool may_overwrite(const struct qcow2 *q, uint64_t cluster, uint64_t n,
                          const struct q_run *run) REQUIRES(q->lock)
{
    return run->copied && q->session && !atomic_load(&q->broken) &&
           q->freed.nr < Q_FREE_MAX && !q_is_busy(q, cluster, n) &&
           !q_hits_tables(q, run->off, run->n << q->cluster_bits);
}

static int extent_locked(struct qcow2 *q, uint64_t off, uint64_t len,
                         bool write, struct blk_extent *e) REQUIRES(q->lock)
{
    uint64_t at = off & (q->cluster_size - 1);
    struct q_run run;
    int rc = map_whole(q, off, len, &run);

    if (rc)
        return rc;
    if (run.kind != Q_NORMAL ||
        (write && !may_overwrite(q, off >> q->cluster_bits,
                                 q_clusters(q, at + len), &run)))
        return -EAGAIN;
    e->fd = q->f.fd;
    e->off = run.off + at;
    return 0;
}

int q_map_extent(struct blk *b, uint64_t off, const struct iovec *iov, int n,
                 bool write, struct blk_extent *e) NO_TSA
{
    struct qcow2 *q = q_of(b);
    int rc;

    if (!hostfile_is_plain(&q->f, off, iov, n) || !lock_try(&q->lock))
        return -EAGAIN;
    rc = extent_locked(q, off, iov_len(iov, n), write, e);
    if (rc == 0)
        e->token = q_begin(q); /* not frozen: it does not wait */
    lock_drop(&q->lock);
    return rc;
}

void q_unmap_extent(struct blk *b, const struct blk_extent *e, bool written)
{
    struct qcow2 *q = q_of(b);

    if (written)
        atomic_fetch_add(&q->written, 1);
    lock_take(&q->lock);
    q_end(q, e->token);
    lock_drop(&q->lock);
}
