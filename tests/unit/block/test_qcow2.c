#include "block/qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "tests/unit/block/model.h"
#include "tests/unit/fail_alloc.h"
#include "tests/unit/test.h"

enum { SIZE = 1000448, MAGIC = 0x74657374 };

static void random_changes_read_back_in_every_geometry(void **state)
{
    static const uint32_t bits[] = {9, 10, 12, 14, 16, 21};

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(bits); i++)
        for (uint32_t order = 0; order <= 6; order += 2) {
            struct qcow2_create c = {.size = SIZE,
                                     .cluster_bits = bits[i],
                                     .refcount_order = order,
                                     .mark_husk = order & 2};
            struct model m;

            model_make(&m, &c);
            m.seed = i * 7 + order;
            for (unsigned k = 0; k < 3; k++) {
                model_steps(&m, 60);
                model_compare(&m);
                model_check(&m);
                model_close(&m);
                model_open(&m);
                model_compare(&m);
            }
            model_free(&m);
        }
}

static struct model *make(struct model *m, uint32_t bits)
{
    struct qcow2_create c = {.size = SIZE,
                             .cluster_bits = bits,
                             .refcount_order = UINT32_MAX,
                             .mark_husk = true};

    model_make(m, &c);
    return m;
}

static unsigned syncs_of(struct model *m, int (*f)(struct blk *))
{
    unsigned before = m->syncs;

    assert_int_equal(f(m->b), 0);
    return m->syncs - before;
}

static void
flush_syncs_twice_after_allocation_once_after_rewriting(void **state)
{
    struct model m;

    (void)state;
    make(&m, 16);
    assert_int_equal(blk_write(m.b, 0, m.want, 4096, 0), 0);
    (void)syncs_of(&m, blk_flush);
    assert_int_equal(blk_write(m.b, 200000, m.want, 4096, 0), 0);
    assert_int_equal(syncs_of(&m, blk_flush), 2);
    assert_int_equal(blk_write(m.b, 200000, m.want, 4096, 0), 0);
    assert_int_equal(syncs_of(&m, blk_flush), 1);
    assert_string_equal(m.last_sync, "guest-flush");
    assert_int_equal(syncs_of(&m, blk_flush), 0);
    model_free(&m);
}

static void what_was_flushed_is_in_a_copy_of_the_file(void **state)
{
    struct model m;

    (void)state;
    make(&m, 12);
    for (unsigned i = 0; i < 15; i++) {
        model_steps(&m, 10);
        assert_int_equal(blk_flush(m.b), 0);
        model_check_copy(&m, m.want);
    }
    model_free(&m);
}

static void a_copy_at_any_moment_is_sound_when_opened(void **state)
{
    struct model m;

    (void)state;
    make(&m, 9);
    for (unsigned i = 0; i < 40; i++) {
        model_steps(&m, 4);
        model_check_copy(&m, NULL);
    }
    model_free(&m);
}

/* Every write of the host fails once, at each of its places in turn. */
static void failed_writes_lose_nothing(void **state)
{
    static const int errors[] = {-ENOSPC, -EIO};
    struct model m;

    (void)state;
    for (unsigned e = 0; e < ARRAY_LEN(errors); e++) {
        make(&m, 12);
        m.fail_with = errors[e];
        for (unsigned i = 0; i < 400; i++) {
            m.fail_write = (unsigned)model_random(&m, 6) + 1;
            (void)model_step(&m);
            m.fail_write = 0;
        }
        model_compare(&m);
        assert_int_equal(blk_flush(m.b), 0);
        model_check_copy(&m, m.want);
        model_close(&m);
        model_open(&m);
        model_compare(&m);
        model_check(&m);
        model_free(&m);
    }
}

static void failed_allocations_lose_nothing(void **state)
{
    struct model m;

    (void)state;
    make(&m, 12);
    m.fail_with = -ENOMEM;
    for (unsigned i = 0; i < 400; i++) {
        fail_alloc_at((unsigned)model_random(&m, 3) + 1);
        (void)model_step(&m);
        fail_alloc_at(0);
    }
    model_compare(&m);
    model_close(&m);
    model_open(&m);
    model_compare(&m);
    model_check(&m);
    model_free(&m);
}

