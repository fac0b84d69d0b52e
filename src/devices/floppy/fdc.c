#include "devices/floppy/fdc.h"

#include <errno.h>
#include <string.h>

#include "devices/floppy/fdc_int.h"

/* Registers and life of the controller. */

enum { REG_SRA, REG_SRB, REG_DOR, REG_TDR, REG_MSR, REG_FIFO };

#define MSR_READY  0x80u
#define MSR_INPUT  0x40u /* the next byte goes to the guest */
#define MSR_PIO    0x20u
#define MSR_BUSY   0x10u
#define DSR_RESET  0x80u
#define RATE       0x03u
#define DIR_CHANGE 0x80u

static const struct fdc_format formats[] = {
    {360 << 10, 40, 2, 9, 1, 2},   {720 << 10, 80, 2, 9, 2, 4},
    {1200 << 10, 80, 2, 15, 0, 2}, {1440 << 10, 80, 2, 18, 0, 4},
    {2880 << 10, 80, 2, 36, 3, 5},
};

const struct fdc_format *fdc_format_of(uint64_t bytes)
{
    for (size_t i = 0; i < ARRAY_LEN(formats); i++)
        if (formats[i].bytes == bytes)
            return &formats[i];
    return NULL;
}

struct fdc_drive *fdc_drive(struct fdc *f, unsigned unit)
{
    return unit < FDC_DRIVES && f->drive[unit].blk ? &f->drive[unit] : NULL;
}

/* --- Interrupt and phases --- */

static void drive_irq(struct fdc *f)
{
    irq_set(&f->irq, f->st.irq && (f->st.dor & DOR_GATE));
}

void fdc_irq(struct fdc *f, bool level)
{
    f->st.irq = level;
    drive_irq(f);
}

void fdc_idle(struct fdc *f)
{
    f->st.phase = FDC_COMMAND;
    f->st.nr_command = 0;
    f->st.pos = 0;
}

void fdc_give(struct fdc *f, unsigned n)
{
    f->st.phase = FDC_RESULT;
    f->st.nr_result = (uint8_t)n;
    f->st.pos = 0;
}

/* By DOR or DSR; power-on does more. What LOCK protects stays. */
static void soft_reset(struct fdc *f)
{
    fdc_irq(f, false);
    fdc_idle(f);
    f->st.sought = false;
    f->st.polled = 0;
    f->st.perpendicular &= 0x3c; /* data sheet, 5.2.9: not GAP and WGATE */
    if (!f->st.lock)
        f->st.config = 0;
    i8237_request(f->dma, FDC_DMA_CHANNEL, false);
}

/* Each drive is found to have become ready, once polling has seen it. */
static void leave_reset(struct fdc *f)
{
    f->st.polled = 0x0f;
    fdc_irq(f, true);
}

/* --- Registers --- */

static uint8_t main_status(const struct fdc *f)
{
    const struct fdc_state *st = &f->st;

    if (!(st->dor & DOR_RUN))
        return 0;
    switch (st->phase) {
    case FDC_PIO:
        return MSR_READY | MSR_PIO | MSR_BUSY | (st->write ? 0 : MSR_INPUT);
    case FDC_DMA: return MSR_BUSY;
    case FDC_RESULT: return MSR_READY | MSR_INPUT | MSR_BUSY;
    default: return st->nr_command ? MSR_READY | MSR_BUSY : MSR_READY;
    }
}

static uint8_t fifo_read(struct fdc *f)
{
    struct fdc_state *st = &f->st;
    uint8_t val;

    if (st->phase == FDC_PIO && !st->write)
        return fdc_pio_read(f);
    if (st->phase != FDC_RESULT)
        return 0;
    fdc_irq(f, false);
    val = st->result[st->pos++];
    if (st->pos == st->nr_result)
        fdc_idle(f);
    return val;
}

static void fifo_write(struct fdc *f, uint8_t val)
{
    if (!(f->st.dor & DOR_RUN))
        return;
    if (f->st.phase == FDC_PIO && f->st.write)
        fdc_pio_write(f, val);
    else if (f->st.phase == FDC_COMMAND)
        fdc_command_byte(f, val);
}

static void write_dor(struct fdc *f, uint8_t val)
{
    uint8_t was = f->st.dor;

    f->st.dor = val;
    if ((was & DOR_RUN) && !(val & DOR_RUN))
        soft_reset(f);
    else if (!(was & DOR_RUN) && (val & DOR_RUN))
        leave_reset(f);
    if (f->st.phase == FDC_DMA)
        i8237_request(f->dma, FDC_DMA_CHANNEL, val & DOR_GATE);
    drive_irq(f);
}

/* Its reset bit clears itself. */
static void write_dsr(struct fdc *f, uint8_t val)
{
    f->st.rate = val & RATE;
    f->st.precomp = val & 0x1c;
    if (!(val & DSR_RESET) || !(f->st.dor & DOR_RUN))
        return;
    soft_reset(f);
    leave_reset(f);
}

/* Status registers A and B are those of other modes. */
static uint64_t fdc_read(void *dev, uint64_t off, unsigned size)
{
    struct fdc *f = dev;

    (void)size;
    switch (off) {
    case REG_DOR: return f->st.dor;
    case REG_TDR: return f->st.tdr;
    case REG_MSR: return main_status(f);
    case REG_FIFO: return fifo_read(f);
    default: return 0xff;
    }
}

