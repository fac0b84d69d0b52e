#include "devices/pc/cmos.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "devices/pc/cmos_time.h"
#include "devices/pc/phase.h"

/*
 * Real-time clock (MC146818A data sheet).
 *
 * Nothing ticks: time is the host's wall clock plus an offset, and the flags
 * of register C are brought up to date when somebody looks. An event timer
 * runs only while an enabled interrupt has not been flagged yet.
 *
 * While the clock stands still (SET, or the divider held in reset) the time
 * registers are plain memory; when it goes on, they become the new time.
 */

enum { REG_A = 0x0a, REG_B = 0x0b, REG_C = 0x0c, REG_D = 0x0d };

#define A_UIP     0x80u
#define A_DIVIDER 0x70u
#define A_RUNNING 0x20u /* 32768 Hz crystal */
#define A_RATE    0x0fu

#define B_SET    0x80u
#define B_PIE    0x40u
#define B_AIE    0x20u
#define B_UIE    0x10u
#define B_BINARY 0x04u
#define B_24H    0x02u

#define C_IRQF  0x80u
#define C_PF    0x40u
#define C_AF    0x20u
#define C_UF    0x10u
#define C_FLAGS 0x70u

#define D_VRT 0x80u /* the battery is good */

/* UIP goes up this long before an update (data sheet, figure 12). */
#define UIP_NS      244000u
#define CRYSTAL_HZ  32768u
#define HALF_SEC_NS 500000000u
#define NS          NS_PER_SEC

__extension__ typedef unsigned __int128 u128;

static bool cmos_is_running(const struct cmos *cm)
{
    return !(cm->st.ram[REG_B] & B_SET) &&
           (cm->st.ram[REG_A] & A_DIVIDER) == A_RUNNING;
}

static uint64_t cmos_now(const struct cmos *cm)
{
    return cm->wall_ns() + (uint64_t)cm->st.offset_ns;
}

static unsigned cmos_format(const struct cmos *cm)
{
    return cm->st.ram[REG_B] & (B_BINARY | B_24H);
}

static bool is_time_reg(unsigned reg)
{
    return reg == CMOS_CENTURY ||
           (reg <= CMOS_YEAR && reg != CMOS_SEC_ALARM &&
            reg != CMOS_MIN_ALARM && reg != CMOS_HOUR_ALARM);
}

/* --- Flags and interrupts ----------------------------------------------- */

/* Rates 1 and 2 are those of 8 and 9 (data sheet, table 5). */
static unsigned cmos_period_shift(const struct cmos *cm)
{
    unsigned rate = cm->st.ram[REG_A] & A_RATE;

    return rate < 3 ? rate + 6 : rate - 1;
}

static bool cmos_has_period(const struct cmos *cm)
{
    return (cm->st.ram[REG_A] & A_RATE) &&
           (cm->st.ram[REG_A] & A_DIVIDER) == A_RUNNING;
}

static uint64_t cmos_periods(const struct cmos *cm, uint64_t now)
{
    return (uint64_t)((u128)(now - cm->st.base_ns) * CRYSTAL_HZ / NS) >>
           cmos_period_shift(cm);
}

static uint64_t cmos_period_ns(const struct cmos *cm, uint64_t n)
{
    u128 clocks = (u128)n << cmos_period_shift(cm);
    u128 ns = (clocks * NS + CRYSTAL_HZ - 1) / CRYSTAL_HZ;

    return phase_deadline(cm->st.base_ns, (uint64_t)ns, clock_now_ns());
}

/* Bring register C up to date. */
static void cmos_look(struct cmos *cm)
{
    uint8_t *c = &cm->st.ram[REG_C];
    uint64_t sec, alarm, periods;

    if (cmos_is_running(cm)) {
        sec = cmos_now(cm) / NS;
        if (sec != cm->st.seen_s)
            *c |= C_UF;
        alarm =
            cmos_time_next_alarm(cm->st.ram, cmos_format(cm), cm->st.seen_s);
        if (sec > cm->st.seen_s && alarm <= sec)
            *c |= C_AF;
        cm->st.seen_s = sec;
    }
    if (cmos_has_period(cm)) {
        periods = cmos_periods(cm, clock_now_ns());
        if (periods != cm->st.period_seen)
            *c |= C_PF;
        cm->st.period_seen = periods;
    }
    *c &= C_FLAGS;
    if (*c & cm->st.ram[REG_B])
        *c |= C_IRQF;
}

