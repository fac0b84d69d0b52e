#include "cpu/jit/rare.h"

#include <string.h>

#include "base/clock.h"

/* Segment and system registers, port I/O, interrupts by instruction. */

static bool cpl0(const struct rare *r)
{
    return r->jv->key & KEY_CPL0;
}

static int mov_control(struct rare *r)
{
    const ZydisDecodedOperand *dst = &r->in->op[0], *src = &r->in->op[1];
    bool write =
        ZydisRegisterGetClass(dst->reg.value) == ZYDIS_REGCLASS_CONTROL;
    unsigned n =
        (unsigned)ZydisRegisterGetId(write ? dst->reg.value : src->reg.value);
    uint64_t v;

    if (write)
        return x86_write_cr(r->cpu, n, rare_reg(r, src->reg.value));
    if (x86_read_cr(r->cpu, n, &v) < 0)
        return X86_FAULT;
    rare_set_reg(r, dst->reg.value, v);
    return X86_OK;
}

static int mov_debug(struct rare *r)
{
    const ZydisDecodedOperand *dst = &r->in->op[0], *src = &r->in->op[1];
    bool write = ZydisRegisterGetClass(dst->reg.value) == ZYDIS_REGCLASS_DEBUG;
    unsigned n =
        (unsigned)ZydisRegisterGetId(write ? dst->reg.value : src->reg.value);
    uint64_t v;

    if (write)
        return x86_write_dr(r->cpu, n, rare_reg(r, src->reg.value));
    if (x86_read_dr(r->cpu, n, &v) < 0)
        return X86_FAULT;
    rare_set_reg(r, dst->reg.value, v);
    return X86_OK;
}

static int mov_segment(struct rare *r)
{
    const ZydisDecodedOperand *dst = &r->in->op[0], *src = &r->in->op[1];
    uint64_t v;
    int n;

    if (dst->type == ZYDIS_OPERAND_TYPE_REGISTER &&
        (n = insn_sreg(dst->reg.value)) >= 0) {
        if (n == X86_CS)
            return rare_ud(r);
        if (rare_get(r, 1, &v) < 0 ||
            x86_load_seg(r->cpu, (enum x86_sreg)n, (uint16_t)v) < 0)
            return X86_FAULT;
        if (n == X86_SS)
            r->st->int_shadow = 1;
        return X86_OK;
    }
    n = insn_sreg(src->reg.value);
    if (n < 0)
        return RARE_UNKNOWN;
    return rare_put(r, 0, r->st->seg[n].sel, 2);
}

static int mov(struct rare *r)
{
    for (unsigned i = 0; i < 2; i++) {
        if (r->in->op[i].type != ZYDIS_OPERAND_TYPE_REGISTER)
            continue;
        switch (ZydisRegisterGetClass(r->in->op[i].reg.value)) {
        case ZYDIS_REGCLASS_CONTROL: return mov_control(r);
        case ZYDIS_REGCLASS_DEBUG: return mov_debug(r);
        case ZYDIS_REGCLASS_SEGMENT: return mov_segment(r);
        default: break;
        }
    }
    return RARE_UNKNOWN;
}

/* -- Descriptor tables ---------------------------------------------------- */

static int load_table(struct rare *r, struct x86_dtable *t)
{
    bool long_mode = (r->jv->key & KEY_SIZE_MASK) == 2;
    unsigned len = long_mode ? 10 : 6;
    uint8_t buf[10] = {0};
    uint64_t base = 0;
    gva_t gva;

    if (!cpl0(r))
        return rare_gp(r);
    if (rare_address(r, &r->in->op[0], len, false, &gva) < 0 ||
        rare_read_mem(r, gva, buf, len) < 0)
        return X86_FAULT;
    memcpy(&base, buf + 2, len - 2);
    if (!long_mode && r->in->d.operand_width == 16)
        base &= 0xffffff;
    if (long_mode && !x86_is_canonical(base))
        return rare_gp(r);
    memcpy(&t->limit, buf, 2);
    t->base = base;
    return X86_OK;
}

