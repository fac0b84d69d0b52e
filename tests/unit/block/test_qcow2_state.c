/* State areas of snapshots. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/endian.h"
#include "tests/unit/block/model.h"
#include "tests/unit/fail_alloc.h"
#include "tests/unit/test.h"

enum { SIZE = 500224, LOW = 5000, HIGH = 3 << 20, HIGH_LEN = 70000 };

static uint8_t low[LOW], high[HIGH_LEN];

static const struct qcow2_piece pieces[] = {{100, low, LOW},
                                            {HIGH, high, HIGH_LEN}};

static struct qcow2_snap_new with_state(const char *id)
{
    return (struct qcow2_snap_new){.id = id,
                                   .name = "name",
                                   .opaque = "",
                                   .state = pieces,
                                   .nr_state = ARRAY_LEN(pieces)};
}

static void make(struct model *m, uint32_t bits)
{
    const struct qcow2_create c = {.size = SIZE,
                                   .cluster_bits = bits,
                                   .refcount_order = 4,
                                   .mark_husk = true};

    for (unsigned i = 0; i < LOW; i++)
        low[i] = (uint8_t)(i / 7 + 1);
    for (unsigned i = 0; i < HIGH_LEN; i++)
        high[i] = (uint8_t)(i / 11 + 3);
    model_make(m, &c);
}

static void expect_state(struct qcow2 *q, const char *id)
{
    static uint8_t buf[HIGH_LEN];

    assert_int_equal(qcow2_state_read(q, id, 100, buf, LOW), 0);
    assert_memory_equal(buf, low, LOW);
    assert_int_equal(qcow2_state_read(q, id, HIGH, buf, HIGH_LEN), 0);
    assert_memory_equal(buf, high, HIGH_LEN);
    /* Between them, and before, there is nothing. */
    assert_int_equal(qcow2_state_read(q, id, 0, buf, 100), 0);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(buf[i], 0);
    assert_int_equal(qcow2_state_read(q, id, HIGH - 512, buf, 512), 0);
    for (unsigned i = 0; i < 512; i++)
        assert_int_equal(buf[i], 0);
}

static void snap(struct model *m, const char *id)
{
    struct qcow2_snap_new s = with_state(id);
    struct err err = {0};

    if (qcow2_snap_create(m->q, &s, NULL, &err))
        fail_msg("%s", err.text);
}

/* Through all that happens to an image. */
static void a_state_stays_as_it_was_taken(void **state)
{
    static const uint32_t bits[] = {9, 10, 12, 16, 21};

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(bits); i++) {
        static uint8_t want[SIZE];
        struct qcow2_snap_new plain = {.name = "x", .opaque = ""};
        struct model m;
        struct err err;
        uint64_t saved;

        make(&m, bits[i]);
        model_steps(&m, 40);
        assert_int_equal(qcow2_snap_create(m.q, &plain, NULL, &err), 0);
        model_steps(&m, 10);
        memcpy(want, m.want, SIZE);
        snap(&m, "s");
        expect_state(m.q, "s");
        model_check_copy(&m, NULL);
        model_steps(&m, 40);
        assert_int_equal(qcow2_snap_delete(m.q, "1", &err), 0);
        assert_int_equal(qcow2_snap_change(m.q, "s", "other", NULL, 0, &err),
                         0);
        assert_int_equal(qcow2_compact(m.q, NULL, NULL, &saved, &err), 0);
        expect_state(m.q, "s");
        model_check(&m);
        model_close(&m);
        model_open(&m);
        assert_int_equal(qcow2_snap_apply(m.q, "s", &err), 0);
        memcpy(m.want, want, SIZE);
        model_compare(&m);
        expect_state(m.q, "s");
        model_check(&m);
        /* The disk does not come to have it when it grows there. */
        assert_int_equal(blk_resize(m.b, 8 << 20, &err), 0);
        for (uint64_t at = SIZE; at < 8 << 20; at += 65536)
            assert_int_equal(blk_read(m.b, at, m.got, 512), 0),
                assert_int_equal(m.got[0], 0);
        model_check(&m);
        model_free(&m);
    }
}

static void deleting_gives_its_space_back(void **state)
{
    struct qcow2_sizes before, after;
    struct model m;
    struct err err;

    (void)state;
    make(&m, 12);
    model_steps(&m, 20);
    assert_int_equal(blk_flush(m.b), 0);
    assert_int_equal(qcow2_sizes(m.q, &before), 0);
    snap(&m, "s");
    assert_int_equal(qcow2_snap_delete(m.q, "s", &err), 0);
    assert_int_equal(qcow2_sizes(m.q, &after), 0);
    assert_int_equal(before.allocated, after.allocated);
    model_check(&m);
    model_free(&m);
}

