#include "guest.h"

/* R/W, U/S, WP, NX and the page-fault error code (SDM vol. 3, 4.6, 4.7). */

enum { P = 1, W = 2, U = 4, RSVD = 8, I = 16 };

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

#define USER_CODE (TEST_VA + 0x10000)
#define USER_DATA (TEST_VA + 0x20000)

CODE(user_read, "movb (%rdi), %al\n int $0x81");
CODE(user_write, "movb $1, (%rdi)\n int $0x81");
CODE(user_jump, "jmp *%rdi");
CODE(user_done, "int $0x81");

static struct fault user(const void *start, const void *end, uint64_t rdi)
{
    struct frame f = {.rip = USER_CODE,
                      .cs = SEL_USER_CODE64,
                      .rflags = 2,
                      .ss = SEL_USER_DATA};

    map_code(USER_CODE, start, end, PTE_P | PTE_U);
    f.gpr[RDI] = rdi;
    return enter(&f);
}

static void expect_pf(struct fault f, uint64_t error, uint64_t cr2)
{
    CHECK_EQ(f.f.vector, 14);
    CHECK_EQ(f.f.error, error);
    CHECK_EQ(f.cr2, cr2);
}

#define USER(name, rdi) user(name, name##_end, rdi)

static void test_supervisor(void)
{
    uint64_t va = TEST_VA, page = page_alloc();

    expect_pf(guarded(read_byte, va + 5), 0, va + 5);
    expect_pf(guarded(write_byte, va + 6), W, va + 6);
    expect_pf(guarded(call_there, va + 7), I, va + 7);
    map_page(va, page, PTE_P);
    CHECK_EQ(guarded(read_byte, va).f.vector, NO_FAULT);
    expect_pf(guarded(write_byte, va + 4095), P | W, va + 4095);
    WRITE_CR(0, READ_CR(0) & ~0x10000ull); /* WP off: ring 0 may write */
    CHECK_EQ(guarded(write_byte, va).f.vector, NO_FAULT);
    WRITE_CR(0, READ_CR(0) | 0x10000);
    expect_pf(guarded(write_byte, va), P | W, va);
    map_page(va, page, PTE_P | PTE_W | PTE_NX);
    expect_pf(guarded(call_there, va), P | I, va);
}

static void test_user(void)
{
    uint64_t va = USER_DATA, page = page_alloc();

    expect_pf(USER(user_read, va + 1), U, va + 1);
    expect_pf(USER(user_write, va + 1), U | W, va + 1);
    expect_pf(USER(user_jump, va + 1), U | I, va + 1);
    map_page(va, page, PTE_P | PTE_W); /* supervisor page */
    expect_pf(USER(user_read, va), P | U, va);
    expect_pf(USER(user_write, va), P | U | W, va);
    expect_pf(USER(user_jump, va), P | U | I, va);
    map_page(va, page, PTE_P | PTE_U);
    CHECK_EQ(USER(user_read, va).f.vector, VECTOR_DONE);
    expect_pf(USER(user_write, va), P | U | W, va);
    WRITE_CR(0, READ_CR(0) & ~0x10000ull); /* WP is nothing to users */
    expect_pf(USER(user_write, va), P | U | W, va);
    WRITE_CR(0, READ_CR(0) | 0x10000);
    map_page(va, page, PTE_P | PTE_U | PTE_W);
    CHECK_EQ(USER(user_write, va).f.vector, VECTOR_DONE);
    map_page(va, page, PTE_P | PTE_U | PTE_W | PTE_NX);
    expect_pf(USER(user_jump, va), P | U | I, va);
}

/* Rights are what all levels give. */
static void test_upper_levels(void)
{
    uint64_t va = TEST_VA + 0x40000000, page = page_alloc();

    map_code(va, user_done, user_done_end, PTE_P | PTE_U | PTE_W);
    (void)page;
    CHECK_EQ(USER(user_jump, va).f.vector, VECTOR_DONE);
    for (unsigned level = 2; level <= 3; level++) {
        uint64_t *e = pte(va, level), was = *e;

        *e = was & ~PTE_U;
        invlpg(va);
        expect_pf(USER(user_read, va), P | U, va);
        *e = was & ~PTE_W;
        invlpg(va);
        expect_pf(USER(user_write, va), P | U | W, va);
        expect_pf(guarded(write_byte, va), P | W, va);
        *e = was | PTE_NX;
        invlpg(va);
        expect_pf(USER(user_jump, va), P | U | I, va);
        *e = was & ~PTE_P;
        invlpg(va);
        expect_pf(USER(user_read, va), U, va);
        *e = was;
        invlpg(va);
        CHECK_EQ(USER(user_jump, va).f.vector, VECTOR_DONE);
    }
}

/* Without EFER.NXE bit 63 is reserved. */
static void test_reserved(void)
{
    uint64_t va = TEST_VA + 0x5000, page = page_alloc();

    map_page(va, page, PTE_P | PTE_W | 1ull << 51);
    expect_pf(guarded(read_byte, va), P | RSVD, va);
    expect_pf(guarded(write_byte, va), P | W | RSVD, va);
    map_page(va, page, PTE_P | PTE_W | PTE_NX);
    wrmsr(0xc0000080, rdmsr(0xc0000080) & ~0x800ull);
    expect_pf(guarded(read_byte, va), P | RSVD, va);
    wrmsr(0xc0000080, rdmsr(0xc0000080) | 0x800);
    CHECK_EQ(guarded(read_byte, va).f.vector, NO_FAULT);
}

int main(void)
{
    test_supervisor();
    test_user();
    test_upper_levels();
    test_reserved();
    return 0;
}
