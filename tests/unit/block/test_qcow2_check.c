#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/endian.h"
#include "tests/unit/block/model.h"
#include "tests/unit/test.h"

/* Clusters of 4 KiB, one refcount block at the third, 16 bits each. */
enum { SIZE = 1 << 20, CLUSTER = 4096, BLOCK = 2 * CLUSTER, L1 = 3 * CLUSTER };

static void make_full(struct model *m)
{
    struct qcow2_create c = {
        .size = SIZE, .cluster_bits = 12, .refcount_order = 4};

    model_make(m, &c);
    for (unsigned i = 0; i < SIZE / 2; i++)
        m->want[i] = (uint8_t)(i / 512 + 1);
    assert_int_equal(blk_write(m->b, 0, m->want, SIZE / 2, 0), 0);
    model_close(m);
}

static void poke(struct model *m, uint64_t at, uint64_t value, unsigned bytes)
{
    uint8_t buf[8];
    int fd = open(m->path, O_WRONLY);

    put_be64(buf, value << (64 - 8 * bytes));
    assert_int_equal(pwrite(fd, buf, bytes, (off_t)at), bytes);
    (void)close(fd);
}

static uint64_t peek(struct model *m, uint64_t at, unsigned bytes)
{
    uint8_t buf[8] = {0};
    int fd = open(m->path, O_RDONLY);

    assert_int_equal(pread(fd, buf, bytes, (off_t)at), bytes);
    (void)close(fd);
    return get_be64(buf) >> (64 - 8 * bytes);
}

static struct qcow2_check check(struct model *m, bool repair)
{
    struct qcow2_opts opts = {.flags =
                                  QCOW2_FOR_CHECK | (repair ? 0u : BLK_RDONLY)};
    struct qcow2_check c = {0};
    struct err err = {0};
    struct qcow2 *q;

    if (qcow2_open(m->path, -1, &opts, &q, &err) ||
        qcow2_check(q, repair, &c, NULL, NULL, &err))
        fail_msg("%s", err.text);
    assert_int_equal(qcow2_close(q), 0);
    return c;
}

static int try_open(struct model *m)
{
    struct err err;
    struct qcow2 *q;
    int rc = qcow2_open(m->path, -1, NULL, &q, &err);

    return rc ? rc : qcow2_close(q);
}

static void expect_sound(struct model *m)
{
    struct qcow2_check c = check(m, false);

    assert_int_equal(c.remaining, 0);
    model_open(m);
    model_compare(m);
    model_free(m);
}

static void leaks_are_taken_back_by_the_next_open(void **state)
{
    struct qcow2_check c = {0};
    struct model m;

    (void)state;
    make_full(&m);
    poke(&m, BLOCK + 2 * 1000, 1, 2); /* beyond the file's end */
    poke(&m, BLOCK + 2 * 10, 2, 2);
    c = check(&m, false);
    assert_int_equal(c.leaks, 2);
    assert_int_equal(c.remaining, 2);
    assert_int_equal(try_open(&m), 0);
    assert_int_equal(peek(&m, BLOCK + 2 * 1000, 2), 0);
    assert_int_equal(peek(&m, BLOCK + 2 * 10, 2), 1);
    expect_sound(&m);
}

static void refcounts_too_low_are_refused_and_repaired(void **state)
{
    struct qcow2_check c = {0};
    struct model m;

    (void)state;
    make_full(&m);
    poke(&m, BLOCK + 2 * 10, 0, 2);
    assert_int_equal(try_open(&m), -EUCLEAN);
    c = check(&m, true);
    assert_int_equal(c.low, 1);
    assert_int_equal(c.repaired, 1);
    assert_int_equal(c.remaining, 0);
    assert_int_equal(try_open(&m), 0);
    expect_sound(&m);
}

static void the_dirty_bit_lets_an_open_count_anew(void **state)
{
    struct model m;

    (void)state;
    make_full(&m);
    poke(&m, BLOCK + 2 * 10, 0, 2);
    poke(&m, 72, 1, 8);
    assert_int_equal(try_open(&m), 0);
    assert_int_equal(peek(&m, 72, 8), 0);
    expect_sound(&m);
}

static void a_refcount_block_that_is_missing_is_made(void **state)
{
    struct qcow2_check c = {0};
    struct model m;

    (void)state;
    make_full(&m);
    poke(&m, CLUSTER, 0, 8);
    assert_int_equal(try_open(&m), -EUCLEAN);
    c = check(&m, true);
    assert_true(c.low > 100);
    assert_int_equal(c.remaining, 0);
    expect_sound(&m);
}

static void wrong_flags_are_put_right(void **state)
{
    struct qcow2_check c = {0};
    struct model m;
    uint64_t l1;

    (void)state;
    make_full(&m);
    l1 = peek(&m, L1, 8);
    poke(&m, L1, l1 & ~BIT64(63), 8);
    c = check(&m, true);
    assert_int_equal(c.copied, 1);
    assert_int_equal(c.remaining, 0);
    assert_int_equal(peek(&m, L1, 8), l1);
    expect_sound(&m);
}

/* One of the guest's clusters is the L1 table: what it held is anybody's guess.
 */