static void pieces_out_of_order_are_refused(void **state)
{
    static const struct qcow2_piece bad[][2] = {
        {{100, low, 100}, {199, low, 1}},
        {{100, low, 0}, {200, low, 1}},
        {{4096, low, 10}, {0, low, 10}},
        {{UINT64_MAX - 3, low, 10}, {0, low, 1}},
        {{INT64_MAX - 3ull, low, 3}, {INT64_MAX, low, 1}},
    };
    struct model m;
    struct err err;

    (void)state;
    make(&m, 16);
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        struct qcow2_snap_new s = with_state("s");

        s.state = bad[i];
        s.nr_state = 2;
        assert_int_equal(qcow2_snap_create(m.q, &s, NULL, &err), -EINVAL);
    }
    {
        const struct qcow2_piece far[] = {{1ull << 60, low, 1}};
        struct qcow2_snap_new s = with_state("s");

        s.state = far;
        s.nr_state = 1;
        assert_int_equal(qcow2_snap_create(m.q, &s, NULL, &err), -EFBIG);
    }
    model_check(&m);
    model_free(&m);
}

static void a_state_is_written_in_place_where_it_is(void **state)
{
    struct model m;

    (void)state;
    make(&m, 12);
    snap(&m, "s");
    memset(high + 5, 0xee, 20000);
    assert_int_equal(qcow2_state_write(m.q, "s", HIGH + 5, high + 5, 20000), 0);
    expect_state(m.q, "s");
    assert_int_equal(qcow2_state_write(m.q, "s", 1 << 20, low, 1), -EUCLEAN);
    assert_int_equal(qcow2_state_write(m.q, "s", BIT64(50), low, 1), -EINVAL);
    assert_int_equal(qcow2_state_write(m.q, "t", 0, low, 1), -ENOENT);
    assert_int_equal(qcow2_state_read(m.q, "t", 0, low, 1), -ENOENT);
    assert_int_equal(qcow2_state_read(m.q, "s", BIT64(50), low, 1), -EINVAL);
    model_close(&m);
    model_open(&m);
    expect_state(m.q, "s");
    model_check(&m);
    model_free(&m);
}

static void a_state_may_be_without_a_disk(void **state)
{
    struct qcow2_snap_new s = with_state("own");
    struct qcow2_snap *list;
    struct model m;
    struct err err;
    size_t n;

    (void)state;
    make(&m, 9);
    model_steps(&m, 30);
    s.no_disk = true;
    assert_int_equal(qcow2_snap_create(m.q, &s, NULL, &err), 0);
    model_steps(&m, 30);
    model_close(&m);
    model_open(&m);
    expect_state(m.q, "own");
    assert_int_equal(qcow2_snaps(m.q, &list, &n, &err), 0);
    assert_int_equal(n, 1);
    assert_true(list[0].no_disk);
    assert_true(list[0].state_room >= HIGH + HIGH_LEN);
    qcow2_snaps_free(list, n);
    assert_int_equal(qcow2_snap_apply(m.q, "own", &err), -EINVAL);
    model_compare(&m);
    model_check(&m);
    assert_int_equal(qcow2_snap_delete(m.q, "own", &err), 0);
    model_compare(&m);
    model_check(&m);
    model_free(&m);
}

/* The n-th write, or allocation, fails: all of it is there, or nothing. */
static void failures_leave_all_or_nothing(void **state)
{
    struct model m;
    struct err err;
    unsigned good = 0;

    (void)state;
    make(&m, 12);
    model_steps(&m, 30);
    m.fail_with = -ENOSPC;
    for (unsigned k = 0; k < 80; k++) {
        struct qcow2_snap_new s = with_state("s");
        int rc;

        if (k % 2)
            fail_alloc_at(k / 2 + 1);
        else
            m.fail_write = k / 2 + 1;
        rc = qcow2_snap_create(m.q, &s, NULL, &err);
        fail_alloc_at(0);
        m.fail_write = 0;
        model_compare(&m);
        model_check_copy(&m, NULL);
        if (rc)
            continue;
        good++;
        expect_state(m.q, "s");
        assert_int_equal(qcow2_snap_delete(m.q, "s", &err), 0);
    }
    assert_true(good > 0 && good < 80);
    model_check(&m);
    model_free(&m);
}

