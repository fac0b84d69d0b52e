#include "cpu/jit/rare.h"

#include <string.h>

#include "base/log.h"
#include "cpu/jit/h_sys.h"
#include "cpu/jit/kept.h"

/* Operands of rare instructions, and their dispatch. */

int rare_gp(struct rare *r)
{
    return x86_fault_err(r->cpu, X86_GP, 0);
}

int rare_ud(struct rare *r)
{
    return x86_fault(r->cpu, X86_UD);
}

static enum jit_mode mode_of(const struct rare *r)
{
    return (enum jit_mode)key_mode(r->jv->key);
}

int rare_read_mem(struct rare *r, gva_t gva, void *dst, unsigned len)
{
    return h_read(r->jv, gva, dst, len, mode_of(r));
}

int rare_write_mem(struct rare *r, gva_t gva, const void *src, unsigned len)
{
    return h_write(r->jv, gva, src, len, mode_of(r));
}

static unsigned gpr_bits(ZydisRegister reg)
{
    switch (ZydisRegisterGetClass(reg)) {
    case ZYDIS_REGCLASS_GPR8: return 8;
    case ZYDIS_REGCLASS_GPR16: return 16;
    case ZYDIS_REGCLASS_GPR32: return 32;
    default: return 64;
    }
}

uint64_t rare_reg(const struct rare *r, ZydisRegister reg)
{
    bool high;
    unsigned n = insn_gpr(reg, &high);
    uint64_t v = r->st->gpr[n];

    switch (gpr_bits(reg)) {
    case 8: return high ? v >> 8 & 0xff : v & 0xff;
    case 16: return v & UINT16_MAX;
    case 32: return v & UINT32_MAX;
    default: return v;
    }
}

void rare_set_reg(struct rare *r, ZydisRegister reg, uint64_t v)
{
    bool high;
    unsigned n = insn_gpr(reg, &high);
    uint64_t *p = &r->st->gpr[n];

    switch (gpr_bits(reg)) {
    case 8:
        if (high)
            *p = (*p & ~(uint64_t)0xff00) | (v & 0xff) << 8;
        else
            *p = (*p & ~(uint64_t)0xff) | (v & 0xff);
        break;
    case 16: *p = (*p & ~(uint64_t)UINT16_MAX) | (v & UINT16_MAX); break;
    case 32: *p = v & UINT32_MAX; break;
    default: *p = v; break;
    }
}

static uint64_t effective(const struct rare *r, const ZydisDecodedOperand *op)
{
    uint64_t a =
        op->mem.disp.has_displacement ? (uint64_t)op->mem.disp.value : 0;
    unsigned width = r->in->d.address_width;

    if (op->mem.base == ZYDIS_REGISTER_RIP ||
        op->mem.base == ZYDIS_REGISTER_EIP)
        a += r->st->rip + r->in->d.length;
    else if (op->mem.base != ZYDIS_REGISTER_NONE)
        a += rare_reg(r, op->mem.base);
    if (op->mem.index != ZYDIS_REGISTER_NONE)
        a += rare_reg(r, op->mem.index) * op->mem.scale;
    return width == 64 ? a : width == 32 ? a & UINT32_MAX : a & UINT16_MAX;
}

static bool is_64(const struct rare *r)
{
    return (r->jv->key & KEY_SIZE_MASK) == 2;
}

int rare_linear(struct rare *r, enum x86_sreg seg, uint64_t off, unsigned len,
                bool write, gva_t *gva)
{
    bool ok;

    *gva = x86_linear(r->st, seg, off);
    if (is_64(r))
        ok = h_canonical(r->jv, *gva) && h_canonical(r->jv, *gva + len - 1);
    else
        ok = x86_seg_allows(r->st, seg, off, len, write);
    if (ok)
        return X86_OK;
    return x86_fault_err(r->cpu, seg == X86_SS ? X86_SS_FAULT : X86_GP, 0);
}

int rare_address(struct rare *r, const ZydisDecodedOperand *op, unsigned len,
                 bool write, gva_t *gva)
{
    return rare_linear(r, insn_segment(op), effective(r, op), len, write, gva);
}

gva_t rare_gva(const struct rare *r, const ZydisDecodedOperand *op)
{
    return x86_linear(r->st, insn_segment(op), effective(r, op));
}

int rare_element(struct rare *r, const ZydisDecodedOperand *op, unsigned at,
                 unsigned len, bool write, gva_t *gva)
{
    uint64_t off = effective(r, op) + at;

    if (r->in->d.address_width == 32)
        off &= UINT32_MAX;
    return rare_linear(r, insn_segment(op), off, len, write, gva);
}

int rare_far_pointer(struct rare *r, const ZydisDecodedOperand *op,
                     uint16_t *sel, uint64_t *off)
{
    unsigned size = rare_far_bytes(r);
    gva_t gva;

    *off = 0;
    if (rare_element(r, op, 0, size, false, &gva) < 0 ||
        rare_read_mem(r, gva, off, size) < 0 ||
        rare_element(r, op, size, 2, false, &gva) < 0)
        return X86_FAULT;
    return rare_read_mem(r, gva, sel, 2);
}

