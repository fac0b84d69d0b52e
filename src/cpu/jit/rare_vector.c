#include "cpu/jit/rare.h"

#include <string.h>

#include "base/endian.h"

/*
 * Vector instructions with memory operands of a special shape: state areas
 * (SDM vol. 1, 13), gathers and masked moves (per element, so that elements
 * that are masked off cannot fault). The guest's vector state is in st->xsave
 * in the standard format.
 */
enum {
    LEGACY = 512,
    HEADER = 64,
    AVX_OFF = 576,
    AVX_LEN = 256,
    AREA = AVX_OFF + AVX_LEN,
    MXCSR_OFF = 24,
    ST_OFF = 32,
    XMM_OFF = 160
};

static uint64_t xstate_bv(const struct x86_state *st)
{
    return get_le64(st->xsave + LEGACY);
}

static void set_xstate_bv(struct x86_state *st, uint64_t bv)
{
    put_le64(st->xsave + LEGACY, bv);
}

/* Registers of a component that is in its initial state read as such. */
static void materialize(struct x86_state *st)
{
    uint64_t bv = xstate_bv(st);

    if (!(bv & X86_XCR0_X87)) {
        memset(st->xsave, 0, 24);
        put_le16(st->xsave, 0x37f);
        memset(st->xsave + 32, 0, 128);
    }
    if (!(bv & X86_XCR0_SSE))
        memset(st->xsave + XMM_OFF, 0, 256);
    if (!(bv & X86_XCR0_AVX))
        memset(st->xsave + AVX_OFF, 0, AVX_LEN);
}

/* FIP, FDP and FOP are the translator's, not the guest's. */
static void scrub(uint8_t *area)
{
    memset(area + 6, 0, 18);
}

static int fxsave(struct rare *r)
{
    uint8_t buf[LEGACY];
    bool regs = (r->jv->key & KEY_SIZE_MASK) == 2;
    gva_t gva;

    if (r->st->cr0 & (X86_CR0_EM | X86_CR0_TS))
        return x86_fault(r->cpu, X86_NM);
    if (rare_address(r, &r->in->op[0], LEGACY, true, &gva) < 0)
        return X86_FAULT;
    if (gva & 15)
        return rare_gp(r);
    /* The last 96 bytes, and XMM8..15 outside 64-bit mode, stay. */
    if (rare_probe_write(r, gva + LEGACY - 1, 1) < 0 || /* as CPUs do */
        rare_probe_write(r, gva, LEGACY) < 0 ||
        rare_read_mem(r, gva, buf, LEGACY) < 0)
        return X86_FAULT;
    materialize(r->st);
    memcpy(buf, r->st->xsave, XMM_OFF + (regs ? 256 : 128));
    scrub(buf);
    return rare_write_mem(r, gva, buf, LEGACY);
}

static bool mxcsr_ok(const uint8_t *area)
{
    return !(get_le32(area + MXCSR_OFF) & 0xfffd0000u);
}

static int fxrstor(struct rare *r)
{
    uint8_t buf[LEGACY];
    bool regs = (r->jv->key & KEY_SIZE_MASK) == 2;
    gva_t gva;

    if (r->st->cr0 & (X86_CR0_EM | X86_CR0_TS))
        return x86_fault(r->cpu, X86_NM);
    if (rare_address(r, &r->in->op[0], LEGACY, false, &gva) < 0)
        return X86_FAULT;
    if (gva & 15)
        return rare_gp(r);
    if (rare_read_mem(r, gva, buf, LEGACY) < 0)
        return X86_FAULT;
    if (!mxcsr_ok(buf))
        return rare_gp(r);
    materialize(r->st);
    scrub(buf);
    memcpy(r->st->xsave, buf, 28);
    memcpy(r->st->xsave + 32, buf + 32, 128 + (regs ? 256 : 128));
    set_xstate_bv(r->st, xstate_bv(r->st) | X86_XCR0_X87 | X86_XCR0_SSE);
    return X86_OK;
}

static int xsave_gate(struct rare *r, gva_t *gva, unsigned len, bool write)
{
    if (!(r->st->cr4 & X86_CR4_OSXSAVE))
        return rare_ud(r);
    if (r->st->cr0 & X86_CR0_TS)
        return x86_fault(r->cpu, X86_NM);
    if (rare_gva(r, &r->in->op[0]) & 63) /* comes before #SS here */
        return rare_gp(r);
    return rare_address(r, &r->in->op[0], len, write, gva);
}

