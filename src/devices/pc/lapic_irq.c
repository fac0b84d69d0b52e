#include <errno.h>

#include "devices/pc/lapic_int.h"

/*
 * Requests and service (SDM vol. 3, 11.8): the way of a vector from IRR
 * through ISR to its EOI, and the paravirtual EOI of KVM (x86/msr.rst).
 *
 * Senders on any thread set TMR, then IRR, then post. The CPU takes bits out
 * of IRR by itself. An IRR bit that was already set needs no second post: the
 * first one has not been looked at yet, or the CPU has looked and is held back
 * by a priority that only it can lower, after which it looks again.
 */

static int top_bit(unsigned word, uint32_t bits)
{
    return (int)(word * 32 + 31 - (unsigned)__builtin_clz(bits));
}

/* Highest requested vector or -1. Pairs with the fetch-or in lapic_accept. */
static int lapic_top_irr(struct lapic *l)
{
    unsigned i = 8;

    while (i-- > 0) {
        uint32_t bits =
            atomic_load_explicit(&l->st.irr[i], memory_order_acquire);

        if (bits)
            return top_bit(i, bits);
    }
    return -1;
}

static int lapic_top_isr(const struct lapic *l)
{
    unsigned i = 8;

    while (i-- > 0) {
        if (l->st.isr[i])
            return top_bit(i, l->st.isr[i]);
    }
    return -1;
}

static bool lapic_is_level(struct lapic *l, unsigned vector)
{
    return atomic_load_explicit(&l->st.tmr[vector / 32], memory_order_relaxed) &
           (1u << (vector % 32));
}

static void lapic_set_trigger(struct lapic *l, unsigned vector, bool level)
{
    _Atomic uint32_t *tmr = &l->st.tmr[vector / 32];
    uint32_t bit = 1u << (vector % 32);

    /* Nearly always right already: spare the locked instruction. */
    if (lapic_is_level(l, vector) == level)
        return;
    if (level)
        (void)atomic_fetch_or_explicit(tmr, bit, memory_order_relaxed);
    else
        (void)atomic_fetch_and_explicit(tmr, ~bit, memory_order_relaxed);
}

void lapic_accept(struct lapic *l, unsigned vector, bool level)
{
    uint32_t bit = 1u << (vector % 32);

    if (vector < 16) {
        lapic_error(l, LAPIC_ESR_RECV_ILLEGAL);
        return;
    }
    if (!lapic_is_enabled(l) ||
        !(atomic_load_explicit(&l->st.svr, memory_order_relaxed) &
          LAPIC_SVR_ENABLE))
        return;
    lapic_set_trigger(l, vector, level);
    if (!(atomic_fetch_or(&l->st.irr[vector / 32], bit) & bit))
        lapic_post(l, LAPIC_EVENT_INTR, 0);
}

void lapic_fire_lvt(struct lapic *l, enum lapic_lvt n)
{
    uint32_t lvt = atomic_load_explicit(&l->st.lvt[n], memory_order_relaxed);

    if (lvt & LAPIC_LVT_MASKED)
        return;
    switch (lapic_mode_of(lvt)) {
    case LAPIC_MODE_FIXED:
        lapic_accept(l, lvt & LAPIC_LVT_VECTOR,
                     (n == LAPIC_LVT_LINT0 || n == LAPIC_LVT_LINT1) &&
                         (lvt & LAPIC_LVT_LEVEL));
        break;
    case LAPIC_MODE_NMI: lapic_post(l, LAPIC_EVENT_NMI, 0); break;
    /* ExtINT is a level, which lapic_extint() looks at. */
    case LAPIC_MODE_EXTINT: lapic_post(l, LAPIC_EVENT_INTR, 0); break;
    default: break;
    }
}

void lapic_lint_changed(struct lapic *l, enum lapic_lvt n, bool level)
{
    if (!level)
        return;
    if (lapic_is_enabled(l))
        lapic_fire_lvt(l, n);
    else if (n == LAPIC_LVT_LINT0)
        lapic_post(l, LAPIC_EVENT_INTR, 0); /* the pin is INTR (11.4.3) */
    else
        lapic_post(l, LAPIC_EVENT_NMI, 0);
}

