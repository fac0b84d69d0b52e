#include <stddef.h>
#include <stdint.h>

/*
 * How long an inter-processor interrupt takes, there and back, between two
 * CPUs: a bare 64-bit guest. CPU 0 sends an interrupt to CPU 1, whose handler
 * sends one back; CPU 0 reads its TSC before and after. Once while both run
 * (CPU 1 in a loop), once while CPU 1 is in HLT. Results go to COM1 as lines
 * "BENCH name value unit", and the run ends by the debug-exit port.
 *
 * Uses the x2APIC where there is one, else the xAPIC's registers (QEMU 7.2's
 * TCG has no x2APIC).
 */
enum {
    COM1 = 0x3f8,
    DEBUG_EXIT = 0xf4,
    PIT_CH2 = 0x42,
    PIT_COMMAND = 0x43,
    PORT_61 = 0x61,
    AP_BASE = 0x8000,
    VECTOR = 0x40,
    ROUNDS = 20001,
    WARM_UP = 1000
};

#define PIT_HZ        1193182u
#define CALIBRATE_HZ  100u /* a hundredth of a second */
#define MSR_APIC_BASE 0x1bu
#define APIC_X2       0x400u
#define XAPIC_PAGE    0xfee00000u
#define ICR_INIT      0x4500u
#define ICR_SIPI      0x4600u

/* Register offsets in the xAPIC page; x2APIC MSRs are 0x800 + offset / 16. */
enum { APIC_EOI = 0xb0, APIC_SVR = 0xf0, APIC_ICR = 0x300, APIC_ICR2 = 0x310 };

struct gate {
    uint16_t low, selector, type, mid;
    uint32_t high, zero;
};

