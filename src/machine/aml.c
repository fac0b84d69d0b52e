#include "machine/aml.h"

#include <assert.h>
#include <string.h>

#include "base/endian.h"

enum {
    OP_ZERO = 0x00,
    OP_ONE = 0x01,
    OP_NAME = 0x08,
    OP_BYTE = 0x0a,
    OP_WORD = 0x0b,
    OP_DWORD = 0x0c,
    OP_STRING = 0x0d,
    OP_QWORD = 0x0e,
    OP_SCOPE = 0x10,
    OP_BUFFER = 0x11,
    OP_PACKAGE = 0x12,
    OP_METHOD = 0x14,
    OP_EXT = 0x5b,
    OP_EXT_DEVICE = 0x82,
    OP_ARG0 = 0x68,
    OP_STORE = 0x70,
    OP_IF = 0xa0,
    OP_RETURN = 0xa4
};

/* Room for the longest package length (ACPI 6.5, 20.2.4): reserved when
 * something is opened, the unused part closed up at its end. */
enum { PKG_LEN_MAX = 4 };

/* Small and large resource descriptors (ACPI 6.5, 6.4.2 and 6.4.3) */
enum {
    RES_IRQ = 0x22,
    RES_IO = 0x47,
    RES_END_TAG = 0x79,
    RES_MEMORY32_FIXED = 0x86,
    RES_DWORD_SPACE = 0x87,
    RES_WORD_SPACE = 0x88,
    RES_QWORD_SPACE = 0x8a
};
enum { SPACE_MEMORY = 0, SPACE_IO = 1, SPACE_BUS = 2 };
/* Producer, positive decode, minimum and maximum fixed */
enum { SPACE_FLAGS = 0x0c };
enum { IO_ENTIRE_RANGE = 0x03, MEM_RW = 0x01, MEM_CACHEABLE = 0x02 };

void aml_init(struct aml *a, void *buf, size_t cap)
{
    *a = (struct aml){.buf = buf, .cap = cap};
}

static void put(struct aml *a, const void *p, size_t len)
{
    if (a->failed || len > a->cap - a->len) {
        a->failed = true;
        return;
    }
    memcpy(a->buf + a->len, p, len);
    a->len += len;
}

static void put8(struct aml *a, unsigned val)
{
    uint8_t b = (uint8_t)val;

    put(a, &b, 1);
}

static void put_word(struct aml *a, unsigned val)
{
    uint8_t b[2];

    put_le16(b, (uint16_t)val);
    put(a, b, sizeof(b));
}

static void put_dword(struct aml *a, uint32_t val)
{
    uint8_t b[4];

    put_le32(b, val);
    put(a, b, sizeof(b));
}

static void put_qword(struct aml *a, uint64_t val)
{
    uint8_t b[8];

    put_le64(b, val);
    put(a, b, sizeof(b));
}

static void put_name(struct aml *a, const char *name)
{
    assert(strlen(name) == (*name == '\\' ? 5 : 4));
    put(a, name, strlen(name));
}

static size_t begin(struct aml *a)
{
    static const uint8_t room[PKG_LEN_MAX] = {0};
    size_t mark = a->len;

    put(a, room, sizeof(room));
    return mark;
}

/* The length counts its own bytes. */
static unsigned encode_pkg_len(uint8_t *b, size_t body)
{
    size_t len = body + 1;
    unsigned more = 0;

    if (len < 0x40) {
        b[0] = (uint8_t)len;
        return 1;
    }
    for (len = body + 2, more = 1; len >> (4 + 8 * more); more++)
        len++;
    b[0] = (uint8_t)(more << 6 | (len & 0xf));
    for (unsigned i = 1; i <= more; i++)
        b[i] = (uint8_t)(len >> (8 * i - 4));
    return more + 1;
}

void aml_end(struct aml *a, size_t mark)
{
    size_t body;
    unsigned used;

    if (a->failed)
        return;
    body = a->len - mark - PKG_LEN_MAX;
    used = encode_pkg_len(a->buf + mark, body);
    memmove(a->buf + mark + used, a->buf + mark + PKG_LEN_MAX, body);
    a->len -= PKG_LEN_MAX - used;
}

size_t aml_scope(struct aml *a, const char *name)
{
    size_t mark;

    put8(a, OP_SCOPE);
    mark = begin(a);
    put_name(a, name);
    return mark;
}

size_t aml_device(struct aml *a, const char *name)
{
    size_t mark;

    put8(a, OP_EXT);
    put8(a, OP_EXT_DEVICE);
    mark = begin(a);
    put_name(a, name);
    return mark;
}

size_t aml_method(struct aml *a, const char *name, unsigned args)
{
    size_t mark;

    put8(a, OP_METHOD);
    mark = begin(a);
    put_name(a, name);
    put8(a, args); /* not serialised */
    return mark;
}

size_t aml_package(struct aml *a, unsigned nr)
{
    size_t mark;

    put8(a, OP_PACKAGE);
    mark = begin(a);
    put8(a, nr);
    return mark;
}

size_t aml_if(struct aml *a, const char *name)
{
    size_t mark;

    put8(a, OP_IF);
    mark = begin(a);
    put_name(a, name);
    return mark;
}

