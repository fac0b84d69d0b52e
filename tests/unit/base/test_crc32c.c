#include "base/crc32c.h"

#include "tests/unit/test.h"

static void the_check_value_of_the_polynomial_comes_out(void **state)
{
    (void)state;
    /* The value that catalogues of CRCs give for "123456789". */
    assert_true(crc32c_update(0, "123456789", 9) == 0xe3069283);
    assert_true(crc32c_update(0, "", 0) == 0);
}

static void a_sum_can_be_made_in_parts(void **state)
{
    uint32_t crc = crc32c_update(0, "12345", 5);

    (void)state;
    assert_true(crc32c_update(crc, "6789", 4) == 0xe3069283);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_check_value_of_the_polynomial_comes_out),
        cmocka_unit_test(a_sum_can_be_made_in_parts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