/* When the guest's clock will read sec. */
static uint64_t cmos_sec_ns(const struct cmos *cm, uint64_t sec)
{
    uint64_t now = cmos_now(cm);
    uint64_t at;

    if (!mul_ok(sec, NS, &at) || at <= now)
        return clock_now_ns();
    return clock_now_ns() + (at - now);
}

/* The next moment at which an enabled flag may go up, or UINT64_MAX. */
static uint64_t cmos_next_event(const struct cmos *cm)
{
    uint8_t waits = cm->st.ram[REG_B] & (uint8_t)~cm->st.ram[REG_C];
    uint64_t next = UINT64_MAX, at;

    if ((waits & B_PIE) && cmos_has_period(cm))
        next = cmos_period_ns(cm, cm->st.period_seen + 1);
    if (!cmos_is_running(cm))
        return next;
    if (waits & B_UIE) {
        at = cmos_sec_ns(cm, cm->st.seen_s + 1);
        next = at < next ? at : next;
    }
    if (waits & B_AIE) {
        at = cmos_time_next_alarm(cm->st.ram, cmos_format(cm), cm->st.seen_s);
        if (at != UINT64_MAX)
            at = cmos_sec_ns(cm, at);
        next = at < next ? at : next;
    }
    return next;
}

static void cmos_update(struct cmos *cm)
{
    uint64_t next;

    cmos_look(cm);
    if (!cm->st.irq_masked)
        irq_set(&cm->irq, cm->st.ram[REG_C] & C_IRQF);
    next = cmos_next_event(cm);
    if (next == UINT64_MAX)
        timer_cancel(&cm->timer);
    else
        timer_arm(&cm->timer, next);
}

static void cmos_timer(void *opaque)
{
    struct cmos *cm = opaque;

    lock_take(&cm->lock);
    cmos_update(cm);
    lock_drop(&cm->lock);
}

static void cmos_set_mask(void *opaque, unsigned n, bool level)
{
    struct cmos *cm = opaque;

    (void)n;
    cm->st.irq_masked = level;
}

struct irq cmos_mask_wire(struct cmos *cm)
{
    return (struct irq){cmos_set_mask, cm, 0};
}

/* --- Stopping and setting the clock ------------------------------------- */

/* Put the current time into the registers. */
static void cmos_freeze(struct cmos *cm)
{
    cmos_time_split(cmos_now(cm) / NS, cmos_format(cm), cm->st.ram);
}

/* The registers are the time from now on; phase is within the second. */
static void cmos_set_clock(struct cmos *cm, uint64_t phase_ns)
{
    uint64_t sec = cmos_time_join(cm->st.ram, cmos_format(cm));

    cm->st.offset_ns = (int64_t)(sec * NS + phase_ns - cm->wall_ns());
    cm->st.seen_s = sec;
}

/* Write register A or B, which may stop or start the clock. */
static void cmos_write_mode(struct cmos *cm, unsigned reg, uint8_t val)
{
    bool was = cmos_is_running(cm);
    bool held = (cm->st.ram[REG_A] & A_DIVIDER) != A_RUNNING;
    uint8_t rate = cm->st.ram[REG_A];

    cmos_look(cm);
    if (was) /* before the format changes */
        cmos_freeze(cm);
    cm->st.ram[reg] = val;
    if (was && reg == REG_B && !(val & B_SET))
        cmos_freeze(cm); /* the same time in the new format */
    /* A divider that was held in reset needs half a second to the first
     * update; SET alone leaves the second's phase as it is. */
    if (!was && cmos_is_running(cm))
        cmos_set_clock(cm, held ? HALF_SEC_NS : cmos_now(cm) % NS);
    if (reg == REG_A && ((val ^ rate) & (A_RATE | A_DIVIDER))) {
        cm->st.base_ns = clock_now_ns();
        cm->st.period_seen = 0;
    }
}

