#include "devices/pc/cmos.h"

#include <string.h>

#include "base/clock.h"
#include "devices/pc/cmos_time.h"
#include "tests/unit/devices/pc/fixture.h"

/* The host's wall clock of these tests: 2024-02-29 23:59:58.5 UTC. */
#define LEAP_DAY 1709251198ull
static uint64_t wall;

static uint64_t fake_wall(void)
{
    return wall;
}

static struct loop *loop;
static struct fake_irq out;
static struct cmos cm;

static void put(unsigned reg, unsigned val)
{
    wr8(&cmos_bus_ops, &cm, 0, reg);
    wr8(&cmos_bus_ops, &cm, 1, val);
}

static uint8_t get(unsigned reg)
{
    wr8(&cmos_bus_ops, &cm, 0, reg);
    return rd8(&cmos_bus_ops, &cm, 1);
}

static void pass(uint64_t ns)
{
    wall += ns;
}

static int setup(void **state)
{
    (void)state;
    loop = new_loop();
    out = (struct fake_irq){0};
    cmos_init(&cm, fake_irq(&out), loop);
    wall = LEAP_DAY * NS_PER_SEC + NS_PER_SEC / 2;
    cm.wall_ns = fake_wall;
    cm.st.seen_s = LEAP_DAY;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    cmos_fini(&cm);
    loop_free(loop);
    return 0;
}

static void it_shows_the_time_in_bcd(void **state)
{
    (void)state;
    assert_int_equal(get(0x00), 0x58);
    assert_int_equal(get(0x02), 0x59);
    assert_int_equal(get(0x04), 0x23);
    assert_int_equal(get(0x06), 5); /* Thursday */
    assert_int_equal(get(0x07), 0x29);
    assert_int_equal(get(0x08), 0x02);
    assert_int_equal(get(0x09), 0x24);
    assert_int_equal(get(0x32), 0x20);
    pass(2 * NS_PER_SEC);
    assert_int_equal(get(0x04), 0x00);
    assert_int_equal(get(0x07), 0x01);
    assert_int_equal(get(0x08), 0x03);
    assert_int_equal(get(0x0d), 0x80);
}

static void binary_and_12_hours_work(void **state)
{
    (void)state;
    put(0x0b, 0x04);
    assert_int_equal(get(0x00), 58);
    assert_int_equal(get(0x04), 0x80 | 11);
    put(0x0b, 0x00);
    assert_int_equal(get(0x04), 0x91);
    pass(3600 * NS_PER_SEC);
    assert_int_equal(get(0x04), 0x12); /* midnight is 12 AM */
}

static void update_in_progress_comes_before_the_second(void **state)
{
    (void)state;
    assert_int_equal(get(0x0a), 0x26);
    pass(NS_PER_SEC / 2 - 100000);
    assert_int_equal(get(0x0a), 0xa6);
    pass(100000);
    assert_int_equal(get(0x0a), 0x26);
}

static void setting_the_clock_takes_effect_when_set_goes(void **state)
{
    (void)state;
    put(0x0b, 0x82);
    pass(10 * NS_PER_SEC); /* stands still meanwhile */
    assert_int_equal(get(0x00), 0x58);
    put(0x09, 0x99);
    put(0x32, 0x19);
    put(0x08, 0x12);
    put(0x07, 0x31);
    put(0x04, 0x12);
    put(0x02, 0x34);
    put(0x00, 0x56);
    put(0x0b, 0x02);
    pass(NS_PER_SEC);
    assert_int_equal(get(0x00), 0x57);
    assert_int_equal(get(0x02), 0x34);
    assert_int_equal(get(0x09), 0x99);
    assert_int_equal(get(0x32), 0x19);
    assert_int_equal(get(0x06), 6); /* 1999-12-31 was a Friday */
}

static void a_reset_divider_updates_half_a_second_later(void **state)
{
    (void)state;
    put(0x0a, 0x76);
    pass(123456789);
    put(0x00, 0x10);
    put(0x0a, 0x26);
    pass(NS_PER_SEC / 2 - 1);
    assert_int_equal(get(0x00), 0x10);
    pass(1);
    assert_int_equal(get(0x00), 0x11);
}

