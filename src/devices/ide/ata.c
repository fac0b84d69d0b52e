#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "devices/ide/ide_int.h"

/* Commands of a hard disk (ATA-7, vol. 1, 6). */

enum {
    CMD_READ = 0x20,
    CMD_READ_EXT = 0x24,
    CMD_READ_DMA_EXT = 0x25,
    CMD_NATIVE_MAX_EXT = 0x27,
    CMD_READ_MULTIPLE_EXT = 0x29,
    CMD_WRITE = 0x30,
    CMD_WRITE_EXT = 0x34,
    CMD_WRITE_DMA_EXT = 0x35,
    CMD_WRITE_MULTIPLE_EXT = 0x39,
    CMD_WRITE_DMA_FUA_EXT = 0x3d,
    CMD_VERIFY = 0x40,
    CMD_VERIFY_EXT = 0x42,
    CMD_SEEK = 0x70,
    CMD_GEOMETRY = 0x91,
    CMD_SMART = 0xb0,
    CMD_READ_MULTIPLE = 0xc4,
    CMD_WRITE_MULTIPLE = 0xc5,
    CMD_SET_MULTIPLE = 0xc6,
    CMD_READ_DMA = 0xc8,
    CMD_WRITE_DMA = 0xca,
    CMD_WRITE_MULTIPLE_FUA_EXT = 0xce,
    CMD_STANDBY_NOW = 0xe0,
    CMD_IDLE_NOW = 0xe1,
    CMD_STANDBY = 0xe2,
    CMD_IDLE = 0xe3,
    CMD_CHECK_POWER = 0xe5,
    CMD_SLEEP = 0xe6,
    CMD_FLUSH = 0xe7,
    CMD_FLUSH_EXT = 0xea,
    CMD_IDENTIFY = 0xec,
    CMD_SET_FEATURES = 0xef,
    CMD_NATIVE_MAX = 0xf8
};

/* --- Ends --- */

static void end(struct ide_channel *ch, unsigned status, uint8_t error)
{
    struct ide_drive *d = ide_active(ch);

    ide_stop(ch);
    d->st.status = (uint8_t)(ST_RDY | ST_DSC | status);
    d->st.error = error;
    ide_interrupt(ch);
}

void ata_done(struct ide_channel *ch)
{
    if (ch->st.op == IDE_OP_READ || ch->st.op == IDE_OP_WRITE)
        ide_active(ch)->st.count[0] = 0;
    end(ch, 0, 0);
}

void ata_abort(struct ide_channel *ch, uint8_t error)
{
    end(ch, ST_ERR, error);
}

/* --- Addresses --- */

static bool has_lba(const struct ide_drive *d)
{
    return d->st.device & DEV_LBA;
}

static uint64_t lba48(const struct ide_drive_state *st)
{
    uint64_t old = st->lba_low[1] | (uint64_t)st->lba_mid[1] << 8 |
                   (uint64_t)st->lba_high[1] << 16;

    return old << 24 | (uint64_t)st->lba_high[0] << 16 |
           (uint64_t)st->lba_mid[0] << 8 | st->lba_low[0];
}

/* UINT64_MAX for a sector that no geometry has. */
static uint64_t lba28(const struct ide_drive *d)
{
    const struct ide_drive_state *st = &d->st;
    uint64_t cylinder = st->lba_high[0] * 256u + st->lba_mid[0];

    if (has_lba(d))
        return (uint64_t)(st->device & 15) << 24 | cylinder << 8 |
               st->lba_low[0];
    if (!st->lba_low[0])
        return UINT64_MAX;
    return (cylinder * st->heads + (st->device & 15)) * st->sectors +
           st->lba_low[0] - 1;
}

/* Where a command begins and how long it is. */
struct place {
    uint64_t lba;
    uint32_t count;
};

