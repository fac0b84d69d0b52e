/* The firmware's variables in a VM file (vmvars.c). */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/test.h"
#include "tests/unit/vmfile/vm_folder.h"
#include "vmfile/statearea.h"
#include "vmfile/vmvars.h"

enum { LEN = 540672 };

static uint8_t data[LEN], got[LEN];

static struct vmfile *make(void *const *state)
{
    for (size_t i = 0; i < LEN; i++)
        data[i] = (uint8_t)(i / 4096 + i);
    return vm_folder_make(state, "a.husk", "{}", VMFILE_WRITE);
}

static struct vmfile *again(void *const *state, struct vmfile *vf)
{
    assert_int_equal(vmfile_close(vf), 0);
    return vm_folder_open(state, "a.husk", VMFILE_WRITE);
}

static struct vmvars *start(struct vmfile *vf, uint8_t *mine, size_t len)
{
    struct vmvars *v = NULL;
    struct err err = {0};

    if (vmvars_open(&v, vmfile_qcow2(vf), mine, len, &err) < 0)
        fail_msg("%s", err.text);
    return v;
}

static void expect_kept(struct vmfile *vf, const uint8_t *want, size_t len)
{
    uint8_t *p = NULL;
    struct err err = {0};
    size_t n = 0;

    if (vmvars_read(vmfile_qcow2(vf), &p, &n, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(n, len);
    assert_memory_equal(p, want, len);
    free(p);
}

static void finish(struct vmfile *vf)
{
    struct qcow2_check c = {0};
    struct err err;

    assert_int_equal(qcow2_check(vmfile_qcow2(vf), false, &c, NULL, NULL, &err),
                     0);
    assert_int_equal(c.remaining, 0);
    assert_int_equal(vmfile_close(vf), 0);
}

static void what_is_written_is_kept(void **state)
{
    struct vmfile *vf = make(state);
    struct qcow2 *q = vmfile_qcow2(vf);
    struct qcow2_info info;
    uint8_t *p = NULL;
    struct err err;
    size_t n;

    assert_int_equal(vmvars_read(q, &p, &n, &err), -ENOENT);
    assert_int_equal(vmvars_drop(q, &err), 0);
    for (unsigned i = 0; i < 5; i++) {
        data[100000 + i] ^= 0xff;
        assert_int_equal(vmvars_write(vmfile_qcow2(vf), data, LEN, &err), 0);
        expect_kept(vf, data, LEN);
        vf = again(state, vf);
        expect_kept(vf, data, LEN);
    }
    /* Of another length: another firmware. */
    assert_int_equal(vmvars_write(vmfile_qcow2(vf), data, 131072, &err), 0);
    expect_kept(vf, data, 131072);
    qcow2_info(vmfile_qcow2(vf), &info);
    assert_int_equal(info.nr_snapshots, 1);
    assert_int_equal(vmvars_write(vmfile_qcow2(vf), data, 5, &err), -EINVAL);
    assert_int_equal(vmvars_drop(vmfile_qcow2(vf), &err), 0);
    assert_int_equal(vmvars_read(vmfile_qcow2(vf), &p, &n, &err), -ENOENT);
    finish(vf);
}

/* Whatever part of a change is in the file, all of the old or of the new is. */
static void a_torn_change_is_none(void **state)
{
    struct vmfile *vf = make(state);
    struct qcow2 *q = vmfile_qcow2(vf);
    static uint8_t junk[3 * 4096];
    struct err err;

    memset(junk, 0x5a, sizeof(junk));
    for (unsigned i = 0; i < 4; i++) {
        uint64_t other = i % 2 ? 0 : VMVARS_COPY;

        data[i] ^= 0x11;
        assert_int_equal(vmvars_write(q, data, LEN, &err), 0);
        /* The next one would go to the other copy. */
        assert_int_equal(
            qcow2_state_write(q, VMVARS_ID, other + 4096 * 7, junk, 12288), 0);
        expect_kept(vf, data, LEN);
        assert_int_equal(qcow2_state_write(q, VMVARS_ID, other, junk, 512), 0);
        expect_kept(vf, data, LEN);
    }
    vf = again(state, vf);
    expect_kept(vf, data, LEN);
    q = vmfile_qcow2(vf);
    assert_int_equal(qcow2_state_write(q, VMVARS_ID, 0, junk, 512), 0);
    assert_int_equal(qcow2_state_write(q, VMVARS_ID, VMVARS_COPY, junk, 512),
                     0);
    {
        struct vmvars *v;
        uint8_t *p = NULL;
        size_t n;

        assert_int_equal(vmvars_read(q, &p, &n, &err), -EUCLEAN);
        assert_int_equal(vmvars_open(&v, q, data, LEN, &err), -EUCLEAN);
    }
    assert_int_equal(vmvars_write(q, data, LEN, &err), 0);
    expect_kept(vf, data, LEN);
    finish(vf);
}

static void a_machine_finds_what_it_left(void **state)
{
    struct vmfile *vf = make(state);
    struct vmvars *v = start(vf, data, LEN);
    struct vmvars *none;
    struct err err;

    for (unsigned i = 0; i < 300; i++) {
        uint64_t off = i * 1801ull % (LEN - 3);

        memset(data + off, (int)i, 3);
        assert_int_equal(vmvars_store(v, off, data + off, 3), 0);
        if (i % 50)
            continue;
        assert_int_equal(vmvars_flush(v), 0);
        expect_kept(vf, data, LEN);
    }
    assert_int_equal(vmvars_store(v, LEN - 1, data, 2), -EINVAL);
    assert_int_equal(vmvars_store(v, UINT64_MAX, data, 2), -EINVAL);
    assert_int_equal(vmvars_close(v), 0);
    vf = again(state, vf);
    expect_kept(vf, data, LEN);
    memset(got, 0xff, sizeof(got));
    v = start(vf, got, LEN);
    assert_memory_equal(got, data, LEN);
    assert_int_equal(vmvars_flush(v), 0);
    assert_int_equal(vmvars_close(v), 0);
    assert_int_equal(vmvars_open(&none, vmfile_qcow2(vf), got, 131072, &err),
                     -EINVAL);
    expect_kept(vf, data, LEN);
    finish(vf);
}

/* Without a flush: the thread's time comes. */
static void changes_are_written_before_long(void **state)
{
    struct vmfile *vf = make(state);
    struct vmvars *v = start(vf, data, LEN);
    bool kept = false;

    data[4711] ^= 1;
    assert_int_equal(vmvars_store(v, 4711, data + 4711, 1), 0);
    while (!kept) {
        uint8_t *p = NULL;
        struct err err;
        size_t n;

        assert_int_equal(vmvars_read(vmfile_qcow2(vf), &p, &n, &err), 0);
        kept = memcmp(p, data, LEN) == 0;
        free(p);
    }
    assert_int_equal(vmvars_close(v), 0);
    finish(vf);
}

/* --- Beside the disk --------------------------------------------------------
 */

struct beside {
    struct vmvars *v;
    _Atomic bool stop;
};

static void *store_on(void *arg)
{
    struct beside *b = arg;
    unsigned i = 0;

    while (!b->stop) {
        uint8_t byte = (uint8_t)i;

        if (vmvars_store(b->v, i++ % LEN, &byte, 1) < 0)
            return b;
    }
    return NULL;
}

static void the_disk_and_its_snapshots_go_on(void **state)
{
    struct vmfile *vf = make(state);
    struct beside b = {.v = start(vf, data, LEN)};
    struct vmsnap_new s = {.name = "s"};
    static uint8_t buf[65536];
    pthread_t thread;
    struct err err;
    void *failed;

    assert_int_equal(pthread_create(&thread, NULL, store_on, &b), 0);
    for (unsigned i = 0; i < 30; i++) {
        memset(buf, (int)i, sizeof(buf));
        assert_int_equal(blk_write(qcow2_blk(vmfile_qcow2(vf)), i * 65536ull,
                                   buf, sizeof(buf), 0),
                         0);
        assert_int_equal(vmvars_flush(b.v), 0);
        if (i % 5 == 0)
            assert_int_equal(vmsnap_create(vf, &s, NULL, &err), 0);
        if (i % 5 == 3)
            assert_int_equal(vmsnap_delete(vf, "s", &err), 0);
    }
    b.stop = true;
    assert_int_equal(pthread_join(thread, &failed), 0);
    assert_null(failed);
    assert_int_equal(vmvars_close(b.v), 0);
    finish(vf);
}

#define TEST(f)                                                                \
    cmocka_unit_test_setup_teardown(f, vm_folder_begin, vm_folder_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_written_is_kept),
        TEST(a_torn_change_is_none),
        TEST(a_machine_finds_what_it_left),
        TEST(changes_are_written_before_long),
        TEST(the_disk_and_its_snapshots_go_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
