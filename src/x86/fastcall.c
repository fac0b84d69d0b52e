#include "x86/segment.h"

/*
 * SYSCALL, SYSRET, SYSENTER, SYSEXIT. Neither reads descriptors: the segments
 * are what the instructions say they are. The vendors differ (Intel SDM vol.
 * 2; AMD APM vol. 3):
 *
 *                              Intel                 AMD
 *   SYSCALL outside 64-bit     #UD                   works (CSTAR, STAR)
 *   SYSENTER in long mode      works                 #UD
 *   SYSRET, bad RCX            #GP at CPL 0          #GP at CPL 3, at the
 * target SYSRET: SS                 loaded flat           selector and DPL only
 *
 * The last line makes a stack segment that an interrupt has left null unusable
 * in compatibility mode until it is loaded again; systems work around it.
 */

enum {
    RPL3 = 3,
    ATTR_CODE = X86_SEG_P | X86_SEG_S | X86_SEG_G | 0xb,
    ATTR_DATA = X86_SEG_P | X86_SEG_S | X86_SEG_G | X86_SEG_DB | 0x3,
    ATTR_DPL3 = 0x60,
    STAR_SYSCALL = 32,
    STAR_SYSRET = 48,
    /* SYSEXIT: distance from SYSENTER_CS of 32- and 64-bit user code. */
    SYSEXIT_CS32 = 16,
    SYSEXIT_CS64 = 32,
    SS_OFFSET = 8
};

/* What R11 may change. */
#define SYSRET_FLAGS                                                           \
    (X86_FLAGS_ARITH | X86_FLAGS_TF | X86_FLAGS_IF | X86_FLAGS_DF |            \
     X86_FLAGS_IOPL | X86_FLAGS_NT | X86_FLAGS_AC | X86_FLAGS_VIF |            \
     X86_FLAGS_VIP | X86_FLAGS_ID)

static uint16_t code_attr(bool wide)
{
    return ATTR_CODE | (wide ? X86_SEG_L : X86_SEG_DB);
}

/* Flat code and stack at CPL 0. */
static void enter(struct x86_cpu *cpu, uint16_t sel, bool wide, uint64_t rip)
{
    struct x86_state *st = cpu->st;

    sel &= 0xfffc;
    x86_seg_set_flat(&st->seg[X86_CS], sel, code_attr(wide));
    x86_seg_set_flat(&st->seg[X86_SS], (uint16_t)(sel + SS_OFFSET), ATTR_DATA);
    st->cpl = 0;
    st->rip = rip;
    cpu->ops->mode_changed(cpu);
}

/* Flat code at CPL 3; the stack is the caller's part. */
static void leave(struct x86_cpu *cpu, uint16_t sel, bool wide, uint64_t rip)
{
    struct x86_state *st = cpu->st;

    x86_seg_set_flat(&st->seg[X86_CS], sel | RPL3, code_attr(wide) | ATTR_DPL3);
    st->cpl = 3;
    st->rip = wide ? rip : (uint32_t)rip;
    cpu->ops->mode_changed(cpu);
}

/* Vendor rules on where SYSCALL and SYSRET exist at all. */
static bool has_syscall(const struct x86_cpu *cpu)
{
    const struct x86_state *st = cpu->st;

    return (st->msr.efer & X86_EFER_SCE) && (st->cr0 & X86_CR0_PE) &&
           (cpu->model->amd || x86_64bit_mode(st));
}

int x86_syscall(struct x86_cpu *cpu, uint64_t next_rip)
{
    struct x86_state *st = cpu->st;
    uint16_t sel = (uint16_t)(st->msr.star >> STAR_SYSCALL);

    if (!has_syscall(cpu))
        return x86_fault(cpu, X86_UD);
    if (!x86_long_mode(st)) {
        st->gpr[X86_RCX] = (uint32_t)next_rip;
        st->rflags &= ~(uint64_t)(X86_FLAGS_IF | X86_FLAGS_VM | X86_FLAGS_RF);
        enter(cpu, sel, false, (uint32_t)st->msr.star);
        return X86_OK;
    }
    st->gpr[X86_RCX] = next_rip;
    st->gpr[X86_R11] = st->rflags & ~(uint64_t)X86_FLAGS_RF;
    st->rflags &= ~(st->msr.sfmask | X86_FLAGS_RF);
    st->rflags |= X86_FLAGS_FIXED;
    enter(cpu, sel, true, x86_64bit_mode(st) ? st->msr.lstar : st->msr.cstar);
    return X86_OK;
}

