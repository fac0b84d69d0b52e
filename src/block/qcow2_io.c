/*
 * Reads and writes of the disk. Tables are looked at under the lock, bytes move
 * without it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/iov.h"
#include "block/qcow2_int.h"

/* -- Reading -------------------------------------------------------------- */

/* The backing file may be shorter, and may be missing on purpose. */
static int read_backing(struct qcow2 *q, uint64_t off, const struct iovec *iov,
                        int n, uint64_t skip, uint64_t len)
{
    uint64_t size = q->backing ? blk_size(q->backing) : 0, take;

    if (!q->backing && q->backing_name)
        return -EIO; /* QCOW2_NO_BACKING */
    take = off < size ? size - off : 0;
    if (take > len)
        take = len;
    iov_zero(iov, n, skip + take, len - take);
    while (take) {
        struct iovec part[IOV_BATCH];
        uint64_t got;
        int m = iov_slice(iov, n, skip, take, part, IOV_BATCH, &got);
        int rc = blk_readv(q->backing, off, part, m);

        if (rc)
            return rc;
        off += got;
        skip += got;
        take -= got;
    }
    return 0;
}

static int read_file(struct qcow2 *q, uint64_t off, const struct iovec *iov,
                     int n, uint64_t skip, uint64_t len)
{
    while (len) {
        struct iovec part[IOV_BATCH];
        uint64_t got;
        int m = iov_slice(iov, n, skip, len, part, IOV_BATCH, &got);
        int rc = hostfile_readv(&q->f, off, part, m);

        if (rc)
            return rc;
        off += got;
        skip += got;
        len -= got;
    }
    return 0;
}

int q_read_run(struct qcow2 *q, const struct q_run *run, uint64_t cluster,
               uint64_t off, const struct iovec *iov, int n, uint64_t skip,
               uint64_t len)
{
    uint64_t at = off - (cluster << q->cluster_bits);

    switch (run->kind) {
    case Q_NORMAL: return read_file(q, run->off + at, iov, n, skip, len);
    case Q_PACKED: return q_read_packed(q, run->entry, at, iov, n, skip, len);
    case Q_UNALLOC: return read_backing(q, off, iov, n, skip, len);
    case Q_ZERO_PLAIN:
    case Q_ZERO_ALLOC: break;
    }
    iov_zero(iov, n, skip, len);
    return 0;
}

/*
 * A cluster of 32 subclusters, of which each is allocated, zero or neither
 * (qcow2.txt, "Extended L2 Entries"): as many as are alike. *len is cut.
 */
static int read_extended(struct qcow2 *q, struct q_run *run, uint64_t off,
                         const struct iovec *iov, int n, uint64_t skip,
                         uint64_t *len)
{
    uint64_t at = off & (q->cluster_size - 1), size = q->cluster_size / 32;
    unsigned first = (unsigned)(at / size), last;
    uint64_t alike = run->bitmap >> first & 0x100000001;

    if (run->kind == Q_PACKED)
        return q_read_run(q, run, off >> q->cluster_bits, off, iov, n, skip,
                          *len);
    for (last = first + 1; last < 32; last++)
        if ((run->bitmap >> last & 0x100000001) != alike)
            break;
    if (*len > last * size - at)
        *len = last * size - at;
    if (alike == 0x100000001 || (alike & 1 && !run->off))
        return -EUCLEAN;
    run->kind = alike & 1 ? Q_NORMAL : alike ? Q_ZERO_PLAIN : Q_UNALLOC;
    return q_read_run(q, run, off >> q->cluster_bits, off, iov, n, skip, *len);
}

/* Clusters that [off, off + len) touches, and how many bytes of it are in the
 * first n of them. */
static uint64_t touched(const struct qcow2 *q, uint64_t off, uint64_t len)
{
    return q_clusters(q, (off & (q->cluster_size - 1)) + len);
}

static uint64_t bytes_in(const struct qcow2 *q, uint64_t off, uint64_t len,
                         uint64_t n)
{
    uint64_t room = (n << q->cluster_bits) - (off & (q->cluster_size - 1));

    return len < room ? len : room;
}

int q_readv(struct blk *b, uint64_t off, const struct iovec *iov, int n)
{
    struct qcow2 *q = q_of(b);
    uint64_t len = iov_len(iov, n), done = 0;
    unsigned epoch;
    int rc = 0;

    lock_take(&q->lock);
    epoch = q_begin(q);
    while (!rc && done < len) {
        uint64_t at = off + done, cluster = at >> q->cluster_bits, take;
        struct q_run run;

        rc = q_map(q, cluster, touched(q, at, len - done), &run);
        if (rc)
            break;
        lock_drop(&q->lock);
        take = bytes_in(q, at, len - done, run.n);
        if (q->l2_entry_size == 8)
            rc = q_read_run(q, &run, cluster, at, iov, n, done, take);
        else
            rc = read_extended(q, &run, at, iov, n, done, &take);
        done += take;
        lock_take(&q->lock);
    }
    q_end(q, epoch);
    lock_drop(&q->lock);
    return rc == -EUCLEAN ? -EIO : rc;
}

