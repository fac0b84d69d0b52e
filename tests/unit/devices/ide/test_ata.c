#include <errno.h>
#include <string.h>

#include "base/endian.h"
#include "tests/unit/devices/ide/drives.h"
#include "tests/unit/test.h"

/* ata.c, ata_identify.c: what the commands of a disk do. */

static uint16_t word(const uint8_t *id, unsigned n)
{
    return get_le16(id + 2 * (size_t)n);
}

static void identify(struct drives *d, uint8_t *id)
{
    ata(d, 0xec, 0, 0);
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_GOOD | S_DRQ);
    take(d, PRIMARY, id, 512);
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_GOOD);
}

static void assert_good(struct drives *d)
{
    assert_true(d->irq[0]);
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_GOOD);
}

static void assert_aborted(struct drives *d)
{
    assert_true(d->irq[0]);
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_GOOD | S_ERR);
    assert_int_equal(in(d, PRIMARY + R_ERROR, 1) & 4, 4);
}

static void identify_tells_what_there_is(void **state)
{
    struct drives *d = drives_make(0);
    uint8_t id[512];

    (void)state;
    identify(d, id);
    assert_int_equal(word(id, 0), 0x0040);
    assert_memory_equal(id + 20, " aesirla", 8); /* "a serial", swapped */
    assert_memory_equal(id + 54, "uhksd si", 8);
    assert_int_equal(word(id, 49) & 0x300, 0x300);
    assert_int_equal(get_le32(id + 120), DISK_SECTORS);
    assert_true(get_le64(id + 200) == DISK_SECTORS);
    assert_int_equal(word(id, 106), 0x6003); /* eight sectors in a block */
    assert_int_equal(word(id, 83) & 0x7400, 0x7400);
    assert_int_equal(word(id, 88), 0x003f);
    drives_end(d);
}

static void features_show_in_identify(void **state)
{
    struct drives *d = drives_make(0);
    uint8_t id[512];

    (void)state;
    out(d, PRIMARY + R_ERROR, 1, 0x03);
    ata(d, 0xef, 0, 0x45);
    assert_good(d);
    out(d, PRIMARY + R_ERROR, 1, 0x82);
    ata(d, 0xef, 0, 0);
    ide_drain(&d->ide);
    assert_good(d);
    assert_int_equal(d->disk.log[0].op, FAKE_FLUSH);
    ata(d, 0xc6, 0, 8);
    assert_good(d);
    identify(d, id);
    assert_int_equal(word(id, 88), 0x203f);
    assert_int_equal(word(id, 85) & 0x20, 0);
    assert_int_equal(word(id, 59), 0x108);
    out(d, PRIMARY + R_ERROR, 1, 0x03);
    ata(d, 0xef, 0, 0x46); /* faster than it is */
    assert_aborted(d);
    ata(d, 0xc6, 0, 3);
    assert_aborted(d);
    drives_end(d);
}

static void writes_go_through_without_a_cache(void **state)
{
    struct drives *d = drives_make(0);
    uint8_t buf[512] = {0};

    (void)state;
    ata(d, 0x30, 0, 1);
    give(d, PRIMARY, buf, sizeof(buf));
    ide_drain(&d->ide);
    assert_int_equal(d->disk.log[0].flags, 0);
    out(d, PRIMARY + R_ERROR, 1, 0x82);
    ata(d, 0xef, 0, 0);
    ide_drain(&d->ide);
    ata(d, 0x30, 0, 1);
    give(d, PRIMARY, buf, sizeof(buf));
    ide_drain(&d->ide);
    assert_int_equal(d->disk.log[2].flags, BLK_FUA);
    drives_end(d);
}

