#include <string.h>

#include "base/endian.h"
#include "devices/ide/ide_int.h"

/* What a CD-ROM drive says it is and can do. */

static void put_text(uint8_t *p, size_t len, const char *text)
{
    memset(p, ' ', len);
    memcpy(p, text, strnlen(text, len));
}

/* SPC-2, 7.3. Nothing but the standard data: ATAPI drives of that age have no
 * other, and drivers do not ask them if they claim no version. */
uint32_t atapi_inquiry(const struct ide_drive *d, const uint8_t *cdb,
                       uint8_t *out)
{
    (void)d;
    if (cdb[1] & 3 || cdb[2])
        return SENSE_BIT | SENSE_BAD_FIELD;
    out[0] = 5;    /* CD-ROM */
    out[1] = 0x80; /* removable medium */
    out[3] = 0x21; /* ATAPI, its response format */
    out[4] = 31;   /* bytes that follow */
    put_text(out + 8, 8, "husk");
    put_text(out + 16, 16, "CD-ROM");
    put_text(out + 32, 4, "1");
    return 36;
}

/* --- MODE SENSE --- */

enum {
    PAGE_ERRORS = 0x01,
    PAGE_AUDIO = 0x0e,
    PAGE_CAPABILITIES = 0x2a,
    PAGE_ALL = 0x3f,
    SPEED = 5640 /* KiB a second: 32 times */
};

static uint32_t page_errors(const struct ide_drive *d, uint8_t *p)
{
    (void)d;
    p[1] = 6;
    p[3] = 5; /* retries */
    return 8;
}

static uint32_t page_audio(const struct ide_drive *d, uint8_t *p)
{
    (void)d;
    p[1] = 14;
    p[2] = 4; /* immediately */
    return 16;
}

/* MMC-3, 6.3.11 (SFF-8020i, 10.8.4.4) */
static uint32_t page_capabilities(const struct ide_drive *d, uint8_t *p)
{
    p[1] = 20;
    p[2] = 0x0b; /* reads CD-R, CD-RW, DVD-ROM */
    p[4] = 0x60; /* mode 2 */
    p[6] = (uint8_t)(0x29 | (d->st.locked ? 2 : 0)); /* tray, eject, lock */
    put_be16(p + 8, SPEED);
    put_be16(p + 12, 512); /* KiB of buffer */
    put_be16(p + 14, SPEED);
    return 22;
}

static const struct {
    uint8_t code;
    uint32_t (*put)(const struct ide_drive *d, uint8_t *p);
} pages[] = {
    {PAGE_ERRORS, page_errors},
    {PAGE_AUDIO, page_audio},
    {PAGE_CAPABILITIES, page_capabilities},
};

/* Current, changeable (nothing is) or default values. */
static uint32_t put_pages(const struct ide_drive *d, const uint8_t *cdb,
                          uint8_t *p)
{
    unsigned code = cdb[2] & 0x3f, control = cdb[2] >> 6;
    uint32_t len = 0;

    for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
        uint32_t n;

        if (code != pages[i].code && code != PAGE_ALL)
            continue;
        n = pages[i].put(d, p + len);
        if (control == 1)
            memset(p + len + 2, 0, n - 2);
        p[len] = pages[i].code;
        len += n;
    }
    return len;
}

uint32_t atapi_mode_sense(const struct ide_drive *d, const uint8_t *cdb,
                          uint8_t *out)
{
    bool small = cdb[0] == 0x1a;
    uint32_t head = small ? 4 : 8, len;

    if (cdb[2] >> 6 == 3)
        return SENSE_BIT | SENSE_NO_SAVED_PAGES;
    len = put_pages(d, cdb, out + head);
    if (!len)
        return SENSE_BIT | SENSE_BAD_FIELD;
    if (small)
        out[0] = (uint8_t)(head + len - 1);
    else
        put_be16(out, (uint16_t)(head + len - 2));
    return head + len;
}

/* --- GET CONFIGURATION (MMC-3, 6.6) --- */

enum { PROFILE_CD = 0x08, PROFILE_DVD = 0x10, CURRENT = 1 };

struct feature {
    uint16_t code;
    uint8_t flags; /* version << 2 | persistent << 1; CURRENT is added */
    uint8_t len;
    uint8_t data[8];
    bool dvd, cd; /* current with one of them only; neither: always */
};

static const struct feature features[] = {
    {0x0000, 0x02, 8, {0, PROFILE_DVD, 0, 0, 0, PROFILE_CD}, false, false},
    {0x0001, 0x06, 8, {0, 0, 0, 2, 1}, false, false},  /* core: ATAPI */
    {0x0003, 0x02, 4, {0x29}, false, false},           /* removable: tray */
    {0x0010, 0x00, 8, {0, 0, 8, 0, 0, 1}, true, true}, /* random readable */
    {0x001e, 0x08, 4, {0}, false, true},               /* CD read */
    {0x001f, 0x00, 0, {0}, true, false},               /* DVD read */
};

static unsigned profile(const struct ide_drive *d)
{
    if (!d->blk || d->st.open)
        return 0;
    return atapi_is_dvd(d) ? PROFILE_DVD : PROFILE_CD;
}

static bool is_current(const struct feature *f, unsigned now)
{
    if (!f->dvd && !f->cd)
        return true;
    return (f->dvd && now == PROFILE_DVD) || (f->cd && now == PROFILE_CD);
}

static uint32_t put_feature(const struct feature *f, unsigned now, uint8_t *p)
{
    put_be16(p, f->code);
    p[2] = (uint8_t)(f->flags | (is_current(f, now) ? CURRENT : 0));
    p[3] = f->len;
    memcpy(p + 4, f->data, f->len);
    if (f->code == 0) { /* the profiles: which is current */
        p[6] = now == PROFILE_DVD;
        p[10] = now == PROFILE_CD;
    }
    return 4u + f->len;
}

uint32_t atapi_configuration(const struct ide_drive *d, const uint8_t *cdb,
                             uint8_t *out)
{
    unsigned want = cdb[1] & 3, from = get_be16(cdb + 2), now = profile(d);
    uint32_t len = 8;

    if (want == 3)
        return SENSE_BIT | SENSE_BAD_FIELD;
    for (size_t i = 0; i < ARRAY_LEN(features); i++) {
        const struct feature *f = &features[i];

        if (want == 2 ? f->code != from : f->code < from)
            continue;
        if (want == 1 && !is_current(f, now))
            continue;
        len += put_feature(f, now, out + len);
    }
    put_be32(out, len - 4);
    put_be16(out + 6, (uint16_t)now);
    return len;
}

/* --- MECHANISM STATUS (MMC-3, 6.10) --- */

uint32_t atapi_mechanism(const struct ide_drive *d, const uint8_t *cdb,
                         uint8_t *out)
{
    (void)cdb;
    out[1] = d->st.open ? 0x10 : 0;
    out[5] = 1; /* a changer of one */
    return 8;
}
