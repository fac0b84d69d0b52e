/*
 * From the guest's clusters to the file's: the L1 table (in memory whole) and
 * L2 tables (through the cache). qcow2.txt, "Cluster mapping" and "Extended L2
 * Entries", which are read, not written.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2_int.h"

uint64_t q_l1_entries(const struct qcow2 *q, uint64_t disk_size)
{
    uint64_t clusters = q_clusters(q, disk_size);

    return (clusters + bits_mask(q->l2_bits)) >> q->l2_bits;
}

int q_l1_load(struct qcow2 *q, struct err *err)
{
    uint64_t need = q_l1_entries(q, q->h.size), n = q->h.l1_size;
    int rc = -ENOMEM;

    if (n < need)
        return err_set(err, -EINVAL,
                       "open %s: its L1 table is too small for the disk",
                       q->path);
    q->l1 = calloc(n + 1, sizeof(*q->l1));
    q->l1_dirty = calloc(n / 64 + 1, 1);
    if (q->l1 && q->l1_dirty)
        rc = hostfile_read(&q->f, q->h.l1_off, q->l1, n * 8);
    if (rc)
        return err_rc(err, rc, "read the L1 table of %s", q->path);
    for (uint64_t i = 0; i < n; i++)
        q->l1[i] = get_be64(&q->l1[i]);
    return 0;
}

void q_l1_set(struct qcow2 *q, uint64_t i, uint64_t entry)
{
    q->l1[i] = entry;
    if (!q->l1_dirty[i / 64]) {
        q->l1_dirty[i / 64] = 1;
        q->nr_l1_dirty++;
    }
}

/* -- Entries -------------------------------------------------------------- */

void q_packed_range(const struct qcow2 *q, uint64_t entry, uint64_t *off,
                    uint64_t *len)
{
    unsigned x = 62 - (q->cluster_bits - 8);

    *off = entry & bits_mask(x);
    /* Sectors after the one that it begins in. */
    *len = ((bits_get(entry, 61, x) + 1) * Q_SECTOR) - (*off % Q_SECTOR);
}

int q_entry_kind(const struct qcow2 *q, uint64_t entry, enum q_kind *kind,
                 uint64_t *off)
{
    *off = 0;
    if (entry & Q_COMPRESSED) {
        *kind = Q_PACKED;
        return 0;
    }
    *off = entry & Q_OFFSET;
    if (!is_aligned(*off, q->cluster_size))
        return -EUCLEAN;
    /* Bit 0 has its meaning from version 3 on, and elsewhere in extended
     * entries. */
    if (entry & Q_ZERO && q->h.version >= 3 && q->l2_entry_size == 8)
        *kind = *off ? Q_ZERO_ALLOC : Q_ZERO_PLAIN;
    else
        *kind = *off ? Q_NORMAL : Q_UNALLOC;
    return 0;
}

uint64_t q_l2_in_slice(const struct qcow2 *q, uint64_t cluster)
{
    uint64_t per_slice = q->cache.slice_size / q->l2_entry_size;

    return per_slice - (cluster & (per_slice - 1));
}

/* The slice with the entry of a guest cluster; NULL: there is no table. */
static int find(struct qcow2 *q, uint64_t cluster, struct q_slice **s,
                uint8_t **entry) REQUIRES(q->lock)
{
    uint64_t i = cluster >> q->l2_bits, off, at;
    int rc;

    *s = NULL;
    if (i >= q->h.l1_size)
        return -EINVAL;
    off = q->l1[i] & Q_OFFSET;
    if (!off)
        return 0;
    if (!is_aligned(off, q->cluster_size))
        return -EUCLEAN;
    at = (cluster & bits_mask(q->l2_bits)) * q->l2_entry_size;
    rc = q_cache_get(q, off + align_down(at, q->cache.slice_size), false, s);
    if (!rc)
        *entry = (*s)->data + (at & (q->cache.slice_size - 1));
    return rc;
}

int q_l2_get(struct qcow2 *q, uint64_t cluster, uint64_t *entry)
{
    struct q_slice *s;
    uint8_t *p;
    int rc = find(q, cluster, &s, &p);

    if (!rc)
        *entry = s ? get_be64(p) : 0;
    return rc;
}

