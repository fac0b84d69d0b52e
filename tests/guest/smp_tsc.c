#include "device.h"
#include "smp.h"

/* The TSC never goes backwards, on one CPU or from one to the other, and
 * runs at a steady rate. */

static volatile uint64_t turn, stamp, errors;

enum { ROUNDS = 3000, WARP_ROUNDS = 400000 };

/* RDTSCP waits for the loads before it, so under a lock time never goes back:
 * Linux gives up the TSC if it does. */
static volatile uint32_t lock, ready;
static uint64_t seen;

static uint64_t rdtscp(void)
{
    uint32_t lo, hi, aux;

    __asm__ volatile("rdtscp" : "=a"(lo), "=d"(hi), "=c"(aux)::"memory");
    return (uint64_t)hi << 32 | lo;
}

static unsigned warps(unsigned rounds)
{
    unsigned n = 0;

    while (rounds--) {
        while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE))
            pause();
        uint64_t last = seen, now = rdtscp();

        seen = now;
        __atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
        if (now < last)
            n++;
    }
    return n;
}

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
    ready = 1;
    if (warps(WARP_ROUNDS))
        errors++;
    ready = 2;
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
    CHECK(c - b > 2000000); /* a busy host makes either longer */
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
    while (!ready)
        pause();
    CHECK_EQ(warps(WARP_ROUNDS), 0);
    while (ready < 2)
        pause();
    CHECK_EQ(errors, 0);
    /* A written TSC goes on from there. */
    wrmsr(0x10, 1ull << 50);
    a = rdtsc();
    CHECK(a >= 1ull << 50 && a < (1ull << 50) + (1ull << 40));
    return 0;
}
