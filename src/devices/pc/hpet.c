#include "devices/pc/hpet.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "devices/pc/phase.h"

/*
 * High precision event timer (HPET 1.0a, section 2.3).
 * The counter is computed from the clock; a comparator that may interrupt has
 * an event timer, armed for its next match.
 *
 * Differences to the specification: a comparator that does not interrupt does
 * not advance in periodic mode, and matches that the host was late for fold
 * into one.
 */

enum {
    REG_CAP = 0x000,
    REG_CONFIG = 0x010,
    REG_ISR = 0x020,
    REG_COUNTER = 0x0f0,
    REG_TIMER = 0x100, /* 0x20 each: config, comparator, FSB route */
    TIMER_STRIDE = 0x20
};

#define CONFIG_ENABLE BIT64(0)
#define CONFIG_LEGACY BIT64(1)
#define CONFIG_WMASK  (CONFIG_ENABLE | CONFIG_LEGACY)

#define TN_LEVEL      BIT64(1)
#define TN_ENABLE     BIT64(2)
#define TN_PERIODIC   BIT64(3)
#define TN_CAN_PERIOD BIT64(4)
#define TN_CAN_64     BIT64(5)
#define TN_SETVAL     BIT64(6)
#define TN_32BIT      BIT64(8)
#define TN_ROUTE(c)   ((unsigned)((c) >> 9) & 31)
#define TN_WMASK      0x3f4eull /* level, enable, type, set, 32 bits, route */
#define TN_RO         (TN_CAN_PERIOD | TN_CAN_64 | (uint64_t)HPET_ROUTE_CAP << 32)

#define NS_PER_TICK (HPET_PERIOD_FS / 1000000u)
#define NEVER       UINT64_MAX
/* Periods below this are thinned out, as a guest must not be able to keep the
 * event loop busy for ever. */
#define MIN_PERIOD (50000u / NS_PER_TICK)

static uint64_t hpet_counter(const struct hpet *h, uint64_t now)
{
    if (!(h->st.config & CONFIG_ENABLE))
        return h->st.counter;
    return h->st.counter + (now - h->st.start_ns) / NS_PER_TICK;
}

/* --- Interrupts --------------------------------------------------------- */

static void hpet_drive(struct hpet *h, unsigned n, bool level)
{
    unsigned route = TN_ROUTE(h->st.timer[n].config);

    if (h->st.config & CONFIG_LEGACY && n == 0)
        irq_set(&h->wires.legacy0, level);
    else if (h->st.config & CONFIG_LEGACY && n == 1)
        irq_set(&h->wires.legacy8, level);
    else if (route < HPET_GSIS && HPET_ROUTE_CAP & BIT32(route))
        irq_set(&h->wires.gsi[route], level);
}

/* Timer n, which may interrupt, has matched. */
static void hpet_fire(struct hpet *h, unsigned n)
{
    if (h->st.timer[n].config & TN_LEVEL)
        h->st.isr |= BIT64(n);
    else
        hpet_drive(h, n, false); /* whence the edge */
    hpet_drive(h, n, true);
}

static void hpet_clear(struct hpet *h, uint64_t bits)
{
    unsigned n;

    for (n = 0; n < HPET_TIMERS; n++) {
        if (bits & h->st.isr & BIT64(n))
            hpet_drive(h, n, false);
    }
    h->st.isr &= ~bits;
}

/* --- Comparators -------------------------------------------------------- */

static uint64_t timer_mask(const struct hpet_timer *t)
{
    return t->config & TN_32BIT ? 0xffffffffu : UINT64_MAX;
}

