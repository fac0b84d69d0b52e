#include <string.h>

#include "devices/ide/ide_int.h"

/*
 * A channel's registers (ATA-7, vol. 2, 5; vol. 1, 9). Both drives hear every
 * write, the selected one answers reads. A drive that is not there is answered
 * for by the other one, with a status of 0; a channel without drives reads as
 * 0.
 */

/* --- Interrupt --- */

void ide_update_irq(struct ide_channel *ch)
{
    const struct ide_drive *d = ide_selected(ch);
    bool level =
        d->kind != IDE_NONE && d->st.intrq && !(ch->st.control & CTL_NIEN);

    if (level == ch->level)
        return;
    ch->level = level;
    if (level)
        ch->st.bm_status |= BM_IRQ;
    irq_set(&ch->irq, level);
}

void ide_interrupt(struct ide_channel *ch)
{
    ide_active(ch)->st.intrq = true;
    ide_update_irq(ch);
}

/* --- Reset --- */

void ide_signature(struct ide_drive *d)
{
    struct ide_drive_state *st = &d->st;

    st->count[0] = st->lba_low[0] = 1;
    st->lba_mid[0] = st->lba_high[0] = 0;
    st->error = 1; /* diagnostic code: no error */
    st->device = 0;
    if (d->kind == IDE_CDROM) {
        st->lba_mid[0] = 0x14;
        st->lba_high[0] = 0xeb;
        st->status = 0;
    } else {
        st->status = ST_RDY | ST_DSC;
    }
}

/* What a hardware reset forgets and a soft one keeps. */
static void power_on_drive(struct ide_drive *d)
{
    bool open = d->st.open;

    d->st = (struct ide_drive_state){
        .heads = ATA_HEADS,
        .sectors = ATA_SECTORS,
        .multiple = d->kind == IDE_DISK ? ATA_MULTIPLE : 0,
        .write_cache = true,
        .look_ahead = true,
        .smart = true,
        .open = open,
    };
    d->flush_failed = false;
}

void ide_channel_reset(struct ide_channel *ch, bool power_on)
{
    struct ide_channel_state *st = &ch->st;

    ide_forget(ch);
    ide_stop(ch);
    if (power_on) {
        st->bm_command = 0;
        st->bm_status = 0;
        st->bm_table = 0;
        st->control = 0;
    }
    st->bm_status &= (uint8_t)~BM_ACTIVE;
    st->select = 0;
    for (unsigned i = 0; i < IDE_UNITS; i++) {
        struct ide_drive *d = &ch->drive[i];

        if (power_on)
            power_on_drive(d);
        d->st.intrq = false;
        d->st.locked = false;
        ide_signature(d);
    }
    ide_update_irq(ch);
}

/* --- Command block --- */

static bool is_busy(const struct ide_channel *ch)
{
    return ch->st.phase == IDE_BUSY;
}

/* ATA-7, 9.15: the diagnostic is every drive's, whichever is selected. */
static void diagnose(struct ide_channel *ch)
{
    ide_stop(ch);
    ch->st.select = 0;
    for (unsigned i = 0; i < IDE_UNITS; i++)
        ide_signature(&ch->drive[i]);
    ch->st.unit = 0;
    ide_interrupt(ch);
}

enum { CMD_DEVICE_RESET = 0x08, CMD_DIAGNOSTIC = 0x90 };

static void reset_packet_drive(struct ide_channel *ch)
{
    if (ch->st.phase != IDE_IDLE && ch->st.unit == ch->st.select) {
        ide_forget(ch);
        ide_stop(ch);
    }
    ide_signature(ide_selected(ch));
}

static void write_command(struct ide_channel *ch, uint8_t cmd)
{
    struct ide_drive *d = ide_selected(ch);

    if (d->kind == IDE_CDROM && cmd == CMD_DEVICE_RESET) {
        reset_packet_drive(ch);
        return;
    }
    if (is_busy(ch) || (d->kind == IDE_NONE && cmd != CMD_DIAGNOSTIC))
        return;
    d->st.intrq = false;
    ide_update_irq(ch);
    if (cmd == CMD_DIAGNOSTIC) {
        diagnose(ch);
        return;
    }
    ide_stop(ch);
    ch->st.unit = ch->st.select;
    d->st.error = 0;
    if (d->kind == IDE_CDROM)
        atapi_command(ch, cmd);
    else
        ata_command(ch, cmd);
}

static void push(uint8_t reg[2], uint8_t val)
{
    reg[1] = reg[0];
    reg[0] = val;
}

static void write_drive(struct ide_drive *d, unsigned reg, uint8_t val)
{
    switch (reg) {
    case REG_FEATURES: push(d->st.features, val); break;
    case REG_COUNT: push(d->st.count, val); break;
    case REG_LBA_LOW: push(d->st.lba_low, val); break;
    case REG_LBA_MID: push(d->st.lba_mid, val); break;
    case REG_LBA_HIGH: push(d->st.lba_high, val); break;
    case REG_DEVICE: d->st.device = val; break;
    default: break;
    }
}

static void write_register(struct ide_channel *ch, unsigned reg, uint8_t val)
{
    if (ch->st.control & CTL_SRST)
        return;
    if (reg == REG_COMMAND) {
        write_command(ch, val);
        return;
    }
    ch->st.control &= (uint8_t)~CTL_HOB;
    if (is_busy(ch) && reg != REG_DEVICE)
        return;
    for (unsigned i = 0; i < IDE_UNITS; i++)
        write_drive(&ch->drive[i], reg, val);
    if (reg == REG_DEVICE) {
        ch->st.select = (val & DEV_UNIT) != 0;
        ide_update_irq(ch);
    }
}

