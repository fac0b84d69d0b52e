#ifndef HUSK_CPU_JIT_RARE_H
#define HUSK_CPU_JIT_RARE_H

#include "cpu/jit/decode.h"
#include "cpu/jit/jit.h"

/*
 * Rare instructions, done in C from their decoded form: what cannot be encoded
 * in 64-bit mode, what touches segments and system registers, and operands
 * with a shape of their own (XSAVE areas, gathers). st is complete, with the
 * vector state in st->xsave.
 */
struct rare {
    struct jit_vcpu *jv;
    struct x86_state *st;
    struct x86_cpu *cpu;
    const struct insn *in;
    uint64_t next;    /* RIP after the instruction */
    bool transferred; /* RIP is set already */
    bool delivered;   /* an event was, or RIP stays: the state is in jv */
};

/* Not handled here: try the next table. */
enum { RARE_UNKNOWN = 1, RARE_EXIT = 2 };

/* Linear address of a memory operand; faults on the segment's limit. */
int rare_address(struct rare *r, const ZydisDecodedOperand *op, unsigned len,
                 bool write, gva_t *gva);
/* Linear address of a memory operand, unchecked. */
gva_t rare_gva(const struct rare *r, const ZydisDecodedOperand *op);
/* Set in to the instruction at RIP, decoded; -1 if it is undefined. */
int rare_decode(struct rare *r);
/* The same of len bytes at an offset in the operand. */
int rare_element(struct rare *r, const ZydisDecodedOperand *op, unsigned at,
                 unsigned len, bool write, gva_t *gva);
/* Read a far pointer: its offset, then its selector. */
int rare_far_pointer(struct rare *r, const ZydisDecodedOperand *op,
                     uint16_t *sel, uint64_t *off);
/* The same of an offset in a segment. #SS or #GP also if not canonical. */
int rare_linear(struct rare *r, enum x86_sreg seg, uint64_t off, unsigned len,
                bool write, gva_t *gva);
/* Would a write of up to a page fault? */
int rare_probe_write(struct rare *r, gva_t gva, unsigned len);
int rare_read_mem(struct rare *r, gva_t gva, void *dst, unsigned len);
int rare_write_mem(struct rare *r, gva_t gva, const void *src, unsigned len);
uint64_t rare_reg(const struct rare *r, ZydisRegister reg);
void rare_set_reg(struct rare *r, ZydisRegister reg, uint64_t v);
/* Operands up to 8 bytes, in memory or in a register, or an immediate. */
int rare_get(struct rare *r, unsigned i, uint64_t *v);
int rare_put(struct rare *r, unsigned i, uint64_t v, unsigned len);
int rare_push(struct rare *r, uint64_t v, unsigned size);
int rare_pop(struct rare *r, uint64_t *v, unsigned size);
uint64_t rare_sp(const struct rare *r);
void rare_set_sp(struct rare *r, uint64_t sp);
/* Bytes of a far pointer's offset: AMD ignores REX.W there (APM vol. 3, LDS).
 */
unsigned rare_far_bytes(const struct rare *r);
int rare_gp(struct rare *r);
int rare_ud(struct rare *r);

/* Each knows some mnemonics: X86_OK, X86_FAULT, RARE_UNKNOWN or RARE_EXIT. */
int rare_stack(struct rare *r);
int rare_system(struct rare *r);
int rare_legacy(struct rare *r);
int rare_vector(struct rare *r);

#endif
