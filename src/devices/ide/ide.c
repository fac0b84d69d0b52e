#include "devices/ide/ide.h"

#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "devices/ide/ide_int.h"

/* The function around its channels: configuration space, state, life. */

/* --- Saved state --- */

#define DRIVE(id_, type_, memb)                                                \
    STATE_FIELD(id_, type_, struct ide_drive_state, memb)

static const struct state_field drive_fields[] = {
    DRIVE(1, STATE_U8, status),        DRIVE(2, STATE_U8, error),
    DRIVE(3, STATE_U8, device),        DRIVE(4, STATE_U8, features),
    DRIVE(5, STATE_U8, count),         DRIVE(6, STATE_U8, lba_low),
    DRIVE(7, STATE_U8, lba_mid),       DRIVE(8, STATE_U8, lba_high),
    DRIVE(9, STATE_U8, heads),         DRIVE(10, STATE_U8, sectors),
    DRIVE(11, STATE_U8, multiple),     DRIVE(12, STATE_U8, dma_mode),
    DRIVE(13, STATE_BOOL, intrq),      DRIVE(14, STATE_BOOL, write_cache),
    DRIVE(15, STATE_BOOL, look_ahead), DRIVE(16, STATE_BOOL, smart),
    DRIVE(17, STATE_U8, key),          DRIVE(18, STATE_U8, asc),
    DRIVE(19, STATE_U8, ascq),         DRIVE(20, STATE_BOOL, attention),
    DRIVE(21, STATE_BOOL, open),       DRIVE(22, STATE_BOOL, locked),
    DRIVE(23, STATE_U8, event),
};

static int drive_check(const void *state)
{
    const struct ide_drive_state *st = state;

    if (!st->heads || st->heads > ATA_HEADS || !st->sectors)
        return -EINVAL;
    if (st->multiple > ATA_MULTIPLE || (st->multiple & (st->multiple - 1)))
        return -EINVAL;
    return 0;
}

const struct state_desc ide_drive_state_desc = {
    .name = "ide-drive",
    .version = 1,
    STATE_LAYOUT(struct ide_drive_state, drive_fields),
    .check = drive_check,
};

#define CHANNEL(id_, type_, memb)                                              \
    STATE_FIELD(id_, type_, struct ide_channel_state, memb)

static const struct state_field channel_fields[] = {
    CHANNEL(1, STATE_U8, control),    CHANNEL(2, STATE_U8, select),
    CHANNEL(3, STATE_U8, bm_command), CHANNEL(4, STATE_U8, bm_status),
    CHANNEL(5, STATE_U32, bm_table),  CHANNEL(6, STATE_U32, prd_next),
    CHANNEL(7, STATE_U32, prd_addr),  CHANNEL(8, STATE_U32, prd_left),
    CHANNEL(9, STATE_BOOL, prd_last), CHANNEL(10, STATE_U8, phase),
    CHANNEL(11, STATE_U8, op),        CHANNEL(12, STATE_U8, unit),
    CHANNEL(13, STATE_BOOL, dma),     CHANNEL(14, STATE_BOOL, packet),
    CHANNEL(15, STATE_BOOL, fua),     CHANNEL(16, STATE_U32, limit),
    CHANNEL(17, STATE_U64, lba),      CHANNEL(18, STATE_U32, left),
    CHANNEL(19, STATE_U32, now),      CHANNEL(20, STATE_U32, pos),
    CHANNEL(21, STATE_U32, stop),     CHANNEL(22, STATE_U32, end),
    CHANNEL(23, STATE_BYTES, buf),
};

/* What the transfer relies on; whether the blocks are on the disk is looked at
 * when it goes on. */
static int channel_check(const void *state)
{
    const struct ide_channel_state *st = state;
    bool moves =
        st->phase == IDE_IN || st->phase == IDE_OUT || st->phase == IDE_PACKET;

    if (st->select >= IDE_UNITS || st->unit >= IDE_UNITS ||
        st->phase >= IDE_NR_PHASES || st->op >= IDE_NR_OPS)
        return -EINVAL;
    if (st->end > IDE_BUF || st->stop > st->end || st->pos > st->stop ||
        (moves && (st->pos == st->stop || !st->limit)))
        return -EINVAL;
    if (st->prd_left > 0x10000 || st->lba > UINT32_MAX * (uint64_t)UINT16_MAX)
        return -EINVAL;
    if (st->phase == IDE_BUSY && st->op != IDE_OP_FLUSH && !st->left)
        return -EINVAL;
    if (st->phase == IDE_BUSY && st->op == IDE_OP_NONE)
        return -EINVAL;
    if (st->phase == IDE_PACKET && st->end != PACKET_BYTES)
        return -EINVAL;
    if ((st->phase == IDE_IN || st->phase == IDE_OUT) && st->dma)
        return -EINVAL;
    if (st->phase == IDE_OUT && (st->op != IDE_OP_WRITE || !st->left))
        return -EINVAL;
    if (st->phase == IDE_DMA && !st->dma)
        return -EINVAL;
    return 0;
}

