#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/qcow2.h"
#include "block/raw.h"
#include "tests/unit/test.h"

enum { SIZE = 4 << 20, CLUSTER = 65536 };

static int make_file(char *path)
{
    int fd;

    (void)strcpy(path, "/tmp/husk-cached-XXXXXX");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    return fd;
}

static struct blk *make_image(const char *backing)
{
    struct qcow2_create c = {.size = SIZE,
                             .refcount_order = UINT32_MAX,
                             .backing = backing,
                             .backing_format = backing ? "raw" : NULL};
    struct qcow2 *q = NULL;
    struct err err;
    char path[64];
    int fd = make_file(path);

    assert_int_equal(qcow2_create(path, fd, &c, NULL, &err), 0);
    assert_int_equal(qcow2_open(path, fd, NULL, &q, &err), 0);
    (void)unlink(path);
    return qcow2_blk(q);
}

static int cached(struct blk *b, uint64_t off, void *buf, size_t len)
{
    struct iovec iov[2] = {{buf, len / 2},
                           {(char *)buf + len / 2, len - len / 2}};

    return blk_readv_cached(b, off, iov, 2);
}

static void what_was_written_last_is_read(void **state)
{
    struct blk *b = make_image(NULL);
    char out[8192], in[8192];

    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        uint64_t off = (i * 7919 * 512) % (SIZE - sizeof(out)) / 512 * 512;

        memset(out, (int)i + 1, sizeof(out));
        assert_int_equal(blk_write(b, off, out, sizeof(out), 0), 0);
        memset(in, 0xee, sizeof(in));
        if (cached(b, off, in, sizeof(in)) == 0) /* else over two clusters */
            assert_memory_equal(in, out, sizeof(in));
    }
    memset(out, 0x42, sizeof(out));
    assert_int_equal(blk_write(b, 512, out, sizeof(out), 0), 0);
    assert_int_equal(cached(b, 512, in, sizeof(in)), 0);
    assert_memory_equal(in, out, sizeof(in));
    assert_int_equal(blk_close(b), 0);
}

static void what_was_never_written_or_zeroed_is_zero(void **state)
{
    static const char zeros[4096];
    struct blk *b = make_image(NULL);
    char buf[4096];

    (void)state;
    memset(buf, 0x42, sizeof(buf));
    assert_int_equal(blk_write(b, 0, buf, sizeof(buf), 0), 0);
    assert_int_equal(cached(b, CLUSTER, buf, sizeof(buf)), 0);
    assert_memory_equal(buf, zeros, sizeof(buf));
    assert_int_equal(blk_zero(b, 0, CLUSTER, BLK_UNMAP), 0);
    memset(buf, 0x42, sizeof(buf));
    assert_int_equal(cached(b, 0, buf, sizeof(buf)), 0);
    assert_memory_equal(buf, zeros, sizeof(buf));
    assert_int_equal(blk_close(b), 0);
}

static void what_lies_below_has_to_be_asked(void **state)
{
    struct blk *b;
    char path[64], buf[4096];
    int fd = make_file(path);

    (void)state;
    assert_int_equal(ftruncate(fd, SIZE), 0);
    b = make_image(path);
    assert_int_equal(cached(b, 0, buf, sizeof(buf)), -EAGAIN);
    assert_int_equal(blk_read(b, 0, buf, sizeof(buf)), 0);
    assert_int_equal(blk_close(b), 0);
    (void)unlink(path);
    (void)close(fd);
}

static void a_request_beyond_the_end_is_refused(void **state)
{
    struct blk *b = make_image(NULL);
    char buf[1024];

    (void)state;
    assert_int_equal(cached(b, SIZE - 512, buf, sizeof(buf)), -EINVAL);
    assert_int_equal(blk_close(b), 0);
}

/* Past the page cache nothing is cached. */
static void a_raw_file_is_read_from_the_page_cache(void **state)
{
    struct blk *b = NULL;
    struct err err;
    char path[64], out[4096], in[4096];
    int fd = make_file(path);

    (void)state;
    memset(out, 0x42, sizeof(out));
    assert_int_equal(ftruncate(fd, SIZE), 0);
    assert_int_equal(pwrite(fd, out, sizeof(out), 8192), sizeof(out));
    assert_int_equal(raw_open(path, fd, 0, NULL, NULL, &b, &err), 0);
    assert_int_equal(cached(b, 8192, in, sizeof(in)), 0);
    assert_memory_equal(in, out, sizeof(in));
    assert_int_equal(blk_close(b), 0);
    if (raw_open(path, -1, BLK_DIRECT, NULL, NULL, &b, &err) == 0) {
        assert_int_equal(cached(b, 8192, in, sizeof(in)), -EAGAIN);
        assert_int_equal(blk_close(b), 0);
    }
    (void)unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_last_is_read),
        cmocka_unit_test(what_was_never_written_or_zeroed_is_zero),
        cmocka_unit_test(what_lies_below_has_to_be_asked),
        cmocka_unit_test(a_request_beyond_the_end_is_refused),
        cmocka_unit_test(a_raw_file_is_read_from_the_page_cache),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
