#include "devices/pc/i8254.h"

#include "base/clock.h"
#include "tests/unit/devices/pc/fixture.h"

static struct loop *loop;
static struct fake_irq out;
static struct i8254 pit;

static void put(unsigned port, unsigned val)
{
    wr8(&i8254_bus_ops, &pit, port, val);
}

static uint8_t get(unsigned port)
{
    return rd8(&i8254_bus_ops, &pit, port);
}

static void program(unsigned ch, unsigned mode, unsigned count)
{
    put(3, ch << 6 | 0x30 | mode << 1);
    put(ch, count & 0xff);
    put(ch, count >> 8);
}

/* Let channel ch believe that it was programmed ns earlier. */
static void age(unsigned ch, uint64_t ns)
{
    pit.st.ch[ch].start_ns -= ns;
}

static unsigned latched(unsigned ch)
{
    unsigned low;

    put(3, ch << 6);
    low = get(ch);
    return low | (unsigned)get(ch) << 8;
}

static uint8_t status(unsigned ch)
{
    put(3, 0xe0 | 2u << ch);
    return get(ch);
}

static int setup(void **state)
{
    (void)state;
    loop = new_loop();
    out = (struct fake_irq){0};
    i8254_init(&pit, fake_irq(&out), loop);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    i8254_fini(&pit);
    loop_free(loop);
    return 0;
}

static uint64_t clocks(uint64_t ns)
{
    return ns * 11932 / 10000000 + 1; /* 10 ms and a little */
}

/* Did channel 0, in mode 2, read val at some time between two? */
static bool was_at(unsigned val, uint64_t from_ns, uint64_t to_ns)
{
    const struct i8254_channel *ch = &pit.st.ch[0];
    uint64_t min = clocks(from_ns - ch->start_ns) - 1;
    uint64_t max = clocks(to_ns - ch->start_ns) + 1;

    if (max >= ch->count) /* the host was so slow that it wrapped */
        return true;
    return val <= ch->count - min * 999 / 1000 && val >= ch->count - max;
}

static void the_count_follows_the_clock(void **state)
{
    uint64_t before, after;
    unsigned val;

    (void)state;
    program(0, 2, 0xffff);
    age(0, 10000000);
    before = clock_now_ns();
    val = latched(0);
    after = clock_now_ns();
    assert_true(was_at(val, before, after));
}

static void a_latched_count_stands_still(void **state)
{
    uint64_t before, after;
    unsigned val;

    (void)state;
    program(0, 2, 0xffff);
    before = clock_now_ns();
    put(3, 0x00);
    after = clock_now_ns();
    age(0, 20000000);
    put(3, 0x00); /* ignored while one is latched */
    val = get(0);
    val |= (unsigned)get(0) << 8;
    age(0, (uint64_t)-20000000);
    assert_true(was_at(val, before, after));
}

static void read_back_latches_status_and_count(void **state)
{
    unsigned val;

    (void)state;
    program(1, 3, 1000);
    put(3, 0xc0 | 0x04);
    assert_int_equal(get(1) & 0x7f, 0x36); /* status first */
    val = get(1);
    val |= (unsigned)get(1) << 8;
    assert_in_range(val, 1, 1000);
    put(3, 0x70); /* mode 0: no count yet */
    assert_int_equal(status(1), 0x70);
}

static void a_null_count_shows_until_loaded(void **state)
{
    (void)state;
    put(3, 0x30);
    assert_int_equal(status(0), 0x70);
    put(0, 0);
    assert_int_equal(status(0), 0x70);
    put(0, 0);
    assert_int_equal(status(0), 0x30);
}

static void mode_0_interrupts_once_at_the_end(void **state)
{
    (void)state;
    program(0, 0, 0xffff);
    assert_false(out.level);
    age(0, 55000000);
    fire(&pit.timer);
    assert_true(out.level);
    assert_int_equal(out.edges, 1);
    assert_true(status(0) & 0x80);
    fire(&pit.timer);
    assert_int_equal(out.edges, 1);
}

static void mode_4_strobes(void **state)
{
    (void)state;
    program(0, 4, 1000);
    assert_true(out.level); /* high from the start */
    out.edges = 0;
    age(0, 2000000);
    fire(&pit.timer);
    assert_int_equal(out.edges, 1);
    fire(&pit.timer);
    assert_int_equal(out.edges, 1);
}

static void mode_2_keeps_every_tick(void **state)
{
    unsigned i;

    (void)state;
    program(0, 2, 11932);
    out.edges = 0;
    age(0, 50500000); /* the host slept through five ticks */
    for (i = 0; i < 5; i++) {
        assert_true(pit.timer.armed || i == 0);
        fire(&pit.timer);
    }
    assert_int_equal(out.edges, 5);
    fire(&pit.timer); /* now the sixth is not due yet */
    assert_int_equal(out.edges, 5);
    assert_int_equal(pit.st.tick, 6 * 11932);
}

static void ticks_of_more_than_a_second_ago_are_skipped(void **state)
{
    (void)state;
    program(0, 2, 11932);
    out.edges = 0;
    age(0, 3600ull * NS_PER_SEC);
    fire(&pit.timer);
    fire(&pit.timer);
    assert_int_equal(out.edges, 1);
    assert_int_equal(pit.st.tick % 11932, 0); /* in phase */
}

