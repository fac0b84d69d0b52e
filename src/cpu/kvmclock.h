#ifndef HUSK_CPU_KVMCLOCK_H
#define HUSK_CPU_KVMCLOCK_H

#include <stdint.h>

#include "base/compiler.h"
#include "x86/regs.h"

/*
 * The paravirtual clock and the other KVM MSRs that are not an interrupt
 * controller's (KVM: x86/msr.rst, x86/cpuid.rst). The guest computes
 * the time since the machine's reset from its TSC by a scale that is written
 * once per CPU, and that never changes: all CPUs share one reference moment.
 */
struct vcpu;
struct vcpu_set;

enum {
    KVM_MSR_WALL_CLOCK_OLD = 0x11,
    KVM_MSR_SYSTEM_TIME_OLD = 0x12,
    KVM_MSR_WALL_CLOCK = 0x4b564d00,
    KVM_MSR_SYSTEM_TIME = 0x4b564d01,
    KVM_MSR_PV_EOI = 0x4b564d04,
    KVM_MSR_POLL_CONTROL = 0x4b564d05
};

/* One per machine. */
struct kvmclock {
    uint64_t base_tsc; /* host TSC at the reset: when the clock was 0 */
    uint32_t mul;      /* ns = ((ticks << shift) * mul) >> 32 */
    int8_t shift;      /* a right shift if negative */
};

/* Start the clock at 0, at host TSC base_tsc with hz ticks a second. */
void kvmclock_start(struct kvmclock *kc, uint64_t base_tsc, uint64_t hz);

/* The clock at host TSC tsc, in ns since the reset. */
uint64_t kvmclock_ns(const struct kvmclock *kc, uint64_t tsc);

/*
 * The MSRs above: 0, or -EINVAL for #GP(0) (also all other numbers). Called
 * by v's own thread; st is its live state, of which only st->msr changes.
 * KVM_MSR_PV_EOI is passed on to v's interrupt controller.
 */
MUST_CHECK int kvmclock_wrmsr(struct vcpu *v, struct x86_state *st,
                              uint32_t msr, uint64_t val);
MUST_CHECK int kvmclock_rdmsr(struct vcpu *v, const struct x86_state *st,
                              uint32_t msr, uint64_t *val);

/* st->tsc_offset or st->msr changed by other means: write the time page of v
 * again. vcpu_tsc_changed calls it. */
void kvmclock_refresh(struct vcpu *v, const struct x86_state *st);

#endif
