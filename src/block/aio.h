#ifndef HUSK_BLOCK_AIO_H
#define HUSK_BLOCK_AIO_H

#include "block/blkq.h"

/*
 * The kernel's asynchronous reads and writes of files open past the page cache
 * (io_submit(2)): one call starts many, from any thread and without waiting;
 * one thread hears of their ends.
 *
 * Preferred to io_uring, whose completions interrupt the thread that submitted
 * (here a virtual CPU's), and which many containers forbid.
 */
struct aio;

/* res: bytes moved, or -errno. On the thread of the aio. */
typedef void aio_done(void *opaque, struct blk_req *r, int64_t res);

/* NULL if the host does not allow it or is out of something. */
struct aio *aio_new(aio_done *done, void *opaque);
/* Nothing may be under way. */
void aio_free(struct aio *a);

enum { AIO_MAX_BATCH = 64 };

/* Start the reads and writes r[0..n) (n <= AIO_MAX_BATCH) at their ext; none of
 * them waits: what would is ended with -EAGAIN. Returns how many were started,
 * from the first one on. Any thread. */
unsigned aio_submit(struct aio *a, struct blk_req *const *r, unsigned n);

#endif
