#include "base/endian.h"
#include "devices/ide/ide_int.h"

/* What is on a disc: one session with one track of data (MMC-3). */

enum {
    CD_MAX_BLOCKS = 405000, /* 90 minutes: more is no CD */
    LEAD_OUT = 0xaa,
    DATA_TRACK = 0x14, /* ADR 1, a data track */
    FRAMES = 75,       /* of a second */
    LEAD_IN = 150      /* frames before block 0 */
};

bool atapi_is_dvd(const struct ide_drive *d)
{
    return d->blocks > CD_MAX_BLOCKS;
}

static uint32_t blocks(const struct ide_drive *d)
{
    return d->blocks < UINT32_MAX ? (uint32_t)d->blocks : UINT32_MAX;
}

uint32_t atapi_capacity(const struct ide_drive *d, const uint8_t *cdb,
                        uint8_t *out)
{
    (void)cdb;
    put_be32(out, blocks(d) ? blocks(d) - 1 : 0);
    put_be32(out + 4, CD_BLOCK);
    return 8;
}

/* An address, as a number or in minutes, seconds and frames. */
static void put_address(uint8_t *p, uint32_t lba, bool msf)
{
    uint32_t frame = lba + LEAD_IN;

    if (!msf) {
        put_be32(p, lba);
        return;
    }
    p[0] = 0;
    p[1] = (uint8_t)(frame / FRAMES / 60);
    p[2] = (uint8_t)(frame / FRAMES % 60);
    p[3] = (uint8_t)(frame % FRAMES);
}

/* --- READ TOC (MMC-3, 6.26) --- */

static uint32_t put_track(uint8_t *p, unsigned track, uint32_t lba, bool msf)
{
    p[1] = DATA_TRACK;
    p[2] = (uint8_t)track;
    put_address(p + 4, lba, msf);
    return 8;
}

static uint32_t toc_tracks(const struct ide_drive *d, const uint8_t *cdb,
                           uint8_t *out)
{
    bool msf = cdb[1] & 2;
    unsigned from = cdb[6];
    uint32_t len = 4;

    if (from > 1 && from != LEAD_OUT)
        return SENSE_BIT | SENSE_BAD_FIELD;
    out[2] = out[3] = 1; /* first and last track */
    if (from <= 1)
        len += put_track(out + len, 1, 0, msf);
    return len + put_track(out + len, LEAD_OUT, blocks(d), msf);
}

static uint32_t toc_sessions(const struct ide_drive *d, const uint8_t *cdb,
                             uint8_t *out)
{
    (void)d;
    out[2] = out[3] = 1; /* first and last session */
    return 4 + put_track(out + 4, 1, 0, cdb[1] & 2);
}

/* Entries of the lead-in: always in minutes, seconds and frames. */
static uint32_t put_raw(uint8_t *p, unsigned point, uint32_t lba, bool address)
{
    p[0] = 1; /* session */
    p[1] = DATA_TRACK;
    p[3] = (uint8_t)point;
    if (address)
        put_address(p + 7, lba, true);
    else
        p[8] = 1; /* the track's number */
    return 11;
}

static uint32_t toc_raw(const struct ide_drive *d, uint8_t *out)
{
    uint32_t len = 4;

    out[2] = out[3] = 1;
    len += put_raw(out + len, 0xa0, 0, false);
    len += put_raw(out + len, 0xa1, 0, false);
    len += put_raw(out + len, 0xa2, blocks(d), true);
    len += put_raw(out + len, 1, 0, true);
    return len;
}

uint32_t atapi_toc(const struct ide_drive *d, const uint8_t *cdb, uint8_t *out)
{
    unsigned format = cdb[2] & 15;
    uint32_t len;

    /* SFF-8020i has it in the upper bits of the last byte. */
    if (!format)
        format = cdb[9] >> 6;
    switch (format) {
    case 0: len = toc_tracks(d, cdb, out); break;
    case 1: len = toc_sessions(d, cdb, out); break;
    case 2: len = toc_raw(d, out); break;
    default: len = SENSE_BIT | SENSE_BAD_FIELD;
    }
    if (!(len & SENSE_BIT))
        put_be16(out, (uint16_t)(len - 2));
    return len;
}

/* --- Disc, track, structure --- */

/* 6.22 */
uint32_t atapi_disc_info(const struct ide_drive *d, const uint8_t *cdb,
                         uint8_t *out)
{
    (void)d;
    if (cdb[1] & 7)
        return SENSE_BIT | SENSE_BAD_FIELD;
    put_be16(out, 32);
    out[2] = 0x0e;                         /* complete, its last session, too */
    out[3] = out[4] = out[5] = out[6] = 1; /* first track, sessions, tracks */
    out[7] = 0x20;                         /* unrestricted use */
    put_be32(out + 16, 0xffffffff);        /* nothing can be added */
    put_be32(out + 20, 0xffffffff);
    return 34;
}

/* 6.27 */
uint32_t atapi_track_info(const struct ide_drive *d, const uint8_t *cdb,
                          uint8_t *out)
{
    uint32_t at = get_be32(cdb + 2);
    bool by_block = (cdb[1] & 3) == 0;

    if ((cdb[1] & 3) == 3)
        return SENSE_BIT | SENSE_BAD_FIELD;
    if (by_block ? at >= d->blocks : at != 1)
        return SENSE_BIT | SENSE_BAD_FIELD;
    put_be16(out, 34);
    out[2] = out[3] = 1; /* track, session */
    out[5] = 4;          /* data */
    out[6] = 1;          /* mode 1 */
    put_be32(out + 24, blocks(d));
    return 36;
}

/* 6.25: of what a DVD-ROM must have, the physical format and the copyright. */
uint32_t atapi_dvd_structure(const struct ide_drive *d, const uint8_t *cdb,
                             uint8_t *out)
{
    uint32_t first = 0x30000;

    if (!atapi_is_dvd(d))
        return SENSE_BIT | SENSE_BAD_MEDIUM;
    if (cdb[6]) /* layer */
        return SENSE_BIT | SENSE_BAD_FIELD;
    switch (cdb[7]) {
    case 0:
        put_be16(out, 2048 + 2);
        out[4] = 1;    /* DVD-ROM, part version 1 */
        out[5] = 0x0f; /* 120 mm, no limit of speed */
        out[6] = 1;    /* one layer, embossed */
        put_be32(out + 8, first);
        put_be32(out + 12, first + blocks(d) - 1);
        return 2048 + 4;
    case 1: put_be16(out, 6); return 8; /* not protected, all regions */
    default: return SENSE_BIT | SENSE_BAD_FIELD;
    }
}

/* 6.29: nothing is played. */
uint32_t atapi_subchannel(const struct ide_drive *d, const uint8_t *cdb,
                          uint8_t *out)
{
    (void)d;
    out[1] = 0x15; /* no status to tell */
    if (!(cdb[2] & 0x40))
        return 4;
    if (cdb[3] != 1)
        return SENSE_BIT | SENSE_BAD_FIELD;
    put_be16(out + 2, 12);
    out[4] = 1;
    out[5] = DATA_TRACK;
    out[6] = out[7] = 1;
    put_address(out + 8, 0, cdb[1] & 2);
    put_address(out + 12, 0, cdb[1] & 2);
    return 16;
}
