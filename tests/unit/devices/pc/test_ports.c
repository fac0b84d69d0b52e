#include <stdlib.h>

#include "devices/pc/debug_port.h"
#include "devices/pc/reset_port.h"
#include "devices/pc/test_dev.h"

#include "tests/unit/devices/pc/fixture.h"

/* The devices that are one port each. */

static unsigned calls;
static uint32_t last;

static void on_reset(void *opaque)
{
    (void)opaque;
    calls++;
}

static void on_byte(void *opaque, uint8_t byte)
{
    (void)opaque;
    calls++;
    last = byte;
}

static void on_exit_value(void *opaque, uint32_t value)
{
    (void)opaque;
    calls++;
    last = value;
}

static void a_rising_reset_bit_resets_once(void **state)
{
    struct reset_port r;

    (void)state;
    calls = 0;
    reset_port_init(&r, on_reset, NULL);
    wr8(&reset_port_bus_ops, &r, 0, 0x02);
    assert_int_equal(calls, 0);
    assert_int_equal(rd8(&reset_port_bus_ops, &r, 0), 0x02);
    wr8(&reset_port_bus_ops, &r, 0, 0x0e);
    assert_int_equal(calls, 1);
    wr8(&reset_port_bus_ops, &r, 0, 0x06);
    assert_int_equal(calls, 1);
    reset_port_reset(&r);
    wr8(&reset_port_bus_ops, &r, 0, 0x06);
    assert_int_equal(calls, 2);
}

static void debugcon_is_there_and_passes_bytes_on(void **state)
{
    struct debugcon d = {on_byte, NULL};
    struct debugcon nobody = {0};

    (void)state;
    assert_int_equal(rd8(&debugcon_bus_ops, &d, 0), 0xe9);
    wr8(&debugcon_bus_ops, &d, 0, 'x');
    assert_int_equal(last, 'x');
    wr8(&debugcon_bus_ops, &nobody, 0, 'y');
    assert_int_equal(last, 'x');
}

static void debug_exit_passes_its_value_on(void **state)
{
    struct debug_exit d = {on_exit_value, NULL};

    (void)state;
    wr(&debug_exit_bus_ops, &d, 0, 4, 0x12345678);
    assert_int_equal(last, 0x12345678);
    assert_int_equal(rd(&debug_exit_bus_ops, &d, 0, 4), 0);
}

static void the_test_device_keeps_bytes_and_drives_lines(void **state)
{
    struct fake_irq line = {0};
    struct test_dev *t = calloc(1, sizeof(*t));

    (void)state;
    assert_non_null(t);
    test_dev_init(t);
    t->line[11] = fake_irq(&line);
    wr(&test_dev_word_bus_ops, t, 0, 4, 0x12345678);
    wr8(&test_dev_word_bus_ops, t, 1, 0xaa);
    assert_int_equal(rd(&test_dev_word_bus_ops, t, 0, 4), 0x1234aa78);
    assert_int_equal(rd(&test_dev_word_bus_ops, t, 2, 2), 0x1234);
    wr(&test_dev_mem_bus_ops, t, TEST_DEV_MEM_SIZE - 8, 8, 0x8877665544332211);
    assert_int_equal(rd(&test_dev_mem_bus_ops, t, TEST_DEV_MEM_SIZE - 2, 2),
                     0x8877);
    wr(&test_dev_line_bus_ops, t, 11, 4, 1);
    assert_true(line.level);
    wr8(&test_dev_line_bus_ops, t, 11, 0);
    assert_false(line.level);
    assert_int_equal(line.edges, 1);
    test_dev_fini(t);
    free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rising_reset_bit_resets_once),
        cmocka_unit_test(debugcon_is_there_and_passes_bytes_on),
        cmocka_unit_test(debug_exit_passes_its_value_on),
        cmocka_unit_test(the_test_device_keeps_bytes_and_drives_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
