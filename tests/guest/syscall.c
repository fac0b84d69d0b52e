#include "guest.h"

/* SYSCALL, SYSRET, SYSENTER, SYSEXIT: registers, flags, selectors (SDM vol. 2
 * and APM vol. 3). */

#define MSR_STAR   0xc0000081
#define MSR_LSTAR  0xc0000082
#define MSR_CSTAR  0xc0000083
#define MSR_SFMASK 0xc0000084
#define MSR_EFER   0xc0000080
#define USER_CODE  0xc0000000ull /* below 4 GiB, for 32-bit code too */
#define USER_DATA  0xc0001000ull

CODE(user64, "movq $0x1111, %rcx\n movq $0x2222, %r11\n syscall\n int $0x81");
CODE(user32, "syscall\n .byte 0xcd, 0x81");
CODE(user_enter, "sysenter\n int $0x81");

/* The entry points: what they see goes on in registers and ends the guard. */
CODE(entry, "movq %cs, %rax\n movq %ss, %rdx\n pushfq\n popq %rsi\n"
            "leaq 0x40(%rcx), %rdi\n int $0x81");
CODE(back64, "movq %cs, %r8\n movq %ss, %r9\n pushfq\n popq %r10\n"
             "int $0x81");

static uint64_t kernel_stack;

static struct frame user(const uint8_t *start, const uint8_t *end, bool bits64)
{
    struct frame f = {.rip = USER_CODE,
                      .cs = bits64 ? SEL_USER_CODE64 : SEL_USER_CODE32,
                      .rflags = 0x246,
                      .rsp = USER_DATA + 0x800,
                      .ss = SEL_USER_DATA};

    map_code(USER_CODE, start, end, PTE_P | PTE_U);
    return f;
}

static void test_syscall(void)
{
    struct frame f = user(user64, user64_end, true);
    struct fault g;

    wrmsr(MSR_STAR, (uint64_t)SEL_CODE64 << 32 | 0x1bull << 48);
    wrmsr(MSR_LSTAR, (uint64_t)entry);
    wrmsr(MSR_SFMASK, 0x4); /* clears PF */
    /* The entry runs on the user's stack, as SYSCALL leaves it. */
    g = enter(&f);
    CHECK_EQ(g.f.vector, VECTOR_DONE);
    CHECK_EQ(g.f.gpr[RAX], SEL_CODE64);
    CHECK_EQ(g.f.gpr[RDX], SEL_DATA);
    CHECK_EQ(g.f.gpr[RCX], USER_CODE + 16);
    CHECK_EQ(g.f.gpr[R11], 0x246);
    CHECK_EQ(g.f.gpr[RSI], 0x242);
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~1ull);
    g = enter(&f);
    CHECK_EQ(g.f.vector, 6);
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | 1);
}

static void sysret64(uint64_t rcx)
{
    __asm__ volatile("movq %0, %%rcx\n movq $0x3202, %%r11\n"
                     "movq %1, %%rsp\n sysretq" ::"r"(rcx),
                     "i"(USER_DATA + 0x800)
                     : "memory");
}

static void sysret32(uint64_t rcx)
{
    __asm__ volatile("movq %0, %%rcx\n movq $0x202, %%r11\n"
                     "movq %1, %%rsp\n sysretl" ::"r"(rcx),
                     "i"(USER_DATA + 0x800)
                     : "memory");
}

static void test_sysret(void)
{
    struct fault g;

    map_code(USER_CODE, back64, back64_end, PTE_P | PTE_U);
    g = guarded(sysret64, USER_CODE);
    CHECK_EQ(g.f.vector, VECTOR_DONE);
    CHECK_EQ(g.f.gpr[R8], SEL_USER_CODE64 - 8); /* STAR 0x1b + 16, RPL 3 */
    CHECK_EQ(g.f.gpr[R9], 0x23);
    CHECK_EQ(g.f.gpr[R10] & 0x3202, 0x3202);
    CHECK_EQ(g.f.cs, 0x2b);
    /* To 32-bit code: CS is STAR's selector itself. */
    wrmsr(MSR_STAR, (uint64_t)SEL_CODE64 << 32 | 0x23ull << 48);
    map_code(USER_CODE, user32, user32_end, PTE_P | PTE_U);
    wrmsr(MSR_CSTAR, (uint64_t)entry);
    g = guarded(sysret32, USER_CODE + 2);
    CHECK_EQ(g.f.vector, VECTOR_DONE);
    CHECK_EQ(g.f.cs, SEL_USER_CODE32);
    CHECK_EQ(g.f.ss, SEL_USER_DATA);
    CHECK_EQ(g.f.rip, USER_CODE + 4);
}

static volatile uint64_t steps, first_step;