int q_l2_set(struct qcow2 *q, uint64_t cluster, uint64_t entry)
{
    struct q_slice *s;
    uint8_t *p;
    int rc = find(q, cluster, &s, &p);

    if (!rc && !s)
        rc = -EUCLEAN;
    if (rc)
        return rc;
    put_be64(p, entry);
    q_cache_dirty(q, s);
    return 0;
}

int q_map(struct qcow2 *q, uint64_t cluster, uint64_t max, struct q_run *run)
{
    uint64_t room = q_l2_in_slice(q, cluster), off, entry;
    bool own = q->l1[cluster >> q->l2_bits] & Q_COPIED;
    enum q_kind kind;
    struct q_slice *s;
    uint8_t *p;
    int rc = find(q, cluster, &s, &p);

    if (rc)
        return rc;
    if (max > room)
        max = room;
    *run = (struct q_run){.kind = Q_UNALLOC, .n = max};
    if (!s)
        return 0;
    run->entry = get_be64(p);
    rc = q_entry_kind(q, run->entry, &run->kind, &run->off);
    if (rc)
        return rc;
    run->copied = own && run->entry & Q_COPIED;
    run->n = 1;
    if (q->l2_entry_size == 16)
        run->bitmap = get_be64(p + 8);
    if (run->kind == Q_PACKED || q->l2_entry_size == 16)
        return 0;
    for (; run->n < max; run->n++) {
        entry = get_be64(p + run->n * q->l2_entry_size);
        if (q_entry_kind(q, entry, &kind, &off) || kind != run->kind ||
            (own && entry & Q_COPIED) != run->copied ||
            (run->off && off != run->off + (run->n << q->cluster_bits)))
            break;
    }
    return 0;
}

/* -- Tables of the disk's own --------------------------------------------- */

/* The clusters that a shared table names are shared, whatever it says. */
static void clear_copied(struct qcow2 *q, uint8_t *table)
{
    for (uint32_t at = 0; at < q->cluster_size; at += 8) {
        uint64_t entry = get_be64(table + at);

        if (!(entry & Q_COMPRESSED))
            put_be64(table + at, entry & ~Q_COPIED);
    }
}

/* Fill a new table with zeroes, or with a copy of the one at old. */
static int fill_table(struct qcow2 *q, uint64_t off, uint64_t old)
{
    uint8_t *buf = aligned_alloc(Q_SLICE_MAX, q->cluster_size < Q_SLICE_MAX
                                                  ? Q_SLICE_MAX
                                                  : q->cluster_size);
    int rc = 0;

    if (!buf)
        return -ENOMEM;
    if (old)
        rc = hostfile_read(&q->f, old, buf, q->cluster_size);
    else
        memset(buf, 0, q->cluster_size);
    if (!rc && old)
        clear_copied(q, buf);
    if (!rc)
        rc = q_write_meta(q, off, buf, q->cluster_size);
    free(buf);
    return rc;
}

/*
 * The new table's first content is written before the commit that writes the
 * L1 entry syncs (invariant 2). A table that is shared with a snapshot is never
 * dirty, so the copy may come from the file.
 */
int q_l2_own(struct qcow2 *q, uint64_t cluster)
{
    uint64_t i = cluster >> q->l2_bits, old, first, got;
    bool fresh;
    int rc;

    if (i >= q->h.l1_size)
        return -EINVAL;
    old = q->l1[i] & Q_OFFSET;
    if (old && q->l1[i] & Q_COPIED)
        return 0;
    if (!is_aligned(old, q->cluster_size))
        return -EUCLEAN;
    rc = q_alloc(q, 1, &first, &got, &fresh);
    if (rc)
        return rc;
    rc = fill_table(q, first << q->cluster_bits, old);
    if (rc) {
        q_unalloc(q, first, 1);
        return rc;
    }
    q_cache_drop(q, first << q->cluster_bits, q->cluster_size);
    q_l1_set(q, i, first << q->cluster_bits | Q_COPIED);
    if (old)
        q_free_later(q, old >> q->cluster_bits, 1);
    return 0;
}
