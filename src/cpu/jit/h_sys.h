#ifndef HUSK_CPU_JIT_H_SYS_H
#define HUSK_CPU_JIT_H_SYS_H

#include "cpu/jit/jit.h"

/*
 * Helpers that translated code calls by glue_helper. The argument of system
 * instructions is their length, and the operand width in bits above bit 8.
 */
h_fn h_rdmsr, h_wrmsr, h_cpuid, h_syscall, h_sysret, h_iret, h_swapgs, h_hlt,
    h_popf, h_rare, h_wrbase, h_string, h_step_done, h_segment, h_break, h_stop,
    h_mov_seg, h_mov_cr, h_invlpg, h_xsave, h_stack, h_call_near, h_ret_near;

/* h_string's argument */
#define H_STRING_OP(op)    ((uint64_t)(op))     /* opcode bits 1..3 */
#define H_STRING_SIZE(s)   ((uint64_t)(s) << 4) /* log2 of the bytes */
#define H_STRING_ADDR(s)   ((uint64_t)(s) << 6) /* address width, log2 */
#define H_STRING_REP       ((uint64_t)1 << 8)
#define H_STRING_REPNE     ((uint64_t)1 << 9)
#define H_STRING_SEG(s)    ((uint64_t)(s) << 10)
#define H_STRING_LENGTH(n) ((uint64_t)(n) << 16)

/* h_stack's, h_call_near's and h_ret_near's argument: the operand's bytes, and
 * an immediate, the target, or how much RET releases */
enum h_stack_op { H_PUSH_REG, H_PUSH_SEG, H_PUSH_IMM, H_PUSH_FLAGS, H_POP_REG };
#define H_STACK_OP(op)    ((uint64_t)(op))
#define H_STACK_LENGTH(n) ((uint64_t)(n) << 4)
#define H_STACK_SIZE(n)   ((uint64_t)(n) << 8)
#define H_STACK_REG(r)    ((uint64_t)(r) << 12)
#define H_STACK_IMM(v)    ((uint64_t)(uint32_t)(v) << 32)

/* h_segment's argument; the offset is at JV_GLUE_TMP */
#define H_SEGMENT_REG(r)   ((uint64_t)(r))
#define H_SEGMENT_WRITE(w) ((uint64_t)(w) << 3)
#define H_SEGMENT_SIZE(n)  ((uint64_t)(n) << 4)
#define H_SEGMENT_ALIGNED  0x1000u /* must be, to its size */

/* h_xsave's and h_invlpg's argument; the linear address is in jv->tmp */
#define H_AREA_LENGTH(n) ((uint64_t)(n))
#define H_AREA_SAVEC     ((uint64_t)1 << 8)
#define H_AREA_RESTORE   ((uint64_t)1 << 9)

/* h_rare's argument: what was translated, if it was a valid instruction */
#define H_RARE_EXPECT(mnemonic) ((mnemonic) << 32)

/* rare.c: in C, with the vector state in jv->st.xsave. */
uint64_t rare_run(void *opaque, uint64_t length, uint64_t expect, uint64_t c);

#endif
