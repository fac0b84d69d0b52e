#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2.h"

/*
 * prober MODE IMAGE: do with an image what husk does with it, and say what goes
 * wrong. Status 0: nothing did, 1: a sentence on standard error says what.
 */
enum { CHUNK = 1 << 16, PLACES = 64 };

struct probe {
    struct qcow2 *q;
    struct blk *blk;
    int rc;
};

static void complain(struct probe *p, const char *what, int rc,
                     const struct err *err)
{
    if (rc)
        (void)fprintf(stderr, "%s: %s\n", what,
                      err && err->text[0] ? err->text : strerror(-rc));
    p->rc |= rc;
}

/* The beginning, the end, and places between. */
static uint64_t place(const struct probe *p, unsigned i)
{
    uint64_t size = blk_size(p->blk), at = size / PLACES * i;

    return i + 1 == PLACES && size > CHUNK ? size - CHUNK : at / 512 * 512;
}

static uint64_t length(const struct probe *p, uint64_t at)
{
    uint64_t left = blk_size(p->blk) - at;

    return left < CHUNK ? left : CHUNK;
}

static void probe_read(struct probe *p)
{
    static uint8_t buf[CHUNK];
    struct qcow2_info info;
    struct qcow2_sizes sizes;
    uint64_t off;
    uint32_t len;
    unsigned i;

    qcow2_info(p->q, &info);
    complain(p, "sizes", qcow2_sizes(p->q, &sizes), NULL);
    (void)!qcow2_ext_find(p->q, 0x6875736b, &off, &len);
    for (i = 0; i < PLACES; i++)
        complain(p, "read",
                 blk_read(p->blk, place(p, i), buf, length(p, place(p, i))),
                 NULL);
}

static void probe_write(struct probe *p)
{
    static uint8_t buf[CHUNK];
    unsigned i;

    memset(buf, 'w', sizeof(buf));
    for (i = 0; i < PLACES; i++) {
        uint64_t at = place(p, i), len = length(p, at);
        int rc;

        if (i % 4 == 1)
            rc = blk_zero(p->blk, at, len, BLK_UNMAP);
        else if (i % 4 == 2)
            rc = blk_discard(p->blk, at, len);
        else
            rc = blk_write(p->blk, at, buf, len / 2, i % 8 ? 0 : BLK_FUA);
        complain(p, "write", rc, NULL);
        if (i % 16 == 15)
            complain(p, "flush", blk_flush(p->blk), NULL);
    }
}

/* Of most there is no state, or it cannot be written. */
static void probe_state(struct probe *p, const struct qcow2_snap *s)
{
    uint64_t step = s->state_room / 7, off;
    static uint8_t buf[CHUNK];

    for (off = 0; step && off < s->state_room; off += step) {
        uint64_t left = s->state_room - off;
        uint64_t len = left < CHUNK ? left : CHUNK;

        (void)!qcow2_state_read(p->q, s->id, off, buf, len);
        (void)!qcow2_state_write(p->q, s->id, off, buf, len / 2);
    }
}

static void probe_snapshots(struct probe *p)
{
    struct qcow2_snap_new new = {.name = "probe"};
    struct qcow2_snap *list;
    struct err err = {0};
    uint64_t unique;
    size_t n, i;
    int rc = qcow2_snaps(p->q, &list, &n, &err);

    complain(p, "snapshots", rc, &err);
    if (rc)
        return;
    complain(p, "create", qcow2_snap_create(p->q, &new, NULL, &err), &err);
    for (i = 0; i < n && i < 8; i++) {
        probe_state(p, &list[i]);
        complain(p, "unique",
                 qcow2_snap_unique(p->q, list[i].id, &unique, &err), &err);
        complain(p, "apply", qcow2_snap_apply(p->q, list[i].id, &err), &err);
        complain(p, "delete", qcow2_snap_delete(p->q, list[i].id, &err), &err);
    }
    qcow2_snaps_free(list, n);
}

static void probe_check(struct probe *p, bool repair)
{
    struct qcow2_check c = {0};
    struct err err = {0};

    complain(p, "check", qcow2_check(p->q, repair, &c, NULL, NULL, &err), &err);
    if (c.leaks + c.low + c.overlaps + c.outside + c.invalid + c.copied) {
        (void)fprintf(stderr, "check: it is damaged\n");
        p->rc = -EUCLEAN;
    }
}

static void probe_care(struct probe *p)
{
    struct err err = {0};
    uint64_t saved, size = blk_size(p->blk);

    complain(p, "compact", qcow2_compact(p->q, NULL, NULL, &saved, &err), &err);
    complain(p, "resize", blk_resize(p->blk, size + (1 << 20), &err), &err);
}

int main(int argc, char **argv)
{
    const char *mode = argc == 3 ? argv[1] : "";
    bool check = !strcmp(mode, "check"), repair = !strcmp(mode, "repair");
    bool reads = check || !strcmp(mode, "read");
    struct qcow2_opts opts = {.flags =
                                  (reads ? BLK_RDONLY : 0U) |
                                  (check || repair ? QCOW2_FOR_CHECK : 0U)};
    struct err err = {0};
    struct probe p = {0};

    if (argc != 3)
        return 2;
    if (qcow2_open(argv[2], -1, &opts, &p.q, &err)) {
        (void)fprintf(stderr, "prober: %s\n", err.text);
        return 1;
    }
    p.blk = qcow2_blk(p.q);
    if (check || repair)
        probe_check(&p, repair);
    else if (reads)
        probe_read(&p);
    else if (!strcmp(mode, "write"))
        probe_write(&p);
    else if (!strcmp(mode, "snapshots"))
        probe_snapshots(&p);
    else
        probe_care(&p);
    complain(&p, "close", qcow2_close(p.q), NULL);
    return p.rc ? 1 : 0;
}
