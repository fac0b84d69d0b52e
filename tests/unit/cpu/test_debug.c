#include <errno.h>
#include <string.h>
#include <time.h>

#include "cpu/debug.h"
#include "tests/unit/cpu/fake_engine.h"
#include "tests/unit/test.h"

enum { NR = 3 };

struct fixture {
    struct gmem gm;
    struct vcpu_set *set;
    _Atomic unsigned stops;
};

static void on_stopped(void *opaque, enum vcpu_stop_reason why)
{
    (void)opaque;
    (void)why;
}

static void on_debug(void *opaque, struct vcpu *v)
{
    struct fixture *f = opaque;

    (void)v;
    (void)atomic_fetch_add(&f->stops, 1);
}

static void setup(struct fixture *f)
{
    struct x86_state st;
    struct err err;
    unsigned i;

    memset(f, 0, sizeof(*f));
    assert_int_equal(vcpu_set_new(&f->set,
                                  &(struct vcpu_config){
                                      .nr = NR,
                                      .ops = &fake_engine_ops,
                                      .model = &fake_model,
                                      .gmem = &f->gm,
                                      .stopped = on_stopped,
                                  },
                                  &err),
                     0);
    for (i = 0; i < NR; i++) {
        vcpu_get_state(vcpu_get(f->set, i), &st);
        st.mp_state = X86_MP_RUNNING;
        vcpu_set_state(vcpu_get(f->set, i), &st);
    }
    vcpu_debug_handler(f->set, on_debug, f);
}

static struct fake_vcpu *fv(struct fixture *f, unsigned i)
{
    return fake_vcpu(vcpu_get(f->set, i));
}

static void a_breakpoint_stops_all_vcpus(void **state)
{
    struct fixture f;
    unsigned i;

    (void)state;
    setup(&f);
    atomic_store(&fv(&f, 1)->mode, FAKE_BREAK);
    vcpu_set_resume(f.set);
    assert_true(fake_wait(&f.stops, 1));
    vcpu_debug_take(f.set);
    for (i = 0; i < NR; i++)
        assert_false(atomic_load(&fv(&f, i)->in_run));
    assert_false(vcpu_debug_stopped(vcpu_get(f.set, 0)));
    assert_true(vcpu_debug_stopped(vcpu_get(f.set, 1)));
    assert_false(vcpu_debug_stopped(vcpu_get(f.set, 1))); /* said once */
    vcpu_set_free(f.set);
}

static void one_resume_undoes_the_stops_of_several_vcpus(void **state)
{
    struct fixture f;
    unsigned i, n[NR];

    (void)state;
    setup(&f);
    for (i = 0; i < NR; i++)
        atomic_store(&fv(&f, i)->mode, FAKE_BREAK);
    vcpu_set_resume(f.set);
    assert_true(fake_wait(&f.stops, 1));
    vcpu_debug_take(f.set);
    for (i = 0; i < NR; i++) {
        atomic_store(&fv(&f, i)->mode, FAKE_BUSY);
        n[i] = atomic_load(&fv(&f, i)->runs);
    }
    vcpu_set_resume(f.set);
    for (i = 0; i < NR; i++)
        assert_true(fake_wait(&fv(&f, i)->runs, n[i] + 1));
    vcpu_set_free(f.set);
}

static void without_a_handler_a_debug_stop_is_passed_over(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    vcpu_debug_handler(f.set, NULL, NULL);
    atomic_store(&fv(&f, 0)->mode, FAKE_BREAK);
    vcpu_set_resume(f.set);
    assert_true(fake_wait(&fv(&f, 0)->runs, 2));
    assert_int_equal(atomic_load(&f.stops), 0);
    vcpu_set_free(f.set);
}

static void a_held_vcpu_stays_stopped_when_the_others_run(void **state)
{
    struct fixture f;
    struct timespec ms = {.tv_nsec = 5000000};

    (void)state;
    setup(&f);
    vcpu_debug_hold(vcpu_get(f.set, 2), true);
    vcpu_set_resume(f.set);
    assert_true(fake_wait(&fv(&f, 0)->runs, 1));
    (void)nanosleep(&ms, NULL);
    assert_int_equal(atomic_load(&fv(&f, 2)->runs), 0);
    vcpu_set_pause(f.set);
    vcpu_debug_hold(vcpu_get(f.set, 2), false);
    vcpu_set_resume(f.set);
    assert_true(fake_wait(&fv(&f, 2)->runs, 1));
    vcpu_set_free(f.set);
}

static void a_step_ends_in_a_stop_of_that_vcpu(void **state)
{
    struct fixture f;
    struct x86_state before, after;
    struct vcpu *v;

    (void)state;
    setup(&f);
    v = vcpu_get(f.set, 0);
    vcpu_get_state(v, &before);
    assert_int_equal(vcpu_debug_step(v, true), 0);
    vcpu_set_resume(f.set);
    assert_true(fake_wait(&f.stops, 1));
    vcpu_debug_take(f.set);
    assert_int_equal(vcpu_debug_step(v, false), 0);
    assert_true(vcpu_debug_stopped(v));
    vcpu_get_state(v, &after);
    assert_int_equal(after.rip, before.rip + 1);
    assert_int_equal(atomic_load(&fv(&f, 0)->steps), 1);
    vcpu_set_free(f.set);
}

static void a_set_can_be_freed_in_a_debug_stop(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    atomic_store(&fv(&f, 0)->mode, FAKE_BREAK);
    vcpu_set_resume(f.set);
    assert_true(fake_wait(&f.stops, 1));
    vcpu_set_free(f.set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_breakpoint_stops_all_vcpus),
        cmocka_unit_test(one_resume_undoes_the_stops_of_several_vcpus),
        cmocka_unit_test(without_a_handler_a_debug_stop_is_passed_over),
        cmocka_unit_test(a_held_vcpu_stays_stopped_when_the_others_run),
        cmocka_unit_test(a_step_ends_in_a_stop_of_that_vcpu),
        cmocka_unit_test(a_set_can_be_freed_in_a_debug_stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
