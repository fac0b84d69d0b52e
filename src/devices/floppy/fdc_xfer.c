#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "devices/floppy/fdc_int.h"

/* READ DATA and WRITE DATA: sector by sector through the buffer, until the DMA
 * controller or the last sector of the track, EOT, ends it. */

/* Bytes of the command. */
enum { C = 2, H, R, N, EOT };

#define COMMAND_BOTH_SIDES 0x80u
#define SECTOR_CODE        2u /* 128 << 2 bytes */

void fdc_end(struct fdc *f, uint8_t st0, uint8_t st1, uint8_t st2)
{
    struct fdc_state *st = &f->st;
    const uint8_t result[7] = {(uint8_t)(st0 | st->unit | (st->command[1] & 4)),
                               st1,
                               st2,
                               st->c,
                               st->h,
                               st->r,
                               SECTOR_CODE};

    st->at = 0;
    memcpy(st->result, result, sizeof(result));
    fdc_give(f, sizeof(result));
    fdc_irq(f, true);
    i8237_request(f->dma, FDC_DMA_CHANNEL, false);
}

uint8_t fdc_readable(struct fdc *f, unsigned unit)
{
    const struct fdc_drive *d = fdc_drive(f, unit);

    if (d && d->format->rate == f->st.rate)
        return 0;
    return ST1_NO_MARK;
}

/* --- The image --- */

/* False: the address is of no sector; the command has ended. */
static bool find(struct fdc *f, uint64_t *off)
{
    const struct fdc_state *st = &f->st;
    const struct fdc_drive *d = fdc_drive(f, st->unit);
    const struct fdc_format *fmt;

    if (!d || d->format->rate != st->rate) {
        fdc_end(f, ST0_FAILED, ST1_NO_MARK, 0);
        return false;
    }
    fmt = d->format;
    if (st->c >= fmt->cylinders || st->h >= fmt->heads || st->r == 0 ||
        st->r > fmt->sectors) {
        fdc_end(f, ST0_FAILED, ST1_NO_DATA, 0);
        return false;
    }
    *off = (((uint64_t)st->c * fmt->heads + st->h) * fmt->sectors + st->r - 1) *
           FDC_SECTOR;
    return true;
}

static void failed(struct fdc *f, struct fdc_drive *d, int rc)
{
    uint64_t now = clock_now_ns();

    if (now >= d->quiet_until_ns)
        log_warn(d->name, "a request of the guest failed: %s",
                 strerrordesc_np(-rc));
    d->quiet_until_ns = now + NS_PER_SEC;
    fdc_end(f, ST0_FAILED, ST1_CRC, ST2_CRC);
}

/* The sector at c, h, r into buf. False: the command has ended. */
static bool load(struct fdc *f)
{
    struct fdc_state *st = &f->st;
    uint64_t off = 0;
    int rc;

    if (st->loaded)
        return true;
    if (!find(f, &off))
        return false;
    rc = blk_read(f->drive[st->unit].blk, off, st->buf, FDC_SECTOR);
    if (rc < 0) {
        failed(f, &f->drive[st->unit], rc);
        return false;
    }
    st->loaded = true;
    st->at = 0;
    return true;
}

static bool store(struct fdc *f)
{
    struct fdc_state *st = &f->st;
    uint64_t off = 0;
    int rc;

    if (!find(f, &off))
        return false;
    if (f->drive[st->unit].blk->flags & BLK_RDONLY) {
        fdc_end(f, ST0_FAILED, ST1_PROTECT, 0);
        return false;
    }
    rc = blk_write(f->drive[st->unit].blk, off, st->buf, FDC_SECTOR, 0);
    if (rc < 0) {
        failed(f, &f->drive[st->unit], rc);
        return false;
    }
    st->at = 0;
    return true;
}

/* --- Sector by sector --- */

/* The address behind this sector (data sheet, table 5-5); false: it was the
 * last of the command. */
static bool next(struct fdc *f)
{
    struct fdc_state *st = &f->st;
    bool both = st->command[0] & COMMAND_BOTH_SIDES;

    st->loaded = false;
    st->at = 0;
    if (st->r != st->command[EOT] && st->r != UINT8_MAX) {
        st->r++;
        return true;
    }
    st->r = 1;
    if (both && !(st->h & 1)) {
        st->h ^= 1;
        st->command[1] |= 4;
        return true;
    }
    if (both)
        st->h ^= 1;
    st->c++;
    return false;
}

/* The buffer was given or filled, and stop says whether the DMA controller
 * wants no more. True: there is another sector. */
static bool sector_done(struct fdc *f, bool stop)
{
    bool more;

    if (f->st.write && !store(f))
        return false;
    more = next(f);
    if (stop)
        fdc_end(f, 0, 0, 0);
    else if (!more)
        fdc_end(f, ST0_FAILED, ST1_END, 0);
    return more && !stop;
}

void fdc_dma_ready(void *opaque)
{
    struct fdc *f = opaque;
    struct fdc_state *st = &f->st;
    bool end = false;
    size_t n;

    while (st->phase == FDC_DMA && !end && (st->write || load(f))) {
        n = i8237_move(f->dma, FDC_DMA_CHANNEL, st->buf + st->at,
                       (size_t)FDC_SECTOR - st->at, !st->write, &end);
        st->at = (uint16_t)(st->at + n);
        if (st->at < FDC_SECTOR && !end)
            return; /* the channel is closed */
        if (st->write)
            memset(st->buf + st->at, 0, (size_t)FDC_SECTOR - st->at);
        if (!sector_done(f, end))
            return;
    }
}

uint8_t fdc_pio_read(struct fdc *f)
{
    struct fdc_state *st = &f->st;
    uint8_t val = st->buf[st->at++];

    fdc_irq(f, false);
    if (st->at == FDC_SECTOR && sector_done(f, false) && load(f))
        fdc_irq(f, true);
    return val;
}

void fdc_pio_write(struct fdc *f, uint8_t val)
{
    struct fdc_state *st = &f->st;

    fdc_irq(f, false);
    st->buf[st->at++] = val;
    if (st->at == FDC_SECTOR && sector_done(f, false))
        fdc_irq(f, true);
}

/*
 * The head goes to the cylinder of the address whether or not CONFIGURE has
 * asked for it: firmware that knows machines like this one never seeks.
 */
void fdc_start(struct fdc *f, bool write)
{
    struct fdc_state *st = &f->st;
    const struct fdc_drive *d;
    uint64_t off = 0;

    st->unit = st->command[1] & 3;
    st->c = st->command[C];
    st->h = st->command[H];
    st->r = st->command[R];
    st->write = write;
    st->loaded = false;
    st->at = 0;
    if (st->command[N] != SECTOR_CODE || st->h != (st->command[1] >> 2 & 1)) {
        fdc_end(f, ST0_FAILED, ST1_NO_DATA, 0);
        return;
    }
    if (!find(f, &off))
        return;
    d = &f->drive[st->unit];
    st->cylinder[st->unit] = st->c;
    if (write && (d->blk->flags & BLK_RDONLY)) {
        fdc_end(f, ST0_FAILED, ST1_PROTECT, 0);
        return;
    }
    if (!(st->specify[1] & SPECIFY_PIO)) {
        st->phase = FDC_DMA;
        i8237_request(f->dma, FDC_DMA_CHANNEL, st->dor & DOR_GATE);
        return;
    }
    if (!write && !load(f))
        return;
    st->phase = FDC_PIO;
    fdc_irq(f, true);
}
