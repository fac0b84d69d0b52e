#include "form.h"

#include <string.h>

/*
 * From a form to bytes. Prefixes come in random order, addressing forms are
 * spread over all that ModRM and SIB can say, and what the CPU ignores varies.
 */

struct bytes {
    uint8_t *p;
    unsigned n;
};

static void put(struct bytes *b, unsigned v)
{
    b->p[b->n++] = (uint8_t)v;
}

static void put_le(struct bytes *b, uint64_t v, unsigned len)
{
    for (unsigned i = 0; i < len; i++)
        put(b, (unsigned)(v >> (8 * i)) & 0xff);
}

/* A value whose interesting bits are at the ends. */
static uint64_t immediate(struct rng *r)
{
    static const uint64_t edge[] = {
        0,      1,      2,          0x7f,       0x80,       0xff,      0x7fff,
        0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, UINT64_MAX};

    if (rng_percent(r, 30))
        return edge[rng_below(r, sizeof(edge) / sizeof(edge[0]))];
    if (rng_percent(r, 30))
        return rng_below(r, 80);
    return rng_u64(r);
}

struct encoding {
    const struct form *f;
    unsigned bits;
    unsigned rex; /* of REX or inverted in VEX: W R X B in bits 3..0 */
    bool rex_present, size16, addr_size;
};

static void put_segment(struct bytes *b, struct rng *r)
{
    static const uint8_t seg[] = {0x26, 0x2e, 0x36, 0x3e,
                                  0x64, 0x65, 0x64, 0x65};

    put(b, seg[rng_below(r, sizeof(seg))]);
}

/* All legacy prefixes, mandatory ones too, in random order. */
static void put_prefixes(struct bytes *b, struct rng *r, struct encoding *e)
{
    static const uint8_t mandatory[] = {0, 0, 0x66, 0xf3, 0xf2};
    const struct form *f = e->f;
    unsigned start = b->n;

    if (e->size16)
        put(b, 0x66);
    if (e->addr_size)
        put(b, 0x67);
    if (rng_percent(r, 8))
        put_segment(b, r);
    if (!f->vex && mandatory[f->prefix])
        put(b, mandatory[f->prefix]);
    if (f->flags & FORM_REP && rng_percent(r, 60))
        put(b, rng_percent(r, 60) ? 0xf3 : 0xf2);
    if (f->flags & FORM_LOCK ? rng_percent(r, 20) : rng_below(r, 400) == 0)
        put(b, 0xf0);
    for (unsigned i = start; i < b->n; i++) {
        unsigned j = start + rng_below(r, b->n - start);
        uint8_t tmp = b->p[i];

        b->p[i] = b->p[j];
        b->p[j] = tmp;
    }
}

static void put_vex(struct bytes *b, struct rng *r, const struct encoding *e)
{
    static const uint8_t pp[] = {0, 0, 1, 2, 3};
    const struct form *f = e->f;
    unsigned l = f->vex_l == FORM_ZERO ? 0 : rng_below(r, 2);
    unsigned w = f->vex_w == FORM_ZERO  ? 0
                 : f->vex_w == FORM_ONE ? 1
                                        : rng_below(r, 2);
    unsigned v = rng_percent(r, 55) ? 15 : rng_below(r, 16);
    unsigned inv = ~e->rex & 7;
    unsigned low;

    if (e->bits != 64) {
        inv |= 7;
        v |= 8;
    }
    low = v << 3 | l << 2 | pp[f->prefix];
    if (!(~inv & 3) && !w && f->map == FORM_MAP_0F && rng_percent(r, 60)) {
        put(b, 0xc5);
        put(b, (inv & 4) << 5 | low);
        return;
    }
    put(b, 0xc4);
    put(b, inv << 5 | f->map);
    put(b, w << 7 | low);
}

static void put_opcode(struct bytes *b, struct rng *r, const struct encoding *e)
{
    const struct form *f = e->f;

    if (f->vex) {
        put_vex(b, r, e);
    } else {
        if (e->rex_present)
            put(b, 0x40 | e->rex);
        if (f->map != FORM_MAP_1)
            put(b, 0x0f);
        if (f->map == FORM_MAP_0F38)
            put(b, 0x38);
        if (f->map == FORM_MAP_0F3A)
            put(b, 0x3a);
    }
    put(b, f->opcode + rng_below(r, 1u + f->opcode_last - f->opcode));
}

