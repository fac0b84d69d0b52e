#include "base/clock.h"
#include "devices/pc/lapic_int.h"
#include "devices/pc/phase.h"

/*
 * The timer of a local APIC (SDM vol. 3, 11.5.4): one-shot, periodic,
 * and TSC deadline.
 *
 * The registers that matter here are under l->lock, as the event loop's thread
 * shares them. Both sides call lapic_timer_poll_locked, which finds out from
 * the clock whether the timer has run out, so that a late or stale call of
 * the event timer does no harm. Whoever it tells so raises the interrupt,
 * after dropping the lock.
 */

/* Shorter periods than this keep their count but interrupt no faster, as a
 * guest must not be able to keep the event loop busy for ever. */
#define LAPIC_MIN_PERIOD_NS 100000u

__extension__ typedef unsigned __int128 u128;

static unsigned lapic_timer_mode(struct lapic *l)
{
    uint32_t lvt =
        atomic_load_explicit(&l->st.lvt[LAPIC_LVT_TIMER], memory_order_relaxed);

    return (lvt & LAPIC_LVT_TIMER_MODE) >> LAPIC_LVT_TIMER_SHIFT;
}

/* Divide configuration, bits 0, 1 and 3: 2, 4 .. 128, then 1. */
static unsigned lapic_timer_shift(uint32_t div)
{
    return (((div & 3) | ((div & 8) >> 1)) + 1) & 7;
}

/* 1 tick is 1 ns (LAPIC_TIMER_HZ). At most 2^39. */
static uint64_t lapic_timer_period_ns(const struct lapic *l)
{
    return (uint64_t)l->st.timer_init << lapic_timer_shift(l->st.timer_div);
}

/* Host nanoseconds for tsc ticks, rounded up. */
static uint64_t lapic_tsc_to_ns(const struct lapic *l, uint64_t tsc)
{
    u128 ns = ((u128)tsc * NS_PER_SEC + l->tsc_hz - 1) / l->tsc_hz;

    return ns < PHASE_NEVER_NS ? (uint64_t)ns : PHASE_NEVER_NS;
}

static bool lapic_deadline_poll_locked(struct lapic *l) REQUIRES(l->lock)
{
    uint64_t now_ns, tsc;

    if (!l->st.tsc_deadline) {
        timer_cancel(&l->timer);
        return false;
    }
    now_ns = clock_now_ns();
    tsc = clock_rdtsc() + (uint64_t)l->tsc_offset;
    if (tsc >= l->st.tsc_deadline) {
        l->st.tsc_deadline = 0;
        timer_cancel(&l->timer);
        return true;
    }
    timer_arm(&l->timer, now_ns + lapic_tsc_to_ns(l, l->st.tsc_deadline - tsc));
    return false;
}

static bool lapic_count_poll_locked(struct lapic *l) REQUIRES(l->lock)
{
    uint64_t period = lapic_timer_period_ns(l);
    uint64_t now, gone, next;
    bool fired;

    if (!l->st.timer_start_ns || !period) {
        timer_cancel(&l->timer);
        return false;
    }
    now = clock_now_ns();
    gone = now - l->st.timer_start_ns;
    fired = gone >= period;
    if (fired && lapic_timer_mode(l) != LAPIC_TIMER_PERIODIC) {
        l->st.timer_start_ns = 0;
        timer_cancel(&l->timer);
        return true;
    }
    /* Missed periods fold into one: IRR holds one request anyway. */
    l->st.timer_start_ns += gone / period * period;
    next = phase_deadline(l->st.timer_start_ns, period, now);
    if (fired && period < LAPIC_MIN_PERIOD_NS &&
        next < now + LAPIC_MIN_PERIOD_NS)
        next = now + LAPIC_MIN_PERIOD_NS;
    timer_arm(&l->timer, next);
    return fired;
}

/* Arm for what comes next; returns whether the timer has run out. */
static bool lapic_timer_poll_locked(struct lapic *l) REQUIRES(l->lock)
{
    switch (lapic_timer_mode(l)) {
    case LAPIC_TIMER_DEADLINE: return lapic_deadline_poll_locked(l);
    case LAPIC_TIMER_ONE_SHOT:
    case LAPIC_TIMER_PERIODIC: return lapic_count_poll_locked(l);
    default: return false;
    }
}

void lapic_timer_poll(struct lapic *l)
{
    bool fired;

    lock_take(&l->lock);
    fired = lapic_timer_poll_locked(l);
    lock_drop(&l->lock);
    if (fired)
        lapic_fire_lvt(l, LAPIC_LVT_TIMER);
}

