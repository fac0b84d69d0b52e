/*
 * Taking, restoring and deleting snapshots of the disk. Each has one moment at
 * which it happens, the write of a header sector; before, only refcounts are
 * too high, and after, too. While "copied" flags may be wrong the dirty bit is
 * set (invariants 6 to 8). If something fails on the way, all references are
 * counted again, which undoes whatever was done before the moment.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/iov.h"
#include "block/qcow2_int.h"
#include "block/qcow2_walk.h"

/* -- What a tree refers to: up, down, flags ------------------------------- */

enum tree_op {
    TREE_SHARE,   /* one reference more, not "copied" any more */
    TREE_DROP,    /* one less; space that is free then goes to the host */
    TREE_FREE,    /* one less with the commit that makes the absence stable */
    TREE_OWN,     /* "copied" where the refcount is 1 */
    TREE_MEASURE, /* count the clusters with a refcount of 1 */
};

/* Functions that get one are called under the image's lock, which clang cannot
 * tell (NO_TSA). */
struct tree {
    struct qcow2 *q;
    enum tree_op op;
    bool active;      /* it is the tree of the active L1 table */
    uint64_t hole, n; /* clusters to be punched, in a row */
    uint64_t unique;
};

static int punch(struct tree *t)
{
    struct qcow2 *q = t->q;
    uint64_t n = t->n;

    t->n = 0;
    return n ? hostfile_discard(&q->f, t->hole << q->cluster_bits,
                                n << q->cluster_bits)
             : 0;
}

static int drop_one(struct tree *t, uint64_t cluster) NO_TSA
{
    struct qcow2 *q = t->q;
    uint64_t count = 0;
    int rc = q_ref_add(q, cluster, 1, -1, NULL);

    if (!rc)
        rc = q_ref_get(q, cluster, &count);
    if (rc || count)
        return rc;
    if (cluster < q->hint)
        q->hint = cluster;
    if (t->n && t->hole + t->n == cluster) {
        t->n++;
        return 0;
    }
    rc = punch(t);
    t->hole = cluster;
    t->n = 1;
    return rc;
}

static int set_flag(struct tree *t, uint64_t table, uint64_t index,
                    uint64_t entry, bool copied) NO_TSA
{
    struct qcow2 *q = t->q;
    uint64_t at = index * 8, want;
    struct q_slice *s;
    int rc;

    want = copied ? entry | Q_COPIED : entry & ~Q_COPIED;
    if (want == entry || (!table && !t->active))
        return 0;
    rc = q_make_room(q);
    if (rc)
        return rc;
    if (!table) {
        q_l1_set(q, index, want);
        return 0;
    }
    rc = q_cache_get(q, table + align_down(at, q->cache.slice_size), false, &s);
    if (rc)
        return rc;
    put_be64(s->data + (at & (q->cache.slice_size - 1)), want);
    q_cache_dirty(q, s);
    return 0;
}

static int visit_clusters(struct tree *t, uint64_t first, uint64_t n) NO_TSA
{
    uint64_t count = 0;
    int rc = 0;

    for (uint64_t i = first; i < first + n && !rc; i++) {
        if (t->op == TREE_SHARE)
            rc = q_ref_add(t->q, i, 1, 1, NULL);
        else if (t->op == TREE_DROP)
            rc = drop_one(t, i);
        else
            rc = q_ref_get(t->q, i, &count);
        if (!rc && t->op == TREE_MEASURE)
            t->unique += count == 1;
    }
    return rc;
}

static int visit_entry(void *arg, uint64_t table, uint64_t index,
                       uint64_t entry) NO_TSA
{
    struct tree *t = arg;
    uint64_t first, n = 1, count = 0;
    bool packed = table && entry & Q_COMPRESSED;
    int rc = 0;

    if (table) {
        q_entry_clusters(t->q, entry, &first, &n);
    } else {
        first = (entry & Q_OFFSET) >> t->q->cluster_bits;
        n = !!first;
    }
    if (!n)
        return 0;
    if (t->op == TREE_FREE) {
        q_free_later(t->q, first, n);
        return 0;
    }
    if (t->op != TREE_OWN)
        rc = visit_clusters(t, first, n);
    else if (!packed)
        rc = q_ref_get(t->q, first, &count);
    if (rc || packed || t->op == TREE_DROP || t->op == TREE_MEASURE)
        return rc;
    return set_flag(t, table, index, entry, count == 1);
}