static void set_alone_keeps_the_phase(void **state)
{
    (void)state;
    put(0x0b, 0x82);
    pass(NS_PER_SEC / 4);
    put(0x00, 0x10);
    put(0x0b, 0x02); /* at .75 */
    pass(NS_PER_SEC / 4 - 1);
    assert_int_equal(get(0x00), 0x10);
    pass(1);
    assert_int_equal(get(0x00), 0x11);
}

static void an_update_interrupt_comes_each_second(void **state)
{
    (void)state;
    put(0x0b, 0x12);
    assert_true(cm.timer.armed);
    fire(&cm.timer);
    assert_false(out.level);
    pass(NS_PER_SEC);
    fire(&cm.timer);
    assert_true(out.level);
    assert_false(cm.timer.armed); /* until it has been read */
    assert_int_equal(get(0x0c) & 0xb0, 0x90);
    assert_false(out.level);
    assert_true(cm.timer.armed);
    assert_int_equal(get(0x0c) & 0x90, 0);
    pass(NS_PER_SEC);
    fire(&cm.timer);
    assert_int_equal(out.edges, 2);
}

static void flags_are_set_without_interrupts_and_timers(void **state)
{
    (void)state;
    assert_false(cm.timer.armed);
    pass(NS_PER_SEC);
    assert_int_equal(get(0x0c) & 0x90, 0x10);
    assert_int_equal(get(0x0c) & 0x90, 0);
}

static void an_alarm_comes_at_its_time(void **state)
{
    (void)state;
    put(0x01, 0x05);
    put(0x03, 0x00);
    put(0x05, 0x00); /* 00:00:05 */
    put(0x0b, 0x22);
    pass(6 * NS_PER_SEC);
    fire(&cm.timer);
    assert_false(out.level);
    pass(NS_PER_SEC);
    fire(&cm.timer);
    assert_true(out.level);
    assert_int_equal(get(0x0c) & 0xa0, 0xa0);
}

static void alarm_wildcards_match_always(void **state)
{
    uint8_t ram[CMOS_SIZE] = {0};

    (void)state;
    ram[CMOS_SEC_ALARM] = 0x30;
    ram[CMOS_MIN_ALARM] = 0xff;
    ram[CMOS_HOUR_ALARM] = 0xc0;
    assert_int_equal(cmos_time_next_alarm(ram, 2, LEAP_DAY), LEAP_DAY + 32);
    ram[CMOS_SEC_ALARM] = 0x61; /* never */
    assert_int_equal(cmos_time_next_alarm(ram, 2, LEAP_DAY), UINT64_MAX);
    ram[CMOS_SEC_ALARM] = 0xff;
    ram[CMOS_HOUR_ALARM] = 0x22;
    assert_int_equal(cmos_time_next_alarm(ram, 2, LEAP_DAY),
                     LEAP_DAY + 2 + 22 * 3600);
    ram[CMOS_HOUR_ALARM] = 0x90; /* 10 PM in 12-hour form */
    assert_int_equal(cmos_time_next_alarm(ram, 0, LEAP_DAY),
                     LEAP_DAY + 2 + 22 * 3600);
}

static void the_periodic_interrupt_follows_its_rate(void **state)
{
    (void)state;
    put(0x0a, 0x2f); /* 2 Hz */
    put(0x0b, 0x42);
    assert_true(cm.timer.armed);
    cm.st.base_ns -= NS_PER_SEC / 2;
    fire(&cm.timer);
    assert_true(out.level);
    assert_int_equal(get(0x0c) & 0xc0, 0xc0);
    put(0x0a, 0x20); /* rate 0: none */
    assert_false(cm.timer.armed);
}

static void set_clears_the_update_interrupt(void **state)
{
    (void)state;
    put(0x0b, 0x92);
    assert_int_equal(get(0x0b), 0x82);
    put(0x0a, 0xff);
    assert_int_equal(get(0x0a), 0x7f); /* UIP cannot be written */
}

