#include "devices/pc/i8237.h"

#include <string.h>

#include "base/bits.h"

/* Registers of a controller, behind those of its channels. */
enum {
    REG_COMMAND = 8, /* reads: status */
    REG_REQUEST,
    REG_MASK_ONE,
    REG_MODE,
    REG_CLEAR_HIGH,
    REG_MASTER_CLEAR, /* reads: the temporary register */
    REG_CLEAR_MASK,
    REG_MASK_ALL
};

enum { CHANNELS = 4 }; /* of one controller */

#define COMMAND_DISABLE 0x04u
#define MODE_TYPE       0x0cu
#define MODE_TO_MEMORY  0x04u
#define MODE_TO_DEVICE  0x08u
#define MODE_AUTO       0x10u
#define MODE_DOWN       0x20u
#define MASK_SET        0x04u
#define MASK_ALL        0x0fu

/* --- Moving --- */

/* The page registers' ports, less 0x80. */
static const uint8_t page_of[I8237_CHANNELS] = {7, 3, 1, 2, 0xf, 0xb, 9, 0xa};

static bool is_open(const struct i8237 *dma, unsigned channel)
{
    unsigned n = channel / CHANNELS, bit = 1u << channel % CHANNELS;

    return !(dma->st.mask[n] & bit) && !(dma->st.command[n] & COMMAND_DISABLE);
}

static void tell(struct i8237 *dma, unsigned channel)
{
    const struct i8237_user *u = &dma->user[channel];
    unsigned bit = 1u << channel % CHANNELS;

    if (u->ready && (dma->st.request[channel / CHANNELS] & bit) &&
        is_open(dma, channel))
        u->ready(u->opaque);
}

static void tell_all(struct i8237 *dma, unsigned n)
{
    for (unsigned i = 0; i < CHANNELS; i++)
        tell(dma, n * CHANNELS + i);
}

void i8237_request(struct i8237 *dma, unsigned channel, bool level)
{
    uint8_t *request = &dma->st.request[channel / CHANNELS];
    unsigned bit = 1u << channel % CHANNELS;

    *request = (uint8_t)(level ? *request | bit : *request & ~bit);
    tell(dma, channel);
}

/* The counters carry into no page: an address wraps within its 64 K units. */
static gpa_t address(const struct i8237 *dma, unsigned channel)
{
    gpa_t page = dma->st.page[page_of[channel]];

    if (channel < CHANNELS)
        return page << 16 | dma->st.addr[channel];
    return (page & 0xfe) << 16 | (gpa_t)dma->st.addr[channel] << 1;
}

static void move_unit(struct i8237 *dma, unsigned channel, uint8_t *p,
                      bool to_memory)
{
    size_t unit = channel < CHANNELS ? 1 : 2;
    unsigned type = dma->st.mode[channel] & MODE_TYPE;
    gpa_t gpa = address(dma, channel);
    bool moved = false;

    if (to_memory && type == MODE_TO_MEMORY)
        moved = gmem_write(dma->gm, gpa, p, unit) == 0;
    else if (!to_memory && type == MODE_TO_DEVICE)
        moved = gmem_read(dma->gm, gpa, p, unit) == 0;
    if (!moved && !to_memory)
        memset(p, 0, unit);
}

/* Returns how many units go by in one piece: up to the end of the count, and of
 * the addresses. */
static size_t piece(const struct i8237 *dma, unsigned channel, size_t units)
{
    size_t left = (size_t)dma->st.count[channel] + 1;
    size_t room = 0x10000 - (size_t)dma->st.addr[channel];

    if (dma->st.mode[channel] & MODE_DOWN)
        return 1;
    if (units > left)
        units = left;
    return units < room ? units : room;
}

