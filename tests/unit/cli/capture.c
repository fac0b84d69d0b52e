#include "tests/unit/cli/capture.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/unit/test.h"

static struct {
    int fd, kept, file;
} capture;

void capture_begin(int fd)
{
    (void)fflush(NULL);
    capture.fd = fd;
    capture.kept = dup(fd);
    capture.file = memfd_create("capture", MFD_CLOEXEC);
    assert_true(capture.kept >= 0 && capture.file >= 0);
    assert_true(dup2(capture.file, fd) >= 0);
}

char *capture_end(void)
{
    off_t len;
    char *text;

    (void)fflush(NULL);
    assert_true(dup2(capture.kept, capture.fd) >= 0);
    (void)close(capture.kept);
    len = lseek(capture.file, 0, SEEK_END);
    assert_true(len >= 0);
    text = calloc(1, (size_t)len + 1);
    assert_non_null(text);
    assert_int_equal(pread(capture.file, text, (size_t)len, 0), len);
    (void)close(capture.file);
    return text;
}