struct table_pointer {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

extern char ap_start[], ap_end[];
_Noreturn void main(void);
_Noreturn void ap_main(void);

static struct gate idt[VECTOR + 1];
static uint64_t ticks[ROUNDS];
static int has_x2apic;
static volatile uint32_t ap_is_up, ap_shall_halt, pongs;

/* --- The CPU ------------------------------------------------------------ */

static void outb(uint16_t port, uint8_t val)
{
    __asm__ volatile("outb %0, %1" : : "a"(val), "Nd"(port));
}

static uint8_t inb(uint16_t port)
{
    uint8_t val;

    __asm__ volatile("inb %1, %0" : "=a"(val) : "Nd"(port));
    return val;
}

static uint64_t rdmsr(uint32_t msr)
{
    uint32_t low, high;

    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (uint64_t)high << 32 | low;
}

static void wrmsr(uint32_t msr, uint64_t val)
{
    __asm__ volatile("wrmsr"
                     :
                     : "c"(msr), "a"((uint32_t)val), "d"((uint32_t)(val >> 32))
                     : "memory");
}

static uint64_t rdtsc(void)
{
    uint32_t low, high;

    __asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

static int cpu_has_x2apic(void)
{
    uint32_t eax = 1, ebx, ecx = 0, edx;

    __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    return ecx >> 21 & 1;
}

/* --- The local APIC ----------------------------------------------------- */

static void apic_write(uint32_t reg, uint32_t val)
{
    if (has_x2apic)
        wrmsr(0x800 + reg / 16, val);
    else
        *(volatile uint32_t *)(uintptr_t)(XAPIC_PAGE + reg) = val;
}

static void apic_send(uint32_t cpu, uint32_t command)
{
    if (has_x2apic) {
        wrmsr(0x800 + APIC_ICR / 16, (uint64_t)cpu << 32 | command);
    } else {
        apic_write(APIC_ICR2, cpu << 24);
        apic_write(APIC_ICR, command);
    }
}

static void apic_enable(void)
{
    if (has_x2apic)
        wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_X2);
    apic_write(APIC_SVR, 0x1ff);
}

/* --- Interrupts --------------------------------------------------------- */

struct frame;

/* On CPU 1: answer. */
__attribute__((interrupt)) static void on_ping(struct frame *frame)
{
    (void)frame;
    apic_write(APIC_EOI, 0);
    apic_send(0, VECTOR - 1);
}

/* On CPU 0: the answer is here. */
__attribute__((interrupt)) static void on_pong(struct frame *frame)
{
    (void)frame;
    pongs++;
    apic_write(APIC_EOI, 0);
}

static void idt_set(unsigned vector, void (*fn)(struct frame *))
{
    uint64_t addr = (uintptr_t)fn;

    idt[vector] = (struct gate){.low = (uint16_t)addr,
                                .selector = 0x18,
                                .type = 0x8e00,
                                .mid = (uint16_t)(addr >> 16),
                                .high = (uint32_t)(addr >> 32)};
}

static void idt_load(void)
{
    struct table_pointer p = {sizeof(idt) - 1, (uintptr_t)idt};

    __asm__ volatile("lidt %0" : : "m"(p));
}

/* --- Text --------------------------------------------------------------- */

static void put_char(char c)
{
    while (!(inb(COM1 + 5) & 0x20))
        ;
    outb(COM1, (uint8_t)c);
}

static void put(const char *s)
{
    while (*s)
        put_char(*s++);
}

static void put_num(uint64_t n, unsigned digits)
{
    if (n >= 10 || digits > 1)
        put_num(n / 10, digits ? digits - 1 : 0);
    put_char((char)('0' + n % 10));
}

/* ns as microseconds with three decimals. */
static void report(const char *name, uint64_t ns)
{
    put("BENCH ");
    put(name);
    put_char(' ');
    put_num(ns / 1000, 1);
    put_char('.');
    put_num(ns % 1000, 3);
    put(" us\r\n");
}

/* --- The measurement ---------------------------------------------------- */

/* TSC ticks a second, by channel 2 of the 8254 in mode 0. */
static uint64_t tsc_hz(void)
{
    uint64_t start;

    outb(PORT_61, (inb(PORT_61) & 0xfc) | 1); /* gate on, speaker off */
    outb(PIT_COMMAND, 0xb0);
    outb(PIT_CH2, (PIT_HZ / CALIBRATE_HZ) & 0xff);
    outb(PIT_CH2, (PIT_HZ / CALIBRATE_HZ) >> 8);
    start = rdtsc();
    while (!(inb(PORT_61) & 0x20))
        ;
    return (rdtsc() - start) * CALIBRATE_HZ;
}

static void wait_ticks(uint64_t n)
{
    uint64_t start = rdtsc();

    while (rdtsc() - start < n)
        ;
}

/* Shell sort, enough for 20,000 values. */
static void sort(uint64_t *a, size_t n)
{
    for (size_t gap = n / 2; gap > 0; gap /= 2)
        for (size_t i = gap; i < n; i++)
            for (size_t j = i; j >= gap && a[j - gap] > a[j]; j -= gap) {
                uint64_t t = a[j];

                a[j] = a[j - gap];
                a[j - gap] = t;
            }
}

static uint64_t round_trip(void)
{
    uint32_t before = pongs;
    uint64_t start = rdtsc();

    apic_send(1, VECTOR);
    while (pongs == before)
        __asm__ volatile("pause");
    return rdtsc() - start;
}

/* gap: time between two, so that CPU 1 can fall asleep. */
static void measure(const char *median, const char *tail, uint64_t hz,
                    uint64_t gap, unsigned rounds)
{
    for (unsigned i = 0; i < WARM_UP; i++)
        (void)round_trip();
    for (unsigned i = 0; i < rounds; i++) {
        wait_ticks(gap);
        ticks[i] = round_trip();
    }
    sort(ticks, rounds);
    report(median, ticks[rounds / 2] * 1000000 / (hz / 1000));
    report(tail, ticks[rounds - rounds / 100] * 1000000 / (hz / 1000));
}

static void start_ap(uint64_t hz)
{
    volatile char *to = (volatile char *)(uintptr_t)AP_BASE;

    for (const char *p = ap_start; p < ap_end; p++)
        *to++ = *p;
    apic_send(1, ICR_INIT);
    wait_ticks(hz / 100);
    apic_send(1, ICR_SIPI | AP_BASE >> 12);
    while (!ap_is_up)
        __asm__ volatile("pause");
}

void main(void)
{
    uint64_t hz;

    has_x2apic = cpu_has_x2apic();
    idt_set(VECTOR, on_ping);
    idt_set(VECTOR - 1, on_pong);
    idt_load();
    apic_enable();
    /* All lines of the 8259s masked: nobody programmed them. */
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
    hz = tsc_hz();
    start_ap(hz);
    __asm__ volatile("sti");
    measure("ipi_running", "ipi_running_p99", hz, 0, ROUNDS);
    ap_shall_halt = 1;
    measure("ipi_halted", "ipi_halted_p99", hz, hz / 10000, ROUNDS / 10);
    outb(DEBUG_EXIT, 0);
    for (;;)
        __asm__ volatile("cli; hlt");
}

void ap_main(void)
{
    idt_load();
    apic_enable();
    ap_is_up = 1;
    __asm__ volatile("sti");
    while (!ap_shall_halt)
        __asm__ volatile("pause");
    for (;;)
        __asm__ volatile("hlt");
}
