/*
 * Moving clusters from the end of the file to free ones before it, and cutting
 * the file.
 *
 * The file is worked on from its end in regions. What a region holds is told by
 * a walk over all trees. A cluster moves thus: the new one gets the old one's
 * refcount and a copy of its bytes, which are stable before the first reference
 * changes; when all references have changed and that is stable, the old one is
 * free. Cut short anywhere, that is a leak. Between regions the disk works on.
 *
 * Compressed clusters stay where they are, as they begin and end within
 * clusters; husk writes none.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2_int.h"
#include "block/qcow2_walk.h"

enum { REGION = 16384 }; /* clusters */

struct place {
    uint64_t to;   /* cluster; 0: stays */
    uint32_t data; /* references as a cluster of data */
    uint32_t l2;   /* as an L2 table */
};

/* Functions that get one are called under the image's lock, which clang cannot
 * tell (NO_TSA). */
struct region {
    struct qcow2 *q;
    uint64_t first, n;
    struct place *place;
    bool l2;         /* L2 tables are moved, else data */
    bool moving;     /* references are changed, else counted */
    uint64_t l1_off; /* of the tree that is walked */
    uint64_t moved;
    bool full; /* nothing is free before the region any more */
};

/* -- What is where -------------------------------------------------------- */

static struct place *place_of(struct region *r, uint64_t cluster)
{
    return cluster >= r->first && cluster - r->first < r->n
               ? &r->place[cluster - r->first]
               : NULL;
}

static int move_l1_entry(struct region *r, uint64_t index,
                         uint64_t entry) NO_TSA
{
    uint8_t buf[8];
    int rc;

    if (r->l1_off == r->q->h.l1_off) {
        rc = q_make_room(r->q);
        if (!rc)
            q_l1_set(r->q, index, entry);
        return rc;
    }
    put_be64(buf, entry);
    return q_write_meta(r->q, r->l1_off + index * 8, buf, sizeof(buf));
}

static int move_l2_entry(struct region *r, uint64_t table, uint64_t index,
                         uint64_t entry) NO_TSA
{
    uint64_t at = index * 8, size = r->q->cache.slice_size;
    struct q_slice *s;
    int rc = q_make_room(r->q);

    if (!rc)
        rc = q_cache_get(r->q, table + align_down(at, size), false, &s);
    if (rc)
        return rc;
    put_be64(s->data + (at & (size - 1)), entry);
    q_cache_dirty(r->q, s);
    return 0;
}

static int visit(void *arg, uint64_t table, uint64_t index, uint64_t entry)
{
    struct region *r = arg;
    uint64_t off = entry & Q_OFFSET, to;
    struct place *p;
    enum q_kind kind;

    if (table && (q_entry_kind(r->q, entry, &kind, &off) || kind == Q_PACKED))
        return 0;
    p = off ? place_of(r, off >> r->q->cluster_bits) : NULL;
    if (!p)
        return 0;
    if (!r->moving) {
        if (table)
            p->data++;
        else
            p->l2++;
        return 0;
    }
    if (!p->to || r->l2 != !table)
        return 0;
    to = (entry & ~Q_OFFSET) | p->to << r->q->cluster_bits;
    return table ? move_l2_entry(r, table, index, to)
                 : move_l1_entry(r, index, to);
}

static int walk_all(struct region *r) NO_TSA
{
    struct qcow2 *q = r->q;
    struct qcow2_check ignored = {0};
    struct q_walk w;
    int rc = q_walk_init(&w, q, &ignored, false);

    if (rc)
        return rc;
    r->l1_off = q->h.l1_off;
    rc = q_walk_tree(&w, q->h.l1_off, q->h.l1_size, visit, r);
    for (uint32_t i = 0; i < q->nr_snaps && !rc; i++) {
        r->l1_off = q->snaps[i].l1_off;
        rc = q_walk_tree(&w, q->snaps[i].l1_off, q->snaps[i].l1_size, visit, r);
    }
    q_walk_fini(&w);
    return rc;
}

