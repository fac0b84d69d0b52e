#include <stdio.h>
#include <string.h>

#include "tests/unit/gdb/debugger.h"

static void acknowledgements_end_when_asked(void **state)
{
    struct debugger *f = *state;

    assert_string_equal(ask(f, "QStartNoAckMode"), "OK");
    f->len = 0;
    gdb_session_input(&f->s, "$?#3f", 5);
    assert_memory_equal(f->out, "$T05thread:01;#", 15);
    f->len = 0;
    gdb_session_input(&f->s, "$?#00", 5);
    assert_int_equal(f->len, 0);
}

static void a_nack_repeats_the_last_reply(void **state)
{
    struct debugger *f = *state;

    gdb_session_input(&f->s, "-", 1); /* there is none yet */
    assert_int_equal(f->len, 0);
    assert_string_equal(ask(f, "qAttached"), "1");
    f->len = 0;
    gdb_session_input(&f->s, "-", 1);
    assert_memory_equal(f->out, "$1#31", 5);
    f->len = 0;
    gdb_session_input(&f->s, "$?#00", 5);
    assert_memory_equal(f->out, "-", 1);
    assert_string_equal(ask(f, "c"), "(none)");
    f->len = 0;
    gdb_session_input(&f->s, "-", 1); /* nor now */
    assert_int_equal(f->len, 0);
}

static void a_breakpoint_is_reported_with_its_thread(void **state)
{
    struct debugger *f = *state;

    (void)ask(f, "qSupported:swbreak+");
    atomic_store(&fv(f, 1)->mode, FAKE_BREAK);
    assert_string_equal(ask(f, "vCont;c"), "(none)");
    wait_for_stop(f);
    assert_int_equal(f->s.cpu, 1);
    assert_memory_equal(said(f), "T05thread:02;", 13);
    assert_false(atomic_load(&fv(f, 0)->in_run));
}

static void at_a_breakpoint_the_reason_is_said(void **state)
{
    struct debugger *f = *state;
    char packet[40];

    (void)ask(f, "qSupported:swbreak+;hwbreak+");
    vcpu_get_state(vcpu_get(f->set, 0), &f->s.st);
    (void)snprintf(packet, sizeof(packet), "Z0,%lx,1",
                   f->s.st.seg[X86_CS].base + f->s.st.rip);
    assert_string_equal(ask(f, packet), "OK");
    assert_string_equal(ask(f, "?"), "T05thread:01;swbreak:;");
    packet[0] = 'z';
    assert_string_equal(ask(f, packet), "OK");
    packet[0] = 'Z';
    packet[1] = '1';
    assert_string_equal(ask(f, packet), "OK");
    assert_string_equal(ask(f, "?"), "T05thread:01;hwbreak:;");
}

static void ctrl_c_stops_running_cpus(void **state)
{
    struct debugger *f = *state;
    unsigned i;

    gdb_session_input(&f->s, "\x03", 1); /* stopped: nothing */
    assert_int_equal(f->len, 0);
    assert_string_equal(ask(f, "c"), "(none)");
    for (i = 0; i < DEBUGGER_CPUS; i++)
        assert_true(fake_wait(&fv(f, i)->runs, 1));
    f->len = 0;
    gdb_session_input(&f->s, "\x03", 1);
    assert_string_equal(said(f), "T02thread:01;");
    for (i = 0; i < DEBUGGER_CPUS; i++)
        assert_false(atomic_load(&fv(f, i)->in_run));
}

static void packets_while_running_are_ignored(void **state)
{
    struct debugger *f = *state;

    (void)ask(f, "vCont;c");
    assert_string_equal(ask(f, "g"), "(none)");
    assert_int_equal(f->len, 1);
}

static void without_other_actions_only_the_stepped_cpu_runs(void **state)
{
    struct debugger *f = *state;
    unsigned n0 = atomic_load(&fv(f, 0)->runs);

    assert_string_equal(ask(f, "vCont;s:3"), "(none)");
    wait_for_stop(f);
    assert_string_equal(said(f), "T05thread:03;");
    assert_int_equal(atomic_load(&fv(f, 2)->steps), 1);
    assert_int_equal(atomic_load(&fv(f, 0)->runs), n0);
}

static void the_leftmost_action_of_a_thread_counts(void **state)
{
    struct debugger *f = *state;
    unsigned n0 = atomic_load(&fv(f, 0)->runs);

    assert_string_equal(ask(f, "vCont;S05:2;c"), "(none)");
    wait_for_stop(f);
    assert_string_equal(said(f), "T05thread:02;");
    assert_int_equal(atomic_load(&fv(f, 1)->steps), 1);
    assert_true(atomic_load(&fv(f, 0)->runs) >= n0);
    assert_int_equal(atomic_load(&fv(f, 0)->steps), 0);
}

static void going_on_at_an_address_changes_rip(void **state)
{
    struct debugger *f = *state;
    struct x86_state st;

    assert_string_equal(ask(f, "s4321"), "(none)");
    wait_for_stop(f);
    vcpu_get_state(vcpu_get(f->set, 0), &st);
    assert_int_equal(st.rip, 0x4322);
}

static void detaching_removes_all_traces(void **state)
{
    struct debugger *f = *state;
    unsigned i, n[DEBUGGER_CPUS];

    (void)ask(f, "Z0,1234,1");
    (void)ask(f, "vCont;s:1");
    wait_for_stop(f);
    for (i = 0; i < DEBUGGER_CPUS; i++)
        n[i] = atomic_load(&fv(f, i)->runs);
    assert_string_equal(ask(f, "D"), "OK");
    assert_int_equal(fake_engine(vcpu_get(f->set, 0))->nr_breakpoints, 0);
    for (i = 0; i < DEBUGGER_CPUS; i++)
        assert_true(fake_wait(&fv(f, i)->runs, n[i] + 1));
    assert_string_equal(ask(f, "g"), "(none)");
}

static void an_echo_of_a_stop_is_no_new_stop(void **state)
{
    struct debugger *f = *state;
    unsigned n;

    gdb_session_stopped(&f->s); /* stopped already */
    assert_int_equal(f->len, 0);
    (void)ask(f, "c");
    f->len = 0;
    gdb_session_stopped(&f->s); /* no vCPU has stopped */
    assert_int_equal(f->len, 0);
    n = atomic_load(&fv(f, 0)->runs);
    assert_true(fake_wait(&fv(f, 0)->runs, n));
    assert_int_equal(f->s.mode, GDB_RUNNING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DEBUGGER_TEST(acknowledgements_end_when_asked),
        DEBUGGER_TEST(a_nack_repeats_the_last_reply),
        DEBUGGER_TEST(a_breakpoint_is_reported_with_its_thread),
        DEBUGGER_TEST(at_a_breakpoint_the_reason_is_said),
        DEBUGGER_TEST(ctrl_c_stops_running_cpus),
        DEBUGGER_TEST(packets_while_running_are_ignored),
        DEBUGGER_TEST(without_other_actions_only_the_stepped_cpu_runs),
        DEBUGGER_TEST(the_leftmost_action_of_a_thread_counts),
        DEBUGGER_TEST(going_on_at_an_address_changes_rip),
        DEBUGGER_TEST(detaching_removes_all_traces),
        DEBUGGER_TEST(an_echo_of_a_stop_is_no_new_stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
