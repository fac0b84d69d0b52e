#include "qimg.h"

#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/endian.h"

#define OFFSET_MASK   0x00fffffffffffe00ULL
#define RESERVED_MASK 0x3f000000000001feULL

enum {
    V2_HEADER = 72,
    V3_HEADER = 104,
    SNAPSHOT_HEAD = 40,
    MAX_BACKING_NAME = 1023
};

bool qimg_range_ok(const struct qimg *q, uint64_t off, uint64_t len)
{
    return off <= q->size && len <= q->size - off;
}

static bool aligned(const struct qimg *q, uint64_t off)
{
    return !(off & (q->cluster - 1));
}

static const char *read_header(struct qimg *q)
{
    const uint8_t *d = q->data;

    if (q->size < V2_HEADER || get_be32(d) != 0x514649fb)
        return "no qcow2 header";
    q->version = get_be32(d + 4);
    if (q->version != 2 && q->version != 3)
        return "unknown version";
    q->backing_offset = get_be64(d + 8);
    q->backing_size = get_be32(d + 16);
    q->cluster_bits = get_be32(d + 20);
    if (q->cluster_bits < 9 || q->cluster_bits > 21)
        return "cluster size out of range";
    q->cluster = 1ULL << q->cluster_bits;
    q->active.disk_size = get_be64(d + 24);
    if (get_be32(d + 32))
        return "encrypted";
    q->active.l1_size = get_be32(d + 36);
    q->active.l1_offset = get_be64(d + 40);
    q->refcount_table = get_be64(d + 48);
    q->refcount_table_clusters = get_be32(d + 56);
    q->nr_snapshots = get_be32(d + 60);
    q->snapshot_table = get_be64(d + 64);
    q->refcount_order = 4;
    q->header_length = V2_HEADER;
    return NULL;
}

static const char *read_v3(struct qimg *q)
{
    const uint8_t *d = q->data;

    if (q->version == 2)
        return NULL;
    if (q->size < V3_HEADER)
        return "header cut";
    q->incompatible = get_be64(d + 72);
    q->compatible = get_be64(d + 80);
    q->autoclear = get_be64(d + 88);
    q->refcount_order = get_be32(d + 96);
    q->header_length = get_be32(d + 100);
    if (q->refcount_order > 6)
        return "refcount width out of range";
    if (q->header_length < V3_HEADER || q->header_length % 8 ||
        q->header_length > q->cluster || q->header_length > q->size)
        return "header length out of range";
    if (q->incompatible >> 5)
        return "unknown incompatible feature";
    if (q->header_length > V3_HEADER)
        q->compression = d[V3_HEADER];
    if (q->compression > 1 ||
        !q->compression != !(q->incompatible & QIMG_COMPRESSION))
        return "compression type and its bit disagree";
    if ((q->incompatible & QIMG_EXTENDED_L2) && q->cluster_bits < 14)
        return "extended L2 entries in too small clusters";
    return NULL;
}

static const char *read_extensions(struct qimg *q)
{
    uint64_t end = q->backing_offset ? q->backing_offset : q->cluster;
    uint64_t at = q->header_length;
    struct qextension *x;

    if (end > q->size)
        end = q->size;
    while (at + 8 <= end) {
        uint32_t magic = get_be32(q->data + at);
        uint32_t len = get_be32(q->data + at + 4);

        at += 8;
        if (!magic)
            return NULL;
        if (len > end - at)
            return "header extension reaches out of its place";
        if (q->nr_extensions == QIMG_EXTENSIONS)
            return "too many header extensions";
        x = &q->extensions[q->nr_extensions++];
        *x = (struct qextension){.magic = magic, .len = len, .off = at};
        at += (len + 7ULL) & ~7ULL;
    }
    return NULL;
}

static void copy_text(char *to, size_t room, const uint8_t *from, size_t len)
{
    if (len > room - 1)
        len = room - 1;
    memcpy(to, from, len);
    to[len] = 0;
}

/* One entry of the snapshot table; its length, 0 if it is damaged. */
static uint64_t read_snapshot(struct qimg *q, struct qsnapshot *s, uint64_t at)
{
    const uint8_t *e = q->data + at;
    uint64_t id_len, name_len, len;

    if (!qimg_range_ok(q, at, SNAPSHOT_HEAD))
        return 0;
    id_len = get_be16(e + 12);
    name_len = get_be16(e + 14);
    s->extra_size = get_be32(e + 36);
    s->extra_offset = at + SNAPSHOT_HEAD;
    len = SNAPSHOT_HEAD + s->extra_size + id_len + name_len;
    if (!qimg_range_ok(q, at, len))
        return 0;
    s->view.l1_offset = get_be64(e);
    s->view.l1_size = get_be32(e + 8);
    s->view.state_size = get_be32(e + 32);
    s->view.disk_size = q->active.disk_size;
    if (s->extra_size >= 8)
        s->view.state_size = get_be64(e + 40);
    if (s->extra_size >= 16)
        s->view.disk_size = get_be64(e + 48);
    e += SNAPSHOT_HEAD + s->extra_size;
    copy_text(s->id, sizeof(s->id), e, id_len);
    copy_text(s->name, sizeof(s->name), e + id_len, name_len);
    if (q->version >= 3 && s->extra_size < 16)
        return 0;
    return (len + 7) & ~7ULL;
}