/* --- Ports -------------------------------------------------------------- */

static uint8_t cmos_read_time(struct cmos *cm, unsigned reg)
{
    uint8_t now[CMOS_SIZE];

    if (!cmos_is_running(cm))
        return cm->st.ram[reg];
    cmos_time_split(cmos_now(cm) / NS, cmos_format(cm), now);
    return now[reg];
}

static uint8_t cmos_read_flags(struct cmos *cm)
{
    uint8_t val;

    cmos_look(cm);
    val = cm->st.ram[REG_C];
    cm->st.ram[REG_C] = 0;
    cmos_update(cm);
    return val;
}

static uint8_t cmos_read_a(const struct cmos *cm)
{
    bool uip = cmos_is_running(cm) && cmos_now(cm) % NS >= NS - UIP_NS;

    return cm->st.ram[REG_A] | (uip ? A_UIP : 0);
}

static uint64_t cmos_read(void *dev, uint64_t off, unsigned size)
{
    struct cmos *cm = dev;
    unsigned reg = cm->st.index;

    (void)size;
    if (off == 0)
        return 0xff; /* the index cannot be read */
    switch (reg) {
    case REG_A: return cmos_read_a(cm);
    case REG_C: return cmos_read_flags(cm);
    case REG_D: return D_VRT;
    default:
        return is_time_reg(reg) ? cmos_read_time(cm, reg) : cm->st.ram[reg];
    }
}

static void cmos_write_time(struct cmos *cm, unsigned reg, uint8_t val)
{
    bool running = cmos_is_running(cm);

    if (running)
        cmos_freeze(cm);
    cm->st.ram[reg] = val;
    if (running)
        cmos_set_clock(cm, cmos_now(cm) % NS);
}

static void cmos_write(void *dev, uint64_t off, unsigned size, uint64_t data)
{
    struct cmos *cm = dev;
    unsigned reg = cm->st.index;
    uint8_t val = (uint8_t)data;

    (void)size;
    if (off == 0) {
        cm->st.index = val & (CMOS_SIZE - 1); /* bit 7 is the NMI mask */
        return;
    }
    switch (reg) {
    case REG_A: cmos_write_mode(cm, reg, val & (uint8_t)~A_UIP); break;
    case REG_B: /* SET clears UIE */
        cmos_write_mode(cm, reg, val & B_SET ? val & (uint8_t)~B_UIE : val);
        break;
    case REG_C:
    case REG_D: return; /* read-only */
    default:
        if (is_time_reg(reg))
            cmos_write_time(cm, reg, val);
        else
            cm->st.ram[reg] = val;
        break;
    }
    if (reg <= REG_B) /* alarms too */
        cmos_update(cm);
}

const struct bus_ops cmos_bus_ops = {
    .read = cmos_read, .write = cmos_write, .min_size = 1, .max_size = 1};

/* --- Memory size -------------------------------------------------------- */

enum {
    NV_FLOPPIES = 0x10,
    NV_EQUIPMENT = 0x14,
    NV_BASE_KB = 0x15, /* two bytes each, low first */
    NV_EXT_KB = 0x17,
    NV_EXT_KB2 = 0x30,
    NV_EXT_64KB = 0x34,
    NV_HIGH_64KB = 0x5b, /* three bytes */
    NV_CPUS = 0x5f
};

static void cmos_put16(struct cmos *cm, unsigned reg, uint64_t val)
{
    if (val > 0xffff)
        val = 0xffff;
    cm->st.ram[reg] = (uint8_t)val;
    cm->st.ram[reg + 1] = (uint8_t)(val >> 8);
}

