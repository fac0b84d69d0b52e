#ifndef HUSK_BLOCK_BLK_H
#define HUSK_BLOCK_BLK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/compiler.h"
#include "base/err.h"

/*
 * A disk as its user sees it: bytes from 0 to blk_size, whatever keeps them (a
 * raw file, a block device, a qcow2 image with its backing chain). A format is
 * one struct blk_ops; this file's functions check ranges before they call it.
 *
 * All calls but open, close and those that say so may come from any number of
 * threads at once and block until they are done; blkq.h queues them. Two
 * requests that overlap and run at the same time leave either's bytes, sector
 * by sector, as on a real disk.
 *
 * Offsets and lengths are bytes and need not be aligned to anything. A request
 * that reaches beyond the end is -EINVAL and does nothing; a write to a
 * read-only disk is -EROFS. Other failures are the host's: -EIO, -ENOSPC (the
 * request can be tried again when there is space; nothing is lost), ...
 */
struct blk;

enum {
    BLK_RDONLY = 1 << 0,
    /* Neither reader nor writer of the host's page cache (O_DIRECT). */
    BLK_DIRECT = 1 << 1
};

enum {
    /* The write is on stable storage before the call returns. */
    BLK_FUA = 1 << 0,
    /* Zeroes may become a hole. */
    BLK_UNMAP = 1 << 1
};

/* What a device may tell the guest; lengths in bytes, 0 if nothing is known. */
struct blk_limits {
    uint32_t physical_block; /* power of two, at least 512 */
    uint32_t opt_io;
    uint32_t discard_granularity;
    uint64_t max_discard;
};

/* Bytes of a disk that lie in one piece in a file of the host. */
struct blk_extent {
    int fd;
    uint64_t off;
    unsigned token; /* of the format */
};

struct blk_ops {
    const char *name; /* of the format: "raw", "qcow2" */
    int (*readv)(struct blk *b, uint64_t off, const struct iovec *iov, int n);
    /* The same if no device has to be waited for; else -EAGAIN, and what iov
     * holds then is undefined. NULL = never. */
    int (*readv_cached)(struct blk *b, uint64_t off, const struct iovec *iov,
                        int n);
    /*
     * Where to read or overwrite these bytes of a BLK_DIRECT disk, by others
     * and at once: they stay there until unmap, which says whether they were
     * written. -EAGAIN if that takes waiting, an allocation, a copy, or more
     * than one piece. NULL = always.
     */
    int (*map)(struct blk *b, uint64_t off, const struct iovec *iov, int n,
               bool write, struct blk_extent *e);
    void (*unmap)(struct blk *b, const struct blk_extent *e, bool written);
    int (*writev)(struct blk *b, uint64_t off, const struct iovec *iov, int n,
                  unsigned flags);
    int (*zero)(struct blk *b, uint64_t off, uint64_t len, unsigned flags);
    int (*discard)(struct blk *b, uint64_t off, uint64_t len);
    int (*flush)(struct blk *b);
    int (*resize)(struct blk *b, uint64_t size, struct err *err);
    void (*limits)(struct blk *b, struct blk_limits *l);
    /* Flushes, releases everything; -errno if the flush failed. */
    int (*close)(struct blk *b);
};

/* The head of every format's own struct. */
struct blk {
    const struct blk_ops *ops;
    _Atomic uint64_t size;
    unsigned flags; /* BLK_RDONLY, BLK_DIRECT */
};

uint64_t blk_size(const struct blk *b);

/* 0 or -errno, whole requests only. */
MUST_CHECK int blk_readv(struct blk *b, uint64_t off, const struct iovec *iov,
                         int n);
/* Read without waiting for a device, or -EAGAIN (then iov's bytes are
 * undefined): what is in the host's memory already. */
MUST_CHECK int blk_readv_cached(struct blk *b, uint64_t off,
                                const struct iovec *iov, int n);
MUST_CHECK int blk_writev(struct blk *b, uint64_t off, const struct iovec *iov,
                          int n, unsigned flags);
MUST_CHECK int blk_read(struct blk *b, uint64_t off, void *buf, uint64_t len);
MUST_CHECK int blk_write(struct blk *b, uint64_t off, const void *buf,
                         uint64_t len, unsigned flags);
MUST_CHECK int blk_zero(struct blk *b, uint64_t off, uint64_t len,
                        unsigned flags);
/* A hint: the bytes read as before, or as zeroes, afterwards. */
MUST_CHECK int blk_discard(struct blk *b, uint64_t off, uint64_t len);
/* Everything whose write had returned is on stable storage. */
MUST_CHECK int blk_flush(struct blk *b);
/* Bytes that come to be read as zeroes. Shrinking may be -ENOTSUP. */
MUST_CHECK int blk_resize(struct blk *b, uint64_t size, struct err *err);
void blk_limits(struct blk *b, struct blk_limits *l);
/* Frees b in any case. */
MUST_CHECK int blk_close(struct blk *b);

#endif
