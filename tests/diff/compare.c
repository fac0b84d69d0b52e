#include "compare.h"

#include <Zydis/Zydis.h>
#include <string.h>

#include "state.h"

/*
 * What must be equal: everything, except what the table below leaves out, each
 * for its own reason.
 */
struct exclusion {
    ZydisMnemonic mnemonic; /* INVALID: any */
    unsigned fields;
    bool faulted;   /* only if the instruction faulted */
    uint64_t flags; /* with DIFF_IN_FLAGS: which */
    const char *reason;
};

static const struct exclusion exclusions[] = {
    {ZYDIS_MNEMONIC_FXSAVE, DIFF_IN_MEMORY, true, 0,
     "how much is stored before a page fault is up to the CPU"},
    {ZYDIS_MNEMONIC_FXSAVE64, DIFF_IN_MEMORY, true, 0, "as FXSAVE"},
    {ZYDIS_MNEMONIC_XSAVE, DIFF_IN_MEMORY, true, 0, "as FXSAVE"},
    {ZYDIS_MNEMONIC_XSAVE64, DIFF_IN_MEMORY, true, 0, "as FXSAVE"},
    {ZYDIS_MNEMONIC_XSAVEC, DIFF_IN_MEMORY, true, 0, "as FXSAVE"},
    {ZYDIS_MNEMONIC_XSAVEC64, DIFF_IN_MEMORY, true, 0, "as FXSAVE"},
    {ZYDIS_MNEMONIC_XSAVEOPT, DIFF_IN_MEMORY, true, 0, "as FXSAVE"},
    {ZYDIS_MNEMONIC_XSAVEOPT64, DIFF_IN_MEMORY, true, 0, "as FXSAVE"},
    {ZYDIS_MNEMONIC_FNSAVE, DIFF_IN_MEMORY, true, 0, "as FXSAVE"},
    {ZYDIS_MNEMONIC_FNSTENV, DIFF_IN_MEMORY, true, 0, "as FXSAVE"},
};

static bool is_excluded(const struct diff_case *c, unsigned field, bool faulted)
{
    for (size_t i = 0; i < sizeof(exclusions) / sizeof(exclusions[0]); i++) {
        const struct exclusion *e = &exclusions[i];

        if ((e->mnemonic == ZYDIS_MNEMONIC_INVALID ||
             e->mnemonic == c->mnemonic) &&
            e->fields & field && (!e->faulted || faulted))
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

    if (a->vector != b->vector)
        return false;
    if (a->vector == 14) {
        if (a->cr2 != b->cr2)
            return false;
        /* Linux hides from users what of the kernel's half is mapped. */
        if (a->cr2 >> 47) {
            error |= 1;
            other |= 1;
        }
    }
    return error == other;
}

static unsigned compare_regs(const struct diff_regs *a,
                             const struct diff_regs *b)
{
    unsigned fields = 0;

    if (!fault_equal(a, b))
        fields |= DIFF_IN_FAULT;
    if (a->rip != b->rip || a->cs != b->cs)
        fields |= DIFF_IN_RIP;
    if (a->rflags != b->rflags)
        fields |= DIFF_IN_FLAGS;
    if (memcmp(a->gpr, b->gpr, sizeof(a->gpr)) != 0)
        fields |= DIFF_IN_GPR;
    if (a->ss != b->ss || a->ds != b->ds || a->es != b->es || a->fs != b->fs ||
        a->gs != b->gs || a->fs_base != b->fs_base || a->gs_base != b->gs_base)
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
    bool faulted = native->out.vector != 3;

    if (native->status != engine->status)
        return DIFF_IN_STATUS;
    if (native->status != DIFF_DONE)
        return 0; /* both ran away */
    fields = compare_regs(&native->out, &engine->out);
    if (native->nr_changed != engine->nr_changed ||
        native->changed_hash != engine->changed_hash)
        fields |= DIFF_IN_MEMORY;
    if (engine->warm_differs)
        fields |= DIFF_IN_WARM;
    for (unsigned bit = 1; bit <= DIFF_IN_WARM; bit <<= 1)
        if (fields & bit && is_excluded(c, bit, faulted))
            fields &= ~bit;
    return fields;
}

const char *compare_name(unsigned fields)
{
    static const char *const name[] = {"status", "fault",  "rip",       "flags",
                                       "gpr",    "seg",    "x87",       "mxcsr",
                                       "vector", "memory", "second run"};

    return fields ? name[__builtin_ctz(fields)] : "equal";
}
