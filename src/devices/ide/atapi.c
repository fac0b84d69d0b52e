#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "base/endian.h"
#include "devices/ide/ide_int.h"

/*
 * A CD-ROM drive: commands by packet (ATA-7, vol. 2, 11; SFF-8020i; MMC-3). A
 * packet is copied before it is looked at. What needs the medium fails while
 * there is none, or while the guest has not heard yet that it is another one.
 */

enum { CMD_PACKET = 0xa0, CMD_IDENTIFY_PACKET = 0xa1, CMD_IDENTIFY = 0xec };

enum {
    PKT_TEST_UNIT_READY = 0x00,
    PKT_REQUEST_SENSE = 0x03,
    PKT_INQUIRY = 0x12,
    PKT_MODE_SENSE_6 = 0x1a,
    PKT_START_STOP = 0x1b,
    PKT_PREVENT = 0x1e,
    PKT_CAPACITY = 0x25,
    PKT_READ_10 = 0x28,
    PKT_SEEK = 0x2b,
    PKT_VERIFY = 0x2f,
    PKT_SUBCHANNEL = 0x42,
    PKT_TOC = 0x43,
    PKT_CONFIGURATION = 0x46,
    PKT_EVENTS = 0x4a,
    PKT_DISC_INFO = 0x51,
    PKT_TRACK_INFO = 0x52,
    PKT_MODE_SENSE_10 = 0x5a,
    PKT_READ_12 = 0xa8,
    PKT_DVD_STRUCTURE = 0xad,
    PKT_SET_SPEED = 0xbb,
    PKT_MECHANISM = 0xbd,
    PKT_READ_CD = 0xbe
};

/* Bytes of a piece that the drive offers, at most. */
enum { PIECE_MAX = 0xfffe };

/* --- Ends --- */

static void end(struct ide_channel *ch, unsigned status, uint8_t error)
{
    struct ide_drive *d = ide_active(ch);

    ide_stop(ch);
    d->st.count[0] = REASON_COD | REASON_IO;
    d->st.status = (uint8_t)(ST_RDY | ST_DSC | status);
    d->st.error = error;
    ide_interrupt(ch);
}

void atapi_done(struct ide_channel *ch)
{
    end(ch, 0, 0);
}

void atapi_check(struct ide_channel *ch, uint32_t sense)
{
    struct ide_drive *d = ide_active(ch);

    d->st.key = (uint8_t)(sense >> 16);
    d->st.asc = (uint8_t)(sense >> 8);
    d->st.ascq = (uint8_t)sense;
    end(ch, ST_ERR, (uint8_t)((unsigned)d->st.key << 4 | ER_ABRT));
}

void atapi_failed(struct ide_channel *ch, int rc)
{
    atapi_check(ch, rc == -EFAULT ? SENSE_HOST : SENSE_READ);
}

/* --- The medium --- */

void atapi_medium_changed(struct ide_drive *d)
{
    bool there = d->blk && !d->st.open;

    d->st.attention = there;
    d->st.event = there ? EVENT_NEW_MEDIUM : EVENT_REMOVED;
}

static uint32_t readiness(const struct ide_drive *d)
{
    if (d->st.open)
        return SENSE_TRAY_OPEN;
    return d->blk ? SENSE_NONE : SENSE_TRAY_CLOSED;
}

static void start_stop(struct ide_channel *ch, const uint8_t *cdb)
{
    struct ide_drive *d = ide_active(ch);
    bool tray = cdb[4] & 2, load = cdb[4] & 1;

    if (tray && !load && d->st.locked) {
        atapi_check(ch, SENSE_LOCKED);
        return;
    }
    if (tray && d->st.open == load) {
        d->st.open = !load;
        atapi_medium_changed(d);
    }
    atapi_done(ch);
}

static void prevent(struct ide_channel *ch, const uint8_t *cdb)
{
    ide_active(ch)->st.locked = cdb[4] & 1;
    atapi_done(ch);
}

/* --- Reading --- */

static void read_blocks(struct ide_channel *ch, uint32_t lba, uint32_t count)
{
    const struct ide_drive *d = ide_active(ch);

    if (!range_ok(lba, count, d->blocks))
        atapi_check(ch, SENSE_BAD_LBA);
    else if (!count)
        atapi_done(ch);
    else
        ide_start(ch, IDE_OP_READ, lba, count, ch->st.limit);
}

static void read_10(struct ide_channel *ch, const uint8_t *cdb)
{
    read_blocks(ch, get_be32(cdb + 2), get_be16(cdb + 7));
}

static void read_12(struct ide_channel *ch, const uint8_t *cdb)
{
    read_blocks(ch, get_be32(cdb + 2), get_be32(cdb + 6));
}