/* SeaBIOS and its kin find the memory here (the registers of QEMU's pc). */
void cmos_set_memory(struct cmos *cm, uint64_t low, uint64_t high,
                     unsigned cpus)
{
    const uint64_t mib = 1 << 20;

    cmos_put16(cm, NV_BASE_KB, 640);
    cmos_put16(cm, NV_EXT_KB, low > mib ? (low - mib) >> 10 : 0);
    cmos_put16(cm, NV_EXT_KB2, low > mib ? (low - mib) >> 10 : 0);
    cmos_put16(cm, NV_EXT_64KB, low > 16 * mib ? (low - 16 * mib) >> 16 : 0);
    cm->st.ram[NV_HIGH_64KB] = (uint8_t)(high >> 16);
    cm->st.ram[NV_HIGH_64KB + 1] = (uint8_t)(high >> 24);
    cm->st.ram[NV_HIGH_64KB + 2] = (uint8_t)(high >> 32);
    cm->st.ram[NV_CPUS] = (uint8_t)(cpus - 1);
}

void cmos_set_floppies(struct cmos *cm, unsigned first, unsigned second)
{
    unsigned drives = (first ? 1u : 0u) + (second ? 1u : 0u);

    cm->st.ram[NV_FLOPPIES] = (uint8_t)(first << 4 | second);
    if (drives)
        cm->st.ram[NV_EQUIPMENT] |= (uint8_t)(1u | (drives - 1) << 6);
}

/* --- Life --------------------------------------------------------------- */

void cmos_reset(struct cmos *cm)
{
    cm->st.index = 0;
    cm->st.ram[REG_B] &= (uint8_t) ~(B_PIE | B_AIE | B_UIE);
    cm->st.ram[REG_C] = 0;
    cmos_update(cm);
}

void cmos_init(struct cmos *cm, struct irq irq, struct loop *loop)
{
    memset(cm, 0, sizeof(*cm));
    lock_init_ranked(&cm->lock, LOCK_RANK_DEVICE);
    timer_init(&cm->timer, loop, cmos_timer, cm);
    cm->irq = irq;
    cm->wall_ns = clock_wall_ns;
    cm->st.ram[REG_A] = A_RUNNING | 6; /* 1024 Hz, as a BIOS sets it */
    cm->st.ram[REG_B] = B_24H;
    cm->st.ram[REG_D] = D_VRT;
    cm->st.base_ns = clock_now_ns();
    cm->st.seen_s = cmos_now(cm) / NS;
    cmos_reset(cm);
}

void cmos_fini(struct cmos *cm)
{
    timer_cancel(&cm->timer);
    lock_fini(&cm->lock);
}

static const struct state_field cmos_fields[] = {
    STATE_FIELD(1, STATE_U8, struct cmos_state, index),
    STATE_FIELD(2, STATE_BYTES, struct cmos_state, ram),
    STATE_FIELD(3, STATE_U8, struct cmos_state, irq_masked),
    STATE_FIELD(4, STATE_U64, struct cmos_state, offset_ns),
    STATE_FIELD(5, STATE_U64, struct cmos_state, seen_s),
    STATE_FIELD(6, STATE_U64, struct cmos_state, base_ns),
    STATE_FIELD(7, STATE_U64, struct cmos_state, period_seen),
};

static int cmos_check(const void *state)
{
    const struct cmos_state *st = state;

    return st->index < CMOS_SIZE && !(st->ram[REG_A] & A_UIP) ? 0 : -EINVAL;
}

const struct state_desc cmos_state_desc = {
    .name = "cmos",
    .version = 1,
    STATE_LAYOUT(struct cmos_state, cmos_fields),
    .check = cmos_check,
};

static void cmos_class_reset(void *dev)
{
    cmos_reset(dev);
}

/* The wall clock went on while the machine was saved; so does this one. */
static void cmos_loaded(void *dev, int64_t shift_ns)
{
    struct cmos *cm = dev;

    cm->st.base_ns += (uint64_t)shift_ns;
    cmos_update(cm);
}

const struct device_class cmos_class = {
    .state = &cmos_state_desc,
    .state_off = offsetof(struct cmos, st),
    .reset = cmos_class_reset,
    .loaded = cmos_loaded,
};
