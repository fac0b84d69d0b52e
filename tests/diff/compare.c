#include "compare.h"

#include <Zydis/Zydis.h>
#include <string.h>

#include "dead.h"
#include "state.h"

/*
 * What must be equal: everything, except what the table below leaves out, each
 * for its own reason.
 */
struct exclusion {
    ZydisMnemonic mnemonic;
    unsigned fields;
    bool faulted;   /* only if both faulted */
    uint64_t flags; /* of DIFF_IN_FLAGS: only these */
    const char *reason;
};

#define PARTIAL                                                                \
    DIFF_IN_MEMORY | DIFF_IN_CR2, true, 0,                                     \
        "how far a large operand comes before a page fault is up to the CPU"
#define ORDER                                                                  \
    DIFF_IN_FAULT | DIFF_IN_CR2, true, 0,                                      \
        "which part faults first, of two that do, is up to the CPU"
#define UNDEFINED(flags)                                                       \
    DIFF_IN_FLAGS, false, flags,                                               \
        "undefined, and not to be had from the CPU in 64-bit mode"

static const struct exclusion exclusions[] = {
    {ZYDIS_MNEMONIC_FXSAVE, PARTIAL},
    {ZYDIS_MNEMONIC_FXSAVE64, PARTIAL},
    {ZYDIS_MNEMONIC_FXRSTOR, PARTIAL},
    {ZYDIS_MNEMONIC_FXRSTOR64, PARTIAL},
    {ZYDIS_MNEMONIC_XSAVE, PARTIAL},
    {ZYDIS_MNEMONIC_XSAVE64, PARTIAL},
    {ZYDIS_MNEMONIC_XSAVEC, PARTIAL},
    {ZYDIS_MNEMONIC_XSAVEC64, PARTIAL},
    {ZYDIS_MNEMONIC_XRSTOR, PARTIAL},
    {ZYDIS_MNEMONIC_XRSTOR64, PARTIAL},
    {ZYDIS_MNEMONIC_FNSAVE, PARTIAL},
    {ZYDIS_MNEMONIC_FRSTOR, PARTIAL},
    {ZYDIS_MNEMONIC_FNSTENV, PARTIAL},
    {ZYDIS_MNEMONIC_FLDENV, PARTIAL},
    {ZYDIS_MNEMONIC_XSAVEOPT, DIFF_IN_MEMORY | DIFF_IN_CR2, false, 0,
     "which components have changed since the last XRSTOR is not visible"},
    {ZYDIS_MNEMONIC_XSAVEOPT64, DIFF_IN_MEMORY | DIFF_IN_CR2, false, 0,
     "as XSAVEOPT"},
    {ZYDIS_MNEMONIC_IRET, DIFF_IN_CR2, true, 0,
     "which word of the frame is read first is up to the CPU"},
    {ZYDIS_MNEMONIC_IRETD, DIFF_IN_CR2, true, 0, "as IRET"},
    {ZYDIS_MNEMONIC_IRETQ, DIFF_IN_CR2, true, 0, "as IRET"},
    {ZYDIS_MNEMONIC_RET, DIFF_IN_CR2, true, 0, "as IRET: far returns"},
    {ZYDIS_MNEMONIC_CALL, DIFF_IN_MEMORY | DIFF_IN_CR2, true, 0,
     "far calls: how far the pushes come before one faults is up to the CPU"},
    {ZYDIS_MNEMONIC_POPA, DIFF_IN_GPR, true, 0,
     "how many registers are loaded before a fault is up to the CPU"},
    {ZYDIS_MNEMONIC_POPAD, DIFF_IN_GPR, true, 0, "as POPA"},
    {ZYDIS_MNEMONIC_CMPSB, ORDER},
    {ZYDIS_MNEMONIC_CMPSW, ORDER},
    {ZYDIS_MNEMONIC_CMPSD, ORDER},
    {ZYDIS_MNEMONIC_CMPSQ, ORDER},
    {ZYDIS_MNEMONIC_MASKMOVQ, ORDER},
    {ZYDIS_MNEMONIC_MASKMOVDQU, ORDER},
    {ZYDIS_MNEMONIC_VMASKMOVDQU, ORDER},
    {ZYDIS_MNEMONIC_AAA, UNDEFINED(0x8c4)},
    {ZYDIS_MNEMONIC_AAS, UNDEFINED(0x8c4)},
    {ZYDIS_MNEMONIC_AAD, UNDEFINED(0x811)},
    {ZYDIS_MNEMONIC_AAM, UNDEFINED(0x811)},
    {ZYDIS_MNEMONIC_DAA, UNDEFINED(0x800)},
    {ZYDIS_MNEMONIC_DAS, UNDEFINED(0x800)},
    {ZYDIS_MNEMONIC_INT1, DIFF_IN_RIP, false, 0,
     "hypervisors on AMD report it at its start; it is a trap (APM vol. 2, "
     "8.2.2), which tests/guest/debug_traps.c checks"},
};