/* True if all of the piece is memory; else it is moved unit by unit. */
static bool move_piece(struct i8237 *dma, unsigned channel, uint8_t *p,
                       size_t len, bool to_memory)
{
    unsigned type = dma->st.mode[channel] & MODE_TYPE;
    gpa_t gpa = address(dma, channel);

    if (to_memory)
        return type == MODE_TO_MEMORY && gmem_write(dma->gm, gpa, p, len) == 0;
    return type == MODE_TO_DEVICE && gmem_read(dma->gm, gpa, p, len) == 0;
}

/* Returns whether that was the last. */
static bool step(struct i8237 *dma, unsigned channel, size_t units)
{
    struct i8237_state *st = &dma->st;
    bool last = units > st->count[channel];

    if (st->mode[channel] & MODE_DOWN)
        st->addr[channel] = (uint16_t)(st->addr[channel] - units);
    else
        st->addr[channel] = (uint16_t)(st->addr[channel] + units);
    st->count[channel] = (uint16_t)(st->count[channel] - units);
    if (!last)
        return false;
    st->done[channel / CHANNELS] |= (uint8_t)(1u << channel % CHANNELS);
    if (st->mode[channel] & MODE_AUTO) {
        st->addr[channel] = st->base_addr[channel];
        st->count[channel] = st->base_count[channel];
    } else {
        st->mask[channel / CHANNELS] |= (uint8_t)(1u << channel % CHANNELS);
    }
    return true;
}

size_t i8237_move(struct i8237 *dma, unsigned channel, void *buf, size_t len,
                  bool to_memory, bool *end)
{
    size_t unit = channel < CHANNELS ? 1 : 2, done = 0;

    *end = false;
    while (!*end && len - done >= unit && is_open(dma, channel)) {
        size_t units = piece(dma, channel, (len - done) / unit);
        uint8_t *p = (uint8_t *)buf + done;

        if (units == 1 ||
            !move_piece(dma, channel, p, units * unit, to_memory)) {
            move_unit(dma, channel, p, to_memory);
            units = 1;
        }
        *end = step(dma, channel, units);
        done += units * unit;
    }
    return done;
}

/* --- Registers --- */

static uint8_t half(const struct i8237 *dma, unsigned n, uint16_t val)
{
    return (uint8_t)(dma->st.high[n] ? val >> 8 : val);
}

static uint8_t read_reg(struct i8237 *dma, unsigned n, unsigned reg)
{
    struct i8237_state *st = &dma->st;
    unsigned channel = n * CHANNELS + reg / 2;
    uint8_t val = 0;

    if (reg < REG_COMMAND) {
        val = half(dma, n, reg & 1 ? st->count[channel] : st->addr[channel]);
        st->high[n] = !st->high[n];
    } else if (reg == REG_COMMAND) {
        val = (uint8_t)(st->done[n] | st->request[n] << 4);
        st->done[n] = 0;
    } else if (reg == REG_MASK_ALL) {
        val = (uint8_t)(st->mask[n] | 0xf0u);
    }
    return val;
}

static void write_half(struct i8237 *dma, unsigned n, uint16_t *base,
                       uint16_t *now, uint8_t val)
{
    *base = (uint16_t)(dma->st.high[n] ? (*base & 0xff) | val << 8
                                       : (*base & 0xff00) | val);
    *now = *base;
    dma->st.high[n] = !dma->st.high[n];
}

static void master_clear(struct i8237 *dma, unsigned n)
{
    dma->st.command[n] = 0;
    dma->st.done[n] = 0;
    dma->st.high[n] = false;
    dma->st.mask[n] = MASK_ALL;
}

static void write_mask(struct i8237 *dma, unsigned n, uint8_t val)
{
    unsigned bit = 1u << (val & 3);

    dma->st.mask[n] = (uint8_t)(val & MASK_SET ? dma->st.mask[n] | bit
                                               : dma->st.mask[n] & ~bit);
}

