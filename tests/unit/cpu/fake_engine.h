#ifndef HUSK_TESTS_UNIT_CPU_FAKE_ENGINE_H
#define HUSK_TESTS_UNIT_CPU_FAKE_ENGINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "cpu/engine.h"

/*
 * An engine without guest code: what run does is a mode that the test sets.
 * It clears INTR and NMI as a real one, and counts them.
 */
enum fake_mode {
    FAKE_BUSY,   /* run until an event of the run loop */
    FAKE_HALT,   /* execute HLT whenever no interrupt is posted */
    FAKE_TRIPLE, /* triple fault each time */
    FAKE_ERROR,
    FAKE_BREAK, /* one breakpoint, then FAKE_BUSY */
    FAKE_NR_MODES
};

enum { FAKE_MAX_VCPUS = 8, FAKE_MEM_SIZE = 8192, FAKE_MAX_BREAKPOINTS = 64 };

struct fake_vcpu {
    struct x86_state st;
    _Atomic int mode; /* enum fake_mode */
    _Atomic bool in_run;
    _Atomic bool step;
    _Atomic unsigned runs, intrs, nmis, kicks, halts, steps;
};

struct fake_engine {
    struct fake_vcpu vcpu[FAKE_MAX_VCPUS];
    uint8_t mem[FAKE_MEM_SIZE]; /* what debug_read sees, from gva 0x1000 */
    gva_t breakpoint[FAKE_MAX_BREAKPOINTS];
    unsigned nr_breakpoints;
    unsigned nr_vcpus;
    unsigned fail_vcpu; /* index + 1 of the vCPU that cannot be created */
};

#define FAKE_MEM_START 0x1000u

extern const struct engine_ops fake_engine_ops;

/* The fake's part of v, and the engine behind it. */
struct fake_vcpu *fake_vcpu(struct vcpu *v);
struct fake_engine *fake_engine(struct vcpu *v);

/* What vcpu_set_new shall do next in this process: fail at this vCPU. */
void fake_engine_fail(int vcpu);

/* A model with nothing in it. */
extern const struct cpuid_model fake_model;

/* Wait (up to 10 s) until *word is at least n; returns whether it is. */
bool fake_wait(_Atomic unsigned *word, unsigned n);

#endif
