#include "device.h"

/* When interrupts are taken: IF, the shadows of STI and MOV SS, HLT, NMI,
 * priorities (SDM vol. 3, 6.8, 11.8). */

enum { VEC = 0x50, VEC_HIGH = 0x90 };

static volatile uint64_t hits, last_rip, order[8], nr_order;

static void on_interrupt(struct frame *f)
{
    last_rip = f->rip;
    if (nr_order < 8)
        order[nr_order++] = f->vector;
    hits++;
    apic_eoi();
}

static void self_ipi(unsigned vector)
{
    apic_send(apic_id(), 0x4000 | vector);
}

static void reset(void)
{
    hits = 0;
    nr_order = 0;
}

/* A pending interrupt waits for IF, and comes at the first chance. */
static void test_if(void)
{
    reset();
    self_ipi(VEC);
    CHECK_EQ(hits, 0);
    sti();
    __asm__ volatile("nop");
    cli();
    CHECK_EQ(hits, 1);
    sti();
    for (unsigned i = 0; i < 100; i++)
        self_ipi(VEC);
    cli();
    CHECK_EQ(hits, 101);
}

/* Not between STI and the next instruction; and STI; CLI lets none in. */
static void test_sti_shadow(void)
{
    uint64_t after;

    reset();
    self_ipi(VEC);
    __asm__ volatile("sti\n cli" ::: "memory");
    CHECK_EQ(hits, 0);
    __asm__ volatile("sti\n nop\n 1: nop\n cli\n leaq 1b(%%rip), %0"
                     : "=r"(after)::"memory");
    CHECK_EQ(hits, 1);
    CHECK_EQ(last_rip, after);
    reset();
    self_ipi(VEC);
    __asm__ volatile("sti\n hlt\n cli" ::: "memory");
    CHECK_EQ(hits, 1);
}

/* MOV SS keeps interrupts away for one instruction. */
static void test_mov_ss(void)
{
    uint64_t after;

    reset();
    self_ipi(VEC);
    __asm__ volatile("movl %%ss, %%eax\n sti\n movl %%eax, %%ss\n nop\n"
                     "1: nop\n cli\n leaq 1b(%%rip), %0"
                     : "=r"(after)::"eax", "memory");
    CHECK_EQ(hits, 1);
    /* The shadow of STI covers the load; whether that has one of its own
     * then is up to the CPU (SDM vol. 3, 6.8.3). */
    CHECK(last_rip == after || last_rip == after - 1);
}

/* POPFQ and IRETQ that set IF let it in at once. */
static void test_popf(void)
{
    uint64_t after;

    reset();
    self_ipi(VEC);
    __asm__ volatile("pushfq\n orq $0x200, (%%rsp)\n popfq\n 1: cli\n"
                     "leaq 1b(%%rip), %0"
                     : "=r"(after)::"memory", "cc");
    CHECK_EQ(hits, 1);
    CHECK_EQ(last_rip, after);
}

/* HLT ends by an interrupt, RIP is behind it. */
static void test_hlt(void)
{
    uint64_t after;

    reset();
    apic_write(APIC_TDCR, 0xb);
    apic_write(APIC_LVTT, VEC);
    apic_write(APIC_TMICT, 300000);
    __asm__ volatile("sti\n hlt\n 1: cli\n leaq 1b(%%rip), %0"
                     : "=r"(after)::"memory");
    CHECK_EQ(hits, 1);
    CHECK_EQ(last_rip, after);
    apic_write(APIC_LVTT, 0x10000);
}

/* Higher vectors first; TPR and CR8 hold back; IRR and ISR bits. */
static void test_priority(void)
{
    reset();
    self_ipi(VEC);
    self_ipi(VEC_HIGH);
    self_ipi(VEC + 1);
    CHECK_EQ(apic_read(APIC_IRR + 0x10 * (VEC / 32)) >> VEC % 32 & 3, 3);
    sti();
    __asm__ volatile("nop\n nop");
    cli();
    CHECK_EQ(hits, 3);
    CHECK_EQ(order[0], VEC_HIGH);
    CHECK_EQ(order[1], VEC + 1);
    CHECK_EQ(order[2], VEC);
    reset();
    WRITE_CR(8, VEC >> 4);
    CHECK_EQ(apic_read(APIC_TPR), VEC & 0xf0);
    self_ipi(VEC);
    self_ipi(VEC_HIGH);
    sti();
    __asm__ volatile("nop\n nop");
    CHECK_EQ(hits, 1);
    CHECK_EQ(order[0], VEC_HIGH);
    WRITE_CR(8, 0); /* lets the other in at once */
    __asm__ volatile("nop\n nop");
    cli();
    CHECK_EQ(hits, 2);
    apic_write(APIC_TPR, 0xe0);
    CHECK_EQ(READ_CR(8), 0xe);
    apic_write(APIC_TPR, 0);
}

static volatile uint64_t nmis, nmi_during;

/* A second NMI waits for the IRET of the first. */
static void on_nmi(struct frame *f)
{
    (void)f;
    if (++nmis == 1) {
        apic_send(apic_id(), 0x4400);
        for (unsigned i = 0; i < 1000; i++)
            __asm__ volatile("pause");
        nmi_during = nmis;
    }
}

static void test_nmi(void)
{
    nmis = 0;
    set_handler(2, on_nmi);
    apic_send(apic_id(), 0x4400); /* IF is off: no matter */
    for (unsigned i = 0; i < 1000 && nmis < 2; i++)
        __asm__ volatile("pause");
    CHECK_EQ(nmi_during, 1);
    CHECK_EQ(nmis, 2);
}

/* An exception's handler through an interrupt gate runs with IF off; a
 * fault under STI shadow is still a fault. */
static void sti_ud(uint64_t arg)
{
    (void)arg;
    __asm__ volatile("sti\n ud2");
}

static void test_fault_in_shadow(void)
{
    struct fault f = guarded(sti_ud, 0);

    cli();
    CHECK_EQ(f.f.vector, 6);
    CHECK_EQ(f.f.rflags & 0x200, 0x200);
}

int main(void)
{
    apic_enable();
    set_handler(VEC, on_interrupt);
    set_handler(VEC + 1, on_interrupt);
    set_handler(VEC_HIGH, on_interrupt);
    test_if();
    test_sti_shadow();
    test_mov_ss();
    test_popf();
    test_hlt();
    test_priority();
    test_nmi();
    test_fault_in_shadow();
    if (has_x2apic()) {
        apic_enable_x2();
        test_if();
        test_hlt();
        test_nmi();
    }
    return 0;
}