static void multiple_moves_blocks(void **state)
{
    struct drives *d = drives_make(0);
    uint8_t buf[8 * 512];

    (void)state;
    ata(d, 0xc6, 0, 4);
    ata(d, 0xc4, 1, 6);
    assert_true(d->irq[0]);
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_GOOD | S_DRQ);
    take(d, PRIMARY, buf, 3 * 512);
    assert_false(d->irq[0]);
    take(d, PRIMARY, buf + 3 * 512, 512);
    assert_true(d->irq[0]); /* the second block */
    (void)in(d, PRIMARY + R_STATUS, 1);
    take(d, PRIMARY, buf + 4 * 512, 2 * 512);
    for (unsigned i = 0; i < 6 * 512; i++)
        assert_int_equal(buf[i], fake_blk_byte(512 + i));
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_GOOD);
    ata(d, 0xc6, 0, 0);
    ata(d, 0xc4, 1, 1);
    assert_aborted(d);
    drives_end(d);
}

static void cylinders_heads_and_sectors_name_sectors(void **state)
{
    struct drives *d = drives_make(0);

    (void)state;
    out(d, PRIMARY + R_DEVICE, 1, 0xa1); /* two heads */
    out(d, PRIMARY + R_COUNT, 1, 10);
    out(d, PRIMARY + R_STATUS, 1, 0x91);
    assert_good(d);
    out(d, PRIMARY + R_DEVICE, 1, 0xa1); /* head 1 */
    out(d, PRIMARY + R_COUNT, 1, 1);
    out(d, PRIMARY + R_LOW, 1, 3);
    out(d, PRIMARY + R_MID, 1, 2);
    out(d, PRIMARY + R_HIGH, 1, 0);
    out(d, PRIMARY + R_STATUS, 1, 0x20);
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_GOOD | S_DRQ);
    assert_true(d->disk.log[0].off == 512 * ((2 * 2 + 1) * 10 + 3 - 1));
    out(d, PRIMARY + R_LOW, 1, 0); /* there is no sector 0 */
    out(d, PRIMARY + R_STATUS, 1, 0x20);
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_GOOD | S_ERR);
    assert_int_equal(in(d, PRIMARY + R_ERROR, 1), 0x14);
    drives_end(d);
}

static void nothing_lies_beyond_the_end(void **state)
{
    static const uint8_t cmds[] = {0x20, 0x30, 0x40, 0xc4, 0xc5, 0xc8, 0xca};
    struct drives *d = drives_make(0);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cmds); i++) {
        ata(d, cmds[i], DISK_SECTORS - 1, 2);
        assert_aborted(d);
    }
    ata_ext(d, 0x24, UINT64_MAX, 0);
    assert_aborted(d);
    ata_ext(d, 0x34, (uint64_t)1 << 40, 1);
    assert_aborted(d);
    assert_int_equal(d->disk.nr_log, 0);
    ata(d, 0x40, DISK_SECTORS - 2, 2);
    assert_good(d);
    drives_end(d);
}

static void a_count_of_zero_is_the_most(void **state)
{
    struct drives *d = drives_make(0);

    (void)state;
    ata(d, 0x40, 0, 0); /* 256 sectors of 128 */
    assert_aborted(d);
    ata_ext(d, 0x42, 0, 0);
    assert_aborted(d);
    drives_end(d);
}

static void a_read_only_disk_is_not_written(void **state)
{
    struct drives *d = drives_make(BLK_RDONLY);

    (void)state;
    ata(d, 0x30, 0, 1);
    assert_aborted(d);
    ata(d, 0xca, 0, 1);
    assert_aborted(d);
    drives_end(d);
}

static void a_flush_flushes(void **state)
{
    struct drives *d = drives_make(0);

    (void)state;
    ata(d, 0xea, 0, 0);
    ide_drain(&d->ide);
    assert_good(d);
    assert_int_equal(d->disk.log[0].op, FAKE_FLUSH);
    fake_blk_fail(&d->disk, -EIO);
    ata(d, 0xe7, 0, 0);
    ide_drain(&d->ide);
    assert_aborted(d);
    fake_blk_fail(&d->disk, 0);
    ata(d, 0xe7, 0, 0); /* what was lost stays lost */
    ide_drain(&d->ide);
    assert_aborted(d);
    drives_end(d);
}

