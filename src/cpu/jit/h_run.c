#include "cpu/jit/jit.h"

/*
 * Between blocks: find the next one, take interrupts, answer other threads.
 */

static uint64_t c_intc_pending(void *v, uint64_t b, uint64_t c, uint64_t d)
{
    struct vcpu *vcpu = v;

    (void)b;
    (void)c;
    (void)d;
    if (!vcpu->intc_ops)
        return (uint64_t)-1;
    return (uint64_t)vcpu->intc_ops->pending(vcpu->intc);
}

static uint64_t c_intc_ack(void *v, uint64_t b, uint64_t c, uint64_t d)
{
    struct vcpu *vcpu = v;

    (void)b;
    (void)c;
    (void)d;
    return (uint64_t)vcpu->intc_ops->ack(vcpu->intc);
}

void h_flags_out(struct jit_vcpu *jv)
{
    jv->st.rflags = (jv->arith & X86_FLAGS_ARITH) | jv->flag_if | jv->flag_df |
                    jv->flag_ac | jv->flags_other | X86_FLAGS_FIXED;
}

void h_flags_in(struct jit_vcpu *jv)
{
    uint64_t f = jv->st.rflags;

    jv->arith = f & X86_FLAGS_ARITH;
    jv->flag_if = f & X86_FLAGS_IF;
    jv->flag_df = f & X86_FLAGS_DF;
    jv->flag_ac = f & X86_FLAGS_AC;
    jv->flags_other =
        (uint32_t)f & ~(X86_FLAGS_ARITH | X86_FLAGS_IF | X86_FLAGS_DF |
                        X86_FLAGS_AC | X86_FLAGS_FIXED);
}

static int leave(struct jit_vcpu *jv, enum engine_exit why)
{
    jv->exit = JIT_EXIT_ENGINE;
    jv->exit_reason = why;
    return H_EXIT;
}

int h_deliver(struct jit_vcpu *jv, const struct x86_event *ev)
{
    int rc;

    h_flags_out(jv);
    rc = x86_deliver(&jv->cpu, ev);
    if (rc == X86_TRIPLE)
        return leave(jv, ENGINE_EXIT_TRIPLE);
    h_mode_changed(jv);
    h_flags_in(jv);
    return H_DISPATCH;
}

int h_fault(struct jit_vcpu *jv)
{
    struct x86_event ev;

    jv->break_hits = 0; /* what faults has met nothing */
    jv->stat[JIT_STAT_FAULT]++;
    ev.vector = jv->cpu.fault.vector;
    ev.type = jv->cpu.fault.type;
    ev.has_error = jv->cpu.fault.has_error;
    ev.length = jv->cpu.fault.length;
    ev.error = jv->cpu.fault.error;
    ev.cr2 = jv->cpu.fault.cr2;
    return h_deliver(jv, &ev);
}

int h_raise(struct jit_vcpu *jv, unsigned vector, bool has_error,
            uint32_t error)
{
    struct x86_event ev;

    ev.vector = (uint8_t)vector;
    ev.type = X86_EVENT_EXCEPTION;
    ev.has_error = has_error;
    ev.length = 0;
    ev.error = error;
    ev.cr2 = 0;
    return h_deliver(jv, &ev);
}

static int deliver_simple(struct jit_vcpu *jv, unsigned vector,
                          enum x86_event_type type)
{
    struct x86_event ev;

    ev.vector = (uint8_t)vector;
    ev.type = (uint8_t)type;
    ev.has_error = 0;
    ev.length = 0;
    ev.error = 0;
    ev.cr2 = 0;
    return h_deliver(jv, &ev);
}

/* An interrupt may wait: take it if IF allows, else watch for IF. */
static int take_interrupt(struct jit_vcpu *jv)
{
    int vec = (int)h_call_c(jv, c_intc_pending, jv->v, 0, 0, 0);

    jv->irq_wait = 0;
    if (vec < 0)
        return H_DISPATCH;
    /* A debugger's step is one of the program, not of an interrupt handler. */
    if (!jv->flag_if || jv->step) {
        jv->irq_wait = 1;
        return H_DISPATCH;
    }
    vec = (int)h_call_c(jv, c_intc_ack, jv->v, 0, 0, 0);
    if (vec < 0)
        return H_DISPATCH;
    return deliver_simple(jv, (unsigned)vec, X86_EVENT_EXTERNAL);
}