static void nothing_is_written_after_a_sync_has_failed(void **state)
{
    struct model m;
    unsigned writes;

    (void)state;
    make(&m, 16);
    assert_int_equal(blk_write(m.b, 0, m.want, 4096, 0), 0);
    assert_int_equal(blk_flush(m.b), 0);
    assert_int_equal(blk_write(m.b, 300000, m.want, 4096, 0), 0);
    m.fail_sync = 1;
    m.fail_with = -EIO;
    assert_int_equal(blk_flush(m.b), -EIO);
    writes = m.writes;
    assert_int_equal(blk_flush(m.b), -EIO);
    assert_int_equal(blk_write(m.b, 0, m.want, 4096, 0), -EIO);
    assert_int_equal(blk_write(m.b, 600000, m.want, 4096, 0), -EIO);
    assert_int_equal(m.writes, writes);
    assert_int_equal(blk_read(m.b, 0, m.got, 4096), 0);
    assert_int_equal(qcow2_close(m.q), -EIO);
    m.q = NULL;
    model_check_copy(&m, NULL);
    model_free(&m);
}

static void a_disk_grows_while_it_is_in_use(void **state)
{
    struct model m;
    struct err err;
    uint8_t last;

    (void)state;
    make(&m, 9);
    model_steps(&m, 50);
    assert_int_equal(blk_resize(m.b, SIZE - 512, &err), -ENOTSUP);
    /* The L1 table has to move for this. */
    assert_int_equal(blk_resize(m.b, SIZE * 20ull, &err), 0);
    assert_int_equal(blk_size(m.b), SIZE * 20ull);
    assert_int_equal(blk_read(m.b, SIZE * 20ull - 1, &last, 1), 0);
    assert_int_equal(last, 0);
    assert_int_equal(blk_write(m.b, SIZE * 20ull - 512, m.want, 512, 0), 0);
    model_compare(&m);
    model_check(&m);
    assert_int_equal(blk_flush(m.b), 0);
    model_check_copy(&m, m.want);
    model_free(&m);
}

static void requests_beyond_the_end_do_nothing(void **state)
{
    struct model m;

    (void)state;
    make(&m, 16);
    assert_int_equal(blk_write(m.b, SIZE - 511, m.want, 512, 0), -EINVAL);
    assert_int_equal(blk_read(m.b, SIZE, m.got, 1), -EINVAL);
    assert_int_equal(blk_zero(m.b, UINT64_MAX, 2, 0), -EINVAL);
    assert_int_equal(blk_discard(m.b, 1, UINT64_MAX), -EINVAL);
    model_compare(&m);
    model_free(&m);
}

static uint64_t allocated(struct model *m)
{
    struct qcow2_sizes s;

    assert_int_equal(qcow2_sizes(m->q, &s), 0);
    return s.allocated;
}

static void discarded_space_is_used_again_and_given_back(void **state)
{
    struct qcow2_sizes s;
    struct model m;
    uint64_t before;

    (void)state;
    make(&m, 16);
    memset(m.want, 0x77, SIZE);
    assert_int_equal(blk_write(m.b, 0, m.want, SIZE, 0), 0);
    assert_int_equal(blk_flush(m.b), 0);
    before = allocated(&m);
    assert_int_equal(qcow2_sizes(m.q, &s), 0);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(blk_discard(m.b, 0, SIZE), 0);
        assert_int_equal(blk_flush(m.b), 0);
        assert_true(allocated(&m) + SIZE - 65536 < before);
        assert_int_equal(blk_write(m.b, 0, m.want, SIZE, 0), 0);
        assert_int_equal(blk_flush(m.b), 0);
    }
    assert_int_equal(allocated(&m), before);
    model_compare(&m);
    model_free(&m);
}

static void read_only_images_are_not_written(void **state)
{
    struct qcow2_opts opts = {.flags = BLK_RDONLY};
    struct model m;
    struct err err;
    struct qcow2 *q;

    (void)state;
    make(&m, 16);
    model_steps(&m, 20);
    assert_int_equal(blk_flush(m.b), 0);
    assert_int_equal(qcow2_open(m.path, -1, &opts, &q, &err), 0);
    assert_int_equal(blk_write(qcow2_blk(q), 0, m.want, 512, 0), -EROFS);
    assert_int_equal(blk_resize(qcow2_blk(q), SIZE * 2, &err), -EROFS);
    assert_int_equal(qcow2_snap_delete(q, "1", &err), -EROFS);
    assert_int_equal(blk_read(qcow2_blk(q), 0, m.got, SIZE), 0);
    assert_memory_equal(m.got, m.want, SIZE);
    assert_int_equal(qcow2_close(q), 0);
    model_free(&m);
}

