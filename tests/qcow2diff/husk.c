#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "block/qcow2.h"
#include "qdiff.h"

/* The other side: husk's store, opened for a few changes and closed again. */

enum {
    CHANGES = 6, /* in one session, at most */
    CHUNK = 1 << 16
};

struct side {
    struct qdiff *d;
    struct qcow2 *q;
    struct blk *blk;
};

static bool must(struct side *s, int rc, const struct err *err)
{
    return !rc || qd_no(s->d, "husk: %s: %s", s->d->last,
                        err ? err->text : strerror(-rc));
}

static bool open_it(struct side *s, unsigned flags)
{
    struct qcow2_opts opts = {.flags = flags};
    struct err err;

    if (qcow2_open("disk.qcow2", -1, &opts, &s->q, &err))
        return qd_no(s->d, "husk opens it not: %s", err.text);
    s->blk = qcow2_blk(s->q);
    return true;
}

static bool close_it(struct side *s)
{
    return must(s, qcow2_close(s->q), NULL);
}

static bool do_write(struct side *s)
{
    struct qdiff *d = s->d;
    uint64_t first, n, i;

    qd_range(d, &first, &n);
    d->seq++;
    for (i = 0; i < n; i++)
        d->disk.version[first + i] = (uint32_t)d->seq;
    qd_fill(d, d->disk.version + first, first, n);
    qd_say(d, "husk write %" PRIu64 "+%" PRIu64, first, n);
    return must(s,
                blk_write(s->blk, first * QD_SECTOR, d->buf, n * QD_SECTOR, 0),
                NULL);
}

static bool do_zero(struct side *s)
{
    struct qdiff *d = s->d;
    uint64_t first, n;

    qd_range(d, &first, &n);
    memset(d->disk.version + first, 0, n * sizeof(uint32_t));
    qd_say(d, "husk zero %" PRIu64 "+%" PRIu64, first, n);
    return must(s,
                blk_zero(s->blk, first * QD_SECTOR, n * QD_SECTOR,
                         qd_random(d, 2) ? BLK_UNMAP : 0),
                NULL);
}

/* What is discarded is known once it is closed: the session ends with it. */
static bool do_discard(struct side *s, uint64_t *first, uint64_t *n)
{
    qd_range(s->d, first, n);
    qd_say(s->d, "husk discard %" PRIu64 "+%" PRIu64, *first, *n);
    return must(s, blk_discard(s->blk, *first * QD_SECTOR, *n * QD_SECTOR),
                NULL);
}

static bool do_snapshot(struct side *s)
{
    struct qdiff *d = s->d;
    struct qd_snapshot *snap = qd_snapshot_new(d);
    uint8_t opaque[QCOW2_SNAP_OPAQUE_MAX];
    struct qcow2_snap_new new = {.opaque = opaque};
    struct err err;
    int rc;

    if (!snap)
        return true;
    snap->opaque = (uint32_t)qd_random(d, sizeof(opaque) + 1);
    memset(opaque, snap->name[1], sizeof(opaque));
    new.name = snap->name;
    new.opaque_len = snap->opaque;
    qd_say(d, "husk snapshot %s", snap->name);
    rc = qcow2_snap_create(s->q, &new, NULL, &err);
    if (rc == -EOVERFLOW)
        return true;
    if (!must(s, rc, &err))
        return false;
    snap->used = snap->by_husk = true;
    return qd_disk_copy(&snap->disk, &d->disk);
}

/* The id of the snapshot with this name. */
static bool find_id(struct side *s, const char *name, char *id)
{
    struct qcow2_snap *list;
    struct err err;
    size_t n, i;

    if (!must(s, qcow2_snaps(s->q, &list, &n, &err), &err))
        return false;
    id[0] = 0;
    for (i = 0; i < n; i++)
        if (!strcmp(list[i].name, name))
            (void)snprintf(id, QCOW2_SNAP_ID_MAX + 1, "%s", list[i].id);
    qcow2_snaps_free(list, n);
    return id[0] || qd_no(s->d, "husk does not see snapshot %s", name);
}

static bool do_apply(struct side *s)
{
    struct qd_snapshot *snap = qd_snapshot_any(s->d);
    char id[QCOW2_SNAP_ID_MAX + 1];
    struct err err;
    int rc;

    if (!snap)
        return true;
    qd_say(s->d, "husk apply %s", snap->name);
    if (!find_id(s, snap->name, id))
        return false;
    rc = qcow2_snap_apply(s->q, id, &err);
    /* Narrow counts: as many users as can be. */
    if (rc == -EOVERFLOW)
        return true;
    return must(s, rc, &err) && qd_disk_copy(&s->d->disk, &snap->disk);
}