/* -- One region ----------------------------------------------------------- */

static int copy_cluster(struct qcow2 *q, uint64_t from, uint64_t to)
{
    uint8_t *buf = aligned_alloc(Q_SLICE_MAX, q->cluster_size < Q_SLICE_MAX
                                                  ? Q_SLICE_MAX
                                                  : q->cluster_size);
    int rc = buf ? hostfile_read(&q->f, from << q->cluster_bits, buf,
                                 q->cluster_size)
                 : -ENOMEM;

    if (!rc)
        rc = q_write_meta(q, to << q->cluster_bits, buf, q->cluster_size);
    free(buf);
    return rc;
}

/* A new place for the i-th cluster, and its copy there. */
static int copy_out(struct region *r, uint64_t i, uint64_t refs) NO_TSA
{
    struct qcow2 *q = r->q;
    uint64_t to, got;
    bool fresh;
    int rc = q_alloc(q, 1, &to, &got, &fresh);

    if (rc)
        return rc;
    if (to >= r->first) {
        q_unalloc(q, to, 1);
        r->full = true;
        return 0;
    }
    rc = copy_cluster(q, r->first + i, to);
    if (!rc)
        rc = q_ref_set(q, to, refs);
    if (rc) {
        q_unalloc(q, to, 1);
        return rc;
    }
    q_cache_drop(q, to << q->cluster_bits, q->cluster_size);
    r->place[i].to = to;
    return 0;
}

/* All that refers to it has to be of the kind that is moved. */
static bool can_move(const struct region *r, uint64_t i, uint64_t refs)
{
    const struct place *p = &r->place[i];

    return refs && refs == (r->l2 ? p->l2 : p->data) &&
           !(r->l2 ? p->data : p->l2);
}

/* How many of the region there is no room for: its first ones, as the file is
 * to become shorter. The others keep their order. */
static int count_surplus(struct region *r, uint64_t *n) NO_TSA
{
    uint64_t movable = 0, room = 0, refs = 0;
    int rc = 0;

    for (uint64_t i = 0; i < r->n && !rc; i++) {
        rc = q_ref_get(r->q, r->first + i, &refs);
        movable += !rc && can_move(r, i, refs);
    }
    for (uint64_t i = r->q->hint; i < r->first && room < movable && !rc; i++) {
        rc = q_ref_get(r->q, i, &refs);
        room += !rc && !refs;
    }
    *n = movable - room;
    r->full = *n > 0;
    return rc;
}

static int copy_region(struct region *r) NO_TSA
{
    uint64_t skip, refs = 0;
    int rc = count_surplus(r, &skip);

    for (uint64_t i = 0; i < r->n && !rc; i++) {
        rc = q_ref_get(r->q, r->first + i, &refs);
        if (rc || !can_move(r, i, refs))
            continue;
        if (skip)
            skip--;
        else
            rc = copy_out(r, i, refs);
    }
    return rc;
}

/* References are elsewhere, and that is stable (or, if not done, they are not
 * and the copies are free). */
static int free_region(struct region *r, bool done) NO_TSA
{
    struct qcow2 *q = r->q;
    int rc = 0;

    for (uint64_t i = 0; i < r->n && !rc; i++) {
        struct place *p = &r->place[i];
        uint64_t cluster = done ? r->first + i : p->to;

        if (!p->to)
            continue;
        q_cache_drop(q, cluster << q->cluster_bits, q->cluster_size);
        rc = q_ref_set(q, cluster, 0);
        if (!rc)
            rc = hostfile_discard(&q->f, cluster << q->cluster_bits,
                                  q->cluster_size);
        if (cluster < q->hint)
            q->hint = cluster;
        r->moved += done;
        p->to = 0;
    }
    return rc;
}

