/*
 * New images: header, refcount table and block, L1 table, in this order in the
 * file. The header is written when all else is stable.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2_int.h"

enum { EXT_HEAD = 8, FEATURE_ENTRY = 48 };

/* The names of the bits that this file may come to have (qcow2.txt, "Feature
 * name table"). */
static const struct {
    uint8_t type, bit;
    const char *name;
} features[] = {
    {0, 0, "dirty bit"},
    {0, 1, "corrupt bit"},
    {0, 2, "external data file"},
    {0, 3, "compression type"},
    {0, 4, "extended L2 entries"},
    {1, 0, "lazy refcounts"},
    {2, 0, "bitmaps"},
};

struct plan {
    struct q_header h;
    uint64_t rt_clusters, rb_clusters, l1_clusters;
    uint8_t *first; /* the first cluster */
    uint32_t at;    /* how much of it is used */
};

static int put_ext(struct plan *p, uint32_t cluster, uint32_t magic,
                   const void *data, uint32_t len)
{
    uint64_t end = p->at + EXT_HEAD + (uint64_t)len;

    /* An end mark must fit behind it. */
    if (align_down(end + 7, 8) + EXT_HEAD > cluster)
        return -ENOSPC;
    put_be32(p->first + p->at, magic);
    put_be32(p->first + p->at + 4, len);
    if (data)
        memcpy(p->first + p->at + EXT_HEAD, data, len);
    p->at = (uint32_t)align_down(end + 7, 8);
    return 0;
}

static int put_features(struct plan *p, uint32_t cluster)
{
    uint8_t table[ARRAY_LEN(features) * FEATURE_ENTRY] = {0};

    for (unsigned i = 0; i < ARRAY_LEN(features); i++) {
        uint8_t *e = table + (size_t)i * FEATURE_ENTRY;

        e[0] = features[i].type;
        e[1] = features[i].bit;
        memcpy(e + 2, features[i].name, strlen(features[i].name));
    }
    return put_ext(p, cluster, (uint32_t)Q_EXT_FEATURES, table, sizeof(table));
}

/* Extensions and the backing name. The table of names goes in if it fits. */
static int put_extensions(struct plan *p, const struct qcow2_create *c)
{
    uint32_t cluster = (uint32_t)BIT64(p->h.cluster_bits);
    size_t name = c->backing ? strlen(c->backing) : 0;
    int rc = 0;

    p->at = p->h.length;
    if (c->backing_format)
        rc = put_ext(p, cluster, (uint32_t)Q_EXT_BACKING_FORMAT,
                     c->backing_format, (uint32_t)strlen(c->backing_format));
    for (unsigned i = 0; i < c->nr_ext && !rc; i++)
        rc =
            put_ext(p, cluster, c->ext[i].magic, c->ext[i].data, c->ext[i].len);
    if (!rc && c->mark_husk)
        rc = put_ext(p, cluster, (uint32_t)Q_EXT_MARK, NULL, Q_MARK_SIZE);
    if (rc)
        return rc;
    if (p->at + EXT_HEAD +
            sizeof(features) / sizeof(features[0]) * FEATURE_ENTRY + EXT_HEAD +
            name <=
        cluster)
        rc = put_features(p, cluster);
    p->at += EXT_HEAD; /* the end mark, zeroes */
    if (!name || rc)
        return rc;
    if (p->at + name > cluster)
        return -ENOSPC;
    p->h.backing_off = p->at;
    p->h.backing_len = (uint32_t)name;
    memcpy(p->first + p->at, c->backing, name);
    return 0;
}

static int check_wishes(const char *path, const struct qcow2_create *c,
                        struct err *err)
{
    if (c->size % Q_SECTOR || c->size > INT64_MAX)
        return err_set(err, -EINVAL,
                       "create %s: a disk's size is a multiple of 512 bytes",
                       path);
    if (c->cluster_bits && (c->cluster_bits < Q_MIN_CLUSTER_BITS ||
                            c->cluster_bits > Q_MAX_CLUSTER_BITS))
        return err_set(err, -EINVAL,
                       "create %s: clusters have 512 bytes to 2 MiB", path);
    if (c->refcount_order != UINT32_MAX && c->refcount_order > 6)
        return err_set(err, -EINVAL, "create %s: refcounts have 1 to 64 bits",
                       path);
    if (!c->backing)
        return 0;
    if (!c->backing_format)
        return err_set(err, -EINVAL,
                       "create %s: the format of its backing file is missing",
                       path);
    if (!*c->backing || strlen(c->backing) > Q_MAX_BACKING_NAME)
        return err_set(err, -EINVAL,
                       "create %s: its backing file's name must have 1 to %d "
                       "bytes",
                       path, Q_MAX_BACKING_NAME);
    return 0;
}

