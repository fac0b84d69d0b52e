#ifndef HUSK_MACHINE_ELF_H
#define HUSK_MACHINE_ELF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "machine/bootmem.h"

/*
 * Executable ELF images for x86, 32 and 64 bits, as far as a loader needs
 * them (System V ABI, "Object Files"). The image is hostile.
 */
struct elf {
    const uint8_t *buf;
    size_t len;
    bool is64;
    uint64_t entry; /* as in the file: virtual */
    uint64_t phoff;
    unsigned phnum, phentsize;
};

struct elf_segment {
    uint32_t type;
    uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

/* Does it begin like an ELF file? */
bool elf_probe(const uint8_t *buf, size_t len);

/* Check the header and that the program headers lie in the file. Borrows buf.
 * -EINVAL with err: another machine, truncated, not executable. */
MUST_CHECK int elf_open(struct elf *elf, const uint8_t *buf, size_t len,
                        struct err *err);

/* The entry address of the PVH note (XEN_ELFNOTE_PHYS32_ENTRY). */
bool elf_pvh_entry(const struct elf *elf, uint64_t *entry);

/* Put all loadable segments at their physical addresses. *end is the first
 * byte behind the highest one. */
MUST_CHECK int elf_load(const struct elf *elf, struct bootmem *bm, gpa_t *end,
                        struct err *err);

/* The physical address of the entry: e_entry, moved by the difference between
 * virtual and physical address of the segment that holds it. */
uint64_t elf_phys_entry(const struct elf *elf);

#endif
