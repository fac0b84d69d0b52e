#include "guest.h"

/* Vectors, error codes and the saved RIP of exceptions in ring 0. */

static void at(uint64_t code)
{
    ((void (*)(void))code)();
}

CODE(c_de, "xorl %ecx, %ecx\n 0: div %ecx");
CODE(c_de_idiv, "movl $-1, %ecx\n movl $0x80000000, %eax\n cltd\n idivl %ecx");
CODE(c_int3, "int3\n ret");
CODE(c_int3_long, ".byte 0xcd, 3\n ret");
CODE(c_ud2, "ud2");
CODE(c_ud_lock, ".byte 0xf0, 0x89, 0xc0"); /* LOCK MOV */
CODE(c_ud_push_es, ".byte 0x06");
CODE(c_gp_noncanon, "movq $0x8000000000000000, %rax\n movb (%rax), %al");
CODE(c_ss_noncanon, "movq $0x8000000000000000, %rbp\n movb (%rbp), %al");
CODE(c_gp_sel, "movl $0xfff8, %eax\n movl %eax, %ds");
CODE(c_gp_code_in_ss, "movl $0x10, %eax\n movl %eax, %ss");
CODE(c_gp_ltr, "xorl %eax, %eax\n ltr %ax");
CODE(c_gp_align,
     "leaq 1(%rsp), %rax\n andq $~15, %rax\n movaps 8(%rax), %xmm0");
CODE(c_gp_cr, "movq $0x100000000, %rax\n movq %rax, %cr0");
CODE(c_gp_cr4, "movq $0x8000000000, %rax\n movq %rax, %cr4");
CODE(c_ud_cr1, ".byte 0x0f, 0x20, 0xc8"); /* MOV RAX, CR1 */
CODE(c_gp_msr, "movl $0x12345678, %ecx\n rdmsr");
CODE(c_gp_wrmsr, "movl $0xc0000080, %ecx\n movl $-1, %eax\n"
                 "movl $-1, %edx\n wrmsr");
CODE(c_gp_int_gate, "int $0x82");
CODE(c_nm_fpu, "fld1\n ret");
CODE(c_nm_sse, "movaps %xmm1, %xmm2\n ret");
CODE(c_nm_wait, "fwait\n ret");
CODE(c_hlt, "hlt\n ret");

struct test {
    const char *name;
    const uint8_t *code, *end;
    unsigned vector, error, off;
};

#define T(name, vector, error, off)                                            \
    {                                                                          \
#        name, c_##name, c_##name##_end, vector, error, off                    \
    }

static const struct test tests[] = {
    T(de, 0, 0, 2),
    T(de_idiv, 0, 0, 11),
    T(int3, 3, 0, 1),
    T(int3_long, 3, 0, 2),
    T(ud2, 6, 0, 0),
    T(ud_lock, 6, 0, 0),
    T(ud_push_es, 6, 0, 0),
    T(gp_noncanon, 13, 0, 10),
    T(ss_noncanon, 12, 0, 10),
    T(gp_sel, 13, 0xfff8, 5),
    T(gp_code_in_ss, 13, 0x10, 5),
    T(gp_ltr, 13, 0, 2),
    T(gp_align, 13, 0, 9),
    T(gp_cr, 13, 0, 10),
    T(gp_cr4, 13, 0, 10),
    T(ud_cr1, 6, 0, 0),
    T(gp_msr, 13, 0, 5),
    T(gp_wrmsr, 13, 0, 15),
};

static void run(const struct test *t, uint64_t base)
{
    struct fault f = guarded(at, base);

    if (f.f.vector == t->vector && f.f.error == t->error &&
        f.f.rip == base + t->off)
        return;
    print(t->name);
    print(": vector ");
    print_hex(f.f.vector);
    print(" error ");
    print_hex(f.f.error);
    print(" at ");
    print_hex(f.f.rip - base);
    print("\n");
    CHECK(false);
}

/* CR0.TS, EM and MP (SDM vol. 3, 2.5). */
static void test_nm(void)
{
    uint64_t cr0 = READ_CR(0);

    WRITE_CR(0, cr0 | 8);
    CHECK_EQ(guarded(at, (uint64_t)c_nm_fpu).f.vector, 7);
    CHECK_EQ(guarded(at, (uint64_t)c_nm_sse).f.vector, 7);
    CHECK_EQ(guarded(at, (uint64_t)c_nm_wait).f.vector, 7);
    WRITE_CR(0, (cr0 | 8) & ~2ull); /* without MP, FWAIT runs */
    CHECK_EQ(guarded(at, (uint64_t)c_nm_wait).f.vector, NO_FAULT);
    __asm__ volatile("clts");
    CHECK_EQ(READ_CR(0) & 8, 0);
    WRITE_CR(0, cr0 | 4);
    CHECK_EQ(guarded(at, (uint64_t)c_nm_fpu).f.vector, 7);
    CHECK_EQ(guarded(at, (uint64_t)c_nm_sse).f.vector, 6);
    WRITE_CR(0, cr0);
    CHECK_EQ(guarded(at, (uint64_t)c_nm_fpu).f.vector, NO_FAULT);
    CHECK_EQ(guarded(at, (uint64_t)c_nm_sse).f.vector, NO_FAULT);
    WRITE_CR(4, READ_CR(4) & ~0x200ull); /* OSFXSR off */
    CHECK_EQ(guarded(at, (uint64_t)c_nm_sse).f.vector, 6);
    WRITE_CR(4, READ_CR(4) | 0x200);
}

