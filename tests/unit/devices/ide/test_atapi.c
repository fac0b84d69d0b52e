#include <errno.h>
#include <string.h>

#include "base/endian.h"
#include "tests/unit/devices/ide/drives.h"
#include "tests/unit/test.h"

/* atapi.c, atapi_mode.c, atapi_disc.c: packets and what they ask for. */

enum {
    BAD_COMMAND = 0x052000,
    BAD_LBA = 0x052100,
    BAD_FIELD = 0x052400,
    NO_MEDIUM = 0x023a01,
    TRAY_OPEN = 0x023a02,
    LOCKED = 0x055302,
    CHANGED = 0x062800,
    READ_ERROR = 0x031100
};

enum { CD = 2 }; /* drive number */

/* The answer to a packet that fits into one piece; its length. */
static unsigned ask(struct drives *d, const uint8_t cdb[12], uint8_t *buf)
{
    unsigned n;

    packet(d, cdb, 0, 0xfffe);
    assert_true(d->irq[1]);
    assert_int_equal(in(d, SECONDARY + R_STATUS, 1), S_GOOD | S_DRQ);
    assert_int_equal(in(d, SECONDARY + R_COUNT, 1), 2);
    n = in(d, SECONDARY + R_MID, 1) | in(d, SECONDARY + R_HIGH, 1) << 8;
    take(d, SECONDARY, buf, n);
    assert_true(d->irq[1]);
    assert_int_equal(in(d, SECONDARY + R_STATUS, 1), S_GOOD);
    assert_int_equal(in(d, SECONDARY + R_COUNT, 1), 3);
    return n;
}

static void assert_fails(struct drives *d, const uint8_t cdb[12], uint32_t why)
{
    packet(d, cdb, 0, 0xfffe);
    assert_true(d->irq[1]);
    assert_int_equal(in(d, SECONDARY + R_STATUS, 1), S_GOOD | S_ERR);
    assert_int_equal(in(d, SECONDARY + R_ERROR, 1) >> 4, why >> 16);
    assert_int_equal(in(d, SECONDARY + R_COUNT, 1), 3);
    assert_int_equal(sense(d), why);
    assert_int_equal(sense(d), 0); /* told once */
}

static void assert_works(struct drives *d, const uint8_t cdb[12])
{
    packet(d, cdb, 0, 0xfffe);
    assert_true(d->irq[1]);
    assert_int_equal(in(d, SECONDARY + R_STATUS, 1), S_GOOD);
}

static const uint8_t ready[12] = {0x00};
static const uint8_t open_tray[12] = {0x1b, 0, 0, 0, 2};
static const uint8_t close_tray[12] = {0x1b, 0, 0, 0, 3};
static const uint8_t lock[12] = {0x1e, 0, 0, 0, 1};
static const uint8_t unlock[12] = {0x1e, 0, 0, 0, 0};
static const uint8_t events[12] = {0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8};

static void it_says_what_it_is(void **state)
{
    const uint8_t inquiry[12] = {0x12, 0, 0, 0, 36};
    struct drives *d = drives_make(0);
    uint8_t buf[512];

    (void)state;
    assert_int_equal(ask(d, inquiry, buf), 36);
    assert_int_equal(buf[0], 5);
    assert_int_equal(buf[1], 0x80);
    assert_memory_equal(buf + 8, "husk    CD-ROM", 14);
    out(d, SECONDARY + R_STATUS, 1, 0xa1);
    take(d, SECONDARY, buf, 512);
    assert_int_equal(get_le16(buf), 0x85c0);
    assert_int_equal(in(d, SECONDARY + R_STATUS, 1), S_GOOD);
    drives_end(d);
}

static void it_is_no_disk(void **state)
{
    struct drives *d = drives_make(0);

    (void)state;
    out(d, SECONDARY + R_STATUS, 1, 0xec);
    assert_int_equal(in(d, SECONDARY + R_STATUS, 1), S_GOOD | S_ERR);
    assert_int_equal(in(d, SECONDARY + R_MID, 1), 0x14);
    assert_int_equal(in(d, SECONDARY + R_HIGH, 1), 0xeb);
    out(d, SECONDARY + R_STATUS, 1, 0x20);
    assert_int_equal(in(d, SECONDARY + R_STATUS, 1), S_GOOD | S_ERR);
    drives_end(d);
}