static unsigned pick_mod(struct rng *r, const struct form *f)
{
    if (f->modrm == FORM_MODRM_REG)
        return 3;
    if (f->modrm == FORM_MODRM && rng_percent(r, 45))
        return 3;
    return rng_below(r, 3);
}

static void put_disp(struct bytes *b, struct rng *r, unsigned len)
{
    uint64_t v =
        rng_percent(r, 60) ? (uint64_t)rng_below(r, 512) - 256 : rng_u64(r);

    put_le(b, v, len);
}

/* 16-bit forms: no SIB, and [disp16] instead of [BP]. */
static void put_disp16(struct bytes *b, struct rng *r, unsigned mod,
                       unsigned rm)
{
    if (mod == 1)
        put_disp(b, r, 1);
    else if (mod == 2 || (mod == 0 && rm == 6))
        put_disp(b, r, 2);
}

static void put_modrm(struct bytes *b, struct rng *r, const struct encoding *e)
{
    const struct form *f = e->f;
    unsigned mod = pick_mod(r, f);
    unsigned reg = rng_below(r, 8);
    unsigned rm = rng_percent(r, 25) ? 4 : rng_below(r, 8);
    unsigned base = 0;

    if (f->has_ext) {
        reg = f->ext + rng_below(r, 1u + f->ext_last - f->ext);
        if (f->ext >= 0xc0) { /* a whole byte, see form.c */
            put(b, reg);
            return;
        }
    }
    put(b, mod << 6 | reg << 3 | rm);
    if (mod == 3)
        return;
    if (e->bits != 64 && e->addr_size == (e->bits == 32)) {
        put_disp16(b, r, mod, rm);
        return;
    }
    if (rm == 4) {
        base = rng_below(r, 8);
        put(b, rng_below(r, 32) << 3 | base);
    }
    if (mod == 1)
        put_disp(b, r, 1);
    else if (mod == 2 || rm == 5 || (rm == 4 && base == 5))
        put_disp(b, r, 4);
}

static void put_immediates(struct bytes *b, struct rng *r,
                           const struct encoding *e)
{
    const struct form *f = e->f;
    unsigned z = (e->size16 != (e->bits == 16)) && !(e->rex & 8) ? 2 : 4;

    for (unsigned i = 0; i < 2; i++) {
        switch (f->imm[i]) {
        case FORM_IB: put_le(b, immediate(r), 1); break;
        case FORM_IW: put_le(b, immediate(r), 2); break;
        case FORM_IZ: put_le(b, immediate(r), z); break;
        case FORM_IV: put_le(b, immediate(r), e->rex & 8 ? 8 : z); break;
        case FORM_MOFF:
            put_le(b, rng_u64(r),
                   e->bits == 16 ? (e->addr_size ? 4u : 2u)
                                 : e->bits / 8u >> (e->addr_size ? 1 : 0));
            break;
        default: break;
        }
    }
    if (f->flags & FORM_JB)
        put(b, rng_below(r, 96) - 24u);
    if (f->flags & FORM_JZ)
        put_le(b, rng_percent(r, 92) ? rng_below(r, 160) - 40u : rng_u64(r),
               e->bits == 16 ? 2 : 4);
}

unsigned form_encode(const struct form *f, struct rng *r, unsigned bits,
                     uint8_t *out)
{
    struct bytes b = {out, 0};
    struct encoding e = {.f = f, .bits = bits};

    e.addr_size = rng_percent(r, bits == 64 ? 5 : bits == 32 ? 2 : 25);
    if (f->flags & (FORM_OSZ | FORM_O16))
        e.size16 = rng_percent(r, 25);
    else if (!f->vex && f->prefix == FORM_NO_PREFIX &&
             !(f->flags & (FORM_JB | FORM_JZ | FORM_NOSEQ)))
        e.size16 = rng_percent(r, 2);
    if (bits == 64) {
        e.rex_present = rng_percent(r, 75);
        e.rex = e.rex_present ? rng_below(r, 8) : 0;
        if (e.rex_present &&
            (f->flags & (FORM_OSZ | FORM_WSZ) ? rng_percent(r, 55)
                                              : rng_percent(r, 10)))
            e.rex |= 8;
    }
    put_prefixes(&b, r, &e);
    put_opcode(&b, r, &e);
    if (f->modrm != FORM_NO_MODRM)
        put_modrm(&b, r, &e);
    put_immediates(&b, r, &e);
    return b.n;
}
