#include "machine/acpi_loader.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/endian.h"
#include "machine/acpi.h"

/* One step of the script: a number, then up to 124 bytes of arguments. */
enum { STEP_SIZE = 128, STEP_ARGS = 4, FILE_NAME = 56 };
enum step { STEP_ALLOCATE = 1, STEP_ADD_POINTER = 2, STEP_ADD_CHECKSUM = 3 };
enum zone { ZONE_HIGH = 1, ZONE_FSEG = 2 };

/* Where tables name each other (ACPI 6.5, 5.2.5.3 and 5.2.9), and sums are. */
enum {
    RSDP_SUM = 8,
    RSDP_SHORT = 20,
    RSDP_RSDT = 16,
    RSDP_XSDT = 24,
    RSDP_FULL_SUM = 32,
    FADT_FACS = 36,
    FADT_DSDT = 40,
    FADT_X_DSDT = 140,
    TABLE_LEN = 4,
    TABLE_SUM = 9
};

struct script {
    uint8_t *buf;
    size_t size, len;
    bool full;
};

static uint8_t *add_step(struct script *s, enum step step)
{
    uint8_t *p = s->buf + s->len;

    if (s->full || s->size - s->len < STEP_SIZE) {
        s->full = true;
        return NULL;
    }
    s->len += STEP_SIZE;
    memset(p, 0, STEP_SIZE);
    put_le32(p, step);
    return p + STEP_ARGS;
}

static void put_name(uint8_t *p, const char *name)
{
    assert(strlen(name) < FILE_NAME);
    memcpy(p, name, strlen(name));
}

static void add_file(struct script *s, const char *name, uint32_t align,
                     enum zone zone)
{
    uint8_t *p = add_step(s, STEP_ALLOCATE);

    if (!p)
        return;
    put_name(p, name);
    put_le32(p + FILE_NAME, align);
    p[FILE_NAME + 4] = (uint8_t)zone;
}

/* At off in file stands an offset in the tables: add where they are. */
static void add_pointer(struct script *s, const char *file, size_t off,
                        unsigned size)
{
    uint8_t *p = add_step(s, STEP_ADD_POINTER);

    if (!p)
        return;
    put_name(p, file);
    put_name(p + FILE_NAME, ACPI_LOADER_TABLES);
    put_le32(p + 2 * FILE_NAME, (uint32_t)off);
    p[2 * FILE_NAME + 4] = (uint8_t)size;
}

/* The sum of len bytes from start on, to stand at off in data. That byte is 0
 * until then: SeaBIOS corrects what stands there, but OVMF writes the sum of
 * the rest over it as if it had been 0, and installs no table whose sum is
 * wrong. */
static void add_sum(struct script *s, const char *file, uint8_t *data,
                    size_t off, size_t start, size_t len)
{
    uint8_t *p = add_step(s, STEP_ADD_CHECKSUM);

    if (!p)
        return;
    data[off] = 0;
    put_name(p, file);
    put_le32(p + FILE_NAME, (uint32_t)off);
    put_le32(p + FILE_NAME + 4, (uint32_t)start);
    put_le32(p + FILE_NAME + 8, (uint32_t)len);
}

static void sum_table(struct script *s, uint8_t *tables, size_t at)
{
    add_sum(s, ACPI_LOADER_TABLES, tables, at + TABLE_SUM, at,
            get_le32(tables + at + TABLE_LEN));
}

/* RSDT or XSDT: entry_size bytes for each table. */
static void add_root(struct script *s, uint8_t *tables, size_t at,
                     unsigned entry_size)
{
    size_t end = at + get_le32(tables + at + TABLE_LEN);

    for (size_t e = at + ACPI_HEADER_SIZE; e < end; e += entry_size)
        add_pointer(s, ACPI_LOADER_TABLES, e, entry_size);
    sum_table(s, tables, at);
}

static void add_fadt(struct script *s, uint8_t *tables, size_t at)
{
    add_pointer(s, ACPI_LOADER_TABLES, at + FADT_FACS, 4);
    add_pointer(s, ACPI_LOADER_TABLES, at + FADT_DSDT, 4);
    add_pointer(s, ACPI_LOADER_TABLES, at + FADT_X_DSDT, 8);
    sum_table(s, tables, at);
}

static void add_rsdp(struct script *s, uint8_t *rsdp)
{
    add_pointer(s, ACPI_LOADER_RSDP, RSDP_RSDT, 4);
    add_pointer(s, ACPI_LOADER_RSDP, RSDP_XSDT, 8);
    add_sum(s, ACPI_LOADER_RSDP, rsdp, RSDP_SUM, 0, RSDP_SHORT);
    add_sum(s, ACPI_LOADER_RSDP, rsdp, RSDP_FULL_SUM, 0, ACPI_RSDP_SIZE);
}

long acpi_loader_build(uint8_t *tables, size_t len, uint8_t *buf, size_t size)
{
    struct script s = {.buf = buf, .size = size};
    size_t rsdt = get_le32(tables + RSDP_RSDT);
    size_t xsdt = (size_t)get_le64(tables + RSDP_XSDT);
    size_t fadt = get_le32(tables + rsdt + ACPI_HEADER_SIZE);

    assert(rsdt < len && xsdt < len && fadt < len);
    add_file(&s, ACPI_LOADER_RSDP, 16, ZONE_FSEG);
    add_file(&s, ACPI_LOADER_TABLES, 64, ZONE_HIGH);
    add_fadt(&s, tables, fadt);
    add_root(&s, tables, rsdt, 4);
    add_root(&s, tables, xsdt, 8);
    add_rsdp(&s, tables);
    return s.full ? -ENOSPC : (long)s.len;
}
