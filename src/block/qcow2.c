/*
 * An image from open to close. What holds in between: qcow2_int.h.
 */
#include "block/qcow2.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2_int.h"

static void q_limits(struct blk *b, struct blk_limits *l)
{
    struct qcow2 *q = q_of(b);

    l->physical_block = 4096;
    l->opt_io = q->cluster_size;
    l->discard_granularity = q->cluster_size;
    /* Each waits with others until the next flush: keep it short. */
    l->max_discard = BIT64(30);
}

/* -- The end -------------------------------------------------------------- */

static void free_all(struct qcow2 *q)
{
    q_cache_fini(q);
    q_snaps_free(q->snaps, q->nr_snaps);
    free(q->l1);
    free(q->l1_dirty);
    free(q->rt);
    free(q->freed.e);
    free(q->released.e);
    free(q->batch);
    free(q->batch_mem);
    free(q->decoded.data);
    free(q->backing_name);
    free(q->backing_format);
    free(q->path);
    lock_fini(&q->decoded.lock);
    (void)pthread_cond_destroy(&q->changed);
    lock_fini(&q->lock);
    free(q);
}

/* The file may end within its last cluster; other programs like it whole. */
static int pad_file(struct qcow2 *q)
{
    uint64_t size;
    int rc = hostfile_size(&q->f, &size);

    if (rc || q->f.is_device || is_aligned(size, q->cluster_size))
        return rc;
    return hostfile_truncate(&q->f, q_clusters(q, size) << q->cluster_bits);
}

static int finish(struct qcow2 *q)
{
    int rc;

    lock_take(&q->lock);
    rc = q_freeze(q);
    if (!rc) {
        /* Refcounts that were lowered since. */
        rc = q_flush_frozen(q);
        if (!rc && q->session)
            rc = pad_file(q);
        /* Refcounts are exact: say so, as the last thing (invariant 9). */
        if (!rc && !q->leaked && !(q->h.incompat & Q_INCOMPAT_DIRTY))
            rc = q_mark_set(q);
        q_thaw(q);
    }
    lock_drop(&q->lock);
    return rc;
}

/* It is read-only: there is nothing to lose. */
static void close_backing(struct qcow2 *q)
{
    int rc = q->backing ? blk_close(q->backing) : 0;

    (void)rc;
}

int qcow2_close(struct qcow2 *q)
{
    bool touched = q->session || q->recovered || atomic_load(&q->written);
    int rc = q->writable && touched ? finish(q) : 0;

    close_backing(q);
    hostfile_close(&q->f);
    free_all(q);
    return rc;
}

static int q_close(struct blk *b)
{
    return qcow2_close(q_of(b));
}

static int q_flush_op(struct blk *b)
{
    struct qcow2 *q = q_of(b);
    int rc;

    lock_take(&q->lock);
    rc = q_flush(q);
    lock_drop(&q->lock);
    return rc;
}

static const struct blk_ops qcow2_ops = {.name = "qcow2",
                                         .readv = q_readv,
                                         .readv_cached = q_readv_cached,
                                         .map = q_map_extent,
                                         .unmap = q_unmap_extent,
                                         .writev = q_writev,
                                         .zero = q_zero,
                                         .discard = q_discard,
                                         .flush = q_flush_op,
                                         .resize = q_resize,
                                         .limits = q_limits,
                                         .close = q_close};

/* -- The beginning -------------------------------------------------------- */

static void set_geometry(struct qcow2 *q)
{
    q->cluster_bits = q->h.cluster_bits;
    q->cluster_size = (uint32_t)BIT64(q->cluster_bits);
    q->l2_entry_size = q->h.incompat & Q_INCOMPAT_EXTL2 ? 16 : 8;
    q->l2_bits = q->cluster_bits - (q->l2_entry_size == 16 ? 4 : 3);
    q->rb_bits = q->cluster_bits + 3 - q->h.refcount_order;
    q->refcount_max = q->h.refcount_order == 6
                          ? INT64_MAX
                          : bits_mask(1u << q->h.refcount_order);
}

/*
 * A reader beside a writer: the header and what it leads to are read again
 * until the header has not changed meanwhile.
 */
static int read_header(struct qcow2 *q, struct err *err)
{
    uint8_t buf[Q_SECTOR];
    int rc = hostfile_read(&q->f, 0, buf, sizeof(buf));

    if (rc)
        return err_rc(err, rc, "read the header of %s", q->path);
    return q_header_parse(&q->h, buf, sizeof(buf), q->path, err);
}

