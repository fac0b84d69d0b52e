#include "cpu/vcpu.h"

#include <assert.h>
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "cpu/vcpu_set.h"

/*
 * The run loop of a virtual CPU, what stops it and what wakes it.
 *
 * Each vCPU has one thread. It is in one of four places:
 *
 *   in run   guest code; left when an event is posted and the engine notices
 *   asleep   in HLT or waiting for a SIPI: on the futex v->sleeping
 *   parked   in vcpu_park, under set->lock: paused or held by a debugger
 *   stopped  in vcpu_report: after a triple fault or an engine error, until
 *            somebody pauses the set
 *
 * Events are bits in v->events. Whoever posts one sets the bit and then looks
 * at v->sleeping; whoever goes to sleep sets v->sleeping and then looks at
 * v->events. Both are sequentially consistent, so at least one of the two
 * sees the other's store (Dekker), and no wake-up is lost.
 *
 * v->running says, under set->lock, that the thread may touch guest state. It
 * stays true while the thread sleeps: a pause wakes it up.
 */

/* The events that run loop and engine leave to each other. */
enum {
    EVENTS_ALL = 0xff,
    EVENTS_PARK = VCPU_EVENT_PAUSE | VCPU_EVENT_STOP,
    /* What ends the wait for a SIPI: INTR and NMI do not (SDM vol. 3,
     * 9.4.4), but their bits are kept for afterwards. */
    EVENTS_WAIT_SIPI = EVENTS_PARK | VCPU_EVENT_INIT | VCPU_EVENT_SIPI
};

/* Where the xAPIC registers are after a reset (SDM vol. 3, 11.4.1). */
#define APIC_BASE_RESET 0xfee00000u
#define APIC_PAGE_SIZE  0x1000u
#define APIC_BASE_NONE  UINT64_MAX

/* --- Sleeping and waking ------------------------------------------------ */

/* Wait until an event of wanted is there. May also return without one. */
static void vcpu_sleep(struct vcpu *v, uint32_t wanted)
{
    atomic_store(&v->sleeping, 1); /* pairs with the load in vcpu_post */
    if (!(atomic_load(&v->events) & wanted))
        (void)syscall(SYS_futex, &v->sleeping, FUTEX_WAIT_PRIVATE, 1, NULL,
                      NULL, 0);
    atomic_store(&v->sleeping, 0);
}

static void vcpu_wake(struct vcpu *v)
{
    /* Of several posters one makes the system call. */
    if (atomic_exchange(&v->sleeping, 0))
        (void)syscall(SYS_futex, &v->sleeping, FUTEX_WAKE_PRIVATE, 1, NULL,
                      NULL, 0);
}

void vcpu_post(struct vcpu *v, enum vcpu_event ev, uint8_t sipi_vector)
{
    if (ev == VCPU_EVENT_SIPI)
        atomic_store(&v->sipi_vector, sipi_vector);
    (void)atomic_fetch_or(&v->events, (uint32_t)ev);
    if (atomic_load(&v->sleeping)) /* pairs with the store in vcpu_sleep */
        vcpu_wake(v);
    else
        v->set->ops->kick(v);
}

/* --- Pause and resume --------------------------------------------------- */

void vcpu_set_pause_locked(struct vcpu_set *set)
{
    unsigned i;

    if (set->pauses++ > 0)
        return;
    set->pause_gen++;
    for (i = 0; i < set->nr; i++)
        vcpu_post(&set->vcpu[i], VCPU_EVENT_PAUSE, 0);
    (void)pthread_cond_broadcast(&set->changed); /* to the stopped ones */
}

void vcpu_set_resume_locked(struct vcpu_set *set)
{
    assert(set->pauses > 0);
    if (--set->pauses == 0)
        (void)pthread_cond_broadcast(&set->changed);
}

static void vcpu_set_wait(struct vcpu_set *set) REQUIRES(set->lock)
{
    unsigned i = 0;

    while (i < set->nr) {
        if (set->vcpu[i].running) {
            (void)pthread_cond_wait(&set->changed, &set->lock.m);
            i = 0; /* a resume may have let others go meanwhile */
        } else {
            i++;
        }
    }
}

void vcpu_set_pause(struct vcpu_set *set)
{
    lock_take(&set->lock);
    vcpu_set_pause_locked(set);
    vcpu_set_wait(set);
    lock_drop(&set->lock);
}

