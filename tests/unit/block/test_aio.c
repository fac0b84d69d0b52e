#include "block/aio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/qcow2.h"
#include "block/raw.h"
#include "tests/unit/test.h"

/* Requests that a queue gives to the kernel: aio.c, and blkq.c around it. Where
 * the file system knows no O_DIRECT there is nothing to test. */

enum { NR = 64, BLOCK = 4096, SIZE = 1 << 20 };

struct request {
    struct blk_req r;
    struct iovec iov[2];
    int rc;
    _Atomic int done;
};

static struct request req[NR];
static uint8_t *memory; /* NR blocks */

static void on_done(struct blk_req *r, int rc)
{
    struct request *q = (struct request *)(void *)r;

    q->rc = rc;
    atomic_fetch_add(&q->done, 1);
}

static uint8_t *block(unsigned i)
{
    return memory + (size_t)i * BLOCK;
}

/* Request i: op on its block, in two pieces, at off. */
static void prepare(unsigned i, enum blk_op op, uint64_t off)
{
    req[i].iov[0] = (struct iovec){block(i), 512};
    req[i].iov[1] = (struct iovec){block(i) + 512, BLOCK - 512};
    req[i].r = (struct blk_req){
        .op = op, .off = off, .iov = req[i].iov, .nr_iov = 2, .done = on_done};
    req[i].rc = 1;
    atomic_store(&req[i].done, 0);
}

static void run(struct blkq *q, unsigned nr)
{
    for (unsigned i = 0; i + 1 < nr; i++)
        req[i].r.next = &req[i + 1].r;
    req[nr - 1].r.next = NULL;
    blkq_submit_list(q, &req[0].r);
    blkq_drain(q);
    for (unsigned i = 0; i < nr; i++)
        assert_int_equal(atomic_load(&req[i].done), 1);
}

/* An empty file that its disk may use past the page cache; -1 if it may not. */
static int make_file(char *path)
{
    int fd, direct;

    (void)strcpy(path, "/var/tmp/husk-aio-XXXXXX");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    direct = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
    if (direct >= 0) {
        (void)close(direct);
        return fd;
    }
    (void)unlink(path);
    (void)close(fd);
    return -1;
}

static struct blk *make_raw(void)
{
    struct blk *b = NULL;
    struct err err;
    char path[64];
    int fd = make_file(path);

    if (fd < 0)
        skip();
    assert_int_equal(ftruncate(fd, SIZE), 0);
    assert_int_equal(raw_open(path, fd, BLK_DIRECT, NULL, NULL, &b, &err), 0);
    (void)unlink(path);
    return b;
}

static struct blk *make_qcow2(void)
{
    struct qcow2_create c = {
        .size = SIZE, .cluster_bits = 12, .refcount_order = UINT32_MAX};
    struct qcow2_opts opts = {.flags = BLK_DIRECT};
    struct qcow2 *q = NULL;
    struct err err;
    char path[64];
    int fd = make_file(path);

    if (fd < 0)
        skip();
    assert_int_equal(qcow2_create(path, fd, &c, NULL, &err), 0);
    assert_int_equal(qcow2_open(path, fd, &opts, &q, &err), 0);
    (void)unlink(path);
    return qcow2_blk(q);
}

/* Writes everywhere, twice (the first allocate), then reads. */
static void write_and_read(struct blk *b)
{
    struct err err;
    struct blkq *q = blkq_new(b, 4, &err);

    assert_non_null(q);
    for (unsigned round = 1; round <= 3; round++) {
        for (unsigned i = 0; i < NR; i++) {
            memset(block(i), (int)(i + round * 64), BLOCK);
            prepare(i, BLK_OP_WRITE, (i * 37 % NR) * (uint64_t)BLOCK);
        }
        run(q, NR);
        for (unsigned i = 0; i < NR; i++)
            assert_int_equal(req[i].rc, 0);
        assert_int_equal(blk_flush(b), 0);
        memset(memory, 0, NR * BLOCK);
        for (unsigned i = 0; i < NR; i++)
            prepare(i, BLK_OP_READ, (i * 37 % NR) * (uint64_t)BLOCK);
        run(q, NR);
        for (unsigned i = 0; i < NR; i++) {
            assert_int_equal(req[i].rc, 0);
            assert_int_equal(block(i)[0], (uint8_t)(i + round * 64));
            assert_int_equal(block(i)[BLOCK - 1], (uint8_t)(i + round * 64));
        }
    }
    blkq_free(q);
    assert_int_equal(blk_close(b), 0);
}