/* False if not all of it is on the disk: the command has then ended. */
static bool locate(struct ide_channel *ch, bool ext, struct place *p)
{
    const struct ide_drive *d = ide_active(ch);

    if (ext) {
        p->lba = lba48(&d->st);
        p->count = d->st.count[1] * 256u + d->st.count[0];
        p->count = p->count ? p->count : 65536;
    } else {
        p->lba = lba28(d);
        p->count = d->st.count[0] ? d->st.count[0] : 256;
    }
    if (range_ok(p->lba, p->count, d->blocks))
        return true;
    ata_abort(ch, ER_IDNF | ER_ABRT);
    return false;
}

static void set_lba(struct ide_drive *d, uint64_t lba)
{
    struct ide_drive_state *st = &d->st;

    st->lba_low[0] = (uint8_t)lba;
    st->lba_mid[0] = (uint8_t)(lba >> 8);
    st->lba_high[0] = (uint8_t)(lba >> 16);
    st->lba_low[1] = (uint8_t)(lba >> 24);
    st->lba_mid[1] = (uint8_t)(lba >> 32);
    st->lba_high[1] = (uint8_t)(lba >> 40);
}

void ata_failed(struct ide_channel *ch, int rc)
{
    struct ide_drive *d = ide_active(ch);
    bool read = ch->st.op == IDE_OP_READ;

    if (rc != -EFAULT && ch->st.op != IDE_OP_FLUSH) {
        set_lba(d, ch->st.lba);
        if (ch->st.lba < 1u << 28)
            d->st.device =
                (uint8_t)((d->st.device & 0xf0) | (ch->st.lba >> 24 & 15));
    }
    ata_abort(ch, read && rc != -EFAULT ? ER_UNC : ER_ABRT);
}

/* --- Data --- */

enum { EXT = 1, DMA = 2, MULTIPLE = 4, WRITE = 8, FUA = 16 };

static void transfer(struct ide_channel *ch, unsigned flags)
{
    const struct ide_drive *d = ide_active(ch);
    uint32_t limit = SECTOR;
    struct place p;

    if ((flags & WRITE && d->blk->flags & BLK_RDONLY) ||
        (flags & MULTIPLE && !d->st.multiple)) {
        ata_abort(ch, ER_ABRT);
        return;
    }
    if (!locate(ch, flags & EXT, &p))
        return;
    if (flags & MULTIPLE)
        limit = (uint32_t)d->st.multiple * SECTOR;
    ch->st.dma = (flags & DMA) != 0;
    ch->st.fua = (flags & FUA) != 0;
    ide_start(ch, flags & WRITE ? IDE_OP_WRITE : IDE_OP_READ, p.lba, p.count,
              limit);
}

static void verify(struct ide_channel *ch, unsigned flags)
{
    struct place p;

    if (locate(ch, flags & EXT, &p))
        ata_done(ch);
}

static void native_max(struct ide_channel *ch, unsigned flags)
{
    struct ide_drive *d = ide_active(ch);
    uint64_t last = d->blocks - 1;

    if (!has_lba(d)) {
        ata_abort(ch, ER_ABRT);
        return;
    }
    if (!(flags & EXT)) {
        last = last < 0xfffffff ? last : 0xfffffff;
        d->st.device = (uint8_t)((d->st.device & 0xf0) | last >> 24);
    }
    set_lba(d, last);
    ata_done(ch);
}

static void flush(struct ide_channel *ch, unsigned flags)
{
    (void)flags;
    ide_flush(ch);
}

static void identify(struct ide_channel *ch, unsigned flags)
{
    (void)flags;
    memset(ch->st.buf, 0, SECTOR);
    ata_identify(ide_active(ch), ch->st.buf);
    ide_send_buffer(ch, SECTOR, SECTOR);
}

/* --- Settings --- */

static void set_geometry(struct ide_channel *ch, unsigned flags)
{
    struct ide_drive *d = ide_active(ch);

    (void)flags;
    if (!d->st.count[0]) {
        ata_abort(ch, ER_ABRT);
        return;
    }
    d->st.sectors = d->st.count[0];
    d->st.heads = (uint8_t)((d->st.device & 15) + 1);
    ata_done(ch);
}

