#include "devices/pc/fw_cfg.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/endian.h"

/*
 * Firmware configuration device (QEMU: docs/specs/fw_cfg.rst). An item is an
 * array of bytes that is read one after the other; after its end, and for an
 * item that does not exist, zeros follow.
 */

#define SELECT_WRITE   0x4000u /* write channel: gone since QEMU 2.4, ignored */
#define ID_TRADITIONAL 0x01u   /* the port interface */
#define ID_DMA         0x02u

/* Directory: a big-endian count, then for each file size, selector, two
 * reserved bytes and the name. */
enum { DIR_HEADER = 4, DIR_ENTRY = 64, DIR_SELECT = 4, DIR_NAME = 8 };

/* Byte off of a little-endian number, 0 behind its end. */
static uint8_t number_byte(uint64_t val, unsigned size, uint32_t off)
{
    return (uint8_t)(off < size ? val >> (8 * off) : 0);
}

static uint8_t fw_cfg_file_byte(const struct fw_cfg *fw, unsigned n,
                                uint32_t off)
{
    return n < fw->nr_files && off < fw->file[n].len ? fw->file[n].data[off]
                                                     : 0;
}

static uint8_t blob_byte(const struct fw_cfg_blob *b, uint32_t off)
{
    return off < b->len ? b->data[off] : 0;
}

static uint8_t fw_cfg_byte(const struct fw_cfg *fw, unsigned item, uint32_t off)
{
    switch (item) {
    case FW_CFG_SIGNATURE: return off < 4 ? (uint8_t) "QEMU"[off] : 0;
    case FW_CFG_ID:
        return number_byte(ID_TRADITIONAL | (fw->gm ? ID_DMA : 0), 4, off);
    case FW_CFG_RAM_SIZE: return number_byte(fw->ram_bytes, 8, off);
    case FW_CFG_NB_CPUS:
    case FW_CFG_MAX_CPUS: return number_byte(fw->cpus, 2, off);
    case FW_CFG_BOOT_MENU: return number_byte(fw->boot_menu, 2, off);
    case FW_CFG_IRQ0_OVERRIDE: return number_byte(1, 4, off);
    case FW_CFG_KERNEL_SIZE: return number_byte(fw->kernel.len, 4, off);
    case FW_CFG_INITRD_SIZE: return number_byte(fw->initrd.len, 4, off);
    case FW_CFG_CMDLINE_SIZE: return number_byte(fw->cmdline.len, 4, off);
    case FW_CFG_SETUP_SIZE: return number_byte(fw->setup.len, 4, off);
    case FW_CFG_KERNEL_DATA: return blob_byte(&fw->kernel, off);
    case FW_CFG_INITRD_DATA: return blob_byte(&fw->initrd, off);
    case FW_CFG_CMDLINE_DATA: return blob_byte(&fw->cmdline, off);
    case FW_CFG_SETUP_DATA: return blob_byte(&fw->setup, off);
    case FW_CFG_FILE_DIR: return off < sizeof(fw->dir) ? fw->dir[off] : 0;
    default:
        if (item < FW_CFG_FILE_FIRST)
            return 0;
        return fw_cfg_file_byte(fw, item - FW_CFG_FILE_FIRST, off);
    }
}

static uint64_t fw_cfg_read(void *dev, uint64_t off, unsigned size)
{
    struct fw_cfg *fw = dev;
    uint8_t val;

    if (off != 1 || size != 1)
        return 0; /* the selector cannot be read */
    val = fw_cfg_byte(fw, fw->st.selector, fw->st.offset);
    if (fw->st.offset < UINT32_MAX)
        fw->st.offset++;
    return val;
}

static void fw_cfg_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    struct fw_cfg *fw = dev;

    if (off != 0 || size != 2)
        return;
    fw->st.selector = (uint16_t)(val & ~SELECT_WRITE);
    fw->st.offset = 0;
}

const struct bus_ops fw_cfg_bus_ops = {
    .read = fw_cfg_read, .write = fw_cfg_write, .min_size = 1, .max_size = 2};

/* --- DMA ---------------------------------------------------------------- */

/* The access structure in guest memory, big-endian: control, length, address.
 * The upper half of control is an item to select. */
enum { DMA_LENGTH = 4, DMA_ADDRESS = 8, DMA_SIZE = 16 };
#define DMA_ERROR  0x01u
#define DMA_READ   0x02u
#define DMA_SKIP   0x04u
#define DMA_SELECT 0x08u
#define DMA_WRITE  0x10u

enum { DMA_CHUNK = 512 };

static void fw_cfg_skip(struct fw_cfg *fw, uint32_t len)
{
    if (len > UINT32_MAX - fw->st.offset)
        fw->st.offset = UINT32_MAX;
    else
        fw->st.offset += len;
}

/* At most 2^32 bytes, and no more than the guest has memory: what lies outside
 * ends it. */
static int dma_read(struct fw_cfg *fw, gpa_t gpa, uint32_t len)
{
    uint8_t buf[DMA_CHUNK];

    while (len > 0) {
        uint32_t run = len < DMA_CHUNK ? len : DMA_CHUNK;
        int rc;

        for (uint32_t i = 0; i < run; i++) {
            buf[i] = fw_cfg_byte(fw, fw->st.selector, fw->st.offset);
            fw_cfg_skip(fw, 1);
        }
        rc = gmem_write(fw->gm, gpa, buf, run);
        if (rc < 0)
            return rc;
        gpa += run;
        len -= run;
    }
    return 0;
}

