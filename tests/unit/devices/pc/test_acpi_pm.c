#include "devices/pc/acpi_pm.h"

#include "base/clock.h"
#include "tests/unit/devices/pc/fixture.h"

enum { STS = 0, EN = 2, CNT = 4, TMR = 8 };

static struct loop *loop;
static struct fake_irq sci;
static struct acpi_pm pm;
static int slept;

static void on_sleep(void *opaque, unsigned type)
{
    (void)opaque;
    slept = (int)type;
}

static uint16_t get(unsigned reg)
{
    return (uint16_t)rd(&acpi_pm_bus_ops, &pm, reg, 2);
}

static void put(unsigned reg, unsigned val)
{
    wr(&acpi_pm_bus_ops, &pm, reg, 2, val);
}

static int setup(void **state)
{
    (void)state;
    loop = new_loop();
    sci = (struct fake_irq){0};
    slept = -1;
    acpi_pm_init(&pm, fake_irq(&sci), loop, on_sleep, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    acpi_pm_fini(&pm);
    loop_free(loop);
    return 0;
}

static void the_power_button_raises_sci_until_cleared(void **state)
{
    (void)state;
    put(EN, 0x0100);
    acpi_pm_power_button(&pm);
    assert_true(sci.level);
    assert_int_equal(get(STS), 0x0100);
    put(STS, 0xfeff);
    assert_true(sci.level);
    put(STS, 0x0100);
    assert_false(sci.level);
}

static void a_disabled_event_is_only_recorded(void **state)
{
    (void)state;
    acpi_pm_power_button(&pm);
    assert_false(sci.level);
    put(EN, 0x0100);
    assert_true(sci.level);
    put(CNT, 0); /* legacy mode: SMI, and there is none */
    assert_false(sci.level);
}

static void acpi_mode_is_switched_by_the_smi_port(void **state)
{
    (void)state;
    assert_int_equal(get(CNT) & 1, 1);
    wr8(&acpi_smi_bus_ops, &pm, 0, ACPI_SMI_DISABLE);
    assert_int_equal(get(CNT) & 1, 0);
    wr8(&acpi_smi_bus_ops, &pm, 0, ACPI_SMI_ENABLE);
    assert_int_equal(get(CNT) & 1, 1);
    assert_int_equal(rd8(&acpi_smi_bus_ops, &pm, 0), ACPI_SMI_ENABLE);
    wr8(&acpi_smi_bus_ops, &pm, 1, 0x12);
    assert_int_equal(rd8(&acpi_smi_bus_ops, &pm, 1), 0x12);
}

static void sleep_enable_names_its_type(void **state)
{
    (void)state;
    put(CNT, 0x1401);
    assert_int_equal(slept, -1);
    put(CNT, 0x3401);
    assert_int_equal(slept, 5);
    assert_int_equal(get(CNT), 0x1401); /* SLP_EN is write-only */
}

static void single_bytes_work(void **state)
{
    (void)state;
    wr8(&acpi_pm_bus_ops, &pm, EN + 1, 0x01);
    assert_int_equal(get(EN), 0x0100);
    acpi_pm_power_button(&pm);
    assert_int_equal(rd8(&acpi_pm_bus_ops, &pm, STS + 1), 0x01);
    wr8(&acpi_pm_bus_ops, &pm, STS + 1, 0x01);
    assert_int_equal(get(STS), 0);
}

static void the_timer_runs_at_its_rate(void **state)
{
    uint32_t first, second;
    uint64_t before, after;

    (void)state;
    before = clock_now_ns();
    first = (uint32_t)rd(&acpi_pm_bus_ops, &pm, TMR, 4);
    pm.st.tmr_base_ns -= 100000000;
    second = (uint32_t)rd(&acpi_pm_bus_ops, &pm, TMR, 4);
    after = clock_now_ns();
    assert_true(second - first >= ACPI_TMR_HZ / 10);
    assert_true(second - first <=
                ACPI_TMR_HZ / 10 + (after - before) / 279 + 2);
    wr(&acpi_pm_bus_ops, &pm, TMR, 4, 0); /* read-only */
    assert_true(rd(&acpi_pm_bus_ops, &pm, TMR, 4) >= second);
}

static void the_timers_top_bit_sets_its_status(void **state)
{
    (void)state;
    assert_false(pm.timer.armed);
    put(EN, 1);
    assert_true(pm.timer.armed);
    fire(&pm.timer);
    assert_false(sci.level);
    pm.st.tmr_base_ns -= 600 * NS_PER_SEC; /* 2^31 ticks are 599.9 s */
    fire(&pm.timer);
    assert_true(sci.level);
    assert_false(pm.timer.armed);
    put(STS, 1);
    assert_false(sci.level);
    assert_true(pm.timer.armed);
}

static void the_status_is_set_without_an_interrupt_too(void **state)
{
    (void)state;
    pm.st.tmr_base_ns -= 600 * NS_PER_SEC;
    assert_int_equal(get(STS), 1);
    assert_false(pm.timer.armed);
}

static void general_events_raise_sci(void **state)
{
    (void)state;
    acpi_pm_gpe(&pm, 9);
    assert_false(sci.level);
    wr8(&acpi_gpe_bus_ops, &pm, 3, 0x02);
    assert_true(sci.level);
    assert_int_equal(rd(&acpi_gpe_bus_ops, &pm, 0, 4), 0x02000200);
    wr8(&acpi_gpe_bus_ops, &pm, 1, 0x02);
    assert_false(sci.level);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_power_button_raises_sci_until_cleared),
        T(a_disabled_event_is_only_recorded),
        T(acpi_mode_is_switched_by_the_smi_port),
        T(sleep_enable_names_its_type),
        T(single_bytes_work),
        T(the_timer_runs_at_its_rate),
        T(the_timers_top_bit_sets_its_status),
        T(the_status_is_set_without_an_interrupt_too),
        T(general_events_raise_sci),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
