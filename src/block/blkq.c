#include "block/blkq.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/lock.h"
#include "block/aio.h"
#include "block/iov.h"

/*
 * A list of requests and threads that take from its head. One thread is there
 * from the start; others are started when a request finds none idle, up to the
 * limit, and stay. A thread that has just finished looks at the list before it
 * sleeps, so a busy queue costs no wake-ups.
 *
 * Reads and writes past the page cache that lie in one piece in the host's file
 * are started by a thread of their own, many at a time (aio.h), and wait
 * without one.
 */
enum { THREADS_MAX = 64, STACK_SIZE = 256 << 10 };

struct blkq {
    struct blk *b;
    struct lock lock;
    pthread_cond_t work, drained;
    /* All below: under lock. */
    struct blk_req *head, **tail;
    unsigned nr_threads, max_threads, nr_idle, nr_queued;
    uint64_t under_way; /* queued or being carried out */
    bool stop;
    struct blk_req *fast, **fast_tail; /* for the starter */
    bool starter_idle;
    struct aio *aio; /* NULL: none; never changes */
    pthread_t starter;
    pthread_cond_t start;
    pthread_t threads[THREADS_MAX];
};

static int carry_out(struct blk *b, const struct blk_req *r)
{
    switch (r->op) {
    case BLK_OP_READ: return blk_readv(b, r->off, r->iov, r->nr_iov);
    case BLK_OP_WRITE:
        return blk_writev(b, r->off, r->iov, r->nr_iov, r->flags);
    case BLK_OP_ZERO: return blk_zero(b, r->off, r->len, r->flags);
    case BLK_OP_DISCARD: return blk_discard(b, r->off, r->len);
    case BLK_OP_FLUSH: return blk_flush(b);
    }
    return -EINVAL;
}

static struct blk_req *next_locked(struct blkq *q) REQUIRES(q->lock)
{
    struct blk_req *r;

    while (!q->head && !q->stop) {
        q->nr_idle++;
        (void)pthread_cond_wait(&q->work, &q->lock.m);
        q->nr_idle--;
    }
    r = q->head;
    if (!r)
        return NULL;
    q->nr_queued--;
    q->head = r->next;
    if (!q->head)
        q->tail = &q->head;
    return r;
}

static void *worker(void *arg)
{
    struct blkq *q = arg;
    struct blk_req *r;

    (void)pthread_setname_np(pthread_self(), "blkq");
    lock_take(&q->lock);
    while ((r = next_locked(q))) {
        int rc;

        lock_drop(&q->lock);
        rc = carry_out(q->b, r);
        r->done(r, rc);
        lock_take(&q->lock);
        if (!--q->under_way)
            (void)pthread_cond_broadcast(&q->drained);
    }
    lock_drop(&q->lock);
    return NULL;
}

static int start_thread_locked(struct blkq *q) REQUIRES(q->lock)
{
    pthread_attr_t attr;
    int rc = pthread_attr_init(&attr);

    if (rc)
        return -rc;
    (void)pthread_attr_setstacksize(&attr, STACK_SIZE);
    rc = pthread_create(&q->threads[q->nr_threads], &attr, worker, q);
    (void)pthread_attr_destroy(&attr);
    if (!rc)
        q->nr_threads++;
    return -rc;
}

static void enqueue_locked(struct blkq *q, struct blk_req *r) REQUIRES(q->lock)
{
    r->next = NULL;
    *q->tail = r;
    q->tail = &r->next;
    if (++q->nr_queued <= q->nr_idle)
        (void)pthread_cond_signal(&q->work);
    else if (q->nr_threads < q->max_threads)
        (void)start_thread_locked(q); /* those that are there will do, too */
}

/* -- Past the threads ----------------------------------------------------- */

/* On the aio's thread. What went wrong, or not all the way, is done again by a
 * thread, whose word counts. */
static void aio_ended(void *opaque, struct blk_req *r, int64_t res)
{
    bool good = res >= 0 && (uint64_t)res == iov_len(r->iov, r->nr_iov);
    struct blkq *q = opaque;

    q->b->ops->unmap(q->b, &r->ext, r->op == BLK_OP_WRITE);
    if (good)
        r->done(r, 0);
    lock_take(&q->lock);
    if (!good)
        enqueue_locked(q, r);
    else if (!--q->under_way)
        (void)pthread_cond_broadcast(&q->drained);
    lock_drop(&q->lock);
}

static bool map_for_aio(struct blkq *q, struct blk_req *r)
{
    uint64_t len = iov_len(r->iov, r->nr_iov);
    struct blk *b = q->b;

    return len && range_ok(r->off, len, blk_size(b)) &&
           !(r->op == BLK_OP_WRITE && b->flags & BLK_RDONLY) &&
           b->ops->map(b, r->off, r->iov, r->nr_iov, r->op == BLK_OP_WRITE,
                       &r->ext) == 0;
}

static void to_threads(struct blkq *q, struct blk_req *r)
{
    lock_take(&q->lock);
    enqueue_locked(q, r);
    lock_drop(&q->lock);
}

