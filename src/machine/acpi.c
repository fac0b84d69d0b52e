/*
 * The ACPI tables of the PC (ACPI 6.5, 5.2): they describe the devices that
 * machine/pc.c maps, at the addresses of QEMU's pc machine. There is no
 * hot-plug and no sleep state but S5.
 */
#include "machine/acpi.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/endian.h"
#include "devices/pc/acpi_pm.h"
#include "devices/pc/cmos.h"
#include "devices/pc/hpet.h"
#include "devices/pc/ioapic.h"
#include "devices/pc/lapic.h"

enum { FACS_SIZE = 64, FADT_SIZE = 276, HPET_TABLE_SIZE = 56 };
enum { TABLE_ALIGN = 64 };

/* Table places, in the order that they are written. */
struct layout {
    uint8_t *buf;
    size_t size, len;
    gpa_t gpa;
};

static uint8_t checksum(const uint8_t *p, size_t len)
{
    uint8_t sum = 0;

    for (size_t i = 0; i < len; i++)
        sum = (uint8_t)(sum + p[i]);
    return (uint8_t)(0 - sum);
}

/* Fixed-width text without a final 0. */
static void put_text(uint8_t *p, const char *text)
{
    while (*text)
        *p++ = (uint8_t)*text++;
}

void acpi_finish_table(uint8_t *t, const char *signature, uint8_t revision,
                       size_t len)
{
    put_text(t, signature);
    put_le32(t + 4, (uint32_t)len);
    t[8] = revision;
    t[9] = 0;
    put_text(t + 10, "HUSK  ");
    put_text(t + 16, "HUSKPC  ");
    put_le32(t + 24, 1);
    put_text(t + 28, "HUSK");
    put_le32(t + 32, 1);
    t[9] = checksum(t, len);
}

/* Reserve len bytes; NULL if they do not fit. */
static uint8_t *reserve(struct layout *l, size_t len, gpa_t *gpa)
{
    size_t at = (l->len + TABLE_ALIGN - 1) & ~(size_t)(TABLE_ALIGN - 1);

    if (at > l->size || len > l->size - at)
        return NULL;
    l->len = at + len;
    *gpa = l->gpa + at;
    return l->buf + at;
}

/* Generic address structure (5.2.3.2). */
static void put_gas(uint8_t *p, uint8_t space, uint8_t bits, uint64_t addr)
{
    p[0] = space;
    p[1] = bits;
    p[2] = 0;
    p[3] = bits == 32 ? 3 : bits == 16 ? 2 : bits == 8 ? 1 : 0;
    put_le64(p + 4, addr);
}

enum { GAS_MEMORY = 0, GAS_IO = 1 };

/* FADT offsets (5.2.9) */
enum {
    FADT_FACS = 36,
    FADT_DSDT = 40,
    FADT_PM_PROFILE = 45,
    FADT_SCI = 46,
    FADT_SMI_CMD = 48,
    FADT_ACPI_ENABLE = 52,
    FADT_ACPI_DISABLE = 53,
    FADT_PM1A_EVT = 56,
    FADT_PM1A_CNT = 64,
    FADT_PM_TMR = 76,
    FADT_GPE0 = 80,
    FADT_PM1_EVT_LEN = 88,
    FADT_PM1_CNT_LEN = 89,
    FADT_PM_TMR_LEN = 91,
    FADT_GPE0_LEN = 92,
    FADT_C2_LAT = 96,
    FADT_C3_LAT = 98,
    FADT_CENTURY = 108,
    FADT_BOOT_ARCH = 109,
    FADT_FLAGS = 112,
    FADT_RESET_REG = 116,
    FADT_RESET_VALUE = 128,
    FADT_MINOR = 131,
    FADT_X_DSDT = 140,
    FADT_X_PM1A_EVT = 148,
    FADT_X_PM1A_CNT = 172,
    FADT_X_PM_TMR = 208,
    FADT_X_GPE0 = 220
};

#define BOOT_ARCH_LEGACY     0x0001u
#define BOOT_ARCH_8042       0x0002u
#define BOOT_ARCH_NO_VGA     0x0004u
#define FADT_WBINVD          0x00000001u
#define FADT_PROC_C1         0x00000004u
#define FADT_SLP_BUTTON      0x00000020u /* no fixed sleep button */
#define FADT_RTC_S4          0x00000080u
#define FADT_TMR_VAL_EXT     0x00000100u
#define FADT_RESET_REG_OK    0x00000400u
#define FADT_PROFILE_DESKTOP 1
#define LAT_NO_C2            0x0065
#define LAT_NO_C3            0x03e9

