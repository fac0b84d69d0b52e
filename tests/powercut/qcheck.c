#include "qcheck.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"

#define OFFSET_MASK     0x00fffffffffffe00ULL
#define L1_RESERVED     0x7f000000000001ffULL
#define BITMAPS_MAGIC   0x23852875U
#define BITMAP_RESERVED 0xff000000000001feULL

enum { MAX_L1_ENTRIES = 1 << 22 };

/* What a cluster is used for; only the last three may be shared. */
enum role {
    FREE,
    HEADER,
    REFCOUNT_TABLE,
    REFCOUNT_BLOCK,
    SNAPSHOT_TABLE,
    L1,
    BITMAP,
    L2,
    DATA,
    PACKED
};

static const char *const role_names[] = {
    "free",           "header",         "refcount table", "refcount block",
    "snapshot table", "L1 table",       "bitmap",         "L2 table",
    "data",           "compressed data"};

struct qowner {
    uint32_t refs;
    uint32_t view; /* the last L1 that referred to it, from 1 */
    enum role role;
    uint64_t place; /* of L2 tables and data: where in the disk */
    bool falsely_copied;
};

static void say(struct qcheck *c, unsigned *count, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void say(struct qcheck *c, unsigned *count, const char *fmt, ...)
{
    struct qreport *r = c->rep;
    bool first = count == &r->corruptions ? !r->corruptions : !r->first[0];
    va_list ap;

    ++*count;
    if (!first)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(r->first, sizeof(r->first), fmt, ap);
    va_end(ap);
}

#define corrupt(c, ...) say((c), &(c)->rep->corruptions, __VA_ARGS__)

static void own_cluster(struct qcheck *c, uint64_t n, enum role role,
                        uint64_t place, uint32_t view)
{
    struct qowner *o = &c->owners[n];

    o->refs++;
    if (o->role == FREE) {
        o->role = role;
        o->place = place;
        o->view = view;
        return;
    }
    if (o->role != role)
        corrupt(c, "cluster %" PRIu64 " is both %s and %s", n,
                role_names[o->role], role_names[role]);
    else if (role < L2)
        corrupt(c, "cluster %" PRIu64 " is %s twice", n, role_names[role]);
    else if (role != PACKED && (o->place != place || o->view == view))
        corrupt(c,
                "cluster %" PRIu64 " is %s at places %" PRIu64 " and %" PRIu64,
                n, role_names[role], o->place, place);
    o->view = view;
}

/* A range of the file; false if it does not lie in it. */
static bool own(struct qcheck *c, uint64_t off, uint64_t len, enum role role,
                uint64_t place, uint32_t view)
{
    uint64_t cluster = c->q->cluster, n = off / cluster, last;

    /* The last cluster of the file may be cut. */
    if (off >= c->q->size || len > c->nr * cluster - off) {
        corrupt(c, "%s at 0x%" PRIx64 " reaches out of the file",
                role_names[role], off);
        return false;
    }
    if (!len)
        return true;
    for (last = (off + len - 1) / cluster; n <= last; n++)
        own_cluster(c, n, role, place, view);
    return true;
}

static bool own_table(struct qcheck *c, uint64_t off, uint64_t len,
                      enum role role)
{
    if (off & (c->q->cluster - 1)) {
        corrupt(c, "%s at 0x%" PRIx64 " is not at a cluster", role_names[role],
                off);
        return false;
    }
    return own(c, off, len, role, 0, 0);
}

static void walk_refcounts(struct qcheck *c)
{
    const struct qimg *q = c->q;
    uint64_t len = q->refcount_table_clusters * q->cluster, at, e;

    if (!q->refcount_table_clusters || !q->refcount_table) {
        corrupt(c, "no refcount table");
        return;
    }
    if (!own_table(c, q->refcount_table, len, REFCOUNT_TABLE))
        return;
    for (at = 0; at < len && qimg_range_ok(q, q->refcount_table + at, 8);
         at += 8) {
        e = get_be64(q->data + q->refcount_table + at);
        if (e & 0x1ff)
            corrupt(c, "reserved bits in refcount table entry %" PRIu64,
                    at / 8);
        else if (e)
            (void)own_table(c, e, q->cluster, REFCOUNT_BLOCK);
    }
}

/* The count that a "refcount is one" bit must agree with. */
static void check_copied(struct qcheck *c, uint64_t off, bool copied,
                         const char *what, uint64_t place)
{
    uint64_t n = off / c->q->cluster, count = qimg_refcount(c->q, n);

    if (copied && count != 1) {
        c->owners[n].falsely_copied = true;
        say(c, &c->rep->false_copied,
            "%s of %" PRIu64 " (cluster %" PRIu64
            ") claims refcount 1, which is %" PRIu64,
            what, place, n, count);
    } else if (!copied && count == 1)
        say(c, &c->rep->not_copied,
            "%s of %" PRIu64 " (cluster %" PRIu64
            ") has refcount 1 and does not say so",
            what, place, n);
}

static void walk_entry(struct qcheck *c, const uint8_t *e, uint64_t number,
                       uint32_t view)
{
    struct qmap m = qimg_entry(c->q, e);

    if (m.kind == QMAP_BAD) {
        corrupt(c, "entry of guest cluster %" PRIu64 " is 0x%" PRIx64, number,
                get_be64(e));
        return;
    }
    if (m.kind == QMAP_PACKED) {
        uint64_t room = c->nr * c->q->cluster - m.off;

        (void)own(c, m.off, m.len < room ? m.len : room, PACKED, 0, view);
        return;
    }
    if (!m.off || !own(c, m.off, c->q->cluster, DATA, number, view))
        return;
    if (view == 1)
        check_copied(c, m.off, m.copied, "entry", number);
}

static void walk_l2(struct qcheck *c, uint64_t off, uint64_t index,
                    uint32_t view)
{
    uint64_t n = qimg_l2_entries(c->q), i;
    unsigned step = qimg_l2_entry_bytes(c->q);
    const uint8_t *e = c->q->data + off;

    if (!qimg_range_ok(c->q, off, c->q->cluster)) {
        corrupt(c, "L2 table %" PRIu64 " is cut by the end of the file", index);
        return;
    }
    for (i = 0; i < n; i++, e += step)
        if (get_be64(e))
            walk_entry(c, e, index * n + i, view);
}

/* view: 1 for the active disk, more for snapshots. */
static void walk_l1(struct qcheck *c, const struct qview *v, uint32_t view)
{
    uint64_t i, e;

    if (v->l1_size > MAX_L1_ENTRIES) {
        corrupt(c, "L1 table of %" PRIu32 " entries", v->l1_size);
        return;
    }
    if (v->l1_size && (!own_table(c, v->l1_offset, v->l1_size * 8ULL, L1) ||
                       !qimg_range_ok(c->q, v->l1_offset, v->l1_size * 8ULL)))
        return;
    for (i = 0; i < v->l1_size; i++) {
        e = get_be64(c->q->data + v->l1_offset + i * 8);
        if (e & L1_RESERVED)
            corrupt(c, "L1 entry %" PRIu64 " is 0x%" PRIx64, i, e);
        else if (!(e & OFFSET_MASK) && e)
            corrupt(c, "L1 entry %" PRIu64 " has no table and a bit", i);
        else if (e & (c->q->cluster - 1))
            corrupt(c, "L2 table %" PRIu64 " is not at a cluster", i);
        else if (e && own(c, e & OFFSET_MASK, c->q->cluster, L2, i, view)) {
            if (view == 1)
                check_copied(c, e & OFFSET_MASK, e >> 63, "L2 table", i);
            walk_l2(c, e & OFFSET_MASK, i, view);
        }
    }
}

static void check_size(struct qcheck *c, const struct qview *v,
                       const char *what)
{
    uint64_t span = qimg_l2_entries(c->q) * c->q->cluster;

    if (v->disk_size / span + !!(v->disk_size % span) > v->l1_size)
        corrupt(c, "the L1 table of %s is too small for its %" PRIu64 " bytes",
                what, v->disk_size);
}

static void walk_bitmap(struct qcheck *c, uint64_t table, uint64_t entries)
{
    uint64_t i, e;

    if (!own_table(c, table, entries * 8, BITMAP) ||
        !qimg_range_ok(c->q, table, entries * 8))
        return;
    for (i = 0; i < entries; i++) {
        e = get_be64(c->q->data + table + i * 8);
        if (e & BITMAP_RESERVED)
            corrupt(c, "reserved bits in a bitmap table");
        else if (e & OFFSET_MASK)
            (void)own_table(c, e & OFFSET_MASK, c->q->cluster, BITMAP);
    }
}

static void walk_bitmaps(struct qcheck *c)
{
    const struct qextension *x = qimg_extension(c->q, BITMAPS_MAGIC);
    uint64_t at, len, one, done = 0;
    const uint8_t *e;

    /* Without its bit the extension may lie. */
    if (!x || x->len < 24 || !(c->q->autoclear & 1))
        return;
    len = get_be64(c->q->data + x->off + 8);
    at = get_be64(c->q->data + x->off + 16);
    if (!own_table(c, at, len, BITMAP) || !qimg_range_ok(c->q, at, len))
        return;
    while (len - done >= 24) {
        e = c->q->data + at + done;
        walk_bitmap(c, get_be64(e), get_be32(e + 8));
        one = (24 + get_be16(e + 18) + (uint64_t)get_be32(e + 20) + 7) & ~7ULL;
        if (one > len - done)
            break;
        done += one;
    }
}

static void compare_counts(struct qcheck *c)
{
    uint64_t n, count, per = c->q->cluster * 8 >> c->q->refcount_order;
    uint64_t room = c->q->refcount_table_clusters * (c->q->cluster / 8) * per;
    struct qowner *o;

    for (n = 0; n < c->nr; n++) {
        count = qimg_refcount(c->q, n);
        o = &c->owners[n];
        if (count < o->refs)
            corrupt(c,
                    "cluster %" PRIu64 " (%s) has refcount %" PRIu64
                    " and %u references",
                    n, role_names[o->role], count, o->refs);
        /* A write would go where somebody else reads. */
        else if (o->falsely_copied && o->refs > 1 &&
                 !(c->q->incompatible & QIMG_DIRTY))
            corrupt(c, "cluster %" PRIu64 " (%s) claims refcount 1 and has %u",
                    n, role_names[o->role], o->refs);
        else if (count > o->refs)
            say(c, &c->rep->leaks,
                "cluster %" PRIu64 " (%s) has refcount %" PRIu64
                " and %u references",
                n, role_names[o->role], count, o->refs);
    }
    /* Counts of clusters behind the end of the file, as far as there are
     * blocks in use for the file itself and the next. */
    for (; n < room && n < c->nr + 2 * per; n++)
        if (qimg_refcount(c->q, n))
            say(c, &c->rep->leaks,
                "cluster %" PRIu64 " is counted and not in the file", n);
}

static bool make_room(struct qcheck *c)
{
    struct qowner *more;

    c->nr = (c->q->size + c->q->cluster - 1) / c->q->cluster;
    if (c->nr > c->room) {
        more = realloc(c->owners, c->nr * sizeof(*more));
        if (!more)
            return false;
        c->owners = more;
        c->room = c->nr;
    }
    memset(c->owners, 0, c->nr * sizeof(*c->owners));
    return true;
}

unsigned qcheck_run(struct qcheck *c, const struct qimg *q, struct qreport *rep)
{
    unsigned i;

    memset(rep, 0, sizeof(*rep));
    c->q = q;
    c->rep = rep;
    if (!make_room(c)) {
        corrupt(c, "no memory to check it");
        return rep->corruptions;
    }
    (void)own(c, 0, q->cluster, HEADER, 0, 0);
    walk_refcounts(c);
    if (q->nr_snapshots)
        (void)own_table(c, q->snapshot_table, q->snapshot_bytes,
                        SNAPSHOT_TABLE);
    check_size(c, &q->active, "the disk");
    walk_l1(c, &q->active, 1);
    for (i = 0; i < q->nr_snapshots; i++) {
        check_size(c, &q->snapshots[i].view, "a snapshot");
        walk_l1(c, &q->snapshots[i].view, 2 + i);
    }
    walk_bitmaps(c);
    compare_counts(c);
    return rep->corruptions;
}

unsigned qcheck_image(struct qcheck *c, struct qimg *q, const void *data,
                      uint64_t size, struct qreport *rep)
{
    const char *wrong = qimg_open(q, data, size);

    if (!wrong)
        return qcheck_run(c, q, rep);
    memset(rep, 0, sizeof(*rep));
    rep->corruptions = 1;
    (void)snprintf(rep->first, sizeof(rep->first), "%s", wrong);
    return 1;
}

void qcheck_free(struct qcheck *c)
{
    free(c->owners);
    memset(c, 0, sizeof(*c));
}
