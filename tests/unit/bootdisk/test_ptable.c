#include "bootdisk/ptable.h"

#include <errno.h>
#include <string.h>

#include "base/crc32.h"
#include "base/endian.h"
#include "bootdisk/reader.h"
#include "tests/unit/test.h"

/* Disks of a few MiB, of which only tables are looked at. */

enum { SECTOR = 512, SECTORS = 8192 };

static uint8_t disk[SECTORS * SECTOR];

static int read_disk(void *opaque, uint64_t off, void *buf, size_t len)
{
    (void)opaque;
    memcpy(buf, disk + off, len);
    return 0;
}

static int read_nothing(void *opaque, uint64_t off, void *buf, size_t len)
{
    (void)opaque;
    (void)off;
    (void)buf;
    (void)len;
    return -EIO;
}

static int parse(struct ptable *t)
{
    const struct reader r = {read_disk, NULL, sizeof(disk)};
    struct err err = {0};
    int rc = ptable_read(&r, t, &err);

    assert_int_equal(rc, err.code);
    for (unsigned i = 0; rc == 0 && i < t->nr; i++)
        assert_true(t->part[i].start + t->part[i].len <= sizeof(disk));
    return rc;
}

static void mbr_entry(uint32_t sector, unsigned n, uint8_t flag, uint8_t type,
                      uint32_t start, uint32_t len)
{
    uint8_t *e = disk + (size_t)sector * SECTOR + 446 + n * 16;

    e[0] = flag;
    e[4] = type;
    put_le32(e + 8, start);
    put_le32(e + 12, len);
    put_le16(disk + (size_t)sector * SECTOR + 510, 0xaa55);
}

static void clear(void)
{
    memset(disk, 0, sizeof(disk));
}

static void a_disk_without_a_table_is_one_volume(void **state)
{
    struct ptable t;

    (void)state;
    clear();
    assert_int_equal(parse(&t), 0);
    assert_int_equal(t.kind, PTABLE_NONE);
    assert_int_equal(t.nr, 1);
    assert_int_equal(t.part[0].number, 0);
    assert_true(t.part[0].len == sizeof(disk));
    assert_false(t.boot_code);
}

static void
primary_and_logical_partitions_are_numbered_as_linux_does(void **state)
{
    struct ptable t;

    (void)state;
    clear();
    memcpy(disk + 384, "GRUB ", 5);
    mbr_entry(0, 0, 0x80, 0x83, 64, 100);
    mbr_entry(0, 1, 0, 0x05, 1000, 3000);
    mbr_entry(0, 3, 0, 0xef, 200, 50);
    mbr_entry(1000, 0, 0, 0x83, 2, 500);
    mbr_entry(1000, 1, 0, 0x05, 600, 500);
    mbr_entry(1600, 0, 0, 0x83, 2, 300);
    assert_int_equal(parse(&t), 0);
    assert_int_equal(t.kind, PTABLE_MBR);
    assert_true(t.boot_code && t.grub && t.esp);
    assert_int_equal(t.nr, 4);
    assert_true(t.part[0].number == 1 && t.part[0].active);
    assert_true(t.part[1].number == 4 && t.part[1].esp);
    assert_int_equal(t.part[2].number, 5);
    assert_true(t.part[2].start == 1002 * SECTOR);
    assert_int_equal(t.part[3].number, 6);
    assert_true(t.part[3].start == 1602 * SECTOR);
    assert_true(t.part[3].len == 300 * SECTOR);
}

static void a_chain_that_goes_back_is_refused(void **state)
{
    struct ptable t;

    (void)state;
    clear();
    mbr_entry(0, 0, 0, 0x0f, 1000, 3000);
    mbr_entry(1000, 0, 0, 0x83, 2, 500);
    mbr_entry(1000, 1, 0, 0x05, 600, 500);
    mbr_entry(1600, 1, 0, 0x05, 600, 500); /* itself */
    assert_int_equal(parse(&t), -EINVAL);
    mbr_entry(1600, 1, 0, 0x05, 0, 500);
    assert_int_equal(parse(&t), -EINVAL);
    mbr_entry(1600, 1, 0, 0x05, 0xffffffff, 500); /* behind the end */
    assert_int_equal(parse(&t), -EINVAL);
}

static void what_reaches_beyond_the_disk_is_not_there(void **state)
{
    struct ptable t;

    (void)state;
    clear();
    mbr_entry(0, 0, 0, 0x83, 64, SECTORS);
    mbr_entry(0, 1, 0, 0x83, 0xffffffff, 0xffffffff);
    mbr_entry(0, 2, 0, 0x83, 64, 10);
    assert_int_equal(parse(&t), 0);
    assert_int_equal(t.nr, 1);
    assert_int_equal(t.part[0].number, 3);
}