static void extensions_are_found_and_written_in_place(void **state)
{
    static const char text[] = "twelve bytes";
    struct qcow2_ext ext = {.magic = MAGIC, .len = 5000, .data = NULL};
    struct qcow2_create c = {.size = SIZE,
                             .refcount_order = 4,
                             .ext = &ext,
                             .nr_ext = 1,
                             .mark_husk = true};
    char buf[sizeof(text)];
    struct model m;
    uint64_t off;
    uint32_t len;

    (void)state;
    model_make(&m, &c);
    assert_int_equal(qcow2_ext_find(m.q, MAGIC + 1, &off, &len), -ENOENT);
    assert_int_equal(qcow2_ext_find(m.q, MAGIC, &off, &len), 0);
    assert_int_equal(len, 5000);
    assert_int_equal(qcow2_ext_write(m.q, MAGIC, 4990, text, sizeof(text)),
                     -EINVAL);
    assert_int_equal(qcow2_ext_write(m.q, MAGIC, 4096, text, sizeof(text)), 0);
    assert_int_equal(qcow2_ext_sync(m.q), 0);
    model_steps(&m, 20);
    model_close(&m);
    model_open(&m);
    assert_int_equal(qcow2_ext_read(m.q, MAGIC, 4096, buf, sizeof(buf)), 0);
    assert_string_equal(buf, text);
    model_free(&m);
}

static void recovery_is_needed_only_without_an_orderly_close(void **state)
{
    struct qcow2_info info;
    struct model m;

    (void)state;
    make(&m, 12);
    qcow2_info(m.q, &info);
    assert_true(info.recovered); /* it was made, not closed */
    model_steps(&m, 30);
    model_close(&m);
    model_open(&m);
    qcow2_info(m.q, &info);
    assert_false(info.recovered);
    assert_true(info.only_husk);
    model_free(&m);
}

/* QEMU 7.2 loses all snapshots when it repairs an image with an autoclear bit
 * that it does not know. */
static void no_autoclear_bit_is_set(void **state)
{
    struct model m;
    uint64_t bits = 1;
    int fd;

    (void)state;
    make(&m, 12);
    model_steps(&m, 30);
    model_close(&m);
    fd = open(m.path, O_RDONLY);
    assert_int_equal(pread(fd, &bits, sizeof(bits), 88), sizeof(bits));
    assert_int_equal(bits, 0);
    (void)close(fd);
    model_free(&m);
}

static void foreign_autoclear_bits_are_cleared_by_the_first_write(void **state)
{
    uint8_t bit = 0x10, after = 0xff;
    struct model m;
    int fd;

    (void)state;
    make(&m, 12);
    model_close(&m);
    fd = open(m.path, O_RDWR);
    assert_int_equal(pwrite(fd, &bit, 1, 90), 1);
    model_open(&m);
    assert_int_equal(pread(fd, &after, 1, 90), 1);
    assert_int_equal(after, bit);
    assert_int_equal(blk_write(m.b, 0, m.want, 512, 0), 0);
    assert_int_equal(pread(fd, &after, 1, 90), 1);
    assert_int_equal(after, 0);
    (void)close(fd);
    model_free(&m);
}

static void a_change_of_tables_alone_is_kept_by_close(void **state)
{
    struct model m;

    (void)state;
    make(&m, 12);
    memset(m.want, 5, SIZE);
    assert_int_equal(blk_write(m.b, 0, m.want, SIZE, 0), 0);
    model_close(&m);
    model_open(&m);
    memset(m.want + 4096, 0, 4096);
    /* The cluster stays allocated: only its entry changes, in memory. */
    assert_int_equal(blk_zero(m.b, 4096, 4096, 0), 0);
    model_close(&m);
    model_open(&m);
    model_compare(&m);
    model_free(&m);
}

