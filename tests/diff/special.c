#include "insn.h"

#include <string.h>

#include "image.h"
#include "segment.h"
#include "state.h"

/*
 * Set-up that follows from what an instruction means: jump targets, stack
 * frames, counts, divisions that do not overflow, images that load.
 */

uint64_t special_jump_target(struct setup *s)
{
    unsigned dice = rng_below(s->r, 100);

    if (dice < 92)
        return s->addr - s->cs_base + rng_below(s->r, DIFF_CODE_MAX);
    if (dice < 94)
        return DIFF_DATA + 0x1000 + rng_below(s->r, 0x1000); /* no execute */
    if (dice < 96)
        return DIFF_DATA + 0x3000 + rng_below(s->r, 0x1000);
    if (s->c->bits == 64 && dice < 98)
        return 0x0000800000000000u + rng_u64(s->r) % 0x7fff000000000000u;
    return DIFF_CODE - 1 - rng_below(s->r, 0x1000); /* unmapped, below */
}

static uint64_t selector(struct rng *r, unsigned good)
{
    static const uint16_t any[] = {
        DIFF_DS,   0x28, 0,      1,      3,    0x10, 0x18, DIFF_CS64,
        DIFF_CS32, 0x20, 0xfff8, 0xffff, 0x08, 0x2a, 0x04, 0x0f};

    return rng_percent(r, 55) ? good : any[rng_below(r, 16)];
}

static uint64_t code_selector(const struct setup *s)
{
    unsigned dice = rng_below(s->r, 100);

    if (dice < 80)
        return s->c->in.cs;
    if (dice < 90)
        return s->c->bits == 64 ? DIFF_CS32 : DIFF_CS64;
    return selector(s->r, 0x10);
}

static uint64_t popped_flags(struct rng *r)
{
    uint64_t v = state_flags(r);

    if (rng_percent(r, 20))
        v |= rng_u64(r) & 0x7ffed5; /* privileged and reserved ones too */
    if (!rng_percent(r, 20))
        v &= ~(uint64_t)0x40100; /* AC, TF */
    return v;
}

static unsigned stack_bytes(const struct insn *in)
{
    return in->d.operand_width == 16 ? 2 : in->d.operand_width / 8u;
}

static void patch_words(struct setup *s, uint64_t addr, const uint64_t *val,
                        unsigned nr, unsigned size)
{
    uint8_t data[64];

    for (unsigned i = 0; i < nr; i++)
        memcpy(data + (size_t)i * size, &val[i], size);
    operand_patch(s, addr, data, nr * size);
}

static void setup_iret(struct setup *s, const struct insn *in)
{
    uint64_t frame[5] = {special_jump_target(s), code_selector(s),
                         popped_flags(s->r), operand_target(s, 8, true),
                         selector(s->r, DIFF_DS)};

    patch_words(s, operand_stack(s), frame, 5, stack_bytes(in));
}

static void setup_far_return(struct setup *s, const struct insn *in)
{
    uint64_t frame[2] = {special_jump_target(s), code_selector(s)};

    patch_words(s, operand_stack(s), frame, 2, stack_bytes(in));
}

