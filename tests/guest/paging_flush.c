#include "guest.h"

/*
 * After a flush the new mapping counts: INVLPG, CR3, CR4, PCIDs, INVPCID,
 * global pages (SDM vol. 3, 4.10). That a stale entry may be used before it is
 * no test; that a page of another PCID or address space is never used, is.
 */

#define CR4_PGE   0x80ull
#define CR4_PCIDE 0x20000ull

static uint64_t page_a, page_b;

static void set(uint64_t flags, uint64_t pa)
{
    *(volatile uint64_t *)pte(TEST_VA, 1) = pa | flags;
}

static void read_there(uint64_t va)
{
    (void)*(volatile uint64_t *)va;
}

static void reload_cr3(void)
{
    WRITE_CR(3, READ_CR(3));
}

static void test_invlpg(void)
{
    set(PTE_P | PTE_W, page_a);
    CHECK_EQ(mem_read64(TEST_VA), 0xa);
    set(PTE_P | PTE_W, page_b);
    invlpg(TEST_VA + 0xfff);
    CHECK_EQ(mem_read64(TEST_VA), 0xb);
    set(0, 0);
    invlpg(TEST_VA);
    CHECK_EQ(guarded(read_there, TEST_VA).f.vector, 14);
    set(PTE_P, page_a); /* from not present: no flush is needed */
    CHECK_EQ(mem_read64(TEST_VA), 0xa);
}

static void test_cr3(void)
{
    set(PTE_P, page_a);
    CHECK_EQ(mem_read64(TEST_VA), 0xa);
    set(PTE_P, page_b);
    reload_cr3();
    CHECK_EQ(mem_read64(TEST_VA), 0xb);
}

/* Two address spaces, the same code in both. */
static uint64_t clone_space(void)
{
    uint64_t root = page_alloc();

    memcpy((void *)root, (void *)(READ_CR(3) & PTE_ADDR), 4096);
    *(uint64_t *)(root + 8 * (TEST_VA >> 39 & 511)) = 0;
    return root;
}

static void test_spaces(void)
{
    uint64_t one = READ_CR(3), two = clone_space();

    set(PTE_P, page_a);
    invlpg(TEST_VA);
    WRITE_CR(3, two);
    map_page(TEST_VA, page_b, PTE_P);
    for (unsigned i = 0; i < 50; i++) {
        CHECK_EQ(mem_read64(TEST_VA), 0xb);
        WRITE_CR(3, one);
        CHECK_EQ(mem_read64(TEST_VA), 0xa);
        WRITE_CR(3, two);
    }
    WRITE_CR(3, one);
}

static void test_global(void)
{
    WRITE_CR(4, READ_CR(4) | CR4_PGE);
    set(PTE_P | PTE_G, page_a);
    invlpg(TEST_VA);
    CHECK_EQ(mem_read64(TEST_VA), 0xa);
    set(PTE_P | PTE_G, page_b);
    invlpg(TEST_VA); /* drops global pages too */
    CHECK_EQ(mem_read64(TEST_VA), 0xb);
    set(PTE_P | PTE_G, page_a);
    WRITE_CR(4, READ_CR(4) & ~CR4_PGE); /* flushes everything */
    CHECK_EQ(mem_read64(TEST_VA), 0xa);
    WRITE_CR(4, READ_CR(4) | CR4_PGE);
    CHECK_EQ(mem_read64(TEST_VA), 0xa);
    WRITE_CR(4, READ_CR(4) & ~CR4_PGE);
}

static void write_cr3(uint64_t v)
{
    WRITE_CR(3, v);
}

static void test_pcid(void)
{
    uint64_t one = READ_CR(3), two = clone_space();

    WRITE_CR(4, READ_CR(4) | CR4_PCIDE);
    set(PTE_P, page_a);
    invlpg(TEST_VA);
    WRITE_CR(3, two | 5);
    map_page(TEST_VA, page_b, PTE_P);
    for (unsigned i = 0; i < 50; i++) {
        CHECK_EQ(mem_read64(TEST_VA), 0xb);
        WRITE_CR(3, one | 1ull << 63);
        CHECK_EQ(READ_CR(3), one);
        CHECK_EQ(mem_read64(TEST_VA), 0xa);
        WRITE_CR(3, two | 5 | 1ull << 63);
        CHECK_EQ(READ_CR(3), two | 5);
    }
    set(PTE_P, page_a); /* a load without bit 63 flushes that PCID */
    WRITE_CR(3, two | 5);
    CHECK_EQ(mem_read64(TEST_VA), 0xa);
    /* PCIDE cannot be set with another PCID, nor cleared paging with it. */
    WRITE_CR(3, one);
    CHECK_EQ(guarded(write_cr3, one | 1ull << 62).f.vector, 13);
    WRITE_CR(4, READ_CR(4) & ~CR4_PCIDE);
}

static void do_invpcid(uint64_t type, uint64_t pcid, uint64_t va)
{
    uint64_t desc[2] = {pcid, va};

    __asm__ volatile("invpcid %0, %1" ::"m"(desc), "r"(type) : "memory");
}

static void bad_type(uint64_t type)
{
    do_invpcid(type, 0, 0);
}

static void test_invpcid(void)
{
    uint64_t one = READ_CR(3);

    for (uint64_t type = 0; type < 4; type++) {
        set(PTE_P, page_a);
        invlpg(TEST_VA);
        CHECK_EQ(mem_read64(TEST_VA), 0xa);
        set(PTE_P, page_b);
        do_invpcid(type, 0, TEST_VA);
        CHECK_EQ(mem_read64(TEST_VA), 0xb);
    }
    CHECK_EQ(guarded(bad_type, 4).f.vector, 13);
    if (!has_pcid())
        return;
    /* From PCID 5, flush what PCID 0 has. */
    WRITE_CR(4, READ_CR(4) | CR4_PCIDE);
    set(PTE_P, page_a);
    do_invpcid(0, 0, TEST_VA);
    CHECK_EQ(mem_read64(TEST_VA), 0xa);
    WRITE_CR(3, one | 5);
    set(PTE_P, page_b);
    do_invpcid(0, 0, TEST_VA);
    do_invpcid(1, 5, 0);
    CHECK_EQ(mem_read64(TEST_VA), 0xb);
    WRITE_CR(3, one | 1ull << 63);
    CHECK_EQ(mem_read64(TEST_VA), 0xb);
    WRITE_CR(4, READ_CR(4) & ~CR4_PCIDE);
}

int main(void)
{
    page_a = page_alloc();
    page_b = page_alloc();
    mem_write64(page_a, 0xa);
    mem_write64(page_b, 0xb);
    test_invlpg();
    test_cr3();
    test_spaces();
    test_global();
    if (has_pcid())
        test_pcid();
    if (has_invpcid())
        test_invpcid();
    return 0;
}
