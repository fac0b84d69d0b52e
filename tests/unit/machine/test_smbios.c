#include "machine/smbios.h"

#include <string.h>

#include "base/endian.h"
#include "tests/unit/test.h"

static uint8_t anchor[SMBIOS_ANCHOR_SIZE], tables[SMBIOS_TABLES_MAX];

static uint8_t sum(const uint8_t *p, size_t len)
{
    uint8_t s = 0;

    while (len-- > 0)
        s = (uint8_t)(s + *p++);
    return s;
}

/* The structure behind the one at p: its strings end with two zeros. */
static const uint8_t *next(const uint8_t *p)
{
    p += p[1];
    while (p[0] || p[1])
        p++;
    return p + 2;
}

static const uint8_t *find(unsigned type)
{
    const uint8_t *p = tables;

    for (unsigned i = 0; i < get_le16(anchor + 28); i++, p = next(p))
        if (p[0] == type)
            return p;
    fail();
    return NULL;
}

static size_t build(unsigned cpus, uint64_t low, uint64_t high)
{
    const struct smbios_config cfg = {.cpus = cpus, .low = low, .high = high};

    memset(tables, 0xcc, sizeof(tables));
    return smbios_build(&cfg, anchor, tables);
}

static void structures_fill_the_length_that_the_anchor_says(void **state)
{
    size_t len = build(2, 1u << 30, (uint64_t)1 << 30);
    const uint8_t *p = tables;
    unsigned longest = 0;

    (void)state;
    for (unsigned i = 0; i < get_le16(anchor + 28); i++) {
        const uint8_t *n = next(p);

        if ((unsigned)(n - p) > longest)
            longest = (unsigned)(n - p);
        p = n;
    }
    assert_int_equal(p - tables, len);
    assert_int_equal(get_le16(anchor + 22), len);
    assert_int_equal(get_le16(anchor + 8), longest);
    assert_int_equal(sum(anchor, 31), 0);
    assert_int_equal(sum(anchor + 16, 15), 0);
    assert_int_equal(find(127)[1], 4);
}

static void cpus_are_counted_up_to_what_a_byte_holds(void **state)
{
    (void)state;
    (void)build(3, 1u << 30, 0);
    assert_int_equal(find(4)[0x23], 3);
    (void)build(255, 1u << 30, 0);
    assert_int_equal(find(4)[0x25], 255);
}

static void memory_of_any_size_is_told(void **state)
{
    const uint64_t tib = (uint64_t)1 << 40;

    (void)state;
    (void)build(1, 512 << 20, 0);
    assert_int_equal(get_le32(find(16) + 7), 512 << 10);
    assert_int_equal(get_le16(find(17) + 12), 512);
    assert_int_equal(get_le32(find(19) + 8), (512 << 10) - 1);
    (void)build(1, 3u << 30, 16 * tib - ((uint64_t)3 << 30));
    assert_int_equal(get_le32(find(16) + 7), 0x80000000);
    assert_true(get_le64(find(16) + 15) == 16 * tib);
    assert_int_equal(get_le16(find(17) + 12), 0x7fff);
    assert_int_equal(get_le32(find(17) + 28), 16 << 20);
    assert_true(get_le64(next(find(19)) + 23) ==
                16 * tib + ((uint64_t)1 << 30) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(structures_fill_the_length_that_the_anchor_says),
        cmocka_unit_test(cpus_are_counted_up_to_what_a_byte_holds),
        cmocka_unit_test(memory_of_any_size_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
