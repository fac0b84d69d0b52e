#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/device.h"
#include "devices/pc/acpi_pm.h"
#include "devices/pc/cmos.h"
#include "devices/pc/fw_cfg.h"
#include "devices/pc/hpet.h"
#include "devices/pc/i8042.h"
#include "devices/pc/i8254.h"
#include "devices/pc/i8259.h"
#include "devices/pc/ioapic.h"
#include "devices/pc/lapic.h"
#include "devices/pc/reset_port.h"
#include "devices/pc/uart16550.h"
#include "state/format.h"
#include "state/reader.h"
#include "state/writer.h"
#include "tests/unit/devices/pc/fixture.h"

/* What holds for the saved state of every device of this folder. */

static struct loop *loop;
static struct lapic_bus lapics;
static struct i8259 pic;
static struct ioapic ioapic;
static struct i8254 pit;
static struct hpet hpet;
static struct cmos cmos;
static struct acpi_pm pm;
static struct i8042 kbd;
static struct uart16550 uart;
static struct fw_cfg fw;
static struct reset_port reset_port;

static struct device devices[] = {
    {"lapic", &lapic_class, NULL, NULL},
    {"pic", &i8259_class, &pic, &pic.lock},
    {"ioapic", &ioapic_class, &ioapic, &ioapic.lock},
    {"pit", &i8254_class, &pit, &pit.lock},
    {"hpet", &hpet_class, &hpet, &hpet.lock},
    {"cmos", &cmos_class, &cmos, &cmos.lock},
    {"acpi_pm", &acpi_pm_class, &pm, &pm.lock},
    {"i8042", &i8042_class, &kbd, &kbd.lock},
    {"uart0", &uart16550_class, &uart, &uart.lock},
    {"fw_cfg", &fw_cfg_class, &fw, &fw.lock},
    {"reset_port", &reset_port_class, &reset_port, NULL},
};

static int setup(void **state)
{
    const struct irq nowhere = {0};
    const struct hpet_wires wires = {0};
    const struct lapic_ops ops = {0};
    const struct msi_sink sink = {0};
    const struct uart16550_backend be = {0};

    (void)state;
    loop = new_loop();
    assert_int_equal(lapic_bus_init(&lapics, 1, &ops, loop, NULL), 0);
    devices[0].obj = lapic_bus_get(&lapics, 0);
    i8259_init(&pic, nowhere);
    ioapic_init(&ioapic, &sink);
    i8254_init(&pit, nowhere, loop);
    hpet_init(&hpet, &wires, loop);
    cmos_init(&cmos, nowhere, loop);
    acpi_pm_init(&pm, nowhere, loop, NULL, NULL);
    i8042_init(&kbd, nowhere, nowhere, NULL, NULL);
    uart16550_init(&uart, nowhere, &be, loop);
    fw_cfg_init(&fw, NULL, 1 << 20, 1);
    reset_port_init(&reset_port, NULL, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    lapic_bus_fini(&lapics);
    i8259_fini(&pic);
    ioapic_fini(&ioapic);
    i8254_fini(&pit);
    hpet_fini(&hpet);
    cmos_fini(&cmos);
    acpi_pm_fini(&pm);
    i8042_fini(&kbd);
    uart16550_fini(&uart);
    fw_cfg_fini(&fw);
    loop_free(loop);
    return 0;
}

static bool is_accepted(const struct state_desc *d, const void *state)
{
    return !d->check || d->check(state) == 0;
}

static void *copy_of(const void *state, size_t size)
{
    void *p = malloc(size);

    assert_non_null(p);
    memcpy(p, state, size);
    return p;
}

/* Bytes of the struct that no field covers must be padding: small holes. */
static void fields_cover_the_whole_state(void **state)
{
    size_t i, f, g, b, hole;

    (void)state;
    for (i = 0; i < ARRAY_LEN(devices); i++) {
        const struct state_desc *d = devices[i].cls->state;
        uint8_t *used = calloc(1, d->size);

        assert_non_null(used);
        for (f = 0; f < d->nr_fields; f++) {
            const struct state_field *fld = &d->fields[f];

            assert_true(fld->off + fld->len <= d->size);
            assert_int_equal(fld->len % state_type_size(fld->type), 0);
            for (b = 0; b < fld->len; b++)
                assert_int_equal(used[fld->off + b]++, 0);
            for (g = 0; g < f; g++)
                assert_int_not_equal(d->fields[g].id, fld->id);
        }
        for (b = 0, hole = 0; b < d->size; b++) {
            hole = used[b] ? 0 : hole + 1;
            assert_true(hole < 8);
        }
        free(used);
    }
}

static void reset_state_is_accepted(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_LEN(devices); i++) {
        device_reset(&devices[i]);
        assert_true(
            is_accepted(devices[i].cls->state, device_state(&devices[i])));
    }
}

