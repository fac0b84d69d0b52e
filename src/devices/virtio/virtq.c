#include "devices/virtio/virtq.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/log.h"

/*
 * Split virtqueue, device side (virtio 1.2, 2.7). The three areas lie in guest
 * RAM, found once when the queue is enabled (banks never move). Indices are
 * read and written with the barriers of 2.7.13 and 2.7.14; each says what it
 * pairs with in the driver.
 */

enum {
    DESC_F_NEXT = 1,
    DESC_F_WRITE = 2,
    DESC_F_INDIRECT = 4,
    AVAIL_F_NO_INTERRUPT = 1,
    USED_F_NO_NOTIFY = 1,
    /* offsets in both rings: flags, idx, entries, then the event index */
    RING_FLAGS = 0,
    RING_IDX = 2,
    RING_ENTRIES = 4,
    AVAIL_ENTRY = 2,
    USED_ENTRY = 8
};

/* 2.7.5 */
struct virtq_desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags;
    uint16_t next;
};

/* 2.7.8 */
struct virtq_used_elem {
    uint32_t id;
    uint32_t len;
};

_Static_assert(sizeof(struct virtq_desc) == 16, "as in the guest");
_Static_assert(sizeof(struct virtq_used_elem) == USED_ENTRY, "as in the guest");

static const struct state_field virtq_fields[] = {
    STATE_FIELD(1, STATE_U64, struct virtq_state, desc),
    STATE_FIELD(2, STATE_U64, struct virtq_state, avail),
    STATE_FIELD(3, STATE_U64, struct virtq_state, used),
    STATE_FIELD(4, STATE_U16, struct virtq_state, size),
    STATE_FIELD(5, STATE_U16, struct virtq_state, enabled),
    STATE_FIELD(6, STATE_U16, struct virtq_state, msix_vector),
    STATE_FIELD(7, STATE_U16, struct virtq_state, next_avail),
    STATE_FIELD(8, STATE_U16, struct virtq_state, next_used),
    STATE_FIELD(9, STATE_U16, struct virtq_state, signalled),
};

/* The areas and the size of an enabled queue are virtq_enable's to check. */
static int virtq_check(const void *state)
{
    const struct virtq_state *st = state;

    return st->enabled <= 1 && st->size <= VIRTQ_MAX_SIZE ? 0 : -EINVAL;
}

const struct state_desc virtq_state_desc = {
    .name = "virtq",
    .version = 1,
    STATE_LAYOUT(struct virtq_state, virtq_fields),
    .check = virtq_check,
};

const struct device_class virtq_class = {
    .state = &virtq_state_desc,
    .state_off = offsetof(struct virtq, st),
};

/* The driver broke a rule. */
static int fail(struct virtq *vq, const char *what)
{
    vq->broken = true;
    log_guest(vq->name, "%s", what);
    return -EINVAL;
}

/* -- Ring words --- */

