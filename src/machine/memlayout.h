#ifndef HUSK_MACHINE_MEMLAYOUT_H
#define HUSK_MACHINE_MEMLAYOUT_H

#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "mem/gmem.h"

/* Fixed places in the guest physical address map of the PC. */
#define PC_EBDA         0x9fc00ull /* extended BIOS data area, 1 KiB */
#define PC_LOW_END      0xa0000ull /* end of conventional memory */
#define PC_UPPER        0xc0000ull /* RAM again behind the VGA window */
#define PC_TABLES       0xe0000ull /* ACPI tables, to PC_TABLES_END */
#define PC_TABLES_END   0x100000ull
#define PC_HOLE         0xc0000000ull /* RAM below 4 GiB ends here at most */
#define PC_PCI_MMIO     0xc0000000ull
#define PC_FW_MMIO      0x80000000ull /* where firmware may put BARs instead */
#define PC_PCI_MMIO_END 0xfec00000ull
#define PC_IOAPIC       0xfec00000ull
#define PC_HPET         0xfed00000ull
#define PC_LAPIC        0xfee00000ull
#define PC_4G           0x100000000ull

/* Less than this leaves no room beside the PC's own tables. */
#define PC_MEMORY_MIN ((uint64_t)2 << 20)
/* The CPU models have 46 physical address bits at least. */
#define PC_MEMORY_MAX ((uint64_t)1 << 44)

enum e820_type { E820_RAM = 1, E820_RESERVED = 2, E820_ACPI = 3 };

struct e820_entry {
    gpa_t start;
    uint64_t len;
    uint32_t type; /* enum e820_type */
};

enum { MEMLAYOUT_MAX_BANKS = 6, MEMLAYOUT_MAX_E820 = 6 };

/* How memory of a given size lies in the address space of the PC. */
struct memlayout {
    uint64_t low_end;  /* end of RAM below 4 GiB */
    uint64_t high_end; /* end of RAM above 4 GiB, or 4 GiB if there is none */
    gpa_t pci_mmio;    /* where BARs go, to PC_PCI_MMIO_END */
    struct gmem_layout bank[MEMLAYOUT_MAX_BANKS];
    unsigned nr_banks;
    /* The memory map for a kernel that is booted directly, ascending (ACPI 6.5,
     * 15). */
    struct e820_entry e820[MEMLAYOUT_MAX_E820];
    unsigned nr_e820;
};

/*
 * Lay out bytes of memory, and rom_bytes of firmware below 4 GiB (whole pages;
 * 0: none, and no shadow area). -EINVAL with err if the size of memory is under
 * PC_MEMORY_MIN, over PC_MEMORY_MAX or not a multiple of a page.
 */
MUST_CHECK int memlayout_init(struct memlayout *ml, uint64_t bytes,
                              uint64_t rom_bytes, struct err *err);
/* Then add memory of a device, bytes large, that is nowhere at first. Once. */
void memlayout_add_device(struct memlayout *ml, uint64_t bytes);

#endif
