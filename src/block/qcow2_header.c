/*
 * The header, its feature bits and its extensions (qcow2.txt, "Header",
 * "Header extensions"). Everything here comes from outside.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2_int.h"

/* Byte offsets of the header's fields. */
enum {
    H_MAGIC = 0,
    H_VERSION = 4,
    H_BACKING_OFF = 8,
    H_BACKING_LEN = 16,
    H_CLUSTER_BITS = 20,
    H_SIZE = 24,
    H_CRYPT = 32,
    H_L1_SIZE = 36,
    H_L1_OFF = 40,
    H_RT_OFF = 48,
    H_RT_CLUSTERS = 56,
    H_NR_SNAPS = 60,
    H_SNAPS_OFF = 64,
    H_INCOMPAT = 72,
    H_COMPAT = 80,
    H_AUTOCLEAR = 88,
    H_REFCOUNT_ORDER = 96,
    H_LENGTH = 100,
    H_COMPRESSION = 104
};

enum { EXT_HEAD = 8, FEATURE_ENTRY = 48 };

static int check_numbers(const struct q_header *h, const char *path,
                         struct err *err)
{
    uint64_t cluster = BIT64(h->cluster_bits), end;

    if (h->crypt)
        return err_set(err, -ENOTSUP,
                       "open %s: encrypted images are not "
                       "supported; convert it with qemu-img",
                       path);
    if (h->size % Q_SECTOR || h->size > INT64_MAX)
        return err_set(err, -EINVAL, "open %s: its disk size is broken", path);
    if (h->l1_size > Q_MAX_L1_BYTES / 8 || !is_aligned(h->l1_off, cluster) ||
        !add_ok(h->l1_off, h->l1_size * 8ull, &end) || end > INT64_MAX)
        return err_set(err, -EINVAL, "open %s: its L1 table is broken", path);
    if (h->nr_snaps > QCOW2_SNAPS_MAX || !is_aligned(h->snaps_off, cluster) ||
        h->snaps_off > INT64_MAX)
        return err_set(err, -EINVAL, "open %s: its snapshot table is broken",
                       path);
    return 0;
}

static int check_version_3(struct q_header *h, const uint8_t *buf, uint64_t len,
                           const char *path, struct err *err)
{
    h->incompat = get_be64(buf + H_INCOMPAT);
    h->compat = get_be64(buf + H_COMPAT);
    h->autoclear = get_be64(buf + H_AUTOCLEAR);
    h->refcount_order = get_be32(buf + H_REFCOUNT_ORDER);
    h->length = get_be32(buf + H_LENGTH);
    if (h->length < Q_V3_HEADER || h->length > BIT64(h->cluster_bits) ||
        h->length % 8)
        return err_set(err, -EINVAL, "open %s: its header's length is broken",
                       path);
    if (h->refcount_order > 6)
        return err_set(err, -EINVAL, "open %s: its refcount width is broken",
                       path);
    if (h->length > H_COMPRESSION && len > H_COMPRESSION)
        h->compression = buf[H_COMPRESSION];
    if (!!h->compression != !!(h->incompat & Q_INCOMPAT_COMPRESS))
        return err_set(err, -EINVAL,
                       "open %s: its compression type and feature bit differ",
                       path);
    if (h->compression > 1)
        return err_set(err, -ENOTSUP, "open %s: unknown compression type %u",
                       path, h->compression);
    return 0;
}

int q_header_parse(struct q_header *h, const uint8_t *buf, uint64_t len,
                   const char *path, struct err *err)
{
    int rc = 0;

    *h = (struct q_header){0};
    if (len < Q_V3_HEADER || get_be32(buf + H_MAGIC) != Q_MAGIC)
        return err_set(err, -EINVAL, "open %s: not a qcow2 image", path);
    h->version = get_be32(buf + H_VERSION);
    if (h->version != 2 && h->version != 3)
        return err_set(err, -ENOTSUP,
                       "open %s: qcow2 version %u is not "
                       "supported, only 2 and 3 are",
                       path, h->version);
    h->backing_off = get_be64(buf + H_BACKING_OFF);
    h->backing_len = get_be32(buf + H_BACKING_LEN);
    h->cluster_bits = get_be32(buf + H_CLUSTER_BITS);
    h->size = get_be64(buf + H_SIZE);
    h->crypt = get_be32(buf + H_CRYPT);
    h->l1_size = get_be32(buf + H_L1_SIZE);
    h->l1_off = get_be64(buf + H_L1_OFF);
    h->rt_off = get_be64(buf + H_RT_OFF);
    h->rt_clusters = get_be32(buf + H_RT_CLUSTERS);
    h->nr_snaps = get_be32(buf + H_NR_SNAPS);
    h->snaps_off = get_be64(buf + H_SNAPS_OFF);
    if (h->cluster_bits < Q_MIN_CLUSTER_BITS ||
        h->cluster_bits > Q_MAX_CLUSTER_BITS)
        return err_set(err, -EINVAL,
                       "open %s: its cluster size (2^%u bytes) is not one of "
                       "512 bytes to 2 MiB",
                       path, h->cluster_bits);
    h->refcount_order = 4;
    h->length = Q_V2_HEADER;
    if (h->version == 3)
        rc = check_version_3(h, buf, len, path, err);
    return rc ? rc : check_numbers(h, path, err);
}

