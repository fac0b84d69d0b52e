#include "devices/virtio/virtio.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"

/*
 * The life of a device (virtio 1.2, 3.1): reset, negotiation until
 * FEATURES_OK, queues, DRIVER_OK, and NEEDS_RESET when the driver broke a
 * rule, from which only a reset leads back.
 *
 * A notification sets a bit in kicked; whoever makes it nonzero writes the
 * eventfd. The loop takes all bits at once, so that none can be lost: a bit
 * that is set later finds zero and writes again.
 */

static const struct state_field virtio_dev_fields[] = {
    STATE_FIELD(1, STATE_U64, struct virtio_dev_state, driver_features),
    STATE_FIELD(2, STATE_U8, struct virtio_dev_state, status),
    STATE_FIELD(3, STATE_U8, struct virtio_dev_state, generation),
};

#define STATUS_OF_DRIVER                                                       \
    (VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER |                        \
     VIRTIO_STATUS_DRIVER_OK | VIRTIO_STATUS_FEATURES_OK |                     \
     VIRTIO_STATUS_FAILED)

static int virtio_dev_check(const void *state)
{
    const struct virtio_dev_state *st = state;

    return st->status & ~(STATUS_OF_DRIVER | VIRTIO_STATUS_NEEDS_RESET)
               ? -EINVAL
               : 0;
}

const struct state_desc virtio_dev_state_desc = {
    .name = "virtio-dev",
    .version = 1,
    STATE_LAYOUT(struct virtio_dev_state, virtio_dev_fields),
    .check = virtio_dev_check,
};

const struct device_class virtio_dev_class = {
    .state = &virtio_dev_state_desc,
    .state_off = offsetof(struct virtio_dev, st),
};

/* -- Queues --- */

bool virtio_queue_is_live(const struct virtio_dev *vd, unsigned q)
{
    const struct virtio_transport *t = &vd->transport;

    return (vd->st.status & VIRTIO_STATUS_DRIVER_OK) &&
           !(vd->st.status & VIRTIO_STATUS_NEEDS_RESET) &&
           vd->vq[q].st.enabled && !vd->vq[q].broken &&
           (!t->can_dma || t->can_dma(t->opaque));
}

bool virtio_pop(struct virtio_dev *vd, unsigned q, struct virtq_chain *chain)
{
    int rc = virtq_pop(&vd->vq[q], chain);

    if (rc < 0)
        virtio_break(vd);
    return rc > 0;
}

void virtio_notify(struct virtio_dev *vd, unsigned q)
{
    if (virtq_should_notify(&vd->vq[q]) && vd->transport.used)
        vd->transport.used(vd->transport.opaque, q);
}

static void wake_loop(struct virtio_dev *vd, uint32_t queues)
{
    uint64_t one = 1;

    /* Release: pairs with the exchange in virtio_dev_run. */
    if (atomic_fetch_or_explicit(&vd->kicked, queues, memory_order_release) ||
        vd->kick_fd < 0)
        return;
    /* It can only fail when its counter is full, and then it is readable. */
    (void)!write(vd->kick_fd, &one, sizeof(one));
}

void virtio_requeue(struct virtio_dev *vd, unsigned q)
{
    wake_loop(vd, 1u << q);
}

void virtio_requeue_all(struct virtio_dev *vd)
{
    wake_loop(vd, (1u << vd->type->nr_queues) - 1);
}

static void run_queue_locked(struct virtio_dev *vd, unsigned q)
{
    if (virtio_queue_is_live(vd, q) && vd->type->queue(vd, q))
        virtio_requeue(vd, q);
}

void virtio_dev_run(struct virtio_dev *vd)
{
    uint32_t queues;

    lock_take(&vd->lock);
    queues = atomic_exchange_explicit(&vd->kicked, 0, memory_order_acquire);
    for (unsigned q = 0; q < vd->type->nr_queues; q++)
        if (queues >> q & 1)
            run_queue_locked(vd, q);
    lock_drop(&vd->lock);
}

