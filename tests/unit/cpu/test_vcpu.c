#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "cpu/vcpu.h"
#include "tests/unit/cpu/fake_engine.h"
#include "tests/unit/fail_alloc.h"
#include "tests/unit/test.h"

/* --- A machine of vCPUs over the fake engine ---------------------------- */

struct fixture {
    struct gmem gm; /* no banks */
    struct bus *pio, *mmio;
    struct vcpu_set *set;
    _Atomic unsigned stops;
    _Atomic int why;
};

static void on_stopped(void *opaque, enum vcpu_stop_reason why)
{
    struct fixture *f = opaque;

    atomic_store(&f->why, (int)why);
    (void)atomic_fetch_add(&f->stops, 1);
}

static int fixture_set(struct fixture *f, unsigned nr, const char *engine,
                       const struct engine_ops *ops, struct err *err)
{
    return vcpu_set_new(&f->set,
                        &(struct vcpu_config){
                            .nr = nr,
                            .engine = engine,
                            .ops = ops,
                            .model = &fake_model,
                            .gmem = &f->gm,
                            .pio = f->pio,
                            .mmio = f->mmio,
                            .stopped = on_stopped,
                            .opaque = f,
                        },
                        err);
}

static void setup(struct fixture *f, unsigned nr)
{
    struct err err;

    memset(f, 0, sizeof(*f));
    assert_int_equal(bus_new(&f->pio), 0);
    assert_int_equal(bus_new(&f->mmio), 0);
    if (nr > 0)
        assert_int_equal(fixture_set(f, nr, "fake", &fake_engine_ops, &err), 0);
}

static void teardown(struct fixture *f)
{
    vcpu_set_free(f->set);
    bus_free(f->pio);
    bus_free(f->mmio);
}

static struct fake_vcpu *fv(struct fixture *f, unsigned i)
{
    return fake_vcpu(vcpu_get(f->set, i));
}

static void all_modes(struct fixture *f, enum fake_mode mode)
{
    unsigned i;

    for (i = 0; i < vcpu_set_count(f->set); i++)
        atomic_store(&fv(f, i)->mode, (int)mode);
}

/* Application processors wait for a SIPI: let them run at once. */
static void all_running(struct fixture *f)
{
    struct x86_state st;
    unsigned i;

    for (i = 0; i < vcpu_set_count(f->set); i++) {
        vcpu_get_state(vcpu_get(f->set, i), &st);
        st.mp_state = X86_MP_RUNNING;
        vcpu_set_state(vcpu_get(f->set, i), &st);
    }
}

/* --- Create and free ---------------------------------------------------- */

static void a_set_that_never_ran_can_be_freed(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, 3);
    assert_int_equal(vcpu_set_count(f.set), 3);
    assert_int_equal(atomic_load(&fv(&f, 0)->runs), 0);
    teardown(&f);
}

static void an_unknown_engine_is_refused_with_its_name(void **state)
{
    struct fixture f;
    struct err err;

    (void)state;
    setup(&f, 0);
    assert_int_equal(fixture_set(&f, 1, "nope", NULL, &err), -EINVAL);
    assert_non_null(strstr(err.text, "'nope'"));
    assert_null(f.set);
    teardown(&f);
}

static void a_vcpu_that_cannot_be_created_undoes_the_others(void **state)
{
    struct fixture f;
    struct err err;

    (void)state;
    setup(&f, 0);
    fake_engine_fail(2);
    assert_int_equal(fixture_set(&f, 4, "fake", &fake_engine_ops, &err),
                     -ENOMEM);
    fake_engine_fail(-1);
    assert_null(f.set);
    teardown(&f);
}

static void without_memory_no_set_is_left_behind(void **state)
{
    struct fixture f;
    struct err err;
    unsigned n;

    (void)state;
    setup(&f, 0);
    for (n = 1; fail_alloc_at(n),
        fixture_set(&f, 2, "fake", &fake_engine_ops, &err) == -ENOMEM;
         n++)
        assert_null(f.set);
    assert_false(fail_alloc_happened());
    assert_true(n > 2); /* the set and the engine */
    fail_alloc_at(0);
    teardown(&f);
}

/* --- Pause and resume --------------------------------------------------- */

static void nothing_runs_after_pause_has_returned(void **state)
{
    struct fixture f;
    unsigned i, round;

    (void)state;
    setup(&f, 3);
    all_running(&f);
    for (round = 0; round < 50; round++) {
        vcpu_set_resume(f.set);
        if (round % 8 == 0)
            for (i = 0; i < 3; i++)
                assert_true(fake_wait(&fv(&f, i)->runs, round / 8 + 1));
        vcpu_set_pause(f.set);
        for (i = 0; i < 3; i++)
            assert_false(atomic_load(&fv(&f, i)->in_run));
    }
    teardown(&f);
}

