#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "cpu/debug.h"
#include "gdb/session.h"
#include "tests/unit/cpu/fake_engine.h"

/* --- A debugger that speaks in strings ---------------------------------- */

enum { NR = 3, OUT_SIZE = 16384 };

struct fixture {
    struct gmem gm;
    struct vcpu_set *set;
    struct gdb_session s;
    _Atomic unsigned stops;
    unsigned kills;
    char out[OUT_SIZE];
    size_t len;
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

static void on_send(void *opaque, const char *buf, size_t len)
{
    struct fixture *f = opaque;

    assert_true(f->len + len < OUT_SIZE);
    memcpy(f->out + f->len, buf, len);
    f->len += len;
    f->out[f->len] = '\0';
}

static void on_kill(void *opaque)
{
    ((struct fixture *)opaque)->kills++;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct x86_state st;
    struct err err;
    unsigned i;

    assert_non_null(f);
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
    assert_int_equal(gdb_session_init(&f->s, f->set), 0);
    f->s.send = on_send;
    f->s.kill = on_kill;
    f->s.opaque = f;
    vcpu_debug_handler(f->set, on_debug, f);
    vcpu_set_resume(f->set);
    gdb_session_attach(&f->s);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    gdb_session_detach(&f->s);
    gdb_session_fini(&f->s);
    vcpu_set_free(f->set);
    free(f);
    return 0;
}

/* Send a packet; the reply's contents, without frame and acknowledgement. */
static const char *ask(struct fixture *f, const char *packet)
{
    char frame[GDB_PACKET_MAX + 8];
    unsigned sum = 0;
    const char *p;
    char *end;

    for (p = packet; *p; p++)
        sum += (uint8_t)*p;
    (void)snprintf(frame, sizeof(frame), "$%s#%02x", packet, sum & 0xff);
    f->len = 0;
    f->out[0] = '\0';
    gdb_session_input(&f->s, frame, strlen(frame));
    if (f->len < 5)
        return "(none)";
    assert_memory_equal(f->out, "+$", 2);
    end = strrchr(f->out, '#');
    assert_non_null(end);
    *end = '\0';
    return f->out + 2;
}

/* What came by itself since the last question. */
static const char *said(struct fixture *f)
{
    char *end = strrchr(f->out, '#');

    if (end)
        *end = '\0';
    return f->len ? f->out + 1 : "(none)";
}

static struct fake_vcpu *fv(struct fixture *f, unsigned i)
{
    return fake_vcpu(vcpu_get(f->set, i));
}

static void wait_for_stop(struct fixture *f)
{
    assert_true(fake_wait(&f->stops, 1));
    atomic_store(&f->stops, 0);
    f->len = 0;
    gdb_session_stopped(&f->s);
}

/* --- What a debugger asks first ----------------------------------------- */

static void an_unknown_packet_gets_an_empty_reply(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(ask(f, "vMustReplyEmpty"), "");
    assert_string_equal(ask(f, ""), "");
    assert_string_equal(ask(f, "qCRC:0,1"), "");
    assert_string_equal(ask(f, "Z2,1000,4"), ""); /* watchpoints */
}

static void features_are_agreed_on(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(
        ask(f, "qSupported:multiprocess+;swbreak+;xmlRegisters=i386"),
        "PacketSize=1000;qXfer:features:read+;QStartNoAckMode+;"
        "vContSupported+;swbreak+;hwbreak+");
    assert_true(f->s.swbreak);
    assert_false(f->s.hwbreak);
}

static void acknowledgements_end_when_asked(void **state)
{
    struct fixture *f = *state;

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
    struct fixture *f = *state;

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

static void the_description_comes_in_parts(void **state)
{
    struct fixture *f = *state;
    char packet[64], *xml = calloc(1, f->s.xml_len + 1);
    size_t off = 0;
    bool last = false;

    assert_non_null(xml);
    while (!last) {
        const char *part;

        (void)snprintf(packet, sizeof(packet),
                       "qXfer:features:read:target.xml:%zx,3e8", off);
        part = ask(f, packet);
        last = *part == 'l';
        assert_true(last || *part == 'm');
        assert_true(off + strlen(part + 1) <= f->s.xml_len);
        memcpy(xml + off, part + 1, strlen(part + 1));
        off += strlen(part + 1);
    }
    assert_string_equal(xml, f->s.xml);
    free(xml);
    (void)snprintf(packet, sizeof(packet),
                   "qXfer:features:read:target.xml:%zx,ffffffffffffffff",
                   f->s.xml_len);
    assert_string_equal(ask(f, packet), "l");
    assert_string_equal(ask(f, "qXfer:features:read:target.xml:fffff,1"),
                        "E16");
    assert_string_equal(ask(f, "qXfer:features:read:other.xml:0,1"), "E00");
}

/* --- Threads and registers ---------------------------------------------- */

static void threads_are_cpus(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(ask(f, "qfThreadInfo"), "m01,02,03");
    assert_string_equal(ask(f, "qsThreadInfo"), "l");
    assert_string_equal(ask(f, "qC"), "QC01");
    assert_string_equal(ask(f, "Hg3"), "OK");
    assert_string_equal(ask(f, "qC"), "QC03");
    assert_string_equal(ask(f, "Hg0"), "OK");
    assert_string_equal(ask(f, "Hc-1"), "OK");
    assert_string_equal(ask(f, "qC"), "QC03");
    assert_string_equal(ask(f, "Hg4"), "E03");
    assert_string_equal(ask(f, "Hx1"), "E16");
    assert_string_equal(ask(f, "T3"), "OK");
    assert_string_equal(ask(f, "T4"), "E03");
    assert_string_equal(ask(f, "T0"), "E03");
    assert_memory_equal(ask(f, "qThreadExtraInfo,2"), "435055203", 9);
}

static void registers_are_those_of_the_chosen_cpu(void **state)
{
    struct fixture *f = *state;
    struct x86_state st;

    assert_string_equal(ask(f, "P0=8877665544332211"), "OK");
    vcpu_get_state(vcpu_get(f->set, 0), &st);
    assert_int_equal(st.gpr[X86_RAX], 0x1122334455667788);
    assert_string_equal(ask(f, "p0"), "8877665544332211");
    assert_string_equal(ask(f, "Hg2"), "OK");
    assert_string_equal(ask(f, "p0"), "0000000000000000");
    assert_string_equal(ask(f, "p52"), "E16"); /* one too many */
    assert_string_equal(ask(f, "P0=11"), "E16");
    assert_string_equal(ask(f, "P4c=0000000000000000"), "E01"); /* CR0 */
}

static void all_registers_can_be_read_and_written_back(void **state)
{
    struct fixture *f = *state;
    char packet[GDB_PACKET_MAX];
    struct x86_state a, b;

    vcpu_get_state(vcpu_get(f->set, 0), &a);
    (void)snprintf(packet, sizeof(packet), "G%s", ask(f, "g"));
    packet[2] = '5';
    assert_string_equal(ask(f, packet), "OK");
    vcpu_get_state(vcpu_get(f->set, 0), &b);
    assert_int_equal(b.gpr[X86_RAX] & 0xff, a.gpr[X86_RAX] | 5);
    assert_int_equal(a.rip, b.rip);
    assert_int_equal(a.cr0, b.cr0);
    packet[100] = '\0';
    assert_string_equal(ask(f, packet), "E16");
}

/* --- Memory ------------------------------------------------------------- */

static void memory_is_read_and_written(void **state)
{
    struct fixture *f = *state;
    uint8_t *mem = fake_engine(vcpu_get(f->set, 0))->mem;

    assert_string_equal(ask(f, "M1ffe,4:01020304"), "OK"); /* two pages */
    assert_int_equal(mem[0xfff], 2);
    assert_int_equal(mem[0x1000], 3);
    assert_string_equal(ask(f, "m1ffd,5"), "0001020304");
    assert_string_equal(ask(f, "X1000,2:}\x03z"), "OK");
    assert_memory_equal(mem, "#z", 2);
    assert_string_equal(ask(f, "X1000,0:"), "OK");
    assert_string_equal(ask(f, "m1000,0"), "");
}

static void memory_that_is_not_there_is_an_error(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(ask(f, "m0,4"), "E0e");
    assert_string_equal(ask(f, "m2fff,9"), "00"); /* as far as it goes */
    assert_string_equal(ask(f, "Mffffffffffffffff,2:0000"), "E0e");
    assert_string_equal(ask(f, "m1000,801"), "E16");
    assert_string_equal(ask(f, "m1000"), "E16");
    assert_string_equal(ask(f, "M1000,2:00"), "E16");
    assert_string_equal(ask(f, "M1000,ffffffffffffffff:00"), "E16");
}

/* --- Running and stopping ----------------------------------------------- */

static void breakpoints_reach_the_engine(void **state)
{
    struct fixture *f = *state;
    struct fake_engine *fe = fake_engine(vcpu_get(f->set, 0));

    assert_string_equal(ask(f, "Z0,1234,1"), "OK");
    assert_string_equal(ask(f, "Z0,1234,1"), "OK"); /* once is enough */
    assert_string_equal(ask(f, "Z1,ffffffff81000000,1"), "OK");
    assert_int_equal(fe->nr_breakpoints, 2);
    assert_int_equal(fe->breakpoint[0], 0x1234);
    assert_string_equal(ask(f, "z1,1234,1"), "OK"); /* not of that type */
    assert_string_equal(ask(f, "z0,1234,1"), "OK");
    assert_int_equal(fe->nr_breakpoints, 1);
    assert_int_equal(fe->breakpoint[0], 0xffffffff81000000);
    assert_string_equal(ask(f, "Z0,1234"), "E16");
}

static void the_number_of_breakpoints_is_limited(void **state)
{
    struct fixture *f = *state;
    char packet[32];
    unsigned i;

    for (i = 0; i < GDB_MAX_BREAKPOINTS; i++) {
        (void)snprintf(packet, sizeof(packet), "Z0,%x,1", i);
        assert_string_equal(ask(f, packet), "OK");
    }
    assert_string_equal(ask(f, "Z0,1000,1"), "E1c");
}

static void a_breakpoint_is_reported_with_its_thread(void **state)
{
    struct fixture *f = *state;

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
    struct fixture *f = *state;
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
    struct fixture *f = *state;
    unsigned i;

    gdb_session_input(&f->s, "\x03", 1); /* stopped: nothing */
    assert_int_equal(f->len, 0);
    assert_string_equal(ask(f, "c"), "(none)");
    for (i = 0; i < NR; i++)
        assert_true(fake_wait(&fv(f, i)->runs, 1));
    f->len = 0;
    gdb_session_input(&f->s, "\x03", 1);
    assert_string_equal(said(f), "T02thread:01;");
    for (i = 0; i < NR; i++)
        assert_false(atomic_load(&fv(f, i)->in_run));
}

static void packets_while_running_are_ignored(void **state)
{
    struct fixture *f = *state;

    (void)ask(f, "vCont;c");
    assert_string_equal(ask(f, "g"), "(none)");
    assert_int_equal(f->len, 1);
}

static void
only_the_stepped_cpu_runs_when_no_other_action_is_given(void **state)
{
    struct fixture *f = *state;
    unsigned n0 = atomic_load(&fv(f, 0)->runs);

    assert_string_equal(ask(f, "vCont;s:3"), "(none)");
    wait_for_stop(f);
    assert_string_equal(said(f), "T05thread:03;");
    assert_int_equal(atomic_load(&fv(f, 2)->steps), 1);
    assert_int_equal(atomic_load(&fv(f, 0)->runs), n0);
}

static void the_leftmost_action_of_a_thread_counts(void **state)
{
    struct fixture *f = *state;
    unsigned n0 = atomic_load(&fv(f, 0)->runs);

    assert_string_equal(ask(f, "vCont;S05:2;c"), "(none)");
    wait_for_stop(f);
    assert_string_equal(said(f), "T05thread:02;");
    assert_int_equal(atomic_load(&fv(f, 1)->steps), 1);
    assert_true(atomic_load(&fv(f, 0)->runs) >= n0);
    assert_int_equal(atomic_load(&fv(f, 0)->steps), 0);
}

static void an_action_that_makes_no_sense_is_refused(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(ask(f, "vCont?"), "vCont;c;C;s;S");
    assert_string_equal(ask(f, "vCont;"), "E16");
    assert_string_equal(ask(f, "vCont;t"), "E16");
    assert_string_equal(ask(f, "vCont;c:9"), "E16");
    assert_string_equal(ask(f, "vCont;C"), "E16");
    assert_string_equal(ask(f, "vCont;c:1x"), "E16");
    assert_string_equal(ask(f, "c8000000000000000"), "E16");
    assert_int_equal(f->s.mode, GDB_STOPPED);
}

static void going_on_at_an_address_changes_rip(void **state)
{
    struct fixture *f = *state;
    struct x86_state st;

    assert_string_equal(ask(f, "s4321"), "(none)");
    wait_for_stop(f);
    vcpu_get_state(vcpu_get(f->set, 0), &st);
    assert_int_equal(st.rip, 0x4322);
}

static void detaching_removes_all_traces(void **state)
{
    struct fixture *f = *state;
    unsigned i, n[NR];

    (void)ask(f, "Z0,1234,1");
    (void)ask(f, "vCont;s:1");
    wait_for_stop(f);
    for (i = 0; i < NR; i++)
        n[i] = atomic_load(&fv(f, i)->runs);
    assert_string_equal(ask(f, "D"), "OK");
    assert_int_equal(fake_engine(vcpu_get(f->set, 0))->nr_breakpoints, 0);
    for (i = 0; i < NR; i++)
        assert_true(fake_wait(&fv(f, i)->runs, n[i] + 1));
    assert_string_equal(ask(f, "g"), "(none)");
}

static void kill_is_told_to_the_machine(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(ask(f, "k"), "(none)");
    assert_int_equal(f->kills, 1);
    assert_int_equal(f->s.mode, GDB_DETACHED);
}

static void an_echo_of_a_stop_is_no_new_stop(void **state)
{
    struct fixture *f = *state;
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_unknown_packet_gets_an_empty_reply),
        TEST(features_are_agreed_on),
        TEST(acknowledgements_end_when_asked),
        TEST(a_nack_repeats_the_last_reply),
        TEST(the_description_comes_in_parts),
        TEST(threads_are_cpus),
        TEST(registers_are_those_of_the_chosen_cpu),
        TEST(all_registers_can_be_read_and_written_back),
        TEST(memory_is_read_and_written),
        TEST(memory_that_is_not_there_is_an_error),
        TEST(breakpoints_reach_the_engine),
        TEST(the_number_of_breakpoints_is_limited),
        TEST(a_breakpoint_is_reported_with_its_thread),
        TEST(at_a_breakpoint_the_reason_is_said),
        TEST(ctrl_c_stops_running_cpus),
        TEST(packets_while_running_are_ignored),
        TEST(only_the_stepped_cpu_runs_when_no_other_action_is_given),
        TEST(the_leftmost_action_of_a_thread_counts),
        TEST(an_action_that_makes_no_sense_is_refused),
        TEST(going_on_at_an_address_changes_rip),
        TEST(detaching_removes_all_traces),
        TEST(kill_is_told_to_the_machine),
        TEST(an_echo_of_a_stop_is_no_new_stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
