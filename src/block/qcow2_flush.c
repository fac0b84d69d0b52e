/*
 * Commits: how what is in memory reaches the disk in the order that the
 * invariants ask for; and who may run when.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2_int.h"

static void wait_changed(struct qcow2 *q) REQUIRES(q->lock)
{
    (void)pthread_cond_wait(&q->changed, &q->lock.m);
}

static void tell_changed(struct qcow2 *q)
{
    (void)pthread_cond_broadcast(&q->changed);
}

int q_sync(struct qcow2 *q, const char *why)
{
    int rc = atomic_load(&q->broken);

    if (rc)
        return rc;
    rc = hostfile_sync(&q->f, why);
    if (rc && rc != -EINTR) {
        /* The kernel reports a failed write-back once and forgets the data: a
         * later sync that succeeds would prove nothing. */
        atomic_store(&q->broken, -EIO);
    }
    return rc;
}

int q_write_meta(struct qcow2 *q, uint64_t off, const void *buf, uint64_t len)
{
    int rc = atomic_load(&q->broken);

    if (!rc)
        rc = hostfile_write(&q->f, off, buf, len);
    atomic_fetch_add(&q->written, 1);
    return rc;
}

/* -- Requests ------------------------------------------------------------- */

unsigned q_begin(struct qcow2 *q)
{
    while (q->frozen)
        wait_changed(q);
    q->in_flight[q->epoch]++;
    return q->epoch;
}

void q_end(struct qcow2 *q, unsigned epoch)
{
    if (!--q->in_flight[epoch] && (q->frozen || q->releasing))
        tell_changed(q);
}

/* -- Giving back what a commit made free ---------------------------------- */

/* What cannot be punched stays as it is. */
static void punch(struct qcow2 *q, uint64_t first, uint64_t n)
{
    int rc =
        hostfile_discard(&q->f, first << q->cluster_bits, n << q->cluster_bits);

    (void)rc;
}

/* Punch what nothing refers to any more; its refcount in memory is still 1, so
 * nobody takes it meanwhile. */
static void punch_extent(struct qcow2 *q, const struct q_extent *e)
    REQUIRES(q->lock)
{
    uint64_t at = e->first, end = e->first + e->n;

    while (at < end) {
        uint64_t count = 0, n = 0;

        while (at + n < end && !q_ref_get(q, at + n, &count) && count == 1)
            n++;
        if (n) {
            lock_drop(&q->lock);
            punch(q, at, n);
            lock_take(&q->lock);
        }
        at += n ? n : 1;
    }
}

static void release_extents(struct qcow2 *q, const struct q_extents *x)
    REQUIRES(q->lock)
{
    for (uint32_t i = 0; i < x->nr; i++) {
        punch_extent(q, &x->e[i]);
        q_unalloc(q, x->e[i].first, x->e[i].n);
    }
}

/*
 * Lower the refcounts of what was made free by commits (invariant 3). Requests
 * that began before now may still read or write there: they are those of the
 * present epoch and, if somebody else has just changed it, of none, because
 * only one thread does this at a time and it waits for all of them.
 */
static void release(struct qcow2 *q, bool wait) REQUIRES(q->lock)
{
    struct q_extents mine = q->released;
    unsigned old = q->epoch;

    if (!mine.nr || q->releasing || atomic_load(&q->broken) ||
        (wait && q->frozen))
        return;
    q->releasing = true;
    q->released = (struct q_extents){0};
    q->epoch = !old;
    while (wait && q->in_flight[old])
        wait_changed(q);
    release_extents(q, &mine);
    q->releasing = false;
    free(mine.e);
    tell_changed(q);
}

/* x becomes part of `to`. */
static void move_extents(struct qcow2 *q, struct q_extents *to,
                         struct q_extents *x)
{
    struct q_extent *e;

    if (!x->nr)
        return;
    if (!to->nr) {
        struct q_extents swap = *to;

        *to = *x;
        *x = swap;
        x->nr = 0;
        return;
    }
    e = realloc(to->e, (to->nr + x->nr) * sizeof(*e));
    if (e) {
        memcpy(e + to->nr, x->e, x->nr * sizeof(*e));
        to->e = e;
        to->nr += x->nr;
        to->max = to->nr;
    } else {
        q->leaked = true;
    }
    x->nr = 0;
}

/* -- A commit ------------------------------------------------------------- */

static void batch_slices(struct qcow2 *q) REQUIRES(q->lock)
{
    struct q_cache *c = &q->cache;

    for (uint32_t i = 1; i <= c->nr && c->nr_dirty > c->nr_dirty_refs; i++) {
        struct q_slice *s = &c->slice[i];
        struct q_write *w = &q->batch[q->nr_batch];

        if (!s->dirty || s->is_ref)
            continue;
        *w = (struct q_write){s->off, c->slice_size, i,
                              q->batch_mem +
                                  (uint64_t)q->nr_batch * c->slice_size};
        memcpy(w->data, s->data, c->slice_size);
        s->writing = true;
        s->dirty = false;
        c->nr_dirty--;
        q->nr_batch++;
    }
}