static bool do_delete(struct side *s)
{
    struct qd_snapshot *snap = qd_snapshot_any(s->d);
    char id[QCOW2_SNAP_ID_MAX + 1];
    struct err err;

    if (!snap)
        return true;
    qd_say(s->d, "husk delete %s", snap->name);
    if (!find_id(s, snap->name, id))
        return false;
    snap->used = false;
    return must(s, qcow2_snap_delete(s->q, id, &err), &err);
}

static bool do_resize(struct side *s)
{
    struct qdiff *d = s->d;
    uint64_t nr = d->disk.nr + 1 + qd_random(d, 200);
    struct err err;
    unsigned i;

    if (nr > 16384)
        return true;
    for (i = 0; d->old_version && i < QD_SNAPSHOTS; i++)
        if (d->snapshots[i].used)
            return true;
    qd_say(d, "husk resize %" PRIu64, nr);
    return must(s, blk_resize(s->blk, nr * QD_SECTOR, &err), &err) &&
           qd_disk_resize(&d->disk, nr, 0);
}

static bool do_care(struct side *s, bool compact)
{
    struct qcow2_check c = {0};
    uint64_t saved;
    struct err err;

    qd_say(s->d, compact ? "husk compact" : "husk check --repair");
    if (compact)
        return must(s, qcow2_compact(s->q, NULL, NULL, &saved, &err), &err);
    if (!must(s, qcow2_check(s->q, true, &c, NULL, NULL, &err), &err))
        return false;
    return !(c.low + c.overlaps + c.outside + c.invalid + c.remaining) ||
           qd_no(s->d, "husk's check finds damage");
}

static bool one_change(struct side *s)
{
    unsigned dice = (unsigned)qd_random(s->d, 100);

    if (dice < 45)
        return do_write(s);
    if (dice < 60)
        return do_zero(s);
    if (dice < 70)
        return must(s, blk_flush(s->blk), NULL);
    if (dice < 78)
        return do_snapshot(s);
    if (dice < 82)
        return do_apply(s);
    if (dice < 88)
        return do_delete(s);
    if (dice < 93)
        return do_resize(s);
    return do_care(s, dice >= 97);
}

bool qd_husk_step(struct qdiff *d)
{
    uint64_t n = 1 + qd_random(d, CHANGES), first = 0, discarded = 0;
    struct side s = {.d = d};
    bool ok;

    ok = open_it(&s, 0);
    if (!ok)
        return false;
    while (ok && n--)
        ok = one_change(&s);
    if (ok && !qd_random(d, 4))
        ok = do_discard(&s, &first, &discarded);
    ok = close_it(&s) && ok;
    return ok && (!discarded || qd_learn_discard(d, first, discarded));
}

bool qd_husk_compare(struct qdiff *d)
{
    struct side s = {.d = d};
    static uint8_t got[CHUNK];
    uint64_t at, n, per = CHUNK / QD_SECTOR;
    bool ok = true;

    qd_say(d, "husk read");
    if (!open_it(&s, BLK_RDONLY))
        return false;
    if (blk_size(s.blk) != d->disk.nr * QD_SECTOR)
        ok = qd_no(d, "husk says that the disk has %" PRIu64 " bytes",
                   blk_size(s.blk));
    for (at = 0; ok && at < d->disk.nr; at += n) {
        n = d->disk.nr - at < per ? d->disk.nr - at : per;
        qd_fill(d, d->disk.version + at, at, n);
        ok =
            must(&s, blk_read(s.blk, at * QD_SECTOR, got, n * QD_SECTOR), NULL);
        if (ok && memcmp(got, d->buf, n * QD_SECTOR))
            ok = qd_no(
                d, "husk reads other than the model at %" PRIu64 "+%" PRIu64,
                at, n);
    }
    return close_it(&s) && ok;
}

bool qd_make_image(struct qdiff *d)
{
    struct qcow2_ext x = {QD_EXT_MAGIC, d->ext_len, d->ext};
    struct qcow2_create c = {.size = d->disk.nr * QD_SECTOR,
                             .cluster_bits = d->cluster_bits,
                             .ext = &x,
                             .nr_ext = 1};
    struct err err;
    int fd = open("disk.qcow2", O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0644);
    bool ok;

    while ((1U << c.refcount_order) < d->refcount_bits)
        c.refcount_order++;
    if (d->base) {
        c.backing = d->base == 1 ? "base1.raw" : "base2.raw";
        c.backing_format = "raw";
    }
    ok = fd >= 0 && !qcow2_create("disk.qcow2", fd, &c, NULL, &err);
    if (fd >= 0)
        (void)close(fd);
    return ok || qd_no(d, "create: %s", fd < 0 ? strerror(errno) : err.text);
}