static void put_fadt_blocks(uint8_t *t, unsigned pm_base)
{
    put_le32(t + FADT_PM1A_EVT, pm_base + ACPI_PM1_EVT);
    put_le32(t + FADT_PM1A_CNT, pm_base + ACPI_PM1_CNT);
    put_le32(t + FADT_PM_TMR, pm_base + ACPI_PM_TMR);
    put_le32(t + FADT_GPE0, ACPI_GPE0_BASE);
    t[FADT_PM1_EVT_LEN] = 4;
    t[FADT_PM1_CNT_LEN] = 2;
    t[FADT_PM_TMR_LEN] = 4;
    t[FADT_GPE0_LEN] = ACPI_GPE0_PORTS;
    put_gas(t + FADT_X_PM1A_EVT, GAS_IO, 32, pm_base + ACPI_PM1_EVT);
    put_gas(t + FADT_X_PM1A_CNT, GAS_IO, 16, pm_base + ACPI_PM1_CNT);
    put_gas(t + FADT_X_PM_TMR, GAS_IO, 32, pm_base + ACPI_PM_TMR);
    put_gas(t + FADT_X_GPE0, GAS_IO, 8 * ACPI_GPE0_PORTS, ACPI_GPE0_BASE);
}

static void put_fadt(const struct acpi_config *cfg, uint8_t *t, gpa_t facs,
                     gpa_t dsdt)
{
    put_le32(t + FADT_FACS, (uint32_t)facs);
    put_le32(t + FADT_DSDT, (uint32_t)dsdt);
    put_le64(t + FADT_X_DSDT, dsdt);
    t[FADT_PM_PROFILE] = FADT_PROFILE_DESKTOP;
    put_le16(t + FADT_SCI, ACPI_IRQ_SCI);
    put_le32(t + FADT_SMI_CMD, ACPI_SMI_PORT);
    t[FADT_ACPI_ENABLE] = ACPI_SMI_ENABLE;
    t[FADT_ACPI_DISABLE] = ACPI_SMI_DISABLE;
    put_fadt_blocks(t, cfg->pm_base);
    put_le16(t + FADT_C2_LAT, LAT_NO_C2);
    put_le16(t + FADT_C3_LAT, LAT_NO_C3);
    t[FADT_CENTURY] = CMOS_CENTURY;
    put_le16(t + FADT_BOOT_ARCH,
             BOOT_ARCH_LEGACY | BOOT_ARCH_8042 | BOOT_ARCH_NO_VGA);
    put_le32(t + FADT_FLAGS, FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON |
                                 FADT_RTC_S4 | FADT_TMR_VAL_EXT |
                                 FADT_RESET_REG_OK);
    put_gas(t + FADT_RESET_REG, GAS_IO, 8, 0xcf9);
    t[FADT_RESET_VALUE] = 0x0f; /* full reset: bits 1..3 of port 0xcf9 */
    t[FADT_MINOR] = 3;
    acpi_finish_table(t, "FACP", 6, FADT_SIZE);
}

/* MADT entries (5.2.12) */
static uint8_t *put_lapic(uint8_t *p, unsigned cpu)
{
    p[0] = 0;
    p[1] = 8;
    p[2] = (uint8_t)cpu; /* _UID of its object */
    p[3] = (uint8_t)cpu;
    put_le32(p + 4, 1); /* enabled */
    return p + 8;
}

static uint8_t *put_override(uint8_t *p, unsigned irq, unsigned gsi,
                             unsigned flags)
{
    p[0] = 2;
    p[1] = 10;
    p[2] = 0; /* ISA */
    p[3] = (uint8_t)irq;
    put_le32(p + 4, gsi);
    put_le16(p + 8, (uint16_t)flags);
    return p + 10;
}

enum { MADT_FIXED = 44 + 12 + 2 * 10 + 6, LEVEL_HIGH = 0x0d };

static size_t madt_size(const struct acpi_config *cfg)
{
    return MADT_FIXED + 8 * (size_t)cfg->cpus;
}

