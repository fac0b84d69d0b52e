#include "devices/pc/flash.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/devices/pc/fixture.h"

enum { SIZE = 4 * FLASH_SECTOR };

static struct flash fl;
static uint8_t data[SIZE], stored[SIZE];
static int store_rc;

static int store(void *opaque, uint64_t off, const uint8_t *p, size_t len)
{
    (void)opaque;
    assert_true(off <= SIZE && len <= SIZE - off);
    if (store_rc == 0)
        memcpy(stored + off, p, len);
    return store_rc;
}

static int setup(void **state)
{
    const struct flash_backend back = {.store = store};

    (void)state;
    for (size_t i = 0; i < SIZE; i++)
        data[i] = stored[i] = (uint8_t)i;
    store_rc = 0;
    flash_init(&fl, data, SIZE, &back);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    flash_fini(&fl);
    return 0;
}

static uint8_t get(uint64_t off)
{
    return rd8(&flash_bus_ops, &fl, off);
}

static void put(uint64_t off, uint8_t val)
{
    wr8(&flash_bus_ops, &fl, off, val);
}

static void it_reads_as_memory_of_any_width(void **state)
{
    (void)state;
    assert_int_equal(get(5), 5);
    assert_true(rd(&flash_bus_ops, &fl, 8, 8) == 0x0f0e0d0c0b0a0908);
}

static void firmware_tells_it_from_memory(void **state)
{
    (void)state;
    put(1, 0x50); /* clear status: as OVMF does */
    assert_int_equal(get(1), 1);
    put(1, 0x70);
    assert_int_equal(get(1), 0);
    put(1, 0xff);
    assert_int_equal(get(1), 1);
}

static void programming_clears_bits_and_is_stored(void **state)
{
    (void)state;
    put(0x13, 0x10);
    put(0x13, 0xf1);
    assert_int_equal(get(0x13), 0x80);
    put(0x13, 0xff);
    assert_int_equal(get(0x13), 0x11);
    assert_int_equal(stored[0x13], 0x11);
}

static void erasing_sets_one_sector(void **state)
{
    (void)state;
    put(FLASH_SECTOR + 77, 0x20);
    put(FLASH_SECTOR + 77, 0xd0);
    assert_int_equal(get(0), 0x80);
    put(0, 0xff);
    assert_int_equal(get(FLASH_SECTOR), 0xff);
    assert_int_equal(get(2 * FLASH_SECTOR - 1), 0xff);
    assert_int_equal(get(FLASH_SECTOR - 2), 0xfe);
    assert_int_equal(get(2 * FLASH_SECTOR + 1), 1);
    assert_int_equal(stored[FLASH_SECTOR + 1], 0xff);
}

static void an_erase_that_is_not_confirmed_fails(void **state)
{
    (void)state;
    put(0, 0x20);
    put(0, 0xff);
    assert_int_equal(get(0), 0xb0);
    put(0, 0xff);
    assert_int_equal(get(1), 1);
}

static void a_host_that_cannot_store_is_reported(void **state)
{
    (void)state;
    store_rc = -EIO;
    put(3, 0x40);
    put(3, 0);
    assert_int_equal(get(3), 0x90);
    put(3, 0x20);
    put(3, 0xd0);
    assert_int_equal(get(3), 0xb0);
    put(3, 0x50);
    assert_int_equal(get(3), 3);
}

static void it_identifies_itself(void **state)
{
    (void)state;
    put(0, 0x90);
    assert_int_equal(get(0), 0x89);
    put(0, 0x98);
    assert_int_equal(get(0x10), 'Q');
    assert_int_equal(get(0x12), 'Y');
    assert_int_equal(get(0x27), 14);
    assert_int_equal(get(0x2d), 3);
    assert_int_equal(get(0x2f) * 256, FLASH_SECTOR);
}

static void reset_returns_to_reading(void **state)
{
    (void)state;
    put(0, 0x10);
    flash_reset(&fl);
    put(0, 0xff);
    assert_int_equal(get(1), 1);
}

/* Whatever a guest writes, and wherever: the bounds hold (ASan sees). */
static void any_writes_stay_inside(void **state)
{
    uint32_t seed = 1;

    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        seed = seed * 1664525 + 1013904223;
        wr(&flash_bus_ops, &fl, (seed >> 8) % (SIZE / 8) * 8, 8,
           (uint64_t)seed * 0x9e3779b97f4a7c15);
        (void)rd(&flash_bus_ops, &fl, SIZE - 8, 8);
        assert_int_equal(flash_state_desc.check(&fl.st), 0);
    }
}

static void forged_states_are_refused(void **state)
{
    struct flash_state st = {.command = 0xff, .second = 1};

    (void)state;
    assert_int_equal(flash_state_desc.check(&st), -EINVAL);
    st = (struct flash_state){.command = 0x10, .second = 2};
    assert_int_equal(flash_state_desc.check(&st), -EINVAL);
    st = (struct flash_state){.command = 0xff, .status = 1};
    assert_int_equal(flash_state_desc.check(&st), -EINVAL);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(it_reads_as_memory_of_any_width),
        T(firmware_tells_it_from_memory),
        T(programming_clears_bits_and_is_stored),
        T(erasing_sets_one_sector),
        T(an_erase_that_is_not_confirmed_fails),
        T(a_host_that_cannot_store_is_reported),
        T(it_identifies_itself),
        T(reset_returns_to_reading),
        T(any_writes_stay_inside),
        T(forged_states_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