static uint64_t rfbm(const struct rare *r)
{
    return (r->st->gpr[X86_RAX] & UINT32_MAX) & r->st->xcr0;
}

static unsigned area_len(uint64_t mask)
{
    return mask & X86_XCR0_AVX ? AREA : AVX_OFF;
}

/* Registers 8 to 15 exist in 64-bit mode only. */
static unsigned vec_len(const struct rare *r)
{
    return (r->jv->key & KEY_SIZE_MASK) == 2 ? 256 : 128;
}

static int xsave(struct rare *r, bool compact, bool skip_init)
{
    uint64_t want = rfbm(r), bv = xstate_bv(r->st), put;
    const uint8_t *src = r->st->xsave;
    uint8_t buf[AREA];
    unsigned len = area_len(want);
    gva_t gva = 0;

    if (xsave_gate(r, &gva, len, true) < 0 ||
        rare_probe_write(r, gva, len) < 0 ||
        rare_read_mem(r, gva, buf, len) < 0)
        return X86_FAULT;
    materialize(r->st);
    put = compact || skip_init ? want & bv : want;
    if (put & X86_XCR0_X87) {
        memcpy(buf, src, 24);
        memcpy(buf + 32, src + 32, 128);
        scrub(buf);
    }
    if (put & X86_XCR0_SSE)
        memcpy(buf + XMM_OFF, src + XMM_OFF, vec_len(r));
    if (compact ? put & X86_XCR0_SSE : want & (X86_XCR0_SSE | X86_XCR0_AVX))
        memcpy(buf + MXCSR_OFF, src + MXCSR_OFF, 8);
    if (put & X86_XCR0_AVX)
        memcpy(buf + AVX_OFF, src + AVX_OFF, vec_len(r));
    if (compact) {
        put_le64(buf + LEGACY, want & bv);
        put_le64(buf + LEGACY + 8, want | (uint64_t)1 << 63);
    } else {
        put_le64(buf + LEGACY, (get_le64(buf + LEGACY) & ~want) | (want & bv));
    }
    return rare_write_mem(r, gva, buf, len);
}

static bool header_ok(const struct rare *r, const uint8_t *h)
{
    uint64_t bv = get_le64(h), comp = get_le64(h + 8);

    for (unsigned i = 16; i < (comp >> 63 ? 64u : 24u); i++)
        if (h[i])
            return false;
    if (!(comp >> 63))
        return comp == 0 && !(bv & ~r->st->xcr0);
    comp &= ~((uint64_t)1 << 63);
    return !(comp & ~r->st->xcr0) && !(bv & ~comp) &&
           cpuid_has(r->jv->eng->model, CPUID_XSAVEC);
}

/* Outside 64-bit mode registers 8 to 15 keep their values. */
static void init_component(struct rare *r, uint64_t which)
{
    struct x86_state *st = r->st;
    uint64_t keep = 0;

    if (vec_len(r) != 256) {
        keep = X86_XCR0_SSE | X86_XCR0_AVX;
        if (which & X86_XCR0_SSE)
            memset(st->xsave + XMM_OFF, 0, vec_len(r));
        if (which & X86_XCR0_AVX)
            memset(st->xsave + AVX_OFF, 0, vec_len(r));
    }
    set_xstate_bv(st, xstate_bv(st) & ~(which & ~keep));
    materialize(st);
}

static int xrstor(struct rare *r)
{
    uint64_t want = rfbm(r), bv;
    uint8_t buf[AREA] = {0}, *dst = r->st->xsave;
    bool compact;
    gva_t gva = 0;

    if (xsave_gate(r, &gva, AVX_OFF, false) < 0 ||
        rare_read_mem(r, gva, buf, AVX_OFF) < 0)
        return X86_FAULT;
    if (!header_ok(r, buf + LEGACY))
        return rare_gp(r);
    bv = get_le64(buf + LEGACY);
    compact = buf[LEGACY + 15] & 0x80;
    if (want & bv & X86_XCR0_AVX &&
        rare_read_mem(r, gva + AVX_OFF, buf + AVX_OFF, AVX_LEN) < 0)
        return X86_FAULT;
    if ((compact ? want & bv & X86_XCR0_SSE
                 : want & (X86_XCR0_SSE | X86_XCR0_AVX)) &&
        !mxcsr_ok(buf))
        return rare_gp(r);
    materialize(r->st);
    init_component(r, want & ~bv);
    if (want & bv & X86_XCR0_X87) {
        scrub(buf);
        memcpy(dst, buf, 24);
        memcpy(dst + 32, buf + 32, 128);
    }
    if (want & bv & X86_XCR0_SSE)
        memcpy(dst + XMM_OFF, buf + XMM_OFF, vec_len(r));
    if (want & bv & X86_XCR0_AVX)
        memcpy(dst + AVX_OFF, buf + AVX_OFF, vec_len(r));
    if (compact) {
        if (want & X86_XCR0_SSE)
            put_le32(dst + MXCSR_OFF,
                     bv & X86_XCR0_SSE ? get_le32(buf + MXCSR_OFF) : 0x1f80);
    } else if (want & (X86_XCR0_SSE | X86_XCR0_AVX)) {
        memcpy(dst + MXCSR_OFF, buf + MXCSR_OFF, 4);
    }
    set_xstate_bv(r->st, xstate_bv(r->st) | (want & bv));
    return X86_OK;
}

