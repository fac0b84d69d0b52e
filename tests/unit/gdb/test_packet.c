#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "gdb/packet.h"
#include "tests/unit/test.h"

static struct gdb_rx rx; /* large; each test begins with a fresh one */

static int fresh(void **state)
{
    (void)state;
    memset(&rx, 0, sizeof(rx));
    return 0;
}

/* Feed s; returns the last event that was one. */
static enum gdb_rx_event feed(const char *s)
{
    enum gdb_rx_event ev = GDB_RX_NONE;

    for (; *s; s++) {
        enum gdb_rx_event now = gdb_rx_byte(&rx, (uint8_t)*s);

        if (now != GDB_RX_NONE)
            ev = now;
    }
    return ev;
}

static void a_packet_is_taken_out_of_its_frame(void **state)
{
    (void)state;
    assert_int_equal(feed("+$g#67"), GDB_RX_PACKET);
    assert_int_equal(rx.len, 1);
    assert_string_equal(rx.buf, "g");
    assert_int_equal(feed("noise$#00"), GDB_RX_PACKET);
    assert_int_equal(rx.len, 0);
}

static void a_wrong_checksum_is_bad(void **state)
{
    (void)state;
    assert_int_equal(feed("$g#68"), GDB_RX_BAD);
    assert_int_equal(feed("$g#6x"), GDB_RX_BAD);
    assert_int_equal(feed("$g#x"), GDB_RX_BAD);
    assert_int_equal(feed("$g#67"), GDB_RX_PACKET);
}

static void a_packet_that_is_cut_off_is_forgotten(void **state)
{
    (void)state;
    assert_int_equal(feed("$m1000,4$g#67"), GDB_RX_PACKET);
    assert_string_equal(rx.buf, "g");
}

static void ctrl_c_counts_between_packets_only(void **state)
{
    (void)state;
    assert_int_equal(feed("\x03"), GDB_RX_INTERRUPT);
    assert_int_equal(feed("$X\x03"), GDB_RX_NONE);
    assert_int_equal(feed("#5b"), GDB_RX_PACKET);
    assert_int_equal(rx.len, 2);
}

static void the_longest_packet_fits_and_one_more_is_bad(void **state)
{
    char tail[8];
    unsigned len, i;

    (void)state;
    for (len = GDB_PACKET_MAX; len <= GDB_PACKET_MAX + 1; len++) {
        (void)gdb_rx_byte(&rx, '$');
        for (i = 0; i < len; i++)
            assert_int_equal(gdb_rx_byte(&rx, 'a'), GDB_RX_NONE);
        (void)snprintf(tail, sizeof(tail), "#%02x", (len * 'a') & 0xff);
        assert_int_equal(feed(tail),
                         len == GDB_PACKET_MAX ? GDB_RX_PACKET : GDB_RX_BAD);
    }
}

static struct gdb_scan scan(const char *s)
{
    return (struct gdb_scan){s, s + strlen(s)};
}

static void numbers_end_at_the_first_other_character(void **state)
{
    struct gdb_scan s = scan("1fF,");
    uint64_t val = 0;

    (void)state;
    assert_true(gdb_scan_hex(&s, &val));
    assert_int_equal(val, 0x1ff);
    assert_false(gdb_scan_hex(&s, &val));
    assert_true(gdb_scan_char(&s, ','));
    assert_true(gdb_scan_end(&s));
    assert_false(gdb_scan_char(&s, ','));
    s = scan("12345678123456789");
    assert_true(gdb_scan_hex(&s, &val));
    assert_int_equal(val, 0x1234567812345678);
    assert_false(gdb_scan_end(&s));
}

static void bytes_are_read_whole_or_not_at_all(void **state)
{
    struct gdb_scan s = scan("0aFf1");
    uint8_t b[3] = {0};

    (void)state;
    assert_false(gdb_scan_bytes(&s, b, 3));
    assert_true(gdb_scan_bytes(&s, b, 2));
    assert_int_equal(b[0], 0x0a);
    assert_int_equal(b[1], 0xff);
    assert_false(gdb_scan_bytes(&s, b, 1));
    s = scan("zz");
    assert_false(gdb_scan_bytes(&s, b, 1));
}

static void binary_data_may_be_escaped(void **state)
{
    struct gdb_scan s = scan("a}\x03"
                             "b");
    uint8_t b[3];

    (void)state;
    assert_true(gdb_scan_binary(&s, b, 3));
    assert_memory_equal(b, "a#b", 3);
    s = scan("ab}");
    assert_false(gdb_scan_binary(&s, b, 3));
    s = scan("abcd");
    assert_false(gdb_scan_binary(&s, b, 3)); /* more than was said */
}

static void a_reply_is_framed_and_escaped(void **state)
{
    struct gdb_reply r;

    (void)state;
    gdb_reply_start(&r);
    gdb_reply_str(&r, "OK");
    gdb_reply_end(&r);
    assert_int_equal(r.len, 6);
    assert_memory_equal(r.buf, "$OK#9a", 6);
    gdb_reply_start(&r);
    gdb_reply_binary(&r, "$#}*", 4);
    gdb_reply_end(&r);
    assert_memory_equal(r.buf, "$}\x04}\x03}]}\x0a#", 10);
    gdb_reply_start(&r);
    gdb_reply_num(&r, 0x1000);
    gdb_reply_num(&r, 0);
    gdb_reply_end(&r);
    assert_memory_equal(r.buf, "$100000#", 8);
}

static void a_reply_that_does_not_fit_becomes_an_error(void **state)
{
    static const char block[GDB_PACKET_MAX / 2 + 1];
    struct gdb_reply r;

    (void)state;
    gdb_reply_start(&r);
    gdb_reply_hex(&r, block, sizeof(block) - 1);
    gdb_reply_end(&r);
    assert_int_equal(r.len, GDB_PACKET_MAX + 4);
    gdb_reply_start(&r);
    gdb_reply_hex(&r, block, sizeof(block));
    gdb_reply_end(&r);
    assert_memory_equal(r.buf, "$E07#", 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_packet_is_taken_out_of_its_frame, fresh),
        cmocka_unit_test_setup(a_wrong_checksum_is_bad, fresh),
        cmocka_unit_test_setup(a_packet_that_is_cut_off_is_forgotten, fresh),
        cmocka_unit_test_setup(ctrl_c_counts_between_packets_only, fresh),
        cmocka_unit_test_setup(the_longest_packet_fits_and_one_more_is_bad,
                               fresh),
        cmocka_unit_test(numbers_end_at_the_first_other_character),
        cmocka_unit_test(bytes_are_read_whole_or_not_at_all),
        cmocka_unit_test(binary_data_may_be_escaped),
        cmocka_unit_test(a_reply_is_framed_and_escaped),
        cmocka_unit_test(a_reply_that_does_not_fit_becomes_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
