#include "x86/transfer.h"

#include "x86/segment.h"
#include "x86/stack.h"
#include "x86/task.h"

/*
 * Far jumps and calls: direct, through call gates, to tasks (Intel SDM vol. 2,
 * JMP and CALL; vol. 3, 5.8). Nothing is committed before all checks and
 * pushes have succeeded.
 */

enum { RPL_MASK = 3, PARAM_SHIFT = 32, PARAM_MASK = 31 };

struct far_transfer {
    struct x86_cpu *cpu;
    bool call;
    unsigned opsize;
    uint64_t next_rip;
};

/* -- Destinations ---------------------------------------------------------- */

int x86_target_init(struct x86_cpu *cpu, struct x86_target *t,
                    struct x86_desc *d, uint64_t rip, unsigned cpl)
{
    t->wide = x86_long_mode(cpu->st) && x86_desc_long(d->lo);
    if (t->wide && x86_desc_big(d->lo))
        return x86_fault_sel(cpu, X86_GP, d->sel);
    if (!x86_desc_present(d->lo))
        return x86_fault_sel(cpu, X86_NP, d->sel);
    if (t->wide ? !x86_is_canonical(rip)
                : rip > x86_desc_limit(d->lo)) /* all 64 bits of it */
        return x86_fault_err(cpu, X86_GP, 0);
    if (x86_desc_set_accessed(cpu, d) < 0)
        return X86_FAULT;
    t->rip = t->wide ? rip : (uint32_t)rip;
    x86_desc_to_seg(d, &t->cs);
    t->cs.sel = (uint16_t)((d->sel & ~(unsigned)RPL_MASK) | cpl);
    return X86_OK;
}

int x86_target_real(struct x86_cpu *cpu, struct x86_target *t, uint16_t sel,
                    uint64_t rip)
{
    const struct x86_state *st = cpu->st;

    x86_seg_copy(&t->cs, &st->seg[X86_CS]);
    if (st->rflags & X86_FLAGS_VM)
        x86_seg_set_v86(&t->cs, sel);
    else
        x86_seg_set_real(&t->cs, sel);
    if (rip > t->cs.limit)
        return x86_fault_err(cpu, X86_GP, 0);
    t->rip = rip;
    t->wide = false;
    return X86_OK;
}

void x86_target_take(struct x86_cpu *cpu, const struct x86_target *t)
{
    struct x86_state *st = cpu->st;

    x86_seg_copy(&st->seg[X86_CS], &t->cs);
    st->rip = t->rip;
    if (!x86_is_real_style(st))
        st->cpl = t->cs.sel & RPL_MASK;
    cpu->ops->mode_changed(cpu);
}

/* -- Direct and to the same privilege -------------------------------------- */

/* Push the return address (of a call) and go to t. */
static int go(const struct far_transfer *f, const struct x86_target *t,
              unsigned size)
{
    struct x86_cpu *cpu = f->cpu;
    struct x86_state *st = cpu->st;
    struct x86_stack s;

    if (f->call) {
        /* AMD's CPUs push with the address size of the code that is called. */
        x86_stack_init(&s, cpu, &st->seg[X86_SS], st->gpr[X86_RSP],
                       cpu->model->amd ? t->wide : x86_64bit_mode(st));
        s.user = st->cpl == 3;
        if (x86_push(&s, st->seg[X86_CS].sel, size) < 0 ||
            x86_push(&s, f->next_rip, size) < 0)
            return X86_FAULT;
        st->gpr[X86_RSP] = x86_stack_sp(&s, st->gpr[X86_RSP]);
    }
    x86_target_take(cpu, t);
    return X86_OK;
}

