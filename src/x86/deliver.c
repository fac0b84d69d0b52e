#include "x86/desc.h"
#include "x86/segment.h"
#include "x86/stack.h"
#include "x86/task.h"

/*
 * Delivery of interrupts and exceptions (Intel SDM vol. 2, INT n; vol. 3, 6).
 *
 * Each way in (real mode, legacy protected mode, long mode) works on local
 * copies and commits at its end, so that a fault on the way leaves the state
 * of the interrupted program. x86_deliver then goes on with that fault, or
 * with a double fault, until something could be delivered.
 */

enum {
    ERROR_EXT = 1, /* error-code bits: the event came from outside */
    ERROR_IDT = 2, /* the index is one of the IDT */
    ATTR_CODE64 = X86_SEG_P | X86_SEG_S | X86_SEG_L | X86_SEG_G | 0xb,
    IST_SHIFT = 32,
    IST_MASK = 7,
    FRAME_WORDS = 6
};

struct delivery {
    struct x86_cpu *cpu;
    const struct x86_event *ev;
    bool software;  /* INT n, INT3, INTO: gate DPL counts, EXT does not */
    uint64_t rip;   /* as pushed */
    uint64_t flags; /* as pushed */
    uint64_t gate;  /* first 8 bytes of the IDT entry */
    struct x86_desc cs;
    uint64_t target;
    unsigned cpl; /* of the handler */
};

static uint32_t idt_error(const struct delivery *d)
{
    return (uint32_t)d->ev->vector << 3 | ERROR_IDT;
}

/* SDM vol. 3, 18.3.1.1: a fault's handler returns to the instruction itself,
 * past its own breakpoints. #DB manages RF for itself; aborts do not set it. */
static bool pushes_rf(const struct x86_event *ev)
{
    return ev->type == X86_EVENT_EXCEPTION && ev->vector != X86_DB &&
           ev->vector != X86_DF && ev->vector != X86_MC;
}

static int read_gate(struct delivery *d, unsigned size, uint64_t *high)
{
    struct x86_cpu *cpu = d->cpu;
    uint32_t off = (uint32_t)d->ev->vector * size;
    uint64_t gate[2] = {0, 0};

    if (off + size - 1 > cpu->st->idtr.limit)
        return x86_fault_err(cpu, X86_GP, idt_error(d));
    if (cpu->ops->read(cpu, cpu->st->idtr.base + off, gate, size, false) < 0)
        return X86_FAULT;
    d->gate = gate[0];
    *high = gate[1];
    return X86_OK;
}

/* Type (a mask of those the mode knows), privilege and presence. */
static int check_gate(const struct delivery *d, unsigned types)
{
    struct x86_cpu *cpu = d->cpu;

    if (!x86_desc_is_system(d->gate) ||
        !(types >> x86_desc_type(d->gate) & 1) ||
        (d->software && x86_desc_dpl(d->gate) < cpu->st->cpl))
        return x86_fault_err(cpu, X86_GP, idt_error(d));
    if (!x86_desc_present(d->gate))
        return x86_fault_err(cpu, X86_NP, idt_error(d));
    return X86_OK;
}

/* The handler's code segment, and with it d->cpl. */
static int read_code(struct delivery *d)
{
    struct x86_cpu *cpu = d->cpu;
    uint16_t sel = (uint16_t)(d->gate >> 16);
    unsigned dpl;

    if (x86_sel_is_null(sel))
        return x86_fault_err(cpu, X86_GP, 0);
    if (x86_desc_read(cpu, sel, X86_GP, &d->cs) < 0)
        return X86_FAULT;
    dpl = x86_desc_dpl(d->cs.lo);
    if (!x86_desc_is_code(d->cs.lo) || dpl > cpu->st->cpl)
        return x86_fault_sel(cpu, X86_GP, sel);
    if (!x86_desc_present(d->cs.lo))
        return x86_fault_sel(cpu, X86_NP, sel);
    d->cpl = x86_desc_is_conforming(d->cs.lo) ? cpu->st->cpl : dpl;
    return X86_OK;
}

/* RIP, CS, CPL and flags of the handler; the stack is the caller's part. */
static void commit(const struct delivery *d)
{
    struct x86_state *st = d->cpu->st;
    struct x86_seg *cs = &st->seg[X86_CS];
    uint64_t clear_flags =
        X86_FLAGS_TF | X86_FLAGS_NT | X86_FLAGS_RF | X86_FLAGS_VM;

    x86_desc_to_seg(&d->cs, cs);
    cs->sel = (uint16_t)((d->cs.sel & 0xfffc) | d->cpl);
    st->cpl = (uint8_t)d->cpl;
    st->rip = d->target;
    if (!(x86_desc_type(d->gate) & 1)) /* an interrupt gate, no trap gate */
        clear_flags |= X86_FLAGS_IF;
    st->rflags &= ~clear_flags;
}

