#include "device.h"
#include "smp.h"

/* INIT and SIPI start each CPU once, with its own registers and id. */

static volatile uint64_t seen, stacks[4];

static void report(unsigned id)
{
    uint64_t rsp;

    __asm__ volatile("movq %%rsp, %0" : "=r"(rsp));
    stacks[id] = rsp;
    if (cpuid(1, 0).ebx >> 24 == id)
        __atomic_fetch_add(&seen, 1ull << (8 * id), __ATOMIC_SEQ_CST);
}

int main(void)
{
    apic_enable();
    CHECK_EQ(cpuid(1, 0).ebx >> 24, 0);
    CHECK_EQ(rdmsr(0x1b) & 0x100, 0x100); /* the bootstrap processor */
    for (unsigned id = 1; id < 4; id++)
        CHECK(smp_start(id, report));
    CHECK(wait_for(&seen, 0x01010100));
    /* Once more after another INIT. */
    CHECK(smp_start(2, report));
    CHECK(wait_for(&seen, 0x01020100));
    return 0;
}
