#include "guest32.h"

/* 32-bit and PAE paging (SDM vol. 3, 4.3, 4.4). */

enum { P = 1, W = 2, U = 4, A = 0x20, D = 0x40, PS = 0x80 };

#define VA 0x40000000u

static void read_there(uint32_t va)
{
    (void)*(volatile uint8_t *)va;
}

static void write_there(uint32_t va)
{
    *(volatile uint8_t *)va = 1;
}

static void set_cr3(uint32_t v)
{
    WRITE_CR(3, v);
}

static void set_paging(bool on)
{
    WRITE_CR(0, on ? READ_CR(0) | 0x80010000 : READ_CR(0) & ~0x80010000u);
}

/* One to one by 4-MiB pages, and one 4-KiB page at VA. */
static void test_legacy(void)
{
    uint32_t dir = page_alloc(), table = page_alloc(), page = page_alloc();
    volatile uint32_t *d = (uint32_t *)dir, *t = (uint32_t *)table;
    struct fault f;

    for (uint32_t i = 0; i < 16; i++)
        d[i] = i << 22 | PS | P | W;
    d[VA >> 22] = table | P | W | U;
    t[0] = page | P | W;
    WRITE_CR(4, READ_CR(4) | 0x10); /* PSE */
    WRITE_CR(3, dir);
    set_paging(true);
    poke(VA + 8, 0x1234);
    CHECK_EQ(peek(page + 8), 0x1234);
    CHECK_EQ(t[0] & (A | D), A | D);
    CHECK_EQ(d[VA >> 22] & (A | D), A);
    CHECK_EQ(d[0] & (A | D), A | D); /* the stack is there */
    t[0] = page | P;
    invlpg(VA);
    f = guarded(write_there, VA + 5);
    CHECK_EQ(f.f.vector, 14);
    CHECK_EQ(f.f.error, 3);
    CHECK_EQ(f.cr2, VA + 5);
    f = guarded(read_there, VA + 0x1000);
    CHECK_EQ(f.f.error, 0);
    d[VA >> 22] = 4u << 22 | PS | P | W; /* a 4-MiB page instead */
    invlpg(VA);
    poke(VA + 0x123450, 77);
    CHECK_EQ(peek((4u << 22) + 0x123450), 77);
    CHECK_EQ(d[VA >> 22] & (A | D), A | D);
    /* Without PSE the bit is ignored: the entry is a table. */
    set_paging(false);
    CHECK_EQ(peek((4u << 22) + 0x123450), 77);
    WRITE_CR(4, READ_CR(4) & ~0x10u);
}

/* PAE: the four PDPTEs are loaded with CR3, not read at each access. */
static void test_pae(void)
{
    uint32_t pdpt = page_alloc(), dir0 = page_alloc(), dir1 = page_alloc();
    uint32_t table = page_alloc(), page = page_alloc();
    volatile uint64_t *p = (uint64_t *)pdpt, *d0 = (uint64_t *)dir0;
    volatile uint64_t *d1 = (uint64_t *)dir1, *t = (uint64_t *)table;
    struct fault f;

    for (uint32_t i = 0; i < 32; i++)
        d0[i] = (uint64_t)i << 21 | PS | P | W;
    p[0] = dir0 | P;
    p[1] = dir1 | P;
    d1[0] = table | P | W;
    t[0] = page | P | W;
    WRITE_CR(4, READ_CR(4) | 0x20);
    WRITE_CR(3, pdpt);
    set_paging(true);
    poke(VA + 16, 0xabcd);
    CHECK_EQ(peek(page + 16), 0xabcd);
    CHECK_EQ((uint32_t)t[0] & (A | D), A | D);
    p[1] = 0; /* latched: no effect yet */
    invlpg(VA);
    CHECK_EQ(peek(VA + 16), 0xabcd);
    WRITE_CR(3, pdpt);
    f = guarded(read_there, VA);
    CHECK_EQ(f.f.vector, 14);
    CHECK_EQ(f.f.error, 0);
    p[1] = dir1 | P;
    WRITE_CR(3, pdpt);
    CHECK_EQ(peek(VA + 16), 0xabcd);
    p[2] = 0x1e | P; /* reserved bits: #GP at the load of CR3 */
    CHECK_EQ(guarded(set_cr3, pdpt).f.vector, 13);
    p[2] = 0;
    /* NX, above 32 bits of address */
    __asm__ volatile("rdmsr\n orl $0x800, %%eax\n wrmsr" ::"c"(0xc0000080)
                     : "eax", "edx");
    t[0] = page | P | W | 1ull << 63;
    invlpg(VA);
    *(volatile uint8_t *)page = 0xc3;
    f = guarded((void (*)(uint32_t))VA, 0);
    CHECK_EQ(f.f.vector, 14);
    CHECK_EQ(f.f.error, 0x11);
    t[0] = page | P | W;
    invlpg(VA);
    CHECK_EQ(guarded((void (*)(uint32_t))VA, 0).f.vector, NO_FAULT);
    set_paging(false);
    WRITE_CR(4, READ_CR(4) & ~0x20u);
}

int main(void)
{
    test_legacy();
    test_pae();
    return 0;
}
