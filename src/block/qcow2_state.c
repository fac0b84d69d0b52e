/*
 * What a snapshot has beside the disk: its state area, bytes behind the disk in
 * the snapshot's own L1 table, where no other table leads (docs/vm-file.md). It
 * is written with the snapshot, before anything names it, so that it is live
 * and stable when the snapshot is (invariants 2 and 6). Its clusters belong to
 * it alone; only they are ever written again in place.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2_int.h"

enum { STATE_ALIGN = 2 << 20 };

uint64_t q_state_start(const struct qcow2 *q, uint64_t disk_size)
{
    uint64_t span = BIT64(q->cluster_bits + q->l2_bits);

    /* A table of its own, and chunks of 2 MiB can be where they are. */
    span = span < STATE_ALIGN ? STATE_ALIGN : span;
    return align_down(disk_size + span - 1, span);
}

static uint64_t l1_index(const struct qcow2 *q, uint64_t off)
{
    return off >> (q->cluster_bits + q->l2_bits);
}

uint64_t q_state_room(const struct qcow2 *q, const struct q_snap *s)
{
    uint64_t first = l1_index(q, q_state_start(q, s->s.disk_size));

    return s->l1_size > first
               ? (s->l1_size - first) << (q->cluster_bits + q->l2_bits)
               : 0;
}

/* -- Writing it with its snapshot ----------------------------------------- */

int q_state_size(const struct qcow2 *q, const struct qcow2_snap_new *s,
                 uint64_t disk_size, uint32_t *l1_size)
{
    uint64_t end = 0, start = q_state_start(q, disk_size), n;

    for (unsigned i = 0; i < s->nr_state; i++) {
        const struct qcow2_piece *p = &s->state[i];

        if (!p->len || p->off < end || !add_ok(p->off, p->len, &end) ||
            end > INT64_MAX - start)
            return -EINVAL;
    }
    n = q_l1_entries(q, end ? start + end : disk_size);
    if (n > Q_MAX_L1_BYTES / 8)
        return -EFBIG;
    *l1_size = (uint32_t)n;
    return 0;
}

/* The state's bytes of one cluster; zeroes where there are none. */
static void gather(const struct qcow2_snap_new *s, uint64_t off, uint8_t *buf,
                   uint64_t len)
{
    memset(buf, 0, len);
    for (unsigned i = 0; i < s->nr_state; i++) {
        const struct qcow2_piece *p = &s->state[i];
        uint64_t from = p->off > off ? p->off : off;
        uint64_t to = p->off + p->len < off + len ? p->off + p->len : off + len;

        if (from < to)
            memcpy(buf + (from - off), (const uint8_t *)p->data + from - p->off,
                   to - from);
    }
}

/* The first cluster at or after `at` that has something of the state. */
static uint64_t next_cluster(const struct qcow2 *q,
                             const struct qcow2_snap_new *s, uint64_t at)
{
    for (unsigned i = 0; i < s->nr_state; i++) {
        const struct qcow2_piece *p = &s->state[i];

        if ((p->off + p->len - 1) >> q->cluster_bits < at)
            continue;
        return p->off >> q->cluster_bits > at ? p->off >> q->cluster_bits : at;
    }
    return UINT64_MAX;
}

static int write_cluster(struct qcow2 *q, const uint8_t *buf, uint64_t *off)
    REQUIRES(q->lock)
{
    uint64_t first;
    int rc = q_alloc_row(q, 1, &first);

    if (rc)
        return rc;
    *off = first << q->cluster_bits;
    q_cache_drop(q, *off, q->cluster_size);
    return q_write_meta(q, *off, buf, q->cluster_size);
}

/* All of the state that is under one L2 table, and the table; *entry is 0 if
 * there is nothing. buf and table are a cluster each. */
static int write_table(struct qcow2 *q, const struct qcow2_snap_new *s,
                       uint64_t first, uint8_t *buf, uint8_t *table,
                       uint64_t *entry) REQUIRES(q->lock)
{
    uint64_t end = first + BIT64(q->l2_bits), off;
    uint64_t at = next_cluster(q, s, first);
    int rc = 0;

    *entry = 0;
    if (at >= end)
        return 0;
    memset(table, 0, q->cluster_size);
    for (; at < end && !rc; at = next_cluster(q, s, at + 1)) {
        gather(s, at << q->cluster_bits, buf, q->cluster_size);
        rc = write_cluster(q, buf, &off);
        if (!rc)
            put_be64(table + (at - first) * 8, off);
    }
    return rc ? rc : write_cluster(q, table, entry);
}

int q_state_write_new(struct qcow2 *q, const struct qcow2_snap_new *s,
                      uint64_t disk_size, uint64_t *l1, uint32_t l1_size)
{
    uint64_t first = l1_index(q, q_state_start(q, disk_size));
    uint8_t *buf = malloc(q->cluster_size), *table = malloc(q->cluster_size);
    int rc = buf && table ? 0 : -ENOMEM;

    for (uint64_t i = first; i < l1_size && s->nr_state && !rc; i++)
        rc = write_table(q, s, (i - first) << q->l2_bits, buf, table, &l1[i]);
    free(buf);
    free(table);
    return rc;
}

