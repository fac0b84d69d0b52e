#include "devices/pc/i8254.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/clock.h"
#include "devices/pc/phase.h"

/*
 * Programmable interval timer (8254 data sheet; "mode definitions" for
 * what the six modes do).
 *
 * Nothing ticks: a counter's value and output are computed from the time since
 * counting began, so the phase is exact however late the host looks. Only
 * channel 0 has an event timer, armed for each rising edge of its output. An
 * edge that the host was late for is made up for at twice the rate, so guests
 * that count ticks keep time; after more than a second they are skipped.
 *
 * One difference to the chip: a count written while modes 2 and 3 run starts
 * a new period at once instead of at the end of the old one.
 */

enum { ACCESS_LATCH = 0, ACCESS_LOW = 1, ACCESS_HIGH = 2, ACCESS_BOTH = 3 };

#define STATUS_OUT  0x80u
#define STATUS_NULL 0x40u

#define PORT61_GATE2   0x01u
#define PORT61_SPEAKER 0x02u
#define PORT61_REFRESH 0x10u
#define PORT61_OUT2    0x20u
/* DRAM was refreshed every 15 us; the bit flips each time. */
#define REFRESH_NS 15085u

/* Edges that come faster are thinned out, as a guest must not be able to keep
 * the event loop busy for ever. */
#define MIN_PERIOD_NS 50000u

__extension__ typedef unsigned __int128 u128;

static uint64_t ns_to_clocks(uint64_t ns)
{
    return (uint64_t)((u128)ns * I8254_HZ / NS_PER_SEC);
}

/* Rounded up: at that time the clock has happened. */
static uint64_t clocks_to_ns(uint64_t clocks)
{
    return (uint64_t)(((u128)clocks * NS_PER_SEC + I8254_HZ - 1) / I8254_HZ);
}

/* --- One counter -------------------------------------------------------- */

static bool is_periodic(const struct i8254_channel *ch)
{
    return ch->mode == 2 || ch->mode == 3;
}

/* Modes that wait for a rising gate. */
static bool is_triggered(const struct i8254_channel *ch)
{
    return ch->mode == 1 || ch->mode == 5;
}

static uint64_t channel_elapsed(const struct i8254_channel *ch, uint64_t now)
{
    if (!ch->running)
        return ch->held;
    return ns_to_clocks(now - ch->start_ns);
}

static uint16_t to_bcd(uint64_t val)
{
    return (uint16_t)(val % 10 | val / 10 % 10 << 4 | val / 100 % 10 << 8 |
                      val / 1000 % 10 << 12);
}

static uint32_t from_bcd(uint16_t val)
{
    return (val & 15u) + (val >> 4 & 15u) * 10 + (val >> 8 & 15u) * 100 +
           (val >> 12 & 15u) * 1000;
}

static uint16_t channel_value(const struct i8254_channel *ch, uint64_t now)
{
    uint64_t e = channel_elapsed(ch, now);
    uint64_t val;

    if (!ch->loaded)
        return 0;
    if (ch->mode == 3) /* counts by twos, twice a period */
        val = ch->count - 2 * e % (ch->count & ~1u);
    else if (ch->mode == 2)
        val = ch->count - e % ch->count;
    else /* goes on below zero */
        val = ch->bcd ? ch->count + 10000 - e % 10000 : ch->count - e;
    return ch->bcd ? to_bcd(val % 10000) : (uint16_t)val;
}

static bool channel_out(const struct i8254_channel *ch, uint64_t now)
{
    uint64_t e = channel_elapsed(ch, now);

    if (!ch->loaded)
        return ch->mode != 0;
    switch (ch->mode) {
    case 0: return e >= ch->count;
    case 1: return !ch->running || e >= ch->count;
    case 2: return !ch->running || e % ch->count != ch->count - 1;
    case 3: return !ch->running || e % ch->count < (ch->count + 1) / 2;
    default: return e != ch->count;
    }
}

/* Restart counting from the whole count, if the gate lets it. */
static void channel_start(struct i8254_channel *ch, uint64_t now)
{
    ch->held = 0;
    ch->start_ns = now;
    ch->running = ch->loaded && ch->gate && !is_triggered(ch);
}

static void channel_load(struct i8254_channel *ch, uint16_t val, uint64_t now)
{
    ch->count = ch->bcd ? from_bcd(val) : val;
    if (ch->count == 0)
        ch->count = ch->bcd ? 10000 : 0x10000;
    if (ch->count == 1 && is_periodic(ch))
        ch->count = 2; /* 1 is illegal there */
    ch->loaded = 1;
    channel_start(ch, now);
}

