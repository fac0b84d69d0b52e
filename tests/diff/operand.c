#include "insn.h"

#include <string.h>

#include "image.h"
#include "segment.h"
#include "state.h"

/*
 * Where memory operands are: most lie in mapped pages, the others are the
 * reason why this file exists (crossings, read-only and unmapped pages,
 * addresses that are not canonical).
 */

void operand_patch(struct setup *s, uint64_t addr, const void *data,
                   unsigned len)
{
    struct diff_case *c = s->c;
    const uint8_t *src = data;

    for (unsigned i = 0; i < len;) {
        int off = image_offset(addr + i);
        unsigned n = 1;

        if (off < 0) {
            i++;
            continue;
        }
        while (i + n < len && image_offset(addr + i + n) == off + (int)n)
            n++;
        if (c->nr_patches == DIFF_MAX_PATCHES ||
            c->patch_bytes + n > DIFF_PATCH_BYTES)
            return;
        c->patch[c->nr_patches++] =
            (struct diff_patch){(uint16_t)off, (uint16_t)n};
        memcpy(c->patch_data + c->patch_bytes, src + i, n);
        c->patch_bytes = (uint16_t)(c->patch_bytes + n);
        i += n;
    }
}

/* Around a page boundary: page is an offset in the data area. */
static uint64_t crossing(struct setup *s, uint32_t boundary, unsigned size)
{
    unsigned before = size > 1 ? 1 + rng_below(s->r, size - 1) : 1;

    return DIFF_DATA + boundary - before;
}

static uint64_t inside(struct setup *s, unsigned page, unsigned size,
                       bool aligned)
{
    unsigned room = size < 2048 ? DIFF_PAGE - size : 2048;
    uint64_t off = rng_below(s->r, room + 1);

    if (aligned || rng_percent(s->r, 40)) {
        unsigned align = size <= 1 ? 1 : size & (0u - size);

        off &= ~(uint64_t)(align - 1);
    }
    return DIFF_DATA + diff_page[page].off + off;
}

static uint64_t not_canonical(struct setup *s, unsigned size)
{
    uint64_t edge = 0x0000800000000000u;

    /* Operands in several parts: which part faults first is up to the CPU. */
    if (rng_percent(s->r, 50) && size <= 32 && !(size & (size - 1)))
        return edge - rng_below(s->r, size + 1);
    return edge + (rng_u64(s->r) & 0x7fffffffffff);
}

uint64_t operand_target(struct setup *s, unsigned size, bool aligned)
{
    static const uint32_t edges[] = {0x2000, 0x2000, 0x3000, 0x1000,
                                     0x4000, 0x5000, 0x6000, 0x7000};
    unsigned dice = rng_below(s->r, 100);

    if (dice < 68)
        return inside(s, rng_below(s->r, 2), size, aligned);
    if (dice < 74)
        return inside(s, 3, size, aligned);
    if (dice < 78)
        return inside(s, rng_percent(s->r, 50) ? 2 : 4, size, aligned);
    if (dice < 92)
        return crossing(s, edges[rng_below(s->r, 8)], size);
    if (dice < 94)
        return DIFF_DATA + 0x3000 + rng_below(s->r, 0x1000 - 64);
    if (dice < 96)
        return DIFF_CODE + rng_below(s->r, 0x10000); /* constant text below */
    if (dice < 97)
        return rng_u64(s->r) & 0x0fffffff; /* under the code: unmapped */
    if (s->c->bits == 64)
        return not_canonical(s, size);
    return inside(s, 0, size, aligned);
}

static uint64_t width_mask(unsigned bits)
{
    return bits == 64 ? UINT64_MAX : bits == 32 ? 0xffffffff : 0xffff;
}

static uint64_t selector_of(const struct setup *s, ZydisRegister reg)
{
    const struct diff_regs *in = &s->c->in;

    switch (reg) {
    case ZYDIS_REGISTER_ES: return in->es;
    case ZYDIS_REGISTER_CS: return in->cs;
    case ZYDIS_REGISTER_SS: return in->ss;
    case ZYDIS_REGISTER_FS: return in->fs;
    case ZYDIS_REGISTER_GS: return in->gs;
    default: return in->ds;
    }
}

bool operand_stack_is_16(const struct setup *s)
{
    uint64_t ss = s->c->in.ss;

    return s->c->bits != 64 && ss & 4 && !segment_get((unsigned)ss >> 3).big;
}

uint64_t operand_stack(const struct setup *s)
{
    return segment_base_of(s->c->in.ss) + (operand_stack_is_16(s)
                                               ? s->c->in.gpr[4] & 0xffff
                                               : s->c->in.gpr[4]);
}