/* Where all is: header, refcount table, blocks, L1 table. */
static int make_plan(struct plan *p, const struct qcow2_create *c)
{
    uint32_t bits = c->cluster_bits ? c->cluster_bits : 16;
    uint64_t size = BIT64(bits), l2 = BIT64(2 * bits - 3), per_block, n, l1;

    p->h = (struct q_header){
        .version = 3,
        .cluster_bits = bits,
        .size = c->size,
        .refcount_order =
            c->refcount_order == UINT32_MAX ? 4 : c->refcount_order,
        .length = Q_V3_HEADER,
    };
    l1 = c->size / l2 + !!(c->size % l2);
    if (l1 > Q_MAX_L1_BYTES / 8)
        return -EFBIG;
    p->l1_clusters = (l1 * 8 + size - 1) / size;
    if (!p->l1_clusters)
        p->l1_clusters = 1;
    p->rt_clusters = p->rb_clusters = 1;
    per_block = size * 8 >> p->h.refcount_order;
    do {
        n = 1 + p->rt_clusters + p->rb_clusters + p->l1_clusters;
        if (n <= p->rb_clusters * per_block &&
            p->rb_clusters <= p->rt_clusters * (size / 8))
            break;
        p->rb_clusters = (n + per_block - 1) / per_block;
        p->rt_clusters = (p->rb_clusters * 8 + size - 1) / size;
    } while (true);
    p->h.rt_clusters = (uint32_t)p->rt_clusters;
    p->h.rt_off = size;
    p->h.l1_size = (uint32_t)l1;
    p->h.l1_off = (1 + p->rt_clusters + p->rb_clusters) << bits;
    return 0;
}

static int write_refcounts(struct hostfile *f, const struct plan *p)
{
    uint32_t size = (uint32_t)BIT64(p->h.cluster_bits);
    uint64_t per_block = (uint64_t)size * 8 >> p->h.refcount_order;
    uint64_t used = 1 + p->rt_clusters + p->rb_clusters + p->l1_clusters;
    uint64_t off = (1 + p->rt_clusters) << p->h.cluster_bits, n = 0;
    uint8_t *buf = calloc(1, size), entry[8];
    int rc = buf ? 0 : -ENOMEM;

    for (uint64_t b = 0; b < p->rb_clusters && !rc; b++, off += size) {
        memset(buf, 0, size);
        for (uint64_t i = 0; i < per_block && n < used; i++, n++)
            q_ref_write(buf, i, p->h.refcount_order, 1);
        rc = hostfile_write(f, off, buf, size);
        put_be64(entry, off);
        if (!rc)
            rc = hostfile_write(f, p->h.rt_off + b * 8, entry, 8);
    }
    free(buf);
    return rc;
}

static int write_image(struct hostfile *f, struct plan *p)
{
    uint64_t end = p->h.l1_off + (p->l1_clusters << p->h.cluster_bits);
    uint32_t size = (uint32_t)BIT64(p->h.cluster_bits);
    uint8_t head[Q_V3_HEADER];
    int rc;

    (void)q_header_put(&p->h, head);
    /* All but the magic first, so that a torn first cluster is no image. */
    memcpy(p->first, head, sizeof(head));
    memset(p->first, 0, 4);
    rc = hostfile_zero(f, 0, end, false); /* a device has old bytes */
    if (!rc && !f->is_device)
        rc = hostfile_truncate(f, end);
    if (!rc)
        rc = write_refcounts(f, p);
    if (!rc)
        rc = hostfile_write(f, 0, p->first, size);
    if (!rc)
        rc = hostfile_sync(f, "create");
    if (!rc)
        rc = hostfile_write(f, 0, head, sizeof(head));
    return rc ? rc : hostfile_sync(f, "create-header");
}

int qcow2_create(const char *path, int fd, const struct qcow2_create *c,
                 const struct qcow2_opts *opts, struct err *err)
{
    struct plan p = {0};
    struct hostfile f;
    int rc = check_wishes(path, c, err);

    if (rc)
        return rc;
    rc = make_plan(&p, c);
    if (rc)
        return err_set(err, rc,
                       "create %s: the disk is too large for clusters "
                       "of this size",
                       path);
    p.first = calloc(1, BIT64(p.h.cluster_bits));
    if (!p.first)
        return err_set(err, -ENOMEM, "create %s: out of memory", path);
    rc = put_extensions(&p, c);
    if (rc) {
        (void)err_set(err, rc,
                      "create %s: clusters of %llu bytes have no room "
                      "for the header extensions",
                      path, 1ull << p.h.cluster_bits);
        goto free_first;
    }
    rc = hostfile_open(&f, path, fd, 0, opts ? opts->host : NULL,
                       opts ? opts->host_arg : NULL, err);
    if (rc)
        goto free_first;
    rc = write_image(&f, &p);
    if (rc)
        (void)err_rc(err, rc, "write %s", path);
    hostfile_let_go(&f);
free_first:
    free(p.first);
    return rc;
}
