/* The network card of the PC: a virtio-net function, if there is a network. */
#include <errno.h>
#include <stdlib.h>

#include "machine/pc_int.h"

enum { SLOT_NET = 20 }; /* behind the disks' */

int pc_make_net(struct pc *pc, struct err *err)
{
    const struct virtio_env env = {.gm = &pc->gmem, .loop = pc->loop};
    int rc;

    if (!pc->cfg.net)
        return 0;
    pc->net = calloc(1, sizeof(*pc->net));
    if (!pc->net)
        return err_set(err, -ENOMEM, "make the network card: out of memory");
    rc = virtio_net_init(&pc->net->vn, &env, pc->cfg.net, pc->cfg.mac, err);
    if (rc < 0) {
        free(pc->net);
        pc->net = NULL;
    }
    return rc;
}

void pc_drop_net(struct pc *pc)
{
    if (pc->net)
        virtio_net_fini(&pc->net->vn);
    free(pc->net);
    pc->net = NULL;
}

int pc_plug_net(struct pc *pc, struct err *err)
{
    int rc;

    if (!pc->net)
        return 0;
    rc = virtio_pci_init(&pc->net->pci, &pc->net->vn.vd, &pc->pci, SLOT_NET, 0,
                         err);
    pc->net->plugged = rc == 0;
    return rc;
}

void pc_unplug_net(struct pc *pc)
{
    if (pc->net && pc->net->plugged)
        virtio_pci_fini(&pc->net->pci);
}

void pc_reset_net(struct pc *pc)
{
    if (pc->net)
        virtio_pci_reset(&pc->net->pci);
}

struct virtio_net *pc_net(struct pc *pc)
{
    return pc->net ? &pc->net->vn : NULL;
}
