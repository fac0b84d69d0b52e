#include "x86/segment.h"
#include "x86/stack.h"
#include "x86/task.h"
#include "x86/transfer.h"

/*
 * IRET and far RET (Intel SDM vol. 2). A return to an outer level whose stack
 * is 16 bits wide loads SP only: bits 31:16 stay those of the kernel's stack,
 * which systems paper over with a special stack ("espfix"). Bits 63:32 are
 * cleared, as Intel CPUs do; AMD's leak them.
 */

enum { RPL_MASK = 3 };

/* What a return pops, and what is to be loaded from it. */
struct return_frame {
    uint64_t rip, cs, flags, rsp, ss;
    struct x86_target to;
    struct x86_seg ss_seg;
    bool loads_stack;
};

/* -- Parts of both --------------------------------------------------------- */

static int check_code(struct x86_cpu *cpu, struct return_frame *f)
{
    uint16_t sel = (uint16_t)f->cs;
    unsigned rpl = sel & RPL_MASK;
    struct x86_desc d;
    unsigned dpl;

    if (x86_sel_is_null(sel))
        return x86_fault_err(cpu, X86_GP, 0);
    if (x86_desc_read(cpu, sel, X86_GP, &d) < 0)
        return X86_FAULT;
    dpl = x86_desc_dpl(d.lo);
    if (!x86_desc_is_code(d.lo) || rpl < cpu->st->cpl ||
        (x86_desc_is_conforming(d.lo) ? dpl > rpl : dpl != rpl))
        return x86_fault_sel(cpu, X86_GP, sel);
    return x86_target_init(cpu, &f->to, &d, f->rip, rpl);
}

static int check_stack(struct x86_cpu *cpu, struct return_frame *f)
{
    return x86_check_ss(cpu, (uint16_t)f->ss, f->to.cs.sel & RPL_MASK, X86_GP,
                        f->to.wide, &f->ss_seg);
}

/* SDM vol. 3, 5.8.6: segments that the outer level must not use are lost. Null
 * selectors lose their RPL. Either keeps the base, which an MSR may have set.
 */
static void drop_inner_segments(struct x86_state *st)
{
    static const uint8_t data[] = {X86_ES, X86_DS, X86_FS, X86_GS};

    for (unsigned i = 0; i < ARRAY_LEN(data); i++) {
        struct x86_seg *seg = &st->seg[data[i]];
        bool conforming_code = (seg->attr & 0xc) == 0xc;

        if ((seg->attr & X86_SEG_P) && (seg->attr & X86_SEG_S) &&
            !conforming_code && X86_SEG_DPL(seg->attr) < st->cpl)
            seg->sel = seg->attr = 0;
        else if (x86_sel_is_null(seg->sel))
            seg->sel = 0;
    }
}

static void take(struct x86_cpu *cpu, const struct return_frame *f,
                 unsigned pop_bytes)
{
    struct x86_state *st = cpu->st;
    bool outer = (f->to.cs.sel & RPL_MASK) > st->cpl;
    struct x86_stack s;

    if (f->loads_stack) {
        x86_stack_init(&s, cpu, &f->ss_seg, f->rsp, f->to.wide);
        x86_stack_skip(&s, pop_bytes);
        st->gpr[X86_RSP] = x86_stack_sp(&s, st->gpr[X86_RSP]);
        x86_seg_copy(&st->seg[X86_SS], &f->ss_seg);
    }
    st->cpl = f->to.cs.sel & RPL_MASK;
    if (outer)
        drop_inner_segments(st);
    x86_target_take(cpu, &f->to);
}

/* -- IRET ------------------------------------------------------------------ */

static uint64_t merge_flags(const struct x86_state *st, uint64_t image,
                            unsigned opsize)
{
    unsigned iopl = (unsigned)(st->rflags & X86_FLAGS_IOPL) >> 12;
    uint64_t mask =
        X86_FLAGS_ARITH | X86_FLAGS_TF | X86_FLAGS_DF | X86_FLAGS_NT;

    if (opsize > 2)
        mask |= X86_FLAGS_RF | X86_FLAGS_AC | X86_FLAGS_ID;
    if (st->cpl <= iopl)
        mask |= X86_FLAGS_IF;
    if (st->cpl == 0)
        mask |= X86_FLAGS_IOPL;
    if (st->cpl == 0 && opsize > 2)
        mask |= X86_FLAGS_VIF | X86_FLAGS_VIP;
    return (st->rflags & ~mask) | (image & mask) | X86_FLAGS_FIXED;
}