/* -- Writing -------------------------------------------------------------- */

/* One step of a request: guest clusters that are treated alike. */
struct step {
    const struct iovec *iov;
    int n;
    uint64_t skip; /* where its bytes begin in iov */
    uint64_t off, len;
    uint64_t cluster; /* of off */
    struct q_run old; /* what is there now */
    /* Where it goes: */
    uint64_t first, got; /* clusters of the file */
    bool fresh;          /* they read as zeroes */
    bool reuse;          /* they are those of old */
};

static int write_file(struct qcow2 *q, uint64_t off, const struct iovec *iov,
                      int n, uint64_t skip, uint64_t len, bool dsync)
{
    int rc = atomic_load(&q->broken);

    while (len && !rc) {
        struct iovec part[IOV_BATCH];
        uint64_t got;
        int m = iov_slice(iov, n, skip, len, part, IOV_BATCH, &got);

        rc = hostfile_writev(&q->f, off, part, m, dsync);
        off += got;
        skip += got;
        len -= got;
    }
    atomic_fetch_add(&q->written, 1);
    return rc;
}

bool q_is_busy(const struct qcow2 *q, uint64_t first, uint64_t n)
{
    for (const struct q_alloc_busy *a = q->busy; a; a = a->next)
        if (ranges_overlap(first, n, a->first, a->n))
            return true;
    return false;
}

int q_ready(struct qcow2 *q, uint64_t first, uint64_t n)
{
    for (;;) {
        int rc = q_make_room(q);

        if (rc || !q_is_busy(q, first, n))
            return rc;
        (void)pthread_cond_wait(&q->changed, &q->lock.m);
    }
}

static void busy_remove(struct qcow2 *q, struct q_alloc_busy *a)
{
    struct q_alloc_busy **p = &q->busy;

    while (*p != a)
        p = &(*p)->next;
    *p = a->next;
    (void)pthread_cond_broadcast(&q->changed);
}

/* How many clusters from s->cluster on need new ones: the run of `old` and
 * those after it in the slice. */
static int count_to_allocate(struct qcow2 *q, const struct step *s, uint64_t *n)
    REQUIRES(q->lock)
{
    uint64_t max = touched(q, s->off, s->len), room;
    struct q_run run;
    int rc;

    room = q_l2_in_slice(q, s->cluster);
    if (max > room)
        max = room;
    for (*n = s->old.n < max ? s->old.n : max; *n < max; *n += run.n) {
        rc = q_map(q, s->cluster + *n, max - *n, &run);
        if (rc)
            return rc;
        if (run.copied && (run.kind == Q_NORMAL || run.kind == Q_ZERO_ALLOC))
            break;
    }
    return 0;
}

/* Bytes of one cluster around the request's: from what was there. buf is the
 * whole cluster's; only [at, at + len) of it is filled. */
static int read_old(struct qcow2 *q, uint64_t cluster, uint64_t at,
                    uint64_t len, uint8_t *buf)
{
    uint64_t off = (cluster << q->cluster_bits) + at;
    struct iovec one = {buf, len};
    struct q_run run;
    int rc;

    if (!len)
        return 0;
    lock_take(&q->lock);
    rc = q_map(q, cluster, 1, &run);
    lock_drop(&q->lock);
    return rc ? rc : q_read_run(q, &run, cluster, off, &one, 1, 0, len);
}

static bool reads_zero(const struct qcow2 *q, const struct q_run *run)
{
    return run->kind == Q_ZERO_PLAIN || run->kind == Q_ZERO_ALLOC ||
           (run->kind == Q_UNALLOC && !q->backing_name);
}

/* Old bytes before and behind the request's, in one write if they fit. */
static int write_around(struct qcow2 *q, struct step *s, uint8_t *buf,
                        uint64_t head, uint64_t bytes, uint64_t tail)
{
    uint64_t off = s->first << q->cluster_bits, got;
    struct iovec v[IOV_BATCH + 2];
    struct iovec before = {buf, head}, after = {buf + head, tail};
    int m = iov_slice(s->iov, s->n, s->skip, bytes, v + 1, IOV_BATCH, &got);
    int rc;

    if (got == bytes) {
        v[0] = before;
        v[m + 1] = after;
        return write_file(q, off, v, m + 2, 0, head + bytes + tail, false);
    }
    rc = write_file(q, off, &before, 1, 0, head, false);
    if (!rc)
        rc = write_file(q, off + head, s->iov, s->n, s->skip, bytes, false);
    if (!rc)
        rc = write_file(q, off + head + bytes, &after, 1, 0, tail, false);
    return rc;
}

/*
 * Write a step into its new clusters, with what was around it in the first and
 * the last one. That is left out where both sides are zeroes already.
 */
