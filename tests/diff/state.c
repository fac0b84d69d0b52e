#include "state.h"

#include <string.h>

/*
 * Random register contents. What matters is how often the edges come: most of
 * all values are from small pools, the rest is uniform.
 */

uint64_t state_gpr(struct rng *r)
{
    static const uint64_t edge[] = {0,
                                    1,
                                    2,
                                    0x7f,
                                    0x80,
                                    0xff,
                                    0x100,
                                    0x7fff,
                                    0x8000,
                                    0xffff,
                                    0x7fffffff,
                                    0x80000000,
                                    0xffffffff,
                                    0x100000000,
                                    0x7fffffffffffffff,
                                    0x8000000000000000,
                                    UINT64_MAX,
                                    UINT64_MAX - 1};
    uint64_t v = rng_u64(r);

    switch (rng_below(r, 8)) {
    case 0:
    case 1: return edge[rng_below(r, sizeof(edge) / sizeof(edge[0]))];
    case 2: return rng_below(r, 256);
    case 3: return (uint64_t)1 << (v & 63);
    case 4: return (uint64_t)(int64_t)(int32_t)v;
    case 5: return v & 0xffffffff;
    default: return v;
    }
}

static uint32_t float32(struct rng *r)
{
    static const uint32_t edge[] = {
        0x00000000, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000,
        0xff800000, 0x7fc00000, 0xffc00000, 0x7f800001, 0x7fbfffff,
        0x00000001, 0x007fffff, 0x00800000, 0x7f7fffff, 0x4f000000,
        0xcf000000, 0x5f000000, 0x4b000000, 0x3f000000, 0x40490fdb};

    if (rng_percent(r, 45))
        return edge[rng_below(r, sizeof(edge) / sizeof(edge[0]))];
    if (rng_percent(r, 60)) /* exponent near that of 1.0 */
        return (uint32_t)(rng_u64(r) & 0x80ffffff) +
               ((120 + rng_below(r, 20)) << 23);
    return (uint32_t)rng_u64(r);
}

static uint64_t float64(struct rng *r)
{
    static const uint64_t edge[] = {
        0x0000000000000000, 0x8000000000000000, 0x3ff0000000000000,
        0xbff0000000000000, 0x7ff0000000000000, 0xfff0000000000000,
        0x7ff8000000000000, 0x7ff0000000000001, 0xfff7ffffffffffff,
        0x0000000000000001, 0x000fffffffffffff, 0x0010000000000000,
        0x7fefffffffffffff, 0x41e0000000000000, 0xc1e0000000000000,
        0x43e0000000000000, 0x36a0000000000000, 0x47efffffffffffff,
        0x3fe0000000000000, 0x400921fb54442d18};

    if (rng_percent(r, 45))
        return edge[rng_below(r, sizeof(edge) / sizeof(edge[0]))];
    if (rng_percent(r, 60))
        return (rng_u64(r) & 0x800fffffffffffff) +
               ((uint64_t)(1010 + rng_below(r, 40)) << 52);
    return rng_u64(r);
}

void state_vector(struct rng *r, uint8_t *dst, unsigned len)
{
    unsigned style = rng_below(r, 6);
    uint8_t unit[8];

    for (unsigned i = 0; i < len; i += 8) {
        uint64_t v;

        switch (style) {
        case 0: v = float32(r) | (uint64_t)float32(r) << 32; break;
        case 1: v = float64(r); break;
        case 2: v = state_gpr(r); break;
        case 3: v = (uint32_t)state_gpr(r) | state_gpr(r) << 32; break;
        case 4: /* bytes: signs, small numbers and text for PCMPxSTRx */
            v = rng_u64(r) & 0x8f8f8f8f8f8f8f8f;
            break;
        default: v = rng_u64(r); break;
        }
        memcpy(unit, &v, 8);
        memcpy(dst + i, unit, len - i < 8 ? len - i : 8);
    }
}

void state_x87(struct rng *r, uint8_t dst[10])
{
    static const struct {
        uint16_t se;
        uint64_t mant;
    } edge[] = {
        {0x0000, 0x0000000000000000}, {0x8000, 0x0000000000000000},
        {0x3fff, 0x8000000000000000}, {0xbfff, 0x8000000000000000},
        {0x7fff, 0x8000000000000000}, {0xffff, 0x8000000000000000},
        {0x7fff, 0xc000000000000000}, {0xffff, 0xc000000000000000},
        {0x7fff, 0x8000000000000001}, {0x7fff, 0xbfffffffffffffff},
        {0x0000, 0x0000000000000001}, {0x0000, 0x7fffffffffffffff},
        {0x0000, 0x8000000000000000}, {0x0001, 0x8000000000000000},
        {0x7ffe, 0xffffffffffffffff}, {0x4000, 0xc90fdaa22168c235},
        {0x3fff, 0x0000000000000000}, {0x4010, 0x7fffffffffffffff},
        {0x7fff, 0x0000000000000000}, {0x403e, 0x8000000000000000},
        {0xc03e, 0x8000000000000000}, {0x3ffe, 0x8000000000000000},
    };
    uint16_t se = (uint16_t)rng_u64(r);
    uint64_t mant = rng_u64(r);
    unsigned kind = rng_below(r, 10);

    if (kind < 3) {
        unsigned i = rng_below(r, sizeof(edge) / sizeof(edge[0]));

        se = edge[i].se;
        mant = edge[i].mant;
    } else if (kind < 7) {
        se = (uint16_t)((se & 0x8000u) | (0x3fffu - 20 + rng_below(r, 64)));
        mant |= (uint64_t)1 << 63;
    } else if (kind < 8) { /* an integer */
        unsigned shift = rng_below(r, 40);

        se = (uint16_t)((se & 0x8000u) | (0x3fffu + 63 - shift));
        mant = (mant | (uint64_t)1 << 63) >> shift << shift;
    } else if (kind < 9) { /* as MMX leaves it */
        se = 0xffff;
    }
    memcpy(dst, &mant, 8);
    memcpy(dst + 8, &se, 2);
}

