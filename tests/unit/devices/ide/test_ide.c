#include "devices/ide/ide.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "state/reader.h"
#include "state/writer.h"
#include "tests/unit/devices/ide/drives.h"
#include "tests/unit/fail_alloc.h"
#include "tests/unit/test.h"

/* ide.c, ide_channel.c, ide_xfer.c, ide_bmdma.c, ide_io.c: registers, transfers
 * and requests, whatever the commands are. */

enum { READ = 0x20, WRITE = 0x30, READ_DMA = 0xc8, WRITE_DMA = 0xca };
enum { TABLE = 0x1000, BUFFER = 0x10000 };

/* --- Registers --- */

static void the_function_is_a_piix3s(void **state)
{
    struct drives *d = drives_make(0);

    (void)state;
    assert_int_equal(board_read(&d->b, 1, 1, 0, 4), 0x70108086);
    assert_int_equal(board_read(&d->b, 1, 1, PCI_REVISION, 4) >> 8, 0x010180);
    assert_int_equal(board_read(&d->b, 1, 1, 0x40, 4), 0x80008000);
    assert_int_equal(board_read(&d->b, 1, 1, PCI_INT_PIN, 1), 0);
    drives_end(d);
}

static void signatures_tell_a_disk_from_a_cd(void **state)
{
    struct drives *d = drives_make(0);

    (void)state;
    assert_int_equal(in(d, PRIMARY + R_COUNT, 1), 1);
    assert_int_equal(in(d, PRIMARY + R_LOW, 1), 1);
    assert_int_equal(in(d, PRIMARY + R_MID, 1), 0);
    assert_int_equal(in(d, PRIMARY + R_HIGH, 1), 0);
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_GOOD);
    assert_int_equal(in(d, SECONDARY + R_MID, 1), 0x14);
    assert_int_equal(in(d, SECONDARY + R_HIGH, 1), 0xeb);
    assert_int_equal(in(d, SECONDARY + R_STATUS, 1), 0);
    drives_end(d);
}

static void a_missing_slave_is_answered_for(void **state)
{
    struct drives *d = drives_make(0);

    (void)state;
    out(d, PRIMARY + R_DEVICE, 1, 0xb0);
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), 0);
    assert_int_equal(in(d, PRIMARY + R_CONTROL, 1), 0);
    out(d, PRIMARY + R_COUNT, 1, 0x55);
    assert_int_equal(in(d, PRIMARY + R_COUNT, 1), 0x55);
    out(d, PRIMARY + R_STATUS, 1, 0xec);
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), 0);
    assert_false(d->irq[0]);
    drives_end(d);
}

static void soft_reset_is_busy_until_it_ends(void **state)
{
    struct drives *d = drives_make(0);

    (void)state;
    ata(d, READ, 0, 1);
    out(d, PRIMARY + R_CONTROL, 1, 0x04);
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_BSY);
    assert_false(d->irq[0]);
    out(d, PRIMARY + R_STATUS, 1, 0xec);
    out(d, PRIMARY + R_CONTROL, 1, 0);
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_GOOD);
    assert_int_equal(in(d, PRIMARY + R_ERROR, 1), 1);
    assert_int_equal(in(d, PRIMARY + R_LOW, 1), 1);
    drives_end(d);
}

static void the_diagnostic_is_of_both_drives(void **state)
{
    struct drives *d = drives_make(0);

    (void)state;
    out(d, PRIMARY + R_DEVICE, 1, 0xb0);
    out(d, PRIMARY + R_STATUS, 1, 0x90);
    assert_int_equal(in(d, PRIMARY + R_ERROR, 1), 1);
    assert_true(d->irq[0]);
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_GOOD);
    assert_int_equal(in(d, PRIMARY + R_DEVICE, 1), 0xa0);
    drives_end(d);
}

static void the_wire_follows_status_and_nien(void **state)
{
    struct drives *d = drives_make(0);

    (void)state;
    ata(d, READ, 0, 1);
    assert_true(d->irq[0]);
    (void)in(d, PRIMARY + R_CONTROL, 1); /* the other status leaves it */
    assert_true(d->irq[0]);
    out(d, PRIMARY + R_CONTROL, 1, 0x02);
    assert_false(d->irq[0]);
    out(d, PRIMARY + R_CONTROL, 1, 0);
    assert_true(d->irq[0]);
    (void)in(d, PRIMARY + R_STATUS, 1);
    assert_false(d->irq[0]);
    assert_int_equal(in(d, BM + 2, 1) & 4, 4);
    out(d, BM + 2, 1, 4);
    assert_int_equal(in(d, BM + 2, 1), 0);
    drives_end(d);
}