uint32_t q_header_put(const struct q_header *h, uint8_t *buf)
{
    put_be32(buf + H_MAGIC, Q_MAGIC);
    put_be32(buf + H_VERSION, h->version);
    put_be64(buf + H_BACKING_OFF, h->backing_off);
    put_be32(buf + H_BACKING_LEN, h->backing_len);
    put_be32(buf + H_CLUSTER_BITS, h->cluster_bits);
    put_be64(buf + H_SIZE, h->size);
    put_be32(buf + H_CRYPT, h->crypt);
    put_be32(buf + H_L1_SIZE, h->l1_size);
    put_be64(buf + H_L1_OFF, h->l1_off);
    put_be64(buf + H_RT_OFF, h->rt_off);
    put_be32(buf + H_RT_CLUSTERS, h->rt_clusters);
    put_be32(buf + H_NR_SNAPS, h->nr_snaps);
    put_be64(buf + H_SNAPS_OFF, h->snaps_off);
    if (h->version < 3)
        return Q_V2_HEADER;
    put_be64(buf + H_INCOMPAT, h->incompat);
    put_be64(buf + H_COMPAT, h->compat);
    put_be64(buf + H_AUTOCLEAR, h->autoclear);
    put_be32(buf + H_REFCOUNT_ORDER, h->refcount_order);
    put_be32(buf + H_LENGTH, h->length);
    return Q_V3_HEADER;
}

/* Only the fixed fields: what follows them in the sector is not ours alone. */
int q_header_write(struct qcow2 *q, const struct q_header *h)
{
    uint8_t buf[Q_V3_HEADER];
    uint32_t len = q_header_put(h, buf);
    int rc = atomic_load(&q->broken);

    if (!rc)
        rc = q_write_meta(q, 0, buf, len);
    if (!rc)
        q->h = *h;
    return rc;
}

/* -- Extensions ----------------------------------------------------------- */

/* Where the list must have ended: the backing name or the cluster's end. */
static uint64_t ext_limit(const struct qcow2 *q)
{
    uint64_t end = q->cluster_size;

    if (q->h.backing_off && q->h.backing_off < end)
        end = q->h.backing_off;
    return end;
}

int q_ext_locate(struct qcow2 *q, uint32_t magic, uint64_t *off, uint32_t *len)
{
    uint64_t at = q->h.length, end = ext_limit(q), next;

    while (at + EXT_HEAD <= end) {
        uint8_t head[EXT_HEAD];
        int rc = hostfile_read(&q->f, at, head, sizeof(head));
        uint32_t found, size;

        if (rc)
            return rc;
        found = get_be32(head);
        size = get_be32(head + 4);
        if (found == Q_EXT_END)
            return -ENOENT;
        next = at + EXT_HEAD + size;
        if (next > end)
            return -EINVAL;
        if (found == magic) {
            *off = at;
            *len = size;
            return 0;
        }
        at = align_down(next + 7, 8);
    }
    return -ENOENT;
}

/* The name that the image's own table gives to an incompatible bit. */
static void feature_name(struct qcow2 *q, unsigned bit, char *name)
{
    uint8_t entry[FEATURE_ENTRY];
    uint64_t off;
    uint32_t len;

    name[0] = '\0';
    if (q_ext_locate(q, (uint32_t)Q_EXT_FEATURES, &off, &len))
        return;
    for (uint32_t at = 0; at + FEATURE_ENTRY <= len; at += FEATURE_ENTRY) {
        if (hostfile_read(&q->f, off + EXT_HEAD + at, entry, sizeof(entry)))
            return;
        if (entry[0] || entry[1] != bit)
            continue;
        memcpy(name, entry + 2, FEATURE_ENTRY - 2);
        name[FEATURE_ENTRY - 2] = '\0';
        /* It goes to a terminal. */
        for (char *c = name; *c; c++)
            if (*c < ' ' || *c > '~')
                *c = '?';
        return;
    }
}

