#include "cpu/jit/rare.h"

/*
 * Data breakpoints: which of them an instruction is going to meet. The stack
 * that interrupts and far transfers use does not count; of gathers and masked
 * moves, elements do as they are accessed (rare_vector.c).
 */

static bool is_stack_pointer(ZydisRegister reg)
{
    return reg == ZYDIS_REGISTER_RSP || reg == ZYDIS_REGISTER_ESP ||
           reg == ZYDIS_REGISTER_SP;
}

static bool by_element(const struct insn *in)
{
    switch (in->d.mnemonic) {
    case ZYDIS_MNEMONIC_VMASKMOVPS:
    case ZYDIS_MNEMONIC_VMASKMOVPD:
    case ZYDIS_MNEMONIC_VPMASKMOVD:
    case ZYDIS_MNEMONIC_VPMASKMOVQ:
    case ZYDIS_MNEMONIC_MASKMOVQ:
    case ZYDIS_MNEMONIC_MASKMOVDQU:
    case ZYDIS_MNEMONIC_VMASKMOVDQU: return true;
    default: return false; /* gathers have no operand of this kind */
    }
}

static uint32_t operand_hits(struct rare *r, const ZydisDecodedOperand *op)
{
    bool write = op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
    uint64_t len = op->size / 8u;
    gva_t gva;

    if (op->type != ZYDIS_OPERAND_TYPE_MEMORY ||
        op->mem.type != ZYDIS_MEMOP_TYPE_MEM || !len)
        return 0;
    gva = rare_gva(r, op);
    if (op->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN && write &&
        is_stack_pointer(op->mem.base))
        gva -= len; /* a push */
    return h_break_data(r->st, gva, len, write);
}

uint64_t breakpoint_data(void *opaque, uint64_t b, uint64_t c, uint64_t d)
{
    struct jit_vcpu *jv = opaque;
    struct rare r = {.jv = jv, .st = &jv->st, .cpu = &jv->cpu};
    uint32_t hits = 0;

    (void)b;
    (void)c;
    (void)d;
    if (rare_decode(&r) < 0 || by_element(r.in))
        return 0;
    for (unsigned i = 0; i < r.in->d.operand_count; i++)
        hits |= operand_hits(&r, &r.in->op[i]);
    return hits;
}
