#include "devices/pc/fw_cfg.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/endian.h"
#include "tests/unit/devices/pc/fixture.h"

static struct fw_cfg fw;

static void select_item(unsigned item)
{
    wr(&fw_cfg_bus_ops, &fw, 0, 2, item);
}

static void read_bytes(void *dst, size_t len)
{
    uint8_t *p = dst;

    while (len--)
        *p++ = rd8(&fw_cfg_bus_ops, &fw, 1);
}

static int setup(void **state)
{
    (void)state;
    fw_cfg_init(&fw, 5ull << 30, 4);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fw_cfg_fini(&fw);
    return 0;
}

static void numbers_are_little_endian(void **state)
{
    uint8_t buf[8];

    (void)state;
    select_item(FW_CFG_SIGNATURE);
    read_bytes(buf, 4);
    assert_memory_equal(buf, "QEMU", 4);
    select_item(FW_CFG_ID);
    read_bytes(buf, 4);
    assert_int_equal(get_le32(buf), 1);
    select_item(FW_CFG_RAM_SIZE);
    read_bytes(buf, 8);
    assert_int_equal(get_le64(buf), 5ull << 30);
    select_item(FW_CFG_NB_CPUS);
    read_bytes(buf, 2);
    assert_int_equal(get_le16(buf), 4);
}

static void zeros_follow_the_end_of_an_item(void **state)
{
    uint8_t buf[8];

    (void)state;
    select_item(FW_CFG_SIGNATURE);
    read_bytes(buf, 8);
    assert_int_equal(get_le32(buf + 4), 0);
    select_item(0x3fff);
    read_bytes(buf, 8);
    assert_int_equal(get_le64(buf), 0);
    fw.st.offset = UINT32_MAX;
    read_bytes(buf, 2);
    assert_int_equal(fw.st.offset, UINT32_MAX);
}

static void the_directory_lists_files(void **state)
{
    uint8_t buf[4 + 2 * 64];

    (void)state;
    assert_int_equal(fw_cfg_add_file(&fw, "etc/one", "1", 1), 0);
    assert_int_equal(fw_cfg_add_file(&fw, "etc/three", "333", 3), 0);
    select_item(FW_CFG_FILE_DIR);
    read_bytes(buf, sizeof(buf));
    assert_int_equal(get_be32(buf), 2);
    assert_int_equal(get_be32(buf + 68), 3);
    assert_string_equal((char *)buf + 76, "etc/three");
    select_item(get_be16(buf + 72));
    read_bytes(buf, 4);
    assert_memory_equal(buf, "333", 4);
}

static void bad_files_are_refused(void **state)
{
    char name[FW_CFG_NAME + 1];
    unsigned i;

    (void)state;
    memset(name, 'x', sizeof(name));
    name[FW_CFG_NAME] = '\0';
    assert_int_equal(fw_cfg_add_file(&fw, name, "", 0), -EINVAL);
    name[FW_CFG_NAME - 1] = '\0';
    assert_int_equal(fw_cfg_add_file(&fw, name, "", 0), 0);
    assert_int_equal(fw_cfg_add_file(&fw, name, "", 0), -EINVAL);
    for (i = 1; i < FW_CFG_FILES; i++) {
        (void)snprintf(name, sizeof(name), "f%u", i);
        assert_int_equal(fw_cfg_add_file(&fw, name, "", 0), 0);
    }
    assert_int_equal(fw_cfg_add_file(&fw, "more", "", 0), -ENOSPC);
}

static void data_cannot_be_written(void **state)
{
    uint8_t buf[4];

    (void)state;
    select_item(FW_CFG_SIGNATURE);
    wr8(&fw_cfg_bus_ops, &fw, 1, 'X');
    read_bytes(buf, 4);
    assert_memory_equal(buf, "QEMU", 4);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(numbers_are_little_endian), T(zeros_follow_the_end_of_an_item),
        T(the_directory_lists_files), T(bad_files_are_refused),
        T(data_cannot_be_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
