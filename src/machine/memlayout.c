#include "machine/memlayout.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static void add_bank(struct memlayout *ml, gpa_t start, gpa_t end)
{
    struct gmem_layout *b = &ml->bank[ml->nr_banks++];

    *b = (struct gmem_layout){.start = start, .size = end - start};
}

static void add_e820(struct memlayout *ml, gpa_t start, gpa_t end,
                     enum e820_type type)
{
    struct e820_entry *e = &ml->e820[ml->nr_e820++];

    *e = (struct e820_entry){start, end - start, type};
}

/* Banks go by ascending address. */
static void add_banks(struct memlayout *ml, uint64_t rom_bytes)
{
    add_bank(ml, 0, PC_LOW_END);
    if (rom_bytes) {
        add_bank(ml, PC_UPPER, PC_TABLES_END);
        ml->bank[ml->nr_banks - 1].shadow = true;
        add_bank(ml, PC_TABLES_END, ml->low_end);
        add_bank(ml, PC_4G - rom_bytes, PC_4G);
        ml->bank[ml->nr_banks - 1].readonly = true;
    } else {
        add_bank(ml, PC_UPPER, ml->low_end);
    }
    if (ml->high_end > PC_4G)
        add_bank(ml, PC_4G, ml->high_end);
}

int memlayout_init(struct memlayout *ml, uint64_t bytes, uint64_t rom_bytes,
                   struct err *err)
{
    if (bytes < PC_MEMORY_MIN)
        return err_set(err, -EINVAL,
                       "memory of %" PRIu64 " KiB is too little: the PC's own "
                       "tables and the guest's first code need %u MiB",
                       bytes >> 10, (unsigned)(PC_MEMORY_MIN >> 20));
    if (bytes > PC_MEMORY_MAX)
        return err_set(err, -EINVAL,
                       "memory of %" PRIu64 " MiB is more than the %" PRIu64
                       " MiB that the machine can address",
                       bytes >> 20, (uint64_t)(PC_MEMORY_MAX >> 20));
    if (bytes & GPAGE_MASK)
        return err_set(err, -EINVAL,
                       "memory of %" PRIu64 " bytes is not a multiple of the "
                       "page size, %u bytes",
                       bytes, (unsigned)GPAGE_SIZE);

    memset(ml, 0, sizeof(*ml));
    ml->low_end = bytes < PC_HOLE ? bytes : PC_HOLE;
    ml->high_end = PC_4G + (bytes - ml->low_end);
    /* Firmware begins at 2 GiB if RAM ends before it. */
    ml->pci_mmio =
        rom_bytes && ml->low_end <= PC_FW_MMIO ? PC_FW_MMIO : PC_PCI_MMIO;
    add_banks(ml, rom_bytes);
    add_e820(ml, 0, PC_EBDA, E820_RAM);
    add_e820(ml, PC_EBDA, PC_LOW_END, E820_RESERVED);
    add_e820(ml, PC_TABLES, PC_TABLES_END, E820_RESERVED);
    add_e820(ml, PC_TABLES_END, ml->low_end, E820_RAM);
    if (ml->high_end > PC_4G)
        add_e820(ml, PC_4G, ml->high_end, E820_RAM);
    return 0;
}

void memlayout_add_device(struct memlayout *ml, uint64_t bytes)
{
    ml->bank[ml->nr_banks++] =
        (struct gmem_layout){.size = bytes, .device = true};
}
