#ifndef HUSK_DEVICES_IDE_IDE_H
#define HUSK_DEVICES_IDE_IDE_H

#include <pthread.h>

#include "block/blkq.h"
#include "devices/pci/pci.h"
#include "event/loop.h"
#include "mem/gmem.h"

/*
 * The IDE function of a PIIX3 (82371SB, 2.1 and 2.7): two channels at their
 * classic ports with two drives each, hard disks (ATA-7) and CD-ROM drives
 * (ATAPI: MMC-3 over SFF-8020i), PIO and bus-master DMA.
 *
 * A command runs on the vCPU's thread, within the access that starts it, up to
 * where it needs the host's disk. What the host has in memory is read at once;
 * everything else is done by a thread of the drive's own, and the command goes
 * on when it has ended.
 *
 * When the host has no space left for a write it is stuck: kept, the drive
 * busy, until ide_retry.
 */
enum {
    IDE_CHANNELS = 2,
    IDE_UNITS = 2,
    IDE_DRIVES = IDE_CHANNELS * IDE_UNITS, /* drive n: channel n / 2 */
    IDE_PORTS = 8,         /* of the command block, at 0x1f0 and 0x170 */
    IDE_CONTROL_PORTS = 1, /* at 0x3f6 and 0x376 */
    IDE_BUF = 64 << 10,
    IDE_SERIAL = 20,
    IDE_MAX_IOV = 1024
};

enum ide_kind { IDE_NONE, IDE_DISK, IDE_CDROM };

/* What is plugged in. */
struct ide_drive_config {
    enum ide_kind kind;
    const char *name;   /* for logs: "disk0", "cd0"; borrowed */
    struct blk *blk;    /* borrowed until ide_fini or ide_insert; its flags say
                           whether the guest may write. NULL: a CD-ROM drive
                           without a medium */
    const char *serial; /* the guest sees 20 bytes at most; NULL = none */
};

struct ide_config {
    struct ide_drive_config drive[IDE_DRIVES];
    struct irq irq[IDE_CHANNELS]; /* IRQ 14, IRQ 15 */
    struct gmem *gm;
    struct loop *loop;
    /* A first write is stuck, or none is any more. Any thread, the device's
     * lock is held: it may not call back. NULL = nobody cares. */
    void (*stuck)(void *opaque);
    void *opaque;
};

struct ide_drive {
    struct ide_drive_state {
        uint8_t status, error, device;
        /* [0] is what was written last, [1] what was written before that. */
        uint8_t features[2], count[2], lba_low[2], lba_mid[2], lba_high[2];
        uint8_t heads, sectors; /* of the geometry that addresses mean */
        uint8_t multiple;       /* sectors of a block; 0 = not set */
        uint8_t dma_mode;       /* as SET FEATURES has it; 0 = none */
        bool intrq, write_cache, look_ahead, smart;
        /* A CD-ROM drive: */
        uint8_t key, asc, ascq; /* sense data */
        bool attention;         /* the medium was changed */
        bool open, locked;
        uint8_t event; /* media event that was not told yet */
    } st;
    enum ide_kind kind;
    const char *name;
    struct blk *blk;
    struct blkq *pool; /* NULL without a medium */
    uint64_t blocks;   /* of 512 bytes, or 2048 on a CD */
    char serial[IDE_SERIAL];
    bool flush_failed;       /* and what was to be flushed may be lost */
    uint64_t quiet_until_ns; /* no more about failed requests before */
};

/* Where in a bus master's table the next byte goes. */
struct ide_prd {
    uint32_t next, addr, left;
    bool last;
};

enum ide_phase {
    IDE_IDLE,
    IDE_IN,     /* the guest reads the buffer by PIO */
    IDE_OUT,    /* the guest fills it */
    IDE_PACKET, /* the guest writes a packet into it */
    IDE_DMA,    /* waits for the bus master */
    IDE_BUSY,   /* a request is under way, or to be started again */
    IDE_NR_PHASES
};

