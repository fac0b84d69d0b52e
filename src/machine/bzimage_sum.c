#include "machine/bzimage_sum.h"

#include "base/endian.h"

/* Eight bytes at a time (slicing by eight): images have many megabytes, and
 * each is checked once, before it boots. */
enum { SLICES = 8 };

struct crc {
    uint32_t table[SLICES][256];
    uint32_t val;
};

#define POLYNOMIAL 0xedb88320u /* of IEEE 802.3, reflected */

static void crc_init(struct crc *c)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t r = i;

        for (unsigned bit = 0; bit < 8; bit++)
            r = r >> 1 ^ (r & 1 ? POLYNOMIAL : 0);
        c->table[0][i] = r;
    }
    for (unsigned s = 1; s < SLICES; s++)
        for (unsigned i = 0; i < 256; i++) {
            uint32_t r = c->table[s - 1][i];

            c->table[s][i] = r >> 8 ^ c->table[0][r & 0xff];
        }
    c->val = UINT32_MAX;
}

static void crc_byte(struct crc *c, uint8_t b)
{
    c->val = c->val >> 8 ^ c->table[0][(c->val ^ b) & 0xff];
}

static void crc_zeroes(struct crc *c, size_t n)
{
    while (n-- > 0)
        crc_byte(c, 0);
}

static void crc_bytes(struct crc *c, const uint8_t *p, size_t len)
{
    for (; len >= SLICES; p += SLICES, len -= SLICES) {
        uint64_t w = get_le64(p) ^ c->val;

        c->val = 0;
        for (unsigned i = 0; i < SLICES; i++)
            c->val ^= c->table[SLICES - 1 - i][w >> (8 * i) & 0xff];
    }
    while (len-- > 0)
        crc_byte(c, *p++);
}

/* Microsoft PE and COFF Specification: where the optional header keeps its
 * checksum and the place of the certificates (data directory 4). */
enum {
    DOS_PE_OFFSET = 0x3c,
    PE_OPTIONAL = 0x18,
    OPTIONAL_CHECKSUM = 64,
    PE32_DIRECTORY = 96,
    PE32PLUS_DIRECTORY = 112,
    CERTIFICATES = 4 * 8
};
#define PE32PLUS_MAGIC 0x20bu

/* Where those two fields are; false if it is no EFI image. */
static bool find_signature(const uint8_t *buf, size_t len, size_t *checksum,
                           size_t *certificates)
{
    size_t pe, opt;

    if (len < DOS_PE_OFFSET + 4 || buf[0] != 'M' || buf[1] != 'Z')
        return false;
    pe = get_le32(buf + DOS_PE_OFFSET);
    if (pe > len || len - pe < 256 || get_le32(buf + pe) != 0x4550)
        return false;
    opt = pe + PE_OPTIONAL;
    *checksum = opt + OPTIONAL_CHECKSUM;
    *certificates = opt + CERTIFICATES +
                    (get_le16(buf + opt) == PE32PLUS_MAGIC ? PE32PLUS_DIRECTORY
                                                           : PE32_DIRECTORY);
    return true;
}

bool bzimage_sum_ok(const uint8_t *buf, size_t len)
{
    struct crc c;
    size_t sum = 0, cert = 0;

    crc_init(&c);
    if (!find_signature(buf, len, &sum, &cert)) {
        crc_bytes(&c, buf, len);
        return c.val == 0;
    }
    crc_bytes(&c, buf, sum);
    crc_zeroes(&c, 4);
    crc_bytes(&c, buf + sum + 4, cert - sum - 4);
    crc_zeroes(&c, 8);
    crc_bytes(&c, buf + cert + 8, len - cert - 8);
    return c.val == 0;
}