/* User data of sectors of mode 1: that is all that an image has. */
static void read_cd(struct ide_channel *ch, const uint8_t *cdb)
{
    unsigned type = cdb[1] >> 2 & 7, parts = cdb[9] & 0xf8;
    uint32_t count = get_be32(cdb + 5) & 0xffffff;

    if (type != 0 && type != 2)
        atapi_check(ch, SENSE_BAD_MODE);
    else if ((parts && parts != 0x10) || (cdb[10] & 7))
        atapi_check(ch, SENSE_BAD_FIELD);
    else
        read_blocks(ch, get_be32(cdb + 2), parts ? count : 0);
}

static void seek(struct ide_channel *ch, const uint8_t *cdb)
{
    if (get_be32(cdb + 2) < ide_active(ch)->blocks)
        atapi_done(ch);
    else
        atapi_check(ch, SENSE_BAD_LBA);
}

static void verify(struct ide_channel *ch, const uint8_t *cdb)
{
    if (range_ok(get_be32(cdb + 2), get_be16(cdb + 7), ide_active(ch)->blocks))
        atapi_done(ch);
    else
        atapi_check(ch, SENSE_BAD_LBA);
}

static void nothing(struct ide_channel *ch, const uint8_t *cdb)
{
    (void)cdb;
    atapi_done(ch);
}

/* --- What is known of the drive's state --- */

static void answer_with(struct ide_channel *ch, uint32_t len, uint32_t most)
{
    len = len < most ? len : most;
    if (len)
        ide_send_buffer(ch, len, ch->st.limit);
    else
        atapi_done(ch);
}

/* SPC-2, 7.20: a change that was not told yet is, if nothing else is. */
static void request_sense(struct ide_channel *ch, const uint8_t *cdb)
{
    struct ide_drive *d = ide_active(ch);
    uint8_t *p = ch->st.buf;

    if (!d->st.key && d->st.attention) {
        d->st.key = SENSE_CHANGED >> 16;
        d->st.asc = SENSE_CHANGED >> 8 & 0xff;
        d->st.ascq = 0;
        d->st.attention = false;
    }
    memset(p, 0, 18);
    p[0] = 0x70; /* current, fixed format */
    p[2] = d->st.key;
    p[7] = 10; /* bytes that follow */
    p[12] = d->st.asc;
    p[13] = d->st.ascq;
    d->st.key = d->st.asc = d->st.ascq = 0;
    answer_with(ch, 18, cdb[4]);
}

enum { EVENT_CLASS_MEDIA = 4, EVENT_NONE_AVAILABLE = 0x80 };

static void events(struct ide_channel *ch, const uint8_t *cdb)
{
    struct ide_drive *d = ide_active(ch);
    uint8_t *p = ch->st.buf;
    bool media = cdb[4] & 1u << EVENT_CLASS_MEDIA;

    if (!(cdb[1] & 1)) { /* events are asked for, never sent */
        atapi_check(ch, SENSE_BAD_FIELD);
        return;
    }
    memset(p, 0, 8);
    put_be16(p, media ? 6 : 2);
    p[2] = media ? EVENT_CLASS_MEDIA : EVENT_NONE_AVAILABLE;
    p[3] = 1u << EVENT_CLASS_MEDIA; /* classes that there are */
    if (media) {
        p[4] = d->st.event;
        p[5] =
            (uint8_t)((d->st.open ? 1 : 0) | (d->blk && !d->st.open ? 2 : 0));
        d->st.event = EVENT_NONE;
    }
    answer_with(ch, media ? 8 : 4, get_be16(cdb + 7));
}

/* --- Table --- */

enum {
    MEDIUM = 1, /* needs one */
    CALM = 2,   /* is done although the medium was changed */
    NO_LENGTH = 0xff
};

struct command {
    uint8_t code, flags;
    void (*run)(struct ide_channel *ch, const uint8_t *cdb);
    /* Or an answer, with the allocation length in these bytes. */
    uint32_t (*answer)(const struct ide_drive *d, const uint8_t *cdb,
                       uint8_t *out);
    uint8_t length_at, length_bytes;
};

