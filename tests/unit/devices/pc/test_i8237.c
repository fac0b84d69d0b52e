#include "devices/pc/i8237.h"

#include <string.h>

#include "tests/unit/test.h"

enum { RAM = 0x30000, AT = 0x12000 };

static struct {
    struct gmem gm;
    struct bus *pio;
    struct lock lock;
    struct i8237 dma;
    unsigned told;
} t;

static void on_ready(void *opaque)
{
    (void)opaque;
    t.told++;
}

static void map(uint64_t base, uint64_t size, const struct bus_ops *ops)
{
    assert_int_equal(bus_map(t.pio, base, size, ops, &t.dma, &t.lock), 0);
}

static int make(void **state)
{
    static const struct gmem_layout layout[] = {{.start = 0, .size = RAM}};
    struct err err;

    (void)state;
    memset(&t, 0, sizeof(t));
    assert_int_equal(gmem_init(&t.gm, layout, 1, &err), 0);
    assert_int_equal(bus_new(&t.pio), 0);
    lock_init(&t.lock);
    i8237_init(&t.dma, &t.gm);
    i8237_connect(&t.dma, 2, on_ready, NULL);
    map(0, I8237_PORTS, &i8237_bus_ops);
    map(0xc0, I8237_HIGH_PORTS, &i8237_high_bus_ops);
    map(I8237_PAGE_PORT, I8237_PAGE_PORTS, &i8237_page_bus_ops);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    bus_free(t.pio);
    gmem_fini(&t.gm);
    lock_fini(&t.lock);
    return 0;
}

static void out(unsigned port, unsigned val)
{
    bus_write(t.pio, port, 1, val);
}

static unsigned in(unsigned port)
{
    return (unsigned)bus_read(t.pio, port, 1);
}

static void program(unsigned mode, unsigned addr, unsigned bytes)
{
    out(0x0a, 6);
    out(0x0c, 0);
    out(0x04, addr & 0xff);
    out(0x04, addr >> 8 & 0xff);
    out(0x05, (bytes - 1) & 0xff);
    out(0x05, (bytes - 1) >> 8);
    out(0x81, addr >> 16);
    out(0x0b, mode);
}

static const uint8_t *ram(unsigned addr)
{
    return (const uint8_t *)gmem_hva(&t.gm, addr, 1);
}

static void counters_are_read_in_halves(void **state)
{
    (void)state;
    program(0x46, AT + 0x34, 0x1235);
    out(0x0c, 0);
    assert_int_equal(in(0x04), 0x34);
    assert_int_equal(in(0x04), 0x20);
    assert_int_equal(in(0x05), 0x34);
    assert_int_equal(in(0x05), 0x12);
    assert_int_equal(in(0x81), 1);
    out(0x8e, 0x77); /* a register that pages nothing */
    assert_int_equal(in(0x8e), 0x77);
}

static void who_waits_is_told_when_its_channel_opens(void **state)
{
    (void)state;
    i8237_request(&t.dma, 2, true);
    assert_int_equal(t.told, 0);
    assert_int_equal(in(0x08), 0x40);
    out(0x0a, 2);
    assert_int_equal(t.told, 1);
    out(0x08, 4); /* the controller is off */
    i8237_request(&t.dma, 2, true);
    assert_int_equal(t.told, 1);
    out(0x08, 0);
    assert_int_equal(t.told, 2);
    i8237_request(&t.dma, 2, false);
    out(0x0e, 0);
    assert_int_equal(t.told, 2);
    out(0x0d, 0); /* all are closed again */
    i8237_request(&t.dma, 2, true);
    assert_int_equal(t.told, 2);
    assert_int_equal(in(0x0f) & 0x0f, 0x0f);
}

static void a_channel_counts_down_or_starts_again(void **state)
{
    uint8_t buf[8] = "abcdefgh";
    bool end = false;

    (void)state;
    program(0x66, AT, 4); /* down */
    out(0x0a, 2);
    assert_int_equal(i8237_move(&t.dma, 2, buf, 8, true, &end), 4);
    assert_true(end);
    assert_memory_equal(ram(AT - 3), "dcba", 4);
    assert_int_equal(i8237_move(&t.dma, 2, buf, 8, true, &end), 0);
    program(0x56, AT, 4); /* again and again */
    out(0x0a, 2);
    assert_int_equal(i8237_move(&t.dma, 2, buf, 8, true, &end), 4);
    assert_int_equal(i8237_move(&t.dma, 2, buf + 4, 4, true, &end), 4);
    assert_memory_equal(ram(AT), "efgh", 4);
}

static void addresses_wrap_in_their_page(void **state)
{
    uint8_t buf[4] = "wxyz";
    bool end = false;

    (void)state;
    program(0x46, 0x1fffe, 4);
    out(0x0a, 2);
    assert_int_equal(i8237_move(&t.dma, 2, buf, 4, true, &end), 4);
    assert_memory_equal(ram(0x1fffe), "wx", 2);
    assert_memory_equal(ram(0x10000), "yz", 2);
}

static void what_a_channel_is_not_programmed_for_is_counted(void **state)
{
    uint8_t buf[4] = "wxyz";
    bool end = false;

    (void)state;
    program(0x42, AT, 2); /* verify */
    out(0x0a, 2);
    assert_int_equal(i8237_move(&t.dma, 2, buf, 4, true, &end), 2);
    assert_int_equal(*ram(AT), 0);
    program(0x4a, 0xff0000, 4); /* no memory */
    out(0x0a, 2);
    assert_int_equal(i8237_move(&t.dma, 2, buf, 4, false, &end), 4);
    assert_memory_equal(buf, "\0\0\0\0", 4);
}

static void the_second_controller_moves_words(void **state)
{
    uint8_t buf[8] = "abcdefg";
    bool end = false;

    (void)state;
    out(0xd8, 0);
    out(0xc4, 0x00); /* channel 5: word 0x900 of page 2 */
    out(0xc4, 0x09);
    out(0xc6, 0x01);
    out(0xc6, 0x00);
    out(0x8b, 0x03); /* whose lowest bit is the counter's */
    out(0xd6, 0x45);
    out(0xd4, 0x01);
    assert_int_equal(i8237_move(&t.dma, 5, buf, 8, true, &end), 4);
    assert_true(end);
    assert_memory_equal(ram(0x21200), "abcd", 4);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(counters_are_read_in_halves),
        TEST(who_waits_is_told_when_its_channel_opens),
        TEST(a_channel_counts_down_or_starts_again),
        TEST(addresses_wrap_in_their_page),
        TEST(what_a_channel_is_not_programmed_for_is_counted),
        TEST(the_second_controller_moves_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