/* Arm the event timer for st.timer[n].next. */
static void hpet_arm(struct hpet *h, unsigned n, uint64_t now)
{
    const struct hpet_timer *t = &h->st.timer[n];
    uint64_t ticks, at;

    if (!(h->st.config & CONFIG_ENABLE) || !(t->config & TN_ENABLE) ||
        t->next == NEVER) {
        timer_cancel(&h->event[n].timer);
        return;
    }
    ticks = t->next > h->st.counter ? t->next - h->st.counter : 0;
    at = phase_deadline(h->st.start_ns,
                        ticks < PHASE_NEVER_NS / NS_PER_TICK
                            ? ticks * NS_PER_TICK
                            : PHASE_NEVER_NS,
                        now);
    if (t->config & TN_PERIODIC && t->period < MIN_PERIOD &&
        at < now + (uint64_t)MIN_PERIOD * NS_PER_TICK)
        at = now + (uint64_t)MIN_PERIOD * NS_PER_TICK;
    timer_arm(&h->event[n].timer, at);
}

/* Find the next match of timer n from now on. */
static void hpet_retarget(struct hpet *h, unsigned n, uint64_t now)
{
    struct hpet_timer *t = &h->st.timer[n];
    uint64_t counter = hpet_counter(h, now);
    uint64_t ahead = (t->comparator - counter) & timer_mask(t);

    t->next = counter + ahead;
    if (t->next < counter) /* only after the counter has wrapped */
        t->next = NEVER;
    hpet_arm(h, n, now);
}

/* A match has happened: where is the next one? */
static void hpet_advance(struct hpet *h, unsigned n, uint64_t now)
{
    struct hpet_timer *t = &h->st.timer[n];
    uint64_t wrap = timer_mask(t) == UINT64_MAX ? 0 : BIT64(32);
    uint64_t step = t->config & TN_PERIODIC ? t->period : wrap;
    uint64_t next = NEVER, ahead;

    /* Past 2^64 there is nothing: 5800 years. */
    if (step &&
        mul_ok((hpet_counter(h, now) - t->next) / step + 1, step, &ahead) &&
        add_ok(t->next, ahead, &next) && t->config & TN_PERIODIC)
        t->comparator = (t->comparator + ahead) & timer_mask(t);
    t->next = next;
    hpet_arm(h, n, now);
}

static void hpet_match(void *opaque)
{
    struct hpet_event *ev = opaque;
    struct hpet *h = ev->hpet;
    const struct hpet_timer *t = &h->st.timer[ev->n];
    uint64_t now;

    lock_take(&h->lock);
    now = clock_now_ns();
    if ((h->st.config & CONFIG_ENABLE) && (t->config & TN_ENABLE) &&
        t->next != NEVER) {
        if (hpet_counter(h, now) >= t->next) {
            hpet_fire(h, ev->n);
            hpet_advance(h, ev->n, now);
        } else {
            hpet_arm(h, ev->n, now); /* stale call */
        }
    }
    lock_drop(&h->lock);
}

/* --- Registers ---------------------------------------------------------- */

static void hpet_write_config(struct hpet *h, uint64_t val, uint64_t now)
{
    uint64_t changed = (h->st.config ^ val) & CONFIG_WMASK;
    unsigned n;

    if (changed & CONFIG_LEGACY) {
        bool on = val & CONFIG_LEGACY;

        irq_set(&h->wires.legacy0, false);
        irq_set(&h->wires.legacy8, false);
        irq_set(&h->wires.replace_pit, on);
        irq_set(&h->wires.replace_rtc, on);
    }
    if (changed & CONFIG_ENABLE) {
        h->st.counter = hpet_counter(h, now);
        h->st.start_ns = now;
    }
    h->st.config = val & CONFIG_WMASK;
    for (n = 0; n < HPET_TIMERS && (changed & CONFIG_ENABLE); n++)
        hpet_retarget(h, n, now);
}

static void hpet_write_counter(struct hpet *h, uint64_t val, uint64_t now)
{
    unsigned n;

    h->st.counter = val;
    h->st.start_ns = now;
    for (n = 0; n < HPET_TIMERS; n++)
        hpet_retarget(h, n, now);
}