static int write_new(struct qcow2 *q, struct step *s)
{
    uint64_t head = s->off & (q->cluster_size - 1), tail, bytes;
    uint64_t last = s->cluster + s->got - 1;
    uint8_t *buf;
    int rc;

    bytes = bytes_in(q, s->off, s->len, s->got);
    tail = (s->got << q->cluster_bits) - head - bytes;
    if ((!head && !tail) ||
        (s->fresh && s->got <= s->old.n && reads_zero(q, &s->old)))
        return write_file(q, (s->first << q->cluster_bits) + head, s->iov, s->n,
                          s->skip, bytes, false);
    buf = malloc(head + tail);
    if (!buf)
        return -ENOMEM;
    rc = read_old(q, s->cluster, 0, head, buf);
    if (!rc)
        rc = read_old(q, last, q->cluster_size - tail, tail, buf + head);
    if (!rc)
        rc = write_around(q, s, buf, head, bytes, tail);
    free(buf);
    return rc;
}

/* The data is in the file: let the tables say so. */
static int link_new(struct qcow2 *q, const struct step *s) REQUIRES(q->lock)
{
    uint64_t i, entry;
    int rc = q_make_room(q);

    for (i = 0; i < s->got && !rc; i++) {
        rc = q_l2_get(q, s->cluster + i, &entry);
        if (!rc)
            rc = q_l2_set(q, s->cluster + i,
                          (s->first + i) << q->cluster_bits | Q_COPIED);
        if (rc)
            break;
        if (!s->reuse)
            q_free_entry(q, entry);
    }
    if (rc && !s->reuse)
        q_unalloc(q, s->first + i, s->got - i);
    return rc;
}

static int find_room(struct qcow2 *q, struct step *s) REQUIRES(q->lock)
{
    uint64_t n;
    int rc = q_l2_own(q, s->cluster);

    if (!rc)
        rc = count_to_allocate(q, s, &n);
    if (rc)
        return rc;
    s->reuse = s->old.kind == Q_ZERO_ALLOC && s->old.copied;
    if (!s->reuse)
        return q_alloc(q, n, &s->first, &s->got, &s->fresh);
    if (q_hits_tables(q, s->old.off, s->old.n << q->cluster_bits))
        return -EUCLEAN;
    s->first = s->old.off >> q->cluster_bits;
    s->got = s->old.n < n ? s->old.n : n;
    s->fresh = false;
    return 0;
}

static int write_allocating(struct qcow2 *q, struct step *s) REQUIRES(q->lock)
{
    struct q_alloc_busy busy;
    int rc = find_room(q, s);

    if (rc)
        return rc;
    busy = (struct q_alloc_busy){s->cluster, s->got, q->busy};
    q->busy = &busy;
    lock_drop(&q->lock);
    rc = write_new(q, s);
    lock_take(&q->lock);
    if (!rc)
        rc = link_new(q, s);
    else if (!s->reuse)
        q_unalloc(q, s->first, s->got);
    busy_remove(q, &busy);
    s->len = bytes_in(q, s->off, s->len, s->got);
    return rc;
}

/* Whether an entry that is not dirty is stable, too. */
static bool tables_stable(const struct qcow2 *q)
{
    return q->cache.nr_dirty == q->cache.nr_dirty_refs && !q->nr_l1_dirty &&
           !q->commit_running && !q->tables_unsynced;
}

/* *fua is cleared if a flush has to follow. */
static int write_in_place(struct qcow2 *q, struct step *s, bool *fua)
    REQUIRES(q->lock)
{
    uint64_t at = s->off & (q->cluster_size - 1);
    bool dsync = *fua && tables_stable(q);
    int rc;

    *fua = dsync;
    s->len = bytes_in(q, s->off, s->len, s->old.n);
    if (q_hits_tables(q, s->old.off, s->old.n << q->cluster_bits))
        return -EUCLEAN;
    lock_drop(&q->lock);
    rc = write_file(q, s->old.off + at, s->iov, s->n, s->skip, s->len, dsync);
    lock_take(&q->lock);
    return rc;
}

static int write_step(struct qcow2 *q, struct step *s, bool *fua)
    REQUIRES(q->lock)
{
    int rc;

    s->cluster = s->off >> q->cluster_bits;
    rc = q_ready(q, s->cluster, 1);
    if (!rc)
        rc = q_map(q, s->cluster, touched(q, s->off, s->len), &s->old);
    if (rc)
        return rc;
    if (s->old.kind == Q_NORMAL && s->old.copied)
        return write_in_place(q, s, fua);
    *fua = false;
    return write_allocating(q, s);
}

int q_writev(struct blk *b, uint64_t off, const struct iovec *iov, int n,
             unsigned flags)
{
    struct qcow2 *q = q_of(b);
    uint64_t len = iov_len(iov, n), done = 0;
    bool fua = flags & BLK_FUA;
    unsigned epoch;
    int rc;

    lock_take(&q->lock);
    rc = q_before_change(q);
    epoch = q_begin(q);
    while (!rc && done < len) {
        struct step s = {.iov = iov,
                         .n = n,
                         .skip = done,
                         .off = off + done,
                         .len = len - done};

        rc = write_step(q, &s, &fua);
        done += s.len;
    }
    q_end(q, epoch);
    if (!rc && flags & BLK_FUA && !fua)
        rc = q_flush(q);
    lock_drop(&q->lock);
    return rc == -EUCLEAN ? -EIO : rc;
}
