#include "guest.h"

/* Accessed and dirty bits (SDM vol. 3, 4.8): set by the access that needs
 * them, at every level, and not by one that faults. */

static void read_byte(uint64_t va)
{
    (void)*(volatile uint8_t *)va;
}

static void write_byte(uint64_t va)
{
    *(volatile uint8_t *)va = 1;
}

static void call_there(uint64_t va)
{
    ((void (*)(void))va)();
}

CODE(just_return, "ret");

static uint64_t bits(uint64_t va, unsigned level)
{
    return *pte(va, level) & (PTE_A | PTE_D);
}

int main(void)
{
    uint64_t va = TEST_VA, page = page_alloc();

    map_page(va, page, PTE_P | PTE_W);
    for (unsigned level = 2; level <= 4; level++)
        CHECK_EQ(bits(va, level), 0);
    read_byte(va);
    CHECK_EQ(bits(va, 1), PTE_A);
    for (unsigned level = 2; level <= 4; level++)
        CHECK_EQ(*pte(va, level) & PTE_A, PTE_A);
    write_byte(va); /* through a translation that may be cached */
    CHECK_EQ(bits(va, 1), PTE_A | PTE_D);

    map_page(va, page, PTE_P | PTE_W);
    write_byte(va);
    CHECK_EQ(bits(va, 1), PTE_A | PTE_D);

    *pte(va, 1) &= ~PTE_D; /* cleared and flushed: set again */
    invlpg(va);
    read_byte(va);
    CHECK_EQ(bits(va, 1), PTE_A);
    write_byte(va + 4095);
    CHECK_EQ(bits(va, 1), PTE_A | PTE_D);

    map_page(va, page, PTE_P); /* read-only */
    CHECK_EQ(guarded(write_byte, va).f.vector, 14);
    CHECK_EQ(bits(va, 1) & PTE_D, 0);

    map_code(va, just_return, just_return_end, PTE_P);
    call_there(va);
    CHECK_EQ(bits(va, 1), PTE_A);

    map_page(va, page, PTE_P | PTE_NX);
    CHECK_EQ(guarded(call_there, va).f.vector, 14);

    /* An access across two pages marks both. */
    map_page(va, page, PTE_P | PTE_W);
    map_page(va + 4096, page_alloc(), PTE_P | PTE_W);
    mem_write64(va + 4092, 0x1122334455667788);
    CHECK_EQ(bits(va, 1), PTE_A | PTE_D);
    CHECK_EQ(bits(va + 4096, 1), PTE_A | PTE_D);
    CHECK_EQ(mem_read64(va + 4092), 0x1122334455667788);
    return 0;
}
