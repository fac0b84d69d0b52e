#include "devices/pc/lapic.h"

#include <errno.h>
#include <string.h>

#include "devices/pc/lapic_int.h"

/*
 * Registers of a local APIC (SDM vol. 3, 11.4 to 11.9), reached by MMIO
 * (xAPIC) or by MSR (x2APIC), and its modes. The APIC id is the CPU's index
 * and cannot be changed. Not there: CMCI entry of the LVT, suppression of EOI
 * broadcasts, SMI, remote read.
 */

/* Version of the P6 family onwards, six LVT entries (11.4.8). */
#define LAPIC_VERSION (0x14u | ((LAPIC_NR_LVTS - 1) << 16))

#define LAPIC_PAGE_SHIFT 12
/* Physical address bits that a base may have: those of the CPU models. */
#define LAPIC_PHYS_BITS 48

/* Bits of each LVT entry that software may write (figure 11-8). */
static const uint32_t lvt_wmask[LAPIC_NR_LVTS] = {
    [LAPIC_LVT_TIMER] = 0x700ff, [LAPIC_LVT_THERMAL] = 0x107ff,
    [LAPIC_LVT_PERF] = 0x107ff,  [LAPIC_LVT_LINT0] = 0x1a7ff,
    [LAPIC_LVT_LINT1] = 0x1a7ff, [LAPIC_LVT_ERROR] = 0x100ff,
};

static uint32_t get(const _Atomic uint32_t *reg)
{
    return atomic_load_explicit((_Atomic uint32_t *)reg, memory_order_relaxed);
}

static void set(_Atomic uint32_t *reg, uint32_t val)
{
    atomic_store_explicit(reg, val, memory_order_relaxed);
}

/* --- Modes and reset ---------------------------------------------------- */

static void lapic_tell_page(struct lapic *l)
{
    uint64_t base = atomic_load_explicit(&l->st.base, memory_order_relaxed);
    uint64_t gpa = (base & LAPIC_BASE_MODE) == LAPIC_BASE_ENABLE
                       ? base >> LAPIC_PAGE_SHIFT << LAPIC_PAGE_SHIFT
                       : LAPIC_NO_PAGE;

    if (l->bus->ops.moved)
        l->bus->ops.moved(l->bus->ops.opaque, l->id, gpa);
}

/* The logical id that x2APIC mode derives (11.12.10.2). */
static uint32_t lapic_x2apic_ldr(const struct lapic *l)
{
    return l->id >> 4 << 16 | 1u << (l->id & 15);
}

/* What INIT does (11.4.7.3); base stays. */
static void lapic_reset_registers(struct lapic *l)
{
    unsigned i;

    lapic_timer_reset(l);
    for (i = 0; i < 8; i++) {
        set(&l->st.irr[i], 0);
        set(&l->st.tmr[i], 0);
        l->st.isr[i] = 0;
    }
    for (i = 0; i < LAPIC_NR_LVTS; i++)
        set(&l->st.lvt[i], LAPIC_LVT_MASKED);
    set(&l->st.svr, 0xff);
    set(&l->st.dfr, 0xffffffff);
    set(&l->st.ldr, lapic_is_x2apic(l) ? lapic_x2apic_ldr(l) : 0);
    set(&l->st.tpr, 0);
    set(&l->st.ppr, 0);
    set(&l->st.extint, 0);
    set(&l->st.errors, 0);
    l->st.esr = 0;
    l->st.icr_low = 0;
    l->st.icr_high = 0;
    l->st.pv_eoi = 0;
    lapic_pv_eoi_bind(l);
}

