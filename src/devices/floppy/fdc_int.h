#ifndef HUSK_DEVICES_FLOPPY_FDC_INT_H
#define HUSK_DEVICES_FLOPPY_FDC_INT_H

#include "devices/floppy/fdc.h"

/* Shared by the files of the floppy disk controller: fdc.c has registers and
 * life, fdc_command.c commands, fdc_xfer.c moves sectors. */

enum { FDC_DMA_CHANNEL = 2 };

#define DOR_RUN  0x04u /* not in reset */
#define DOR_GATE 0x08u /* DMA and interrupts reach the bus */
#define DOR_UNIT 0x03u

#define SPECIFY_PIO 0x01u /* of its second byte */

/* Data sheet, 7: status registers 0 to 3. */
#define ST0_FAILED   0x40u
#define ST0_INVALID  0x80u
#define ST0_POLLED   0xc0u
#define ST0_SEEK     0x20u
#define ST0_NO_TRACK 0x10u
#define ST1_END      0x80u
#define ST1_CRC      0x20u
#define ST1_NO_DATA  0x04u
#define ST1_PROTECT  0x02u
#define ST1_NO_MARK  0x01u
#define ST2_CRC      0x20u
#define ST3_PROTECT  0x40u
#define ST3_READY    0x20u
#define ST3_TRACK_0  0x10u
#define ST3_TWO_SIDE 0x08u

/* The drive of a unit, or NULL. */
struct fdc_drive *fdc_drive(struct fdc *f, unsigned unit);
void fdc_irq(struct fdc *f, bool level);
/* The result's n bytes are there. */
void fdc_give(struct fdc *f, unsigned n);
void fdc_idle(struct fdc *f);

/* fdc_command.c: a byte of a command. */
void fdc_command_byte(struct fdc *f, uint8_t val);

/* fdc_xfer.c: READ DATA and WRITE DATA; a byte of PIO; the channel is open. */
void fdc_start(struct fdc *f, bool write);
uint8_t fdc_pio_read(struct fdc *f);
void fdc_pio_write(struct fdc *f, uint8_t val);
void fdc_dma_ready(void *opaque);
/* End a transfer with these bits of ST0, ST1 and ST2. */
void fdc_end(struct fdc *f, uint8_t st0, uint8_t st1, uint8_t st2);
/* 0, or the bits of ST1: whether the disk can be read at the rate set. */
uint8_t fdc_readable(struct fdc *f, unsigned unit);

#endif
