#include "guest.h"

/* Code that changes: the next instruction, the same block, another page,
 * through another mapping, in a loop (SDM vol. 3, 8.1.3 and 11.6). */

#define CODE_VA  TEST_VA
#define ALIAS_VA (TEST_VA + 0x100000)

static uint64_t code_page;

static uint64_t call_va(uint64_t va)
{
    uint64_t v;

    __asm__ volatile("call *%1"
                     : "=a"(v)
                     : "r"(va)
                     : "rcx", "rdx", "rsi", "rdi", "memory", "cc");
    return v;
}

static void put_mov(uint64_t va, uint32_t v) /* mov $v, %eax; ret */
{
    *(volatile uint8_t *)va = 0xb8;
    *(volatile uint32_t *)(va + 1) = v;
    *(volatile uint8_t *)(va + 5) = 0xc3;
}

/* Rewritten and called, many times. */
static void test_function(void)
{
    for (unsigned i = 0; i < 300; i++) {
        put_mov(CODE_VA, i);
        CHECK_EQ(call_va(CODE_VA), i);
    }
    for (unsigned i = 0; i < 300; i++) { /* only the immediate */
        *(volatile uint32_t *)(CODE_VA + 1) = 1000 + i;
        CHECK_EQ(call_va(CODE_VA), 1000 + i);
    }
}

static void test_alias(void)
{
    map_page(ALIAS_VA, code_page, PTE_P | PTE_W | PTE_NX);
    for (unsigned i = 0; i < 100; i++) {
        put_mov(ALIAS_VA, i * 3);
        CHECK_EQ(call_va(CODE_VA), i * 3);
        put_mov(code_page, i * 5); /* the map one to one */
        CHECK_EQ(call_va(CODE_VA), i * 5);
    }
}

/* The instruction right behind the store; and one that has run in a loop. */
CODE(next_insn, "leaq 1f(%rip), %rdx\n"
                "movl %edi, 1(%rdx)\n"
                "1: movl $0x11111111, %eax\n"
                "ret");
CODE(own_block, "xorl %eax, %eax\n"
                "movl $10, %ecx\n"
                "0: leaq 1f(%rip), %rdx\n"
                "1: addl $1, %eax\n" /* 83 c0 ib */
                "incb 2(%rdx)\n"
                "loop 0b\n"
                "ret");
CODE(by_rep, "leaq 1f(%rip), %rdi\n"
             "movl $4, %ecx\n"
             "movb $0x90, %al\n"
             "rep stosb\n"
             "1: ud2\n ud2\n"
             "movl $7, %eax\n"
             "ret");
CODE(by_lock, "leaq 1f(%rip), %rdx\n"
              "lock xorb $1, 1(%rdx)\n" /* imm 6 becomes 7 */
              "1: movb $6, %al\n"
              "movzbl %al, %eax\n"
              "ret");
CODE(by_sse, "leaq 1f(%rip), %rdx\n"
             "movups (%rsi), %xmm0\n"
             "movups %xmm0, (%rdx)\n"
             "1: .fill 16, 1, 0xcc\n"
             "ret");
CODE(by_push, "movq %rsp, %rdi\n"
              "leaq 1f+8(%rip), %rsp\n"
              "movabsq $0x9090909090909090, %rax\n"
              "pushq %rax\n"
              "1: .fill 8, 1, 0xcc\n"
              "movq %rdi, %rsp\n"
              "movl $9, %eax\n"
              "ret");

static uint64_t call_2(uint64_t va, uint64_t rdi, const void *rsi)
{
    uint64_t v;

    __asm__ volatile("call *%3"
                     : "=a"(v), "+D"(rdi), "+S"(rsi)
                     : "r"(va)
                     : "rcx", "rdx", "memory", "cc");
    return v;
}

static void load(const uint8_t *start, const uint8_t *end)
{
    memcpy((void *)CODE_VA, start, (size_t)(end - start));
}

