#ifndef HUSK_CPU_JIT_EMIT_H
#define HUSK_CPU_JIT_EMIT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/*
 * Host code emitters, one per operand form. Registers are hardware numbers.
 * A full buffer sets `full` and drops bytes: the caller checks once at the
 * end. None of these choose instructions that change flags unless their name
 * is that of an ALU operation.
 */
enum {
    R_AX,
    R_CX,
    R_DX,
    R_BX,
    R_SP,
    R_BP,
    R_SI,
    R_DI,
    R_8,
    R_GSP,
    R_T0,
    R_T1,
    R_12,
    R_13,
    R_14,
    R_15,
    R_NONE = 255
};
/* R_GSP (r9) holds the guest's RSP; R_T0 (r10) and R_T1 (r11) are scratch. */

enum {
    CC_O,
    CC_NO,
    CC_B,
    CC_AE,
    CC_Z,
    CC_NZ,
    CC_BE,
    CC_A,
    CC_S,
    CC_NS,
    CC_P,
    CC_NP,
    CC_L,
    CC_GE,
    CC_LE,
    CC_G
};

struct emit {
    uint8_t *p, *end;
    bool full;
};

static inline void e_u8(struct emit *e, unsigned v)
{
    if (e->p < e->end)
        *e->p++ = (uint8_t)v;
    else
        e->full = true;
}

static inline void e_bytes(struct emit *e, const void *src, size_t n)
{
    if ((size_t)(e->end - e->p) < n) {
        e->full = true;
        return;
    }
    memcpy(e->p, src, n);
    e->p += n;
}

static inline void e_u32(struct emit *e, uint32_t v)
{
    e_bytes(e, &v, 4);
}

static inline void e_u64(struct emit *e, uint64_t v)
{
    e_bytes(e, &v, 8);
}

static inline void e_rex(struct emit *e, unsigned w, unsigned reg, unsigned idx,
                         unsigned rm, bool force)
{
    unsigned rex = 0x40u | w << 3 | (reg >> 3 & 1u) << 2 |
                   (idx >> 3 & 1u) << 1 | (rm >> 3 & 1u);

    if (rex != 0x40 || force)
        e_u8(e, rex);
}

/* ModRM and displacement of gs:[off]. */
static inline void e_gs_operand(struct emit *e, unsigned reg, uint32_t off)
{
    e_u8(e, (reg & 7) << 3 | 4);
    e_u8(e, 0x25);
    e_u32(e, off);
}

/* op reg, gs:[off] (or the other way round, as the opcode says) */
static inline void e_op_gs(struct emit *e, unsigned op, unsigned w,
                           unsigned reg, uint32_t off)
{
    e_u8(e, 0x65);
    e_rex(e, w, reg, 0, 0, false);
    e_u8(e, op);
    e_gs_operand(e, reg, off);
}

static inline void e_load_gs(struct emit *e, unsigned reg, uint32_t off)
{
    e_op_gs(e, 0x8b, 1, reg, off);
}

static inline void e_load32_gs(struct emit *e, unsigned reg, uint32_t off)
{
    e_op_gs(e, 0x8b, 0, reg, off);
}

static inline void e_store_gs(struct emit *e, uint32_t off, unsigned reg)
{
    e_op_gs(e, 0x89, 1, reg, off);
}

static inline void e_store32_gs(struct emit *e, uint32_t off, unsigned reg)
{
    e_op_gs(e, 0x89, 0, reg, off);
}

/* mov dword gs:[off], imm */
static inline void e_store32_gs_imm(struct emit *e, uint32_t off, uint32_t imm)
{
    e_u8(e, 0x65);
    e_u8(e, 0xc7);
    e_gs_operand(e, 0, off);
    e_u32(e, imm);
}

static inline void e_mov_imm(struct emit *e, unsigned reg, uint64_t v)
{
    if (v <= UINT32_MAX) {
        e_rex(e, 0, 0, 0, reg, false);
        e_u8(e, 0xb8 | (reg & 7));
        e_u32(e, (uint32_t)v);
    } else if ((int64_t)v == (int32_t)v) {
        e_rex(e, 1, 0, 0, reg, false);
        e_u8(e, 0xc7);
        e_u8(e, 0xc0 | (reg & 7));
        e_u32(e, (uint32_t)v);
    } else {
        e_rex(e, 1, 0, 0, reg, false);
        e_u8(e, 0xb8 | (reg & 7));
        e_u64(e, v);
    }
}

/* mov qword gs:[off], imm; may use tmp for wide values */
static inline void e_store_gs_imm(struct emit *e, uint32_t off, uint64_t v,
                                  unsigned tmp)
{
    if ((int64_t)v == (int32_t)v) {
        e_u8(e, 0x65);
        e_u8(e, 0x48);
        e_u8(e, 0xc7);
        e_gs_operand(e, 0, off);
        e_u32(e, (uint32_t)v);
    } else {
        e_mov_imm(e, tmp, v);
        e_store_gs(e, off, tmp);
    }
}

