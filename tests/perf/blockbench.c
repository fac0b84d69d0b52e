/*
 * Drives a disk of husk's block layer through its queue, as virtio-blk does:
 *
 *     blockbench [option=value ...] FILE
 *
 * op=read|write, pattern=seq|rand, size=BYTES (4096), depth=N (32), count=N
 * (100000), threads=N (8), flush=N (a flush after every N writes), span=BYTES
 * (the part of the disk that is used; all), format=raw|qcow2, direct=0|1,
 * fill=0|1 (write all of span first). Prints one line: requests and bytes a
 * second. `qemu-img bench` is its counterpart.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/lock.h"
#include "block/blkq.h"
#include "block/open.h"

enum { DEPTH_MAX = 256, FILL_PIECE = 1 << 20 };

struct options {
    bool write, random, direct, fill;
    uint64_t size, depth, count, threads, flush, span;
    const char *format, *file;
};

struct slot {
    struct blk_req req;
    struct iovec iov;
    struct bench *bench;
};

struct bench {
    struct options o;
    struct blkq *q;
    struct lock lock;
    /* Under lock. */
    uint64_t submitted, next, seed;
    int failed;
    struct slot slot[DEPTH_MAX];
};

static uint64_t next_offset(struct bench *b)
{
    uint64_t n = b->o.span / b->o.size, at;

    if (b->o.random) {
        b->seed = b->seed * 6364136223846793005ull + 1442695040888963407ull;
        at = (b->seed >> 20) % n;
    } else {
        at = b->next++ % n;
    }
    return at * b->o.size;
}

/* The next request into s; false if there is none. */
static bool fill_slot(struct bench *b, struct slot *s)
{
    bool more;

    lock_take(&b->lock);
    more = b->submitted < b->o.count && !b->failed;
    if (more) {
        b->submitted++;
        s->req.op = b->o.write ? BLK_OP_WRITE : BLK_OP_READ;
        if (b->o.flush && b->submitted % b->o.flush == 0)
            s->req.op = BLK_OP_FLUSH;
        s->req.off = next_offset(b);
    }
    lock_drop(&b->lock);
    return more;
}

static void done(struct blk_req *r, int rc)
{
    struct slot *s = CONTAINER_OF(r, struct slot, req);
    struct bench *b = s->bench;

    if (rc) {
        lock_take(&b->lock);
        b->failed = rc;
        lock_drop(&b->lock);
    }
    if (fill_slot(b, s))
        blkq_submit(b->q, r);
}

static int fill_disk(struct blk *d, uint64_t span)
{
    char *buf = malloc(FILL_PIECE);
    int rc = buf ? 0 : -1;

    if (buf)
        memset(buf, 0x5a, FILL_PIECE);
    for (uint64_t at = 0; at < span && !rc; at += FILL_PIECE)
        rc = blk_write(d, at, buf,
                       span - at < FILL_PIECE ? span - at : FILL_PIECE, 0);
    free(buf);
    return rc ? rc : blk_flush(d);
}

static int run(struct bench *b, struct blk *d)
{
    uint64_t start, ns;
    struct err err;

    b->q = blkq_new(d, (unsigned)b->o.threads, &err);
    if (!b->q) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    for (uint64_t i = 0; i < b->o.depth; i++) {
        struct slot *s = &b->slot[i];

        s->bench = b;
        s->iov.iov_base = aligned_alloc(4096, b->o.size);
        s->iov.iov_len = b->o.size;
        if (!s->iov.iov_base)
            return 1;
        memset(s->iov.iov_base, (int)i, b->o.size);
        s->req.iov = &s->iov;
        s->req.nr_iov = 1;
        s->req.done = done;
    }
    start = clock_now_ns();
    for (uint64_t i = 0; i < b->o.depth; i++)
        if (fill_slot(b, &b->slot[i]))
            blkq_submit(b->q, &b->slot[i].req);
    blkq_drain(b->q);
    ns = clock_now_ns() - start;
    if (b->failed) {
        fprintf(stderr, "a request failed: %s\n", strerror(-b->failed));
        return 1;
    }
    printf("%.0f requests/s, %.1f MB/s, %.3f s\n",
           (double)b->o.count * 1e9 / (double)ns,
           (double)(b->o.count * b->o.size) * 1e3 / (double)ns,
           (double)ns / 1e9);
    blkq_free(b->q);
    for (uint64_t i = 0; i < b->o.depth; i++)
        free(b->slot[i].iov.iov_base);
    return 0;
}

static bool parse_one(struct options *o, const char *arg)
{
    const struct {
        const char *name;
        uint64_t *to;
    } numbers[] = {{"size=", &o->size},   {"depth=", &o->depth},
                   {"count=", &o->count}, {"threads=", &o->threads},
                   {"flush=", &o->flush}, {"span=", &o->span}};

    for (unsigned i = 0; i < ARRAY_LEN(numbers); i++)
        if (!strncmp(arg, numbers[i].name, strlen(numbers[i].name))) {
            *numbers[i].to = strtoull(arg + strlen(numbers[i].name), NULL, 0);
            return true;
        }
    if (!strncmp(arg, "format=", 7))
        o->format = arg + 7;
    else if (!strncmp(arg, "op=", 3))
        o->write = !strcmp(arg + 3, "write");
    else if (!strncmp(arg, "pattern=", 8))
        o->random = !strcmp(arg + 8, "rand");
    else if (!strncmp(arg, "direct=", 7))
        o->direct = arg[7] == '1';
    else if (!strncmp(arg, "fill=", 5))
        o->fill = arg[5] == '1';
    else if (!strchr(arg, '=') && !o->file)
        o->file = arg;
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    static struct bench b = {
        .o = {.size = 4096, .depth = 32, .count = 100000, .threads = 8},
        .seed = 1};
    struct blk *d;
    struct err err;
    int rc;

    for (int i = 1; i < argc; i++)
        if (!parse_one(&b.o, argv[i])) {
            fprintf(stderr, "blockbench: what is '%s'?\n", argv[i]);
            return 2;
        }
    if (!b.o.file || !b.o.depth || b.o.depth > DEPTH_MAX || !b.o.size ||
        b.o.size % 512) {
        fprintf(stderr, "usage: blockbench [option=value ...] FILE\n");
        return 2;
    }
    lock_init(&b.lock);
    if (blk_open(b.o.file, -1, b.o.format,
                 (b.o.direct ? BLK_DIRECT : 0u) |
                     (b.o.write || b.o.fill ? 0u : BLK_RDONLY),
                 &d, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    if (!b.o.span || b.o.span > blk_size(d))
        b.o.span = blk_size(d);
    rc = b.o.fill && fill_disk(d, b.o.span);
    if (!rc)
        rc = run(&b, d);
    if (blk_close(d))
        rc = 1;
    lock_fini(&b.lock);
    return rc;
}