const struct state_desc ide_channel_state_desc = {
    .name = "ide-channel",
    .version = 1,
    STATE_LAYOUT(struct ide_channel_state, channel_fields),
    .check = channel_check,
};

/* Whether the drive can do what the state says that it is doing. */
static bool is_possible(struct ide_channel *ch)
{
    const struct ide_channel_state *st = &ch->st;
    const struct ide_drive *d = ide_active(ch);
    bool disk = st->op != IDE_OP_NONE;

    if (st->phase == IDE_IDLE)
        return true;
    if (d->kind == IDE_NONE || (disk && !d->pool))
        return false;
    if (st->packet ? d->kind != IDE_CDROM : disk && d->kind == IDE_CDROM)
        return false;
    if (st->op == IDE_OP_WRITE &&
        (d->kind != IDE_DISK || (d->blk->flags & BLK_RDONLY)))
        return false;
    return !disk || st->op == IDE_OP_FLUSH ||
           range_ok(st->lba, st->left, d->blocks);
}

static void channel_loaded(void *dev, int64_t shift_ns)
{
    struct ide_channel *ch = dev;
    const struct ide_drive *d = ide_selected(ch);

    (void)shift_ns;
    ide_forget(ch);
    if (!is_possible(ch))
        ide_stop(ch);
    ch->level =
        d->kind != IDE_NONE && d->st.intrq && !(ch->st.control & CTL_NIEN);
    irq_set(&ch->irq, ch->level);
    ide_resume(ch);
}

const struct device_class ide_drive_class = {
    .state = &ide_drive_state_desc,
    .state_off = offsetof(struct ide_drive, st),
};

const struct device_class ide_channel_class = {
    .state = &ide_channel_state_desc,
    .state_off = offsetof(struct ide_channel, st),
    .loaded = channel_loaded,
};

/* --- Life --- */

/* 82371SB, 2.3.9: IDETIM of both channels, with decoding on as firmware would
 * leave it. Their bits can be written and mean nothing: timing is none here,
 * and the channels' ports always answer. */
enum { IDETIM = 0x40, IDETIM_BYTES = 8 };

static void init_function(struct ide *ide)
{
    static const struct pci_id id = {.vendor = 0x8086,
                                     .device = 0x7010,
                                     .subsys_vendor = 0x1af4,
                                     .subsys = 0x1100,
                                     .class_code = 0x010180};
    static const uint8_t mask[IDETIM_BYTES] = {0xff, 0xf3, 0xff, 0xf3, 0xff};
    const struct pci_bar bar = {.kind = PCI_BAR_PIO,
                                .size = BM_PORTS,
                                .ops = &ide_bm_bus_ops,
                                .opaque = ide,
                                .lock = &ide->lock};

    pci_dev_init(&ide->pci, "ide", &id, NULL, NULL);
    pci_dev_add_bar(&ide->pci, 4, &bar);
    ide->pci.initial[IDETIM + 1] = 0x80;
    ide->pci.initial[IDETIM + 3] = 0x80;
    pci_dev_make_writable(&ide->pci, IDETIM, mask, sizeof(mask));
}

static void set_medium(struct ide_drive *d, struct blk *blk, struct blkq *pool)
{
    d->blk = blk;
    d->pool = pool;
    d->blocks = blk ? blk_size(blk) / ide_block(d) : 0;
}

static int init_drive(struct ide_drive *d, const struct ide_drive_config *cfg,
                      struct err *err)
{
    struct blkq *pool = NULL;

    d->kind = cfg->kind;
    d->name = cfg->name;
    if (cfg->serial)
        memcpy(d->serial, cfg->serial, strnlen(cfg->serial, sizeof(d->serial)));
    if (cfg->kind == IDE_NONE || !cfg->blk)
        return 0;
    pool = blkq_new(cfg->blk, 1, err);
    if (!pool)
        return err->code;
    set_medium(d, cfg->blk, pool);
    return 0;
}

static void free_pools(struct ide *ide)
{
    for (unsigned i = 0; i < IDE_DRIVES; i++)
        blkq_free(ide->channel[i / IDE_UNITS].drive[i % IDE_UNITS].pool);
}

