#ifndef HUSK_DEVICES_VIRTIO_VIRTIO_NET_H
#define HUSK_DEVICES_VIRTIO_VIRTIO_NET_H

#include "devices/virtio/virtio.h"
#include "net/net.h"

/*
 * Network card (virtio 1.2, 5.1) with one pair of queues and the control queue.
 * Checksums and segmentation are left to the back end both ways, and a received
 * frame may lie in several buffers. Not offered: more queues, UDP
 * fragmentation, VLAN filters, RSS.
 *
 * A frame that the guest sends goes to the back end on the thread of the vCPU
 * that notifies. What comes for the guest is offered by the back end and either
 * taken whole or not at all, so that it waits where it is.
 */
enum { NET_MAC_TABLE = 64, NET_MAC_BYTES = 6 };

struct virtio_net {
    struct virtio_dev vd;
    struct virtio_net_state { /* what the driver has asked for */
        uint64_t offloads;    /* GUEST_... features that count at the moment */
        uint8_t mac[NET_MAC_BYTES];
        uint8_t promisc, allmulti;
        uint8_t all_uni, all_multi; /* the table had no room for these */
        uint8_t nr_uni, nr_multi;
        uint8_t table[NET_MAC_TABLE * NET_MAC_BYTES]; /* unicast ones first */
    } st;
    uint8_t mac[NET_MAC_BYTES]; /* its own, after a reset */
    struct net_ops be;
    bool link_up;
    bool tx_blocked; /* the back end is full: virtio_net_writable will come */
    bool rx_starved; /* a frame found no buffer: ready is owed */
    struct virtq_chain first, chain; /* of a received frame */
};

extern const struct state_desc virtio_net_state_desc;
/* For struct virtio_net; reset and loaded with the transport. */
extern const struct device_class virtio_net_class;

/* be is copied. */
MUST_CHECK int virtio_net_init(struct virtio_net *vn,
                               const struct virtio_env *env,
                               const struct net_ops *be,
                               const uint8_t mac[NET_MAC_BYTES],
                               struct err *err);
void virtio_net_fini(struct virtio_net *vn);

/*
 * A frame for the guest: len bytes of struct net_head and NET_MIN_FRAME to
 * NET_MAX_FRAME bytes behind it. False: not now; net_ops.ready says when. A
 * frame that is not for this card, or that the driver could not take as it is,
 * is dropped. Any thread, without the lock.
 */
MUST_CHECK bool virtio_net_receive(struct virtio_net *vn, const void *buf,
                                   size_t len);
/* The back end takes frames again. Any thread, without the lock. */
void virtio_net_writable(struct virtio_net *vn);
/* The cable is in or out. Any thread, without the lock. */
void virtio_net_set_link(struct virtio_net *vn, bool up);

#endif
