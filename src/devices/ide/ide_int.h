#ifndef HUSK_DEVICES_IDE_IDE_INT_H
#define HUSK_DEVICES_IDE_IDE_INT_H

#include "devices/ide/ide.h"
#include "devices/ide/ide_regs.h"

/*
 * Shared by the files of the IDE function. Everything here is called with
 * ide.lock held, but where it says otherwise.
 *
 * From the registers to the disk and back:
 *
 *   ide_channel.c  registers; a write to COMMAND goes to ata.c or atapi.c
 *   ata.c          commands of disks; ata_identify.c what drives say they are
 *   atapi.c        packets; atapi_*.c what they ask for
 *   ide_xfer.c     moves a command's data: buffer, guest, request by request
 *   ide_bmdma.c    the bus master and its tables
 *   ide_io.c       requests to the host's disk
 */

enum { SECTOR = 512, CD_BLOCK = 2048, PACKET_BYTES = 12 };

static inline struct ide_drive *ide_selected(struct ide_channel *ch)
{
    return &ch->drive[ch->st.select];
}

/* The one whose command the channel is doing, or did last. */
static inline struct ide_drive *ide_active(struct ide_channel *ch)
{
    return &ch->drive[ch->st.unit];
}

static inline unsigned ide_block(const struct ide_drive *d)
{
    return d->kind == IDE_CDROM ? CD_BLOCK : SECTOR;
}

/* --- ide_channel.c --- */

/* The wire follows from what the drives ask for. */
void ide_update_irq(struct ide_channel *ch);
/* The active drive asks for attention. */
void ide_interrupt(struct ide_channel *ch);
/* Power-on or reset state of a drive's registers, with its signature. */
void ide_signature(struct ide_drive *d);
/* Power-on or soft reset of a channel: ends its command. */
void ide_channel_reset(struct ide_channel *ch, bool power_on);

/* --- ide_xfer.c --- */

/* The command that is being done is over, whatever its state. */
void ide_stop(struct ide_channel *ch);
/* The buffer's first len bytes go to the guest, at most limit at once. */
void ide_send_buffer(struct ide_channel *ch, uint32_t len, uint32_t limit);
/* count blocks at lba; they are on the disk. limit: of PIO, in bytes, a
 * multiple of a block for disks; count may not be 0. */
void ide_start(struct ide_channel *ch, enum ide_op op, uint64_t lba,
               uint32_t count, uint32_t limit);
void ide_flush(struct ide_channel *ch);
/* The request under way has ended. */
void ide_request_ended(struct ide_channel *ch, int rc);
/* The bus master was started, the guest has taken or given all that was
 * offered, or a saved command goes on. */
void ide_dma_step(struct ide_channel *ch);
void ide_pio_step(struct ide_channel *ch);
void ide_resume(struct ide_channel *ch);

/* --- ide_bmdma.c --- */

extern const struct bus_ops ide_bm_bus_ops; /* dev: struct ide */

/*
 * Collect memory for want bytes into iov and gpa, from ch->after on, which
 * moves; writable: for what comes from the drive. Returns how many bytes it is,
 * less than want if the table ends before; -EFAULT if it names what is no RAM.
 */
MUST_CHECK int64_t ide_prd_collect(struct ide_channel *ch, uint32_t want,
                                   bool writable, int *nr);
/* The transfer is complete, or it broke off. */
void ide_bm_end(struct ide_channel *ch, bool error);

/* --- ide_io.c --- */

void ide_io_init(struct ide *ide, struct loop *loop);
void ide_io_fini(struct ide *ide);

/*
 * Carry out the request that st describes; iov is filled for reads and writes.
 * True: it has ended already, with *rc. False: ide_request_ended will tell.
 */
MUST_CHECK bool ide_request(struct ide_channel *ch, int nr_iov, int *rc);
/* Complete what is through the pool. */
void ide_complete(struct ide *ide);
/* Wait for the request under way, if there is one, and complete it. */
void ide_wait(struct ide_channel *ch);
/* Wait until no request is under way and throw away what is done or stuck. */
void ide_forget(struct ide_channel *ch);
/* Once a second at most, that a request failed. */
void ide_warn(struct ide_drive *d, int rc);

