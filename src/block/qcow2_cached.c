/*
 * Reads that wait for nobody: the lock is free, the piece of the L2 table is in
 * memory, and the bytes are one run of it in the host's page cache (or zeroes).
 * The bytes move under the lock, so nothing can be put in their place
 * meanwhile; a few pages take a few microseconds. All else is -EAGAIN.
 */
#include <errno.h>

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

static int read_locked(struct qcow2 *q, uint64_t off, const struct iovec *iov,
                       int n, uint64_t len) REQUIRES(q->lock)
{
    uint64_t cluster = off >> q->cluster_bits;
    uint64_t at = off & (q->cluster_size - 1);
    struct q_run run;

    if (q->frozen || q->l2_entry_size != 8 || !can_map(q, cluster) ||
        q_map(q, cluster, q_clusters(q, at + len), &run) ||
        run.n << q->cluster_bits < at + len)
        return -EAGAIN;
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
