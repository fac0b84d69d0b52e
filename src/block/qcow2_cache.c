/*
 * Pieces ("slices") of L2 tables and refcount blocks in memory: at most 4 KiB
 * each, so that a small change is a small write whatever the cluster size.
 *
 * Dirty slices stay until a commit writes them (qcow2_flush.c); only refcounts
 * may be written at any time. At most a quarter of all slices is dirty, so
 * there is always one to take for a new piece.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2_int.h"

static uint64_t bucket_of(const struct q_cache *c, uint64_t off)
{
    uint64_t h = (off >> c->slice_bits) * 0x9e3779b97f4a7c15ull;

    return (h >> 32) & c->hash_mask;
}

static uint32_t *bucket(struct q_cache *c, uint64_t off)
{
    return &c->hash[bucket_of(c, off)];
}

static void lru_remove(struct q_cache *c, uint32_t i)
{
    struct q_slice *s = &c->slice[i];

    if (s->newer)
        c->slice[s->newer].older = s->older;
    else
        c->newest = s->older;
    if (s->older)
        c->slice[s->older].newer = s->newer;
    else
        c->oldest = s->newer;
}

static void lru_add(struct q_cache *c, uint32_t i)
{
    struct q_slice *s = &c->slice[i];

    s->newer = 0;
    s->older = c->newest;
    if (c->newest)
        c->slice[c->newest].newer = i;
    else
        c->oldest = i;
    c->newest = i;
}

static void hash_remove(struct q_cache *c, uint32_t i)
{
    uint32_t *p = bucket(c, c->slice[i].off);

    while (*p != i)
        p = &c->slice[*p].next;
    *p = c->slice[i].next;
    c->slice[i].off = 0;
}

static void hash_add(struct q_cache *c, uint32_t i, uint64_t off)
{
    uint32_t *p = bucket(c, off);

    c->slice[i].off = off;
    c->slice[i].next = *p;
    *p = i;
}

int q_cache_init(struct qcow2 *q, uint32_t bytes)
{
    struct q_cache *c = &q->cache;
    uint32_t hash_size = 1;

    if (!bytes)
        bytes = Q_CACHE_DEFAULT;
    if (bytes < Q_CACHE_MIN)
        bytes = Q_CACHE_MIN;
    if (bytes > 1u << 30)
        bytes = 1u << 30;
    c->slice_size =
        q->cluster_size < Q_SLICE_MAX ? q->cluster_size : Q_SLICE_MAX;
    c->slice_bits = (uint32_t)__builtin_ctz(c->slice_size);
    c->nr = bytes / c->slice_size;
    while (hash_size < c->nr)
        hash_size *= 2;
    c->hash_mask = hash_size - 1;
    c->max_dirty = c->nr / 4;
    c->slice = calloc(c->nr + 1ull, sizeof(*c->slice));
    c->hash = calloc(hash_size, sizeof(*c->hash));
    /* Aligned for O_DIRECT. */
    c->mem = aligned_alloc(Q_SLICE_MAX, (uint64_t)c->nr * c->slice_size);
    if (!c->slice || !c->hash || !c->mem)
        return -ENOMEM;
    for (uint32_t i = 1; i <= c->nr; i++) {
        c->slice[i].data = c->mem + (uint64_t)(i - 1) * c->slice_size;
        lru_add(c, i);
    }
    return 0;
}

void q_cache_fini(struct qcow2 *q)
{
    free(q->cache.slice);
    free(q->cache.hash);
    free(q->cache.mem);
    q->cache = (struct q_cache){0};
}

static void make_clean(struct q_cache *c, struct q_slice *s)
{
    if (!s->dirty)
        return;
    s->dirty = false;
    c->nr_dirty--;
    if (s->is_ref)
        c->nr_dirty_refs--;
}

/* The least recently used slice that can be given up; 0: there is none. */
static uint32_t find_victim(struct qcow2 *q)
{
    struct q_cache *c = &q->cache;

    for (uint32_t i = c->oldest; i; i = c->slice[i].newer)
        if (!c->slice[i].dirty && !c->slice[i].writing)
            return i;
    return 0;
}

int q_cache_get(struct qcow2 *q, uint64_t off, bool is_ref,
                struct q_slice **out)
{
    struct q_cache *c = &q->cache;
    uint32_t i = *bucket(c, off);
    int rc;

    while (i && c->slice[i].off != off)
        i = c->slice[i].next;
    if (!i) {
        i = find_victim(q);
        if (!i)
            return -EIO; /* max_dirty makes sure that there is one */
        if (c->slice[i].off)
            hash_remove(c, i);
        rc = hostfile_read(&q->f, off, c->slice[i].data, c->slice_size);
        if (rc)
            return rc;
        c->slice[i].is_ref = is_ref;
        hash_add(c, i, off);
    } else if (c->slice[i].is_ref != is_ref) {
        return -EUCLEAN; /* one cluster is two kinds of table */
    }
    if (c->newest != i) {
        lru_remove(c, i);
        lru_add(c, i);
    }
    *out = &c->slice[i];
    return 0;
}

bool q_cache_has(const struct qcow2 *q, uint64_t off)
{
    const struct q_cache *c = &q->cache;
    uint32_t i = c->hash[bucket_of(c, off)];

    while (i && c->slice[i].off != off)
        i = c->slice[i].next;
    return i != 0;
}

void q_cache_dirty(struct qcow2 *q, struct q_slice *s)
{
    if (s->dirty)
        return;
    s->dirty = true;
    q->cache.nr_dirty++;
    if (s->is_ref)
        q->cache.nr_dirty_refs++;
}

void q_cache_drop(struct qcow2 *q, uint64_t off, uint64_t len)
{
    struct q_cache *c = &q->cache;

    for (uint64_t at = off; at < off + len; at += c->slice_size) {
        uint32_t i = *bucket(c, at);

        while (i && c->slice[i].off != at)
            i = c->slice[i].next;
        if (!i)
            continue;
        make_clean(c, &c->slice[i]);
        hash_remove(c, i);
    }
}

void q_cache_drop_all(struct qcow2 *q)
{
    struct q_cache *c = &q->cache;

    for (uint32_t i = 1; i <= c->nr; i++) {
        make_clean(c, &c->slice[i]);
        if (c->slice[i].off)
            hash_remove(c, i);
    }
}

static int write_all(struct qcow2 *q, bool refs)
{
    struct q_cache *c = &q->cache;
    int rc = atomic_load(&q->broken);

    for (uint32_t i = 1; i <= c->nr && !rc; i++) {
        struct q_slice *s = &c->slice[i];

        if (!s->dirty || s->is_ref != refs)
            continue;
        rc = q_write_meta(q, s->off, s->data, c->slice_size);
        if (!rc)
            make_clean(c, s);
    }
    return rc;
}

int q_cache_write_refs(struct qcow2 *q)
{
    return q->cache.nr_dirty_refs ? write_all(q, true) : 0;
}

int q_cache_write_l2(struct qcow2 *q)
{
    return q->cache.nr_dirty > q->cache.nr_dirty_refs ? write_all(q, false) : 0;
}
