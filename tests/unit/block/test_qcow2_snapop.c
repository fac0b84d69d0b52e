#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/block/model.h"
#include "tests/unit/fail_alloc.h"
#include "tests/unit/test.h"

enum { SIZE = 500224, MAX = 6 };

/* Snapshots and the bytes that the disk had. */
struct taken {
    char id[MAX][QCOW2_SNAP_ID_MAX + 1];
    uint8_t want[MAX][SIZE];
    unsigned n;
};

static void make(struct model *m, struct taken *t, uint32_t bits,
                 uint32_t order)
{
    struct qcow2_create c = {.size = SIZE,
                             .cluster_bits = bits,
                             .refcount_order = order,
                             .mark_husk = true};

    t->n = 0;
    model_make(m, &c);
}

static int take(struct model *m, struct taken *t)
{
    struct qcow2_snap_new s = {
        .name = "name", .date_sec = 7, .opaque = "opaque", .opaque_len = 6};
    struct err err;
    int rc;

    if (t->n == MAX)
        return 0;
    rc = qcow2_snap_create(m->q, &s, t->id[t->n], &err);
    if (rc)
        return rc;
    memcpy(t->want[t->n++], m->want, SIZE);
    return 0;
}

static int restore(struct model *m, const struct taken *t)
{
    unsigned i = t->n ? (unsigned)model_random(m, t->n) : 0;
    struct err err;
    int rc = t->n ? qcow2_snap_apply(m->q, t->id[i], &err) : 0;

    if (t->n && !rc)
        memcpy(m->want, t->want[i], SIZE);
    return rc;
}

static int drop(struct model *m, struct taken *t)
{
    unsigned i = t->n ? (unsigned)model_random(m, t->n) : 0;
    struct err err;
    int rc = t->n ? qcow2_snap_delete(m->q, t->id[i], &err) : 0;

    if (!t->n || rc)
        return rc;
    t->n--;
    memcpy(t->want[i], t->want[t->n], SIZE * (size_t)(i != t->n));
    (void)memmove(t->id[i], t->id[t->n], sizeof(t->id[i]));
    return 0;
}

static int shrink(struct model *m, struct taken *t)
{
    uint64_t saved;
    struct err err;

    (void)t;
    return qcow2_compact(m->q, NULL, NULL, &saved, &err);
}

static int change(struct model *m, struct taken *t)
{
    switch (model_random(m, 5)) {
    case 0: return take(m, t);
    case 1: return restore(m, t);
    case 2: return drop(m, t);
    case 3: return shrink(m, t);
    default: return model_step(m);
    }
}

static void finish(struct model *m, struct taken *t)
{
    struct err err;

    /* All that is left is as it was. */
    while (t->n) {
        t->n--;
        assert_int_equal(qcow2_snap_apply(m->q, t->id[t->n], &err), 0);
        memcpy(m->want, t->want[t->n], SIZE);
        model_compare(m);
    }
    model_check(m);
    model_free(m);
}

static void snapshots_keep_the_disk_as_it_was(void **state)
{
    static const uint32_t bits[] = {9, 12, 16};

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(bits); i++)
        for (uint32_t order = 3; order <= 6; order++) {
            static struct taken t;
            struct model m;

            make(&m, &t, bits[i], order);
            m.seed = order;
            for (unsigned k = 0; k < 60; k++) {
                assert_int_equal(change(&m, &t), 0);
                if (k % 8)
                    continue;
                model_compare(&m);
                model_check(&m);
                model_check_copy(&m, NULL);
            }
            finish(&m, &t);
        }
}

static void refcounts_that_are_full_are_no_damage(void **state)
{
    static struct taken t;
    struct model m;
    unsigned refused = 0;

    (void)state;
    make(&m, &t, 12, 1); /* up to 3 */
    for (unsigned k = 0; k < 80; k++) {
        int rc = change(&m, &t);

        assert_true(!rc || rc == -EOVERFLOW);
        refused += rc != 0;
        model_compare(&m);
        model_check(&m);
    }
    assert_true(refused > 0);
    t.n = 0;
    model_free(&m);
    make(&m, &t, 12, 0);
    assert_int_equal(take(&m, &t), -EOVERFLOW);
    model_free(&m);
}

