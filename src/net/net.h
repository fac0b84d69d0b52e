#ifndef HUSK_NET_NET_H
#define HUSK_NET_NET_H

#include <stdint.h>
#include <sys/uio.h>

/*
 * Frames between a network card and what is behind it. Each is an Ethernet
 * frame with a head that says what is left to do with it, as virtio has it
 * (virtio 1.2, 5.1.6): a checksum that is not there yet, or a TCP segment that
 * is many in one. All numbers are little-endian.
 */
struct net_head {
    uint8_t flags;    /* NET_CSUM ... */
    uint8_t gso_type; /* NET_GSO_... */
    uint16_t head_len;
    uint16_t gso_size; /* of TCP data in each of the segments that it is */
    uint16_t csum_start, csum_offset;
    uint16_t nr_buffers; /* the card's business */
};

enum {
    NET_CSUM = 1,       /* the checksum of csum_start and what follows is to be
                           put at csum_start + csum_offset, where that of the
                           pseudo header is */
    NET_CSUM_VALID = 2, /* all checksums are known to be right */
    /* Not virtio's: what the sender takes, so that a back end can keep no
     * state of it. */
    NET_TAKES_GSO4 = 0x40,
    NET_TAKES_GSO6 = 0x80,

    NET_GSO_NONE = 0,
    NET_GSO_TCP4 = 1,
    NET_GSO_TCP6 = 4,
    NET_GSO_ECN = 0x80
};

enum {
    NET_HEAD = 12,
    NET_MIN_FRAME = 14,
    NET_MAX_FRAME = 14 + 65535, /* with all that an IP header can count */
    NET_MTU = 1500
};

_Static_assert(sizeof(struct net_head) == NET_HEAD, "as in 5.1.6");

/* What is behind a card. */
struct net_ops {
    /* A frame of the guest's: iov has a struct net_head and then the bytes,
     * NET_MIN_FRAME to NET_MAX_FRAME of them; the guest may change these
     * meanwhile. 0: taken, or dropped; -EAGAIN: not now, the card is told when
     * to try again. Any thread, with the card's lock held; does not block. */
    int (*send)(void *opaque, const struct iovec *iov, int n);
    /* The card takes frames again, after it has refused one. As send. */
    void (*ready)(void *opaque);
    void *opaque;
};

#endif
