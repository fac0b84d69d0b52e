#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "block/qcow2.h"

/*
 * The input is an image: opened for reading, for check and repair, and for
 * writing, with a little of everything done to it. Backing files are not
 * opened: their names are the input's.
 */
enum { MAX_INPUT = 128 << 10, BUF = 70000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t buf[BUF];

static int no_sync(void *arg, int fd, const char *why)
{
    (void)arg;
    (void)fd;
    (void)why;
    return 0;
}

static struct qcow2 *open_image(int fd, unsigned flags)
{
    static struct hostfile_ops ops;
    struct qcow2_opts opts = {
        .flags = flags | QCOW2_NO_BACKING, .cache_bytes = 65536, .host = &ops};
    int copy = dup(fd);
    struct qcow2 *q;
    struct err err;

    ops = hostfile_kernel;
    ops.datasync = no_sync;
    if (copy >= 0 && !qcow2_open("fuzz", copy, &opts, &q, &err))
        return q;
    (void)close(copy);
    return NULL;
}

/* Results do not matter; they must come. */
static void ignore(int rc)
{
    (void)rc;
}

static void read_some(struct qcow2 *q)
{
    struct blk *b = qcow2_blk(q);
    uint64_t size = blk_size(b), step = size / 7 + 1;
    struct qcow2_snap *list;
    struct qcow2_sizes sizes;
    struct err err;
    size_t n;

    for (uint64_t at = 0; at < size; at += step)
        ignore(blk_read(b, at, buf, size - at < BUF ? size - at : BUF));
    if (qcow2_snaps(q, &list, &n, &err))
        return;
    if (n) {
        uint64_t unique;

        ignore(qcow2_snap_unique(q, list[0].id, &unique, &err));
        ignore(qcow2_state_read(q, list[0].id, 0, buf, 5000));
        if (list[0].state_room > 5000)
            ignore(qcow2_state_read(q, list[0].id, list[0].state_room - 5000,
                                    buf, 5000));
    }
    qcow2_snaps_free(list, n);
    ignore(qcow2_sizes(q, &sizes));
}

static void write_some(struct qcow2 *q, unsigned seed)
{
    const struct qcow2_piece state = {seed % 5000, buf, 1 + seed % 3000};
    struct qcow2_snap_new snap = {.name = "s",
                                  .opaque = "x",
                                  .opaque_len = 1,
                                  .state = &state,
                                  .nr_state = seed & 1,
                                  .no_disk = seed & 2};
    struct blk *b = qcow2_blk(q);
    uint64_t size = blk_size(b), saved;
    char id[QCOW2_SNAP_ID_MAX + 1];
    struct err err;

    for (unsigned i = 0; i < 6 && size; i++) {
        uint64_t at = (seed * 2654435761ull * (i + 1)) % size;
        uint64_t len = size - at < 3000 ? size - at : 3000;

        ignore(blk_write(b, at, buf, len, 0));
        ignore(blk_zero(b, at / 2, len, i & 1 ? BLK_UNMAP : 0));
        ignore(blk_discard(b, at / 3, len));
        ignore(blk_flush(b));
    }
    if (!qcow2_snap_create(q, &snap, id, &err)) {
        ignore(blk_write(b, 0, buf, size < BUF ? size : BUF, 0));
        ignore(qcow2_state_write(q, id, seed % 5000, buf, 1 + seed % 3000));
        ignore(qcow2_snap_apply(q, id, &err));
        ignore(qcow2_snap_delete(q, id, &err));
    }
    if (size < 1 << 30)
        ignore(blk_resize(b, size + 65536, &err));
    ignore(qcow2_compact(q, NULL, NULL, &saved, &err));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qcow2_check c;
    struct qcow2 *q;
    struct err err;
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    if (fd < 0 || size > MAX_INPUT || write(fd, data, size) != (ssize_t)size) {
        (void)close(fd);
        return 0;
    }
    q = open_image(fd, BLK_RDONLY);
    if (q) {
        read_some(q);
        ignore(qcow2_check(q, false, &c, NULL, NULL, &err));
        ignore(qcow2_close(q));
    }
    q = open_image(fd, 0);
    if (q) {
        write_some(q, (unsigned)size);
        ignore(qcow2_close(q));
    }
    q = open_image(fd, QCOW2_FOR_CHECK);
    if (q) {
        ignore(qcow2_check(q, true, &c, NULL, NULL, &err));
        ignore(qcow2_close(q));
    }
    (void)close(fd);
    return 0;
}