/* Do SGDT, SIDT, SLDT, STR, SMSW fault here (CR4.UMIP)? */
static bool umip(const struct rare *r)
{
    return (r->st->cr4 & X86_CR4_UMIP) && r->st->cpl > 0;
}

static int store_table(struct rare *r, const struct x86_dtable *t)
{
    unsigned len = (r->jv->key & KEY_SIZE_MASK) == 2 ? 10 : 6;
    uint8_t buf[10];
    gva_t gva;

    if (umip(r))
        return rare_gp(r);
    memcpy(buf, &t->limit, 2);
    memcpy(buf + 2, &t->base, 8);
    if (rare_address(r, &r->in->op[0], len, true, &gva) < 0)
        return X86_FAULT;
    return rare_write_mem(r, gva, buf, len);
}

static int store_word(struct rare *r, uint64_t v)
{
    if (umip(r))
        return rare_gp(r);
    return rare_put(r, 0, v, 2);
}

static bool real_or_vm86(const struct rare *r)
{
    return r->jv->key & (KEY_REAL | KEY_VM86);
}

static int selector_insn(struct rare *r)
{
    uint64_t sel;

    if (real_or_vm86(r))
        return rare_ud(r);
    if (r->in->d.mnemonic == ZYDIS_MNEMONIC_SLDT)
        return store_word(r, r->st->ldtr.sel);
    if (r->in->d.mnemonic == ZYDIS_MNEMONIC_STR)
        return store_word(r, r->st->tr.sel);
    if (!cpl0(r))
        return rare_gp(r);
    if (rare_get(r, 0, &sel) < 0)
        return X86_FAULT;
    return r->in->d.mnemonic == ZYDIS_MNEMONIC_LLDT
               ? x86_lldt(r->cpu, (uint16_t)sel)
               : x86_ltr(r->cpu, (uint16_t)sel);
}

static void set_zf(struct rare *r, bool on)
{
    r->st->rflags &= ~(uint64_t)X86_FLAGS_ZF;
    if (on)
        r->st->rflags |= X86_FLAGS_ZF;
    r->jv->arith = r->st->rflags & X86_FLAGS_ARITH;
}

static int access_rights(struct rare *r)
{
    ZydisMnemonic m = r->in->d.mnemonic;
    bool one = m == ZYDIS_MNEMONIC_VERR || m == ZYDIS_MNEMONIC_VERW;
    uint32_t out = 0;
    uint64_t sel;
    bool ok;
    int rc;

    if (real_or_vm86(r))
        return rare_ud(r);
    if (rare_get(r, one ? 0 : 1, &sel) < 0)
        return X86_FAULT;
    if (one)
        rc = x86_verify(r->cpu, (uint16_t)sel, m == ZYDIS_MNEMONIC_VERW, &ok);
    else if (m == ZYDIS_MNEMONIC_LAR)
        rc = x86_lar(r->cpu, (uint16_t)sel, &out, &ok);
    else
        rc = x86_lsl(r->cpu, (uint16_t)sel, &out, &ok);
    if (rc < 0)
        return X86_FAULT;
    set_zf(r, ok);
    return one || !ok ? X86_OK : rare_put(r, 0, out, 0);
}

/* -- Port I/O ------------------------------------------------------------- */