/* -- Reading it, writing it in place -------------------------------------- */

static int read_entry(struct qcow2 *q, uint64_t off, uint64_t *entry)
{
    uint8_t buf[8];
    int rc = hostfile_read(&q->f, off, buf, sizeof(buf));

    if (!rc)
        *entry = get_be64(buf);
    return rc;
}

/* Where the cluster with the state's byte `at` is in the file; 0: nowhere. A
 * snapshot's tables do not change while a request is in flight. */
static int locate(struct qcow2 *q, const struct q_snap *s, uint64_t at,
                  uint64_t *host)
{
    uint64_t cluster =
        (q_state_start(q, s->s.disk_size) + at) >> q->cluster_bits;
    uint64_t index = cluster >> q->l2_bits, table, entry;
    enum q_kind kind;
    int rc;

    *host = 0;
    rc = read_entry(q, s->l1_off + index * 8, &entry);
    table = entry & Q_OFFSET;
    if (rc || !table)
        return rc;
    if (!is_aligned(table, q->cluster_size) || table > INT64_MAX)
        return -EUCLEAN;
    index = cluster & bits_mask(q->l2_bits);
    rc = read_entry(q, table + index * q->l2_entry_size, &entry);
    if (!rc)
        rc = q_entry_kind(q, entry, &kind, host);
    if (rc)
        return rc;
    if (kind == Q_PACKED)
        return -EUCLEAN; /* nobody makes such a state */
    if (kind != Q_NORMAL)
        *host = 0;
    return *host > INT64_MAX ? -EUCLEAN : 0;
}

static int find_state(struct qcow2 *q, const char *id, uint64_t off,
                      uint64_t len, const struct q_snap **s) REQUIRES(q->lock)
{
    *s = q_snap_find(q, id);
    if (!*s)
        return -ENOENT;
    /* Extended entries are of 16 bytes, and have subclusters. */
    if (q->l2_entry_size != 8)
        return -ENOTSUP;
    return range_ok(off, len, q_state_room(q, *s)) ? 0 : -EINVAL;
}

/* As much as is in one cluster. */
static uint64_t in_cluster(const struct qcow2 *q, uint64_t off, uint64_t len)
{
    uint64_t left = q->cluster_size - (off & (q->cluster_size - 1));

    return len < left ? len : left;
}

int qcow2_state_read(struct qcow2 *q, const char *id, uint64_t off, void *buf,
                     uint64_t len)
{
    const struct q_snap *s;
    uint8_t *p = buf;
    uint64_t host, n;
    unsigned epoch;
    int rc;

    lock_take(&q->lock);
    epoch = q_begin(q);
    rc = find_state(q, id, off, len, &s);
    lock_drop(&q->lock);
    for (; len && !rc; off += n, p += n, len -= n) {
        n = in_cluster(q, off, len);
        rc = locate(q, s, off, &host);
        if (!rc && !host)
            memset(p, 0, n);
        else if (!rc)
            rc = hostfile_read(&q->f, host + (off & (q->cluster_size - 1)), p,
                               n);
    }
    lock_take(&q->lock);
    q_end(q, epoch);
    lock_drop(&q->lock);
    return rc;
}

/* Its own, and no table's that the header names: or what is written would
 * appear elsewhere. */
static int check_own(struct qcow2 *q, uint64_t host) REQUIRES(q->lock)
{
    uint64_t count = 0;
    int rc;

    if (!host || q_hits_tables(q, host, q->cluster_size))
        return -EUCLEAN;
    rc = q_ref_get(q, host >> q->cluster_bits, &count);
    return rc ? rc : count == 1 ? 0 : -EUCLEAN;
}

static int write_in_place(struct qcow2 *q, const struct q_snap *s, uint64_t off,
                          const uint8_t *p, uint64_t n) REQUIRES(q->lock)
{
    uint64_t host;
    int rc = locate(q, s, off, &host);

    if (!rc)
        rc = check_own(q, host);
    if (rc)
        return rc;
    lock_drop(&q->lock);
    rc = q_write_meta(q, host + (off & (q->cluster_size - 1)), p, n);
    lock_take(&q->lock);
    return rc;
}

int qcow2_state_write(struct qcow2 *q, const char *id, uint64_t off,
                      const void *buf, uint64_t len)
{
    const struct q_snap *s;
    const uint8_t *p = buf;
    uint64_t n;
    unsigned epoch;
    int rc;

    if (!q->writable)
        return -EROFS;
    lock_take(&q->lock);
    rc = q_before_change(q);
    epoch = q_begin(q);
    if (!rc)
        rc = find_state(q, id, off, len, &s);
    for (; len && !rc; off += n, p += n, len -= n) {
        n = in_cluster(q, off, len);
        rc = write_in_place(q, s, off, p, n);
    }
    q_end(q, epoch);
    lock_drop(&q->lock);
    return rc;
}
