#ifndef HUSK_X86_SEGMENT_H
#define HUSK_X86_SEGMENT_H

#include "x86/desc.h"

/* Checks that segment loads share with task switches and returns. Internal to
 * src/x86. */

/*
 * Check sel for SS at privilege level cpl and give its cached form. Errors
 * are vector(sel) (#GP for loads and returns, #TS for task switches and new
 * stacks), #SS(sel) if it is not present. allow_null: a null selector with
 * RPL cpl is fine (64-bit mode below CPL 3).
 */
MUST_CHECK int x86_check_ss(struct x86_cpu *cpu, uint16_t sel, unsigned cpl,
                            unsigned vector, bool allow_null,
                            struct x86_seg *seg);

/* The same for DS, ES, FS and GS, at the current CPL. */
MUST_CHECK int x86_check_data(struct x86_cpu *cpu, uint16_t sel,
                              unsigned vector, struct x86_seg *seg);

/* Unusable, with sel in it. */
void x86_seg_set_null(struct x86_seg *seg, uint16_t sel);
/* As real mode loads it (limit and attributes stay), and virtual-8086 mode. */
void x86_seg_set_real(struct x86_seg *seg, uint16_t sel);
void x86_seg_set_v86(struct x86_seg *seg, uint16_t sel);
/* Base 0, limit 4 GiB. */
void x86_seg_set_flat(struct x86_seg *seg, uint16_t sel, uint16_t attr);

void x86_seg_copy(struct x86_seg *dst, const struct x86_seg *src);

/* Real mode or virtual-8086 mode: selectors are paragraphs. */
static inline bool x86_is_real_style(const struct x86_state *st)
{
    return !(st->cr0 & X86_CR0_PE) || (st->rflags & X86_FLAGS_VM);
}

#endif
