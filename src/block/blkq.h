#ifndef HUSK_BLOCK_BLKQ_H
#define HUSK_BLOCK_BLKQ_H

#include "block/blk.h"

/*
 * Requests to a disk that do not block their caller: a bounded pool of threads
 * carries them out. They may end in any order; a flush covers the writes whose
 * done was called before it was submitted.
 */
enum blk_op {
    BLK_OP_READ,
    BLK_OP_WRITE,
    BLK_OP_ZERO,
    BLK_OP_DISCARD,
    BLK_OP_FLUSH
};

struct blk_req {
    enum blk_op op;
    unsigned flags;          /* BLK_FUA, BLK_UNMAP */
    uint64_t off, len;       /* len: zero and discard only */
    const struct iovec *iov; /* read and write; the caller's until done */
    int nr_iov;
    /* Called once, on a thread of the pool, with 0 or -errno. The request may
     * be freed or submitted again from here. */
    void (*done)(struct blk_req *r, int rc);
    struct blk_req *next;  /* the queue's own */
    struct blk_extent ext; /* likewise */
};

struct blkq;

/* b stays the caller's and must outlive the queue. NULL with err. */
struct blkq *blkq_new(struct blk *b, unsigned max_threads, struct err *err);
/* Any thread; never fails. */
void blkq_submit(struct blkq *q, struct blk_req *r);
/* The same for all of a list, linked by next. */
void blkq_submit_list(struct blkq *q, struct blk_req *list);
/* Waits until nothing is under way. The caller submits nothing meanwhile. */
void blkq_drain(struct blkq *q);
/* Drains first. */
void blkq_free(struct blkq *q);

#endif