/*
 * Data or tables of the region. If references could not all be changed, some
 * lead to the copies and some to the originals: both stay, and the next open
 * frees what is not needed.
 */
static int move_kind(struct region *r, bool l2) NO_TSA
{
    struct qcow2 *q = r->q;
    int rc;

    r->l2 = l2;
    r->moving = true;
    rc = copy_region(r);
    if (!rc)
        rc = q_flush_frozen(q);
    if (rc) {
        if (free_region(r, false))
            q->leaked = true;
        return rc;
    }
    rc = walk_all(r);
    if (!rc)
        rc = q_flush_frozen(q);
    if (!rc)
        rc = free_region(r, true);
    if (rc)
        q->leaked = true;
    return rc;
}

static int move_region(struct region *r) NO_TSA
{
    int rc;

    r->moving = false;
    memset(r->place, 0, r->n * sizeof(*r->place));
    rc = walk_all(r);
    if (!rc)
        rc = move_kind(r, false);
    if (!rc && !r->full)
        rc = move_kind(r, true);
    q_decoded_forget(r->q);
    return rc;
}

/* -- Tables that stand alone ---------------------------------------------- */

/* A row of n clusters before `before`, or 0. */
static int row_before(struct qcow2 *q, uint64_t n, uint64_t before,
                      uint64_t *first) REQUIRES(q->lock)
{
    int rc = q_alloc_row(q, n, first);

    if (!rc && *first >= before) {
        q_unalloc(q, *first, n);
        *first = 0;
    }
    return rc;
}

static int copy_row(struct qcow2 *q, uint64_t off, uint64_t n, uint64_t *to)
    REQUIRES(q->lock)
{
    uint64_t from = off >> q->cluster_bits;
    int rc = row_before(q, n, from, to);

    for (uint64_t i = 0; i < n && *to && !rc; i++)
        rc = copy_cluster(q, from + i, *to + i);
    if (rc && *to)
        q_unalloc(q, *to, n);
    return rc;
}

static int free_row(struct qcow2 *q, uint64_t off, uint64_t n) REQUIRES(q->lock)
{
    q_unalloc(q, off >> q->cluster_bits, n);
    return hostfile_discard(&q->f, off, n << q->cluster_bits);
}

/* A table that the header names by the field at *at (of h). */
static int move_named(struct qcow2 *q, struct q_header *h, uint64_t *at,
                      uint64_t n, const char *why) REQUIRES(q->lock)
{
    uint64_t old = *at, to = 0;
    int rc = n ? copy_row(q, old, n, &to) : 0;

    if (rc || !to)
        return rc;
    rc = q_flush_frozen(q);
    *at = to << q->cluster_bits;
    if (!rc)
        rc = q_header_write(q, h);
    if (!rc)
        rc = q_sync(q, why);
    return rc ? rc : free_row(q, old, n);
}

static int move_snapshot_l1(struct qcow2 *q, struct q_snap *s) REQUIRES(q->lock)
{
    uint64_t n = q_clusters(q, s->s.l1_bytes), old = s->l1_off, to = 0, off;
    uint64_t bytes, old_table = q->h.snaps_off, old_bytes = q->snaps_bytes;
    struct q_header h;
    int rc = n ? copy_row(q, old, n, &to) : 0;

    if (rc || !to)
        return rc;
    s->l1_off = to << q->cluster_bits;
    rc = q_snaps_write(q, q->snaps, q->nr_snaps, &off, &bytes);
    if (!rc)
        rc = q_flush_frozen(q);
    h = q->h;
    h.snaps_off = off;
    if (!rc)
        rc = q_header_write(q, &h);
    if (!rc)
        rc = q_sync(q, "compact-snapshots");
    if (rc) {
        s->l1_off = old;
        return rc;
    }
    q->snaps_bytes = bytes;
    rc = free_row(q, old_table, q_clusters(q, old_bytes));
    return rc ? rc : free_row(q, old, n);
}

