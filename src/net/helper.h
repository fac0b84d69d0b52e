#ifndef HUSK_NET_HELPER_H
#define HUSK_NET_HELPER_H

#include <stdint.h>

#include "config/vmconf.h"

/*
 * The process behind a card: husk started once more, under a name of its own
 * and with two sockets (SOCK_SEQPACKET) at fixed descriptors. One has frames
 * both ways, each in a message, with its head; the other a struct helper_ask
 * there and a struct helper_answer back. The process ends with its sockets.
 */
#define HELPER_NAME "husk-net"

enum { HELPER_FRAMES = 3, HELPER_CONTROL = 4 };

enum { HELPER_PUBLISH = 1, HELPER_UNPUBLISH = 2 };

struct helper_ask {
    uint32_t what;
    uint8_t mac[6]; /* of the card: the guest's IPv6 address is made of it */
    struct vmconf_port port;
};

struct helper_answer {
    int32_t rc; /* 0 or -errno */
};

/* Returns the exit status of the process. */
int helper_main(void);

#endif
