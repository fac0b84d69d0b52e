#include "devices/pc/ioapic.h"

#include "tests/unit/devices/pc/fixture.h"

static struct ioapic io;
static struct {
    uint64_t addr;
    uint32_t data;
    unsigned count;
} sent;

static void on_send(void *opaque, uint64_t addr, uint32_t data)
{
    (void)opaque;
    sent.addr = addr;
    sent.data = data;
    sent.count++;
}

static void write_reg(unsigned reg, uint32_t val)
{
    wr(&ioapic_bus_ops, &io, 0x00, 4, reg);
    wr(&ioapic_bus_ops, &io, 0x10, 4, val);
}

static uint32_t read_reg(unsigned reg)
{
    wr(&ioapic_bus_ops, &io, 0x00, 4, reg);
    return (uint32_t)rd(&ioapic_bus_ops, &io, 0x10, 4);
}

static void set_entry(unsigned pin, uint64_t entry)
{
    write_reg(0x11 + 2 * pin, (uint32_t)(entry >> 32));
    write_reg(0x10 + 2 * pin, (uint32_t)entry);
}

static void pin(unsigned n, bool level)
{
    struct irq irq = ioapic_irq(&io, n);

    irq_set(&irq, level);
}

static int setup(void **state)
{
    const struct msi_sink sink = {on_send, NULL};

    (void)state;
    sent.count = 0;
    ioapic_init(&io, &sink);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    ioapic_fini(&io);
    return 0;
}

enum { LEVEL = 0x8000, REMOTE_IRR = 0x4000, MASKED = 0x10000 };

static void an_edge_sends_one_message(void **state)
{
    (void)state;
    set_entry(4, 3ull << 56 | 0x34);
    pin(4, true);
    assert_int_equal(sent.count, 1);
    assert_int_equal(sent.addr, 0xfee03000);
    assert_int_equal(sent.data & 0x80ff, 0x34);
    pin(4, true);
    assert_int_equal(sent.count, 1);
    pin(4, false);
    pin(4, true);
    assert_int_equal(sent.count, 2);
}

static void an_edge_while_masked_is_lost(void **state)
{
    (void)state;
    set_entry(4, MASKED | 0x34);
    pin(4, true);
    set_entry(4, 0x34);
    assert_int_equal(sent.count, 0);
}

static void a_level_waits_for_its_eoi(void **state)
{
    (void)state;
    set_entry(11, LEVEL | 0x41);
    pin(11, true);
    assert_int_equal(sent.count, 1);
    assert_true(sent.data & 0x8000);
    assert_true(read_reg(0x10 + 22) & REMOTE_IRR);
    pin(11, false);
    pin(11, true);
    assert_int_equal(sent.count, 1);
    ioapic_eoi(&io, 0x42); /* somebody else's */
    assert_int_equal(sent.count, 1);
    ioapic_eoi(&io, 0x41); /* still high */
    assert_int_equal(sent.count, 2);
    pin(11, false);
    ioapic_eoi(&io, 0x41);
    assert_int_equal(sent.count, 2);
    assert_false(read_reg(0x10 + 22) & REMOTE_IRR);
}

static void a_masked_level_comes_when_unmasked(void **state)
{
    (void)state;
    set_entry(11, LEVEL | MASKED | 0x41);
    pin(11, true);
    assert_int_equal(sent.count, 0);
    set_entry(11, LEVEL | 0x41);
    assert_int_equal(sent.count, 1);
}

static void a_level_that_has_gone_is_forgotten(void **state)
{
    (void)state;
    set_entry(11, LEVEL | MASKED | 0x41);
    pin(11, true);
    pin(11, false);
    set_entry(11, LEVEL | 0x41);
    assert_int_equal(sent.count, 0);
}

static void the_eoi_register_works_like_a_broadcast(void **state)
{
    (void)state;
    set_entry(11, LEVEL | 0x41);
    pin(11, true);
    wr(&ioapic_bus_ops, &io, 0x40, 4, 0x41);
    assert_int_equal(sent.count, 2);
}

static void edge_mode_clears_remote_irr(void **state)
{
    (void)state;
    set_entry(11, LEVEL | 0x41);
    pin(11, true);
    pin(11, false);
    write_reg(0x10 + 22, MASKED | 0x41);
    write_reg(0x10 + 22, LEVEL | 0x41);
    assert_false(read_reg(0x10 + 22) & REMOTE_IRR);
}

static void read_only_bits_cannot_be_written(void **state)
{
    (void)state;
    set_entry(11, LEVEL | MASKED | 0x7041);
    assert_int_equal(read_reg(0x10 + 22), LEVEL | MASKED | 0x2041);
}

static void logical_and_lowest_priority_show_in_the_message(void **state)
{
    (void)state;
    set_entry(4, 0xffull << 56 | 0x934);
    pin(4, true);
    assert_int_equal(sent.addr, 0xfeeff00c);
    assert_int_equal(sent.data & 0x7ff, 0x134);
}

static void it_says_what_it_is(void **state)
{
    (void)state;
    assert_int_equal(read_reg(1), 23 << 16 | 0x20);
    write_reg(0, 0xff000000);
    assert_int_equal(read_reg(0), 0x0f000000);
    assert_int_equal(read_reg(0x40), 0);
    write_reg(0xff, 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(an_edge_sends_one_message),
        T(an_edge_while_masked_is_lost),
        T(a_level_waits_for_its_eoi),
        T(a_masked_level_comes_when_unmasked),
        T(a_level_that_has_gone_is_forgotten),
        T(the_eoi_register_works_like_a_broadcast),
        T(edge_mode_clears_remote_irr),
        T(read_only_bits_cannot_be_written),
        T(logical_and_lowest_priority_show_in_the_message),
        T(it_says_what_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
