#include "devices/pc/i8042.h"

#include "devices/pc/ps2_kbd.h"
#include "tests/unit/devices/pc/fixture.h"

static struct fake_irq irq1, irq12;
static struct i8042 k;
static unsigned resets;

static void on_reset(void *opaque)
{
    (void)opaque;
    resets++;
}

static void cmd(unsigned val)
{
    wr8(&i8042_cmd_bus_ops, &k, 0, val);
}

static void data(unsigned val)
{
    wr8(&i8042_data_bus_ops, &k, 0, val);
}

static uint8_t status(void)
{
    return rd8(&i8042_cmd_bus_ops, &k, 0);
}

/* The next byte, which must be there. */
static uint8_t get(void)
{
    assert_true(status() & 1);
    return rd8(&i8042_data_bus_ops, &k, 0);
}

static void set_ctr(unsigned val)
{
    cmd(0x60);
    data(val);
}

static int setup(void **state)
{
    (void)state;
    irq1 = (struct fake_irq){0};
    irq12 = (struct fake_irq){0};
    resets = 0;
    i8042_init(&k, fake_irq(&irq1), fake_irq(&irq12), on_reset, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    i8042_fini(&k);
    return 0;
}

static void the_controller_tests_itself(void **state)
{
    (void)state;
    cmd(0xaa);
    assert_int_equal(get(), 0x55);
    cmd(0xab);
    assert_int_equal(get(), 0x00);
    cmd(0xa9);
    assert_int_equal(get(), 0x00);
    assert_false(status() & 1);
}

static void the_command_byte_reads_back(void **state)
{
    (void)state;
    set_ctr(0x74);
    cmd(0x20);
    assert_int_equal(get(), 0x74);
    cmd(0xae);
    cmd(0xa8);
    cmd(0x20);
    assert_int_equal(get(), 0x44);
    assert_true(status() & 0x04);
}

static void the_keyboard_identifies_itself(void **state)
{
    (void)state;
    set_ctr(0x05); /* untranslated */
    data(0xf2);
    assert_true(irq1.level);
    assert_int_equal(get(), 0xfa);
    assert_int_equal(get(), 0xab);
    assert_int_equal(get(), 0x83);
    set_ctr(0x45);
    data(0xf2);
    assert_int_equal(get(), 0xfa);
    assert_int_equal(get(), 0xab);
    assert_int_equal(get(), 0x41);
    assert_false(irq1.level);
}

static void each_byte_makes_an_edge(void **state)
{
    (void)state;
    data(0xf2);
    assert_int_equal(irq1.edges, 1);
    (void)get();
    assert_int_equal(irq1.edges, 2);
    (void)get();
    assert_int_equal(irq1.edges, 3);
    (void)get();
    assert_int_equal(irq1.edges, 3);
}

static void a_reset_keyboard_reports_its_test(void **state)
{
    (void)state;
    data(0xff);
    assert_int_equal(get(), 0xfa);
    assert_int_equal(get(), 0xaa);
}

static void keys_come_in_set_1_when_translated(void **state)
{
    (void)state;
    i8042_key(&k, 0x1e, true); /* A */
    i8042_key(&k, 0x1e, false);
    assert_int_equal(get(), 0x1e);
    assert_int_equal(get(), 0x9e);
    i8042_key(&k, 0xe048, true); /* cursor up */
    i8042_key(&k, 0xe048, false);
    assert_int_equal(get(), 0xe0);
    assert_int_equal(get(), 0x48);
    assert_int_equal(get(), 0xe0);
    assert_int_equal(get(), 0xc8);
    assert_false(status() & 1);
}

static void keys_come_in_set_2_when_not(void **state)
{
    (void)state;
    set_ctr(0x05);
    i8042_key(&k, 0x1e, true);
    i8042_key(&k, 0x1e, false);
    assert_int_equal(get(), 0x1c);
    assert_int_equal(get(), 0xf0);
    assert_int_equal(get(), 0x1c);
}

static void every_key_translates_back(void **state)
{
    unsigned code;

    (void)state;
    for (code = 1; code <= 0x53; code++) {
        i8042_key(&k, (uint16_t)code, true);
        assert_int_equal(get(), code);
    }
}

static void keys_beyond_the_buffer_are_dropped_whole(void **state)
{
    unsigned i, n = 0;

    (void)state;
    for (i = 0; i < 40; i++)
        i8042_key(&k, 0xe048, i % 2 == 0);
    data(0xee); /* there is room for an answer still */
    while (status() & 1) {
        uint8_t val = rd8(&i8042_data_bus_ops, &k, 0);

        if (val == 0xee)
            break;
        assert_int_equal(val == 0xe0, n % 2 == 0);
        n++;
    }
    assert_int_equal(n % 2, 0);
    assert_false(status() & 1);
}

static void a_disabled_keyboard_keeps_its_bytes(void **state)
{
    (void)state;
    cmd(0xad);
    i8042_key(&k, 0x1e, true);
    assert_false(status() & 1);
    cmd(0xae);
    assert_int_equal(get(), 0x1e);
}

static void scanning_can_be_turned_off(void **state)
{
    (void)state;
    data(0xf5);
    assert_int_equal(get(), 0xfa);
    i8042_key(&k, 0x1e, true);
    assert_false(status() & 1);
    data(0xf4);
    assert_int_equal(get(), 0xfa);
    i8042_key(&k, 0x1e, true);
    assert_int_equal(get(), 0x1e);
}

static void parameters_are_taken_and_acknowledged(void **state)
{
    (void)state;
    data(0xed);
    assert_int_equal(get(), 0xfa);
    data(0x05);
    assert_int_equal(get(), 0xfa);
    assert_int_equal(k.st.kbd.leds, 5);
    data(0xf3);
    assert_int_equal(get(), 0xfa);
    data(0x20);
    assert_int_equal(get(), 0xfa);
    assert_int_equal(k.st.kbd.typematic, 0x20);
    data(0xf0);
    assert_int_equal(get(), 0xfa);
    data(0x00);
    assert_int_equal(get(), 0xfa);
    assert_int_equal(get(), 0x41); /* set 2, translated */
    data(0xed);
    assert_int_equal(get(), 0xfa);
    data(0xf4); /* a command in place of a parameter */
    assert_int_equal(get(), 0xfa);
    assert_int_equal(k.st.kbd.leds, 5);
}

static void unknown_commands_ask_to_resend(void **state)
{
    (void)state;
    data(0xef);
    assert_int_equal(get(), 0xfe);
    data(0xee);
    assert_int_equal(get(), 0xee);
    data(0xfe);
    assert_int_equal(get(), 0xee);
}

/* How Linux finds the second port, and that nothing is plugged in. */
static void the_second_port_loops_and_times_out(void **state)
{
    (void)state;
    set_ctr(0x47);
    cmd(0xd3);
    data(0x5a);
    assert_int_equal(status() & 0x21, 0x21);
    assert_true(irq12.level);
    assert_int_equal(get(), 0x5a);
    cmd(0xa7);
    cmd(0x20);
    assert_true(get() & 0x20);
    cmd(0xa8);
    cmd(0x20);
    assert_false(get() & 0x20);
    cmd(0xd4);
    data(0xf2);
    assert_int_equal(status() & 0x61, 0x61);
    assert_int_equal(get(), 0xfe);
}

static void the_reset_line_can_be_pulsed(void **state)
{
    (void)state;
    cmd(0xff);
    assert_int_equal(resets, 0);
    cmd(0xfe);
    assert_int_equal(resets, 1);
    cmd(0xd1);
    data(0x02);
    assert_int_equal(resets, 2);
    wr8(&i8042_port92_bus_ops, &k, 0, 1);
    assert_int_equal(resets, 3);
    wr8(&i8042_port92_bus_ops, &k, 0, 1); /* no new edge */
    assert_int_equal(resets, 3);
}

static void a20_follows_both_controls(void **state)
{
    (void)state;
    assert_true(i8042_a20(&k));
    cmd(0xd1);
    data(0x01);
    assert_false(i8042_a20(&k));
    wr8(&i8042_port92_bus_ops, &k, 0, 2);
    assert_true(i8042_a20(&k));
    wr8(&i8042_port92_bus_ops, &k, 0, 0);
    cmd(0xdf);
    assert_true(i8042_a20(&k));
    cmd(0xd0);
    assert_int_equal(get() & 3, 3);
}

static unsigned told;
static bool told_open;

static void note_a20(void *opaque, bool open)
{
    (void)opaque;
    told++;
    told_open = open;
}

static void the_gate_is_one_for_both(void **state)
{
    (void)state;
    i8042_on_a20(&k, note_a20, NULL);
    told = 0;
    assert_int_equal(rd8(&i8042_port92_bus_ops, &k, 0) & 2, 2);
    wr8(&i8042_port92_bus_ops, &k, 0, 0);
    assert_int_equal(told, 1);
    assert_false(told_open);
    cmd(0xd0);
    assert_int_equal(get() & 3, 1); /* closed, and no reset */
    cmd(0xd1);
    data(0x03);
    assert_true(told_open);
    assert_int_equal(rd8(&i8042_port92_bus_ops, &k, 0) & 2, 2);
    cmd(0xdd);
    assert_false(told_open);
    i8042_reset(&k);
    assert_true(told_open);
    k.st.outport = 1; /* as loaded */
    i8042_class.loaded(&k, 0);
    assert_false(told_open);
    assert_false(i8042_a20(&k));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_controller_tests_itself),
        T(the_command_byte_reads_back),
        T(the_keyboard_identifies_itself),
        T(each_byte_makes_an_edge),
        T(a_reset_keyboard_reports_its_test),
        T(keys_come_in_set_1_when_translated),
        T(keys_come_in_set_2_when_not),
        T(every_key_translates_back),
        T(keys_beyond_the_buffer_are_dropped_whole),
        T(a_disabled_keyboard_keeps_its_bytes),
        T(scanning_can_be_turned_off),
        T(parameters_are_taken_and_acknowledged),
        T(unknown_commands_ask_to_resend),
        T(the_second_port_loops_and_times_out),
        T(the_reset_line_can_be_pulsed),
        T(a20_follows_both_controls),
        T(the_gate_is_one_for_both),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