static int move_tables(struct qcow2 *q) REQUIRES(q->lock)
{
    struct q_header h;
    int rc = 0;

    for (uint32_t i = 0; i < q->nr_snaps && !rc; i++)
        rc = move_snapshot_l1(q, &q->snaps[i]);
    h = q->h;
    if (!rc)
        rc = move_named(q, &h, &h.snaps_off, q_clusters(q, q->snaps_bytes),
                        "compact-snapshots");
    h = q->h;
    if (!rc)
        rc = move_named(q, &h, &h.l1_off, q_clusters(q, q->h.l1_size * 8ull),
                        "compact-l1");
    h = q->h;
    if (!rc)
        rc =
            move_named(q, &h, &h.rt_off, q->h.rt_clusters, "compact-refcounts");
    return rc;
}

/* -- Refcount blocks ------------------------------------------------------ */

static int write_rt_entry(struct qcow2 *q, uint64_t i, uint64_t off)
    REQUIRES(q->lock)
{
    uint8_t entry[8];
    int rc;

    put_be64(entry, off);
    rc = q_write_meta(q, q->h.rt_off + i * 8, entry, sizeof(entry));
    if (!rc)
        rc = q_sync(q, "compact-block");
    if (!rc)
        q->rt[i] = off;
    return rc;
}

/* Whether a block counts nothing but itself. */
static int block_is_idle(struct qcow2 *q, uint64_t i, bool *idle)
    REQUIRES(q->lock)
{
    uint64_t first = i << q->rb_bits, own = q->rt[i] >> q->cluster_bits;
    uint64_t count = 0;
    int rc = 0;

    *idle = true;
    for (uint64_t k = 0; k < BIT64(q->rb_bits) && *idle && !rc; k++) {
        rc = q_ref_get(q, first + k, &count);
        *idle = !count || first + k == own;
    }
    return rc;
}

static int move_block(struct qcow2 *q, uint64_t i) REQUIRES(q->lock)
{
    uint64_t old = q->rt[i], own = old >> q->cluster_bits, to = 0;
    bool idle;
    int rc = block_is_idle(q, i, &idle);

    if (rc)
        return rc;
    if (idle && own >> q->rb_bits == i) {
        rc = write_rt_entry(q, i, 0);
        q_cache_drop(q, old, q->cluster_size);
        return rc ? rc : hostfile_discard(&q->f, old, q->cluster_size);
    }
    rc = row_before(q, 1, own, &to);
    if (rc || !to)
        return rc;
    /* With the new block's own refcount in it, wherever that is. */
    rc = q_flush_frozen(q);
    if (!rc)
        rc = copy_cluster(q, own, to);
    if (!rc)
        rc = q_sync(q, "compact-copy");
    if (!rc)
        rc = write_rt_entry(q, i, to << q->cluster_bits);
    q_cache_drop(q, old, q->cluster_size);
    return rc ? rc : free_row(q, old, 1);
}

static int move_blocks(struct qcow2 *q) REQUIRES(q->lock)
{
    int rc = q_flush_frozen(q);

    for (uint64_t i = q->rt_entries; i-- > 1 && !rc;)
        if (q->rt[i])
            rc = move_block(q, i);
    return rc;
}

/* -- The whole ------------------------------------------------------------ */

/* One behind the last cluster before `limit` that is in use. */
static int find_end(struct qcow2 *q, uint64_t limit, uint64_t *end)
    REQUIRES(q->lock)
{
    uint64_t count = 0;
    int rc = 0;

    if (limit > q->rt_entries << q->rb_bits)
        limit = q->rt_entries << q->rb_bits;
    for (uint64_t i = limit; i > 0 && !rc; i--) {
        if (!q->rt[(i - 1) >> q->rb_bits]) {
            i = align_down(i - 1, BIT64(q->rb_bits)) + 1;
            continue;
        }
        rc = q_ref_get(q, i - 1, &count);
        if (!rc && count) {
            *end = i;
            return 0;
        }
    }
    *end = 1;
    return rc;
}

