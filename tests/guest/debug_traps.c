#include "guest.h"

/* Single-stepping, breakpoints, ICEBP (SDM vol. 3, 17.2, 17.3). */

enum { BS = 0x4000, BD = 0x2000 };
#define DR6_FIXED 0xffff0ff0ull
#define USER_CODE TEST_VA
#define USER_DATA (TEST_VA + 0x1000)

static volatile uint64_t hits, rips[32], dr6s[32];

static void on_debug(struct frame *f)
{
    if (hits < 32) {
        rips[hits] = f->rip;
        dr6s[hits] = READ_DR(6);
    }
    hits++;
    WRITE_DR(6, DR6_FIXED);
    f->rflags |= 0x10000; /* RF: go on past an instruction breakpoint */
}

static void run_with_tf(uint64_t code)
{
    __asm__ volatile("pushfq\n orq $0x100, (%%rsp)\n popfq\n"
                     "call *%0\n"
                     "pushfq\n andq $~0x100, (%%rsp)\n popfq" ::"r"(code)
                     : "rax", "rcx", "rdx", "rsi", "rdi", "memory", "cc");
}

static void call_there(uint64_t code)
{
    __asm__ volatile("call *%0" ::"r"(code)
                     : "rax", "rcx", "rdx", "rsi", "rdi", "memory", "cc");
}

CODE(plain, "nop\n incl %eax\n jmp 0f\n nop\n 0: ret");
CODE(rep_stos, "leaq -64(%rsp), %rdi\n movl $3, %ecx\n rep stosb\n ret");
CODE(mov_ss, "movl %ss, %eax\n movl %eax, %ss\n nop\n ret");
CODE(with_int3, "int3\n ret");
CODE(icebp, ".byte 0xf1\n ret");
CODE(with_popf, "pushfq\n popfq\n nop\n ret");

/* Of each instruction that was executed, the address of the next. */
static void test_step(void)
{
    static const unsigned plain_rips[] = {1, 3, 6};
    uint64_t base = (uint64_t)plain;

    hits = 0;
    CHECK_EQ(guarded(run_with_tf, base).f.vector, NO_FAULT);
    /* the call itself, three instructions, RET, PUSHFQ, AND, POPFQ */
    CHECK_EQ(hits, 8);
    CHECK_EQ(rips[0], base);
    for (unsigned i = 0; i < 3; i++)
        CHECK_EQ(rips[1 + i], base + plain_rips[i]);
    for (unsigned i = 0; i < 8; i++)
        CHECK_EQ(dr6s[i], DR6_FIXED | BS);
}

/* Each iteration of a repeated string instruction is a step. */
static void test_rep(void)
{
    uint64_t base = (uint64_t)rep_stos;

    hits = 0;
    CHECK_EQ(guarded(run_with_tf, base).f.vector, NO_FAULT);
    CHECK_EQ(hits, 10);
    CHECK_EQ(rips[3], base + 10);
    CHECK_EQ(rips[4], base + 10);
    CHECK_EQ(rips[5], base + 12);
}

/* No trap between MOV SS and the next instruction. */
static void test_shadow(void)
{
    uint64_t base = (uint64_t)mov_ss;

    hits = 0;
    CHECK_EQ(guarded(run_with_tf, base).f.vector, NO_FAULT);
    CHECK_EQ(rips[1], base + 2);
    CHECK_EQ(rips[2], base + 5);
}

static volatile uint64_t int3_hits;

static void on_int3(struct frame *f)
{
    int3_hits++;
    CHECK_EQ(f->rflags & 0x100, 0x100);
}

/* INT3 under TF: its handler runs with TF off, the trap of it is lost. */
static void test_int3(void)
{
    hits = 0;
    int3_hits = 0;
    set_handler(3, on_int3);
    CHECK_EQ(guarded(run_with_tf, (uint64_t)with_int3).f.vector, NO_FAULT);
    CHECK_EQ(int3_hits, 1);
    CHECK_EQ(rips[0], (uint64_t)with_int3);
    set_handler(3, NULL);
}

static void test_icebp(void)
{
    hits = 0;
    CHECK_EQ(guarded(call_there, (uint64_t)icebp).f.vector, NO_FAULT);
    CHECK_EQ(hits, 1);
    CHECK_EQ(rips[0], (uint64_t)icebp + 1);
}

static void set_break(unsigned type, unsigned len, uint64_t va)
{
    WRITE_DR(7, 0);
    WRITE_DR(1, va);
    WRITE_DR(6, DR6_FIXED);
    WRITE_DR(7, 0x400 | 8 | type << 20 | len << 22);
    hits = 0;
}