static int do_tree(struct qcow2 *q, enum tree_op op, uint64_t l1_off,
                   uint32_t l1_size, uint64_t *unique) REQUIRES(q->lock)
{
    struct tree t = {.q = q, .op = op, .active = l1_off == q->h.l1_off};
    struct qcow2_check ignored = {0};
    struct q_walk w;
    int rc = q_walk_init(&w, q, &ignored, false);

    if (rc)
        return rc;
    rc = q_walk_tree(&w, l1_off, l1_size, visit_entry, &t);
    if (!rc)
        rc = punch(&t);
    q_walk_fini(&w);
    if (unique)
        *unique = t.unique;
    return rc;
}

int q_drop_beyond(struct qcow2 *q)
{
    uint32_t n = (uint32_t)q_l1_entries(q, q->h.size), i = n;
    int rc = 0;

    while (i < q->h.l1_size && !q->l1[i])
        i++;
    if (i == q->h.l1_size)
        return 0;
    rc = q_session(q);
    if (!rc)
        rc = do_tree(q, TREE_FREE, q->h.l1_off + n * 8ull, q->h.l1_size - n,
                     NULL);
    for (i = n; i < q->h.l1_size && !rc; i++) {
        rc = q->l1[i] ? q_make_room(q) : 0;
        if (!rc && q->l1[i])
            q_l1_set(q, i, 0);
    }
    return rc ? rc : q_flush_frozen(q);
}

static int drop_table(struct qcow2 *q, uint64_t off, uint64_t bytes)
    REQUIRES(q->lock)
{
    uint64_t first = off >> q->cluster_bits, n = q_clusters(q, bytes);

    if (!off || !n)
        return 0;
    q_unalloc(q, first, n);
    return hostfile_discard(&q->f, off, n << q->cluster_bits);
}

/* -- The list of snapshots ------------------------------------------------ */

/* A list with room for one more, which borrows what its entries point to. */
static struct q_snap *copy_list(const struct qcow2 *q)
{
    struct q_snap *list = calloc(q->nr_snaps + 1ull, sizeof(*list));

    if (list && q->nr_snaps)
        memcpy(list, q->snaps, q->nr_snaps * sizeof(*list));
    return list;
}

/*
 * Write the list and let h, with whatever else it changes, name it: the moment.
 * The caller takes the list over; the old table's place goes to *old.
 */
static int switch_list(struct qcow2 *q, struct q_header *h,
                       const struct q_snap *list, uint32_t n,
                       struct q_extent *old, const char *why) REQUIRES(q->lock)
{
    uint64_t off, bytes;
    int rc = q_snaps_write(q, list, n, &off, &bytes);

    if (!rc)
        rc = q_flush_frozen(q);
    if (rc)
        return rc;
    h->snaps_off = off;
    h->nr_snaps = n;
    /* Refcount tables may have moved since the caller copied the header. */
    h->rt_off = q->h.rt_off;
    h->rt_clusters = q->h.rt_clusters;
    *old = (struct q_extent){q->h.snaps_off, q->snaps_bytes};
    rc = q_header_write(q, h);
    if (!rc)
        rc = q_sync(q, why);
    if (!rc)
        q->snaps_bytes = bytes;
    return rc;
}

static void take_list(struct qcow2 *q, struct q_snap *list, uint32_t n)
{
    free(q->snaps);
    q->snaps = list;
    q->nr_snaps = n;
}

static struct q_header header_with_dirty(const struct qcow2 *q, bool dirty)
{
    struct q_header h = q->h;

    if (h.version >= 3)
        h.incompat =
            (h.incompat & ~Q_INCOMPAT_DIRTY) | (dirty ? Q_INCOMPAT_DIRTY : 0);
    return h;
}

/* -- Taking --------------------------------------------------------------- */

static void next_id(const struct qcow2 *q, char *id)
{
    unsigned long long max = 0;

    for (uint32_t i = 0; i < q->nr_snaps; i++) {
        unsigned long long n = strtoull(q->snaps[i].s.id, NULL, 10);

        if (n > max && n < UINT32_MAX)
            max = n;
    }
    (void)snprintf(id, QCOW2_SNAP_ID_MAX + 1, "%llu", max + 1);
}

static int new_snap(struct qcow2 *q, const struct qcow2_snap_new *s,
                    struct q_snap *out)
{
    char number[QCOW2_SNAP_ID_MAX + 1];
    struct qcow2_snap as = {.date_sec = s->date_sec,
                            .date_nsec = s->date_nsec,
                            .vm_clock_ns = s->vm_clock_ns,
                            .disk_size =
                                s->no_disk ? (uint64_t)Q_NO_DISK : q->h.size,
                            .no_disk = s->no_disk,
                            .opaque_len = s->opaque_len};
    uint32_t l1_size;
    int rc = q_state_size(q, s, as.disk_size, &l1_size);