uint16_t state_fcw(struct rng *r)
{
    static const uint16_t precision[] = {0x300, 0x300, 0x200, 0x000};
    uint16_t v = 0x37f;

    if (rng_percent(r, 60))
        return v;
    v = (uint16_t)(0x40 | precision[rng_below(r, 4)] | rng_below(r, 4) << 10);
    v |= rng_percent(r, 85) ? 0x3f : (uint16_t)rng_below(r, 64);
    return v;
}

uint32_t state_mxcsr(struct rng *r)
{
    uint32_t v = 0x1f80;

    if (rng_percent(r, 60))
        return v;
    if (rng_percent(r, 12))
        v = rng_below(r, 64) << 7;
    v |= rng_below(r, 4) << 13;
    if (rng_percent(r, 20))
        v |= 0x8000;
    if (rng_percent(r, 20))
        v |= 0x40;
    if (rng_percent(r, 30))
        v |= rng_below(r, 64);
    return v;
}

uint64_t state_flags(struct rng *r)
{
    uint64_t v = (rng_u64(r) & 0x8d5) | 0x202;

    if (rng_percent(r, 5))
        v |= 0x400;
    return v;
}

/* Exception flags that agree with ES and B: mostly none is unmasked, or every
 * waiting instruction would do nothing but raise #MF. */
static uint16_t fsw_for(struct rng *r, uint16_t fcw)
{
    uint16_t v = (uint16_t)(rng_u64(r) & 0x7f00);

    if (rng_percent(r, 50))
        v &= 0x4700; /* TOP = 0 */
    if (rng_percent(r, 30))
        v |= (uint16_t)(rng_u64(r) & 0x7f);
    if (rng_percent(r, 95))
        v &= (uint16_t)(0x7f40 | (fcw & 0x3f));
    if (v & ~fcw & 0x3f)
        v |= 0x8080;
    return v;
}

void state_fxsave(struct rng *r, uint8_t *dst)
{
    uint16_t fcw = state_fcw(r);
    uint16_t fsw = fsw_for(r, fcw);
    uint32_t mxcsr = state_mxcsr(r);
    unsigned full = rng_below(r, 100);

    memset(dst, 0, 512);
    memcpy(dst + FX_FCW, &fcw, 2);
    memcpy(dst + FX_FSW, &fsw, 2);
    dst[FX_FTW] = full < 45 ? 0xff : full < 60 ? 0 : (uint8_t)rng_below(r, 256);
    memcpy(dst + FX_MXCSR, &mxcsr, 4);
    dst[FX_MXCSR + 4] = 0xff; /* MXCSR_MASK, ignored by FXRSTOR */
    for (unsigned i = 0; i < 8; i++)
        state_x87(r, dst + FX_ST + 16 * i);
    for (unsigned i = 0; i < 16; i++)
        state_vector(r, dst + FX_XMM + 16 * i, 16);
}

void state_random(struct rng *r, struct diff_regs *regs, unsigned bits)
{
    memset(regs, 0, sizeof(*regs));
    for (unsigned i = 0; i < 16; i++)
        regs->gpr[i] = bits == 64 ? state_gpr(r) : (uint32_t)state_gpr(r);
    regs->rflags = state_flags(r);
    if (rng_below(r, 150) == 0)
        regs->rflags |= 0x100; /* TF */
    regs->cs = bits == 64 ? DIFF_CS64 : DIFF_CS32;
    regs->ss = DIFF_DS;
    regs->ds = DIFF_DS;
    regs->es = DIFF_DS;
    regs->fs_base = rng_u64(r) & 0x00007ffffffff000u;
    regs->gs_base = rng_u64(r) & 0x00007fffffffffffu;
    state_fxsave(r, regs->xsave);
    regs->xsave[XSAVE_HEADER] = DIFF_XSAVE_MASK;
    for (unsigned i = 0; i < 16; i++)
        state_vector(r, regs->xsave + XSAVE_YMMH + 16 * i, 16);
}
