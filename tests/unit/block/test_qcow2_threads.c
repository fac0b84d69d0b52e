#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/block/model.h"
#include "tests/unit/test.h"

/*
 * Threads that each own every fourth sector of the disk, so that they meet in
 * every cluster, beside one that flushes, takes snapshots and deletes them.
 */
enum { SIZE = 1 << 20, THREADS = 4, ROUNDS = 300, SECTOR = 512 };

struct writer {
    struct blk *b;
    unsigned index;
    uint64_t seed;
    uint8_t want[SIZE / SECTOR]; /* what its sectors are filled with */
    int rc;
};

static uint64_t next(struct writer *w, uint64_t below)
{
    w->seed = w->seed * 6364136223846793005ull + 1442695040888963407ull;
    return (w->seed >> 24) % below;
}

static int one_round(struct writer *w)
{
    uint64_t sector = next(w, SIZE / SECTOR / THREADS) * THREADS + w->index;
    uint8_t buf[SECTOR], byte = (uint8_t)next(w, 256);
    int rc;

    switch (next(w, 4)) {
    case 0:
        rc = blk_zero(w->b, sector * SECTOR, SECTOR, BLK_UNMAP);
        byte = 0;
        break;
    case 1:
        rc = blk_read(w->b, sector * SECTOR, buf, SECTOR);
        if (!rc && (buf[0] != w->want[sector] || buf[511] != buf[0]))
            rc = -EUCLEAN;
        byte = w->want[sector];
        break;
    default:
        memset(buf, byte, SECTOR);
        rc = blk_write(w->b, sector * SECTOR, buf, SECTOR,
                       next(w, 32) ? 0 : BLK_FUA);
    }
    w->want[sector] = byte;
    return rc;
}

static void *writer(void *arg)
{
    struct writer *w = arg;

    for (unsigned i = 0; i < ROUNDS && !w->rc; i++)
        w->rc = one_round(w);
    return NULL;
}

static void *keeper(void *arg)
{
    struct qcow2_snap_new s = {.name = "s", .opaque = "", .opaque_len = 0};
    struct model *m = arg;
    struct err err;
    char id[QCOW2_SNAP_ID_MAX + 1];

    for (unsigned i = 0; i < 12; i++) {
        if (blk_flush(m->b) || blk_discard(m->b, 0, 0) ||
            qcow2_snap_create(m->q, &s, id, &err) || blk_flush(m->b) ||
            qcow2_snap_delete(m->q, id, &err))
            return m;
    }
    return NULL;
}

static void check_sectors(struct model *m, const struct writer *w)
{
    assert_int_equal(blk_read(m->b, 0, m->got, SIZE), 0);
    for (unsigned s = 0; s < SIZE / SECTOR; s++)
        for (unsigned i = 0; i < SECTOR; i++)
            assert_int_equal(m->got[s * SECTOR + i], w[s % THREADS].want[s]);
}

static void threads_do_not_disturb_each_other(void **state)
{
    static const uint32_t bits[] = {9, 12, 16};
    static struct writer w[THREADS];

    (void)state;
    for (unsigned k = 0; k < ARRAY_LEN(bits); k++) {
        struct qcow2_create c = {.size = SIZE,
                                 .cluster_bits = bits[k],
                                 .refcount_order = 4,
                                 .mark_husk = true};
        pthread_t id[THREADS], keep;
        struct model m;
        void *failed;

        model_make(&m, &c);
        assert_int_equal(pthread_create(&keep, NULL, keeper, &m), 0);
        for (unsigned i = 0; i < THREADS; i++) {
            w[i] = (struct writer){.b = m.b, .index = i, .seed = i + k};
            assert_int_equal(pthread_create(&id[i], NULL, writer, &w[i]), 0);
        }
        for (unsigned i = 0; i < THREADS; i++) {
            assert_int_equal(pthread_join(id[i], NULL), 0);
            assert_int_equal(w[i].rc, 0);
        }
        assert_int_equal(pthread_join(keep, &failed), 0);
        assert_null(failed);
        check_sectors(&m, w);
        model_check(&m);
        model_close(&m);
        model_open(&m);
        check_sectors(&m, w);
        model_free(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_do_not_disturb_each_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