static void test_self(void)
{
    static const uint8_t nops[16] = {0xb8, 0x2a, 0,    0,    0,    0x90,
                                     0x90, 0x90, 0x90, 0x90, 0x90, 0x90,
                                     0x90, 0x90, 0x90, 0x90};

    for (unsigned i = 0; i < 20; i++) {
        load(next_insn, next_insn_end);
        CHECK_EQ(call_2(CODE_VA, 0x1000 + i, NULL), 0x1000 + i);
        CHECK_EQ(call_2(CODE_VA, 0x2000 + i, NULL), 0x2000 + i);
    }
    for (unsigned i = 0; i < 5; i++) {
        load(own_block, own_block_end);
        CHECK_EQ(call_va(CODE_VA), 55);
        CHECK_EQ(call_va(CODE_VA), 155);
        load(by_rep, by_rep_end);
        CHECK_EQ(call_va(CODE_VA), 7);
        load(by_lock, by_lock_end);
        CHECK_EQ(call_va(CODE_VA), 7);
        CHECK_EQ(call_va(CODE_VA), 6);
        load(by_sse, by_sse_end);
        CHECK_EQ(call_2(CODE_VA, 0, nops), 42);
        load(by_push, by_push_end);
        CHECK_EQ(call_va(CODE_VA), 9);
    }
}

/* Code across two pages; either is changed, or mapped to another page. */
static void test_crossing(void)
{
    uint64_t va = CODE_VA + 4096 - 3, other = page_alloc(), was;

    map_page(CODE_VA + 4096, page_alloc(), PTE_P | PTE_W);
    put_mov(va, 0x01020304);
    CHECK_EQ(call_va(va), 0x01020304);
    *(volatile uint8_t *)(va + 1) = 0x44;
    CHECK_EQ(call_va(va), 0x01020344);
    *(volatile uint8_t *)(va + 4) = 0x55;
    CHECK_EQ(call_va(va), 0x55020344);
    was = *pte(CODE_VA + 4096, 1) & PTE_ADDR;
    memcpy((void *)other, (void *)was, 4096);
    *(volatile uint8_t *)(other + 1) = 0x66; /* page offset 0 is va + 3 */
    map_page(CODE_VA + 4096, other, PTE_P | PTE_W);
    CHECK_EQ(call_va(va), 0x66020344);
    map_page(CODE_VA + 4096, was, PTE_P | PTE_W);
    CHECK_EQ(call_va(va), 0x55020344);
}

/* One virtual page, two physical ones in turn. */
static void test_remap(void)
{
    uint64_t a = page_alloc(), b = page_alloc(), va = TEST_VA + 0x200000;

    put_mov(a, 1);
    put_mov(b, 2);
    for (unsigned i = 0; i < 100; i++) {
        map_page(va, i & 1 ? b : a, PTE_P);
        CHECK_EQ(call_va(va), i & 1 ? 2 : 1);
    }
}

/* Data beside code on one page must keep working, and stay cheap. */
static void test_data_beside(void)
{
    load(own_block, own_block_end);
    put_mov(CODE_VA, 5);
    for (unsigned i = 0; i < 20000; i++)
        *(volatile uint32_t *)(CODE_VA + 2048 + i % 256 * 4) = i;
    CHECK_EQ(call_va(CODE_VA), 5);
    CHECK_EQ(*(volatile uint32_t *)(CODE_VA + 2048), 19968);
}

/* A jump table of code written by code: a small "compiler". */
static void test_generate(void)
{
    uint64_t page = TEST_VA + 0x300000, sum = 0;

    map_page(page, page_alloc(), PTE_P | PTE_W);
    for (unsigned round = 0; round < 200; round++) {
        uint64_t va = page;

        for (unsigned i = 0; i < 8; i++, va += 5) { /* add $imm, %eax */
            *(volatile uint8_t *)va = 0x05;
            *(volatile uint32_t *)(va + 1) = round * i;
        }
        *(volatile uint8_t *)va = 0xc3;
        __asm__ volatile("xorl %%eax, %%eax\n call *%1"
                         : "=&a"(sum)
                         : "r"(page)
                         : "memory", "cc");
        CHECK_EQ(sum, 28 * round);
    }
}

int main(void)
{
    code_page = page_alloc();
    map_page(CODE_VA, code_page, PTE_P | PTE_W);
    test_function();
    test_alias();
    test_self();
    test_crossing();
    test_remap();
    test_data_beside();
    test_generate();
    return 0;
}
