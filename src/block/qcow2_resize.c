/* Larger disks, while they are in use; and L1 tables in new places. */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2_int.h"

int q_l1_write_new(struct qcow2 *q, const uint64_t *l1, uint32_t size,
                   uint64_t *off)
{
    uint64_t n = q_clusters(q, size * 8ull), first;
    uint64_t *buf;
    int rc;

    if (!n)
        n = 1; /* a table has a place even if it is empty */
    buf = calloc(1, n << q->cluster_bits);
    if (!buf)
        return -ENOMEM;
    for (uint32_t i = 0; i < size; i++)
        put_be64(&buf[i], l1[i]);
    rc = q_alloc_row(q, n, &first);
    if (!rc) {
        *off = first << q->cluster_bits;
        rc = q_write_meta(q, *off, buf, n << q->cluster_bits);
        if (rc)
            q_unalloc(q, first, n);
    }
    free(buf);
    return rc;
}

/* Give the active L1 table room for size entries; the disk stays as it is. */
static int grow_l1(struct qcow2 *q, uint32_t size) REQUIRES(q->lock)
{
    struct q_header h;
    uint64_t off = 0, *l1 = calloc(size + 1ull, sizeof(*l1));
    uint8_t *dirty = calloc(size / 64 + 1ull, 1);
    int rc = l1 && dirty ? 0 : -ENOMEM;

    if (!rc) {
        memcpy(l1, q->l1, q->h.l1_size * sizeof(*l1));
        rc = q_l1_write_new(q, l1, size, &off);
    }
    if (!rc)
        rc = q_flush_frozen(q);
    h = q->h;
    h.l1_off = off;
    h.l1_size = size;
    if (!rc)
        rc = q_header_write(q, &h);
    if (rc) {
        free(l1);
        free(dirty);
        return rc;
    }
    free(q->l1);
    free(q->l1_dirty);
    q->l1 = l1;
    q->l1_dirty = dirty;
    return 0;
}

/*
 * What the backing file has where the disk comes to be must not show: it was
 * out of sight, and new space is zeroes.
 */
static int hide_backing(struct qcow2 *q, uint64_t from, uint64_t to)
    REQUIRES(q->lock)
{
    uint64_t end = q->backing ? blk_size(q->backing) : 0;

    if (!q->backing_name)
        return 0;
    if (!q->backing || q->h.version < 3)
        return q->backing && end <= from ? 0 : -ENOTSUP;
    if (end > to)
        end = to;
    return from < end ? q_zero_beyond(q, from, end) : 0;
}

static int resize_frozen(struct qcow2 *q, uint64_t size) REQUIRES(q->lock)
{
    uint64_t entries = q_l1_entries(q, size), old_first;
    uint64_t old_n = q_clusters(q, q->h.l1_size * 8ull);
    struct q_header h;
    int rc = q_session(q);

    if (!rc && entries > Q_MAX_L1_BYTES / 8)
        rc = -EFBIG;
    if (!rc && entries > q->h.l1_size) {
        old_first = q->h.l1_off >> q->cluster_bits;
        rc = grow_l1(q, (uint32_t)entries);
        if (!rc)
            q_free_later(q, old_first, old_n);
    }
    if (!rc)
        rc = hide_backing(q, q->h.size, size);
    if (!rc)
        rc = q_flush_frozen(q);
    h = q->h;
    h.size = size;
    if (!rc)
        rc = q_header_write(q, &h);
    if (!rc)
        rc = q_sync(q, "resize");
    if (!rc)
        atomic_store_explicit(&q->blk.size, size, memory_order_release);
    return rc;
}

int q_resize(struct blk *b, uint64_t size, struct err *err)
{
    struct qcow2 *q = q_of(b);
    int rc;

    if (size % Q_SECTOR)
        return err_set(err, -EINVAL,
                       "resize %s: a disk's size is a multiple "
                       "of 512 bytes",
                       q->path);
    if (size < blk_size(b))
        return err_set(err, -ENOTSUP,
                       "resize %s: husk does not make disks "
                       "smaller",
                       q->path);
    rc = q_zero_tail(q);
    lock_take(&q->lock);
    if (!rc)
        rc = q_freeze(q);
    if (!rc) {
        rc = resize_frozen(q, size);
        q_thaw(q);
    }
    lock_drop(&q->lock);
    if (rc)
        (void)err_rc(err, rc, "resize %s to %llu bytes", q->path,
                     (unsigned long long)size);
    return rc;
}