int rare_probe_write(struct rare *r, gva_t gva, unsigned len)
{
    gva_t last = gva + len - 1;
    struct x86_walk w;

    if (!h_translate(r->jv, gva, X86_WRITE, mode_of(r), &w) &&
        r->cpu->fault.type != X86_EVENT_NONE)
        return X86_FAULT;
    if (((gva ^ last) & ~GPAGE_MASK) != 0 &&
        !h_translate(r->jv, last & ~GPAGE_MASK, X86_WRITE, mode_of(r), &w) &&
        r->cpu->fault.type != X86_EVENT_NONE)
        return X86_FAULT;
    return X86_OK;
}

int rare_get(struct rare *r, unsigned i, uint64_t *v)
{
    const ZydisDecodedOperand *op = &r->in->op[i];
    gva_t gva;

    *v = 0;
    switch (op->type) {
    case ZYDIS_OPERAND_TYPE_REGISTER:
        *v = rare_reg(r, op->reg.value);
        return X86_OK;
    case ZYDIS_OPERAND_TYPE_IMMEDIATE: *v = op->imm.value.u; return X86_OK;
    default: break;
    }
    if (rare_address(r, op, op->size / 8u, false, &gva) < 0 ||
        h_alignment(r->jv, gva, op->size / 8u) < 0)
        return X86_FAULT;
    return rare_read_mem(r, gva, v, op->size / 8u);
}

int rare_put(struct rare *r, unsigned i, uint64_t v, unsigned len)
{
    const ZydisDecodedOperand *op = &r->in->op[i];
    gva_t gva;

    if (op->type == ZYDIS_OPERAND_TYPE_REGISTER) {
        rare_set_reg(r, op->reg.value, v);
        return X86_OK;
    }
    if (rare_address(r, op, len, true, &gva) < 0 ||
        h_alignment(r->jv, gva, len) < 0)
        return X86_FAULT;
    return rare_write_mem(r, gva, &v, len);
}

unsigned rare_far_bytes(const struct rare *r)
{
    unsigned size = r->in->d.operand_width / 8u;

    return size == 8 && r->jv->eng->model->amd ? 4 : size;
}

static uint64_t sp_mask(const struct rare *r)
{
    if (is_64(r))
        return ~(uint64_t)0;
    return r->jv->key & KEY_SS16 ? UINT16_MAX : UINT32_MAX;
}

uint64_t rare_sp(const struct rare *r)
{
    return r->st->gpr[X86_RSP] & sp_mask(r);
}

void rare_set_sp(struct rare *r, uint64_t sp)
{
    uint64_t mask = sp_mask(r);

    r->st->gpr[X86_RSP] = (r->st->gpr[X86_RSP] & ~mask) | (sp & mask);
}

int rare_push(struct rare *r, uint64_t v, unsigned size)
{
    uint64_t sp = (rare_sp(r) - size) & sp_mask(r);
    gva_t gva;

    if (rare_linear(r, X86_SS, sp, size, true, &gva) < 0 ||
        h_alignment(r->jv, gva, size) < 0 ||
        rare_write_mem(r, gva, &v, size) < 0)
        return X86_FAULT;
    rare_set_sp(r, sp);
    return X86_OK;
}

int rare_pop(struct rare *r, uint64_t *v, unsigned size)
{
    uint64_t sp = rare_sp(r);
    gva_t gva;

    *v = 0;
    if (rare_linear(r, X86_SS, sp, size, true, &gva) < 0 ||
        h_alignment(r->jv, gva, size) < 0 || rare_read_mem(r, gva, v, size) < 0)
        return X86_FAULT;
    rare_set_sp(r, sp + size);
    return X86_OK;
}

/* Up to 15 bytes at RIP; how many could be read. */
static size_t fetch(struct rare *r, uint8_t buf[15])
{
    gva_t gva = is_64(r) ? r->st->rip : r->st->seg[X86_CS].base + r->st->rip;
    size_t n = 0;
    gpa_t gpa;

    while (n < 15) {
        size_t room = (size_t)(GPAGE_SIZE - ((gva + n) & GPAGE_MASK));
        size_t len = 15 - n < room ? 15 - n : room;
        const void *p;

        if (h_fetch(r->jv, gva + n, &gpa) < 0)
            break;
        p = gmem_hva(r->jv->eng->gmem, gpa, len);
        if (!p)
            break;
        memcpy(buf + n, p, len);
        n += len;
    }
    return n;
}

