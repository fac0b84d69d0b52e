#ifndef HUSK_MACHINE_BOOTCHOICE_H
#define HUSK_MACHINE_BOOTCHOICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "machine/firmware.h"

/*
 * Which firmware a disk was made for, told by its first sectors and its
 * partition table (UEFI 2.10, 5.2 and 5.3); or a CD, by its boot catalogue (El
 * Torito 1.0). They are hostile: nothing that is there is believed but for this
 * choice.
 */
struct bootchoice {
    enum firmware_kind firmware;
    bool boots;    /* there is something to boot at all */
    char why[128]; /* what was found: a phrase for a person */
};

enum { BOOTCHOICE_SECTOR = 512, BOOTCHOICE_MAX_ENTRIES = 1024 };

/* Fill buf with len bytes of the disk at off, which all lie in it. 0, or less
 * if they cannot be read. */
typedef int bootchoice_read_fn(void *opaque, uint64_t off, void *buf,
                               uint64_t len);

/* Look at a disk of size bytes, or at a CD. */
void bootchoice_look(bootchoice_read_fn *read, void *opaque, uint64_t size,
                     struct bootchoice *out);
void bootchoice_look_cd(bootchoice_read_fn *read, void *opaque, uint64_t size,
                        struct bootchoice *out);

#endif
