#include "device.h"
#include "smp.h"

/* The TSC never goes backwards, on one CPU or from one to the other, and
 * runs at a steady rate. */

static volatile uint64_t turn, stamp, errors;

enum { ROUNDS = 3000 };

static void worker(unsigned id)
{
    (void)id;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        uint64_t now;

        while (turn != 2 * i + 1)
            pause();
        now = rdtsc();
        if (now < stamp)
            errors++;
        stamp = now;
        turn = 2 * i + 2;
    }
}

int main(void)
{
    uint64_t last = rdtsc(), a, b, c;

    for (unsigned i = 0; i < 100000; i++) {
        uint64_t now = rdtsc();

        if (now < last)
            errors++;
        last = now;
    }
    CHECK_EQ(errors, 0);
    a = rdtsc();
    delay_us(10000);
    b = rdtsc();
    delay_us(20000);
    c = rdtsc();
    CHECK(b - a > 1000000);
    CHECK(c - b > b - a);
    apic_enable();
    CHECK(smp_start(1, worker));
    for (uint64_t i = 0; i < ROUNDS; i++) {
        uint64_t now = rdtsc();

        if (now < stamp)
            errors++;
        stamp = now;
        turn = 2 * i + 1;
        if (!wait_for(&turn, 2 * i + 2)) {
            CHECK(false);
            break;
        }
    }
    CHECK_EQ(errors, 0);
    /* A written TSC goes on from there. */
    wrmsr(0x10, 1ull << 50);
    a = rdtsc();
    CHECK(a >= 1ull << 50 && a < (1ull << 50) + (1ull << 40));
    return 0;
}