void lapic_reset(void *lapic, bool init)
{
    struct lapic *l = lapic;

    if (!init)
        atomic_store_explicit(&l->st.base,
                              LAPIC_DEFAULT_BASE | LAPIC_BASE_ENABLE |
                                  (l->id == 0 ? LAPIC_BASE_BSP : 0),
                              memory_order_relaxed);
    lapic_reset_registers(l);
    /* Firmware leaves the first CPU connected to the 8259 ("virtual wire
     * mode", MP spec, 3.6.2.2). Machines without
     * firmware, and firmware that expects it done, get it from here. */
    if (!init && l->id == 0)
        set(&l->st.lvt[LAPIC_LVT_LINT0], LAPIC_MODE_EXTINT << 8);
    if (!init)
        lapic_tell_page(l);
}

static int lapic_set_base(struct lapic *l, uint64_t val)
{
    uint64_t old = atomic_load_explicit(&l->st.base, memory_order_relaxed);
    uint64_t old_mode = old & LAPIC_BASE_MODE;
    uint64_t mode = val & LAPIC_BASE_MODE;

    if (val >> LAPIC_PHYS_BITS || (val & 0x2ff))
        return -EINVAL;
    /* Allowed steps (figure 11-27): off, xAPIC, x2APIC upwards one by one,
     * and from both straight to off. */
    if (mode == LAPIC_BASE_X2APIC || (mode == LAPIC_BASE_MODE && !old_mode) ||
        (mode == LAPIC_BASE_ENABLE && old_mode == LAPIC_BASE_MODE))
        return -EINVAL;
    atomic_store_explicit(&l->st.base, val, memory_order_relaxed);
    if (mode != old_mode && !mode)
        lapic_reset_registers(l); /* comes back as after power-on */
    if (mode != old_mode && mode == LAPIC_BASE_MODE) {
        l->st.icr_high = 0;
        set(&l->st.ldr, lapic_x2apic_ldr(l));
    }
    lapic_tell_page(l);
    lapic_recheck(l); /* LINT0 has become INTR, or the other way round */
    return 0;
}

/* --- Registers ---------------------------------------------------------- */

static uint32_t lapic_id_register(struct lapic *l)
{
    return lapic_is_x2apic(l) ? l->id : l->id << 24;
}

/* False if there is no such register to read. */
static bool lapic_reg_read(struct lapic *l, unsigned reg, uint32_t *val)
{
    lapic_pv_eoi_sync(l);
    if (reg >= LAPIC_REG_LVT && reg < LAPIC_REG_LVT + LAPIC_NR_LVTS) {
        *val = get(&l->st.lvt[reg - LAPIC_REG_LVT]);
        return true;
    }
    if (reg >= LAPIC_REG_ISR && reg < LAPIC_REG_ISR + 24) {
        unsigned i = reg & 7;

        *val = reg < LAPIC_REG_TMR   ? l->st.isr[i]
               : reg < LAPIC_REG_IRR ? get(&l->st.tmr[i])
                                     : get(&l->st.irr[i]);
        return true;
    }
    switch (reg) {
    case LAPIC_REG_ID: *val = lapic_id_register(l); break;
    case LAPIC_REG_VERSION: *val = LAPIC_VERSION; break;
    case LAPIC_REG_TPR: *val = get(&l->st.tpr); break;
    case LAPIC_REG_PPR: *val = get(&l->st.ppr); break;
    case LAPIC_REG_LDR: *val = get(&l->st.ldr); break;
    case LAPIC_REG_SVR: *val = get(&l->st.svr); break;
    case LAPIC_REG_ESR: *val = l->st.esr; break;
    case LAPIC_REG_ICR: *val = l->st.icr_low; break;
    case LAPIC_REG_TIMER_INIT: *val = lapic_timer_initial(l); break;
    case LAPIC_REG_TIMER_CURRENT: *val = lapic_timer_current(l); break;
    case LAPIC_REG_TIMER_DIV: *val = lapic_timer_divide(l); break;
    default: return false;
    }
    return true;
}