static void a_raw_disk_keeps_what_was_written(void **state)
{
    (void)state;
    write_and_read(make_raw());
}

static void a_qcow2_disk_keeps_what_was_written(void **state)
{
    (void)state;
    write_and_read(make_qcow2());
}

static void what_is_wrong_is_told_for_each(void **state)
{
    struct blk *b = make_raw();
    struct err err;
    struct blkq *q = blkq_new(b, 2, &err);

    (void)state;
    assert_non_null(q);
    for (unsigned i = 0; i < 8; i++)
        prepare(i, i % 2 ? BLK_OP_WRITE : BLK_OP_READ,
                i < 4 ? (uint64_t)i * BLOCK : SIZE - BLOCK / 2);
    run(q, 8);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(req[i].rc, i < 4 ? 0 : -EINVAL);
    blkq_free(q);
    assert_int_equal(blk_close(b), 0);
}

/* The kernel would read less, or refuse: the disk's own way has to be taken. */
static void what_the_kernel_cannot_do_whole_is_done_otherwise(void **state)
{
    struct blk *b = make_raw();
    struct err err;
    struct blkq *q = blkq_new(b, 2, &err);

    (void)state;
    assert_non_null(q);
    memset(memory, 0x5a, NR * BLOCK);
    for (unsigned i = 0; i < 4; i++)
        prepare(i, BLK_OP_WRITE, i * (uint64_t)BLOCK);
    for (unsigned i = 4; i < 8; i++)
        prepare(i, BLK_OP_READ, i * (uint64_t)BLOCK); /* a hole */
    req[1].iov[0].iov_base = block(20) + 8;           /* memory not aligned */
    req[2].r.flags = BLK_FUA;
    run(q, 8);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(req[i].rc, 0);
    for (unsigned i = 4; i < 8; i++)
        assert_int_equal(block(i)[100], 0);
    prepare(0, BLK_OP_READ, BLOCK);
    prepare(1, BLK_OP_READ, 2 * BLOCK);
    run(q, 2);
    assert_int_equal(block(0)[0], 0x5a);
    assert_int_equal(block(1)[BLOCK - 1], 0x5a);
    blkq_free(q);
    assert_int_equal(blk_close(b), 0);
}

static void a_queue_ends_with_nothing_under_way(void **state)
{
    struct blk *b = make_raw();
    struct err err;

    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        struct blkq *q = blkq_new(b, 2, &err);

        assert_non_null(q);
        for (unsigned j = 0; j < i; j++)
            prepare(j, BLK_OP_READ, j * (uint64_t)BLOCK);
        for (unsigned j = 0; j < i; j++)
            blkq_submit(q, &req[j].r);
        blkq_free(q);
        for (unsigned j = 0; j < i; j++)
            assert_int_equal(req[j].rc, 0);
    }
    assert_int_equal(blk_close(b), 0);
}

static int set_up(void **state)
{
    (void)state;
    memory = aligned_alloc(BLOCK, NR * BLOCK);
    return memory ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    free(memory);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_raw_disk_keeps_what_was_written),
        cmocka_unit_test(a_qcow2_disk_keeps_what_was_written),
        cmocka_unit_test(what_is_wrong_is_told_for_each),
        cmocka_unit_test(what_the_kernel_cannot_do_whole_is_done_otherwise),
        cmocka_unit_test(a_queue_ends_with_nothing_under_way),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