static bool has_ticked(void *opaque)
{
    (void)opaque;
    return out.edges >= 3;
}

static void the_loop_delivers_ticks(void **state)
{
    (void)state;
    program(0, 2, 1193);
    run_until(loop, has_ticked, NULL);
}

static void a_short_period_does_not_flood(void **state)
{
    (void)state;
    program(0, 2, 2);
    age(0, 1000000);
    fire(&pit.timer);
    assert_true(pit.timer.deadline_ns > clock_now_ns() - 1000000);
    assert_true(pit.st.tick * 838 > 1000000);
}

static void mode_3_is_a_square_wave(void **state)
{
    uint64_t before, after, period = 65536ull * NS_PER_SEC / I8254_HZ;
    bool level, first, last;
    unsigned i;

    (void)state;
    wr8(&i8254_port61_bus_ops, &pit, 0, 1);
    program(2, 3, 0);
    for (i = 0; i < 8; i++) {
        age(2, period / 8);
        before = clock_now_ns() - pit.st.ch[2].start_ns;
        level = rd8(&i8254_port61_bus_ops, &pit, 0) & 0x20;
        after = clock_now_ns() - pit.st.ch[2].start_ns;
        first = before % period < period / 2;
        last = after % period < period / 2;
        assert_true(level == first || level == last || after - before > period);
    }
}

/* How kernels calibrate their TSC: gate closed, mode 0, gate open, wait. */
static void channel_2_counts_while_its_gate_is_open(void **state)
{
    (void)state;
    wr8(&i8254_port61_bus_ops, &pit, 0, 0);
    program(2, 0, 10000);
    assert_int_equal(latched(2), 10000);
    assert_false(rd8(&i8254_port61_bus_ops, &pit, 0) & 0x20);
    wr8(&i8254_port61_bus_ops, &pit, 0, 1);
    age(2, 4000000);
    wr8(&i8254_port61_bus_ops, &pit, 0, 0);
    assert_true(pit.st.ch[2].held >= 4772);
    assert_int_equal(latched(2), (uint16_t)(10000 - pit.st.ch[2].held));
    wr8(&i8254_port61_bus_ops, &pit, 0, 1);
    age(2, 5000000);
    assert_true(rd8(&i8254_port61_bus_ops, &pit, 0) & 0x20);
}

static void the_refresh_bit_toggles(void **state)
{
    uint8_t first;

    (void)state;
    first = rd8(&i8254_port61_bus_ops, &pit, 0) & 0x10;
    while ((rd8(&i8254_port61_bus_ops, &pit, 0) & 0x10) == first)
        ;
}

static void bcd_counts_in_decimal(void **state)
{
    (void)state;
    put(3, 0xb1); /* channel 2, mode 0, BCD; gate closed */
    put(2, 0x34);
    put(2, 0x12);
    assert_int_equal(pit.st.ch[2].count, 1234);
    assert_int_equal(latched(2), 0x1234);
    put(2, 0);
    put(2, 0);
    assert_int_equal(pit.st.ch[2].count, 10000);
}

static void single_byte_access_modes_work(void **state)
{
    (void)state;
    put(3, 0x90); /* channel 2, low byte, mode 0 */
    put(2, 0x7f);
    assert_int_equal(get(2), 0x7f);
    assert_int_equal(get(2), 0x7f);
    put(3, 0xa0); /* high byte */
    put(2, 0x12);
    assert_int_equal(get(2), 0x12);
}

static void the_hpet_can_take_irq_0_away(void **state)
{
    struct irq mask = i8254_mask_wire(&pit);

    (void)state;
    program(0, 2, 11932);
    out.edges = 0;
    irq_set(&mask, true);
    age(0, 10100000);
    fire(&pit.timer);
    assert_int_equal(out.edges, 0);
    irq_set(&mask, false);
    assert_true(pit.timer.armed);
    fire(&pit.timer);
    assert_int_equal(out.edges, 1);
}

static void a_loaded_timer_keeps_its_phase(void **state)
{
    uint64_t before, after;
    unsigned val;

    (void)state;
    program(0, 2, 0xffff);
    age(0, 10000000 + 5ull * NS_PER_SEC); /* saved 5 s ago */
    i8254_class.loaded(&pit, 5ll * (int64_t)NS_PER_SEC);
    before = clock_now_ns();
    val = latched(0);
    after = clock_now_ns();
    assert_true(was_at(val, before, after));
    assert_true(pit.timer.armed);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_count_follows_the_clock),
        T(a_latched_count_stands_still),
        T(read_back_latches_status_and_count),
        T(a_null_count_shows_until_loaded),
        T(mode_0_interrupts_once_at_the_end),
        T(mode_4_strobes),
        T(mode_2_keeps_every_tick),
        T(ticks_of_more_than_a_second_ago_are_skipped),
        T(the_loop_delivers_ticks),
        T(a_short_period_does_not_flood),
        T(mode_3_is_a_square_wave),
        T(channel_2_counts_while_its_gate_is_open),
        T(the_refresh_bit_toggles),
        T(bcd_counts_in_decimal),
        T(single_byte_access_modes_work),
        T(the_hpet_can_take_irq_0_away),
        T(a_loaded_timer_keeps_its_phase),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
