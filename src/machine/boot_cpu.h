#ifndef HUSK_MACHINE_BOOT_CPU_H
#define HUSK_MACHINE_BOOT_CPU_H

#include "machine/bootmem.h"
#include "x86/regs.h"

/*
 * The bootstrap CPU as boot protocols want it: flat segments with the GDT
 * that is in memory (code 0x10, data 0x18, a TSS at 0x20), interrupts off.
 * st is in power-on state; general registers other than these stay zero.
 */

/* 32-bit protected mode, paging off, at entry. */
MUST_CHECK int boot_cpu_protected(struct bootmem *bm, struct x86_state *st,
                                  uint32_t entry, struct err *err);

/* 64-bit mode at entry, the first 4 GiB mapped to themselves. */
MUST_CHECK int boot_cpu_long(struct bootmem *bm, struct x86_state *st,
                             uint64_t entry, struct err *err);

#endif