    if (rc)
        return rc;
    next_id(q, number);
    as.l1_bytes = l1_size * 8ull;
    as.id = s->id ? iov_const(s->id, 0).iov_base : number;
    as.name = iov_const(s->name, 0).iov_base;
    as.opaque = iov_const(s->opaque, 0).iov_base;
    *out = (struct q_snap){.l1_size = l1_size, .icount = UINT64_MAX};
    rc = q_snap_copy(&out->s, &as);
    out->s.state_room = q_state_room(q, out);
    return rc;
}

/* The new L1 table: that of the disk, and behind it that of the state. */
static int write_l1(struct qcow2 *q, const struct qcow2_snap_new *s,
                    struct q_snap *new) REQUIRES(q->lock)
{
    uint64_t *l1 = calloc(new->l1_size + 1ull, sizeof(*l1));
    int rc = l1 ? 0 : -ENOMEM;

    if (!rc && !s->no_disk)
        memcpy(l1, q->l1, q_l1_entries(q, q->h.size) * sizeof(*l1));
    if (!rc)
        rc = q_state_write_new(q, s, new->s.disk_size, l1, new->l1_size);
    if (!rc)
        rc = q_l1_write_new(q, l1, new->l1_size, &new->l1_off);
    free(l1);
    return rc;
}

static int snap_create_frozen(struct qcow2 *q, const struct qcow2_snap_new *s,
                              struct q_snap *list) REQUIRES(q->lock)
{
    uint32_t n = (uint32_t)q_l1_entries(q, q->h.size);
    struct q_snap *new = &list[q->nr_snaps];
    struct q_extent old;
    struct q_header h;
    int rc = s->no_disk ? 0 : q_set_dirty(q, true);

    if (!rc && !s->no_disk)
        rc = do_tree(q, TREE_SHARE, q->h.l1_off, n, NULL);
    if (!rc)
        rc = write_l1(q, s, new);
    if (rc)
        return rc;
    h = header_with_dirty(q, false);
    rc = switch_list(q, &h, list, q->nr_snaps + 1, &old, "snapshot");
    if (!rc)
        rc = drop_table(q, old.first, old.n);
    return rc;
}

/* Something failed: whatever was counted for it is counted no more. */
static void undo(struct qcow2 *q) REQUIRES(q->lock)
{
    struct err err;

    q->leaked = true;
    if (!atomic_load(&q->broken) && !q_flush_frozen(q) && !q_recount(q, &err))
        q->leaked = false;
}

static int check_new(struct qcow2 *q, const struct qcow2_snap_new *s,
                     struct err *err) REQUIRES(q->lock)
{
    if (!s->name || strlen(s->name) > QCOW2_SNAP_NAME_MAX ||
        (s->id && (!*s->id || strlen(s->id) > QCOW2_SNAP_ID_MAX)) ||
        s->opaque_len > QCOW2_SNAP_OPAQUE_MAX)
        return err_set(err, -EINVAL,
                       "snapshot %s: the name, id or description is too long",
                       q->path);
    if (s->id && q_snap_find(q, s->id))
        return err_set(err, -EEXIST, "snapshot %s: there is one with the id %s",
                       q->path, s->id);
    if (q->nr_snaps >= QCOW2_SNAPS_MAX || q->refcount_max == 1)
        return err_set(err, -EOVERFLOW,
                       "snapshot %s: its refcounts are too narrow, or there "
                       "are too many snapshots",
                       q->path);
    return 0;
}

static int create_locked(struct qcow2 *q, const struct qcow2_snap_new *s,
                         char *id_out, struct err *err) REQUIRES(q->lock)
{
    struct q_snap *list;
    int rc = check_new(q, s, err);

    if (rc)
        return rc;
    rc = q_session(q);
    list = copy_list(q);
    if (!rc && !list)
        rc = -ENOMEM;
    if (!rc)
        rc = new_snap(q, s, &list[q->nr_snaps]);
    if (rc)
        goto free_list;
    rc = snap_create_frozen(q, s, list);
    if (rc) {
        q_snap_free(&list[q->nr_snaps]);
        undo(q);
        goto free_list;
    }
    if (id_out)
        (void)snprintf(id_out, QCOW2_SNAP_ID_MAX + 1, "%s",
                       list[q->nr_snaps].s.id);
    take_list(q, list, q->nr_snaps + 1);
    return 0;

free_list:
    free(list);
    return err_rc(err, rc, "snapshot %s", q->path);
}

