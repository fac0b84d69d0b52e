#include "devices/pc/hpet.h"

#include "base/clock.h"
#include "tests/unit/devices/pc/fixture.h"

static struct loop *loop;
static struct hpet h;
static struct fake_irq gsi[HPET_GSIS], irq0, irq8, pit_off, rtc_off;

enum { CAP = 0, CONFIG = 0x10, ISR = 0x20, COUNTER = 0xf0, T0 = 0x100 };
enum { T1 = 0x120, T2 = 0x140, CMP = 8 };
/* Ticks that no test takes to get there, and more time than they are. */
enum { SOON = 5000000, LATER_NS = 1000000000 };
enum { LEVEL = 2, ENABLE = 4, PERIODIC = 8, SETVAL = 0x40, BITS32 = 0x100 };

static uint64_t get(unsigned reg)
{
    return rd(&hpet_bus_ops, &h, reg, 8);
}

static void put(unsigned reg, uint64_t val)
{
    wr(&hpet_bus_ops, &h, reg, 8, val);
}

/* Let the counter run ahead. */
static void age(uint64_t ns)
{
    h.st.start_ns -= ns;
}

static int setup(void **state)
{
    struct hpet_wires wires;
    unsigned i;

    (void)state;
    loop = new_loop();
    for (i = 0; i < HPET_GSIS; i++) {
        gsi[i] = (struct fake_irq){0};
        wires.gsi[i] = fake_irq(&gsi[i]);
    }
    irq0 = irq8 = pit_off = rtc_off = (struct fake_irq){0};
    wires.legacy0 = fake_irq(&irq0);
    wires.legacy8 = fake_irq(&irq8);
    wires.replace_pit = fake_irq(&pit_off);
    wires.replace_rtc = fake_irq(&rtc_off);
    hpet_init(&h, &wires, loop);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    hpet_fini(&h);
    loop_free(loop);
    return 0;
}

static void it_says_what_it_is(void **state)
{
    (void)state;
    assert_int_equal(get(CAP) >> 32, 10000000);
    assert_int_equal((uint32_t)get(CAP), 0x8086a201);
    assert_int_equal(rd(&hpet_bus_ops, &h, CAP + 4, 4), 10000000);
    assert_int_equal(get(T0), 0x00f0010400000030);
    put(T0, UINT64_MAX); /* FSB and read-only bits stay */
    assert_int_equal(get(T0) & 0xc0b1, 0x0030 & 0xc0b1);
}

static void the_counter_stands_still_until_enabled(void **state)
{
    uint64_t val;

    (void)state;
    put(COUNTER, 1000);
    age(1000000);
    assert_int_equal(get(COUNTER), 1000);
    put(CONFIG, 1);
    age(1000000);
    val = get(COUNTER);
    assert_true(val >= 1000 + 100000);
    put(CONFIG, 0);
    val = get(COUNTER);
    age(1000000);
    assert_int_equal(get(COUNTER), val);
}

static void a_one_shot_interrupts_once_on_its_route(void **state)
{
    (void)state;
    put(CONFIG, 1);
    put(T2, 20u << 9 | ENABLE);
    put(T2 + CMP, get(COUNTER) + 100000000000);
    age(500000000000);
    fire(&h.event[2].timer);
    assert_int_equal(gsi[20].edges, 0);
    age(600000000000);
    fire(&h.event[2].timer);
    assert_int_equal(gsi[20].edges, 1);
    fire(&h.event[2].timer);
    assert_int_equal(gsi[20].edges, 1);
    assert_false(h.event[2].timer.armed);
}

static void a_route_that_is_not_offered_interrupts_nobody(void **state)
{
    (void)state;
    put(CONFIG, 1);
    put(T2, 31u << 9 | ENABLE);
    put(T2 + CMP, get(COUNTER) + 100);
    age(1000000);
    fire(&h.event[2].timer);
    put(T2, 3u << 9 | ENABLE);
    put(T2 + CMP, get(COUNTER) + 100);
    age(1000000);
    fire(&h.event[2].timer);
    assert_int_equal(gsi[3].edges, 0);
}

static void periodic_matches_stay_in_phase(void **state)
{
    uint64_t first;

    (void)state;
    put(CONFIG, 1);
    first = get(COUNTER) + 1000000;
    put(T0, 2u << 9 | ENABLE | PERIODIC | SETVAL);
    put(T0 + CMP, first);
    put(T0 + CMP, 100000); /* the second write is the period */
    assert_false(get(T0) & SETVAL);
    assert_int_equal(get(T0 + CMP), first);
    age(13500000);
    fire(&h.event[0].timer);
    assert_int_equal(gsi[2].edges, 1);
    assert_int_equal((get(T0 + CMP) - first) % 100000, 0);
    assert_true(get(T0 + CMP) >= first + 400000);
    assert_true(h.event[0].timer.armed);
}

static void a_level_interrupt_waits_for_its_status_bit(void **state)
{
    (void)state;
    put(CONFIG, 1);
    put(T2, 21u << 9 | ENABLE | LEVEL);
    put(T2 + CMP, get(COUNTER) + SOON);
    age(LATER_NS);
    fire(&h.event[2].timer);
    assert_true(gsi[21].level);
    assert_int_equal(get(ISR), 4);
    put(ISR, 1); /* another timer's */
    assert_true(gsi[21].level);
    put(ISR, 4);
    assert_false(gsi[21].level);
    assert_int_equal(get(ISR), 0);
}