static void pauses_nest(void **state)
{
    struct fixture f;
    struct timespec ms = {.tv_nsec = 2000000};

    (void)state;
    setup(&f, 1);
    vcpu_set_pause(f.set);
    vcpu_set_resume(f.set);
    (void)nanosleep(&ms, NULL);
    assert_int_equal(atomic_load(&fv(&f, 0)->runs), 0);
    vcpu_set_resume(f.set);
    assert_true(fake_wait(&fv(&f, 0)->runs, 1));
    vcpu_set_pause(f.set);
    teardown(&f);
}

static void a_halted_vcpu_can_be_paused_and_freed(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, 2);
    all_modes(&f, FAKE_HALT);
    vcpu_set_resume(f.set);
    assert_true(fake_wait(&fv(&f, 0)->halts, 1));
    vcpu_set_pause(f.set);
    assert_false(atomic_load(&fv(&f, 0)->in_run));
    vcpu_set_resume(f.set);
    assert_true(fake_wait(&fv(&f, 0)->halts, 2));
    teardown(&f); /* while it sleeps */
}

struct pauser {
    pthread_t thread;
    struct fixture *f;
};

static void *pause_often(void *arg)
{
    struct fixture *f = ((struct pauser *)arg)->f;
    unsigned i, k;

    for (i = 0; i < 200; i++) {
        vcpu_set_pause(f->set);
        for (k = 0; k < vcpu_set_count(f->set); k++)
            if (atomic_load(&fv(f, k)->in_run))
                return arg;
        vcpu_set_resume(f->set);
    }
    return NULL;
}

static void several_threads_may_pause(void **state)
{
    struct fixture f;
    struct pauser p[3];
    void *bad;
    unsigned i;

    (void)state;
    setup(&f, 2);
    all_running(&f);
    vcpu_set_resume(f.set);
    for (i = 0; i < 3; i++) {
        p[i].f = &f;
        assert_int_equal(pthread_create(&p[i].thread, NULL, pause_often, &p[i]),
                         0);
    }
    for (i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(p[i].thread, &bad), 0);
        assert_null(bad);
    }
    vcpu_set_pause(f.set);
    teardown(&f);
}

/* --- Posting and halting ------------------------------------------------ */

static void a_halted_vcpu_sleeps_until_an_event(void **state)
{
    struct fixture f;
    struct timespec ms = {.tv_nsec = 20000000};

    (void)state;
    setup(&f, 1);
    all_modes(&f, FAKE_HALT);
    vcpu_set_resume(f.set);
    assert_true(fake_wait(&fv(&f, 0)->halts, 1));
    (void)nanosleep(&ms, NULL);
    assert_int_equal(atomic_load(&fv(&f, 0)->runs), 1);
    vcpu_post(vcpu_get(f.set, 0), VCPU_EVENT_NMI, 0);
    assert_true(fake_wait(&fv(&f, 0)->nmis, 1));
    teardown(&f);
}

static void a_running_vcpu_is_kicked_rather_than_woken(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, 1);
    vcpu_set_resume(f.set);
    assert_true(fake_wait(&fv(&f, 0)->runs, 1));
    atomic_store(&fv(&f, 0)->kicks, 0);
    vcpu_post(vcpu_get(f.set, 0), VCPU_EVENT_INTR, 0);
    assert_true(fake_wait(&fv(&f, 0)->intrs, 1));
    assert_int_equal(atomic_load(&fv(&f, 0)->kicks), 1);
    teardown(&f);
}

/* A lost wake-up would leave one side waiting for ever. The delay walks over
 * the moment at which the vCPU falls asleep. */
static void no_post_to_a_halting_vcpu_is_lost(void **state)
{
    struct fixture f;
    unsigned i;

    (void)state;
    setup(&f, 1);
    all_modes(&f, FAKE_HALT);
    vcpu_set_resume(f.set);
    for (i = 1; i <= 20000; i++) {
        uint64_t limit = clock_now_ns() + 10 * NS_PER_SEC;
        volatile unsigned delay = i % 200;

        while (delay > 0)
            delay--;
        vcpu_post(vcpu_get(f.set, 0), VCPU_EVENT_INTR, 0);
        while (atomic_load(&fv(&f, 0)->intrs) < i)
            assert_true(clock_now_ns() < limit);
    }
    teardown(&f);
}

/* --- INIT and SIPI ------------------------------------------------------ */

