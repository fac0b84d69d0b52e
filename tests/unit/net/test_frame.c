#include "net/frame.h"

#include <errno.h>
#include <string.h>

#include "base/endian.h"
#include "tests/unit/test.h"

enum { IP = 14, TCP = 34, SYN = 2, BIG = 20000 };

/* A frame of IPv4 with TCP, len bytes in all, no sum in it but the header's. */
static void make_tcp(uint8_t *f, size_t len, uint8_t flags)
{
    memset(f, 0, len);
    for (size_t i = 54; i < len; i++)
        f[i] = (uint8_t)(i * 7);
    put_be16(f + 12, 0x0800);
    f[IP] = 0x45;
    put_be16(f + IP + 2, (uint16_t)(len - IP));
    f[IP + 8] = 64;
    f[IP + 9] = 6;
    memcpy(f + IP + 12, "\x0a\0\2\x0f\x0a\0\2\2", 8);
    put_be16(f + IP + 10, (uint16_t)~frame_sum(f + IP, 20, 0));
    f[TCP + 12] = 5 << 4;
    f[TCP + 13] = flags;
}

static uint16_t pseudo_sum(const uint8_t *f, size_t len)
{
    uint8_t pseudo[12] = {0};

    memcpy(pseudo, f + IP + 12, 8);
    pseudo[9] = 6;
    put_be16(pseudo + 10, (uint16_t)(len - TCP));
    return frame_sum(pseudo, 12, 0);
}

/* Sum of pseudo header and segment: 0xffff if the checksum is right. */
static uint16_t tcp_sum(const uint8_t *f, size_t len)
{
    return frame_sum(f + TCP, len - TCP, pseudo_sum(f, len));
}

static void put_pseudo(uint8_t *f, size_t len)
{
    put_be16(f + TCP + 16, pseudo_sum(f, len));
}

static void sums_are_those_of_rfc_1071(void **state)
{
    static const uint8_t bytes[] = {0x00, 0x01, 0xf2, 0x03, 0xf4,
                                    0xf5, 0xf6, 0xf7, 0x80};

    (void)state;
    assert_int_equal(frame_sum(bytes, 8, 0), 0xddf2);
    assert_int_equal(frame_sum(bytes, 9, 0), 0x5df3);
    assert_int_equal(frame_sum(bytes + 4, 4, frame_sum(bytes, 4, 0)), 0xddf2);
    assert_int_equal(frame_sum(bytes, 0, 0x1234), 0x1234);
}

static void a_checksum_is_put_where_it_belongs(void **state)
{
    const struct net_head h = {
        .flags = NET_CSUM, .csum_start = TCP, .csum_offset = 16};
    static uint8_t f[BIG];

    (void)state;
    for (size_t len = 54; len < 60; len++) {
        make_tcp(f, len, 0);
        put_pseudo(f, len);
        assert_int_equal(frame_finish(&h, f, len), 0);
        assert_int_equal(tcp_sum(f, len), 0xffff);
    }
    make_tcp(f, BIG, 0);
    put_pseudo(f, BIG);
    assert_int_equal(frame_finish(&h, f, BIG), 0);
    assert_int_equal(tcp_sum(f, BIG), 0xffff);
}

static void a_head_that_does_not_fit_is_refused(void **state)
{
    struct net_head h = {.flags = NET_CSUM, .csum_start = 60};
    uint8_t f[60];

    (void)state;
    make_tcp(f, 60, 0);
    assert_int_equal(frame_finish(&h, f, 60), -EINVAL);
    h.csum_start = 34;
    h.csum_offset = 25;
    assert_int_equal(frame_finish(&h, f, 60), -EINVAL);
    h.csum_start = 0xffff;
    h.csum_offset = 0xffff;
    assert_int_equal(frame_finish(&h, f, 60), -EINVAL);
    h = (struct net_head){.gso_type = NET_GSO_TCP4};
    assert_int_equal(frame_finish(&h, f, 60), -EINVAL);
}

static void an_opening_takes_large_segments(void **state)
{
    static const uint8_t options[] = {1, 3, 3, 7, 2, 4, 5, 0xb4};
    uint8_t f[62], was[62];

    (void)state;
    make_tcp(f, 62, SYN);
    f[TCP + 12] = 7 << 4;
    memcpy(f + 54, options, sizeof(options));
    memcpy(was, f, sizeof(f));
    frame_raise_mss(f, 62, 16000);
    assert_int_equal(get_be16(f + 60), 16000);
    assert_int_equal(tcp_sum(f, 62), 0xffff);
    memcpy(f, was, sizeof(f));
    f[TCP + 13] = 0; /* not an opening */
    was[TCP + 13] = 0;
    frame_raise_mss(f, 62, 16000);
    assert_memory_equal(f, was, 62);
    f[TCP + 13] = SYN;
    f[55] = 0; /* an option without a length ends the walk */
    memcpy(was, f, sizeof(f));
    frame_raise_mss(f, 62, 16000);
    assert_memory_equal(f, was, 62);
}

static void a_long_segment_is_many(void **state)
{
    struct net_head h;
    static uint8_t f[BIG];

    (void)state;
    make_tcp(f, BIG, 0);
    assert_true(frame_is_large(&h, f, BIG));
    assert_int_equal(h.gso_type, NET_GSO_TCP4);
    assert_int_equal(h.gso_size, 1460);
    assert_int_equal(h.head_len, 54);
    /* And is what a guest would have left to us. */
    assert_int_equal(frame_finish(&h, f, BIG), 0);
    assert_int_equal(tcp_sum(f, BIG), 0xffff);
    make_tcp(f, 1514, 0);
    assert_false(frame_is_large(&h, f, 1514));
    assert_int_equal(h.flags, NET_CSUM_VALID);
    make_tcp(f, BIG, 0);
    f[IP + 9] = 17;
    assert_false(frame_is_large(&h, f, BIG));
    f[IP + 9] = 6;
    put_be16(f + IP + 2, BIG); /* more than there is */
    assert_false(frame_is_large(&h, f, BIG));
}

static void a_long_packet_is_cut(void **state)
{
    uint8_t piece[NET_MIN_FRAME + NET_MTU];
    static uint8_t f[BIG], whole[BIG];
    size_t off = 0, n, had = 0;

    (void)state;
    make_tcp(f, BIG, 0);
    f[IP + 9] = 17;
    while ((n = frame_fragment(f, BIG, &off, piece)) > 0) {
        uint16_t frag = get_be16(piece + IP + 6);
        size_t at = (size_t)(frag & 0x1fff) * 8;

        assert_true(n <= sizeof(piece));
        assert_int_equal(get_be16(piece + IP + 2), n - IP);
        assert_int_equal(frame_sum(piece + IP, 20, 0), 0xffff);
        assert_int_equal(at, had);
        memcpy(whole + at, piece + 34, n - 34);
        had += n - 34;
        assert_int_equal((frag & 0x2000) != 0, had < BIG - 34);
    }
    assert_int_equal(had, BIG - 34);
    assert_memory_equal(whole, f + 34, had);
    f[12] = 0x86;
    off = 0;
    assert_int_equal(frame_fragment(f, BIG, &off, piece), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_those_of_rfc_1071),
        cmocka_unit_test(a_checksum_is_put_where_it_belongs),
        cmocka_unit_test(a_head_that_does_not_fit_is_refused),
        cmocka_unit_test(an_opening_takes_large_segments),
        cmocka_unit_test(a_long_segment_is_many),
        cmocka_unit_test(a_long_packet_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
