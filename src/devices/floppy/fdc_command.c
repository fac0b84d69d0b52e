#include <string.h>

#include "base/compiler.h"
#include "devices/floppy/fdc_int.h"

/* Commands (data sheet, 5): each is complete when as many bytes as its row says
 * were written. */

#define CONFIG_NO_POLL 0x10u

static unsigned unit_of(const struct fdc *f)
{
    return f->st.command[1] & 3;
}

static void invalid(struct fdc *f)
{
    f->st.result[0] = ST0_INVALID;
    fdc_give(f, 1);
}

/* --- The head --- */

static void sought(struct fdc *f, unsigned unit, uint8_t cylinder,
                   uint8_t status)
{
    f->st.cylinder[unit] = cylinder;
    if (fdc_drive(f, unit))
        f->st.changed[unit] = false;
    f->st.sought = true;
    f->st.seek_status = (uint8_t)(ST0_SEEK | status | unit);
    fdc_idle(f);
    fdc_irq(f, true);
}

static void seek(struct fdc *f)
{
    sought(f, unit_of(f), f->st.command[2], f->st.command[1] & 4);
}

/* Without a drive, track 0 is never seen. */
static void recalibrate(struct fdc *f)
{
    unsigned unit = unit_of(f);
    bool there = fdc_drive(f, unit) != NULL;

    sought(f, unit, 0, there ? 0 : ST0_FAILED | ST0_NO_TRACK);
}

static void sense_interrupt(struct fdc *f)
{
    struct fdc_state *st = &f->st;
    unsigned unit;

    if (st->sought) {
        st->sought = false;
        st->result[0] = st->seek_status;
    } else if (st->polled) {
        unit = (unsigned)__builtin_ctz(st->polled);
        st->polled &= (uint8_t)(st->polled - 1);
        st->result[0] = (uint8_t)(ST0_POLLED | unit);
    } else {
        invalid(f);
        return;
    }
    fdc_irq(f, false);
    st->result[1] = st->cylinder[st->result[0] & 3];
    fdc_give(f, 2);
}

static void sense_drive(struct fdc *f)
{
    unsigned unit = unit_of(f);
    const struct fdc_drive *d = fdc_drive(f, unit);
    uint8_t val = (uint8_t)(ST3_READY | ST3_TWO_SIDE | (f->st.command[1] & 7));

    if (d && f->st.cylinder[unit] == 0)
        val |= ST3_TRACK_0;
    if (d && (d->blk->flags & BLK_RDONLY))
        val |= ST3_PROTECT;
    f->st.result[0] = val;
    fdc_give(f, 1);
}

/* --- The disk --- */

static void read_data(struct fdc *f)
{
    fdc_start(f, false);
}

static void write_data(struct fdc *f)
{
    fdc_start(f, true);
}

/* The first sector that goes by. */
static void read_id(struct fdc *f)
{
    struct fdc_state *st = &f->st;
    uint8_t st1;

    st->unit = (uint8_t)unit_of(f);
    st1 = fdc_readable(f, st->unit);
    st->c = st->cylinder[st->unit];
    st->h = st->command[1] >> 2 & 1;
    st->r = 1;
    if (!st1 && st->c >= f->drive[st->unit].format->cylinders)
        st1 = ST1_NO_MARK;
    fdc_end(f, st1 ? ST0_FAILED : 0, st1, 0);
}

/* Images have no place for sectors of other sizes and numbers: as if each disk
 * were protected. */
static void format(struct fdc *f)
{
    struct fdc_state *st = &f->st;

    st->unit = (uint8_t)unit_of(f);
    st->c = st->cylinder[st->unit];
    st->h = st->command[1] >> 2 & 1;
    st->r = 1;
    fdc_end(f, ST0_FAILED, ST1_PROTECT, 0);
}

/* --- The controller --- */

static void specify(struct fdc *f)
{
    memcpy(f->st.specify, f->st.command + 1, 2);
    fdc_idle(f);
}

static void configure(struct fdc *f)
{
    f->st.config = f->st.command[2];
    f->st.precomp = f->st.command[3];
    if (f->st.config & CONFIG_NO_POLL)
        f->st.polled = 0;
    fdc_idle(f);
}

/* Bit 7 allows the drives' bits to change. */
static void perpendicular(struct fdc *f)
{
    uint8_t val = f->st.command[1];

    if (val & 0x80)
        f->st.perpendicular = val & 0x3f;
    else
        f->st.perpendicular =
            (uint8_t)((f->st.perpendicular & 0x3c) | (val & 3));
    fdc_idle(f);
}

static void lock(struct fdc *f)
{
    f->st.lock = f->st.command[0] & 0x80;
    f->st.result[0] = f->st.lock ? 0x10 : 0;
    fdc_give(f, 1);
}

static void version(struct fdc *f)
{
    f->st.result[0] = 0x90;
    fdc_give(f, 1);
}

static void dump_registers(struct fdc *f)
{
    struct fdc_state *st = &f->st;

    memcpy(st->result, st->cylinder, FDC_UNITS);
    memcpy(st->result + 4, st->specify, 2);
    st->result[6] = st->command[6]; /* of the last transfer */
    st->result[7] = (uint8_t)((st->lock ? 0x80 : 0) | st->perpendicular);
    st->result[8] = st->config;
    st->result[9] = st->precomp;
    fdc_give(f, 10);
}

static const struct {
    uint8_t mask, value, bytes;
    void (*run)(struct fdc *f);
} commands[] = {
    {0x1f, 0x06, 9, read_data},       {0x3f, 0x05, 9, write_data},
    {0xbf, 0x0a, 2, read_id},         {0xbf, 0x0d, 6, format},
    {0xff, 0x07, 2, recalibrate},     {0xff, 0x0f, 3, seek},
    {0xff, 0x08, 1, sense_interrupt}, {0xff, 0x04, 2, sense_drive},
    {0xff, 0x03, 3, specify},         {0xff, 0x13, 4, configure},
    {0xff, 0x12, 2, perpendicular},   {0x7f, 0x14, 1, lock},
    {0xff, 0x10, 1, version},         {0xff, 0x0e, 1, dump_registers},
    {0x00, 0x00, 1, invalid},
};

void fdc_command_byte(struct fdc *f, uint8_t val)
{
    struct fdc_state *st = &f->st;
    size_t row = 0;

    if (st->pos == 0) {
        st->command[0] = val;
    } else {
        st->command[st->pos] = val;
        val = st->command[0];
    }
    st->pos++;
    while ((val & commands[row].mask) != commands[row].value)
        row++;
    st->nr_command = commands[row].bytes;
    if (st->pos >= st->nr_command)
        commands[row].run(f);
}