static void set_multiple(struct ide_channel *ch, unsigned flags)
{
    struct ide_drive *d = ide_active(ch);
    unsigned n = d->st.count[0];

    (void)flags;
    if (n > ATA_MULTIPLE || (n & (n - 1))) {
        ata_abort(ch, ER_ABRT);
        return;
    }
    d->st.multiple = (uint8_t)n;
    ata_done(ch);
}

/* Transfer modes (7.47.3): PIO up to 4, multiword DMA to 2, Ultra DMA to 5. */
static bool set_mode(struct ide_drive *d, unsigned mode)
{
    unsigned kind = mode >> 3, n = mode & 7;

    if (kind == 0)
        return n <= 1;
    if (kind == 1)
        return n <= 4;
    if ((kind != 4 || n > 2) && (kind != 8 || n > 5))
        return false;
    d->st.dma_mode = (uint8_t)mode;
    return true;
}

enum {
    SF_WRITE_CACHE = 0x02,
    SF_MODE = 0x03,
    SF_NO_LOOK_AHEAD = 0x55,
    SF_KEEP = 0x66,
    SF_NO_WRITE_CACHE = 0x82,
    SF_LOOK_AHEAD = 0xaa,
    SF_REVERT = 0xcc
};

static void set_features(struct ide_channel *ch, unsigned flags)
{
    struct ide_drive *d = ide_active(ch);
    bool ok = true;

    (void)flags;
    switch (d->st.features[0]) {
    case SF_WRITE_CACHE: d->st.write_cache = true; break;
    case SF_NO_WRITE_CACHE:
        d->st.write_cache = false;
        if (d->kind == IDE_DISK) { /* what is in it is written first */
            ide_flush(ch);
            return;
        }
        break;
    case SF_LOOK_AHEAD: d->st.look_ahead = true; break;
    case SF_NO_LOOK_AHEAD: d->st.look_ahead = false; break;
    case SF_MODE: ok = set_mode(d, d->st.count[0]); break;
    case SF_KEEP:
    case SF_REVERT: break;
    default: ok = false;
    }
    if (ok)
        ata_done(ch);
    else
        ata_abort(ch, ER_ABRT);
}

static void no_data(struct ide_channel *ch, unsigned flags)
{
    (void)flags;
    ata_done(ch);
}

/* Always active: nothing is gained by sleeping. */
static void check_power(struct ide_channel *ch, unsigned flags)
{
    (void)flags;
    ide_active(ch)->st.count[0] = 0xff;
    ata_done(ch);
}

/* --- SMART (7.52) --- */

enum {
    SMART_DATA = 0xd0,
    SMART_THRESHOLDS = 0xd1,
    SMART_AUTOSAVE = 0xd2,
    SMART_ENABLE = 0xd8,
    SMART_DISABLE = 0xd9,
    SMART_STATUS = 0xda
};

/* No attributes: nothing here wears out. */
static void smart_data(struct ide_channel *ch)
{
    uint8_t *p = ch->st.buf;
    uint8_t sum = 0;

    memset(p, 0, SECTOR);
    p[0] = 1; /* revision of the structure */
    if (ide_active(ch)->st.features[0] == SMART_DATA)
        p[362] = 0x80; /* off-line collection was never started */
    for (unsigned i = 0; i < SECTOR - 1; i++)
        sum = (uint8_t)(sum + p[i]);
    p[SECTOR - 1] = (uint8_t)-sum;
    ide_send_buffer(ch, SECTOR, SECTOR);
}

