#include "machine/acpi_loader.h"

#include <errno.h>
#include <string.h>

#include "base/endian.h"
#include "machine/acpi.h"
#include "tests/unit/test.h"

/* Firmware in small: carries the script out and looks at what became of it. */
enum { SIZE = 1 << 17, RSDP_AT = 0xf5000, TABLES_AT = 0x1ff00000 };

static uint8_t tables[SIZE], rsdp[ACPI_RSDP_SIZE], script[ACPI_LOADER_MAX];

static uint8_t *file(const uint8_t *name)
{
    if (strcmp((const char *)name, ACPI_LOADER_RSDP) == 0)
        return rsdp;
    assert_string_equal((const char *)name, ACPI_LOADER_TABLES);
    return tables;
}

static void add_pointer(const uint8_t *p)
{
    uint8_t *at = file(p) + get_le32(p + 112);
    uint64_t base = file(p + 56) == rsdp ? RSDP_AT : TABLES_AT;

    if (p[116] == 4)
        put_le32(at, (uint32_t)(get_le32(at) + base));
    else
        put_le64(at, get_le64(at) + base);
}

static uint8_t sum(const uint8_t *p, size_t len)
{
    uint8_t s = 0;

    while (len-- > 0)
        s = (uint8_t)(s + *p++);
    return s;
}

/* As OVMF does, whatever stood there; SeaBIOS would correct that. */
static void add_sum(const uint8_t *p)
{
    uint8_t *f = file(p);
    uint8_t *at = f + get_le32(p + 56);

    *at = (uint8_t)-sum(f + get_le32(p + 60), get_le32(p + 64));
}

static void carry_out(long len)
{
    for (long at = 0; at < len; at += 128) {
        const uint8_t *p = script + at + 4;

        switch (get_le32(script + at)) {
        case 1: assert_non_null(file(p)); break;
        case 2: add_pointer(p); break;
        case 3: add_sum(p); break;
        default: fail();
        }
    }
}

static const uint8_t *table_at(uint64_t gpa, const char *signature)
{
    const uint8_t *t = tables + (gpa - TABLES_AT);

    assert_in_range(gpa, TABLES_AT, TABLES_AT + SIZE - 36);
    assert_memory_equal(t, signature, 4);
    assert_int_equal(sum(t, get_le32(t + 4)), 0);
    return t;
}

static long build(void)
{
    const struct acpi_config cfg = {
        .cpus = 4, .pm_base = 0xb000, .pci_mmio = 0x80000000};
    long len = acpi_build(&cfg, tables, SIZE, 0);

    assert_true(len > 0);
    return len;
}

static void tables_are_whole_where_firmware_puts_them(void **state)
{
    long len = build();
    const uint8_t *xsdt, *rsdt, *fadt;

    (void)state;
    len = acpi_loader_build(tables, (size_t)len, script, sizeof(script));
    memcpy(rsdp, tables, sizeof(rsdp));
    carry_out(len);
    assert_int_equal(sum(rsdp, 20), 0);
    assert_int_equal(sum(rsdp, 36), 0);
    xsdt = table_at(get_le64(rsdp + 24), "XSDT");
    rsdt = table_at(get_le32(rsdp + 16), "RSDT");
    fadt = table_at(get_le64(xsdt + 36), "FACP");
    assert_int_equal(get_le32(rsdt + 36), get_le64(xsdt + 36));
    (void)table_at(get_le64(xsdt + 44), "APIC");
    (void)table_at(get_le64(xsdt + 52), "HPET");
    (void)table_at(get_le64(fadt + 140), "DSDT");
    (void)table_at(get_le32(fadt + 40), "DSDT");
    assert_memory_equal(tables + (get_le32(fadt + 36) - TABLES_AT), "FACS", 4);
}

static void too_little_room_is_an_error_and_not_overrun(void **state)
{
    long len = build();
    long need = acpi_loader_build(tables, (size_t)len, script, sizeof(script));

    (void)state;
    for (long size = 0; size < need; size += 61) {
        script[size] = 0xcc;
        assert_int_equal(
            acpi_loader_build(tables, (size_t)len, script, (size_t)size),
            -ENOSPC);
        assert_int_equal(script[size], 0xcc);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_whole_where_firmware_puts_them),
        cmocka_unit_test(too_little_room_is_an_error_and_not_overrun),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
