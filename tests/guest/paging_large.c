#include "guest.h"

/* 2-MiB and 1-GiB pages, and INVLPG of them (SDM vol. 3, 4.5, 4.10.4). */

#define BIG TEST_VA
#define MIB 0x100000ull

static void read_byte(uint64_t va)
{
    (void)*(volatile uint8_t *)va;
}

static void write_byte(uint64_t va)
{
    *(volatile uint8_t *)va = 1;
}

static void test_2m(void)
{
    uint64_t *e = pte(BIG, 2);
    uint64_t pa = 32 * MIB;

    *e = pa | PTE_P | PTE_W | PTE_PS;
    mem_write64(BIG + 0x123456, 0xabcdef);
    CHECK_EQ(mem_read64(pa + 0x123456), 0xabcdef);
    CHECK_EQ(*e & (PTE_A | PTE_D), PTE_A | PTE_D);
    *e = (pa + 2 * MIB) | PTE_P | PTE_W | PTE_PS;
    mem_write64(pa + 2 * MIB + 0x123456, 77);
    invlpg(BIG + 0x1f0000); /* any address in the page */
    CHECK_EQ(mem_read64(BIG + 0x123456), 77);
    *e = pa | PTE_P | PTE_PS;
    invlpg(BIG);
    CHECK_EQ(guarded(write_byte, BIG + 0x1ff000).f.error, 3);
    CHECK_EQ(*e & PTE_D, 0);
    *e = (pa | 0x2000) | PTE_P | PTE_W | PTE_PS; /* reserved bit 13 */
    invlpg(BIG);
    CHECK_EQ(guarded(read_byte, BIG).f.error, 9);
    /* From one large page to small ones and back. */
    *e = 0;
    invlpg(BIG);
    for (unsigned i = 0; i < 512; i += 37)
        map_page(BIG + i * 4096ull, pa + (511 - i) * 4096ull, PTE_P | PTE_W);
    for (unsigned i = 0; i < 512; i += 37) {
        mem_write64(BIG + i * 4096ull + 8, i);
        CHECK_EQ(mem_read64(pa + (511 - i) * 4096ull + 8), i);
    }
    *e = pa | PTE_P | PTE_W | PTE_PS;
    invlpg(BIG);
    for (unsigned i = 0; i < 512; i += 37)
        CHECK_EQ(mem_read64(BIG + (511 - i) * 4096ull + 8), i);
    /* Across the boundary of two large pages. */
    *pte(BIG + 2 * MIB, 2) = (pa + 8 * MIB) | PTE_P | PTE_W | PTE_PS;
    mem_write64(BIG + 2 * MIB - 3, 0x1122334455667788);
    CHECK_EQ(mem_read64(pa + 8 * MIB) & 0xffffffffff, 0x1122334455);
}

static void test_1g(void)
{
    uint64_t va = TEST_VA + 0x80000000;
    uint64_t *e = pte(va, 3);

    *e = 0 | PTE_P | PTE_W | PTE_PS;
    mem_write64(va + 40 * MIB, 4711);
    CHECK_EQ(mem_read64(40 * MIB), 4711);
    CHECK_EQ(*e & (PTE_A | PTE_D), PTE_A | PTE_D);
    *e = 0 | PTE_P | PTE_PS;
    invlpg(va + 3 * MIB);
    CHECK_EQ(guarded(write_byte, va + 40 * MIB).f.error, 3);
    *e = 0x2000 | PTE_P | PTE_PS;
    invlpg(va);
    CHECK_EQ(guarded(read_byte, va).f.error, 9);
}

int main(void)
{
    test_2m();
    if (has_gigapages())
        test_1g();
    return 0;
}
