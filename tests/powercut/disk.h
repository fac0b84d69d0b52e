#ifndef HUSK_TESTS_POWERCUT_DISK_H
#define HUSK_TESTS_POWERCUT_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A file on a disk whose power can be cut at any time. What was synced is
 * there for sure. Of what was written since, each 512-byte sector has reached
 * the disk or not, in any order among sectors; a sector shows what it was at
 * some moment since the sync, for a page that is written again and again
 * reaches the disk as it was at some time, never as it never was.
 */
enum { DISK_SECTOR = 512 };

struct disk_op {
    uint64_t off, len;
    const uint8_t *data; /* NULL: zeroes */
    bool is_size;        /* the file now ends at off */
};

struct disk {
    uint8_t *durable, *work; /* room bytes each */
    uint64_t room, durable_size, work_size, live_size;
    struct disk_op *ops; /* since the sync, in order */
    size_t nr_ops, room_ops;
    uint64_t first_op; /* serial number of ops[0] */
    /* For each sector: the serial of the first op that a ranged sync has not
     * covered; the build in which no later op may show; the build that
     * touched it. */
    uint64_t *open_from;
    uint32_t *blocked, *touched;
    uint64_t *touched_list;
    size_t nr_touched;
    uint32_t build;
    uint64_t durable_hash, work_hash;
};

/* Which parts of the pending ops reach the disk. */
enum cut_mode {
    CUT_ALL,       /* everything: a kill, or a cut with luck */
    CUT_NONE,      /* what was synced and no more */
    CUT_DROP_ONE,  /* all but op index */
    CUT_KEEP_ONE,  /* only op index */
    CUT_SUFFIX,    /* only ops from index on: the last are written first */
    CUT_OPS,       /* each op by lot */
    CUT_TORN_4K,   /* each 4 KiB of the file by lot */
    CUT_TORN_512,  /* each sector by lot */
    CUT_TEAR_LAST, /* all but parts of the last op */
    CUT_GROW,      /* as CUT_OPS, and the file has its full size */
    CUT_MODES
};

struct cut {
    enum cut_mode mode;
    size_t index;
    uint64_t seed;
};

/* room: the greatest size that the file will have. False: no memory. */
bool disk_init(struct disk *d, uint64_t room);
void disk_fini(struct disk *d);

void disk_write(struct disk *d, uint64_t off, uint64_t len,
                const uint8_t *data);
void disk_zero(struct disk *d, uint64_t off, uint64_t len);
void disk_resize(struct disk *d, uint64_t size);
void disk_sync(struct disk *d);
/* Only what lies in the range (O_DSYNC). */
void disk_sync_range(struct disk *d, uint64_t off, uint64_t len);

/* Make work (work_size bytes, hash work_hash) what the cut leaves;
 * disk_restore makes it the durable state again. */
void disk_cut(struct disk *d, const struct cut *c);
void disk_restore(struct disk *d);

uint64_t mix64(uint64_t x);

#endif
