/*
 * The screen of the PC, if it has one: a VGA with the video BIOS of SeaBIOS's
 * package, which only a BIOS runs; UEFI firmware brings a driver of its own.
 */
#include <stdlib.h>

#include "base/log.h"
#include "machine/pc_int.h"

/* A slot behind those of disks. */
enum { SLOT_VGA = 30 };

/* Firmware without it starts all the same, with nothing on the screen. */
static void read_rom(struct pc *pc, uint8_t **rom, size_t *len)
{
    struct image img = {.fd = -1};
    struct err err = {0};
    int rc = firmware_open_vgabios(&img, &err);

    if (rc == 0)
        rc = image_read(&img, VGA_ROM_MAX, rom, len, &err);
    if (rc < 0)
        log_warn("vga", "%s", err.text);
    image_close(&img);
    (void)pc;
}

int pc_make_vga(struct pc *pc, struct err *err)
{
    uint8_t *rom = NULL;
    size_t len = 0;
    int rc;

    if (!pc->cfg.vga)
        return 0;
    if (pc->cfg.firmware == FIRMWARE_BIOS)
        read_rom(pc, &rom, &len);
    rc = vga_init(&pc->vga, &pc->gmem, rom, len, err);
    free(rom);
    return rc;
}

void pc_drop_vga(struct pc *pc)
{
    if (pc->cfg.vga)
        vga_fini(&pc->vga);
}

int pc_plug_vga(struct pc *pc, struct err *err)
{
    return pc->cfg.vga ? pci_host_add(&pc->pci, &pc->vga.pci, SLOT_VGA, 0, err)
                       : 0;
}

void pc_reset_vga(struct pc *pc)
{
    const struct device d = {.name = "vga",
                             .cls = &vga_class,
                             .obj = &pc->vga,
                             .lock = &pc->vga.lock};

    if (pc->cfg.vga)
        device_reset(&d);
}

void pc_show_vga(struct pc *pc, bool firmware)
{
    pc->vga.pci.absent = pc->cfg.vga == PC_VGA_FIRMWARE && !firmware;
}

struct vga *pc_vga(struct pc *pc)
{
    return pc->cfg.vga && !pc->vga.pci.absent ? &pc->vga : NULL;
}

struct i8042 *pc_keyboard(struct pc *pc)
{
    return &pc->kbd;
}