/* -- Vector registers in the image ---------------------------------------- */

struct vreg {
    uint8_t b[32];
};

static unsigned vnum(ZydisRegister reg)
{
    return (unsigned)ZydisRegisterGetId(reg) & 15;
}

/* Where the image has registers, 16 bytes each. */
static uint8_t *xmm(const struct rare *r, ZydisRegister reg)
{
    return &r->st->xsave[XMM_OFF + 16 * vnum(reg)];
}

static uint8_t *ymm_high(const struct rare *r, ZydisRegister reg)
{
    return &r->st->xsave[AVX_OFF + 16 * vnum(reg)];
}

static uint8_t *st_at(uint8_t *image, unsigned n)
{
    return &image[ST_OFF + 16 * (n & 7)];
}

static struct vreg vget(const struct rare *r, ZydisRegister reg)
{
    struct vreg v;

    memcpy(v.b, xmm(r, reg), 16);
    memcpy(v.b + 16, ymm_high(r, reg), 16);
    return v;
}

/* Is the mask's element of size bytes at offset at set? */
static bool masked_in(const struct vreg *mask, unsigned at, unsigned size)
{
    return mask->b[at + size - 1] & 0x80;
}

/* VEX writes clear what is above the vector's length. */
static void vput(struct rare *r, ZydisRegister reg, const struct vreg *v,
                 unsigned len)
{
    memcpy(xmm(r, reg), v->b, 16);
    if (len == 32)
        memcpy(ymm_high(r, reg), v->b + 16, 16);
    else
        memset(ymm_high(r, reg), 0, 16);
    set_xstate_bv(r->st, xstate_bv(r->st) | X86_XCR0_SSE | X86_XCR0_AVX);
}

/* One element, accessed: breakpoints count what the mask lets through. */
static int read_element(struct rare *r, gva_t gva, void *dst, unsigned size)
{
    r->jv->break_hits |= h_break_data(r->st, gva, size, false);
    return rare_read_mem(r, gva, dst, size);
}

static int write_element(struct rare *r, gva_t gva, const void *src,
                         unsigned size)
{
    r->jv->break_hits |= h_break_data(r->st, gva, size, true);
    return rare_write_mem(r, gva, src, size);
}

/* Offset in its segment of element i of a gather. */
static uint64_t gather_offset(const struct rare *r, const struct vreg *idx,
                              unsigned i, unsigned idx_size)
{
    const ZydisDecodedOperand *op = &r->in->op[1];
    const uint8_t *b = &idx->b[(size_t)idx_size * i];
    int64_t x = idx_size == 4 ? (int32_t)get_le32(b) : (int64_t)get_le64(b);
    uint64_t a = (uint64_t)op->mem.disp.value + (uint64_t)x * op->mem.scale;

    if (op->mem.base != ZYDIS_REGISTER_NONE)
        a += rare_reg(r, op->mem.base);
    return r->in->d.address_width == 32 ? a & UINT32_MAX : a;
}

static bool gather_overlaps(const ZydisDecodedOperand *op)
{
    unsigned dst = vnum(op[0].reg.value), mask = vnum(op[2].reg.value);
    unsigned idx = vnum(op[1].mem.index);

    return dst == mask || dst == idx || mask == idx;
}

/* How many elements a gather has. */
static unsigned gather_count(const ZydisDecodedOperand *op, unsigned idx_size,
                             unsigned size)
{
    unsigned idx_len = op[1].mem.index >= ZYDIS_REGISTER_YMM0 ? 32 : 16;
    unsigned n = op[0].size / 8u / size;

    return n < idx_len / idx_size ? n : idx_len / idx_size;
}