static void kicked(void *opaque, int fd, uint32_t events)
{
    uint64_t count;

    (void)events;
    /* Nothing to read is no reason not to look. */
    (void)!read(fd, &count, sizeof(count));
    virtio_dev_run(opaque);
}

void virtio_kick(struct virtio_dev *vd, unsigned q)
{
    if (q >= vd->type->nr_queues)
        return;
    if (!vd->type->inline_kick) {
        virtio_requeue(vd, q);
        return;
    }
    lock_take(&vd->lock);
    run_queue_locked(vd, q);
    lock_drop(&vd->lock);
}

void virtio_enable_queue(struct virtio_dev *vd, unsigned q)
{
    uint64_t f = vd->st.driver_features;

    assert(q < vd->type->nr_queues);
    if (vd->vq[q].st.enabled || !(vd->st.status & VIRTIO_STATUS_FEATURES_OK))
        return;
    if (virtq_enable(&vd->vq[q], (f & VIRTIO_F_EVENT_IDX) != 0,
                     (f & VIRTIO_F_INDIRECT_DESC) != 0) < 0)
        virtio_break(vd);
}

void virtio_reset_queue(struct virtio_dev *vd, unsigned q)
{
    assert(q < vd->type->nr_queues);
    if (!(vd->st.driver_features & VIRTIO_F_RING_RESET))
        return;
    if (vd->type->queue_reset)
        vd->type->queue_reset(vd, q);
    virtq_reset(&vd->vq[q]);
}

/* -- Status and features --- */

void virtio_config_changed(struct virtio_dev *vd)
{
    vd->st.generation++;
    if ((vd->st.status & VIRTIO_STATUS_DRIVER_OK) &&
        vd->transport.config_changed)
        vd->transport.config_changed(vd->transport.opaque);
}

void virtio_break(struct virtio_dev *vd)
{
    if (vd->st.status & VIRTIO_STATUS_NEEDS_RESET)
        return;
    log_guest(vd->type->name, "the driver broke a rule: needs reset");
    vd->st.status |= VIRTIO_STATUS_NEEDS_RESET;
    /* 2.1.2: only a running driver is told */
    if ((vd->st.status & VIRTIO_STATUS_DRIVER_OK) &&
        vd->transport.config_changed)
        vd->transport.config_changed(vd->transport.opaque);
}

static void reset_locked(struct virtio_dev *vd)
{
    if (vd->type->reset)
        vd->type->reset(vd);
    for (unsigned q = 0; q < vd->type->nr_queues; q++)
        virtq_reset(&vd->vq[q]);
    vd->st = (struct virtio_dev_state){0};
}

static bool features_are_fine(const struct virtio_dev *vd)
{
    return !(vd->st.driver_features & ~vd->features) &&
           (vd->st.driver_features & VIRTIO_F_VERSION_1);
}

void virtio_set_status(struct virtio_dev *vd, uint8_t status)
{
    uint8_t set;

    if (status == 0) {
        reset_locked(vd);
        return;
    }
    /* 2.1.1: bits are never cleared but by a reset; NEEDS_RESET is ours. */
    set = (uint8_t)(status & STATUS_OF_DRIVER & ~vd->st.status);
    if ((set & VIRTIO_STATUS_FEATURES_OK) && !features_are_fine(vd)) {
        log_guest(vd->type->name, "features 0x%llx are not acceptable",
                  (unsigned long long)vd->st.driver_features);
        set &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK;
    }
    if (!((vd->st.status | set) & VIRTIO_STATUS_FEATURES_OK))
        set &= (uint8_t)~VIRTIO_STATUS_DRIVER_OK; /* 3.1.1: in this order */
    vd->st.status |= set;
    if (!(set & VIRTIO_STATUS_DRIVER_OK))
        return;
    if (vd->type->started)
        vd->type->started(vd);
    /* Buffers may have been offered before; they were not to be touched. */
    virtio_requeue_all(vd);
}

static uint32_t half(uint64_t features, uint32_t select)
{
    return select < 2 ? (uint32_t)(features >> (32 * select)) : 0;
}

uint32_t virtio_get_features(const struct virtio_dev *vd, uint32_t select)
{
    return half(vd->features, select);
}

