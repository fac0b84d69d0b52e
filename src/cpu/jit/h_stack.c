#include "cpu/jit/h_sys.h"

/*
 * Stack instructions on a 16-bit stack, or of another width than the mode's:
 * what firmware and boot loaders are full of. Segments are judged as they are
 * and the stack pointer wraps in its own width. Not for 64-bit mode, virtual
 * 8086 mode, single steps and breakpoints: rare_stack.c has these.
 */

struct stack {
    struct jit_vcpu *jv;
    unsigned size, reg;
    uint64_t sp_mask, sp;
    uint32_t imm;
};

static void decode(struct stack *s, struct jit_vcpu *jv, uint64_t arg)
{
    s->jv = jv;
    s->size = arg >> 8 & 15;
    s->reg = arg >> 12 & 15;
    s->imm = (uint32_t)(arg >> 32);
    s->sp_mask = jv->key & KEY_SS16 ? UINT16_MAX : UINT32_MAX;
    s->sp = jv->st.gpr[X86_RSP] & s->sp_mask;
}

static uint64_t next_rip(const struct jit_vcpu *jv, uint64_t arg)
{
    return (jv->st.rip + (arg >> 4 & 15)) & UINT32_MAX;
}

static void set_sp(struct stack *s, uint64_t sp)
{
    uint64_t *rsp = &s->jv->st.gpr[X86_RSP];

    s->sp = sp & s->sp_mask;
    *rsp = (*rsp & ~s->sp_mask) | s->sp;
}

/* The bytes of the stack at sp, if its segment allows a write there. */
static int place(struct stack *s, uint64_t sp, gva_t *gva)
{
    struct jit_vcpu *jv = s->jv;

    if (!x86_seg_allows(&jv->st, X86_SS, sp, s->size, true))
        return x86_fault_err(&jv->cpu, X86_SS_FAULT, 0);
    *gva = x86_linear(&jv->st, X86_SS, sp);
    return h_alignment(jv, *gva, s->size);
}

static int push(struct stack *s, uint64_t v)
{
    uint64_t sp = (s->sp - s->size) & s->sp_mask;
    struct jit_vcpu *jv = s->jv;
    gva_t gva;

    if (place(s, sp, &gva) < 0 ||
        h_write(jv, gva, &v, s->size, (enum jit_mode)key_mode(jv->key)) < 0)
        return X86_FAULT;
    set_sp(s, sp);
    return X86_OK;
}

static int top(struct stack *s, uint64_t *v)
{
    struct jit_vcpu *jv = s->jv;
    gva_t gva;

    *v = 0;
    if (place(s, s->sp, &gva) < 0)
        return X86_FAULT;
    return h_read(jv, gva, v, s->size, (enum jit_mode)key_mode(jv->key));
}

static int pop_reg(struct stack *s)
{
    uint64_t *p = &s->jv->st.gpr[s->reg], v;

    if (top(s, &v) < 0)
        return X86_FAULT;
    set_sp(s, s->sp + s->size);
    *p = s->size == 2 ? (*p & ~(uint64_t)UINT16_MAX) | v : v;
    return X86_OK;
}

static uint64_t flags(struct jit_vcpu *jv)
{
    h_flags_out(jv);
    return jv->st.rflags & ~(uint64_t)(X86_FLAGS_RF | X86_FLAGS_VM);
}

/* Everything but jumps: the block may go on. */
static int step(struct stack *s, enum h_stack_op op)
{
    struct jit_vcpu *jv = s->jv;

    switch (op) {
    case H_PUSH_REG: return push(s, jv->st.gpr[s->reg]);
    case H_PUSH_SEG: return push(s, jv->st.seg[s->reg].sel);
    case H_PUSH_IMM: return push(s, s->imm);
    case H_PUSH_FLAGS: return push(s, flags(jv));
    default: return pop_reg(s);
    }
}

int h_stack(struct jit_vcpu *jv, uint64_t arg)
{
    uint64_t next = next_rip(jv, arg);
    struct stack s;

    decode(&s, jv, arg);
    if (step(&s, (enum h_stack_op)(arg & 15)) < 0)
        return h_fault(jv);
    /* Code may have been dropped, and the way back with it. */
    if (jv->shadow_sp != jv->shadow_top)
        return H_CONTINUE;
    jv->st.rip = next;
    return H_DISPATCH;
}

static int refuse(struct jit_vcpu *jv)
{
    (void)x86_fault_err(&jv->cpu, X86_GP, 0);
    return h_fault(jv);
}

/* The target is judged before anything is pushed (SDM vol. 2, CALL). */
int h_call_near(struct jit_vcpu *jv, uint64_t arg)
{
    struct stack s;

    decode(&s, jv, arg);
    if (!h_may_run(jv, s.imm))
        return refuse(jv);
    if (push(&s, next_rip(jv, arg)) < 0)
        return h_fault(jv);
    if (jv->shadow_sp != jv->shadow_top)
        return H_CONTINUE;
    jv->st.rip = s.imm;
    return H_DISPATCH;
}

int h_ret_near(struct jit_vcpu *jv, uint64_t arg)
{
    struct stack s;
    uint64_t rip;

    decode(&s, jv, arg);
    if (top(&s, &rip) < 0)
        return h_fault(jv);
    if (!h_may_run(jv, rip))
        return refuse(jv);
    set_sp(&s, s.sp + s.size + s.imm);
    jv->st.rip = rip;
    return H_DISPATCH;
}