static void older_register_contents_show_with_hob(void **state)
{
    struct drives *d = drives_make(0);

    (void)state;
    out(d, PRIMARY + R_LOW, 1, 0x12);
    out(d, PRIMARY + R_LOW, 1, 0x34);
    out(d, PRIMARY + R_CONTROL, 1, 0x80);
    assert_int_equal(in(d, PRIMARY + R_LOW, 1), 0x12);
    out(d, PRIMARY + R_MID, 1, 0); /* any write ends it */
    assert_int_equal(in(d, PRIMARY + R_LOW, 1), 0x34);
    drives_end(d);
}

/* --- PIO --- */

static void check_bytes(const uint8_t *p, uint64_t off, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(p[i], fake_blk_byte(off + i));
}

static void sectors_come_one_by_one(void **state)
{
    struct drives *d = drives_make(0);
    uint8_t buf[512];

    (void)state;
    ata(d, READ, 3, 2);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(d->irq[0]);
        assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_GOOD | S_DRQ);
        take(d, PRIMARY, buf, sizeof(buf));
        check_bytes(buf, 512 * (3 + i), sizeof(buf));
    }
    assert_false(d->irq[0]); /* none after the last */
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_GOOD);
    assert_int_equal(in(d, PRIMARY, 2), 0xffff);
    drives_end(d);
}

static void strings_and_double_words_read_the_same(void **state)
{
    struct drives *d = drives_make(0);
    uint8_t buf[1024];

    (void)state;
    ata(d, READ, 0, 2);
    bus_read_many(d->b.pio, PRIMARY, 4, buf, 128);
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_GOOD | S_DRQ);
    bus_read_many(d->b.pio, PRIMARY, 2, buf + 512, 256);
    check_bytes(buf, 0, sizeof(buf));
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_GOOD);
    drives_end(d);
}

static void a_long_read_passes_the_buffer_in_parts(void **state)
{
    struct drives *d = drives_make(0);
    static uint8_t buf[FAKE_BLK_SIZE];

    (void)state;
    d->disk.cached = false;
    ata_ext(d, 0x24, 0, DISK_SECTORS);
    for (unsigned i = 0; i < DISK_SECTORS; i++) {
        ide_drain(&d->ide);
        assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_GOOD | S_DRQ);
        bus_read_many(d->b.pio, PRIMARY, 2, buf + 512 * (size_t)i, 256);
    }
    check_bytes(buf, 0, sizeof(buf));
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_GOOD);
    drives_end(d);
}

static void a_write_interrupts_after_each_sector(void **state)
{
    struct drives *d = drives_make(0);
    uint8_t buf[1024];

    (void)state;
    memset(buf, 0x5a, sizeof(buf));
    ata(d, WRITE, 5, 2);
    assert_false(d->irq[0]); /* none for the first */
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_GOOD | S_DRQ);
    give(d, PRIMARY, buf, 512);
    assert_true(d->irq[0]);
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_GOOD | S_DRQ);
    bus_write_many(d->b.pio, PRIMARY, 2, buf + 512, 256);
    ide_drain(&d->ide);
    assert_true(d->irq[0]);
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_GOOD);
    assert_memory_equal(d->disk.data + 5 * 512, buf, sizeof(buf));
    assert_int_equal(d->disk.data[7 * 512], fake_blk_byte(7 * 512));
    drives_end(d);
}

static void data_is_the_drives_that_has_it(void **state)
{
    struct drives *d = drives_make(0);

    (void)state;
    ata(d, READ, 0, 1);
    out(d, PRIMARY + R_DEVICE, 1, 0xf0);
    assert_int_equal(in(d, PRIMARY, 2), 0xffff);
    out(d, PRIMARY + R_DEVICE, 1, 0xe0);
    assert_int_equal(in(d, PRIMARY, 2), 0x0100);
    drives_end(d);
}

/* --- DMA --- */

