/*
 * What servers send: the first byte chooses a list of sums, or a compressed
 * file of one kind. Any list has a sum for a name or none; any file is unpacked
 * to at most so many bytes, or refused.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fetch/sum.h"
#include "fetch/unpack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_OUT = 4 << 20 };

static void use_list(const uint8_t *data, size_t size)
{
    char *copy = malloc(size ? size : 1);
    struct sum s;

    assert(copy);
    memcpy(copy, data, size);
    (void)!sum_find(copy, size, "a.img", &s);
    (void)!sum_parse(copy, size, &s);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct unpack u = {.name = "fuzz", .max = MAX_OUT};
    struct err err;
    struct stat st;

    if (size < 1)
        return 0;
    u.kind = (enum unpack_kind)(data[0] % 5);
    if (u.kind == UNPACK_NONE) {
        use_list(data + 1, size - 1);
        return 0;
    }
    u.in = memfd_create("in", MFD_CLOEXEC);
    u.out = memfd_create("out", MFD_CLOEXEC);
    assert(u.in >= 0 && u.out >= 0);
    assert(pwrite(u.in, data + 1, size - 1, 0) == (ssize_t)size - 1);
    if (unpack_file(&u, &err) == 0)
        assert(fstat(u.out, &st) == 0 && st.st_size <= MAX_OUT);
    (void)close(u.in);
    (void)close(u.out);
    return 0;
}