void lapic_error(struct lapic *l, uint32_t bit)
{
    if (!(atomic_fetch_or(&l->st.errors, bit) & bit) && lapic_is_enabled(l))
        lapic_fire_lvt(l, LAPIC_LVT_ERROR);
}

/* Does the 8259, or a message of type ExtINT, ask for an INTA cycle? */
static bool lapic_extint(struct lapic *l)
{
    uint32_t lvt;

    if (atomic_load_explicit(&l->st.extint, memory_order_acquire))
        return true;
    if (!atomic_load_explicit(&l->bus->lint0, memory_order_acquire))
        return false;
    if (!lapic_is_enabled(l))
        return true;
    lvt =
        atomic_load_explicit(&l->st.lvt[LAPIC_LVT_LINT0], memory_order_relaxed);
    return !(lvt & LAPIC_LVT_MASKED) && lapic_mode_of(lvt) == LAPIC_MODE_EXTINT;
}

void lapic_update_ppr(struct lapic *l)
{
    uint32_t tpr = atomic_load_explicit(&l->st.tpr, memory_order_relaxed);
    int isr = lapic_top_isr(l);
    uint32_t ppr = tpr;

    if (isr >= 0 && ((uint32_t)isr >> 4) > (tpr >> 4))
        ppr = (uint32_t)isr & 0xf0;
    atomic_store_explicit(&l->st.ppr, ppr, memory_order_relaxed);
}

/* --- Paravirtual EOI ---------------------------------------------------- */

/*
 * While pv_eoi_pending, bit 0 of the guest's flag is set and the topmost ISR
 * bit waits for an EOI that the guest gives by clearing the flag. That works
 * only as long as nothing else is requested, as nobody would look at IRR when
 * the flag is cleared. A request that arrives posts, the CPU's thread comes to
 * lapic_pending, and that takes the flag back. No race with the guest is
 * possible: only the code of this very CPU clears the flag.
 */

static bool lapic_pv_eoi_take(struct lapic *l)
{
    uint8_t old = __atomic_fetch_and(l->pv_eoi_hva, 0xfe, __ATOMIC_RELAXED);

    gmem_written(l->bus->gmem, l->st.pv_eoi & ~(uint64_t)1, 1);
    l->st.pv_eoi_pending = 0;
    return old & 1;
}

/* The topmost interrupt in service has ended; no more than that. */
static int lapic_end_top(struct lapic *l)
{
    int v = lapic_top_isr(l);

    if (v >= 0) {
        l->st.isr[v / 32] &= ~(1u << (v % 32));
        lapic_update_ppr(l);
    }
    return v;
}

void lapic_pv_eoi_sync(struct lapic *l)
{
    if (!l->st.pv_eoi_pending)
        return;
    if (!(__atomic_load_n(l->pv_eoi_hva, __ATOMIC_RELAXED) & 1)) {
        l->st.pv_eoi_pending = 0;
        (void)lapic_end_top(l);
    }
}

/* The CPU has just accepted vector. */
static void lapic_pv_eoi_offer(struct lapic *l, unsigned vector, int below)
{
    if (!l->pv_eoi_hva || below >= 0 || lapic_is_level(l, vector) ||
        lapic_top_irr(l) >= 0)
        return;
    (void)__atomic_fetch_or(l->pv_eoi_hva, 1, __ATOMIC_RELAXED);
    gmem_written(l->bus->gmem, l->st.pv_eoi & ~(uint64_t)1, 1);
    l->st.pv_eoi_pending = 1;
}

void lapic_pv_eoi_bind(struct lapic *l)
{
    gpa_t gpa = l->st.pv_eoi & ~(uint64_t)1;
    const struct gmem_bank *bank = NULL;

    l->pv_eoi_hva = NULL;
    if ((l->st.pv_eoi & 1) && l->bus->gmem)
        bank = gmem_bank(l->bus->gmem, gpa, 4);
    if (bank && !bank->readonly)
        l->pv_eoi_hva = bank->hva + (gpa - bank->start);
    if (!l->pv_eoi_hva)
        l->st.pv_eoi_pending = 0;
}

