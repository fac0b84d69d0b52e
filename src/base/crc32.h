#ifndef HUSK_BASE_CRC32_H
#define HUSK_BASE_CRC32_H

#include <stddef.h>
#include <stdint.h>

/*
 * CRC-32 as in Ethernet and gzip (polynomial 0x04c11db7 reflected; RFC 1952,
 * 8). Pass 0 first, then the last result to go on. Finds damage, not forgery.
 */
uint32_t crc32_update(uint32_t crc, const void *buf, size_t len);

#endif