void vcpu_set_resume(struct vcpu_set *set)
{
    lock_take(&set->lock);
    vcpu_set_resume_locked(set);
    lock_drop(&set->lock);
}

/* Stay here while paused. Returns false when the thread shall end. */
static bool vcpu_park(struct vcpu *v)
{
    struct vcpu_set *set = v->set;
    bool go_on;

    lock_take(&set->lock);
    (void)atomic_fetch_and(&v->events, ~(uint32_t)VCPU_EVENT_PAUSE);
    v->running = false;
    (void)pthread_cond_broadcast(&set->changed); /* to vcpu_set_wait */
    while ((set->pauses > 0 || v->held) && !set->stop)
        (void)pthread_cond_wait(&set->changed, &set->lock.m);
    go_on = !set->stop;
    v->running = go_on;
    lock_drop(&set->lock);
    return go_on;
}

/* Tell the machine that v cannot go on, and wait until it did something. */
static void vcpu_report(struct vcpu *v, enum vcpu_stop_reason why)
{
    struct vcpu_set *set = v->set;
    uint64_t gen;

    lock_take(&set->lock);
    gen = set->pause_gen;
    lock_drop(&set->lock);

    set->cfg.stopped(set->cfg.opaque, why);

    lock_take(&set->lock);
    v->running = false;
    (void)pthread_cond_broadcast(&set->changed); /* to vcpu_set_wait */
    while (set->pauses == 0 && set->pause_gen == gen && !set->stop)
        (void)pthread_cond_wait(&set->changed, &set->lock.m);
    lock_drop(&set->lock);
    /* Not running until vcpu_park says so. */
    (void)atomic_fetch_or(&v->events, VCPU_EVENT_PAUSE);
}

/* --- The thread --------------------------------------------------------- */

/* INIT: back to the reset vector, or to waiting for a SIPI. */
static void vcpu_init(struct vcpu *v)
{
    struct x86_state st;

    vcpu_get_state(v, &st);
    x86_state_init(&st, v->index);
    vcpu_set_state(v, &st);
    if (v->intc)
        v->intc_ops->reset(v->intc, true);
}

static void vcpu_sipi(struct vcpu *v)
{
    struct x86_state st;

    if (!v->wait_sipi)
        return; /* ignored while running (SDM vol. 3, 9.4.2) */
    vcpu_get_state(v, &st);
    x86_state_sipi(&st, atomic_load(&v->sipi_vector));
    st.mp_state = X86_MP_RUNNING;
    vcpu_set_state(v, &st);
}

/* If both were posted since the last look, INIT came first: the other order
 * is no way to start a CPU. */
static void vcpu_take_signals(struct vcpu *v)
{
    uint32_t bits = VCPU_EVENT_INIT | VCPU_EVENT_SIPI;
    uint32_t events = atomic_load_explicit(&v->events, memory_order_relaxed);

    if (!(events & bits))
        return;
    events = atomic_fetch_and(&v->events, ~bits);
    if (events & VCPU_EVENT_INIT)
        vcpu_init(v);
    if (events & VCPU_EVENT_SIPI)
        vcpu_sipi(v);
}

static void vcpu_run_once(struct vcpu *v)
{
    switch (v->set->ops->run(v)) {
    case ENGINE_EXIT_KICK: break;
    case ENGINE_EXIT_HALT: vcpu_sleep(v, EVENTS_ALL); break;
    case ENGINE_EXIT_TRIPLE: vcpu_report(v, VCPU_STOP_TRIPLE); break;
    case ENGINE_EXIT_DEBUG: vcpu_debug_exit(v); break;
    case ENGINE_EXIT_ERROR: vcpu_report(v, VCPU_STOP_ERROR); break;
    }
}

static void *vcpu_main(void *arg)
{
    struct vcpu *v = arg;

    v->set->ops->vcpu_thread_start(v);
    for (;;) {
        uint32_t events =
            atomic_load_explicit(&v->events, memory_order_relaxed);

        if ((events & EVENTS_PARK) && !vcpu_park(v))
            return NULL;
        vcpu_take_signals(v);
        if (v->wait_sipi)
            vcpu_sleep(v, EVENTS_WAIT_SIPI);
        else
            vcpu_run_once(v);
    }
}

/* Signals are the main thread's, but for those that an instruction raises,
 * and those that the engine opens for itself in vcpu_thread_start. */
