/* The floppy drives of the PC: their controller, and the DMA controllers, which
 * nothing else on this board uses. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "machine/pc_int.h"

enum { IRQ_FLOPPY = 6 };

static int map_ports(struct pc *pc, struct err *err)
{
    struct pc_floppy *fl = pc->floppy;
    const struct {
        uint16_t base, size;
        const struct bus_ops *ops;
        void *dev;
    } map[] = {
        {0x00, I8237_PORTS, &i8237_bus_ops, &fl->dma},
        {0xc0, I8237_HIGH_PORTS, &i8237_high_bus_ops, &fl->dma},
        {I8237_PAGE_PORT, I8237_PAGE_PORTS, &i8237_page_bus_ops, &fl->dma},
        {FDC_PORT, FDC_PORTS, &fdc_bus_ops, &fl->fdc},
        {FDC_INPUT_PORT, 1, &fdc_input_bus_ops, &fl->fdc},
    };
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(map); i++)
        rc = bus_map(pc->pio, map[i].base, map[i].size, map[i].ops, map[i].dev,
                     &fl->lock);
    if (rc < 0)
        return err_set(err, rc, "map the ports of the floppy drives: %s",
                       rc == -ENOMEM ? "out of memory" : "address in use");
    return 0;
}

static unsigned drive_type(const struct pc *pc, unsigned n)
{
    const struct fdc_drive *d = &pc->floppy->fdc.drive[n];

    return d->blk ? d->format->drive_type : 0;
}

int pc_make_floppy(struct pc *pc, struct err *err)
{
    static const char *const names[PC_MAX_FLOPPIES] = {"floppy0", "floppy1"};
    struct fdc_config cfg = {.irq = pc_isa_irq(pc, IRQ_FLOPPY)};
    struct pc_floppy *fl;
    int rc;

    if (pc->cfg.nr_floppies == 0)
        return 0;
    fl = calloc(1, sizeof(*fl));
    if (!fl)
        return err_set(err, -ENOMEM, "make the floppy drives: out of memory");
    pc->floppy = fl;
    lock_init_ranked(&fl->lock, LOCK_RANK_DEVICE);
    cfg.dma = &fl->dma;
    for (unsigned i = 0; i < pc->cfg.nr_floppies; i++) {
        cfg.drive[i].blk = pc->cfg.floppies[i];
        cfg.drive[i].name = names[i];
    }
    i8237_init(&fl->dma, &pc->gmem);
    fdc_init(&fl->fdc, &cfg);
    cmos_set_floppies(&pc->cmos, drive_type(pc, 0), drive_type(pc, 1));
    rc = map_ports(pc, err);
    if (rc < 0)
        pc_drop_floppy(pc);
    return rc;
}

void pc_drop_floppy(struct pc *pc)
{
    if (pc->floppy)
        lock_fini(&pc->floppy->lock);
    free(pc->floppy);
    pc->floppy = NULL;
}

/* The controller first: it lowers its request. */
void pc_reset_floppy(struct pc *pc)
{
    if (!pc->floppy)
        return;
    lock_take(&pc->floppy->lock);
    fdc_class.reset(&pc->floppy->fdc);
    i8237_class.reset(&pc->floppy->dma);
    lock_drop(&pc->floppy->lock);
}

size_t pc_floppy_path(unsigned drive, char *text, size_t size)
{
    return (size_t)snprintf(text, size, "/pci@i0cf8/isa@1/fdc@03f0/floppy@%u\n",
                            drive);
}
