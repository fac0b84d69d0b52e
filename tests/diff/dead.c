#include "dead.h"

#include <Zydis/Zydis.h>

/*
 * The engine may use arithmetic flags that nobody reads any more as scratch.
 * When an instruction faults, those that it or a later one overwrites are
 * therefore anything in the fault's frame: the guest goes on where they die.
 */
enum { ARITH = 0x8d5 };

static bool may_leave_flags(const ZydisDecodedInstruction *d)
{
    /* A count of zero changes none. */
    return d->meta.category == ZYDIS_CATEGORY_SHIFT ||
           d->meta.category == ZYDIS_CATEGORY_ROTATE ||
           d->meta.category == ZYDIS_CATEGORY_STRINGOP;
}

uint64_t dead_flags(const struct diff_case *c, uint64_t rip)
{
    uint32_t unknown = ARITH, dead = 0;
    uint64_t off = rip - c->in.rip;
    ZydisDecodedInstruction d;
    ZydisDecoder dec;

    if (c->bits == 64)
        (void)ZydisDecoderInit(&dec, ZYDIS_MACHINE_MODE_LONG_64,
                               ZYDIS_STACK_WIDTH_64);
    else
        (void)ZydisDecoderInit(&dec, ZYDIS_MACHINE_MODE_LEGACY_32,
                               ZYDIS_STACK_WIDTH_32);
    while (off < c->code_len && unknown) {
        if (ZYAN_FAILED(ZydisDecoderDecodeInstruction(&dec, NULL, c->code + off,
                                                      c->code_len - off, &d)))
            break;
        if (d.cpu_flags) {
            unknown &= ~d.cpu_flags->tested;
            if (!may_leave_flags(&d))
                dead |= unknown & (d.cpu_flags->modified | d.cpu_flags->set_0 |
                                   d.cpu_flags->set_1);
            unknown &= ~dead;
        }
        if (d.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE)
            break;
        off += d.length;
    }
    return dead;
}
