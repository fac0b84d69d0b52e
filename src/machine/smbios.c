#include "machine/smbios.h"

#include <assert.h>
#include <string.h>

#include "base/bits.h"
#include "base/endian.h"

/*
 * Each structure is a formatted area of fixed length, then its strings, each
 * with a final 0, and one more 0 (SMBIOS 2.8, 6.1). Fields that are not set
 * below read 0: not known, or none.
 */
struct table {
    uint8_t *buf;
    size_t len;
    unsigned nr;       /* structures so far */
    size_t longest;    /* of them, in bytes */
    size_t start;      /* of the one that is being written */
    unsigned nr_texts; /* of it */
};

/* Handles; memory devices and ranges name their array. */
enum {
    HANDLE_BIOS = 0x000,
    HANDLE_SYSTEM = 0x100,
    HANDLE_CHASSIS = 0x300,
    HANDLE_CPU = 0x400,
    HANDLE_ARRAY = 0x1000,
    HANDLE_DIMM = 0x1100,
    HANDLE_LOW = 0x1300,
    HANDLE_HIGH = 0x1301,
    HANDLE_BOOT = 0x2000,
    HANDLE_END = 0x7f00
};

enum { HEADER = 4 };

/* Begin a structure of len bytes; returns its formatted area. */
static uint8_t *begin(struct table *t, unsigned type, unsigned len,
                      unsigned handle)
{
    uint8_t *p = t->buf + t->len;

    assert(SMBIOS_TABLES_MAX - t->len >= len + 2);
    memset(p, 0, len + 2);
    p[0] = (uint8_t)type;
    p[1] = (uint8_t)len;
    put_le16(p + 2, (uint16_t)handle);
    t->start = t->len;
    t->len += len;
    t->nr_texts = 0;
    return p;
}

/* Append a string; returns its number, which fields hold. */
static uint8_t text(struct table *t, const char *s)
{
    size_t len = strlen(s) + 1;

    assert(SMBIOS_TABLES_MAX - t->len >= len + 2);
    memcpy(t->buf + t->len, s, len);
    t->len += len;
    return (uint8_t)++t->nr_texts;
}

static void end(struct table *t)
{
    if (t->nr_texts == 0)
        t->buf[t->len++] = 0;
    t->buf[t->len++] = 0;
    t->nr++;
    if (t->len - t->start > t->longest)
        t->longest = t->len - t->start;
}

/* BIOS information (7.1): a virtual machine, which boots from CD and by UEFI */
static void put_bios(struct table *t)
{
    uint8_t *p = begin(t, 0, 24, HANDLE_BIOS);

    p[HEADER] = text(t, "husk");
    p[5] = text(t, "1.0");
    put_le16(p + 6, 0xe800); /* segment, as boards of the time had it */
    p[8] = text(t, "01/01/2020");
    put_le64(p + 0x0a, 1u << 3); /* characteristics are not said */
    p[0x13] = 1u << 4 | 1u << 2; /* virtual machine; content delivery */
    p[0x14] = p[0x15] = 1;
    p[0x16] = p[0x17] = 0xff; /* no embedded controller */
    end(t);
}

/* System (7.2): a UUID of zeros is "not set" */
static void put_system(struct table *t)
{
    uint8_t *p = begin(t, 1, 27, HANDLE_SYSTEM);

    p[HEADER] = text(t, "husk");
    p[5] = text(t, "husk PC (i440FX + PIIX)");
    p[6] = text(t, "1");
    p[0x18] = 6; /* woken by the power switch */
    end(t);
}

/* Chassis (7.4) */
static void put_chassis(struct table *t)
{
    uint8_t *p = begin(t, 3, 22, HANDLE_CHASSIS);

    p[HEADER] = text(t, "husk");
    p[5] = 1;                 /* type: other */
    p[9] = p[10] = p[11] = 3; /* states: safe */
    p[12] = 3;                /* security: none */
    end(t);
}

/* Processor (7.5): one package with all CPUs */
static void put_cpus(struct table *t, unsigned cpus)
{
    uint8_t *p = begin(t, 4, 42, HANDLE_CPU);

    p[HEADER] = text(t, "CPU 0");
    p[5] = 3; /* central processor */
    p[6] = 1; /* family: other */
    p[7] = text(t, "husk");
    put_le16(p + 0x14, 2000); /* MHz */
    put_le16(p + 0x16, 2000);
    p[0x18] = 0x41; /* present, enabled */
    p[0x19] = 1;    /* upgrade: other */
    put_le16(p + 0x1a, 0xffff);
    put_le16(p + 0x1c, 0xffff);
    put_le16(p + 0x1e, 0xffff); /* no cache is described */
    p[0x23] = p[0x24] = p[0x25] = (uint8_t)(cpus < 255 ? cpus : 255);
    put_le16(p + 0x26, 1u << 2); /* 64-bit */
    put_le16(p + 0x28, 1);
    end(t);
}

