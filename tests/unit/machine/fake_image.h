#ifndef HUSK_TESTS_UNIT_MACHINE_FAKE_IMAGE_H
#define HUSK_TESTS_UNIT_MACHINE_FAKE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The smallest kernels that loaders accept. All fit into FAKE_IMAGE_MAX. */
enum { FAKE_IMAGE_MAX = 4096, FAKE_BZIMAGE_SETUP = 1024 };

/* A bzImage of protocol 2.15 without checksum; entry64 sets XLF_KERNEL_64.
 * Wants 16 MiB .. 17 MiB. Returns its length. */
size_t fake_bzimage(uint8_t *buf, bool entry64);

/* ELF with one segment of 8 bytes, "KERNEL!" and 0, at physical 1 MiB (8 KiB
 * in memory), entry at its start; with a PVH note, or a Multiboot header in
 * front of the bytes. */
enum fake_elf { FAKE_ELF_BARE, FAKE_ELF_PVH, FAKE_ELF_MULTIBOOT };
size_t fake_elf32(uint8_t *buf, enum fake_elf kind);
size_t fake_elf64(uint8_t *buf, enum fake_elf kind);

/* A Multiboot image with the a.out kludge: load, load_end, bss_end, entry. */
size_t fake_kludge(uint8_t *buf, uint32_t load, uint32_t load_end,
                   uint32_t bss_end, uint32_t entry);

#endif
