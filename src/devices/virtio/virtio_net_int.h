#ifndef HUSK_DEVICES_VIRTIO_VIRTIO_NET_INT_H
#define HUSK_DEVICES_VIRTIO_VIRTIO_NET_INT_H

#include "devices/virtio/virtio_net.h"

/* Shared by virtio_net.c (the card, its frames) and virtio_net_ctrl.c. */

/* 5.1.3 */
#define NET_F_CSUM                ((uint64_t)1 << 0)
#define NET_F_GUEST_CSUM          ((uint64_t)1 << 1)
#define NET_F_CTRL_GUEST_OFFLOADS ((uint64_t)1 << 2)
#define NET_F_MAC                 ((uint64_t)1 << 5)
#define NET_F_GUEST_TSO4          ((uint64_t)1 << 7)
#define NET_F_GUEST_TSO6          ((uint64_t)1 << 8)
#define NET_F_HOST_TSO4           ((uint64_t)1 << 11)
#define NET_F_HOST_TSO6           ((uint64_t)1 << 12)
#define NET_F_MRG_RXBUF           ((uint64_t)1 << 15)
#define NET_F_STATUS              ((uint64_t)1 << 16)
#define NET_F_CTRL_VQ             ((uint64_t)1 << 17)
#define NET_F_CTRL_RX             ((uint64_t)1 << 18)
#define NET_F_CTRL_MAC_ADDR       ((uint64_t)1 << 23)

/* What CTRL_GUEST_OFFLOADS may switch. */
#define NET_OFFLOADS (NET_F_GUEST_CSUM | NET_F_GUEST_TSO4 | NET_F_GUEST_TSO6)

enum { NET_RXQ = 0, NET_TXQ = 1, NET_CTRLQ = 2 };

/* Carry out the commands that wait. The lock is held. */
bool virtio_net_control(struct virtio_net *vn);
/* Whether the driver wants frames to this address (of a frame's head). */
bool virtio_net_wants(const struct virtio_net *vn, const uint8_t *address);

#endif
