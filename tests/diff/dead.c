#include "dead.h"

#include <Zydis/Zydis.h>

/*
 * The engine may use arithmetic flags that nobody reads any more as scratch.
 * When an instruction faults, those that it or a later one overwrites are
 * therefore anything in the fault's frame: the guest goes on where they die.
 */
enum { ARITH = 0x8d5 };

/* A count of zero changes none. */
static bool may_leave_flags(const ZydisDecodedInstruction *d)
{
    if (d->meta.category == ZYDIS_CATEGORY_STRINGOP)
        return true;
    if (d->meta.category != ZYDIS_CATEGORY_SHIFT &&
        d->meta.category != ZYDIS_CATEGORY_ROTATE)
        return false;
    if ((d->opcode & ~1u) == 0xd0 && d->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT)
        return false; /* by one */
    return !d->raw.imm[0].size ||
           !(d->raw.imm[0].value.u & (d->operand_width == 64 ? 63 : 31));
}

struct walk {
    const struct diff_case *c;
    ZydisDecoder dec;
    unsigned steps; /* left */
};

/* Which of the flags in mask somebody may read from off on, along all paths
 * that can be known without running it. */
static uint32_t live_from(struct walk *w, uint64_t off, uint32_t mask)
{
    ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
    ZydisDecodedInstruction d;
    uint32_t live = 0;

    while (mask & ~live && w->steps) {
        w->steps--;
        if (off >= w->c->code_len ||
            ZYAN_FAILED(ZydisDecoderDecodeFull(&w->dec, w->c->code + off,
                                               DIFF_CODE_MAX - off, &d, op)))
            return live | mask;
        if (d.cpu_flags) {
            live |= mask & d.cpu_flags->tested;
            if (!may_leave_flags(&d))
                mask &= ~(d.cpu_flags->modified | d.cpu_flags->set_0 |
                          d.cpu_flags->set_1 | d.cpu_flags->undefined);
        }
        off += d.length;
        if (d.meta.branch_type == ZYDIS_BRANCH_TYPE_NONE)
            continue;
        if (op[0].type != ZYDIS_OPERAND_TYPE_IMMEDIATE ||
            !op[0].imm.is_relative)
            return live | mask; /* indirect, or a return */
        if (d.meta.category == ZYDIS_CATEGORY_COND_BR)
            live |= live_from(w, off, mask);
        off += op[0].imm.value.u;
    }
    return live | mask; /* nothing is left of mask, or it took too long */
}

uint64_t dead_flags(const struct diff_case *c, uint64_t rip)
{
    struct walk w = {.c = c, .steps = 200};

    if (rip - c->in.rip >= c->code_len)
        return 0;
    if (c->bits == 64)
        (void)ZydisDecoderInit(&w.dec, ZYDIS_MACHINE_MODE_LONG_64,
                               ZYDIS_STACK_WIDTH_64);
    else if (c->bits == 32)
        (void)ZydisDecoderInit(&w.dec, ZYDIS_MACHINE_MODE_LONG_COMPAT_32,
                               ZYDIS_STACK_WIDTH_32);
    else
        (void)ZydisDecoderInit(&w.dec, ZYDIS_MACHINE_MODE_LONG_COMPAT_16,
                               ZYDIS_STACK_WIDTH_16);
    return ARITH & ~live_from(&w, rip - c->in.rip, ARITH);
}