/* Physical memory array (7.17): the size in KiB, from 2 TiB on in bytes */
static void put_array(struct table *t, uint64_t bytes)
{
    uint8_t *p = begin(t, 16, 23, HANDLE_ARRAY);

    p[HEADER] = 1; /* other */
    p[5] = 3;      /* system memory */
    p[6] = 6;      /* multi-bit correction */
    put_le32(p + 7,
             bytes >> 10 < 0x80000000u ? (uint32_t)(bytes >> 10) : 0x80000000u);
    put_le16(p + 11, 0xfffe); /* no error information */
    put_le16(p + 13, 1);
    if (bytes >> 10 >= 0x80000000u)
        put_le64(p + 15, bytes);
    end(t);
}

/* Memory device (7.18): MiB in 15 bits, else in the extended field */
static void put_dimm(struct table *t, uint64_t bytes)
{
    uint8_t *p = begin(t, 17, 40, HANDLE_DIMM);
    uint64_t mib = bytes >> 20;

    put_le16(p + 4, HANDLE_ARRAY);
    put_le16(p + 6, 0xfffe);
    put_le16(p + 8, 0xffff);
    put_le16(p + 10, 0xffff); /* widths are not known */
    put_le16(p + 12, mib < 0x7fff ? (uint16_t)mib : 0x7fff);
    p[14] = 9; /* DIMM */
    p[16] = text(t, "DIMM 0");
    p[18] = 7;                 /* RAM */
    put_le16(p + 19, 1u << 1); /* other */
    p[23] = text(t, "husk");
    if (mib >= 0x7fff)
        put_le32(p + 28, (uint32_t)mib);
    end(t);
}

/* Memory array mapped address (7.20): KiB, or bytes where these are too many */
static void put_range(struct table *t, unsigned handle, uint64_t start,
                      uint64_t len)
{
    uint8_t *p = begin(t, 19, 31, handle);
    uint64_t last = start + len - 1;

    if (last >> 10 < UINT32_MAX) {
        put_le32(p + 4, (uint32_t)(start >> 10));
        put_le32(p + 8, (uint32_t)(last >> 10));
    } else {
        put_le32(p + 4, UINT32_MAX);
        put_le32(p + 8, UINT32_MAX);
        put_le64(p + 15, start);
        put_le64(p + 23, last);
    }
    put_le16(p + 12, HANDLE_ARRAY);
    p[14] = 1;
    end(t);
}

/* System boot information (7.33): no errors; end of table (7.45) */
static void put_tail(struct table *t)
{
    (void)begin(t, 32, 11, HANDLE_BOOT);
    end(t);
    (void)begin(t, 127, 4, HANDLE_END);
    end(t);
}

static uint8_t sum(const uint8_t *p, size_t len)
{
    uint8_t s = 0;

    for (size_t i = 0; i < len; i++)
        s = (uint8_t)(s + p[i]);
    return (uint8_t)(0 - s);
}

/* Entry point (5.2.1) */
static void put_anchor(const struct table *t, uint8_t *a)
{
    memset(a, 0, SMBIOS_ANCHOR_SIZE);
    memcpy(a, "_SM_", 4);
    a[5] = SMBIOS_ANCHOR_SIZE;
    a[6] = 2;
    a[7] = 8;
    put_le16(a + 8, (uint16_t)t->longest);
    memcpy(a + 16, "_DMI_", 5);
    put_le16(a + 22, (uint16_t)t->len);
    put_le16(a + 28, (uint16_t)t->nr);
    a[30] = 0x28;
    a[21] = sum(a + 16, SMBIOS_ANCHOR_SIZE - 16);
    a[4] = sum(a, SMBIOS_ANCHOR_SIZE);
}

size_t smbios_build(const struct smbios_config *cfg,
                    uint8_t anchor[SMBIOS_ANCHOR_SIZE],
                    uint8_t tables[SMBIOS_TABLES_MAX])
{
    struct table t = {.buf = tables};

    put_bios(&t);
    put_system(&t);
    put_chassis(&t);
    put_cpus(&t, cfg->cpus);
    put_array(&t, cfg->low + cfg->high);
    put_dimm(&t, cfg->low + cfg->high);
    put_range(&t, HANDLE_LOW, 0, cfg->low);
    if (cfg->high)
        put_range(&t, HANDLE_HIGH, (uint64_t)1 << 32, cfg->high);
    put_tail(&t);
    put_anchor(&t, anchor);
    return t.len;
}