static void test_execute(void)
{
    uint64_t base = (uint64_t)plain;

    CHECK_EQ(guarded(call_there, base).f.vector, NO_FAULT);
    for (unsigned i = 0; i < 3; i++) { /* also in translated code */
        set_break(0, 0, base + 1);
        CHECK_EQ(guarded(call_there, base).f.vector, NO_FAULT);
        CHECK_EQ(hits, 1);
        CHECK_EQ(rips[0], base + 1); /* a fault: before the instruction */
        CHECK_EQ(dr6s[0] & 0xf, 2);
    }
    WRITE_DR(7, 0x400);
    hits = 0;
    CHECK_EQ(guarded(call_there, base).f.vector, NO_FAULT);
    CHECK_EQ(hits, 0);
}

CODE(store, "movq %rax, (%rbx)\n nop\n ret");
CODE(fetch, "movq (%rbx), %rax\n nop\n ret");

static void access(uint64_t code, uint64_t va)
{
    __asm__ volatile("call *%0" ::"r"(code), "b"(va) : "rax", "memory");
}

static void test_data(void)
{
    uint64_t page = page_alloc();

    set_break(1, 2, page + 8); /* writes, 8 bytes */
    access((uint64_t)store, page + 8);
    CHECK_EQ(hits, 1);
    CHECK_EQ(rips[0], (uint64_t)store + 3); /* a trap: behind it */
    CHECK_EQ(dr6s[0] & 0xf, 2);
    access((uint64_t)store, page + 1); /* overlaps by one byte */
    CHECK_EQ(hits, 2);
    access((uint64_t)store, page);
    CHECK_EQ(hits, 2);
    access((uint64_t)store, page + 16);
    CHECK_EQ(hits, 2);
    access((uint64_t)fetch, page + 8);
    CHECK_EQ(hits, 2);
    set_break(3, 0, page + 8); /* reads and writes, one byte */
    access((uint64_t)fetch, page + 8);
    CHECK_EQ(hits, 1);
    access((uint64_t)store, page + 5);
    CHECK_EQ(hits, 2);
    access((uint64_t)fetch, page + 9);
    CHECK_EQ(hits, 2);
    WRITE_DR(7, 0x400);
    access((uint64_t)fetch, page + 8);
    CHECK_EQ(hits, 2);
}

/* What MOV SS meets is reported behind the next instruction, however that ends
 * (SDM vol. 3, 6.8.3). */
CODE(ss_nop, "movw (%rbx), %ss\n nop\n ret");
CODE(ss_int3, "movw (%rbx), %ss\n int3\n ret");
CODE(ss_icebp, "movw (%rbx), %ss\n .byte 0xf1\n ret");
CODE(ss_load, "movw (%rbx), %ss\n movq (%rbx), %rax\n ret");
CODE(ss_fault, "movw (%rbx), %ss\n ud2");

static volatile uint64_t hits_at_trap;

static void count_hits(struct frame *f)
{
    hits_at_trap = hits;
    if (f->vector == 6)
        guard_end(f);
}

static void access_ss(uint64_t code)
{
    static volatile uint64_t ss[2] = {SEL_DATA};

    set_break(3, 1, (uint64_t)ss);
    access(code, (uint64_t)ss);
}

extern const uint8_t trap_entries[]; /* 16 bytes each */

static void test_mov_ss_data(void)
{
    uint64_t base = (uint64_t)ss_nop;

    CHECK_EQ(guarded(access_ss, base).f.vector, NO_FAULT);
    CHECK_EQ(hits, 1);
    CHECK_EQ(rips[0], base + 3);
    CHECK_EQ(dr6s[0] & 0xf, 2);

    base = (uint64_t)ss_load; /* one trap for both */
    CHECK_EQ(guarded(access_ss, base).f.vector, NO_FAULT);
    CHECK_EQ(hits, 1);
    CHECK_EQ(rips[0], base + 5);

    set_handler(3, count_hits);
    CHECK_EQ(guarded(access_ss, (uint64_t)ss_int3).f.vector, NO_FAULT);
    CHECK_EQ(hits, 1);
    CHECK_EQ(hits_at_trap, 1); /* before the handler's first instruction */
    CHECK_EQ(rips[0], (uint64_t)trap_entries + 16 * 3);
    set_handler(3, NULL);

    CHECK_EQ(guarded(access_ss, (uint64_t)ss_icebp).f.vector, NO_FAULT);
    CHECK_EQ(hits, 1); /* both in one */
    CHECK_EQ(rips[0], (uint64_t)ss_icebp + 3);
    CHECK_EQ(dr6s[0] & 0xf, 2);

    set_handler(6, count_hits);
    CHECK_EQ(guarded(access_ss, (uint64_t)ss_fault).f.vector, 6);
    CHECK_EQ(hits, 1);
    set_handler(6, NULL);
    WRITE_DR(7, 0x400);
}

/* Gathers and masked moves meet what their masks let through. */
CODE(gather,
     "vpxor %ymm0, %ymm0, %ymm0\n vpcmpeqd %ymm1, %ymm1, %ymm1\n"
     "vpslldq $8, %xmm1, %xmm1\n" /* elements 2 and 3 */
     "vpxor %ymm2, %ymm2, %ymm2\n movl $0x10, %eax\n vmovd %eax, %xmm2\n"
     "vpslldq $12, %xmm2, %xmm2\n" /* offsets 0, 0, 0, 16 */
     "vpgatherdd %xmm1, (%rbx, %xmm2), %xmm0\n ret");