static uint64_t segment_base(const struct setup *s,
                             const ZydisDecodedOperand *op)
{
    if (s->c->bits != 64)
        return segment_base_of(selector_of(s, op->mem.segment));
    if (op->mem.segment == ZYDIS_REGISTER_FS)
        return s->c->in.fs_base;
    return op->mem.segment == ZYDIS_REGISTER_GS ? s->c->in.gs_base : 0;
}

static bool is_ip(ZydisRegister reg)
{
    return reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP;
}

static bool is_vector(ZydisRegister reg)
{
    ZydisRegisterClass k = ZydisRegisterGetClass(reg);

    return k == ZYDIS_REGCLASS_XMM || k == ZYDIS_REGCLASS_YMM;
}

static uint64_t gpr_of(const struct setup *s, ZydisRegister reg)
{
    if (reg == ZYDIS_REGISTER_NONE || is_vector(reg))
        return 0;
    if (reg == ZYDIS_REGISTER_AL)
        return s->c->in.gpr[0] & 0xff;
    return s->c->in.gpr[ZydisRegisterGetId(reg) & 15];
}

uint64_t operand_address(const struct setup *s, const struct insn *in,
                         unsigned off, const ZydisDecodedOperand *op)
{
    uint64_t mask = width_mask(in->d.address_width);
    uint64_t ea = (uint64_t)op->mem.disp.value;

    if (is_ip(op->mem.base)) {
        int32_t disp;

        memcpy(&disp, s->c->code + off + in->d.raw.disp.offset, 4);
        ea = (uint64_t)disp + s->addr + off + in->len;
    } else if (in->d.raw.disp.size && op->mem.base == ZYDIS_REGISTER_NONE &&
               op->mem.index == ZYDIS_REGISTER_NONE) {
        ea = 0;
        memcpy(&ea, s->c->code + off + in->d.raw.disp.offset,
               in->d.raw.disp.size / 8);
        if (in->d.raw.disp.size == 32)
            ea = (uint64_t)(int32_t)ea;
    } else {
        ea += gpr_of(s, op->mem.base);
        ea += gpr_of(s, op->mem.index) * op->mem.scale;
    }
    ea = (ea & mask) + segment_base(s, op);
    return s->c->bits == 64 ? ea : (uint32_t)ea;
}

/* Small signed elements in the index vector of a gather. */
static void set_vector_index(struct setup *s, const struct insn *in,
                             const ZydisDecodedOperand *op)
{
    unsigned reg = (unsigned)ZydisRegisterGetId(op->mem.index) & 15;
    ZydisMnemonic m = in->d.mnemonic;
    bool wide =
        m == ZYDIS_MNEMONIC_VGATHERQPD || m == ZYDIS_MNEMONIC_VGATHERQPS ||
        m == ZYDIS_MNEMONIC_VPGATHERQD || m == ZYDIS_MNEMONIC_VPGATHERQQ;
    unsigned range = rng_percent(s->r, 85) ? 512 : 4096;

    for (unsigned half = 0; half < 2; half++) {
        uint8_t *p = s->c->in.xsave + (half ? XSAVE_YMMH : FX_XMM) + 16 * reg;

        for (unsigned i = 0; i < 16; i += wide ? 8 : 4) {
            int64_t v = (int64_t)rng_below(s->r, 2 * range) - range;

            memcpy(p + i, &v, wide ? 8 : 4);
        }
    }
}

static void put_disp(struct setup *s, const struct insn *in, unsigned off,
                     uint64_t disp)
{
    memcpy(s->c->code + off + in->d.raw.disp.offset, &disp,
           in->d.raw.disp.size / 8);
}

static void set_reg(struct setup *s, const struct insn *in, ZydisRegister reg,
                    uint64_t val)
{
    uint64_t mask = width_mask(in->d.address_width);

    if (in->d.address_width < s->c->bits) /* what is above is ignored */
        val = (val & mask) | (rng_u64(s->r) & ~mask);
    (void)setup_set(s, (unsigned)ZydisRegisterGetId(reg) & 15, val);
}

