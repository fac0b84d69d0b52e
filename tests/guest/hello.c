#include "guest.h"

/* The library itself: faults are caught, user code runs and comes back. */

CODE(user_code, "movq $42, %rax\n int $0x81");

static void divide(uint64_t v)
{
    __asm__ volatile("xorl %%edx, %%edx\n divl %0" ::"r"((uint32_t)v), "a"(1)
                     : "edx");
}

static void nothing(uint64_t v)
{
    (void)v;
}

int main(void)
{
    struct frame user = {.rip = TEST_VA,
                         .cs = SEL_USER_CODE64,
                         .rflags = 2,
                         .rsp = TEST_VA + 0x2000,
                         .ss = SEL_USER_DATA};
    struct fault f = guarded(divide, 0);

    CHECK_EQ(f.f.vector, 0);
    CHECK_EQ(guarded(nothing, 0).f.vector, NO_FAULT);
    map_code(TEST_VA, user_code, user_code_end, PTE_P | PTE_U);
    f = enter(&user);
    CHECK_EQ(f.f.vector, VECTOR_DONE);
    CHECK_EQ(f.f.gpr[RAX], 42);
    CHECK_EQ(f.f.cs, SEL_USER_CODE64);
    return 0;
}