static void sysret_stack(struct x86_cpu *cpu, uint16_t sel)
{
    struct x86_seg *ss = &cpu->st->seg[X86_SS];

    if (!cpu->model->amd) {
        x86_seg_set_flat(ss, sel, ATTR_DATA | ATTR_DPL3);
        return;
    }
    ss->sel = sel;
    ss->attr |= ATTR_DPL3;
}

int x86_sysret(struct x86_cpu *cpu, unsigned opsize)
{
    struct x86_state *st = cpu->st;
    unsigned base = (unsigned)(st->msr.star >> STAR_SYSRET);
    uint64_t rip = st->gpr[X86_RCX];
    bool wide = opsize == 8 && x86_64bit_mode(st);

    if (!has_syscall(cpu))
        return x86_fault(cpu, X86_UD);
    if (st->cpl || (wide && !cpu->model->amd && !x86_is_canonical(rip)))
        return x86_fault_err(cpu, X86_GP, 0);
    if (x86_64bit_mode(st))
        st->rflags = (st->gpr[X86_R11] & SYSRET_FLAGS) | X86_FLAGS_FIXED;
    else
        st->rflags |= X86_FLAGS_IF;
    sysret_stack(cpu, (uint16_t)((base + SS_OFFSET) | RPL3));
    leave(cpu, (uint16_t)(base + (wide ? 16 : 0)), wide, rip);
    return X86_OK;
}

static int check_sysenter(struct x86_cpu *cpu)
{
    const struct x86_state *st = cpu->st;

    if (cpu->model->amd && x86_long_mode(st))
        return x86_fault(cpu, X86_UD);
    if (!(st->cr0 & X86_CR0_PE) ||
        x86_sel_is_null((uint16_t)st->msr.sysenter_cs))
        return x86_fault_err(cpu, X86_GP, 0);
    return X86_OK;
}

int x86_sysenter(struct x86_cpu *cpu)
{
    struct x86_state *st = cpu->st;
    bool wide = x86_long_mode(st);
    uint64_t mask = wide ? ~(uint64_t)0 : 0xffffffffu;

    if (check_sysenter(cpu) < 0)
        return X86_FAULT;
    st->rflags &= ~(uint64_t)(X86_FLAGS_IF | X86_FLAGS_VM | X86_FLAGS_RF);
    st->gpr[X86_RSP] = st->msr.sysenter_esp & mask;
    enter(cpu, (uint16_t)st->msr.sysenter_cs, wide,
          st->msr.sysenter_eip & mask);
    return X86_OK;
}

int x86_sysexit(struct x86_cpu *cpu, unsigned opsize)
{
    struct x86_state *st = cpu->st;
    uint64_t rip = st->gpr[X86_RDX];
    uint64_t rsp = st->gpr[X86_RCX];
    bool wide = opsize == 8 && x86_64bit_mode(st);
    uint16_t sel = (uint16_t)((st->msr.sysenter_cs & 0xfffc) +
                              (wide ? SYSEXIT_CS64 : SYSEXIT_CS32));

    if (check_sysenter(cpu) < 0)
        return X86_FAULT;
    if (st->cpl || (wide && (!x86_is_canonical(rip) || !x86_is_canonical(rsp))))
        return x86_fault_err(cpu, X86_GP, 0);
    x86_seg_set_flat(&st->seg[X86_SS], (uint16_t)((sel + SS_OFFSET) | RPL3),
                     ATTR_DATA | ATTR_DPL3);
    st->gpr[X86_RSP] = wide ? rsp : (uint32_t)rsp;
    leave(cpu, sel, wide, rip);
    return X86_OK;
}
