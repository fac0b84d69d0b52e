#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/endian.h"
#include "base/log.h"
#include "devices/virtio/virtio_blk_int.h"

/*
 * The life of a request (virtio 1.2, 5.2.6):
 *
 *   queue    in the guest's ring
 *   taken    a struct virtio_blk_req; its bit in st.taken is set. Header and
 *            ranges were copied and checked; data stays where the guest has it
 *   pool     under_way counts it
 *   done     through the pool: on vb->done, until somebody completes it
 *   stuck    the host had no space: on vb->stuck; goes back to the pool
 *
 * and then its status byte is written and the chain is handed back.
 *
 * Locks: vd.lock for all of it, but that a thread of the pool puts its request
 * on vb->done under pool_lock alone. So a reset, which holds vd.lock, can wait
 * for under_way to fall to 0 and then throws away what is done. The thread that
 * found vb->done empty completes what is there by then (requests that end
 * together share one interrupt) if it gets vd.lock at once. It never waits for
 * it: the pool might have no other thread for what a reset waits for. Then the
 * loop does it, or whoever looks at a queue next.
 *
 * A chain that is offered again before it was handed back breaks the device:
 * so there are never more requests than the queues have entries.
 */

/* 5.2.6 */
enum {
    T_IN = 0,
    T_OUT = 1,
    T_FLUSH = 4,
    T_GET_ID = 8,
    T_DISCARD = 11,
    T_WRITE_ZEROES = 13,
    S_OK = 0,
    S_IOERR = 1,
    S_UNSUPP = 2,
    HDR_TYPE = 0,
    HDR_SECTOR = 8,
    HDR_BYTES = 16,
    RANGE_SECTOR = 0,
    RANGE_COUNT = 8,
    RANGE_FLAGS = 12,
    RANGE_BYTES = 16,
    RANGE_F_UNMAP = 1
};

enum { LOCK_TRIES = 64 };

struct blk_range {
    uint64_t off, len;
    unsigned flags;
};

struct virtio_blk_req {
    struct blk_req r;
    struct virtio_blk *vb;
    struct virtio_blk_req *next;
    uint16_t head;
    uint8_t q;
    bool retried; /* was stuck before */
    int rc;
    uint64_t in_bytes; /* with the status byte, its last */
    uint8_t *status;
    gpa_t status_gpa;
    unsigned nr_ranges, range; /* of discard and write zeroes; the next one */
    struct blk_range *ranges;  /* behind this struct, as these: */
    gpa_t *gpa;                /* of each segment */
    struct iovec iov[];
};

/* The header, copied. */
struct header {
    uint32_t type;
    uint64_t sector;
};

/* -- Lists --- */

static void list_add(struct virtio_blk_list *l, struct virtio_blk_req *req)
{
    req->next = NULL;
    if (l->last)
        l->last->next = req;
    else
        l->first = req;
    l->last = req;
}

static struct virtio_blk_req *list_take(struct virtio_blk_list *l)
{
    struct virtio_blk_req *req = l->first;

    if (!req)
        return NULL;
    l->first = req->next;
    if (!l->first)
        l->last = NULL;
    return req;
}

/* -- Which chains are taken --- */

static bool is_taken(const struct virtio_blk *vb, unsigned q, uint16_t head)
{
    return vb->st.taken[q][head / 8] >> (head % 8) & 1;
}

static void set_taken(struct virtio_blk *vb, unsigned q, uint16_t head)
{
    vb->st.taken[q][head / 8] |= (uint8_t)(1u << (head % 8));
}

static void clear_taken(struct virtio_blk *vb, unsigned q, uint16_t head)
{
    vb->st.taken[q][head / 8] &= (uint8_t) ~(1u << (head % 8));
}

/* -- Answers --- */

/* Hand the chain back. */
static void answer(struct virtio_blk *vb, unsigned q, uint16_t head,
                   uint64_t in_bytes)
{
    clear_taken(vb, q, head);
    virtq_push_head(&vb->vd.vq[q], head, in_bytes);
}

/* The same for one in hand that needs no pool; status is its last byte. */
static void answer_now(struct virtio_blk *vb, unsigned q, uint8_t status)
{
    const struct virtq_chain *c = vb->chain;
    unsigned last = c->nr_out + c->nr_in - 1;
    uint64_t off = c->iov[last].iov_len - 1;

    ((uint8_t *)c->iov[last].iov_base)[off] = status;
    gmem_written(vb->vd.gm, c->gpa[last] + off, 1);
    answer(vb, q, c->head, c->in_bytes);
}

