#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "devices/ide/ide_int.h"

/*
 * Requests to the host's disk. A channel has one at a time. Its end is noted
 * under pool_lock by the thread that carried it out, which then completes it if
 * the device's lock is free; else a register access does, or the loop. It never
 * waits for that lock: a reset holds it while it waits for the request.
 */

enum { LOCK_TRIES = 64 };

void ide_warn(struct ide_drive *d, int rc)
{
    uint64_t now = clock_now_ns();

    if (now < d->quiet_until_ns)
        return;
    d->quiet_until_ns = now + NS_PER_SEC;
    if (rc == -EFAULT)
        log_guest(d->name, "a DMA table names what is no memory");
    else
        log_warn(d->name, "a request of the guest failed: %s",
                 strerrordesc_np(-rc));
}

/* --- Starting --- */

static void fill(struct ide_channel *ch, int nr_iov)
{
    static const enum blk_op ops[] = {[IDE_OP_READ] = BLK_OP_READ,
                                      [IDE_OP_WRITE] = BLK_OP_WRITE,
                                      [IDE_OP_FLUSH] = BLK_OP_FLUSH};
    const struct ide_drive *d = ide_active(ch);
    bool through = ch->st.fua || !d->st.write_cache;

    ch->req.op = ops[ch->st.op];
    ch->req.flags = ch->st.op == IDE_OP_WRITE && through ? BLK_FUA : 0;
    ch->req.off = ch->st.lba * ide_block(d);
    ch->req.iov = ch->iov;
    ch->req.nr_iov = nr_iov;
}

static void submit(struct ide_channel *ch)
{
    lock_take(&ch->ide->pool_lock);
    ch->under_way = true;
    lock_drop(&ch->ide->pool_lock);
    blkq_submit(ide_active(ch)->pool, &ch->req);
}

bool ide_request(struct ide_channel *ch, int nr_iov, int *rc)
{
    struct ide_drive *d = ide_active(ch);

    ch->st.phase = IDE_BUSY;
    d->st.status = ST_BSY;
    fill(ch, nr_iov);
    if (ch->st.op == IDE_OP_READ && !(d->blk->flags & BLK_DIRECT)) {
        *rc = blk_readv_cached(d->blk, ch->req.off, ch->iov, nr_iov);
        if (*rc != -EAGAIN)
            return true;
    }
    submit(ch);
    return false;
}

/* --- Ending --- */

static void set_stuck(struct ide_channel *ch, bool stuck)
{
    struct ide *ide = ch->ide;
    bool was = ide->nr_stuck != 0;

    if (stuck == ch->retried)
        return;
    ch->retried = stuck;
    ide->nr_stuck = stuck ? ide->nr_stuck + 1 : ide->nr_stuck - 1;
    if (was != (ide->nr_stuck != 0) && ide->on_stuck)
        ide->on_stuck(ide->opaque);
}

/* A flush that succeeds after one that failed would be a lie: the host may have
 * dropped what it could not write, and forgotten about it. */
static int flush_result(struct ide_channel *ch, int rc)
{
    struct ide_drive *d = ide_active(ch);

    if (ch->st.op != IDE_OP_FLUSH)
        return rc;
    if (rc < 0)
        d->flush_failed = true;
    return d->flush_failed ? -EIO : 0;
}

static void complete_one(struct ide_channel *ch)
{
    struct ide *ide = ch->ide;
    bool ended;
    int rc;

    lock_take(&ide->pool_lock);
    ended = ch->done;
    ch->done = false;
    rc = ch->rc;
    lock_drop(&ide->pool_lock);
    if (!ended)
        return;
    if (rc == -ENOSPC || rc == -EDQUOT) {
        ch->stuck = true;
        set_stuck(ch, true);
        return;
    }
    set_stuck(ch, false);
    ide_request_ended(ch, flush_result(ch, rc));
}

void ide_complete(struct ide *ide)
{
    /* Acquire: a request whose end is missed here arms the timer. */
    if (!atomic_exchange(&ide->any_done, false))
        return;
    for (unsigned i = 0; i < IDE_CHANNELS; i++)
        complete_one(&ide->channel[i]);
}

static bool complete_if_free(struct ide *ide) NO_TSA
{
    for (unsigned i = 0; i < LOCK_TRIES; i++) {
        if (lock_try(&ide->lock)) {
            ide_complete(ide);
            lock_drop(&ide->lock);
            return true;
        }
        __builtin_ia32_pause();
    }
    return false;
}

/* On the pool's thread. */
static void request_done(struct blk_req *r, int rc)
{
    struct ide_channel *ch = CONTAINER_OF(r, struct ide_channel, req);
    struct ide *ide = ch->ide;

    lock_take(&ide->pool_lock);
    ch->rc = rc;
    ch->done = true;
    ch->under_way = false;
    (void)pthread_cond_broadcast(&ide->idle);
    lock_drop(&ide->pool_lock);
    atomic_store(&ide->any_done, true);
    if (!complete_if_free(ide))
        timer_arm(&ide->finish, 0);
}

static void finish(void *opaque)
{
    struct ide *ide = opaque;

    lock_take(&ide->lock);
    ide_complete(ide);
    lock_drop(&ide->lock);
}

void ide_io_init(struct ide *ide, struct loop *loop)
{
    lock_init(&ide->pool_lock);
    (void)pthread_cond_init(&ide->idle, NULL);
    timer_init(&ide->finish, loop, finish, ide);
    for (unsigned i = 0; i < IDE_CHANNELS; i++)
        ide->channel[i].req.done = request_done;
}

void ide_io_fini(struct ide *ide)
{
    timer_cancel(&ide->finish);
    (void)pthread_cond_destroy(&ide->idle);
    lock_fini(&ide->pool_lock);
}

/* --- Waiting --- */

static void wait_idle(struct ide_channel *ch)
{
    lock_take(&ch->ide->pool_lock);
    while (ch->under_way)
        (void)pthread_cond_wait(&ch->ide->idle, &ch->ide->pool_lock.m);
    lock_drop(&ch->ide->pool_lock);
}

void ide_wait(struct ide_channel *ch)
{
    wait_idle(ch);
    complete_one(ch);
}

void ide_forget(struct ide_channel *ch)
{
    wait_idle(ch);
    lock_take(&ch->ide->pool_lock);
    ch->done = false;
    lock_drop(&ch->ide->pool_lock);
    ch->stuck = false;
    set_stuck(ch, false);
}

static bool is_under_way(struct ide_channel *ch)
{
    bool busy;

    lock_take(&ch->ide->pool_lock);
    busy = ch->under_way || ch->done;
    lock_drop(&ch->ide->pool_lock);
    return busy;
}

/* A command of many requests submits the next one when one ends. */
void ide_drain(struct ide *ide)
{
    lock_take(&ide->lock);
    for (unsigned i = 0; i < IDE_CHANNELS; i++)
        while (is_under_way(&ide->channel[i]))
            ide_wait(&ide->channel[i]);
    lock_drop(&ide->lock);
}

unsigned ide_nr_stuck(struct ide *ide)
{
    unsigned nr;

    lock_take(&ide->lock);
    nr = ide->nr_stuck;
    lock_drop(&ide->lock);
    return nr;
}

void ide_retry(struct ide *ide)
{
    lock_take(&ide->lock);
    for (unsigned i = 0; i < IDE_CHANNELS; i++) {
        struct ide_channel *ch = &ide->channel[i];

        if (!ch->stuck)
            continue;
        ch->stuck = false;
        submit(ch);
    }
    lock_drop(&ide->lock);
}
