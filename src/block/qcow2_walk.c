#include "block/qcow2_walk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    L1_PIECE = 64 << 10,
    SEEN_MAX = 8 << 20, /* bytes of bits */
    BITMAP_ENTRY = 24   /* fixed part of a bitmap directory's entry */
};

int q_walk_init(struct q_walk *w, struct qcow2 *q, struct qcow2_check *c,
                bool count)
{
    uint64_t size, bytes;
    int rc = hostfile_size(&q->f, &size);

    *w = (struct q_walk){.q = q, .c = c, .report = true, .max_bad = UINT64_MAX};
    if (rc)
        return rc;
    w->file_clusters = q_clusters(q, size);
    w->nr_all_chunks = w->file_clusters / Q_CHUNK + 1;
    if (count && w->nr_all_chunks > Q_MAX_ALL_CHUNKS)
        return -EFBIG;
    bytes = w->file_clusters / 8 + 1;
    w->chunk = calloc(count ? w->nr_all_chunks : 1, sizeof(uint32_t *));
    w->table = malloc(q->cluster_size);
    if (bytes <= SEEN_MAX) {
        w->seen = calloc(bytes, 1);
        w->seen_clusters = w->file_clusters;
    }
    if (w->chunk && w->table && (w->seen || bytes > SEEN_MAX))
        return 0;
    q_walk_fini(w);
    return -ENOMEM;
}

static void free_chunk(struct q_walk *w, uint64_t i)
{
    w->nr_chunks -= !!w->chunk[i];
    free(w->chunk[i]);
    w->chunk[i] = NULL;
}

void q_walk_fini(struct q_walk *w)
{
    for (uint64_t i = 0; w->chunk && w->nr_chunks; i++)
        free_chunk(w, i);
    free(w->chunk);
    free(w->table);
    free(w->seen);
    w->chunk = NULL;
    w->table = w->seen = NULL;
}

/* -- Counts --------------------------------------------------------------- */

bool q_walk_has(const struct q_walk *w, uint64_t cluster)
{
    return cluster >= w->first && cluster < w->end;
}

uint64_t q_walk_refs(const struct q_walk *w, uint64_t cluster)
{
    const uint32_t *chunk;

    if (!q_walk_has(w, cluster))
        return 0;
    chunk = w->chunk[cluster / Q_CHUNK];
    return chunk ? chunk[cluster % Q_CHUNK] & Q_COUNT_MASK : 0;
}

uint64_t q_walk_next(const struct q_walk *w, uint64_t at, uint64_t end)
{
    uint64_t stop = end < w->end ? end : w->end;

    if (at < w->first)
        at = w->first;
    while (at < stop && !q_walk_refs(w, at))
        at = w->chunk[at / Q_CHUNK] ? at + 1 : (at / Q_CHUNK + 1) * Q_CHUNK;
    return at < stop ? at : end;
}

/* Where a cluster of the window is counted; NULL: nowhere, any more. */
static uint32_t *count_of(struct q_walk *w, uint64_t cluster)
{
    uint32_t **chunk = &w->chunk[cluster / Q_CHUNK];
    uint64_t last;

    while (!*chunk && w->nr_chunks >= Q_MAX_CHUNKS) {
        last = (w->end - 1) / Q_CHUNK;
        if (last <= cluster / Q_CHUNK) {
            w->end = last * Q_CHUNK;
            return NULL;
        }
        free_chunk(w, last);
        w->end = last * Q_CHUNK;
    }
    if (!*chunk) {
        *chunk = calloc(Q_CHUNK, sizeof(uint32_t));
        w->no_memory |= !*chunk;
        w->nr_chunks += !!*chunk;
    }
    return *chunk ? &(*chunk)[cluster % Q_CHUNK] : NULL;
}

static void found(struct q_walk *w, uint64_t *what)
{
    if (w->report)
        ++*what;
}

static bool too_bad(const struct q_walk *w)
{
    return w->c->overlaps + w->c->outside + w->c->invalid >= w->max_bad;
}

/* One more reference to n clusters, by something of that kind (or 0: data). */
static void add_refs(struct q_walk *w, uint64_t first, uint64_t n,
                     uint32_t kind)
{
    for (uint64_t i = first; i < first + n; i++) {
        uint32_t *count, had;

        if (i >= w->file_clusters) {
            found(w, &w->c->outside);
            return;
        }
        count = q_walk_has(w, i) ? count_of(w, i) : NULL;
        if (!count)
            continue;
        had = *count;
        if (had && (kind == Q_COUNT_META || had & Q_COUNT_META ||
                    (had & Q_COUNT_L2) != (kind & Q_COUNT_L2)))
            w->c->overlaps += !w->again;
        if ((had & Q_COUNT_MASK) < Q_COUNT_MASK)
            (*count)++;
        *count |= kind;
    }
}

void q_walk_add_table(struct q_walk *w, uint64_t cluster)
{
    if (q_walk_has(w, cluster))
        add_refs(w, cluster, 1, Q_COUNT_META);
}

