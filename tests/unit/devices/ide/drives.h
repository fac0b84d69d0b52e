#ifndef HUSK_TESTS_UNIT_DEVICES_IDE_DRIVES_H
#define HUSK_TESTS_UNIT_DEVICES_IDE_DRIVES_H

#include "devices/ide/ide.h"
#include "tests/unit/devices/pci/board.h"
#include "tests/unit/devices/virtio/fake_blk.h"

/*
 * The IDE function on a board, with a disk as primary master and a CD-ROM drive
 * as secondary master, and a driver's way to their ports.
 */
enum {
    PRIMARY = 0x1f0,
    SECONDARY = 0x170,
    RAM_BYTES = 0x20000,
    ROM_AT = 0x40000,
    BM = BOARD_IO, /* ports of the bus master */
    DISK_SECTORS = FAKE_BLK_SIZE / 512,
    CD_BLOCKS = FAKE_BLK_SIZE / 2048
};

/* Registers, from PRIMARY or SECONDARY on. */
enum {
    R_DATA,
    R_ERROR,
    R_COUNT,
    R_LOW,
    R_MID,
    R_HIGH,
    R_DEVICE,
    R_STATUS,
    R_CONTROL = 0x206
};

/* Bits of the status register. */
enum {
    S_ERR = 0x01,
    S_DRQ = 0x08,
    S_DSC = 0x10,
    S_RDY = 0x40,
    S_BSY = 0x80,
    S_GOOD = S_RDY | S_DSC
};

struct drives {
    struct board b;
    struct gmem gm;
    struct loop *loop;
    struct ide ide;
    struct fake_blk disk, cd;
    bool irq[IDE_CHANNELS];
    unsigned stuck_calls;
};

/* disk_flags: BLK_*. Both disks answer at once (fake_blk.cached). */
struct drives *drives_make(unsigned disk_flags);
void drives_end(struct drives *d);

void out(struct drives *d, unsigned port, unsigned size, uint32_t val);
uint32_t in(struct drives *d, unsigned port, unsigned size);

/* A command with 28 bits of address for the selected drive, by LBA. */
void ata(struct drives *d, uint8_t cmd, uint32_t lba, uint8_t count);
/* The same with 48 bits. */
void ata_ext(struct drives *d, uint8_t cmd, uint64_t lba, uint16_t count);
/* Read n bytes from the data port, as words. */
void take(struct drives *d, unsigned base, void *buf, unsigned n);
void give(struct drives *d, unsigned base, const void *buf, unsigned n);
/* Send a packet; features 1 = DMA; limit of a piece. */
void packet(struct drives *d, const uint8_t cdb[12], uint8_t features,
            uint16_t limit);
/* Sense of the last packet: key << 16 | asc << 8 | ascq. */
uint32_t sense(struct drives *d);

/* Entry i of the table at gpa; last. */
void put_prd(struct drives *d, uint32_t gpa, unsigned i, uint32_t addr,
             uint32_t len, bool last);
/* Start channel's bus master with the table at gpa. */
void bm_start(struct drives *d, unsigned channel, uint32_t gpa, bool to_memory);

#endif
