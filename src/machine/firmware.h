#ifndef HUSK_MACHINE_FIRMWARE_H
#define HUSK_MACHINE_FIRMWARE_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "machine/image.h"

/* Firmware for the PC, as distributions package it, unmodified. */
enum firmware_kind {
    FIRMWARE_NONE, /* a kernel is booted directly */
    FIRMWARE_BIOS, /* SeaBIOS */
    FIRMWARE_UEFI, /* OVMF */
    FIRMWARE_NR_KINDS
};

/* The largest that goes below 4 GiB, and what it is a multiple of. */
enum { FIRMWARE_MAX = 8 << 20, FIRMWARE_UNIT = 4096 };

/* Find and open the file. -ENOENT with err: it names the package. */
MUST_CHECK int firmware_open(struct image *img, enum firmware_kind kind,
                             struct err *err);
/* The same for the variables that UEFI firmware begins with. */
MUST_CHECK int firmware_open_vars(struct image *img, struct err *err);
/* The same for the video BIOS. */
MUST_CHECK int firmware_open_vgabios(struct image *img, struct err *err);
/* Its size. -EINVAL with err if it is no such firmware by its size. */
MUST_CHECK int firmware_size(const struct image *img, size_t *size,
                             struct err *err);

#endif
