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
    gva_t gva;

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
    gva_t gva;

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

static struct vreg vget(const struct rare *r, ZydisRegister reg)
{
    unsigned n = vnum(reg);
    struct vreg v;

    memcpy(v.b, r->st->xsave + XMM_OFF + 16 * n, 16);
    memcpy(v.b + 16, r->st->xsave + AVX_OFF + 16 * n, 16);
    return v;
}

/* VEX writes clear what is above the vector's length. */
static void vput(struct rare *r, ZydisRegister reg, const struct vreg *v,
                 unsigned len)
{
    unsigned n = vnum(reg);
    uint8_t *hi = r->st->xsave + AVX_OFF + 16 * n;

    memcpy(r->st->xsave + XMM_OFF + 16 * n, v->b, 16);
    if (len == 32)
        memcpy(hi, v->b + 16, 16);
    else
        memset(hi, 0, 16);
    set_xstate_bv(r->st, xstate_bv(r->st) | X86_XCR0_SSE | X86_XCR0_AVX);
}

static uint64_t gather_base(const struct rare *r, const ZydisDecodedOperand *op)
{
    uint64_t a = (uint64_t)op->mem.disp.value;

    if (op->mem.base != ZYDIS_REGISTER_NONE)
        a += rare_reg(r, op->mem.base);
    return a;
}

/* Destination, VSIB memory, mask. A fault in the middle keeps what was
 * gathered and clears its mask elements (SDM vol. 2, VPGATHERDD). */
static int gather(struct rare *r, unsigned idx_size, unsigned size)
{
    const ZydisDecodedOperand *op = r->in->op;
    unsigned len = op[0].size / 8u,
             idx_len = op[1].mem.index >= ZYDIS_REGISTER_YMM0 ? 32 : 16;
    unsigned n =
        len / size < idx_len / idx_size ? len / size : idx_len / idx_size;
    struct vreg dst, mask, idx;
    uint64_t base = gather_base(r, &op[1]);
    uint8_t element[8];
    gva_t gva;
    enum x86_sreg seg = insn_segment(&op[1]);
    int rc = X86_OK;

    materialize(r->st);
    dst = vget(r, op[0].reg.value);
    mask = vget(r, op[2].reg.value);
    idx = vget(r, op[1].mem.index);
    if (vnum(op[0].reg.value) == vnum(op[2].reg.value) ||
        vnum(op[0].reg.value) == vnum(op[1].mem.index) ||
        vnum(op[2].reg.value) == vnum(op[1].mem.index))
        return rare_ud(r);
    for (unsigned i = 0; i < n && rc == X86_OK; i++) {
        int64_t x = idx_size == 4 ? (int32_t)get_le32(idx.b + 4 * i)
                                  : (int64_t)get_le64(idx.b + 8 * i);
        uint64_t a = base + (uint64_t)x * op[1].mem.scale;

        if (mask.b[size * i + size - 1] & 0x80) {
            if (r->in->d.address_width == 32)
                a &= UINT32_MAX;
            rc = rare_linear(r, seg, a, size, false, &gva);
            if (rc == X86_OK)
                rc = rare_read_mem(r, gva, element, size);
            if (rc == X86_OK)
                memcpy(dst.b + size * i, element, size);
        }
        if (rc == X86_OK)
            memset(mask.b + size * i, 0, size);
    }
    if (rc == X86_OK) {
        memset(mask.b, 0, sizeof(mask.b));
        memset(dst.b + size * n, 0, sizeof(dst.b) - size * n);
    }
    vput(r, op[0].reg.value, &dst, sizeof(dst.b));
    vput(r, op[2].reg.value, &mask, sizeof(mask.b));
    return rc;
}

/* VMASKMOV and VPMASKMOV: (dst, mask, mem) or (mem, mask, src). */
static int maskmov(struct rare *r, unsigned size)
{
    const ZydisDecodedOperand *op = r->in->op;
    bool store = op[0].type == ZYDIS_OPERAND_TYPE_MEMORY;
    const ZydisDecodedOperand *mem = store ? &op[0] : &op[2];
    unsigned len = mem->size / 8u;
    struct vreg mask, v = {{0}};

    materialize(r->st);
    mask = vget(r, op[1].reg.value);
    if (store)
        v = vget(r, op[2].reg.value);
    for (unsigned pass = 0; pass < (store ? 2u : 1u); pass++)
        for (unsigned i = 0; i < len / size; i++) {
            gva_t a;

            if (!(mask.b[size * i + size - 1] & 0x80))
                continue;
            if (rare_element(r, mem, size * i, size, store, &a) < 0)
                return X86_FAULT;
            /* Stores first prove that none of them will fault. */
            if (store && pass == 0) {
                if (rare_probe_write(r, a, size) < 0)
                    return X86_FAULT;
            } else if (store) {
                if (rare_write_mem(r, a, v.b + size * i, size) < 0)
                    return X86_FAULT;
            } else if (rare_read_mem(r, a, v.b + size * i, size) < 0) {
                return X86_FAULT;
            }
        }
    if (!store)
        vput(r, op[0].reg.value, &v, len);
    return X86_OK;
}

/*
 * The state that an MMX instruction leaves: all registers valid, top of stack
 * 0. The image has the stack's order, in which MMn was not at n before.
 */
static void enter_mmx(struct rare *r)
{
    uint8_t *x = r->st->xsave, old[128];
    unsigned top = x[3] >> 3 & 7;

    memcpy(old, x + ST_OFF, sizeof(old));
    for (unsigned i = 0; i < 8; i++)
        memcpy(x + ST_OFF + 16 * i, old + 16 * ((i - top) & 7), 16);
    x[4] = 0xff;
    x[3] &= 0xc7;
    set_xstate_bv(r->st, xstate_bv(r->st) | X86_XCR0_X87);
}

static const uint8_t *maskmov_reg(struct rare *r, const ZydisDecodedOperand *op)
{
    if (r->in->d.mnemonic == ZYDIS_MNEMONIC_MASKMOVQ)
        return r->st->xsave + ST_OFF + 16 * (vnum(op->reg.value) & 7);
    return r->st->xsave + XMM_OFF + 16 * vnum(op->reg.value);
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
        if (m[i] & 0x80 && rare_write_mem(r, gva + i, &v[i], 1) < 0)
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