/* The pending word was set. H_DISPATCH: go on; H_EXIT: leave. */
static int serve(struct jit_vcpu *jv)
{
    struct vcpu *v = jv->v;
    uint32_t events;
    int rc;

    atomic_store(&jv->pending, 0);
    h_requests(jv);
    if (atomic_load(&jv->eng->exclusive) ||
        atomic_load(&jv->eng->flush_wanted)) {
        atomic_store(&jv->pending, 1); /* the events come after it */
        jv->exit = JIT_EXIT_GATE;
        return H_EXIT;
    }
    events = atomic_load(&v->events);
    if (events & ~(uint32_t)(VCPU_EVENT_INTR | VCPU_EVENT_NMI))
        return leave(jv, ENGINE_EXIT_KICK);
    if (events & VCPU_EVENT_NMI && !jv->st.nmi_blocked) {
        atomic_fetch_and(&v->events, ~(uint32_t)VCPU_EVENT_NMI);
        rc = deliver_simple(jv, X86_NMI, X86_EVENT_NMI);
        if (rc == H_EXIT)
            return rc;
    }
    if (events & VCPU_EVENT_INTR) {
        atomic_fetch_and(&v->events, ~(uint32_t)VCPU_EVENT_INTR);
        jv->irq_wait = 1;
    }
    return jv->irq_wait ? take_interrupt(jv) : H_DISPATCH;
}

bool h_wakes(struct jit_vcpu *jv)
{
    uint32_t events = atomic_load(&jv->v->events);

    if (events & VCPU_EVENT_NMI && !jv->st.nmi_blocked)
        return true;
    return jv->flag_if &&
           (int)h_call_c(jv, c_intc_pending, jv->v, 0, 0, 0) >= 0;
}

static struct jit_jc_entry *jc_slot(struct jit_vcpu *jv, uint64_t rip)
{
    return &jv->set->tables->jc[key_mode(jv->key)][jit_jc_index(rip)];
}

static uint64_t page_number(const struct jit_vcpu *jv, gpa_t gpa)
{
    const struct gmem_bank *b = gmem_bank(jv->eng->gmem, gpa, 1);

    return b ? b->page_idx + ((gpa - b->start) >> GPAGE_SHIFT) : 0;
}

/* The block for RIP, if it was translated and its second page is the same. */
static struct tb *find(struct jit_vcpu *jv, int *fault)
{
    gva_t gva = h_cs_base(jv) + jv->st.rip;
    gpa_t gpa, gpa2;
    struct tb *tb;

    *fault = h_fetch(jv, gva, &gpa);
    if (*fault < 0)
        return NULL;
    jv->xkey &= ~(uint32_t)KEY_SHARED;
    if (h_shared(jv, page_number(jv, gpa), gva)) {
        jv->xkey |= KEY_SHARED;
        tb = h_tb_find(jv, gva & GPAGE_MASK, gpa, jv->key | jv->xkey);
    } else {
        tb = h_tb_find(jv, jv->st.rip, gpa, jv->key | jv->xkey);
    }
    jv->slide = gva & ~GPAGE_MASK;
    if (!tb || !tb->gpa2)
        return tb;
    *fault = h_fetch(jv, (gva & ~GPAGE_MASK) + GPAGE_SIZE, &gpa2);
    if (*fault < 0 || gpa2 != tb->gpa2)
        return NULL;
    return tb;
}

static const void *translate(struct jit_vcpu *jv)
{
    jv->exit = JIT_EXIT_TRANSLATE;
    return NULL;
}

/* The instruction behind MOV SS: past its pending test. */
static const void *shadowed(struct jit_vcpu *jv)
{
    const struct tb *tb;
    int fault;

    jv->xkey = KEY_ONE;
    tb = find(jv, &fault);
    if (!tb)
        return translate(jv);
    jv->st.int_shadow = 0;
    jv->held_hits |= jv->break_hits;
    jv->break_hits = 0;
    return jit_code(jv->eng, tb, tb->entry);
}

const void *h_lookup(struct jit_vcpu *jv)
{
    struct jit_jc_entry *jc;
    struct tb *tb;
    bool global;
    int fault;

    jv->link = 0;
    jv->xkey = 0;
    jv->stat[JIT_STAT_LOOKUP]++;
    if (jv->st.int_shadow)
        return shadowed(jv);
    if (jv->break_hits | jv->held_hits && h_break_trap(jv) == H_EXIT)
        return NULL;
    if (atomic_load(&jv->pending) && serve(jv) == H_EXIT)
        return NULL;
    jc = jc_slot(jv, jv->st.rip);
    if (jc->tag == (uint64_t)0 - jv->st.rip)
        return jc->host;
    jv->stat[JIT_STAT_LOOKUP_SLOW]++;
    tb = find(jv, &fault);
    global =
        jv->set
            ->itlb[(h_cs_base(jv) + jv->st.rip) >> GPAGE_SHIFT & (JIT_ITLB - 1)]
            .global;
    if (!tb)
        return translate(jv); /* a fault is raised there, on the same walk */
    /* By the pending test: a cycle of indirect jumps has no other. */
    jc->host = jit_code(jv->eng, tb, tb->indirect);
    jc->tag = (uint64_t)0 - jv->st.rip;
    h_jc_note(jv->set, key_mode(jv->key), jit_jc_index(jv->st.rip),
              global && jv->st.rip >> 63 && !tb->gpa2);
    return jc->host;
}

