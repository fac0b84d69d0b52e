#include "vmm/network.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"

static bool take_frame(void *opaque, const void *buf, size_t len)
{
    const struct network *n = opaque;

    return virtio_net_receive(n->card, buf, len);
}

static void writable(void *opaque)
{
    const struct network *n = opaque;

    virtio_net_writable(n->card);
}

static void gone(void *opaque)
{
    const struct network *n = opaque;

    virtio_net_set_link(n->card, false);
}

static int open_ports(struct network *n, const struct vmconf *conf,
                      struct err *err)
{
    int rc = 0;

    for (unsigned i = 0; rc == 0 && i < conf->nr_ports; i++)
        rc = network_publish(n, conf->port[i], err);
    return rc;
}

int network_open(struct network *n, const struct vmconf *conf,
                 struct loop *loop, struct err *err)
{
    int rc;

    memset(n, 0, sizeof(*n));
    if (!vmconf_has_net(conf))
        return 0;
    if (vmconf_parse_mac(conf->mac, n->mac) < 0)
        return err_set(err, -EINVAL, "'%.40s' is no address of a network card",
                       conf->mac);
    rc = net_user_new(&n->user, loop, n->mac, err);
    if (rc == -ENOTSUP && conf->net == VMCONF_NET_AUTO && !conf->nr_ports) {
        log_warn("net", "%s: the machine has none", err->text);
        return 0;
    }
    if (rc < 0)
        return rc;
    n->ops = net_user_ops(n->user);
    rc = open_ports(n, conf, err);
    if (rc < 0)
        network_close(n);
    return rc;
}

void network_close(struct network *n)
{
    if (n->user)
        net_user_free(n->user);
    n->user = NULL;
}

void network_fill(struct network *n, struct pc_config *cfg)
{
    if (!n->user)
        return;
    cfg->net = &n->ops;
    memcpy(cfg->mac, n->mac, sizeof(cfg->mac));
}

int network_start(struct network *n, struct pc *pc, struct err *err)
{
    const struct net_user_card card = {take_frame, writable, gone, n};

    n->card = pc_net(pc);
    return n->user ? net_user_start(n->user, &card, err) : 0;
}

static int no_network(struct err *err)
{
    return err_set(err, -ENOTSUP, "the machine has no network");
}

int network_publish(struct network *n, const char *text, struct err *err)
{
    struct vmconf_port port;
    int rc = vmconf_parse_port(text, &port, err);

    if (rc == 0 && !n->user)
        rc = no_network(err);
    return rc < 0 ? rc : net_user_publish(n->user, &port, err);
}

int network_unpublish(struct network *n, const char *text, struct err *err)
{
    struct vmconf_port port;
    int rc = vmconf_parse_port(text, &port, err);

    if (rc == 0 && !n->user)
        rc = no_network(err);
    return rc < 0 ? rc : net_user_unpublish(n->user, &port, err);
}