/* The n-th write, or allocation, of each operation fails. */
static void failures_leave_all_or_nothing(void **state)
{
    static struct taken t;
    struct model m;

    (void)state;
    make(&m, &t, 9, 4);
    m.fail_with = -ENOSPC;
    for (unsigned k = 0; k < 300; k++) {
        unsigned n = (unsigned)model_random(&m, 12) + 1;

        if (k % 2)
            fail_alloc_at(n);
        else
            m.fail_write = n;
        (void)change(&m, &t);
        fail_alloc_at(0);
        m.fail_write = 0;
        model_compare(&m);
        if (k % 10 == 0)
            model_check_copy(&m, NULL);
    }
    model_close(&m);
    model_open(&m);
    finish(&m, &t);
}

static void lists_tell_what_was_stored(void **state)
{
    struct qcow2_snap_new s = {.id = "five",
                               .name = "a name",
                               .date_sec = 11,
                               .date_nsec = 12,
                               .vm_clock_ns = 13,
                               .opaque = "some\0bytes",
                               .opaque_len = 10};
    struct qcow2_snap *list;
    static struct taken t;
    struct model m;
    struct err err;
    char id[QCOW2_SNAP_ID_MAX + 1];
    size_t n;

    (void)state;
    make(&m, &t, 16, 4);
    assert_int_equal(qcow2_snap_create(m.q, &s, id, &err), 0);
    assert_string_equal(id, "five");
    assert_int_equal(qcow2_snap_create(m.q, &s, id, &err), -EEXIST);
    s.id = NULL;
    assert_int_equal(qcow2_snap_create(m.q, &s, id, &err), 0);
    assert_string_equal(id, "1");
    assert_int_equal(qcow2_snap_change(m.q, "1", "new", "x", 1, &err), 0);
    assert_int_equal(qcow2_snap_change(m.q, "2", "new", "x", 1, &err), -ENOENT);
    s.opaque_len = QCOW2_SNAP_OPAQUE_MAX + 1;
    assert_int_equal(qcow2_snap_create(m.q, &s, id, &err), -EINVAL);
    model_close(&m);
    model_open(&m);
    assert_int_equal(qcow2_snaps(m.q, &list, &n, &err), 0);
    assert_int_equal(n, 2);
    assert_string_equal(list[0].id, "five");
    assert_string_equal(list[0].name, "a name");
    assert_int_equal(list[0].date_sec, 11);
    assert_int_equal(list[0].date_nsec, 12);
    assert_int_equal(list[0].vm_clock_ns, 13);
    assert_int_equal(list[0].disk_size, SIZE);
    assert_int_equal(list[0].opaque_len, 10);
    assert_memory_equal(list[0].opaque, "some\0bytes", 10);
    assert_string_equal(list[1].name, "new");
    assert_int_equal(list[1].opaque_len, 1);
    qcow2_snaps_free(list, n);
    model_free(&m);
}

static void deleting_gives_back_what_only_it_had(void **state)
{
    struct qcow2_sizes before, after;
    static struct taken t;
    struct model m;
    struct err err;
    uint64_t unique;

    (void)state;
    make(&m, &t, 12, 4);
    memset(m.want, 1, SIZE);
    assert_int_equal(blk_write(m.b, 0, m.want, SIZE, 0), 0);
    assert_int_equal(take(&m, &t), 0);
    assert_int_equal(qcow2_snap_unique(m.q, t.id[0], &unique, &err), 0);
    assert_int_equal(unique, 4096); /* its L1 table */
    memset(m.want, 2, 40960);
    assert_int_equal(blk_write(m.b, 0, m.want, 40960, 0), 0);
    assert_int_equal(qcow2_snap_unique(m.q, t.id[0], &unique, &err), 0);
    assert_int_equal(unique, 4096 + 4096 + 40960); /* an L2 table as well */
    assert_int_equal(blk_flush(m.b), 0);
    assert_int_equal(qcow2_sizes(m.q, &before), 0);
    assert_int_equal(drop(&m, &t), 0);
    assert_int_equal(qcow2_sizes(m.q, &after), 0);
    /* The table of snapshots goes, too. */
    assert_int_equal(before.allocated - after.allocated, unique + 4096);
    model_compare(&m);
    model_check(&m);
    model_free(&m);
}