static void an_answer_is_cut_to_what_was_allowed(void **state)
{
    const uint8_t five[12] = {0x12, 0, 0, 0, 5};
    const uint8_t none[12] = {0x12};
    struct drives *d = drives_make(0);
    uint8_t buf[8] = {0};

    (void)state;
    assert_int_equal(ask(d, five, buf), 5);
    assert_int_equal(buf[4], 31);
    assert_works(d, none);
    drives_end(d);
}

static void blocks_are_read_in_pieces(void **state)
{
    const uint8_t read[12] = {0x28, 0, 0, 0, 0, 3, 0, 0, 2};
    struct drives *d = drives_make(0);
    uint8_t buf[4096];
    unsigned done = 0;

    (void)state;
    packet(d, read, 0, 1501); /* odd: 1500 */
    while (done < sizeof(buf)) {
        unsigned n;

        assert_int_equal(in(d, SECONDARY + R_STATUS, 1), S_GOOD | S_DRQ);
        n = in(d, SECONDARY + R_MID, 1) | in(d, SECONDARY + R_HIGH, 1) << 8;
        assert_int_equal(n, done == 3000 ? 1096 : 1500);
        take(d, SECONDARY, buf + done, n);
        done += n;
    }
    assert_int_equal(in(d, SECONDARY + R_STATUS, 1), S_GOOD);
    for (unsigned i = 0; i < sizeof(buf); i++)
        assert_int_equal(buf[i], fake_blk_byte(3 * 2048 + i));
    drives_end(d);
}

static void blocks_are_read_by_dma(void **state)
{
    const uint8_t read[12] = {0xa8, 0, 0, 0, 0, 1, 0, 0, 0, 3};
    struct drives *d = drives_make(0);
    uint8_t byte;

    (void)state;
    put_prd(d, 0x1000, 0, 0x8000, 3 * 2048, true);
    packet(d, read, 1, 0);
    bm_start(d, 1, 0x1000, true);
    assert_true(d->irq[1]);
    assert_int_equal(in(d, BM + 10, 1), 4);
    assert_int_equal(in(d, SECONDARY + R_STATUS, 1), S_GOOD);
    assert_int_equal(in(d, SECONDARY + R_COUNT, 1), 3);
    assert_int_equal(gmem_read(&d->gm, 0x8000 + 5000, &byte, 1), 0);
    assert_int_equal(byte, fake_blk_byte(2048 + 5000));
    drives_end(d);
}

static void an_answer_goes_by_dma_too(void **state)
{
    const uint8_t inquiry[12] = {0x12, 0, 0, 0, 36};
    struct drives *d = drives_make(0);
    char text[5] = "";

    (void)state;
    put_prd(d, 0x1000, 0, 0x8000, 20, false);
    put_prd(d, 0x1000, 1, 0x9000, 64, true);
    packet(d, inquiry, 1, 0);
    bm_start(d, 1, 0x1000, true);
    assert_int_equal(in(d, SECONDARY + R_STATUS, 1), S_GOOD);
    assert_int_equal(gmem_read(&d->gm, 0x8008, text, 4), 0);
    assert_string_equal(text, "husk");
    drives_end(d);
}

static void nothing_lies_beyond_the_end(void **state)
{
    const uint8_t read[12] = {0x28, 0, 0, 0, 0, CD_BLOCKS - 1, 0, 0, 2};
    const uint8_t far[12] = {0xa8, 0,    0xff, 0xff, 0xff,
                             0xff, 0xff, 0xff, 0xff, 0xff};
    const uint8_t seek[12] = {0x2b, 0, 0, 0, 0, CD_BLOCKS};
    const uint8_t none[12] = {0x28, 0, 0, 0, 0, CD_BLOCKS};
    struct drives *d = drives_make(0);

    (void)state;
    assert_fails(d, read, BAD_LBA);
    assert_fails(d, far, BAD_LBA);
    assert_fails(d, seek, BAD_LBA);
    assert_works(d, none);
    drives_end(d);
}