/* Destination, VSIB memory, mask. A fault in the middle keeps what was
 * gathered and clears its mask elements (SDM vol. 2, VPGATHERDD). */
static int gather(struct rare *r, unsigned idx_size, unsigned size)
{
    const ZydisDecodedOperand *op = r->in->op;
    unsigned n = gather_count(op, idx_size, size);
    struct vreg dst, mask, idx;
    uint8_t element[8];
    gva_t gva;
    enum x86_sreg seg = insn_segment(&op[1]);
    int rc = X86_OK;

    if (gather_overlaps(op))
        return rare_ud(r);
    materialize(r->st);
    dst = vget(r, op[0].reg.value);
    mask = vget(r, op[2].reg.value);
    idx = vget(r, op[1].mem.index);
    for (unsigned i = 0; i < n && rc == X86_OK; i++) {
        unsigned at = size * i;

        if (masked_in(&mask, at, size)) {
            rc = rare_linear(r, seg, gather_offset(r, &idx, i, idx_size), size,
                             false, &gva);
            if (rc == X86_OK)
                rc = read_element(r, gva, element, size);
            if (rc == X86_OK)
                memcpy(&dst.b[at], element, size);
        }
        if (rc == X86_OK)
            memset(&mask.b[at], 0, size);
    }
    if (rc == X86_OK) {
        unsigned end = size * n;

        memset(mask.b, 0, sizeof(mask.b));
        memset(&dst.b[end], 0, sizeof(dst.b) - end);
    }
    vput(r, op[0].reg.value, &dst, sizeof(dst.b));
    vput(r, op[2].reg.value, &mask, sizeof(mask.b));
    return rc;
}

enum masked { MASKED_LOAD, MASKED_PROBE, MASKED_STORE };

/* One pass over the elements of v that the mask lets through. */
static int masked_pass(struct rare *r, const ZydisDecodedOperand *mem,
                       unsigned size, struct vreg *v, enum masked what)
{
    struct vreg mask = vget(r, r->in->op[1].reg.value);

    for (unsigned at = 0; at < mem->size / 8u; at += size) {
        int rc;
        gva_t a;

        if (!masked_in(&mask, at, size))
            continue;
        rc = rare_element(r, mem, at, size, what != MASKED_LOAD, &a);
        if (rc < 0)
            return rc;
        switch (what) {
        case MASKED_LOAD: rc = read_element(r, a, &v->b[at], size); break;
        case MASKED_PROBE: rc = rare_probe_write(r, a, size); break;
        default: rc = write_element(r, a, &v->b[at], size); break;
        }
        if (rc < 0)
            return rc;
    }
    return X86_OK;
}

/* VMASKMOV and VPMASKMOV: (dst, mask, mem) or (mem, mask, src). Stores first
 * prove that none of them will fault. */
static int maskmov(struct rare *r, unsigned size)
{
    const ZydisDecodedOperand *op = r->in->op;
    struct vreg v = {{0}};

    materialize(r->st);
    if (op[0].type == ZYDIS_OPERAND_TYPE_MEMORY) {
        v = vget(r, op[2].reg.value);
        if (masked_pass(r, &op[0], size, &v, MASKED_PROBE) < 0)
            return X86_FAULT;
        return masked_pass(r, &op[0], size, &v, MASKED_STORE);
    }
    if (masked_pass(r, &op[2], size, &v, MASKED_LOAD) < 0)
        return X86_FAULT;
    vput(r, op[0].reg.value, &v, op[2].size / 8u);
    return X86_OK;
}

/*
 * The state that an MMX instruction leaves: all registers valid, top of stack
 * 0. The image has the stack's order, in which MMn was not at n before.
 */
static void enter_mmx(struct rare *r)
{
    uint8_t *x = r->st->xsave, old[ST_OFF + 128];
    unsigned top = x[3] >> 3 & 7;

    memcpy(old, x, sizeof(old));
    for (unsigned i = 0; i < 8; i++)
        memcpy(st_at(x, i), st_at(old, i - top), 16);
    x[4] = 0xff;
    x[3] &= 0xc7;
    set_xstate_bv(r->st, xstate_bv(r->st) | X86_XCR0_X87);
}

static const uint8_t *maskmov_reg(struct rare *r, const ZydisDecodedOperand *op)
{
    if (r->in->d.mnemonic == ZYDIS_MNEMONIC_MASKMOVQ)
        return st_at(r->st->xsave, vnum(op->reg.value));
    return xmm(r, op->reg.value);
}

