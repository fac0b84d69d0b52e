/*
 * What is wrong with an image, and putting right what needs no guess: refcounts
 * become the number of references, "copied" flags what follows from them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2_int.h"
#include "block/qcow2_walk.h"

enum { MAX_BAD = 10000 }; /* damages after which a check ends */

enum fix {
    FIX_NOTHING,
    FIX_LEAKS = 1 << 0, /* lower refcounts */
    FIX_LOW = 1 << 1,   /* raise them */
    FIX_COPIED = 1 << 2
};

/* Functions that get the image within a struct are called under its lock, which
 * clang cannot tell (NO_TSA). */
struct fixing {
    struct q_walk *w;
    unsigned fix;
    uint64_t leaks, low, copied; /* wrong ones, whether put right or not */
    uint64_t fixed;
};

/* -- Refcounts ------------------------------------------------------------ */

static int lower(struct qcow2 *q, uint64_t cluster, uint64_t refs)
    REQUIRES(q->lock)
{
    /* Nothing that is stable refers to it, or recovery would not be here. */
    if (!refs) {
        int rc = hostfile_discard(&q->f, cluster << q->cluster_bits,
                                  q->cluster_size);

        if (rc)
            return rc;
        if (cluster < q->hint)
            q->hint = cluster;
    }
    return q_ref_set(q, cluster, refs);
}

static int compare_one(struct fixing *f, uint64_t cluster,
                       uint64_t stored) NO_TSA
{
    uint64_t refs = q_walk_refs(f->w, cluster);
    struct qcow2 *q = f->w->q;
    int rc = 0;

    if (stored == refs)
        return 0;
    if (stored > refs) {
        f->leaks++;
        if (f->fix & FIX_LEAKS)
            rc = lower(q, cluster, refs);
        f->fixed += !rc && f->fix & FIX_LEAKS;
        return rc;
    }
    f->low++;
    if (!(f->fix & FIX_LOW))
        return 0;
    rc = q_ref_set(q, cluster, refs);
    f->fixed += !rc;
    return rc == -EOVERFLOW ? 0 : rc;
}

/* A range whose block is missing or in the wrong place: all refcounts are 0. */
static int compare_missing(struct fixing *f, uint64_t first, uint64_t n) NO_TSA
{
    uint64_t end = first + n, i = q_walk_next(f->w, first, end);
    int rc = 0;

    for (; i < end && !rc; i = q_walk_next(f->w, i + 1, end))
        rc = compare_one(f, i, 0);
    return rc;
}

/* The range needs a block: it goes where nothing is. */
static int make_block(struct fixing *f, uint64_t block, bool *made) NO_TSA
{
    struct q_walk *w = f->w;
    uint64_t first = block << w->q->rb_bits, n = BIT64(w->q->rb_bits), at;
    int rc;

    *made = false;
    if (!(f->fix & FIX_LOW) || q_walk_next(w, first, first + n) == first + n)
        return 0;
    for (at = first; at < first + n; at++)
        if (!q_walk_refs(w, at) &&
            (q_walk_has(w, at) || at >= w->file_clusters))
            break;
    if (at == first + n)
        return 0; /* no room: what is low stays so */
    rc = q_ref_block_at(w->q, block, at);
    if (!rc)
        q_walk_add_table(w, at);
    *made = !rc;
    return rc;
}

/* Blocks that something else refers to, too, are not to be believed. */
static bool is_own_block(const struct q_walk *w, uint64_t off)
{
    uint64_t cluster = off >> w->q->cluster_bits;

    return is_aligned(off, w->q->cluster_size) && cluster < w->file_clusters &&
           (!q_walk_has(w, cluster) || q_walk_refs(w, cluster) == 1);
}

static bool is_zero(const uint8_t *p, uint64_t len)
{
    return !p[0] && !memcmp(p, p + 1, len - 1);
}

/* The refcounts of one block, as far as they are the window's. Those beyond the
 * file belong to the last window. */