void aml_name(struct aml *a, const char *name)
{
    put8(a, OP_NAME);
    put_name(a, name);
}

void aml_int(struct aml *a, uint64_t val)
{
    if (val <= 1) {
        put8(a, val ? OP_ONE : OP_ZERO);
    } else if (val <= UINT8_MAX) {
        put8(a, OP_BYTE);
        put8(a, (unsigned)val);
    } else if (val <= UINT16_MAX) {
        put8(a, OP_WORD);
        put_word(a, (unsigned)val);
    } else if (val <= UINT32_MAX) {
        put8(a, OP_DWORD);
        put_dword(a, (uint32_t)val);
    } else {
        put8(a, OP_QWORD);
        put_qword(a, val);
    }
}

void aml_string(struct aml *a, const char *s)
{
    put8(a, OP_STRING);
    put(a, s, strlen(s) + 1);
}

static unsigned hex_digit(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'A') + 10;
}

/* ACPI 6.5, 19.3.4 (EISAID): three letters of 5 bits, four hex digits, stored
 * big-endian. */
void aml_eisaid(struct aml *a, const char *id)
{
    uint32_t val = 0;

    assert(strlen(id) == 7);
    for (unsigned i = 0; i < 3; i++)
        val = val << 5 | (uint32_t)(id[i] - '@');
    for (unsigned i = 3; i < 7; i++)
        val = val << 4 | hex_digit(id[i]);
    put8(a, OP_DWORD);
    put_dword(a, __builtin_bswap32(val));
}

void aml_return(struct aml *a)
{
    put8(a, OP_RETURN);
}

void aml_ref(struct aml *a, const char *name)
{
    put_name(a, name);
}

void aml_store_arg(struct aml *a, unsigned arg, const char *name)
{
    put8(a, OP_STORE);
    put8(a, OP_ARG0 + arg);
    put_name(a, name);
}

/* --- Resources ----------------------------------------------------------- */

/* Buffer (size) { ... }: the size is a word constant that is filled in at the
 * end. */
size_t aml_resources(struct aml *a)
{
    size_t mark;

    put8(a, OP_BUFFER);
    mark = begin(a);
    put8(a, OP_WORD);
    put_word(a, 0);
    return mark;
}

void aml_res_end(struct aml *a, size_t mark)
{
    size_t first = mark + PKG_LEN_MAX + 3;

    put8(a, RES_END_TAG);
    put8(a, 0); /* no checksum */
    if (!a->failed)
        put_le16(a->buf + first - 2, (uint16_t)(a->len - first));
    aml_end(a, mark);
}

void aml_res_io(struct aml *a, uint16_t base, uint8_t len)
{
    put8(a, RES_IO);
    put8(a, 1); /* decodes 16 bits */
    put_word(a, base);
    put_word(a, base);
    put8(a, 1);
    put8(a, len);
}

/* Without the flag byte: edge-triggered, active high, exclusive. */
void aml_res_irq(struct aml *a, unsigned irq)
{
    put8(a, RES_IRQ);
    put_word(a, 1u << irq);
}

void aml_res_memory(struct aml *a, uint32_t base, uint32_t len)
{
    put8(a, RES_MEMORY32_FIXED);
    put_word(a, 9);
    put8(a, MEM_RW);
    put_dword(a, base);
    put_dword(a, len);
}

static void word_space(struct aml *a, unsigned type, unsigned flags,
                       uint16_t first, uint16_t last)
{
    put8(a, RES_WORD_SPACE);
    put_word(a, 13);
    put8(a, type);
    put8(a, SPACE_FLAGS);
    put8(a, flags);
    put_word(a, 0); /* granularity */
    put_word(a, first);
    put_word(a, last);
    put_word(a, 0); /* translation */
    put_word(a, (unsigned)(last - first + 1));
}

void aml_res_bus_range(struct aml *a, uint16_t first, uint16_t last)
{
    word_space(a, SPACE_BUS, 0, first, last);
}

void aml_res_io_range(struct aml *a, uint16_t first, uint16_t last)
{
    word_space(a, SPACE_IO, IO_ENTIRE_RANGE, first, last);
}

void aml_res_memory_range(struct aml *a, uint32_t first, uint32_t last,
                          bool cacheable)
{
    put8(a, RES_DWORD_SPACE);
    put_word(a, 23);
    put8(a, SPACE_MEMORY);
    put8(a, SPACE_FLAGS);
    put8(a, MEM_RW | (cacheable ? MEM_CACHEABLE : 0u));
    put_dword(a, 0);
    put_dword(a, first);
    put_dword(a, last);
    put_dword(a, 0);
    put_dword(a, last - first + 1);
}

void aml_res_memory64_range(struct aml *a, uint64_t first, uint64_t last)
{
    put8(a, RES_QWORD_SPACE);
    put_word(a, 43);
    put8(a, SPACE_MEMORY);
    put8(a, SPACE_FLAGS);
    put8(a, MEM_RW | MEM_CACHEABLE);
    put_qword(a, 0);
    put_qword(a, first);
    put_qword(a, last);
    put_qword(a, 0);
    put_qword(a, last - first + 1);
}
