#ifndef HUSK_X86_STACK_H
#define HUSK_X86_STACK_H

#include "x86/system.h"

/*
 * A stack that the CPU itself pushes to or pops from while it transfers
 * control. The stack pointer moves in the cursor only, so that a fault half
 * way leaves the state untouched; x86_stack_sp gives the new RSP at the end.
 * Internal to src/x86.
 */
struct x86_stack {
    struct x86_cpu *cpu;
    const struct x86_seg *ss;
    uint64_t mask; /* of the stack pointer: 16, 32 or 64 bits */
    uint64_t base; /* 0 with 64 bits */
    uint64_t sp;
    uint16_t error; /* selector in #SS if the limit or form is wrong */
    uint8_t vector; /* #SS, or #TS while a new stack is tried */
    bool user;      /* access with the rights of CPL 3 */
};

/* A stack of ss at sp; wide: of 64-bit mode, ss is ignored. */
void x86_stack_init(struct x86_stack *s, struct x86_cpu *cpu,
                    const struct x86_seg *ss, uint64_t sp, bool wide);

/* The current stack, accessed with the rights of the current CPL. */
void x86_stack_current(struct x86_stack *s, struct x86_cpu *cpu);

MUST_CHECK int x86_push(struct x86_stack *s, uint64_t val, unsigned size);
MUST_CHECK int x86_pop(struct x86_stack *s, uint64_t *val, unsigned size);

/* Move the stack pointer as pops of bytes would. */
void x86_stack_skip(struct x86_stack *s, unsigned bytes);

/* old with the bits that the cursor moves replaced: a 16-bit stack leaves
 * bits 31:16 of ESP alone, one below 64 bits clears the upper half. */
uint64_t x86_stack_sp(const struct x86_stack *s, uint64_t old);

/* May [off, off + len) of seg be accessed, as far as its limit goes? */
bool x86_seg_in_limit(const struct x86_seg *seg, uint64_t off, unsigned len);

#endif