static uint16_t load16(const uint8_t *p, int order)
{
    /* the areas' alignment was checked: 2 bytes at least */
    const uint16_t *word = (const void *)p;

    if (order == __ATOMIC_ACQUIRE)
        return __atomic_load_n(word, __ATOMIC_ACQUIRE);
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static void store16(const struct virtq *vq, size_t off, uint16_t val)
{
    uint16_t *word = (void *)(vq->h_used + off);

    /* Release: pairs with the driver's barrier between reading the used index
     * and the entries (2.7.14). The two other words need no order here. */
    __atomic_store_n(word, val, __ATOMIC_RELEASE);
    gmem_written(vq->gm, vq->st.used + off, sizeof(val));
}

/* Stores before it are seen before loads behind it are done. Not an atomic
 * fence: the thread sanitizer does not know those, and warns. */
static void full_barrier(void)
{
    __asm__ volatile("lock; orl $0, (%%rsp)" ::: "memory", "cc");
}

static uint16_t avail_idx(const struct virtq *vq)
{
    /* Acquire: pairs with the driver's barrier between filling the ring and
     * moving the index (2.7.13.3). */
    return load16(vq->h_avail + RING_IDX, __ATOMIC_ACQUIRE);
}

static size_t avail_bytes(const struct virtq *vq)
{
    return RING_ENTRIES + AVAIL_ENTRY * (size_t)vq->st.size;
}

static size_t used_bytes(const struct virtq *vq)
{
    return RING_ENTRIES + USED_ENTRY * (size_t)vq->st.size;
}

/* -- Life cycle --- */

void virtq_init(struct virtq *vq, const char *name, const struct gmem *gm,
                uint16_t max_size)
{
    assert(max_size && max_size <= VIRTQ_MAX_SIZE &&
           (max_size & (max_size - 1)) == 0);
    memset(vq, 0, sizeof(*vq));
    vq->name = name;
    vq->gm = gm;
    vq->max_size = max_size;
    virtq_reset(vq);
}

void virtq_reset(struct virtq *vq)
{
    vq->st = (struct virtq_state){.size = vq->max_size,
                                  .msix_vector = VIRTIO_NO_VECTOR};
    vq->broken = false;
    vq->h_desc = NULL;
    vq->h_avail = NULL;
    vq->h_used = NULL;
}

static bool size_is_fine(const struct virtq *vq, uint16_t size)
{
    return size && size <= vq->max_size && (size & (size - 1)) == 0;
}

void virtq_set_size(struct virtq *vq, uint16_t size)
{
    if (size_is_fine(vq, size))
        vq->st.size = size;
    else
        log_guest(vq->name, "%u entries are refused", size);
}

/* Host address of an area, or NULL; align is that of 2.7's table. */
static uint8_t *area(const struct virtq *vq, gpa_t gpa, size_t len,
                     unsigned align, bool writable)
{
    const struct gmem_bank *b = gmem_bank(vq->gm, gpa, len);

    if (!b || (gpa & (align - 1)) || (writable && b->readonly))
        return NULL;
    return b->hva + (gpa - b->start);
}

int virtq_enable(struct virtq *vq, bool event_idx, bool indirect)
{
    uint16_t size = vq->st.size;
    const size_t event = sizeof(uint16_t);

    vq->st.enabled = 0;
    vq->event_idx = event_idx;
    vq->indirect = indirect;
    if (!size_is_fine(vq, size))
        return fail(vq, "the queue's size is not a power of two in range");
    vq->h_desc =
        area(vq, vq->st.desc, sizeof(struct virtq_desc) * size, 16, false);
    vq->h_avail = area(vq, vq->st.avail, avail_bytes(vq) + event, 2, false);
    vq->h_used = area(vq, vq->st.used, used_bytes(vq) + event, 4, true);
    if (!vq->h_desc || !vq->h_avail || !vq->h_used)
        return fail(vq, "an area of the queue is not aligned or not in RAM");
    vq->st.enabled = 1;
    return 0;
}

/* -- Taking chains --- */

/* Add [gpa, gpa + len) to c as one segment per bank. */
static int add_buffer(struct virtq *vq, struct virtq_chain *c, gpa_t gpa,
                      uint32_t len, bool writable)
{
    while (len) {
        const struct gmem_bank *b = gmem_bank(vq->gm, gpa, 1);
        unsigned seg = c->nr_out + c->nr_in;
        uint64_t part = len;

        if (!b || (writable && b->readonly))
            return fail(vq, "a buffer is not in RAM");
        if (seg == VIRTQ_MAX_SEGS)
            return fail(vq, "a chain has too many buffers");
        if (part > b->size - (gpa - b->start))
            part = b->size - (gpa - b->start);
        c->iov[seg].iov_base = b->hva + (gpa - b->start);
        c->iov[seg].iov_len = part;
        c->gpa[seg] = gpa;
        if (writable) {
            c->nr_in++;
            c->in_bytes += part;
        } else {
            c->nr_out++;
            c->out_bytes += part;
        }
        gpa += part; /* cannot wrap: a bank ends below 2^64 */
        len -= (uint32_t)part;
    }
    return 0;
}

static int add_desc(struct virtq *vq, struct virtq_chain *c,
                    const struct virtq_desc *d)
{
    bool writable = (d->flags & DESC_F_WRITE) != 0;
    int rc;

    if (!writable && c->nr_in) /* 2.7.4.2 */
        return fail(vq, "a readable buffer follows a writable one");
    rc = add_buffer(vq, c, d->addr, d->len, writable);
    if (rc == 0 && c->out_bytes + c->in_bytes > (uint64_t)1 << 32)
        rc = fail(vq, "a chain is longer than 4 GiB"); /* 2.7.5.2 */
    return rc;
}

/* A table of descriptors: the queue's own, or an indirect one. */
struct table {
    const uint8_t *hva;
    uint32_t nr;
    bool indirect;
};

static int enter_indirect(struct virtq *vq, struct table *t,
                          const struct virtq_desc *d)
{
    if (!vq->indirect || t->indirect || (d->flags & DESC_F_NEXT))
        return fail(vq, "an indirect descriptor where none may be");
    if (d->len == 0 || d->len % sizeof(*d))
        return fail(vq, "an indirect table of a wrong length");
    t->hva = gmem_hva(vq->gm, d->addr, d->len);
    if (!t->hva)
        return fail(vq, "an indirect table is not in RAM");
    t->nr = d->len / (uint32_t)sizeof(*d);
    t->indirect = true;
    return 0;
}

/*
 * Collect the chain at head. A chain has at most as many descriptors as the
 * queue (2.7.5.2), an indirect one not counting itself, so a loop ends there.
 */
static int walk(struct virtq *vq, uint16_t head, struct virtq_chain *c)
{
    struct table t = {.hva = vq->h_desc, .nr = vq->st.size};
    struct virtq_desc d;
    uint32_t idx = head;
    unsigned left = vq->st.size;
    int rc;

    for (;;) {
        if (idx >= t.nr)
            return fail(vq, "a descriptor's index is out of range");
        memcpy(&d, t.hva + idx * sizeof(d), sizeof(d));
        /* The guest may change it: no second read by the compiler. */
        __asm__ volatile("" ::: "memory");
        if (d.flags & DESC_F_INDIRECT) {
            rc = enter_indirect(vq, &t, &d);
            if (rc < 0)
                return rc;
            idx = 0;
            continue;
        }
        if (left-- == 0)
            return fail(vq, "a chain is longer than its queue");
        rc = add_desc(vq, c, &d);
        if (rc < 0 || !(d.flags & DESC_F_NEXT))
            return rc;
        idx = d.next;
    }
}

bool virtq_has_avail(const struct virtq *vq)
{
    return vq->st.enabled && !vq->broken && avail_idx(vq) != vq->st.next_avail;
}

/* The chain at head from its beginning. */
static int collect(struct virtq *vq, uint16_t head, struct virtq_chain *chain)
{
    chain->head = head;
    chain->nr_out = 0;
    chain->nr_in = 0;
    chain->out_bytes = 0;
    chain->in_bytes = 0;
    return walk(vq, head, chain);
}

int virtq_pop(struct virtq *vq, struct virtq_chain *chain)
{
    uint16_t nr;
    size_t slot;
    int rc;

    if (!vq->st.enabled || vq->broken)
        return 0;
    nr = (uint16_t)(avail_idx(vq) - vq->st.next_avail);
    if (nr == 0)
        return 0;
    if (nr > vq->st.size)
        return fail(vq, "more buffers than the queue has entries");
    slot = vq->st.next_avail & (vq->st.size - 1u);
    rc = collect(vq,
                 load16(vq->h_avail + RING_ENTRIES + AVAIL_ENTRY * slot,
                        __ATOMIC_RELAXED),
                 chain);
    if (rc < 0)
        return rc;
    vq->st.next_avail++;
    return 1;
}

int virtq_chain_at(struct virtq *vq, uint16_t head, struct virtq_chain *chain)
{
    int rc;

    if (!vq->st.enabled || vq->broken)
        return -EINVAL;
    rc = collect(vq, head, chain);
    return rc < 0 ? rc : 1;
}

void virtq_unpop(struct virtq *vq)
{
    vq->st.next_avail--;
}

/* -- Giving them back --- */

static void report_written(const struct virtq *vq,
                           const struct virtq_chain *chain, uint64_t written)
{
    for (unsigned i = chain->nr_out; written; i++) {
        uint64_t len = chain->iov[i].iov_len;

        if (len > written)
            len = written;
        gmem_written(vq->gm, chain->gpa[i], len);
        written -= len;
    }
}

static void put_used(struct virtq *vq, unsigned n, uint16_t head,
                     uint64_t written)
{
    struct virtq_used_elem elem = {head, (uint32_t)written};
    size_t slot = (vq->st.next_used + n) & (vq->st.size - 1u);
    size_t off = RING_ENTRIES + USED_ENTRY * slot;

    if (written > UINT32_MAX)
        elem.len = UINT32_MAX;
    memcpy(vq->h_used + off, &elem, sizeof(elem));
    gmem_written(vq->gm, vq->st.used + off, sizeof(elem));
}

void virtq_publish(struct virtq *vq, unsigned nr)
{
    if (!vq->st.enabled || vq->broken)
        return;
    vq->st.next_used = (uint16_t)(vq->st.next_used + nr);
    store16(vq, RING_IDX, vq->st.next_used);
}

void virtq_put(struct virtq *vq, unsigned n, const struct virtq_chain *chain,
               uint64_t written)
{
    assert(written <= chain->in_bytes);
    if (!vq->st.enabled || vq->broken)
        return;
    report_written(vq, chain, written);
    put_used(vq, n, chain->head, written);
}

void virtq_push_head(struct virtq *vq, uint16_t head, uint64_t written)
{
    if (!vq->st.enabled || vq->broken)
        return;
    put_used(vq, 0, head, written);
    virtq_publish(vq, 1);
}

void virtq_push(struct virtq *vq, const struct virtq_chain *chain,
                uint64_t written)
{
    virtq_put(vq, 0, chain, written);
    virtq_publish(vq, 1);
}

bool virtq_should_notify(struct virtq *vq)
{
    uint16_t old = vq->st.signalled;
    uint16_t new = vq->st.next_used;
    uint16_t event;

    if (!vq->st.enabled || vq->broken || new == old)
        return false;
    vq->st.signalled = new;
    /* The used index before the driver's wish: pairs with its barrier between
     * asking for notifications and looking at the index again (2.7.14). */
    full_barrier();
    if (!vq->event_idx)
        return !(load16(vq->h_avail + RING_FLAGS, __ATOMIC_RELAXED) &
                 AVAIL_F_NO_INTERRUPT);
    event = load16(vq->h_avail + avail_bytes(vq), __ATOMIC_RELAXED);
    /* 2.7.7.2: was entry number event among those from old up to new? */
    return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

void virtq_disable_kicks(struct virtq *vq)
{
    /* With event indices an old one does it: no write at all. */
    if (vq->st.enabled && !vq->broken && !vq->event_idx)
        store16(vq, RING_FLAGS, USED_F_NO_NOTIFY);
}

bool virtq_enable_kicks(struct virtq *vq)
{
    if (!vq->st.enabled || vq->broken)
        return false;
    if (vq->event_idx)
        store16(vq, used_bytes(vq), vq->st.next_avail);
    else
        store16(vq, RING_FLAGS, 0);
    /* Our wish before the available index: pairs with the driver's barrier
     * between moving the index and looking at the wish (2.7.13.4.1). */
    full_barrier();
    return virtq_has_avail(vq);
}

/* -- Bytes --- */

/* A place in a row of segments. */
struct cursor {
    const struct iovec *iov; /* nr of them are left */
    unsigned nr;
    uint64_t off; /* from the start of the first */
};

/* The next bytes that lie together, max at most: *p is where. 0 = no more. */
static size_t advance(struct cursor *cur, size_t max, uint8_t **p)
{
    size_t part;

    while (cur->nr && cur->off >= cur->iov->iov_len) {
        cur->off -= cur->iov->iov_len;
        cur->iov++;
        cur->nr--;
    }
    if (!cur->nr)
        return 0;
    part = cur->iov->iov_len - (size_t)cur->off;
    if (part > max)
        part = max;
    *p = (uint8_t *)cur->iov->iov_base + cur->off;
    cur->off += part;
    return part;
}

size_t virtq_chain_read(const struct virtq_chain *chain, uint64_t off,
                        void *dst, size_t len)
{
    struct cursor cur = {chain->iov, chain->nr_out, off};
    size_t done = 0;

    while (done < len) {
        uint8_t *p;
        size_t part = advance(&cur, len - done, &p);

        if (part == 0)
            break;
        memcpy((uint8_t *)dst + done, p, part);
        done += part;
    }
    return done;
}

size_t virtq_chain_write(const struct virtq_chain *chain, uint64_t off,
                         const void *src, size_t len)
{
    struct cursor cur = {chain->iov + chain->nr_out, chain->nr_in, off};
    size_t done = 0;

    while (done < len) {
        uint8_t *p;
        size_t part = advance(&cur, len - done, &p);

        if (part == 0)
            break;
        memcpy(p, (const uint8_t *)src + done, part);
        done += part;
    }
    return done;
}