static void a_recovery_without_writes_is_not_done_twice(void **state)
{
    struct qcow2_info info;
    struct model m;

    (void)state;
    make(&m, 12);
    model_close(&m);
    model_open(&m);
    qcow2_info(m.q, &info);
    assert_false(info.recovered);
    model_free(&m);
}

static int open_with(struct model *m, uint64_t at, uint64_t value, int bytes)
{
    uint8_t old[8], new[8];
    int fd = open(m->path, O_RDWR), rc;
    struct qcow2 *q;
    struct err err;

    for (int i = 0; i < bytes; i++)
        new[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
    assert_int_equal(pread(fd, old, (size_t)bytes, (off_t)at), bytes);
    assert_int_equal(pwrite(fd, new, (size_t)bytes, (off_t)at), bytes);
    rc = qcow2_open(m->path, -1, NULL, &q, &err);
    if (!rc)
        assert_int_equal(qcow2_close(q), 0);
    assert_int_equal(pwrite(fd, old, (size_t)bytes, (off_t)at), bytes);
    (void)close(fd);
    return rc;
}

static void broken_headers_are_refused(void **state)
{
    static const struct {
        unsigned at;
        int bytes;
        uint64_t value;
        int rc;
    } cases[] = {
        {0, 4, 0x12345678, -EINVAL}, /* magic */
        {4, 4, 4, -ENOTSUP},         /* version */
        {20, 4, 8, -EINVAL},         /* cluster bits */
        {20, 4, 22, -EINVAL},
        {24, 8, UINT64_MAX, -EINVAL}, /* disk size */
        {24, 8, BIT64(50), -EINVAL},  /* more than the L1 table covers */
        {32, 4, 1, -ENOTSUP},         /* encrypted */
        {36, 4, UINT32_MAX, -EINVAL}, /* L1 entries */
        {40, 8, 513, -EINVAL},        /* L1 offset */
        {40, 8, UINT64_MAX - 4095, -EINVAL},
        {48, 8, 0, -EINVAL}, /* refcount table */
        {56, 4, 0, -EINVAL},
        {56, 4, UINT32_MAX, -EINVAL},
        {60, 4, 70000, -EINVAL}, /* snapshots */
        {60, 4, 60000, -EINVAL},
        {72, 8, BIT64(2), -ENOTSUP}, /* data file */
        {72, 8, BIT64(60), -ENOTSUP},
        {72, 8, BIT64(1), -EUCLEAN}, /* corrupt */
        {72, 8, BIT64(3), -EINVAL},  /* compression bit, but zlib */
        {96, 4, 7, -EINVAL},         /* refcount order */
        {100, 4, 96, -EINVAL},       /* header length */
        {100, 4, 1 << 20, -EINVAL},
        {108, 4, UINT32_MAX, -EINVAL}, /* length of an extension */
    };
    struct model m;

    (void)state;
    make(&m, 12);
    model_close(&m);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(
            open_with(&m, cases[i].at, cases[i].value, cases[i].bytes),
            cases[i].rc);
    model_open(&m);
    model_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_changes_read_back_in_every_geometry),
        cmocka_unit_test(
            flush_syncs_twice_after_allocation_once_after_rewriting),
        cmocka_unit_test(what_was_flushed_is_in_a_copy_of_the_file),
        cmocka_unit_test(a_copy_at_any_moment_is_sound_when_opened),
        cmocka_unit_test(failed_writes_lose_nothing),
        cmocka_unit_test(failed_allocations_lose_nothing),
        cmocka_unit_test(nothing_is_written_after_a_sync_has_failed),
        cmocka_unit_test(a_disk_grows_while_it_is_in_use),
        cmocka_unit_test(requests_beyond_the_end_do_nothing),
        cmocka_unit_test(discarded_space_is_used_again_and_given_back),
        cmocka_unit_test(read_only_images_are_not_written),
        cmocka_unit_test(extensions_are_found_and_written_in_place),
        cmocka_unit_test(recovery_is_needed_only_without_an_orderly_close),
        cmocka_unit_test(no_autoclear_bit_is_set),
        cmocka_unit_test(foreign_autoclear_bits_are_cleared_by_the_first_write),
        cmocka_unit_test(a_change_of_tables_alone_is_kept_by_close),
        cmocka_unit_test(a_recovery_without_writes_is_not_done_twice),
        cmocka_unit_test(broken_headers_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
