#include "machine/aml.h"

#include <string.h>

#include "base/compiler.h"
#include "tests/unit/test.h"

static void integers_take_their_shortest_form(void **state)
{
    static const struct {
        uint64_t val;
        uint8_t bytes[9];
        size_t len;
    } forms[] = {
        {0, {0x00}, 1},
        {1, {0x01}, 1},
        {2, {0x0a, 2}, 2},
        {0xff, {0x0a, 0xff}, 2},
        {0x100, {0x0b, 0, 1}, 3},
        {0xffff, {0x0b, 0xff, 0xff}, 3},
        {0x10000, {0x0c, 0, 0, 1, 0}, 5},
        {0x100000000, {0x0e, 0, 0, 0, 0, 1, 0, 0, 0}, 9},
    };
    uint8_t buf[16];
    struct aml a;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        aml_init(&a, buf, sizeof(buf));
        aml_int(&a, forms[i].val);
        assert_false(a.failed);
        assert_int_equal(a.len, forms[i].len);
        assert_memory_equal(buf, forms[i].bytes, forms[i].len);
    }
}

/* The length that is encoded at p; *used bytes long (ACPI 6.5, 20.2.4). */
static size_t pkg_length(const uint8_t *p, size_t *used)
{
    size_t more = p[0] >> 6, len = p[0] & (more ? 0xf : 0x3f);

    for (size_t i = 1; i <= more; i++)
        len |= (size_t)p[i] << (8 * i - 4);
    *used = more + 1;
    return len;
}

static void package_lengths_count_themselves_and_are_shortest(void **state)
{
    static const size_t sizes[] = {1,    50,   56,   57,    58,     59,
                                   60,   4080, 4087, 4088,  4089,   4090,
                                   4091, 4096, 9000, 70000, 1 << 21};
    static uint8_t buf[(1 << 21) + 64];
    static char text[1 << 21];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct aml a;
        size_t mark, used = 0, len;

        memset(text, 'x', sizeof(text));
        text[sizes[i] - 1] = '\0';
        aml_init(&a, buf, sizeof(buf));
        mark = aml_scope(&a, "_SB_");
        aml_string(&a, text);
        aml_end(&a, mark);
        assert_false(a.failed);
        len = pkg_length(buf + 1, &used);
        assert_int_equal(len, a.len - 1);
        /* one byte less could not hold it */
        assert_true(used == 1 || len - 1 > (used == 2   ? 0x3fu
                                            : used == 3 ? 0xfffu
                                                        : 0xfffffu));
        assert_memory_equal(buf + 1 + used, "_SB_", 4);
        assert_memory_equal(buf + 1 + used + 5, text, sizes[i]);
    }
}

static void nested_packages_end_where_their_parents_expect(void **state)
{
    static const uint8_t expected[] = {0x10, 0x0f, '_', 'S', 'B', '_',
                                       0x08, 'A',  'A', 'A', 'A', 0x12,
                                       0x04, 2,    0,   1};
    uint8_t buf[64];
    struct aml a;
    size_t outer, inner;

    (void)state;
    aml_init(&a, buf, sizeof(buf));
    outer = aml_scope(&a, "_SB_");
    aml_name(&a, "AAAA");
    inner = aml_package(&a, 2);
    aml_int(&a, 0);
    aml_int(&a, 1);
    aml_end(&a, inner);
    aml_end(&a, outer);
    assert_int_equal(a.len, sizeof(expected));
    assert_memory_equal(buf, expected, sizeof(expected));
}

static void eisa_ids_are_packed_as_the_standard_shows(void **state)
{
    /* ACPI 6.5, 19.6.36: EISAID ("PNP0C09") is 0x090cd041 */
    static const uint8_t expected[] = {0x0c, 0x41, 0xd0, 0x0c, 0x09};
    uint8_t buf[8];
    struct aml a;

    (void)state;
    aml_init(&a, buf, sizeof(buf));
    aml_eisaid(&a, "PNP0C09");
    assert_int_equal(a.len, 5);
    assert_memory_equal(buf, expected, 5);
}

static void a_resource_buffer_knows_its_size(void **state)
{
    uint8_t buf[64];
    struct aml a;
    size_t mark;

    (void)state;
    aml_init(&a, buf, sizeof(buf));
    mark = aml_resources(&a);
    aml_res_io(&a, 0x3f8, 8);
    aml_res_irq(&a, 4);
    aml_res_end(&a, mark);
    /* Buffer, length, word constant, 8 + 3 + 2 bytes of resources */
    assert_int_equal(buf[0], 0x11);
    assert_int_equal(buf[1], 1 + 3 + 13);
    assert_int_equal(buf[2], 0x0b);
    assert_int_equal(buf[3] | buf[4] << 8, 13);
    assert_int_equal(a.len, 1u + 1 + 3 + 13);
    assert_int_equal(buf[a.len - 2], 0x79);
}

static void an_overflow_is_remembered_and_writes_nothing(void **state)
{
    uint8_t buf[64];

    (void)state;
    for (size_t cap = 0; cap < 24; cap++) {
        struct aml a;
        size_t mark;

        memset(buf, 0xcc, sizeof(buf));
        aml_init(&a, buf, cap);
        mark = aml_scope(&a, "_SB_");
        aml_name(&a, "AAAA");
        aml_int(&a, UINT64_MAX);
        aml_string(&a, "x");
        aml_end(&a, mark);
        assert_true(a.failed);
        for (size_t i = cap; i < sizeof(buf); i++)
            assert_int_equal(buf[i], 0xcc);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_take_their_shortest_form),
        cmocka_unit_test(package_lengths_count_themselves_and_are_shortest),
        cmocka_unit_test(nested_packages_end_where_their_parents_expect),
        cmocka_unit_test(eisa_ids_are_packed_as_the_standard_shows),
        cmocka_unit_test(a_resource_buffer_knows_its_size),
        cmocka_unit_test(an_overflow_is_remembered_and_writes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