void q_entry_clusters(const struct qcow2 *q, uint64_t entry, uint64_t *first,
                      uint64_t *n)
{
    uint64_t off, len;
    enum q_kind kind;

    *first = *n = 0;
    if (q_entry_kind(q, entry, &kind, &off))
        return;
    if (kind == Q_NORMAL || kind == Q_ZERO_ALLOC) {
        *first = off >> q->cluster_bits;
        *n = 1;
    } else if (kind == Q_PACKED) {
        q_packed_range(q, entry, &off, &len);
        *first = off >> q->cluster_bits;
        *n = ((off + len - 1) >> q->cluster_bits) - *first + 1;
    }
}

/* -- Trees ---------------------------------------------------------------- */

static void forget_seen(struct q_walk *w)
{
    if (w->seen && w->seen_first < w->seen_end)
        memset(w->seen + w->seen_first / 8, 0,
               w->seen_end / 8 - w->seen_first / 8 + 1);
    w->seen_first = UINT64_MAX;
    w->seen_end = 0;
}

static bool test_and_set(struct q_walk *w, uint64_t cluster)
{
    uint8_t bit = (uint8_t)(1u << (cluster % 8));
    bool was;

    if (cluster >= w->seen_clusters)
        return false;
    if (cluster < w->seen_first)
        w->seen_first = cluster;
    if (cluster >= w->seen_end)
        w->seen_end = cluster + 1;
    was = w->seen[cluster / 8] & bit;
    w->seen[cluster / 8] |= bit;
    return was;
}

static int walk_l2(struct q_walk *w, uint64_t off, q_visit *visit, void *arg)
{
    struct qcow2 *q = w->q;
    uint64_t n = q->cluster_size / q->l2_entry_size;
    int rc = hostfile_read(&q->f, off, w->table, q->cluster_size);

    if (!rc && too_bad(w))
        rc = -EUCLEAN;
    for (uint64_t i = 0; i < n && !rc; i++) {
        uint64_t entry = get_be64(w->table + i * q->l2_entry_size);

        if (entry)
            rc = visit(arg, off, i, entry);
    }
    return rc;
}

static int walk_l1_entry(struct q_walk *w, uint64_t index, uint64_t entry,
                         q_visit *visit, void *arg)
{
    uint64_t off = entry & Q_OFFSET;
    int rc = visit(arg, 0, index, entry);

    if (rc || !off)
        return rc;
    if (!is_aligned(off, w->q->cluster_size) ||
        off >> w->q->cluster_bits >= w->file_clusters)
        return 0; /* counted as invalid or outside by visit */
    if (test_and_set(w, off >> w->q->cluster_bits)) {
        found(w, &w->c->overlaps);
        return 0;
    }
    return walk_l2(w, off, visit, arg);
}

static bool step(struct q_walk *w)
{
    return !w->progress ||
           w->progress(w->progress_arg, w->steps++, w->all_steps);
}

int q_walk_tree(struct q_walk *w, uint64_t l1_off, uint32_t l1_size,
                q_visit *visit, void *arg)
{
    uint8_t *piece = malloc(L1_PIECE);
    int rc = piece ? 0 : -ENOMEM;

    forget_seen(w);
    for (uint64_t i = 0; i < l1_size && !rc; i++) {
        uint64_t k = i % (L1_PIECE / 8), left = (l1_size - i) * 8ull;

        if (!k)
            rc = hostfile_read(&w->q->f, l1_off + i * 8, piece,
                               left < L1_PIECE ? left : L1_PIECE);
        if (!rc && !k && !step(w))
            rc = -ECANCELED;
        if (!rc && !k && too_bad(w))
            rc = -EUCLEAN;
        if (!rc && get_be64(piece + k * 8))
            rc = walk_l1_entry(w, i, get_be64(piece + k * 8), visit, arg);
    }
    free(piece);
    return rc;
}

struct count_arg {
    struct q_walk *w;
    bool active;
};

static int count_entry(void *arg, uint64_t table, uint64_t index,
                       uint64_t entry)
{
    struct count_arg *a = arg;
    struct q_walk *w = a->w;
    struct qcow2 *q = w->q;
    uint64_t first, n, off;
    enum q_kind kind;

    (void)index;
    if (!table) {
        off = entry & Q_OFFSET;
        if (entry & ~(Q_OFFSET | Q_COPIED) || !is_aligned(off, q->cluster_size))
            found(w, &w->c->invalid);
        else if (off)
            add_refs(w, off >> q->cluster_bits, 1, Q_COUNT_L2);
        return 0;
    }
    if (q_entry_kind(q, entry, &kind, &off)) {
        found(w, &w->c->invalid);
        return 0;
    }
    q_entry_clusters(q, entry, &first, &n);
    add_refs(w, first, n, 0);
    if (a->active && w->report && kind != Q_UNALLOC)
        w->c->allocated++;
    return 0;
}

/* -- Everything else that refers to clusters ------------------------------ */

