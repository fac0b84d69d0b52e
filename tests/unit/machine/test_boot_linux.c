#include "machine/boot_linux.h"

#include <errno.h>
#include <string.h>

#include "base/endian.h"
#include "tests/unit/machine/fake_image.h"
#include "tests/unit/machine/fake_machine.h"
#include "tests/unit/test.h"

#define MIB ((uint64_t)1 << 20)

static uint8_t image[FAKE_IMAGE_MAX];

static int load(struct fake_machine *m, size_t len, const void *initrd,
                size_t initrd_len, const char *cmdline)
{
    const struct boot_source src = {.kernel = image,
                                    .kernel_len = len,
                                    .initrd = initrd,
                                    .initrd_len = initrd_len,
                                    .cmdline = cmdline,
                                    .rsdp = PC_TABLES};

    return boot_linux_load(&m->bm, &src, &m->st, &m->err);
}

static void the_64_bit_entry_is_512_bytes_behind_the_load_address(void **state)
{
    struct fake_machine m;

    (void)state;
    fake_machine_init(&m, 64);
    assert_int_equal(load(&m, fake_bzimage(image, true), NULL, 0, ""), 0);
    assert_true(m.st.rip == 0x100200);
    assert_true(x86_long_mode(&m.st) && x86_64bit_mode(&m.st));
    assert_true(fake_machine_get64(&m, 0x100000) == get_le64("KERNEL!"));
    fake_machine_fini(&m);
}

static void a_32_bit_kernel_starts_in_flat_protected_mode(void **state)
{
    struct fake_machine m;

    (void)state;
    fake_machine_init(&m, 64);
    assert_int_equal(load(&m, fake_bzimage(image, false), NULL, 0, ""), 0);
    assert_true(m.st.rip == 0x100000);
    assert_true(m.st.cr0 == (X86_CR0_PE | X86_CR0_ET));
    assert_false(x86_long_mode(&m.st));
    assert_int_equal(m.st.seg[X86_CS].sel, 0x10);
    assert_true(m.st.seg[X86_CS].attr & X86_SEG_DB);
    fake_machine_fini(&m);
}

static void the_zero_page_says_where_everything_is(void **state)
{
    struct fake_machine m;
    gpa_t zp, initrd;
    char cmdline[8];

    (void)state;
    fake_machine_init(&m, 64);
    assert_int_equal(
        load(&m, fake_bzimage(image, true), "ramdisk", 8, "quiet x"), 0);
    zp = m.st.gpr[X86_RSI];
    assert_true(fake_machine_get64(&m, zp + 0x70) == PC_TABLES);
    assert_int_equal(fake_machine_get32(&m, zp + 0x202), 0x53726448);
    assert_int_equal(fake_machine_get32(&m, zp + 0x210) & 0xff, 0xff);
    assert_int_equal(
        gmem_read(&m.gm, fake_machine_get32(&m, zp + 0x228), cmdline, 8), 0);
    assert_string_equal(cmdline, "quiet x");
    initrd = fake_machine_get32(&m, zp + 0x218);
    assert_int_equal(fake_machine_get32(&m, zp + 0x21c), 8);
    assert_true(initrd == 64 * MIB - 4096);
    assert_true(fake_machine_get64(&m, initrd) == get_le64("ramdisk"));
    assert_int_equal(fake_machine_get32(&m, zp + 0x1e8) & 0xff,
                     m.layout.nr_e820);
    for (unsigned i = 0; i < m.layout.nr_e820; i++) {
        gpa_t e = zp + 0x2d0 + 20 * i;

        assert_true(fake_machine_get64(&m, e) == m.layout.e820[i].start);
        assert_true(fake_machine_get64(&m, e + 8) == m.layout.e820[i].len);
        assert_int_equal(fake_machine_get32(&m, e + 16), m.layout.e820[i].type);
    }
    fake_machine_fini(&m);
}

static void the_initrd_stays_below_the_kernels_limit(void **state)
{
    static const uint8_t initrd[5000];
    struct fake_machine m;
    size_t len = fake_bzimage(image, true);

    (void)state;
    put_le32(image + 0x22c, 32 * MIB - 1);
    fake_machine_init(&m, 64);
    assert_int_equal(load(&m, len, initrd, sizeof(initrd), ""), 0);
    assert_true(fake_machine_get32(&m, m.st.gpr[X86_RSI] + 0x218) ==
                32 * MIB - 8192);
    fake_machine_fini(&m);

    /* between the end of the kernel at 17 MiB and the limit */
    put_le32(image + 0x22c, 17 * MIB + 4095);
    fake_machine_init(&m, 64);
    assert_int_equal(load(&m, len, initrd, sizeof(initrd), ""), -ENOSPC);
    assert_non_null(strstr(m.err.text, "initrd"));
    fake_machine_fini(&m);
}

