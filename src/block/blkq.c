#include "block/blkq.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/lock.h"

/*
 * A list of requests and threads that take from its head. One thread is there
 * from the start; others are started when a request finds none idle, up to the
 * limit, and stay. A thread that has just finished looks at the list before it
 * sleeps, so a busy queue costs no wake-ups.
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
    q->max_threads = max_threads < THREADS_MAX ? max_threads : THREADS_MAX;
    lock_init(&q->lock);
    (void)pthread_cond_init(&q->work, NULL);
    (void)pthread_cond_init(&q->drained, NULL);
    lock_take(&q->lock);
    rc = start_thread_locked(q);
    lock_drop(&q->lock);
    if (!rc)
        return q;
    (void)err_set(err, rc, "start a disk's thread: %s", strerror(-rc));
    blkq_free(q);
    return NULL;
}

void blkq_submit(struct blkq *q, struct blk_req *r)
{
    lock_take(&q->lock);
    r->next = NULL;
    *q->tail = r;
    q->tail = &r->next;
    q->under_way++;
    if (++q->nr_queued <= q->nr_idle)
        (void)pthread_cond_signal(&q->work);
    else if (q->nr_threads < q->max_threads)
        (void)start_thread_locked(q); /* those that are there will do, too */
    lock_drop(&q->lock);
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
    lock_drop(&q->lock);
    for (unsigned i = 0; i < q->nr_threads; i++)
        (void)pthread_join(q->threads[i], NULL);
    (void)pthread_cond_destroy(&q->work);
    (void)pthread_cond_destroy(&q->drained);
    lock_fini(&q->lock);
    free(q);
}
