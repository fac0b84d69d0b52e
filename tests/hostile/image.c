#include "image.h"

#include <string.h>
#include <zlib.h>

#include "base/endian.h"

void put16(struct image *m, uint64_t off, uint64_t v)
{
    put_be16(m->d + off, (uint16_t)v);
}

void put32(struct image *m, uint64_t off, uint64_t v)
{
    put_be32(m->d + off, (uint32_t)v);
}

void put64(struct image *m, uint64_t off, uint64_t v)
{
    put_be64(m->d + off, v);
}

void put_count(struct image *m, unsigned cluster, uint64_t v)
{
    put16(m, IMG_REFBLOCK * CL + cluster * 2, v);
}

static void put_header(struct image *m)
{
    put32(m, 0, 0x514649fb);
    put32(m, 4, 3);
    put32(m, 20, 12);
    put64(m, 24, 4 << 20); /* two L2 tables of 512 clusters */
    put32(m, 36, 2);
    put64(m, 40, IMG_L1 * CL);
    put64(m, 48, IMG_REFTABLE * CL);
    put32(m, 56, 1);
    put32(m, 60, 1);
    put64(m, 64, IMG_SNAPS * CL);
    put32(m, 96, 4);
    put32(m, 100, 104);
}

static void put_snapshot(struct image *m)
{
    uint64_t at = IMG_SNAPS * CL;

    put64(m, at, IMG_SNAP_L1 * CL);
    put32(m, at + 8, 2);
    put16(m, at + 12, 1);
    put16(m, at + 14, 4);
    put32(m, at + 36, 16);
    put64(m, at + 48, 4 << 20);
    memcpy(m->d + at + 56, "1snap", 5);
    put64(m, IMG_SNAP_L1 * CL, IMG_L2 * CL);
}

/* Guest cluster 600: a cluster of 'z', deflated. */
static void put_packed(struct image *m)
{
    uint8_t plain[CL];
    z_stream z = {.next_in = plain,
                  .avail_in = CL,
                  .next_out = m->d + IMG_PACKED * CL,
                  .avail_out = CL};

    memset(plain, 'z', sizeof(plain));
    (void)deflateInit2(&z, 9, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY);
    (void)deflate(&z, Z_FINISH);
    (void)deflateEnd(&z);
    put64(m, IMG_L2B * CL + (600 - 512) * 8, 1ULL << 62 | IMG_PACKED * CL);
}

void image_make(struct image *m)
{
    const uint64_t copied = 1ULL << 63;
    unsigned i;

    memset(m, 0, sizeof(*m));
    m->size = IMG_ROOM;
    put_header(m);
    put64(m, IMG_REFTABLE * CL, IMG_REFBLOCK * CL);
    for (i = 0; i < IMG_CLUSTERS; i++)
        put_count(m, i, 1);
    /* The snapshot shares the first L2 table and two clusters of data. */
    put_count(m, IMG_L2, 2);
    put64(m, IMG_L1 * CL, IMG_L2 * CL);
    put64(m, IMG_L1 * CL + 8, copied | IMG_L2B * CL);
    for (i = 0; i < 2; i++) {
        put_count(m, IMG_DATA + i, 2);
        put64(m, IMG_L2 * CL + i * 8, (IMG_DATA + i) * CL);
        put64(m, IMG_L2B * CL + i * 8, copied | (IMG_DATA + 2 + i) * CL);
    }
    for (i = 0; i < 4; i++)
        memset(m->d + (IMG_DATA + i) * CL, 'a' + (int)i, CL);
    put_snapshot(m);
    put_packed(m);
}

void put_backing(struct image *m, const char *name, const char *format)
{
    uint64_t at = IMG_EXT;

    if (format) {
        put32(m, at, 0xe2792aca);
        put32(m, at + 4, strlen(format));
        memcpy(m->d + at + 8, format, strlen(format));
        at += 8 + ((strlen(format) + 7) & ~7ULL);
    }
    put64(m, at, 0);
    at += 8;
    put64(m, 8, at);
    put32(m, 16, strlen(name));
    memcpy(m->d + at, name, strlen(name));
}
