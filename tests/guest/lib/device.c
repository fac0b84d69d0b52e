#include "device.h"

#define APIC_BASE   0xfee00000u
#define IOAPIC_BASE 0xfec00000u
#define MSR_APIC    0x1b

static bool x2;

void apic_write(unsigned reg, uint32_t v)
{
    if (x2)
        wrmsr(0x800 + (reg >> 4), v);
    else
        *(volatile uint32_t *)(uint64_t)(APIC_BASE + reg) = v;
}

uint32_t apic_read(unsigned reg)
{
    if (x2)
        return (uint32_t)rdmsr(0x800 + (reg >> 4));
    return *(volatile uint32_t *)(uint64_t)(APIC_BASE + reg);
}

void apic_enable(void)
{
    pic_init();
    wrmsr(MSR_APIC, rdmsr(MSR_APIC) | 0x800);
    apic_write(APIC_SVR, 0x1ff);
    apic_write(APIC_TPR, 0);
    apic_write(APIC_LVT0, 0x10000);
}

void apic_enable_x2(void)
{
    apic_enable();
    wrmsr(MSR_APIC, rdmsr(MSR_APIC) | 0xc00);
    x2 = true;
    apic_write(APIC_SVR, 0x1ff);
}

void apic_eoi(void)
{
    apic_write(APIC_EOI, 0);
}

void apic_send(uint32_t id, uint32_t icr)
{
    if (x2) {
        wrmsr(0x830, (uint64_t)id << 32 | icr);
        return;
    }
    apic_write(APIC_ICR2, id << 24);
    apic_write(APIC_ICR, icr);
    while (apic_read(APIC_ICR) & 0x1000)
        ;
}

unsigned apic_id(void)
{
    uint32_t v = apic_read(APIC_ID);

    return x2 ? v : v >> 24;
}

uint32_t ioapic_read(unsigned reg)
{
    volatile uint32_t *io = (volatile uint32_t *)(uint64_t)IOAPIC_BASE;

    io[0] = reg;
    return io[4];
}

void ioapic_write(unsigned reg, uint32_t v)
{
    volatile uint32_t *io = (volatile uint32_t *)(uint64_t)IOAPIC_BASE;

    io[0] = reg;
    io[4] = v;
}

void ioapic_route(unsigned n, uint32_t low, unsigned id)
{
    ioapic_write(0x11 + 2 * n, id << 24);
    ioapic_write(0x10 + 2 * n, low);
}

void pic_init(void)
{
    outb(0x20, 0x11);
    outb(0xa0, 0x11);
    outb(0x21, 0x20);
    outb(0xa1, 0x28);
    outb(0x21, 4);
    outb(0xa1, 2);
    outb(0x21, 1);
    outb(0xa1, 1);
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
}

void pic_unmask(unsigned irq)
{
    if (irq < 8) {
        outb(0x21, (uint8_t)(inb(0x21) & ~(1u << irq)));
        return;
    }
    outb(0xa1, (uint8_t)(inb(0xa1) & ~(1u << (irq - 8))));
    outb(0x21, (uint8_t)(inb(0x21) & ~4u));
}

void pic_eoi(unsigned irq)
{
    if (irq >= 8)
        outb(0xa0, 0x20);
    outb(0x20, 0x20);
}

void pit_start(unsigned mode, uint16_t count)
{
    outb(0x43, (uint8_t)(0x30 | mode << 1));
    outb(0x40, (uint8_t)count);
    outb(0x40, (uint8_t)(count >> 8));
}

/* Channel 2 in mode 0, its gate opened by port 0x61; output is bit 5. */
void delay_us(unsigned us)
{
    while (us) {
        unsigned part = us > 50000 ? 50000 : us;
        uint32_t count = (uint32_t)((uint64_t)part * 1193182 / 1000000) + 1;

        outb(0x61, (uint8_t)((inb(0x61) & ~2u) | 1));
        outb(0x43, 0xb0);
        outb(0x42, (uint8_t)count);
        outb(0x42, (uint8_t)(count >> 8));
        while (!(inb(0x61) & 0x20))
            ;
        us -= part;
    }
}
