#ifndef HUSK_DEVICES_FLOPPY_FDC_H
#define HUSK_DEVICES_FLOPPY_FDC_H

#include "block/blk.h"
#include "bus/irq.h"
#include "devices/pc/i8237.h"

/*
 * A floppy disk controller (82077AA data sheet, in its AT mode) with up to two
 * drives, whose disks stay in them. It shares the lock of the DMA controllers
 * that it is on, which is held around everything below but init.
 *
 * A disk is 2.88 MB at most, and a command moves no more than a cylinder: it
 * reads and writes the host's file within the register accesses that start it
 * or move its bytes. As if each command found its sector under the head at
 * once. What the host cannot read or write, for want of space, too, is a CRC
 * error of the disk.
 *
 * Nothing runs over: without DMA the guest has all the time it likes for each
 * byte. A driver that moves fewer bytes than up to EOT, and relies on an
 * overrun to end its command, waits in vain (Linux with floppy=nodma does).
 */
enum {
    FDC_DRIVES = 2,
    FDC_UNITS = 4, /* that a command can name */
    FDC_PORT = 0x3f0,
    FDC_PORTS = 6,
    FDC_INPUT_PORT = 0x3f7, /* 0x3f6 belongs to IDE */
    FDC_SECTOR = 512,
    FDC_COMMAND_BYTES = 9,
    FDC_RESULT_BYTES = 10
};

/* What disk is of this size. */
struct fdc_format {
    uint64_t bytes;
    uint8_t cylinders, heads, sectors;
    uint8_t rate;       /* as CCR has it */
    uint8_t drive_type; /* as the CMOS has it */
};

/* NULL: no disk has so many bytes. */
const struct fdc_format *fdc_format_of(uint64_t bytes);

enum fdc_phase {
    FDC_COMMAND, /* takes bytes of a command */
    FDC_PIO,     /* the guest moves the sector in the buffer */
    FDC_DMA,     /* waits for its channel */
    FDC_RESULT,  /* gives bytes of a result */
    FDC_NR_PHASES
};

struct fdc_state {
    uint8_t dor, tdr, rate;
    uint8_t config, precomp, perpendicular, specify[2];
    bool lock;
    uint8_t cylinder[FDC_UNITS];
    bool changed[FDC_DRIVES]; /* no step since the disk was put in */
    uint8_t polled; /* units whose reset is to be sensed yet, as bits */
    bool sought;    /* a seek is to be sensed: */
    uint8_t seek_status;
    uint8_t phase;
    uint8_t command[FDC_COMMAND_BYTES], nr_command;
    uint8_t result[FDC_RESULT_BYTES], nr_result;
    uint8_t pos; /* in the command or the result */
    bool irq;
    /* The transfer: */
    bool write, loaded; /* loaded: buf holds the sector to give */
    uint8_t unit, c, h, r;
    uint16_t at; /* next byte of buf */
    uint8_t buf[FDC_SECTOR];
};

struct fdc_drive {
    struct blk *blk; /* NULL: there is no drive */
    const char *name;
    const struct fdc_format *format;
    uint64_t quiet_until_ns; /* no more about failed requests before */
};

struct fdc_config {
    struct {
        struct blk *blk;  /* of a size that fdc_format_of knows; borrowed until
                             the end; NULL = no drive */
        const char *name; /* for logs; borrowed */
    } drive[FDC_DRIVES];
    struct irq irq;    /* IRQ 6 */
    struct i8237 *dma; /* channel 2 is taken */
};

struct fdc {
    struct fdc_state st;
    struct fdc_drive drive[FDC_DRIVES];
    struct irq irq;
    struct i8237 *dma;
};

/* dev: struct fdc. */
extern const struct bus_ops fdc_bus_ops, fdc_input_bus_ops;
extern const struct state_desc fdc_state_desc;
extern const struct device_class fdc_class;

void fdc_init(struct fdc *f, const struct fdc_config *cfg);

#endif