/* Registers that only the page has. */
static bool lapic_page_read(struct lapic *l, unsigned reg, uint32_t *val)
{
    switch (reg) {
    case LAPIC_REG_APR: /* arbitration: as the processor priority */
        *val = get(&l->st.ppr);
        return true;
    case LAPIC_REG_EOI:
    case LAPIC_REG_RRD: *val = 0; return true;
    case LAPIC_REG_DFR: *val = get(&l->st.dfr); return true;
    case LAPIC_REG_ICR_HIGH: *val = l->st.icr_high; return true;
    default: return lapic_reg_read(l, reg, val);
    }
}

static void lapic_write_tpr(struct lapic *l, uint32_t val)
{
    lapic_pv_eoi_sync(l);
    set(&l->st.tpr, val & 0xff);
    lapic_update_ppr(l);
    lapic_recheck(l);
}

static void lapic_write_svr(struct lapic *l, uint32_t val)
{
    unsigned i;

    set(&l->st.svr, val & 0x3ff);
    if (val & LAPIC_SVR_ENABLE)
        return;
    /* Software disable masks the whole LVT (11.4.7.2). */
    for (i = 0; i < LAPIC_NR_LVTS; i++)
        set(&l->st.lvt[i], get(&l->st.lvt[i]) | LAPIC_LVT_MASKED);
}

static void lapic_write_lvt(struct lapic *l, enum lapic_lvt n, uint32_t val)
{
    uint32_t old = get(&l->st.lvt[n]);

    if (n == LAPIC_LVT_TIMER)
        lapic_timer_poll(l); /* what has run out did so in the old mode */
    val &= lvt_wmask[n];
    if (!(get(&l->st.svr) & LAPIC_SVR_ENABLE))
        val |= LAPIC_LVT_MASKED;
    set(&l->st.lvt[n], val);
    if (n == LAPIC_LVT_TIMER && ((old ^ val) & LAPIC_LVT_TIMER_MODE))
        lapic_timer_mode_changed(l);
    /* A level that was held back by the mask comes through. */
    if (n == LAPIC_LVT_LINT0 && atomic_load(&l->bus->lint0) &&
        (lapic_mode_of(val) == LAPIC_MODE_EXTINT || (val & LAPIC_LVT_LEVEL)))
        lapic_fire_lvt(l, n);
}

static void lapic_write_esr(struct lapic *l)
{
    l->st.esr = atomic_exchange(&l->st.errors, 0);
}

/* Returns false if there is no such register to write. */
static bool lapic_reg_write(struct lapic *l, unsigned reg, uint32_t val)
{
    if (reg >= LAPIC_REG_LVT && reg < LAPIC_REG_LVT + LAPIC_NR_LVTS) {
        lapic_write_lvt(l, (enum lapic_lvt)(reg - LAPIC_REG_LVT), val);
        return true;
    }
    switch (reg) {
    case LAPIC_REG_EOI: lapic_eoi(l); break;
    case LAPIC_REG_TPR: lapic_write_tpr(l, val); break;
    case LAPIC_REG_SVR: lapic_write_svr(l, val); break;
    case LAPIC_REG_ESR: lapic_write_esr(l); break;
    case LAPIC_REG_TIMER_INIT: lapic_timer_set_initial(l, val); break;
    case LAPIC_REG_TIMER_DIV: lapic_timer_set_divide(l, val); break;
    default: return false;
    }
    return true;
}

static bool lapic_page_write(struct lapic *l, unsigned reg, uint32_t val)
{
    switch (reg) {
    case LAPIC_REG_ID:
    case LAPIC_REG_RRD: return true; /* kept as it is */
    case LAPIC_REG_LDR: set(&l->st.ldr, val & 0xff000000); return true;
    case LAPIC_REG_DFR: set(&l->st.dfr, val | 0x0fffffff); return true;
    case LAPIC_REG_ICR:
        l->st.icr_low = val & 0xccfff;
        lapic_bus_ipi(l, val, l->st.icr_high >> 24);
        return true;
    case LAPIC_REG_ICR_HIGH: l->st.icr_high = val & 0xff000000; return true;
    default: return lapic_reg_write(l, reg, val);
    }
}

/* --- MMIO --------------------------------------------------------------- */