/* --- ata.c, ata_identify.c --- */

void ata_command(struct ide_channel *ch, uint8_t cmd);
/* Those that a CD-ROM drive has, too; others are aborted. */
void ata_common(struct ide_channel *ch, uint8_t cmd);
/* The command ends: well; or with these bits of the error register. */
void ata_done(struct ide_channel *ch);
void ata_abort(struct ide_channel *ch, uint8_t error);
/* A request of it failed; ended well. */
void ata_failed(struct ide_channel *ch, int rc);
/* 512 bytes each. */
void ata_identify(const struct ide_drive *d, uint8_t *p);
void ata_identify_packet(const struct ide_drive *d, uint8_t *p);
/* Cylinders, and the geometry after a reset. */
unsigned ata_cylinders(const struct ide_drive *d);
enum { ATA_HEADS = 16, ATA_SECTORS = 63, ATA_MULTIPLE = 16 };

/* --- atapi.c --- */

/* COMMAND of a CD-ROM drive was written; a packet is complete. */
void atapi_command(struct ide_channel *ch, uint8_t cmd);
void atapi_packet(struct ide_channel *ch);
void atapi_done(struct ide_channel *ch);
void atapi_failed(struct ide_channel *ch, int rc);
/* End with CHECK CONDITION: key << 16 | asc << 8 | ascq. */
void atapi_check(struct ide_channel *ch, uint32_t sense);
void atapi_medium_changed(struct ide_drive *d);

#define SENSE_NONE           0u
#define SENSE_TRAY_CLOSED    0x023a01u /* no medium */
#define SENSE_TRAY_OPEN      0x023a02u
#define SENSE_READ           0x031100u
#define SENSE_BAD_COMMAND    0x052000u
#define SENSE_BAD_LBA        0x052100u
#define SENSE_BAD_FIELD      0x052400u
#define SENSE_NO_SAVED_PAGES 0x053900u
#define SENSE_LOCKED         0x055302u
#define SENSE_BAD_MEDIUM     0x053002u /* another kind of disc */
#define SENSE_BAD_MODE       0x056400u /* for this track */
#define SENSE_CHANGED        0x062800u
#define SENSE_HOST           0x044400u /* internal failure */

/* Media events (MMC-3, GET EVENT STATUS NOTIFICATION). */
enum { EVENT_NONE, EVENT_EJECT_REQUEST, EVENT_NEW_MEDIUM, EVENT_REMOVED };

/* --- atapi_disc.c, atapi_mode.c: answers, into the buffer --- */

/* Each returns the length of its answer, or a sense with SENSE_BIT. cdb is a
 * copy of the packet; out is of at least ATAPI_ANSWER zeroed bytes. */
enum { ATAPI_ANSWER = 4096 };
#define SENSE_BIT 0x80000000u

uint32_t atapi_inquiry(const struct ide_drive *d, const uint8_t *cdb,
                       uint8_t *out);
uint32_t atapi_mode_sense(const struct ide_drive *d, const uint8_t *cdb,
                          uint8_t *out);
uint32_t atapi_configuration(const struct ide_drive *d, const uint8_t *cdb,
                             uint8_t *out);
uint32_t atapi_capacity(const struct ide_drive *d, const uint8_t *cdb,
                        uint8_t *out);
uint32_t atapi_toc(const struct ide_drive *d, const uint8_t *cdb, uint8_t *out);
uint32_t atapi_disc_info(const struct ide_drive *d, const uint8_t *cdb,
                         uint8_t *out);
uint32_t atapi_track_info(const struct ide_drive *d, const uint8_t *cdb,
                          uint8_t *out);
uint32_t atapi_dvd_structure(const struct ide_drive *d, const uint8_t *cdb,
                             uint8_t *out);
uint32_t atapi_subchannel(const struct ide_drive *d, const uint8_t *cdb,
                          uint8_t *out);
uint32_t atapi_mechanism(const struct ide_drive *d, const uint8_t *cdb,
                         uint8_t *out);
/* Whether it is more than a CD holds. */
bool atapi_is_dvd(const struct ide_drive *d);

#endif
