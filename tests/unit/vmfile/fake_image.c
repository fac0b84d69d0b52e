#include "tests/unit/vmfile/fake_image.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/endian.h"
#include "tests/unit/test.h"
#include "vmfile/slots.h"

enum { CLUSTER_BITS = 16, CLUSTER = 1 << CLUSTER_BITS, HEADER = 112 };

void fake_write(int fd, uint64_t off, const void *buf, uint32_t len)
{
    assert_int_equal(pwrite(fd, buf, len, (off_t)off), len);
}

void fake_write32(int fd, uint64_t off, uint32_t value)
{
    uint8_t b[4];

    put_be32(b, value);
    fake_write(fd, off, b, sizeof(b));
}

uint8_t fake_byte(int fd, uint64_t off)
{
    uint8_t b = 0;

    assert_int_equal(pread(fd, &b, 1, (off_t)off), 1);
    return b;
}

int fake_image(void)
{
    int fd = memfd_create("image", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, CLUSTER), 0);
    fake_write(fd, 0, "QFI\xfb", 4);
    fake_write32(fd, 4, 3);
    fake_write32(fd, 20, CLUSTER_BITS);
    fake_write32(fd, 100, HEADER);
    return fd;
}

uint64_t fake_extension(int fd, uint64_t off, uint32_t type, const void *data,
                        uint32_t len)
{
    fake_write32(fd, off, type);
    fake_write32(fd, off + 4, len);
    fake_write(fd, off + 8, data, len);
    return off + 8 + ((len + 7) & ~7u);
}

int fake_vm(const char *text)
{
    uint8_t *ext = malloc(SLOTS_LENGTH);
    int fd = fake_image();
    uint64_t off = fake_extension(fd, HEADER, 0x6803f857, "features", 8);
    struct err err;

    assert_non_null(ext);
    assert_int_equal(slots_format(ext, text, strlen(text), &err), 0);
    (void)fake_extension(fd, off, SLOTS_EXTENSION, ext, SLOTS_LENGTH);
    free(ext);
    return fd;
}

int fake_again(int fd)
{
    char path[32];
    int again;

    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    again = open(path, O_RDWR | O_CLOEXEC);
    assert_true(again >= 0);
    return again;
}
