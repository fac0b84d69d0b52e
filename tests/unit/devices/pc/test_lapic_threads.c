#include "devices/pc/lapic.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "base/clock.h"
#include "tests/unit/devices/pc/fixture.h"

/*
 * CPUs on threads of their own, which do what an engine does: look at their
 * APIC only after a post. An interrupt that is lost, or not posted, leaves a
 * thread waiting for ever. Also run under ThreadSanitizer.
 */

enum { ROUNDS = 20000, VECTOR = 0x41, TIMER_VECTOR = 0xec, ICR = 0x830 };
enum { EOI = 0x80b, FLAG_GPA = 0x1000 };

struct board {
    struct lapic_bus bus;
    struct gmem gm;
    struct loop *loop;
    _Atomic unsigned events[2];
};

struct cpu {
    struct board *b;
    struct lapic *l;
    bool pv_eoi;
    unsigned got[256];
};

static void on_post(void *opaque, unsigned cpu, unsigned ev, uint8_t vector)
{
    struct board *b = opaque;

    (void)vector;
    atomic_fetch_or(&b->events[cpu], ev);
}

/* The end of an interrupt as a paravirtual guest does it. */
static void end_interrupt(struct cpu *c)
{
    if (c->pv_eoi) {
        uint8_t *flag = gmem_hva(&c->b->gm, FLAG_GPA + 64 * c->l->id, 4);

        if (__atomic_fetch_and(flag, 0xfe, __ATOMIC_RELAXED) & 1)
            return;
    }
    assert_int_equal(lapic_wrmsr(c->l, EOI, 0), 0);
}

/* Take what was posted; returns whether there was anything. */
static bool run_cpu(struct cpu *c)
{
    int v;

    if (!atomic_exchange(&c->b->events[c->l->id], 0)) {
        (void)sched_yield(); /* the other may need this core */
        return false;
    }
    while (lapic_pending(c->l) >= 0) {
        v = lapic_ack(c->l);
        if (v >= 0) {
            c->got[v]++;
            end_interrupt(c);
        }
    }
    return true;
}

static void *play(void *arg)
{
    struct cpu *c = arg;
    uint64_t other = (uint64_t)(1 - c->l->id) << 32;
    unsigned sent = 0;

    if (c->l->id == 0)
        assert_int_equal(lapic_wrmsr(c->l, ICR, other | VECTOR), 0);
    while (sent < ROUNDS) {
        if (!run_cpu(c) || c->got[VECTOR] <= sent)
            continue;
        sent = c->got[VECTOR];
        assert_int_equal(lapic_wrmsr(c->l, ICR, other | VECTOR), 0);
    }
    return NULL;
}

static void setup_board(struct board *b, struct cpu cpus[2], bool pv_eoi)
{
    const struct lapic_ops ops = {.post = on_post, .opaque = b};
    const struct gmem_layout layout = {.start = 0, .size = 1 << 20};
    struct err err;
    unsigned i;

    b->loop = new_loop();
    assert_int_equal(gmem_init(&b->gm, &layout, 1, &err), 0);
    assert_int_equal(lapic_bus_init(&b->bus, 2, &ops, b->loop, &b->gm), 0);
    for (i = 0; i < 2; i++) {
        struct lapic *l = lapic_bus_get(&b->bus, i);

        cpus[i] = (struct cpu){.b = b, .l = l, .pv_eoi = pv_eoi};
        assert_int_equal(lapic_wrmsr(l, 0x1b, 0xfee00c00), 0);
        assert_int_equal(lapic_wrmsr(l, 0x80f, 0x1ff), 0);
        if (pv_eoi)
            assert_int_equal(
                lapic_wrmsr(l, LAPIC_MSR_PV_EOI, (FLAG_GPA + 64 * i) | 1), 0);
    }
}

static void free_board(struct board *b)
{
    lapic_bus_fini(&b->bus);
    gmem_fini(&b->gm);
    loop_free(b->loop);
}

static void ping_pong(bool pv_eoi)
{
    struct board b = {0};
    struct cpu cpus[2];
    pthread_t t;

    setup_board(&b, cpus, pv_eoi);
    assert_int_equal(pthread_create(&t, NULL, play, &cpus[1]), 0);
    (void)play(&cpus[0]);
    assert_int_equal(pthread_join(t, NULL), 0);
    assert_true(cpus[0].got[VECTOR] >= ROUNDS);
    assert_true(cpus[1].got[VECTOR] >= ROUNDS);
    free_board(&b);
}

static void no_interrupt_is_lost_between_cpus(void **state)
{
    (void)state;
    ping_pong(false);
}

static void nor_with_paravirtual_eoi(void **state)
{
    (void)state;
    ping_pong(true);
}

static void *run_timers(void *arg)
{
    struct cpu *c = arg;
    unsigned n = 0;

    assert_int_equal(lapic_wrmsr(c->l, 0x832, TIMER_VECTOR | 2u << 17), 0);
    while (n < 50) {
        assert_int_equal(
            lapic_wrmsr(c->l, 0x6e0, clock_rdtsc() + clock_tsc_hz() / 20000),
            0);
        while (c->got[TIMER_VECTOR] <= n)
            (void)run_cpu(c);
        n = c->got[TIMER_VECTOR];
    }
    loop_stop(c->b->loop, 0);
    return NULL;
}

static void deadlines_arrive_from_the_loops_thread(void **state)
{
    struct board b = {0};
    struct cpu cpus[2];
    pthread_t t;

    (void)state;
    setup_board(&b, cpus, false);
    lapic_set_tsc(cpus[1].l, 0, clock_tsc_hz());
    assert_int_equal(pthread_create(&t, NULL, run_timers, &cpus[1]), 0);
    assert_int_equal(loop_run(b.loop), 0);
    assert_int_equal(pthread_join(t, NULL), 0);
    free_board(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_interrupt_is_lost_between_cpus),
        cmocka_unit_test(nor_with_paravirtual_eoi),
        cmocka_unit_test(deadlines_arrive_from_the_loops_thread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
