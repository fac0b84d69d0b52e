#ifndef HUSK_BASE_ENDIAN_H
#define HUSK_BASE_ENDIAN_H

#include <stdint.h>
#include <string.h>

/*
 * Numbers in file formats, tables and packets, at any alignment. The host is
 * little-endian.
 */

static inline uint16_t get_le16(const void *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

static inline void put_le16(void *p, uint16_t v)
{
    memcpy(p, &v, sizeof(v));
}

static inline uint32_t get_le32(const void *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

static inline void put_le32(void *p, uint32_t v)
{
    memcpy(p, &v, sizeof(v));
}

static inline uint64_t get_le64(const void *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

static inline void put_le64(void *p, uint64_t v)
{
    memcpy(p, &v, sizeof(v));
}

static inline uint16_t get_be16(const void *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof(v));
    return __builtin_bswap16(v);
}

static inline void put_be16(void *p, uint16_t v)
{
    v = __builtin_bswap16(v);
    memcpy(p, &v, sizeof(v));
}

static inline uint32_t get_be32(const void *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return __builtin_bswap32(v);
}

static inline void put_be32(void *p, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(p, &v, sizeof(v));
}

static inline uint64_t get_be64(const void *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return __builtin_bswap64(v);
}

static inline void put_be64(void *p, uint64_t v)
{
    v = __builtin_bswap64(v);
    memcpy(p, &v, sizeof(v));
}

#endif