static void hpet_write_timer_config(struct hpet *h, unsigned n, uint64_t val,
                                    uint64_t now)
{
    struct hpet_timer *t = &h->st.timer[n];
    uint64_t old = t->config;

    /* A level interrupt that cannot be signalled any more goes away. */
    if ((old & TN_LEVEL) && (!(val & TN_ENABLE) || !(val & TN_LEVEL)))
        hpet_clear(h, BIT64(n));
    t->config = (val & TN_WMASK) | TN_RO;
    if (t->config & TN_32BIT) {
        t->comparator &= 0xffffffffu;
        t->period &= 0xffffffffu;
    }
    if ((old ^ t->config) & (TN_ENABLE | TN_32BIT | TN_PERIODIC))
        hpet_retarget(h, n, now);
}

/* With VAL_SET, or in one-shot mode, a write sets the comparator; in periodic
 * mode the last value written is the period (2.3.9.2.2). mask: the bytes. */
static void hpet_write_comparator(struct hpet *h, unsigned n, uint64_t val,
                                  uint64_t mask, uint64_t now)
{
    struct hpet_timer *t = &h->st.timer[n];
    bool periodic = t->config & TN_PERIODIC;

    mask &= timer_mask(t);
    if (periodic)
        t->period = (t->period & ~mask) | (val & mask);
    if (periodic && !(t->config & TN_SETVAL))
        return;
    t->comparator = (t->comparator & ~mask) | (val & mask);
    t->config &= ~TN_SETVAL;
    hpet_retarget(h, n, now);
}

/* reg is 8-byte aligned. */
static uint64_t hpet_read_reg(const struct hpet *h, unsigned reg)
{
    unsigned n = (reg - REG_TIMER) / TIMER_STRIDE;

    switch (reg) {
    case REG_CAP: return (uint64_t)HPET_PERIOD_FS << 32 | HPET_BLOCK_ID;
    case REG_CONFIG: return h->st.config;
    case REG_ISR: return h->st.isr;
    case REG_COUNTER: return hpet_counter(h, clock_now_ns());
    default: break;
    }
    if (reg < REG_TIMER || n >= HPET_TIMERS)
        return 0;
    switch (reg % TIMER_STRIDE) {
    case 0: return h->st.timer[n].config;
    case 8: return h->st.timer[n].comparator;
    default: return 0;
    }
}

static void hpet_write_reg(struct hpet *h, unsigned reg, uint64_t val,
                           uint64_t mask)
{
    uint64_t now = clock_now_ns();
    unsigned n = (reg - REG_TIMER) / TIMER_STRIDE;
    uint64_t merged = (hpet_read_reg(h, reg) & ~mask) | (val & mask);

    switch (reg) {
    case REG_CONFIG: hpet_write_config(h, merged, now); return;
    case REG_ISR: hpet_clear(h, val & mask); return;
    case REG_COUNTER: hpet_write_counter(h, merged, now); return;
    default: break;
    }
    if (reg < REG_TIMER || n >= HPET_TIMERS)
        return;
    if (reg % TIMER_STRIDE == 0)
        hpet_write_timer_config(h, n, merged, now);
    else if (reg % TIMER_STRIDE == 8)
        hpet_write_comparator(h, n, val, mask, now);
}

static uint64_t hpet_read(void *dev, uint64_t off, unsigned size)
{
    uint64_t val = hpet_read_reg(dev, (unsigned)off & 0x3f8);

    if (size == 8)
        return val;
    return (val >> (off & 4 ? 32 : 0)) & 0xffffffffu;
}

static void hpet_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    unsigned shift = size < 8 && (off & 4) ? 32 : 0;
    uint64_t mask = size < 8 ? 0xffffffffull << shift : UINT64_MAX;

    hpet_write_reg(dev, (unsigned)off & 0x3f8, val << shift, mask);
}