static void legacy_replacement_takes_over_pit_and_rtc(void **state)
{
    (void)state;
    put(CONFIG, 3);
    assert_true(pit_off.level && rtc_off.level);
    put(T0, 20u << 9 | ENABLE);
    put(T0 + CMP, get(COUNTER) + SOON);
    put(T1, ENABLE);
    put(T1 + CMP, get(COUNTER) + SOON);
    age(LATER_NS);
    fire(&h.event[0].timer);
    fire(&h.event[1].timer);
    assert_int_equal(irq0.edges, 1);
    assert_int_equal(irq8.edges, 1);
    assert_int_equal(gsi[20].edges, 0);
    put(CONFIG, 1);
    assert_false(pit_off.level || rtc_off.level);
}

static void a_32_bit_timer_matches_the_low_half(void **state)
{
    (void)state;
    put(COUNTER, 0x5fffffff0);
    put(T0, 2u << 9 | ENABLE | BITS32);
    wr(&hpet_bus_ops, &h, T0 + CMP, 4, 0x100);
    put(CONFIG, 1);
    assert_int_equal(h.st.timer[0].next, 0x600000100);
    age(100000);
    fire(&h.event[0].timer);
    assert_int_equal(gsi[2].edges, 1);
    assert_int_equal(h.st.timer[0].next, 0x700000100); /* after a wrap */
}

static void a_64_bit_match_in_the_past_never_comes(void **state)
{
    (void)state;
    put(COUNTER, 1000);
    put(CONFIG, 1);
    put(T0, 2u << 9 | ENABLE);
    put(T0 + CMP, 1);
    assert_false(h.event[0].timer.armed);
}

static void a_disabled_timer_arms_nothing(void **state)
{
    (void)state;
    put(CONFIG, 1);
    put(T0, 2u << 9);
    put(T0 + CMP, get(COUNTER) + 1000);
    assert_false(h.event[0].timer.armed);
    put(T0, 2u << 9 | ENABLE);
    put(T0 + CMP, get(COUNTER) + 100000000000);
    assert_true(h.event[0].timer.armed);
    put(CONFIG, 0);
    assert_false(h.event[0].timer.armed);
}

static void a_period_of_nothing_does_not_flood(void **state)
{
    (void)state;
    put(CONFIG, 1);
    put(T0, 2u << 9 | ENABLE | PERIODIC | SETVAL);
    put(T0 + CMP, get(COUNTER) + SOON);
    put(T0 + CMP, 1);
    age(LATER_NS);
    fire(&h.event[0].timer);
    assert_true(h.event[0].timer.deadline_ns >= clock_now_ns() - 1000000000);
    put(T0 + CMP, 0); /* no period at all */
    age(LATER_NS);
    fire(&h.event[0].timer);
    fire(&h.event[0].timer);
    assert_false(h.event[0].timer.armed);
}

static bool has_fired(void *opaque)
{
    (void)opaque;
    return gsi[2].edges >= 2;
}

static void the_loop_delivers_matches(void **state)
{
    (void)state;
    put(CONFIG, 1);
    put(T0, 2u << 9 | ENABLE | PERIODIC | SETVAL);
    put(T0 + CMP, get(COUNTER) + 50000);
    put(T0 + CMP, 50000);
    run_until(loop, has_fired, NULL);
}

static void halves_can_be_written_apart(void **state)
{
    (void)state;
    wr(&hpet_bus_ops, &h, COUNTER, 4, 0x11111111);
    wr(&hpet_bus_ops, &h, COUNTER + 4, 4, 0x22222222);
    assert_int_equal(get(COUNTER), 0x2222222211111111);
}

static void a_loaded_timer_goes_on(void **state)
{
    (void)state;
    put(CONFIG, 3);
    put(T0, ENABLE);
    put(T0 + CMP, get(COUNTER) + SOON);
    pit_off.level = false;
    age(LATER_NS + 7ull * NS_PER_SEC);
    hpet_class.loaded(&h, 7ll * (int64_t)NS_PER_SEC);
    assert_true(pit_off.level);
    assert_true(h.event[0].timer.armed);
    fire(&h.event[0].timer);
    assert_int_equal(irq0.edges, 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(it_says_what_it_is),
        T(the_counter_stands_still_until_enabled),
        T(a_one_shot_interrupts_once_on_its_route),
        T(a_route_that_is_not_offered_interrupts_nobody),
        T(periodic_matches_stay_in_phase),
        T(a_level_interrupt_waits_for_its_status_bit),
        T(legacy_replacement_takes_over_pit_and_rtc),
        T(a_32_bit_timer_matches_the_low_half),
        T(a_64_bit_match_in_the_past_never_comes),
        T(a_disabled_timer_arms_nothing),
        T(a_period_of_nothing_does_not_flood),
        T(the_loop_delivers_matches),
        T(halves_can_be_written_apart),
        T(a_loaded_timer_goes_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