/* MASKMOVQ, MASKMOVDQU: bytes of the first to DS:rDI where the mask says. The
 * whole operand must be writable. */
static int maskmov_bytes(struct rare *r)
{
    const ZydisDecodedOperand *src = NULL, *mask = NULL;
    bool mmx = r->in->d.mnemonic == ZYDIS_MNEMONIC_MASKMOVQ;
    unsigned len = mmx ? 8 : 16, width = r->in->d.address_width;
    uint64_t di = r->st->gpr[X86_RDI];
    enum x86_sreg seg = X86_DS;
    const uint8_t *v, *m;
    gva_t gva;

    for (unsigned i = 0; i < r->in->d.operand_count; i++) {
        const ZydisDecodedOperand *op = &r->in->op[i];

        if (op->type == ZYDIS_OPERAND_TYPE_MEMORY)
            seg = insn_segment(op);
        else if (!src)
            src = op;
        else if (!mask)
            mask = op;
    }
    if (!src || !mask)
        return RARE_UNKNOWN;
    materialize(r->st);
    if (mmx && r->st->xsave[2] & 0x80)
        return x86_fault(r->cpu, X86_MF);
    di &= width == 64 ? ~(uint64_t)0 : width == 32 ? UINT32_MAX : UINT16_MAX;
    if (mmx)
        enter_mmx(r);
    if (rare_linear(r, seg, di, 1, true, &gva) < 0 ||
        rare_probe_write(r, gva, 1) < 0 ||
        rare_linear(r, seg, di, len, true, &gva) < 0 ||
        rare_probe_write(r, gva, len) < 0)
        return X86_FAULT;
    v = maskmov_reg(r, src);
    m = maskmov_reg(r, mask);
    for (unsigned i = 0; i < len; i++)
        if (m[i] & 0x80 && write_element(r, gva + i, &v[i], 1) < 0)
            return X86_FAULT;
    return X86_OK;
}

int rare_vector(struct rare *r)
{
    switch (r->in->d.mnemonic) {
    case ZYDIS_MNEMONIC_FWAIT: /* with CR0.TS but not MP, or EM */
        return r->st->xsave[2] & 0x80 ? x86_fault(r->cpu, X86_MF) : X86_OK;
    case ZYDIS_MNEMONIC_FXSAVE:
    case ZYDIS_MNEMONIC_FXSAVE64: return fxsave(r);
    case ZYDIS_MNEMONIC_FXRSTOR:
    case ZYDIS_MNEMONIC_FXRSTOR64: return fxrstor(r);
    case ZYDIS_MNEMONIC_XSAVE:
    case ZYDIS_MNEMONIC_XSAVE64: return xsave(r, false, false);
    case ZYDIS_MNEMONIC_XSAVEOPT:
    case ZYDIS_MNEMONIC_XSAVEOPT64: return xsave(r, false, true);
    case ZYDIS_MNEMONIC_XSAVEC:
    case ZYDIS_MNEMONIC_XSAVEC64: return xsave(r, true, true);
    case ZYDIS_MNEMONIC_XRSTOR:
    case ZYDIS_MNEMONIC_XRSTOR64: return xrstor(r);
    case ZYDIS_MNEMONIC_VGATHERDPS:
    case ZYDIS_MNEMONIC_VPGATHERDD: return gather(r, 4, 4);
    case ZYDIS_MNEMONIC_VGATHERDPD:
    case ZYDIS_MNEMONIC_VPGATHERDQ: return gather(r, 4, 8);
    case ZYDIS_MNEMONIC_VGATHERQPS:
    case ZYDIS_MNEMONIC_VPGATHERQD: return gather(r, 8, 4);
    case ZYDIS_MNEMONIC_VGATHERQPD:
    case ZYDIS_MNEMONIC_VPGATHERQQ: return gather(r, 8, 8);
    case ZYDIS_MNEMONIC_VMASKMOVPS:
    case ZYDIS_MNEMONIC_VPMASKMOVD: return maskmov(r, 4);
    case ZYDIS_MNEMONIC_VMASKMOVPD:
    case ZYDIS_MNEMONIC_VPMASKMOVQ: return maskmov(r, 8);
    case ZYDIS_MNEMONIC_MASKMOVQ:
    case ZYDIS_MNEMONIC_MASKMOVDQU:
    case ZYDIS_MNEMONIC_VMASKMOVDQU: return maskmov_bytes(r);
    default: return RARE_UNKNOWN;
    }
}