const struct bus_ops hpet_bus_ops = {
    .read = hpet_read, .write = hpet_write, .min_size = 4, .max_size = 8};

/* --- Life --------------------------------------------------------------- */

void hpet_reset(struct hpet *h)
{
    unsigned n;

    hpet_clear(h, UINT64_MAX);
    hpet_write_config(h, 0, clock_now_ns());
    memset(&h->st, 0, sizeof(h->st));
    for (n = 0; n < HPET_TIMERS; n++) {
        timer_cancel(&h->event[n].timer);
        h->st.timer[n].config = TN_RO;
        h->st.timer[n].comparator = UINT64_MAX;
        h->st.timer[n].next = NEVER;
    }
}

void hpet_init(struct hpet *h, const struct hpet_wires *wires,
               struct loop *loop)
{
    unsigned n;

    memset(h, 0, sizeof(*h));
    lock_init_ranked(&h->lock, LOCK_RANK_DEVICE);
    h->wires = *wires;
    for (n = 0; n < HPET_TIMERS; n++) {
        h->event[n].hpet = h;
        h->event[n].n = n;
        timer_init(&h->event[n].timer, loop, hpet_match, &h->event[n]);
    }
    hpet_reset(h);
}

void hpet_fini(struct hpet *h)
{
    unsigned n;

    for (n = 0; n < HPET_TIMERS; n++)
        timer_cancel(&h->event[n].timer);
    lock_fini(&h->lock);
}

#define TIMER_FIELDS(first, i)                                                 \
    STATE_FIELD((first) + 0, STATE_U64, struct hpet_state, timer[i].config),   \
        STATE_FIELD((first) + 1, STATE_U64, struct hpet_state,                 \
                    timer[i].comparator),                                      \
        STATE_FIELD((first) + 2, STATE_U64, struct hpet_state,                 \
                    timer[i].period),                                          \
        STATE_FIELD((first) + 3, STATE_U64, struct hpet_state, timer[i].next)

static const struct state_field hpet_fields[] = {
    STATE_FIELD(1, STATE_U64, struct hpet_state, config),
    STATE_FIELD(2, STATE_U64, struct hpet_state, isr),
    STATE_FIELD(3, STATE_U64, struct hpet_state, counter),
    STATE_FIELD(4, STATE_U64, struct hpet_state, start_ns),
    TIMER_FIELDS(16, 0),
    TIMER_FIELDS(24, 1),
    TIMER_FIELDS(32, 2),
};

static int hpet_check(const void *state)
{
    const struct hpet_state *st = state;
    unsigned n;

    if (st->config & ~CONFIG_WMASK || st->isr >> HPET_TIMERS)
        return -EINVAL;
    for (n = 0; n < HPET_TIMERS; n++) {
        if ((st->timer[n].config & ~TN_WMASK) != TN_RO)
            return -EINVAL;
    }
    return 0;
}

const struct state_desc hpet_state_desc = {
    .name = "hpet",
    .version = 1,
    STATE_LAYOUT(struct hpet_state, hpet_fields),
    .check = hpet_check,
};

static void hpet_class_reset(void *dev)
{
    hpet_reset(dev);
}

static void hpet_loaded(void *dev, int64_t shift_ns)
{
    struct hpet *h = dev;
    bool legacy = h->st.config & CONFIG_LEGACY;
    unsigned n;

    h->st.start_ns += (uint64_t)shift_ns;
    irq_set(&h->wires.replace_pit, legacy);
    irq_set(&h->wires.replace_rtc, legacy);
    for (n = 0; n < HPET_TIMERS; n++) {
        if (h->st.isr & BIT64(n))
            hpet_drive(h, n, true);
        hpet_arm(h, n, clock_now_ns());
    }
}

const struct device_class hpet_class = {
    .state = &hpet_state_desc,
    .state_off = offsetof(struct hpet, st),
    .reset = hpet_class_reset,
    .loaded = hpet_loaded,
};
