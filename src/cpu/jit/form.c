#include "cpu/jit/form.h"

#include <stdlib.h>

#include "cpu/jit/jit.h"
#include "x86/regs.h"

/*
 * What decides the form of an instruction are its bytes up to ModRM and SIB,
 * and a few bits of the mode key: its head. A head that is taken too long only
 * makes forms of one kind several; the few instructions whose immediate
 * decides, too, are not kept.
 */
enum { NR_FORMS = 4096, NR_BUCKETS = 4096, MAX_HEAD = 12 };

/* What of the mode key the decoder looks at. */
enum {
    DECODE_KEYS = KEY_SIZE_MASK | KEY_REAL | KEY_VM86 | KEY_CPL0 | KEY_NO_X87 |
                  KEY_NO_SSE | KEY_TS | KEY_NO_AVX | KEY_SS16 | KEY_SEGMENTS |
                  KEY_FSGSBASE | KEY_TSD | KEY_OSXSAVE | KEY_STEP | KEY_BREAK
};

struct head {
    uint64_t lo;
    uint32_t hi;
    uint32_t key; /* DECODE_KEYS */
};

struct entry {
    struct head head;
    uint32_t next; /* index + 1 */
    struct form f;
};

struct form_cache {
    const struct cpuid_model *model;
    unsigned nr;
    uint32_t bucket[NR_BUCKETS]; /* index + 1 */
    struct entry entry[NR_FORMS];
};

struct form_cache *form_cache_new(const struct cpuid_model *model)
{
    struct form_cache *c = calloc(1, sizeof(*c));

    if (c)
        c->model = model;
    return c;
}

void form_cache_free(struct form_cache *c)
{
    free(c);
}

/* -- Heads ---------------------------------------------------------------- */

static bool modrm_one(uint8_t op)
{
    if (op < 0x40)
        return !(op & 4);
    switch (op) {
    case 0x62:
    case 0x63:
    case 0x69:
    case 0x6b:
    case 0xc0:
    case 0xc1:
    case 0xc4: /* LES, LDS */
    case 0xc5:
    case 0xc6:
    case 0xc7:
    case 0xf6:
    case 0xf7:
    case 0xfe:
    case 0xff: return true;
    default: return (op & 0xf0) == 0x80 || (op & 0xfc) == 0xd0 || op >> 3 == 27;
    }
}

static bool modrm_0f(uint8_t op)
{
    switch (op) {
    case 0x05:
    case 0x06:
    case 0x07:
    case 0x08:
    case 0x09:
    case 0x0b:
    case 0x0e:
    case 0x77:
    case 0xa0:
    case 0xa1:
    case 0xa2:
    case 0xa8:
    case 0xa9:
    case 0xaa: return false;
    default: return op >> 3 != 6 && op >> 4 != 8 && op >> 3 != 25;
    }
}

static bool is_prefix(uint8_t b)
{
    switch (b) {
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e:
    case 0x64:
    case 0x65:
    case 0x66:
    case 0x67:
    case 0xf0:
    case 0xf2:
    case 0xf3: return true;
    default: return false;
    }
}

/* Behind the opcode of a VEX prefix at b, or 0 if there is none. */
static unsigned vex_length(const uint8_t *b, bool long_mode)
{
    if ((b[0] != 0xc4 && b[0] != 0xc5) || (!long_mode && b[1] < 0xc0))
        return 0;
    return b[0] == 0xc4 ? 4 : 3;
}

/* EVEX, XOP; more prefixes, or behind REX; 3DNow!, whose opcode is the last
 * byte. */
static bool not_kept(const uint8_t *b)
{
    return b[0] == 0x62 || b[0] == 0x8f || is_prefix(b[0]) ||
           (b[0] == 0x0f && b[1] == 0x0f);
}

/* The length of the head; 0 if the instruction is of a kind that is not kept.
 * b has 16 bytes. */
static unsigned head_length(const uint8_t *b, uint32_t size)
{
    bool small = size == 0, modrm;
    unsigned n = 0, vex;

    for (; n < 4 && is_prefix(b[n]); n++)
        if (b[n] == 0x67)
            small = size == 1;
    if (size == 2 && (b[n] & 0xf0) == 0x40) {
        n++;
        if ((b[n] & 0xf0) == 0x40)
            return 0; /* one that does not count, and another */
    }
    vex = vex_length(b + n, size == 2);
    if (!vex && not_kept(b + n))
        return 0;
    if (vex) {
        n += vex;
        modrm = true;
    } else if (b[n] != 0x0f) {
        modrm = modrm_one(b[n++]);
    } else {
        modrm = modrm_0f(b[n + 1]);
        n += b[n + 1] == 0x38 || b[n + 1] == 0x3a ? 3 : 2;
    }
    if (modrm) {
        uint8_t m = b[n++];

        if (!small && m < 0xc0 && (m & 7) == 4)
            n++;
    }
    return n;
}