static void add_table(struct q_walk *w, uint64_t off, uint64_t bytes)
{
    add_refs(w, off >> w->q->cluster_bits, q_clusters(w->q, bytes),
             Q_COUNT_META);
}

static void count_refcounts(struct q_walk *w)
{
    struct qcow2 *q = w->q;

    if (w->no_refcounts)
        return;
    if (q->rt_broken) {
        found(w, &w->c->invalid);
        return;
    }
    add_table(w, q->h.rt_off, (uint64_t)q->h.rt_clusters << q->cluster_bits);
    for (uint64_t i = 0; i < q->rt_entries; i++) {
        if (!q->rt[i])
            continue;
        if (!is_aligned(q->rt[i], q->cluster_size))
            found(w, &w->c->invalid);
        else
            add_table(w, q->rt[i], 1);
    }
}

/* A bitmap's table: offsets of clusters. */
static int count_bitmap(struct q_walk *w, uint64_t off, uint32_t entries)
{
    uint8_t entry[8];
    int rc = 0;

    if (!is_aligned(off, w->q->cluster_size) ||
        q_clusters(w->q, entries * 8ull) > w->file_clusters) {
        found(w, &w->c->invalid);
        return 0;
    }
    add_table(w, off, entries * 8ull);
    for (uint64_t i = 0; i < entries && !rc; i++) {
        uint64_t at;

        rc = hostfile_read(&w->q->f, off + i * 8, entry, sizeof(entry));
        at = get_be64(entry) & Q_OFFSET;
        if (!rc && at)
            add_table(w, at, 1);
    }
    return rc;
}

/* qcow2.txt, "Bitmaps": they count as long as the autoclear bit says so. */
static int count_bitmaps(struct q_walk *w)
{
    struct qcow2 *q = w->q;
    uint8_t ext[24], fixed[BITMAP_ENTRY];
    uint64_t off, size, at, n;
    uint32_t len;
    int rc;

    if (!(q->h.autoclear & Q_AUTOCLEAR_BITMAPS))
        return 0;
    rc = q_ext_locate(q, Q_EXT_BITMAPS, &off, &len);
    if (rc || len < sizeof(ext))
        return rc == -ENOENT ? 0 : rc;
    rc = hostfile_read(&q->f, off + 8, ext, sizeof(ext));
    n = get_be32(ext);
    size = get_be64(ext + 8);
    off = get_be64(ext + 16);
    if (rc)
        return rc;
    if (size > (uint64_t)w->file_clusters << q->cluster_bits) {
        found(w, &w->c->invalid);
        return 0;
    }
    add_table(w, off, size);
    for (at = 0; n && at + BITMAP_ENTRY <= size && !rc; n--) {
        rc = hostfile_read(&q->f, off + at, fixed, sizeof(fixed));
        if (!rc)
            rc = count_bitmap(w, get_be64(fixed), get_be32(fixed + 8));
        at += align_down(BITMAP_ENTRY + get_be16(fixed + 18) +
                             (uint64_t)get_be32(fixed + 20) + 7,
                         8);
    }
    return rc;
}

/* Tables that cannot all be in the file are not walked: a table that many
 * snapshots share would keep us busy for ever. */
static bool snapshots_fit(const struct q_walk *w)
{
    uint64_t clusters = 0;

    for (uint32_t i = 0; i < w->q->nr_snaps; i++)
        clusters += q_clusters(w->q, w->q->snaps[i].s.l1_bytes);
    return clusters <= w->file_clusters;
}

static int count_trees(struct q_walk *w)
{
    struct qcow2 *q = w->q;
    struct count_arg a = {w, true};
    int rc;

    add_table(w, q->h.l1_off, q->h.l1_size * 8ull);
    rc = q_walk_tree(w, q->h.l1_off, q->h.l1_size, count_entry, &a);
    a.active = false;
    if (!snapshots_fit(w)) {
        found(w, &w->c->invalid);
        return rc;
    }
    for (uint32_t i = 0; i < q->nr_snaps && !rc; i++) {
        add_table(w, q->snaps[i].l1_off, q->snaps[i].s.l1_bytes);
        rc = q_walk_tree(w, q->snaps[i].l1_off, q->snaps[i].l1_size,
                         count_entry, &a);
    }
    return rc;
}

static int count_all(struct q_walk *w)
{
    struct qcow2 *q = w->q;
    int rc;

    add_table(w, 0, q->cluster_size);
    count_refcounts(w);
    add_table(w, q->h.snaps_off, q->snaps_bytes);
    rc = too_bad(w) ? -EUCLEAN : count_bitmaps(w);
    if (!rc)
        rc = count_trees(w);
    if (!rc && w->no_memory)
        rc = -ENOMEM;
    return rc;
}

int q_walk_count(struct q_walk *w, uint64_t first)
{
    int rc;

    for (uint64_t i = 0; w->nr_chunks; i++)
        free_chunk(w, i);
    w->first = first;
    w->end = w->file_clusters;
    rc = count_all(w);
    w->report = false;
    return rc;
}