/* -- Long mode ----------------------------------------------------------- */

static int long_stack(const struct delivery *d, uint64_t *rsp)
{
    struct x86_state *st = d->cpu->st;
    unsigned ist = (unsigned)(d->gate >> IST_SHIFT) & IST_MASK;

    *rsp = st->gpr[X86_RSP];
    if (ist)
        return x86_task_rsp(d->cpu, ist + 3, rsp);
    if (d->cpl < st->cpl)
        return x86_task_rsp(d->cpu, d->cpl, rsp);
    return X86_OK;
}

/* The whole frame (40 or 48 bytes) in one write: this is the path of every
 * interrupt and page fault of a 64-bit guest. */
static int long_push(const struct delivery *d, uint64_t *rsp)
{
    struct x86_cpu *cpu = d->cpu;
    const struct x86_state *st = cpu->st;
    uint64_t frame[FRAME_WORDS];
    unsigned first = d->ev->has_error ? 0 : 1;
    unsigned len = (unsigned)sizeof(frame) - first * 8;
    uint64_t sp = (*rsp & ~(uint64_t)15) - len;

    frame[0] = d->ev->error;
    frame[1] = d->rip;
    frame[2] = st->seg[X86_CS].sel;
    frame[3] = d->flags;
    frame[4] = st->gpr[X86_RSP];
    frame[5] = st->seg[X86_SS].sel;
    if (!x86_is_canonical(sp) || !x86_is_canonical(sp + len - 1))
        return x86_fault_err(cpu, X86_SS_FAULT, 0);
    if (cpu->ops->write(cpu, sp, frame + first, len, d->cpl == 3) < 0)
        return X86_FAULT;
    *rsp = sp;
    return X86_OK;
}

static int deliver_long(struct delivery *d)
{
    struct x86_cpu *cpu = d->cpu;
    struct x86_state *st = cpu->st;
    uint64_t high, rsp;

    if (read_gate(d, 16, &high) < 0 ||
        check_gate(d, 1u << X86_DESC_INT | 1u << X86_DESC_TRAP) < 0 ||
        read_code(d) < 0)
        return X86_FAULT;
    if (!x86_desc_long(d->cs.lo) || x86_desc_big(d->cs.lo))
        return x86_fault_sel(cpu, X86_GP, d->cs.sel);
    d->target = (d->gate & 0xffff) | (d->gate >> 32 & 0xffff0000u) | high << 32;
    if (!x86_is_canonical(d->target))
        return x86_fault_err(cpu, X86_GP, 0);
    if (long_stack(d, &rsp) < 0 || long_push(d, &rsp) < 0 ||
        x86_desc_set_accessed(cpu, &d->cs) < 0)
        return X86_FAULT;
    if (d->cpl < st->cpl) {
        x86_seg_set_null(&st->seg[X86_SS], (uint16_t)d->cpl);
        st->seg[X86_SS].attr = (uint16_t)(d->cpl << 5);
    }
    st->gpr[X86_RSP] = rsp;
    commit(d);
    return X86_OK;
}

/* -- Legacy protected mode and virtual-8086 mode --------------------------- */

static int push_frame(const struct delivery *d, struct x86_stack *s,
                      unsigned size, bool inner)
{
    static const uint8_t v86_segs[] = {X86_GS, X86_FS, X86_DS, X86_ES};
    const struct x86_state *st = d->cpu->st;

    if (st->rflags & X86_FLAGS_VM)
        for (unsigned i = 0; i < ARRAY_LEN(v86_segs); i++)
            if (x86_push(s, st->seg[v86_segs[i]].sel, size) < 0)
                return X86_FAULT;
    if (inner && (x86_push(s, st->seg[X86_SS].sel, size) < 0 ||
                  x86_push(s, st->gpr[X86_RSP], size) < 0))
        return X86_FAULT;
    if (x86_push(s, d->flags, size) < 0 ||
        x86_push(s, st->seg[X86_CS].sel, size) < 0 ||
        x86_push(s, d->rip, size) < 0)
        return X86_FAULT;
    if (d->ev->has_error)
        return x86_push(s, d->ev->error, size);
    return X86_OK;
}

