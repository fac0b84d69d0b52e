#ifndef HUSK_MACHINE_ACPI_LOADER_H
#define HUSK_MACHINE_ACPI_LOADER_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

/*
 * The script by which firmware places ACPI tables where it likes (QEMU:
 * hw/acpi/bios-linker-loader.c has the format): put two files into memory,
 * make offsets in them into addresses, sum again.
 */
#define ACPI_LOADER_RSDP   "etc/acpi/rsdp"
#define ACPI_LOADER_TABLES "etc/acpi/tables"

enum { ACPI_LOADER_MAX = 8192 };

/*
 * tables: what acpi_build wrote for address 0, root pointer first, len bytes.
 * Writes the script, which is for two files: the root pointer alone, and all of
 * tables, both to be taken from there afterwards: the checksums that the script
 * has made anew are 0 in them. Returns its length, or -ENOSPC if size is too
 * small.
 */
MUST_CHECK long acpi_loader_build(uint8_t *tables, size_t len, uint8_t *buf,
                                  size_t size);

#endif
