#include "machine/fw_kernel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "tests/unit/machine/fake_image.h"
#include "tests/unit/test.h"

#define MIB ((uint64_t)1 << 20)

static struct fw_kernel k;
static struct fw_cfg fw;
static struct err err;

static int setup(void **state)
{
    static uint8_t buf[FAKE_IMAGE_MAX];

    (void)state;
    k = (struct fw_kernel){.cmdline = "quiet"};
    k.image_len = fake_bzimage(buf, true);
    k.image = malloc(k.image_len);
    assert_non_null(k.image);
    memcpy(k.image, buf, k.image_len);
    fw_cfg_init(&fw, NULL, MIB, 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fw_kernel_fini(&k);
    fw_cfg_fini(&fw);
    return 0;
}

static void give_initrd(size_t len)
{
    k.initrd = calloc(1, len);
    k.initrd_len = len;
    assert_non_null(k.initrd);
}

static void the_header_says_where_all_is(void **state)
{
    (void)state;
    give_initrd(5000);
    assert_int_equal(fw_kernel_prepare(&k, 256 * MIB, &err), 0);
    assert_int_equal(get_le32(k.image + 0x228), 0x20000);
    assert_true(get_le32(k.image + 0x218) <= 255 * MIB - 5000);
    assert_int_equal(get_le32(k.image + 0x218) & 0xfff, 0);
    assert_int_equal(get_le32(k.image + 0x21c), 5000);
    assert_int_equal(k.image[0x211] & 0x80, 0x80);
}

static unsigned sum(const uint8_t *p, size_t len)
{
    unsigned total = 0;

    for (size_t i = 0; i < len; i++)
        total += p[i];
    return total & 0xff;
}

static void the_rom_is_one_that_a_bios_takes(void **state)
{
    const uint8_t *pnp;

    (void)state;
    assert_int_equal(fw_kernel_prepare(&k, 256 * MIB, &err), 0);
    assert_int_equal(get_le16(k.rom), 0xaa55);
    assert_int_equal(k.rom[2] * 512, sizeof(k.rom));
    assert_int_equal(sum(k.rom, sizeof(k.rom)), 0);
    pnp = k.rom + get_le16(k.rom + 0x1a);
    assert_memory_equal(pnp, "$PnP", 4);
    assert_int_equal(sum(pnp, 32), 0);
    assert_in_range(get_le16(pnp + 0x1a), 1, sizeof(k.rom) - 1);
}

static uint32_t item(unsigned n)
{
    uint32_t val = 0;

    fw_cfg_bus_ops.write(&fw, 0, 2, n);
    for (unsigned i = 0; i < 4; i++)
        val |= (uint32_t)fw_cfg_bus_ops.read(&fw, 1, 1) << (8 * i);
    return val;
}

static void the_parts_are_items(void **state)
{
    (void)state;
    assert_int_equal(fw_kernel_prepare(&k, 256 * MIB, &err), 0);
    assert_int_equal(fw_kernel_add(&k, &fw), 0);
    assert_int_equal(item(FW_CFG_SETUP_SIZE), k.setup_len);
    assert_int_equal(item(FW_CFG_KERNEL_SIZE), k.image_len - k.setup_len);
    assert_int_equal(item(FW_CFG_CMDLINE_SIZE), 6);
    assert_int_equal(item(FW_CFG_INITRD_SIZE), 0);
    assert_int_equal(item(FW_CFG_CMDLINE_DATA),
                     'q' | 'u' << 8 | 'i' << 16 | 'e' << 24);
    assert_int_equal(item(FW_CFG_SETUP_DATA), get_le32(k.image));
    assert_int_equal(item(FW_CFG_KERNEL_DATA), get_le32(k.image + k.setup_len));
    assert_int_equal(item(FW_CFG_INITRD_DATA), 0);
}

static void what_cannot_be_started_is_refused(void **state)
{
    static char line[70000];

    (void)state;
    give_initrd(2 * MIB);
    assert_int_equal(fw_kernel_prepare(&k, 3 * MIB, &err), -ENOSPC);
    assert_int_equal(fw_kernel_prepare(&k, MIB / 2, &err), -ENOSPC);
    memset(line, 'x', sizeof(line) - 1);
    k.cmdline = line;
    assert_int_equal(fw_kernel_prepare(&k, 256 * MIB, &err), -EINVAL);
    k.cmdline = "";
    assert_int_equal(fw_kernel_prepare(&k, 256 * MIB, &err), 0);
    k.image[0x202] = 'X';
    assert_int_equal(fw_kernel_prepare(&k, 256 * MIB, &err), -EINVAL);
    k.image_len = 10;
    assert_int_equal(fw_kernel_prepare(&k, 256 * MIB, &err), -EINVAL);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_header_says_where_all_is),
        T(the_rom_is_one_that_a_bios_takes),
        T(the_parts_are_items),
        T(what_cannot_be_started_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
