#ifndef HUSK_SEED_ISO9660_H
#define HUSK_SEED_ISO9660_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

/*
 * A small CD in memory: one folder of files (ECMA-119), which has their true
 * names by Joliet and in the plain tables what ECMA-119 lets them be.
 */
enum { ISO_MAX_FILES = 16, ISO_MAX_NAME = 24, ISO_MAX_LABEL = 16 };

struct iso_file {
    const char *name; /* ASCII, up to ISO_MAX_NAME bytes */
    const void *data;
    size_t len;
};

/* files are sorted by name. Caller frees *image, of *len bytes, a multiple of
 * 2048. -ENOMEM; -E2BIG: 4 GiB or more. */
MUST_CHECK int iso9660_make(const char *label, const struct iso_file *files,
                            unsigned nr, uint8_t **image, size_t *len);

#endif
