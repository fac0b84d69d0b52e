/*
 * The IDE function of the PC, if it has a drive: CD-ROM drives from the
 * secondary master on, disks from the primary master on.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "machine/pc_int.h"

static const struct {
    uint16_t ports, control;
    unsigned irq;
} places[IDE_CHANNELS] = {{0x1f0, 0x3f6, 14}, {0x170, 0x376, 15}};

enum { SLOT_PIIX = 1, FUNCTION_IDE = 1 };

/* In the order in which drives are plugged in. */
static const uint8_t cd_drives[PC_MAX_CDS] = {2, 3};
static const uint8_t disk_drives[IDE_DRIVES] = {0, 1, 3, 2};

static void fill_cds(struct pc *pc, struct ide_config *cfg)
{
    assert(pc->cfg.nr_cds <= PC_MAX_CDS);
    for (unsigned i = 0; i < pc->cfg.nr_cds; i++) {
        (void)snprintf(pc->cd_name[i], sizeof(pc->cd_name[i]), "cd%u", i);
        cfg->drive[cd_drives[i]] = (struct ide_drive_config){
            .kind = IDE_CDROM, .name = pc->cd_name[i], .blk = pc->cfg.cds[i]};
    }
}

static int place_disk(struct pc *pc, unsigned n, struct ide_config *cfg,
                      struct err *err)
{
    struct pc_disk_dev *d = &pc->disk[n];

    for (unsigned i = 0; i < IDE_DRIVES; i++) {
        struct ide_drive_config *to = &cfg->drive[disk_drives[i]];

        if (to->kind != IDE_NONE)
            continue;
        d->ide_drive = disk_drives[i];
        *to = (struct ide_drive_config){.kind = IDE_DISK,
                                        .name = d->name,
                                        .blk = pc->cfg.disks[n].blk,
                                        .serial = pc->cfg.disks[n].serial};
        return 0;
    }
    return err_set(err, -EINVAL,
                   "there are more than %d disks and CD-ROM drives on IDE: put "
                   "a disk on virtio",
                   IDE_DRIVES);
}

static int fill(struct pc *pc, struct ide_config *cfg, bool *any,
                struct err *err)
{
    int rc = 0;

    *any = pc->cfg.nr_cds > 0;
    fill_cds(pc, cfg);
    for (unsigned i = 0; rc == 0 && i < pc->nr_disks; i++) {
        if (!pc->disk[i].ide)
            continue;
        *any = true;
        rc = place_disk(pc, i, cfg, err);
    }
    return rc;
}

int pc_make_ide(struct pc *pc, struct err *err)
{
    struct ide_config cfg = {.gm = &pc->gmem,
                             .loop = pc->loop,
                             .stuck = pc->cfg.disk_stuck,
                             .opaque = pc->cfg.opaque};
    bool any = false;
    int rc = fill(pc, &cfg, &any, err);

    if (rc < 0 || !any)
        return rc;
    for (unsigned i = 0; i < IDE_CHANNELS; i++)
        cfg.irq[i] = pc_isa_irq(pc, places[i].irq);
    pc->ide = calloc(1, sizeof(*pc->ide));
    if (!pc->ide)
        return err_set(err, -ENOMEM, "make the IDE drives: out of memory");
    rc = ide_init(pc->ide, &cfg, err);
    if (rc < 0) {
        free(pc->ide);
        pc->ide = NULL;
    }
    return rc;
}

void pc_drop_ide(struct pc *pc)
{
    if (pc->ide)
        ide_fini(pc->ide);
    free(pc->ide);
    pc->ide = NULL;
}

static int map_ports(struct pc *pc, unsigned n, struct err *err)
{
    struct ide *ide = pc->ide;
    int rc = bus_map(pc->pio, places[n].ports, IDE_PORTS, &ide_bus_ops,
                     &ide->channel[n], &ide->lock);

    if (rc == 0)
        rc = bus_map(pc->pio, places[n].control, IDE_CONTROL_PORTS,
                     &ide_control_bus_ops, &ide->channel[n], &ide->lock);
    if (rc < 0)
        return err_set(err, rc, "map the ports of IDE: %s",
                       rc == -ENOMEM ? "out of memory" : "address in use");
    return 0;
}

int pc_plug_ide(struct pc *pc, struct err *err)
{
    int rc;

    if (!pc->ide)
        return 0;
    rc = ide_plug(pc->ide, &pc->pci, SLOT_PIIX, FUNCTION_IDE, err);
    for (unsigned i = 0; rc == 0 && i < IDE_CHANNELS; i++)
        rc = map_ports(pc, i, err);
    return rc;
}

size_t pc_ide_path(const struct pc *pc, unsigned drive, char *text, size_t size)
{
    (void)pc;
    return (size_t)snprintf(
        text, size, "/pci@i0cf8/ide@%x,%x/drive@%u/disk@%u\n", SLOT_PIIX,
        FUNCTION_IDE, drive / IDE_UNITS, drive % IDE_UNITS);
}

unsigned pc_cd_drive(unsigned cd)
{
    return cd_drives[cd];
}

/* --- For the owner -------------------------------------------------------- */

int pc_change_cd(struct pc *pc, unsigned n, struct blk *blk, bool force,
                 struct blk **old, struct err *err)
{
    if (n >= pc->cfg.nr_cds)
        return err_set(err, -ENODEV, "the machine has %u CD-ROM drives",
                       pc->cfg.nr_cds);
    return ide_change_medium(pc->ide, cd_drives[n], blk, force, old, err);
}

void pc_cd_tray(struct pc *pc, unsigned n, bool *open, bool *locked)
{
    ide_tray(pc->ide, cd_drives[n], open, locked);
}