static void channel_set_gate(struct i8254_channel *ch, bool gate, uint64_t now)
{
    uint64_t e = channel_elapsed(ch, now);

    if (gate == ch->gate)
        return;
    ch->gate = gate;
    if (is_triggered(ch)) {
        if (gate && ch->loaded) {
            ch->start_ns = now;
            ch->running = 1;
        }
    } else if (is_periodic(ch)) {
        channel_start(ch, now);
    } else if (!gate) {
        ch->running = 0;
        ch->held = e < 0x100000 ? (uint32_t)e : 0x100000 + (e & 0xffff);
    } else if (ch->loaded) {
        ch->start_ns = now - clocks_to_ns(ch->held);
        ch->running = 1;
    }
}

static void channel_latch_count(struct i8254_channel *ch, uint64_t now)
{
    if (ch->latched)
        return;
    ch->latch = channel_value(ch, now);
    ch->latched = ch->access == ACCESS_BOTH ? 2 : 1;
}

static void channel_latch_status(struct i8254_channel *ch, uint64_t now)
{
    if (ch->status_latched)
        return;
    ch->status =
        (uint8_t)((channel_out(ch, now) ? STATUS_OUT : 0) |
                  (ch->loaded ? 0 : STATUS_NULL) | (unsigned)ch->access << 4 |
                  (unsigned)ch->mode << 1 | ch->bcd);
    ch->status_latched = 1;
}

static uint8_t channel_read(struct i8254_channel *ch, uint64_t now)
{
    uint16_t val;

    if (ch->status_latched) {
        ch->status_latched = 0;
        return ch->status;
    }
    if (ch->latched) {
        bool high = ch->access == ACCESS_HIGH ||
                    (ch->access == ACCESS_BOTH && ch->latched == 1);

        ch->latched--;
        return (uint8_t)(high ? ch->latch >> 8 : ch->latch);
    }
    val = channel_value(ch, now);
    if (ch->access == ACCESS_HIGH)
        return (uint8_t)(val >> 8);
    if (ch->access != ACCESS_BOTH)
        return (uint8_t)val;
    ch->read_high = !ch->read_high;
    return (uint8_t)(ch->read_high ? val : val >> 8);
}

/* --- Channel 0 and IRQ 0 ------------------------------------------------ */

static void i8254_drive(struct i8254 *pit, bool level)
{
    pit->st.out0 = level;
    if (!pit->st.irq_masked)
        irq_set(&pit->irq, level);
}

/* Clock of the first rising edge of channel 0 after start, or 0. */
static uint64_t i8254_first_edge(const struct i8254_channel *ch)
{
    if (!ch->running)
        return 0;
    return ch->mode >= 4 ? (uint64_t)ch->count + 1 : ch->count;
}

/* When the edge at st.tick is due; now if it is late. */
static uint64_t i8254_tick_ns(const struct i8254 *pit, uint64_t now)
{
    return phase_deadline(pit->st.ch[0].start_ns, clocks_to_ns(pit->st.tick),
                          now);
}

/* Channel 0 was programmed. */
static void i8254_restart(struct i8254 *pit, uint64_t now)
{
    const struct i8254_channel *ch = &pit->st.ch[0];

    i8254_drive(pit, channel_out(ch, now));
    pit->st.tick = i8254_first_edge(ch);
    if (pit->st.tick && !pit->st.irq_masked)
        timer_arm(&pit->timer, i8254_tick_ns(pit, now));
    else
        timer_cancel(&pit->timer);
}

/* Choose the edge after the one at st.tick and arm for it. */
static void i8254_next(struct i8254 *pit, uint64_t now)
{
    const struct i8254_channel *ch = &pit->st.ch[0];
    uint64_t clocks = channel_elapsed(ch, now);
    uint64_t period_ns = clocks_to_ns(ch->count);
    uint64_t at;

    if (!is_periodic(ch)) {
        pit->st.tick = 0;
        return;
    }
    if (clocks > pit->st.tick &&
        (clocks - pit->st.tick > I8254_HZ || period_ns < MIN_PERIOD_NS))
        pit->st.tick += (clocks - pit->st.tick) / ch->count * ch->count;
    pit->st.tick += ch->count;
    at = i8254_tick_ns(pit, now);
    if (at < now + period_ns / 2)
        at = now + period_ns / 2; /* make up for late edges */
    if (at < now + MIN_PERIOD_NS && period_ns < MIN_PERIOD_NS)
        at = now + MIN_PERIOD_NS;
    timer_arm(&pit->timer, at);
}

static void i8254_tick(void *opaque)
{
    struct i8254 *pit = opaque;
    uint64_t now;

    lock_take(&pit->lock);
    now = clock_now_ns();
    if (pit->st.tick && !pit->st.irq_masked) {
        uint64_t at = i8254_tick_ns(pit, now);

        if (now < at) {
            timer_arm(&pit->timer, at); /* stale call */
        } else {
            i8254_drive(pit, false);
            i8254_drive(pit, true);
            i8254_next(pit, now);
        }
    }
    lock_drop(&pit->lock);
}

