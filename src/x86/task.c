#include "x86/task.h"

#include "x86/desc.h"
#include "x86/paging.h"
#include "x86/segment.h"

/*
 * Task state segments: inner stacks, and the hardware task switch of 32-bit
 * systems (Intel SDM vol. 3, 8.3). Long mode keeps only the former.
 *
 * A switch first reads the whole new TSS and saves into the old one; all page
 * faults on the TSSs happen there. Then the new task's registers are loaded at
 * once, and the selectors are checked in the new task's context.
 */

enum {
    TSS16_SIZE = 44,
    TSS32_SIZE = 104,
    TSS64_RSP0 = 4,
    TSS64_IST0 = 28, /* IST1 is at 36 */
    LINK = 0,
    TSS32_CR3 = 28,
    TSS32_TRAP = 100,
    FIRST_SEG = 10 /* index of ES in the list of saved registers */
};

/* EIP, EFLAGS, 8 general and 6 segment registers, LDT: in this order, in both
 * sizes (the 16-bit TSS has no FS and GS). */
enum { REG_IP, REG_FLAGS, REG_GPR, REG_SEG = FIRST_SEG, REG_LDT = 16, NR_REGS };

static bool is_wide(const struct x86_seg *tr)
{
    return tr->attr & 8;
}

/* Offset of saved register i, or 0 if this size of TSS has none. */
static unsigned reg_offset(unsigned i, bool wide)
{
    if (wide)
        return 32 + i * 4;
    if (i == REG_SEG + X86_FS || i == REG_SEG + X86_GS)
        return 0;
    return i == REG_LDT ? 42 : 14 + i * 2;
}

static int read_field(struct x86_cpu *cpu, const struct x86_seg *tss,
                      unsigned off, unsigned size, uint64_t *val)
{
    gva_t addr = tss->base + off;

    *val = 0;
    if (!x86_long_mode(cpu->st))
        addr &= 0xffffffffu;
    return cpu->ops->read(cpu, addr, val, size, false);
}

static int write_field(struct x86_cpu *cpu, const struct x86_seg *tss,
                       unsigned off, unsigned size, uint64_t val)
{
    return cpu->ops->write(cpu, (tss->base + off) & 0xffffffffu, &val, size,
                           false);
}

/* -- Stacks ---------------------------------------------------------------- */

int x86_task_rsp(struct x86_cpu *cpu, unsigned n, uint64_t *rsp)
{
    const struct x86_seg *tr = &cpu->st->tr;
    unsigned off = TSS64_RSP0 + n * 8;
    uint64_t val;

    if (n > 3)
        off = TSS64_IST0 + (n - 3) * 8;
    if (off + 7 > tr->limit)
        return x86_fault_sel(cpu, X86_TS, tr->sel);
    if (read_field(cpu, tr, off, 8, &val) < 0)
        return X86_FAULT;
    if (!x86_is_canonical(val))
        return x86_fault_err(cpu, X86_SS_FAULT, 0);
    *rsp = val;
    return X86_OK;
}

int x86_task_stack(struct x86_cpu *cpu, unsigned dpl, struct x86_seg *ss,
                   uint64_t *sp)
{
    const struct x86_seg *tr = &cpu->st->tr;
    bool wide = is_wide(tr);
    unsigned size = wide ? 4 : 2;
    unsigned off = dpl * size * 2 + size;
    uint64_t sel;

    if (off + size + 1 > tr->limit)
        return x86_fault_sel(cpu, X86_TS, tr->sel);
    if (read_field(cpu, tr, off, size, sp) < 0 ||
        read_field(cpu, tr, off + size, 2, &sel) < 0)
        return X86_FAULT;
    return x86_check_ss(cpu, (uint16_t)sel, dpl, X86_TS, false, ss);
}

int x86_task_link(struct x86_cpu *cpu, uint16_t *sel)
{
    uint64_t val;

    if (read_field(cpu, &cpu->st->tr, LINK, 2, &val) < 0)
        return X86_FAULT;
    *sel = (uint16_t)val;
    return X86_OK;
}

/* -- Switching ------------------------------------------------------------- */

struct task {
    struct x86_seg tr;
    struct x86_desc desc;
    uint64_t reg[NR_REGS];
    uint64_t cr3;
    uint64_t trap;
};

static int find_task(struct x86_cpu *cpu, uint16_t sel,
                     enum x86_task_reason reason, struct task *t)
{
    unsigned vector = reason == X86_TASK_IRET ? X86_TS : X86_GP;
    unsigned busy = reason == X86_TASK_IRET ? X86_DESC_BUSY : 0;
    unsigned type;