/* Requests by software, for memory to memory, are not made on a PC. */
static void write_reg(struct i8237 *dma, unsigned n, unsigned reg, uint8_t val)
{
    struct i8237_state *st = &dma->st;
    unsigned channel = n * CHANNELS + (reg < REG_COMMAND ? reg / 2 : val & 3u);

    switch (reg) {
    case REG_COMMAND: st->command[n] = val; break;
    case REG_REQUEST: break;
    case REG_MASK_ONE: write_mask(dma, n, val); break;
    case REG_MODE: st->mode[channel] = val; break;
    case REG_CLEAR_HIGH: st->high[n] = false; break;
    case REG_MASTER_CLEAR: master_clear(dma, n); break;
    case REG_CLEAR_MASK: st->mask[n] = 0; break;
    case REG_MASK_ALL: st->mask[n] = val & MASK_ALL; break;
    default:
        if (reg & 1)
            write_half(dma, n, &st->base_count[channel], &st->count[channel],
                       val);
        else
            write_half(dma, n, &st->base_addr[channel], &st->addr[channel],
                       val);
        return;
    }
    tell_all(dma, n);
}

static uint64_t low_read(void *dev, uint64_t off, unsigned size)
{
    (void)size;
    return read_reg(dev, 0, (unsigned)off);
}

static void low_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    (void)size;
    write_reg(dev, 0, (unsigned)off, (uint8_t)val);
}

const struct bus_ops i8237_bus_ops = {
    .read = low_read, .write = low_write, .max_size = 1};

/* The second controller's address lines are one higher. */
static uint64_t high_read(void *dev, uint64_t off, unsigned size)
{
    (void)size;
    return read_reg(dev, 1, (unsigned)off / 2);
}

static void high_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    (void)size;
    write_reg(dev, 1, (unsigned)off / 2, (uint8_t)val);
}

const struct bus_ops i8237_high_bus_ops = {
    .read = high_read, .write = high_write, .max_size = 1};

static uint64_t page_read(void *dev, uint64_t off, unsigned size)
{
    const struct i8237 *dma = dev;

    (void)size;
    return dma->st.page[off + 1];
}

static void page_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    struct i8237 *dma = dev;

    (void)size;
    dma->st.page[off + 1] = (uint8_t)val;
}

const struct bus_ops i8237_page_bus_ops = {
    .read = page_read, .write = page_write, .max_size = 1};

/* --- Life --- */

static void i8237_reset(void *dev)
{
    struct i8237 *dma = dev;

    memset(&dma->st, 0, sizeof(dma->st));
    dma->st.mask[0] = MASK_ALL;
    dma->st.mask[1] = MASK_ALL;
}

void i8237_init(struct i8237 *dma, struct gmem *gm)
{
    memset(dma, 0, sizeof(*dma));
    dma->gm = gm;
    i8237_reset(dma);
}

void i8237_connect(struct i8237 *dma, unsigned channel,
                   void (*ready)(void *opaque), void *opaque)
{
    dma->user[channel] = (struct i8237_user){ready, opaque};
}

#define FIELD(id_, type_, memb)                                                \
    STATE_FIELD(id_, type_, struct i8237_state, memb)

static const struct state_field fields[] = {
    FIELD(1, STATE_U16, base_addr), FIELD(2, STATE_U16, base_count),
    FIELD(3, STATE_U16, addr),      FIELD(4, STATE_U16, count),
    FIELD(5, STATE_U8, mode),       FIELD(6, STATE_U8, page),
    FIELD(7, STATE_U8, command),    FIELD(8, STATE_U8, mask),
    FIELD(9, STATE_U8, done),       FIELD(10, STATE_U8, request),
    FIELD(11, STATE_BOOL, high),
};

const struct state_desc i8237_state_desc = {
    .name = "i8237", .version = 1, STATE_LAYOUT(struct i8237_state, fields)};

const struct device_class i8237_class = {
    .state = &i8237_state_desc,
    .state_off = offsetof(struct i8237, st),
    .reset = i8237_reset,
};
