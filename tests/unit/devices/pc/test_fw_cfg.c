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
    fw_cfg_init(&fw, NULL, 5ull << 30, 4);
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

/* --- DMA ------------------------------------------------------------------ */

static struct gmem gm;

static int setup_dma(void **state)
{
    static const struct gmem_layout ram = {.start = 0, .size = 0x10000};
    struct err err;

    (void)state;
    assert_int_equal(gmem_init(&gm, &ram, 1, &err), 0);
    fw_cfg_init(&fw, &gm, 1 << 20, 1);
    return 0;
}

static int teardown_dma(void **state)
{
    (void)state;
    fw_cfg_fini(&fw);
    gmem_fini(&gm);
    return 0;
}

/* Run one access whose structure is at 0x100; returns what is left there. */
static uint32_t dma(uint32_t control, uint32_t len, uint64_t gpa)
{
    uint8_t access[16];

    put_be32(access, control);
    put_be32(access + 4, len);
    put_be64(access + 8, gpa);
    assert_int_equal(gmem_write(&gm, 0x100, access, sizeof(access)), 0);
    wr(&fw_cfg_dma_bus_ops, &fw, 0, 4, 0);
    wr(&fw_cfg_dma_bus_ops, &fw, 4, 4, __builtin_bswap32(0x100));
    assert_int_equal(gmem_read(&gm, 0x100, access, 4), 0);
    return get_be32(access);
}

enum { SELECT = 8, SKIP = 4, READ = 2, WRITE = 0x10 };

static void dma_is_announced(void **state)
{
    uint8_t buf[4];

    (void)state;
    select_item(FW_CFG_ID);
    read_bytes(buf, 4);
    assert_int_equal(get_le32(buf), 3);
    put_le32(buf, (uint32_t)rd(&fw_cfg_dma_bus_ops, &fw, 4, 4));
    assert_memory_equal(buf, " CFG", 4);
}

static void dma_selects_skips_and_reads(void **state)
{
    char got[4] = "...";

    (void)state;
    assert_int_equal(dma(SELECT | SKIP | FW_CFG_SIGNATURE << 16, 1, 0), 0);
    assert_int_equal(dma(READ, 4, 0x200), 0);
    assert_int_equal(gmem_read(&gm, 0x200, got, 4), 0);
    assert_memory_equal(got, "EMU", 4); /* and a zero behind the end */
}

static void dma_out_of_memory_is_an_error(void **state)
{
    (void)state;
    assert_int_equal(dma(SELECT | READ, UINT32_MAX, 0xff00), 1);
    assert_int_equal(dma(SELECT | READ, 4, UINT64_MAX - 1), 1);
    wr(&fw_cfg_dma_bus_ops, &fw, 0, 4, 0xffffffff);
    wr(&fw_cfg_dma_bus_ops, &fw, 4, 4, 0xffffffff); /* no structure */
}

static void dma_writes_are_refused(void **state)
{
    (void)state;
    assert_int_equal(dma(SELECT | WRITE, 4, 0x200), 1);
    assert_int_equal(dma(SKIP, UINT32_MAX, 0), 0);
    assert_int_equal(dma(SKIP, UINT32_MAX, 0), 0);
    assert_int_equal(fw.st.offset, UINT32_MAX);
}

static void without_memory_there_is_no_dma(void **state)
{
    (void)state;
    assert_int_equal(rd(&fw_cfg_dma_bus_ops, &fw, 0, 4), 0);
    wr(&fw_cfg_dma_bus_ops, &fw, 4, 4, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#define TD(f) cmocka_unit_test_setup_teardown(f, setup_dma, teardown_dma)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(numbers_are_little_endian),
        T(zeros_follow_the_end_of_an_item),
        T(the_directory_lists_files),
        T(bad_files_are_refused),
        T(data_cannot_be_written),
        T(without_memory_there_is_no_dma),
        TD(dma_is_announced),
        TD(dma_selects_skips_and_reads),
        TD(dma_out_of_memory_is_an_error),
        TD(dma_writes_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
