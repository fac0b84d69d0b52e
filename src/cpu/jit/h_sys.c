#include "cpu/jit/h_sys.h"

#include "cpu/kvmclock.h"

/*
 * System instructions with a helper of their own, and what the engine does
 * for the architecture layer (x86/system.h).
 */

static struct jit_vcpu *of(struct x86_cpu *cpu)
{
    return cpu->opaque;
}

static int ops_read(struct x86_cpu *cpu, gva_t gva, void *dst, unsigned len,
                    bool user)
{
    return h_read(of(cpu), gva, dst, len, user ? JIT_USER : JIT_SUPER);
}

static int ops_write(struct x86_cpu *cpu, gva_t gva, const void *src,
                     unsigned len, bool user)
{
    return h_write(of(cpu), gva, src, len, user ? JIT_USER : JIT_SUPER);
}

static void ops_flush(struct x86_cpu *cpu, enum x86_flush kind, gva_t gva,
                      unsigned pcid)
{
    h_flush(of(cpu), kind, gva, pcid);
}

static void ops_cr3_loaded(struct x86_cpu *cpu, bool keep)
{
    h_cr3_loaded(of(cpu), keep);
}

static void ops_mode_changed(struct x86_cpu *cpu)
{
    h_mode_changed(of(cpu));
}

static bool is_kvm_msr(uint64_t msr)
{
    return msr == 0x11 || msr == 0x12 ||
           (msr >= 0x4b564d00 && msr <= 0x4b564d0f);
}

struct msr_read {
    struct jit_vcpu *jv;
    uint64_t val;
};

static uint64_t c_rdmsr(void *opaque, uint64_t msr, uint64_t c, uint64_t d)
{
    struct msr_read *r = opaque;
    struct vcpu *v = r->jv->v;

    (void)c;
    (void)d;
    if (is_kvm_msr(msr))
        return (uint64_t)kvmclock_rdmsr(v, &r->jv->st, (uint32_t)msr, &r->val);
    return v->intc_ops
               ? (uint64_t)v->intc_ops->rdmsr(v->intc, (uint32_t)msr, &r->val)
               : (uint64_t)-1;
}

static uint64_t c_wrmsr(void *opaque, uint64_t msr, uint64_t val, uint64_t d)
{
    struct jit_vcpu *jv = opaque;
    const struct vcpu_intc_ops *ops = jv->v->intc_ops;

    (void)d;
    if (is_kvm_msr(msr))
        return (uint64_t)kvmclock_wrmsr(jv->v, &jv->st, (uint32_t)msr, val);
    return ops ? (uint64_t)ops->wrmsr(jv->v->intc, (uint32_t)msr, val)
               : (uint64_t)-1;
}

static int gp0(struct x86_cpu *cpu)
{
    return x86_fault_err(cpu, X86_GP, 0);
}

static int ops_rdmsr(struct x86_cpu *cpu, uint32_t msr, uint64_t *val)
{
    struct msr_read r = {.jv = of(cpu)};

    if ((int)h_call_c(r.jv, c_rdmsr, &r, msr, 0, 0) < 0)
        return gp0(cpu);
    *val = r.val;
    return X86_OK;
}

static int ops_wrmsr(struct x86_cpu *cpu, uint32_t msr, uint64_t val)
{
    struct jit_vcpu *jv = of(cpu);

    if ((int)h_call_c(jv, c_wrmsr, jv, msr, val, 0) < 0)
        return gp0(cpu);
    return X86_OK;
}

static uint64_t c_get_cr8(void *opaque, uint64_t b, uint64_t c, uint64_t d)
{
    struct vcpu *v = opaque;

    (void)b;
    (void)c;
    (void)d;
    return v->intc_ops ? v->intc_ops->get_cr8(v->intc) : 0;
}

static uint64_t c_set_cr8(void *opaque, uint64_t val, uint64_t c, uint64_t d)
{
    struct vcpu *v = opaque;

    (void)c;
    (void)d;
    if (v->intc_ops)
        v->intc_ops->set_cr8(v->intc, val);
    return 0;
}

static uint64_t ops_get_cr8(struct x86_cpu *cpu)
{
    return h_call_c(of(cpu), c_get_cr8, of(cpu)->v, 0, 0, 0);
}

static void ops_set_cr8(struct x86_cpu *cpu, uint64_t val)
{
    (void)h_call_c(of(cpu), c_set_cr8, of(cpu)->v, val, 0, 0);
}

const struct x86_system_ops h_system_ops = {
    .read = ops_read,
    .write = ops_write,
    .flush = ops_flush,
    .cr3_loaded = ops_cr3_loaded,
    .mode_changed = ops_mode_changed,
    .rdmsr = ops_rdmsr,
    .wrmsr = ops_wrmsr,
    .get_cr8 = ops_get_cr8,
    .set_cr8 = ops_set_cr8,
};

