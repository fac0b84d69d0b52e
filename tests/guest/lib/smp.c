#include "smp.h"

#include "device.h"

void ap_main(void);

extern const uint8_t ap_code[], ap_code_end[];
extern uint64_t boot_pml4[];

static volatile uint64_t ap_started;
static void (*volatile ap_fn)(unsigned id);
static volatile unsigned ap_id;

bool wait_for(volatile uint64_t *p, uint64_t v)
{
    for (unsigned ms = 0; ms < 8000; ms++) {
        for (unsigned i = 0; i < 2000; i++) {
            if (*p == v)
                return true;
            pause();
        }
        delay_us(200);
    }
    return false;
}

/* On the new CPU: tables that all CPUs share, except the TSS. */
void ap_main(void)
{
    struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } idtr;
    void (*fn)(unsigned) = ap_fn;
    unsigned id = ap_id;

    __asm__ volatile("sidt %0" : "=m"(idtr));
    idtr.limit = 0xfff;
    idtr.base = *(uint64_t *)0x7fe8;
    __asm__ volatile("lidt %0" ::"m"(idtr));
    ap_started = id;
    fn(id);
    for (;;)
        __asm__ volatile("cli; hlt");
}

bool smp_start(unsigned id, void (*fn)(unsigned id))
{
    struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } idtr;

    __asm__ volatile("sidt %0" : "=m"(idtr));
    *(uint64_t *)0x7fe8 = idtr.base;
    memcpy((void *)AP_START, ap_code, (size_t)(ap_code_end - ap_code));
    *(volatile uint32_t *)AP_STACK = (uint32_t)(page_alloc() + 4096);
    ap_fn = fn;
    ap_id = id;
    ap_started = 0;
    apic_send(id, 0x4500); /* INIT */
    delay_us(10000);
    for (unsigned i = 0; i < 2 && ap_started != id; i++) {
        apic_send(id, 0x4600 | AP_START >> 12);
        delay_us(300);
    }
    return wait_for(&ap_started, id);
}
