#include <errno.h>
#include <string.h>

#include "config/vmconf.h"
#include "tests/unit/test.h"

static int parse(const char *text, struct vmconf_disk *d)
{
    struct err err = {0};
    int rc = vmconf_parse_disk(text, d, &err);

    assert_int_equal(rc, err.code);
    assert_true(rc == 0 || strlen(err.text) > 0);
    return rc;
}

static void a_name_alone_is_a_file_to_write(void **state)
{
    struct vmconf_disk d;

    (void)state;
    assert_int_equal(parse("dir/web.husk", &d), 0);
    assert_string_equal(d.file, "dir/web.husk");
    assert_false(d.raw || d.qcow2 || d.readonly || d.direct);
    assert_string_equal(d.serial, "");
}

static void a_size_is_a_disk_to_throw_away(void **state)
{
    struct vmconf_disk d;

    (void)state;
    assert_int_equal(parse("10G,serial=tmp", &d), 0);
    assert_string_equal(d.file, "");
    assert_true(d.size == (uint64_t)10 << 30);
    assert_string_equal(d.serial, "tmp");
    assert_int_equal(parse("./10G", &d), 0);
    assert_string_equal(d.file, "./10G");
    assert_int_equal(d.size, 0);
}

static void options_may_come_in_any_order(void **state)
{
    struct vmconf_disk d;

    (void)state;
    assert_int_equal(parse("a,ro,cache=none,format=qcow2", &d), 0);
    assert_true(d.readonly && d.direct && d.qcow2);
    assert_int_equal(
        parse("a,serial=x y,format=raw,cache=none,cache=writeback", &d), 0);
    assert_true(d.raw && !d.direct && !d.readonly);
    assert_string_equal(d.serial, "x y");
}

static void a_disk_is_on_virtio_or_ide(void **state)
{
    struct vmconf_disk d;

    (void)state;
    assert_int_equal(parse("a", &d), 0);
    assert_false(d.ide);
    assert_int_equal(parse("a,bus=ide", &d), 0);
    assert_true(d.ide);
    assert_int_equal(parse("a,bus=ide,bus=virtio", &d), 0);
    assert_false(d.ide);
    assert_int_equal(parse("a,bus=scsi", &d), -EINVAL);
}

static void two_commas_are_one_of_the_name(void **state)
{
    struct vmconf_disk d;

    (void)state;
    assert_int_equal(parse("a,,b,,,ro", &d), 0);
    assert_string_equal(d.file, "a,b,");
    assert_true(d.readonly);
    assert_int_equal(parse(",,", &d), 0);
    assert_string_equal(d.file, ",");
}

static void what_makes_no_sense_is_refused(void **state)
{
    static const char *const bad[] = {"",
                                      ",",
                                      ",ro",
                                      "a,",
                                      "a,rw",
                                      "a,format=vmdk",
                                      "a,format=",
                                      "a,cache=unsafe",
                                      "a,serial=",
                                      "a,serial=123456789012345678901",
                                      "a,format=raw,format=qcow2",
                                      "0",
                                      "0G",
                                      "1G,ro",
                                      "1G,format=qcow2",
                                      "a,,,",
                                      "a,r",
                                      "a,roo"};
    struct vmconf_disk d;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(parse(bad[i], &d), -EINVAL);
}

static void a_name_that_is_too_long_is_refused(void **state)
{
    static char name[VMCONF_DISK_FILE + 1];
    struct vmconf_disk d;

    (void)state;
    memset(name, 'x', VMCONF_DISK_FILE - 1);
    assert_int_equal(parse(name, &d), 0);
    assert_string_equal(d.file, name);
    name[VMCONF_DISK_FILE - 1] = 'x';
    assert_int_equal(parse(name, &d), -EINVAL);
}

static void serials_have_20_bytes(void **state)
{
    struct vmconf_disk d;

    (void)state;
    assert_int_equal(parse("a,serial=12345678901234567890", &d), 0);
    assert_string_equal(d.serial, "12345678901234567890");
}

static void a_machine_has_16_disks_at_most(void **state)
{
    struct vmconf conf;
    struct err err;

    (void)state;
    vmconf_init(&conf);
    for (int i = 0; i < VMCONF_MAX_DISKS; i++)
        assert_int_equal(vmconf_set(&conf, VMCONF_DISK, "a", &err), 0);
    assert_int_equal(vmconf_set(&conf, VMCONF_DISK, "a", &err), -EINVAL);
    assert_int_equal(conf.nr_disks, VMCONF_MAX_DISKS);
}

static void the_control_socket_is_a_unix_socket(void **state)
{
    struct vmconf conf;
    struct err err;

    (void)state;
    vmconf_init(&conf);
    assert_null(conf.control);
    assert_int_equal(vmconf_set(&conf, VMCONF_CONTROL, "tcp:1", &err), -EINVAL);
    assert_int_equal(vmconf_set(&conf, VMCONF_CONTROL, "unix:", &err), -EINVAL);
    assert_int_equal(vmconf_set(&conf, VMCONF_CONTROL, "unix:a", &err), 0);
    assert_string_equal(conf.control, "a");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_alone_is_a_file_to_write),
        cmocka_unit_test(a_size_is_a_disk_to_throw_away),
        cmocka_unit_test(options_may_come_in_any_order),
        cmocka_unit_test(a_disk_is_on_virtio_or_ide),
        cmocka_unit_test(two_commas_are_one_of_the_name),
        cmocka_unit_test(what_makes_no_sense_is_refused),
        cmocka_unit_test(a_name_that_is_too_long_is_refused),
        cmocka_unit_test(serials_have_20_bytes),
        cmocka_unit_test(a_machine_has_16_disks_at_most),
        cmocka_unit_test(the_control_socket_is_a_unix_socket),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
