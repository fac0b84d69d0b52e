#ifndef HUSK_CPU_ENGINE_H
#define HUSK_CPU_ENGINE_H

#include "cpu/vcpu.h"

/*
 * What a CPU engine does: it runs guest code on a vCPU's thread until
 * something happens that only the run loop (cpu/vcpu.c) can handle. Port I/O
 * and MMIO are not exits: engines call vcpu_pio_* and vcpu_mmio_* themselves.
 */
enum engine_exit {
    ENGINE_EXIT_KICK,   /* kicked, or v->events has a bit: look at them */
    ENGINE_EXIT_HALT,   /* HLT with nothing to deliver; RIP is behind it */
    ENGINE_EXIT_TRIPLE, /* triple fault */
    ENGINE_EXIT_DEBUG,  /* breakpoint reached, or one step done */
    ENGINE_EXIT_ERROR   /* the engine cannot go on; logged */
};

struct engine_config {
    const struct cpuid_model *model;
    struct gmem *gmem;
    unsigned nr_vcpus;
};

struct engine_ops {
    const char *name;

    MUST_CHECK int (*create)(void **engine, const struct engine_config *cfg,
                             struct err *err);
    void (*destroy)(void *engine);

    /* On any thread; the vCPU is in power-on state. Sets v->engine_vcpu. */
    MUST_CHECK int (*vcpu_create)(void *engine, struct vcpu *v,
                                  struct err *err);
    void (*vcpu_destroy)(struct vcpu *v);

    /* First call on v's own thread, before run. */
    void (*vcpu_thread_start)(struct vcpu *v);

    /*
     * Run guest code. Interrupts are taken inside: when v->events has
     * VCPU_EVENT_INTR the engine clears it and asks v->intc_ops; while one
     * waits for IF it watches for the window itself. VCPU_EVENT_NMI likewise.
     * Any other event bit ends the run with ENGINE_EXIT_KICK.
     * HLT: if nothing can be delivered, sets mp_state HALTED and returns
     * ENGINE_EXIT_HALT; run on a HALTED vCPU first checks for something to
     * deliver and returns ENGINE_EXIT_HALT at once if there is nothing.
     */
    enum engine_exit (*run)(struct vcpu *v);

    /* Make run see v->events soon. Any thread, any locks held. */
    void (*kick)(struct vcpu *v);

    /* Only while v is not in run. */
    void (*get_state)(struct vcpu *v, struct x86_state *st);
    void (*set_state)(struct vcpu *v, const struct x86_state *st);

    /* Debugger, while no vCPU is in run: replace all breakpoints (linear
     * addresses of instructions); make the next run of v execute exactly one
     * instruction; read or write guest virtual memory of v (0 or -EFAULT). */
    void (*set_breakpoints)(void *engine, const gva_t *gva, unsigned nr);
    void (*set_step)(struct vcpu *v, bool on);
    int (*debug_read)(struct vcpu *v, gva_t gva, void *dst, size_t len);
    int (*debug_write)(struct vcpu *v, gva_t gva, const void *src, size_t len);
};

extern const struct engine_ops jit_engine_ops;

#endif