static void place_registers(struct setup *s, const struct insn *in,
                            const ZydisDecodedOperand *op, uint64_t want)
{
    ZydisRegister base = op->mem.base, index = op->mem.index;
    uint64_t scale = op->mem.scale;

    want -= (uint64_t)op->mem.disp.value;
    if (index == ZYDIS_REGISTER_AL) { /* XLAT */
        set_reg(s, in, base, want - (s->c->in.gpr[0] & 0xff));
        s->pinned |= 1;
        return;
    }
    if (is_vector(index)) {
        set_vector_index(s, in, op);
        index = ZYDIS_REGISTER_NONE;
    }
    if (index == ZYDIS_REGISTER_NONE) {
        set_reg(s, in, base, want);
    } else if (base == ZYDIS_REGISTER_NONE) {
        set_reg(s, in, index, want / scale);
    } else if (base == index) {
        set_reg(s, in, base, want / (1 + scale));
    } else {
        if (rng_percent(s->r, 60))
            set_reg(s, in, index, (uint64_t)rng_below(s->r, 200) - 100);
        if (setup_is_pinned(s, (unsigned)ZydisRegisterGetId(base) & 15) &&
            scale == 1)
            set_reg(s, in, index, want - gpr_of(s, base));
        else
            set_reg(s, in, base, want - gpr_of(s, index) * scale);
        s->pinned |= 1u << (ZydisRegisterGetId(index) & 15);
    }
}

static bool needs_alignment(const struct insn *in)
{
    switch (in->d.mnemonic) {
    case ZYDIS_MNEMONIC_FXSAVE:
    case ZYDIS_MNEMONIC_FXSAVE64:
    case ZYDIS_MNEMONIC_FXRSTOR:
    case ZYDIS_MNEMONIC_FXRSTOR64:
    case ZYDIS_MNEMONIC_XSAVE:
    case ZYDIS_MNEMONIC_XSAVE64:
    case ZYDIS_MNEMONIC_XSAVEC:
    case ZYDIS_MNEMONIC_XSAVEC64:
    case ZYDIS_MNEMONIC_XSAVEOPT:
    case ZYDIS_MNEMONIC_XSAVEOPT64:
    case ZYDIS_MNEMONIC_XRSTOR:
    case ZYDIS_MNEMONIC_XRSTOR64: return true;
    default: return false;
    }
}

static unsigned operand_size(const struct insn *in,
                             const ZydisDecodedOperand *op)
{
    if (needs_alignment(in))
        return in->d.mnemonic == ZYDIS_MNEMONIC_FXSAVE ||
                       in->d.mnemonic == ZYDIS_MNEMONIC_FXSAVE64 ||
                       in->d.mnemonic == ZYDIS_MNEMONIC_FXRSTOR ||
                       in->d.mnemonic == ZYDIS_MNEMONIC_FXRSTOR64
                   ? 512
                   : DIFF_XSAVE_SIZE;
    return op->size >= 8 && op->size <= 8192 ? op->size / 8u : 8;
}

static void place(struct setup *s, const struct insn *in, unsigned off,
                  const ZydisDecodedOperand *op)
{
    unsigned size = operand_size(in, op);
    bool aligned = rng_percent(s->r, needs_alignment(in) ? 90
                                     : size == 16        ? 70
                                                         : 30);
    uint64_t target = operand_target(s, size, aligned);
    uint64_t want = target - segment_base(s, op);
    uint64_t addr;
    uint8_t data[64];

    if (is_ip(op->mem.base))
        put_disp(s, in, off, want - (s->addr + off + in->len));
    else if (op->mem.base == ZYDIS_REGISTER_NONE &&
             (op->mem.index == ZYDIS_REGISTER_NONE || is_vector(op->mem.index)))
        put_disp(s, in, off, want);
    if (op->mem.base == ZYDIS_REGISTER_NONE && is_vector(op->mem.index))
        set_vector_index(s, in, op);
    else if (!is_ip(op->mem.base) && (op->mem.base != ZYDIS_REGISTER_NONE ||
                                      op->mem.index != ZYDIS_REGISTER_NONE))
        place_registers(s, in, op, want);
    addr = operand_address(s, in, off, op);
    if (size > sizeof(data) || rng_percent(s->r, 15))
        return;
    if (size == 10)
        state_x87(s->r, data);
    else
        state_vector(s->r, data, size);
    operand_patch(s, addr, data, size);
}

void operand_place(struct setup *s, const struct insn *in, unsigned off)
{
    for (unsigned i = 0; i < in->d.operand_count; i++) {
        const ZydisDecodedOperand *op = &in->op[i];

        if (op->type == ZYDIS_OPERAND_TYPE_MEMORY &&
            (op->mem.type == ZYDIS_MEMOP_TYPE_MEM ||
             op->mem.type == ZYDIS_MEMOP_TYPE_VSIB))
            place(s, in, off, op);
    }
}
