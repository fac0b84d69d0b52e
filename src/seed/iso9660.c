#include "seed/iso9660.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"

/* Where things are, in sectors; the first 16 are the system's. */
enum {
    SECTOR = 2048,
    AT_PRIMARY = 16,
    AT_JOLIET,
    AT_END,
    AT_TABLES, /* path tables: L and M of the primary, L and M of Joliet */
    AT_ROOT = AT_TABLES + 4,
    AT_JOLIET_ROOT,
    AT_FILES
};

/* Of a volume descriptor (ECMA-119, 8.4). */
enum {
    VD_TYPE = 0,
    VD_ID = 1,
    VD_VERSION = 6,
    VD_SYSTEM = 8,
    VD_LABEL = 40,
    VD_SPACE = 80,
    VD_ESCAPES = 88,
    VD_SET_SIZE = 120,
    VD_SEQUENCE = 124,
    VD_BLOCK = 128,
    VD_TABLE_SIZE = 132,
    VD_L_TABLE = 140,
    VD_M_TABLE = 148,
    VD_ROOT = 156,
    VD_TEXTS = 190, /* who made it, and the like, up to the dates */
    VD_DATES = 813,
    VD_NR_DATES = 4,
    VD_DATE = 17,
    VD_STRUCTURE = 881,
    TYPE_PRIMARY = 1,
    TYPE_SUPPLEMENTARY = 2,
    TYPE_END = 255,
    LABEL_BYTES = 32,
    TABLE_BYTES = 10
};

/* Of a directory record (ECMA-119, 9.1). */
enum {
    DR_LENGTH = 0,
    DR_EXTENT = 2,
    DR_SIZE = 10,
    DR_DATE = 18,
    DR_FLAGS = 25,
    DR_SEQUENCE = 28,
    DR_NAME_LENGTH = 32,
    DR_NAME = 33,
    DR_DIRECTORY = 2
};

_Static_assert(2 * 34 + ISO_MAX_FILES * (DR_NAME + 2 * (ISO_MAX_NAME + 3)) <=
                   SECTOR,
               "a folder is one sector");

static const uint8_t magic[] = {'C', 'D', '0', '0', '1'};
static const uint8_t ucs2[] = {'%', '/', 'E'}; /* Joliet, level 3 */

/* Both byte orders, one after the other (7.2.3, 7.3.3). */
static void put_both16(uint8_t *p, uint16_t v)
{
    put_le16(p, v);
    put_be16(p + 2, v);
}

static void put_both32(uint8_t *p, uint32_t v)
{
    put_le32(p, v);
    put_be32(p + 4, v);
}

static uint32_t sectors(size_t len)
{
    return (uint32_t)((len + SECTOR - 1) / SECTOR);
}

/* Returns the length of the record, which is even. */
static size_t put_record(uint8_t *p, uint32_t at, uint32_t size, bool directory,
                         const void *name, size_t len)
{
    static const uint8_t epoch[7] = {70, 1, 1}; /* a date there must be */
    size_t total = (DR_NAME + len + 1) & ~(size_t)1;

    p[DR_LENGTH] = (uint8_t)total;
    put_both32(p + DR_EXTENT, at);
    put_both32(p + DR_SIZE, size);
    memcpy(p + DR_DATE, epoch, sizeof(epoch));
    p[DR_FLAGS] = directory ? DR_DIRECTORY : 0;
    put_both16(p + DR_SEQUENCE, 1);
    p[DR_NAME_LENGTH] = (uint8_t)len;
    memcpy(p + DR_NAME, name, len);
    return total;
}

static size_t put_char(uint8_t *p, char c, bool joliet)
{
    if (!joliet) {
        p[0] = (uint8_t)c;
        return 1;
    }
    p[0] = 0;
    p[1] = (uint8_t)c;
    return 2;
}

