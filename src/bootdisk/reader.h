#ifndef HUSK_BOOTDISK_READER_H
#define HUSK_BOOTDISK_READER_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

/*
 * Bytes of a disk for those that look for something to boot on it: a function,
 * for they run in another process than the disk.
 */
struct reader {
    /* All of [off, off + len), which lies inside the disk. 0 or -errno. */
    int (*read)(void *opaque, uint64_t off, void *buf, size_t len);
    void *opaque;
    uint64_t size; /* bytes */
};

/* -ERANGE if it reaches beyond the end, else what read says. */
MUST_CHECK int reader_read(const struct reader *r, uint64_t off, void *buf,
                           size_t len);

#endif
