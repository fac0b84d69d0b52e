#include "guest.h"

/* Repeated string instructions that fault in the middle: RCX, RSI and RDI
 * say exactly how far they came, and they go on after the handler. */

#define SRC   TEST_VA            /* two pages, then none */
#define DST   (TEST_VA + 0x8000) /* two pages, then none */
#define BYTES 0x2000ull

struct regs {
    uint64_t rax, rcx, rsi, rdi;
    bool down;
    const uint8_t *code;
};

static void run(uint64_t arg)
{
    struct regs *r = (struct regs *)arg;

    if (r->down)
        __asm__ volatile("std");
    __asm__ volatile("call *%4\n cld"
                     : "+a"(r->rax), "+c"(r->rcx), "+S"(r->rsi), "+D"(r->rdi)
                     : "r"(r->code)
                     : "rdx", "memory", "cc");
}

CODE(movsb_, "rep movsb\n ret");
CODE(movsq_, "rep movsq\n ret");
CODE(movsd_, "rep movsl\n ret");
CODE(stosb_, "rep stosb\n ret");
CODE(stosw_, "rep stosw\n ret");
CODE(stosq_, "rep stosq\n ret");
CODE(lodsb_, "rep lodsb\n ret");
CODE(cmpsb_, "repe cmpsb\n ret");
CODE(scasb_, "repne scasb\n ret");
CODE(cmpsq_, "repe cmpsq\n ret");
/* The scratch register of COM1. */
#define PORT     0x3ff
#define SET_PORT 4 /* bytes of the instruction before */
CODE(insb_, "movw $0x3ff, %dx\n rep insb\n ret");
CODE(outsb_, "movw $0x3ff, %dx\n rep outsb\n ret");

static struct fault fault_of(struct regs *r)
{
    struct fault f = guarded(run, (uint64_t)r);

    __asm__ volatile("cld");
    return f;
}

static void expect(struct fault f, uint64_t rip, uint64_t rcx, uint64_t rsi,
                   uint64_t rdi)
{
    CHECK_EQ(f.f.vector, 14);
    CHECK_EQ(f.f.rip, rip);
    CHECK_EQ(f.f.gpr[RCX], rcx);
    CHECK_EQ(f.f.gpr[RSI], rsi);
    CHECK_EQ(f.f.gpr[RDI], rdi);
}

static void test_up(const uint8_t *code, unsigned size, bool src, bool dst)
{
    uint64_t left = 7, n = 300;
    struct regs r = {.rcx = n, .code = code};
    struct fault f;
    uint64_t done = n - left;

    r.rsi = src ? SRC + BYTES - done * size : SRC;
    r.rdi = dst ? DST + BYTES - done * size : DST;
    f = fault_of(&r);
    expect(f, (uint64_t)code, left,
           r.rsi + (code == stosb_ || code == stosw_ || code == stosq_ ||
                            code == scasb_
                        ? 0
                        : done * size),
           r.rdi + (code == lodsb_ ? 0 : done * size));
    CHECK_EQ(f.cr2, src ? SRC + BYTES : DST + BYTES);
}

static void test_down(void)
{
    struct regs r = {.rcx = 100,
                     .rsi = SRC + 0x1000,
                     .rdi = DST + 8 * 60,
                     .down = true,
                     .code = movsq_};
    struct fault f = fault_of(&r);

    expect(f, (uint64_t)movsq_, 39, r.rsi - 61 * 8, DST - 8);
    CHECK_EQ(f.cr2, DST - 8);
    CHECK_EQ(f.f.error, 2);
}

/* An element that crosses into the missing page is not written at all. */
static void test_crossing(void)
{
    struct regs r = {
        .rcx = 20, .rsi = SRC, .rdi = DST + BYTES - 8 * 10 - 3, .code = movsq_};
    struct fault f;

    mem_write64(DST + BYTES - 8, 0x1111111111111111);
    f = fault_of(&r);
    expect(f, (uint64_t)movsq_, 10, SRC + 80, DST + BYTES - 3);
    CHECK_EQ(f.cr2, DST + BYTES);
    CHECK_EQ(mem_read64(DST + BYTES - 8) >> 40, 0x111111);
    r = (struct regs){
        .rcx = 20, .rsi = SRC + BYTES - 8 * 10 - 3, .rdi = DST, .code = movsq_};
    f = fault_of(&r);
    expect(f, (uint64_t)movsq_, 10, SRC + BYTES - 3, DST + 80);
}

/* The handler maps the page, the instruction goes on by itself. */
static volatile uint64_t missing;

static void on_fault(struct frame *f)
{
    (void)f;
    missing++;
    map_page(READ_CR(2) & ~0xfffull, page_alloc(), PTE_P | PTE_W);
}

