#include "devices/pc/uart16550.h"

#include <string.h>

#include "tests/unit/devices/pc/fixture.h"

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR };
#define FCR IIR

static struct loop *loop;
static struct fake_irq out;
static struct uart16550 u;
static char sent[8192];
static size_t nr_sent;
static unsigned drained;

static void on_write(void *opaque, const uint8_t *buf, size_t len)
{
    (void)opaque;
    if (nr_sent + len <= sizeof(sent))
        memcpy(sent + nr_sent, buf, len);
    nr_sent += len;
}

static void on_drained(void *opaque)
{
    (void)opaque;
    drained++;
}

static void put(unsigned reg, unsigned val)
{
    wr8(&uart16550_bus_ops, &u, reg, val);
}

static uint8_t get(unsigned reg)
{
    return rd8(&uart16550_bus_ops, &u, reg);
}

static void receive(const char *text)
{
    uart16550_receive(&u, (const uint8_t *)text, strlen(text));
}

static int setup(void **state)
{
    const struct uart16550_backend be = {on_write, on_drained, NULL};

    (void)state;
    loop = new_loop();
    out = (struct fake_irq){0};
    nr_sent = 0;
    drained = 0;
    uart16550_init(&u, fake_irq(&out), &be, loop);
    put(MCR, 0x0b);
    (void)get(MSR);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    uart16550_fini(&u);
    loop_free(loop);
    return 0;
}

static void bytes_come_out_in_order(void **state)
{
    (void)state;
    put(DATA, 'h');
    put(DATA, 'i');
    assert_int_equal(nr_sent, 2);
    assert_memory_equal(sent, "hi", 2);
    assert_int_equal(get(LSR), 0x60);
}

/* What Linux's 8250 driver does to tell the kinds apart. */
static void it_is_found_to_be_a_16550a(void **state)
{
    (void)state;
    put(SCR, 0x5a);
    assert_int_equal(get(SCR), 0x5a);
    put(MCR, 0x1a);
    assert_int_equal(get(MSR) & 0xf0, 0x90);
    put(MCR, 0x0b);
    put(FCR, 0x01);
    assert_int_equal(get(IIR) >> 6, 3);
    put(FCR, 0x21); /* the 64-byte FIFO of a 16750 is not there */
    assert_int_equal(get(IIR) >> 5, 6);
    put(FCR, 0);
    assert_int_equal(get(IIR) >> 6, 0);
    put(IER, 0xff);
    assert_int_equal(get(IER), 0x0f);
}

static void the_divisor_latch_hides_data_and_enable(void **state)
{
    (void)state;
    put(LCR, 0x83);
    put(DATA, 0x0c);
    put(IER, 0x01);
    assert_int_equal(get(DATA), 0x0c);
    put(LCR, 0x03);
    assert_int_equal(get(IER), 0);
    assert_int_equal(nr_sent, 0);
}

static void received_bytes_interrupt_below_and_at_the_trigger(void **state)
{
    (void)state;
    put(FCR, 0x81); /* trigger 8 */
    put(IER, 1);
    receive("abc");
    assert_true(out.level);
    assert_int_equal(get(IIR), 0xcc); /* time-out */
    receive("defgh");
    assert_int_equal(get(IIR), 0xc4);
    assert_int_equal(get(DATA), 'a');
    assert_int_equal(get(IIR), 0xcc);
    while (get(LSR) & 1)
        (void)get(DATA);
    assert_int_equal(get(IIR), 0xc1);
    assert_false(out.level);
}

static void an_overrun_is_told_once_and_keeps_old_bytes(void **state)
{
    (void)state;
    put(FCR, 1);
    put(IER, 5);
    receive("0123456789abcdefX");
    assert_int_equal(get(IIR), 0xc6); /* line status comes first */
    assert_int_equal(get(LSR), 0x63);
    assert_int_equal(get(LSR), 0x61);
    assert_int_equal(get(DATA), '0');
}

static void without_fifo_one_byte_fits(void **state)
{
    (void)state;
    assert_int_equal(uart16550_can_receive(&u), 1);
    receive("a");
    assert_int_equal(uart16550_can_receive(&u), 0);
    assert_int_equal(drained, 0);
    assert_int_equal(get(DATA), 'a');
    assert_int_equal(drained, 1);
}

static void drained_is_told_once_when_the_fifo_is_empty(void **state)
{
    unsigned i;

    (void)state;
    put(FCR, 1);
    receive("0123456789abcdef");
    assert_int_equal(uart16550_can_receive(&u), 0);
    for (i = 0; i < 15; i++)
        (void)get(DATA);
    assert_int_equal(drained, 0);
    (void)get(DATA);
    assert_int_equal(drained, 1);
    receive("x");
    (void)get(DATA);
    assert_int_equal(drained, 1); /* nobody was refused */
}

