#ifndef HUSK_DEVICES_PCI_I440FX_H
#define HUSK_DEVICES_PCI_I440FX_H

#include "devices/pci/pci.h"
#include "mem/gmem.h"

/*
 * The fixed functions of an i440FX/PIIX board: host bridge 00:00.0 (82441FX,
 * 8086:1237), ISA bridge 00:01.0 (82371SB PIIX3, 8086:7000), and power
 * management 00:01.3 (82371AB PIIX4, 8086:7113). The interrupt router of the
 * ISA bridge and the shadow RAM of the host bridge work; the rest are headers
 * that a guest's drivers expect.
 */
struct i440fx {
    struct pci_dev host_bridge, isa_bridge, pm;
    struct pci_host *host;
    struct gmem *gm;
};

/* gm: its shadow area, if it has one, follows the host bridge; may be NULL.
 * pm_base: I/O base of the ACPI PM block, shown in PMBASE (0x40) of the PM
 * function; 0 = none. Adds the functions to h. */
MUST_CHECK int i440fx_init(struct i440fx *fx, struct pci_host *h,
                           struct gmem *gm, uint16_t pm_base, struct err *err);
/* After pci_host_fini. */
void i440fx_fini(struct i440fx *fx);
/* All of the shadow area is RAM, as firmware leaves it for a kernel. */
void i440fx_open_shadow(struct i440fx *fx);

#endif