int q_header_check_features(struct qcow2 *q, struct err *err)
{
    uint64_t known = Q_INCOMPAT_DIRTY | Q_INCOMPAT_CORRUPT |
                     Q_INCOMPAT_COMPRESS | Q_INCOMPAT_EXTL2;
    uint64_t unknown = q->h.incompat & ~known;
    char name[FEATURE_ENTRY];
    unsigned bit;

    if (unknown & Q_INCOMPAT_DATAFILE)
        return err_set(err, -ENOTSUP,
                       "open %s: images with an external data "
                       "file are not supported; convert it "
                       "with qemu-img",
                       q->path);
    if (!unknown)
        return 0;
    bit = (unsigned)__builtin_ctzll(unknown);
    feature_name(q, bit, name);
    return err_set(err, -ENOTSUP,
                   "open %s: it uses a feature that husk does "
                   "not know: %s%sbit %u",
                   q->path, name, name[0] ? ", " : "", bit);
}

/* -- The backing file's name ---------------------------------------------- */

static int read_string(struct qcow2 *q, uint64_t off, uint32_t len, char **out)
{
    char *s = malloc(len + 1ull);
    int rc;

    if (!s)
        return -ENOMEM;
    rc = hostfile_read(&q->f, off, s, len);
    if (rc) {
        free(s);
        return rc;
    }
    s[len] = '\0';
    *out = s;
    return 0;
}

int q_header_read_names(struct qcow2 *q, struct err *err)
{
    uint64_t off;
    uint32_t len;
    int rc = q_ext_locate(q, (uint32_t)Q_EXT_BACKING_FORMAT, &off, &len);

    if (rc == -EINVAL)
        return err_set(err, rc, "open %s: its header extensions are broken",
                       q->path);
    if (!rc && len <= Q_MAX_BACKING_NAME)
        rc = read_string(q, off + EXT_HEAD, len, &q->backing_format);
    if (rc && rc != -ENOENT)
        goto fail;
    if (!q->h.backing_off || !q->h.backing_len)
        return 0;
    if (q->h.backing_len > Q_MAX_BACKING_NAME ||
        !range_ok(q->h.backing_off, q->h.backing_len, q->cluster_size))
        return err_set(err, -EINVAL,
                       "open %s: its backing file's name is "
                       "broken",
                       q->path);
    rc = read_string(q, q->h.backing_off, q->h.backing_len, &q->backing_name);
    if (!rc)
        return 0;
fail:
    return err_rc(err, rc, "read the header of %s", q->path);
}

/* -- For the settings ----------------------------------------------------- */

int qcow2_ext_find(struct qcow2 *q, uint32_t magic, uint64_t *off,
                   uint32_t *len)
{
    uint64_t at;
    int rc = q_ext_locate(q, magic, &at, len);

    if (!rc)
        *off = at + EXT_HEAD;
    return rc;
}

static int ext_range(struct qcow2 *q, uint32_t magic, uint32_t at, uint32_t len,
                     uint64_t *off)
{
    uint32_t size;
    int rc = qcow2_ext_find(q, magic, off, &size);

    if (rc)
        return rc;
    if (!range_ok(at, len, size))
        return -EINVAL;
    *off += at;
    return 0;
}

int qcow2_ext_read(struct qcow2 *q, uint32_t magic, uint32_t at, void *buf,
                   uint32_t len)
{
    uint64_t off;
    int rc = ext_range(q, magic, at, len, &off);

    return rc ? rc : hostfile_read(&q->f, off, buf, len);
}

int qcow2_ext_write(struct qcow2 *q, uint32_t magic, uint32_t at,
                    const void *buf, uint32_t len)
{
    uint64_t off;
    int rc = atomic_load(&q->broken);

    if (!q->writable)
        return -EROFS;
    if (!rc)
        rc = ext_range(q, magic, at, len, &off);
    return rc ? rc : q_write_meta(q, off, buf, len);
}

int qcow2_ext_sync(struct qcow2 *q)
{
    return q->writable ? q_sync(q, "settings") : -EROFS;
}