static int iret_real(struct x86_cpu *cpu, unsigned opsize)
{
    struct x86_state *st = cpu->st;
    bool v86 = st->rflags & X86_FLAGS_VM;
    uint64_t keep = X86_FLAGS_VM | X86_FLAGS_VIF | X86_FLAGS_VIP;
    uint64_t rip, cs, flags;
    struct x86_target t;
    struct x86_stack s;

    if (v86)
        keep |= X86_FLAGS_IOPL;
    if (v86 && (st->rflags & X86_FLAGS_IOPL) != X86_FLAGS_IOPL)
        return x86_fault_err(cpu, X86_GP, 0);
    x86_stack_current(&s, cpu);
    if (x86_pop(&s, &rip, opsize) < 0 || x86_pop(&s, &cs, opsize) < 0 ||
        x86_pop(&s, &flags, opsize) < 0 ||
        x86_target_real(cpu, &t, (uint16_t)cs, rip) < 0)
        return X86_FAULT;
    if (opsize == 2)
        keep |= 0xffff0000u & ~X86_FLAGS_RF;
    flags &= X86_FLAGS_ARITH | X86_FLAGS_TF | X86_FLAGS_IF | X86_FLAGS_DF |
             X86_FLAGS_IOPL | X86_FLAGS_NT | X86_FLAGS_RF | X86_FLAGS_AC |
             X86_FLAGS_ID;
    st->rflags = (st->rflags & keep) | (flags & ~keep) | X86_FLAGS_FIXED;
    st->gpr[X86_RSP] = x86_stack_sp(&s, st->gpr[X86_RSP]);
    st->nmi_blocked = 0;
    x86_target_take(cpu, &t);
    return X86_OK;
}

/* Back into virtual-8086 mode, from CPL 0 of a legacy mode. */
static int iret_to_v86(struct x86_cpu *cpu, struct x86_stack *s,
                       const struct return_frame *f)
{
    static const uint8_t order[] = {X86_SS, X86_ES, X86_DS, X86_FS, X86_GS};
    struct x86_state *st = cpu->st;
    uint64_t sel[ARRAY_LEN(order)];
    uint64_t esp;

    if (x86_pop(s, &esp, 4) < 0)
        return X86_FAULT;
    for (unsigned i = 0; i < ARRAY_LEN(order); i++)
        if (x86_pop(s, &sel[i], 4) < 0)
            return X86_FAULT;
    if (f->rip > 0xffff)
        return x86_fault_err(cpu, X86_GP, 0);
    for (unsigned i = 0; i < ARRAY_LEN(order); i++)
        x86_seg_set_v86(&st->seg[order[i]], (uint16_t)sel[i]);
    x86_seg_set_v86(&st->seg[X86_CS], (uint16_t)f->cs);
    st->rip = f->rip;
    st->rflags = merge_flags(st, f->flags, 4) | X86_FLAGS_VM;
    st->gpr[X86_RSP] = esp;
    st->cpl = 3;
    st->nmi_blocked = 0;
    cpu->ops->mode_changed(cpu);
    return X86_OK;
}

/* All five words at once: the end of every interrupt of a 64-bit guest. */
static int pop_frame64(struct x86_cpu *cpu, struct return_frame *f)
{
    const struct x86_state *st = cpu->st;
    uint64_t sp = st->gpr[X86_RSP];
    uint64_t word[5];

    if (!x86_is_canonical(sp) || !x86_is_canonical(sp + sizeof(word) - 1))
        return x86_fault_err(cpu, X86_SS_FAULT, 0);
    if (cpu->ops->read(cpu, sp, word, sizeof(word), st->cpl == 3) < 0)
        return X86_FAULT;
    f->rip = word[0];
    f->cs = word[1];
    f->flags = word[2];
    f->rsp = word[3];
    f->ss = word[4];
    return X86_OK;
}

