#include <errno.h>
#include <string.h>

#include "devices/ide/ide_int.h"

/*
 * A command's data. By PIO it passes through the channel's buffer: the drive
 * offers a piece of it (DRQ), the guest takes or gives that, and the next piece
 * is offered, or the next part of the disk is read or written. By DMA each
 * request goes straight to or from where the bus master's table says.
 *
 * st says at any time what remains to be done; so a saved command goes on from
 * the last request that had not ended.
 */

/* Of one request by DMA. */
enum { DMA_MAX = 1 << 20 };

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static void set_status(struct ide_channel *ch, unsigned bits)
{
    ide_active(ch)->st.status = (uint8_t)bits;
}

void ide_stop(struct ide_channel *ch)
{
    struct ide_channel_state *st = &ch->st;

    st->phase = IDE_IDLE;
    st->op = IDE_OP_NONE;
    st->dma = st->packet = st->fua = false;
    st->left = st->now = 0;
    st->pos = st->stop = st->end = 0;
}

static void done(struct ide_channel *ch)
{
    if (ch->st.dma)
        ide_bm_end(ch, false);
    if (ch->st.packet)
        atapi_done(ch);
    else
        ata_done(ch);
}

static void failed(struct ide_channel *ch, int rc)
{
    if (ch->st.dma)
        ide_bm_end(ch, rc == -EFAULT);
    ide_warn(ide_active(ch), rc);
    if (ch->st.packet)
        atapi_failed(ch, rc);
    else
        ata_failed(ch, rc);
}

/* --- PIO --- */

/* Offer what comes next in the buffer. */
static void offer(struct ide_channel *ch, enum ide_phase phase, bool interrupt)
{
    struct ide_channel_state *st = &ch->st;
    struct ide_drive *d = ide_active(ch);
    uint32_t n = min_u32(st->end - st->pos, st->limit);

    st->phase = (uint8_t)phase;
    st->stop = st->pos + n;
    if (st->packet) {
        d->st.count[0] = REASON_IO;
        d->st.lba_mid[0] = (uint8_t)n;
        d->st.lba_high[0] = (uint8_t)(n >> 8);
    }
    set_status(ch, ST_RDY | ST_DSC | ST_DRQ);
    if (interrupt)
        ide_interrupt(ch);
}

static uint32_t blocks_of_buffer(const struct ide_channel *ch)
{
    unsigned block = ide_block(&ch->drive[ch->st.unit]);

    return min_u32(ch->st.left, IDE_BUF / block);
}

static void take_from_guest(struct ide_channel *ch, bool interrupt)
{
    struct ide_channel_state *st = &ch->st;

    st->now = blocks_of_buffer(ch);
    st->pos = 0;
    st->end = st->now * SECTOR;
    offer(ch, IDE_OUT, interrupt);
}

/* Between the buffer and the disk. */
static void buffer_request(struct ide_channel *ch)
{
    struct ide_channel_state *st = &ch->st;
    int rc;

    st->now = blocks_of_buffer(ch);
    ch->iov[0] =
        (struct iovec){st->buf, (size_t)st->now * ide_block(ide_active(ch))};
    if (ide_request(ch, 1, &rc))
        ide_request_ended(ch, rc);
}

void ide_pio_step(struct ide_channel *ch)
{
    struct ide_channel_state *st = &ch->st;

    if (st->phase == IDE_PACKET) {
        atapi_packet(ch);
    } else if (st->pos < st->end) {
        offer(ch, (enum ide_phase)st->phase, true);
    } else if (st->phase == IDE_OUT || st->left) {
        buffer_request(ch);
    } else if (st->packet) {
        atapi_done(ch);
    } else {
        /* No interrupt follows the last data of a disk (ATA-7, 9.5). */
        ide_stop(ch);
        set_status(ch, ST_RDY | ST_DSC);
    }
}

static void pio_ended(struct ide_channel *ch)
{
    struct ide_channel_state *st = &ch->st;

    st->left -= st->now;
    if (st->op == IDE_OP_WRITE) {
        if (st->left)
            take_from_guest(ch, true);
        else
            done(ch);
        return;
    }
    st->pos = 0;
    st->end = st->now * ide_block(ide_active(ch));
    st->now = 0;
    offer(ch, IDE_IN, true);
}

/* --- DMA --- */

static struct ide_prd cursor(const struct ide_channel *ch)
{
    return (struct ide_prd){ch->st.prd_next, ch->st.prd_addr, ch->st.prd_left,
                            ch->st.prd_last};
}

static void commit_cursor(struct ide_channel *ch)
{
    ch->st.prd_next = ch->after.next;
    ch->st.prd_addr = ch->after.addr;
    ch->st.prd_left = ch->after.left;
    ch->st.prd_last = ch->after.last;
}

/* Memory for the next want bytes, in whole blocks. 0: the table has ended. */
static int64_t collect(struct ide_channel *ch, uint32_t want, unsigned block,
                       int *nr)
{
    bool writable = ch->st.op != IDE_OP_WRITE;
    int64_t got;

    ch->after = cursor(ch);
    got = ide_prd_collect(ch, want, writable, nr);
    if (got <= 0 || got % block == 0)
        return got;
    want = (uint32_t)(got - got % block);
    ch->after = cursor(ch);
    got = want ? ide_prd_collect(ch, want, writable, nr) : 0;
    return got == want ? got : -EFAULT; /* the guest changed it meanwhile */
}