static void restoring_brings_the_size_back(void **state)
{
    static struct taken t;
    struct model m;
    struct err err;

    (void)state;
    make(&m, &t, 9, 4);
    model_steps(&m, 30);
    assert_int_equal(take(&m, &t), 0);
    assert_int_equal(blk_resize(m.b, SIZE * 10, &err), 0);
    assert_int_equal(blk_write(m.b, SIZE * 9, m.want, 4096, 0), 0);
    assert_int_equal(qcow2_snap_apply(m.q, t.id[0], &err), 0);
    assert_int_equal(blk_size(m.b), SIZE);
    model_compare(&m);
    model_check(&m);
    finish(&m, &t);
}

static void compact_leaves_no_holes_at_the_end(void **state)
{
    static struct taken t;
    struct qcow2_sizes s;
    struct model m;

    (void)state;
    make(&m, &t, 9, 4);
    model_steps(&m, 100);
    assert_int_equal(take(&m, &t), 0);
    model_steps(&m, 100);
    assert_int_equal(take(&m, &t), 0);
    model_steps(&m, 50);
    assert_int_equal(drop(&m, &t), 0);
    assert_int_equal(shrink(&m, &t), 0);
    model_compare(&m);
    model_check(&m);
    assert_int_equal(qcow2_sizes(m.q, &s), 0);
    assert_true(s.file <= s.allocated + 16 * 512);
    finish(&m, &t);
}

/* With clusters of 512 bytes and refcounts of 64 bits a block counts 64
 * clusters; the L1 table of this disk takes more in a row. */
static void tables_may_be_longer_than_a_block_counts(void **state)
{
    struct qcow2_create c = {.size = 200 << 20,
                             .cluster_bits = 9,
                             .refcount_order = 6,
                             .mark_husk = true};
    struct qcow2_snap_new s = {.name = "s", .opaque = "", .opaque_len = 0};
    char id[QCOW2_SNAP_ID_MAX + 1];
    struct model m;
    struct err err;
    uint64_t saved;

    (void)state;
    model_make(&m, &c);
    memset(m.want + 5000, 1, 100000);
    assert_int_equal(blk_write(m.b, 5000, m.want + 5000, 100000, 0), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(qcow2_snap_create(m.q, &s, id, &err), 0);
        memset(m.want + 70000 * i, (int)i + 2, 50000);
        assert_int_equal(
            blk_write(m.b, 70000 * i, m.want + 70000 * i, 50000, 0), 0);
        model_check(&m);
    }
    assert_int_equal(qcow2_snap_delete(m.q, "2", &err), 0);
    assert_int_equal(qcow2_compact(m.q, NULL, NULL, &saved, &err), 0);
    model_check(&m);
    model_close(&m);
    model_open(&m);
    model_compare(&m);
    model_check(&m);
    model_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(snapshots_keep_the_disk_as_it_was),
        cmocka_unit_test(refcounts_that_are_full_are_no_damage),
        cmocka_unit_test(failures_leave_all_or_nothing),
        cmocka_unit_test(lists_tell_what_was_stored),
        cmocka_unit_test(deleting_gives_back_what_only_it_had),
        cmocka_unit_test(restoring_brings_the_size_back),
        cmocka_unit_test(tables_may_be_longer_than_a_block_counts),
        cmocka_unit_test(compact_leaves_no_holes_at_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
