/*
 * Refcounts: a table (in memory whole) of blocks (through the cache) of numbers
 * 1 to 64 bits wide (qcow2.txt, "Host cluster management").
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2_int.h"

uint64_t q_ref_read(const uint8_t *block, uint64_t i, uint32_t order)
{
    switch (order) {
    case 0: return (block[i / 8] >> (i % 8)) & 1;
    case 1: return (block[i / 4] >> (i % 4 * 2)) & 3;
    case 2: return (block[i / 2] >> (i % 2 * 4)) & 15;
    case 3: return block[i];
    case 4: return get_be16(block + i * 2);
    case 5: return get_be32(block + i * 4);
    default: return get_be64(block + i * 8);
    }
}

static uint8_t with_bits(uint8_t byte, unsigned shift, unsigned mask,
                         uint64_t val)
{
    return (uint8_t)((byte & ~(mask << shift)) | ((unsigned)val << shift));
}

void q_ref_write(uint8_t *block, uint64_t i, uint32_t order, uint64_t count)
{
    switch (order) {
    case 0: block[i / 8] = with_bits(block[i / 8], i % 8, 1, count); break;
    case 1: block[i / 4] = with_bits(block[i / 4], i % 4 * 2, 3, count); break;
    case 2: block[i / 2] = with_bits(block[i / 2], i % 2 * 4, 15, count); break;
    case 3: block[i] = (uint8_t)count; break;
    case 4: put_be16(block + i * 2, (uint16_t)count); break;
    case 5: put_be32(block + i * 4, (uint32_t)count); break;
    default: put_be64(block + i * 8, count); break;
    }
}

static bool is_broken(const struct qcow2 *q)
{
    const struct q_header *h = &q->h;

    return !h->rt_clusters ||
           h->rt_clusters > (uint64_t)Q_MAX_RT_BYTES >> q->cluster_bits ||
           !h->rt_off || !is_aligned(h->rt_off, q->cluster_size) ||
           h->rt_off > INT64_MAX;
}

int q_rt_load(struct qcow2 *q, struct err *err)
{
    uint64_t bytes = (uint64_t)q->h.rt_clusters << q->cluster_bits;
    int rc;

    q->rt_entries = 0;
    q->rt_broken = is_broken(q);
    if (q->rt_broken && q->flags & QCOW2_FOR_CHECK)
        return 0;
    if (q->rt_broken)
        return err_set(err, -EINVAL, "open %s: its refcount table is broken",
                       q->path);
    q->rt_entries = bytes / 8;
    q->rt = malloc(bytes);
    if (!q->rt)
        return err_set(err, -ENOMEM, "open %s: out of memory", q->path);
    rc = hostfile_read(&q->f, q->h.rt_off, q->rt, bytes);
    if (rc)
        return err_rc(err, rc, "read the refcount table of %s", q->path);
    for (uint64_t i = 0; i < q->rt_entries; i++)
        q->rt[i] = get_be64(&q->rt[i]);
    return 0;
}

/* The slice that has a cluster's refcount, and its index there. NULL: there is
 * no block, so it is 0. */
static int find(struct qcow2 *q, uint64_t cluster, struct q_slice **s,
                uint64_t *i) REQUIRES(q->lock)
{
    uint64_t block = cluster >> q->rb_bits, off, at;

    *s = NULL;
    if (block >= q->rt_entries || !q->rt[block])
        return 0;
    off = q->rt[block];
    if (!is_aligned(off, q->cluster_size) || off > INT64_MAX)
        return -EUCLEAN;
    /* Entries of a slice: its bits shifted by the width's. */
    *i = cluster & bits_mask(q->rb_bits);
    at = (*i << q->h.refcount_order) / 8;
    off += align_down(at, q->cache.slice_size);
    *i &= bits_mask(q->cache.slice_bits + 3 - q->h.refcount_order);
    return q_cache_get(q, off, true, s);
}

int q_ref_get(struct qcow2 *q, uint64_t cluster, uint64_t *count)
{
    struct q_slice *s;
    uint64_t i;
    int rc = find(q, cluster, &s, &i);

    if (!rc)
        *count = s ? q_ref_read(s->data, i, q->h.refcount_order) : 0;
    return rc;
}