static void dma_run(struct fw_cfg *fw, gpa_t gpa)
{
    uint8_t access[DMA_SIZE], result[4];
    uint32_t control, len;
    int rc = 0;

    if (gmem_read(fw->gm, gpa, access, sizeof(access)) < 0)
        return; /* there is nowhere to say so */
    control = get_be32(access);
    len = get_be32(access + DMA_LENGTH);
    if (control & DMA_SELECT) {
        fw->st.selector = (uint16_t)(control >> 16 & ~SELECT_WRITE);
        fw->st.offset = 0;
    }
    if (control & DMA_READ)
        rc = dma_read(fw, get_be64(access + DMA_ADDRESS), len);
    else if (control & DMA_WRITE)
        rc = -EROFS;
    else if (control & DMA_SKIP)
        fw_cfg_skip(fw, len);
    put_be32(result, rc < 0 ? DMA_ERROR : 0);
    (void)!gmem_write(fw->gm, gpa, result, sizeof(result));
}

/* The register reads as a signature, byte by byte; it is big-endian. */
static uint64_t dma_port_read(void *dev, uint64_t off, unsigned size)
{
    const struct fw_cfg *fw = dev;

    (void)size; /* always 4 */
    return fw->gm ? get_le32((const uint8_t *)"QEMU CFG" + off) : 0;
}

static void dma_port_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    struct fw_cfg *fw = dev;
    uint32_t half = __builtin_bswap32((uint32_t)val);
    gpa_t gpa;

    (void)size;
    if (off == 0) {
        fw->st.dma_high = half;
        return;
    }
    gpa = (gpa_t)fw->st.dma_high << 32 | half;
    fw->st.dma_high = 0;
    if (fw->gm)
        dma_run(fw, gpa);
}

const struct bus_ops fw_cfg_dma_bus_ops = {.read = dma_port_read,
                                           .write = dma_port_write,
                                           .min_size = 4,
                                           .max_size = 4};

/* --- Files -------------------------------------------------------------- */

int fw_cfg_add_file(struct fw_cfg *fw, const char *name, const void *data,
                    size_t len)
{
    struct fw_cfg_file *f = &fw->file[fw->nr_files];
    uint8_t *entry = fw->dir + DIR_HEADER + (size_t)DIR_ENTRY * fw->nr_files;
    unsigned i;

    if (fw->nr_files == FW_CFG_FILES)
        return -ENOSPC;
    if (strlen(name) >= FW_CFG_NAME || len > UINT32_MAX)
        return -EINVAL;
    for (i = 0; i < fw->nr_files; i++) {
        if (strcmp(fw->file[i].name, name) == 0)
            return -EINVAL;
    }
    memcpy(f->name, name, strlen(name) + 1);
    f->data = data;
    f->len = (uint32_t)len;
    put_be32(entry, f->len);
    put_be16(entry + DIR_SELECT, (uint16_t)(FW_CFG_FILE_FIRST + fw->nr_files));
    memcpy(entry + DIR_NAME, f->name, FW_CFG_NAME);
    fw->nr_files++;
    put_be32(fw->dir, fw->nr_files);
    return 0;
}

void fw_cfg_set_item(struct fw_cfg *fw, unsigned item, const void *data,
                     size_t len)
{
    const struct fw_cfg_blob b = {data, (uint32_t)len};

    assert(len <= UINT32_MAX);
    switch (item) {
    case FW_CFG_KERNEL_DATA: fw->kernel = b; break;
    case FW_CFG_INITRD_DATA: fw->initrd = b; break;
    case FW_CFG_CMDLINE_DATA: fw->cmdline = b; break;
    case FW_CFG_SETUP_DATA: fw->setup = b; break;
    default: assert(false);
    }
}

/* --- Life --------------------------------------------------------------- */

void fw_cfg_reset(struct fw_cfg *fw)
{
    memset(&fw->st, 0, sizeof(fw->st));
}

void fw_cfg_init(struct fw_cfg *fw, struct gmem *gm, uint64_t ram_bytes,
                 unsigned cpus)
{
    _Static_assert(sizeof(fw->dir) == DIR_HEADER + DIR_ENTRY * FW_CFG_FILES,
                   "the directory holds all files");
    memset(fw, 0, sizeof(*fw));
    lock_init_ranked(&fw->lock, LOCK_RANK_DEVICE);
    fw->gm = gm;
    fw->ram_bytes = ram_bytes;
    fw->cpus = (uint16_t)cpus;
}

void fw_cfg_fini(struct fw_cfg *fw)
{
    lock_fini(&fw->lock);
}

static const struct state_field fw_cfg_fields[] = {
    STATE_FIELD(1, STATE_U32, struct fw_cfg_state, offset),
    STATE_FIELD(2, STATE_U16, struct fw_cfg_state, selector),
    STATE_FIELD(3, STATE_U32, struct fw_cfg_state, dma_high),
};

const struct state_desc fw_cfg_state_desc = {
    .name = "fw_cfg",
    .version = 1,
    STATE_LAYOUT(struct fw_cfg_state, fw_cfg_fields),
};

static void fw_cfg_class_reset(void *dev)
{
    fw_cfg_reset(dev);
}

const struct device_class fw_cfg_class = {
    .state = &fw_cfg_state_desc,
    .state_off = offsetof(struct fw_cfg, st),
    .reset = fw_cfg_class_reset,
};