uint64_t lapic_mmio_read(void *lapic, uint64_t off, unsigned size)
{
    struct lapic *l = lapic;
    uint32_t val = 0;

    (void)size;
    /* Only aligned 4-byte accesses are defined (11.4.1): the others get the
     * bytes that lie there. */
    if (!lapic_page_read(l, (unsigned)(off >> 4) & 0xff, &val))
        lapic_error(l, LAPIC_ESR_ILLEGAL_REG);
    return (off & 15) < 4 ? val >> (8 * (off & 3)) : 0;
}

void lapic_mmio_write(void *lapic, uint64_t off, unsigned size, uint64_t val)
{
    struct lapic *l = lapic;

    if ((off & 15) || size < 4)
        return;
    if (!lapic_page_write(l, (unsigned)(off >> 4) & 0xff, (uint32_t)val))
        lapic_error(l, LAPIC_ESR_ILLEGAL_REG);
}

/* --- MSRs --------------------------------------------------------------- */

enum { MSR_APIC_BASE = 0x1b, MSR_TSC_DEADLINE = 0x6e0, MSR_X2APIC = 0x800 };

static int lapic_x2apic_rdmsr(struct lapic *l, unsigned reg, uint64_t *val)
{
    uint32_t low;

    if (!lapic_is_x2apic(l) || !lapic_reg_read(l, reg, &low))
        return -EINVAL;
    *val = low;
    if (reg == LAPIC_REG_ICR)
        *val |= (uint64_t)l->st.icr_high << 32;
    return 0;
}

static int lapic_x2apic_wrmsr(struct lapic *l, unsigned reg, uint64_t val)
{
    if (!lapic_is_x2apic(l))
        return -EINVAL;
    if (reg == LAPIC_REG_ICR) {
        l->st.icr_low = (uint32_t)val & 0xccfff;
        l->st.icr_high = (uint32_t)(val >> 32);
        lapic_bus_ipi(l, (uint32_t)val, l->st.icr_high);
        return 0;
    }
    if (val >> 32)
        return -EINVAL;
    switch (reg) {
    case LAPIC_REG_SELF_IPI:
        if (val > 0xff)
            return -EINVAL;
        if (val < 16)
            lapic_error(l, LAPIC_ESR_SEND_ILLEGAL);
        else
            lapic_accept(l, (unsigned)val, false);
        return 0;
    case LAPIC_REG_EOI:
    case LAPIC_REG_ESR:
        if (val)
            return -EINVAL;
        break;
    default: break;
    }
    return lapic_reg_write(l, reg, (uint32_t)val) ? 0 : -EINVAL;
}

int lapic_rdmsr(void *lapic, uint32_t msr, uint64_t *val)
{
    struct lapic *l = lapic;

    switch (msr) {
    case MSR_APIC_BASE:
        *val = atomic_load_explicit(&l->st.base, memory_order_relaxed);
        return 0;
    case MSR_TSC_DEADLINE: *val = lapic_timer_deadline(l); return 0;
    case LAPIC_MSR_PV_EOI: *val = l->st.pv_eoi; return 0;
    default:
        if (msr < MSR_X2APIC || msr > MSR_X2APIC + 0xff)
            return -EINVAL;
        return lapic_x2apic_rdmsr(l, msr - MSR_X2APIC, val);
    }
}

int lapic_wrmsr(void *lapic, uint32_t msr, uint64_t val)
{
    struct lapic *l = lapic;

    switch (msr) {
    case MSR_APIC_BASE: return lapic_set_base(l, val);
    case MSR_TSC_DEADLINE: lapic_timer_set_deadline(l, val); return 0;
    case LAPIC_MSR_PV_EOI: return lapic_pv_eoi_write(l, val);
    default:
        if (msr < MSR_X2APIC || msr > MSR_X2APIC + 0xff)
            return -EINVAL;
        return lapic_x2apic_wrmsr(l, msr - MSR_X2APIC, val);
    }
}