/* A gate that is not present, one of the wrong type, one past the limit. */
static void test_gates(void)
{
    struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } idtr, small;
    uint64_t *idt, was;
    struct fault f;

    __asm__ volatile("sidt %0" : "=m"(idtr));
    idt = (uint64_t *)idtr.base;
    was = idt[2 * 0x82];
    idt[2 * 0x82] = was & ~0x800000000000ull;
    f = guarded(at, (uint64_t)c_gp_int_gate);
    CHECK_EQ(f.f.vector, 11);
    CHECK_EQ(f.f.error, 0x82 * 8 + 2);
    idt[2 * 0x82] = was & ~0xf0000000000ull; /* type 0 */
    f = guarded(at, (uint64_t)c_gp_int_gate);
    CHECK_EQ(f.f.vector, 13);
    CHECK_EQ(f.f.error, 0x82 * 8 + 2);
    idt[2 * 0x82] = was;
    small = idtr;
    small.limit = 0x82 * 16 + 14;
    __asm__ volatile("lidt %0" ::"m"(small));
    f = guarded(at, (uint64_t)c_gp_int_gate);
    CHECK_EQ(f.f.vector, 13);
    CHECK_EQ(f.f.error, 0x82 * 8 + 2);
    __asm__ volatile("lidt %0" ::"m"(idtr));
    CHECK_EQ(guarded(at, (uint64_t)c_gp_int_gate).f.vector, 0x82);
    /* A trap gate leaves IF alone, an interrupt gate clears it. */
    idt[2 * 0x82] = was | 0x10000000000;
    CHECK_EQ(guarded(at, (uint64_t)c_gp_int_gate).f.vector, 0x82);
    idt[2 * 0x82] = was;
}

/* x87 and SSE exceptions that are not masked. */
static void x87_zero(uint64_t arg)
{
    uint16_t cw = 0x37b;

    (void)arg;
    __asm__ volatile(
        "fninit\n fldcw %0\n fld1\n fldz\n fdivrp\n fwait" ::"m"(cw));
}

static void sse_zero(uint64_t arg)
{
    uint32_t mxcsr = 0x1d80;

    (void)arg;
    __asm__ volatile("ldmxcsr %0\n xorps %%xmm0, %%xmm0\n"
                     "movl $0x3f800000, %%eax\n movd %%eax, %%xmm1\n"
                     "divss %%xmm0, %%xmm1" ::"m"(mxcsr)
                     : "eax");
}

static void test_float(void)
{
    uint32_t mxcsr = 0x1f80;

    CHECK_EQ(guarded(x87_zero, 0).f.vector, 16);
    __asm__ volatile("fninit");
    CHECK_EQ(guarded(sse_zero, 0).f.vector, 19);
    WRITE_CR(4, READ_CR(4) & ~0x400ull);
    CHECK_EQ(guarded(sse_zero, 0).f.vector, 6);
    WRITE_CR(4, READ_CR(4) | 0x400);
    __asm__ volatile("ldmxcsr %0" ::"m"(mxcsr));
}

/* CR2 keeps the address of the last page fault only. */
static void read_there(uint64_t va)
{
    (void)*(volatile uint8_t *)va;
}

static void test_cr2(void)
{
    CHECK_EQ(guarded(read_there, TEST_VA + 0x123).cr2, TEST_VA + 0x123);
    CHECK_EQ(guarded(at, (uint64_t)c_ud2).cr2, TEST_VA + 0x123);
    CHECK_EQ(guarded(read_there, 0xffff900000000000).cr2, 0xffff900000000000);
    WRITE_CR(2, 0x1234567890);
    CHECK_EQ(READ_CR(2), 0x1234567890);
    CHECK_EQ(guarded(read_there, 0x1000000000000000).f.vector, 13);
    CHECK_EQ(READ_CR(2), 0x1234567890);
}

int main(void)
{
    for (unsigned i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
        run(&tests[i], (uint64_t)tests[i].code);
    test_nm();
    test_gates();
    test_float();
    test_cr2();
    (void)c_hlt;
    return 0;
}