static int iret_protected(struct x86_cpu *cpu, unsigned opsize)
{
    struct x86_state *st = cpu->st;
    bool whole = opsize == 8;
    struct return_frame f;
    struct x86_stack s;

    x86_stack_current(&s, cpu);
    if (whole ? pop_frame64(cpu, &f) < 0
              : x86_pop(&s, &f.rip, opsize) < 0 ||
                    x86_pop(&s, &f.cs, opsize) < 0 ||
                    x86_pop(&s, &f.flags, opsize) < 0)
        return X86_FAULT;
    /* In 64-bit mode all are popped, and before any is looked at. */
    if (!whole && x86_64bit_mode(st) &&
        (x86_pop(&s, &f.rsp, opsize) < 0 || x86_pop(&s, &f.ss, opsize) < 0))
        return X86_FAULT;
    if ((f.flags & X86_FLAGS_VM) && opsize == 4 && st->cpl == 0 &&
        !x86_long_mode(st))
        return iret_to_v86(cpu, &s, &f);
    if (check_code(cpu, &f) < 0)
        return X86_FAULT;
    f.loads_stack =
        x86_64bit_mode(st) || (f.to.cs.sel & RPL_MASK) > (int)st->cpl;
    if (f.loads_stack) {
        if (!x86_64bit_mode(st) &&
            (x86_pop(&s, &f.rsp, opsize) < 0 || x86_pop(&s, &f.ss, opsize) < 0))
            return X86_FAULT;
        if (check_stack(cpu, &f) < 0)
            return X86_FAULT;
    } else {
        st->gpr[X86_RSP] = x86_stack_sp(&s, st->gpr[X86_RSP]);
    }
    st->rflags = merge_flags(st, f.flags, opsize);
    st->nmi_blocked = 0;
    take(cpu, &f, 0);
    return X86_OK;
}

/* The old task goes on behind its IRET: one byte, and one for a prefix that
 * changes the operand size. */
static int iret_task(struct x86_cpu *cpu, unsigned opsize)
{
    struct x86_state *st = cpu->st;
    unsigned normal = st->seg[X86_CS].attr & X86_SEG_DB ? 4 : 2;
    uint16_t link;

    if (x86_task_link(cpu, &link) < 0)
        return X86_FAULT;
    return x86_task_switch(cpu, link, X86_TASK_IRET,
                           st->rip + (opsize == normal ? 1 : 2));
}

int x86_iret(struct x86_cpu *cpu, unsigned opsize)
{
    struct x86_state *st = cpu->st;

    if (x86_is_real_style(st))
        return iret_real(cpu, opsize);
    if (!(st->rflags & X86_FLAGS_NT))
        return iret_protected(cpu, opsize);
    if (x86_long_mode(st))
        return x86_fault_err(cpu, X86_GP, 0);
    return iret_task(cpu, opsize);
}

/* -- Far RET --------------------------------------------------------------- */

static int ret_real(struct x86_cpu *cpu, unsigned opsize, unsigned pop_bytes)
{
    struct x86_state *st = cpu->st;
    uint64_t rip, cs;
    struct x86_target t;
    struct x86_stack s;

    x86_stack_current(&s, cpu);
    if (x86_pop(&s, &rip, opsize) < 0 || x86_pop(&s, &cs, opsize) < 0 ||
        x86_target_real(cpu, &t, (uint16_t)cs, rip) < 0)
        return X86_FAULT;
    x86_stack_skip(&s, pop_bytes);
    st->gpr[X86_RSP] = x86_stack_sp(&s, st->gpr[X86_RSP]);
    x86_target_take(cpu, &t);
    return X86_OK;
}

int x86_ret_far(struct x86_cpu *cpu, unsigned opsize, unsigned pop_bytes)
{
    struct x86_state *st = cpu->st;
    struct return_frame f;
    struct x86_stack s;

    if (x86_is_real_style(st))
        return ret_real(cpu, opsize, pop_bytes);
    if (x86_64bit_mode(st) &&
        !x86_is_canonical(st->gpr[X86_RSP] + 2 * (uint64_t)opsize - 1))
        return x86_fault_err(cpu, X86_SS_FAULT, 0);
    x86_stack_current(&s, cpu);
    if (x86_pop(&s, &f.rip, opsize) < 0 || x86_pop(&s, &f.cs, opsize) < 0 ||
        check_code(cpu, &f) < 0)
        return X86_FAULT;
    x86_stack_skip(&s, pop_bytes);
    f.loads_stack = (f.to.cs.sel & RPL_MASK) > (int)st->cpl;
    if (f.loads_stack) {
        if (x86_pop(&s, &f.rsp, opsize) < 0 || x86_pop(&s, &f.ss, opsize) < 0 ||
            check_stack(cpu, &f) < 0)
            return X86_FAULT;
    } else {
        st->gpr[X86_RSP] = x86_stack_sp(&s, st->gpr[X86_RSP]);
    }
    take(cpu, &f, pop_bytes);
    return X86_OK;
}
