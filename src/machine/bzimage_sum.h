#ifndef HUSK_MACHINE_BZIMAGE_SUM_H
#define HUSK_MACHINE_BZIMAGE_SUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The checksum at the end of a bzImage (Linux: Documentation/arch/x86/boot.rst,
 * "The Image Checksum"): the CRC-32 of all len bytes of setup and kernel comes
 * out as a constant. A signature for UEFI Secure Boot is added afterwards, so
 * the fields that it changes count as zero.
 */
bool bzimage_sum_ok(const uint8_t *buf, size_t len);

#endif
