#include "cpu/jit/rare.h"

#include <string.h>

#include "cpu/jit/h_sys.h"

/* What 64-bit mode cannot encode (SDM vol. 2), and string instructions through
 * segments that are not flat. */

static void set_flags(struct rare *r, uint32_t mask, uint32_t val)
{
    r->st->rflags = (r->st->rflags & ~(uint64_t)mask) | (val & mask);
    r->jv->arith = r->st->rflags & X86_FLAGS_ARITH;
}

static uint32_t szp(uint8_t v)
{
    return (v == 0 ? X86_FLAGS_ZF : 0) | (v & 0x80 ? X86_FLAGS_SF : 0) |
           (__builtin_parity(v) ? 0 : X86_FLAGS_PF);
}

static uint8_t al(const struct rare *r)
{
    return (uint8_t)r->st->gpr[X86_RAX];
}

static uint8_t ah(const struct rare *r)
{
    return (uint8_t)(r->st->gpr[X86_RAX] >> 8);
}

static void set_ax(struct rare *r, unsigned hi, unsigned lo)
{
    rare_set_reg(r, ZYDIS_REGISTER_AX, (hi & 0xff) << 8 | (lo & 0xff));
}

static int ascii_adjust(struct rare *r, int sign)
{
    bool adj = (al(r) & 15) > 9 || (r->st->rflags & X86_FLAGS_AF);
    unsigned ax = (unsigned)ah(r) << 8 | al(r);

    if (adj)
        ax = sign > 0 ? ax + 0x106 : ax - 6;
    if (adj && sign < 0)
        ax -= 0x100;
    set_ax(r, ax >> 8, ax & 15);
    set_flags(r, X86_FLAGS_AF | X86_FLAGS_CF,
              adj ? X86_FLAGS_AF | X86_FLAGS_CF : 0);
    set_flags(r, X86_FLAGS_ZF | X86_FLAGS_SF | X86_FLAGS_PF, szp(al(r)));
    return X86_OK;
}

static int decimal_adjust(struct rare *r, int sign)
{
    uint8_t old = al(r), v = old;
    bool cf = r->st->rflags & X86_FLAGS_CF, out = false, af = false;

    if ((old & 15) > 9 || (r->st->rflags & X86_FLAGS_AF)) {
        out = cf || (sign > 0 ? old > 0xf9 : old < 6);
        v = (uint8_t)(sign > 0 ? v + 6 : v - 6);
        af = true;
    }
    if (old > 0x99 || cf) {
        v = (uint8_t)(sign > 0 ? v + 0x60 : v - 0x60);
        out = true;
    }
    rare_set_reg(r, ZYDIS_REGISTER_AL, v);
    set_flags(r, X86_FLAGS_ARITH & ~X86_FLAGS_OF,
              szp(v) | (out ? X86_FLAGS_CF : 0) | (af ? X86_FLAGS_AF : 0));
    return X86_OK;
}

static int aam(struct rare *r)
{
    unsigned base = (unsigned)(r->in->op[0].imm.value.u & 0xff);
    uint8_t v = al(r);

    if (base == 0)
        return x86_fault(r->cpu, X86_DE);
    set_ax(r, v / base, v % base);
    set_flags(r, X86_FLAGS_ZF | X86_FLAGS_SF | X86_FLAGS_PF, szp(al(r)));
    return X86_OK;
}

static int aad(struct rare *r)
{
    unsigned base = (unsigned)(r->in->op[0].imm.value.u & 0xff);

    set_ax(r, 0, al(r) + ah(r) * base);
    set_flags(r, X86_FLAGS_ZF | X86_FLAGS_SF | X86_FLAGS_PF, szp(al(r)));
    return X86_OK;
}

