#ifndef HUSK_DEVICES_PC_FW_CFG_H
#define HUSK_DEVICES_PC_FW_CFG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/lock.h"
#include "bus/bus.h"
#include "devices/device.h"
#include "mem/gmem.h"

/*
 * Firmware configuration device (QEMU: docs/specs/fw_cfg.rst): ports 0x510
 * (selector) and 0x511 (data), and the DMA address register at 0x514. Items are
 * read-only: writes to the data port are ignored, those by DMA fail.
 */
enum {
    FW_CFG_SIGNATURE = 0x00,
    FW_CFG_ID = 0x01,
    FW_CFG_RAM_SIZE = 0x03,
    FW_CFG_NB_CPUS = 0x05,
    FW_CFG_KERNEL_SIZE = 0x08,
    FW_CFG_INITRD_SIZE = 0x0b,
    FW_CFG_BOOT_MENU = 0x0e,
    FW_CFG_MAX_CPUS = 0x0f,
    FW_CFG_KERNEL_DATA = 0x11,
    FW_CFG_INITRD_DATA = 0x12,
    FW_CFG_CMDLINE_SIZE = 0x14,
    FW_CFG_CMDLINE_DATA = 0x15,
    FW_CFG_SETUP_SIZE = 0x17,
    FW_CFG_SETUP_DATA = 0x18,
    FW_CFG_FILE_DIR = 0x19,
    FW_CFG_FILE_FIRST = 0x20,
    FW_CFG_FILES = 32,
    FW_CFG_NAME = 56, /* with its final NUL */
    FW_CFG_PORT = 0x510,
    FW_CFG_PORTS = 2,
    FW_CFG_DMA_PORT = 0x514,
    FW_CFG_DMA_PORTS = 8,
    FW_CFG_IRQ0_OVERRIDE = 0x8002
};

struct fw_cfg_state {
    uint32_t offset; /* of the next data byte in the item */
    uint16_t selector;
    uint32_t dma_high; /* first half of the DMA address register */
};

struct fw_cfg_file {
    char name[FW_CFG_NAME];
    const uint8_t *data; /* borrowed */
    uint32_t len;
};

/* An item without a name. */
struct fw_cfg_blob {
    const uint8_t *data; /* borrowed */
    uint32_t len;
};

struct fw_cfg {
    struct fw_cfg_state st;
    struct lock lock;
    struct fw_cfg_file file[FW_CFG_FILES];
    unsigned nr_files;
    struct fw_cfg_blob kernel, initrd, cmdline, setup;
    uint64_t ram_bytes;
    uint16_t cpus;
    bool boot_menu;
    struct gmem *gm;                    /* NULL = no DMA */
    uint8_t dir[4 + FW_CFG_FILES * 64]; /* the directory as the guest sees it */
};

extern const struct bus_ops fw_cfg_bus_ops, fw_cfg_dma_bus_ops;
extern const struct state_desc fw_cfg_state_desc;
extern const struct device_class fw_cfg_class;

/* gm is borrowed, for DMA; NULL = the port interface only. */
void fw_cfg_init(struct fw_cfg *fw, struct gmem *gm, uint64_t ram_bytes,
                 unsigned cpus);
void fw_cfg_fini(struct fw_cfg *fw);
void fw_cfg_reset(struct fw_cfg *fw); /* lock held */

/* Add a file before the guest runs; data is borrowed until the device ends.
 * -EINVAL (name too long or taken, len above 4 GiB), -ENOSPC. */
MUST_CHECK int fw_cfg_add_file(struct fw_cfg *fw, const char *name,
                               const void *data, size_t len);
/* Fill one of the items KERNEL_DATA, INITRD_DATA, CMDLINE_DATA, SETUP_DATA, and
 * the one with its size; otherwise as above. len is below 4 GiB. */
void fw_cfg_set_item(struct fw_cfg *fw, unsigned item, const void *data,
                     size_t len);

#endif
