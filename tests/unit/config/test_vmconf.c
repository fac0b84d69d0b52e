#include "config/vmconf.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/test.h"

#define MIB ((uint64_t)1 << 20)

static struct vmconf fresh(void)
{
    struct vmconf conf;

    vmconf_init(&conf);
    return conf;
}

static int set(struct vmconf *conf, enum vmconf_option opt, const char *value)
{
    struct err err = {0};
    int rc = vmconf_set(conf, opt, value, &err);

    assert_int_equal(rc, err.code);
    assert_true(rc == 0 || strlen(err.text) > 0);
    return rc;
}

static int check(const struct vmconf *conf)
{
    struct err err = {0};
    int rc = vmconf_check(conf, &err);

    assert_int_equal(rc, err.code);
    return rc;
}

static void defaults_lack_a_kernel_only(void **state)
{
    struct vmconf conf = fresh();

    (void)state;
    assert_int_equal(check(&conf), -EINVAL);
    assert_int_equal(set(&conf, VMCONF_KERNEL, "vmlinuz"), 0);
    assert_int_equal(check(&conf), 0);
    assert_true(conf.memory == 512 * MIB);
    assert_int_equal(conf.cpus, 1);
    assert_string_equal(conf.serial, "stdio");
    assert_null(conf.console);
    assert_null(conf.debugcon);
    assert_null(conf.gdb);
    assert_true(conf.reboot);
    assert_false(conf.debug_exit);
}

static void sizes_are_mib_or_have_a_letter(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        {"0", 0},           {"1", MIB},
        {"512", 512 * MIB}, {"4K", 4096},
        {"4k", 4096},       {"3M", 3 * MIB},
        {"2G", 2048 * MIB}, {"1T", MIB * MIB},
        {"007", 7 * MIB},   {"17592186044415", 17592186044415 * MIB},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        uint64_t bytes = 1;

        assert_int_equal(vmconf_parse_size(good[i].text, &bytes), 0);
        assert_true(bytes == good[i].bytes);
    }
}

static void what_is_no_size_is_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "x",
                                      "K",
                                      "-1",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "1.5G",
                                      "1GB",
                                      "1Q",
                                      "0x10",
                                      "1KK",
                                      "1\n",
                                      "1e3",
                                      "17592186044416",
                                      "99999999999999999999",
                                      "18014398509481984K",
                                      "17179869184G",
                                      "16777216T"};
    struct vmconf conf = fresh();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        uint64_t bytes = 77;

        assert_int_equal(vmconf_parse_size(bad[i], &bytes), -EINVAL);
        assert_true(bytes == 77);
        assert_int_equal(set(&conf, VMCONF_MEMORY, bad[i]), -EINVAL);
    }
    assert_int_equal(set(&conf, VMCONF_MEMORY, "0"), -EINVAL);
    assert_int_equal(set(&conf, VMCONF_MEMORY, "0G"), -EINVAL);
    assert_true(conf.memory == 512 * MIB);
}

static void cpus_are_counted_from_1_to_255(void **state)
{
    static const char *const bad[] = {
        "",   "0",   "256", "1000",       "-1",
        "1x", "0x1", " 1",  "4294967297", "18446744073709551617"};
    struct vmconf conf = fresh();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(set(&conf, VMCONF_CPUS, bad[i]), -EINVAL);
    assert_int_equal(conf.cpus, 1);
    assert_int_equal(set(&conf, VMCONF_CPUS, "255"), 0);
    assert_int_equal(conf.cpus, 255);
}

static void places_are_names_or_none(void **state)
{
    static const enum vmconf_option opts[] = {VMCONF_SERIAL, VMCONF_CONSOLE,
                                              VMCONF_DEBUGCON};
    struct vmconf conf = fresh();

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(opts); i++) {
        assert_int_equal(set(&conf, opts[i], ""), -EINVAL);
        assert_int_equal(set(&conf, opts[i], "unix:"), -EINVAL);
        assert_int_equal(set(&conf, opts[i], "none"), 0);
    }
    assert_null(conf.serial);
    assert_int_equal(set(&conf, VMCONF_SERIAL, "unix:/run/s"), 0);
    assert_string_equal(conf.serial, "unix:/run/s");
    assert_int_equal(set(&conf, VMCONF_GDB, "here"), -EINVAL);
    assert_int_equal(set(&conf, VMCONF_GDB, "tcp:1234"), 0);
}

