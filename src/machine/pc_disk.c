/*
 * The disks of the PC, in the order in which the owner named them: one
 * virtio-blk function each, in slots of their own, or drives on IDE (pc_ide.c).
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "machine/pc_int.h"

enum {
    SLOT_FIRST = 4,
    /* More than these of one disk's requests the host seldom takes at once. */
    POOL_THREADS = 16
};

static int make_one(struct pc *pc, struct pc_disk_dev *d, unsigned n,
                    struct err *err)
{
    const struct virtio_env env = {.gm = &pc->gmem, .loop = pc->loop};
    struct virtio_blk_config cfg = {
        .name = d->name,
        .blk = pc->cfg.disks[n].blk,
        .serial = pc->cfg.disks[n].serial,
        .nr_queues = pc->cfg.cpus < VIRTIO_BLK_MAX_QUEUES
                         ? pc->cfg.cpus
                         : VIRTIO_BLK_MAX_QUEUES,
        .threads = POOL_THREADS,
        .stuck = pc->cfg.disk_stuck,
        .opaque = pc->cfg.opaque,
    };

    (void)snprintf(d->name, sizeof(d->name), "disk%u", n);
    d->ide = pc->cfg.disks[n].ide;
    if (d->ide)
        return 0;
    return virtio_blk_init(&d->vb, &env, &cfg, err);
}

int pc_make_disks(struct pc *pc, struct err *err)
{
    unsigned nr = pc->cfg.nr_disks;
    int rc;

    assert(nr <= PC_MAX_DISKS);
    if (nr == 0)
        return 0;
    pc->disk = calloc(nr, sizeof(*pc->disk));
    if (!pc->disk)
        return err_set(err, -ENOMEM, "make %u disks: out of memory", nr);
    for (; pc->nr_disks < nr; pc->nr_disks++) {
        rc = make_one(pc, &pc->disk[pc->nr_disks], pc->nr_disks, err);
        if (rc < 0) {
            pc_drop_disks(pc);
            return rc;
        }
    }
    return 0;
}

void pc_drop_disks(struct pc *pc)
{
    while (pc->nr_disks) {
        struct pc_disk_dev *d = &pc->disk[--pc->nr_disks];

        if (!d->ide)
            virtio_blk_fini(&d->vb);
    }
    free(pc->disk);
    pc->disk = NULL;
}

int pc_plug_disks(struct pc *pc, struct err *err)
{
    unsigned slot = SLOT_FIRST;

    for (unsigned i = 0; i < pc->nr_disks; i++) {
        struct pc_disk_dev *d = &pc->disk[i];
        int rc;

        if (d->ide)
            continue;
        rc = virtio_pci_init(&d->pci, &d->vb.vd, &pc->pci, slot++, 0, err);
        if (rc < 0)
            return rc;
        d->plugged = true;
    }
    return 0;
}

void pc_unplug_disks(struct pc *pc)
{
    for (unsigned i = 0; i < pc->nr_disks; i++)
        if (pc->disk[i].plugged)
            virtio_pci_fini(&pc->disk[i].pci);
}

void pc_reset_disks(struct pc *pc)
{
    for (unsigned i = 0; i < pc->nr_disks; i++)
        if (!pc->disk[i].ide)
            virtio_pci_reset(&pc->disk[i].pci);
    if (pc->ide)
        ide_reset(pc->ide);
}

/* --- For the owner -------------------------------------------------------- */

void pc_disk_resized(struct pc *pc, unsigned n)
{
    struct pc_disk_dev *d = &pc->disk[n];

    assert(n < pc->nr_disks);
    if (d->ide)
        ide_resized(pc->ide, d->ide_drive);
    else
        virtio_blk_resized(&d->vb);
}

void pc_drain_disks(struct pc *pc)
{
    for (unsigned i = 0; i < pc->nr_disks; i++)
        if (!pc->disk[i].ide)
            virtio_blk_drain(&pc->disk[i].vb);
    if (pc->ide)
        ide_drain(pc->ide);
}

unsigned pc_stuck_requests(struct pc *pc)
{
    unsigned nr = pc->ide ? ide_nr_stuck(pc->ide) : 0;

    for (unsigned i = 0; i < pc->nr_disks; i++)
        if (!pc->disk[i].ide)
            nr += virtio_blk_nr_stuck(&pc->disk[i].vb);
    return nr;
}

void pc_retry_stuck(struct pc *pc)
{
    for (unsigned i = 0; i < pc->nr_disks; i++)
        if (!pc->disk[i].ide)
            virtio_blk_retry(&pc->disk[i].vb);
    if (pc->ide)
        ide_retry(pc->ide);
}