int qcow2_snap_create(struct qcow2 *q, const struct qcow2_snap_new *s,
                      char *id_out, struct err *err)
{
    int rc;

    if (!q->writable)
        return err_set(err, -EROFS, "snapshot %s: it is read-only", q->path);
    lock_take(&q->lock);
    rc = q_freeze(q);
    if (rc) {
        (void)err_rc(err, rc, "snapshot %s", q->path);
    } else {
        rc = create_locked(q, s, id_out, err);
        q_thaw(q);
    }
    lock_drop(&q->lock);
    return rc;
}

/* -- Restoring ------------------------------------------------------------ */

/* The snapshot's L1 table as far as the disk reaches, flags cleared. */
static int load_l1(struct qcow2 *q, const struct q_snap *s, uint64_t **l1,
                   uint32_t n)
{
    uint64_t *t = calloc(n + 1ull, sizeof(*t));
    int rc = t ? hostfile_read(&q->f, s->l1_off, t, n * 8ull) : -ENOMEM;

    if (rc) {
        free(t);
        return rc;
    }
    for (uint32_t i = 0; i < n; i++)
        t[i] = get_be64(&t[i]) & ~Q_COPIED;
    *l1 = t;
    return 0;
}

/* The disk's tables are now l1; what the old ones refer to is dropped. */
static void leave_old_tree(struct qcow2 *q, uint64_t *l1, uint8_t *dirty,
                           uint64_t old_off, uint32_t old_size)
    REQUIRES(q->lock)
{
    free(q->l1);
    free(q->l1_dirty);
    q->l1 = l1;
    q->l1_dirty = dirty;
    q_decoded_forget(q);
    atomic_store_explicit(&q->blk.size, q->h.size, memory_order_release);
    if (do_tree(q, TREE_DROP, old_off, old_size, NULL) ||
        drop_table(q, old_off, old_size ? old_size * 8ull : 1))
        q->leaked = true; /* the next open gets it */
}

static int apply_locked(struct qcow2 *q, const struct q_snap *s)
    REQUIRES(q->lock)
{
    uint32_t n = (uint32_t)q_l1_entries(q, s->s.disk_size);
    uint64_t *l1 = NULL, off = 0, old_off = q->h.l1_off;
    uint32_t old_size = q->h.l1_size;
    uint8_t *dirty = calloc(n / 64 + 1ull, 1);
    struct q_header h;
    int rc = dirty ? q_session(q) : -ENOMEM;

    if (!rc && s->s.no_disk)
        rc = -EINVAL;
    if (!rc)
        rc = load_l1(q, s, &l1, n);
    if (!rc)
        rc = q_set_dirty(q, true);
    if (rc)
        goto free_all;
    rc = do_tree(q, TREE_SHARE, s->l1_off, n, NULL);
    if (!rc)
        rc = q_l1_write_new(q, l1, n, &off);
    if (!rc)
        rc = q_flush_frozen(q);
    h = header_with_dirty(q, false);
    h.l1_off = off;
    h.l1_size = n;
    h.size = s->s.disk_size;
    if (!rc)
        rc = q_header_write(q, &h);
    if (!rc)
        rc = q_sync(q, "restore");
    if (!rc) {
        leave_old_tree(q, l1, dirty, old_off, old_size);
        return 0;
    }
    undo(q);
free_all:
    free(l1);
    free(dirty);
    return rc;
}

/* -- Deleting ------------------------------------------------------------- */

static int delete_locked(struct qcow2 *q, struct q_snap *s) REQUIRES(q->lock)
{
    uint32_t i = (uint32_t)(s - q->snaps), n = q->nr_snaps - 1;
    struct q_snap gone = *s, *list = copy_list(q);
    struct q_extent old;
    struct q_header h;
    int rc = list ? q_session(q) : -ENOMEM;

    if (rc)
        goto free_list;
    memmove(list + i, list + i + 1, (n - i) * sizeof(*list));
    h = header_with_dirty(q, true);
    rc = switch_list(q, &h, list, n, &old, "snapshot-delete");
    if (rc) {
        undo(q);
        goto free_list;
    }
    take_list(q, list, n);
    rc = drop_table(q, old.first, old.n);
    if (!rc)
        rc = do_tree(q, TREE_DROP, gone.l1_off, gone.l1_size, NULL);
    if (!rc)
        rc = drop_table(q, gone.l1_off, gone.l1_size ? gone.l1_size * 8ull : 1);
    if (!rc)
        rc = do_tree(q, TREE_OWN, q->h.l1_off, q->h.l1_size, NULL);
    if (!rc)
        rc = q_flush_frozen(q);
    if (!rc)
        rc = q_set_dirty(q, false);
    q_snap_free(&gone);
    if (rc)
        undo(q); /* it is gone all the same */
    return 0;

free_list:
    free(list);
    return rc;
}

