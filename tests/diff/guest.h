#ifndef HUSK_DIFF_GUEST_H
#define HUSK_DIFF_GUEST_H

#include "case.h"
#include "mem/gmem.h"
#include "x86/regs.h"

/*
 * The guest that runs cases in ring 3: its memory, page tables, descriptor
 * tables and the registers that it starts from. Nothing is booted; all of it
 * is put there from outside. Guest physical addresses:
 */
enum {
    GUEST_TABLES = 0x1000, /* page tables, the first is the PML4 */
    GUEST_TABLES_END = 0x20000,
    GUEST_GDT = 0x20000,
    GUEST_TSS = 0x21000,
    GUEST_IDT = 0x22000,
    GUEST_LDT = 0x28000,
    GUEST_STACK = 0x24000, /* grows down */
    GUEST_STATE = 0x24000, /* struct diff_regs; kernel.S knows it */
    GUEST_BLOB = 0x26000,
    GUEST_IMAGE = 0x30000, /* see guest_page_gpa */
    GUEST_CODE = 0x100000,
    GUEST_SIZE = 0x400000,
    GUEST_PORT = 0xe0
};

/* All of the above is mapped for ring 0 from here on, by one large page. */
#define GUEST_KERNEL 0xffffffff80000000u

/* Pages of the image lie in descending order, so that two that are neighbours
 * for the case are none in RAM. */
static inline gpa_t guest_page_gpa(unsigned page)
{
    return GUEST_IMAGE + (gpa_t)(DIFF_NR_PAGES - 1 - page) * DIFF_PAGE;
}

/* Fill RAM, and *st from its power-on values. */
int guest_build(struct gmem *gm, struct x86_state *st);

#endif
