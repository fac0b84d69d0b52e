#include "guest.h"

/* SMEP and SMAP (SDM vol. 3, 4.6): ring 0 and user pages. */

#define CR4_SMEP 0x100000ull
#define CR4_SMAP 0x200000ull

static void read_byte(uint64_t va)
{
    (void)*(volatile uint8_t *)va;
}

static void write_byte(uint64_t va)
{
    *(volatile uint8_t *)va = 1;
}

static void read_with_ac(uint64_t va)
{
    __asm__ volatile("stac\n movb (%0), %%al\n clac" ::"r"(va) : "eax");
}

static void write_with_ac(uint64_t va)
{
    __asm__ volatile("stac\n movb $2, (%0)\n clac" ::"r"(va));
}

/* AC by POPFQ counts as well; the block is entered twice, with and without. */
static void read_by_flags(uint64_t ac)
{
    __asm__ volatile("pushfq\n orq %0, (%%rsp)\n popfq\n"
                     "movb (%1), %%al\n"
                     "pushfq\n andq $~0x40000, (%%rsp)\n popfq" ::"r"(ac),
                     "r"(TEST_VA)
                     : "eax", "memory", "cc");
}

static void call_there(uint64_t va)
{
    ((void (*)(void))va)();
}

CODE(just_return, "ret");

static void test_smep(void)
{
    struct fault f;

    map_code(TEST_VA, just_return, just_return_end, PTE_P | PTE_U);
    CHECK_EQ(guarded(call_there, TEST_VA).f.vector, NO_FAULT);
    WRITE_CR(4, READ_CR(4) | CR4_SMEP);
    f = guarded(call_there, TEST_VA);
    CHECK_EQ(f.f.vector, 14);
    CHECK_EQ(f.f.error, 0x11);
    CHECK_EQ(f.cr2, TEST_VA);
    CHECK_EQ(f.f.rip, TEST_VA);
    map_code(TEST_VA, just_return, just_return_end, PTE_P);
    CHECK_EQ(guarded(call_there, TEST_VA).f.vector, NO_FAULT);
    WRITE_CR(4, READ_CR(4) & ~CR4_SMEP);
}

static void test_smap(void)
{
    struct fault f;

    map_page(TEST_VA, page_alloc(), PTE_P | PTE_U | PTE_W);
    CHECK_EQ(guarded(read_byte, TEST_VA).f.vector, NO_FAULT);
    WRITE_CR(4, READ_CR(4) | CR4_SMAP);
    f = guarded(read_byte, TEST_VA);
    CHECK_EQ(f.f.vector, 14);
    CHECK_EQ(f.f.error, 1);
    f = guarded(write_byte, TEST_VA);
    CHECK_EQ(f.f.vector, 14);
    CHECK_EQ(f.f.error, 3);
    CHECK_EQ(guarded(read_with_ac, TEST_VA).f.vector, NO_FAULT);
    CHECK_EQ(guarded(write_with_ac, TEST_VA).f.vector, NO_FAULT);
    for (unsigned i = 0; i < 4; i++) {
        CHECK_EQ(guarded(read_by_flags, 0x40000).f.vector, NO_FAULT);
        CHECK_EQ(guarded(read_by_flags, 0).f.vector, 14);
    }
    map_page(TEST_VA, page_alloc(), PTE_P | PTE_W);
    CHECK_EQ(guarded(write_byte, TEST_VA).f.vector, NO_FAULT);
    WRITE_CR(4, READ_CR(4) & ~CR4_SMAP);
}

/* A descriptor table in a user page: an implicit access, AC is no help. */
static void load_segment(uint64_t ac)
{
    if (ac)
        __asm__ volatile("stac");
    __asm__ volatile("movl %0, %%fs" ::"r"(SEL_FREE));
    __asm__ volatile("clac");
}

static void test_implicit(void)
{
    struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } old, gdtr;
    uint64_t page = page_alloc();
    struct fault f;

    __asm__ volatile("sgdt %0" : "=m"(old));
    memcpy((void *)page, (void *)old.base, old.limit + 1u);
    ((uint64_t *)page)[SEL_FREE / 8] = 0x00cf93000000ffff;
    map_page(TEST_VA, page, PTE_P | PTE_U | PTE_W);
    gdtr.limit = old.limit;
    gdtr.base = TEST_VA;
    __asm__ volatile("lgdt %0" ::"m"(gdtr));
    CHECK_EQ(guarded(load_segment, 1).f.vector, NO_FAULT);
    __asm__ volatile("lgdt %0" ::"m"(old));
    WRITE_CR(4, READ_CR(4) | CR4_SMAP);
    map_page(TEST_VA, page, PTE_P | PTE_W);
    __asm__ volatile("lgdt %0" ::"m"(gdtr));
    CHECK_EQ(guarded(load_segment, 1).f.vector, NO_FAULT);
    __asm__ volatile("lgdt %0" ::"m"(old));
    WRITE_CR(4, READ_CR(4) & ~CR4_SMAP);
    (void)f;
}

int main(void)
{
    if (!has_smep() && !has_smap())
        skip("neither SMEP nor SMAP");
    if (has_smep())
        test_smep();
    if (has_smap()) {
        test_smap();
        test_implicit();
    }
    return 0;
}