static void test_resume(void)
{
    uint64_t va = TEST_VA + 0x100000;
    struct regs r = {.rcx = 0x5000, .rax = 0x77, .rdi = va + 5, .code = stosb_};
    unsigned wrong = 0;

    set_handler(14, on_fault);
    run((uint64_t)&r);
    CHECK_EQ(missing, 6);
    CHECK_EQ(r.rcx, 0);
    CHECK_EQ(r.rdi, va + 5 + 0x5000);
    for (uint64_t i = 0; i < 0x5000; i++)
        wrong += ((volatile uint8_t *)va)[5 + i] != 0x77;
    CHECK_EQ(wrong, 0);
    missing = 0;
    r = (struct regs){
        .rcx = 0x800, .rsi = va + 5, .rdi = va + 0x10003, .code = movsq_};
    run((uint64_t)&r);
    CHECK_EQ(missing, 5);
    CHECK_EQ(r.rcx, 0);
    CHECK(!memcmp((void *)(va + 5), (void *)(va + 0x10003), 0x4000));
    set_handler(14, NULL);
}

/* Overlap: a forward copy by one byte spreads it. */
static void test_overlap(void)
{
    struct regs r = {.rcx = 4000, .rsi = DST, .rdi = DST + 1, .code = movsb_};
    unsigned wrong = 0;

    *(volatile uint8_t *)DST = 0x42;
    run((uint64_t)&r);
    for (unsigned i = 0; i < 4001; i++)
        wrong += ((volatile uint8_t *)DST)[i] != 0x42;
    CHECK_EQ(wrong, 0);
    for (unsigned i = 0; i < 512; i++)
        mem_write64(DST + 8 * i, i);
    r = (struct regs){.rcx = 500, .rsi = DST, .rdi = DST + 16, .code = movsq_};
    run((uint64_t)&r);
    for (unsigned i = 0; i < 500; i++)
        wrong += mem_read64(DST + 8 * i) != i % 2;
    CHECK_EQ(wrong, 0);
}

/* Two virtual pages of one physical page: also an overlap. */
static void test_alias(void)
{
    uint64_t page = page_alloc(), a = TEST_VA + 0x200000, b = a + 0x1000;
    struct regs r = {.rcx = 1000, .rsi = a, .rdi = b + 1, .code = movsb_};
    unsigned wrong = 0;

    map_page(a, page, PTE_P | PTE_W);
    map_page(b, page, PTE_P | PTE_W);
    *(volatile uint8_t *)a = 0x99;
    run((uint64_t)&r);
    for (unsigned i = 0; i < 1001; i++)
        wrong += ((volatile uint8_t *)a)[i] != 0x99;
    CHECK_EQ(wrong, 0);
}

/* Ports have the same rules: a device is not read for a byte that cannot be
 * written. */
static void test_ports(void)
{
    uint64_t left = 100, n = 6000, done = n - left;
    struct regs in = {.rcx = n, .rdi = DST + BYTES - done, .code = insb_};
    struct regs out = {.rcx = n, .rsi = SRC + BYTES - done, .code = outsb_};
    unsigned wrong = 0;

    memset((void *)DST, 0, BYTES);
    outb(PORT, 0x5a);
    expect(fault_of(&in), (uint64_t)insb_ + SET_PORT, left, in.rsi,
           DST + BYTES);
    for (uint64_t i = 0; i < BYTES; i++)
        wrong += ((volatile uint8_t *)DST)[i] != (i < BYTES - done ? 0 : 0x5a);
    CHECK_EQ(wrong, 0);
    memset((void *)SRC, 0x11, BYTES);
    ((volatile uint8_t *)SRC)[BYTES - 1] = 0xa5;
    expect(fault_of(&out), (uint64_t)outsb_ + SET_PORT, left, SRC + BYTES,
           out.rdi);
    in = (struct regs){.rcx = 3, .rdi = DST + 2, .down = true, .code = insb_};
    CHECK_EQ(fault_of(&in).f.vector, NO_FAULT);
    CHECK_EQ(in.rdi, DST - 1);
    CHECK_EQ(((volatile uint8_t *)DST)[0], 0xa5); /* the last that came out */
}

static void test_zero(void)
{
    struct regs r = {.rcx = 0,
                     .rsi = 0x8000000000000000,
                     .rdi = 0x8000000000000000,
                     .code = movsb_};

    CHECK_EQ(fault_of(&r).f.vector, NO_FAULT);
    CHECK_EQ(r.rcx, 0);
}

int main(void)
{
    for (unsigned i = 0; i < 2; i++) {
        map_page(SRC + 4096 * i, page_alloc(), PTE_P | PTE_W);
        map_page(DST + 4096 * i, page_alloc(), PTE_P | PTE_W);
    }
    test_up(movsb_, 1, false, true);
    test_up(movsb_, 1, true, false);
    test_up(movsd_, 4, false, true);
    test_up(movsq_, 8, false, true);
    test_up(movsq_, 8, true, false);
    test_up(stosb_, 1, false, true);
    test_up(stosw_, 2, false, true);
    test_up(stosq_, 8, false, true);
    test_up(lodsb_, 1, true, false);
    memset((void *)SRC, 0, BYTES);
    memset((void *)DST, 0, BYTES);
    test_up(cmpsb_, 1, true, false);
    test_up(cmpsb_, 1, false, true);
    test_up(cmpsq_, 8, true, false);
    memset((void *)DST, 1, BYTES);
    test_up(scasb_, 1, false, true);
    test_down();
    test_crossing();
    test_resume();
    test_overlap();
    test_alias();
    test_ports();
    test_zero();
    return 0;
}
