#include "machine/fw_kernel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "machine/boot_linux.h"
#include "machine/memlayout.h"

/* kernel_rom.S */
extern const uint8_t kernel_rom[], kernel_rom_pnp[], kernel_rom_parts[],
    kernel_rom_end[];

/* The setup header (Linux: Documentation/arch/x86/boot.rst) */
enum {
    HDR_SETUP_SECTS = 0x1f1,
    HDR_VID_MODE = 0x1fa,
    HDR_TYPE_OF_LOADER = 0x210,
    HDR_LOADFLAGS = 0x211,
    HDR_RAMDISK_IMAGE = 0x218,
    HDR_RAMDISK_SIZE = 0x21c,
    HDR_HEAP_END_PTR = 0x224,
    HDR_CMD_LINE_PTR = 0x228
};
#define LOADER_UNDEFINED 0xffu
#define CAN_USE_HEAP     0x80u
#define VID_NORMAL       0xffffu

/* Where the parts go: as in kernel_rom.S, and what boot.rst suggests. */
#define SETUP_AT   0x10000u
#define SETUP_MAX  0x8000u
#define HEAP_END   (0xe000u - 0x200u) /* below its stack */
#define CMDLINE_AT 0x20000u
#define KERNEL_AT  0x100000u
/* Firmware has its tables at the end of memory. */
#define FIRMWARE_OWN ((uint64_t)1 << 20)

/* Descriptors in the ROM: big-endian control, length, address. */
enum { PART_SIZE = 16, PART_LENGTH = 4, PART_ADDRESS = 8 };
enum { PNP_SIZE = 32, PNP_SUM = 9 };
#define DMA_READ_SELECT 0x0au

static int place_initrd(const struct fw_kernel *k,
                        const struct linux_image *img, uint64_t low_end,
                        uint64_t *at, struct err *err)
{
    uint64_t end = low_end > FIRMWARE_OWN ? low_end - FIRMWARE_OWN : 0;
    uint64_t taken = KERNEL_AT + (k->image_len - k->setup_len);

    if (end > (uint64_t)img->initrd_max + 1)
        end = (uint64_t)img->initrd_max + 1;
    if (taken > end || k->initrd_len > end - taken)
        return err_set(err, -ENOSPC,
                       "the kernel and its initrd do not fit into the guest's "
                       "memory: give it more with --memory");
    *at = (end - k->initrd_len) & ~GPAGE_MASK;
    return 0;
}

static void fill_header(const struct fw_kernel *k, uint64_t initrd)
{
    uint8_t *h = k->image;

    put_le16(h + HDR_VID_MODE, VID_NORMAL);
    h[HDR_TYPE_OF_LOADER] = LOADER_UNDEFINED;
    h[HDR_LOADFLAGS] |= CAN_USE_HEAP;
    put_le16(h + HDR_HEAP_END_PTR, HEAP_END);
    put_le32(h + HDR_CMD_LINE_PTR, CMDLINE_AT);
    put_le32(h + HDR_RAMDISK_IMAGE, k->initrd_len ? (uint32_t)initrd : 0);
    put_le32(h + HDR_RAMDISK_SIZE, (uint32_t)k->initrd_len);
}

static void put_part(uint8_t *rom, unsigned n, unsigned item, size_t len,
                     uint64_t at)
{
    uint8_t *p = rom + (kernel_rom_parts - kernel_rom) + (size_t)n * PART_SIZE;

    put_be32(p, item << 16 | DMA_READ_SELECT);
    put_be32(p + PART_LENGTH, (uint32_t)len);
    put_be64(p + PART_ADDRESS, at);
}

/* The bytes of it all add up to 0 then. */
static void put_sum(uint8_t *p, size_t len, size_t at)
{
    unsigned sum = 0;

    p[at] = 0;
    for (size_t i = 0; i < len; i++)
        sum += p[i];
    p[at] = (uint8_t)(0u - sum);
}

static void make_rom(struct fw_kernel *k, uint64_t initrd)
{
    memcpy(k->rom, kernel_rom, FW_KERNEL_ROM_SIZE);
    put_part(k->rom, 0, FW_CFG_SETUP_DATA, k->setup_len, SETUP_AT);
    put_part(k->rom, 1, FW_CFG_KERNEL_DATA, k->image_len - k->setup_len,
             KERNEL_AT);
    put_part(k->rom, 2, FW_CFG_CMDLINE_DATA, strlen(k->cmdline) + 1,
             CMDLINE_AT);
    put_part(k->rom, 3, FW_CFG_INITRD_DATA, k->initrd_len, initrd);
    put_sum(k->rom + (kernel_rom_pnp - kernel_rom), PNP_SIZE, PNP_SUM);
    put_sum(k->rom, sizeof(k->rom), sizeof(k->rom) - 1);
}

int fw_kernel_prepare(struct fw_kernel *k, uint64_t low_end, struct err *err)
{
    struct linux_image img;
    uint64_t initrd = 0;
    int rc;

    if (!boot_linux_probe(k->image, k->image_len))
        return err_set(err, -EINVAL,
                       "firmware starts only kernels that are bzImages");
    rc = boot_linux_parse(&img, k->image, k->image_len, err);
    if (rc < 0)
        return rc;
    k->setup_len = (size_t)(img.kernel - k->image);
    if (k->setup_len > SETUP_MAX)
        return err_set(err, -EINVAL,
                       "its real-mode part of %zu bytes is longer than 32 KiB",
                       k->setup_len);
    if (strlen(k->cmdline) > img.cmdline_max)
        return err_set(err, -EINVAL,
                       "the command line of %zu bytes is longer than the "
                       "kernel's limit of %u",
                       strlen(k->cmdline), (unsigned)img.cmdline_max);
    rc = place_initrd(k, &img, low_end, &initrd, err);
    if (rc < 0)
        return rc;
    fill_header(k, initrd);
    make_rom(k, initrd);
    return 0;
}

int fw_kernel_add(struct fw_kernel *k, struct fw_cfg *fw)
{
    fw_cfg_set_item(fw, FW_CFG_SETUP_DATA, k->image, k->setup_len);
    fw_cfg_set_item(fw, FW_CFG_KERNEL_DATA, k->image + k->setup_len,
                    k->image_len - k->setup_len);
    fw_cfg_set_item(fw, FW_CFG_CMDLINE_DATA, k->cmdline,
                    strlen(k->cmdline) + 1);
    fw_cfg_set_item(fw, FW_CFG_INITRD_DATA, k->initrd, k->initrd_len);
    return fw_cfg_add_file(fw, FW_KERNEL_ROM, k->rom, sizeof(k->rom));
}

void fw_kernel_fini(struct fw_kernel *k)
{
    free(k->image);
    free(k->initrd);
    k->image = k->initrd = NULL;
}
