#include "guest.h"

/*
 * Near jumps and calls to addresses that are not canonical: #GP(0) at the
 * instruction itself, with RSP as before it (SDM vol. 2, JMP, CALL, RET).
 */
#define USER_CODE TEST_VA
#define USER_DATA (TEST_VA + 0x1000)

/* In each RBX is RSP in front of the last instruction, at the label 9. */
CODE(jmp_reg, "movq %rsp, %rbx\n 9: jmp *%rdi");
CODE(jmp_mem, "pushq %rdi\n movq %rsp, %rbx\n 9: jmp *(%rsp)");
CODE(call_reg, "movq %rsp, %rbx\n 9: call *%rdi");
CODE(call_mem, "pushq %rdi\n movq %rsp, %rbx\n 9: call *(%rsp)");
CODE(ret_near, "pushq %rdi\n movq %rsp, %rbx\n 9: ret");
CODE(ret_imm, "pushq %rdi\n movq %rsp, %rbx\n 9: ret $16");

struct jump {
    const uint8_t *code, *end;
    unsigned off; /* of the jump */
    bool is_ret;
};

#define JUMP(name, off, is_ret)                                                \
    {                                                                          \
        name, name##_end, off, is_ret                                          \
    }

static const struct jump jumps[] = {
    JUMP(jmp_reg, 3, false),  JUMP(jmp_mem, 4, false), JUMP(call_reg, 3, false),
    JUMP(call_mem, 4, false), JUMP(ret_near, 4, true), JUMP(ret_imm, 4, true),
};

static const uint64_t targets[] = {0x0000800000000000, 0xffff7fffffffffff,
                                   0x9090909090909090,
                                   0x4000000000000000 | (uint64_t)SEL_DATA};

static uint64_t target;

static void run(uint64_t code)
{
    __asm__ volatile("call *%0" ::"r"(code), "D"(target) : "rbx", "memory");
}

static void run_stepping(uint64_t code)
{
    __asm__ volatile(
        "pushfq\n orq $0x100, (%%rsp)\n popfq\n call *%0" ::"r"(code),
        "D"(target)
        : "rbx", "memory");
}

static void is_at_jump(const struct fault *f, uint64_t base,
                       const struct jump *j)
{
    CHECK_EQ(f->f.vector, 13);
    CHECK_EQ(f->f.error, 0);
    CHECK_EQ(f->f.rip, base + j->off);
    CHECK_EQ(f->f.rsp, f->f.gpr[RBX]);
}

/* Several times, so that links and caches are there. Returns are known to
 * fault at the target (docs/jit.md), but where they are executed one by one. */
static void test_kernel(void)
{
    for (unsigned k = 0; k < 3 * sizeof(jumps) / sizeof(jumps[0]); k++) {
        const struct jump *j = &jumps[k / 3];

        for (unsigned t = 0; t < sizeof(targets) / sizeof(targets[0]); t++) {
            uint64_t base = (uint64_t)j->code;
            struct fault f;

            target = targets[t];
            f = guarded(run, base);
            if (!j->is_ret)
                is_at_jump(&f, base, j);
            else
                CHECK_EQ(f.f.vector, 13);
        }
    }
}

static volatile uint64_t steps;

static void on_debug(struct frame *f)
{
    (void)f;
    steps++;
}

/* A step ends behind an instruction: one that faults has none. */
static void test_stepping(void)
{
    set_handler(1, on_debug);
    for (unsigned k = 0; k < sizeof(jumps) / sizeof(jumps[0]); k++) {
        uint64_t base = (uint64_t)jumps[k].code;
        struct fault f;

        target = targets[0];
        steps = 0;
        f = guarded(run_stepping, base);
        is_at_jump(&f, base, &jumps[k]);
        CHECK_EQ(steps, jumps[k].off == 3 ? 2 : 3);
    }
    set_handler(1, NULL);
}

static void test_user(void)
{
    map_page(USER_DATA, page_alloc(), PTE_P | PTE_U | PTE_W);
    for (unsigned k = 0; k < 4; k++) {
        struct frame regs = {.gpr[7] = targets[k],
                             .rip = USER_CODE,
                             .cs = SEL_USER_CODE64,
                             .rflags = 2,
                             .rsp = USER_DATA + 0x800,
                             .ss = SEL_USER_DATA};

        map_code(USER_CODE, jumps[k].code, jumps[k].end, PTE_P | PTE_U);
        for (unsigned n = 0; n < 3; n++) {
            struct fault f = enter(&regs);

            is_at_jump(&f, USER_CODE, &jumps[k]);
        }
    }
}

int main(void)
{
    test_kernel();
    test_stepping();
    test_user();
    return 0;
}
