#ifndef HUSK_DEVICES_IDE_IDE_REGS_H
#define HUSK_DEVICES_IDE_IDE_REGS_H

/* Registers of an IDE channel and its bus master: ATA-7 vol. 2 (registers),
 * vol. 1 (commands), BM-IDE, 82371SB. */

/* The command block, from 0x1f0 or 0x170 on. */
enum ide_reg {
    REG_DATA,
    REG_ERROR, /* read; FEATURES when written */
    REG_COUNT, /* for packets: interrupt reason */
    REG_LBA_LOW,
    REG_LBA_MID,  /* for packets: byte count, low */
    REG_LBA_HIGH, /* for packets: byte count, high */
    REG_DEVICE,
    REG_STATUS, /* read; COMMAND when written */
    IDE_NR_REGS
};
#define REG_FEATURES REG_ERROR
#define REG_COMMAND  REG_STATUS

#define ST_ERR 0x01u
#define ST_DRQ 0x08u
#define ST_DSC 0x10u /* seek complete; obsolete, and looked at all the same */
#define ST_DF  0x20u
#define ST_RDY 0x40u
#define ST_BSY 0x80u

#define ER_ABRT 0x04u
#define ER_IDNF 0x10u
#define ER_UNC  0x40u

#define DEV_LBA  0x40u
#define DEV_UNIT 0x10u
#define DEV_SET  0xa0u /* obsolete bits, which read as ones */

/* Device control, at 0x3f6 or 0x376. */
#define CTL_NIEN 0x02u
#define CTL_SRST 0x04u
#define CTL_HOB  0x80u

/* Interrupt reason of a packet. */
#define REASON_COD 0x01u
#define REASON_IO  0x02u

/* FEATURES of PACKET. */
#define PACKET_DMA 0x01u

/* The bus master: eight ports for each channel. */
enum {
    BM_COMMAND = 0,
    BM_STATUS = 2,
    BM_TABLE = 4,
    BM_CHANNEL_PORTS = 8,
    BM_PORTS = 16
};

#define BM_START     0x01u
#define BM_TO_MEMORY 0x08u /* of the command */
#define BM_ACTIVE    0x01u
#define BM_ERROR     0x02u
#define BM_IRQ       0x04u
#define BM_CAPABLE   0x60u /* drives 0 and 1 can do DMA: for software's use */

/* An entry of the table: address, count (0 = 64 KiB), flags. */
#define PRD_BYTES 8u
#define PRD_LAST  0x80000000u

#endif