/* -- Helpers -------------------------------------------------------------- */

/* Has an interrupt been waiting for the IF that is now set? */
static void look_at_if(struct jit_vcpu *jv)
{
    if (jv->irq_wait && jv->flag_if)
        atomic_fetch_or(&jv->pending, 0x100);
}

static uint64_t next_rip(const struct jit_vcpu *jv, uint64_t arg)
{
    uint64_t next = jv->st.rip + (arg & 0xff);

    return (jv->key & KEY_SIZE_MASK) == 2 ? next : next & UINT32_MAX;
}

/* The instruction ended (step: with TF set before it). */
static int done(struct jit_vcpu *jv, int rc, bool step)
{
    if (rc < 0)
        return h_fault(jv);
    h_flags_in(jv);
    look_at_if(jv);
    return step ? h_step_done(jv, 0) : H_DISPATCH;
}

int h_step_done(struct jit_vcpu *jv, uint64_t arg)
{
    struct x86_event ev;

    (void)arg;
    if (jv->step) {
        jv->step = 0;
        jv->exit = JIT_EXIT_ENGINE;
        jv->exit_reason = ENGINE_EXIT_DEBUG;
        h_flags_out(jv);
        h_mode_changed(jv);
        return H_EXIT;
    }
    x86_debug_cause(&jv->st, X86_DR6_BS | h_break_take(jv));
    ev.vector = X86_DB;
    ev.type = X86_EVENT_EXCEPTION;
    ev.has_error = 0;
    ev.length = 0;
    ev.error = 0;
    ev.cr2 = 0;
    return h_deliver(jv, &ev);
}

static bool stepping(const struct jit_vcpu *jv)
{
    return jv->key & KEY_STEP;
}

int h_rdmsr(struct jit_vcpu *jv, uint64_t arg)
{
    if (x86_rdmsr(&jv->cpu) < 0)
        return h_fault(jv);
    if (!stepping(jv))
        return H_CONTINUE;
    jv->st.rip = next_rip(jv, arg);
    return h_step_done(jv, 0);
}

/* The timer of the APIC and the paravirtual clock go by the TSC. */
static uint64_t c_tsc_changed(void *opaque, uint64_t b, uint64_t c, uint64_t d)
{
    struct jit_vcpu *jv = opaque;

    (void)b;
    (void)c;
    (void)d;
    vcpu_tsc_changed(jv->v, &jv->st);
    return 0;
}

int h_wrmsr(struct jit_vcpu *jv, uint64_t arg)
{
    uint64_t offset = jv->st.tsc_offset;
    bool step = stepping(jv);
    int rc;

    h_flags_out(jv);
    rc = x86_wrmsr(&jv->cpu);
    if (jv->st.tsc_offset != offset)
        (void)h_call_c(jv, c_tsc_changed, jv, 0, 0, 0);
    if (rc == X86_OK)
        jv->st.rip = next_rip(jv, arg);
    return done(jv, rc, step);
}

int h_cpuid(struct jit_vcpu *jv, uint64_t arg)
{
    x86_cpuid(&jv->cpu);
    if (!stepping(jv))
        return H_CONTINUE;
    jv->st.rip = next_rip(jv, arg);
    return h_step_done(jv, 0);
}

int h_syscall(struct jit_vcpu *jv, uint64_t arg)
{
    bool step = stepping(jv);
    int rc;

    h_flags_out(jv);
    rc = x86_syscall(&jv->cpu, next_rip(jv, arg));
    return done(jv, rc, jv->step || (step && (jv->st.rflags & X86_FLAGS_TF)));
}

/* A TF that it loads traps at once, before the program's next instruction. */
int h_sysret(struct jit_vcpu *jv, uint64_t arg)
{
    int rc;

    h_flags_out(jv);
    rc = x86_sysret(&jv->cpu, (arg >> 8) == 64 ? 8 : 4);
    return done(jv, rc, jv->step || (jv->st.rflags & X86_FLAGS_TF));
}

int h_iret(struct jit_vcpu *jv, uint64_t arg)
{
    bool step = stepping(jv); /* with TF before it, whatever it loads */
    int rc;

    h_flags_out(jv);
    rc = x86_iret(&jv->cpu, (unsigned)(arg >> 11));
    if (!step && !(jv->st.dr7 & 0xff)) /* RF means breakpoints only */
        jv->st.rflags &= ~(uint64_t)X86_FLAGS_RF;
    if (rc == X86_OK && !jv->st.nmi_blocked &&
        atomic_load(&jv->v->events) & VCPU_EVENT_NMI)
        atomic_fetch_or(&jv->pending, 0x100);
    return done(jv, rc, step);
}