    if (x86_sel_is_null(sel) || (sel & 4))
        return x86_fault_sel(cpu, vector, sel);
    if (x86_desc_read(cpu, sel, vector, &t->desc) < 0)
        return X86_FAULT;
    type = x86_desc_type(t->desc.lo);
    if (!x86_desc_is_system(t->desc.lo) ||
        (type & ~8u) != (X86_DESC_TSS16 | busy))
        return x86_fault_sel(cpu, vector, sel);
    if (!x86_desc_present(t->desc.lo))
        return x86_fault_sel(cpu, X86_NP, sel);
    x86_desc_to_seg(&t->desc, &t->tr);
    if (t->tr.limit < (is_wide(&t->tr) ? TSS32_SIZE : TSS16_SIZE) - 1u)
        return x86_fault_sel(cpu, X86_TS, sel);
    return X86_OK;
}

static int read_task(struct x86_cpu *cpu, struct task *t)
{
    bool wide = is_wide(&t->tr);

    for (unsigned i = 0; i < NR_REGS; i++) {
        unsigned off = reg_offset(i, wide);

        t->reg[i] = 0;
        if (off && read_field(cpu, &t->tr, off, wide ? 4 : 2, &t->reg[i]) < 0)
            return X86_FAULT;
    }
    t->cr3 = cpu->st->cr3;
    t->trap = 0;
    if (!wide)
        return X86_OK;
    if (read_field(cpu, &t->tr, TSS32_CR3, 4, &t->cr3) < 0)
        return X86_FAULT;
    return read_field(cpu, &t->tr, TSS32_TRAP, 1, &t->trap);
}

static uint64_t old_reg(const struct x86_state *st, unsigned i,
                        enum x86_task_reason reason, uint64_t next_rip)
{
    if (i == REG_IP)
        return next_rip;
    if (i == REG_FLAGS)
        return reason == X86_TASK_IRET ? st->rflags & ~(uint64_t)X86_FLAGS_NT
                                       : st->rflags;
    if (i < REG_SEG)
        return st->gpr[i - REG_GPR];
    return st->seg[i - REG_SEG].sel;
}

/* CR3 and the LDT selector are static fields: not saved. */
static int save_task(struct x86_cpu *cpu, enum x86_task_reason reason,
                     uint64_t next_rip)
{
    const struct x86_state *st = cpu->st;
    bool wide = is_wide(&st->tr);

    for (unsigned i = 0; i < REG_LDT; i++) {
        unsigned off = reg_offset(i, wide);

        if (off && write_field(cpu, &st->tr, off, i >= REG_SEG || !wide ? 2 : 4,
                               old_reg(st, i, reason, next_rip)) < 0)
            return X86_FAULT;
    }
    return X86_OK;
}

/* Busy bits and the link (SDM vol. 3, table 8-2). */
static int link_task(struct x86_cpu *cpu, struct task *t,
                     enum x86_task_reason reason)
{
    struct x86_state *st = cpu->st;
    struct x86_desc old;

    if (reason == X86_TASK_JMP || reason == X86_TASK_IRET)
        if (x86_desc_read(cpu, st->tr.sel, X86_TS, &old) < 0 ||
            x86_desc_set_busy(cpu, &old, false) < 0)
            return X86_FAULT;
    if (reason == X86_TASK_IRET)
        return X86_OK;
    if (reason != X86_TASK_JMP) {
        if (write_field(cpu, &t->tr, LINK, 2, st->tr.sel) < 0)
            return X86_FAULT;
        t->reg[REG_FLAGS] |= X86_FLAGS_NT;
    }
    return x86_desc_set_busy(cpu, &t->desc, true);
}

/* From here on the new task runs, whatever else goes wrong. */
static void load_registers(struct x86_cpu *cpu, const struct task *t)
{
    struct x86_state *st = cpu->st;
    uint64_t upper = is_wide(&t->tr) ? 0 : 0xffff0000u;
    uint64_t allowed = X86_FLAGS_ARITH | X86_FLAGS_TF | X86_FLAGS_IF |
                       X86_FLAGS_DF | X86_FLAGS_IOPL | X86_FLAGS_NT |
                       X86_FLAGS_RF | X86_FLAGS_VM | X86_FLAGS_AC |
                       X86_FLAGS_VIF | X86_FLAGS_VIP | X86_FLAGS_ID;

    x86_seg_copy(&st->tr, &t->tr);
    st->tr.attr |= X86_DESC_BUSY;
    st->cr0 |= X86_CR0_TS;
    st->rip = t->reg[REG_IP];
    st->rflags = (t->reg[REG_FLAGS] & allowed) | X86_FLAGS_FIXED;
    for (unsigned i = 0; i < 8; i++)
        st->gpr[i] = (st->gpr[i] & upper) | t->reg[REG_GPR + i];
    /* Selectors only: until each is checked the segment is unusable. */
    for (unsigned i = 0; i < X86_NR_SREGS; i++)
        x86_seg_set_null(&st->seg[i], (uint16_t)t->reg[REG_SEG + i]);
    x86_seg_set_null(&st->ldtr, (uint16_t)t->reg[REG_LDT]);
    st->dr7 &= ~(uint64_t)0x155; /* local breakpoints, SDM vol. 3, 18.2.4 */
    st->cpl = st->rflags & X86_FLAGS_VM ? 3 : st->seg[X86_CS].sel & 3;
}

