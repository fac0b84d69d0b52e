#ifndef HUSK_MACHINE_BOOT_MULTIBOOT_H
#define HUSK_MACHINE_BOOT_MULTIBOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Is there a valid Multiboot 1 header in the first 8 KiB? */
bool boot_multiboot_probe(const uint8_t *buf, size_t len);

#endif