static void put_madt(const struct acpi_config *cfg, uint8_t *t)
{
    uint8_t *p = t + 44;

    put_le32(t + 36, LAPIC_DEFAULT_BASE);
    put_le32(t + 40, 1); /* there are 8259s, too */
    for (unsigned i = 0; i < cfg->cpus; i++)
        p = put_lapic(p, i);
    p[0] = 1; /* I/O APIC, inputs from GSI 0 on */
    p[1] = 12;
    put_le32(p + 4, IOAPIC_BASE);
    p += 12;
    p = put_override(p, 0, ACPI_GSI_PIT, 0);
    p = put_override(p, ACPI_IRQ_SCI, ACPI_IRQ_SCI, LEVEL_HIGH);
    p[0] = 4; /* NMI wire: LINT1 of all CPUs */
    p[1] = 6;
    p[2] = 0xff;
    p[5] = 1;
    acpi_finish_table(t, "APIC", 5, madt_size(cfg));
}

static void put_hpet(uint8_t *t)
{
    put_le32(t + 36, HPET_BLOCK_ID);
    put_gas(t + 40, GAS_MEMORY, 0, HPET_BASE);
    acpi_finish_table(t, "HPET", 1, HPET_TABLE_SIZE);
}

static void put_rsdp(uint8_t *p, gpa_t rsdt, gpa_t xsdt)
{
    put_text(p, "RSD PTR ");
    put_text(p + 9, "HUSK  ");
    p[15] = 2;
    put_le32(p + 16, (uint32_t)rsdt);
    put_le32(p + 20, ACPI_RSDP_SIZE);
    put_le64(p + 24, xsdt);
    p[8] = checksum(p, 20);
    p[32] = checksum(p, ACPI_RSDP_SIZE);
}

/* FACS: no header checksum; must lie on 64 bytes (5.2.10). */
static void put_facs(uint8_t *p)
{
    put_text(p, "FACS");
    put_le32(p + 4, FACS_SIZE);
    p[32] = 2;
}

static int put_dsdt(const struct acpi_config *cfg, struct layout *l, gpa_t *gpa)
{
    uint8_t *p = reserve(l, 0, gpa);
    long len;

    if (!p)
        return -ENOSPC;
    len = acpi_build_dsdt(cfg, p, l->size - (size_t)(p - l->buf));
    if (len < 0)
        return (int)len;
    l->len += (size_t)len;
    return 0;
}

enum { NR_ROOT = 3 };

static void put_roots(uint8_t *rsdt, uint8_t *xsdt, const gpa_t table[NR_ROOT])
{
    for (size_t i = 0; i < NR_ROOT; i++) {
        put_le32(rsdt + ACPI_HEADER_SIZE + 4 * i, (uint32_t)table[i]);
        put_le64(xsdt + ACPI_HEADER_SIZE + 8 * i, table[i]);
    }
    acpi_finish_table(rsdt, "RSDT", 1, ACPI_HEADER_SIZE + 4 * NR_ROOT);
    acpi_finish_table(xsdt, "XSDT", 1, ACPI_HEADER_SIZE + 8 * NR_ROOT);
}

long acpi_build(const struct acpi_config *cfg, uint8_t *buf, size_t size,
                gpa_t gpa)
{
    struct layout l = {.size = size, .gpa = gpa};
    gpa_t at[7] = {0};
    uint8_t *rsdp, *rsdt, *xsdt, *facs, *fadt, *madt, *hpet;

    assert(cfg->cpus >= 1 && cfg->cpus <= ACPI_MAX_CPUS);
    assert(gpa % TABLE_ALIGN == 0);
    l.buf = buf;
    rsdp = reserve(&l, ACPI_RSDP_SIZE, &at[0]);
    rsdt = reserve(&l, ACPI_HEADER_SIZE + 4 * NR_ROOT, &at[1]);
    xsdt = reserve(&l, ACPI_HEADER_SIZE + 8 * NR_ROOT, &at[2]);
    facs = reserve(&l, FACS_SIZE, &at[3]);
    fadt = reserve(&l, FADT_SIZE, &at[4]);
    madt = reserve(&l, madt_size(cfg), &at[5]);
    hpet = reserve(&l, HPET_TABLE_SIZE, &at[6]);
    if (!rsdp || !rsdt || !xsdt || !facs || !fadt || !madt || !hpet)
        return -ENOSPC;
    put_rsdp(rsdp, at[1], at[2]);
    put_roots(rsdt, xsdt, at + 4);
    put_facs(facs);
    put_madt(cfg, madt);
    put_hpet(hpet);
    if (put_dsdt(cfg, &l, &at[0]) < 0)
        return -ENOSPC;
    put_fadt(cfg, fadt, at[3], at[0]);
    return (long)l.len;
}
