#include "block/raw.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/iov.h"
#include "tests/unit/test.h"

enum { SIZE = 1 << 20 };

static struct blk *make(unsigned flags)
{
    char path[] = "/tmp/husk-raw-XXXXXX";
    int fd = mkstemp(path);
    struct err err = {0};
    struct blk *b;

    assert_true(fd >= 0);
    (void)unlink(path);
    assert_int_equal(ftruncate(fd, SIZE), 0);
    if (raw_open(path, fd, flags, NULL, NULL, &b, &err)) {
        (void)close(fd);
        return NULL; /* no O_DIRECT here */
    }
    return b;
}

static void random_changes(struct blk *b)
{
    static uint8_t want[SIZE], got[SIZE];

    memset(want, 0, SIZE);
    srandom(1);
    for (unsigned i = 0; i < 300; i++) {
        uint64_t off = (uint64_t)random() % SIZE;
        uint64_t len = (uint64_t)random() % (SIZE - off) / 8 + 1;

        if (len > SIZE - off)
            len = SIZE - off;
        if (random() % 4 == 0) {
            memset(want + off, 0, len);
            assert_int_equal(
                blk_zero(b, off, len, random() & 1 ? BLK_UNMAP : 0), 0);
            continue;
        }
        memset(want + off, (int)i, len);
        assert_int_equal(
            blk_write(b, off, want + off, len, random() & 1 ? BLK_FUA : 0), 0);
        assert_int_equal(blk_read(b, off / 2, got, len), 0);
        assert_memory_equal(got, want + off / 2, len);
    }
    assert_int_equal(blk_flush(b), 0);
    assert_int_equal(blk_read(b, 0, got, SIZE), 0);
    assert_memory_equal(got, want, SIZE);
}

static void random_changes_read_back(void **state)
{
    struct blk *b = make(0);

    (void)state;
    random_changes(b);
    assert_int_equal(blk_close(b), 0);
}

static void what_is_not_aligned_goes_past_the_page_cache_too(void **state)
{
    struct blk *b = make(BLK_DIRECT);

    (void)state;
    if (!b)
        skip();
    random_changes(b);
    assert_int_equal(blk_close(b), 0);
}

static void only_files_and_block_devices_are_disks(void **state)
{
    char path[] = "/tmp/husk-fifo-XXXXXX";
    struct err err;
    struct blk *b;

    (void)state;
    assert_int_equal(raw_open("/tmp", -1, BLK_RDONLY, NULL, NULL, &b, &err),
                     -EINVAL);
    assert_int_equal(raw_open("/dev/null", -1, 0, NULL, NULL, &b, &err),
                     -EINVAL);
    assert_non_null(mkdtemp(path));
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(raw_open(path, -1, BLK_RDONLY, NULL, NULL, &b, &err),
                     -EINVAL);
    (void)unlink(path);
}

static void files_grow_and_do_not_shrink(void **state)
{
    struct blk *b = make(0);
    struct err err;

    (void)state;
    assert_int_equal(blk_resize(b, SIZE - 512, &err), -ENOTSUP);
    assert_int_equal(blk_resize(b, SIZE + 512, &err), 0);
    assert_int_equal(blk_size(b), SIZE + 512);
    assert_int_equal(blk_write(b, SIZE, "x", 1, 0), 0);
    assert_int_equal(blk_close(b), 0);
}

/* Somebody else cuts the file while it is in use. */
static void a_file_that_was_cut_is_noticed(void **state)
{
    char path[] = "/tmp/husk-cut-XXXXXX", buf[512];
    int fd = mkstemp(path);
    struct err err;
    struct blk *b;

    (void)state;
    assert_int_equal(ftruncate(fd, SIZE), 0);
    assert_int_equal(raw_open(path, -1, 0, NULL, NULL, &b, &err), 0);
    assert_int_equal(blk_read(b, SIZE - 512, buf, 512), 0);
    assert_int_equal(ftruncate(fd, SIZE / 2), 0);
    assert_int_equal(blk_read(b, SIZE - 512, buf, 512), -EIO);
    assert_int_equal(blk_write(b, 0, buf, 512, 0), 0);
    assert_int_equal(blk_flush(b), -EIO);
    assert_int_equal(blk_close(b), -EIO);
    (void)close(fd);
    (void)unlink(path);
}

static void pieces_are_cut_where_asked(void **state)
{
    char a[] = "abc", b[] = "", c[] = "defgh", out[9] = "";
    struct iovec iov[] = {{a, 3}, {b, 0}, {c, 5}}, part[3];
    uint64_t got;

    (void)state;
    assert_int_equal(iov_len(iov, 3), 8);
    assert_int_equal(iov_slice(iov, 3, 2, 3, part, 3, &got), 2);
    assert_int_equal(got, 3);
    iov_get(part, 2, 0, out, 3);
    assert_string_equal(out, "cde");
    assert_int_equal(iov_slice(iov, 3, 0, 8, part, 1, &got), 1);
    assert_int_equal(got, 3);
    iov_put(iov, 3, 1, "XYZ", 3);
    iov_zero(iov, 3, 7, 100);
    assert_memory_equal(a, "aXY", 3);
    assert_memory_equal(c, "Zefg\0", 5);
    part[0] = (struct iovec){a, SIZE_MAX};
    part[1] = (struct iovec){a, 2};
    assert_true(iov_len(part, 2) == UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_changes_read_back),
        cmocka_unit_test(what_is_not_aligned_goes_past_the_page_cache_too),
        cmocka_unit_test(only_files_and_block_devices_are_disks),
        cmocka_unit_test(files_grow_and_do_not_shrink),
        cmocka_unit_test(a_file_that_was_cut_is_noticed),
        cmocka_unit_test(pieces_are_cut_where_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