/* -- Both ----------------------------------------------------------------- */

static int on_snap(struct qcow2 *q, const char *id, bool apply, struct err *err)
{
    const char *what = apply ? "restore" : "delete";
    struct q_snap *s;
    int rc;

    if (!q->writable)
        return err_set(err, -EROFS, "%s snapshot %s of %s: it is read-only",
                       what, id, q->path);
    lock_take(&q->lock);
    rc = q_freeze(q);
    if (!rc) {
        s = q_snap_find(q, id);
        if (!s)
            rc = -ENOENT;
        else
            rc = apply ? apply_locked(q, s) : delete_locked(q, s);
        q_thaw(q);
    }
    lock_drop(&q->lock);
    if (rc == -ENOENT)
        (void)err_set(err, rc, "%s snapshot %s of %s: there is none", what, id,
                      q->path);
    else if (rc)
        (void)err_rc(err, rc, "%s snapshot %s of %s", what, id, q->path);
    return rc;
}

int qcow2_snap_apply(struct qcow2 *q, const char *id, struct err *err)
{
    return on_snap(q, id, true, err);
}

int qcow2_snap_delete(struct qcow2 *q, const char *id, struct err *err)
{
    return on_snap(q, id, false, err);
}

/* -- Names and descriptions ----------------------------------------------- */

static int change_locked(struct qcow2 *q, struct q_snap *s,
                         const struct qcow2_snap *as) REQUIRES(q->lock)
{
    struct q_snap gone = *s, *list = copy_list(q);
    struct q_snap *new = list ? &list[s - q->snaps] : NULL;
    struct q_header h;
    struct q_extent old;
    int rc = list ? q_session(q) : -ENOMEM;

    if (!rc)
        rc = q_snap_copy(&new->s, as);
    if (rc)
        goto free_list;
    h = q->h;
    rc = switch_list(q, &h, list, q->nr_snaps, &old, "snapshot-change");
    if (rc) {
        q_snap_free(new);
        undo(q);
        goto free_list;
    }
    take_list(q, list, q->nr_snaps);
    q_snap_free(&gone);
    if (drop_table(q, old.first, old.n))
        q->leaked = true;
    return 0;

free_list:
    free(list);
    return rc;
}

int qcow2_snap_change(struct qcow2 *q, const char *id, const char *name,
                      const void *opaque, uint32_t opaque_len, struct err *err)
{
    struct qcow2_snap as;
    struct q_snap *s;
    int rc;

    if (!q->writable)
        return err_set(err, -EROFS, "change a snapshot of %s: it is read-only",
                       q->path);
    if ((name && strlen(name) > QCOW2_SNAP_NAME_MAX) ||
        (opaque && opaque_len > QCOW2_SNAP_OPAQUE_MAX))
        return err_set(err, -EINVAL,
                       "change a snapshot of %s: the name or description is "
                       "too long",
                       q->path);
    lock_take(&q->lock);
    rc = q_freeze(q);
    if (!rc) {
        s = q_snap_find(q, id);
        rc = s ? 0 : -ENOENT;
        if (s) {
            as = s->s;
            if (name)
                as.name = iov_const(name, 0).iov_base;
            if (opaque) {
                as.opaque = iov_const(opaque, 0).iov_base;
                as.opaque_len = opaque_len;
            }
            rc = change_locked(q, s, &as);
        }
        q_thaw(q);
    }
    lock_drop(&q->lock);
    if (rc)
        (void)err_rc(err, rc, "change snapshot %s of %s", id, q->path);
    return rc;
}

int qcow2_snap_unique(struct qcow2 *q, const char *id, uint64_t *bytes,
                      struct err *err)
{
    uint64_t n = 0;
    struct q_snap *s;
    int rc = 0;

    lock_take(&q->lock);
    if (q->writable)
        rc = q_freeze(q);
    if (!rc) {
        s = q_snap_find(q, id);
        rc = s ? do_tree(q, TREE_MEASURE, s->l1_off, s->l1_size, &n) : -ENOENT;
        if (s)
            n += q_clusters(q, s->s.l1_bytes);
        if (q->writable)
            q_thaw(q);
    }
    lock_drop(&q->lock);
    if (rc)
        return err_rc(err, rc, "measure snapshot %s of %s", id, q->path);
    *bytes = n << q->cluster_bits;
    return 0;
}