uint32_t virtio_get_driver_features(const struct virtio_dev *vd,
                                    uint32_t select)
{
    return half(vd->st.driver_features, select);
}

void virtio_set_driver_features(struct virtio_dev *vd, uint32_t select,
                                uint32_t val)
{
    unsigned shift = 32 * (select & 1);

    if (select > 1 || (vd->st.status & VIRTIO_STATUS_FEATURES_OK))
        return;
    vd->st.driver_features &= ~((uint64_t)UINT32_MAX << shift);
    vd->st.driver_features |= (uint64_t)val << shift;
}

/* -- Configuration space --- */

static bool config_fits(const struct virtio_dev *vd, uint64_t off, unsigned len)
{
    return off <= vd->type->config_size && len <= vd->type->config_size - off;
}

void virtio_config_read(struct virtio_dev *vd, uint64_t off, void *dst,
                        unsigned len)
{
    memset(dst, 0, len);
    if (vd->type->config_read && config_fits(vd, off, len))
        vd->type->config_read(vd, (uint32_t)off, dst, len);
}

void virtio_config_write(struct virtio_dev *vd, uint64_t off, const void *src,
                         unsigned len)
{
    if (vd->type->config_write && config_fits(vd, off, len))
        vd->type->config_write(vd, (uint32_t)off, src, len);
}

/* -- Set-up --- */

static int init_kick_fd(struct virtio_dev *vd, struct err *err)
{
    int rc;

    vd->kick_fd = -1;
    if (!vd->loop)
        return 0;
    vd->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (vd->kick_fd < 0)
        return err_sys(err, "create the event of %s", vd->type->name);
    rc = loop_add_fd(vd->loop, vd->kick_fd, EPOLLIN, kicked, vd);
    if (rc < 0) {
        (void)close(vd->kick_fd);
        return err_set(err, rc, "watch the event of %s: %s", vd->type->name,
                       strerrordesc_np(-rc));
    }
    return 0;
}

int virtio_dev_init(struct virtio_dev *vd, const struct virtio_type *type,
                    const struct virtio_env *env, uint64_t features,
                    struct err *err)
{
    int rc;

    assert(type->nr_queues >= 1 && type->nr_queues <= VIRTIO_MAX_QUEUES);
    memset(vd, 0, sizeof(*vd));
    vd->type = type;
    vd->gm = env->gm;
    vd->loop = env->loop;
    vd->features = VIRTIO_COMMON_FEATURES | type->features | features;
    for (unsigned q = 0; q < type->nr_queues; q++)
        virtq_init(&vd->vq[q], type->name, env->gm, type->queue_size);
    rc = init_kick_fd(vd, err);
    if (rc < 0)
        return rc;
    lock_init_ranked(&vd->lock, LOCK_RANK_DEVICE);
    return 0;
}

void virtio_dev_fini(struct virtio_dev *vd)
{
    if (vd->kick_fd >= 0) {
        loop_del_fd(vd->loop, vd->kick_fd);
        (void)close(vd->kick_fd);
    }
    lock_fini(&vd->lock);
}

void virtio_dev_reset(struct virtio_dev *vd)
{
    lock_take(&vd->lock);
    reset_locked(vd);
    lock_drop(&vd->lock);
}

void virtio_dev_loaded(struct virtio_dev *vd)
{
    uint64_t f = vd->st.driver_features;

    lock_take(&vd->lock);
    if ((vd->st.status & VIRTIO_STATUS_FEATURES_OK) && !features_are_fine(vd))
        virtio_break(vd);
    for (unsigned q = 0; q < vd->type->nr_queues; q++) {
        vd->vq[q].broken = false;
        if (vd->vq[q].st.enabled &&
            virtq_enable(&vd->vq[q], (f & VIRTIO_F_EVENT_IDX) != 0,
                         (f & VIRTIO_F_INDIRECT_DESC) != 0) < 0)
            virtio_break(vd);
    }
    if (vd->type->loaded)
        vd->type->loaded(vd);
    lock_drop(&vd->lock);
    virtio_requeue_all(vd);
}