static int bound(struct rare *r)
{
    unsigned size = r->in->d.operand_width / 8u;
    int32_t idx = (int32_t)rare_reg(r, r->in->op[0].reg.value), lo = 0, hi = 0;
    uint8_t buf[8];
    gva_t gva;

    if (rare_address(r, &r->in->op[1], 2 * size, false, &gva) < 0 ||
        rare_read_mem(r, gva, buf, 2 * size) < 0)
        return X86_FAULT;
    if (size == 2) {
        lo = (int16_t)(buf[0] | buf[1] << 8);
        hi = (int16_t)(buf[2] | buf[3] << 8);
        idx = (int16_t)idx;
    } else {
        memcpy(&lo, buf, 4);
        memcpy(&hi, buf + 4, 4);
    }
    return idx < lo || idx > hi ? x86_fault(r->cpu, X86_BR) : X86_OK;
}

static int arpl(struct rare *r)
{
    uint64_t dst, src = rare_reg(r, r->in->op[1].reg.value);

    if (r->jv->key & (KEY_REAL | KEY_VM86))
        return rare_ud(r);
    if (rare_get(r, 0, &dst) < 0)
        return X86_FAULT;
    if ((dst & 3) < (src & 3)) {
        if (rare_put(r, 0, (dst & ~(uint64_t)3) | (src & 3), 2) < 0)
            return X86_FAULT;
        set_flags(r, X86_FLAGS_ZF, X86_FLAGS_ZF);
    } else {
        set_flags(r, X86_FLAGS_ZF, 0);
    }
    return X86_OK;
}

/* LDS, LES, LFS, LGS, LSS */
static int load_far(struct rare *r, enum x86_sreg seg)
{
    bool first = r->in->op[0].type == ZYDIS_OPERAND_TYPE_MEMORY;
    uint64_t off;
    uint16_t sel;

    if (rare_far_pointer(r, &r->in->op[first ? 0 : 1], &sel, &off) < 0)
        return X86_FAULT;
    if (x86_load_seg(r->cpu, seg, sel) < 0)
        return X86_FAULT;
    r->st->int_shadow = 0; /* LSS has none */
    for (unsigned i = 0; i < r->in->d.operand_count_visible; i++)
        if (r->in->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
            r->in->op[i].encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG)
            rare_set_reg(r, r->in->op[i].reg.value, off);
    return X86_OK;
}

static int xlat(struct rare *r)
{
    unsigned width = r->in->d.address_width;
    uint64_t bx = r->st->gpr[X86_RBX] + al(r);
    enum x86_sreg seg = X86_DS;
    gva_t gva;
    uint8_t v;

    for (unsigned i = 0; i < r->in->d.operand_count; i++)
        if (r->in->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
            seg = insn_segment(&r->in->op[i]);
    bx &= width == 16 ? UINT16_MAX : width == 32 ? UINT32_MAX : ~(uint64_t)0;
    if (rare_linear(r, seg, bx, 1, false, &gva) < 0 ||
        rare_read_mem(r, gva, &v, 1) < 0)
        return X86_FAULT;
    rare_set_reg(r, ZYDIS_REGISTER_AL, v);
    return X86_OK;
}

/* -- Strings -------------------------------------------------------------- */

struct port_string {
    bool in, rep;
    unsigned size;
    uint64_t mask; /* of the address width */
    enum x86_sreg seg;
    uint16_t port;
};

static struct port_string port_string(const struct rare *r, bool in,
                                      unsigned size)
{
    const struct insn *i = r->in;
    struct port_string p = {.in = in, .size = size, .seg = X86_ES};

    p.rep = i->d.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE |
                               ZYDIS_ATTRIB_HAS_REPNE);
    p.mask = i->d.address_width == 64   ? ~(uint64_t)0
             : i->d.address_width == 32 ? UINT32_MAX
                                        : UINT16_MAX;
    p.port = (uint16_t)r->st->gpr[X86_RDX];
    for (unsigned n = 0; !in && n < i->d.operand_count; n++)
        if (i->op[n].type == ZYDIS_OPERAND_TYPE_MEMORY)
            p.seg = insn_segment(&i->op[n]);
    return p;
}