static void lapic_timer_expired(void *opaque)
{
    lapic_timer_poll(opaque);
}

void lapic_timer_init(struct lapic *l, struct loop *loop)
{
    lock_init_ranked(&l->lock, LOCK_RANK_DEVICE);
    timer_init(&l->timer, loop, lapic_timer_expired, l);
    l->tsc_hz = NS_PER_SEC; /* until lapic_set_tsc */
}

void lapic_timer_fini(struct lapic *l)
{
    timer_cancel(&l->timer);
    lock_fini(&l->lock);
}

void lapic_timer_reset(struct lapic *l)
{
    lock_take(&l->lock);
    l->st.timer_init = 0;
    l->st.timer_div = 0;
    l->st.timer_start_ns = 0;
    l->st.tsc_deadline = 0;
    timer_cancel(&l->timer);
    lock_drop(&l->lock);
}

void lapic_timer_loaded(struct lapic *l, int64_t shift_ns)
{
    lock_take(&l->lock);
    if (l->st.timer_start_ns)
        l->st.timer_start_ns += (uint64_t)shift_ns;
    lock_drop(&l->lock);
    lapic_timer_poll(l);
}

void lapic_set_tsc(void *lapic, int64_t offset, uint64_t hz)
{
    struct lapic *l = lapic;

    lock_take(&l->lock);
    l->tsc_offset = offset;
    l->tsc_hz = hz ? hz : NS_PER_SEC;
    lock_drop(&l->lock);
    lapic_timer_poll(l);
}

/* --- Registers ---------------------------------------------------------- */

void lapic_timer_set_initial(struct lapic *l, uint32_t count)
{
    /* Ignored in TSC-deadline mode (11.5.4.1). */
    if (lapic_timer_mode(l) == LAPIC_TIMER_DEADLINE)
        return;
    lock_take(&l->lock);
    l->st.timer_init = count;
    l->st.timer_start_ns = count ? clock_now_ns() : 0;
    lock_drop(&l->lock);
    lapic_timer_poll(l);
}

uint32_t lapic_timer_initial(struct lapic *l)
{
    uint32_t val;

    lock_take(&l->lock);
    val = lapic_timer_mode(l) == LAPIC_TIMER_DEADLINE ? 0 : l->st.timer_init;
    lock_drop(&l->lock);
    return val;
}

static uint32_t lapic_timer_current_locked(struct lapic *l) REQUIRES(l->lock)
{
    uint64_t period = lapic_timer_period_ns(l);
    uint64_t gone;

    if (!l->st.timer_start_ns || !period ||
        lapic_timer_mode(l) == LAPIC_TIMER_DEADLINE)
        return 0;
    gone = clock_now_ns() - l->st.timer_start_ns;
    if (lapic_timer_mode(l) == LAPIC_TIMER_PERIODIC)
        gone %= period;
    else if (gone >= period)
        return 0;
    return (uint32_t)((period - gone) >> lapic_timer_shift(l->st.timer_div));
}

uint32_t lapic_timer_current(struct lapic *l)
{
    uint32_t val;

    lock_take(&l->lock);
    val = lapic_timer_current_locked(l);
    lock_drop(&l->lock);
    return val;
}

void lapic_timer_set_divide(struct lapic *l, uint32_t val)
{
    lock_take(&l->lock);
    l->st.timer_div = val & 0xb;
    lock_drop(&l->lock);
    lapic_timer_poll(l);
}

uint32_t lapic_timer_divide(struct lapic *l)
{
    uint32_t val;

    lock_take(&l->lock);
    val = l->st.timer_div;
    lock_drop(&l->lock);
    return val;
}

/* To and from TSC deadline the timer is disarmed (11.5.4.1). */
void lapic_timer_mode_changed(struct lapic *l)
{
    lock_take(&l->lock);
    if (lapic_timer_mode(l) == LAPIC_TIMER_DEADLINE)
        l->st.timer_start_ns = 0;
    else
        l->st.tsc_deadline = 0;
    lock_drop(&l->lock);
    lapic_timer_poll(l);
}

uint64_t lapic_timer_deadline(struct lapic *l)
{
    uint64_t val;

    lock_take(&l->lock);
    val = l->st.tsc_deadline;
    lock_drop(&l->lock);
    return val;
}

void lapic_timer_set_deadline(struct lapic *l, uint64_t tsc)
{
    if (lapic_timer_mode(l) != LAPIC_TIMER_DEADLINE)
        return; /* ignored in the other modes (11.5.4.1) */
    lock_take(&l->lock);
    l->st.tsc_deadline = tsc;
    lock_drop(&l->lock);
    lapic_timer_poll(l);
}