static int compare_block(struct fixing *f, uint64_t block) NO_TSA
{
    struct q_walk *w = f->w;
    struct qcow2 *q = w->q;
    uint64_t first = block << q->rb_bits, n = BIT64(q->rb_bits), off;
    bool last = w->end >= w->file_clusters, made;
    uint8_t *copy = w->table;
    int rc;

    off = q->rt[block];
    if (first + n <= w->first || (first >= w->end && !(last && off)))
        return 0;
    if (!off) {
        rc = make_block(f, block, &made);
        off = q->rt[block];
        if (rc || !made)
            return rc ? rc : compare_missing(f, first, n);
    }
    if (!is_own_block(w, off))
        return compare_missing(f, first, n);
    rc = hostfile_read(&q->f, off, copy, q->cluster_size);
    if (!rc && is_zero(copy, q->cluster_size))
        return compare_missing(f, first, n);
    for (uint64_t i = 0; i < n && !rc; i++) {
        if (!q_walk_has(w, first + i) && first + i < w->file_clusters)
            continue;
        rc =
            compare_one(f, first + i, q_ref_read(copy, i, q->h.refcount_order));
    }
    return rc;
}

/* Clusters that are referred to, but beyond the reach of the table. */
static void compare_beyond(struct fixing *f) NO_TSA
{
    struct q_walk *w = f->w;
    uint64_t reach = w->q->rt_entries << w->q->rb_bits;
    uint64_t i = q_walk_next(w, reach, w->end);

    for (; i < w->end; i = q_walk_next(w, i + 1, w->end))
        f->low++;
}

static int compare_refcounts(struct fixing *f) NO_TSA
{
    int rc = 0;

    for (uint64_t b = 0; b < f->w->q->rt_entries && !rc; b++)
        rc = compare_block(f, b);
    if (!rc)
        compare_beyond(f);
    return rc;
}

/* -- "Copied" flags ------------------------------------------------------- */

/* Whether the flag of an entry of the active tables is as it should be; those
 * of clusters that are not in the window are looked at with theirs. */
static bool flag_is_right(const struct q_walk *w, uint64_t cluster,
                          uint64_t entry)
{
    return !q_walk_has(w, cluster) ||
           (q_walk_refs(w, cluster) == 1) == !!(entry & Q_COPIED);
}

static int fix_flag(struct fixing *f, uint64_t table, uint64_t index,
                    uint64_t entry) NO_TSA
{
    struct qcow2 *q = f->w->q;
    struct q_slice *s;
    uint64_t at = index * q->l2_entry_size;
    int rc;

    f->copied++;
    if (!(f->fix & FIX_COPIED))
        return 0;
    f->fixed++;
    rc = q_make_room(q);
    if (rc)
        return rc;
    if (!table) {
        q_l1_set(q, index, entry ^ Q_COPIED);
        return 0;
    }
    rc = q_cache_get(q, table + align_down(at, q->cache.slice_size), false, &s);
    if (rc)
        return rc;
    put_be64(s->data + (at & (q->cache.slice_size - 1)), entry ^ Q_COPIED);
    q_cache_dirty(q, s);
    return 0;
}

static int check_flag(void *arg, uint64_t table, uint64_t index,
                      uint64_t entry) NO_TSA
{
    struct fixing *f = arg;
    uint64_t first, n;
    bool right;

    if (!table) {
        first = (entry & Q_OFFSET) >> f->w->q->cluster_bits;
        right = !first || flag_is_right(f->w, first, entry);
    } else if (entry & Q_COMPRESSED) {
        q_entry_clusters(f->w->q, entry, &first, &n);
        right = !(entry & Q_COPIED) || !q_walk_has(f->w, first);
    } else {
        q_entry_clusters(f->w->q, entry, &first, &n);
        right = !n || flag_is_right(f->w, first, entry);
    }
    return right ? 0 : fix_flag(f, table, index, entry);
}

/* -- The whole ------------------------------------------------------------ */

static int one_window(struct fixing *f, uint64_t first) NO_TSA
{
    struct qcow2 *q = f->w->q;
    int rc = q_walk_count(f->w, first);

    if (!rc)
        rc = compare_refcounts(f);
    if (!rc)
        rc = q_walk_tree(f->w, q->h.l1_off, q->h.l1_size, check_flag, f);
    return rc;
}

static int look(struct q_walk *w, struct fixing *f) NO_TSA
{
    uint64_t first = 0;
    unsigned n = 0;
    int rc = 0;

    do {
        rc = n++ < Q_MAX_WINDOWS ? one_window(f, first) : -EFBIG;
        first = w->end;
    } while (!rc && first < w->file_clusters);
    return rc;
}

