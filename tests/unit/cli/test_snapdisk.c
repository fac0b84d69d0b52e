/* Disks of snapshots, as they are read by export (snapdisk.c). */
#include "cli/snapdisk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/test.h"
#include "vmfile/vmfile.h"

static void what_is_read_cannot_be_deleted(void **state)
{
    char path[] = "/tmp/husk-snapdisk-XXXXXX.husk", byte = 'a';
    const struct vmsnap_new s = {.name = "s"};
    const struct args a = {.nr_words = 0};
    struct vmfile *vf = NULL;
    struct snapdisk d;
    struct err err = {0};
    int fd = mkostemps(path, 5, O_CLOEXEC);

    (void)state;
    (void)close(fd);
    (void)unlink(path);
    assert_int_equal(vmfile_create(path, 1 << 20, "{}", 2, &err), 0);
    assert_int_equal(vmfile_open(path, VMFILE_WRITE, "test", &vf, &err), 0);
    assert_int_equal(blk_write(qcow2_blk(vmfile_qcow2(vf)), 7, &byte, 1, 0), 0);
    assert_int_equal(vmsnap_create(vf, &s, NULL, &err), 0);
    assert_int_equal(snapdisk_open(&d, &a, path, "1", &err), 0);
    byte = 'b';
    assert_int_equal(blk_write(qcow2_blk(vmfile_qcow2(vf)), 7, &byte, 1, 0), 0);
    assert_int_equal(vmsnap_delete(vf, "s", &err), 1);
    assert_int_equal(vmsnap_reap(vf, &err), 0);
    assert_int_equal(blk_read(qcow2_blk(d.q), 7, &byte, 1), 0);
    assert_int_equal(byte, 'a');
    snapdisk_close(&d);
    assert_int_equal(vmsnap_reap(vf, &err), 0);
    assert_int_equal(snapdisk_open(&d, &a, path, "1", &err), -ENOENT);
    assert_int_equal(vmfile_close(vf), 0);
    (void)unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_read_cannot_be_deleted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
