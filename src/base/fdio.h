#ifndef HUSK_BASE_FDIO_H
#define HUSK_BASE_FDIO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "base/err.h"

/*
 * Whole reads and writes on blocking descriptors: short transfers go on,
 * interrupted ones start again. Any thread.
 */

/* Returns the bytes read, fewer than len only at end of file, or -errno (what
 * was read before the failure is lost). */
MUST_CHECK ssize_t fd_read_full(int fd, void *buf, size_t len);
MUST_CHECK ssize_t fd_pread_full(int fd, void *buf, size_t len, uint64_t off);
/* Returns 0, or -errno after an unknown part was written. */
MUST_CHECK int fd_write_full(int fd, const void *buf, size_t len);
MUST_CHECK int fd_pwrite_full(int fd, const void *buf, size_t len,
                              uint64_t off);

/*
 * Read the whole regular file at path into memory; caller frees *buf. Refuses
 * directories, devices and pipes (-EINVAL), empty files (-EINVAL) and those
 * over max bytes (-EFBIG), each with a sentence.
 */
MUST_CHECK int fd_read_file(const char *path, size_t max, uint8_t **buf,
                            size_t *len, struct err *err);

#endif