static bool header_is_still(struct qcow2 *q)
{
    struct q_header h;
    struct err err;
    uint8_t buf[Q_SECTOR];

    return !hostfile_read(&q->f, 0, buf, sizeof(buf)) &&
           !q_header_parse(&h, buf, sizeof(buf), q->path, &err) &&
           h.l1_off == q->h.l1_off && h.l1_size == q->h.l1_size &&
           h.rt_off == q->h.rt_off && h.rt_clusters == q->h.rt_clusters &&
           h.snaps_off == q->h.snaps_off && h.nr_snaps == q->h.nr_snaps &&
           h.size == q->h.size;
}

static void forget_tables(struct qcow2 *q)
{
    free(q->l1);
    free(q->l1_dirty);
    free(q->rt);
    free(q->backing_name);
    free(q->backing_format);
    q_snaps_free(q->snaps, q->nr_snaps);
    q->l1 = q->rt = NULL;
    q->l1_dirty = NULL;
    q->snaps = NULL;
    q->nr_snaps = 0;
    q->backing_name = q->backing_format = NULL;
}

static int read_tables_once(struct qcow2 *q, struct err *err)
{
    int rc = read_header(q, err);

    if (rc)
        return rc;
    set_geometry(q);
    rc = q_header_check_features(q, err);
    if (!rc)
        rc = q_header_read_names(q, err);
    if (!rc && q_mark_find(q))
        rc = err_set(err, -EINVAL, "open %s: its header extensions are broken",
                     q->path);
    if (!rc)
        rc = q_l1_load(q, err);
    if (!rc)
        rc = q_rt_load(q, err);
    if (!rc)
        rc = q_snaps_load(q, err);
    return rc;
}

static int read_tables(struct qcow2 *q, struct err *err)
{
    enum { TRIES = 20 };
    int rc = -EAGAIN;

    for (unsigned i = 0; i < TRIES; i++) {
        forget_tables(q);
        rc = read_tables_once(q, err);
        if (rc == -ENOMEM || q->writable || header_is_still(q))
            break;
    }
    return rc;
}

static int check_writable(struct qcow2 *q, struct err *err)
{
    if (q->l2_entry_size != 8)
        return err_set(err, -ENOTSUP,
                       "open %s for writing: it has extended L2 entries, which "
                       "husk only reads; convert it with qemu-img",
                       q->path);
    if (q->h.incompat & Q_INCOMPAT_CORRUPT && !(q->flags & QCOW2_FOR_CHECK))
        return err_set(err, -EUCLEAN,
                       "open %s for writing: it is marked as corrupt; repair "
                       "it first (husk check --repair)",
                       q->path);
    return 0;
}

/* What only writing needs. */
static int prepare_writing(struct qcow2 *q, struct err *err)
{
    uint32_t n = q->cache.max_dirty * 2;
    uint64_t size;
    int rc;

    q->batch = calloc(n, sizeof(*q->batch));
    q->batch_mem = aligned_alloc(
        Q_SLICE_MAX,
        align_down((uint64_t)n * q->cache.slice_size + Q_SLICE_MAX - 1,
                   Q_SLICE_MAX));
    if (!q->batch || !q->batch_mem)
        return err_set(err, -ENOMEM, "open %s: out of memory", q->path);
    rc = hostfile_size(&q->f, &size);
    if (rc)
        return err_rc(err, rc, "find the size of %s", q->path);
    /* A device has whatever was there before. */
    q->fresh_from = q->f.is_device ? UINT64_MAX : q_clusters(q, size);
    /* Nothing is known of its refcounts until a check says so. */
    q->leaked = q->flags & QCOW2_FOR_CHECK;
    return q->leaked ? 0 : q_recover(q, err);
}

/* What QEMU may have left beyond the disk must not come to be in it. */
static int tidy_up(struct qcow2 *q, struct err *err)
{
    int rc;

    if (q->flags & QCOW2_FOR_CHECK)
        return 0;
    lock_take(&q->lock);
    rc = q_freeze(q);
    if (!rc) {
        rc = q_drop_beyond(q);
        q_thaw(q);
    }
    lock_drop(&q->lock);
    return rc ? err_rc(err, rc, "open %s for writing", q->path) : 0;
}

/* The disk is from now on that of a snapshot. */
static int use_snapshot(struct qcow2 *q, const char *id, struct err *err)
{
    const struct q_snap *s = q_snap_find(q, id);

    if (q->writable || !s || s->s.no_disk)
        return err_set(err, q->writable || s ? -EINVAL : -ENOENT,
                       "read snapshot %s of %s: there is no such disk", id,
                       q->path);
    free(q->l1);
    free(q->l1_dirty);
    q->l1 = NULL;
    q->l1_dirty = NULL;
    q->h.l1_off = s->l1_off;
    q->h.l1_size = (uint32_t)q_l1_entries(q, s->s.disk_size);
    q->h.size = s->s.disk_size;
    return q_l1_load(q, err);
}

