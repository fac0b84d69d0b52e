#include "base/fdio.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/fail_alloc.h"
#include "tests/unit/test.h"

enum { BIG = 300000 }; /* more than a pipe holds */

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    (void)strcpy(dir, "/tmp/husk-fdio-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    return rmdir(dir);
}

static void path_of(char *path, size_t size, const char *name)
{
    assert_true(snprintf(path, size, "%s/%s", dir, name) > 0);
}

static void *write_big(void *opaque)
{
    static const uint8_t data[BIG] = {1, 2, 3};
    int fd = *(int *)opaque;

    assert_int_equal(fd_write_full(fd, data, BIG), 0);
    (void)close(fd);
    return NULL;
}

static void a_pipe_is_read_and_written_whole(void **state)
{
    static uint8_t buf[BIG + 1];
    pthread_t thread;
    int fd[2];

    (void)state;
    assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
    assert_int_equal(pthread_create(&thread, NULL, write_big, &fd[1]), 0);
    assert_int_equal(fd_read_full(fd[0], buf, BIG + 1), BIG);
    assert_int_equal(buf[2], 3);
    assert_int_equal(pthread_join(thread, NULL), 0);
    (void)close(fd[0]);
}

static void positions_do_not_move_the_file_offset(void **state)
{
    char path[100];
    char buf[8] = {0};
    int fd;

    (void)state;
    path_of(path, sizeof(path), "f");
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(fd_pwrite_full(fd, "abcdef", 6, 2), 0);
    assert_int_equal(fd_pread_full(fd, buf, 8, 4), 4);
    assert_memory_equal(buf, "cdef", 4);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
    (void)close(fd);
    assert_int_equal(unlink(path), 0);
}

static void errors_are_returned(void **state)
{
    char c = 0;

    (void)state;
    assert_int_equal(fd_read_full(-1, &c, 1), -EBADF);
    assert_int_equal(fd_write_full(-1, &c, 1), -EBADF);
    assert_int_equal(fd_pread_full(-1, &c, 1, 0), -EBADF);
    assert_int_equal(fd_pwrite_full(-1, &c, 1, 0), -EBADF);
}

static void a_full_device_fails_a_write(void **state)
{
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

    (void)state;
    if (fd < 0)
        skip();
    assert_int_equal(fd_write_full(fd, "x", 1), -ENOSPC);
    (void)close(fd);
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void a_file_is_read_whole(void **state)
{
    char path[100];
    uint8_t *buf = NULL;
    size_t len = 0;
    struct err err;

    (void)state;
    path_of(path, sizeof(path), "f");
    write_file(path, "hello");
    assert_int_equal(fd_read_file(path, 5, &buf, &len, &err), 0);
    assert_int_equal(len, 5);
    assert_memory_equal(buf, "hello", 5);
    free(buf);
    fail_alloc_at(1);
    assert_int_equal(fd_read_file(path, 5, &buf, &len, &err), -ENOMEM);
    assert_int_equal(unlink(path), 0);
}

static void what_is_no_usable_file_is_refused_with_a_sentence(void **state)
{
    char path[100];
    uint8_t *buf = NULL;
    size_t len = 0;
    struct err err;

    (void)state;
    path_of(path, sizeof(path), "f");
    assert_int_equal(fd_read_file(path, 9, &buf, &len, &err), -ENOENT);
    assert_non_null(strstr(err.text, "No such file"));
    assert_int_equal(fd_read_file(dir, 9, &buf, &len, &err), -EINVAL);
    assert_non_null(strstr(err.text, "directory"));
    assert_int_equal(fd_read_file("/dev/null", 9, &buf, &len, &err), -EINVAL);
    assert_non_null(strstr(err.text, "regular file"));
    write_file(path, "");
    assert_int_equal(fd_read_file(path, 9, &buf, &len, &err), -EINVAL);
    assert_non_null(strstr(err.text, "empty"));
    write_file(path, "0123456789");
    assert_int_equal(fd_read_file(path, 9, &buf, &len, &err), -EFBIG);
    assert_int_equal(unlink(path), 0);
    /* Nobody will ever write to it: opening it must not wait. */
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(fd_read_file(path, 9, &buf, &len, &err), -EINVAL);
    assert_int_equal(unlink(path), 0);
    assert_null(buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pipe_is_read_and_written_whole),
        cmocka_unit_test(positions_do_not_move_the_file_offset),
        cmocka_unit_test(errors_are_returned),
        cmocka_unit_test(a_full_device_fails_a_write),
        cmocka_unit_test(a_file_is_read_whole),
        cmocka_unit_test(what_is_no_usable_file_is_refused_with_a_sentence),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
