#ifndef HUSK_X86_TRANSFER_H
#define HUSK_X86_TRANSFER_H

#include "x86/desc.h"

/* A checked destination of a far transfer. Internal to src/x86. */
struct x86_target {
    struct x86_seg cs; /* RPL is the new CPL */
    uint64_t rip;
    bool wide; /* 64-bit code */
};

/*
 * Fill t from the descriptor d of a code segment that was found to be allowed:
 * presence (#NP), L and D (#GP), RIP against the limit or canonical (#GP(0)).
 * Sets the descriptor's accessed bit.
 */
MUST_CHECK int x86_target_init(struct x86_cpu *cpu, struct x86_target *t,
                               struct x86_desc *d, uint64_t rip, unsigned cpl);

/* The same in real and virtual-8086 mode. */
MUST_CHECK int x86_target_real(struct x86_cpu *cpu, struct x86_target *t,
                               uint16_t sel, uint64_t rip);

/* Go there. */
void x86_target_take(struct x86_cpu *cpu, const struct x86_target *t);

#endif