uint64_t lapic_get_cr8(void *lapic)
{
    struct lapic *l = lapic;

    return get(&l->st.tpr) >> 4;
}

void lapic_set_cr8(void *lapic, uint64_t val)
{
    lapic_write_tpr(lapic, (uint32_t)(val & 15) << 4);
}

/* --- Saved state -------------------------------------------------------- */

static const struct state_field lapic_fields[] = {
    STATE_FIELD(1, STATE_U32, struct lapic_state, irr),
    STATE_FIELD(2, STATE_U32, struct lapic_state, tmr),
    STATE_FIELD(3, STATE_U32, struct lapic_state, isr),
    STATE_FIELD(4, STATE_U64, struct lapic_state, base),
    STATE_FIELD(5, STATE_U32, struct lapic_state, svr),
    STATE_FIELD(6, STATE_U32, struct lapic_state, ldr),
    STATE_FIELD(7, STATE_U32, struct lapic_state, dfr),
    STATE_FIELD(8, STATE_U32, struct lapic_state, tpr),
    STATE_FIELD(9, STATE_U32, struct lapic_state, lvt),
    STATE_FIELD(10, STATE_U32, struct lapic_state, extint),
    STATE_FIELD(11, STATE_U32, struct lapic_state, errors),
    STATE_FIELD(12, STATE_U32, struct lapic_state, esr),
    STATE_FIELD(13, STATE_U32, struct lapic_state, icr_low),
    STATE_FIELD(14, STATE_U32, struct lapic_state, icr_high),
    STATE_FIELD(15, STATE_U64, struct lapic_state, pv_eoi),
    STATE_FIELD(16, STATE_U8, struct lapic_state, pv_eoi_pending),
    STATE_FIELD(17, STATE_U32, struct lapic_state, timer_init),
    STATE_FIELD(18, STATE_U32, struct lapic_state, timer_div),
    STATE_FIELD(19, STATE_U64, struct lapic_state, timer_start_ns),
    STATE_FIELD(20, STATE_U64, struct lapic_state, tsc_deadline),
    STATE_FIELD(21, STATE_U32, struct lapic_state, ppr),
};

static int lapic_check(const void *state)
{
    const struct lapic_state *st = state;
    uint64_t base;
    unsigned i;

    memcpy(&base, (const void *)&st->base, sizeof(base));
    if (base >> LAPIC_PHYS_BITS || (base & 0x2ff) ||
        (base & LAPIC_BASE_MODE) == LAPIC_BASE_X2APIC)
        return -EINVAL;
    if (get(&st->tpr) > 0xff || get(&st->svr) > 0x3ff || st->timer_div & ~0xbu)
        return -EINVAL;
    /* Vectors below 16 are never accepted. */
    if ((get(&st->irr[0]) | st->isr[0]) & 0xffff || st->pv_eoi & 2)
        return -EINVAL;
    for (i = 0; i < LAPIC_NR_LVTS; i++) {
        if (get(&st->lvt[i]) & ~lvt_wmask[i])
            return -EINVAL;
    }
    return 0;
}

const struct state_desc lapic_state_desc = {
    .name = "lapic",
    .version = 1,
    STATE_LAYOUT(struct lapic_state, lapic_fields),
    .check = lapic_check,
};

static void lapic_class_reset(void *dev)
{
    lapic_reset(dev, false);
}

static void lapic_loaded(void *dev, int64_t shift_ns)
{
    struct lapic *l = dev;

    if (lapic_is_x2apic(l)) /* derived, so never believed */
        set(&l->st.ldr, lapic_x2apic_ldr(l));
    lapic_pv_eoi_bind(l);
    lapic_update_ppr(l);
    lapic_tell_page(l);
    lapic_timer_loaded(l, shift_ns);
    lapic_recheck(l);
}

const struct device_class lapic_class = {
    .state = &lapic_state_desc,
    .state_off = offsetof(struct lapic, st),
    .reset = lapic_class_reset,
    .loaded = lapic_loaded,
};