/* Letters, digits and _ are all that a plain name may have (7.4.1). */
static char plain_char(char c)
{
    if (c >= 'a' && c <= 'z')
        return (char)(c - 'a' + 'A');
    if ((c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
        return c;
    return '_';
}

/* The name as one of the two tables has it, with its version (7.5). */
static size_t make_name(const char *name, bool joliet, uint8_t *out)
{
    size_t len = strnlen(name, ISO_MAX_NAME), n = 0;

    for (size_t i = 0; i < len; i++) {
        char c = name[i];

        if (!joliet)
            c = plain_char(c);
        n += put_char(out + n, c, joliet);
    }
    for (const char *v = joliet ? ";1" : ".;1"; *v; v++)
        n += put_char(out + n, *v, joliet);
    return n;
}

static void put_folder(uint8_t *image, bool joliet,
                       const struct iso_file *files, unsigned nr)
{
    uint32_t root = joliet ? AT_JOLIET_ROOT : AT_ROOT, at = AT_FILES;
    uint8_t *p = image + (size_t)root * SECTOR;
    uint8_t name[2 * (ISO_MAX_NAME + 3)];

    p += put_record(p, root, SECTOR, true, "\0", 1);
    p += put_record(p, root, SECTOR, true, "\1", 1);
    for (unsigned i = 0; i < nr; i++) {
        size_t n = make_name(files[i].name, joliet, name);

        p += put_record(p, at, (uint32_t)files[i].len, false, name, n);
        at += sectors(files[i].len);
    }
}

/* Each has one record, the root. */
static void put_tables(uint8_t *image, bool joliet)
{
    uint32_t root = joliet ? AT_JOLIET_ROOT : AT_ROOT;
    uint8_t *p = image + (size_t)(AT_TABLES + (joliet ? 2 : 0)) * SECTOR;

    p[0] = 1;
    put_le32(p + 2, root);
    put_le16(p + 6, 1);
    p[SECTOR] = 1;
    put_be32(p + SECTOR + 2, root);
    put_be16(p + SECTOR + 6, 1);
}

/* Spaces, or those of UCS-2. */
static void put_spaces(uint8_t *p, size_t len, bool joliet)
{
    for (size_t i = 0; i < len; i++)
        p[i] = joliet && !(i & 1) ? 0 : ' ';
}

static void put_label(uint8_t *p, const char *label, bool joliet)
{
    size_t len = strnlen(label, ISO_MAX_LABEL);

    put_spaces(p, LABEL_BYTES, joliet);
    for (size_t i = 0; i < len; i++)
        p[joliet ? 2 * i + 1 : i] = (uint8_t)label[i];
}

static void put_descriptor(uint8_t *image, bool joliet, const char *label,
                           uint32_t total)
{
    uint8_t *p = image + (size_t)(joliet ? AT_JOLIET : AT_PRIMARY) * SECTOR;
    uint32_t tables = AT_TABLES + (joliet ? 2 : 0);

    p[VD_TYPE] = joliet ? TYPE_SUPPLEMENTARY : TYPE_PRIMARY;
    memcpy(p + VD_ID, magic, sizeof(magic));
    p[VD_VERSION] = 1;
    put_spaces(p + VD_SYSTEM, LABEL_BYTES, joliet);
    put_label(p + VD_LABEL, label, joliet);
    put_both32(p + VD_SPACE, total);
    if (joliet)
        memcpy(p + VD_ESCAPES, ucs2, sizeof(ucs2));
    put_both16(p + VD_SET_SIZE, 1);
    put_both16(p + VD_SEQUENCE, 1);
    put_both16(p + VD_BLOCK, SECTOR);
    put_both32(p + VD_TABLE_SIZE, TABLE_BYTES);
    put_le32(p + VD_L_TABLE, tables);
    put_be32(p + VD_M_TABLE, tables + 1);
    (void)put_record(p + VD_ROOT, joliet ? AT_JOLIET_ROOT : AT_ROOT, SECTOR,
                     true, "\0", 1);
    put_spaces(p + VD_TEXTS, VD_DATES - VD_TEXTS, joliet);
    for (unsigned i = 0; i < VD_NR_DATES; i++)
        memset(p + VD_DATES + (size_t)i * VD_DATE, '0', VD_DATE - 1);
    p[VD_STRUCTURE] = 1;
}

int iso9660_make(const char *label, const struct iso_file *files, unsigned nr,
                 uint8_t **image, size_t *len)
{
    uint64_t total = AT_FILES;
    uint32_t at = AT_FILES;
    uint8_t *p, *end;

    assert(nr <= ISO_MAX_FILES && strlen(label) <= ISO_MAX_LABEL);
    for (unsigned i = 0; i < nr; i++) {
        if (files[i].len >= UINT32_MAX)
            return -E2BIG;
        total += sectors(files[i].len);
    }
    if (total >= UINT32_MAX / SECTOR)
        return -E2BIG;
    p = calloc(total, SECTOR);
    if (!p)
        return -ENOMEM;
    for (int joliet = 0; joliet < 2; joliet++) {
        put_descriptor(p, joliet, label, (uint32_t)total);
        put_tables(p, joliet);
        put_folder(p, joliet, files, nr);
    }
    end = p + (size_t)AT_END * SECTOR;
    end[VD_TYPE] = TYPE_END;
    memcpy(end + VD_ID, magic, sizeof(magic));
    end[VD_VERSION] = 1;
    for (unsigned i = 0; i < nr; i++) {
        if (files[i].len)
            memcpy(p + (size_t)at * SECTOR, files[i].data, files[i].len);
        at += sectors(files[i].len);
    }
    *image = p;
    *len = total * SECTOR;
    return 0;
}