static void dma_scatters_over_its_table(void **state)
{
    struct drives *d = drives_make(0);
    uint8_t buf[1024];

    (void)state;
    put_prd(d, TABLE, 0, BUFFER, 700, false);
    put_prd(d, TABLE, 1, BUFFER + 0x2000, 2, false);
    put_prd(d, TABLE, 2, BUFFER + 0x1000, 322, true);
    ata(d, READ_DMA, 8, 2);
    assert_false(d->irq[0]);
    assert_int_equal(in(d, PRIMARY + R_CONTROL, 1), S_GOOD | S_DRQ);
    bm_start(d, 0, TABLE, true);
    assert_true(d->irq[0]);
    assert_int_equal(in(d, BM + 2, 1), 4);
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_GOOD);
    assert_int_equal(gmem_read(&d->gm, BUFFER, buf, 700), 0);
    assert_int_equal(gmem_read(&d->gm, BUFFER + 0x2000, buf + 700, 2), 0);
    assert_int_equal(gmem_read(&d->gm, BUFFER + 0x1000, buf + 702, 322), 0);
    check_bytes(buf, 8 * 512, sizeof(buf));
    drives_end(d);
}

static void the_bus_master_may_start_first(void **state)
{
    struct drives *d = drives_make(0);
    uint8_t byte;

    (void)state;
    put_prd(d, TABLE, 0, BUFFER, 512, true);
    bm_start(d, 0, TABLE, true);
    assert_int_equal(in(d, BM + 2, 1), 1);
    ata(d, READ_DMA, 1, 1);
    assert_true(d->irq[0]);
    assert_int_equal(gmem_read(&d->gm, BUFFER + 7, &byte, 1), 0);
    assert_int_equal(byte, fake_blk_byte(519));
    drives_end(d);
}

static void dma_writes(void **state)
{
    struct drives *d = drives_make(0);
    uint8_t buf[512];

    (void)state;
    memset(buf, 0xc3, sizeof(buf));
    assert_int_equal(gmem_write(&d->gm, BUFFER, buf, sizeof(buf)), 0);
    put_prd(d, TABLE, 0, BUFFER, 512, true);
    ata(d, WRITE_DMA, 9, 1);
    bm_start(d, 0, TABLE, false);
    ide_drain(&d->ide);
    assert_true(d->irq[0]);
    assert_memory_equal(d->disk.data + 9 * 512, buf, sizeof(buf));
    drives_end(d);
}

static void a_short_table_leaves_the_drive_waiting(void **state)
{
    struct drives *d = drives_make(0);

    (void)state;
    put_prd(d, TABLE, 0, BUFFER, 700, true);
    ata(d, READ_DMA, 0, 4);
    bm_start(d, 0, TABLE, true);
    assert_false(d->irq[0]);
    assert_int_equal(in(d, BM + 2, 1), 0);
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_GOOD | S_DRQ);
    out(d, PRIMARY + R_CONTROL, 1, 4);
    out(d, PRIMARY + R_CONTROL, 1, 0);
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_GOOD);
    drives_end(d);
}

static void dma_to_what_is_no_ram_is_an_error(void **state)
{
    static const uint32_t bad[] = {RAM_BYTES, ROM_AT, 0xfffffffe};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct drives *d = drives_make(0);

        put_prd(d, TABLE, 0, bad[i], 512, true);
        ata(d, READ_DMA, 0, 1);
        bm_start(d, 0, TABLE, true);
        assert_int_equal(in(d, BM + 2, 1), 6);
        assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_GOOD | S_ERR);
        drives_end(d);
    }
}

static void dma_needs_mastering(void **state)
{
    struct drives *d = drives_make(0);

    (void)state;
    board_write(&d->b, 1, 1, PCI_COMMAND, 2, PCI_COMMAND_IO);
    put_prd(d, TABLE, 0, BUFFER, 512, true);
    ata(d, READ_DMA, 0, 1);
    bm_start(d, 0, TABLE, true);
    assert_int_equal(in(d, BM + 2, 1) & 2, 2);
    drives_end(d);
}

/* Two bytes an entry: as many requests as it takes, and no end of the stack. */
static void tiny_entries_are_gathered(void **state)
{
    struct drives *d = drives_make(0);
    uint8_t byte;

    (void)state;
    for (unsigned i = 0; i < 4096; i++)
        put_prd(d, TABLE, i, BUFFER + 4 * (i % 2048), 2, i == 4095);
    ata(d, READ_DMA, 0, 16);
    bm_start(d, 0, TABLE, true);
    assert_int_equal(in(d, BM + 2, 1), 4);
    assert_int_equal(gmem_read(&d->gm, BUFFER + 4, &byte, 1), 0);
    assert_int_equal(byte, fake_blk_byte(4096 + 2));
    assert_true(d->disk.nr_log > 2);
    drives_end(d);
}

