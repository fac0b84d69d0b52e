#include "slotread.h"

#include <stdlib.h>
#include <string.h>

#include "base/endian.h"

enum {
    MAGIC = 0x6875736b,      /* "husk" */
    MARK_MAGIC = 0x68736b31, /* "hsk1" */
    MARK_BYTES = 24,
    HEAD = 32,
    SLOT_HEAD = 16
};

#define CASTAGNOLI 0x82f63b78U /* RFC 3720, appendix B.4 */
#define ETHERNET   0xedb88320U /* RFC 1952, 8 */

static uint32_t crc32_of(uint32_t poly, uint32_t crc, const uint8_t *p,
                         uint64_t len)
{
    unsigned i;

    crc = ~crc;
    while (len--) {
        crc ^= *p++;
        for (i = 0; i < 8; i++)
            crc = crc >> 1 ^ (crc & 1 ? poly : 0);
    }
    return ~crc;
}

static uint32_t crc32c(uint32_t crc, const uint8_t *p, uint64_t len)
{
    return crc32_of(CASTAGNOLI, crc, p, len);
}

uint32_t slotread_crc32c(const uint8_t *p, uint64_t len)
{
    return crc32c(0, p, len);
}

enum slotread_mark slotread_mark(const struct qimg *q)
{
    const struct qextension *x = qimg_extension(q, MARK_MAGIC);
    const uint8_t *d;

    if (!x || x->len < MARK_BYTES || !qimg_range_ok(q, x->off, MARK_BYTES))
        return MARK_NONE;
    d = q->data + x->off;
    return get_be32(d) == 1 &&
                   get_be32(d + 4) == crc32_of(ETHERNET, 0, d + 8, 16) &&
                   get_be64(d + 8) == q->size
               ? MARK_SHUT
               : MARK_OPEN;
}

static bool read_slot(const uint8_t *slot, uint32_t room, struct slotread *s)
{
    uint32_t crc;

    s->generation = get_be64(slot);
    s->len = get_be32(slot + 8);
    s->text = slot + SLOT_HEAD;
    if (!s->generation || s->len > room - SLOT_HEAD)
        return false;
    crc = crc32c(0, slot, 12);
    return crc32c(crc, s->text, s->len) == get_be32(slot + 12);
}

bool slotread_find(const struct qimg *q, struct slotread *best)
{
    const struct qextension *x = qimg_extension(q, MAGIC);
    uint32_t nr, first, step, len, i;
    struct slotread one;
    const uint8_t *d;
    bool found = false;

    if (!x || x->len < HEAD || !qimg_range_ok(q, x->off, x->len))
        return false;
    d = q->data + x->off;
    if (memcmp(d, "HUSKVM01", 8) || crc32c(0, d, 28) != get_be32(d + 28))
        return false;
    nr = get_be32(d + 8);
    first = get_be32(d + 12);
    step = get_be32(d + 16);
    len = get_be32(d + 20);
    for (i = 0; i < nr && i < 2; i++) {
        uint64_t at = first + (uint64_t)i * step;

        if (len < SLOT_HEAD || at + len > x->len ||
            !read_slot(d + at, len, &one))
            continue;
        if (!found || one.generation > best->generation)
            *best = one;
        found = true;
    }
    return found;
}

bool slotread_tag(const struct qimg *q, uint64_t *tag)
{
    static const char key[] = "\"powercut\":";
    struct slotread s;
    char digits[24];
    const uint8_t *p;
    size_t i;

    if (!slotread_find(q, &s))
        return false;
    p = memmem(s.text, s.len, key, sizeof(key) - 1);
    if (!p)
        return false;
    p += sizeof(key) - 1;
    for (i = 0; i < sizeof(digits) - 1 && p + i < s.text + s.len; i++)
        digits[i] = (char)p[i];
    digits[i] = 0;
    *tag = strtoull(digits, NULL, 10);
    return true;
}
