#include "machine/bootmem.h"

#include <errno.h>

#include "tests/unit/machine/fake_machine.h"
#include "tests/unit/test.h"

#define MIB ((uint64_t)1 << 20)

static int place(struct fake_machine *m, gpa_t min, gpa_t end, uint64_t len,
                 bool high, gpa_t *out)
{
    const struct bootmem_want w = {"it", len, min, end, high};

    return bootmem_place(&m->bm, &w, out, &m->err);
}

static void what_is_not_ram_cannot_be_claimed(void **state)
{
    static const struct {
        gpa_t gpa;
        uint64_t len;
    } bad[] = {{PC_LOW_END, 1},   {PC_LOW_END - 1, 2},
               {16 * MIB, 1},     {16 * MIB - 1, 2},
               {PC_UPPER - 1, 2}, {2 * MIB, UINT64_MAX},
               {UINT64_MAX, 1},   {UINT64_MAX, UINT64_MAX},
               {PC_4G, 4096},     {2 * MIB, 15 * MIB}};
    struct fake_machine m;

    (void)state;
    fake_machine_init(&m, 16);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(
            bootmem_claim(&m.bm, bad[i].gpa, bad[i].len, "it", &m.err),
            -EINVAL);
    fake_machine_fini(&m);
}

static void nothing_overlaps(void **state)
{
    static const struct {
        gpa_t gpa;
        uint64_t len;
    } bad[] = {{0, 1},
               {0x500, 16},
               {PC_EBDA, 16},
               {PC_TABLES, 1},
               {PC_TABLES_END - 1, 1},
               {2 * MIB, 1},
               {2 * MIB - 1, 2},
               {2 * MIB + 4095, 1},
               {MIB, 4 * MIB}};
    struct fake_machine m;

    (void)state;
    fake_machine_init(&m, 16);
    assert_int_equal(bootmem_claim(&m.bm, 2 * MIB, 4096, "it", &m.err), 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(
            bootmem_claim(&m.bm, bad[i].gpa, bad[i].len, "that", &m.err),
            -EINVAL);
    assert_int_equal(bootmem_claim(&m.bm, 2 * MIB + 4096, 1, "that", &m.err),
                     0);
    assert_int_equal(bootmem_claim(&m.bm, 2 * MIB - 1, 1, "that", &m.err), 0);
    assert_int_equal(bootmem_claim(&m.bm, 2 * MIB, 0, "none", &m.err), 0);
    fake_machine_fini(&m);
}

static void places_are_free_pages_nearest_to_the_end(void **state)
{
    struct fake_machine m;
    gpa_t a = 0, b = 0;

    (void)state;
    fake_machine_init(&m, 16);
    assert_int_equal(bootmem_place_low(&m.bm, 1, "a", &a, &m.err), 0);
    assert_true(a == 0x1000);
    assert_int_equal(bootmem_place_low(&m.bm, 0x9e000, "b", &b, &m.err), 0);
    assert_true(b == MIB); /* conventional memory is too small now */
    assert_int_equal(place(&m, MIB, PC_4G, 5000, true, &a), 0);
    assert_true(a == 16 * MIB - 0x2000);
    assert_int_equal(place(&m, MIB, PC_4G, 4096, true, &b), 0);
    assert_true(b == a - 0x1000);
    assert_int_equal(place(&m, MIB, 8 * MIB + 1, 4096, true, &b), 0);
    assert_true(b == 8 * MIB - 0x1000);
    fake_machine_fini(&m);
}

static void a_place_that_is_not_there_is_an_error(void **state)
{
    struct fake_machine m;
    gpa_t at = 0;

    (void)state;
    fake_machine_init(&m, 16);
    assert_int_equal(place(&m, MIB, PC_4G, 15 * MIB, true, &at), 0);
    assert_true(at == MIB);
    assert_int_equal(place(&m, MIB, PC_4G, 1, true, &at), -ENOSPC);
    assert_int_equal(place(&m, MIB, PC_4G, 1, false, &at), -ENOSPC);
    assert_int_equal(bootmem_place_low(&m.bm, UINT64_MAX, "b", &at, &m.err),
                     -ENOSPC);
    assert_int_equal(place(&m, PC_4G, 0, 1, false, &at), -ENOSPC);
    fake_machine_fini(&m);
}

static void claims_have_a_limit(void **state)
{
    struct fake_machine m;
    unsigned n = 0;
    gpa_t at = 0;

    (void)state;
    fake_machine_init(&m, 16);
    while (n < 1000 &&
           bootmem_claim(&m.bm, 2 * MIB + n, 1, "one more", &m.err) == 0)
        n++;
    assert_in_range(n, 64, BOOTMEM_MAX_CLAIMS);
    assert_true(bootmem_place_low(&m.bm, 1, "x", &at, &m.err) < 0);
    fake_machine_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_ram_cannot_be_claimed),
        cmocka_unit_test(nothing_overlaps),
        cmocka_unit_test(places_are_free_pages_nearest_to_the_end),
        cmocka_unit_test(a_place_that_is_not_there_is_an_error),
        cmocka_unit_test(claims_have_a_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
