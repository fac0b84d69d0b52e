#ifndef HUSK_BASE_CRC32C_H
#define HUSK_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/*
 * CRC-32C (Castagnoli: polynomial 0x1edc6f41 reflected; RFC 3720, 12.1), which
 * finds more of the damage that disks do than crc32.h's. Pass 0 first, then the
 * last result to go on. Finds damage, not forgery.
 */
uint32_t crc32c_update(uint32_t crc, const void *buf, size_t len);

#endif
