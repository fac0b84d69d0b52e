#include "machine/memlayout.h"

#include <errno.h>

#include "tests/unit/test.h"

#define MIB ((uint64_t)1 << 20)

static void small_memory_ends_below_the_hole(void **state)
{
    struct memlayout ml;
    struct err err;

    (void)state;
    assert_int_equal(memlayout_init(&ml, 256 * MIB, 0, &err), 0);
    assert_int_equal(ml.nr_banks, 2);
    assert_true(ml.low_end == 256 * MIB && ml.high_end == PC_4G);
    assert_true(ml.bank[0].start == 0 && ml.bank[0].size == PC_LOW_END);
    assert_true(ml.bank[1].start == PC_UPPER);
    assert_true(ml.bank[1].start + ml.bank[1].size == 256 * MIB);
}

static void memory_over_3_gib_goes_on_at_4_gib(void **state)
{
    struct memlayout ml;
    struct err err;

    (void)state;
    assert_int_equal(memlayout_init(&ml, 3072 * MIB, 0, &err), 0);
    assert_int_equal(ml.nr_banks, 2);
    assert_int_equal(memlayout_init(&ml, 8192 * MIB, 0, &err), 0);
    assert_int_equal(ml.nr_banks, 3);
    assert_true(ml.low_end == PC_HOLE);
    assert_true(ml.bank[2].start == PC_4G);
    assert_true(ml.bank[2].size == 5120 * MIB);
    assert_true(ml.high_end == PC_4G + 5120 * MIB);
}

static void the_memory_map_is_ascending_and_usable_parts_are_ram(void **state)
{
    static const uint64_t sizes[] = {2, 3, 256, 3072, 3073, 8192};
    struct memlayout ml;
    struct err err;

    (void)state;
    for (size_t n = 0; n < ARRAY_LEN(sizes); n++) {
        gpa_t end = 0;
        uint64_t usable = 0;

        assert_int_equal(memlayout_init(&ml, sizes[n] * MIB, 0, &err), 0);
        assert_in_range(ml.nr_e820, 4, MEMLAYOUT_MAX_E820);
        for (unsigned i = 0; i < ml.nr_e820; i++) {
            const struct e820_entry *e = &ml.e820[i];

            assert_true(e->start >= end && e->len > 0);
            end = e->start + e->len;
            if (e->type == E820_RAM)
                usable += e->len;
        }
        assert_true(usable <= sizes[n] * MIB);
        assert_true(usable >= sizes[n] * MIB - MIB);
    }
}

static void sizes_that_cannot_work_are_refused(void **state)
{
    static const uint64_t bad[] = {0,
                                   4096,
                                   PC_MEMORY_MIN - 4096,
                                   256 * MIB + 1,
                                   256 * MIB + 2048,
                                   PC_MEMORY_MAX + 4096,
                                   UINT64_MAX,
                                   UINT64_MAX & ~GPAGE_MASK};
    struct memlayout ml;
    struct err err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        err.text[0] = '\0';
        assert_int_equal(memlayout_init(&ml, bad[i], 0, &err), -EINVAL);
        assert_true(err.text[0] != '\0');
    }
    assert_int_equal(memlayout_init(&ml, PC_MEMORY_MIN, 0, &err), 0);
    assert_int_equal(memlayout_init(&ml, PC_MEMORY_MAX, 0, &err), 0);
}

static void firmware_lies_below_4_gib_and_in_the_shadow_area(void **state)
{
    struct memlayout ml;
    struct err err;

    (void)state;
    assert_int_equal(memlayout_init(&ml, 8192 * MIB, 256 << 10, &err), 0);
    assert_int_equal(ml.nr_banks, 5);
    assert_true(ml.bank[1].shadow && ml.bank[1].start == PC_UPPER);
    assert_int_equal(ml.bank[1].size, GMEM_SHADOW_SIZE);
    assert_int_equal(ml.bank[2].start, 1 << 20);
    assert_true(ml.bank[3].readonly);
    assert_true(ml.bank[3].start == PC_4G - (256 << 10));
    assert_true(ml.bank[4].start == PC_4G);
    assert_true(ml.pci_mmio == PC_PCI_MMIO);
    assert_int_equal(memlayout_init(&ml, 256 * MIB, 256 << 10, &err), 0);
    assert_true(ml.pci_mmio == PC_FW_MMIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_memory_ends_below_the_hole),
        cmocka_unit_test(memory_over_3_gib_goes_on_at_4_gib),
        cmocka_unit_test(the_memory_map_is_ascending_and_usable_parts_are_ram),
        cmocka_unit_test(sizes_that_cannot_work_are_refused),
        cmocka_unit_test(firmware_lies_below_4_gib_and_in_the_shadow_area),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