/* The first n bytes at b as a head; n is at most MAX_HEAD. */
static struct head head_of(const uint8_t *b, unsigned n, uint32_t key)
{
    struct head h = {.key = key & DECODE_KEYS};

    __builtin_memcpy(&h.lo, b, 8);
    __builtin_memcpy(&h.hi, b + 8, 4);
    if (n < 8)
        h.lo &= ((uint64_t)1 << 8 * n) - 1;
    h.hi &= n > 8 ? (uint32_t)(((uint64_t)1 << 8 * (n - 8)) - 1) : 0;
    return h;
}

static uint32_t *bucket(struct form_cache *c, const struct head *h)
{
    uint64_t x = h->lo ^ (uint64_t)h->hi << 17 ^ (uint64_t)h->key << 40;

    return &c->bucket[x * 0x9e3779b97f4a7c15ull >> 52];
}

static const struct form *find(struct form_cache *c, const struct head *h)
{
    for (uint32_t i = *bucket(c, h); i; i = c->entry[i - 1].next) {
        const struct entry *e = &c->entry[i - 1];

        if (e->head.lo == h->lo && e->head.hi == h->hi && e->head.key == h->key)
            return &e->f;
    }
    return NULL;
}

void form_cache_reset(struct form_cache *c)
{
    c->nr = 0;
    for (unsigned i = 0; i < NR_BUCKETS; i++)
        c->bucket[i] = 0;
}

bool form_cache_full(const struct form_cache *c, unsigned n)
{
    return c->nr + n > NR_FORMS;
}

/* -- Instances ------------------------------------------------------------ */

static int64_t field(const uint8_t *b, unsigned at, unsigned size, bool sext)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < size; i++)
        v |= (uint64_t)b[at + i] << 8 * i;
    if (sext && size > 0 && size < 8 && v >> (8 * size - 1))
        v |= ~(uint64_t)0 << 8 * size;
    return (int64_t)v;
}

static void fill(struct ginsn *in, const struct form *f, uint64_t rip)
{
    in->f = f;
    in->rip = rip;
    in->disp = field(in->bytes, f->disp_at, f->disp_size, true);
    in->imm = field(in->bytes, f->imm_at, f->imm_size, f->imm_signed);
    in->flags_kill =
        f->count_mask && !(in->imm & f->count_mask) ? 0 : f->flags_kill;
    in->flags_live = 0;
}

int form_decode(struct form_cache *c, struct ginsn *in, const uint8_t *bytes,
                size_t len, uint32_t key, uint64_t rip)
{
    struct entry *e = &c->entry[c->nr];
    const struct form *f;
    struct head h;
    unsigned n;
    int rc;

    if (len > 15)
        len = 15;
    for (unsigned i = 0; i < 16; i++)
        in->bytes[i] = i < len ? bytes[i] : 0;
    n = head_length(in->bytes, key & KEY_SIZE_MASK);
    if (n > MAX_HEAD)
        n = 0;
    h = head_of(in->bytes, n, key);
    f = n ? find(c, &h) : NULL;
    if (f) {
        if (f->length > len)
            return -1;
        fill(in, f, rip);
        return f->class == IC_UD;
    }
    rc = form_make(&e->f, in->bytes, len, key & DECODE_KEYS, c->model);
    if (rc < 0)
        return rc;
    c->nr++;
    if (n && n <= len && e->f.length && !e->f.is4) {
        uint32_t *b = bucket(c, &h);

        e->head = h;
        e->next = *b;
        *b = c->nr;
    }
    fill(in, &e->f, rip);
    return rc;
}

uint32_t form_peek_live(struct form_cache *c, const uint8_t *bytes, size_t len,
                        uint32_t key)
{
    uint32_t unknown = X86_FLAGS_ARITH, live = 0;
    struct ginsn in;

    for (unsigned i = 0; i < FORM_MAX_PEEK && unknown; i++) {
        if (form_decode(c, &in, bytes, len, key, 0))
            break;
        live |= unknown & in.f->flags_read;
        unknown &= ~in.flags_kill;
        if (in.f->class == IC_JCC || in.f->ends_block)
            break;
        bytes += in.f->length;
        len -= in.f->length;
    }
    return live | unknown;
}
