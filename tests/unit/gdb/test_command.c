#include <stdio.h>
#include <string.h>

#include "tests/unit/gdb/debugger.h"

static void an_unknown_packet_gets_an_empty_reply(void **state)
{
    struct debugger *f = *state;

    assert_string_equal(ask(f, "vMustReplyEmpty"), "");
    assert_string_equal(ask(f, ""), "");
    assert_string_equal(ask(f, "qCRC:0,1"), "");
    assert_string_equal(ask(f, "Z2,1000,4"), ""); /* watchpoints */
}

static void features_are_agreed_on(void **state)
{
    struct debugger *f = *state;

    assert_string_equal(
        ask(f, "qSupported:multiprocess+;swbreak+;xmlRegisters=i386"),
        "PacketSize=1000;qXfer:features:read+;QStartNoAckMode+;"
        "vContSupported+;swbreak+;hwbreak+");
    assert_true(f->s.swbreak);
    assert_false(f->s.hwbreak);
}

static void the_description_comes_in_parts(void **state)
{
    struct debugger *f = *state;
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

static void threads_are_cpus(void **state)
{
    struct debugger *f = *state;

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
    struct debugger *f = *state;
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
    struct debugger *f = *state;
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

static void memory_is_read_and_written(void **state)
{
    struct debugger *f = *state;
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
    struct debugger *f = *state;

    assert_string_equal(ask(f, "m0,4"), "E0e");
    assert_string_equal(ask(f, "m2fff,9"), "00"); /* as far as it goes */
    assert_string_equal(ask(f, "Mffffffffffffffff,2:0000"), "E0e");
    assert_string_equal(ask(f, "m1000,801"), "E16");
    assert_string_equal(ask(f, "m1000"), "E16");
    assert_string_equal(ask(f, "M1000,2:00"), "E16");
    assert_string_equal(ask(f, "M1000,ffffffffffffffff:00"), "E16");
}

static void breakpoints_reach_the_engine(void **state)
{
    struct debugger *f = *state;
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
    struct debugger *f = *state;
    char packet[32];
    unsigned i;

    for (i = 0; i < GDB_MAX_BREAKPOINTS; i++) {
        (void)snprintf(packet, sizeof(packet), "Z0,%x,1", i);
        assert_string_equal(ask(f, packet), "OK");
    }
    assert_string_equal(ask(f, "Z0,1000,1"), "E1c");
}

static void an_action_that_makes_no_sense_is_refused(void **state)
{
    struct debugger *f = *state;

    assert_string_equal(ask(f, "vCont?"), "vCont;c;C;s;S");
    assert_string_equal(ask(f, "vCont;"), "E16");
    assert_string_equal(ask(f, "vCont;t"), "E16");
    assert_string_equal(ask(f, "vCont;c:9"), "E16");
    assert_string_equal(ask(f, "vCont;C"), "E16");
    assert_string_equal(ask(f, "vCont;c:1x"), "E16");
    assert_string_equal(ask(f, "c8000000000000000"), "E16");
    assert_int_equal(f->s.mode, GDB_STOPPED);
}

static void kill_is_told_to_the_machine(void **state)
{
    struct debugger *f = *state;

    assert_string_equal(ask(f, "k"), "(none)");
    assert_int_equal(f->kills, 1);
    assert_int_equal(f->s.mode, GDB_DETACHED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DEBUGGER_TEST(an_unknown_packet_gets_an_empty_reply),
        DEBUGGER_TEST(features_are_agreed_on),
        DEBUGGER_TEST(the_description_comes_in_parts),
        DEBUGGER_TEST(threads_are_cpus),
        DEBUGGER_TEST(registers_are_those_of_the_chosen_cpu),
        DEBUGGER_TEST(all_registers_can_be_read_and_written_back),
        DEBUGGER_TEST(memory_is_read_and_written),
        DEBUGGER_TEST(memory_that_is_not_there_is_an_error),
        DEBUGGER_TEST(breakpoints_reach_the_engine),
        DEBUGGER_TEST(the_number_of_breakpoints_is_limited),
        DEBUGGER_TEST(an_action_that_makes_no_sense_is_refused),
        DEBUGGER_TEST(kill_is_told_to_the_machine),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