/* op with register operands: op r/m = rm, reg = reg */
static inline void e_op_rr(struct emit *e, unsigned op, unsigned w,
                           unsigned reg, unsigned rm)
{
    e_rex(e, w, reg, 0, rm, false);
    e_u8(e, op);
    e_u8(e, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

static inline void e_mov_rr(struct emit *e, unsigned dst, unsigned src)
{
    e_op_rr(e, 0x89, 1, src, dst);
}

static inline void e_mov32_rr(struct emit *e, unsigned dst, unsigned src)
{
    e_op_rr(e, 0x89, 0, src, dst);
}

/* A memory operand: [base + idx * scale + disp]; R_NONE = absent. */
struct e_addr {
    uint8_t base, idx, scale;
    int32_t disp;
};

static inline struct e_addr e_at_idx(unsigned base, unsigned idx,
                                     unsigned scale, int32_t disp)
{
    return (struct e_addr){(uint8_t)base, (uint8_t)idx, (uint8_t)scale, disp};
}

static inline struct e_addr e_at(unsigned base, int32_t disp)
{
    return e_at_idx(base, R_NONE, 1, disp);
}

/* ModRM, SIB, displacement of a memory operand. */
static inline void e_mem(struct emit *e, unsigned reg, struct e_addr a)
{
    unsigned ss = a.scale == 8 ? 3 : a.scale == 4 ? 2 : a.scale == 2 ? 1 : 0;
    unsigned r = (reg & 7) << 3, base = a.base, idx = a.idx;
    int32_t disp = a.disp;

    if (base == R_NONE) {
        e_u8(e, r | 4);
        e_u8(e, ss << 6 | (idx == R_NONE ? 4u : (idx & 7u)) << 3 | 5);
        e_u32(e, (uint32_t)disp);
        return;
    }
    unsigned mod = disp == 0 && (base & 7) != 5 ? 0
                   : disp == (int8_t)disp       ? 1
                                                : 2;

    if (idx != R_NONE || (base & 7) == 4) {
        e_u8(e, mod << 6 | r | 4);
        e_u8(e, ss << 6 | (idx == R_NONE ? 4u : (idx & 7u)) << 3 | (base & 7));
    } else {
        e_u8(e, mod << 6 | r | (base & 7));
    }
    if (mod == 1)
        e_u8(e, (uint8_t)disp);
    else if (mod == 2)
        e_u32(e, (uint32_t)disp);
}

static inline void e_op_mem(struct emit *e, unsigned op, unsigned w,
                            unsigned reg, struct e_addr a)
{
    e_rex(e, w, reg, a.idx == R_NONE ? 0 : a.idx, a.base == R_NONE ? 0 : a.base,
          false);
    e_u8(e, op);
    e_mem(e, reg, a);
}

static inline void e_lea(struct emit *e, unsigned w, unsigned dst,
                         struct e_addr a)
{
    e_op_mem(e, 0x8d, w, dst, a);
}

/* op r/m, imm (group 1: /ext) on a register; shortest form */
static inline void e_alu_imm(struct emit *e, unsigned ext, unsigned w,
                             unsigned reg, int32_t imm)
{
    e_rex(e, w, 0, 0, reg, false);
    e_u8(e, imm == (int8_t)imm ? 0x83 : 0x81);
    e_u8(e, 0xc0 | ext << 3 | (reg & 7));
    if (imm == (int8_t)imm)
        e_u8(e, (uint8_t)imm);
    else
        e_u32(e, (uint32_t)imm);
}

static inline void e_shr_imm(struct emit *e, unsigned w, unsigned reg,
                             unsigned n)
{
    e_rex(e, w, 0, 0, reg, false);
    e_u8(e, 0xc1);
    e_u8(e, 0xe8 | (reg & 7));
    e_u8(e, n);
}

/* op reg, gs:[idx * 8 + off]: tables of words */
static inline void e_op_gs_idx8(struct emit *e, unsigned op, unsigned reg,
                                unsigned idx, uint32_t off)
{
    e_u8(e, 0x65);
    e_rex(e, 1, reg, idx, 0, false);
    e_u8(e, op);
    e_u8(e, (reg & 7) << 3 | 4);
    e_u8(e, 3u << 6 | (idx & 7) << 3 | 5);
    e_u32(e, off);
}

/* Pad so that the rel32 of a jump whose opcode has n bytes is aligned. */
static inline void e_align_rel32(struct emit *e, unsigned n)
{
    static const uint8_t nops[4][3] = {
        {0}, {0x90}, {0x66, 0x90}, {0x0f, 0x1f, 0x00}};
    unsigned pad = (unsigned)(0 - ((uintptr_t)e->p + n)) & 3;

    e_bytes(e, nops[pad], pad);
}

/* Jumps; the returned pointer is that of the rel32, for e_patch. */
static inline uint8_t *e_jmp32(struct emit *e)
{
    e_u8(e, 0xe9);
    e_u32(e, 0);
    return e->p - 4;
}

static inline uint8_t *e_call32(struct emit *e)
{
    e_u8(e, 0xe8);
    e_u32(e, 0);
    return e->p - 4;
}

static inline uint8_t *e_jcc32(struct emit *e, unsigned cc)
{
    e_u8(e, 0x0f);
    e_u8(e, 0x80 | cc);
    e_u32(e, 0);
    return e->p - 4;
}

static inline void e_patch(uint8_t *rel32, const uint8_t *target)
{
    int32_t d = (int32_t)(target - (rel32 + 4));

    memcpy(rel32, &d, 4);
}

static inline void e_jmp_gs(struct emit *e, uint32_t off)
{
    e_u8(e, 0x65);
    e_u8(e, 0xff);
    e_gs_operand(e, 4, off);
}

static inline void e_call_gs(struct emit *e, uint32_t off)
{
    e_u8(e, 0x65);
    e_u8(e, 0xff);
    e_gs_operand(e, 2, off);
}

#endif