int lapic_pv_eoi_write(struct lapic *l, uint64_t val)
{
    if (val & 2)
        return -EINVAL; /* the address is 4-byte aligned */
    lapic_pv_eoi_sync(l);
    if (l->st.pv_eoi_pending)
        (void)lapic_pv_eoi_take(l);
    l->st.pv_eoi = val;
    lapic_pv_eoi_bind(l);
    return (val & 1) && !l->pv_eoi_hva ? -EINVAL : 0;
}

/* --- The CPU's side ----------------------------------------------------- */

/* Highest vector that beats the processor priority, or -1. */
static int lapic_ready(struct lapic *l)
{
    int v = lapic_top_irr(l);

    if (v < 0 || !lapic_is_enabled(l))
        return -1;
    lapic_pv_eoi_sync(l);
    /* Something waits: from now on the CPU must be told of the EOI. */
    if (l->st.pv_eoi_pending && !lapic_pv_eoi_take(l))
        (void)lapic_end_top(l);
    return ((uint32_t)v >> 4) >
                   (atomic_load_explicit(&l->st.ppr, memory_order_relaxed) >> 4)
               ? v
               : -1;
}

int lapic_pending(void *lapic)
{
    struct lapic *l = lapic;

    if (lapic_extint(l))
        return l->bus->ops.pic_peek ? l->bus->ops.pic_peek(l->bus->ops.pic)
                                    : -1;
    return lapic_ready(l);
}

int lapic_ack(void *lapic)
{
    struct lapic *l = lapic;
    int v, below;

    if (lapic_extint(l)) {
        atomic_store_explicit(&l->st.extint, 0, memory_order_relaxed);
        return l->bus->ops.pic_ack ? l->bus->ops.pic_ack(l->bus->ops.pic) : -1;
    }
    v = lapic_ready(l);
    if (v < 0)
        return -1;
    (void)atomic_fetch_and_explicit(&l->st.irr[v / 32], ~(1u << (v % 32)),
                                    memory_order_acquire);
    below = lapic_top_isr(l);
    l->st.isr[v / 32] |= 1u << (v % 32);
    atomic_store_explicit(&l->st.ppr, (uint32_t)v & 0xf0, memory_order_relaxed);
    lapic_pv_eoi_offer(l, (unsigned)v, below);
    return v;
}

void lapic_recheck(struct lapic *l)
{
    if (lapic_ready(l) >= 0 || lapic_extint(l))
        lapic_post(l, LAPIC_EVENT_INTR, 0);
}

/* A level-triggered LINT pin that is still high asks again (11.5.1). */
static void lapic_recheck_lint(struct lapic *l, enum lapic_lvt n,
                               unsigned vector, bool level)
{
    uint32_t lvt = atomic_load_explicit(&l->st.lvt[n], memory_order_relaxed);

    if (level && lapic_mode_of(lvt) == LAPIC_MODE_FIXED &&
        (lvt & LAPIC_LVT_LEVEL) && (lvt & LAPIC_LVT_VECTOR) == vector)
        lapic_fire_lvt(l, n);
}

void lapic_eoi(struct lapic *l)
{
    int v;

    lapic_pv_eoi_sync(l);
    if (l->st.pv_eoi_pending && !lapic_pv_eoi_take(l))
        (void)lapic_end_top(l);
    v = lapic_end_top(l);
    if (v < 0)
        return;
    if (lapic_is_level(l, (unsigned)v)) {
        if (l->bus->ops.eoi)
            l->bus->ops.eoi(l->bus->ops.ioapic, (uint8_t)v);
        lapic_recheck_lint(l, LAPIC_LVT_LINT0, (unsigned)v,
                           atomic_load(&l->bus->lint0));
        lapic_recheck_lint(l, LAPIC_LVT_LINT1, (unsigned)v,
                           atomic_load(&l->bus->lint1));
    }
    lapic_recheck(l);
}