int q_ref_set(struct qcow2 *q, uint64_t cluster, uint64_t count)
{
    struct q_slice *s;
    uint64_t i;
    int rc = q_session(q);

    if (!rc && count > q->refcount_max)
        rc = -EOVERFLOW;
    if (!rc)
        rc = q_ref_block(q, cluster);
    if (!rc && q->cache.nr_dirty >= q->cache.max_dirty)
        rc = q_cache_write_refs(q);
    if (!rc)
        rc = find(q, cluster, &s, &i);
    if (!rc && !s)
        rc = -EUCLEAN;
    if (rc)
        return rc;
    q_ref_write(s->data, i, q->h.refcount_order, count);
    q_cache_dirty(q, s);
    return 0;
}

int q_ref_add(struct qcow2 *q, uint64_t first, uint64_t n, int64_t delta,
              uint64_t *done)
{
    uint64_t count, i;
    int rc = 0;

    for (i = 0; i < n && !rc; i++) {
        rc = q_ref_get(q, first + i, &count);
        if (rc)
            break;
        if (delta < 0 && count < (uint64_t)-delta)
            rc = -EUCLEAN;
        else if (delta > 0 && q->refcount_max - count < (uint64_t)delta)
            rc = -EOVERFLOW;
        else
            rc = q_ref_set(q, first + i, count + (uint64_t)delta);
        if (rc)
            break;
    }
    if (done)
        *done = i;
    return rc;
}

/* -- New blocks ----------------------------------------------------------- */

/*
 * A block for a range of the file that has none counts itself; in an image
 * whose refcounts are right it is the range's first cluster. It is stable
 * before the table names it (invariant 2), and that it is named is stable with
 * the first sync of the next commit, which comes before anything refers to a
 * cluster that it counts.
 */
int q_ref_block_at(struct qcow2 *q, uint64_t block, uint64_t cluster)
{
    uint64_t off = cluster << q->cluster_bits;
    uint8_t *buf, entry[8];
    int rc = 0;

    if (off > (uint64_t)INT64_MAX - q->cluster_size)
        return -EFBIG;
    if (q_hits_tables(q, off, q->cluster_size))
        return -EUCLEAN;
    buf = aligned_alloc(Q_SLICE_MAX, q->cluster_size < Q_SLICE_MAX
                                         ? Q_SLICE_MAX
                                         : q->cluster_size);
    if (!buf)
        return -ENOMEM;
    memset(buf, 0, q->cluster_size);
    q_ref_write(buf, cluster & bits_mask(q->rb_bits), q->h.refcount_order, 1);
    rc = q_write_meta(q, off, buf, q->cluster_size);
    free(buf);
    if (!rc)
        rc = q_sync(q, "refcount-block");
    put_be64(entry, off);
    if (!rc)
        rc = q_write_meta(q, q->h.rt_off + block * 8, entry, 8);
    if (rc)
        return rc;
    q_cache_drop(q, off, q->cluster_size);
    q->rt[block] = off;
    if (q->fresh_from <= cluster)
        q->fresh_from = cluster + 1;
    return 0;
}

/* -- A larger table ------------------------------------------------------- */

struct growth {
    uint64_t entries;  /* of the new table */
    uint64_t clusters; /* that it takes */
    uint64_t first;    /* cluster of the new blocks, then of the table */
    uint64_t blocks;   /* that count both */
};

/* The new table and its first blocks begin where the old one's reach ends. */
static int plan_growth(struct qcow2 *q, uint64_t block, struct growth *g)
{
    uint64_t per_cluster = q->cluster_size / 8, need, per_block;

    per_block = BIT64(q->rb_bits);
    g->first = q->rt_entries << q->rb_bits;
    g->blocks = 1;
    for (;;) {
        need = q->rt_entries + g->blocks + 1;
        if (need <= block)
            need = block + 1;
        need += need / 2;
        g->clusters = (need + per_cluster - 1) / per_cluster;
        if (g->clusters << q->cluster_bits > Q_MAX_RT_BYTES)
            g->clusters = (uint64_t)Q_MAX_RT_BYTES >> q->cluster_bits;
        g->entries = g->clusters * per_cluster;
        need = (g->blocks + g->clusters + per_block - 1) / per_block;
        if (need <= g->blocks)
            break;
        g->blocks = need;
    }
    if (g->entries <= q->rt_entries + g->blocks || block >= g->entries ||
        g->first + g->blocks + g->clusters > (uint64_t)INT64_MAX >>
            q->cluster_bits)
        return -EFBIG;
    return 0;
}

