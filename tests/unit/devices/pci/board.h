#ifndef HUSK_TESTS_UNIT_DEVICES_PCI_BOARD_H
#define HUSK_TESTS_UNIT_DEVICES_PCI_BOARD_H

#include "devices/pci/pci.h"

/* A real host on real buses, and what its wires and messages did. */
struct board {
    struct bus *pio, *mmio;
    struct pci_host host;
    bool gsi[PCI_NR_LINKS];
    bool isa[PCI_NR_ISA_IRQS];
    struct {
        uint64_t addr;
        uint32_t data;
    } msi[32];
    unsigned nr_msi;
    uint8_t elcr2; /* port 0x4d1 */
    uint8_t cf9;
};

enum {
    BOARD_IO = 0xc000, /* windows */
    BOARD_IO_SIZE = 0x1000,
    BOARD_MEM_SIZE = 0x100000
};

#define BOARD_MEM 0xc0000000u

void board_init(struct board *b);
/* Also ends b->host. */
void board_fini(struct board *b);

/* As a guest does it: ports 0xcf8 and 0xcfc. */
uint32_t board_read(struct board *b, unsigned slot, unsigned function,
                    unsigned off, unsigned len);
void board_write(struct board *b, unsigned slot, unsigned function,
                 unsigned off, unsigned len, uint32_t val);
/* Offset of the next capability with id, from behind cap (0 = the first), or
 * 0. */
unsigned board_find_cap(struct board *b, unsigned slot, unsigned function,
                        unsigned cap, unsigned id);

#endif
