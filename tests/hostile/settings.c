#include "settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"

enum {
    MAGIC = 0x6875736b,
    EXTENSION = 59904,
    HEAD = 28,
    SLOT = 4096,
    SLOT_STEP = 27648,
    SLOT_LEN = 23 * 1024,
    TEXT_MAX = SLOT_LEN - 16
};

static const uint32_t wild[] = {0,          1,          3,          15,
                                0x10000,    0x7fffffff, 0x80000000, 0xfffffff0,
                                0xffffffff, 59904,      59903};

enum { WILD = sizeof(wild) / sizeof(wild[0]), HEAD_FIELDS = 5 };

/* CRC-32C: RFC 3720, appendix B.4. */
static uint32_t crc32c(uint32_t crc, const uint8_t *p, uint64_t len)
{
    unsigned i;

    crc = ~crc;
    while (len--) {
        crc ^= *p++;
        for (i = 0; i < 8; i++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78U : 0);
    }
    return ~crc;
}

static uint8_t *find_extension(uint8_t *d, uint64_t len)
{
    uint64_t at = get_be32(d + 100);

    while (at + 8 <= len) {
        uint32_t magic = get_be32(d + at), n = get_be32(d + at + 4);

        if (!magic || at + 8 + n > len)
            return NULL;
        if (magic == MAGIC)
            return n >= EXTENSION ? d + at + 8 : NULL;
        at += 8 + ((n + 7ULL) & ~7ULL);
    }
    return NULL;
}

static void seal_head(uint8_t *x)
{
    put_be32(x + HEAD, crc32c(0, x, HEAD));
}

/* Both slots hold the text, the second one of a later generation. */
static void put_text(uint8_t *x, const char *text, uint32_t len)
{
    unsigned i;

    if (len > TEXT_MAX)
        len = TEXT_MAX;
    for (i = 0; i < 2; i++) {
        uint8_t *slot = x + SLOT + i * SLOT_STEP;

        put_be64(slot, 100 + i);
        put_be32(slot + 8, len);
        memcpy(slot + 16, text, len);
        put_be32(slot + 12, crc32c(crc32c(0, slot, 12), slot + 16, len));
    }
}

/* The text that counts, with the value of a key replaced. */
static const char *const values[] = {
    "-1",
    "0",
    "1e400",
    "99999999999999999999999999",
    "1.5",
    "null",
    "true",
    "\"\"",
    "\"x\\u0000y\"",
    "\"../../../../etc/passwd\"",
    "\"\\u001b[2J\\u0007\"",
    "[]",
    "{}",
    "[[[[[[[[[[]]]]]]]]]]",
    "\"\xff\xfe\"",
    "9223372036854775807",
    "18446744073709551615",
    "\"/dev/zero\"",
    "[{\"file\":\"/dev/zero\"},{\"file\":\"self.qcow2\"},{\"file\":5},null]"};
static const char *const keys[] = {"name",  "uuid",    "cpus",      "memory",
                                   "disks", "network", "boot",      "labels",
                                   "cpu",   "created", "protected", "schema"};

enum {
    VALUES = sizeof(values) / sizeof(values[0]),
    KEYS = sizeof(keys) / sizeof(keys[0])
};

static void put_value(uint8_t *x, const char *key, const char *value)
{
    const uint8_t *slot = x + SLOT;
    uint32_t len;
    char *text = malloc(2 * TEXT_MAX);
    int n;

    if (get_be64(slot + SLOT_STEP) > get_be64(slot))
        slot += SLOT_STEP;
    len = get_be32(slot + 8);
    if (!text)
        abort();
    n = snprintf(text, TEXT_MAX, "{\"%s\": %s", key, value);
    /* A key that is there twice: either may count, none may harm. */
    if (len > 1 && len < TEXT_MAX - 4096) {
        text[n++] = ',';
        memcpy(text + n, slot + 17, len - 1);
        n += (int)len - 1;
    } else {
        text[n++] = '}';
    }
    put_text(x, text, (uint32_t)n);
    free(text);
}

/* -- Texts that are no settings at all
 * ----------------------------------------- */

static void repeat(uint8_t *x, const char *piece)
{
    char *text = malloc(TEXT_MAX);
    size_t len = strlen(piece), at;

    if (!text)
        abort();
    for (at = 0; at + len <= TEXT_MAX; at += len)
        memcpy(text + at, piece, len);
    put_text(x, text, (uint32_t)at);
    free(text);
}

static const char *const pieces[] = {"[",
                                     "{\"a\":",
                                     "{\"a\":[",
                                     "\"",
                                     "1",
                                     " ",
                                     "\xf0\x9f",
                                     "{}",
                                     "\\u",
                                     "-",
                                     "{\"disks\":[{\"disks\":["};

enum { PIECES = sizeof(pieces) / sizeof(pieces[0]) };

static const char *const texts[] = {"",
                                    "{",
                                    "}",
                                    "null",
                                    "[]",
                                    "0",
                                    "\"name\"",
                                    "{}",
                                    "{}x",
                                    "{\"name\":\"a\"",
                                    "{\"name\":\"a\",\"name\":\"b\"}",
                                    "\xef\xbb\xbf{}",
                                    "{\"\\ud800\":1}"};

enum {
    TEXTS = sizeof(texts) / sizeof(texts[0]),
    SLOT_CASES = 8,
    ALL = HEAD_FIELDS * WILD + SLOT_CASES + KEYS * VALUES + PIECES + TEXTS
};

unsigned settings_cases(void)
{
    return ALL;
}

/* The slots themselves. */
static bool slot_case(uint8_t *x, unsigned i)
{
    uint8_t *a = x + SLOT, *b = a + SLOT_STEP;

    switch (i) {
    case 0: memset(a, 0, 16), memset(b, 0, 16); return true;
    case 1: memset(a, 0xff, SLOT_LEN), memset(b, 0xff, SLOT_LEN); return true;
    case 2: put_be32(a + 8, TEXT_MAX + 1), put_be32(b + 8, ~0U); return true;
    case 3: put_be64(a, ~0ULL), put_be64(b, ~0ULL); return true;
    case 4: a[20] ^= 1, b[20] ^= 1; return true;
    case 5: memset(x, 0, 8); return true;
    case 6: x[HEAD] ^= 1; return true;
    default: memset(x, 0, EXTENSION); return true;
    }
}

bool settings_damage(uint8_t *d, uint64_t len, unsigned i, char *name,
                     bool *must_fail)
{
    uint8_t *x = find_extension(d, len);

    *must_fail = false;
    (void)snprintf(name, 100, "settings-%u", i);
    if (!x)
        return false;
    if (i < HEAD_FIELDS * WILD) {
        put_be32(x + 8 + i / WILD * 4, wild[i % WILD]);
        seal_head(x);
        return true;
    }
    i -= HEAD_FIELDS * WILD;
    if (i < SLOT_CASES) {
        *must_fail = slot_case(x, i);
        return true;
    }
    i -= SLOT_CASES;
    if (i < KEYS * VALUES) {
        (void)snprintf(name, 100, "settings-%s-%u", keys[i / VALUES],
                       i % VALUES);
        put_value(x, keys[i / VALUES], values[i % VALUES]);
        return true;
    }
    i -= KEYS * VALUES;
    if (i < PIECES) {
        *must_fail = true;
        (void)snprintf(name, 100, "settings-repeat-%u", i);
        repeat(x, pieces[i]);
        return true;
    }
    i -= PIECES;
    (void)snprintf(name, 100, "settings-text-%u", i);
    put_text(x, texts[i], (uint32_t)strlen(texts[i]));
    return true;
}