static void batch_l1(struct qcow2 *q) REQUIRES(q->lock)
{
    for (uint64_t k = 0; k * 64 < q->h.l1_size && q->nr_l1_dirty; k++) {
        struct q_write *w = &q->batch[q->nr_batch];
        uint64_t n = q->h.l1_size - k * 64;

        if (!q->l1_dirty[k])
            continue;
        n = n < 64 ? n : 64;
        *w = (struct q_write){q->h.l1_off + k * Q_SECTOR, (uint32_t)n * 8, 0,
                              q->batch_mem +
                                  (uint64_t)q->nr_batch * q->cache.slice_size};
        for (uint64_t i = 0; i < n; i++)
            put_be64(w->data + i * 8, q->l1[k * 64 + i]);
        q->l1_dirty[k] = 0;
        q->nr_l1_dirty--;
        q->nr_batch++;
    }
}

/* The batch has been written, or has to be written again. */
static void batch_done(struct qcow2 *q, bool again) REQUIRES(q->lock)
{
    for (uint32_t i = 0; i < q->nr_batch; i++) {
        struct q_write *w = &q->batch[i];

        if (w->slice) {
            q->cache.slice[w->slice].writing = false;
            if (again)
                q_cache_dirty(q, &q->cache.slice[w->slice]);
        } else if (again) {
            uint64_t k = (w->off - q->h.l1_off) / 8;

            q_l1_set(q, k, q->l1[k]);
        }
    }
    q->nr_batch = 0;
}

static int batch_write(struct qcow2 *q)
{
    int rc = 0;

    for (uint32_t i = 0; i < q->nr_batch && !rc; i++)
        rc =
            q_write_meta(q, q->batch[i].off, q->batch[i].data, q->batch[i].len);
    return rc;
}

/* The two steps of a flush, without the lock. *seen: the writes it covered. */
static int write_in_order(struct qcow2 *q, bool whole, uint64_t *seen)
{
    int rc = 0;

    if (q->nr_batch) {
        rc = q_sync(q, "before-entries");
        if (!rc)
            rc = batch_write(q);
    }
    *seen = atomic_load(&q->written);
    if (!rc && whole)
        rc = q_sync(q, q->nr_batch ? "entries" : "guest-flush");
    return rc;
}

/*
 * Write everything that is dirty. whole: and make it stable; otherwise the
 * entries written last need not be. The lock is dropped meanwhile: what others
 * change then is for the next commit.
 */
static int commit(struct qcow2 *q, bool whole) REQUIRES(q->lock)
{
    struct q_extents freed = q->freed;
    uint64_t number = ++q->commits_begun, seen = 0;
    int rc;

    q->commit_running = true;
    q->tables_unsynced = true;
    q->freed = (struct q_extents){0};
    rc = q_cache_write_refs(q);
    if (!rc) {
        batch_slices(q);
        batch_l1(q);
        lock_drop(&q->lock);
        rc = write_in_order(q, whole, &seen);
        lock_take(&q->lock);
    }
    batch_done(q, rc);
    if (!rc && whole) {
        atomic_store(&q->synced, seen);
        q->commits_good = number;
        q->tables_unsynced = false;
        move_extents(q, &q->released, &freed);
    } else {
        move_extents(q, &q->freed, &freed);
    }
    free(freed.e);
    q->commit_running = false;
    tell_changed(q);
    return rc;
}

int q_make_room(struct qcow2 *q)
{
    struct q_cache *c = &q->cache;
    int rc = atomic_load(&q->broken);

    while (!rc &&
           c->nr_dirty - c->nr_dirty_refs + q->nr_l1_dirty + 2 > c->max_dirty) {
        if (q->commit_running)
            wait_changed(q);
        else
            rc = commit(q, false);
    }
    return rc;
}

static bool is_clean(const struct qcow2 *q)
{
    return !q->cache.nr_dirty && !q->nr_l1_dirty && !q->freed.nr &&
           !q->commit_running &&
           atomic_load(&q->written) == atomic_load(&q->synced);
}

int q_flush(struct qcow2 *q)
{
    uint64_t mine = q->commits_begun + 1; /* begins after what it must cover */
    int rc = atomic_load(&q->broken);

    while (q->frozen && !rc)
        wait_changed(q);
    if (rc || is_clean(q))
        return rc;
    while (!rc && q->commits_good < mine) {
        if (q->commit_running || q->frozen)
            wait_changed(q);
        else
            rc = commit(q, true);
        if (!rc)
            rc = atomic_load(&q->broken);
    }
    if (!rc)
        release(q, true);
    return rc;
}

int q_before_change(struct qcow2 *q)
{
    int rc = q->flags & QCOW2_FOR_CHECK ? -EIO : q_session(q);

    return rc || q->freed.nr < Q_FREE_MAX ? rc : q_flush(q);
}

/* -- Changes of the whole image ------------------------------------------- */

int q_flush_frozen(struct qcow2 *q)
{
    int rc = commit(q, true);

    if (!rc)
        release(q, false);
    /* Whoever has frozen the image reads tables from the file. */
    return rc ? rc : q_cache_write_refs(q);
}

int q_freeze(struct qcow2 *q)
{
    int rc;

    while (q->frozen)
        wait_changed(q);
    q->frozen = 1;
    while (q->in_flight[0] || q->in_flight[1] || q->commit_running ||
           q->releasing)
        wait_changed(q);
    rc = q_flush_frozen(q);
    if (rc)
        q_thaw(q);
    return rc;
}

void q_thaw(struct qcow2 *q)
{
    q->frozen = 0;
    tell_changed(q);
}
