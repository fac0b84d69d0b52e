#include "device.h"
#include "smp.h"

/* One CPU changes code that the other runs (SDM vol. 3, 8.1.3): by the
 * protocol of a flag and a serialising instruction, and one byte of a running
 * loop, which must take effect soon. */

enum { ROUNDS = 200 };

static volatile uint64_t want, got, answer, looping, ended;

static uint64_t call_va(uint64_t va)
{
    uint64_t v;

    __asm__ volatile("call *%1" : "=a"(v) : "r"(va) : "memory", "cc");
    return v;
}

/* 1: inc %rax; jmp 1b  -- the jump is replaced by ret and a nop. */
static const uint8_t loop[] = {0x31, 0xc0, 0x48, 0xff, 0xc0, 0xeb, 0xfb, 0xc3};

static void worker(unsigned id)
{
    (void)id;
    for (uint64_t i = 1; i <= ROUNDS; i++) {
        while (want != i)
            pause();
        (void)cpuid(0, 0);
        answer = call_va(TEST_VA);
        got = i;
    }
    for (unsigned i = 0; i < 20; i++) {
        while (want != 1000 + i)
            pause();
        (void)cpuid(0, 0);
        looping = i + 1;
        (void)call_va(TEST_VA + 64);
        ended = i + 1;
    }
}

int main(void)
{
    uint64_t page = page_alloc();

    map_page(TEST_VA, page, PTE_P | PTE_W);
    apic_enable();
    *(volatile uint8_t *)TEST_VA = 0xb8;
    *(volatile uint8_t *)(TEST_VA + 5) = 0xc3;
    CHECK(smp_start(1, worker));
    for (uint64_t i = 1; i <= ROUNDS; i++) {
        *(volatile uint32_t *)(TEST_VA + 1) = (uint32_t)i * 7;
        want = i;
        if (!wait_for(&got, i)) {
            CHECK(false);
            return 0;
        }
        CHECK_EQ(answer, i * 7);
    }
    for (unsigned i = 0; i < 20; i++) {
        memcpy((void *)(TEST_VA + 64), loop, sizeof(loop));
        want = 1000 + i;
        CHECK(wait_for(&looping, i + 1));
        delay_us(200);
        CHECK_EQ(ended, i);
        *(volatile uint8_t *)(TEST_VA + 64 + 6) = 0; /* jmp to the ret */
        if (!wait_for(&ended, i + 1)) {
            CHECK(false);
            return 0;
        }
    }
    return 0;
}