static void stopping_the_bus_master_waits_for_its_request(void **state)
{
    struct drives *d = drives_make(0);

    (void)state;
    d->disk.cached = false;
    put_prd(d, TABLE, 0, BUFFER, 512, true);
    ata(d, READ_DMA, 0, 1);
    bm_start(d, 0, TABLE, true);
    out(d, BM, 1, 0);
    assert_int_equal(d->disk.nr_log, 1);
    assert_int_equal(in(d, BM + 2, 1) & 1, 0);
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_GOOD);
    drives_end(d);
}

/* --- Requests --- */

static void a_drive_is_busy_while_the_host_works(void **state)
{
    struct drives *d = drives_make(0);

    (void)state;
    d->disk.cached = false;
    fake_blk_close_gate(&d->disk);
    ata(d, READ, 0, 1);
    fake_blk_wait(&d->disk, 1);
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_BSY);
    out(d, PRIMARY + R_STATUS, 1, 0xec); /* not now */
    out(d, PRIMARY + R_LOW, 1, 0x77);
    assert_false(d->irq[0]);
    fake_blk_open_gate(&d->disk);
    ide_drain(&d->ide);
    assert_true(d->irq[0]);
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_GOOD | S_DRQ);
    assert_int_equal(in(d, PRIMARY, 2), 0x0100);
    drives_end(d);
}

static void a_reset_throws_a_request_away(void **state)
{
    struct drives *d = drives_make(0);

    (void)state;
    d->disk.cached = false;
    ata(d, READ, 0, 1);
    out(d, PRIMARY + R_CONTROL, 1, 4);
    out(d, PRIMARY + R_CONTROL, 1, 0);
    ide_drain(&d->ide);
    assert_false(d->irq[0]);
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_GOOD);
    drives_end(d);
}

static void a_failed_request_is_an_error(void **state)
{
    struct drives *d = drives_make(0);
    uint8_t buf[512] = {0};

    (void)state;
    fake_blk_fail(&d->disk, -EIO);
    ata(d, READ, 0x12, 1);
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_GOOD | S_ERR);
    assert_int_equal(in(d, PRIMARY + R_ERROR, 1), 0x40);
    assert_int_equal(in(d, PRIMARY + R_LOW, 1), 0x12);
    ata(d, WRITE, 0, 1);
    give(d, PRIMARY, buf, sizeof(buf));
    ide_drain(&d->ide);
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_GOOD | S_ERR);
    assert_int_equal(in(d, PRIMARY + R_ERROR, 1), 0x04);
    drives_end(d);
}

static void a_full_host_keeps_the_write(void **state)
{
    struct drives *d = drives_make(0);
    uint8_t buf[512] = {0x77};

    (void)state;
    fake_blk_fail(&d->disk, -ENOSPC);
    ata(d, WRITE, 2, 1);
    give(d, PRIMARY, buf, sizeof(buf));
    ide_drain(&d->ide);
    assert_int_equal(ide_nr_stuck(&d->ide), 1);
    assert_int_equal(d->stuck_calls, 1);
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_BSY);
    ide_retry(&d->ide);
    ide_drain(&d->ide);
    assert_int_equal(ide_nr_stuck(&d->ide), 1);
    fake_blk_fail(&d->disk, 0);
    ide_retry(&d->ide);
    ide_drain(&d->ide);
    assert_int_equal(ide_nr_stuck(&d->ide), 0);
    assert_int_equal(d->stuck_calls, 2);
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_GOOD);
    assert_int_equal(d->disk.data[2 * 512], 0x77);
    drives_end(d);
}

static void a_reset_forgets_what_is_stuck(void **state)
{
    struct drives *d = drives_make(0);

    (void)state;
    fake_blk_fail(&d->disk, -ENOSPC);
    ata(d, 0xe7, 0, 0);
    ide_drain(&d->ide);
    assert_int_equal(ide_nr_stuck(&d->ide), 1);
    ide_reset(&d->ide);
    assert_int_equal(ide_nr_stuck(&d->ide), 0);
    assert_int_equal(d->stuck_calls, 2);
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_GOOD);
    drives_end(d);
}