static void fdc_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    struct fdc *f = dev;

    (void)size;
    switch (off) {
    case REG_DOR: write_dor(f, (uint8_t)val); break;
    case REG_TDR: f->st.tdr = val & 3; break;
    case REG_MSR: write_dsr(f, (uint8_t)val); break;
    case REG_FIFO: fifo_write(f, (uint8_t)val); break;
    default: break;
    }
}

const struct bus_ops fdc_bus_ops = {
    .read = fdc_read, .write = fdc_write, .max_size = 1};

/* A unit that is not there says that its disk was changed, as an empty drive
 * does. */
static uint64_t input_read(void *dev, uint64_t off, unsigned size)
{
    struct fdc *f = dev;
    unsigned unit = f->st.dor & DOR_UNIT;

    (void)off;
    (void)size;
    return !fdc_drive(f, unit) || f->st.changed[unit] ? DIR_CHANGE : 0;
}

static void input_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    struct fdc *f = dev;

    (void)off;
    (void)size;
    f->st.rate = val & RATE;
}

const struct bus_ops fdc_input_bus_ops = {
    .read = input_read, .write = input_write, .max_size = 1};

/* --- Life --- */

static void fdc_reset(void *dev)
{
    struct fdc *f = dev;

    memset(&f->st, 0, sizeof(f->st));
    f->st.rate = 2; /* data sheet, 2.1.6 */
    for (unsigned i = 0; i < FDC_DRIVES; i++)
        f->st.changed[i] = true;
    soft_reset(f);
}

void fdc_init(struct fdc *f, const struct fdc_config *cfg)
{
    memset(f, 0, sizeof(*f));
    f->irq = cfg->irq;
    f->dma = cfg->dma;
    for (unsigned i = 0; i < FDC_DRIVES; i++) {
        struct blk *blk = cfg->drive[i].blk;

        f->drive[i].format = blk ? fdc_format_of(blk_size(blk)) : NULL;
        f->drive[i].blk = f->drive[i].format ? blk : NULL;
        f->drive[i].name = cfg->drive[i].name;
    }
    i8237_connect(f->dma, FDC_DMA_CHANNEL, fdc_dma_ready, f);
    fdc_reset(f);
}

#define FIELD(id_, type_, memb) STATE_FIELD(id_, type_, struct fdc_state, memb)

static const struct state_field fields[] = {
    FIELD(1, STATE_U8, dor),          FIELD(2, STATE_U8, tdr),
    FIELD(3, STATE_U8, rate),         FIELD(4, STATE_U8, config),
    FIELD(5, STATE_U8, precomp),      FIELD(6, STATE_U8, perpendicular),
    FIELD(7, STATE_U8, specify),      FIELD(8, STATE_BOOL, lock),
    FIELD(9, STATE_U8, cylinder),     FIELD(10, STATE_BOOL, changed),
    FIELD(11, STATE_U8, polled),      FIELD(12, STATE_BOOL, sought),
    FIELD(13, STATE_U8, seek_status), FIELD(14, STATE_U8, phase),
    FIELD(15, STATE_BYTES, command),  FIELD(16, STATE_U8, nr_command),
    FIELD(17, STATE_BYTES, result),   FIELD(18, STATE_U8, nr_result),
    FIELD(19, STATE_U8, pos),         FIELD(20, STATE_BOOL, irq),
    FIELD(21, STATE_BOOL, write),     FIELD(22, STATE_BOOL, loaded),
    FIELD(23, STATE_U8, unit),        FIELD(24, STATE_U8, c),
    FIELD(25, STATE_U8, h),           FIELD(26, STATE_U8, r),
    FIELD(27, STATE_U16, at),         FIELD(28, STATE_BYTES, buf),
};

/* A command that is not complete yet is shorter than the table's longest, and
 * pos is inside of what it counts in. Where a transfer is on the disk is looked
 * at with each sector. */
static int fdc_check(const void *state)
{
    const struct fdc_state *st = state;

    if (st->phase >= FDC_NR_PHASES || st->nr_command > FDC_COMMAND_BYTES ||
        st->nr_result > FDC_RESULT_BYTES || st->unit >= FDC_UNITS ||
        st->at >= FDC_SECTOR || st->rate > RATE || st->polled > 0x0f)
        return -EINVAL;
    if (st->phase == FDC_COMMAND &&
        (st->nr_command ? st->pos >= st->nr_command : st->pos != 0))
        return -EINVAL;
    if (st->phase == FDC_RESULT && st->pos >= st->nr_result)
        return -EINVAL;
    if (st->phase == FDC_PIO && !st->write && !st->loaded)
        return -EINVAL;
    return 0;
}

const struct state_desc fdc_state_desc = {
    .name = "fdc",
    .version = 1,
    STATE_LAYOUT(struct fdc_state, fields),
    .check = fdc_check,
};

static void fdc_loaded(void *dev, int64_t shift_ns)
{
    struct fdc *f = dev;

    (void)shift_ns;
    drive_irq(f);
    i8237_request(f->dma, FDC_DMA_CHANNEL, f->st.phase == FDC_DMA);
}

const struct device_class fdc_class = {
    .state = &fdc_state_desc,
    .state_off = offsetof(struct fdc, st),
    .reset = fdc_reset,
    .loaded = fdc_loaded,
};