static int dispatch(struct rare *r)
{
    int rc = rare_stack(r);

    if (rc == RARE_UNKNOWN)
        rc = rare_system(r);
    if (rc == RARE_UNKNOWN)
        rc = rare_vector(r);
    if (rc == RARE_UNKNOWN)
        rc = rare_legacy(r);
    if (rc == RARE_UNKNOWN) {
        log_guest("jit", "instruction %s at 0x%llx is not implemented",
                  ZydisMnemonicGetString(r->in->d.mnemonic),
                  (unsigned long long)r->st->rip);
        return rare_ud(r);
    }
    return rc;
}

static void log_unknown(const struct rare *r, const uint8_t *b, size_t n)
{
    if (n > 1 && b[0] == 0x0f && (b[1] == 0x0b || b[1] == 0xff || b[1] == 0xb9))
        return; /* UD2 and kin: meant */
    log_guest(
        "jit", "undefined instruction at 0x%llx: %02x %02x %02x %02x %02x",
        (unsigned long long)r->st->rip, n > 0 ? b[0] : 0u, n > 1 ? b[1] : 0u,
        n > 2 ? b[2] : 0u, n > 3 ? b[3] : 0u, n > 4 ? b[4] : 0u);
}

/* The FPU is switched off (CR0.TS, CR0.EM): #NM. */
static bool fpu_off(const struct rare *r)
{
    ZydisISAExt ext = r->in->d.meta.isa_ext;
    uint64_t wait = X86_CR0_MP | X86_CR0_TS;

    if (r->in->d.mnemonic == ZYDIS_MNEMONIC_FWAIT)
        return (r->st->cr0 & wait) == wait;
    if (ext == ZYDIS_ISA_EXT_X87 || ext == ZYDIS_ISA_EXT_MMX)
        return r->jv->key & KEY_NO_X87;
    switch (ext) {
    case ZYDIS_ISA_EXT_BASE:
    case ZYDIS_ISA_EXT_LONGMODE:
    case ZYDIS_ISA_EXT_BMI1:
    case ZYDIS_ISA_EXT_BMI2:
    case ZYDIS_ISA_EXT_RDTSCP:
    case ZYDIS_ISA_EXT_RDPID:
    case ZYDIS_ISA_EXT_INVPCID:
    case ZYDIS_ISA_EXT_RDWRFSGS:
    case ZYDIS_ISA_EXT_SMAP:
    case ZYDIS_ISA_EXT_CLFSH:
    case ZYDIS_ISA_EXT_CLFLUSHOPT:
    case ZYDIS_ISA_EXT_CLWB: return false;
    default: break;
    }
    if (r->in->d.mnemonic == ZYDIS_MNEMONIC_XSETBV ||
        r->in->d.mnemonic == ZYDIS_MNEMONIC_XGETBV)
        return false;
    return r->st->cr0 & X86_CR0_TS;
}

int rare_decode(struct rare *r)
{
    uint8_t buf[16] = {0};
    size_t n = fetch(r, buf);

    (void)kept_decode(r->jv->kept, &r->in, buf, n, r->jv->key, r->st->rip);
    if (r->in->class != IC_UD && r->in->d.length != 0)
        return 0;
    log_unknown(r, buf, n);
    return -1;
}

/*
 * Another CPU has changed the instruction since it was translated (a kernel
 * patches code through INT3): drop what was made of it and look again.
 */
static int translate_again(struct rare *r)
{
    gva_t gva = is_64(r) ? r->st->rip : r->st->seg[X86_CS].base + r->st->rip;
    gpa_t gpa;

    r->transferred = true; /* RIP stays */
    if (h_fetch(r->jv, gva, &gpa) < 0)
        return X86_FAULT;
    (void)h_invalidate(r->jv->eng, r->jv, gpa, 1);
    return X86_OK;
}

static int run(struct rare *r, uint64_t expect)
{
    int bad = rare_decode(r);
    const struct insn *in = r->in;

    if (expect && (bad < 0 || in->d.mnemonic != (ZydisMnemonic)expect))
        return translate_again(r);
    if (bad < 0)
        return rare_ud(r);
    r->next = r->st->rip + in->d.length;
    if (!is_64(r))
        r->next &= UINT32_MAX;
    if (fpu_off(r))
        return x86_fault(r->cpu, X86_NM);
    if (insn_writes_code_segment(in, r->jv->key) &&
        in->d.mnemonic != ZYDIS_MNEMONIC_POP) /* it reads the stack first */
        return rare_gp(r);
    return dispatch(r);
}

uint64_t rare_run(void *opaque, uint64_t length, uint64_t expect, uint64_t c)
{
    struct jit_vcpu *jv = opaque;
    struct rare r = {.jv = jv, .st = &jv->st, .cpu = &jv->cpu};
    int rc;

    (void)length;
    (void)c;
    rc = run(&r, expect);
    if (rc == X86_FAULT)
        return h_fault(jv) == H_EXIT ? H_EXIT : H_CONTINUE;
    if (rc == RARE_EXIT)
        return H_EXIT;
    if (r.delivered)
        return H_CONTINUE;
    if (!r.transferred)
        jv->st.rip = r.next;
    h_mode_changed(jv);
    return H_DISPATCH;
}