/* --- Saved state --- */

/* Bytes of 1 are good for every kind of field. */
static void assert_whole(const struct state_desc *desc)
{
    struct state_desc any = *desc;
    uint8_t *st = malloc(desc->size), *buf;
    struct state_writer w;
    struct state_reader r;
    struct err err;
    size_t len, kept = 0;

    any.check = NULL; /* the pattern means nothing */
    assert_non_null(st);
    memset(st, 1, desc->size);
    state_writer_init(&w);
    state_save(&w, &any, 0, st);
    assert_int_equal(state_writer_finish(&w, &buf, &len), 0);
    memset(st, 0, desc->size);
    assert_int_equal(state_reader_init(&r, buf, len, &err), 0);
    assert_int_equal(state_load(&r, &any, 0, st, &err), 0);
    for (size_t i = 0; i < desc->size; i++)
        kept += st[i] == 0;
    assert_true(kept < 16); /* between fields, and behind the last */
    free(buf);
    free(st);
}

static void state_is_saved_whole(void **state)
{
    (void)state;
    assert_whole(&ide_drive_state_desc);
    assert_whole(&ide_channel_state_desc);
}

static void reload(struct drives *d)
{
    struct ide_channel *ch = &d->ide.channel[0];
    struct state_writer w;
    struct state_reader r;
    struct err err;
    uint8_t *buf;
    size_t len;

    state_writer_init(&w);
    state_save(&w, &ide_drive_state_desc, 0, &ch->drive[0].st);
    state_save(&w, &ide_channel_state_desc, 1, &ch->st);
    assert_int_equal(state_writer_finish(&w, &buf, &len), 0);
    ide_reset(&d->ide);
    memset(d->irq, 0, sizeof(d->irq));
    assert_int_equal(state_reader_init(&r, buf, len, &err), 0);
    assert_int_equal(
        state_load(&r, &ide_drive_state_desc, 0, &ch->drive[0].st, &err), 0);
    assert_int_equal(state_load(&r, &ide_channel_state_desc, 1, &ch->st, &err),
                     0);
    lock_take(&d->ide.lock);
    ide_channel_class.loaded(ch, 0);
    lock_drop(&d->ide.lock);
    free(buf);
}

static void a_loaded_command_goes_on(void **state)
{
    struct drives *d = drives_make(0);
    uint8_t buf[512];

    (void)state;
    ata(d, READ, 4, 1);
    take(d, PRIMARY, buf, 256);
    reload(d);
    assert_true(d->irq[0]);
    take(d, PRIMARY, buf + 256, 256);
    check_bytes(buf, 4 * 512, sizeof(buf));
    assert_int_equal(in(d, PRIMARY + R_STATUS, 1), S_GOOD);
    drives_end(d);
}

static void a_stuck_request_is_started_again(void **state)
{
    struct drives *d = drives_make(0);
    uint8_t buf[1024];

    (void)state;
    memset(buf, 0xee, sizeof(buf));
    assert_int_equal(gmem_write(&d->gm, BUFFER, buf, sizeof(buf)), 0);
    put_prd(d, TABLE, 0, BUFFER, 1024, true);
    fake_blk_fail(&d->disk, -ENOSPC);
    ata(d, WRITE_DMA, 6, 2);
    bm_start(d, 0, TABLE, false);
    ide_drain(&d->ide);
    assert_int_equal(ide_nr_stuck(&d->ide), 1);
    fake_blk_fail(&d->disk, 0);
    reload(d);
    ide_drain(&d->ide);
    assert_true(d->irq[0]);
    assert_memory_equal(d->disk.data + 6 * 512, buf, sizeof(buf));
    drives_end(d);
}

static void forged_states_are_refused(void **state)
{
    static struct ide_channel_state st;
    struct drives *d = drives_make(0);

    (void)state;
    st = d->ide.channel[0].st;
    assert_int_equal(ide_channel_state_desc.check(&st), 0);
    st.end = IDE_BUF + 1;
    assert_int_equal(ide_channel_state_desc.check(&st), -EINVAL);
    st.end = 4;
    st.stop = 8;
    assert_int_equal(ide_channel_state_desc.check(&st), -EINVAL);
    st.stop = 4;
    st.phase = IDE_NR_PHASES;
    assert_int_equal(ide_channel_state_desc.check(&st), -EINVAL);
    st.phase = IDE_OUT;
    st.limit = 512;
    assert_int_equal(ide_channel_state_desc.check(&st), -EINVAL);
    st = d->ide.channel[0].st;
    st.select = 2;
    assert_int_equal(ide_channel_state_desc.check(&st), -EINVAL);
    drives_end(d);
}

