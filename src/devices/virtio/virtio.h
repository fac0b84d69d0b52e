#ifndef HUSK_DEVICES_VIRTIO_VIRTIO_H
#define HUSK_DEVICES_VIRTIO_VIRTIO_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "base/lock.h"
#include "devices/device.h"
#include "devices/virtio/virtq.h"
#include "event/loop.h"
#include "mem/gmem.h"
#include "state/desc.h"

/*
 * What all virtio devices share, whatever the transport (virtio 1.2, 2 and
 * 3): status, features, queues, and the way from a driver's notification to
 * the device's code. A device type is a const struct; a transport drives the
 * device through the functions at the end.
 *
 * Locks: virtio_dev.lock is held around every call of a type's functions;
 * code of the device that runs elsewhere (a back end's completion) takes it.
 * Below it come only pci's irq locks, interrupt controllers and the loop.
 */

enum { VIRTIO_MAX_QUEUES = 16 };

enum virtio_id {
    VIRTIO_ID_NET = 1,
    VIRTIO_ID_BLK = 2,
    VIRTIO_ID_CONSOLE = 3,
    VIRTIO_ID_RNG = 4
};

#define VIRTIO_F_INDIRECT_DESC ((uint64_t)1 << 28)
#define VIRTIO_F_EVENT_IDX     ((uint64_t)1 << 29)
#define VIRTIO_F_VERSION_1     ((uint64_t)1 << 32)
#define VIRTIO_F_RING_RESET    ((uint64_t)1 << 40)

/* What every husk device offers. */
#define VIRTIO_COMMON_FEATURES                                                 \
    (VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VIRTIO_F_VERSION_1 |        \
     VIRTIO_F_RING_RESET)

/* Device status (virtio 1.2, 2.1). */
#define VIRTIO_STATUS_ACKNOWLEDGE 0x01u
#define VIRTIO_STATUS_DRIVER      0x02u
#define VIRTIO_STATUS_DRIVER_OK   0x04u
#define VIRTIO_STATUS_FEATURES_OK 0x08u
#define VIRTIO_STATUS_NEEDS_RESET 0x40u
#define VIRTIO_STATUS_FAILED      0x80u

struct virtio_dev;

struct virtio_type {
    const char *name;
    uint16_t id;         /* enum virtio_id */
    uint32_t pci_class;  /* base class << 16 | subclass << 8 | interface */
    uint64_t features;   /* of the type; the common ones are added */
    unsigned nr_queues;  /* 1..VIRTIO_MAX_QUEUES */
    uint16_t queue_size; /* largest size of each, a power of two */
    uint32_t config_size;
    /* The vCPU's thread runs queue() within the notification. Otherwise the
     * event loop does, soon. Only for what never waits. */
    bool inline_kick;

    /* [off, off + len) lies within config_size, len is 1, 2 or 4. NULL: reads
     * zero, ignores writes. */
    void (*config_read)(struct virtio_dev *vd, uint32_t off, void *dst,
                        unsigned len);
    void (*config_write)(struct virtio_dev *vd, uint32_t off, const void *src,
                         unsigned len);
    /* The driver accepted features and said DRIVER_OK. May be NULL. */
    void (*started)(struct virtio_dev *vd);
    /*
     * The driver notified queue q, which is enabled; the driver is running.
     * Returns true to be called again soon, on the loop's thread (a fair
     * share was done and more may wait).
     */
    bool (*queue)(struct virtio_dev *vd, unsigned q);
    /* Forget everything of queue q: when it returns, nothing touches its
     * buffers any more. May be NULL. */
    void (*queue_reset)(struct virtio_dev *vd, unsigned q);
    /* The same for all queues and the device. May be NULL. */
    void (*reset)(struct virtio_dev *vd);
    /* The device's state was loaded from a snapshot. May be NULL. */
    void (*loaded)(struct virtio_dev *vd);
};

struct virtio_dev_state {
    uint64_t driver_features;
    uint8_t status;
    uint8_t generation; /* of the configuration space */
};

