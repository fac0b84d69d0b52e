#ifndef HUSK_VMM_NETWORK_H
#define HUSK_VMM_NETWORK_H

#include "config/vmconf.h"
#include "machine/pc.h"
#include "net/user.h"

/* What is behind the machine's network card. All on the loop's thread. */
struct network {
    struct net_user *user; /* NULL = no network */
    struct net_ops ops;
    uint8_t mac[6];
    struct virtio_net *card;
};

/* Start it, with its ports open, if conf has one. Where nobody asked for it by
 * name, a host that cannot have it is only told of. -errno with err. */
MUST_CHECK int network_open(struct network *n, const struct vmconf *conf,
                            struct loop *loop, struct err *err);
/* After the machine is gone. */
void network_close(struct network *n);
/* For pc_config, before it is made; then let frames come. */
void network_fill(struct network *n, struct pc_config *cfg);
MUST_CHECK int network_start(struct network *n, struct pc *pc, struct err *err);

/* The text is that of --publish. */
MUST_CHECK int network_publish(struct network *n, const char *text,
                               struct err *err);
MUST_CHECK int network_unpublish(struct network *n, const char *text,
                                 struct err *err);

#endif