static void put_gpt(uint64_t lba, uint64_t entries, uint32_t nr, uint32_t size)
{
    uint8_t *h = disk + lba * SECTOR;

    memset(h, 0, SECTOR);
    memcpy(h, "EFI PART", 8);
    put_le32(h + 8, 0x10000);
    put_le32(h + 12, 92);
    put_le64(h + 24, lba);
    put_le64(h + 72, entries);
    put_le32(h + 80, nr);
    put_le32(h + 84, size);
    put_le32(h + 88,
             crc32_update(0, disk + entries * SECTOR, (size_t)nr * size));
    put_le32(h + 16, crc32_update(0, h, 92));
}

static void put_gpt_entry(uint64_t entries, unsigned n, uint8_t type,
                          uint64_t first, uint64_t last)
{
    uint8_t *e = disk + entries * SECTOR + n * 128;

    e[0] = type;
    put_le64(e + 32, first);
    put_le64(e + 40, last);
}

static void make_gpt(void)
{
    static const uint8_t esp[16] = {0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8,
                                    0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0,
                                    0xc9, 0x3e, 0xc9, 0x3b};

    clear();
    mbr_entry(0, 0, 0, 0xee, 1, SECTORS - 1);
    for (uint64_t at = 2; at < SECTORS; at += SECTORS - 33 - 2) {
        put_gpt_entry(at, 0, 1, 2048, 4095);
        put_gpt_entry(at, 2, 1, 4096, 5000);
        put_gpt_entry(at, 3, 1, 5001, 5000);       /* empty */
        put_gpt_entry(at, 4, 1, 5001, UINT64_MAX); /* too long */
        put_gpt_entry(at, 5, 1, 100, 199);
        memcpy(disk + at * SECTOR + 5 * 128, esp, 16);
    }
    put_gpt(1, 2, 128, 128);
    put_gpt(SECTORS - 1, SECTORS - 33, 128, 128);
}

static void check_gpt(const struct ptable *t)
{
    assert_int_equal(t->kind, PTABLE_GPT);
    assert_int_equal(t->nr, 3);
    assert_int_equal(t->part[0].number, 1);
    assert_true(t->part[0].start == 2048 * SECTOR);
    assert_true(t->part[0].len == 2048 * SECTOR);
    assert_int_equal(t->part[1].number, 3);
    assert_true(t->part[2].esp && t->esp);
}

static void a_guid_table_is_read_or_else_its_copy(void **state)
{
    struct ptable t;

    (void)state;
    make_gpt();
    assert_int_equal(parse(&t), 0);
    check_gpt(&t);
    disk[SECTOR + 40] ^= 1; /* the first header's sum */
    assert_int_equal(parse(&t), 0);
    check_gpt(&t);
    make_gpt();
    disk[3 * SECTOR] ^= 1; /* the first entries' sum */
    assert_int_equal(parse(&t), 0);
    check_gpt(&t);
    disk[(SECTORS - 1) * SECTOR + 72] ^= 1;
    assert_int_equal(parse(&t), -EINVAL);
}

static void odd_guid_tables_are_refused(void **state)
{
    static const struct {
        uint32_t nr, size;
        uint64_t entries;
    } odd[] = {{128, 64, 2},   {128, 192, 2},       {128, 8192, 2},
               {2000, 128, 2}, {128, 128, SECTORS}, {128, 128, SECTORS - 1},
               {128, 0, 2}};
    struct ptable t;

    (void)state;
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        make_gpt();
        disk[(SECTORS - 1) * SECTOR] = 0;
        put_gpt(1, 2, 1, 128);
        put_le64(disk + SECTOR + 72, odd[i].entries);
        put_le32(disk + SECTOR + 80, odd[i].nr);
        put_le32(disk + SECTOR + 84, odd[i].size);
        put_le32(disk + SECTOR + 16, 0);
        put_le32(disk + SECTOR + 16, crc32_update(0, disk + SECTOR, 92));
        assert_int_equal(parse(&t), -EINVAL);
    }
}

static void disks_that_cannot_be_read_say_so(void **state)
{
    const struct reader bad = {read_nothing, NULL, sizeof(disk)};
    const struct reader tiny = {read_disk, NULL, 512};
    struct ptable t;
    struct err err;

    (void)state;
    assert_int_equal(ptable_read(&bad, &t, &err), -EIO);
    assert_int_equal(ptable_read(&tiny, &t, &err), -EINVAL);
    assert_int_equal(reader_read(&tiny, 500, disk, 13), -ERANGE);
    assert_int_equal(reader_read(&tiny, 512, disk, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_disk_without_a_table_is_one_volume),
        cmocka_unit_test(
            primary_and_logical_partitions_are_numbered_as_linux_does),
        cmocka_unit_test(a_chain_that_goes_back_is_refused),
        cmocka_unit_test(what_reaches_beyond_the_disk_is_not_there),
        cmocka_unit_test(a_guid_table_is_read_or_else_its_copy),
        cmocka_unit_test(odd_guid_tables_are_refused),
        cmocka_unit_test(disks_that_cannot_be_read_say_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