static void the_last_address_is_told(void **state)
{
    struct drives *d = drives_make(0);

    (void)state;
    ata(d, 0xf8, 0, 0);
    assert_good(d);
    assert_int_equal(in(d, PRIMARY + R_LOW, 1), DISK_SECTORS - 1);
    assert_int_equal(in(d, PRIMARY + R_MID, 1), 0);
    ata_ext(d, 0x27, 0, 0);
    assert_good(d);
    assert_int_equal(in(d, PRIMARY + R_LOW, 1), DISK_SECTORS - 1);
    drives_end(d);
}

static void smart_says_that_all_is_well(void **state)
{
    struct drives *d = drives_make(0);
    uint8_t buf[512], sum = 0;

    (void)state;
    out(d, PRIMARY + R_ERROR, 1, 0xda);
    ata(d, 0xb0, 0xc24f00, 0);
    assert_good(d);
    assert_int_equal(in(d, PRIMARY + R_MID, 1), 0x4f);
    assert_int_equal(in(d, PRIMARY + R_HIGH, 1), 0xc2);
    out(d, PRIMARY + R_ERROR, 1, 0xd0);
    ata(d, 0xb0, 0xc24f00, 1);
    take(d, PRIMARY, buf, sizeof(buf));
    for (unsigned i = 0; i < sizeof(buf); i++)
        sum = (uint8_t)(sum + buf[i]);
    assert_int_equal(sum, 0);
    out(d, PRIMARY + R_ERROR, 1, 0xd9);
    ata(d, 0xb0, 0xc24f00, 0);
    assert_good(d);
    out(d, PRIMARY + R_ERROR, 1, 0xd0);
    ata(d, 0xb0, 0xc24f00, 1);
    assert_aborted(d);
    ata(d, 0xb0, 0, 0);
    assert_aborted(d);
    drives_end(d);
}

static void small_commands_do_what_drivers_expect(void **state)
{
    static const uint8_t good[] = {0x10, 0x1f, 0x70, 0xe0, 0xe1,
                                   0xe2, 0xe3, 0xe6, 0x40};
    static const uint8_t bad[] = {0x00, 0x08, 0xa0, 0xa1, 0xf5, 0xff};
    struct drives *d = drives_make(0);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        ata(d, good[i], 0, 1);
        assert_good(d);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        ata(d, bad[i], 0, 1);
        assert_aborted(d);
    }
    ata(d, 0xe5, 0, 0);
    assert_good(d);
    assert_int_equal(in(d, PRIMARY + R_COUNT, 1), 0xff);
    drives_end(d);
}

static void a_disk_that_grew_is_larger(void **state)
{
    struct drives *d = drives_make(0);
    struct err err;

    (void)state;
    ata(d, 0x40, DISK_SECTORS, 1);
    assert_aborted(d);
    assert_int_equal(blk_resize(&d->disk.blk, 2 * FAKE_BLK_SIZE, &err), 0);
    ide_resized(&d->ide, 0);
    ata(d, 0x40, DISK_SECTORS, 1);
    assert_good(d);
    drives_end(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(identify_tells_what_there_is),
        cmocka_unit_test(features_show_in_identify),
        cmocka_unit_test(writes_go_through_without_a_cache),
        cmocka_unit_test(multiple_moves_blocks),
        cmocka_unit_test(cylinders_heads_and_sectors_name_sectors),
        cmocka_unit_test(nothing_lies_beyond_the_end),
        cmocka_unit_test(a_count_of_zero_is_the_most),
        cmocka_unit_test(a_read_only_disk_is_not_written),
        cmocka_unit_test(a_flush_flushes),
        cmocka_unit_test(the_last_address_is_told),
        cmocka_unit_test(smart_says_that_all_is_well),
        cmocka_unit_test(small_commands_do_what_drivers_expect),
        cmocka_unit_test(a_disk_that_grew_is_larger),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