static void tell_written(struct ide_channel *ch, int nr)
{
    for (int i = 0; i < nr; i++)
        gmem_written(ch->ide->gm, ch->gpa[i], ch->iov[i].iov_len);
}

/* The table is too short: as on real hardware the drive goes on waiting. */
static void stall(struct ide_channel *ch)
{
    ch->st.bm_status &= (uint8_t)~BM_ACTIVE;
}

/* From the buffer. */
static void dma_buffer(struct ide_channel *ch)
{
    struct ide_channel_state *st = &ch->st;

    while (st->pos < st->end) {
        int nr = 0;
        int64_t got = collect(ch, st->end - st->pos, 1, &nr);

        if (got < 0) {
            failed(ch, -EFAULT);
            return;
        }
        if (got == 0) {
            stall(ch);
            return;
        }
        for (int i = 0; i < nr; i++) {
            memcpy(ch->iov[i].iov_base, st->buf + st->pos, ch->iov[i].iov_len);
            st->pos += (uint32_t)ch->iov[i].iov_len;
        }
        tell_written(ch, nr);
        commit_cursor(ch);
    }
    done(ch);
}

/* A request by DMA has ended well: whether there is more to do. */
static bool dma_ended(struct ide_channel *ch)
{
    struct ide_channel_state *st = &ch->st;

    if (st->op == IDE_OP_READ)
        tell_written(ch, ch->req.nr_iov);
    commit_cursor(ch);
    st->left -= st->now;
    st->now = 0;
    if (st->left) {
        st->phase = IDE_DMA;
        set_status(ch, ST_RDY | ST_DSC | ST_DRQ);
        return true;
    }
    done(ch);
    return false;
}

/* What a request has come to: whether the next one by DMA is due. */
static bool ended(struct ide_channel *ch, int rc)
{
    struct ide_channel_state *st = &ch->st;

    if (rc < 0) {
        failed(ch, rc);
        return false;
    }
    if (st->op == IDE_OP_FLUSH) {
        done(ch);
        return false;
    }
    st->lba += st->now;
    if (st->dma)
        return dma_ended(ch);
    pio_ended(ch);
    return false;
}

/* One request by DMA: whether the next one is due. */
static bool dma_request(struct ide_channel *ch)
{
    struct ide_channel_state *st = &ch->st;
    unsigned block = ide_block(ide_active(ch));
    int64_t got;
    int nr = 0, rc;

    st->now = min_u32(st->left, DMA_MAX / block);
    got = collect(ch, st->now * block, block, &nr);
    if (got < 0) {
        failed(ch, -EFAULT);
        return false;
    }
    if (got == 0) {
        stall(ch);
        return false;
    }
    st->now = (uint32_t)got / block;
    return ide_request(ch, nr, &rc) && ended(ch, rc);
}

void ide_dma_step(struct ide_channel *ch)
{
    while (ch->st.phase == IDE_DMA && (ch->st.bm_status & BM_ACTIVE)) {
        if (ch->st.op == IDE_OP_NONE) {
            dma_buffer(ch);
            return;
        }
        if (!dma_request(ch))
            return;
    }
}

/* --- Beginning, going on --- */

static void begin_dma(struct ide_channel *ch)
{
    ch->st.phase = IDE_DMA;
    set_status(ch, ST_RDY | ST_DSC | ST_DRQ);
    ide_dma_step(ch);
}

void ide_send_buffer(struct ide_channel *ch, uint32_t len, uint32_t limit)
{
    ch->st.op = IDE_OP_NONE;
    ch->st.left = 0;
    ch->st.pos = 0;
    ch->st.end = len;
    ch->st.limit = limit;
    if (ch->st.dma)
        begin_dma(ch);
    else
        offer(ch, IDE_IN, true);
}

void ide_start(struct ide_channel *ch, enum ide_op op, uint64_t lba,
               uint32_t count, uint32_t limit)
{
    struct ide_channel_state *st = &ch->st;

    st->op = (uint8_t)op;
    st->lba = lba;
    st->left = count;
    st->limit = limit;
    if (st->dma)
        begin_dma(ch);
    else if (op == IDE_OP_READ)
        buffer_request(ch);
    else
        take_from_guest(ch, false);
}

void ide_flush(struct ide_channel *ch)
{
    int rc;

    ch->st.op = IDE_OP_FLUSH;
    if (ide_request(ch, 0, &rc))
        ide_request_ended(ch, rc);
}

void ide_request_ended(struct ide_channel *ch, int rc)
{
    if (ended(ch, rc))
        ide_dma_step(ch);
}

void ide_resume(struct ide_channel *ch)
{
    struct ide_channel_state *st = &ch->st;

    if (st->phase == IDE_DMA) {
        ide_dma_step(ch);
        return;
    }
    if (st->phase != IDE_BUSY)
        return;
    if (st->op == IDE_OP_FLUSH) {
        ide_flush(ch);
    } else if (st->dma) {
        begin_dma(ch);
    } else {
        buffer_request(ch);
    }
}