static int in_out(struct rare *r)
{
    bool in = r->in->d.mnemonic == ZYDIS_MNEMONIC_IN;
    unsigned size = r->in->d.opcode & 1 ? r->in->d.operand_width / 8u : 1;
    uint64_t port, v;

    if (size == 8)
        size = 4;
    if (rare_get(r, in ? 1 : 0, &port) < 0)
        return X86_FAULT;
    port &= r->in->d.opcode & 8 ? UINT16_MAX : UINT8_MAX;
    if (x86_check_io(r->cpu, (uint16_t)port, size) < 0)
        return X86_FAULT;
    if (in) {
        v = vcpu_pio_read(r->jv->v, (uint16_t)port, size);
        rare_set_reg(r,
                     size == 1   ? ZYDIS_REGISTER_AL
                     : size == 2 ? ZYDIS_REGISTER_AX
                                 : ZYDIS_REGISTER_EAX,
                     v);
    } else {
        v = r->st->gpr[X86_RAX];
        v &= size == 1 ? 0xff : size == 2 ? 0xffff : UINT32_MAX;
        vcpu_pio_write(r->jv->v, (uint16_t)port, size, v);
    }
    return X86_OK;
}

/* -- Interrupts ----------------------------------------------------------- */

static int soft_interrupt(struct rare *r, unsigned vector,
                          enum x86_event_type type)
{
    r->cpu->fault = (struct x86_event){
        .vector = (uint8_t)vector,
        .type = (uint8_t)type,
        .length = r->in->d.length,
    };
    return X86_FAULT; /* delivered like a fault */
}

static int int_n(struct rare *r)
{
    if ((r->jv->key & KEY_VM86) &&
        (r->st->rflags & X86_FLAGS_IOPL) != X86_FLAGS_IOPL)
        return rare_gp(r);
    return soft_interrupt(r, (unsigned)(r->in->op[0].imm.value.u & 0xff),
                          X86_EVENT_SOFT_INT);
}

static int into(struct rare *r)
{
    if (!(r->st->rflags & X86_FLAGS_OF))
        return X86_OK;
    return soft_interrupt(r, X86_OF, X86_EVENT_SOFT_EXC);
}

static int invlpg(struct rare *r)
{
    const ZydisDecodedOperand *op = &r->in->op[0];
    gva_t gva;

    if (!cpl0(r))
        return rare_gp(r);
    if (rare_address(r, op, 1, false, &gva) < 0) /* not canonical: a NOP */
        return (r->jv->key & KEY_SIZE_MASK) == 2 ? X86_OK : X86_FAULT;
    return x86_invlpg(r->cpu, gva);
}

/* CLFLUSH and kin: nothing to do, but rights are checked as for a load. */
static int clflush(struct rare *r)
{
    uint8_t byte;
    gva_t gva;

    if (rare_address(r, &r->in->op[0], 1, false, &gva) < 0)
        return X86_FAULT;
    return rare_read_mem(r, gva, &byte, 1);
}

static int invpcid(struct rare *r)
{
    uint64_t type, desc[2];
    gva_t gva;

    if (rare_get(r, 0, &type) < 0)
        return X86_FAULT;
    if (!cpl0(r))
        return rare_gp(r);
    if (rare_address(r, &r->in->op[1], 16, false, &gva) < 0 ||
        rare_read_mem(r, gva, desc, 16) < 0)
        return X86_FAULT;
    return x86_invpcid(r->cpu, type, desc);
}

static int rdtsc(struct rare *r)
{
    uint64_t t = clock_rdtsc() + r->st->tsc_offset;

    if ((r->st->cr4 & X86_CR4_TSD) && r->st->cpl)
        return rare_gp(r);
    r->st->gpr[X86_RAX] = t & UINT32_MAX;
    r->st->gpr[X86_RDX] = t >> 32;
    if (r->in->d.mnemonic == ZYDIS_MNEMONIC_RDTSCP)
        r->st->gpr[X86_RCX] = r->st->msr.tsc_aux & UINT32_MAX;
    return X86_OK;
}

static int wbinvd(struct rare *r)
{
    return cpl0(r) ? X86_OK : rare_gp(r);
}

static int transfer(struct rare *r, int rc)
{
    r->transferred = true;
    return rc;
}

