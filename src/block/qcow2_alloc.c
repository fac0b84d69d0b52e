/*
 * Which clusters are taken and which are given back, and when (invariants 3, 4,
 * 5, 9 and 10). Taking is next fit from `hint`, below which nothing is free.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2_int.h"

/* -- A session of writing ------------------------------------------------- */

/* The bitmaps are no longer true, and nothing will own their clusters: without
 * this, QEMU would warn of them at every open. */
static int void_bitmaps(struct qcow2 *q)
{
    uint8_t magic[4];
    uint64_t off;
    uint32_t len;
    int rc = q_ext_locate(q, (uint32_t)Q_EXT_BITMAPS, &off, &len);

    if (rc)
        return rc == -ENOENT ? 0 : rc;
    put_be32(magic, (uint32_t)Q_EXT_VOID);
    return q_write_meta(q, off, magic, sizeof(magic));
}

int q_session(struct qcow2 *q)
{
    struct q_header h = q->h;
    bool bitmaps = h.autoclear & Q_AUTOCLEAR_BITMAPS;
    int rc = 0;

    if (q->session)
        return 0;
    if (h.autoclear) {
        h.autoclear = 0;
        rc = q_header_write(q, &h);
        if (!rc)
            rc = q_sync(q, "autoclear");
    }
    if (!rc)
        rc = q_mark_clear(q);
    if (!rc && bitmaps)
        rc = void_bitmaps(q);
    if (!rc)
        q->session = true;
    return rc;
}

bool q_hits_tables(const struct qcow2 *q, uint64_t off, uint64_t len)
{
    return off < q->cluster_size ||
           ranges_overlap(off, len, q->h.l1_off, q->h.l1_size * 8ull) ||
           ranges_overlap(off, len, q->h.rt_off,
                          (uint64_t)q->h.rt_clusters << q->cluster_bits) ||
           ranges_overlap(off, len, q->h.snaps_off, q->snaps_bytes);
}

/* -- Taking --------------------------------------------------------------- */

/* The first free cluster at or after *at whose block exists; otherwise the
 * first cluster of a range without a block. */
static int find_free(struct qcow2 *q, uint64_t *at) REQUIRES(q->lock)
{
    uint64_t cluster = *at, count;
    int rc;

    for (;; cluster++) {
        uint64_t block = cluster >> q->rb_bits;

        if (cluster > (uint64_t)INT64_MAX >> q->cluster_bits)
            return -EFBIG;
        if (block >= q->rt_entries || !q->rt[block]) {
            rc = q_ref_block(q, cluster);
            if (rc)
                return rc;
            continue; /* the block has taken one, and it may have been ours */
        }
        rc = q_ref_get(q, cluster, &count);
        if (rc)
            return rc;
        if (!count)
            break;
    }
    *at = cluster;
    return 0;
}

/* How many free clusters follow each other from `first` on, at most n, within
 * a range that has its block. */
static int count_free(struct qcow2 *q, uint64_t first, uint64_t n,
                      uint64_t *got) REQUIRES(q->lock)
{
    uint64_t i, count = 0;
    int rc = 0;

    for (i = 1; i < n; i++) {
        if ((first + i) >> q->rb_bits != first >> q->rb_bits)
            break;
        rc = q_ref_get(q, first + i, &count);
        if (rc || count)
            break;
    }
    *got = i;
    return rc;
}

static int take(struct qcow2 *q, uint64_t first, uint64_t n) REQUIRES(q->lock)
{
    uint64_t done;
    int rc;

    if (q_hits_tables(q, first << q->cluster_bits, n << q->cluster_bits))
        return -EUCLEAN;
    rc = q_ref_add(q, first, n, 1, &done);
    if (rc)
        q_unalloc(q, first, done);
    return rc;
}

int q_alloc(struct qcow2 *q, uint64_t n, uint64_t *first, uint64_t *got,
            bool *fresh)
{
    uint64_t at = q->hint;
    int rc = q_session(q);

    if (!rc)
        rc = find_free(q, &at);
    if (!rc)
        rc = count_free(q, at, n, got);
    /* Old and new clusters differ in what they hold: not in one row. */
    if (!rc && at < q->fresh_from && at + *got > q->fresh_from)
        *got = q->fresh_from - at;
    if (!rc)
        rc = take(q, at, *got);
    if (rc)
        return rc;
    *first = at;
    *fresh = at >= q->fresh_from;
    if (*fresh)
        q->fresh_from = at + *got;
    q->hint = at + *got;
    return 0;
}

/* How many clusters in a row are free from `first` on, at most n; rows may
 * cross from one block's range to the next. */
static int row_length(struct qcow2 *q, uint64_t first, uint64_t n,
                      uint64_t *got) REQUIRES(q->lock)
{
    uint64_t count = 0, more;
    int rc = 0;

    *got = 0;
    while (!rc && *got < n) {
        rc = q_ref_block(q, first + *got);
        if (!rc)
            rc = q_ref_get(q, first + *got, &count);
        if (rc || count)
            break;
        rc = count_free(q, first + *got, n - *got, &more);
        *got += more;
    }
    return rc;
}

int q_alloc_row(struct qcow2 *q, uint64_t n, uint64_t *first)
{
    uint64_t at = q->hint, got = 0;
    int rc = q_session(q);

    /* Behind its block, a new range has one cluster less than it counts. */
    if (!rc && n >= BIT64(q->rb_bits)) {
        rc = q_ref_row(q, n, &at);
        got = n;
    }
    while (!rc && got < n) {
        at += got; /* what follows a row that is too short is in use */
        rc = find_free(q, &at);
        if (!rc)
            rc = row_length(q, at, n, &got);
    }
    if (!rc)
        rc = take(q, at, n);
    if (rc)
        return rc;
    if (at == q->hint)
        q->hint = at + n;
    if (q->fresh_from < at + n)
        q->fresh_from = at + n;
    *first = at;
    return 0;
}

/* -- Giving back ---------------------------------------------------------- */

void q_unalloc(struct qcow2 *q, uint64_t first, uint64_t n)
{
    if (!n)
        return;
    if (q_ref_add(q, first, n, -1, NULL))
        q->leaked = true;
    if (first < q->hint)
        q->hint = first;
}

void q_free_later(struct qcow2 *q, uint64_t first, uint64_t n)
{
    struct q_extents *x = &q->freed;
    struct q_extent *last = x->nr ? &x->e[x->nr - 1] : NULL;

    if (!n)
        return;
    if (last && last->first + last->n == first) {
        last->n += n;
        return;
    }
    if (last && first + n == last->first) {
        last->first = first;
        last->n += n;
        return;
    }
    if (x->nr == x->max) {
        uint32_t max = x->max ? x->max * 2 : 64;
        struct q_extent *e = realloc(x->e, max * sizeof(*e));

        if (!e) {
            q->leaked = true;
            return;
        }
        x->e = e;
        x->max = max;
    }
    x->e[x->nr++] = (struct q_extent){first, n};
}

void q_free_entry(struct qcow2 *q, uint64_t entry)
{
    uint64_t off, len, first;
    enum q_kind kind;

    if (q_entry_kind(q, entry, &kind, &off))
        return;
    if (kind == Q_NORMAL || kind == Q_ZERO_ALLOC) {
        q_free_later(q, off >> q->cluster_bits, 1);
    } else if (kind == Q_PACKED) {
        q_packed_range(q, entry, &off, &len);
        first = off >> q->cluster_bits;
        /* Each on its own: neighbours share clusters, which are then in the
         * list more than once. */
        q_free_later(q, first,
                     ((off + len - 1) >> q->cluster_bits) - first + 1);
    }
}