static void on_step(struct frame *f)
{
    if (steps++ == 0)
        first_step = f->rip;
    f->rflags &= ~0x100ull;
}

static void sysret_tf(uint64_t rcx)
{
    __asm__ volatile("movq %0, %%rcx\n movq $0x302, %%r11\n"
                     "movq %1, %%rsp\n sysretq" ::"r"(rcx),
                     "i"(USER_DATA + 0x800)
                     : "memory");
}

/* A TF that SYSRET loads traps before the program's first instruction. */
static void test_sysret_step(void)
{
    wrmsr(MSR_STAR,
          (uint64_t)SEL_CODE64 << 32 | (uint64_t)SEL_USER_CODE32 << 48);
    map_code(USER_CODE, back64, back64_end, PTE_P | PTE_U);
    set_handler(1, on_step);
    steps = 0;
    CHECK_EQ(guarded(sysret_tf, USER_CODE).f.vector, VECTOR_DONE);
    CHECK_EQ(steps, 1);
    CHECK_EQ(first_step, USER_CODE);
    set_handler(1, NULL);
}

static void sysenter_setup(void)
{
    wrmsr(0x174, SEL_CODE64);
    wrmsr(0x175, kernel_stack);
    wrmsr(0x176, (uint64_t)entry);
}

/* AMD has SYSENTER only in legacy mode (APM vol. 3). */
static bool is_amd(void)
{
    return cpuid(0, 0).ecx == 0x444d4163;
}

static void test_sysenter(void)
{
    struct frame f = user(user_enter, user_enter_end, true);
    struct fault g;

    sysenter_setup();
    g = enter(&f);
    if (is_amd()) {
        CHECK(g.f.vector == 6 || g.f.vector == VECTOR_DONE);
        return;
    }
    CHECK_EQ(g.f.vector, VECTOR_DONE);
    CHECK_EQ(g.f.gpr[RAX], SEL_CODE64);
    CHECK_EQ(g.f.gpr[RDX], SEL_DATA);
    CHECK_EQ(g.f.rsp, kernel_stack);
    CHECK_EQ(g.f.gpr[RSI] & 0x200, 0); /* IF is cleared */
    wrmsr(0x174, 0);
    g = enter(&f);
    CHECK_EQ(g.f.vector, 13);
}

/* SWAPGS and the three base registers. */
static void test_gs(void)
{
    uint64_t gs;

    wrmsr(0xc0000101, 0x1234000);
    wrmsr(0xc0000102, 0xffff800000000000);
    __asm__ volatile("swapgs");
    CHECK_EQ(rdmsr(0xc0000101), 0xffff800000000000);
    CHECK_EQ(rdmsr(0xc0000102), 0x1234000);
    __asm__ volatile("swapgs");
    wrmsr(0xc0000100, TEST_VA);
    map_page(TEST_VA, page_alloc(), PTE_P | PTE_W);
    mem_write64(TEST_VA + 8, 0x5555);
    __asm__ volatile("movq %%fs:8, %0" : "=r"(gs));
    CHECK_EQ(gs, 0x5555);
    if (has_fsgsbase()) {
        WRITE_CR(4, READ_CR(4) | 0x10000);
        __asm__ volatile("rdfsbase %0" : "=r"(gs));
        CHECK_EQ(gs, TEST_VA);
        __asm__ volatile("wrgsbase %0" ::"r"(TEST_VA));
        CHECK_EQ(rdmsr(0xc0000101), TEST_VA);
        __asm__ volatile("movq %%gs:8, %0" : "=r"(gs));
        CHECK_EQ(gs, 0x5555);
        WRITE_CR(4, READ_CR(4) & ~0x10000ull);
    }
    __asm__ volatile("movl %0, %%fs" ::"r"(SEL_DATA)); /* loads base 0 */
    CHECK_EQ(rdmsr(0xc0000100), 0);
}

static void bad_base(uint64_t msr)
{
    wrmsr((uint32_t)msr, 0x8000000000000000);
}

int main(void)
{
    static const uint32_t canonical[] = {
        MSR_LSTAR, MSR_CSTAR, 0xc0000100, 0xc0000101, 0xc0000102, 0x175, 0x176};

    *pte(USER_CODE, 2) = 0;
    *pte(USER_CODE, 3) |= PTE_U;
    *pte(USER_CODE, 4) |= PTE_U;
    map_page(USER_DATA, page_alloc(), PTE_P | PTE_U | PTE_W);
    kernel_stack = page_alloc() + 4096;
    test_syscall();
    test_sysret();
    test_sysret_step();
    test_sysenter();
    test_gs();
    for (unsigned i = 0; i < 7; i++)
        CHECK_EQ(guarded(bad_base, canonical[i]).f.vector, 13);
    return 0;
}