int h_swapgs(struct jit_vcpu *jv, uint64_t arg)
{
    int rc = x86_swapgs(&jv->cpu);

    if (rc < 0)
        return h_fault(jv);
    jv->st.rip = next_rip(jv, arg);
    return stepping(jv) ? h_step_done(jv, 0) : H_DISPATCH;
}

int h_hlt(struct jit_vcpu *jv, uint64_t arg)
{
    if (!(jv->key & KEY_CPL0))
        return h_raise(jv, X86_GP, true, 0);
    jv->st.rip = next_rip(jv, arg);
    if (stepping(jv) && !jv->step) /* the trap wakes it (SDM vol. 2, HLT) */
        return h_step_done(jv, 0);
    if (h_wakes(jv)) {
        jv->irq_wait = 1;
        atomic_fetch_or(&jv->pending, 0x100);
        return H_DISPATCH;
    }
    jv->st.mp_state = X86_MP_HALTED;
    jv->exit = JIT_EXIT_ENGINE;
    jv->exit_reason = ENGINE_EXIT_HALT;
    return H_EXIT;
}

int h_popf(struct jit_vcpu *jv, uint64_t arg)
{
    unsigned size = (unsigned)(arg >> 11);
    struct x86_state *st = &jv->st;
    uint64_t image = 0, mask, sp;
    bool step = stepping(jv);
    gva_t gva;

    if ((jv->key & KEY_SIZE_MASK) == 2)
        size = size == 2 ? 2 : 8;
    mask = (jv->key & KEY_SIZE_MASK) == 2 ? ~(uint64_t)0
           : jv->key & KEY_SS16           ? UINT16_MAX
                                          : UINT32_MAX;
    sp = st->gpr[X86_RSP] & mask;
    h_flags_out(jv);
    gva = x86_linear(st, X86_SS, sp);
    if ((jv->key & KEY_SIZE_MASK) == 2
            ? !h_canonical(jv, gva) || !h_canonical(jv, gva + size - 1)
            : !x86_seg_allows(st, X86_SS, sp, size, false))
        return h_raise(jv, X86_SS_FAULT, true, 0);
    if (h_alignment(jv, gva, size) < 0 ||
        h_read(jv, gva, &image, size, (enum jit_mode)key_mode(jv->key)) < 0)
        return h_fault(jv);
    if (x86_popf(&jv->cpu, image, size) < 0)
        return h_fault(jv);
    st->gpr[X86_RSP] = (st->gpr[X86_RSP] & ~mask) | ((sp + size) & mask);
    st->rip = next_rip(jv, arg);
    h_mode_changed(jv);
    return done(jv, X86_OK, step);
}

int h_wrbase(struct jit_vcpu *jv, uint64_t arg)
{
    if (!h_canonical(jv, jv->tmp))
        return h_raise(jv, X86_GP, true, 0);
    jv->st.seg[arg].base = jv->tmp;
    return H_CONTINUE;
}

/* An access beyond its segment's limit, or to a segment with other rules. */
int h_segment(struct jit_vcpu *jv, uint64_t arg)
{
    enum x86_sreg reg = (enum x86_sreg)(arg & 7);
    const uint64_t *off = (const void *)((const uint8_t *)jv + JV_GLUE_TMP);
    unsigned size = arg >> 4 & DESC_SIZE_MASK;
    bool aligned = !(arg & H_SEGMENT_ALIGNED) ||
                   !((jv->st.seg[reg].base + *off) & (size - 1));

    if (x86_seg_allows(&jv->st, reg, *off, size, arg & 8))
        return H_CONTINUE;
    return h_raise(jv, reg == X86_SS && aligned ? X86_SS_FAULT : X86_GP, true,
                   0);
}

int h_rare(struct jit_vcpu *jv, uint64_t arg)
{
    uint32_t flag_if = jv->flag_if;
    bool step = stepping(jv);
    int rc;

    jv->stat[JIT_STAT_RARE]++;
    h_flags_out(jv);
    rc = (int)h_call_c(jv, rare_run, jv, arg & 0xff, arg >> 32, 0);
    if (rc == H_EXIT)
        return H_EXIT;
    if (rc == H_CONTINUE) { /* an event was delivered instead */
        return H_DISPATCH;
    }
    h_flags_in(jv);
    look_at_if(jv);
    /* No trap behind MOV SS (SDM vol. 3, 6.8.3); STI has changed IF. */
    if (jv->st.int_shadow && jv->flag_if == flag_if && !jv->step)
        return H_DISPATCH;
    return step ? h_step_done(jv, 0) : H_DISPATCH;
}
