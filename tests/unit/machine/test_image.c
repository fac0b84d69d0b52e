#include "machine/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/test.h"

struct files {
    char dir[64], file[96], fifo[96], missing[96];
};

static void setup(struct files *f)
{
    int fd;

    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/husk-image-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->file, sizeof(f->file), "%s/file", f->dir);
    (void)snprintf(f->fifo, sizeof(f->fifo), "%s/fifo", f->dir);
    (void)snprintf(f->missing, sizeof(f->missing), "%s/missing", f->dir);
    fd = open(f->file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "kernel", 6), 6);
    (void)close(fd);
    assert_int_equal(mkfifo(f->fifo, 0600), 0);
}

static void teardown(const struct files *f)
{
    (void)unlink(f->file);
    (void)unlink(f->fifo);
    (void)rmdir(f->dir);
}

static void only_regular_files_are_opened(void **state)
{
    struct files f;
    struct image img = {.fd = -1};
    struct err err;

    (void)state;
    setup(&f);
    assert_int_equal(image_open(&img, "kernel", f.dir, &err), -EISDIR);
    assert_int_equal(image_open(&img, "kernel", f.fifo, &err), -EINVAL);
    assert_int_equal(image_open(&img, "kernel", "/dev/null", &err), -EINVAL);
    assert_int_equal(image_open(&img, "kernel", f.missing, &err), -ENOENT);
    assert_non_null(strstr(err.text, f.missing));
    assert_int_equal(img.fd, -1);
    teardown(&f);
}

static void a_file_is_read_again_without_its_path(void **state)
{
    struct files f;
    struct image img = {.fd = -1};
    struct err err;
    uint8_t *buf = NULL;
    size_t len = 0;

    (void)state;
    setup(&f);
    assert_int_equal(image_open(&img, "kernel", f.file, &err), 0);
    teardown(&f);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(image_read(&img, 100, &buf, &len, &err), 0);
        assert_int_equal(len, 6);
        assert_memory_equal(buf, "kernel", 6);
        free(buf);
    }
    image_close(&img);
    image_close(&img);
}

static void a_file_over_the_limit_is_refused(void **state)
{
    struct files f;
    struct image img = {.fd = -1};
    struct err err;
    uint8_t *buf = NULL;
    size_t len = 0;

    (void)state;
    setup(&f);
    assert_int_equal(truncate(f.file, (off_t)1 << 40), 0);
    assert_int_equal(image_open(&img, "initrd", f.file, &err), 0);
    assert_int_equal(image_read(&img, 1 << 20, &buf, &len, &err), -EFBIG);
    assert_null(buf);
    assert_int_equal(truncate(f.file, 0), 0);
    assert_int_equal(image_read(&img, 1 << 20, &buf, &len, &err), 0);
    assert_int_equal(len, 0);
    free(buf);
    image_close(&img);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_regular_files_are_opened),
        cmocka_unit_test(a_file_is_read_again_without_its_path),
        cmocka_unit_test(a_file_over_the_limit_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
