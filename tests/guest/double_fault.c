#include "guest.h"

/* Faults while a fault is delivered (SDM vol. 3, 6.15, table 6-5), and the
 * interrupt stack table. */

extern const uint8_t ist_stack[];

CODE(ud, "ud2");
CODE(bad_stack, "movq $0x8000400000, %rsp\n pushq %rax");
CODE(bad_stack_ud, "movq $0x8000400000, %rsp\n ud2");

static void at(uint64_t code)
{
    ((void (*)(void))code)();
}

static uint64_t *idt(void)
{
    struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } idtr;

    __asm__ volatile("sidt %0" : "=m"(idtr));
    return (uint64_t *)idtr.base;
}

static void expect_df(struct fault f)
{
    CHECK_EQ(f.f.vector, 8);
    CHECK_EQ(f.f.error, 0);
}

/* #UD cannot be pushed: a page fault on the way. Benign first, so the page
 * fault is delivered instead; it cannot be pushed either: #DF by IST1. */
static void test_stack(void)
{
    struct fault f = guarded(at, (uint64_t)bad_stack_ud);

    expect_df(f);
    CHECK_EQ(f.f.rsp, 0x8000400000);
    CHECK_EQ(f.cr2 & ~0xfffull, 0x80003ff000);
    f = guarded(at, (uint64_t)bad_stack);
    expect_df(f);
    CHECK_EQ(f.f.rip, (uint64_t)bad_stack + 10);
}

/* #UD with its gate not present: #NP; with that not present too: #DF. */
static void test_gates(void)
{
    uint64_t *t = idt(), ud_gate = t[2 * 6], np_gate = t[2 * 11];
    struct fault f;

    t[2 * 6] &= ~0x800000000000ull;
    f = guarded(at, (uint64_t)ud);
    CHECK_EQ(f.f.vector, 11);
    CHECK_EQ(f.f.error, 6 * 8 + 3); /* IDT, EXT */
    CHECK_EQ(f.f.rip, (uint64_t)ud);
    t[2 * 11] &= ~0x800000000000ull;
    expect_df(guarded(at, (uint64_t)ud));
    t[2 * 6] = ud_gate;
    t[2 * 11] = np_gate;
    CHECK_EQ(guarded(at, (uint64_t)ud).f.vector, 6);
}

/* A page fault whose gate names a bad code segment: #GP second makes #DF. */
static void read_there(uint64_t va)
{
    (void)*(volatile uint8_t *)va;
}

static void test_page_fault_then_gp(void)
{
    uint64_t *t = idt(), gate = t[2 * 14];

    t[2 * 14] = (gate & ~0xffff0000ull) | (uint64_t)SEL_DATA << 16;
    expect_df(guarded(read_there, TEST_VA));
    t[2 * 14] = gate;
    CHECK_EQ(guarded(read_there, TEST_VA).f.vector, 14);
}

static uint64_t handler_rsp;

static void note_rsp(struct frame *f)
{
    handler_rsp = (uint64_t)f;
    f->rip += 2; /* over UD2 */
}

CODE(ud_ret, "ud2\n ret");

/* With an IST index the stack is switched even within ring 0. */
static void test_ist(void)
{
    set_handler(6, note_rsp);
    set_gate(6, 0, 1);
    CHECK_EQ(guarded(at, (uint64_t)ud_ret).f.vector, NO_FAULT);
    CHECK_EQ(handler_rsp, (uint64_t)ist_stack - sizeof(struct frame));
    set_gate(6, 0, 0);
    CHECK_EQ(guarded(at, (uint64_t)ud_ret).f.vector, NO_FAULT);
    CHECK(handler_rsp - (uint64_t)ist_stack > 0x10000 ||
          handler_rsp < (uint64_t)ist_stack - 8192);
    set_handler(6, NULL);
}

/* The pushed stack pointer is aligned down to 16 for the frame, and the old
 * value is in it. */
static void test_alignment(void)
{
    struct frame f = {.rip = (uint64_t)ud,
                      .cs = SEL_CODE64,
                      .rflags = 2,
                      .rsp = page_alloc() + 2001,
                      .ss = SEL_DATA};
    struct fault g = enter(&f);

    CHECK_EQ(g.f.vector, 6);
    CHECK_EQ(g.f.rsp, f.rsp);
    CHECK_EQ(g.f.ss, SEL_DATA);
}

int main(void)
{
    test_stack();
    test_gates();
    test_page_fault_then_gp();
    test_ist();
    test_alignment();
    return 0;
}