static int port_element(struct rare *r, const struct port_string *p,
                        uint64_t off)
{
    uint64_t v = 0;
    gva_t gva;

    if (rare_linear(r, p->seg, off, p->size, p->in, &gva) < 0)
        return X86_FAULT;
    if (p->in) {
        /* The page must be writable before the device is read. */
        if (rare_probe_write(r, gva, p->size) < 0)
            return X86_FAULT;
        v = vcpu_pio_read(r->jv->v, p->port, p->size);
        return rare_write_mem(r, gva, &v, p->size);
    }
    if (rare_read_mem(r, gva, &v, p->size) < 0)
        return X86_FAULT;
    vcpu_pio_write(r->jv->v, p->port, p->size, v);
    return X86_OK;
}

/* How many of n elements from off on lie on one page and before the index
 * wraps, going up. */
static uint64_t port_run(const struct rare *r, const struct port_string *p,
                         uint64_t off, uint64_t n)
{
    gva_t gva = x86_linear(r->st, p->seg, off);
    uint64_t on_page = (GPAGE_SIZE - (gva & GPAGE_MASK)) / p->size;
    uint64_t to_wrap = (p->mask - off) / p->size;

    n = n < on_page ? n : on_page;
    return n < to_wrap ? n : to_wrap;
}

/*
 * Many elements at once, straight between the device and RAM. Returns how many;
 * 0 if it has to be done by element, which then finds out about faults.
 */
static uint64_t port_elements(struct rare *r, const struct port_string *p,
                              uint64_t off, uint64_t n)
{
    const struct gmem *gm = r->jv->eng->gmem;
    struct x86_walk w;
    uint8_t *hva = NULL;
    gva_t gva;

    n = port_run(r, p, off, n);
    if (n < 2)
        return 0;
    if (rare_linear(r, p->seg, off, (unsigned)n * p->size, p->in, &gva) ==
        X86_OK)
        hva = h_translate(r->jv, gva, p->in ? X86_WRITE : X86_READ,
                          (enum jit_mode)key_mode(r->jv->key), &w);
    r->cpu->fault.type = X86_EVENT_NONE;
    if (!hva || (p->in && gmem_bank(gm, w.gpa, 1)->readonly))
        return 0;
    if (p->in) {
        vcpu_pio_read_many(r->jv->v, p->port, p->size, hva, (unsigned)n);
        gmem_written(gm, w.gpa, n * p->size);
    } else {
        vcpu_pio_write_many(r->jv->v, p->port, p->size, hva, (unsigned)n);
    }
    return n;
}

/* INS and OUTS: a page or an element at a time, restartable. */
static int ins_outs(struct rare *r, bool in, unsigned size)
{
    struct port_string p = port_string(r, in, size);
    uint64_t keep = p.mask == UINT16_MAX ? ~p.mask : 0;
    uint64_t *idx = &r->st->gpr[in ? X86_RDI : X86_RSI];
    uint64_t *cx = &r->st->gpr[X86_RCX];
    uint64_t step = r->st->rflags & X86_FLAGS_DF ? (uint64_t)0 - size : size;
    bool single = r->jv->key & (KEY_STEP | KEY_BREAK);
    bool bulk = p.rep && !single && step == size;

    if (x86_check_io(r->cpu, p.port, size) < 0)
        return X86_FAULT;
    while (!p.rep || (*cx & p.mask)) {
        uint64_t n = 0;

        if (bulk)
            n = port_elements(r, &p, *idx & p.mask, *cx & p.mask);
        if (!n && port_element(r, &p, *idx & p.mask) < 0)
            return X86_FAULT;
        n = n ? n : 1;
        *idx = (*idx & keep) | ((*idx + n * step) & p.mask);
        if (!p.rep)
            break;
        *cx = (*cx & keep) | ((*cx - n) & p.mask);
        if ((*cx & p.mask) && (single || atomic_load(&r->jv->pending))) {
            r->transferred = true; /* RIP stays: go on later */
            return X86_OK;
        }
    }
    return X86_OK;
}