/* Input can go to one console only; output of the debug console may be mixed
 * into standard output, but not into a file of another. */
static void no_two_share_a_place(void **state)
{
    struct vmconf conf = fresh();

    (void)state;
    assert_int_equal(set(&conf, VMCONF_KERNEL, "k"), 0);
    assert_int_equal(set(&conf, VMCONF_CONSOLE, "stdio"), 0);
    assert_int_equal(check(&conf), -EINVAL);
    assert_int_equal(set(&conf, VMCONF_SERIAL, "none"), 0);
    assert_int_equal(check(&conf), 0);
    assert_int_equal(set(&conf, VMCONF_DEBUGCON, "stdio"), 0);
    assert_int_equal(check(&conf), 0);
    assert_int_equal(set(&conf, VMCONF_SERIAL, "log"), 0);
    assert_int_equal(set(&conf, VMCONF_DEBUGCON, "log"), 0);
    assert_int_equal(check(&conf), -EINVAL);
    assert_int_equal(set(&conf, VMCONF_DEBUGCON, "other"), 0);
    assert_int_equal(check(&conf), 0);
    /* None is not a place. */
    assert_int_equal(set(&conf, VMCONF_SERIAL, "none"), 0);
    assert_int_equal(set(&conf, VMCONF_CONSOLE, "none"), 0);
    assert_int_equal(check(&conf), 0);
}

static void switches_and_texts_are_kept(void **state)
{
    struct vmconf conf = fresh();

    (void)state;
    assert_int_equal(set(&conf, VMCONF_INITRD, "i"), 0);
    assert_int_equal(set(&conf, VMCONF_APPEND, ""), 0);
    assert_int_equal(set(&conf, VMCONF_ENGINE, "jit"), 0);
    assert_int_equal(set(&conf, VMCONF_CPU, "host"), 0);
    assert_int_equal(set(&conf, VMCONF_NO_REBOOT, NULL), 0);
    assert_int_equal(set(&conf, VMCONF_DEBUG_EXIT, NULL), 0);
    assert_string_equal(conf.initrd, "i");
    assert_string_equal(conf.append, "");
    assert_string_equal(conf.engine, "jit");
    assert_string_equal(conf.cpu, "host");
    assert_false(conf.reboot);
    assert_true(conf.debug_exit);
    assert_int_equal(set(&conf, VMCONF_NR_OPTIONS, NULL), -EINVAL);
}

static void firmware_runs_where_there_is_no_kernel(void **state)
{
    struct vmconf conf = fresh();

    (void)state;
    assert_int_equal(set(&conf, VMCONF_DISK, "1G"), 0);
    assert_int_equal(check(&conf), 0);
    assert_int_equal(vmconf_firmware(&conf), VMCONF_FIRMWARE_AUTO);
    assert_int_equal(set(&conf, VMCONF_FIRMWARE, "none"), 0);
    assert_int_equal(check(&conf), 0);
    conf.nr_disks = 0;
    assert_int_equal(check(&conf), -EINVAL);
    conf = fresh();
    conf.vm_disk = true;
    assert_int_equal(check(&conf), 0);
    conf.kernel = "k";
    assert_int_equal(vmconf_firmware(&conf), VMCONF_FIRMWARE_NONE);
    assert_int_equal(set(&conf, VMCONF_FIRMWARE, "bios"), 0);
    assert_int_equal(check(&conf), 0); /* which starts the kernel */
    assert_int_equal(vmconf_firmware(&conf), VMCONF_FIRMWARE_BIOS);
    assert_int_equal(set(&conf, VMCONF_FIRMWARE, "openboot"), -EINVAL);
}

static void a_machine_has_two_cd_rom_drives_at_most(void **state)
{
    struct vmconf conf = fresh();

    (void)state;
    assert_int_equal(set(&conf, VMCONF_ISO, ""), -EINVAL);
    assert_int_equal(set(&conf, VMCONF_ISO, "none"), 0);
    assert_null(conf.iso[0]);
    assert_int_equal(check(&conf), 0); /* there may come a CD */
    assert_int_equal(set(&conf, VMCONF_ISO, "a.iso"), 0);
    assert_string_equal(conf.iso[1], "a.iso");
    assert_int_equal(conf.nr_isos, 2);
    assert_int_equal(set(&conf, VMCONF_ISO, "b.iso"), -EINVAL);
}

