#include "devices/pc/i8259.h"

#include "tests/unit/devices/pc/fixture.h"

/* A pair initialised as a PC does: vectors 0x20 and 0x28, nothing masked. */
static struct fake_irq out;
static struct i8259 pic;

static void cmd(unsigned chip, unsigned val)
{
    wr8(&i8259_bus_ops, &pic.port[chip], 0, val);
}

static void data(unsigned chip, unsigned val)
{
    wr8(&i8259_bus_ops, &pic.port[chip], 1, val);
}

static uint8_t status(unsigned chip)
{
    return rd8(&i8259_bus_ops, &pic.port[chip], 0);
}

static void line(unsigned n, bool level)
{
    struct irq irq = i8259_irq(&pic, n);

    irq_set(&irq, level);
}

static void start(unsigned chip, unsigned icw4)
{
    cmd(chip, 0x11);
    data(chip, chip ? 0x28 : 0x20);
    data(chip, chip ? 2 : 4);
    data(chip, icw4);
    data(chip, 0);
}

static int setup(void **state)
{
    (void)state;
    out = (struct fake_irq){0};
    i8259_init(&pic, fake_irq(&out));
    start(0, 1);
    start(1, 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    i8259_fini(&pic);
    return 0;
}

static void an_edge_interrupts_until_acknowledged(void **state)
{
    (void)state;
    line(4, true);
    assert_true(out.level);
    assert_int_equal(i8259_peek(&pic), 0x24);
    assert_int_equal(i8259_ack(&pic), 0x24);
    assert_false(out.level);
    cmd(0, 0x20);
    assert_false(out.level); /* no new edge */
    line(4, false);
    line(4, true);
    assert_true(out.level);
}

static void an_edge_that_goes_away_is_spurious(void **state)
{
    (void)state;
    line(4, true);
    line(4, false);
    assert_false(out.level);
    assert_int_equal(i8259_ack(&pic), 0x27);
    cmd(0, 0x0b);
    assert_int_equal(status(0), 0); /* not in service */
}

static void a_spurious_slave_interrupt_is_15(void **state)
{
    (void)state;
    line(12, true);
    /* goes away between the two cycles of the acknowledge */
    pic.st.chip[1].irr = 0;
    assert_int_equal(i8259_ack(&pic), 0x2f);
    cmd(0, 0x0b);
    assert_int_equal(status(0), 4); /* the cascade is in service */
}

static void lower_inputs_have_priority(void **state)
{
    (void)state;
    line(5, true);
    assert_int_equal(i8259_ack(&pic), 0x25);
    line(6, true);
    assert_false(out.level);
    line(1, true);
    assert_true(out.level);
    assert_int_equal(i8259_ack(&pic), 0x21);
    cmd(0, 0x20); /* ends 1, the highest in service */
    assert_false(out.level);
    cmd(0, 0x20);
    assert_int_equal(i8259_ack(&pic), 0x26);
}

static void the_slave_comes_through_input_2(void **state)
{
    (void)state;
    line(8, true);
    line(3, true);
    assert_int_equal(i8259_ack(&pic), 0x28);
    assert_false(out.level); /* 3 is below the cascade */
    cmd(1, 0x20);
    cmd(0, 0x20);
    assert_int_equal(i8259_ack(&pic), 0x23);
}

static void a_mask_holds_back_and_lets_go(void **state)
{
    (void)state;
    data(0, 0x10);
    assert_int_equal(rd8(&i8259_bus_ops, &pic.port[0], 1), 0x10);
    line(4, true);
    assert_false(out.level);
    assert_int_equal(status(0), 0x10); /* requested all the same */
    data(0, 0);
    assert_true(out.level);
}

static void a_level_input_asks_while_it_is_high(void **state)
{
    (void)state;
    wr8(&i8259_elcr_bus_ops, &pic, 1, 0x08); /* input 11 */
    line(11, true);
    assert_int_equal(i8259_ack(&pic), 0x2b);
    cmd(1, 0x20);
    cmd(0, 0x20);
    assert_int_equal(i8259_ack(&pic), 0x2b);
    line(11, false);
    cmd(1, 0x20);
    cmd(0, 0x20);
    assert_false(out.level);
}

static void timer_and_rtc_cannot_be_level_triggered(void **state)
{
    (void)state;
    wr8(&i8259_elcr_bus_ops, &pic, 0, 0xff);
    wr8(&i8259_elcr_bus_ops, &pic, 1, 0xff);
    assert_int_equal(rd8(&i8259_elcr_bus_ops, &pic, 0), 0xf8);
    assert_int_equal(rd8(&i8259_elcr_bus_ops, &pic, 1), 0xde);
}

static void rotation_makes_the_ended_input_the_lowest(void **state)
{
    (void)state;
    line(3, true);
    assert_int_equal(i8259_ack(&pic), 0x23);
    cmd(0, 0xa0); /* rotate on non-specific EOI */
    line(3, false);
    line(3, true);
    line(7, true);
    assert_int_equal(i8259_ack(&pic), 0x27);
}

static void a_set_priority_command_chooses_the_lowest(void **state)
{
    (void)state;
    cmd(0, 0xc4); /* 4 is lowest, so 5 is highest */
    line(0, true);
    line(5, true);
    assert_int_equal(i8259_ack(&pic), 0x25);
}

static void automatic_eoi_leaves_nothing_in_service(void **state)
{
    (void)state;
    start(0, 3);
    line(4, true);
    assert_int_equal(i8259_ack(&pic), 0x24);
    cmd(0, 0x0b);
    assert_int_equal(status(0), 0);
}

static void special_mask_mode_lets_lower_inputs_in(void **state)
{
    (void)state;
    line(1, true);
    assert_int_equal(i8259_ack(&pic), 0x21);
    line(6, true);
    assert_false(out.level);
    data(0, 0x02); /* mask the one in service */
    cmd(0, 0x68);
    assert_true(out.level);
    assert_int_equal(i8259_ack(&pic), 0x26);
}

static void special_fully_nested_mode_lets_the_slave_nest(void **state)
{
    (void)state;
    start(0, 0x11);
    line(12, true);
    assert_int_equal(i8259_ack(&pic), 0x2c);
    line(9, true);
    assert_true(out.level);
    assert_int_equal(i8259_ack(&pic), 0x29);
}

static void a_poll_acknowledges(void **state)
{
    (void)state;
    cmd(0, 0x0c);
    assert_int_equal(status(0), 0);
    line(4, true);
    cmd(0, 0x0c);
    assert_int_equal(status(0), 0x84);
    assert_false(out.level);
    cmd(0, 0x0b);
    assert_int_equal(status(0), 0x10);
}

static void initialisation_clears_mask_and_requests(void **state)
{
    (void)state;
    data(0, 0xff);
    line(4, true);
    start(0, 1);
    assert_false(out.level); /* a new edge is needed */
    cmd(0, 0x0a);
    assert_int_equal(status(0), 0);
}

static void wires_keep_their_level_over_a_reset(void **state)
{
    (void)state;
    line(4, true);
    i8259_reset(&pic);
    line(4, true);
    assert_false(out.level);
    line(4, false);
    line(4, true);
    assert_true(out.level);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(an_edge_interrupts_until_acknowledged),
        T(an_edge_that_goes_away_is_spurious),
        T(a_spurious_slave_interrupt_is_15),
        T(lower_inputs_have_priority),
        T(the_slave_comes_through_input_2),
        T(a_mask_holds_back_and_lets_go),
        T(a_level_input_asks_while_it_is_high),
        T(timer_and_rtc_cannot_be_level_triggered),
        T(rotation_makes_the_ended_input_the_lowest),
        T(a_set_priority_command_chooses_the_lowest),
        T(automatic_eoi_leaves_nothing_in_service),
        T(special_mask_mode_lets_lower_inputs_in),
        T(special_fully_nested_mode_lets_the_slave_nest),
        T(a_poll_acknowledges),
        T(initialisation_clears_mask_and_requests),
        T(wires_keep_their_level_over_a_reset),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
