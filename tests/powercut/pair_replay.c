#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "disk.h"
#include "marks.h"
#include "qcheck.h"
#include "trace.h"

/*
 * pair_replay TRACE: cut the power of both of a VM's disks at each event. Both
 * images are sound then, and what the main file has of a snapshot the second
 * disk has, too: of the same moment. (The other way round it is a left-over,
 * which the next open deletes.)
 */
enum { CUTS = 20, SECTOR = 512, SIZE = 1 << 20, PLACES = 8, MAX_BAD = 3 };

struct side {
    const char *name;
    int file;
    struct disk disk;
    struct qcheck check;
    struct qimg img;
};

struct pairs {
    struct side side[2];
    uint64_t event, cuts, bad, compared;
    bool ready;
};

/* The version at each place of a view; false: they differ, or are none. */
static bool version_of(const struct qimg *q, const struct qview *v,
                       int64_t *version)
{
    uint8_t *buf = malloc(q->cluster);
    bool ok = buf;

    for (uint64_t i = 0; i < PLACES && ok; i++) {
        uint64_t sector = i * (SIZE / SECTOR / PLACES), at = sector * SECTOR;
        int64_t got;

        ok = qimg_read(q, v, at / q->cluster, buf, false);
        got = ok ? sector_version(buf + at % q->cluster, sector) : -1;
        ok = got >= 0 && (!i || got == *version);
        *version = got;
    }
    free(buf);
    return ok;
}

static const char *judge(struct pairs *p)
{
    static char why[200];
    const struct qimg *a = &p->side[0].img, *b = &p->side[1].img;

    for (unsigned k = 0; k < 2; k++) {
        struct side *s = &p->side[k];
        struct qreport rep;

        if (qcheck_image(&s->check, &s->img, s->disk.work, s->disk.work_size,
                         &rep)) {
            (void)snprintf(why, sizeof(why), "%s: %s", s->name, rep.first);
            return why;
        }
    }
    for (unsigned i = 0; i < a->nr_snapshots; i++) {
        int64_t va = -1, vb = -1;
        unsigned k;

        for (k = 0; k < b->nr_snapshots; k++)
            if (!strcmp(a->snapshots[i].id, b->snapshots[k].id))
                break;
        if (k == b->nr_snapshots) {
            (void)snprintf(why, sizeof(why),
                           "snapshot %s is not of the second disk",
                           a->snapshots[i].id);
            return why;
        }
        p->compared++;
        if (!version_of(a, &a->snapshots[i].view, &va) ||
            !version_of(b, &b->snapshots[k].view, &vb) || va != vb) {
            (void)snprintf(why, sizeof(why),
                           "snapshot %s is of version %" PRId64 " and %" PRId64,
                           a->snapshots[i].id, va, vb);
            return why;
        }
    }
    return NULL;
}

static void try_cuts(struct pairs *p)
{
    for (unsigned i = 0; i < CUTS; i++) {
        const char *why;

        for (unsigned k = 0; k < 2; k++) {
            struct disk *d = &p->side[k].disk;
            uint64_t seed = mix64(mix64(p->event * 64 + i) + k);
            struct cut c = {.mode = i < 2 ? (enum cut_mode)i
                                          : (enum cut_mode)(seed % CUT_MODES),
                            .seed = mix64(seed)};

            c.index = d->nr_ops ? c.seed % d->nr_ops : 0;
            disk_cut(d, &c);
        }
        p->cuts++;
        why = judge(p);
        if (why && p->bad++ < MAX_BAD)
            (void)printf("  event %" PRIu64 ": %s\n", p->event, why);
        disk_restore(&p->side[0].disk);
        disk_restore(&p->side[1].disk);
    }
}

static void on_event(struct pairs *p, const struct trace_event *ev,
                     const uint8_t *data)
{
    for (unsigned k = 0; k < 2; k++) {
        struct disk *d = &p->side[k].disk;

        if (ev->file != p->side[k].file)
            continue;
        switch (ev->kind) {
        case TRACE_WRITE: disk_write(d, ev->off, ev->len, data); break;
        case TRACE_ZERO: disk_zero(d, ev->off, ev->len); break;
        case TRACE_SIZE: disk_resize(d, ev->off); break;
        case TRACE_SYNC:
            if (ev->len)
                disk_sync_range(d, ev->off, ev->len);
            else
                disk_sync(d);
            break;
        default: return;
        }
        if (p->ready)
            try_cuts(p);
    }
}

/* Ids of the files, and room for all that is written to them. */
static bool find_files(struct pairs *p, const struct trace *t)
{
    uint64_t room[2] = {SECTOR, SECTOR}, end;
    struct trace_event ev;
    const uint8_t *data;
    size_t pos = 0;

    while (trace_next(t, &pos, &ev, &data))
        for (unsigned k = 0; k < 2; k++) {
            struct side *s = &p->side[k];

            if (ev.kind == TRACE_NAME && ev.len == strlen(s->name) &&
                !memcmp(data, s->name, ev.len))
                s->file = ev.file;
            if (ev.file != s->file ||
                (ev.kind != TRACE_WRITE && ev.kind != TRACE_SIZE))
                continue;
            end = ev.off + (ev.kind == TRACE_WRITE ? ev.len : 0);
            room[k] = end > room[k] ? end : room[k];
        }
    for (unsigned k = 0; k < 2; k++)
        if (p->side[k].file < 0 || !disk_init(&p->side[k].disk, room[k]))
            return false;
    return true;
}

int main(int argc, char **argv)
{
    static struct pairs p = {.side = {{.name = "main.husk", .file = -1},
                                      {.name = "second.qcow2", .file = -1}}};
    struct trace_event ev;
    const uint8_t *data;
    struct trace t;
    size_t pos = 0;

    if (argc != 2 || trace_open(&t, argv[1]) || !find_files(&p, &t)) {
        (void)fprintf(stderr, "usage: pair_replay TRACE (of pair)\n");
        return 2;
    }
    while (trace_next(&t, &pos, &ev, &data)) {
        p.event++;
        if (ev.kind == TRACE_MARK)
            p.ready = true;
        else if (ev.kind != TRACE_NAME)
            on_event(&p, &ev, data);
    }
    (void)printf("total: %" PRIu64 " cuts, 0 samples, %" PRIu64
                 " snapshots compared, %" PRIu64 " bad\n",
                 p.cuts, p.compared, p.bad);
    for (unsigned k = 0; k < 2; k++) {
        disk_fini(&p.side[k].disk);
        qcheck_free(&p.side[k].check);
    }
    trace_unmap(&t);
    return p.bad || !p.compared;
}