static void memory_is_kept_over_a_reset(void **state)
{
    (void)state;
    put(0x40, 0x77);
    put(0x0b, 0x72);
    put(0xc0, 0x11); /* bit 7 of the index is the NMI mask */
    cmos_reset(&cm);
    assert_int_equal(get(0x40), 0x11);
    assert_int_equal(get(0x0b), 0x02);
    assert_false(cm.timer.armed);
}

static void firmware_finds_the_memory_size(void **state)
{
    (void)state;
    cmos_set_memory(&cm, 3ull << 30, 5ull << 30, 4);
    assert_int_equal(get(0x15) | get(0x16) << 8, 640);
    assert_int_equal(get(0x17) | get(0x18) << 8, 0xffff);
    assert_int_equal(get(0x30) | get(0x31) << 8, 0xffff);
    assert_int_equal(get(0x34) | get(0x35) << 8, (3072 - 16) * 16);
    assert_int_equal(get(0x5b) | get(0x5c) << 8 | get(0x5d) << 16, 5 << 14);
    assert_int_equal(get(0x5f), 3);
}

static void firmware_finds_the_floppy_drives(void **state)
{
    (void)state;
    assert_int_equal(get(0x10), 0);
    assert_int_equal(get(0x14) & 0xc1, 0);
    cmos_set_floppies(&cm, 4, 0);
    assert_int_equal(get(0x10), 0x40);
    assert_int_equal(get(0x14) & 0xc1, 0x01);
    cmos_set_floppies(&cm, 4, 2);
    assert_int_equal(get(0x10), 0x42);
    assert_int_equal(get(0x14) & 0xc1, 0x41);
}

static void the_hpet_can_take_irq_8_away(void **state)
{
    struct irq mask = cmos_mask_wire(&cm);

    (void)state;
    irq_set(&mask, true);
    put(0x0b, 0x12);
    pass(NS_PER_SEC);
    fire(&cm.timer);
    assert_false(out.level);
    assert_int_equal(get(0x0c) & 0x90, 0x90);
}

static void dates_survive_the_way_there_and_back(void **state)
{
    static const uint64_t secs[] = {0, 951782399, LEAP_DAY, 4102444800,
                                    13569465599};
    uint8_t ram[CMOS_SIZE];
    unsigned i, format;

    (void)state;
    for (i = 0; i < 5; i++) {
        for (format = 0; format < 8; format += 2) {
            memset(ram, 0xee, sizeof(ram));
            cmos_time_split(secs[i], format, ram);
            assert_int_equal(cmos_time_join(ram, format), secs[i]);
        }
    }
}

static void nonsense_dates_are_brought_into_range(void **state)
{
    uint8_t ram[CMOS_SIZE];
    unsigned format;

    (void)state;
    for (format = 0; format < 8; format += 2) {
        memset(ram, 0xff, sizeof(ram));
        assert_true(cmos_time_join(ram, format) < 13569465600);
        memset(ram, 0, sizeof(ram));
        assert_true(cmos_time_join(ram, format) < 86400);
        cmos_time_split(UINT64_MAX, format, ram);
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(it_shows_the_time_in_bcd),
        T(binary_and_12_hours_work),
        T(update_in_progress_comes_before_the_second),
        T(setting_the_clock_takes_effect_when_set_goes),
        T(a_reset_divider_updates_half_a_second_later),
        T(set_alone_keeps_the_phase),
        T(an_update_interrupt_comes_each_second),
        T(flags_are_set_without_interrupts_and_timers),
        T(an_alarm_comes_at_its_time),
        T(alarm_wildcards_match_always),
        T(the_periodic_interrupt_follows_its_rate),
        T(set_clears_the_update_interrupt),
        T(memory_is_kept_over_a_reset),
        T(firmware_finds_the_memory_size),
        T(firmware_finds_the_floppy_drives),
        T(the_hpet_can_take_irq_8_away),
        T(dates_survive_the_way_there_and_back),
        T(nonsense_dates_are_brought_into_range),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
