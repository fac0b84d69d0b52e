#include "cpu/jit/jit.h"

/*
 * The mode key: what of the CPU's state decides how an instruction is
 * translated, besides its bytes. Blocks are keyed by it.
 */

enum { ATTR_CODE = 8, ATTR_DOWN = 4, ATTR_SECOND = 2 };

/* Is the limit all that an access to it needs? Writes through CS are judged
 * when they are decoded. */
static bool seg_plain(const struct x86_state *st, enum x86_sreg reg)
{
    uint16_t attr = st->seg[reg].attr;

    if (!(st->cr0 & X86_CR0_PE) || (st->rflags & X86_FLAGS_VM))
        return true;
    if (!(attr & X86_SEG_P) || !(attr & ATTR_SECOND))
        return false;
    return reg == X86_CS || !(attr & (ATTR_CODE | ATTR_DOWN));
}

static bool seg_flat(const struct x86_state *st, enum x86_sreg reg)
{
    return st->seg[reg].base == 0 && st->seg[reg].limit == UINT32_MAX &&
           seg_plain(st, reg);
}

/* May accesses skip the limit check? Data segments, expand-up, whole. */
static bool seg_unchecked(const struct x86_state *st, enum x86_sreg reg)
{
    return st->seg[reg].limit == UINT32_MAX && seg_plain(st, reg);
}

static uint32_t key_segments(const struct x86_state *st)
{
    uint32_t key = 0;

    if (!seg_flat(st, X86_CS) || !seg_flat(st, X86_DS) ||
        !seg_flat(st, X86_ES) || !seg_flat(st, X86_SS))
        key |= KEY_SEGMENTS;
    if (!seg_unchecked(st, X86_FS))
        key |= KEY_FS_CHECK;
    if (!seg_unchecked(st, X86_GS))
        key |= KEY_GS_CHECK;
    for (unsigned i = 0; i < X86_NR_SREGS; i++)
        if (!seg_plain(st, (enum x86_sreg)i))
            key |= KEY_ODD_SEGMENTS;
    key |= st->seg[X86_SS].attr & X86_SEG_DB ? KEY_SS32 : KEY_SS16;
    return key;
}

static uint32_t key_fpu(const struct x86_state *st)
{
    uint32_t key = 0;

    if (st->cr0 & (X86_CR0_EM | X86_CR0_TS))
        key |= KEY_NO_X87;
    if ((st->cr0 & X86_CR0_EM) || !(st->cr4 & X86_CR4_OSFXSR))
        key |= KEY_NO_SSE;
    if (st->cr0 & X86_CR0_TS)
        key |= KEY_TS;
    if (!(st->cr4 & X86_CR4_OSXSAVE) || !(st->xcr0 & X86_XCR0_AVX) ||
        !(st->cr0 & X86_CR0_PE) || (st->rflags & X86_FLAGS_VM))
        key |= KEY_NO_AVX;
    if (st->cr4 & X86_CR4_OSXSAVE)
        key |= KEY_OSXSAVE;
    return key;
}

/* st->rflags is current. */
void h_mode_changed(struct jit_vcpu *jv)
{
    const struct x86_state *st = &jv->st;
    uint32_t key;
    enum jit_mode mode = JIT_SUPER_AC;

    if (st->cpl == 3)
        mode = JIT_USER;
    else if ((st->cr4 & X86_CR4_SMAP) && !(st->rflags & X86_FLAGS_AC))
        mode = JIT_SUPER;
    key = (uint32_t)mode << KEY_MODE_SHIFT | key_fpu(st);
    if (x86_64bit_mode(st))
        key |= 2;
    else
        key |= (st->seg[X86_CS].attr & X86_SEG_DB ? 1u : 0u) | key_segments(st);
    if (!(st->cr0 & X86_CR0_PE))
        key |= KEY_REAL | KEY_CPL0;
    else if (st->rflags & X86_FLAGS_VM)
        key |= KEY_VM86;
    else if (st->cpl == 0)
        key |= KEY_CPL0;
    if (st->cr4 & X86_CR4_SMAP)
        key |= KEY_SMAP;
    if (st->cr4 & X86_CR4_FSGSBASE)
        key |= KEY_FSGSBASE;
    if ((st->cr4 & X86_CR4_TSD) && st->cpl)
        key |= KEY_TSD;
    if (st->cpl == 3 && (st->cr0 & X86_CR0_AM) && (st->rflags & X86_FLAGS_AC))
        key |= KEY_ALIGN;
    if ((st->rflags & X86_FLAGS_TF) || jv->step)
        key |= KEY_STEP;
    if (st->dr7 & 0xff)
        key |= KEY_BREAK;
    jv->key = key;
    jv->ret_glue = jv->glue[GLUE_JMP + mode];
    if (mode == JIT_USER && jv->shadow_stale) {
        jv->shadow_stale = false;
        h_shadow_reset(jv);
    }
    h_jc_check_key(jv);
}
