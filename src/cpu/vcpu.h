#ifndef HUSK_CPU_VCPU_H
#define HUSK_CPU_VCPU_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "bus/bus.h"
#include "mem/gmem.h"
#include "x86/cpuid.h"
#include "x86/regs.h"

/*
 * One virtual CPU: its thread, what wakes it, and its ties to the interrupt
 * controller and the buses. The engine below (cpu/engine.h) only runs guest
 * code; devices above only post events. One vcpu_set is all CPUs of a machine.
 */
struct engine;
struct engine_ops;
struct vcpu;
struct vcpu_set;

/* The local APIC, as its vCPU's thread sees it. Set once, by the machine. */
struct vcpu_intc_ops {
    /* Vector that would be accepted now (TPR and ISR considered; an ExtINT
     * from the 8259 counts), or -1. Must not change state. */
    int (*pending)(void *intc);
    /* Accept the interrupt: returns its vector (IRR to ISR, or the 8259's
     * INTA), or -1 if it went away. */
    int (*ack)(void *intc);
    uint64_t (*get_cr8)(void *intc);
    void (*set_cr8)(void *intc, uint64_t val);
    /* 0x1b, 0x6e0, 0x800..0x8ff: 0, or -EINVAL for #GP. */
    int (*rdmsr)(void *intc, uint32_t msr, uint64_t *val);
    int (*wrmsr)(void *intc, uint32_t msr, uint64_t val);
    /* Accesses to this CPU's xAPIC page. */
    uint64_t (*mmio_read)(void *intc, uint64_t off, unsigned size);
    void (*mmio_write)(void *intc, uint64_t off, unsigned size, uint64_t val);
    /* INIT or power-on reset of this CPU. */
    void (*reset)(void *intc, bool init);
    /* Guest TSC = host TSC + offset, at hz: for TSC-deadline timers. Called
     * whenever the offset changes, and before the first run; may be NULL. */
    void (*set_tsc)(void *intc, int64_t offset, uint64_t hz);
};

/* What of vcpu_kick happened; also what makes a halted CPU look again. */
enum vcpu_event {
    VCPU_EVENT_INTR = 1, /* the APIC has (or may have) an interrupt */
    VCPU_EVENT_NMI = 2,
    VCPU_EVENT_INIT = 4,
    VCPU_EVENT_SIPI = 8,
    VCPU_EVENT_PAUSE = 16, /* somebody called vcpu_set_pause */
    VCPU_EVENT_STOP = 32
};

struct vcpu {
    unsigned index; /* also its APIC id */
    struct vcpu_set *set;
    void *engine_vcpu; /* the engine's own part */
    const struct vcpu_intc_ops *intc_ops;
    void *intc;
    _Atomic uint64_t apic_base; /* gpa of the xAPIC page, ~0 if none/x2APIC */
    /* Written by other threads: on a cache line of its own.
     * enum vcpu_event bits, set by any thread. */
    _Atomic uint32_t events __attribute__((aligned(64)));
    _Atomic uint8_t sipi_vector;
    _Atomic uint32_t sleeping; /* futex word: 1 while waiting in HLT */
    pthread_t thread;
    bool thread_started;
    /* Private to the run loop; own thread, or anybody while paused. */
    bool wait_sipi; /* INIT seen, no SIPI yet: run is not called */
    /* Under the set's lock. */
    bool running;    /* may be in run: a pauser waits for this to fall */
    bool held;       /* stays stopped when the set is resumed (debugger) */
    bool debug_stop; /* met ENGINE_EXIT_DEBUG, not yet asked about */
};

/* What ended the run of a whole machine. */
enum vcpu_stop_reason { VCPU_STOP_NONE, VCPU_STOP_TRIPLE, VCPU_STOP_ERROR };

struct vcpu_config {
    unsigned nr;
    const char *engine;           /* "jit"; "auto" chooses */
    const struct engine_ops *ops; /* this one whatever engine says (tests) */
    const struct cpuid_model *model;
    struct gmem *gmem;
    struct bus *pio, *mmio;
    /* A vCPU met a triple fault or an engine error; called once per event on
     * the vCPU's thread, which then waits until the set is paused or stopped.
     * The machine decides (reset, end). */
    void (*stopped)(void *opaque, enum vcpu_stop_reason why);
    void *opaque;
};

/* Create the CPUs, paused, in power-on state, and their threads. */
MUST_CHECK int vcpu_set_new(struct vcpu_set **out,
                            const struct vcpu_config *cfg, struct err *err);
/* Stop all threads and free everything. Not from a vCPU's thread. */
void vcpu_set_free(struct vcpu_set *set);
unsigned vcpu_set_count(const struct vcpu_set *set);
struct vcpu *vcpu_get(struct vcpu_set *set, unsigned index);

/* Wire the local APIC (before the first resume). */
void vcpu_set_intc(struct vcpu *v, const struct vcpu_intc_ops *ops, void *intc);

/* Let all CPUs run; or wait until none runs guest code. Pauses nest. Not from
 * a vCPU's thread. */
void vcpu_set_resume(struct vcpu_set *set);
void vcpu_set_pause(struct vcpu_set *set);
/* While paused: all CPUs to power-on state (intc reset included). */
void vcpu_set_reset(struct vcpu_set *set);

/*
 * Post an event and make v notice it soon (it may run, sleep or be this very
 * thread). Any thread, any locks held: never blocks. sipi_vector only with
 * VCPU_EVENT_SIPI.
 */
void vcpu_post(struct vcpu *v, enum vcpu_event ev, uint8_t sipi_vector);

/* The architectural state of a paused CPU, by copy. */
void vcpu_get_state(struct vcpu *v, struct x86_state *st);
void vcpu_set_state(struct vcpu *v, const struct x86_state *st);

/* For engines: st->tsc_offset of v changed (the guest wrote its TSC). By v's
 * own thread; vcpu_set_state does it by itself. */
void vcpu_tsc_changed(struct vcpu *v, const struct x86_state *st);

/* For engines: an access that is not RAM, by v's own thread. Finds the local
 * APIC page, then the bus. size 1, 2, 4, 8. */
uint64_t vcpu_mmio_read(struct vcpu *v, gpa_t gpa, unsigned size);
void vcpu_mmio_write(struct vcpu *v, gpa_t gpa, unsigned size, uint64_t val);
uint64_t vcpu_pio_read(struct vcpu *v, uint16_t port, unsigned size);
void vcpu_pio_write(struct vcpu *v, uint16_t port, unsigned size, uint64_t val);
/* As bus_read_many and bus_write_many. */
void vcpu_pio_read_many(struct vcpu *v, uint16_t port, unsigned size, void *dst,
                        unsigned n);
void vcpu_pio_write_many(struct vcpu *v, uint16_t port, unsigned size,
                         const void *src, unsigned n);

#endif