static int set_bits(struct qcow2 *q, uint64_t set, uint64_t clear)
    REQUIRES(q->lock)
{
    struct q_header h = q->h;
    int rc;

    h.incompat = (h.incompat & ~clear) | set;
    if (h.version < 3 || h.incompat == q->h.incompat)
        return 0;
    rc = q_header_write(q, &h);
    /* A dirty bit that comes back only makes the next open look. */
    return rc || !set ? rc : q_sync(q, "dirty-bit");
}

int q_set_dirty(struct qcow2 *q, bool on)
{
    return set_bits(q, on ? Q_INCOMPAT_DIRTY : 0, on ? 0 : Q_INCOMPAT_DIRTY);
}

/*
 * Put right what `fix` says. All of it is idempotent, and where it is more than
 * leaks the dirty bit makes sure that it is done again if it is cut short.
 */
static int put_right(struct q_walk *w, struct fixing *f) NO_TSA
{
    struct qcow2 *q = w->q;
    int rc = 0;

    if (f->fix & (FIX_LOW | FIX_COPIED))
        rc = q_set_dirty(q, true);
    f->leaks = f->low = f->copied = 0;
    w->report = false;
    w->again = true;
    if (!rc)
        rc = look(w, f);
    return rc ? rc : q_flush_frozen(q);
}

static uint64_t beyond_repair(const struct qcow2_check *c)
{
    return c->overlaps + c->outside + c->invalid;
}

/* -- At open -------------------------------------------------------------- */

static int refuse(struct qcow2 *q, const struct qcow2_check *c, struct err *err)
{
    return err_set(
        err, -EUCLEAN,
        "open %s for writing: it is damaged (%llu refcounts too "
        "low, %llu overlaps, %llu references outside the file, %llu "
        "broken entries); repair it first (husk check --repair)",
        q->path, (unsigned long long)c->low, (unsigned long long)c->overlaps,
        (unsigned long long)c->outside, (unsigned long long)c->invalid);
}

static int recover(struct qcow2 *q, struct q_walk *w, struct fixing *f,
                   struct qcow2_check *c, struct err *err) REQUIRES(q->lock)
{
    bool dirty = q->h.incompat & Q_INCOMPAT_DIRTY;
    int rc;

    w->max_bad = 1;
    rc = look(w, f);
    if (rc == -EUCLEAN && beyond_repair(c))
        return refuse(q, c, err);
    if (rc)
        goto fail;
    c->low = f->low;
    /* With the dirty bit, refcounts may be low: QEMU's lazy refcounts. */
    if (beyond_repair(c) || (f->low && !dirty))
        return refuse(q, c, err);
    q->reclaimed = f->leaks << q->cluster_bits;
    if (f->leaks || f->low || f->copied) {
        f->fix = (f->leaks ? FIX_LEAKS : 0u) | (f->low ? FIX_LOW : 0u) |
                 (f->copied ? FIX_COPIED : 0u);
        c->low = f->low;
        rc = put_right(w, f);
    }
    if (!rc)
        rc = q_set_dirty(q, false);
    if (!rc)
        return 0;
fail:
    return err_rc(err, rc, "recover %s after it was not closed in order",
                  q->path);
}

int q_recover(struct qcow2 *q, struct err *err)
{
    struct qcow2_check c = {0};
    struct q_walk w;
    struct fixing f = {.w = &w};
    bool clean = q->closed && !(q->h.incompat & Q_INCOMPAT_DIRTY) &&
                 !(q->h.autoclear & Q_AUTOCLEAR_BITMAPS);
    int rc;

    if (clean)
        return 0;
    lock_take(&q->lock);
    /* What a killed process wrote may still be in memory alone: absent
     * references must be stable before their clusters are used (3). */
    rc = q_sync(q, "recover");
    if (!rc && q->h.autoclear & Q_AUTOCLEAR_BITMAPS)
        rc = q_session(q);
    if (!rc)
        rc = q_walk_init(&w, q, &c, true);
    if (rc) {
        (void)err_rc(err, rc, "recover %s", q->path);
    } else {
        rc = recover(q, &w, &f, &c, err);
        q->recovered = !rc;
        q_walk_fini(&w);
    }
    lock_drop(&q->lock);
    return rc;
}