static void a_machine_has_two_floppy_drives_at_most(void **state)
{
    struct vmconf conf = fresh();

    (void)state;
    assert_int_equal(set(&conf, VMCONF_FLOPPY, ""), -EINVAL);
    assert_int_equal(set(&conf, VMCONF_FLOPPY, "a.img"), 0);
    assert_int_equal(check(&conf), 0);
    assert_int_equal(set(&conf, VMCONF_FLOPPY, "b.img"), 0);
    assert_string_equal(conf.floppy[1], "b.img");
    assert_int_equal(conf.nr_floppies, 2);
    assert_int_equal(set(&conf, VMCONF_FLOPPY, "c.img"), -EINVAL);
    assert_int_equal(set(&conf, VMCONF_FIRMWARE, "none"), 0);
    assert_int_equal(check(&conf), -EINVAL); /* only firmware boots one */
}

static void
a_kernel_of_the_disk_is_booted_unless_firmware_is_wanted(void **state)
{
    struct vmconf conf = fresh();

    (void)state;
    assert_true(vmconf_direct(&conf));
    assert_int_equal(set(&conf, VMCONF_BOOT, "cd,disk"), 0);
    assert_false(vmconf_direct(&conf));
    assert_int_equal(set(&conf, VMCONF_BOOT, "disk,menu"), 0);
    assert_false(vmconf_direct(&conf));
    assert_int_equal(set(&conf, VMCONF_FIRMWARE, "none"), 0);
    assert_true(vmconf_direct(&conf));
    assert_int_equal(set(&conf, VMCONF_FIRMWARE, "bios"), 0);
    assert_false(vmconf_direct(&conf));
    conf = fresh();
    conf.kernel = "k";
    assert_false(vmconf_direct(&conf));
    conf = fresh();
    conf.firmware_vars = "vars";
    assert_false(vmconf_direct(&conf));
}

static void a_screen_is_there_or_not(void **state)
{
    struct vmconf conf = fresh();

    (void)state;
    assert_int_equal(conf.vga, VMCONF_VGA_AUTO);
    assert_int_equal(set(&conf, VMCONF_VGA, "std"), 0);
    assert_int_equal(conf.vga, VMCONF_VGA_STD);
    assert_int_equal(set(&conf, VMCONF_VGA, "none"), 0);
    assert_int_equal(conf.vga, VMCONF_VGA_NONE);
    assert_int_equal(set(&conf, VMCONF_VGA, "cirrus"), -EINVAL);
    assert_int_equal(set(&conf, VMCONF_BOOT, "cd"), 0);
    assert_int_equal(bootorder_at(&conf.boot, 0), BOOTORDER_CD);
    assert_int_equal(set(&conf, VMCONF_BOOT, "tape"), -EINVAL);
}

static void only_uefi_has_variables(void **state)
{
    struct vmconf conf = fresh();

    (void)state;
    assert_int_equal(set(&conf, VMCONF_FIRMWARE, "bios"), 0);
    assert_int_equal(set(&conf, VMCONF_FIRMWARE_VARS, "vars.fd"), 0);
    assert_int_equal(check(&conf), -EINVAL);
    assert_int_equal(set(&conf, VMCONF_FIRMWARE, "uefi"), 0);
    assert_int_equal(check(&conf), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_lack_a_kernel_only),
        cmocka_unit_test(sizes_are_mib_or_have_a_letter),
        cmocka_unit_test(what_is_no_size_is_refused),
        cmocka_unit_test(cpus_are_counted_from_1_to_255),
        cmocka_unit_test(places_are_names_or_none),
        cmocka_unit_test(no_two_share_a_place),
        cmocka_unit_test(switches_and_texts_are_kept),
        cmocka_unit_test(firmware_runs_where_there_is_no_kernel),
        cmocka_unit_test(
            a_kernel_of_the_disk_is_booted_unless_firmware_is_wanted),
        cmocka_unit_test(a_screen_is_there_or_not),
        cmocka_unit_test(a_machine_has_two_cd_rom_drives_at_most),
        cmocka_unit_test(a_machine_has_two_floppy_drives_at_most),
        cmocka_unit_test(only_uefi_has_variables),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
