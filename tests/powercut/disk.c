#include "disk.h"

#include <stdlib.h>
#include <string.h>

/* The finalizer of SplitMix64 (Steele, Lea, Flood 2014). */
uint64_t mix64(uint64_t x)
{
    x += 0x9e3779b97f4a7c15ULL;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
    return x ^ x >> 31;
}

bool disk_init(struct disk *d, uint64_t room)
{
    uint64_t sectors;

    memset(d, 0, sizeof(*d));
    room = (room + DISK_SECTOR - 1) / DISK_SECTOR * DISK_SECTOR;
    sectors = room / DISK_SECTOR;
    d->room = room;
    d->durable = calloc(1, room);
    d->work = calloc(1, room);
    d->open_from = calloc(sectors, sizeof(*d->open_from));
    d->blocked = calloc(sectors, sizeof(*d->blocked));
    d->touched = calloc(sectors, sizeof(*d->touched));
    d->touched_list = calloc(sectors, sizeof(*d->touched_list));
    return d->durable && d->work && d->open_from && d->blocked && d->touched &&
           d->touched_list;
}

void disk_fini(struct disk *d)
{
    free(d->durable);
    free(d->work);
    free(d->open_from);
    free(d->blocked);
    free(d->touched);
    free(d->touched_list);
    free(d->ops);
}

static void add_op(struct disk *d, struct disk_op op)
{
    if (d->nr_ops == d->room_ops) {
        d->room_ops = d->room_ops ? 2 * d->room_ops : 64;
        d->ops = realloc(d->ops, d->room_ops * sizeof(*d->ops));
        if (!d->ops)
            abort();
    }
    d->ops[d->nr_ops++] = op;
}

void disk_write(struct disk *d, uint64_t off, uint64_t len, const uint8_t *data)
{
    add_op(d, (struct disk_op){.off = off, .len = len, .data = data});
    if (off + len > d->live_size)
        d->live_size = off + len;
}

/* A hole does not make the file longer. */
void disk_zero(struct disk *d, uint64_t off, uint64_t len)
{
    if (off >= d->live_size)
        return;
    if (len > d->live_size - off)
        len = d->live_size - off;
    add_op(d, (struct disk_op){.off = off, .len = len});
}

void disk_resize(struct disk *d, uint64_t size)
{
    if (size == d->live_size)
        return;
    add_op(d, (struct disk_op){.off = size, .is_size = true});
    d->live_size = size;
}

/* -- Hashes: the sum over the sectors, so that it can be kept up to date -- */

static uint64_t sector_hash(const uint8_t *buf, uint64_t sector)
{
    uint64_t a = 0, b = 0, v[4];
    size_t i;

    for (i = 0; i < DISK_SECTOR; i += sizeof(v)) {
        memcpy(v, buf + i, sizeof(v));
        a = (a ^ v[0]) * 0x9fb21c651e98df25ULL + v[1];
        b = (b ^ v[2]) * 0xd6e8feb86659fd93ULL + v[3];
        a ^= b >> 29;
        b ^= a >> 32;
    }
    /* Zeroes are nothing, so that room behind the end does not count. */
    return a || b ? mix64(a ^ mix64(b ^ sector)) : 0;
}

/* -- Building a state in work -------------------------------------------- */

static void touch(struct disk *d, uint64_t s)
{
    if (d->touched[s] == d->build)
        return;
    d->touched[s] = d->build;
    d->touched_list[d->nr_touched++] = s;
}

static bool lot(const struct cut *c, uint64_t a, uint64_t b)
{
    /* Some cuts lose little, some much. */
    uint64_t odds = mix64(c->seed) % 3;
    uint64_t x = mix64(c->seed ^ mix64(a ^ mix64(b + 1)));

    return odds == 0 ? x % 8 : odds == 1 ? x % 2 : !(x % 8);
}

/* Whether this op shows at this sector. */
static bool chosen(const struct disk *d, const struct cut *c, size_t op,
                   uint64_t sector)
{
    switch (c->mode) {
    case CUT_ALL: return true;
    case CUT_NONE: return false;
    case CUT_DROP_ONE: return op != c->index;
    case CUT_KEEP_ONE: return op == c->index;
    case CUT_SUFFIX: return op >= c->index;
    case CUT_GROW:
    case CUT_OPS: return lot(c, op, 0);
    case CUT_TORN_4K: return lot(c, op, 1 + sector / 8);
    case CUT_TORN_512: return lot(c, op, 1 + sector);
    case CUT_TEAR_LAST: return op + 1 < d->nr_ops || lot(c, op, 1 + sector);
    default: return false;
    }
}

