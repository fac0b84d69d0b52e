#ifndef HUSK_DEVICES_VIRTIO_VIRTIO_BLK_H
#define HUSK_DEVICES_VIRTIO_VIRTIO_BLK_H

#include <pthread.h>

#include "block/blkq.h"
#include "devices/virtio/virtio.h"

/*
 * Block device (virtio 1.2, 5.2): several queues, flush, discard, write
 * zeroes, a cache that the guest can switch off, and a size that may change
 * while it runs.
 *
 * A request is taken from its queue and checked on the vCPU's thread, within
 * the notification, carried out by threads of a pool, and completed on the one
 * of them that finds nobody else doing so. A small read that needs no waiting
 * is carried out at once.
 *
 * When the host has no space left for a request it is stuck: kept, not
 * answered, until virtio_blk_retry.
 */
enum {
    VIRTIO_BLK_MAX_QUEUES = 8,
    VIRTIO_BLK_QUEUE_SIZE = 256,
    VIRTIO_BLK_ID_BYTES = 20
};

struct virtio_blk_req;

/* A row of requests, first in first out. */
struct virtio_blk_list {
    struct virtio_blk_req *first, *last;
};

/* Whether requests are carried out at once (virtio_blk_now.c). */
struct virtio_blk_now {
    unsigned hold;      /* so many of them go to the pool */
    unsigned next_hold; /* how many after the next one that waited */
    unsigned good;      /* that did not, since */
};

struct virtio_blk_config {
    const char *name;   /* for logs: "disk0"; borrowed */
    struct blk *blk;    /* borrowed until virtio_blk_fini; its flags say whether
                           the guest may write */
    const char *serial; /* the guest sees 20 bytes at most; NULL = none */
    unsigned nr_queues; /* 1..VIRTIO_BLK_MAX_QUEUES */
    unsigned threads;   /* of the pool, at most */
    /* A first request is stuck, or none is any more. Any thread, the device's
     * lock is held: it may not call back. NULL = nobody cares. */
    void (*stuck)(void *opaque);
    void *opaque;
};

struct virtio_blk {
    struct virtio_dev vd;
    struct virtio_type type; /* with this device's name and queues */
    struct virtio_blk_state {
        uint8_t writeback; /* 5.2.5.2; a register of the configuration */
        /* A bit for each chain that was taken and not handed back yet: loading
         * carries those out once more. */
        uint8_t taken[VIRTIO_BLK_MAX_QUEUES][VIRTIO_BLK_QUEUE_SIZE / 8];
    } st;
    struct blk *blk;
    struct blkq *pool;
    uint64_t capacity; /* sectors, as the guest was told */
    struct blk_limits limits;
    char serial[VIRTIO_BLK_ID_BYTES];
    void (*on_stuck)(void *opaque);
    void *opaque;
    bool flush_failed;       /* and what was to be flushed may be lost */
    uint64_t quiet_until_ns; /* no more about failed requests before */
    struct virtio_blk_now now;
    struct blk_req *batch, **batch_end; /* to be submitted together */
    struct virtio_blk_list stuck;
    unsigned nr_stuck;         /* those, and those tried again meanwhile */
    struct virtq_chain *chain; /* the one in hand */

    /* Taken under vd.lock or alone; guards what follows. */
    struct lock pool_lock;
    pthread_cond_t idle;
    unsigned under_way;          /* in the pool */
    struct virtio_blk_list done; /* through it, not yet completed */
};

extern const struct state_desc virtio_blk_state_desc;
/* For struct virtio_blk; reset and loaded with its transport. */
extern const struct device_class virtio_blk_class;

MUST_CHECK int virtio_blk_init(struct virtio_blk *vb,
                               const struct virtio_env *env,
                               const struct virtio_blk_config *cfg,
                               struct err *err);
/* Ends what is under way. The vCPUs have stopped. */
void virtio_blk_fini(struct virtio_blk *vb);

/* The disk's size is another one: tells the guest. Any thread. */
void virtio_blk_resized(struct virtio_blk *vb);

/*
 * Wait until nothing is under way and all of it is completed, but for what is
 * stuck. While the vCPUs are paused, on the loop's thread: then nothing new
 * comes, either.
 */
void virtio_blk_drain(struct virtio_blk *vb);

/* How many requests are stuck, those that are just tried again included. Any
 * thread. */
unsigned virtio_blk_nr_stuck(struct virtio_blk *vb);
/* Try the stuck ones again. Any thread. */
void virtio_blk_retry(struct virtio_blk *vb);

#endif