static void an_application_processor_waits_for_a_sipi(void **state)
{
    struct fixture f;
    struct x86_state st;

    (void)state;
    setup(&f, 2);
    vcpu_set_resume(f.set);
    vcpu_post(vcpu_get(f.set, 1), VCPU_EVENT_INTR, 0);
    vcpu_post(vcpu_get(f.set, 1), VCPU_EVENT_NMI, 0);
    vcpu_post(vcpu_get(f.set, 1), VCPU_EVENT_INIT, 0);
    assert_true(fake_wait(&fv(&f, 0)->runs, 1));
    assert_int_equal(atomic_load(&fv(&f, 1)->runs), 0);
    vcpu_post(vcpu_get(f.set, 1), VCPU_EVENT_SIPI, 0x9a);
    assert_true(fake_wait(&fv(&f, 1)->intrs, 1)); /* kept for now */
    vcpu_set_pause(f.set);
    vcpu_get_state(vcpu_get(f.set, 1), &st);
    assert_int_equal(st.seg[X86_CS].sel, 0x9a00);
    assert_int_equal(st.seg[X86_CS].base, 0x9a000);
    assert_int_equal(st.rip, 0);
    teardown(&f);
}

static void a_sipi_to_a_running_vcpu_is_ignored(void **state)
{
    struct fixture f;
    struct x86_state st;

    (void)state;
    setup(&f, 2);
    vcpu_set_resume(f.set);
    vcpu_post(vcpu_get(f.set, 1), VCPU_EVENT_SIPI, 0x10);
    assert_true(fake_wait(&fv(&f, 1)->runs, 1));
    vcpu_post(vcpu_get(f.set, 1), VCPU_EVENT_SIPI, 0x20);
    assert_true(fake_wait(&fv(&f, 1)->runs, 2));
    vcpu_set_pause(f.set);
    vcpu_get_state(vcpu_get(f.set, 1), &st);
    assert_int_equal(st.seg[X86_CS].base, 0x10000);
    teardown(&f);
}

static void init_makes_a_running_vcpu_wait_for_a_sipi(void **state)
{
    struct fixture f;
    struct x86_state st;

    (void)state;
    setup(&f, 2);
    all_running(&f);
    vcpu_set_resume(f.set);
    assert_true(fake_wait(&fv(&f, 1)->runs, 1));
    vcpu_post(vcpu_get(f.set, 1), VCPU_EVENT_INIT, 0);
    vcpu_post(vcpu_get(f.set, 1), VCPU_EVENT_SIPI, 0x33);
    assert_true(fake_wait(&fv(&f, 1)->runs, 2));
    vcpu_set_pause(f.set);
    vcpu_get_state(vcpu_get(f.set, 1), &st);
    assert_int_equal(st.seg[X86_CS].base, 0x33000);
    teardown(&f);
}

/* --- The interrupt controller ------------------------------------------- */

struct fake_intc {
    _Atomic unsigned resets, inits;
    uint64_t off, val;
};

static uint64_t intc_read(void *intc, uint64_t off, unsigned size)
{
    struct fake_intc *ic = intc;

    (void)size;
    ic->off = off;
    return 0xabcd;
}

static void intc_write(void *intc, uint64_t off, unsigned size, uint64_t val)
{
    struct fake_intc *ic = intc;

    (void)size;
    ic->off = off;
    ic->val = val;
}

static void intc_reset(void *intc, bool init)
{
    struct fake_intc *ic = intc;

    (void)atomic_fetch_add(init ? &ic->inits : &ic->resets, 1);
}

static const struct vcpu_intc_ops intc_ops = {
    .mmio_read = intc_read, .mmio_write = intc_write, .reset = intc_reset};

static void the_apic_page_comes_before_the_bus(void **state)
{
    struct fixture f;
    struct fake_intc ic = {0};
    struct vcpu *v;

    (void)state;
    setup(&f, 2);
    v = vcpu_get(f.set, 1);
    vcpu_set_intc(v, &intc_ops, &ic);
    assert_int_equal(vcpu_mmio_read(v, 0xfee00020, 4), 0xabcd);
    assert_int_equal(ic.off, 0x20);
    vcpu_mmio_write(v, 0xfee00ffc, 4, 7);
    assert_int_equal(ic.off, 0xffc);
    assert_int_equal(ic.val, 7);
    assert_int_equal(vcpu_mmio_read(v, 0xfee00ffd, 4), 0xffffffff);
    assert_int_equal(vcpu_mmio_read(v, 0xfedffffc, 4), 0xffffffff);
    atomic_store(&v->apic_base, UINT64_MAX); /* x2APIC, or switched off */
    assert_int_equal(vcpu_mmio_read(v, 0xfee00020, 4), 0xffffffff);
    assert_int_equal(vcpu_mmio_read(v, UINT64_MAX, 1), 0xff);
    teardown(&f);
}

