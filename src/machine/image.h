#ifndef HUSK_MACHINE_IMAGE_H
#define HUSK_MACHINE_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"

/*
 * A file that the machine boots from. It stays open, so that a reset can load
 * it again without looking at paths; its bytes are held only while they are
 * loaded.
 */
struct image {
    int fd;           /* -1 = none */
    const char *what; /* "kernel", "initrd": static */
    const char *path; /* borrowed: for error sentences */
};

/* Open a regular file (-errno with err). Close with image_close. */
MUST_CHECK int image_open(struct image *img, const char *what, const char *path,
                          struct err *err);
void image_close(struct image *img);

/* Read all of it; caller frees *buf. -EFBIG if it is over max bytes. */
MUST_CHECK int image_read(const struct image *img, size_t max, uint8_t **buf,
                          size_t *len, struct err *err);

#endif
