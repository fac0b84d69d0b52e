#include "device.h"

/* Accesses across a page boundary: two pages that are not neighbours in RAM,
 * one that is missing, one that is a device. */

#define EDGE (TEST_VA + 0x1000)

static uint64_t first, second;

static void write8(uint64_t va)
{
    mem_write64(va, 0x8877665544332211);
}

static void read8(uint64_t va)
{
    (void)mem_read64(va);
}

static void lock_add(uint64_t va)
{
    __asm__ volatile("lock addq $1, (%0)" ::"r"(va) : "memory");
}

static void push_there(uint64_t va)
{
    __asm__ volatile("movq %%rsp, %%rbx\n movq %0, %%rsp\n pushq $0x55\n"
                     "movq %%rbx, %%rsp" ::"r"(va)
                     : "rbx", "memory");
}

static void store16(uint64_t va)
{
    __asm__ volatile("movups %%xmm0, (%0)" ::"r"(va) : "memory");
}

static void test_both(void)
{
    for (unsigned i = 1; i < 8; i++) {
        uint64_t va = EDGE - i, v;

        write8(va);
        CHECK_EQ(mem_read64(va), 0x8877665544332211);
        memcpy(&v, (void *)(first + 4096 - i), i);
        CHECK(!memcmp((void *)(first + 4096 - i),
                      "\x11\x22\x33\x44\x55\x66\x77", i));
        lock_add(va);
        CHECK_EQ(mem_read64(va), 0x8877665544332212);
    }
    mem_write64(first + 4088, 0);
    mem_write64(second, 0);
    push_there(EDGE + 4);
    CHECK_EQ(*(uint32_t *)(first + 4092), 0x55);
    CHECK_EQ(*(uint32_t *)second, 0);
}

/* The first missing byte is in CR2, and nothing is written. */
static void test_second_missing(void)
{
    static void (*const fns[])(uint64_t) = {write8, lock_add, store16};
    struct fault f;

    map_page(EDGE, 0, 0);
    mem_write64(first + 4088, 0x99);
    for (unsigned i = 0; i < 3; i++) {
        f = guarded(fns[i], EDGE - 5);
        CHECK_EQ(f.f.vector, 14);
        CHECK_EQ(f.f.error, 2);
        CHECK_EQ(f.cr2, EDGE);
        CHECK_EQ(mem_read64(first + 4088), 0x99);
    }
    f = guarded(read8, EDGE - 5);
    CHECK_EQ(f.f.error, 0);
    CHECK_EQ(f.cr2, EDGE);
    map_page(EDGE, second, PTE_P); /* read-only */
    f = guarded(write8, EDGE - 1);
    CHECK_EQ(f.f.error, 3);
    CHECK_EQ(f.cr2, EDGE);
    CHECK_EQ(mem_read64(first + 4088), 0x99);
    map_page(EDGE - 4096, 0, 0);
    map_page(EDGE, second, PTE_P | PTE_W);
    f = guarded(write8, EDGE - 1);
    CHECK_EQ(f.f.error, 2);
    CHECK_EQ(f.cr2, EDGE - 1);
    map_page(EDGE - 4096, first, PTE_P | PTE_W);
}

/* RAM below, the I/O APIC's page above: offset 0 is its index register. */
static void test_device(void)
{
    uint32_t low, high;

    ioapic_write(1, 0); /* index 1: version */
    map_page(EDGE, 0xfec00000, PTE_P | PTE_W | 0x18);
    *(volatile uint32_t *)(first + 4092) = 0x5a5a5a5a;
    low = *(volatile uint32_t *)(EDGE - 4);
    high = *(volatile uint32_t *)EDGE;
    CHECK_EQ(low, 0x5a5a5a5a);
    CHECK_EQ(high & 0xff, 1);
    /* A word of which two bytes are RAM; bytes of the index register. */
    *(volatile uint16_t *)(EDGE - 4) = 0x1234;
    CHECK_EQ(*(volatile uint32_t *)(EDGE - 4), 0x5a5a1234);
    /* All kinds of instructions reach a device. */
    __asm__ volatile("movl $2, %%eax\n movl %%eax, (%0)\n addl $1, (%0)\n"
                     "orl $0, (%0)" ::"r"(EDGE)
                     : "eax", "memory");
    CHECK_EQ(*(volatile uint32_t *)EDGE & 0xff, 3);
    __asm__ volatile("movl $1, %%eax\n xchgl %%eax, (%0)" ::"r"(EDGE)
                     : "eax", "memory");
    CHECK_EQ(*(volatile uint32_t *)EDGE & 0xff, 1);
    __asm__ volatile("movl $0x20, %%ecx\n movd %%ecx, %%xmm1\n"
                     "movd %%xmm1, (%0)" ::"r"(EDGE)
                     : "ecx", "memory");
    CHECK_EQ(*(volatile uint32_t *)EDGE & 0xff, 0x20);
    map_page(EDGE, second, PTE_P | PTE_W);
}

int main(void)
{
    second = page_alloc(); /* in descending order */
    (void)page_alloc();
    first = page_alloc();
    map_page(EDGE - 4096, first, PTE_P | PTE_W);
    map_page(EDGE, second, PTE_P | PTE_W);
    test_both();
    test_second_missing();
    test_device();
    return 0;
}
