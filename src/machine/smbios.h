#ifndef HUSK_MACHINE_SMBIOS_H
#define HUSK_MACHINE_SMBIOS_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

/*
 * System description for firmware to place (SMBIOS 2.8): an entry point whose
 * table address and sums the firmware fills in, and the structures.
 */
enum { SMBIOS_ANCHOR_SIZE = 31, SMBIOS_TABLES_MAX = 2048 };

struct smbios_config {
    unsigned cpus;
    uint64_t low, high; /* bytes of memory below and above 4 GiB */
};

/* Returns the length of the structures in tables (SMBIOS_TABLES_MAX bytes). */
size_t smbios_build(const struct smbios_config *cfg,
                    uint8_t anchor[SMBIOS_ANCHOR_SIZE],
                    uint8_t tables[SMBIOS_TABLES_MAX]);

#endif
