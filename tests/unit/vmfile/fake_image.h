#ifndef HUSK_TESTS_UNIT_VMFILE_FAKE_IMAGE_H
#define HUSK_TESTS_UNIT_VMFILE_FAKE_IMAGE_H

#include <stdint.h>

/*
 * The first cluster of a qcow2 image, in memory: a header, the extensions that
 * the caller adds, and nothing behind. Enough for whoever walks the header.
 */

/* A file with a version-3 header and clusters of 64 KiB. */
int fake_image(void);
/* The same with husk's extension, that has this text, behind another. */
int fake_vm(const char *text);
/* Put an extension at off; returns the offset behind it. */
uint64_t fake_extension(int fd, uint64_t off, uint32_t type, const void *data,
                        uint32_t len);
/* Another open file description of the same file. */
int fake_again(int fd);

void fake_write(int fd, uint64_t off, const void *buf, uint32_t len);
void fake_write32(int fd, uint64_t off, uint32_t value);
uint8_t fake_byte(int fd, uint64_t off);

#endif
