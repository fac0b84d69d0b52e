#ifndef HUSK_NET_USER_H
#define HUSK_NET_USER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "config/vmconf.h"
#include "event/loop.h"
#include "net/net.h"

/*
 * A network of the guest's own behind this host (user-mode NAT): a card's
 * frames go to a process of their own (net/helper.h), where libslirp makes
 * connections of this host of them. That process has no memory of the guest, no
 * files, and rights to little more than sockets.
 *
 *   10.0.2.0/24, fec0::/64     the network; the guest is 10.0.2.15 by DHCP
 *   10.0.2.2, fec0::2          this host
 *   10.0.2.3, fec0::3          the host's resolver
 */
struct net_user;

/* What is in front: called on the loop's thread. */
struct net_user_card {
    /* A frame with its head; false: later, after net_ops.ready. */
    bool (*receive)(void *opaque, const void *buf, size_t len);
    /* net_ops.send takes frames again. */
    void (*writable)(void *opaque);
    /* The other process has ended: nothing goes any more. */
    void (*gone)(void *opaque);
    void *opaque;
};

/* Start the process for a card of this address; the loop is borrowed. -ENOTSUP:
 * libslirp is not there. */
MUST_CHECK int net_user_new(struct net_user **out, struct loop *loop,
                            const uint8_t mac[6], struct err *err);
/* When the loop does not run, and the card is gone. */
void net_user_free(struct net_user *nu);
/* Frames for the guest come from now on. On the loop's thread. */
MUST_CHECK int net_user_start(struct net_user *nu,
                              const struct net_user_card *card,
                              struct err *err);

struct net_ops net_user_ops(struct net_user *nu);

/* Open or close a port of this host for the guest's. On the loop's thread;
 * waits for the other process for a moment. -EADDRINUSE, -EACCES ...; -ENOENT:
 * it is not open. */
MUST_CHECK int net_user_publish(struct net_user *nu,
                                const struct vmconf_port *port,
                                struct err *err);
MUST_CHECK int net_user_unpublish(struct net_user *nu,
                                  const struct vmconf_port *port,
                                  struct err *err);
/* Those that are open: *nr of them, nu's. */
const struct vmconf_port *net_user_ports(const struct net_user *nu,
                                         unsigned *nr);

#endif