static void vcpu_signal_mask(sigset_t *mask)
{
    (void)sigfillset(mask);
    (void)sigdelset(mask, SIGSEGV);
    (void)sigdelset(mask, SIGBUS);
    (void)sigdelset(mask, SIGFPE);
    (void)sigdelset(mask, SIGILL);
    (void)sigdelset(mask, SIGTRAP);
    (void)sigdelset(mask, SIGSYS);
    (void)sigdelset(mask, SIGABRT);
}

static int vcpu_start(struct vcpu *v, struct err *err)
{
    sigset_t mask, old;
    char name[16];
    int rc;

    vcpu_signal_mask(&mask);
    (void)pthread_sigmask(SIG_SETMASK, &mask, &old);
    rc = pthread_create(&v->thread, NULL, vcpu_main, v);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc)
        return err_set(err, -rc, "start a thread for CPU %u: %s", v->index,
                       strerrordesc_np(rc));
    v->thread_started = true;
    (void)snprintf(name, sizeof(name), "vcpu%u", v->index);
    (void)pthread_setname_np(v->thread, name);
    return 0;
}

/* --- The set ------------------------------------------------------------ */

static const struct {
    const char *name;
    const struct engine_ops *ops;
} engines[] = {
    {"auto", &jit_engine_ops},
    {"jit", &jit_engine_ops},
};

static int vcpu_set_engine(struct vcpu_set *set, struct err *err)
{
    const char *name = set->cfg.engine ? set->cfg.engine : "auto";
    size_t i;

    set->ops = set->cfg.ops;
    for (i = 0; !set->ops && i < ARRAY_LEN(engines); i++)
        if (strcmp(engines[i].name, name) == 0)
            set->ops = engines[i].ops;
    if (!set->ops)
        return err_set(err, -EINVAL, "unknown engine '%s'", name);
    return set->ops->create(&set->engine,
                            &(struct engine_config){.model = set->cfg.model,
                                                    .gmem = set->cfg.gmem,
                                                    .nr_vcpus = set->nr},
                            err);
}

static void vcpu_reset(struct vcpu *v)
{
    struct x86_state st;

    /* Before the interrupt controller: what that posts from now on counts. */
    (void)atomic_fetch_and(&v->events, (uint32_t)EVENTS_PARK);
    atomic_store(&v->apic_base, v->intc ? APIC_BASE_RESET : APIC_BASE_NONE);
    x86_state_reset(&st, v->index);
    st.tsc_offset = 0 - v->set->clock.base_tsc;
    vcpu_set_state(v, &st);
    if (v->intc)
        v->intc_ops->reset(v->intc, false);
}

void vcpu_set_reset(struct vcpu_set *set)
{
    unsigned i;

    kvmclock_start(&set->clock, clock_rdtsc(), clock_tsc_hz());
    for (i = 0; i < set->nr; i++)
        vcpu_reset(&set->vcpu[i]);
}

/* End the threads of the first nr vCPUs and free these. */
static void vcpu_set_destroy(struct vcpu_set *set, unsigned nr)
{
    unsigned i;

    lock_take(&set->lock);
    set->stop = true;
    (void)pthread_cond_broadcast(&set->changed);
    lock_drop(&set->lock);
    for (i = 0; i < nr; i++)
        vcpu_post(&set->vcpu[i], VCPU_EVENT_STOP, 0);
    for (i = 0; i < nr; i++)
        if (set->vcpu[i].thread_started)
            (void)pthread_join(set->vcpu[i].thread, NULL);
    for (i = 0; i < nr; i++)
        set->ops->vcpu_destroy(&set->vcpu[i]);
    set->ops->destroy(set->engine);
}

static int vcpu_set_create(struct vcpu_set *set, struct err *err)
{
    unsigned i;
    int rc = vcpu_set_engine(set, err);

    if (rc < 0)
        return rc;
    for (i = 0; i < set->nr; i++) {
        struct vcpu *v = &set->vcpu[i];

        v->index = i;
        v->set = set;
        atomic_init(&v->apic_base, APIC_BASE_NONE);
        atomic_init(&v->events, VCPU_EVENT_PAUSE);
        rc = set->ops->vcpu_create(set->engine, v, err);
        if (rc < 0)
            goto destroy;
    }
    vcpu_set_reset(set);
    for (i = 0; i < set->nr && rc == 0; i++)
        rc = vcpu_start(&set->vcpu[i], err);
    if (rc == 0)
        return 0;
    i = set->nr;

destroy:
    vcpu_set_destroy(set, i);
    return rc;
}

