#ifndef HUSK_DEVICES_VIRTIO_VIRTQ_H
#define HUSK_DEVICES_VIRTIO_VIRTQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/compiler.h"
#include "devices/device.h"
#include "mem/gmem.h"
#include "state/desc.h"

/*
 * The device's side of a split virtqueue (virtio 1.2, 2.7), with indirect
 * descriptors and both ways of notification suppression. All that is read
 * from the rings is the driver's: indices are checked, a walk ends after as
 * many steps as the queue is long, and each descriptor is copied once.
 *
 * Locks: none of its own; the device's lock is held around every call.
 */

enum {
    VIRTQ_MAX_SIZE = 256,
    /* One per descriptor, and one more wherever a buffer crosses banks. */
    VIRTQ_MAX_SEGS = VIRTQ_MAX_SIZE + GMEM_MAX_BANKS
};

/* msix_vector: none (virtio 1.2, 4.1.4.3). */
#define VIRTIO_NO_VECTOR 0xffffu

struct virtq_state {
    gpa_t desc, avail, used; /* descriptor area, driver area, device area */
    uint16_t size;           /* entries, a power of two */
    uint16_t enabled;
    uint16_t msix_vector;
    uint16_t next_avail; /* the entry of the available ring that comes next */
    uint16_t next_used;
    uint16_t signalled; /* next_used at the last virtq_should_notify */
};

extern const struct state_desc virtq_state_desc;
/* Reset and loaded with its device. */
extern const struct device_class virtq_class;

struct virtq {
    struct virtq_state st;
    const struct gmem *gm;
    const char *name;      /* for logs */
    uint16_t max_size;     /* what the device offers, a power of two */
    bool event_idx;        /* VIRTIO_F_EVENT_IDX was negotiated */
    bool indirect;         /* VIRTIO_F_INDIRECT_DESC was negotiated */
    bool broken;           /* the driver broke a rule: stopped until reset */
    const uint8_t *h_desc; /* host addresses of the areas while enabled */
    const uint8_t *h_avail;
    uint8_t *h_used;
};

/*
 * A chain of buffers: nr_out segments that the device reads, then nr_in
 * that it writes. The host addresses stay valid; the bytes behind them may be
 * changed by the guest at any time.
 */
struct virtq_chain {
    uint16_t head;
    unsigned nr_out, nr_in;
    uint64_t out_bytes, in_bytes;
    struct iovec iov[VIRTQ_MAX_SEGS];
    gpa_t gpa[VIRTQ_MAX_SEGS];
};

/* Power-on state; max_size is a power of two up to VIRTQ_MAX_SIZE, name (for
 * logs) and gm are borrowed. */
void virtq_init(struct virtq *vq, const char *name, const struct gmem *gm,
                uint16_t max_size);
/* Back to disabled with the largest size; max_size and gm stay. */
void virtq_reset(struct virtq *vq);
/* Set the size of a disabled queue; what is not a power of two up to max_size
 * is ignored. */
void virtq_set_size(struct virtq *vq, uint16_t size);
/*
 * Find the rings at st's addresses and begin to use them: on enabling, and
 * after st was loaded from a snapshot with enabled set. -EINVAL if size,
 * alignment (16, 2, 4) or a range is wrong; the queue is then disabled.
 */
MUST_CHECK int virtq_enable(struct virtq *vq, bool event_idx, bool indirect);

/* Whether a chain waits. */
bool virtq_has_avail(const struct virtq *vq);
/*
 * Take the next chain. Returns 1, or 0 if none waits (or the queue is not
 * enabled), or -EINVAL if the driver broke a rule: the queue is then broken,
 * logged, and yields nothing more. chain is written in the first case only.
 */
MUST_CHECK int virtq_pop(struct virtq *vq, struct virtq_chain *chain);
/* Give the chain of the last virtq_pop back: the next one returns it again
 * (as the driver has it then). */
void virtq_unpop(struct virtq *vq);
/*
 * The chain at head once more, which virtq_pop returned before and which was
 * not pushed: what was under way when the state was saved. 1 or -EINVAL, as
 * virtq_pop.
 */
MUST_CHECK int virtq_chain_at(struct virtq *vq, uint16_t head,
                              struct virtq_chain *chain);
/*
 * Hand a chain back as used, written bytes of its in segments filled, from
 * the first one on. Reports those and the ring to gmem_written.
 */
void virtq_push(struct virtq *vq, const struct virtq_chain *chain,
                uint64_t written);
/* The same by one who kept only the chain's head, and has reported the bytes
 * to gmem_written. */
void virtq_push_head(struct virtq *vq, uint16_t head, uint64_t written);
/* Several chains that the driver shall see at once: virtq_put the n-th of them
 * (0 ...), as virtq_push, then virtq_publish how many. */
void virtq_put(struct virtq *vq, unsigned n, const struct virtq_chain *chain,
               uint64_t written);
void virtq_publish(struct virtq *vq, unsigned nr);
/* Whether the driver wants a notification for what was pushed since the last
 * call. */
bool virtq_should_notify(struct virtq *vq);

/* Ask the driver not to notify (a hint), while the device looks anyway. */
void virtq_disable_kicks(struct virtq *vq);
/* Ask for notifications again. Returns whether a chain came meanwhile, for
 * which there may be none. */
bool virtq_enable_kicks(struct virtq *vq);

/* Copy from the out segments (from byte off of them) or into the in segments.
 * Returns how many bytes there were. */
size_t virtq_chain_read(const struct virtq_chain *chain, uint64_t off,
                        void *dst, size_t len);
size_t virtq_chain_write(const struct virtq_chain *chain, uint64_t off,
                         const void *src, size_t len);

#endif