/* As at open, but the image is in use: frozen and flushed. */
int q_recount(struct qcow2 *q, struct err *err)
{
    struct qcow2_check c = {0};
    struct q_walk w;
    struct fixing f = {.w = &w};
    int rc = q_walk_init(&w, q, &c, true);

    if (rc)
        return rc;
    rc = recover(q, &w, &f, &c, err);
    q_walk_fini(&w);
    return rc;
}

/* -- When asked for ------------------------------------------------------- */

static int repair(struct qcow2 *q, struct q_walk *w, struct fixing *f,
                  struct qcow2_check *c) REQUIRES(q->lock)
{
    int rc;

    f->fix = (f->leaks ? FIX_LEAKS : 0u) | (f->low ? FIX_LOW : 0u) |
             (f->copied ? FIX_COPIED : 0u);
    /* What two own is freed by neither. */
    if (beyond_repair(c))
        f->fix &= ~(unsigned)FIX_LEAKS;
    rc = f->fix ? put_right(w, f) : 0;
    c->repaired = f->fixed;
    c->remaining -= f->fixed;
    if (!rc && !c->remaining)
        rc = set_bits(q, 0, Q_INCOMPAT_DIRTY | Q_INCOMPAT_CORRUPT);
    q->leaked = rc || c->remaining;
    return rc;
}

enum fix_what {
    FIX_NONE,
    FIX_SAFE, /* unless something is beyond repair */
    FIX_ALL   /* that can be */
};

static int check_once(struct qcow2 *q, enum fix_what fix, struct qcow2_check *c,
                      qcow2_progress *progress, void *arg) REQUIRES(q->lock)
{
    struct q_walk w;
    struct fixing f = {.w = &w};
    bool stopped;
    int rc = q_walk_init(&w, q, c, true);

    if (rc)
        return rc;
    c->clusters = w.file_clusters;
    w.progress = progress;
    w.progress_arg = arg;
    w.all_steps = 2ull + q->nr_snaps; /* if there is one window */
    w.max_bad = MAX_BAD;
    rc = look(&w, &f);
    stopped = rc == -EUCLEAN && beyond_repair(c) >= MAX_BAD;
    if (stopped)
        rc = 0;
    c->leaks = f.leaks;
    c->low = f.low;
    c->copied = f.copied;
    c->remaining = f.leaks + f.low + f.copied + beyond_repair(c);
    w.progress = NULL;
    if (!rc && !stopped &&
        (fix == FIX_ALL || (fix == FIX_SAFE && !beyond_repair(c))))
        rc = repair(q, &w, &f, c);
    q_walk_fini(&w);
    return rc;
}

/*
 * If what is beyond repair is all in the refcounts, they are made anew first:
 * what was found wrong with the old ones is then no more.
 */
static int check_frozen(struct qcow2 *q, bool fix, struct qcow2_check *c,
                        qcow2_progress *progress, void *arg) REQUIRES(q->lock)
{
    struct qcow2_check again = {0};
    uint64_t wrong;
    bool done = false;
    int rc = fix ? q_session(q) : 0;

    if (!rc)
        rc = check_once(q, fix ? FIX_SAFE : FIX_NONE, c, progress, arg);
    if (rc || !fix || !beyond_repair(c))
        return rc;
    wrong = c->remaining;
    rc = q_refcounts_rebuild(q, &done);
    if (!rc)
        rc = check_once(q, FIX_ALL, &again, NULL, NULL);
    if (rc)
        return rc;
    c->remaining = again.remaining;
    c->repaired = again.repaired;
    if (done && wrong > again.remaining)
        c->repaired = wrong - again.remaining;
    return 0;
}

int qcow2_check(struct qcow2 *q, bool fix, struct qcow2_check *c,
                qcow2_progress *progress, void *arg, struct err *err)
{
    int rc = 0;

    *c = (struct qcow2_check){0};
    if (fix && !q->writable)
        return err_set(err, -EROFS, "repair %s: it is open for reading only",
                       q->path);
    lock_take(&q->lock);
    if (q->writable)
        rc = q_freeze(q);
    if (!rc) {
        rc = check_frozen(q, fix, c, progress, arg);
        if (q->writable)
            q_thaw(q);
    }
    lock_drop(&q->lock);
    if (rc)
        (void)err_rc(err, rc, "check %s", q->path);
    return rc;
}