/* A snapshot of the disk can be opened as a disk, while that goes on. */
static void a_snapshot_can_be_read_as_a_disk(void **state)
{
    struct qcow2_opts opts = {.flags = BLK_RDONLY, .snapshot = "s"};
    static uint8_t want[SIZE], got[SIZE];
    struct model m;
    struct err err;
    struct qcow2 *q;

    (void)state;
    make(&m, 12);
    model_steps(&m, 40);
    memcpy(want, m.want, SIZE);
    snap(&m, "s");
    assert_int_equal(blk_resize(m.b, 4 << 20, &err), 0);
    assert_int_equal(qcow2_open(m.path, -1, &opts, &q, &err), 0);
    assert_int_equal(blk_size(qcow2_blk(q)), SIZE);
    for (unsigned i = 0; i < 5; i++) {
        memset(got, (int)i, sizeof(got));
        assert_int_equal(blk_write(m.b, 0, got, SIZE, 0), 0);
        assert_int_equal(blk_flush(m.b), 0);
        assert_int_equal(blk_read(qcow2_blk(q), 0, got, SIZE), 0);
        assert_memory_equal(got, want, SIZE);
    }
    assert_int_equal(qcow2_close(q), 0);
    opts.snapshot = "none";
    assert_int_equal(qcow2_open(m.path, -1, &opts, &q, &err), -ENOENT);
    opts.snapshot = "s";
    opts.flags = 0;
    assert_int_equal(qcow2_open(m.path, -1, &opts, &q, &err), -EINVAL);
    model_free(&m);
}

/* As QEMU's "snapshot -a" leaves it: the active table has the state, too. */
static void what_is_beyond_the_disk_goes(void **state)
{
    struct qcow2_sizes before, after;
    struct qcow2_check c = {0};
    uint8_t buf[4096];
    struct model m;
    struct err err;
    uint64_t l1_snap, l1 = 0;
    int fd;

    (void)state;
    make(&m, 12);
    model_steps(&m, 20);
    assert_int_equal(qcow2_sizes(m.q, &before), 0);
    snap(&m, "s");
    /* Room in the active table, and the snapshot's entries in it. */
    assert_int_equal(blk_resize(m.b, 16 << 20, &err), 0);
    assert_int_equal(qcow2_snap_change(m.q, "s", "n", NULL, 0, &err), 0);
    model_close(&m);
    fd = open(m.path, O_RDWR);
    assert_int_equal(pread(fd, buf, 80, 0), 80);
    assert_int_equal(pread(fd, buf + 80, 8, (off_t)get_be64(buf + 64)), 8);
    l1 = get_be64(buf + 40);
    l1_snap = get_be64(buf + 80);
    /* The state begins at 2 MiB: entries 1 and more of 2 MiB each. */
    assert_int_equal(pread(fd, buf, 64, (off_t)l1_snap), 64);
    assert_int_equal(pwrite(fd, buf + 8, 24, (off_t)l1 + 8), 24);
    put_be64(buf, SIZE);
    assert_int_equal(pwrite(fd, buf, 8, 24), 8);
    put_be64(buf, 1);
    assert_int_equal(pwrite(fd, buf, 8, 72), 8); /* count anew */
    (void)close(fd);
    model_open(&m);
    model_compare(&m);
    expect_state(m.q, "s");
    assert_int_equal(blk_resize(m.b, 16 << 20, &err), 0);
    for (uint64_t at = SIZE; at < 16 << 20; at += 4096) {
        assert_int_equal(blk_read(m.b, at, buf, 512), 0);
        for (unsigned i = 0; i < 512; i++)
            assert_int_equal(buf[i], 0);
    }
    assert_int_equal(qcow2_snap_delete(m.q, "s", &err), 0);
    assert_int_equal(qcow2_check(m.q, false, &c, NULL, NULL, &err), 0);
    assert_int_equal(c.remaining, 0);
    assert_int_equal(qcow2_sizes(m.q, &after), 0);
    assert_true(after.allocated <= before.allocated + 4096);
    model_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_state_stays_as_it_was_taken),
        cmocka_unit_test(deleting_gives_its_space_back),
        cmocka_unit_test(pieces_out_of_order_are_refused),
        cmocka_unit_test(a_state_is_written_in_place_where_it_is),
        cmocka_unit_test(a_state_may_be_without_a_disk),
        cmocka_unit_test(failures_leave_all_or_nothing),
        cmocka_unit_test(a_snapshot_can_be_read_as_a_disk),
        cmocka_unit_test(what_is_beyond_the_disk_goes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
