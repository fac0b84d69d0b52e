#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/open.h"
#include "block/qcow2.h"
#include "tests/unit/test.h"

enum { SIZE = 1 << 20 };

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    (void)strcpy(dir, "/tmp/husk-backing-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    char command[128];

    (void)state;
    (void)snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command);
}

static const char *path_of(const char *name)
{
    static char path[2][128];
    static unsigned i;

    i ^= 1;
    (void)snprintf(path[i], sizeof(path[i]), "%s/%s", dir, name);
    return path[i];
}

static void make(const char *name, const char *backing, const char *format,
                 uint64_t size)
{
    struct qcow2_create c = {.size = size,
                             .refcount_order = 4,
                             .backing = backing,
                             .backing_format = format};
    struct err err = {0};
    int fd = open(path_of(name), O_RDWR | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    if (qcow2_create(name, fd, &c, NULL, &err))
        fail_msg("%s", err.text);
    (void)close(fd);
}

static int open_image(const char *name, struct blk **b)
{
    struct err err;

    return blk_open(path_of(name), -1, "qcow2", 0, b, &err);
}

static int try_image(const char *name)
{
    struct blk *b;
    int rc = open_image(name, &b);

    return rc ? rc : blk_close(b);
}

static void make_raw(const char *name, uint64_t size, uint8_t byte)
{
    FILE *f = fopen(path_of(name), "w");

    assert_non_null(f);
    for (uint64_t i = 0; i < size; i++)
        assert_int_equal(fputc(byte, f), byte);
    assert_int_equal(fclose(f), 0);
}

static void unwritten_parts_are_those_of_the_file_below(void **state)
{
    static uint8_t buf[SIZE];
    struct blk *b;

    (void)state;
    make_raw("base", 100000, 7);
    make("mid", "base", "raw", SIZE);
    make("top", "mid", "qcow2", SIZE);
    assert_int_equal(open_image("mid", &b), 0);
    memset(buf, 9, 512);
    assert_int_equal(blk_write(b, 70000, buf, 512, 0), 0);
    assert_int_equal(blk_close(b), 0);
    assert_int_equal(open_image("top", &b), 0);
    assert_int_equal(blk_write(b, 1024, buf, 1, 0), 0);
    assert_int_equal(blk_zero(b, 4096, 4096, 0), 0);
    assert_int_equal(blk_read(b, 0, buf, SIZE), 0);
    for (unsigned i = 0; i < SIZE; i++)
        assert_int_equal(buf[i], i == 1024                 ? 9
                                 : i >= 4096 && i < 8192   ? 0
                                 : i >= 70000 && i < 70512 ? 9
                                 : i < 100000              ? 7
                                                           : 0);
    assert_int_equal(blk_close(b), 0);
}

/* What the file below has beyond the disk's end must not show when it grows. */
static void a_disk_grows_by_zeroes_whatever_is_below(void **state)
{
    static uint8_t buf[SIZE];
    struct blk *b;
    struct err err;

    (void)state;
    make_raw("base", SIZE, 7);
    make("top", "base", "raw", 300 * 512);
    assert_int_equal(open_image("top", &b), 0);
    assert_int_equal(blk_resize(b, SIZE, &err), 0);
    assert_int_equal(blk_read(b, 0, buf, SIZE), 0);
    for (unsigned i = 0; i < SIZE; i++)
        assert_int_equal(buf[i], i < 300 * 512 ? 7 : 0);
    assert_int_equal(blk_close(b), 0);
}

static void loops_are_refused(void **state)
{
    (void)state;
    make("a", "b", "qcow2", SIZE);
    make("b", "c", "qcow2", SIZE);
    make("c", "a", "qcow2", SIZE);
    assert_int_equal(try_image("a"), -ELOOP);
    make("self", "self", "raw", SIZE);
    assert_int_equal(try_image("self"), -ELOOP);
    make("self", "self", "qcow2", SIZE);
    assert_int_equal(try_image("self"), -ELOOP);
}

static void chains_have_an_end(void **state)
{
    char name[16], below[16];

    (void)state;
    make_raw("0", 512, 1);
    for (unsigned i = 1; i < 70; i++) {
        (void)snprintf(name, sizeof(name), "%u", i);
        (void)snprintf(below, sizeof(below), "%u", i - 1);
        make(name, below, i == 1 ? "raw" : "qcow2", SIZE);
    }
    assert_int_equal(try_image("60"), 0);
    assert_int_equal(try_image("69"), -ELOOP);
}

static void nothing_is_guessed(void **state)
{
    (void)state;
    make("qcow", NULL, NULL, SIZE);
    make("j", "json:{}", "qcow2", SIZE);
    assert_int_equal(try_image("j"), -ENOTSUP);
    make("n", "nbd:host:1", "raw", SIZE);
    assert_int_equal(try_image("n"), -ENOTSUP);
    make("v", "qcow", "vmdk", SIZE);
    assert_int_equal(try_image("v"), -ENOTSUP);
    make("missing", "nowhere", "qcow2", SIZE);
    assert_int_equal(try_image("missing"), -ENOENT);
    make("dir", "/tmp", "raw", SIZE);
    assert_int_equal(try_image("dir"), -EINVAL);
}

/* A guest may have written any header into its raw disk. */
static void a_raw_file_is_never_taken_for_an_image(void **state)
{
    uint8_t head[4], magic[4] = {'Q', 'F', 'I', 0xfb};
    struct blk *b;

    (void)state;
    make("evil", "/etc/passwd", "raw", SIZE);
    make("top", "evil", "raw", SIZE);
    assert_int_equal(open_image("top", &b), 0);
    assert_int_equal(blk_read(b, 0, head, 4), 0);
    assert_memory_equal(head, magic, 4);
    assert_int_equal(blk_close(b), 0);
}

static void without_the_file_below_only_metadata_is_there(void **state)
{
    struct qcow2_opts opts = {.flags = BLK_RDONLY | QCOW2_NO_BACKING};
    struct qcow2_info info;
    struct qcow2 *q;
    struct err err;
    char byte;

    (void)state;
    make("top", "nowhere", "qcow2", SIZE);
    assert_int_equal(qcow2_open(path_of("top"), -1, &opts, &q, &err), 0);
    qcow2_info(q, &info);
    assert_string_equal(info.backing, "nowhere");
    assert_string_equal(info.backing_format, "qcow2");
    assert_int_equal(blk_read(qcow2_blk(q), 0, &byte, 1), -EIO);
    assert_int_equal(qcow2_close(q), 0);
}

static void formats_are_told_by_their_signatures(void **state)
{
    struct err err;
    struct blk *b;
    FILE *f;

    (void)state;
    assert_string_equal(blk_guess_format("QFI\xfb", 4), "qcow2");
    assert_string_equal(blk_guess_format("vhdxfile", 8), "vhdx");
    assert_null(blk_guess_format("QFI", 3));
    f = fopen(path_of("vmdk"), "w");
    assert_true(f && fputs("KDMV and so on", f) >= 0 && !fclose(f));
    assert_int_equal(blk_open(path_of("vmdk"), -1, NULL, 0, &b, &err),
                     -EMEDIUMTYPE);
    assert_int_equal(blk_open(path_of("vmdk"), -1, "raw", 0, &b, &err), 0);
    assert_string_equal(b->ops->name, "raw");
    assert_int_equal(blk_close(b), 0);
    make("q", NULL, NULL, SIZE);
    assert_int_equal(blk_open(path_of("q"), -1, NULL, 0, &b, &err), 0);
    assert_string_equal(b->ops->name, "qcow2");
    assert_int_equal(blk_close(b), 0);
    make_raw("r", 1000, 0);
    assert_int_equal(blk_open(path_of("r"), -1, NULL, 0, &b, &err), 0);
    assert_string_equal(b->ops->name, "raw");
    assert_int_equal(blk_size(b), 1024);
    assert_int_equal(blk_close(b), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unwritten_parts_are_those_of_the_file_below),
        cmocka_unit_test(a_disk_grows_by_zeroes_whatever_is_below),
        cmocka_unit_test(loops_are_refused),
        cmocka_unit_test(chains_have_an_end),
        cmocka_unit_test(nothing_is_guessed),
        cmocka_unit_test(a_raw_file_is_never_taken_for_an_image),
        cmocka_unit_test(without_the_file_below_only_metadata_is_there),
        cmocka_unit_test(formats_are_told_by_their_signatures),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