static void enabling_the_thr_interrupt_raises_it(void **state)
{
    (void)state;
    put(IER, 2);
    assert_true(out.level);
    assert_int_equal(get(IIR), 0x02);
    assert_false(out.level); /* reading it was its acknowledgement */
    assert_int_equal(get(IIR), 0x01);
    put(IER, 0);
    put(IER, 2);
    assert_int_equal(get(IIR), 0x02);
}

static void a_sent_byte_raises_the_thr_interrupt_again(void **state)
{
    (void)state;
    put(IER, 2);
    (void)get(IIR);
    put(DATA, 'x');
    assert_true(out.level);
    assert_int_equal(get(IIR), 0x02);
}

static void reading_another_source_leaves_the_thr_interrupt(void **state)
{
    (void)state;
    put(IER, 3);
    receive("a");
    assert_int_equal(get(IIR), 0x04);
    assert_int_equal(get(DATA), 'a');
    assert_int_equal(get(IIR), 0x02);
}

static bool is_not_paused(void *opaque)
{
    (void)opaque;
    return !u.tx_paused;
}

static void a_driver_that_refills_for_ever_gets_out(void **state)
{
    unsigned refills = 0, i;

    (void)state;
    put(FCR, 1);
    put(IER, 2);
    while ((get(IIR) & 0x0f) == 0x02 && refills < 10000) {
        for (i = 0; i < 16; i++)
            put(DATA, 'x');
        refills++;
    }
    assert_true(refills < 256);
    assert_false(out.level);
    assert_int_equal(get(LSR) & 0x60, 0x60); /* polling goes on */
    run_until(loop, is_not_paused, NULL);
    assert_true(out.level); /* and so does the interrupt */
    assert_int_equal(nr_sent, refills * 16);
}

static void polled_output_arms_no_timer(void **state)
{
    unsigned i;

    (void)state;
    for (i = 0; i < 5000; i++)
        put(DATA, 'x');
    assert_false(u.tx_pause.armed);
}

static void loopback_returns_what_is_sent(void **state)
{
    (void)state;
    put(MCR, 0x1b);
    put(DATA, 'x');
    assert_int_equal(nr_sent, 0);
    assert_int_equal(get(DATA), 'x');
    assert_int_equal(uart16550_can_receive(&u), 0);
    put(MCR, 0x0b); /* the line is back */
    assert_int_equal(drained, 1);
}

static void modem_changes_show_as_deltas(void **state)
{
    (void)state;
    put(MCR, 0x1f);                   /* all outputs looped to the inputs */
    assert_int_equal(get(MSR), 0xf0); /* RI rose: no trailing edge */
    put(MCR, 0x10);
    assert_int_equal(get(MSR), 0x0f);
    put(MCR, 0x12);
    assert_int_equal(get(MSR), 0x11);
    assert_int_equal(get(MSR), 0x10);
}

static void modem_status_is_the_lowest_source(void **state)
{
    (void)state;
    put(IER, 8);
    assert_false(out.level);
    put(MCR, 0x18); /* CTS and DSR drop */
    put(MCR, 0x08);
    assert_true(out.level);
    assert_int_equal(get(IIR), 0x00);
    (void)get(MSR);
    assert_int_equal(get(IIR), 0x01);
}

static void out2_gates_the_wire(void **state)
{
    (void)state;
    put(MCR, 0x03);
    put(IER, 2);
    assert_false(out.level);
    put(MCR, 0x0b);
    assert_true(out.level);
}

static void clearing_the_fifo_drops_its_bytes(void **state)
{
    (void)state;
    put(FCR, 1);
    receive("abc");
    put(FCR, 3);
    assert_int_equal(get(LSR), 0x60);
    receive("d");
    put(FCR, 0); /* as does turning it off */
    assert_int_equal(get(LSR), 0x60);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(bytes_come_out_in_order),
        T(it_is_found_to_be_a_16550a),
        T(the_divisor_latch_hides_data_and_enable),
        T(received_bytes_interrupt_below_and_at_the_trigger),
        T(an_overrun_is_told_once_and_keeps_old_bytes),
        T(without_fifo_one_byte_fits),
        T(drained_is_told_once_when_the_fifo_is_empty),
        T(enabling_the_thr_interrupt_raises_it),
        T(a_sent_byte_raises_the_thr_interrupt_again),
        T(reading_another_source_leaves_the_thr_interrupt),
        T(a_driver_that_refills_for_ever_gets_out),
        T(polled_output_arms_no_timer),
        T(loopback_returns_what_is_sent),
        T(modem_changes_show_as_deltas),
        T(modem_status_is_the_lowest_source),
        T(out2_gates_the_wire),
        T(clearing_the_fifo_drops_its_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