static void start_batch(struct blkq *q, struct blk_req *const *r, unsigned n)
{
    unsigned i = n ? aio_submit(q->aio, r, n) : 0;

    for (; i < n; i++) {
        q->b->ops->unmap(q->b, &r[i]->ext, false);
        to_threads(q, r[i]);
    }
}

static void start_all(struct blkq *q, struct blk_req *list)
{
    struct blk_req *batch[AIO_MAX_BATCH];
    unsigned n = 0;

    while (list) {
        struct blk_req *r = list;

        list = r->next;
        if (!map_for_aio(q, r)) {
            to_threads(q, r);
            continue;
        }
        batch[n++] = r;
        if (n == AIO_MAX_BATCH) {
            start_batch(q, batch, n);
            n = 0;
        }
    }
    start_batch(q, batch, n);
}

/* One thread that starts all that came while it started the last ones: what
 * the host's driver does once for each batch may cost more than a request. */
static void *starter(void *arg)
{
    struct blkq *q = arg;

    (void)pthread_setname_np(pthread_self(), "blkq-aio");
    lock_take(&q->lock);
    while (q->fast || !q->stop) {
        struct blk_req *list = q->fast;

        if (!list) {
            q->starter_idle = true;
            (void)pthread_cond_wait(&q->start, &q->lock.m);
            q->starter_idle = false;
            continue;
        }
        q->fast = NULL;
        q->fast_tail = &q->fast;
        lock_drop(&q->lock);
        start_all(q, list);
        lock_take(&q->lock);
    }
    lock_drop(&q->lock);
    return NULL;
}

/* Without it everything goes to the threads. */
static void start_aio(struct blkq *q)
{
    if (!(q->b->flags & BLK_DIRECT) || !q->b->ops->map)
        return;
    q->aio = aio_new(aio_ended, q);
    if (q->aio && pthread_create(&q->starter, NULL, starter, q) != 0) {
        aio_free(q->aio);
        q->aio = NULL;
    }
}

static void submit_locked(struct blkq *q, struct blk_req *r) REQUIRES(q->lock)
{
    /* One alone is done sooner by one thread than by a starter and the aio's.
     */
    if (q->under_way++ == 0 || !q->aio || r->flags & BLK_FUA ||
        (r->op != BLK_OP_READ && r->op != BLK_OP_WRITE)) {
        enqueue_locked(q, r);
        return;
    }
    r->next = NULL;
    *q->fast_tail = r;
    q->fast_tail = &r->next;
    if (q->starter_idle)
        (void)pthread_cond_signal(&q->start);
}

void blkq_submit(struct blkq *q, struct blk_req *r)
{
    lock_take(&q->lock);
    submit_locked(q, r);
    lock_drop(&q->lock);
}

void blkq_submit_list(struct blkq *q, struct blk_req *list)
{
    lock_take(&q->lock);
    while (list) {
        struct blk_req *r = list;

        list = r->next;
        submit_locked(q, r);
    }
    lock_drop(&q->lock);
}

/* -- Life ----------------------------------------------------------------- */

struct blkq *blkq_new(struct blk *b, unsigned max_threads, struct err *err)
{
    struct blkq *q = calloc(1, sizeof(*q));
    int rc;

    if (!q) {
        (void)err_set(err, -ENOMEM, "start a disk's queue: out of memory");
        return NULL;
    }
    q->b = b;
    q->tail = &q->head;
    q->fast_tail = &q->fast;
    q->max_threads = max_threads < THREADS_MAX ? max_threads : THREADS_MAX;
    lock_init(&q->lock);
    (void)pthread_cond_init(&q->work, NULL);
    (void)pthread_cond_init(&q->drained, NULL);
    (void)pthread_cond_init(&q->start, NULL);
    lock_take(&q->lock);
    rc = start_thread_locked(q);
    lock_drop(&q->lock);
    if (!rc) {
        start_aio(q);
        return q;
    }
    errno = -rc;
    (void)err_sys(err, "start a disk's thread");
    blkq_free(q);
    return NULL;
}

void blkq_drain(struct blkq *q)
{
    lock_take(&q->lock);
    while (q->under_way)
        (void)pthread_cond_wait(&q->drained, &q->lock.m);
    lock_drop(&q->lock);
}

void blkq_free(struct blkq *q)
{
    if (!q)
        return;
    blkq_drain(q);
    lock_take(&q->lock);
    q->stop = true;
    (void)pthread_cond_broadcast(&q->work);
    (void)pthread_cond_broadcast(&q->start);
    lock_drop(&q->lock);
    if (q->aio)
        (void)pthread_join(q->starter, NULL);
    for (unsigned i = 0; i < q->nr_threads; i++)
        (void)pthread_join(q->threads[i], NULL);
    aio_free(q->aio);
    (void)pthread_cond_destroy(&q->work);
    (void)pthread_cond_destroy(&q->drained);
    (void)pthread_cond_destroy(&q->start);
    lock_fini(&q->lock);
    free(q);
}