/* -- In and out of the pool --- */

static void submit(struct virtio_blk *vb, struct virtio_blk_req *req)
{
    lock_take(&vb->pool_lock);
    vb->under_way++;
    lock_drop(&vb->pool_lock);
    *vb->batch_end = &req->r;
    vb->batch_end = &req->r.next;
    req->r.next = NULL;
}

/* Hand over what was submitted since the last time. */
static void submit_batch(struct virtio_blk *vb)
{
    struct blk_req *batch = vb->batch;

    vb->batch = NULL;
    vb->batch_end = &vb->batch;
    if (batch)
        blkq_submit_list(vb->pool, batch);
}

static void report_data(const struct virtio_blk_req *req)
{
    for (int i = 0; i < req->r.nr_iov; i++)
        gmem_written(req->vb->vd.gm, req->gpa[i], req->r.iov[i].iov_len);
}

static void use_range(struct virtio_blk_req *req)
{
    const struct blk_range *range = &req->ranges[req->range++];

    req->r.off = range->off;
    req->r.len = range->len;
    req->r.flags = range->flags;
}

static uint8_t status_of(const struct virtio_blk *vb,
                         const struct virtio_blk_req *req)
{
    if (req->r.op == BLK_OP_FLUSH && vb->flush_failed)
        return S_IOERR;
    if (req->rc == 0)
        return S_OK;
    return req->rc == -EOPNOTSUPP ? S_UNSUPP : S_IOERR;
}

static void keep_stuck(struct virtio_blk *vb, struct virtio_blk_req *req)
{
    list_add(&vb->stuck, req);
    if (req->retried)
        return;
    req->retried = true;
    if (vb->nr_stuck++ == 0 && vb->on_stuck)
        vb->on_stuck(vb->opaque);
}

/* Once a second at most: a guest may try for ever. */
static void warn(struct virtio_blk *vb, int rc)
{
    uint64_t now = clock_now_ns();

    if (now < vb->quiet_until_ns)
        return;
    vb->quiet_until_ns = now + NS_PER_SEC;
    log_warn(vb->type.name, "a request of the guest failed: %s",
             strerrordesc_np(-rc));
}

static void complete_one(struct virtio_blk *vb, struct virtio_blk_req *req)
{
    if (req->rc == -ENOSPC || req->rc == -EDQUOT) {
        keep_stuck(vb, req);
        return;
    }
    if (req->rc < 0)
        warn(vb, req->rc);
    /* The host may have dropped what it could not write and forgotten about
     * it: a later flush that succeeds would be a lie. */
    if (req->rc < 0 && req->r.op == BLK_OP_FLUSH)
        vb->flush_failed = true;
    if (req->retried && --vb->nr_stuck == 0 && vb->on_stuck)
        vb->on_stuck(vb->opaque);
    *req->status = status_of(vb, req);
    gmem_written(vb->vd.gm, req->status_gpa, 1);
    answer(vb, req->q, req->head, req->in_bytes);
    free(req);
}

/* Without the pool. */
static void carried_out(struct virtio_blk *vb, struct virtio_blk_req *req)
{
    if (req->rc == 0 && req->r.op == BLK_OP_READ)
        report_data(req);
    complete_one(vb, req);
}

static void complete_all_locked(struct virtio_blk *vb)
{
    struct virtio_blk_list done;
    struct virtio_blk_req *req;
    uint32_t queues = 0;

    lock_take(&vb->pool_lock);
    done = vb->done;
    vb->done = (struct virtio_blk_list){0};
    lock_drop(&vb->pool_lock);
    if (!done.first)
        return;
    while ((req = list_take(&done))) {
        queues |= 1u << req->q;
        complete_one(vb, req);
    }
    for (unsigned q = 0; q < vb->type.nr_queues; q++)
        if (queues >> q & 1)
            virtio_notify(&vb->vd, q);
}

/* A notification holds the lock for a few microseconds: worth a moment. */
static bool complete_if_free(struct virtio_blk *vb) NO_TSA
{
    for (unsigned i = 0; i < LOCK_TRIES; i++) {
        if (lock_try(&vb->vd.lock)) {
            complete_all_locked(vb);
            lock_drop(&vb->vd.lock);
            return true;
        }
        __builtin_ia32_pause();
    }
    return false;
}