/* The one that answers; NULL if nobody is there. */
static const struct ide_drive *answering(const struct ide_channel *ch)
{
    const struct ide_drive *d = &ch->drive[ch->st.select];

    if (d->kind == IDE_NONE)
        d = &ch->drive[!ch->st.select];
    return d->kind == IDE_NONE ? NULL : d;
}

static uint8_t read_status(const struct ide_channel *ch)
{
    const struct ide_drive *d = &ch->drive[ch->st.select];

    if (d->kind == IDE_NONE)
        return 0;
    return ch->st.control & CTL_SRST ? ST_BSY : d->st.status;
}

static uint8_t read_register(struct ide_channel *ch, unsigned reg)
{
    const struct ide_drive *d = answering(ch);
    unsigned old = (ch->st.control & CTL_HOB) != 0;

    if (!d)
        return 0;
    switch (reg) {
    case REG_ERROR: return d->st.error;
    case REG_COUNT: return d->st.count[old];
    case REG_LBA_LOW: return d->st.lba_low[old];
    case REG_LBA_MID: return d->st.lba_mid[old];
    case REG_LBA_HIGH: return d->st.lba_high[old];
    case REG_DEVICE: return d->st.device | DEV_SET;
    default:
        ide_selected(ch)->st.intrq = false;
        ide_update_irq(ch);
        return read_status(ch);
    }
}

/* --- Data --- */

/* How much of len bytes the guest may move now. */
static uint32_t ready(const struct ide_channel *ch, bool in, uint32_t len)
{
    const struct ide_channel_state *st = &ch->st;
    bool right = in ? st->phase == IDE_IN
                    : st->phase == IDE_OUT || st->phase == IDE_PACKET;

    if (!right || st->unit != st->select || (st->control & CTL_SRST))
        return 0;
    return st->stop - st->pos < len ? st->stop - st->pos : len;
}

/* What lies behind an odd end is taken with it. */
static void data_moved(struct ide_channel *ch, uint32_t n)
{
    ch->st.pos += n;
    if (ch->st.pos == ch->st.stop)
        ide_pio_step(ch);
}

/* n accesses of so many bytes; nothing to read is ones. */
static void read_data(struct ide_channel *ch, unsigned size, uint8_t *dst,
                      uint32_t n)
{
    while (n) {
        uint32_t most = n > IDE_BUF / size ? IDE_BUF : n * size;
        uint32_t len = ready(ch, true, most);
        uint32_t used = (len + size - 1) / size;

        if (!len) {
            memset(dst, 0xff, (size_t)n * size);
            return;
        }
        memcpy(dst, ch->st.buf + ch->st.pos, len);
        memset(dst + len, 0, (size_t)used * size - len);
        data_moved(ch, len);
        dst += (size_t)used * size;
        n -= used;
    }
}

static void write_data(struct ide_channel *ch, unsigned size,
                       const uint8_t *src, uint32_t n)
{
    while (n) {
        uint32_t most = n > IDE_BUF / size ? IDE_BUF : n * size;
        uint32_t len = ready(ch, false, most);
        uint32_t used = (len + size - 1) / size;

        if (!len)
            return;
        memcpy(ch->st.buf + ch->st.pos, src, len);
        data_moved(ch, len);
        src += (size_t)used * size;
        n -= used;
    }
}

/* --- Accesses --- */

static uint64_t port_read(void *dev, uint64_t off, unsigned size)
{
    struct ide_channel *ch = dev;
    uint64_t val = 0;

    ide_complete(ch->ide);
    if (off == REG_DATA) {
        if (!answering(ch))
            return 0;
        read_data(ch, size, (uint8_t *)&val, 1);
        return val;
    }
    for (unsigned i = 0; i < size; i++)
        val |= (uint64_t)read_register(ch, (unsigned)off + i) << 8 * i;
    return val;
}

static void port_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    struct ide_channel *ch = dev;

    ide_complete(ch->ide);
    if (off == REG_DATA) {
        write_data(ch, size, (const uint8_t *)&val, 1);
        return;
    }
    for (unsigned i = 0; i < size; i++)
        write_register(ch, (unsigned)off + i, (uint8_t)(val >> 8 * i));
}

static bool port_read_many(void *dev, uint64_t off, unsigned size, void *dst,
                           unsigned n)
{
    struct ide_channel *ch = dev;

    if (off != REG_DATA || !answering(ch))
        return false;
    ide_complete(ch->ide);
    read_data(ch, size, dst, n);
    return true;
}

static bool port_write_many(void *dev, uint64_t off, unsigned size,
                            const void *src, unsigned n)
{
    struct ide_channel *ch = dev;

    if (off != REG_DATA)
        return false;
    ide_complete(ch->ide);
    write_data(ch, size, src, n);
    return true;
}

const struct bus_ops ide_bus_ops = {.read = port_read,
                                    .write = port_write,
                                    .read_many = port_read_many,
                                    .write_many = port_write_many,
                                    .min_size = 1,
                                    .max_size = 4};

static uint64_t control_read(void *dev, uint64_t off, unsigned size)
{
    struct ide_channel *ch = dev;

    (void)off;
    (void)size;
    ide_complete(ch->ide);
    return read_status(ch);
}

static void control_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    struct ide_channel *ch = dev;
    uint8_t was = ch->st.control;

    (void)off;
    (void)size;
    ide_complete(ch->ide);
    ch->st.control = (uint8_t)(val & (CTL_NIEN | CTL_SRST | CTL_HOB));
    if (!(was & CTL_SRST) && (val & CTL_SRST))
        ide_channel_reset(ch, false);
    ide_update_irq(ch);
}

const struct bus_ops ide_control_bus_ops = {
    .read = control_read, .write = control_write, .min_size = 1, .max_size = 1};