int ide_init(struct ide *ide, const struct ide_config *cfg, struct err *err)
{
    memset(ide, 0, sizeof(*ide));
    ide->gm = cfg->gm;
    ide->on_stuck = cfg->stuck;
    ide->opaque = cfg->opaque;
    for (unsigned i = 0; i < IDE_DRIVES; i++) {
        struct ide_channel *ch = &ide->channel[i / IDE_UNITS];
        int rc = init_drive(&ch->drive[i % IDE_UNITS], &cfg->drive[i], err);

        if (rc < 0) {
            free_pools(ide);
            return rc;
        }
    }
    lock_init_ranked(&ide->lock, LOCK_RANK_DEVICE);
    ide_io_init(ide, cfg->loop);
    init_function(ide);
    for (unsigned i = 0; i < IDE_CHANNELS; i++) {
        ide->channel[i].ide = ide;
        ide->channel[i].index = i;
        ide->channel[i].irq = cfg->irq[i];
    }
    ide_reset(ide);
    return 0;
}

int ide_plug(struct ide *ide, struct pci_host *h, unsigned slot,
             unsigned function, struct err *err)
{
    return pci_host_add(h, &ide->pci, slot, function, err);
}

void ide_fini(struct ide *ide)
{
    lock_take(&ide->lock);
    for (unsigned i = 0; i < IDE_CHANNELS; i++)
        ide_forget(&ide->channel[i]);
    lock_drop(&ide->lock);
    free_pools(ide);
    ide_io_fini(ide);
    pci_dev_fini(&ide->pci);
    lock_fini(&ide->lock);
}

void ide_reset(struct ide *ide)
{
    lock_take(&ide->lock);
    for (unsigned i = 0; i < IDE_CHANNELS; i++)
        ide_channel_reset(&ide->channel[i], true);
    lock_drop(&ide->lock);
}

/* --- For the owner --- */

static struct ide_drive *drive_of(struct ide *ide, unsigned n)
{
    return &ide->channel[n / IDE_UNITS].drive[n % IDE_UNITS];
}

void ide_resized(struct ide *ide, unsigned drive)
{
    struct ide_drive *d = drive_of(ide, drive);

    lock_take(&ide->lock);
    set_medium(d, d->blk, d->pool);
    lock_drop(&ide->lock);
}

/* A command that uses the medium fails; the rest go on. */
static void leave_medium(struct ide_channel *ch, const struct ide_drive *d)
{
    if (ide_active(ch) != d || ch->st.phase == IDE_IDLE)
        return;
    if (ch->st.phase == IDE_BUSY)
        ide_forget(ch);
    if (ch->st.op == IDE_OP_READ) {
        if (ch->st.dma)
            ide_bm_end(ch, false);
        atapi_check(ch, SENSE_CHANGED);
    }
}

/* Whether it can be changed now. */
static int check_drive(struct ide_drive *d, unsigned n, bool force,
                       struct err *err)
{
    if (d->kind != IDE_CDROM)
        return err_set(err, -ENODEV, "drive %u is no CD-ROM drive", n);
    if (!d->st.locked || force)
        return 0;
    d->st.event = EVENT_EJECT_REQUEST;
    return err_set(err, -EBUSY,
                   "the guest has locked the drive, and was told that the "
                   "medium is wanted: try again, or use force");
}

/* Returns the pool of what was in it. */
static struct blkq *change_drive(struct ide_channel *ch, struct ide_drive *d,
                                 struct blk *blk, struct blkq *pool)
{
    struct blkq *was = d->pool;

    leave_medium(ch, d);
    set_medium(d, blk, pool);
    d->st.locked = false;
    d->st.open = false;
    atapi_medium_changed(d);
    return was;
}

int ide_change_medium(struct ide *ide, unsigned drive, struct blk *blk,
                      bool force, struct blk **old, struct err *err)
{
    struct blkq *pool = NULL;
    struct ide_drive *d;
    int rc;

    if (drive >= IDE_DRIVES)
        return err_set(err, -ENODEV, "there is no drive %u", drive);
    if (blk) {
        pool = blkq_new(blk, 1, err);
        if (!pool)
            return err->code;
    }
    d = drive_of(ide, drive);
    lock_take(&ide->lock);
    ide_complete(ide);
    rc = check_drive(d, drive, force, err);
    if (rc == 0) {
        *old = d->blk;
        pool = change_drive(&ide->channel[drive / IDE_UNITS], d, blk, pool);
    }
    lock_drop(&ide->lock);
    blkq_free(pool); /* the one that is not used */
    return rc;
}

void ide_tray(struct ide *ide, unsigned drive, bool *open, bool *locked)
{
    const struct ide_drive *d = drive_of(ide, drive);

    lock_take(&ide->lock);
    *open = d->st.open;
    *locked = d->st.locked;
    lock_drop(&ide->lock);
}