static int write_growth_blocks(struct qcow2 *q, const struct growth *g,
                               uint64_t *rt) REQUIRES(q->lock)
{
    uint64_t used = g->blocks + g->clusters, per_block = BIT64(q->rb_bits);
    uint8_t *buf = malloc(q->cluster_size);
    int rc = buf ? 0 : -ENOMEM;

    for (uint64_t b = 0; b < g->blocks && !rc; b++) {
        uint64_t off = (g->first + b) << q->cluster_bits;

        memset(buf, 0, q->cluster_size);
        for (uint64_t i = 0; i < per_block && b * per_block + i < used; i++)
            q_ref_write(buf, i, q->h.refcount_order, 1);
        rc = q_write_meta(q, off, buf, q->cluster_size);
        q_cache_drop(q, off, q->cluster_size);
        rt[b] = off;
    }
    free(buf);
    return rc;
}

static int write_table(struct qcow2 *q, uint64_t off, const uint64_t *rt,
                       uint64_t entries)
{
    uint64_t *buf = malloc(entries * 8);
    int rc;

    if (!buf)
        return -ENOMEM;
    for (uint64_t i = 0; i < entries; i++)
        put_be64(&buf[i], rt[i]);
    rc = q_write_meta(q, off, buf, entries * 8);
    free(buf);
    return rc;
}

static int grow_table(struct qcow2 *q, uint64_t block) REQUIRES(q->lock)
{
    struct q_header h = q->h;
    struct growth g;
    uint64_t *rt, old = q->h.rt_off >> q->cluster_bits;
    uint32_t old_n = q->h.rt_clusters;
    int rc = plan_growth(q, block, &g);

    if (rc)
        return rc;
    rt = calloc(g.entries, sizeof(*rt));
    if (!rt)
        return -ENOMEM;
    memcpy(rt, q->rt, q->rt_entries * sizeof(*rt));
    rc = write_growth_blocks(q, &g, rt + q->rt_entries);
    h.rt_off = (g.first + g.blocks) << q->cluster_bits;
    h.rt_clusters = (uint32_t)g.clusters;
    if (!rc)
        rc = write_table(q, h.rt_off, rt, g.entries);
    if (!rc)
        rc = q_sync(q, "refcount-table");
    if (!rc)
        rc = q_header_write(q, &h);
    if (rc) {
        free(rt);
        return rc;
    }
    free(q->rt);
    q->rt = rt;
    q->rt_entries = g.entries;
    if (q->fresh_from < g.first + g.blocks + g.clusters)
        q->fresh_from = g.first + g.blocks + g.clusters;
    /* The old one is freed when that is stable: by the next commit. */
    q_free_later(q, old, old_n);
    return 0;
}

/*
 * Blocks for n free clusters in a row, more than one block counts: behind all
 * that is counted now, the blocks first, then the row. As with a new table,
 * blocks are stable before they are named.
 */
int q_ref_row(struct qcow2 *q, uint64_t n, uint64_t *first)
{
    uint64_t per_block = BIT64(q->rb_bits), block, blocks;
    struct growth g = {.clusters = 0};
    uint64_t *rt;
    int rc = 0;

    for (;;) {
        for (block = q->rt_entries; block && !q->rt[block - 1]; block--)
            ;
        blocks = n / (per_block - 1) + 1;
        if (block + blocks <= q->rt_entries)
            break;
        rc = grow_table(q, block + blocks);
        if (rc)
            return rc;
    }
    g.first = block << q->rb_bits;
    g.blocks = blocks;
    if (g.first + blocks + n > (uint64_t)INT64_MAX >> q->cluster_bits)
        return -EFBIG;
    rt = calloc(blocks, sizeof(*rt));
    if (!rt)
        return -ENOMEM;
    rc = write_growth_blocks(q, &g, rt);
    if (!rc)
        rc = q_sync(q, "refcount-block");
    for (uint64_t i = 0; i < blocks && !rc; i++) {
        uint8_t entry[8];

        put_be64(entry, rt[i]);
        rc = q_write_meta(q, q->h.rt_off + (block + i) * 8, entry, 8);
        if (rc)
            q->leaked = true; /* of blocks that are not named */
        else
            q->rt[block + i] = rt[i];
    }
    free(rt);
    *first = g.first + blocks;
    if (q->fresh_from < *first)
        q->fresh_from = *first;
    return rc;
}

int q_ref_block(struct qcow2 *q, uint64_t cluster)
{
    uint64_t block = cluster >> q->rb_bits;
    int rc = 0;

    if (block >= q->rt_entries)
        rc = grow_table(q, block);
    if (!rc && !q->rt[block])
        rc = q_ref_block_at(q, block, block << q->rb_bits);
    return rc;
}