static int init_image(struct qcow2 *q, const struct qcow2_opts *opts,
                      struct q_chain *chain, struct err *err)
{
    int rc = read_tables(q, err);

    if (!rc && opts->snapshot)
        rc = use_snapshot(q, opts->snapshot, err);
    if (rc)
        return rc;
    q->was_dirty = q->h.incompat & Q_INCOMPAT_DIRTY;
    q->was_corrupt = q->h.incompat & Q_INCOMPAT_CORRUPT;
    q->closed = q_mark_is_set(q, &q->only_husk);
    atomic_init(&q->blk.size, q->h.size);
    rc = q_cache_init(q, opts->cache_bytes);
    if (rc)
        return err_set(err, rc, "open %s: out of memory", q->path);
    if (q->writable)
        rc = check_writable(q, err);
    if (!rc && q->backing_name && !(q->flags & QCOW2_NO_BACKING))
        rc = q_backing_open(q, chain, err);
    if (!rc && q->writable)
        rc = prepare_writing(q, err);
    if (!rc && q->writable)
        rc = tidy_up(q, err);
    return rc;
}

static struct qcow2 *new_image(const char *path, unsigned flags)
{
    struct qcow2 *q = calloc(1, sizeof(*q));

    if (!q)
        return NULL;
    q->path = strdup(path);
    if (!q->path) {
        free(q);
        return NULL;
    }
    q->blk.ops = &qcow2_ops;
    q->blk.flags = flags & (BLK_RDONLY | BLK_DIRECT);
    q->flags = flags;
    q->writable = !(flags & BLK_RDONLY);
    lock_init(&q->lock);
    lock_init(&q->decoded.lock);
    (void)pthread_cond_init(&q->changed, NULL);
    return q;
}

int q_open_in_chain(const char *path, int fd, const struct qcow2_opts *opts,
                    struct q_chain *chain, struct qcow2 **out, struct err *err)
{
    struct qcow2 *q = new_image(path, opts->flags);
    int rc;

    if (!q)
        return err_set(err, -ENOMEM, "open %s: out of memory", path);
    rc = hostfile_open(&q->f, path, fd, opts->flags & (BLK_RDONLY | BLK_DIRECT),
                       opts->host, opts->host_arg, err);
    if (!rc)
        rc = init_image(q, opts, chain, err);
    if (!rc) {
        *out = q;
        return 0;
    }
    close_backing(q);
    if (fd >= 0)
        hostfile_let_go(&q->f);
    hostfile_close(&q->f);
    free_all(q);
    return rc;
}

int qcow2_open(const char *path, int fd, const struct qcow2_opts *opts,
               struct qcow2 **out, struct err *err)
{
    static const struct qcow2_opts none;
    struct q_chain chain = {0};

    return q_open_in_chain(path, fd, opts ? opts : &none, &chain, out, err);
}

/* -- Facts ---------------------------------------------------------------- */

struct blk *qcow2_blk(struct qcow2 *q)
{
    return &q->blk;
}

void qcow2_info(struct qcow2 *q, struct qcow2_info *info)
{
    lock_take(&q->lock);
    *info = (struct qcow2_info){.version = q->h.version,
                                .cluster_size = q->cluster_size,
                                .refcount_bits = 1u << q->h.refcount_order,
                                .zstd = q->h.compression == 1,
                                .extended_l2 = q->l2_entry_size == 16,
                                .dirty = q->was_dirty,
                                .corrupt = q->was_corrupt,
                                .only_husk = q->only_husk,
                                .recovered = q->recovered,
                                .leaks_reclaimed = q->reclaimed,
                                .size = q->h.size,
                                .backing = q->backing_name,
                                .backing_format = q->backing_format,
                                .nr_snapshots = q->nr_snaps};
    lock_drop(&q->lock);
}

static int count_allocated(struct qcow2 *q, uint64_t clusters, uint64_t *n)
    REQUIRES(q->lock)
{
    int rc = 0;

    *n = 0;
    for (uint64_t i = 0; i < clusters && !rc; i++) {
        uint64_t block = i >> q->rb_bits, count;

        if (block >= q->rt_entries)
            break;
        if (!q->rt[block]) {
            i |= bits_mask(q->rb_bits); /* on to the next block */
            continue;
        }
        rc = q_ref_get(q, i, &count);
        *n += !rc && count;
    }
    return rc;
}

int qcow2_sizes(struct qcow2 *q, struct qcow2_sizes *s)
{
    uint64_t n = 0;
    int rc = hostfile_size(&q->f, &s->file);

    if (!rc)
        rc = hostfile_used(&q->f, &s->used);
    if (rc)
        return rc;
    lock_take(&q->lock);
    rc = count_allocated(q, q_clusters(q, s->file), &n);
    lock_drop(&q->lock);
    s->allocated = n << q->cluster_bits;
    return rc;
}
