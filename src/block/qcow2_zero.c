/*
 * Write-zeroes and discard: whole clusters by their L2 entries, the rest by
 * writing. Entries come before the space is given back (qcow2_flush.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/iov.h"
#include "block/qcow2_int.h"

enum { PIECE = 64 << 10 };

static const uint8_t zeroes[PIECE];

static int write_zeroes(struct qcow2 *q, uint64_t off, uint64_t len)
{
    int rc = 0;

    while (!rc && len) {
        uint64_t take = len < PIECE ? len : PIECE;
        struct iovec one = iov_const(zeroes, take);

        rc = q_writev(&q->blk, off, &one, 1, 0); /* may be beyond the end */
        off += take;
        len -= take;
    }
    return rc;
}

/* Bytes of less than a cluster: nothing to do if it is zeroes already. */
static int zero_part(struct qcow2 *q, uint64_t off, uint64_t len)
{
    uint64_t cluster = off >> q->cluster_bits;
    struct q_run run;
    int rc;

    if (!len)
        return 0;
    lock_take(&q->lock);
    rc = q_ready(q, cluster, 1);
    if (!rc)
        rc = q_map(q, cluster, 1, &run);
    lock_drop(&q->lock);
    if (rc)
        return rc;
    if (run.kind == Q_ZERO_PLAIN || run.kind == Q_ZERO_ALLOC ||
        (run.kind == Q_UNALLOC && !q->backing_name))
        return 0;
    return write_zeroes(q, off, len);
}

/*
 * The entry that makes a cluster read as zeroes. false: there is none but
 * writing zeroes (version 2 with a backing file).
 */
static bool zero_entry(const struct qcow2 *q, const struct q_run *run,
                       uint64_t i, bool keep, uint64_t *entry)
{
    uint64_t off = run->off + (i << q->cluster_bits);

    *entry = 0;
    if (q->h.version < 3)
        return !q->backing_name;
    if (keep && run->copied &&
        (run->kind == Q_NORMAL || run->kind == Q_ZERO_ALLOC))
        *entry = off | Q_COPIED | Q_ZERO;
    else if (q->backing_name)
        *entry = Q_ZERO;
    return true;
}

static bool is_zero_already(const struct qcow2 *q, const struct q_run *run,
                            bool keep)
{
    return run->kind == Q_ZERO_PLAIN || (run->kind == Q_ZERO_ALLOC && keep) ||
           (run->kind == Q_UNALLOC && !q->backing_name);
}

static int zero_run(struct qcow2 *q, uint64_t cluster, const struct q_run *run,
                    bool keep) REQUIRES(q->lock)
{
    uint64_t old, entry;
    int rc = q_l2_own(q, cluster);

    for (uint64_t i = 0; i < run->n && !rc; i++) {
        (void)zero_entry(q, run, i, keep, &entry);
        rc = q_l2_get(q, cluster + i, &old);
        if (!rc)
            rc = q_l2_set(q, cluster + i, entry);
        if (!rc && !(entry & Q_OFFSET))
            q_free_entry(q, old);
    }
    return rc;
}

/* n whole clusters, as many as one slice has. *n is set to how many are done.
 * *write: they have to be written instead. */
static int zero_some(struct qcow2 *q, uint64_t cluster, uint64_t *n, bool keep,
                     bool *write) REQUIRES(q->lock)
{
    struct q_run run;
    uint64_t entry;
    int rc = q_ready(q, cluster, *n);

    if (!rc)
        rc = q_map(q, cluster, *n, &run);
    if (rc)
        return rc;
    *n = run.n;
    *write = false;
    if (is_zero_already(q, &run, keep))
        return 0;
    *write = !zero_entry(q, &run, 0, keep, &entry);
    return *write ? 0 : zero_run(q, cluster, &run, keep);
}

static int zero_clusters(struct qcow2 *q, uint64_t cluster, uint64_t n,
                         bool keep, bool must)
{
    int rc = 0;

    while (!rc && n) {
        uint64_t some = q_l2_in_slice(q, cluster);
        bool write = false;
        unsigned epoch;

        some = some < n ? some : n;
        lock_take(&q->lock);
        rc = q_before_change(q);
        epoch = q_begin(q);
        if (!rc)
            rc = zero_some(q, cluster, &some, keep, &write);
        q_end(q, epoch);
        lock_drop(&q->lock);
        if (!rc && write && must)
            rc = write_zeroes(q, cluster << q->cluster_bits,
                              some << q->cluster_bits);
        cluster += some;
        n -= some;
    }
    return rc;
}

/* Whole clusters within the range; the last one counts as whole if the disk
 * ends in it. */
static void split(const struct qcow2 *q, uint64_t off, uint64_t len,
                  uint64_t *first, uint64_t *n)
{
    uint64_t end = off + len;

    *first = q_clusters(q, off);
    if (end == blk_size(&q->blk))
        end = q_clusters(q, end);
    else
        end >>= q->cluster_bits;
    *n = end > *first ? end - *first : 0;
}

int q_zero(struct blk *b, uint64_t off, uint64_t len, unsigned flags)
{
    struct qcow2 *q = q_of(b);
    uint64_t first, n, start, end;
    int rc;

    split(q, off, len, &first, &n);
    start = first << q->cluster_bits;
    end = (first + n) << q->cluster_bits;
    if (!n) {
        /* Up to two parts of clusters. */
        uint64_t head = start > off && start < off + len ? start - off : len;

        rc = zero_part(q, off, head);
        if (!rc)
            rc = zero_part(q, off + head, len - head);
    } else {
        rc = zero_part(q, off, start - off);
        if (!rc)
            rc = zero_clusters(q, first, n, !(flags & BLK_UNMAP), true);
        if (!rc && end < off + len)
            rc = zero_part(q, end, off + len - end);
    }
    if (!rc && flags & BLK_FUA)
        rc = blk_flush(b);
    return rc == -EUCLEAN ? -EIO : rc;
}

int q_discard(struct blk *b, uint64_t off, uint64_t len)
{
    struct qcow2 *q = q_of(b);
    uint64_t first, n;
    int rc;

    split(q, off, len, &first, &n);
    rc = zero_clusters(q, first, n, false, false);
    return rc == -EUCLEAN ? -EIO : rc;
}

/* The rest of the cluster that the disk ends in: it will belong to the disk. */
int q_zero_tail(struct qcow2 *q)
{
    uint64_t end = blk_size(&q->blk);
    uint64_t part = end & (q->cluster_size - 1);

    return part ? zero_part(q, end, q->cluster_size - part) : 0;
}

/* Whole clusters of a disk that will grow to there; the image is frozen, and
 * its L1 table is large enough already. */
int q_zero_beyond(struct qcow2 *q, uint64_t from, uint64_t to)
{
    uint64_t cluster = q_clusters(q, from), end = q_clusters(q, to);
    int rc = 0;

    while (!rc && cluster < end) {
        uint64_t n = end - cluster;
        bool write;

        rc = zero_some(q, cluster, &n, false, &write);
        cluster += n;
    }
    return rc;
}