static int go_direct(const struct far_transfer *f, struct x86_desc *d,
                     uint64_t off)
{
    struct x86_cpu *cpu = f->cpu;
    unsigned cpl = cpu->st->cpl;
    unsigned dpl = x86_desc_dpl(d->lo);
    struct x86_target t;

    if (x86_desc_is_conforming(d->lo)
            ? dpl > cpl
            : (d->sel & RPL_MASK) > (int)cpl || dpl != cpl)
        return x86_fault_sel(cpu, X86_GP, d->sel);
    if (x86_target_init(cpu, &t, d, off, cpl) < 0)
        return X86_FAULT;
    return go(f, &t, f->opsize);
}

/* -- Call gates ------------------------------------------------------------ */

/* Parameters from the old stack, in their order, onto the new one. */
static int copy_params(struct x86_stack *to, struct x86_cpu *cpu, unsigned nr,
                       unsigned size)
{
    struct x86_stack from;
    uint64_t param[PARAM_MASK];

    x86_stack_current(&from, cpu);
    for (unsigned i = 0; i < nr; i++)
        if (x86_pop(&from, &param[i], size) < 0)
            return X86_FAULT;
    while (nr)
        if (x86_push(to, param[--nr], size) < 0)
            return X86_FAULT;
    return X86_OK;
}

static int call_inner(const struct far_transfer *f, const struct x86_target *t,
                      unsigned nr_params, unsigned size)
{
    struct x86_cpu *cpu = f->cpu;
    struct x86_state *st = cpu->st;
    unsigned cpl = t->cs.sel & RPL_MASK;
    struct x86_stack s;
    struct x86_seg ss;
    uint64_t sp;

    if (t->wide) {
        nr_params = 0;
        x86_seg_set_null(&ss, (uint16_t)cpl);
        ss.attr = (uint16_t)(cpl << 5);
        if (x86_task_rsp(cpu, cpl, &sp) < 0)
            return X86_FAULT;
    } else if (x86_task_stack(cpu, cpl, &ss, &sp) < 0) {
        return X86_FAULT;
    }
    x86_stack_init(&s, cpu, &ss, sp, t->wide);
    s.error = ss.sel & 0xfffc;
    if (x86_push(&s, st->seg[X86_SS].sel, size) < 0 ||
        x86_push(&s, st->gpr[X86_RSP], size) < 0 ||
        copy_params(&s, cpu, nr_params, size) < 0 ||
        x86_push(&s, st->seg[X86_CS].sel, size) < 0 ||
        x86_push(&s, f->next_rip, size) < 0)
        return X86_FAULT;
    st->gpr[X86_RSP] = x86_stack_sp(&s, sp);
    x86_seg_copy(&st->seg[X86_SS], &ss);
    x86_target_take(cpu, t);
    return X86_OK;
}

/* Where the gate leads: code descriptor and entry point. */
static int read_gate(struct x86_cpu *cpu, const struct x86_desc *gate,
                     struct x86_desc *code, uint64_t *entry)
{
    uint16_t sel = (uint16_t)(gate->lo >> 16);
    uint64_t hi = 0;

    if (!x86_desc_present(gate->lo))
        return x86_fault_sel(cpu, X86_NP, gate->sel);
    *entry = gate->lo & 0xffff;
    if (x86_desc_type(gate->lo) == X86_DESC_CALL)
        *entry |= gate->lo >> 32 & 0xffff0000u;
    if (x86_long_mode(cpu->st)) {
        if (x86_desc_read_high(cpu, gate, X86_GP, &hi) < 0)
            return X86_FAULT;
        *entry |= hi << 32;
    }
    if (x86_sel_is_null(sel))
        return x86_fault_err(cpu, X86_GP, 0);
    if (x86_desc_read(cpu, sel, X86_GP, code) < 0)
        return X86_FAULT;
    if (!x86_desc_is_code(code->lo) ||
        (x86_long_mode(cpu->st) && !x86_desc_long(code->lo)))
        return x86_fault_sel(cpu, X86_GP, sel);
    return X86_OK;
}