static void smart(struct ide_channel *ch, unsigned flags)
{
    struct ide_drive *d = ide_active(ch);
    unsigned what = d->st.features[0];

    (void)flags;
    if (d->st.lba_mid[0] != 0x4f || d->st.lba_high[0] != 0xc2 ||
        (!d->st.smart && what != SMART_ENABLE)) {
        ata_abort(ch, ER_ABRT);
        return;
    }
    switch (what) {
    case SMART_DATA:
    case SMART_THRESHOLDS: smart_data(ch); return;
    case SMART_ENABLE: d->st.smart = true; break;
    case SMART_DISABLE: d->st.smart = false; break;
    case SMART_AUTOSAVE:
    case SMART_STATUS: break; /* the address stays: all is well */
    default: ata_abort(ch, ER_ABRT); return;
    }
    ata_done(ch);
}

/* --- Table --- */

static const struct {
    uint8_t cmd;
    uint8_t flags;
    void (*run)(struct ide_channel *ch, unsigned flags);
} commands[] = {
    {CMD_READ, 0, transfer},
    {CMD_READ + 1, 0, transfer}, /* without retries */
    {CMD_READ_EXT, EXT, transfer},
    {CMD_READ_DMA_EXT, EXT | DMA, transfer},
    {CMD_NATIVE_MAX_EXT, EXT, native_max},
    {CMD_READ_MULTIPLE_EXT, EXT | MULTIPLE, transfer},
    {CMD_WRITE, WRITE, transfer},
    {CMD_WRITE + 1, WRITE, transfer},
    {CMD_WRITE_EXT, EXT | WRITE, transfer},
    {CMD_WRITE_DMA_EXT, EXT | DMA | WRITE, transfer},
    {CMD_WRITE_MULTIPLE_EXT, EXT | MULTIPLE | WRITE, transfer},
    {CMD_WRITE_DMA_FUA_EXT, EXT | DMA | WRITE | FUA, transfer},
    {CMD_VERIFY, 0, verify},
    {CMD_VERIFY + 1, 0, verify},
    {CMD_VERIFY_EXT, EXT, verify},
    {CMD_GEOMETRY, 0, set_geometry},
    {CMD_SMART, 0, smart},
    {CMD_READ_MULTIPLE, MULTIPLE, transfer},
    {CMD_WRITE_MULTIPLE, MULTIPLE | WRITE, transfer},
    {CMD_SET_MULTIPLE, 0, set_multiple},
    {CMD_READ_DMA, DMA, transfer},
    {CMD_READ_DMA + 1, DMA, transfer},
    {CMD_WRITE_DMA, DMA | WRITE, transfer},
    {CMD_WRITE_DMA + 1, DMA | WRITE, transfer},
    {CMD_WRITE_MULTIPLE_FUA_EXT, EXT | MULTIPLE | WRITE | FUA, transfer},
    {CMD_STANDBY_NOW, 0, no_data},
    {CMD_IDLE_NOW, 0, no_data},
    {CMD_STANDBY, 0, no_data},
    {CMD_IDLE, 0, no_data},
    {CMD_CHECK_POWER, 0, check_power},
    {CMD_SLEEP, 0, no_data},
    {CMD_FLUSH, 0, flush},
    {CMD_FLUSH_EXT, 0, flush},
    {CMD_IDENTIFY, 0, identify},
    {CMD_SET_FEATURES, 0, set_features},
    {CMD_NATIVE_MAX, 0, native_max},
};

void ata_command(struct ide_channel *ch, uint8_t cmd)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (commands[i].cmd == cmd) {
            commands[i].run(ch, commands[i].flags);
            return;
        }
    /* RECALIBRATE and SEEK have sixteen codes each. */
    if (cmd >> 4 == 1 || cmd >> 4 == CMD_SEEK >> 4)
        ata_done(ch);
    else
        ata_abort(ch, ER_ABRT);
}

void ata_common(struct ide_channel *ch, uint8_t cmd)
{
    switch (cmd) {
    case CMD_STANDBY_NOW:
    case CMD_IDLE_NOW:
    case CMD_STANDBY:
    case CMD_IDLE:
    case CMD_CHECK_POWER:
    case CMD_SLEEP:
    case CMD_SET_FEATURES: ata_command(ch, cmd); break;
    default: ata_abort(ch, ER_ABRT);
    }
}
