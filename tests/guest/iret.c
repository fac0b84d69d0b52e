#include "guest.h"

/* IRETQ of every kind (SDM vol. 2, IRET). */

#define USER_CODE TEST_VA
#define USER_DATA (TEST_VA + 0x1000)
#define LOW_CODE  0xc0000000ull /* below 4 GiB, for compatibility mode */

CODE(done, "int $0x81");
CODE(done32, "movl %cs, %eax\n .byte 0xcd, 0x81");

static struct frame base(uint64_t cs, uint64_t rip)
{
    struct frame f = {.rip = rip,
                      .cs = cs,
                      .rflags = 2,
                      .rsp = USER_DATA + 0x800,
                      .ss = SEL_USER_DATA};

    return f;
}

static void expect_at(struct frame f, unsigned vector, unsigned error, int line)
{
    struct fault g = enter(&f);

    check_equal(g.f.vector, vector, __FILE__, line, "vector");
    check_equal(g.f.error, error, __FILE__, line, "error code");
}

#define expect(f, vector, error) expect_at(f, vector, error, __LINE__)

static void test_good(void)
{
    struct frame f = base(SEL_USER_CODE64, USER_CODE);
    struct fault g;

    f.rflags = 0x246cd7; /* AC, ID, NT off, DF, flags */
    f.rflags &= ~0x4000ull;
    g = enter(&f);
    CHECK_EQ(g.f.vector, VECTOR_DONE);
    CHECK_EQ(g.f.cs, SEL_USER_CODE64);
    CHECK_EQ(g.f.ss, SEL_USER_DATA);
    CHECK_EQ(g.f.rsp, f.rsp);
    CHECK_EQ(g.f.rflags, f.rflags);
    f = base(SEL_CODE64, (uint64_t)done); /* the same ring: SS:RSP too */
    f.rsp = page_alloc() + 0x804;
    f.ss = SEL_DATA;
    g = enter(&f);
    CHECK_EQ(g.f.vector, VECTOR_DONE);
    CHECK_EQ(g.f.rsp, f.rsp);
    f.ss = 0; /* null SS is fine in ring 0 of 64-bit mode */
    g = enter(&f);
    CHECK_EQ(g.f.vector, VECTOR_DONE);
    CHECK_EQ(g.f.ss, 0);
}

static void test_compat(void)
{
    struct frame f = base(SEL_USER_CODE32, LOW_CODE);
    struct fault g;

    f.rsp = LOW_CODE + 0x1800;
    g = enter(&f);
    CHECK_EQ(g.f.vector, VECTOR_DONE);
    CHECK_EQ(g.f.cs, SEL_USER_CODE32);
    CHECK_EQ(g.f.gpr[RAX], SEL_USER_CODE32);
    CHECK_EQ(g.f.rip, LOW_CODE + 4);
    CHECK_EQ(g.f.rsp, f.rsp);
    f.rip = LOW_CODE + 0x100000000; /* beyond the limit */
    expect(f, 13, 0);
}

static void test_bad(void)
{
    struct frame f;

    f = base(SEL_USER_CODE64, 0x0000900000000000);
    expect(f, 13, 0);
    f = base(0, USER_CODE);
    expect(f, 13, 0);
    f = base(3, USER_CODE);
    expect(f, 13, 0);
    f = base(0xfff8, USER_CODE);
    expect(f, 13, 0xfff8);
    f = base(SEL_DATA, USER_CODE);
    expect(f, 13, SEL_DATA);
    f = base(SEL_CODE64 | 3, USER_CODE); /* DPL is not RPL */
    expect(f, 13, SEL_CODE64);
    f = base(SEL_USER_CODE64 & ~3ull, USER_CODE);
    expect(f, 13, SEL_USER_CODE64 & ~3u);
    f = base(SEL_USER_CODE64, USER_CODE);
    f.ss = SEL_DATA;
    expect(f, 13, SEL_DATA);
    f.ss = 0;
    expect(f, 13, 0);
    f.ss = SEL_USER_CODE64;
    expect(f, 13, SEL_USER_CODE64 & ~3u);
    gdt[SEL_FREE / 8] = 0x00af7b000000ffff; /* code, not present */
    expect(base(SEL_FREE | 3, USER_CODE), 11, SEL_FREE);
    gdt[SEL_FREE / 8] = 0x00cf73000000ffff; /* data, not present */
    f = base(SEL_USER_CODE64, USER_CODE);
    f.ss = SEL_FREE | 3;
    expect(f, 12, SEL_FREE);
    gdt[SEL_FREE / 8] = 0x00effb000000ffff; /* L and D */
    expect(base(SEL_FREE | 3, USER_CODE), 13, SEL_FREE);
    gdt[SEL_FREE / 8] = 0;
}

/* NT set makes IRET in long mode #GP(0). */
static void iret_with_nt(uint64_t frame)
{
    __asm__ volatile("pushfq\n orq $0x4000, (%%rsp)\n popfq\n"
                     "movq %0, %%rsp\n iretq" ::"r"(frame));
}

static void test_nt(void)
{
    static uint64_t frame[5];
    struct fault f;

    frame[0] = USER_CODE;
    frame[1] = SEL_USER_CODE64;
    frame[2] = 2;
    frame[3] = USER_DATA + 0x800;
    frame[4] = SEL_USER_DATA;
    f = guarded(iret_with_nt, (uint64_t)frame);
    CHECK_EQ(f.f.vector, 13);
    CHECK_EQ(f.f.error, 0);
    CHECK_EQ(f.f.rflags & 0x4000, 0x4000);
}

/* A segment that ring 3 must not have becomes null, but its base stays. */
static void test_lost_segment(void)
{
    struct frame f = base(SEL_USER_CODE64, USER_CODE);
    uint64_t gs;

    __asm__ volatile("movl %0, %%gs" ::"r"(SEL_DATA));
    wrmsr(0xc0000101, 0x12345000);
    CHECK_EQ(enter(&f).f.vector, VECTOR_DONE);
    __asm__ volatile("movq %%gs, %0" : "=r"(gs));
    CHECK_EQ(gs, 0);
    CHECK_EQ(rdmsr(0xc0000101), 0x12345000);
}

int main(void)
{
    map_code(USER_CODE, done, done_end, PTE_P | PTE_U);
    map_page(USER_DATA, page_alloc(), PTE_P | PTE_U | PTE_W);
    *pte(LOW_CODE, 2) = 0; /* of the map one to one */
    *pte(LOW_CODE, 3) |= PTE_U;
    *pte(LOW_CODE, 4) |= PTE_U;
    map_code(LOW_CODE, done32, done32_end, PTE_P | PTE_U);
    map_page(LOW_CODE + 0x1000, page_alloc(), PTE_P | PTE_U | PTE_W);
    test_good();
    test_compat();
    test_bad();
    test_nt();
    test_lost_segment();
    return 0;
}