static int deliver_gate(struct delivery *d)
{
    struct x86_cpu *cpu = d->cpu;
    struct x86_state *st = cpu->st;
    bool inner = d->cpl < st->cpl;
    bool v86 = st->rflags & X86_FLAGS_VM;
    bool wide = x86_desc_type(d->gate) & 8;
    struct x86_stack s;
    struct x86_seg cs, ss;
    uint64_t sp;

    /* Out of virtual-8086 mode the handler must run at CPL 0. */
    if (v86 && d->cpl != 0)
        return x86_fault_sel(cpu, X86_GP, d->cs.sel);
    x86_desc_to_seg(&d->cs, &cs);
    d->target = d->gate & 0xffff;
    if (wide)
        d->target |= d->gate >> 32 & 0xffff0000u;
    if (inner) {
        if (x86_task_stack(cpu, d->cpl, &ss, &sp) < 0)
            return X86_FAULT;
        x86_stack_init(&s, cpu, &ss, sp, false);
        s.error = ss.sel & 0xfffc;
    } else {
        x86_stack_current(&s, cpu);
    }
    if (push_frame(d, &s, wide ? 4 : 2, inner) < 0)
        return X86_FAULT;
    if (d->target > cs.limit)
        return x86_fault_err(cpu, X86_GP, 0);
    if (x86_desc_set_accessed(cpu, &d->cs) < 0)
        return X86_FAULT;
    st->gpr[X86_RSP] = x86_stack_sp(&s, inner ? sp : st->gpr[X86_RSP]);
    if (inner)
        x86_seg_copy(&st->seg[X86_SS], &ss);
    if (v86) {
        x86_seg_set_null(&st->seg[X86_DS], 0);
        x86_seg_set_null(&st->seg[X86_ES], 0);
        x86_seg_set_null(&st->seg[X86_FS], 0);
        x86_seg_set_null(&st->seg[X86_GS], 0);
    }
    commit(d);
    return X86_OK;
}

/* SDM vol. 3, 8.3: the error code goes onto the new task's stack. */
static int deliver_task(struct delivery *d)
{
    struct x86_cpu *cpu = d->cpu;
    struct x86_state *st = cpu->st;
    struct x86_stack s;

    if (x86_task_switch(cpu, (uint16_t)(d->gate >> 16), X86_TASK_GATE, d->rip) <
        0)
        return X86_FAULT;
    if (!d->ev->has_error)
        return X86_OK;
    x86_stack_current(&s, cpu);
    if (x86_push(&s, d->ev->error,
                 x86_desc_type((uint64_t)st->tr.attr << 40) & 8 ? 4 : 2) < 0)
        return X86_FAULT;
    st->gpr[X86_RSP] = x86_stack_sp(&s, st->gpr[X86_RSP]);
    return X86_OK;
}

static int deliver_protected(struct delivery *d)
{
    struct x86_cpu *cpu = d->cpu;
    struct x86_state *st = cpu->st;
    unsigned types = 1u << X86_DESC_TASK_GATE | 1u << X86_DESC_INT16 |
                     1u << X86_DESC_TRAP16 | 1u << X86_DESC_INT |
                     1u << X86_DESC_TRAP;
    uint64_t unused;

    /* No VME: INT n is the monitor's, unless IOPL is 3 (vol. 3, 21.3). */
    if ((st->rflags & X86_FLAGS_VM) && d->ev->type == X86_EVENT_SOFT_INT &&
        (st->rflags & X86_FLAGS_IOPL) != X86_FLAGS_IOPL)
        return x86_fault_err(cpu, X86_GP, 0);
    if (read_gate(d, 8, &unused) < 0 || check_gate(d, types) < 0)
        return X86_FAULT;
    if (x86_desc_type(d->gate) == X86_DESC_TASK_GATE)
        return deliver_task(d);
    if (read_code(d) < 0)
        return X86_FAULT;
    return deliver_gate(d);
}

/* -- Real mode ------------------------------------------------------------- */