static void i8254_set_mask(void *opaque, unsigned n, bool level)
{
    struct i8254 *pit = opaque;

    (void)n;
    pit->st.irq_masked = level;
    if (!level) /* i8254_tick goes on from where it was */
        timer_arm(&pit->timer, clock_now_ns());
}

struct irq i8254_mask_wire(struct i8254 *pit)
{
    return (struct irq){i8254_set_mask, pit, 0};
}

/* --- Ports -------------------------------------------------------------- */

static void i8254_read_back(struct i8254 *pit, uint8_t val, uint64_t now)
{
    unsigned i;

    for (i = 0; i < I8254_CHANNELS; i++) {
        struct i8254_channel *ch = &pit->st.ch[i];

        if (!(val & (2u << i)))
            continue;
        if (!(val & 0x20))
            channel_latch_count(ch, now);
        if (!(val & 0x10))
            channel_latch_status(ch, now);
    }
}

static void i8254_control(struct i8254 *pit, uint8_t val, uint64_t now)
{
    unsigned n = val >> 6;
    struct i8254_channel *ch;

    if (n == I8254_CHANNELS) {
        i8254_read_back(pit, val, now);
        return;
    }
    ch = &pit->st.ch[n];
    if (((val >> 4) & 3) == ACCESS_LATCH) {
        channel_latch_count(ch, now);
        return;
    }
    ch->access = (val >> 4) & 3;
    ch->mode = (val >> 1) & 7;
    if (ch->mode > 5)
        ch->mode &= 3; /* 6 and 7 are 2 and 3 */
    ch->bcd = val & 1;
    ch->loaded = 0;
    ch->running = 0;
    ch->held = 0;
    ch->latched = 0;
    ch->status_latched = 0;
    ch->write_state = 0;
    ch->read_high = 0;
    if (n == 0)
        i8254_restart(pit, now);
}

static void i8254_write_count(struct i8254 *pit, unsigned n, uint8_t val,
                              uint64_t now)
{
    struct i8254_channel *ch = &pit->st.ch[n];

    switch (ch->access) {
    case ACCESS_LOW: channel_load(ch, val, now); break;
    case ACCESS_HIGH: channel_load(ch, (uint16_t)(val << 8), now); break;
    default:
        ch->write_state = !ch->write_state;
        if (ch->write_state) {
            ch->write_low = val;
            if (ch->mode == 0) { /* the first byte stops the counting */
                ch->held = 0;
                ch->running = 0;
            }
        } else {
            channel_load(ch, (uint16_t)(val << 8 | ch->write_low), now);
        }
        break;
    }
    if (n == 0)
        i8254_restart(pit, now);
}

static uint64_t i8254_read(void *dev, uint64_t off, unsigned size)
{
    struct i8254 *pit = dev;

    (void)size;
    if (off >= I8254_CHANNELS)
        return 0xff; /* the control word cannot be read */
    return channel_read(&pit->st.ch[off], clock_now_ns());
}

static void i8254_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    struct i8254 *pit = dev;

    (void)size;
    if (off >= I8254_CHANNELS)
        i8254_control(pit, (uint8_t)val, clock_now_ns());
    else
        i8254_write_count(pit, (unsigned)off, (uint8_t)val, clock_now_ns());
}

const struct bus_ops i8254_bus_ops = {
    .read = i8254_read, .write = i8254_write, .min_size = 1, .max_size = 1};

static uint64_t port61_read(void *dev, uint64_t off, unsigned size)
{
    const struct i8254 *pit = dev;
    uint64_t now = clock_now_ns();

    (void)off;
    (void)size;
    return pit->st.speaker | (now / REFRESH_NS % 2 ? PORT61_REFRESH : 0) |
           (channel_out(&pit->st.ch[2], now) ? PORT61_OUT2 : 0);
}

static void port61_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    struct i8254 *pit = dev;

    (void)off;
    (void)size;
    pit->st.speaker = val & (PORT61_GATE2 | PORT61_SPEAKER);
    channel_set_gate(&pit->st.ch[2], val & PORT61_GATE2, clock_now_ns());
}

const struct bus_ops i8254_port61_bus_ops = {
    .read = port61_read, .write = port61_write, .min_size = 1, .max_size = 1};

/* --- Life --------------------------------------------------------------- */

