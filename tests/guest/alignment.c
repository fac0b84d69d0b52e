#include "guest.h"

/*
 * Alignment checks (SDM vol. 3, 6.15, vector 17): at CPL 3 with CR0.AM and
 * RFLAGS.AC, and then only. What each operand has to be aligned to was taken
 * from a processor.
 */
#define USER_CODE TEST_VA
#define USER_DATA (TEST_VA + 0x1000)
#define CR0_AM    0x40000
#define FLAGS_AC  0x40000

#define END "\n int $0x81"
CODE(load2, "movw (%rbx), %ax" END);
CODE(load4, "movl (%rbx), %eax" END);
CODE(load8, "movq (%rbx), %rax" END);
CODE(store1, "movb %al, (%rbx)" END);
CODE(store8, "movq %rax, (%rbx)" END);
CODE(fields,
     "movq %rax, (%rbx)\n movq %rax, 8(%rbx)\n movl %eax, 18(%rbx)" END);
CODE(stack, "movq %rbx, %rsp\n pushq %rax\n popq %rax" END);
CODE(call, "movq %rbx, %rsp\n call 0f\n 0:" END);
CODE(locked, "lock addl $1, (%rbx)" END);
CODE(fld10, "fldt (%rbx)" END);
CODE(fenv, "fnstenv (%rbx)" END);
CODE(sse, "movups (%rbx), %xmm0" END);
CODE(sse_st, "movdqu %xmm0, (%rbx)" END);
CODE(sse8, "movsd (%rbx), %xmm0" END);
CODE(movs, "movq %rbx, %rsi\n leaq 64(%rbx), %rdi\n movl $2, %ecx\n"
           "rep movsl" END);
CODE(none, "movq %rbx, %rsi\n movq %rbx, %rdi\n xorl %ecx, %ecx\n"
           "rep movsl" END);
CODE(selector, "movb $0, (%rbx)\n movb $0, 1(%rbx)\n movw (%rbx), %fs" END);

struct access {
    const uint8_t *code, *end;
    unsigned off;     /* of the instruction that faults */
    unsigned ok, bad; /* where an operand is aligned, and where not */
};

#define ACCESS(name, off, ok, bad)                                             \
    {                                                                          \
        name, name##_end, off, ok, bad                                         \
    }
enum { ALWAYS = 4096 };

static const struct access accesses[] = {
    ACCESS(load2, 0, 2, 1),    ACCESS(load4, 0, 4, 2),
    ACCESS(load8, 0, 8, 4),    ACCESS(store1, 0, 1, ALWAYS),
    ACCESS(store8, 0, 8, 1),   ACCESS(fields, 7, 10, ALWAYS),
    ACCESS(stack, 3, 8, 4),    ACCESS(call, 3, 8, 2),
    ACCESS(locked, 0, 4, 3),   ACCESS(fld10, 0, 8, 4),
    ACCESS(fenv, 0, 4, 2),     ACCESS(sse, 0, 16, 8),
    ACCESS(sse_st, 0, 16, 1),  ACCESS(sse8, 0, 8, 4),
    ACCESS(movs, 12, 4, 1),    ACCESS(none, 8, 1, ALWAYS),
    ACCESS(selector, 7, 2, 1),
};

static struct fault run(const struct access *a, unsigned off, uint64_t flags)
{
    struct frame regs = {.gpr[RBX] = USER_DATA + 256 + off,
                         .rip = USER_CODE,
                         .cs = SEL_USER_CODE64,
                         .rflags = 2 | flags,
                         .rsp = USER_DATA + 0x800,
                         .ss = SEL_USER_DATA};

    map_code(USER_CODE, a->code, a->end, PTE_P | PTE_U);
    return enter(&regs);
}

static void test_access(const struct access *a)
{
    struct fault f;

    if (a->code != fields) {
        CHECK_EQ(run(a, a->ok, FLAGS_AC).f.vector, VECTOR_DONE);
    } else {
        f = run(a, 8, FLAGS_AC); /* the third store, in a group of three */
        CHECK_EQ(f.f.vector, 17);
        CHECK_EQ(f.f.rip, USER_CODE + a->off);
    }
    if (a->bad == ALWAYS)
        return;
    CHECK_EQ(run(a, a->bad, 0).f.vector, VECTOR_DONE);
    f = run(a, a->bad, FLAGS_AC);
    CHECK_EQ(f.f.vector, 17);
    CHECK_EQ(f.f.error, 0);
    CHECK_EQ(f.f.rip, USER_CODE + a->off);
    WRITE_CR(0, READ_CR(0) & ~(uint64_t)CR0_AM);
    CHECK_EQ(run(a, a->bad, FLAGS_AC).f.vector, VECTOR_DONE);
    WRITE_CR(0, READ_CR(0) | CR0_AM);
}

/* In ring 0 the flag means something else (SMAP). */
static void kernel_load(uint64_t va)
{
    __asm__ volatile("pushfq\n orq $0x40000, (%%rsp)\n popfq\n"
                     "movq 1(%0), %%rax\n"
                     "pushfq\n andq $~0x40000, (%%rsp)\n popfq" ::"r"(va)
                     : "rax", "memory", "cc");
}

int main(void)
{
    map_page(USER_DATA, page_alloc(), PTE_P | PTE_U | PTE_W);
    WRITE_CR(0, READ_CR(0) | CR0_AM);
    for (unsigned i = 0; i < sizeof(accesses) / sizeof(accesses[0]); i++)
        test_access(&accesses[i]);
    CHECK_EQ(guarded(kernel_load, page_alloc()).f.vector, NO_FAULT);
    return 0;
}