static int load_cr3(struct x86_cpu *cpu, uint64_t cr3)
{
    struct x86_state *st = cpu->st;
    uint64_t old = st->cr3;

    if (!(st->cr0 & X86_CR0_PG))
        return X86_OK;
    st->cr3 = cr3;
    if ((st->cr4 & X86_CR4_PAE) && x86_load_pdptes(st, cpu->gmem) < 0) {
        st->cr3 = old;
        return x86_fault_err(cpu, X86_TS, 0);
    }
    if (cr3 != old)
        cpu->ops->cr3_loaded(cpu, false);
    return X86_OK;
}

static int load_ldt(struct x86_cpu *cpu)
{
    struct x86_state *st = cpu->st;
    struct x86_desc d;
    uint16_t sel = st->ldtr.sel;

    if (x86_sel_is_null(sel))
        return X86_OK;
    if (sel & 4)
        return x86_fault_sel(cpu, X86_TS, sel);
    if (x86_desc_read(cpu, sel, X86_TS, &d) < 0)
        return X86_FAULT;
    if (!x86_desc_is_system(d.lo) || x86_desc_type(d.lo) != X86_DESC_LDT ||
        !x86_desc_present(d.lo))
        return x86_fault_sel(cpu, X86_TS, sel);
    x86_desc_to_seg(&d, &st->ldtr);
    return X86_OK;
}

static int load_code(struct x86_cpu *cpu)
{
    struct x86_seg *cs = &cpu->st->seg[X86_CS];
    uint16_t sel = cs->sel;
    struct x86_desc d;
    unsigned dpl;

    if (x86_sel_is_null(sel))
        return x86_fault_err(cpu, X86_TS, 0);
    if (x86_desc_read(cpu, sel, X86_TS, &d) < 0)
        return X86_FAULT;
    dpl = x86_desc_dpl(d.lo);
    if (!x86_desc_is_code(d.lo) ||
        (x86_desc_is_conforming(d.lo) ? dpl > (sel & 3u) : dpl != (sel & 3u)))
        return x86_fault_sel(cpu, X86_TS, sel);
    if (!x86_desc_present(d.lo))
        return x86_fault_sel(cpu, X86_NP, sel);
    if (x86_desc_set_accessed(cpu, &d) < 0)
        return X86_FAULT;
    x86_desc_to_seg(&d, cs);
    return X86_OK;
}

static int load_segments(struct x86_cpu *cpu)
{
    static const uint8_t data[] = {X86_DS, X86_ES, X86_FS, X86_GS};
    struct x86_state *st = cpu->st;
    struct x86_seg seg;

    if (st->rflags & X86_FLAGS_VM) {
        for (unsigned i = 0; i < X86_NR_SREGS; i++)
            x86_seg_set_v86(&st->seg[i], st->seg[i].sel);
        return X86_OK;
    }
    if (load_code(cpu) < 0 || x86_check_ss(cpu, st->seg[X86_SS].sel, st->cpl,
                                           X86_TS, false, &seg) < 0)
        return X86_FAULT;
    x86_seg_copy(&st->seg[X86_SS], &seg);
    for (unsigned i = 0; i < ARRAY_LEN(data); i++) {
        if (x86_check_data(cpu, st->seg[data[i]].sel, X86_TS, &seg) < 0)
            return X86_FAULT;
        x86_seg_copy(&st->seg[data[i]], &seg);
    }
    return X86_OK;
}

int x86_task_switch(struct x86_cpu *cpu, uint16_t sel,
                    enum x86_task_reason reason, uint64_t next_rip)
{
    struct x86_state *st = cpu->st;
    struct task t;
    int rc;

    if (find_task(cpu, sel, reason, &t) < 0 || read_task(cpu, &t) < 0 ||
        save_task(cpu, reason, next_rip) < 0 || link_task(cpu, &t, reason) < 0)
        return X86_FAULT;
    load_registers(cpu, &t);
    rc = load_cr3(cpu, t.cr3);
    if (rc == X86_OK)
        rc = load_ldt(cpu);
    if (rc == X86_OK)
        rc = load_segments(cpu);
    cpu->ops->mode_changed(cpu);
    if (rc < 0)
        return rc;
    if (st->rip > st->seg[X86_CS].limit)
        return x86_fault_err(cpu, X86_GP, 0);
    if (t.trap & 1) {
        x86_debug_cause(st, X86_DR6_BT);
        return x86_fault(cpu, X86_DB);
    }
    return X86_OK;
}