/* No error codes; the table is an array of far pointers. */
static int deliver_real(struct delivery *d)
{
    struct x86_cpu *cpu = d->cpu;
    struct x86_state *st = cpu->st;
    struct x86_seg *cs = &st->seg[X86_CS];
    uint64_t unused;
    struct x86_stack s;

    if (read_gate(d, 4, &unused) < 0)
        return X86_FAULT;
    x86_stack_current(&s, cpu);
    if (x86_push(&s, d->flags, 2) < 0 || x86_push(&s, cs->sel, 2) < 0 ||
        x86_push(&s, d->rip, 2) < 0)
        return X86_FAULT;
    if ((d->gate & 0xffff) > cs->limit)
        return x86_fault_err(cpu, X86_GP, 0);
    st->gpr[X86_RSP] = x86_stack_sp(&s, st->gpr[X86_RSP]);
    x86_seg_set_real(cs, (uint16_t)(d->gate >> 16));
    st->rip = d->gate & 0xffff;
    st->rflags &=
        ~(uint64_t)(X86_FLAGS_IF | X86_FLAGS_TF | X86_FLAGS_AC | X86_FLAGS_RF);
    return X86_OK;
}

/* -- Faults on the way ----------------------------------------------------- */

static int deliver_once(struct x86_cpu *cpu, const struct x86_event *ev)
{
    struct x86_state *st = cpu->st;
    struct delivery d;
    int rc;

    d.cpu = cpu;
    d.ev = ev;
    d.software =
        ev->type == X86_EVENT_SOFT_INT || ev->type == X86_EVENT_SOFT_EXC;
    d.rip = st->rip;
    if (d.software || ev->type == X86_EVENT_ICEBP)
        d.rip += ev->length;
    d.flags = st->rflags | X86_FLAGS_FIXED;
    if (pushes_rf(ev))
        d.flags |= X86_FLAGS_RF;
    if (!(st->cr0 & X86_CR0_PE))
        rc = deliver_real(&d);
    else if (x86_long_mode(st))
        rc = deliver_long(&d);
    else
        rc = deliver_protected(&d);
    if (rc < 0 && !d.software && cpu->fault.has_error &&
        cpu->fault.vector != X86_PF)
        cpu->fault.error |= ERROR_EXT;
    return rc;
}

/* Classes of SDM vol. 3, table 6-4. */
static bool is_contributory(const struct x86_event *ev)
{
    return ev->type == X86_EVENT_EXCEPTION &&
           (ev->vector == X86_DE ||
            (ev->vector >= X86_TS && ev->vector <= X86_GP));
}

static bool is_page_fault(const struct x86_event *ev)
{
    return ev->type == X86_EVENT_EXCEPTION && ev->vector == X86_PF;
}

static bool is_double_fault(const struct x86_event *ev)
{
    return ev->type == X86_EVENT_EXCEPTION && ev->vector == X86_DF;
}

/* SDM vol. 3, table 6-5: what follows if first could not be delivered because
 * of cpu->fault. False: shutdown. */
static bool escalate(struct x86_cpu *cpu, const struct x86_event *first)
{
    bool contributory = is_contributory(&cpu->fault);
    bool page_fault = is_page_fault(&cpu->fault);

    if (is_double_fault(first) && (contributory || page_fault))
        return false;
    if ((is_page_fault(first) && (contributory || page_fault)) ||
        (is_contributory(first) && contributory)) {
        if (page_fault)
            cpu->st->cr2 = cpu->fault.cr2;
        (void)x86_fault_err(cpu, X86_DF, 0);
    }
    return true;
}

static void copy_event(struct x86_event *dst, const struct x86_event *src)
{
    dst->vector = src->vector;
    dst->type = src->type;
    dst->has_error = src->has_error;
    dst->length = src->length;
    dst->error = src->error;
    dst->cr2 = src->cr2;
}

/* What an event does before its handler is looked up. */
static void recognise(struct x86_state *st, const struct x86_event *ev)
{
    if (is_page_fault(ev))
        st->cr2 = ev->cr2;
    if (ev->type == X86_EVENT_NMI)
        st->nmi_blocked = 1;
    if (ev->type == X86_EVENT_EXCEPTION && ev->vector == X86_DB)
        st->dr7 &= ~(uint64_t)X86_DR7_GD; /* vol. 3, 18.2.4 */
}

/* Each turn goes up one step (benign, contributory, page fault, double fault),
 * so there are at most five. */
int x86_deliver(struct x86_cpu *cpu, const struct x86_event *ev)
{
    struct x86_state *st = cpu->st;
    struct x86_event now;

    copy_event(&now, ev);
    recognise(st, &now);
    while (deliver_once(cpu, &now) < 0) {
        if (!escalate(cpu, &now))
            return X86_TRIPLE;
        copy_event(&now, &cpu->fault);
        recognise(st, &now);
    }
    st->int_shadow = 0;
    if (st->mp_state == X86_MP_HALTED)
        st->mp_state = X86_MP_RUNNING;
    cpu->ops->mode_changed(cpu);
    return X86_OK;
}