enum ide_op {
    IDE_OP_NONE,
    IDE_OP_READ,
    IDE_OP_WRITE,
    IDE_OP_FLUSH,
    IDE_NR_OPS
};

/* A channel and the one command that its drives can do at a time. */
struct ide_channel {
    struct ide_channel_state {
        uint8_t control, select;
        uint8_t bm_command, bm_status;
        uint32_t bm_table;
        uint32_t prd_next, prd_addr, prd_left; /* struct ide_prd, before it */
        bool prd_last;
        /* The command: */
        uint8_t phase, op, unit;
        bool dma, packet, fua;
        uint32_t limit; /* bytes that the guest gets or gives at once */
        uint64_t lba;   /* of the next request */
        uint32_t left;  /* blocks from there on; not those that were read
                           into buf */
        uint32_t now;   /* how many of them the request under way moves */
        uint32_t pos, stop, end; /* of buf: next byte, end of what is offered,
                                    end of what is in it */
        uint8_t buf[IDE_BUF];
    } st;
    struct ide *ide;
    unsigned index;
    struct ide_drive drive[IDE_UNITS];
    bool level; /* of the wire */
    struct irq irq;

    struct ide_prd after; /* where the table is behind the request */
    struct blk_req req;
    struct iovec iov[IDE_MAX_IOV];
    gpa_t gpa[IDE_MAX_IOV];
    bool stuck, retried;

    /* Under ide.pool_lock: */
    bool under_way, done;
    int rc; /* of the request that is done */
};

struct ide {
    struct pci_dev pci;
    struct lock lock; /* all of the channels */
    struct ide_channel channel[IDE_CHANNELS];
    struct gmem *gm;
    struct timer finish; /* completes what could not be at once */
    void (*on_stuck)(void *opaque);
    void *opaque;
    unsigned nr_stuck;
    _Atomic bool any_done;

    struct lock pool_lock; /* taken under lock or alone */
    pthread_cond_t idle;
};

/* For struct ide_drive and struct ide_channel: a channel is loaded after its
 * drives. */
extern const struct state_desc ide_drive_state_desc, ide_channel_state_desc;
extern const struct device_class ide_drive_class, ide_channel_class;

/* dev: struct ide_channel. */
extern const struct bus_ops ide_bus_ops, ide_control_bus_ops;

/* cfg is copied. -errno with err. */
MUST_CHECK int ide_init(struct ide *ide, const struct ide_config *cfg,
                        struct err *err);
/* Put it at slot and function of h. */
MUST_CHECK int ide_plug(struct ide *ide, struct pci_host *h, unsigned slot,
                        unsigned function, struct err *err);
/* After the host: ends what is under way. The vCPUs have stopped. */
void ide_fini(struct ide *ide);
/* Power-on state; pci_host_reset does the configuration space. While the vCPUs
 * are paused. A tray that is open stays so. */
void ide_reset(struct ide *ide);

/* The disk's size is another one. Any thread. */
void ide_resized(struct ide *ide, unsigned drive);

/*
 * Put blk (borrowed) into the CD-ROM drive, or take out what is there (NULL),
 * and close the tray. *old is what was in it, not used any more from now on.
 * Without force -EBUSY if the guest has locked the drive: it is then told that
 * somebody pressed the button. -ENODEV: there is no such drive. On the loop's
 * thread, err says why.
 */
MUST_CHECK int ide_change_medium(struct ide *ide, unsigned drive,
                                 struct blk *blk, bool force, struct blk **old,
                                 struct err *err);
/* Whether the guest has opened the tray, or locked it. Any thread. */
void ide_tray(struct ide *ide, unsigned drive, bool *open, bool *locked);

/* Wait until nothing is under way, but for what is stuck. While the vCPUs are
 * paused, on the loop's thread. */
void ide_drain(struct ide *ide);
/* How many requests are stuck; try them again. Any thread. */
unsigned ide_nr_stuck(struct ide *ide);
void ide_retry(struct ide *ide);

#endif
