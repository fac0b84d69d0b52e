#include "machine/acpi.h"

#include <errno.h>
#include <string.h>

#include "base/compiler.h"
#include "base/endian.h"
#include "tests/unit/test.h"

enum { SIZE = 0x20000, GPA = 0xe0000 };

static uint8_t buf[SIZE + 64];

static uint8_t sum(const uint8_t *p, size_t len)
{
    uint8_t s = 0;

    while (len-- > 0)
        s = (uint8_t)(s + *p++);
    return s;
}

/* A table that lies in the buffer with its length and checksum right. */
static const uint8_t *table_at(uint64_t gpa, const char *signature)
{
    const uint8_t *t;
    uint32_t len;

    assert_in_range(gpa, GPA, GPA + SIZE - ACPI_HEADER_SIZE);
    t = buf + (gpa - GPA);
    assert_memory_equal(t, signature, 4);
    len = get_le32(t + 4);
    assert_true(len >= ACPI_HEADER_SIZE && len <= GPA + SIZE - gpa);
    assert_int_equal(sum(t, len), 0);
    return t;
}

static void build(unsigned cpus)
{
    const struct acpi_config cfg = {
        .cpus = cpus, .pm_base = 0x600, .pci_mmio = 0xc0000000};

    memset(buf, 0, sizeof(buf));
    assert_in_range(acpi_build(&cfg, buf, SIZE, GPA), 1, SIZE);
}

/* The table of that signature, through the XSDT; the RSDT must agree. */
static const uint8_t *find(const char *signature)
{
    const uint8_t *xsdt = table_at(get_le64(buf + 24), "XSDT");
    const uint8_t *rsdt = table_at(get_le32(buf + 16), "RSDT");
    size_t nr = (get_le32(xsdt + 4) - ACPI_HEADER_SIZE) / 8;

    assert_int_equal((get_le32(rsdt + 4) - ACPI_HEADER_SIZE) / 4, nr);
    for (size_t i = 0; i < nr; i++) {
        uint64_t gpa = get_le64(xsdt + ACPI_HEADER_SIZE + 8 * i);

        assert_true(gpa == get_le32(rsdt + ACPI_HEADER_SIZE + 4 * i));
        if (memcmp(buf + (gpa - GPA), signature, 4) == 0)
            return table_at(gpa, signature);
    }
    fail_msg("no table %s", signature);
    return NULL;
}

static void the_root_pointer_is_found_by_its_checksums(void **state)
{
    (void)state;
    build(1);
    assert_memory_equal(buf, "RSD PTR ", 8);
    assert_int_equal(sum(buf, 20), 0);
    assert_int_equal(sum(buf, 36), 0);
    assert_int_equal(buf[15], 2);
}

static void the_fadt_leads_to_the_dsdt_and_aligned_facs(void **state)
{
    const uint8_t *fadt;
    uint64_t facs;

    (void)state;
    build(2);
    fadt = find("FACP");
    assert_int_equal(get_le32(fadt + 4), 276);
    (void)table_at(get_le64(fadt + 140), "DSDT");
    assert_true(get_le64(fadt + 140) == get_le32(fadt + 40));
    facs = get_le32(fadt + 36);
    assert_int_equal(facs % 64, 0);
    assert_memory_equal(buf + (facs - GPA), "FACS", 4);
}

static void the_madt_lists_each_cpu_once(void **state)
{
    static const unsigned counts[] = {1, 2, 8, 255};

    (void)state;
    for (size_t n = 0; n < ARRAY_LEN(counts); n++) {
        const uint8_t *madt, *p, *end;
        unsigned cpus = 0, overrides = 0, ioapics = 0;

        build(counts[n]);
        madt = find("APIC");
        end = madt + get_le32(madt + 4);
        for (p = madt + 44; p < end; p += p[1]) {
            assert_true(p[1] >= 6 && p + p[1] <= end);
            if (p[0] == 0)
                assert_int_equal(p[3], cpus++);
            ioapics += p[0] == 1;
            overrides += p[0] == 2;
        }
        assert_ptr_equal(p, end);
        assert_int_equal(cpus, counts[n]);
        assert_int_equal(ioapics, 1);
        assert_int_equal(overrides, 2);
    }
}

static void too_little_room_is_an_error_and_not_overrun(void **state)
{
    const struct acpi_config cfg = {
        .cpus = 3, .pm_base = 0x600, .pci_mmio = 0xc0000000};
    size_t need = SIZE;

    (void)state;
    build(3);
    while (buf[need - 1] == 0)
        need--;
    for (size_t size = 0; size < need; size += size < 2048 ? 1 : 97) {
        memset(buf, 0, size);
        memset(buf + size, 0xcc, SIZE - size);
        assert_int_equal(acpi_build(&cfg, buf, size, GPA), -ENOSPC);
        for (size_t i = size; i < need; i++)
            assert_int_equal(buf[i], 0xcc);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_root_pointer_is_found_by_its_checksums),
        cmocka_unit_test(the_fadt_leads_to_the_dsdt_and_aligned_facs),
        cmocka_unit_test(the_madt_lists_each_cpu_once),
        cmocka_unit_test(too_little_room_is_an_error_and_not_overrun),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
