#include "guest.h"

/*
 * User code that lies at different linear addresses: RIP-relative operands,
 * calls within a page, to the next page and through registers, return
 * addresses and faults are those of where it runs (SDM vol. 1, 3.5 and 6.4).
 */

#define CALLER_VA 0x0000008100000000ull
#define STACK_VA  0x0000008200000000ull
#define ALIAS_VA  0x0000008300000000ull

enum { STACK_PAGES = 160, DATA_AT = 0x80, DEEP = 30000 };

/* Two pages that lie side by side: rax, rcx, rdx, rsi tell of addresses. */
CODE(first, "leaq first(%rip), %rax\n"
            "call 2f\n"
            "call first + 4096\n"
            ".globl first_back\n first_back:\n"
            "movq first + 4096 + 0x80(%rip), %rdx\n"
            "ret\n"
            "2: movq (%rsp), %rdi\n"
            "ret\n"
            ".balign 64\n"
            ".globl first_deep\n first_deep:\n" /* edi calls deep */
            "testl %edi, %edi\n"
            "jz 3f\n"
            "decl %edi\n"
            "call first_deep\n"
            "incl %eax\n"
            "3: ret\n"
            ".balign 64\n"
            ".globl first_fault\n first_fault:\n"
            "nop\n"
            "movl (%rbx), %eax\n"
            "ret");
CODE(second, "movq (%rsp), %rcx\n"
             "leaq second(%rip), %rsi\n"
             "ret");
/* r8 = what to call; r9, r10: where this runs, before and after. */
CODE(caller, "leaq caller(%rip), %r9\n"
             "call *%r8\n"
             "leaq caller(%rip), %r10\n"
             "int $0x81");
extern const uint8_t first_back[], first_deep[], first_fault[];

static uint64_t page[3]; /* first, second, caller */

static uint64_t copy_page(const uint8_t *start, const uint8_t *end)
{
    uint64_t p = page_alloc();

    for (size_t i = 0; start + i < end; i++)
        ((volatile uint8_t *)p)[i] = start[i];
    return p;
}

static void map_at(uint64_t lib, uint64_t call)
{
    map_page(lib, page[0], PTE_P | PTE_U);
    map_page(lib + 4096, page[1], PTE_P | PTE_U);
    map_page(call, page[2], PTE_P | PTE_U);
}

static struct fault run(uint64_t call, uint64_t target, uint64_t edi)
{
    struct frame f = {.rip = call,
                      .cs = SEL_USER_CODE64,
                      .rflags = 0x202,
                      .rsp = STACK_VA + STACK_PAGES * 4096ull - 64,
                      .ss = SEL_USER_DATA};

    f.gpr[R8] = target;
    f.gpr[RDI] = edi;
    f.gpr[RBX] = ALIAS_VA - 4096; /* not mapped */
    return enter(&f);
}

static void check_run(uint64_t lib, uint64_t call)
{
    struct fault g = run(call, lib, 0);

    CHECK_EQ(g.f.vector, VECTOR_DONE);
    CHECK_EQ(g.f.gpr[RAX], lib);
    CHECK_EQ(g.f.gpr[RDI], lib + 12);
    CHECK_EQ(g.f.gpr[RCX], lib + (uint64_t)(first_back - first));
    CHECK_EQ(g.f.gpr[RSI], lib + 4096);
    CHECK_EQ(g.f.gpr[RDX], 0x1122334455667788ull);
    CHECK_EQ(g.f.gpr[R9], call);
    CHECK_EQ(g.f.gpr[R10], call);
}

static void check_fault(uint64_t lib, uint64_t call)
{
    uint64_t at = lib + (uint64_t)(first_fault - first);
    struct fault g = run(call, at, 0);

    CHECK_EQ(g.f.vector, 14);
    CHECK_EQ(g.f.rip, at + 1);
}

/* More calls than a host stack for them would hold. */
static void check_deep(uint64_t lib, uint64_t call)
{
    struct fault g = run(call, lib + (uint64_t)(first_deep - first), DEEP);

    CHECK_EQ(g.f.vector, VECTOR_DONE);
    CHECK_EQ(g.f.gpr[RAX] & 0xffffffff, DEEP);
    CHECK_EQ(g.f.gpr[R10], call);
}

/* One process after the other has it elsewhere. */
static void test_processes(void)
{
    for (uint64_t i = 0; i < 40; i++) {
        uint64_t lib = TEST_VA + (i % 7) * 0x12345000ull;
        uint64_t call = CALLER_VA + (i % 5) * 0x3000;

        map_at(lib, call);
        for (unsigned k = 0; k < 3; k++)
            check_run(lib, call);
        check_fault(lib, call);
        if (i % 10 == 3)
            check_deep(lib, call);
        map_page(lib, 0, 0);
        map_page(lib + 4096, 0, 0);
        map_page(call, 0, 0);
        WRITE_CR(3, READ_CR(3));
    }
}

/* One process has it several times. */
static void test_aliases(void)
{
    for (uint64_t i = 0; i < 4; i++)
        map_at(TEST_VA + i * 0x200000, CALLER_VA + i * 0x1000);
    for (uint64_t i = 0; i < 60; i++)
        check_run(TEST_VA + i * 3 % 4 * 0x200000, CALLER_VA + i % 4 * 0x1000);
    check_deep(TEST_VA + 0x200000, CALLER_VA + 0x3000);
}

/* The next page is another one at another place. */
static void test_neighbours(void)
{
    uint64_t other = copy_page(second, second_end);

    ((volatile uint64_t *)other)[DATA_AT / 8] = 42;
    map_page(TEST_VA + 0x200000 + 4096, other, PTE_P | PTE_U);
    for (unsigned i = 0; i < 20; i++) {
        struct fault g = run(CALLER_VA, TEST_VA + 0x200000, 0);

        CHECK_EQ(g.f.gpr[RDX], 42);
        CHECK_EQ(g.f.gpr[RSI], TEST_VA + 0x200000 + 4096);
        check_run(TEST_VA, CALLER_VA + 0x1000);
    }
}

/* What is written through one address runs at all. */
static void test_changes(void)
{
    volatile uint8_t *p = (volatile uint8_t *)(ALIAS_VA);

    map_page(ALIAS_VA, page[2], PTE_P | PTE_W | PTE_NX);
    for (unsigned i = 0; i < 20; i++) {
        uint64_t call = CALLER_VA + i % 4 * 0x1000;
        struct fault g;

        p[2] = i & 1 ? 0x1d : 0x0d; /* leaq to rbx instead of rcx ... */
        p[0] = i & 1 ? 0x48 : 0x4c; /* ... or r9 */
        g = run(call, TEST_VA, 0);
        CHECK_EQ(g.f.gpr[i & 1 ? RBX : R9], call);
        CHECK_EQ(g.f.gpr[R10], call);
    }
}

int main(void)
{
    page[0] = copy_page(first, first_end);
    page[1] = copy_page(second, second_end);
    page[2] = copy_page(caller, caller_end);
    ((volatile uint64_t *)page[1])[DATA_AT / 8] = 0x1122334455667788ull;
    for (uint64_t i = 0; i < STACK_PAGES; i++)
        map_page(STACK_VA + i * 4096, page_alloc(), PTE_P | PTE_W | PTE_U);
    test_processes();
    test_aliases();
    test_neighbours();
    test_changes();
    return 0;
}