bool h_may_run(const struct jit_vcpu *jv, uint64_t rip)
{
    return (jv->key & KEY_SIZE_MASK) == 2 ? x86_is_canonical(rip)
                                          : rip <= h_cs_limit(jv);
}

/* #GP(0) at the indirect JMP or CALL that jv->from names. */
static int refuse_jump(struct jit_vcpu *jv)
{
    const struct jit_engine *eng = jv->eng;
    uint64_t host =
        (uint64_t)(uintptr_t)(eng->code_rx + (jv->from & ~FROM_CALL));
    const struct tb *tb = h_tb_at(jv->eng, host);
    uint64_t *rsp = &jv->st.gpr[X86_RSP];

    if (tb)
        jv->st.rip = h_tb_rip(jv, tb) + h_tb_insn(jv->eng, tb, host);
    if (jv->from & FROM_CALL) {
        *rsp =
            (jv->key & KEY_SIZE_MASK) == 2 ? *rsp + 8 : (*rsp + 4) & UINT32_MAX;
        h_shadow_reset(jv); /* it has pushed there, too */
    }
    (void)x86_fault_err(&jv->cpu, X86_GP, 0);
    return h_fault(jv);
}

const void *h_jump(struct jit_vcpu *jv)
{
    if (!h_may_run(jv, jv->st.rip) && refuse_jump(jv) == H_EXIT)
        return NULL;
    return h_lookup(jv);
}

const void *h_pending(struct jit_vcpu *jv)
{
    return h_lookup(jv);
}

/* A jump to another page whose slot is empty in this address space. */
const void *h_slot(struct jit_vcpu *jv, uint32_t n)
{
    struct jit_engine *eng = jv->eng;
    struct jit_set *set = jv->set;
    struct tb *tb;
    int fault;

    jv->st.rip = eng->slots[n].rip;
    if (eng->slots[n].key & KEY_SHARED)
        jv->st.rip += jv->slide;
    if (atomic_load(&jv->pending))
        return h_lookup(jv);
    jv->link = 0;
    jv->xkey = 0;
    tb = find(jv, &fault);
    if (!tb)
        return translate(jv);
    if ((eng->slots[n].key & ~(uint32_t)KEY_SHARED) == jv->key &&
        set->nr_filled < SLOT_MAX) {
        tb->in_slot = true;
        set->filled[set->nr_filled++] = (uint16_t)n;
        set->tables->slide[n] = jv->slide;
        set->tables->slot[n] = jit_code(eng, tb, 0);
    }
    return jit_code(eng, tb, tb->entry);
}

/* Is tb what the link's block would jump to, mode and all? A key can change
 * under a block that a return comes back to. */
static bool same_key(struct jit_vcpu *jv, const struct tb_link *l,
                     const struct tb *tb)
{
    uint32_t differ = tb->key ^ jv->eng->tbs[l->from].key;

    if (l->rekey)
        differ &= ~(uint32_t)KEY_MODE_MASK;
    return !(differ & ~(uint32_t)KEY_UNHOISTED);
}

/* Is the link from here to tb good for as long as both blocks live? */
static bool may_link(struct jit_vcpu *jv, const struct tb_link *l,
                     const struct tb *tb)
{
    gva_t gva = tb->cs_base + tb->rip;

    if (!l->cross && !tb->gpa2)
        return true;
    if (!(gva >> 63))
        return false;
    if (!h_kpage_note(jv, gva, tb->gpa))
        return false;
    return !tb->gpa2 || h_kpage_note(jv, gva + GPAGE_SIZE, tb->gpa2);
}

const void *h_link(struct jit_vcpu *jv, uint32_t n)
{
    struct jit_engine *eng = jv->eng;
    struct tb *tb;
    int fault;

    if (atomic_load(&jv->pending))
        return h_lookup(jv);
    jv->link = 0;
    jv->xkey = n < eng->nr_links && eng->links[n].unhoisted ? KEY_UNHOISTED : 0;
    jv->stat[JIT_STAT_LINK]++;
    tb = find(jv, &fault);
    if (!tb) {
        const void *code = translate(jv);

        jv->link = n;
        return code;
    }
    jit_lock_take(&eng->lock);
    if (n < eng->nr_links && !tb->invalid && !eng->links[n].to &&
        same_key(jv, &eng->links[n], tb)) {
        if (may_link(jv, &eng->links[n], tb)) {
            if (tb->gpa2)
                eng->links[n].cross = 1;
            h_tb_link(eng, n, tb);
        } else if (!eng->links[n].unhoisted) {
            /* (The jump cache has no unshared translations.) */
            h_tb_link_alt(jv, n);
        }
    }
    jit_lock_drop(&eng->lock);
    return jit_code(eng, tb, tb->entry);
}