/* Whether all that differs in a field is left out. */
static bool is_excluded(const struct diff_case *c, unsigned field,
                        const struct diff_regs *a, const struct diff_regs *b)
{
    for (size_t i = 0; i < sizeof(exclusions) / sizeof(exclusions[0]); i++) {
        const struct exclusion *e = &exclusions[i];

        if (e->mnemonic != c->mnemonic || !(e->fields & field) ||
            (e->faulted && (a->vector == 3 || b->vector == 3)))
            continue;
        if (field == DIFF_IN_FLAGS && (a->rflags ^ b->rflags) & ~e->flags)
            continue;
        return true;
    }
    return false;
}

/*
 * The last instruction and operand pointers of the x87 (FOP, FIP, FDP) are not
 * compared: in an FXSAVE image at 6 to 23. The engine does not follow them, as
 * AMD documents for images without a pending exception (APM vol. 2, 11.4.4).
 */
static bool x87_equal(const uint8_t *a, const uint8_t *b)
{
    if (memcmp(a, b, 5) != 0)
        return false;
    for (unsigned i = 0; i < 8; i++)
        if (memcmp(a + FX_ST + 16 * i, b + FX_ST + 16 * i, 10) != 0)
            return false;
    return true;
}

static bool fault_equal(const struct diff_regs *a, const struct diff_regs *b)
{
    uint64_t error = a->error, other = b->error;

    /* An x87 exception that is pending comes before others, but the
     * translator finds that first; both are still there afterwards. */
    if (a->vector == 16 && b->vector >= 12 && b->vector <= 14)
        return true;
    if (a->vector != b->vector)
        return false;
    /* Linux hides from users what of the kernel's half is mapped; its half
     * begins a page before the canonical hole. */
    if (a->vector == 14 && a->cr2 >= 0x7ffffffff000) {
        error |= 1;
        other |= 1;
    }
    return error == other;
}

/* A null selector may have lost its RPL: IRET from the kernel clears it. */
static bool selector_equal(uint64_t a, uint64_t b)
{
    return a == b || (a <= 3 && b <= 3);
}

/* Flags that are undefined at an address; a place that the case has no mark
 * for was jumped to by something else, or is its start. */
static uint64_t undefined_flags(const struct diff_case *c, uint64_t rip)
{
    uint64_t off = rip - c->in.rip;

    for (unsigned i = 0; i < c->nr_marks; i++)
        if (c->mark[i].off == off)
            return c->mark[i].undefined;
    return 0;
}

/* Flags may differ where they are undefined, and in the frame of the same
 * fault where they are dead. */
static unsigned compare_flags(const struct diff_case *c,
                              const struct diff_regs *a,
                              const struct diff_regs *b)
{
    uint64_t diff = a->rflags ^ b->rflags;

    if (!diff)
        return 0;
    if (a->vector != b->vector)
        return DIFF_IN_FLAGS;
    diff &= ~undefined_flags(c, a->rip - (a->vector == 3));
    if (a->vector == 3 || a->vector == 1)
        return diff ? DIFF_IN_FLAGS : 0;
    if (a->rip == b->rip)
        diff &= ~dead_flags(c, a->rip);
    return diff ? DIFF_IN_FRAME : 0;
}

/* An IRET to a 16-bit stack loads SP only; what Linux does about that leaves
 * nothing of worth in the upper half of RSP. Upper halves of all registers are
 * undefined behind 64-bit mode (SDM vol. 1, 3.4.1.1). */