static void reset_returns_to_power_on_state(void **state)
{
    struct fixture f;
    struct fake_intc ic = {0};
    struct x86_state st, now;
    struct vcpu *v;

    (void)state;
    setup(&f, 2);
    v = vcpu_get(f.set, 1);
    vcpu_set_intc(v, &intc_ops, &ic);
    atomic_store(&v->apic_base, 0x1000);
    vcpu_get_state(v, &st);
    now = st;
    now.gpr[X86_RBX] = 5;
    now.mp_state = X86_MP_RUNNING;
    vcpu_set_state(v, &now);
    vcpu_post(v, VCPU_EVENT_INTR, 0);
    vcpu_set_reset(f.set);
    vcpu_get_state(v, &now);
    assert_int_equal(now.gpr[X86_RBX], 0);
    assert_int_equal(now.mp_state, X86_MP_WAIT_SIPI);
    assert_true((int64_t)(st.tsc_offset - now.tsc_offset) >= 0);
    assert_int_equal(atomic_load(&v->apic_base), 0xfee00000);
    assert_int_equal(atomic_load(&ic.resets), 1);
    assert_int_equal(atomic_load(&v->events) & VCPU_EVENT_INTR, 0);
    teardown(&f);
}

static void init_resets_the_interrupt_controller_as_init(void **state)
{
    struct fixture f;
    struct fake_intc ic = {0};

    (void)state;
    setup(&f, 1);
    vcpu_set_intc(vcpu_get(f.set, 0), &intc_ops, &ic);
    vcpu_set_resume(f.set);
    vcpu_post(vcpu_get(f.set, 0), VCPU_EVENT_INIT, 0);
    assert_true(fake_wait(&ic.inits, 1));
    assert_int_equal(atomic_load(&ic.resets), 0);
    vcpu_set_pause(f.set);
    teardown(&f);
}

/* --- Faults of the machine ---------------------------------------------- */

static void a_triple_fault_is_told_once_and_waits_for_a_pause(void **state)
{
    struct fixture f;
    struct timespec ms = {.tv_nsec = 5000000};

    (void)state;
    setup(&f, 2);
    all_modes(&f, FAKE_TRIPLE);
    vcpu_set_resume(f.set);
    assert_true(fake_wait(&f.stops, 1));
    (void)nanosleep(&ms, NULL);
    assert_int_equal(atomic_load(&f.stops), 1);
    assert_int_equal(atomic_load(&f.why), VCPU_STOP_TRIPLE);
    vcpu_set_pause(f.set);
    all_modes(&f, FAKE_BUSY);
    vcpu_set_reset(f.set);
    vcpu_set_resume(f.set);
    assert_true(fake_wait(&fv(&f, 0)->runs, 2));
    vcpu_set_pause(f.set);
    assert_int_equal(atomic_load(&f.stops), 1);
    teardown(&f);
}

static void a_pause_and_resume_ends_the_wait_after_an_error(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, 1);
    all_modes(&f, FAKE_ERROR);
    vcpu_set_resume(f.set);
    assert_true(fake_wait(&f.stops, 1));
    assert_int_equal(atomic_load(&f.why), VCPU_STOP_ERROR);
    vcpu_set_pause(f.set);
    vcpu_set_resume(f.set);
    assert_true(fake_wait(&f.stops, 2));
    teardown(&f); /* while it waits */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_that_never_ran_can_be_freed),
        cmocka_unit_test(an_unknown_engine_is_refused_with_its_name),
        cmocka_unit_test(a_vcpu_that_cannot_be_created_undoes_the_others),
        cmocka_unit_test(without_memory_no_set_is_left_behind),
        cmocka_unit_test(nothing_runs_after_pause_has_returned),
        cmocka_unit_test(pauses_nest),
        cmocka_unit_test(a_halted_vcpu_can_be_paused_and_freed),
        cmocka_unit_test(several_threads_may_pause),
        cmocka_unit_test(a_halted_vcpu_sleeps_until_an_event),
        cmocka_unit_test(a_running_vcpu_is_kicked_rather_than_woken),
        cmocka_unit_test(no_post_to_a_halting_vcpu_is_lost),
        cmocka_unit_test(an_application_processor_waits_for_a_sipi),
        cmocka_unit_test(a_sipi_to_a_running_vcpu_is_ignored),
        cmocka_unit_test(init_makes_a_running_vcpu_wait_for_a_sipi),
        cmocka_unit_test(the_apic_page_comes_before_the_bus),
        cmocka_unit_test(reset_returns_to_power_on_state),
        cmocka_unit_test(init_resets_the_interrupt_controller_as_init),
        cmocka_unit_test(a_triple_fault_is_told_once_and_waits_for_a_pause),
        cmocka_unit_test(a_pause_and_resume_ends_the_wait_after_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
