#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/endian.h"
#include "qdiff.h"
#include "tests/powercut/marks.h"
#include "tests/powercut/qcheck.h"

/*
 * Three readers compare with the model: the independent one of the power-cut
 * test each time, husk and QEMU now and then.
 */
enum { BITMAPS_MAGIC = 0x23852875 };

struct mapped {
    const uint8_t *data;
    uint64_t size;
};

static bool map_file(const char *path, struct mapped *m)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    void *map = MAP_FAILED;

    if (fd < 0)
        return false;
    if (!fstat(fd, &st) && st.st_size) {
        m->size = (uint64_t)st.st_size;
        map = mmap(NULL, m->size, PROT_READ, MAP_PRIVATE, fd, 0);
    }
    (void)close(fd);
    m->data = map;
    return map != MAP_FAILED;
}

static void unmap(struct mapped *m)
{
    (void)munmap((void *)(uintptr_t)m->data, m->size);
}

static bool same_bytes(struct qdiff *d, const char *what, const uint8_t *buf,
                       const struct qd_disk *disk, uint64_t first, uint64_t n)
{
    uint64_t words[SECTOR_WORDS], i;

    for (i = 0; i < n && first + i < disk->nr; i++, buf += QD_SECTOR) {
        sector_fill(words, first + i, disk->version[first + i]);
        if (memcmp(buf, words, QD_SECTOR))
            return qd_no(
                d, "%s: sector %" PRIu64 " holds version %" PRId64 ", not %u",
                what, first + i, sector_version(buf, first + i),
                disk->version[first + i]);
    }
    return true;
}

/* What an absent cluster shows. */
static void fill_absent(struct qdiff *d, uint8_t *buf, uint64_t first,
                        uint64_t n)
{
    uint64_t words[SECTOR_WORDS], i;

    for (i = 0; i < n; i++) {
        sector_fill(words, first + i, d->base && first + i < d->base_sectors);
        memcpy(buf + i * QD_SECTOR, words, QD_SECTOR);
    }
}

static bool compare_view(struct qdiff *d, const char *what,
                         const struct qimg *q, const struct qview *v,
                         const struct qd_disk *disk)
{
    uint64_t per = q->cluster / QD_SECTOR, n;

    if (v->disk_size != disk->nr * QD_SECTOR)
        return qd_no(d, "%s has %" PRIu64 " bytes, not %" PRIu64, what,
                     v->disk_size, disk->nr * QD_SECTOR);
    for (n = 0; n * per < disk->nr; n++) {
        fill_absent(d, d->buf, n * per, per);
        if (!qimg_read(q, v, n, d->buf, true))
            return qd_no(d, "%s: cluster %" PRIu64 " cannot be read", what, n);
        if (!same_bytes(d, what, d->buf, disk, n * per, per))
            return false;
    }
    return true;
}

static struct qd_snapshot *by_name(struct qdiff *d, const char *name)
{
    unsigned i;

    for (i = 0; i < QD_SNAPSHOTS; i++)
        if (d->snapshots[i].used && !strcmp(d->snapshots[i].name, name))
            return &d->snapshots[i];
    return NULL;
}

/* husk's data behind the 24 bytes that the format defines. */
static bool opaque_there(const struct qimg *q, const struct qsnapshot *s,
                         const struct qd_snapshot *want)
{
    uint32_t i;

    if (!want->by_husk || !want->opaque)
        return true;
    if (s->extra_size != 24 + want->opaque)
        return false;
    for (i = 0; i < want->opaque; i++)
        if (q->data[s->extra_offset + 24 + i] != (uint8_t)want->name[1])
            return false;
    return true;
}

static bool compare_snapshots(struct qdiff *d, const struct qimg *q)
{
    struct qd_snapshot *s;
    unsigned i, n = 0;

    for (i = 0; i < q->nr_snapshots; i++) {
        struct qview v = q->snapshots[i].view;

        s = by_name(d, q->snapshots[i].name);
        if (!s)
            return qd_no(d, "there is a snapshot %s", q->snapshots[i].name);
        /* Version 2 knows only the size that the disk has now. */
        if (q->snapshots[i].extra_size < 16)
            v.disk_size = s->disk.nr * QD_SECTOR;
        if (!compare_view(d, s->name, q, &v, &s->disk))
            return false;
        if (!opaque_there(q, &q->snapshots[i], s))
            return qd_no(d, "snapshot %s lost what husk keeps with it",
                         s->name);
    }
    for (i = 0; i < QD_SNAPSHOTS; i++)
        n += d->snapshots[i].used;
    return n == q->nr_snapshots ||
           qd_no(d, "%u snapshots, not %u", q->nr_snapshots, n);
}