static const struct command commands[] = {
    {PKT_TEST_UNIT_READY, MEDIUM, nothing, NULL, 0, 0},
    {PKT_REQUEST_SENSE, CALM, request_sense, NULL, 0, 0},
    {PKT_INQUIRY, CALM, NULL, atapi_inquiry, 3, 2},
    {PKT_MODE_SENSE_6, 0, NULL, atapi_mode_sense, 4, 1},
    {PKT_START_STOP, 0, start_stop, NULL, 0, 0},
    {PKT_PREVENT, 0, prevent, NULL, 0, 0},
    {PKT_CAPACITY, MEDIUM, NULL, atapi_capacity, NO_LENGTH, 0},
    {PKT_READ_10, MEDIUM, read_10, NULL, 0, 0},
    {PKT_SEEK, MEDIUM, seek, NULL, 0, 0},
    {PKT_VERIFY, MEDIUM, verify, NULL, 0, 0},
    {PKT_SUBCHANNEL, MEDIUM, NULL, atapi_subchannel, 7, 2},
    {PKT_TOC, MEDIUM, NULL, atapi_toc, 7, 2},
    {PKT_CONFIGURATION, CALM, NULL, atapi_configuration, 7, 2},
    {PKT_EVENTS, CALM, events, NULL, 0, 0},
    {PKT_DISC_INFO, MEDIUM, NULL, atapi_disc_info, 7, 2},
    {PKT_TRACK_INFO, MEDIUM, NULL, atapi_track_info, 7, 2},
    {PKT_MODE_SENSE_10, 0, NULL, atapi_mode_sense, 7, 2},
    {PKT_READ_12, MEDIUM, read_12, NULL, 0, 0},
    {PKT_DVD_STRUCTURE, MEDIUM, NULL, atapi_dvd_structure, 8, 2},
    {PKT_SET_SPEED, 0, nothing, NULL, 0, 0},
    {PKT_MECHANISM, 0, NULL, atapi_mechanism, 8, 2},
    {PKT_READ_CD, MEDIUM, read_cd, NULL, 0, 0},
};

static uint32_t allocation(const struct command *c, const uint8_t *cdb)
{
    if (c->length_at == NO_LENGTH)
        return ATAPI_ANSWER;
    return c->length_bytes == 1 ? cdb[c->length_at]
                                : get_be16(cdb + c->length_at);
}

static void run(struct ide_channel *ch, const struct command *c,
                const uint8_t *cdb)
{
    uint32_t len;

    if (c->run) {
        c->run(ch, cdb);
        return;
    }
    memset(ch->st.buf, 0, ATAPI_ANSWER);
    len = c->answer(ide_active(ch), cdb, ch->st.buf);
    if (len & SENSE_BIT)
        atapi_check(ch, len & ~SENSE_BIT);
    else
        answer_with(ch, len, allocation(c, cdb));
}

static const struct command *find(uint8_t code)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (commands[i].code == code)
            return &commands[i];
    return NULL;
}

void atapi_packet(struct ide_channel *ch)
{
    struct ide_drive *d = ide_active(ch);
    uint8_t cdb[PACKET_BYTES];
    const struct command *c;

    memcpy(cdb, ch->st.buf, sizeof(cdb));
    c = find(cdb[0]);
    if (!c) {
        atapi_check(ch, SENSE_BAD_COMMAND);
        return;
    }
    if (d->st.attention && !(c->flags & CALM)) {
        d->st.attention = false;
        atapi_check(ch, SENSE_CHANGED);
        return;
    }
    if (c->run != request_sense)
        d->st.key = d->st.asc = d->st.ascq = 0;
    if (c->flags & MEDIUM && readiness(d))
        atapi_check(ch, readiness(d));
    else
        run(ch, c, cdb);
}

/* --- COMMAND --- */

/* An odd limit means one less, except for what is all of it; 0 means nothing
 * that a drive could offer. */
static uint32_t limit_of(const struct ide_drive *d)
{
    uint32_t limit = d->st.lba_high[0] * 256u + d->st.lba_mid[0];

    limit &= ~1u;
    return limit ? limit : PIECE_MAX;
}

static void begin_packet(struct ide_channel *ch)
{
    struct ide_channel_state *st = &ch->st;
    struct ide_drive *d = ide_active(ch);

    st->packet = true;
    st->dma = d->st.features[0] & PACKET_DMA;
    st->limit = limit_of(d);
    st->phase = IDE_PACKET;
    st->pos = 0;
    st->stop = st->end = PACKET_BYTES;
    d->st.count[0] = REASON_COD;
    d->st.status = ST_RDY | ST_DSC | ST_DRQ;
}

void atapi_command(struct ide_channel *ch, uint8_t cmd)
{
    struct ide_drive *d = ide_active(ch);

    switch (cmd) {
    case CMD_PACKET: begin_packet(ch); break;
    case CMD_IDENTIFY_PACKET:
        memset(ch->st.buf, 0, SECTOR);
        ata_identify_packet(d, ch->st.buf);
        ide_send_buffer(ch, SECTOR, SECTOR);
        break;
    case CMD_IDENTIFY: /* a host finds out by it what it has to do with */
        ide_signature(d);
        ata_abort(ch, ER_ABRT);
        break;
    default: ata_common(ch, cmd);
    }
}