static int go_gate(const struct far_transfer *f, const struct x86_desc *gate)
{
    struct x86_cpu *cpu = f->cpu;
    unsigned cpl = cpu->st->cpl;
    unsigned size = x86_desc_type(gate->lo) == X86_DESC_CALL16 ? 2 : 4;
    struct x86_desc code;
    struct x86_target t;
    uint64_t entry = 0;
    unsigned dpl;
    bool inner;

    if (read_gate(cpu, gate, &code, &entry) < 0)
        return X86_FAULT;
    if (x86_long_mode(cpu->st))
        size = 8;
    dpl = x86_desc_dpl(code.lo);
    inner = f->call && dpl < cpl && !x86_desc_is_conforming(code.lo);
    /* A jump cannot change the privilege level, a call cannot lower it. */
    if (dpl > cpl || (dpl < cpl && !inner && !x86_desc_is_conforming(code.lo)))
        return x86_fault_sel(cpu, X86_GP, code.sel);
    if (x86_target_init(cpu, &t, &code, entry, inner ? dpl : cpl) < 0)
        return X86_FAULT;
    if (inner)
        return call_inner(
            f, &t, (unsigned)(gate->lo >> PARAM_SHIFT) & PARAM_MASK, size);
    return go(f, &t, size);
}

/* -- Everything that is not a code segment --------------------------------- */

static int go_task(const struct far_transfer *f, uint16_t sel)
{
    return x86_task_switch(f->cpu, sel, f->call ? X86_TASK_CALL : X86_TASK_JMP,
                           f->next_rip);
}

static int go_system(const struct far_transfer *f, const struct x86_desc *d)
{
    struct x86_cpu *cpu = f->cpu;
    unsigned type = x86_desc_type(d->lo);
    unsigned dpl = x86_desc_dpl(d->lo);
    bool legacy = !x86_long_mode(cpu->st);

    if (!x86_desc_is_system(d->lo) || dpl < cpu->st->cpl ||
        dpl < (d->sel & RPL_MASK))
        return x86_fault_sel(cpu, X86_GP, d->sel);
    if (type == X86_DESC_CALL || (legacy && type == X86_DESC_CALL16))
        return go_gate(f, d);
    if (legacy && (type == X86_DESC_TSS || type == X86_DESC_TSS16))
        return go_task(f, d->sel);
    if (!legacy || type != X86_DESC_TASK_GATE)
        return x86_fault_sel(cpu, X86_GP, d->sel);
    if (!x86_desc_present(d->lo))
        return x86_fault_sel(cpu, X86_NP, d->sel);
    return go_task(f, (uint16_t)(d->lo >> 16));
}

static int go_far(const struct far_transfer *f, uint16_t sel, uint64_t off)
{
    struct x86_cpu *cpu = f->cpu;
    struct x86_target t;
    struct x86_desc d;

    if (f->opsize == 2)
        off &= 0xffff;
    if (x86_is_real_style(cpu->st)) {
        if (x86_target_real(cpu, &t, sel, off) < 0)
            return X86_FAULT;
        return go(f, &t, f->opsize);
    }
    if (x86_sel_is_null(sel))
        return x86_fault_err(cpu, X86_GP, 0);
    if (x86_desc_read(cpu, sel, X86_GP, &d) < 0)
        return X86_FAULT;
    if (x86_desc_is_code(d.lo))
        return go_direct(f, &d, off);
    return go_system(f, &d);
}

int x86_jmp_far(struct x86_cpu *cpu, uint16_t sel, uint64_t off,
                unsigned opsize, uint64_t next_rip)
{
    struct far_transfer f = {cpu, false, opsize, next_rip};

    return go_far(&f, sel, off);
}

int x86_call_far(struct x86_cpu *cpu, uint16_t sel, uint64_t off,
                 unsigned opsize, uint64_t next_rip)
{
    struct far_transfer f = {cpu, true, opsize, next_rip};

    return go_far(&f, sel, off);
}
