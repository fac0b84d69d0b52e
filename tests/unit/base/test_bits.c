#include "base/bits.h"

#include "base/checked.h"
#include "base/endian.h"
#include "tests/unit/test.h"

static void sums_and_products_that_do_not_fit_are_refused(void **state)
{
    uint64_t out;

    (void)state;
    assert_true(add_ok(UINT64_MAX - 1, 1, &out) && out == UINT64_MAX);
    assert_false(add_ok(UINT64_MAX, 1, &out));
    assert_true(mul_ok(1ull << 32, (1ull << 32) - 1, &out));
    assert_false(mul_ok(1ull << 32, 1ull << 32, &out));
}

static void ranges_are_compared_without_wrapping(void **state)
{
    (void)state;
    assert_true(range_ok(0, 0, 0));
    assert_true(range_ok(8, 8, 16));
    assert_false(range_ok(9, 8, 16));
    assert_false(range_ok(UINT64_MAX, 2, 16));
    assert_false(range_ok(2, UINT64_MAX, 16));
    assert_true(ranges_overlap(0, 2, 1, 1));
    assert_true(ranges_overlap(1, 1, 0, 2));
    assert_false(ranges_overlap(0, 1, 1, 1));
    assert_false(ranges_overlap(0, 0, 0, 1));
    assert_false(ranges_overlap(UINT64_MAX, 1, 0, 1));
}

static void bit_fields_are_read_and_replaced(void **state)
{
    (void)state;
    assert_true(bits_mask(0) == 0 && bits_mask(64) == UINT64_MAX);
    assert_int_equal(bits_get(0xabcd, 11, 4), 0xbc);
    assert_int_equal(bits_set(0xabcd, 11, 4, 0x12), 0xa12d);
    assert_int_equal(bits_set(0, 3, 0, 0xff), 0xf);
    assert_true(bits_set(0, 63, 0, UINT64_MAX) == UINT64_MAX);
}

static void alignment_is_of_powers_of_two(void **state)
{
    uint64_t out;

    (void)state;
    assert_true(is_pow2(1) && is_pow2(4096));
    assert_false(is_pow2(0) || is_pow2(3));
    assert_true(is_aligned(8192, 4096) && !is_aligned(1, 2));
    assert_int_equal(align_down(8191, 4096), 4096);
    assert_true(align_up_ok(4097, 4096, &out) && out == 8192);
    assert_true(align_up_ok(4096, 4096, &out) && out == 4096);
    assert_false(align_up_ok(UINT64_MAX, 4096, &out));
}

static void numbers_have_the_byte_order_they_are_asked_for(void **state)
{
    uint8_t b[9] = {0};

    (void)state;
    put_le16(b + 1, 0x1234);
    assert_int_equal(b[1], 0x34);
    assert_int_equal(get_le16(b + 1), 0x1234);
    assert_int_equal(get_be16(b + 1), 0x3412);
    put_be32(b + 1, 0x12345678);
    assert_int_equal(b[1], 0x12);
    assert_int_equal(get_be32(b + 1), 0x12345678);
    assert_int_equal(get_le32(b + 1), 0x78563412);
    put_be64(b + 1, 0x0102030405060708);
    assert_int_equal(b[8], 8);
    assert_true(get_be64(b + 1) == 0x0102030405060708);
    put_le64(b + 1, 0x0102030405060708);
    assert_int_equal(b[8], 1);
    assert_true(get_le64(b + 1) == 0x0102030405060708);
    put_be16(b, 0x1234);
    assert_int_equal(b[0], 0x12);
    put_le32(b, 1);
    assert_int_equal(b[0], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_and_products_that_do_not_fit_are_refused),
        cmocka_unit_test(ranges_are_compared_without_wrapping),
        cmocka_unit_test(bit_fields_are_read_and_replaced),
        cmocka_unit_test(alignment_is_of_powers_of_two),
        cmocka_unit_test(numbers_have_the_byte_order_they_are_asked_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