static int cut_file(struct qcow2 *q) REQUIRES(q->lock)
{
    uint64_t end, size;
    int rc = q_flush_frozen(q);

    if (!rc)
        rc = find_end(q, UINT64_MAX, &end);
    if (!rc)
        rc = hostfile_size(&q->f, &size);
    if (rc || q->f.is_device || end << q->cluster_bits >= size)
        return rc;
    rc = hostfile_truncate(&q->f, end << q->cluster_bits);
    /* What is cut off is a hole from now on. That is stable with whatever is
     * written there next: before anything refers to it. */
    if (!rc)
        q->fresh_from = end;
    return rc;
}

/*
 * The upper half of what lies between the first free cluster and the end, or a
 * region of it. If the space before runs out, free clusters are left within the
 * region only, and the next one is half as large: so this ends.
 */
static int next_region(struct qcow2 *q, struct region *r, uint64_t *end)
    REQUIRES(q->lock)
{
    uint64_t before = r->moved, half;
    int rc = find_end(q, *end, end);

    if (rc || *end <= q->hint)
        return rc;
    half = (*end - q->hint + 1) / 2;
    r->n = half < REGION ? half : REGION;
    r->first = *end - r->n;
    r->full = false;
    rc = move_region(r);
    if (rc || !r->full)
        *end = r->first;
    else if (r->moved == before)
        *end = 0;
    else
        rc = find_end(q, UINT64_MAX, end);
    return rc;
}

/* Let the disk's requests in between. */
static int let_in(struct qcow2 *q) REQUIRES(q->lock)
{
    q_thaw(q);
    lock_drop(&q->lock);
    lock_take(&q->lock);
    return q_freeze(q);
}

/* What stands alone, and then the end. */
static int finish(struct qcow2 *q) REQUIRES(q->lock)
{
    int rc = move_tables(q);

    if (!rc)
        rc = move_blocks(q);
    return rc ? rc : cut_file(q);
}

/* Called and left with the image frozen, unless let_in has failed. */
static int compact(struct qcow2 *q, struct region *r, qcow2_progress *progress,
                   void *arg, bool *frozen) REQUIRES(q->lock)
{
    uint64_t end = 0, total;
    bool go_on = true;
    int rc = q_session(q);

    if (!rc)
        rc = find_end(q, UINT64_MAX, &end);
    total = end;
    while (!rc && go_on && end > q->hint) {
        rc = next_region(q, r, &end);
        go_on = !progress || progress(arg, total - end, total);
        if (rc)
            break;
        rc = let_in(q);
        *frozen = !rc;
    }
    if (!rc)
        rc = finish(q);
    /* What was taken for something that then failed: the next open gets it. */
    if (rc)
        q->leaked = true;
    return rc || go_on ? rc : -ECANCELED;
}

int qcow2_compact(struct qcow2 *q, qcow2_progress *progress, void *arg,
                  uint64_t *saved, struct err *err)
{
    struct region r = {.q = q};
    uint64_t before = 0, after = 0;
    bool frozen;
    int rc;

    if (!q->writable)
        return err_set(err, -EROFS, "compact %s: it is read-only", q->path);
    r.place = calloc(REGION, sizeof(*r.place));
    rc = r.place ? hostfile_size(&q->f, &before) : -ENOMEM;
    if (!rc) {
        lock_take(&q->lock);
        rc = q_freeze(q);
        frozen = !rc;
        if (!rc)
            rc = compact(q, &r, progress, arg, &frozen);
        if (frozen)
            q_thaw(q);
        lock_drop(&q->lock);
    }
    free(r.place);
    if (!rc)
        rc = hostfile_size(&q->f, &after);
    if (rc)
        return err_rc(err, rc, "compact %s", q->path);
    *saved = before > after ? before - after : 0;
    return 0;
}