static void apply_sector(struct disk *d, const struct disk_op *op, uint64_t s)
{
    uint64_t from = s * DISK_SECTOR, to = from + DISK_SECTOR;

    if (from < op->off)
        from = op->off;
    if (to > op->off + op->len)
        to = op->off + op->len;
    touch(d, s);
    if (op->data)
        memcpy(d->work + from, op->data + (from - op->off), to - from);
    else
        memset(d->work + from, 0, to - from);
    if (op->data && to > d->work_size)
        d->work_size = to;
}

static void build_data(struct disk *d, const struct cut *c, size_t i)
{
    const struct disk_op *op = &d->ops[i];
    uint64_t s, last = (op->off + op->len - 1) / DISK_SECTOR;

    for (s = op->off / DISK_SECTOR; s <= last; s++) {
        if (d->blocked[s] == d->build || d->first_op + i < d->open_from[s])
            continue;
        if (chosen(d, c, i, s))
            apply_sector(d, op, s);
        else
            d->blocked[s] = d->build;
    }
}

/*
 * A change of the size is there or not. What it cuts off is gone, but the disk
 * may remember it sector by sector, as where a hole is made.
 */
static void build_size(struct disk *d, const struct cut *c, size_t i)
{
    uint64_t size = d->ops[i].off, s = size / DISK_SECTOR;

    for (; s * DISK_SECTOR < d->work_size; s++) {
        uint64_t from = s * DISK_SECTOR < size ? size : s * DISK_SECTOR;

        if (d->blocked[s] == d->build)
            continue;
        if (!chosen(d, c, i, s)) {
            d->blocked[s] = d->build;
            continue;
        }
        touch(d, s);
        memset(d->work + from, 0, (s + 1) * DISK_SECTOR - from);
    }
    if (chosen(d, c, i, UINT64_MAX / 2))
        d->work_size = size;
}

static void hash_work(struct disk *d)
{
    size_t i;

    d->work_hash = d->durable_hash;
    for (i = 0; i < d->nr_touched; i++) {
        uint64_t s = d->touched_list[i];

        d->work_hash += sector_hash(d->work + s * DISK_SECTOR, s) -
                        sector_hash(d->durable + s * DISK_SECTOR, s);
    }
}

static void build(struct disk *d, const struct cut *c)
{
    size_t i;

    d->build++;
    d->nr_touched = 0;
    d->work_size = d->durable_size;
    for (i = 0; i < d->nr_ops; i++) {
        if (d->ops[i].is_size)
            build_size(d, c, i);
        else if (d->ops[i].len)
            build_data(d, c, i);
    }
    if (c->mode == CUT_GROW && d->live_size > d->work_size)
        d->work_size = d->live_size;
}

void disk_cut(struct disk *d, const struct cut *c)
{
    build(d, c);
    hash_work(d);
    d->work_hash = mix64(d->work_hash ^ mix64(d->work_size));
}

void disk_restore(struct disk *d)
{
    size_t i;

    for (i = 0; i < d->nr_touched; i++) {
        uint64_t at = d->touched_list[i] * DISK_SECTOR;

        memcpy(d->work + at, d->durable + at, DISK_SECTOR);
    }
    d->work_size = d->durable_size;
}

/* What work has become is from now on durable. */
static void keep(struct disk *d)
{
    size_t i;

    hash_work(d);
    d->durable_hash = d->work_hash;
    for (i = 0; i < d->nr_touched; i++) {
        uint64_t at = d->touched_list[i] * DISK_SECTOR;

        memcpy(d->durable + at, d->work + at, DISK_SECTOR);
    }
    d->durable_size = d->work_size;
}

void disk_sync(struct disk *d)
{
    static const struct cut all = {.mode = CUT_ALL};

    build(d, &all);
    keep(d);
    d->first_op += d->nr_ops;
    d->nr_ops = 0;
}

void disk_sync_range(struct disk *d, uint64_t off, uint64_t len)
{
    uint64_t s, last = len ? (off + len - 1) / DISK_SECTOR : 0;
    size_t i;

    if (!len)
        return;
    d->build++;
    d->nr_touched = 0;
    for (i = 0; i < d->nr_ops; i++) {
        const struct disk_op *op = &d->ops[i];

        if (op->is_size || !op->len)
            continue;
        for (s = off / DISK_SECTOR; s <= last; s++)
            if (op->off < (s + 1) * DISK_SECTOR &&
                op->off + op->len > s * DISK_SECTOR &&
                d->first_op + i >= d->open_from[s])
                apply_sector(d, op, s);
    }
    for (s = off / DISK_SECTOR; s <= last; s++)
        d->open_from[s] = d->first_op + d->nr_ops;
    keep(d);
}
