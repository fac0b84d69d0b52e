/*
 * New refcounts for an image whose own are of no use: their table, or what it
 * leads to, is somewhere else's, or nowhere. All references but those of the
 * refcounts are counted; if they agree with each other, the refcounts follow
 * from them. A new table and its blocks go behind the file's end, and one write
 * of the header names them, so that cut short anywhere nothing is worse.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2_int.h"
#include "block/qcow2_walk.h"

/* Functions that get one are called under the image's lock, which clang cannot
 * tell (NO_TSA). */
struct rebuild {
    struct qcow2 *q;
    struct q_walk *w;
    bool *used;             /* for each range of a block: it needs one */
    uint64_t *rt;           /* the new table */
    uint64_t room;          /* entries of both */
    uint64_t start, end;    /* the new clusters: blocks, then the table */
    uint64_t blocks, table; /* how many of each */
};

/* -- Where it goes -------------------------------------------------------- */

static uint64_t count_used(const struct rebuild *r)
{
    uint64_t n = 0;

    for (uint64_t i = 0; i < r->room; i++)
        n += r->used[i];
    return n;
}

static void use_what_is_referred_to(struct rebuild *r)
{
    uint64_t bits = r->q->rb_bits;
    uint64_t at = q_walk_next(r->w, 0, r->start);

    for (; at < r->start;
         at = q_walk_next(r->w, ((at >> bits) + 1) << bits, r->start))
        r->used[at >> bits] = true;
}

/* The new clusters are counted by blocks, too, of which there may be more
 * then. Both only grow, up to what a table can have. */
static int plan(struct rebuild *r)
{
    const struct qcow2 *q = r->q;
    uint64_t before, entries;

    use_what_is_referred_to(r);
    do {
        before = r->end;
        r->blocks = count_used(r);
        r->end = r->start + r->blocks + r->table;
        entries = (r->end >> q->rb_bits) + 1;
        if (entries > r->room)
            return -EFBIG;
        r->table = q_clusters(q, entries * 8);
        r->end = r->start + r->blocks + r->table;
        for (uint64_t i = r->start >> q->rb_bits;
             i <= (r->end - 1) >> q->rb_bits && i < r->room; i++)
            r->used[i] = true;
    } while (r->end != before);
    return r->end > (uint64_t)INT64_MAX >> q->cluster_bits ? -EFBIG : 0;
}

/* -- Writing -------------------------------------------------------------- */

static int fill_block(const struct rebuild *r, uint64_t block, uint8_t *buf)
{
    const struct qcow2 *q = r->q;
    uint64_t first = block << q->rb_bits;

    memset(buf, 0, q->cluster_size);
    for (uint64_t i = 0; i < BIT64(q->rb_bits); i++) {
        uint64_t cluster = first + i, refs = q_walk_refs(r->w, cluster);

        if (cluster >= r->start && cluster < r->end)
            refs = 1;
        if (refs > q->refcount_max)
            return -EOVERFLOW;
        q_ref_write(buf, i, q->h.refcount_order, refs);
    }
    return 0;
}

static int write_blocks(struct rebuild *r)
{
    uint8_t *buf = malloc(r->q->cluster_size);
    uint64_t at = r->start;
    int rc = buf ? 0 : -ENOMEM;

    for (uint64_t i = 0; i < r->room && !rc; i++) {
        if (!r->used[i])
            continue;
        r->rt[i] = at++ << r->q->cluster_bits;
        rc = fill_block(r, i, buf);
        if (!rc)
            rc = q_write_meta(r->q, r->rt[i], buf, r->q->cluster_size);
    }
    free(buf);
    return rc;
}

static int write_table(struct rebuild *r)
{
    uint64_t bytes = r->table << r->q->cluster_bits;
    uint64_t *buf = malloc(bytes);
    int rc;

    if (!buf)
        return -ENOMEM;
    for (uint64_t i = 0; i < bytes / 8; i++)
        put_be64(&buf[i], i < r->room ? r->rt[i] : 0);
    rc = q_write_meta(r->q, (r->start + r->blocks) << r->q->cluster_bits, buf,
                      bytes);
    free(buf);
    return rc;
}

/* The image has the new refcounts from one sector's write on. */
static int switch_over(struct rebuild *r) NO_TSA
{
    struct qcow2 *q = r->q;
    struct q_header h = q->h;
    uint64_t entries = (r->table << q->cluster_bits) / 8;
    uint64_t *rt = calloc(entries, sizeof(*rt));
    int rc = rt ? q_sync(q, "rebuild") : -ENOMEM;

    h.rt_off = (r->start + r->blocks) << q->cluster_bits;
    h.rt_clusters = (uint32_t)r->table;
    if (!rc)
        rc = q_header_write(q, &h);
    if (!rc)
        rc = q_sync(q, "rebuilt");
    if (rc) {
        free(rt);
        return rc;
    }
    memcpy(rt, r->rt, (entries < r->room ? entries : r->room) * sizeof(*rt));
    free(q->rt);
    q->rt = rt;
    q->rt_entries = entries;
    q->rt_broken = false;
    q->hint = 0;
    if (q->fresh_from < r->end)
        q->fresh_from = r->end;
    q_cache_drop_all(q);
    return 0;
}

static int rebuild(struct rebuild *r) NO_TSA
{
    int rc = r->used && r->rt ? plan(r) : -ENOMEM;

    if (!rc)
        rc = write_blocks(r);
    if (!rc)
        rc = write_table(r);
    return rc ? rc : switch_over(r);
}

/* -- Whether it can be ---------------------------------------------------- */

static bool is_sound(const struct q_walk *w, const struct qcow2_check *c)
{
    return !(c->overlaps + c->outside + c->invalid) && w->first == 0 &&
           w->end >= w->file_clusters;
}

int q_refcounts_rebuild(struct qcow2 *q, bool *done)
{
    struct qcow2_check c = {0};
    struct q_walk w;
    struct rebuild r = {.q = q, .w = &w};
    int rc = q->f.is_device ? -ENOTSUP : q_walk_init(&w, q, &c, true);

    *done = false;
    if (rc == -ENOTSUP)
        return 0;
    if (rc)
        return rc;
    w.no_refcounts = true;
    w.max_bad = 1;
    rc = q_walk_count(&w, 0);
    if (rc == -EUCLEAN || (!rc && !is_sound(&w, &c))) {
        rc = 0; /* it is more than the refcounts */
    } else if (!rc) {
        r.room = Q_MAX_RT_BYTES / 8;
        r.start = w.file_clusters;
        r.used = calloc(r.room, sizeof(*r.used));
        r.rt = calloc(r.room, sizeof(*r.rt));
        rc = r.start >> q->rb_bits < r.room ? rebuild(&r) : -EFBIG;
        *done = !rc;
        if (rc == -EFBIG || rc == -EOVERFLOW)
            rc = 0; /* it cannot be: nothing was named yet */
        free(r.used);
        free(r.rt);
    }
    q_walk_fini(&w);
    return rc;
}
