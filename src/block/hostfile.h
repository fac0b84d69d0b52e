#ifndef HUSK_BLOCK_HOSTFILE_H
#define HUSK_BLOCK_HOSTFILE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/compiler.h"
#include "base/err.h"

/*
 * The file of the host under a disk format. Everything that a format reads,
 * writes and syncs goes through here, and from here through one struct of
 * functions, so that tests can count, record, delay or fail it.
 *
 * Any thread. Offsets and lengths are bytes; with BLK_DIRECT what is not
 * aligned is bounced here. Results are 0 or -errno, whole requests only.
 */
struct hostfile_ops {
    /* As the system calls, -errno for -1; short transfers are allowed. */
    int64_t (*preadv)(void *arg, int fd, const struct iovec *iov, int n,
                      uint64_t off);
    int64_t (*pwritev)(void *arg, int fd, const struct iovec *iov, int n,
                       uint64_t off, bool dsync);
    /* why: a stable word for the place in the code that asks ("guest-flush"),
     * for tests that leave one out. */
    int (*datasync)(void *arg, int fd, const char *why);
    /* Makes a hole, or zeroes with blocks behind them if keep is set. */
    int (*punch)(void *arg, int fd, uint64_t off, uint64_t len, bool keep);
    int (*truncate)(void *arg, int fd, uint64_t size);
};

struct hostfile {
    const struct hostfile_ops *ops;
    void *arg; /* the first argument of ops */
    int fd;    /* owned */
    bool direct, readonly, is_device;
    /* Whether the file system can make holes; learned by trying. */
    _Atomic bool can_punch, can_zero;
    /* It was at least that long: a file that is shorter has been cut by
     * somebody else, and what it then reads like is nobody's data. */
    _Atomic uint64_t min_size;
    uint32_t align;       /* of memory, offset and length; 1 if not direct */
    pthread_rwlock_t rmw; /* direct: parts of a block exclude whole ones */
};

/* What the kernel does. */
extern const struct hostfile_ops hostfile_kernel;

/*
 * Open path, or take over fd (path is then for messages only; on failure fd
 * stays the caller's). flags: BLK_RDONLY, BLK_DIRECT. Refuses what is neither
 * a regular file nor a block device. ops NULL: hostfile_kernel.
 */
MUST_CHECK int hostfile_open(struct hostfile *f, const char *path, int fd,
                             unsigned flags, const struct hostfile_ops *ops,
                             void *arg, struct err *err);
void hostfile_close(struct hostfile *f);
/* As close, but the descriptor stays open: it is the caller's again. */
void hostfile_let_go(struct hostfile *f);

/* Bytes beyond the end of the file read as zeroes; -EIO if it was longer when
 * it was opened. */
MUST_CHECK int hostfile_readv(struct hostfile *f, uint64_t off,
                              const struct iovec *iov, int n);
/* The same from the page cache alone, else -EAGAIN: also where the ends of the
 * file or of alignment are in the way. */
MUST_CHECK int hostfile_readv_cached(struct hostfile *f, uint64_t off,
                                     const struct iovec *iov, int n);
/* Whether these pieces can be read and written at off through fd by others:
 * past the page cache, aligned, and with no part of a block to be kept. */
bool hostfile_is_plain(const struct hostfile *f, uint64_t off,
                       const struct iovec *iov, int n);
MUST_CHECK int hostfile_read(struct hostfile *f, uint64_t off, void *buf,
                             uint64_t len);
/* dsync: on stable storage when it returns, as with RWF_DSYNC. */
MUST_CHECK int hostfile_writev(struct hostfile *f, uint64_t off,
                               const struct iovec *iov, int n, bool dsync);
MUST_CHECK int hostfile_write(struct hostfile *f, uint64_t off, const void *buf,
                              uint64_t len);
/* -EIO also if the file has become shorter. */
MUST_CHECK int hostfile_sync(struct hostfile *f, const char *why);
/* The range reads as zeroes afterwards. If keep is clear its space goes back to
 * the host where the file system can do that. */
MUST_CHECK int hostfile_zero(struct hostfile *f, uint64_t off, uint64_t len,
                             bool keep);
/* Gives space back; the range then reads as before or as zeroes. Never fails
 * but for -EIO. */
MUST_CHECK int hostfile_discard(struct hostfile *f, uint64_t off, uint64_t len);
MUST_CHECK int hostfile_size(struct hostfile *f, uint64_t *size);
MUST_CHECK int hostfile_truncate(struct hostfile *f, uint64_t size);
/* Bytes that the file occupies on the host (st_blocks). */
MUST_CHECK int hostfile_used(struct hostfile *f, uint64_t *bytes);

#endif
