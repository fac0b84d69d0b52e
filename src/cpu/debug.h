#ifndef HUSK_CPU_DEBUG_H
#define HUSK_CPU_DEBUG_H

#include "cpu/vcpu.h"

/*
 * What a debugger does to the CPUs of a machine. All functions but
 * vcpu_debug_handler and vcpu_debug_take are called with the set paused
 * (vcpu_set_pause), by one thread at a time.
 */

typedef void vcpu_debug_fn(void *opaque, struct vcpu *v);

/*
 * Whom to tell that v met a breakpoint or has done its step; fn NULL =
 * nobody, and such stops are passed over. The set is being paused when fn is
 * called, on v's thread with no lock held; it must not block. The pause stays
 * until vcpu_debug_take. Any thread but a vCPU's.
 */
void vcpu_debug_handler(struct vcpu_set *set, vcpu_debug_fn *fn, void *opaque);

/*
 * Pause the set as vcpu_set_pause does and take over the pause of debug
 * stops: afterwards one vcpu_set_resume lets all CPUs go on. Not from a
 * vCPU's thread.
 */
void vcpu_debug_take(struct vcpu_set *set);

/* Whether v met a debug stop since this was last asked. */
bool vcpu_debug_stopped(struct vcpu *v);

/* Keep v stopped when the others are resumed. */
void vcpu_debug_hold(struct vcpu *v, bool on);

/* See the functions of struct engine_ops. -ENOTSUP if the engine has none. */
int vcpu_debug_breakpoints(struct vcpu_set *set, const gva_t *gva, unsigned nr);
int vcpu_debug_step(struct vcpu *v, bool on);
MUST_CHECK int vcpu_debug_read(struct vcpu *v, gva_t gva, void *dst,
                               size_t len);
MUST_CHECK int vcpu_debug_write(struct vcpu *v, gva_t gva, const void *src,
                                size_t len);

#endif