static void read_cd_knows_user_data_only(void **state)
{
    const uint8_t data[12] = {0xbe, 0, 0, 0, 0, 2, 0, 0, 1, 0x10};
    const uint8_t raw[12] = {0xbe, 0, 0, 0, 0, 2, 0, 0, 1, 0xf8};
    const uint8_t audio[12] = {0xbe, 4, 0, 0, 0, 2, 0, 0, 1, 0x10};
    const uint8_t nothing[12] = {0xbe, 0, 0, 0, 0, 2, 0, 0, 1, 0};
    struct drives *d = drives_make(0);
    uint8_t buf[2048];

    (void)state;
    assert_int_equal(ask(d, data, buf), 2048);
    assert_int_equal(buf[9], fake_blk_byte(2 * 2048 + 9));
    assert_fails(d, raw, BAD_FIELD);
    assert_fails(d, audio, 0x056400);
    assert_works(d, nothing);
    drives_end(d);
}

static void a_read_that_fails_is_a_medium_error(void **state)
{
    const uint8_t read[12] = {0x28, 0, 0, 0, 0, 0, 0, 0, 1};
    struct drives *d = drives_make(0);

    (void)state;
    fake_blk_fail(&d->cd, -EIO);
    assert_fails(d, read, READ_ERROR);
    drives_end(d);
}

static void the_disc_is_one_track_of_data(void **state)
{
    const uint8_t capacity[12] = {0x25};
    const uint8_t toc[12] = {0x43, 0, 0, 0, 0, 0, 0, 0, 64};
    const uint8_t msf[12] = {0x43, 2, 0, 0, 0, 0, 0xaa, 0, 64};
    const uint8_t session[12] = {0x43, 0, 1, 0, 0, 0, 0, 0, 64};
    const uint8_t raw[12] = {0x43, 2, 2, 0, 0, 0, 0, 0, 64};
    const uint8_t bad[12] = {0x43, 0, 5, 0, 0, 0, 0, 0, 64};
    const uint8_t info[12] = {0x51, 0, 0, 0, 0, 0, 0, 0, 64};
    const uint8_t track[12] = {0x52, 1, 0, 0, 0, 1, 0, 0, 64};
    struct drives *d = drives_make(0);
    uint8_t buf[64];

    (void)state;
    assert_int_equal(ask(d, capacity, buf), 8);
    assert_int_equal(get_be32(buf), CD_BLOCKS - 1);
    assert_int_equal(get_be32(buf + 4), 2048);
    assert_int_equal(ask(d, toc, buf), 20);
    assert_int_equal(get_be16(buf), 18);
    assert_int_equal(buf[5], 0x14);
    assert_int_equal(buf[6], 1);
    assert_int_equal(buf[14], 0xaa);
    assert_int_equal(get_be32(buf + 16), CD_BLOCKS);
    assert_int_equal(ask(d, msf, buf), 12);
    assert_int_equal(get_be32(buf + 8), 2 << 8 | CD_BLOCKS); /* 0:02:32 */
    assert_int_equal(ask(d, session, buf), 12);
    assert_int_equal(ask(d, raw, buf), 4 + 4 * 11);
    assert_int_equal(buf[4 + 3], 0xa0);
    assert_fails(d, bad, BAD_FIELD);
    assert_int_equal(ask(d, info, buf), 34);
    assert_int_equal(ask(d, track, buf), 36);
    assert_int_equal(get_be32(buf + 24), CD_BLOCKS);
    drives_end(d);
}