int vcpu_set_new(struct vcpu_set **out, const struct vcpu_config *cfg,
                 struct err *err)
{
    size_t size = sizeof(struct vcpu_set) + cfg->nr * sizeof(struct vcpu);
    struct vcpu_set *set;
    int rc;

    assert(cfg->nr > 0 && cfg->gmem && cfg->model && cfg->stopped);
    /* Both sizes are multiples of the alignment, as aligned_alloc wants. */
    set = aligned_alloc(_Alignof(struct vcpu_set), size);
    if (!set)
        return err_set(err, -ENOMEM, "create %u CPUs: out of memory", cfg->nr);
    memset(set, 0, size);
    set->cfg = *cfg;
    set->nr = cfg->nr;
    set->pauses = 1;
    lock_init(&set->lock);
    (void)pthread_cond_init(&set->changed, NULL);
    rc = vcpu_set_create(set, err);
    if (rc < 0)
        goto free_set;
    *out = set;
    return 0;

free_set:
    (void)pthread_cond_destroy(&set->changed);
    lock_fini(&set->lock);
    free(set);
    return rc;
}

void vcpu_set_free(struct vcpu_set *set)
{
    if (!set)
        return;
    vcpu_set_destroy(set, set->nr);
    (void)pthread_cond_destroy(&set->changed);
    lock_fini(&set->lock);
    free(set);
}

unsigned vcpu_set_count(const struct vcpu_set *set)
{
    return set->nr;
}

struct vcpu *vcpu_get(struct vcpu_set *set, unsigned index)
{
    assert(index < set->nr);
    return &set->vcpu[index];
}

void vcpu_tsc_changed(struct vcpu *v, const struct x86_state *st)
{
    if (v->intc && v->intc_ops->set_tsc)
        v->intc_ops->set_tsc(v->intc, (int64_t)st->tsc_offset, clock_tsc_hz());
    kvmclock_refresh(v, st);
}

void vcpu_set_intc(struct vcpu *v, const struct vcpu_intc_ops *ops, void *intc)
{
    struct x86_state st;

    v->intc_ops = ops;
    v->intc = intc;
    atomic_store(&v->apic_base, APIC_BASE_RESET);
    vcpu_get_state(v, &st);
    vcpu_tsc_changed(v, &st);
}

void vcpu_get_state(struct vcpu *v, struct x86_state *st)
{
    v->set->ops->get_state(v, st);
}

void vcpu_set_state(struct vcpu *v, const struct x86_state *st)
{
    v->wait_sipi = st->mp_state == X86_MP_WAIT_SIPI;
    v->set->ops->set_state(v, st);
    vcpu_tsc_changed(v, st);
}

/* --- Accesses that are not RAM ------------------------------------------ */

static bool vcpu_is_apic(const struct vcpu *v, gpa_t gpa, unsigned size)
{
    uint64_t base = atomic_load_explicit(&v->apic_base, memory_order_relaxed);

    return base != APIC_BASE_NONE && gpa - base <= APIC_PAGE_SIZE - size;
}

uint64_t vcpu_mmio_read(struct vcpu *v, gpa_t gpa, unsigned size)
{
    if (vcpu_is_apic(v, gpa, size))
        return v->intc_ops->mmio_read(v->intc, gpa & (APIC_PAGE_SIZE - 1),
                                      size);
    return bus_read(v->set->cfg.mmio, gpa, size);
}

void vcpu_mmio_write(struct vcpu *v, gpa_t gpa, unsigned size, uint64_t val)
{
    if (vcpu_is_apic(v, gpa, size))
        v->intc_ops->mmio_write(v->intc, gpa & (APIC_PAGE_SIZE - 1), size, val);
    else
        bus_write(v->set->cfg.mmio, gpa, size, val);
}

uint64_t vcpu_pio_read(struct vcpu *v, uint16_t port, unsigned size)
{
    return bus_read(v->set->cfg.pio, port, size);
}

void vcpu_pio_write(struct vcpu *v, uint16_t port, unsigned size, uint64_t val)
{
    bus_write(v->set->cfg.pio, port, size, val);
}

void vcpu_pio_read_many(struct vcpu *v, uint16_t port, unsigned size, void *dst,
                        unsigned n)
{
    bus_read_many(v->set->cfg.pio, port, size, dst, n);
}

void vcpu_pio_write_many(struct vcpu *v, uint16_t port, unsigned size,
                         const void *src, unsigned n)
{
    bus_write_many(v->set->cfg.pio, port, size, src, n);
}