int rare_system(struct rare *r)
{
    uint64_t v;

    switch (r->in->d.mnemonic) {
    case ZYDIS_MNEMONIC_MOV: return mov(r);
    case ZYDIS_MNEMONIC_LGDT: return load_table(r, &r->st->gdtr);
    case ZYDIS_MNEMONIC_LIDT: return load_table(r, &r->st->idtr);
    case ZYDIS_MNEMONIC_SGDT: return store_table(r, &r->st->gdtr);
    case ZYDIS_MNEMONIC_SIDT: return store_table(r, &r->st->idtr);
    case ZYDIS_MNEMONIC_LLDT:
    case ZYDIS_MNEMONIC_LTR:
    case ZYDIS_MNEMONIC_SLDT:
    case ZYDIS_MNEMONIC_STR: return selector_insn(r);
    case ZYDIS_MNEMONIC_LMSW:
        if (rare_get(r, 0, &v) < 0)
            return X86_FAULT;
        return x86_lmsw(r->cpu, (uint16_t)v);
    case ZYDIS_MNEMONIC_SMSW: return store_word(r, r->st->cr0);
    case ZYDIS_MNEMONIC_CLTS: return x86_clts(r->cpu);
    case ZYDIS_MNEMONIC_LAR:
    case ZYDIS_MNEMONIC_LSL:
    case ZYDIS_MNEMONIC_VERR:
    case ZYDIS_MNEMONIC_VERW: return access_rights(r);
    case ZYDIS_MNEMONIC_IN:
    case ZYDIS_MNEMONIC_OUT: return in_out(r);
    case ZYDIS_MNEMONIC_INT: return int_n(r);
    case ZYDIS_MNEMONIC_INT3:
        return soft_interrupt(r, X86_BP, X86_EVENT_SOFT_EXC);
    case ZYDIS_MNEMONIC_INT1:
        /* One #DB for all: a second one would come in its handler. */
        r->st->dr6 |= h_break_take(r->jv);
        return soft_interrupt(r, X86_DB, X86_EVENT_ICEBP);
    case ZYDIS_MNEMONIC_INTO: return into(r);
    case ZYDIS_MNEMONIC_INVLPG: return invlpg(r);
    case ZYDIS_MNEMONIC_CLFLUSH:
    case ZYDIS_MNEMONIC_CLFLUSHOPT:
    case ZYDIS_MNEMONIC_CLWB: return clflush(r);
    case ZYDIS_MNEMONIC_INVPCID: return invpcid(r);
    case ZYDIS_MNEMONIC_RDTSC:
    case ZYDIS_MNEMONIC_RDTSCP: return rdtsc(r);
    case ZYDIS_MNEMONIC_RDPID:
        rare_set_reg(r, r->in->op[0].reg.value, r->st->msr.tsc_aux);
        return X86_OK;
    case ZYDIS_MNEMONIC_RDPMC: return x86_rdpmc(r->cpu);
    case ZYDIS_MNEMONIC_VMCALL:
    case ZYDIS_MNEMONIC_VMMCALL: x86_hypercall(r->cpu); return X86_OK;
    case ZYDIS_MNEMONIC_INVD:
    case ZYDIS_MNEMONIC_WBINVD: return wbinvd(r);
    case ZYDIS_MNEMONIC_SYSENTER: return transfer(r, x86_sysenter(r->cpu));
    case ZYDIS_MNEMONIC_SYSEXIT:
        return transfer(r, x86_sysexit(r->cpu, r->in->d.operand_width / 8u));
    case ZYDIS_MNEMONIC_XSETBV: return x86_xsetbv(r->cpu);
    case ZYDIS_MNEMONIC_XGETBV: return x86_xgetbv(r->cpu);
    case ZYDIS_MNEMONIC_CLI: return x86_cli(r->cpu);
    case ZYDIS_MNEMONIC_STI: return x86_sti(r->cpu);
    case ZYDIS_MNEMONIC_UD0:
    case ZYDIS_MNEMONIC_UD1:
    case ZYDIS_MNEMONIC_UD2: return rare_ud(r);
    default: return RARE_UNKNOWN;
    }
}