/* Save a, load it over b, and compare the fields. */
static void check_round_trip(const struct state_desc *d, const void *a, void *b)
{
    struct state_writer w;
    struct state_reader r;
    struct err err;
    uint8_t *buf;
    size_t len, f;

    state_writer_init(&w);
    state_save(&w, d, 0, a);
    assert_int_equal(state_writer_finish(&w, &buf, &len), 0);
    assert_int_equal(state_reader_init(&r, buf, len, &err), 0);
    assert_int_equal(state_load(&r, d, 0, b, &err), 0);
    for (f = 0; f < d->nr_fields; f++)
        assert_memory_equal((const char *)a + d->fields[f].off,
                            (char *)b + d->fields[f].off, d->fields[f].len);
    free(buf);
}

/* Each byte of each field, where the device takes the value, comes back. */
static void every_field_comes_back(void **state)
{
    size_t i, f, b;

    (void)state;
    for (i = 0; i < ARRAY_LEN(devices); i++) {
        const struct state_desc *d = devices[i].cls->state;
        uint8_t *a = copy_of(device_state(&devices[i]), d->size);
        uint8_t *fresh = copy_of(a, d->size);

        for (f = 0; f < d->nr_fields; f++) {
            for (b = 0; b < d->fields[f].len; b++) {
                uint8_t *byte = a + d->fields[f].off + b;
                uint8_t old = *byte;

                *byte = (uint8_t)(17 * (f + b) + 1);
                if (!is_accepted(d, a))
                    *byte = old;
            }
        }
        check_round_trip(d, a, fresh);
        free(a);
        free(fresh);
    }
}

/* Whatever check() lets through must not break a device: use it. */
static void poke(struct device *dev)
{
    static const struct {
        const struct bus_ops *ops;
        void *dev;
        unsigned ports, size;
    } all[] = {
        {&i8259_bus_ops, &pic.port[0], 2, 1},
        {&i8259_bus_ops, &pic.port[1], 2, 1},
        {&ioapic_bus_ops, &ioapic, 0x44, 4},
        {&i8254_bus_ops, &pit, 3, 1},
        {&i8254_port61_bus_ops, &pit, 1, 1},
        {&hpet_bus_ops, &hpet, 0x160, 8},
        {&cmos_bus_ops, &cmos, 2, 1},
        {&acpi_pm_bus_ops, &pm, 16, 1},
        {&i8042_data_bus_ops, &kbd, 1, 1},
        {&i8042_cmd_bus_ops, &kbd, 1, 1},
        {&uart16550_bus_ops, &uart, 8, 1},
        {&fw_cfg_bus_ops, &fw, 2, 1},
        {&reset_port_bus_ops, &reset_port, 1, 1},
    };
    size_t i;
    unsigned off;

    for (i = 0; i < ARRAY_LEN(all); i++) {
        for (off = 0; off < all[i].ports; off += all[i].size)
            (void)rd(all[i].ops, all[i].dev, off, all[i].size);
    }
    for (i = 0; dev->cls == &lapic_class && i < 0x40; i++)
        (void)lapic_mmio_read(dev->obj, i << 4, 4);
}

static void call_timers(void)
{
    unsigned i;

    fire(&pit.timer);
    fire(&cmos.timer);
    fire(&pm.timer);
    fire(&uart.tx_pause);
    fire(&lapics.lapic[0].timer);
    for (i = 0; i < HPET_TIMERS; i++)
        fire(&hpet.event[i].timer);
}

static void load_raw(struct device *dev, const void *state)
{
    memcpy(device_state(dev), state, dev->cls->state->size);
    device_loaded(dev, -1234567890123);
}

static void forged_states_do_no_harm(void **state)
{
    unsigned round, seed = 1;
    size_t i, f, b;

    (void)state;
    for (round = 0; round < 2000; round++) {
        for (i = 0; i < ARRAY_LEN(devices); i++) {
            const struct state_desc *d = devices[i].cls->state;
            uint8_t *a = copy_of(device_state(&devices[i]), d->size);

            for (f = 0; f < d->nr_fields; f++) {
                for (b = 0; b < d->fields[f].len; b++) {
                    uint8_t *byte = a + d->fields[f].off + b;
                    uint8_t old = *byte;

                    seed = seed * 1103515245u + 12345u;
                    if (seed >> 30)
                        continue;
                    *byte = (uint8_t)(seed >> 16);
                    if (!is_accepted(d, a))
                        *byte = old;
                }
            }
            load_raw(&devices[i], a);
            free(a);
            poke(&devices[i]);
        }
        call_timers();
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(fields_cover_the_whole_state),
        T(reset_state_is_accepted),
        T(every_field_comes_back),
        T(forged_states_do_no_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