/* What the drive could not have been doing is dropped when it is loaded. */
static void a_command_beyond_the_disk_does_not_go_on(void **state)
{
    struct drives *d = drives_make(BLK_RDONLY);
    struct ide_channel *ch = &d->ide.channel[0];

    (void)state;
    ch->st.phase = IDE_BUSY;
    ch->st.op = IDE_OP_READ;
    ch->st.lba = DISK_SECTORS;
    ch->st.left = 1;
    lock_take(&d->ide.lock);
    ide_channel_class.loaded(ch, 0);
    assert_int_equal(ch->st.phase, IDE_IDLE);
    ch->st.phase = IDE_BUSY;
    ch->st.op = IDE_OP_WRITE;
    ch->st.lba = 0;
    ch->st.left = 1;
    ide_channel_class.loaded(ch, 0);
    assert_int_equal(ch->st.phase, IDE_IDLE);
    lock_drop(&d->ide.lock);
    assert_int_equal(d->disk.nr_log, 0);
    drives_end(d);
}

/* --- Making --- */

static void running_out_of_memory_leaves_nothing(void **state)
{
    static struct ide ide;
    static struct fake_blk disk;
    struct ide_config cfg = {.drive = {{IDE_DISK, "disk0", &disk.blk, NULL}}};
    struct err err;
    int rc;

    (void)state;
    assert_int_equal(loop_new(&cfg.loop, &err), 0);
    fake_blk_init(&disk, 0);
    for (unsigned n = 1;
         fail_alloc_at(n), (rc = ide_init(&ide, &cfg, &err)) < 0; n++)
        assert_int_equal(rc, -ENOMEM);
    assert_int_equal(rc, 0);
    ide_fini(&ide);
    fail_alloc_at(0);
    fake_blk_fini(&disk);
    loop_free(cfg.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_function_is_a_piix3s),
        cmocka_unit_test(signatures_tell_a_disk_from_a_cd),
        cmocka_unit_test(a_missing_slave_is_answered_for),
        cmocka_unit_test(soft_reset_is_busy_until_it_ends),
        cmocka_unit_test(the_diagnostic_is_of_both_drives),
        cmocka_unit_test(the_wire_follows_status_and_nien),
        cmocka_unit_test(older_register_contents_show_with_hob),
        cmocka_unit_test(sectors_come_one_by_one),
        cmocka_unit_test(strings_and_double_words_read_the_same),
        cmocka_unit_test(a_long_read_passes_the_buffer_in_parts),
        cmocka_unit_test(a_write_interrupts_after_each_sector),
        cmocka_unit_test(data_is_the_drives_that_has_it),
        cmocka_unit_test(dma_scatters_over_its_table),
        cmocka_unit_test(the_bus_master_may_start_first),
        cmocka_unit_test(dma_writes),
        cmocka_unit_test(a_short_table_leaves_the_drive_waiting),
        cmocka_unit_test(dma_to_what_is_no_ram_is_an_error),
        cmocka_unit_test(dma_needs_mastering),
        cmocka_unit_test(tiny_entries_are_gathered),
        cmocka_unit_test(stopping_the_bus_master_waits_for_its_request),
        cmocka_unit_test(a_drive_is_busy_while_the_host_works),
        cmocka_unit_test(a_reset_throws_a_request_away),
        cmocka_unit_test(a_failed_request_is_an_error),
        cmocka_unit_test(a_full_host_keeps_the_write),
        cmocka_unit_test(a_reset_forgets_what_is_stuck),
        cmocka_unit_test(state_is_saved_whole),
        cmocka_unit_test(a_loaded_command_goes_on),
        cmocka_unit_test(a_stuck_request_is_started_again),
        cmocka_unit_test(forged_states_are_refused),
        cmocka_unit_test(a_command_beyond_the_disk_does_not_go_on),
        cmocka_unit_test(running_out_of_memory_leaves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
