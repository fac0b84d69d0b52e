#ifndef HUSK_DEVICES_PC_LAPIC_INT_H
#define HUSK_DEVICES_PC_LAPIC_INT_H

#include "devices/pc/lapic.h"

/* Shared by the lapic_*.c files alone. */

/* Register numbers: offset in the xAPIC page >> 4, MSR - 0x800 (SDM vol. 3,
 * tables 11-1 and 11-6). */
enum lapic_reg {
    LAPIC_REG_ID = 0x02,
    LAPIC_REG_VERSION = 0x03,
    LAPIC_REG_TPR = 0x08,
    LAPIC_REG_APR = 0x09,
    LAPIC_REG_PPR = 0x0a,
    LAPIC_REG_EOI = 0x0b,
    LAPIC_REG_RRD = 0x0c,
    LAPIC_REG_LDR = 0x0d,
    LAPIC_REG_DFR = 0x0e,
    LAPIC_REG_SVR = 0x0f,
    LAPIC_REG_ISR = 0x10,
    LAPIC_REG_TMR = 0x18,
    LAPIC_REG_IRR = 0x20,
    LAPIC_REG_ESR = 0x28,
    LAPIC_REG_ICR = 0x30,
    LAPIC_REG_ICR_HIGH = 0x31,
    LAPIC_REG_LVT = 0x32, /* LAPIC_NR_LVTS of them */
    LAPIC_REG_TIMER_INIT = 0x38,
    LAPIC_REG_TIMER_CURRENT = 0x39,
    LAPIC_REG_TIMER_DIV = 0x3e,
    LAPIC_REG_SELF_IPI = 0x3f
};

#define LAPIC_BASE_BSP    0x100u
#define LAPIC_BASE_X2APIC 0x400u
#define LAPIC_BASE_ENABLE 0x800u
#define LAPIC_BASE_MODE   (LAPIC_BASE_X2APIC | LAPIC_BASE_ENABLE)

#define LAPIC_SVR_ENABLE 0x100u

#define LAPIC_LVT_MASKED      0x10000u
#define LAPIC_LVT_LEVEL       0x08000u
#define LAPIC_LVT_VECTOR      0x000ffu
#define LAPIC_LVT_TIMER_SHIFT 17
#define LAPIC_LVT_TIMER_MODE  0x60000u
#define LAPIC_TIMER_ONE_SHOT  0u
#define LAPIC_TIMER_PERIODIC  1u
#define LAPIC_TIMER_DEADLINE  2u

#define LAPIC_ESR_SEND_ILLEGAL 0x20u
#define LAPIC_ESR_RECV_ILLEGAL 0x40u
#define LAPIC_ESR_ILLEGAL_REG  0x80u

/* Delivery modes of LVT, ICR, MSI and redirection entries. */
enum lapic_mode {
    LAPIC_MODE_FIXED,
    LAPIC_MODE_LOWEST,
    LAPIC_MODE_SMI,
    LAPIC_MODE_RESERVED,
    LAPIC_MODE_NMI,
    LAPIC_MODE_INIT,
    LAPIC_MODE_SIPI,
    LAPIC_MODE_EXTINT
};

static inline unsigned lapic_mode_of(uint32_t low)
{
    return (low >> 8) & 7;
}

static inline bool lapic_is_enabled(struct lapic *l)
{
    return atomic_load_explicit(&l->st.base, memory_order_relaxed) &
           LAPIC_BASE_ENABLE;
}

static inline bool lapic_is_x2apic(struct lapic *l)
{
    return (atomic_load_explicit(&l->st.base, memory_order_relaxed) &
            LAPIC_BASE_MODE) == LAPIC_BASE_MODE;
}

static inline void lapic_post(struct lapic *l, unsigned ev, uint8_t vector)
{
    if (l->bus->ops.post)
        l->bus->ops.post(l->bus->ops.opaque, l->id, ev, vector);
}

/* --- lapic_irq.c: requests, service, priorities ------------------------- */

/* A fixed interrupt arrives. Any thread. */
void lapic_accept(struct lapic *l, unsigned vector, bool level);
/* An entry of the local vector table fires. Any thread. */
void lapic_fire_lvt(struct lapic *l, enum lapic_lvt n);
/* The level of LINT0 or LINT1 has become level. Any thread. */
void lapic_lint_changed(struct lapic *l, enum lapic_lvt n, bool level);
/* Record an error (ESR bit) and raise the error interrupt. Any thread. */
void lapic_error(struct lapic *l, uint32_t bit);
/* Own thread: something that held interrupts back may have gone. */
void lapic_recheck(struct lapic *l);
void lapic_update_ppr(struct lapic *l);
void lapic_eoi(struct lapic *l);
/* Own thread: believe the guest's PV EOI flag before registers are read. */
void lapic_pv_eoi_sync(struct lapic *l);
/* Write MSR 0x4b564d04: 0 or -EINVAL. */
int lapic_pv_eoi_write(struct lapic *l, uint64_t val);
/* Derive pv_eoi_hva from st.pv_eoi; drops a bad address. */
void lapic_pv_eoi_bind(struct lapic *l);

/* --- lapic_timer.c ------------------------------------------------------ */

void lapic_timer_init(struct lapic *l, struct loop *loop);
void lapic_timer_fini(struct lapic *l);
void lapic_timer_reset(struct lapic *l);
void lapic_timer_loaded(struct lapic *l, int64_t shift_ns);
void lapic_timer_set_initial(struct lapic *l, uint32_t count);
void lapic_timer_set_divide(struct lapic *l, uint32_t val);
uint32_t lapic_timer_initial(struct lapic *l);
uint32_t lapic_timer_current(struct lapic *l);
uint32_t lapic_timer_divide(struct lapic *l);
/* The mode bits of the timer's LVT entry are different now. */
void lapic_timer_poll(struct lapic *l); /* fire what is due, arm for the rest */
void lapic_timer_mode_changed(struct lapic *l);
uint64_t lapic_timer_deadline(struct lapic *l);
void lapic_timer_set_deadline(struct lapic *l, uint64_t tsc);

/* --- lapic_bus.c: messages between APICs -------------------------------- */

/* The ICR was written by l; x2APIC: high is the whole destination. */
void lapic_bus_ipi(struct lapic *l, uint32_t low, uint32_t high);

#endif