void i8254_reset(struct i8254 *pit)
{
    uint8_t masked = pit->st.irq_masked;
    unsigned i;

    timer_cancel(&pit->timer);
    memset(&pit->st, 0, sizeof(pit->st));
    for (i = 0; i < I8254_CHANNELS; i++) {
        pit->st.ch[i].access = ACCESS_BOTH;
        pit->st.ch[i].gate = i != 2;
    }
    pit->st.irq_masked = masked; /* a wire: who drives it resets it */
    i8254_drive(pit, false);
}

void i8254_init(struct i8254 *pit, struct irq irq, struct loop *loop)
{
    memset(pit, 0, sizeof(*pit));
    lock_init_ranked(&pit->lock, LOCK_RANK_DEVICE);
    timer_init(&pit->timer, loop, i8254_tick, pit);
    pit->irq = irq;
    i8254_reset(pit);
}

void i8254_fini(struct i8254 *pit)
{
    timer_cancel(&pit->timer);
    lock_fini(&pit->lock);
}

#define CHANNEL_FIELD(id, type, i, memb)                                       \
    STATE_FIELD(id, type, struct i8254_state, ch[i].memb)
/* 32 ids for each channel. */
#define CHANNEL_FIELDS(first, i)                                               \
    CHANNEL_FIELD((first) + 0, STATE_U64, i, start_ns),                        \
        CHANNEL_FIELD((first) + 1, STATE_U32, i, count),                       \
        CHANNEL_FIELD((first) + 2, STATE_U32, i, held),                        \
        CHANNEL_FIELD((first) + 3, STATE_U16, i, latch),                       \
        CHANNEL_FIELD((first) + 4, STATE_U8, i, latched),                      \
        CHANNEL_FIELD((first) + 5, STATE_U8, i, status),                       \
        CHANNEL_FIELD((first) + 6, STATE_U8, i, status_latched),               \
        CHANNEL_FIELD((first) + 7, STATE_U8, i, mode),                         \
        CHANNEL_FIELD((first) + 8, STATE_U8, i, bcd),                          \
        CHANNEL_FIELD((first) + 9, STATE_U8, i, access),                       \
        CHANNEL_FIELD((first) + 10, STATE_U8, i, write_state),                 \
        CHANNEL_FIELD((first) + 11, STATE_U8, i, write_low),                   \
        CHANNEL_FIELD((first) + 12, STATE_U8, i, read_high),                   \
        CHANNEL_FIELD((first) + 13, STATE_U8, i, gate),                        \
        CHANNEL_FIELD((first) + 14, STATE_U8, i, loaded),                      \
        CHANNEL_FIELD((first) + 15, STATE_U8, i, running)

static const struct state_field i8254_fields[] = {
    STATE_FIELD(1, STATE_U64, struct i8254_state, tick),
    STATE_FIELD(2, STATE_U8, struct i8254_state, out0),
    STATE_FIELD(3, STATE_U8, struct i8254_state, irq_masked),
    STATE_FIELD(4, STATE_U8, struct i8254_state, speaker),
    CHANNEL_FIELDS(32, 0),
    CHANNEL_FIELDS(64, 1),
    CHANNEL_FIELDS(96, 2),
};

static int i8254_check(const void *state)
{
    const struct i8254_state *st = state;
    unsigned i;

    for (i = 0; i < I8254_CHANNELS; i++) {
        const struct i8254_channel *ch = &st->ch[i];

        if (ch->mode > 5 || ch->access == 0 || ch->access > 3 || ch->bcd > 1 ||
            ch->latched > 2 || ch->count > 0x10000)
            return -EINVAL;
        /* Divisors: a count of 1 is refused at the write too. */
        if (ch->loaded && ch->count < (is_periodic(ch) ? 2u : 1u))
            return -EINVAL;
    }
    /* A tick that never comes is allowed, one that overflows is not. */
    return st->tick >> 48 ? -EINVAL : 0;
}

const struct state_desc i8254_state_desc = {
    .name = "i8254",
    .version = 1,
    STATE_LAYOUT(struct i8254_state, i8254_fields),
    .check = i8254_check,
};

static void i8254_class_reset(void *dev)
{
    i8254_reset(dev);
}

static void i8254_loaded(void *dev, int64_t shift_ns)
{
    struct i8254 *pit = dev;
    unsigned i;

    for (i = 0; i < I8254_CHANNELS; i++)
        pit->st.ch[i].start_ns += (uint64_t)shift_ns;
    i8254_drive(pit, pit->st.out0);
    timer_cancel(&pit->timer);
    if (pit->st.tick && !pit->st.irq_masked)
        timer_arm(&pit->timer, clock_now_ns()); /* i8254_tick sorts it out */
}

const struct device_class i8254_class = {
    .state = &i8254_state_desc,
    .state_off = offsetof(struct i8254, st),
    .reset = i8254_class_reset,
    .loaded = i8254_loaded,
};
