#include "device.h"

/* The local APIC's timer in its three modes, the 8254 through the 8259 and
 * through the I/O APIC, level and edge. */

enum { VEC = 0x60, PIC_VEC = 0x20 };

static volatile uint64_t hits;
static bool by_pic;

/* IRQ 7 of an 8259 whose request went away. */
static void on_spurious(struct frame *f)
{
    (void)f;
}

static void on_timer(struct frame *f)
{
    (void)f;
    hits++;
    if (by_pic)
        pic_eoi(0);
    else
        apic_eoi();
}

/* HLT until there were so many, or until it is hopeless. */
static bool wait_hits(uint64_t n)
{
    for (unsigned i = 0; i < 4000 && hits < n; i++) {
        sti();
        delay_us(100);
        cli();
    }
    return hits >= n;
}

static void test_one_shot(void)
{
    hits = 0;
    apic_write(APIC_TDCR, 0xb); /* divide by 1 */
    apic_write(APIC_LVTT, VEC);
    apic_write(APIC_TMICT, 200000);
    CHECK(wait_hits(1));
    sti();
    delay_us(2000);
    cli();
    CHECK_EQ(hits, 1);
    CHECK_EQ(apic_read(APIC_TMCCT), 0);
    apic_write(APIC_TMICT, 0x80000000); /* counts down, can be stopped */
    uint32_t a = apic_read(APIC_TMCCT);
    delay_us(100);
    CHECK(apic_read(APIC_TMCCT) < a);
    apic_write(APIC_TMICT, 0);
    CHECK_EQ(apic_read(APIC_TMCCT), 0);
}

static void test_periodic(void)
{
    hits = 0;
    apic_write(APIC_LVTT, 0x20000 | VEC);
    apic_write(APIC_TMICT, 1000000);
    CHECK(wait_hits(5));
    apic_write(APIC_LVTT, 0x30000 | VEC); /* masked */
    hits = 0;
    sti();
    delay_us(5000);
    cli();
    CHECK(hits <= 1); /* one may have been pending */
    apic_write(APIC_TMICT, 0);
}

static void test_deadline(void)
{
    hits = 0;
    apic_write(APIC_LVTT, 0x40000 | VEC);
    __asm__ volatile("mfence" ::: "memory");
    wrmsr(0x6e0, rdtsc() + 1000000);
    CHECK(wait_hits(1));
    CHECK_EQ(rdmsr(0x6e0), 0);
    wrmsr(0x6e0, rdtsc() + 1000000000000);
    CHECK(rdmsr(0x6e0) != 0);
    wrmsr(0x6e0, 0); /* disarms */
    wrmsr(0x6e0, 1); /* in the past: at once */
    CHECK(wait_hits(2));
    apic_write(APIC_LVTT, 0x10000);
}

static void test_pic(void)
{
    by_pic = true;
    hits = 0;
    pic_init();
    apic_write(APIC_LVT0, 0x700); /* ExtINT */
    set_handler(PIC_VEC, on_timer);
    set_handler(PIC_VEC + 7, on_spurious);
    pit_start(0, 2000);
    delay_us(3000);
    CHECK_EQ(hits, 0);
    pic_unmask(0);
    pit_start(0, 2000);
    CHECK(wait_hits(1));
    pit_start(2, 1193); /* about 1 kHz */
    CHECK(wait_hits(5));
    outb(0x21, 0xff);
    apic_write(APIC_LVT0, 0x10000);
    by_pic = false;
}

/* The 8254 is wired to input 2 (or 0) of the I/O APIC. */
static bool test_ioapic_pin(unsigned pin)
{
    hits = 0;
    ioapic_route(pin, VEC, apic_id());
    pit_start(2, 1193);
    (void)wait_hits(3);
    ioapic_route(pin, 0x10000 | VEC, apic_id());
    CHECK_EQ(ioapic_read(0x10 + 2 * pin) & 0x1ff00, 0x10000);
    return hits >= 3;
}

/* COM1's transmitter-empty interrupt as a level source on pin 4. */
static volatile uint64_t levels;

static void on_level(struct frame *f)
{
    (void)f;
    if (++levels == 3)
        outb(0x3f9, 0); /* takes the cause away */
    apic_eoi();
}

static void test_level(void)
{
    levels = 0;
    set_handler(VEC + 1, on_level);
    ioapic_route(4, 0x8000 | (VEC + 1), apic_id());
    outb(0x3fc, 0x0b); /* OUT2 lets the interrupt through */
    outb(0x3f9, 2);
    for (unsigned i = 0; i < 200 && levels < 3; i++) {
        sti();
        delay_us(100);
        cli();
    }
    CHECK_EQ(levels, 3); /* comes again until the cause is gone */
    sti();
    delay_us(2000);
    cli();
    CHECK_EQ(levels, 3);
    ioapic_route(4, 0x10000, 0);
}

int main(void)
{
    bool pin2;

    apic_enable();
    set_handler(VEC, on_timer);
    test_one_shot();
    test_periodic();
    if (has_tsc_deadline())
        test_deadline();
    test_pic();
    pin2 = test_ioapic_pin(2);
    CHECK(pin2 || test_ioapic_pin(0));
    test_level();
    if (has_x2apic()) {
        apic_enable_x2();
        test_one_shot();
        if (has_tsc_deadline())
            test_deadline();
    }
    return 0;
}
