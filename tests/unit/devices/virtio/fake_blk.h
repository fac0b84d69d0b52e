#ifndef HUSK_TESTS_UNIT_DEVICES_VIRTIO_FAKE_BLK_H
#define HUSK_TESTS_UNIT_DEVICES_VIRTIO_FAKE_BLK_H

#include "base/lock.h"
#include "block/blk.h"

/* A disk in memory that notes what is asked of it, holds requests up, and fails
 * when the test wants it to. */
enum { FAKE_BLK_SIZE = 64 << 10, FAKE_BLK_LOG = 64 };

enum fake_blk_op { FAKE_READ, FAKE_WRITE, FAKE_ZERO, FAKE_DISCARD, FAKE_FLUSH };

struct fake_blk {
    struct blk blk;
    uint8_t data[2 * FAKE_BLK_SIZE]; /* room to grow */
    struct lock lock;
    pthread_cond_t changed;
    /* Under lock: */
    bool closed;      /* the gate: requests wait */
    unsigned waiting; /* at the gate */
    bool cached;      /* reads need no device */
    bool slow;        /* writes sleep for a moment */
    int fail;         /* what requests return, 0 = they work */
    unsigned nr_log;  /* those that were carried out or failed */
    struct {
        enum fake_blk_op op;
        uint64_t off, len;
        unsigned flags;
    } log[FAKE_BLK_LOG];
};

/* Byte i of the disk is i / 512 + i. */
void fake_blk_init(struct fake_blk *f, unsigned flags);
void fake_blk_fini(struct fake_blk *f);
/* Requests wait from now on; or all go on. */
void fake_blk_close_gate(struct fake_blk *f);
void fake_blk_open_gate(struct fake_blk *f);
/* Until so many wait at the gate. */
void fake_blk_wait(struct fake_blk *f, unsigned nr);
/* Requests fail with -errno from now on; 0: no more. */
void fake_blk_fail(struct fake_blk *f, int rc);
uint8_t fake_blk_byte(uint64_t off);

#endif
