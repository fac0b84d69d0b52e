#ifndef HUSK_DEVICES_PC_LAPIC_H
#define HUSK_DEVICES_PC_LAPIC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/lock.h"
#include "bus/irq.h"
#include "devices/device.h"
#include "event/loop.h"
#include "mem/gmem.h"

/*
 * Local APICs (SDM vol. 3, 11): xAPIC and x2APIC, one per CPU; lapic.c
 * holds the registers, lapic_timer.c the timer, lapic_bus.c routes messages.
 *
 * Threads: a CPU's own thread makes every call that takes its struct lapic
 * unless the function says otherwise. Other CPUs, devices and the event loop
 * only set IRR and TMR bits by atomic operations and post. The lock covers the
 * timer alone, which the event loop shares.
 */

/* The timer counts this many ticks a second before its divider; guests that
 * know the KVM timing leaf (CPUID 0x40000010) are told. 1 tick = 1 ns. */
#define LAPIC_TIMER_HZ     1000000000u
#define LAPIC_DEFAULT_BASE 0xfee00000u
#define LAPIC_NO_PAGE      UINT64_MAX
#define LAPIC_MSR_PV_EOI   0x4b564d04u

/* Same values as enum vcpu_event. */
enum lapic_event {
    LAPIC_EVENT_INTR = 1,
    LAPIC_EVENT_NMI = 2,
    LAPIC_EVENT_INIT = 4,
    LAPIC_EVENT_SIPI = 8
};

enum lapic_lvt {
    LAPIC_LVT_TIMER,
    LAPIC_LVT_THERMAL,
    LAPIC_LVT_PERF,
    LAPIC_LVT_LINT0,
    LAPIC_LVT_LINT1,
    LAPIC_LVT_ERROR,
    LAPIC_NR_LVTS
};

struct lapic_state {
    /* Written by any thread: first, on a cache line of their own. TMR bits
     * are written before the IRR bit that they describe. */
    _Atomic uint32_t irr[8], tmr[8];
    /* Written by the own CPU, read by senders. */
    _Atomic uint64_t base; /* MSR 0x1b */
    _Atomic uint32_t svr, ldr, dfr, tpr, ppr;
    _Atomic uint32_t lvt[LAPIC_NR_LVTS];
    _Atomic uint32_t extint; /* an ExtINT message waits for its INTA */
    _Atomic uint32_t errors; /* collected since the last write to ESR */
    /* Own CPU alone. */
    uint32_t isr[8];
    uint32_t esr;
    uint32_t icr_low, icr_high;
    uint64_t pv_eoi;        /* MSR 0x4b564d04 */
    uint8_t pv_eoi_pending; /* the guest's flag is set for the ISR top */
    /* Timer: under the lock. */
    uint32_t timer_init, timer_div;
    uint64_t timer_start_ns; /* of the current period; 0 = stopped */
    uint64_t tsc_deadline;
};

struct lapic_bus;

struct lapic {
    struct lapic_state st __attribute__((aligned(64)));
    struct lapic_bus *bus;
    unsigned id;
    uint8_t *pv_eoi_hva; /* NULL = off */
    struct lock lock;
    struct timer timer;
    int64_t tsc_offset; /* under the lock */
    uint64_t tsc_hz;
};

/* What the APICs ask of the machine. NULL members are skipped. */
struct lapic_ops {
    /* ev (one of enum lapic_event) happened to CPU cpu. Any thread, any lock
     * held: must not block. Fits vcpu_post. */
    void (*post)(void *opaque, unsigned cpu, unsigned ev, uint8_t sipi_vector);
    /* The register page of cpu is at gpa now, or LAPIC_NO_PAGE (disabled or
     * x2APIC). On that CPU's thread, or while it is paused. */
    void (*moved)(void *opaque, unsigned cpu, uint64_t gpa);
    void *opaque;
    /* End of a level-triggered interrupt: ioapic_eoi. */
    void (*eoi)(void *ioapic, uint8_t vector);
    void *ioapic;
    /* INTA cycle: i8259_ack; and a look without one: i8259_peek. */
    int (*pic_ack)(void *pic);
    int (*pic_peek)(void *pic);
    void *pic;
};

struct lapic_bus {
    struct lapic *lapic; /* nr of them; index = APIC id */
    unsigned nr;
    struct lapic_ops ops;
    struct gmem *gmem;
    _Atomic bool lint0;      /* level of the 8259's INTR, to all LINT0 */
    _Atomic bool lint1;      /* NMI button, to all LINT1 */
    _Atomic unsigned rotate; /* fairness of lowest-priority delivery */
};

extern const struct state_desc lapic_state_desc;
extern const struct device_class lapic_class;

/* nr CPUs, 1..255. ops is copied; gmem (for PV EOI) is borrowed. All APICs are
 * in power-on state. -ENOMEM, -EINVAL. */
MUST_CHECK int lapic_bus_init(struct lapic_bus *bus, unsigned nr,
                              const struct lapic_ops *ops, struct loop *loop,
                              struct gmem *gmem);
void lapic_bus_fini(struct lapic_bus *bus);

static inline struct lapic *lapic_bus_get(struct lapic_bus *bus, unsigned cpu)
{
    return &bus->lapic[cpu];
}

/* Route a message-signalled interrupt (SDM vol. 3, 11.11). opaque is a
 * struct lapic_bus. Any thread, any locks held. */
void lapic_bus_deliver_msi(void *opaque, uint64_t addr, uint32_t data);
static inline struct msi_sink lapic_bus_sink(struct lapic_bus *bus)
{
    return (struct msi_sink){lapic_bus_deliver_msi, bus};
}

/* The wire from the 8259 (LINT0 of all CPUs); and to LINT1 (NMI). */
struct irq lapic_bus_lint0(struct lapic_bus *bus);
struct irq lapic_bus_lint1(struct lapic_bus *bus);

/*
 * The rest has the shapes of struct vcpu_intc_ops (cpu/vcpu.h): lapic is a
 * struct lapic, the caller is its CPU's thread (or the CPU is paused).
 */
int lapic_pending(void *lapic);
int lapic_ack(void *lapic);
uint64_t lapic_get_cr8(void *lapic);
void lapic_set_cr8(void *lapic, uint64_t val);
/* 0x1b, 0x6e0, 0x800..0x8ff and LAPIC_MSR_PV_EOI: 0, or -EINVAL for #GP. */
int lapic_rdmsr(void *lapic, uint32_t msr, uint64_t *val);
int lapic_wrmsr(void *lapic, uint32_t msr, uint64_t val);
uint64_t lapic_mmio_read(void *lapic, uint64_t off, unsigned size);
void lapic_mmio_write(void *lapic, uint64_t off, unsigned size, uint64_t val);
/* INIT (keeps APIC base and mode) or power-on reset. */
void lapic_reset(void *lapic, bool init);

/* Guest TSC = host TSC + offset, at hz; at every change, as an armed TSC
 * deadline moves along, and before lapic_class.loaded. */
void lapic_set_tsc(void *lapic, int64_t offset, uint64_t hz);

#endif