static void overlaps_are_told_and_left(void **state)
{
    struct qcow2_check c = {0};
    struct model m;
    uint64_t l2;

    (void)state;
    make_full(&m);
    l2 = peek(&m, L1, 8) & 0xfffffffffffe00ull;
    poke(&m, l2 + 8, BIT64(63) | L1, 8);
    assert_int_equal(try_open(&m), -EUCLEAN);
    c = check(&m, true);
    assert_int_equal(c.overlaps, 1);
    assert_true(c.remaining >= 1);
    assert_int_equal(peek(&m, l2 + 8, 8) & ~BIT64(63), L1);
    assert_int_equal(try_open(&m), -EUCLEAN);
    model_free(&m);
}

static void references_outside_the_file_are_told(void **state)
{
    struct qcow2_check c = {0};
    struct model m;
    uint64_t l2;

    (void)state;
    make_full(&m);
    l2 = peek(&m, L1, 8) & 0xfffffffffffe00ull;
    poke(&m, l2 + 8, BIT64(63) | BIT64(40), 8);
    poke(&m, l2 + 16, BIT64(63) | 513, 8);
    c = check(&m, false);
    assert_int_equal(c.outside, 1);
    assert_int_equal(c.invalid, 1);
    assert_int_equal(try_open(&m), -EUCLEAN);
    model_free(&m);
}

/* qcow2_rebuild.c: what is wrong is all in the refcounts, which follow from
 * everything else. */
static void refcounts_of_no_use_are_made_anew(void **state)
{
    static const struct {
        uint64_t at, value;
        unsigned bytes;
    } damage[] = {
        {48, 0, 8},                    /* no table */
        {48, 4097, 8},                 /* at no cluster */
        {48, 1ull << 40, 8},           /* outside of the file */
        {48, L1, 8},                   /* where another table is */
        {48, 5 * CLUSTER, 8},          /* where data is */
        {56, 0, 4},                    /* of no length */
        {56, 0xffffffff, 4},           /* too long */
        {CLUSTER, 1ull << 40, 8},      /* its block is outside */
        {CLUSTER, 513, 8},             /* at no cluster */
        {CLUSTER, L1, 8},              /* another table */
        {CLUSTER, 6 * CLUSTER, 8},     /* data */
        {CLUSTER + 8, 7 * CLUSTER, 8}, /* one too many, in data */
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(damage); i++) {
        struct qcow2_check c = {0};
        struct model m;
        struct err err;
        char id[QCOW2_SNAP_ID_MAX + 1];
        struct qcow2_snap_new s = {.name = "s", .opaque = ""};

        make_full(&m);
        model_open(&m);
        assert_int_equal(qcow2_snap_create(m.q, &s, id, &err), 0);
        model_steps(&m, 20);
        model_close(&m);
        poke(&m, damage[i].at, damage[i].value, damage[i].bytes);
        c = check(&m, false);
        assert_true(c.remaining > 0);
        c = check(&m, true);
        assert_true(c.repaired > 0);
        assert_int_equal(c.remaining, 0);
        expect_sound(&m);
    }
}

/* The n-th write fails: whatever is there is repaired by the next try. */
static void making_refcounts_anew_can_be_cut_short(void **state)
{
    (void)state;
    for (unsigned n = 1; n < 12; n++) {
        struct qcow2_opts opts = {.flags = QCOW2_FOR_CHECK};
        struct qcow2_check c = {0};
        struct model m;
        struct err err;
        struct qcow2 *q;

        make_full(&m);
        poke(&m, 48, 5 * CLUSTER, 8);
        m.fail_write = n;
        m.fail_with = -EIO;
        opts.host = model_host();
        opts.host_arg = &m;
        assert_int_equal(qcow2_open(m.path, -1, &opts, &q, &err), 0);
        (void)!qcow2_check(q, true, &c, NULL, NULL, &err);
        (void)!qcow2_close(q);
        m.fail_write = 0;
        c = check(&m, true);
        assert_int_equal(c.remaining, 0);
        expect_sound(&m);
    }
}

/* A guest must not come to write the header by way of a broken entry. */
static void entries_that_lead_to_tables_are_not_written(void **state)
{
    static const uint64_t tables[] = {CLUSTER, L1, 0};
    struct model m;
    uint64_t l2;

    (void)state;
    for (unsigned i = 0; tables[i]; i++) {
        struct qcow2_create c = {.size = SIZE,
                                 .cluster_bits = 12,
                                 .refcount_order = 4,
                                 .mark_husk = true};

        model_make(&m, &c);
        assert_int_equal(blk_write(m.b, 0, m.want, SIZE, 0), 0);
        model_close(&m);
        l2 = peek(&m, L1, 8) & 0xfffffffffffe00ull;
        poke(&m, l2 + 8, BIT64(63) | tables[i], 8);
        model_open(&m); /* it was closed in order: nothing is counted */
        assert_int_equal(blk_write(m.b, CLUSTER, m.want, 512, 0), -EIO);
        model_free(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leaks_are_taken_back_by_the_next_open),
        cmocka_unit_test(refcounts_too_low_are_refused_and_repaired),
        cmocka_unit_test(the_dirty_bit_lets_an_open_count_anew),
        cmocka_unit_test(a_refcount_block_that_is_missing_is_made),
        cmocka_unit_test(wrong_flags_are_put_right),
        cmocka_unit_test(overlaps_are_told_and_left),
        cmocka_unit_test(refcounts_of_no_use_are_made_anew),
        cmocka_unit_test(making_refcounts_anew_can_be_cut_short),
        cmocka_unit_test(references_outside_the_file_are_told),
        cmocka_unit_test(entries_that_lead_to_tables_are_not_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