static bool gprs_equal(const struct diff_case *c, const struct diff_regs *a,
                       const struct diff_regs *b)
{
    for (unsigned i = 0; i < 16; i++) {
        uint64_t diff = a->gpr[i] ^ b->gpr[i];
        bool left = c->bits == 64 && a->cs != DIFF_CS64;

        if (left || (i == 4 && c->bits != 64) ? (uint32_t)diff != 0 : diff != 0)
            return false;
    }
    return true;
}

/*
 * A near branch to an address that is not canonical faults at the branch; the
 * translator, which looks when it fetches, at the target: RIP is there, and
 * RSP and the stack are as after the branch (docs/jit.md).
 */
static bool branch_went(const struct diff_case *c, const struct diff_regs *a,
                        const struct diff_regs *b)
{
    bool stepped = b->vector == 1 && a->rflags & 0x100;

    return c->bits == 64 && a->vector == 13 && (b->vector == 13 || stepped) &&
           a->error == 0 && b->error == 0 && a->rip != b->rip &&
           b->rip + ((uint64_t)1 << 47) >= (uint64_t)1 << 48;
}

static unsigned compare_regs(const struct diff_case *c,
                             const struct diff_regs *a,
                             const struct diff_regs *b)
{
    unsigned fields = compare_flags(c, a, b);

    if (!fault_equal(a, b))
        fields |= DIFF_IN_FAULT;
    if (a->vector == 14 && a->cr2 != b->cr2)
        fields |= DIFF_IN_CR2;
    if (a->rip != b->rip || a->cs != b->cs)
        fields |= DIFF_IN_RIP;
    if (!gprs_equal(c, a, b))
        fields |= DIFF_IN_GPR;
    if (a->ss != b->ss || !selector_equal(a->ds, b->ds) ||
        !selector_equal(a->es, b->es) || !selector_equal(a->fs, b->fs) ||
        !selector_equal(a->gs, b->gs) || a->fs_base != b->fs_base ||
        a->gs_base != b->gs_base)
        fields |= DIFF_IN_SEG;
    if (!x87_equal(a->xsave, b->xsave))
        fields |= DIFF_IN_X87;
    if (memcmp(a->xsave + FX_MXCSR, b->xsave + FX_MXCSR, 4) != 0)
        fields |= DIFF_IN_MXCSR;
    if (memcmp(a->xsave + FX_XMM, b->xsave + FX_XMM, 256) != 0 ||
        memcmp(a->xsave + XSAVE_YMMH, b->xsave + XSAVE_YMMH, 256) != 0)
        fields |= DIFF_IN_VECTOR;
    return fields;
}

unsigned compare(const struct diff_case *c, const struct diff_result *native,
                 const struct diff_result *engine)
{
    unsigned fields = 0;

    if (native->status != engine->status)
        return DIFF_IN_STATUS;
    if (native->status != DIFF_DONE)
        return 0; /* both ran away */
    fields = compare_regs(c, &native->out, &engine->out);
    if (branch_went(c, &native->out, &engine->out)) {
        struct diff_regs at_branch = engine->out;

        at_branch.gpr[4] = native->out.gpr[4];
        at_branch.rip = native->out.rip;
        at_branch.rflags = native->out.rflags;
        at_branch.vector = 13;
        return compare_regs(c, &native->out, &at_branch);
    }
    if (native->nr_changed != engine->nr_changed ||
        native->changed_hash != engine->changed_hash)
        fields |= DIFF_IN_MEMORY;
    if (engine->warm_differs)
        fields |= DIFF_IN_WARM;
    for (unsigned bit = 1; bit <= DIFF_IN_FRAME; bit <<= 1)
        if (fields & bit && is_excluded(c, bit, &native->out, &engine->out))
            fields &= ~bit;
    return fields;
}

const char *compare_name(unsigned fields)
{
    static const char *const name[] = {"status",
                                       "fault",
                                       "rip",
                                       "flags",
                                       "gpr",
                                       "seg",
                                       "x87",
                                       "mxcsr",
                                       "vector",
                                       "memory",
                                       "second run",
                                       "cr2",
                                       "fault frame flags"};

    return fields ? name[__builtin_ctz(fields)] : "equal";
}