static void modes_and_features_are_told(void **state)
{
    const uint8_t caps[12] = {0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 128};
    const uint8_t small[12] = {0x1a, 0, 0x01, 0, 128};
    const uint8_t all[12] = {0x5a, 0, 0x3f, 0, 0, 0, 0, 0, 128};
    const uint8_t saved[12] = {0x5a, 0, 0xea, 0, 0, 0, 0, 0, 128};
    const uint8_t other[12] = {0x5a, 0, 0x1c, 0, 0, 0, 0, 0, 128};
    const uint8_t config[12] = {0x46, 0, 0, 0, 0, 0, 0, 0, 128};
    const uint8_t one[12] = {0x46, 2, 0, 0x1e, 0, 0, 0, 0, 128};
    const uint8_t dvd[12] = {0xad, 0, 0, 0, 0, 0, 0, 0, 0, 64};
    struct drives *d = drives_make(0);
    uint8_t buf[128];

    (void)state;
    assert_int_equal(ask(d, caps, buf), 30);
    assert_int_equal(get_be16(buf), 28);
    assert_int_equal(buf[8], 0x2a);
    assert_int_equal(ask(d, small, buf), 12);
    assert_int_equal(buf[4], 0x01);
    assert_int_equal(ask(d, all, buf), 8 + 8 + 16 + 22);
    assert_fails(d, saved, 0x053900);
    assert_fails(d, other, BAD_FIELD);
    assert_int_equal(ask(d, config, buf), 8 + 12 + 12 + 8 + 12 + 8 + 4);
    assert_int_equal(get_be16(buf + 6), 0x08); /* a CD is in it */
    assert_int_equal(ask(d, one, buf), 16);
    assert_int_equal(get_be16(buf + 8), 0x1e);
    assert_fails(d, dvd, 0x053002);
    drives_end(d);
}

static void a_large_disc_is_a_dvd(void **state)
{
    const uint8_t config[12] = {0x46, 0, 0, 0, 0, 0, 0, 0, 8};
    const uint8_t dvd[12] = {0xad, 0, 0, 0, 0, 0, 0, 0, 0, 64};
    struct drives *d = drives_make(0);
    uint8_t buf[64];

    (void)state;
    d->ide.channel[1].drive[0].blocks = 1000000;
    (void)ask(d, config, buf);
    assert_int_equal(get_be16(buf + 6), 0x10);
    assert_int_equal(ask(d, dvd, buf), 64);
    assert_int_equal(get_be32(buf + 12), 0x30000 + 999999);
    drives_end(d);
}

static void commands_that_there_are_not_fail(void **state)
{
    static const uint8_t bad[] = {0x2a, 0x04, 0x35, 0x55, 0xa1, 0xff};
    struct drives *d = drives_make(0);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const uint8_t cdb[12] = {bad[i]};

        assert_fails(d, cdb, BAD_COMMAND);
    }
    drives_end(d);
}

/* --- Media --- */

static void a_guest_opens_and_closes_the_tray(void **state)
{
    struct drives *d = drives_make(0);
    bool is_open, is_locked;
    uint8_t buf[8];

    (void)state;
    assert_works(d, ready);
    assert_works(d, open_tray);
    ide_tray(&d->ide, CD, &is_open, &is_locked);
    assert_true(is_open);
    assert_fails(d, ready, TRAY_OPEN);
    assert_int_equal(ask(d, events, buf), 8);
    assert_int_equal(buf[4], 3); /* removed */
    assert_int_equal(buf[5], 1);
    assert_works(d, close_tray);
    assert_fails(d, ready, CHANGED);
    assert_works(d, ready);
    drives_end(d);
}

static void a_locked_tray_stays_shut(void **state)
{
    struct drives *d = drives_make(0);

    (void)state;
    assert_works(d, lock);
    assert_fails(d, open_tray, LOCKED);
    assert_works(d, unlock);
    assert_works(d, open_tray);
    drives_end(d);
}

static void a_changed_medium_is_told_once(void **state)
{
    const uint8_t inquiry[12] = {0x12, 0, 0, 0, 36};
    struct drives *d = drives_make(0);
    struct blk *old = NULL;
    struct err err;
    uint8_t buf[64];

    (void)state;
    assert_int_equal(ide_change_medium(&d->ide, CD, NULL, false, &old, &err),
                     0);
    assert_ptr_equal(old, &d->cd.blk);
    assert_fails(d, ready, NO_MEDIUM);
    assert_int_equal(
        ide_change_medium(&d->ide, CD, &d->cd.blk, false, &old, &err), 0);
    assert_null(old);
    assert_int_equal(ask(d, inquiry, buf), 36); /* is no matter of media */
    assert_int_equal(ask(d, events, buf), 8);
    assert_int_equal(buf[4], 2);
    assert_int_equal(buf[5], 2);
    assert_int_equal(ask(d, events, buf), 8);
    assert_int_equal(buf[4], 0);
    assert_fails(d, ready, CHANGED);
    assert_works(d, ready);
    drives_end(d);
}

