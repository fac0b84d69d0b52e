#include "devices/pc/flash.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

/*
 * Left out on purpose: buffered programming, locks and suspension, which no
 * firmware of PCs asks for. Programming and erasing are done at once, so the
 * chip is never busy. As QEMU's, and other than Intel's, it shows "ready" only
 * after an operation: clearing the status makes it 0, by which OVMF knows it.
 */

enum {
    CMD_PROGRAM = 0x10,
    CMD_ERASE = 0x20,
    CMD_PROGRAM2 = 0x40, /* the same as 0x10 */
    CMD_CLEAR = 0x50,
    CMD_STATUS = 0x70,
    CMD_ID = 0x90,
    CMD_QUERY = 0x98,
    CMD_CONFIRM = 0xd0,
    CMD_ARRAY = 0xff
};

#define STATUS_READY       0x80u
#define STATUS_ERASE_BAD   0x20u
#define STATUS_PROGRAM_BAD 0x10u
#define STATUS_ALL         (STATUS_READY | STATUS_ERASE_BAD | STATUS_PROGRAM_BAD)

enum { ID_MAKER = 0x89, ID_CHIP = 0x18 };

/* CFI query (JESD68.01, 2.4): what is behind "QRY" at 0x10. */
static uint8_t query_byte(const struct flash *fl, uint64_t off)
{
    size_t sectors = fl->size / FLASH_SECTOR;
    uint8_t log = 0;

    while (((size_t)1 << log) < fl->size)
        log++;
    switch (off) {
    case 0x10: return 'Q';
    case 0x11: return 'R';
    case 0x12: return 'Y';
    case 0x13: return 0x01; /* command set 0001 */
    case 0x15: return 0x31; /* its table: there is none */
    case 0x1b: return 0x45; /* supply voltages, 4.5 to 5.5 */
    case 0x1c: return 0x55;
    case 0x27: return log;
    case 0x2c: return 1; /* one region of sectors */
    case 0x2d: return (uint8_t)(sectors - 1);
    case 0x2e: return (uint8_t)((sectors - 1) >> 8);
    case 0x2f: return (uint8_t)(FLASH_SECTOR >> 8);
    case 0x30: return (uint8_t)(FLASH_SECTOR >> 16);
    default: return 0;
    }
}

static uint8_t flash_byte(const struct flash *fl, uint64_t off)
{
    switch (fl->st.command) {
    case CMD_ARRAY: return fl->data[off];
    case CMD_ID: return (off & 0xff) == 0 ? ID_MAKER : ID_CHIP;
    case CMD_QUERY: return query_byte(fl, off);
    default: return fl->st.status;
    }
}

static uint64_t flash_read(void *dev, uint64_t off, unsigned size)
{
    const struct flash *fl = dev;
    uint64_t val = 0;

    for (unsigned i = 0; i < size; i++)
        val |= (uint64_t)flash_byte(fl, off + i) << (8 * i);
    return val;
}

/* The new contents of [off, off + len) are at p; bad is the bit for failure. */
static void change(struct flash *fl, uint64_t off, const uint8_t *p, size_t len,
                   unsigned bad)
{
    if (fl->back.store && fl->back.store(fl->back.opaque, off, p, len) < 0)
        fl->st.status |= (uint8_t)bad;
    else
        memcpy(fl->data + off, p, len);
    fl->st.status |= STATUS_READY;
}

/* Programming clears bits; only erasing sets them. */
static void program(struct flash *fl, uint64_t off, uint8_t val)
{
    val &= fl->data[off];
    change(fl, off, &val, 1, STATUS_PROGRAM_BAD);
}

static void erase(struct flash *fl, uint64_t off, uint8_t confirm)
{
    uint8_t ones[FLASH_SECTOR];

    if (confirm != CMD_CONFIRM) {
        fl->st.status |= STATUS_READY | STATUS_ERASE_BAD | STATUS_PROGRAM_BAD;
        return;
    }
    memset(ones, 0xff, sizeof(ones));
    change(fl, off & ~(uint64_t)(FLASH_SECTOR - 1), ones, sizeof(ones),
           STATUS_ERASE_BAD);
}

static void begin(struct flash *fl, uint8_t command)
{
    switch (command) {
    case CMD_PROGRAM:
    case CMD_PROGRAM2:
    case CMD_ERASE: fl->st.second = true; break;
    case CMD_STATUS:
    case CMD_ID:
    case CMD_QUERY: break;
    case CMD_CLEAR:
        fl->st.status = 0;
        command = CMD_ARRAY;
        break;
    default: command = CMD_ARRAY; break;
    }
    fl->st.command = command;
}

static void flash_write_byte(struct flash *fl, uint64_t off, uint8_t val)
{
    if (!fl->st.second) {
        begin(fl, val);
        return;
    }
    fl->st.second = false;
    if (fl->st.command == CMD_ERASE)
        erase(fl, off, val);
    else
        program(fl, off, val);
}

static void flash_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    for (unsigned i = 0; i < size; i++)
        flash_write_byte(dev, off + i, (uint8_t)(val >> (8 * i)));
}

const struct bus_ops flash_bus_ops = {.read = flash_read, .write = flash_write};

/* --- Life --------------------------------------------------------------- */

void flash_reset(struct flash *fl)
{
    fl->st = (struct flash_state){.command = CMD_ARRAY};
}

void flash_init(struct flash *fl, uint8_t *data, size_t size,
                const struct flash_backend *back)
{
    assert(size % FLASH_SECTOR == 0);
    memset(fl, 0, sizeof(*fl));
    lock_init_ranked(&fl->lock, LOCK_RANK_DEVICE);
    fl->data = data;
    fl->size = size;
    fl->back = *back;
    flash_reset(fl);
}

void flash_fini(struct flash *fl)
{
    lock_fini(&fl->lock);
}

static const struct state_field flash_fields[] = {
    STATE_FIELD(1, STATE_U8, struct flash_state, command),
    STATE_FIELD(2, STATE_U8, struct flash_state, second),
    STATE_FIELD(3, STATE_U8, struct flash_state, status),
};

/* A second write is waited for by programming and erasing alone. */
static int flash_check(const void *state)
{
    const struct flash_state *st = state;
    bool two = st->command == CMD_PROGRAM || st->command == CMD_PROGRAM2 ||
               st->command == CMD_ERASE;

    if (st->second > 1 || (st->second && !two) || (st->status & ~STATUS_ALL))
        return -EINVAL;
    return 0;
}

const struct state_desc flash_state_desc = {
    .name = "flash",
    .version = 1,
    STATE_LAYOUT(struct flash_state, flash_fields),
    .check = flash_check,
};

static void flash_class_reset(void *dev)
{
    flash_reset(dev);
}

const struct device_class flash_class = {
    .state = &flash_state_desc,
    .state_off = offsetof(struct flash, st),
    .reset = flash_class_reset,
};