extern const struct state_desc virtio_dev_state_desc;
/* Reset and loaded with its transport. */
extern const struct device_class virtio_dev_class;

/* How a device reaches its driver: filled by the transport. */
struct virtio_transport {
    /* queue q has used buffers for the driver to look at */
    void (*used)(void *opaque, unsigned q);
    /* the configuration changed, or NEEDS_RESET was set */
    void (*config_changed)(void *opaque);
    /* whether guest memory may be touched; NULL = always */
    bool (*can_dma)(void *opaque);
    void *opaque;
};

/* What a device needs of the machine; all borrowed. */
struct virtio_env {
    const struct gmem *gm;
    struct loop *loop; /* NULL: the owner calls virtio_dev_run (tests) */
};

/* Embedded in the device, as its first member. */
struct virtio_dev {
    struct virtio_dev_state st;
    struct lock lock;
    const struct virtio_type *type;
    const struct gmem *gm;
    struct loop *loop;
    struct virtio_transport transport;
    uint64_t features; /* offered */
    struct virtq vq[VIRTIO_MAX_QUEUES];
    _Atomic uint32_t kicked; /* queues that the loop shall look at */
    int kick_fd;             /* eventfd: kicked became nonzero */
};

/* Set up a device in power-on state; features are added to the type's. */
MUST_CHECK int virtio_dev_init(struct virtio_dev *vd,
                               const struct virtio_type *type,
                               const struct virtio_env *env, uint64_t features,
                               struct err *err);
/* On the loop's thread or when it does not run; vCPUs have stopped. */
void virtio_dev_fini(struct virtio_dev *vd);
/* Power-on state, as if the driver had written 0 to the status. Takes the
 * lock. */
void virtio_dev_reset(struct virtio_dev *vd);
/* Handle the notifications that wait: what the loop does. Takes the lock. */
void virtio_dev_run(struct virtio_dev *vd);
/* After st and each vq[].st were loaded from a snapshot (the machine is
 * paused): looks at all queues once more. Forged values break the device. */
void virtio_dev_loaded(struct virtio_dev *vd);

/* -- For devices; the lock is held --- */

/* Whether queue q may be used: DRIVER_OK, enabled, not broken. */
bool virtio_queue_is_live(const struct virtio_dev *vd, unsigned q);
/* Take queue q's next chain, or return false if there is none; where the
 * driver broke a rule, the device is broken. */
MUST_CHECK bool virtio_pop(struct virtio_dev *vd, unsigned q,
                           struct virtq_chain *chain);
/* Tell the driver about pushed buffers if it wants to know. */
void virtio_notify(struct virtio_dev *vd, unsigned q);
void virtio_config_changed(struct virtio_dev *vd);
/* The driver broke a rule: set NEEDS_RESET and tell it. */
void virtio_break(struct virtio_dev *vd);
/* Have type->queue called on the loop's thread soon, for q or for all. Any
 * thread, with or without the lock. */
void virtio_requeue(struct virtio_dev *vd, unsigned q);
void virtio_requeue_all(struct virtio_dev *vd);

/* -- For transports --- */

/* The driver's notification. Any thread, without the lock. */
void virtio_kick(struct virtio_dev *vd, unsigned q);
/* The rest with the lock held. */
void virtio_set_status(struct virtio_dev *vd, uint8_t status);
/* Bits 32 * select .. 32 * select + 31. */
uint32_t virtio_get_features(const struct virtio_dev *vd, uint32_t select);
uint32_t virtio_get_driver_features(const struct virtio_dev *vd,
                                    uint32_t select);
void virtio_set_driver_features(struct virtio_dev *vd, uint32_t select,
                                uint32_t val);
void virtio_enable_queue(struct virtio_dev *vd, unsigned q);
void virtio_reset_queue(struct virtio_dev *vd, unsigned q);
void virtio_config_read(struct virtio_dev *vd, uint64_t off, void *dst,
                        unsigned len);
void virtio_config_write(struct virtio_dev *vd, uint64_t off, const void *src,
                         unsigned len);

#endif