static const ZydisDecodedOperand *memory_operand(const struct insn *in)
{
    for (unsigned i = 0; i < in->d.operand_count_visible; i++)
        if (in->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
            return &in->op[i];
    return NULL;
}

/* The address of the visible memory operand, or one that is not mapped. */
static uint64_t memory_address(const struct setup *s, const struct insn *in,
                               unsigned off)
{
    const ZydisDecodedOperand *op = memory_operand(in);

    return op ? operand_address(s, in, off, op) : 0;
}

static void setup_indirect(struct setup *s, const struct insn *in, unsigned off)
{
    uint64_t frame[2] = {special_jump_target(s), code_selector(s)};
    unsigned size = in->d.operand_width / 8u;
    uint8_t data[16];

    if (in->op[0].type == ZYDIS_OPERAND_TYPE_REGISTER) {
        (void)setup_set(s,
                        (unsigned)ZydisRegisterGetId(in->op[0].reg.value) & 15,
                        frame[0]);
        return;
    }
    memcpy(data, &frame[0], size);
    if (in->d.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
        memcpy(data + size, &frame[1], 2);
    operand_patch(s, memory_address(s, in, off), data,
                  in->d.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ? size + 2
                                                                  : size);
}

/* RCX: short strings mostly; those that run into a fault stop by it. */
static void setup_string(struct setup *s)
{
    unsigned dice = rng_below(s->r, 100);
    unsigned n = dice < 60   ? rng_below(s->r, 40)
                 : dice < 92 ? rng_below(s->r, 400)
                             : rng_below(s->r, 5000);

    if (dice < 98)
        (void)setup_set(s, 1, n);
}

static void set_gpr_low(struct setup *s, unsigned gpr, uint64_t val,
                        unsigned bits)
{
    uint64_t mask = bits == 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1;

    if (!setup_is_pinned(s, gpr))
        s->c->in.gpr[gpr] = (s->c->in.gpr[gpr] & ~mask) | (val & mask);
}

/* Mostly a quotient that fits: a dividend without its upper half. */
static void setup_divide(struct setup *s, const struct insn *in)
{
    bool is_signed = in->d.mnemonic == ZYDIS_MNEMONIC_IDIV;
    unsigned bits = in->op[0].size;
    uint64_t rax = s->c->in.gpr[0];
    bool minus = is_signed && (rax >> (bits - 1) & 1);
    uint64_t high = minus ? UINT64_MAX : 0;

    if (rng_percent(s->r, 25))
        return;
    if (rng_percent(s->r, 25))
        high ^= rng_below(s->r, 8);
    if (bits == 8)
        set_gpr_low(s, 0, (rax & 0xff) | high << 8, 16);
    else
        set_gpr_low(s, 2, high, bits);
}

/* The bit offset of BT and its kin reaches beyond the memory operand. */
static void setup_bit(struct setup *s, const struct insn *in)
{
    unsigned bits = in->op[1].size;
    int64_t v = (int64_t)rng_below(s->r, 8000) - 2000;

    if (in->op[1].type == ZYDIS_OPERAND_TYPE_REGISTER &&
        in->op[0].type == ZYDIS_OPERAND_TYPE_MEMORY && rng_percent(s->r, 90))
        set_gpr_low(s, (unsigned)ZydisRegisterGetId(in->op[1].reg.value) & 15,
                    (uint64_t)v, bits);
}

/* The value of the compared operand, so that half of all exchanges happen. */
static void setup_compare(struct setup *s, const struct insn *in, unsigned off)
{
    const ZydisDecodedOperand *op = memory_operand(in);
    unsigned size = in->op[0].size / 8u;
    uint64_t val[2] = {state_gpr(s->r), state_gpr(s->r)};

    if (rng_percent(s->r, 50))
        return;
    if (!op) {
        if (in->op[0].size >= 16)
            set_gpr_low(
                s, 0,
                s->c->in.gpr[ZydisRegisterGetId(in->op[0].reg.value) & 15],
                in->op[0].size);
        return;
    }
    operand_patch(s, memory_address(s, in, off), val, size);
    if (in->d.mnemonic == ZYDIS_MNEMONIC_CMPXCHG) {
        set_gpr_low(s, 0, val[0], in->op[0].size);
        return;
    }
    if (size == 8)
        val[1] = val[0] >> 32;
    set_gpr_low(s, 0, val[0], size * 4);
    set_gpr_low(s, 2, val[1], size * 4);
}

static void setup_enter(struct setup *s, unsigned off, const struct insn *in)
{
    uint8_t *imm = s->c->code + off + in->d.raw.imm[0].offset;

    if (rng_percent(s->r, 90)) {
        uint16_t size = (uint16_t)rng_below(s->r, 256);

        memcpy(imm, &size, 2);
    }
    if (rng_percent(s->r, 70))
        s->c->code[off + in->d.raw.imm[1].offset] &= 3;
    (void)setup_set(
        s, 5, operand_target(s, 16, true) + 512 - segment_base_of(s->c->in.ss));
}

static void setup_xsave_mask(struct setup *s)
{
    uint64_t rax = rng_percent(s->r, 50) ? 7 : rng_below(s->r, 8);

    (void)setup_set(s, 0, rax);
    (void)setup_set(s, 2, 0);
}

static void setup_xrstor(struct setup *s, const struct insn *in, unsigned off)
{
    uint8_t area[DIFF_XSAVE_SIZE] = {0};
    bool compact = rng_percent(s->r, 30);
    bool broken = rng_percent(s->r, 5);

    setup_xsave_mask(s);
    state_fxsave(s->r, area);
    area[XSAVE_HEADER] =
        rng_percent(s->r, 60) ? 7 : (uint8_t)rng_below(s->r, 8);
    if (compact) {
        area[XSAVE_HEADER + 8] = 7;
        area[XSAVE_HEADER + 15] = 0x80;
    }
    if (broken)
        area[XSAVE_HEADER + rng_below(s->r, 64)] ^=
            (uint8_t)(1u << rng_below(s->r, 8));
    state_vector(s->r, area + XSAVE_YMMH, 256);
    operand_patch(s, memory_address(s, in, off), area, sizeof(area));
}

static void setup_fxrstor(struct setup *s, const struct insn *in, unsigned off)
{
    uint8_t area[512];

    state_fxsave(s->r, area);
    if (rng_percent(s->r, 5))
        rng_bytes(s->r, area + FX_MXCSR, 4);
    operand_patch(s, memory_address(s, in, off), area, sizeof(area));
}

static void setup_ldmxcsr(struct setup *s, const struct insn *in, unsigned off)
{
    uint32_t v = state_mxcsr(s->r);

    if (rng_percent(s->r, 8))
        v = (uint32_t)rng_u64(s->r);
    operand_patch(s, memory_address(s, in, off), &v, 4);
}

/* FLDENV, FRSTOR (SDM vol. 1, 8.1.10): 14 or 28 bytes, then the registers. */
static void setup_fldenv(struct setup *s, const struct insn *in, unsigned off,
                         bool registers)
{
    unsigned word = in->d.operand_width == 16 ? 2 : 4;
    uint8_t fx[512], area[108] = {0};
    uint16_t tags = (uint16_t)rng_u64(s->r);
    unsigned len = 7 * word;

    state_fxsave(s->r, fx);
    rng_bytes(s->r, area, len);
    memcpy(area, fx + FX_FCW, 2);
    memcpy(area + word, fx + FX_FSW, 2);
    memcpy(area + 2 * word, &tags, 2);
    for (unsigned i = 0; registers && i < 8; i++, len += 10)
        memcpy(area + len, fx + FX_ST + 16 * i, 10);
    operand_patch(s, memory_address(s, in, off), area, len);
}

static void setup_fbld(struct setup *s, const struct insn *in, unsigned off)
{
    uint8_t bcd[10];

    for (unsigned i = 0; i < 9; i++)
        bcd[i] = (uint8_t)(rng_below(s->r, 10) << 4 | rng_below(s->r, 10));
    bcd[9] = rng_percent(s->r, 50) ? 0x80 : 0;
    if (rng_percent(s->r, 90))
        operand_patch(s, memory_address(s, in, off), bcd, sizeof(bcd));
}

/* MOV and POP to a segment register, and the far pointer loads. */
static void setup_selector(struct setup *s, const struct insn *in, unsigned off)
{
    uint64_t sel = selector(s->r, DIFF_DS);
    const ZydisDecodedOperand *op = memory_operand(in);
    unsigned last = in->d.operand_count_visible - 1u;

    if (in->d.mnemonic == ZYDIS_MNEMONIC_POP)
        patch_words(s, operand_stack(s), &sel, 1, 8);
    else if (op)
        operand_patch(s,
                      memory_address(s, in, off) +
                          (op->size > 16 ? op->size / 8u - 2 : 0),
                      &sel, 2);
    else if (in->op[last].type == ZYDIS_OPERAND_TYPE_REGISTER)
        set_gpr_low(s,
                    (unsigned)ZydisRegisterGetId(in->op[last].reg.value) & 15,
                    sel, 16);
}

static bool loads_segment(const struct insn *in)
{
    const ZydisDecodedOperand *op = &in->op[0];

    return (in->d.mnemonic == ZYDIS_MNEMONIC_MOV ||
            in->d.mnemonic == ZYDIS_MNEMONIC_POP) &&
           op->type == ZYDIS_OPERAND_TYPE_REGISTER &&
           ZydisRegisterGetClass(op->reg.value) == ZYDIS_REGCLASS_SEGMENT;
}

/* INT 0x80 is a system call of the host. */
static void setup_int(struct setup *s, unsigned off, const struct insn *in)
{
    static const uint8_t often[] = {3, 3, 4, 1, 0, 13, 0x20, 0xff};
    uint8_t *imm = s->c->code + off + in->d.raw.imm[0].offset;

    if (rng_percent(s->r, 70))
        *imm = often[rng_below(s->r, 8)];
    if (*imm == 0x80)
        *imm = 0x81;
}

static void setup_fsbase(struct setup *s, const struct insn *in)
{
    uint64_t v = rng_u64(s->r) & 0x00007fffffffffffu;

    if (rng_percent(s->r, 90))
        (void)setup_set(
            s, (unsigned)ZydisRegisterGetId(in->op[0].reg.value) & 15, v);
}

static void setup_return(struct setup *s, const struct insn *in)
{
    uint64_t target = special_jump_target(s);

    if (in->d.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
        setup_far_return(s, in);
    else
        patch_words(s, operand_stack(s), &target, 1, s->c->bits / 8u);
}

static void setup_popf(struct setup *s)
{
    uint64_t flags = popped_flags(s->r);

    patch_words(s, operand_stack(s), &flags, 1, 8);
}

static bool setup_fpu(struct setup *s, const struct insn *in, unsigned off)
{
    switch (in->d.mnemonic) {
    case ZYDIS_MNEMONIC_FLDENV: setup_fldenv(s, in, off, false); break;
    case ZYDIS_MNEMONIC_FRSTOR: setup_fldenv(s, in, off, true); break;
    case ZYDIS_MNEMONIC_FBLD: setup_fbld(s, in, off); break;
    case ZYDIS_MNEMONIC_LDMXCSR:
    case ZYDIS_MNEMONIC_VLDMXCSR: setup_ldmxcsr(s, in, off); break;
    case ZYDIS_MNEMONIC_FXRSTOR:
    case ZYDIS_MNEMONIC_FXRSTOR64: setup_fxrstor(s, in, off); break;
    case ZYDIS_MNEMONIC_XRSTOR:
    case ZYDIS_MNEMONIC_XRSTOR64: setup_xrstor(s, in, off); break;
    case ZYDIS_MNEMONIC_XSAVE:
    case ZYDIS_MNEMONIC_XSAVE64:
    case ZYDIS_MNEMONIC_XSAVEC:
    case ZYDIS_MNEMONIC_XSAVEC64:
    case ZYDIS_MNEMONIC_XSAVEOPT:
    case ZYDIS_MNEMONIC_XSAVEOPT64: setup_xsave_mask(s); break;
    default: return false;
    }
    return true;
}

void special_setup(struct setup *s, const struct insn *in, unsigned off)
{
    if (setup_fpu(s, in, off))
        return;
    if (loads_segment(in)) {
        setup_selector(s, in, off);
        return;
    }
    if (in->d.meta.category == ZYDIS_CATEGORY_STRINGOP)
        setup_string(s);
    switch (in->d.mnemonic) {
    case ZYDIS_MNEMONIC_IRET:
    case ZYDIS_MNEMONIC_IRETD:
    case ZYDIS_MNEMONIC_IRETQ: setup_iret(s, in); break;
    case ZYDIS_MNEMONIC_RET: setup_return(s, in); break;
    case ZYDIS_MNEMONIC_POPF:
    case ZYDIS_MNEMONIC_POPFD:
    case ZYDIS_MNEMONIC_POPFQ: setup_popf(s); break;
    case ZYDIS_MNEMONIC_CALL:
    case ZYDIS_MNEMONIC_JMP:
        if (in->op[0].type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
            setup_indirect(s, in, off);
        break;
    case ZYDIS_MNEMONIC_DIV:
    case ZYDIS_MNEMONIC_IDIV: setup_divide(s, in); break;
    case ZYDIS_MNEMONIC_BT:
    case ZYDIS_MNEMONIC_BTS:
    case ZYDIS_MNEMONIC_BTR:
    case ZYDIS_MNEMONIC_BTC: setup_bit(s, in); break;
    case ZYDIS_MNEMONIC_CMPXCHG:
    case ZYDIS_MNEMONIC_CMPXCHG8B:
    case ZYDIS_MNEMONIC_CMPXCHG16B: setup_compare(s, in, off); break;
    case ZYDIS_MNEMONIC_ENTER: setup_enter(s, off, in); break;
    case ZYDIS_MNEMONIC_INT: setup_int(s, off, in); break;
    case ZYDIS_MNEMONIC_WRFSBASE:
    case ZYDIS_MNEMONIC_WRGSBASE: setup_fsbase(s, in); break;
    case ZYDIS_MNEMONIC_LES:
    case ZYDIS_MNEMONIC_LDS:
    case ZYDIS_MNEMONIC_LSS:
    case ZYDIS_MNEMONIC_LFS:
    case ZYDIS_MNEMONIC_LGS:
    case ZYDIS_MNEMONIC_LAR:
    case ZYDIS_MNEMONIC_LSL:
    case ZYDIS_MNEMONIC_VERR:
    case ZYDIS_MNEMONIC_VERW: setup_selector(s, in, off); break;
    default: break;
    }
}