CODE(masked, "vpcmpeqd %xmm1, %xmm1, %xmm1\n vpslldq $8, %xmm1, %xmm1\n"
             "vpmaskmovd %xmm1, %xmm1, (%rbx)\n ret");

static void test_elements(void)
{
    uint64_t page;

    if (!has_avx() || !(cpuid(7, 0).ebx >> 5 & 1))
        return;
    page = page_alloc();
    set_break(3, 3, page + 16);
    access((uint64_t)gather, page);
    CHECK_EQ(hits, 1);
    CHECK_EQ(rips[0], (uint64_t)gather_end - 1);
    set_break(3, 3, page + 4); /* of no element */
    access((uint64_t)gather, page);
    CHECK_EQ(hits, 0);
    set_break(1, 3, page + 8);
    access((uint64_t)masked, page);
    CHECK_EQ(hits, 1);
    CHECK_EQ(rips[0], (uint64_t)masked_end - 1);
    set_break(1, 3, page + 4); /* masked off */
    access((uint64_t)masked, page);
    CHECK_EQ(hits, 0);
    WRITE_DR(7, 0x400);
}

/* A #DB takes the breakpoints of earlier ones out of DR6, and nothing else. */
static void test_stale_status(void)
{
    set_break(0, 0, (uint64_t)plain + 1);
    WRITE_DR(6, DR6_FIXED | BS | 5);
    CHECK_EQ(guarded(call_there, (uint64_t)plain).f.vector, NO_FAULT);
    CHECK_EQ(hits, 1);
    CHECK_EQ(dr6s[0], DR6_FIXED | BS | 2);
    WRITE_DR(7, 0x400);
}

/* The trap behind HLT ends it: IF is off here, so nothing else would. */
CODE(halt, "hlt\n ret");

static void test_halt(void)
{
    hits = 0;
    CHECK_EQ(guarded(run_with_tf, (uint64_t)halt).f.vector, NO_FAULT);
    CHECK_EQ(rips[0], (uint64_t)halt);
    CHECK_EQ(rips[1], (uint64_t)halt + 1);
}

/* DR7.GD: touching a debug register is trapped before it happens. */
static void touch_dr0(uint64_t v)
{
    WRITE_DR(0, v);
}

static void test_detect(void)
{
    struct fault f;

    set_handler(1, NULL);
    WRITE_DR(6, DR6_FIXED);
    WRITE_DR(7, 0x2400);
    f = guarded(touch_dr0, 0x1000);
    CHECK_EQ(f.f.vector, 1);
    CHECK_EQ(READ_DR(7) & 0x2000, 0); /* cleared by the delivery */
    CHECK_EQ(READ_DR(6) & BD, BD);
    WRITE_DR(6, DR6_FIXED);
    WRITE_DR(7, 0x400);
    /* DR4 and DR5 are DR6 and DR7, unless CR4.DE makes them #UD. */
    __asm__ volatile(".byte 0x0f, 0x21, 0xe0" ::: "rax"); /* MOV RAX, DR4 */
    set_handler(1, on_debug);
}

CODE(dr4, ".byte 0x0f, 0x21, 0xe0\n ret");

static void test_de(void)
{
    WRITE_CR(4, READ_CR(4) | 8);
    CHECK_EQ(guarded(call_there, (uint64_t)dr4).f.vector, 6);
    WRITE_CR(4, READ_CR(4) & ~8ull);
    CHECK_EQ(guarded(call_there, (uint64_t)dr4).f.vector, NO_FAULT);
}

/* A step in user mode ends in ring 0 with TF off. */
CODE(user_step, "nop\n nop\n int $0x81");

static void test_user(void)
{
    struct frame f = {.rip = USER_CODE,
                      .cs = SEL_USER_CODE64,
                      .rflags = 0x102,
                      .rsp = USER_DATA + 0x800,
                      .ss = SEL_USER_DATA};
    struct fault g;

    map_code(USER_CODE, user_step, user_step_end, PTE_P | PTE_U);
    map_page(USER_DATA, page_alloc(), PTE_P | PTE_U | PTE_W);
    hits = 0;
    g = enter(&f);
    CHECK_EQ(g.f.vector, VECTOR_DONE);
    CHECK_EQ(hits, 2);
    CHECK_EQ(rips[0], USER_CODE + 1);
    CHECK_EQ(rips[1], USER_CODE + 2);
}

int main(void)
{
    set_handler(1, on_debug);
    test_step();
    test_rep();
    test_shadow();
    test_int3();
    test_icebp();
    test_execute();
    test_data();
    test_mov_ss_data();
    test_elements();
    test_stale_status();
    test_halt();
    test_detect();
    test_de();
    test_user();
    (void)with_popf;
    return 0;
}