static void who_asks_for_sense_hears_of_the_change(void **state)
{
    struct drives *d = drives_make(0);
    struct blk *old = NULL;
    struct err err;

    (void)state;
    assert_int_equal(
        ide_change_medium(&d->ide, CD, &d->cd.blk, false, &old, &err), 0);
    assert_int_equal(sense(d), CHANGED);
    assert_works(d, ready);
    drives_end(d);
}

static void a_locked_drive_gives_up_its_medium_by_force(void **state)
{
    struct drives *d = drives_make(0);
    struct blk *old = NULL;
    struct err err;
    uint8_t buf[8];

    (void)state;
    assert_works(d, lock);
    assert_int_equal(ide_change_medium(&d->ide, CD, NULL, false, &old, &err),
                     -EBUSY);
    assert_int_equal(ask(d, events, buf), 8);
    assert_int_equal(buf[4], 1); /* somebody wants it */
    assert_works(d, ready);
    assert_int_equal(ide_change_medium(&d->ide, CD, NULL, true, &old, &err), 0);
    assert_fails(d, ready, NO_MEDIUM);
    assert_int_equal(ide_change_medium(&d->ide, 0, NULL, true, &old, &err),
                     -ENODEV);
    drives_end(d);
}

static void a_read_under_way_ends_with_the_medium(void **state)
{
    const uint8_t read[12] = {0x28, 0, 0, 0, 0, 0, 0, 0, 1};
    struct drives *d = drives_make(0);
    struct blk *old = NULL;
    struct err err;

    (void)state;
    d->cd.cached = false;
    packet(d, read, 0, 2048);
    assert_int_equal(ide_change_medium(&d->ide, CD, NULL, false, &old, &err),
                     0);
    assert_true(d->irq[1]);
    assert_int_equal(in(d, SECONDARY + R_STATUS, 1), S_GOOD | S_ERR);
    assert_fails(d, ready, NO_MEDIUM);
    drives_end(d);
}

static void an_open_tray_stays_open_through_a_reset(void **state)
{
    struct drives *d = drives_make(0);

    (void)state;
    assert_works(d, open_tray);
    ide_reset(&d->ide);
    assert_fails(d, ready, TRAY_OPEN);
    drives_end(d);
}

static void device_reset_ends_a_packet(void **state)
{
    struct drives *d = drives_make(0);

    (void)state;
    out(d, SECONDARY + R_STATUS, 1, 0xa0);
    assert_int_equal(in(d, SECONDARY + R_STATUS, 1), S_GOOD | S_DRQ);
    out(d, SECONDARY + R_STATUS, 1, 0x08);
    assert_int_equal(in(d, SECONDARY + R_STATUS, 1), 0);
    assert_int_equal(in(d, SECONDARY + R_MID, 1), 0x14);
    drives_end(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_says_what_it_is),
        cmocka_unit_test(it_is_no_disk),
        cmocka_unit_test(an_answer_is_cut_to_what_was_allowed),
        cmocka_unit_test(blocks_are_read_in_pieces),
        cmocka_unit_test(blocks_are_read_by_dma),
        cmocka_unit_test(an_answer_goes_by_dma_too),
        cmocka_unit_test(nothing_lies_beyond_the_end),
        cmocka_unit_test(read_cd_knows_user_data_only),
        cmocka_unit_test(a_read_that_fails_is_a_medium_error),
        cmocka_unit_test(the_disc_is_one_track_of_data),
        cmocka_unit_test(modes_and_features_are_told),
        cmocka_unit_test(a_large_disc_is_a_dvd),
        cmocka_unit_test(commands_that_there_are_not_fail),
        cmocka_unit_test(a_guest_opens_and_closes_the_tray),
        cmocka_unit_test(a_locked_tray_stays_shut),
        cmocka_unit_test(a_changed_medium_is_told_once),
        cmocka_unit_test(who_asks_for_sense_hears_of_the_change),
        cmocka_unit_test(a_locked_drive_gives_up_its_medium_by_force),
        cmocka_unit_test(a_read_under_way_ends_with_the_medium),
        cmocka_unit_test(an_open_tray_stays_open_through_a_reset),
        cmocka_unit_test(device_reset_ends_a_packet),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