static const char *read_snapshots(struct qimg *q)
{
    uint64_t at = q->snapshot_table, len;
    unsigned i;

    if (q->nr_snapshots > QIMG_SNAPSHOTS)
        return "too many snapshots";
    if (q->nr_snapshots && (!at || !aligned(q, at)))
        return "snapshot table not at a cluster";
    for (i = 0; i < q->nr_snapshots; i++) {
        len = read_snapshot(q, &q->snapshots[i], at);
        if (!len)
            return "damaged snapshot table";
        at += len;
    }
    q->snapshot_bytes = q->nr_snapshots ? at - q->snapshot_table : 0;
    return NULL;
}

const char *qimg_open(struct qimg *q, const void *data, uint64_t size)
{
    const char *wrong;

    memset(q, 0, offsetof(struct qimg, snapshots));
    q->data = data;
    q->size = size;
    wrong = read_header(q);
    if (!wrong)
        wrong = read_v3(q);
    if (!wrong && q->backing_offset &&
        (q->backing_size > MAX_BACKING_NAME ||
         q->backing_offset > q->cluster - q->backing_size ||
         !qimg_range_ok(q, q->backing_offset, q->backing_size)))
        wrong = "backing name outside of the first cluster";
    if (!wrong)
        wrong = read_extensions(q);
    if (!wrong)
        wrong = read_snapshots(q);
    return wrong;
}

unsigned qimg_l2_entry_bytes(const struct qimg *q)
{
    return q->incompatible & QIMG_EXTENDED_L2 ? 16 : 8;
}

uint64_t qimg_l2_entries(const struct qimg *q)
{
    return q->cluster / qimg_l2_entry_bytes(q);
}

static struct qmap packed_entry(const struct qimg *q, uint64_t e)
{
    unsigned x = 62 - (q->cluster_bits - 8);
    uint64_t off = e & ((1ULL << x) - 1);
    uint64_t more = (e & ((1ULL << 62) - 1)) >> x;
    struct qmap m = {.kind = QMAP_PACKED, .off = off};

    /* The sector that holds the offset, and so many more. */
    m.len = (more + 1) * 512 - (off & 511);
    if (off >= q->size || e >> 63)
        m.kind = QMAP_BAD;
    return m;
}

struct qmap qimg_entry(const struct qimg *q, const uint8_t *entry)
{
    uint64_t e = get_be64(entry);
    struct qmap m = {.off = e & OFFSET_MASK, .copied = e >> 63};

    if (e >> 62 & 1)
        return packed_entry(q, e);
    if (qimg_l2_entry_bytes(q) == 16)
        m.subclusters = get_be64(entry + 8);
    if ((e & RESERVED_MASK) || !aligned(q, m.off) ||
        (m.off && m.off >= q->size) || (!m.off && m.copied))
        m.kind = QMAP_BAD;
    else if (e & 1)
        m.kind = q->version == 2 || qimg_l2_entry_bytes(q) == 16 ? QMAP_BAD
                                                                 : QMAP_ZERO;
    else
        m.kind = m.off ? QMAP_DATA : QMAP_ABSENT;
    if ((m.subclusters & m.subclusters >> 32 & 0xffffffff) ||
        (!m.off && (m.subclusters & 0xffffffff)))
        m.kind = QMAP_BAD;
    return m;
}

struct qmap qimg_map(const struct qimg *q, const struct qview *v,
                     uint64_t number)
{
    uint64_t entries = qimg_l2_entries(q), l2, at;
    struct qmap bad = {.kind = QMAP_BAD}, absent = {.kind = QMAP_ABSENT};

    if (number / entries >= v->l1_size)
        return bad;
    at = v->l1_offset + number / entries * 8;
    if (at < v->l1_offset || !qimg_range_ok(q, at, 8))
        return bad;
    l2 = get_be64(q->data + at) & OFFSET_MASK;
    if (!l2)
        return absent;
    at = l2 + number % entries * qimg_l2_entry_bytes(q);
    if (!aligned(q, l2) || !qimg_range_ok(q, at, qimg_l2_entry_bytes(q)))
        return bad;
    return qimg_entry(q, q->data + at);
}