/* On a thread of the pool. */
static void request_done(struct blk_req *r, int rc)
{
    struct virtio_blk_req *req = CONTAINER_OF(r, struct virtio_blk_req, r);
    struct virtio_blk *vb = req->vb;
    bool first;

    if (rc == 0 && req->range < req->nr_ranges) {
        use_range(req);
        blkq_submit(vb->pool, r);
        return;
    }
    req->rc = rc;
    if (rc == 0 && r->op == BLK_OP_READ)
        report_data(req);
    lock_take(&vb->pool_lock);
    first = !vb->done.first;
    list_add(&vb->done, req);
    if (--vb->under_way == 0)
        (void)pthread_cond_broadcast(&vb->idle);
    lock_drop(&vb->pool_lock);
    if (first && !complete_if_free(vb))
        virtio_requeue_all(&vb->vd);
}

static void wait_idle(struct virtio_blk *vb)
{
    lock_take(&vb->pool_lock);
    while (vb->under_way)
        (void)pthread_cond_wait(&vb->idle, &vb->pool_lock.m);
    lock_drop(&vb->pool_lock);
}

void virtio_blk_drain(struct virtio_blk *vb)
{
    wait_idle(vb);
    lock_take(&vb->vd.lock);
    complete_all_locked(vb);
    lock_drop(&vb->vd.lock);
}

unsigned virtio_blk_nr_stuck(struct virtio_blk *vb)
{
    unsigned nr;

    lock_take(&vb->vd.lock);
    nr = vb->nr_stuck;
    lock_drop(&vb->vd.lock);
    return nr;
}

void virtio_blk_retry(struct virtio_blk *vb)
{
    struct virtio_blk_list stuck;
    struct virtio_blk_req *req;

    lock_take(&vb->vd.lock);
    stuck = vb->stuck;
    vb->stuck = (struct virtio_blk_list){0};
    while ((req = list_take(&stuck)))
        submit(vb, req);
    submit_batch(vb);
    lock_drop(&vb->vd.lock);
}

/* -- From the ring --- */

/* Segments [first, first + nr) of the chain in hand, without skip bytes at the
 * front and tail bytes at the back, as the data of a request. */
static void take_data(struct virtio_blk_req *req, unsigned first, unsigned nr,
                      uint64_t skip, uint64_t len)
{
    const struct virtq_chain *c = req->vb->chain;
    unsigned n = 0;

    for (unsigned i = first; i < first + nr && len; i++) {
        uint64_t part = c->iov[i].iov_len;

        if (skip >= part) {
            skip -= part;
            continue;
        }
        part -= skip;
        if (part > len)
            part = len;
        req->iov[n] =
            (struct iovec){(uint8_t *)c->iov[i].iov_base + skip, part};
        req->gpa[n++] = c->gpa[i] + skip;
        skip = 0;
        len -= part;
    }
    req->r.nr_iov = (int)n;
}

/* A request for the chain in hand with room for its data and ranges; NULL if
 * out of memory. */
static struct virtio_blk_req *new_req(struct virtio_blk *vb, unsigned q,
                                      unsigned nr_ranges)
{
    const struct virtq_chain *c = vb->chain;
    unsigned segs = c->nr_out + c->nr_in;
    unsigned last = segs - 1;
    uint64_t off = c->iov[last].iov_len - 1;
    struct virtio_blk_req *req =
        malloc(sizeof(*req) + segs * (sizeof(struct iovec) + sizeof(gpa_t)) +
               nr_ranges * sizeof(struct blk_range));

    if (!req)
        return NULL;
    *req = (struct virtio_blk_req){
        .vb = vb,
        .head = c->head,
        .q = (uint8_t)q,
        .in_bytes = c->in_bytes,
        .status = (uint8_t *)c->iov[last].iov_base + off,
        .status_gpa = c->gpa[last] + off,
        .nr_ranges = nr_ranges,
    };
    req->gpa = (gpa_t *)(void *)(req->iov + segs);
    req->ranges = (struct blk_range *)(void *)(req->gpa + segs);
    req->r.iov = req->iov;
    req->r.done = request_done;
    return req;
}

static void queue_req(struct virtio_blk *vb, unsigned q,
                      struct virtio_blk_req *req)
{
    if (!req)
        answer_now(vb, q, S_IOERR);
    else if (virtio_blk_do_now(vb, &req->r, &req->rc))
        carried_out(vb, req);
    else
        submit(vb, req);
}

/* Where count sectors from sector lie; false if not all of them on the disk. */
static bool locate(const struct virtio_blk *vb, uint64_t sector, uint64_t count,
                   uint64_t *off)
{
    if (!range_ok(sector, count, vb->capacity))
        return false;
    *off = sector << SECTOR_SHIFT;
    return true;
}