static bool compare_extension(struct qdiff *d, const struct qimg *q)
{
    const struct qextension *x = qimg_extension(q, QD_EXT_MAGIC);

    if (!x || x->len != d->ext_len)
        return qd_no(d, "husk's header extension is gone");
    return !memcmp(q->data + x->off, d->ext, d->ext_len) ||
           qd_no(d, "husk's header extension has changed");
}

static bool compare_image(struct qdiff *d, const struct mapped *m)
{
    static const struct qcheck none;
    struct qcheck c = none;
    struct qreport rep;
    struct qimg q;
    bool ok;

    qcheck_image(&c, &q, m->data, m->size, &rep);
    qcheck_free(&c);
    if (rep.corruptions || rep.leaks || rep.not_copied || rep.false_copied)
        return qd_no(d, "%s", rep.first);
    d->bitmaps = qimg_extension(&q, BITMAPS_MAGIC);
    ok = compare_view(d, "disk", &q, &q.active, &d->disk) &&
         compare_snapshots(d, &q) && compare_extension(d, &q);
    return ok;
}

static bool compare_qemu(struct qdiff *d)
{
    const char *check[] = {"qemu-img", "check",      "-f",
                           "qcow2",    "disk.qcow2", NULL};
    const char *convert[] = {"qemu-img", "convert",    "-f",  "qcow2", "-O",
                             "raw",      "disk.qcow2", "raw", NULL};
    char out[2048];
    struct mapped m;
    bool ok;

    if (qd_run(out, sizeof(out), check))
        return qd_no(d, "qemu-img check: %.300s", out);
    if (qd_run(out, sizeof(out), convert))
        return qd_no(d, "qemu-img convert: %.300s", out);
    if (!map_file("raw", &m))
        return qd_no(d, "qemu-img convert leaves nothing");
    ok = m.size == d->disk.nr * QD_SECTOR ||
         qd_no(d, "QEMU sees %" PRIu64 " bytes", m.size);
    ok = ok && same_bytes(d, "QEMU's reading", m.data, &d->disk, 0, d->disk.nr);
    unmap(&m);
    return ok;
}

bool qd_compare(struct qdiff *d, bool thorough)
{
    struct mapped m;
    bool ok;

    d->comparisons++;
    if (!map_file("disk.qcow2", &m))
        return qd_no(d, "the image is gone");
    ok = compare_image(d, &m);
    unmap(&m);
    return ok && (!thorough || (qd_husk_compare(d) && compare_qemu(d)));
}

/* Of a sector, as the image has it now. */
static int64_t version_now(struct qdiff *d, const struct qimg *q, uint64_t s)
{
    uint64_t per = q->cluster / QD_SECTOR;

    fill_absent(d, d->buf, s / per * per, per);
    if (!qimg_read(q, &q->active, s / per, d->buf, true))
        return -1;
    return sector_version(d->buf + s % per * QD_SECTOR, s);
}

bool qd_learn_discard(struct qdiff *d, uint64_t first, uint64_t n)
{
    struct mapped m;
    struct qimg q;
    uint64_t i;
    bool ok;

    if (!map_file("disk.qcow2", &m))
        return qd_no(d, "the image is gone");
    ok = !qimg_open(&q, m.data, m.size) || qd_no(d, "no image any more");
    for (i = first; ok && i < first + n; i++) {
        int64_t v = version_now(d, &q, i);

        if (v != 0 && v != d->disk.version[i])
            ok = qd_no(d,
                       "a discard leaves version %" PRId64 " in sector %" PRIu64
                       ", which held %u",
                       v, i, d->disk.version[i]);
        else
            d->disk.version[i] = (uint32_t)v;
    }
    unmap(&m);
    return ok;
}