/* Through h_string. */
static int string(struct rare *r)
{
    const struct insn *in = r->in;
    unsigned width = in->d.operand_width;
    uint64_t arg = H_STRING_OP(in->d.opcode >> 1 & 7) |
                   H_STRING_SIZE(!(in->d.opcode & 1) ? 0u
                                 : width == 64       ? 3u
                                 : width == 32       ? 2u
                                                     : 1u) |
                   H_STRING_ADDR(in->d.address_width == 64   ? 3u
                                 : in->d.address_width == 32 ? 2u
                                                             : 1u) |
                   H_STRING_LENGTH(in->d.length);
    int seg = X86_DS, rc;

    if (in->d.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE))
        arg |= H_STRING_REP;
    if (in->d.attributes & ZYDIS_ATTRIB_HAS_REPNE)
        arg |= H_STRING_REPNE;
    for (unsigned i = 0; i < in->d.operand_count; i++) {
        if (in->op[i].type != ZYDIS_OPERAND_TYPE_MEMORY)
            continue;
        /* ES:DI is the destination, or the source by a prefix. */
        if (in->op[i].mem.segment != ZYDIS_REGISTER_ES ||
            (in->op[i].mem.base != ZYDIS_REGISTER_DI &&
             in->op[i].mem.base != ZYDIS_REGISTER_EDI))
            seg = (int)insn_segment(&in->op[i]);
    }
    rc = h_string(r->jv, arg | H_STRING_SEG((uint64_t)seg));
    r->delivered = rc != H_CONTINUE;
    r->st->rflags = (r->st->rflags & ~(uint64_t)X86_FLAGS_ARITH) |
                    (r->jv->arith & X86_FLAGS_ARITH);
    return rc == H_EXIT ? RARE_EXIT : X86_OK;
}

int rare_legacy(struct rare *r)
{
    if (r->in->class == IC_STRING ||
        r->in->d.meta.category == ZYDIS_CATEGORY_STRINGOP)
        return string(r);
    switch (r->in->d.mnemonic) {
    case ZYDIS_MNEMONIC_AAA: return ascii_adjust(r, 1);
    case ZYDIS_MNEMONIC_AAS: return ascii_adjust(r, -1);
    case ZYDIS_MNEMONIC_DAA: return decimal_adjust(r, 1);
    case ZYDIS_MNEMONIC_DAS: return decimal_adjust(r, -1);
    case ZYDIS_MNEMONIC_AAM: return aam(r);
    case ZYDIS_MNEMONIC_AAD: return aad(r);
    case ZYDIS_MNEMONIC_SALC:
        rare_set_reg(r, ZYDIS_REGISTER_AL,
                     r->st->rflags & X86_FLAGS_CF ? 0xff : 0);
        return X86_OK;
    case ZYDIS_MNEMONIC_BOUND: return bound(r);
    case ZYDIS_MNEMONIC_ARPL: return arpl(r);
    case ZYDIS_MNEMONIC_LDS: return load_far(r, X86_DS);
    case ZYDIS_MNEMONIC_LES: return load_far(r, X86_ES);
    case ZYDIS_MNEMONIC_LFS: return load_far(r, X86_FS);
    case ZYDIS_MNEMONIC_LGS: return load_far(r, X86_GS);
    case ZYDIS_MNEMONIC_LSS: return load_far(r, X86_SS);
    case ZYDIS_MNEMONIC_XLAT: return xlat(r);
    case ZYDIS_MNEMONIC_INSB: return ins_outs(r, true, 1);
    case ZYDIS_MNEMONIC_INSW: return ins_outs(r, true, 2);
    case ZYDIS_MNEMONIC_INSD: return ins_outs(r, true, 4);
    case ZYDIS_MNEMONIC_OUTSB: return ins_outs(r, false, 1);
    case ZYDIS_MNEMONIC_OUTSW: return ins_outs(r, false, 2);
    case ZYDIS_MNEMONIC_OUTSD: return ins_outs(r, false, 4);
    default: return RARE_UNKNOWN;
    }
}