static bool unpack_zlib(const uint8_t *from, size_t len, uint8_t *to,
                        size_t room)
{
    z_stream z = {.next_in = (uint8_t *)(uintptr_t)from,
                  .avail_in = (unsigned)len,
                  .next_out = to,
                  .avail_out = (unsigned)room};

    /* Raw deflate with a window of 4 KiB. */
    if (inflateInit2(&z, -12) != Z_OK)
        return false;
    (void)inflate(&z, Z_FINISH);
    (void)inflateEnd(&z);
    return !z.avail_out;
}

static bool unpack_zstd(const uint8_t *from, size_t len, uint8_t *to,
                        size_t room)
{
    ZSTD_inBuffer in = {from, len, 0};
    ZSTD_outBuffer out = {to, room, 0};
    ZSTD_DCtx *ctx = ZSTD_createDCtx();
    size_t rc = 1;

    /* What follows the frame in its last sector is not its own. */
    while (ctx && out.pos < room && in.pos < len && rc && !ZSTD_isError(rc))
        rc = ZSTD_decompressStream(ctx, &out, &in);
    (void)ZSTD_freeDCtx(ctx);
    return out.pos == room;
}

static bool read_packed(const struct qimg *q, const struct qmap *m,
                        uint8_t *buf)
{
    uint64_t len = m->len < q->size - m->off ? m->len : q->size - m->off;

    return (q->compression ? unpack_zstd : unpack_zlib)(
        q->data + m->off, len, buf, (size_t)q->cluster);
}

/* A range of the file; what is behind its end reads as zeroes. */
static void read_file(const struct qimg *q, uint64_t off, uint64_t len,
                      uint8_t *buf)
{
    uint64_t there = off < q->size ? q->size - off : 0;

    if (there > len)
        there = len;
    memcpy(buf, q->data + off, there);
    memset(buf + there, 0, len - there);
}

static void read_subclusters(const struct qimg *q, const struct qmap *m,
                             uint8_t *buf, bool keep_absent)
{
    uint64_t len = q->cluster / 32;
    unsigned i;

    for (i = 0; i < 32; i++) {
        if (m->subclusters >> i & 1)
            read_file(q, m->off + i * len, len, buf + i * len);
        else if (m->subclusters >> (i + 32) & 1 || !keep_absent)
            memset(buf + i * len, 0, len);
    }
}

bool qimg_read(const struct qimg *q, const struct qview *v, uint64_t number,
               uint8_t *buf, bool keep_absent)
{
    struct qmap m = qimg_map(q, v, number);

    if (m.kind == QMAP_BAD)
        return false;
    if (m.kind == QMAP_PACKED)
        return read_packed(q, &m, buf);
    if (qimg_l2_entry_bytes(q) == 16)
        read_subclusters(q, &m, buf, keep_absent);
    else if (m.kind == QMAP_DATA)
        read_file(q, m.off, q->cluster, buf);
    else if (m.kind == QMAP_ZERO || !keep_absent)
        memset(buf, 0, q->cluster);
    return true;
}

const struct qextension *qimg_extension(const struct qimg *q, uint32_t magic)
{
    unsigned i;

    for (i = 0; i < q->nr_extensions; i++)
        if (q->extensions[i].magic == magic)
            return &q->extensions[i];
    return NULL;
}

static uint64_t refcount_in_block(const struct qimg *q, const uint8_t *block,
                                  uint64_t i)
{
    unsigned bits = 1U << q->refcount_order;

    switch (q->refcount_order) {
    case 3: return block[i];
    case 4: return get_be16(block + i * 2);
    case 5: return get_be32(block + i * 4);
    case 6: return get_be64(block + i * 8);
    default:
        return (unsigned)block[i * bits / 8] >> (i * bits % 8) &
               ((1U << bits) - 1);
    }
}

uint64_t qimg_refcount(const struct qimg *q, uint64_t number)
{
    uint64_t per_block = q->cluster * 8 >> q->refcount_order;
    uint64_t index = number / per_block, block;

    if (index >= q->refcount_table_clusters * (q->cluster / 8) ||
        !qimg_range_ok(q, q->refcount_table, (index + 1) * 8))
        return 0;
    block = get_be64(q->data + q->refcount_table + index * 8) & ~0x1ffULL;
    number %= per_block;
    /* What is behind the end of the file reads as zeroes. */
    if (!block || !aligned(q, block) ||
        !qimg_range_ok(q, block + (number << q->refcount_order) / 8,
                       q->refcount_order > 3 ? 1U << (q->refcount_order - 3)
                                             : 1))
        return 0;
    return refcount_in_block(q, q->data + block, number);
}