static void what_does_not_fit_is_refused_with_a_reason(void **state)
{
    struct fake_machine m;
    size_t len = fake_bzimage(image, true);
    char cmdline[200];

    (void)state;
    memset(cmdline, 'x', sizeof(cmdline));
    cmdline[101] = '\0';
    fake_machine_init(&m, 64);
    assert_int_equal(load(&m, len, NULL, 0, cmdline), -EINVAL);
    assert_non_null(strstr(m.err.text, "command line"));
    fake_machine_fini(&m);

    cmdline[100] = '\0';
    fake_machine_init(&m, 64);
    assert_int_equal(load(&m, len, NULL, 0, cmdline), 0);
    fake_machine_fini(&m);

    fake_machine_init(&m, 16);
    assert_int_equal(load(&m, len, NULL, 0, ""), -ENOSPC);
    assert_non_null(strstr(m.err.text, "memory"));
    fake_machine_fini(&m);

    fake_machine_init(&m, 64);
    assert_int_equal(load(&m, len, "", 0, ""), -EINVAL);
    fake_machine_fini(&m);
}

static void a_cut_image_is_truncated_wherever_it_is_cut(void **state)
{
    struct linux_image img;
    struct err err;
    size_t len = fake_bzimage(image, true);

    (void)state;
    assert_int_equal(boot_linux_parse(&img, image, len, &err), 0);
    for (size_t n = 0; n < len; n++) {
        err.text[0] = '\0';
        assert_int_equal(boot_linux_parse(&img, image, n, &err), -EINVAL);
        assert_true(err.text[0] != '\0');
    }
    assert_false(boot_linux_probe(image, 0x205));
    assert_true(boot_linux_probe(image, 0x206));
}

static void a_program_may_lack_bytes_of_its_last_unit(void **state)
{
    struct linux_image img;
    struct err err;
    size_t len = fake_bzimage(image, true);

    (void)state;
    memset(image + 0x248, 0, 8); /* nothing is packed */
    assert_int_equal(boot_linux_parse(&img, image, len - 15, &err), 0);
    assert_int_equal(boot_linux_parse(&img, image, len - 16, &err), -EINVAL);
}

static void damaged_headers_are_refused(void **state)
{
    static const struct {
        size_t off;
        uint8_t val;
    } damage[] = {
        {0x1fe, 0},    /* boot flag */
        {0x207, 1},    /* protocol 1.15 */
        {0x211, 0},    /* not loaded high */
        {0x1f1, 0xff}, /* setup over the end of the file */
        {0x1f6, 1},    /* kernel over the end of the file */
        {0x201, 0},    /* header without an end */
        {0x201, 0xff}, /* header over the memory map */
        {0x24b, 1},    /* payload outside */
        {0x24f, 1},    /* payload too long */
        {0x25c, 1},    /* preferred address over 4 GiB */
        {0x25f, 0xff}, /* and one that wraps */
        {FAKE_BZIMAGE_SETUP + 0x210, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(damage); i++) {
        struct fake_machine m;
        size_t len = fake_bzimage(image, true);

        image[damage[i].off] = damage[i].val;
        fake_machine_init(&m, 64);
        assert_true(load(&m, len, NULL, 0, "") < 0);
        assert_true(m.err.text[0] != '\0');
        fake_machine_fini(&m);
    }
}

/* Linux up to 6.14 says so in its version text, and then has a checksum. */
static void only_versions_with_a_checksum_are_checked(void **state)
{
    static const struct {
        const char *text;
        int rc;
    } versions[] = {{"6.1.0-1-amd64", -EINVAL},
                    {"5.10.0", -EINVAL},
                    {"6.14.0", -EINVAL},
                    {"6.15.0", 0},
                    {"7.0.0", 0},
                    {"10.1.0", 0},
                    {"Memtest86+ v6.10", 0},
                    {"", 0}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        struct linux_image img;
        struct err err;
        size_t len = fake_bzimage(image, true);

        put_le16(image + 0x20e, 0x100);
        memcpy(image + 0x300, versions[i].text, strlen(versions[i].text) + 1);
        assert_int_equal(boot_linux_parse(&img, image, len, &err),
                         versions[i].rc);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_64_bit_entry_is_512_bytes_behind_the_load_address),
        cmocka_unit_test(a_32_bit_kernel_starts_in_flat_protected_mode),
        cmocka_unit_test(the_zero_page_says_where_everything_is),
        cmocka_unit_test(the_initrd_stays_below_the_kernels_limit),
        cmocka_unit_test(what_does_not_fit_is_refused_with_a_reason),
        cmocka_unit_test(a_cut_image_is_truncated_wherever_it_is_cut),
        cmocka_unit_test(a_program_may_lack_bytes_of_its_last_unit),
        cmocka_unit_test(damaged_headers_are_refused),
        cmocka_unit_test(only_versions_with_a_checksum_are_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