/* The cache is the guest's to flush only if it can do so (5.2.5.2). */
static bool writes_through(const struct virtio_blk *vb)
{
    return !(vb->vd.st.driver_features & BLK_F_FLUSH) || !vb->st.writeback;
}

static void start_transfer(struct virtio_blk *vb, unsigned q,
                           const struct header *h)
{
    const struct virtq_chain *c = vb->chain;
    bool in = h->type == T_IN;
    uint64_t len = in ? c->in_bytes - 1 : c->out_bytes - HDR_BYTES;
    struct virtio_blk_req *req;
    uint64_t off;

    if (len % SECTOR_SIZE || (!in && (vb->blk->flags & BLK_RDONLY)) ||
        !locate(vb, h->sector, len >> SECTOR_SHIFT, &off)) {
        answer_now(vb, q, S_IOERR);
        return;
    }
    req = new_req(vb, q, 0);
    if (req) {
        req->r.op = in ? BLK_OP_READ : BLK_OP_WRITE;
        req->r.off = off;
        req->r.flags = !in && writes_through(vb) ? BLK_FUA : 0;
        if (in)
            take_data(req, c->nr_out, c->nr_in, 0, len);
        else
            take_data(req, 0, c->nr_out, HDR_BYTES, len);
    }
    queue_req(vb, q, req);
}

static void start_flush(struct virtio_blk *vb, unsigned q)
{
    struct virtio_blk_req *req = new_req(vb, q, 0);

    if (req)
        req->r.op = BLK_OP_FLUSH;
    queue_req(vb, q, req);
}

/* S_OK and the range, or what to answer (5.2.6.2). */
static uint8_t read_range(const struct virtio_blk *vb, const struct header *h,
                          unsigned i, struct blk_range *range)
{
    uint8_t raw[RANGE_BYTES];
    uint32_t count, flags;

    (void)virtq_chain_read(vb->chain, HDR_BYTES + i * RANGE_BYTES, raw,
                           sizeof(raw));
    count = get_le32(raw + RANGE_COUNT);
    flags = get_le32(raw + RANGE_FLAGS);
    if (flags & ~(h->type == T_DISCARD ? 0u : (unsigned)RANGE_F_UNMAP))
        return S_UNSUPP;
    if (count > BLK_MAX_RANGE_SECTORS ||
        !locate(vb, get_le64(raw + RANGE_SECTOR), count, &range->off))
        return S_IOERR;
    range->len = (uint64_t)count << SECTOR_SHIFT;
    range->flags = flags & RANGE_F_UNMAP ? BLK_UNMAP : 0;
    if (h->type == T_WRITE_ZEROES && writes_through(vb))
        range->flags |= BLK_FUA;
    return S_OK;
}

static void start_ranges(struct virtio_blk *vb, unsigned q,
                         const struct header *h)
{
    uint64_t len = vb->chain->out_bytes - HDR_BYTES;
    unsigned nr = (unsigned)(len / RANGE_BYTES);
    struct virtio_blk_req *req;

    if (!len || len % RANGE_BYTES || len / RANGE_BYTES > BLK_MAX_RANGES ||
        (vb->blk->flags & BLK_RDONLY)) {
        answer_now(vb, q, S_IOERR);
        return;
    }
    req = new_req(vb, q, nr);
    for (unsigned i = 0; req && i < nr; i++) {
        uint8_t status = read_range(vb, h, i, &req->ranges[i]);

        if (status != S_OK) {
            free(req);
            answer_now(vb, q, status);
            return;
        }
    }
    if (req) {
        req->r.op = h->type == T_DISCARD ? BLK_OP_DISCARD : BLK_OP_ZERO;
        use_range(req);
    }
    queue_req(vb, q, req);
}

static void get_id(struct virtio_blk *vb, unsigned q)
{
    uint64_t len = vb->chain->in_bytes - 1;

    if (len > sizeof(vb->serial))
        len = sizeof(vb->serial);
    len = virtq_chain_write(vb->chain, 0, vb->serial, len);
    /* One segment or several: the first bytes of the chain's last part. */
    for (unsigned i = vb->chain->nr_out; len; i++) {
        uint64_t part = vb->chain->iov[i].iov_len;

        part = part < len ? part : len;
        gmem_written(vb->vd.gm, vb->chain->gpa[i], part);
        len -= part;
    }
    answer_now(vb, q, S_OK);
}

