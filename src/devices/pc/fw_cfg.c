#include "devices/pc/fw_cfg.h"

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
#define ID_TRADITIONAL 0x01u   /* the port interface, no DMA */

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

static uint8_t fw_cfg_byte(const struct fw_cfg *fw, unsigned item, uint32_t off)
{
    switch (item) {
    case FW_CFG_SIGNATURE: return off < 4 ? (uint8_t) "QEMU"[off] : 0;
    case FW_CFG_ID: return number_byte(ID_TRADITIONAL, 4, off);
    case FW_CFG_RAM_SIZE: return number_byte(fw->ram_bytes, 8, off);
    case FW_CFG_NB_CPUS:
    case FW_CFG_MAX_CPUS: return number_byte(fw->cpus, 2, off);
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

/* --- Life --------------------------------------------------------------- */

void fw_cfg_reset(struct fw_cfg *fw)
{
    memset(&fw->st, 0, sizeof(fw->st));
}

void fw_cfg_init(struct fw_cfg *fw, uint64_t ram_bytes, unsigned cpus)
{
    _Static_assert(sizeof(fw->dir) == DIR_HEADER + DIR_ENTRY * FW_CFG_FILES,
                   "the directory holds all files");
    memset(fw, 0, sizeof(*fw));
    lock_init_ranked(&fw->lock, LOCK_RANK_DEVICE);
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
