#ifndef HUSK_DEVICES_PCI_REGS_H
#define HUSK_DEVICES_PCI_REGS_H

/*
 * Configuration space of a type 0 function: PCI Local Bus 3.0, 6.1 (header),
 * 6.2.5 (base addresses), 6.7 (capabilities), 6.8.2 (MSI-X).
 */
enum pci_reg {
    PCI_VENDOR_ID = 0x00,
    PCI_DEVICE_ID = 0x02,
    PCI_COMMAND = 0x04,
    PCI_STATUS = 0x06,
    PCI_REVISION = 0x08,
    PCI_CLASS = 0x09, /* three bytes: interface, subclass, base class */
    PCI_HEADER_TYPE = 0x0e,
    PCI_BAR0 = 0x10,
    PCI_SUBSYS_VENDOR = 0x2c,
    PCI_SUBSYS_ID = 0x2e,
    PCI_ROM = 0x30,
    PCI_CAP_PTR = 0x34,
    PCI_INT_LINE = 0x3c,
    PCI_INT_PIN = 0x3d,
    PCI_FIRST_FREE = 0x40 /* what follows is the function's own */
};

#define PCI_CONFIG_SIZE 256
#define PCI_NR_BARS     6
/* The expansion ROM, where BARs are counted. */
#define PCI_ROM_BAR    6
#define PCI_NR_REGIONS 7

#define PCI_COMMAND_IO       0x0001u
#define PCI_COMMAND_MEMORY   0x0002u
#define PCI_COMMAND_MASTER   0x0004u
#define PCI_COMMAND_PARITY   0x0040u
#define PCI_COMMAND_SERR     0x0100u
#define PCI_COMMAND_INTX_OFF 0x0400u

#define PCI_STATUS_INTX 0x0008u
#define PCI_STATUS_CAPS 0x0010u

#define PCI_HEADER_MULTI 0x80u

#define PCI_BAR_IO       0x1u
#define PCI_BAR_64       0x4u
#define PCI_BAR_PREFETCH 0x8u
#define PCI_ROM_ENABLE   0x1u

#define PCI_CAP_VENDOR 0x09
#define PCI_CAP_MSIX   0x11

/* Message control, 2 bytes into the MSI-X capability. */
#define PCI_MSIX_FUNCTION_MASK 0x4000u
#define PCI_MSIX_ENABLE        0x8000u

#endif