/* The chain in hand. */
static void start(struct virtio_blk *vb, unsigned q)
{
    uint64_t known = vb->vd.features;
    struct header h;
    uint8_t raw[HDR_BYTES];

    if (vb->chain->in_bytes < 1 ||
        virtq_chain_read(vb->chain, 0, raw, sizeof(raw)) < sizeof(raw)) {
        log_guest(vb->type.name, "a request without header or status");
        virtio_break(&vb->vd);
        return;
    }
    h.type = get_le32(raw + HDR_TYPE);
    h.sector = get_le64(raw + HDR_SECTOR);
    set_taken(vb, q, vb->chain->head);
    if (h.type == T_IN || h.type == T_OUT)
        start_transfer(vb, q, &h);
    else if (h.type == T_FLUSH)
        start_flush(vb, q);
    else if (h.type == T_GET_ID)
        get_id(vb, q);
    else if ((h.type == T_DISCARD && (known & BLK_F_DISCARD)) ||
             (h.type == T_WRITE_ZEROES && (known & BLK_F_WRITE_ZEROES)))
        start_ranges(vb, q, &h);
    else
        answer_now(vb, q, S_UNSUPP);
}

bool virtio_blk_queue(struct virtio_dev *vd, unsigned q)
{
    struct virtio_blk *vb = CONTAINER_OF(vd, struct virtio_blk, vd);
    struct virtq *vq = &vd->vq[q];

    complete_all_locked(vb);
    virtq_disable_kicks(vq);
    for (unsigned i = 0; i < VIRTIO_BLK_QUEUE_SIZE; i++) {
        if (!virtio_pop(vd, q, vb->chain))
            break;
        if (is_taken(vb, q, vb->chain->head)) {
            log_guest(vb->type.name, "a chain is offered twice");
            virtio_break(vd);
            break;
        }
        start(vb, q);
    }
    submit_batch(vb);
    virtio_notify(vd, q); /* what needed no pool */
    return virtq_enable_kicks(vq) && virtio_queue_is_live(vd, q);
}

/* -- Reset and load --- */

static void drop_list(struct virtio_blk *vb, struct virtio_blk_list *l,
                      unsigned q_from, unsigned q_to)
{
    struct virtio_blk_list all = *l;
    struct virtio_blk_req *req;

    *l = (struct virtio_blk_list){0};
    while ((req = list_take(&all))) {
        if (req->q < q_from || req->q >= q_to) {
            list_add(l, req);
            continue;
        }
        if (req->retried && --vb->nr_stuck == 0 && vb->on_stuck)
            vb->on_stuck(vb->opaque);
        free(req);
    }
}

/* Requests of these queues come to nothing. No new ones come meanwhile: the
 * device's lock is held. */
static void drop_reqs(struct virtio_blk *vb, unsigned q_from, unsigned q_to)
{
    wait_idle(vb);
    lock_take(&vb->pool_lock);
    drop_list(vb, &vb->done, q_from, q_to);
    lock_drop(&vb->pool_lock);
    drop_list(vb, &vb->stuck, q_from, q_to);
}

static void forget(struct virtio_blk *vb, unsigned q_from, unsigned q_to)
{
    drop_reqs(vb, q_from, q_to);
    memset(vb->st.taken[q_from], 0, sizeof(vb->st.taken[0]) * (q_to - q_from));
}

void virtio_blk_forget(struct virtio_blk *vb)
{
    forget(vb, 0, vb->type.nr_queues);
}

void virtio_blk_queue_reset(struct virtio_dev *vd, unsigned q)
{
    forget(CONTAINER_OF(vd, struct virtio_blk, vd), q, q + 1);
}

/* Queue q's part of virtio_blk_redo; false if the device is broken. */
static bool redo_queue(struct virtio_blk *vb, unsigned q)
{
    for (unsigned head = 0; head < VIRTIO_BLK_QUEUE_SIZE; head++) {
        if (!is_taken(vb, q, (uint16_t)head))
            continue;
        if (!virtio_queue_is_live(&vb->vd, q))
            return false;
        if (virtq_chain_at(&vb->vd.vq[q], (uint16_t)head, vb->chain) < 0) {
            virtio_break(&vb->vd);
            return false;
        }
        start(vb, q);
    }
    return true;
}

void virtio_blk_redo(struct virtio_blk *vb)
{
    drop_reqs(vb, 0, vb->type.nr_queues);
    for (unsigned q = 0; q < vb->type.nr_queues && redo_queue(vb, q); q++)
        virtio_notify(&vb->vd, q);
    submit_batch(vb);
}
