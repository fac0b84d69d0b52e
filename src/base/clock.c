/*
 * The host's clocks. The TSC frequency is what the guest's clock runs by, so
 * a source that knows it is preferred to a measurement, which is good to a few
 * parts in a million.
 */
#include "base/clock.h"

#include <cpuid.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

enum { TSC_MEASURE_NS = 10000000, TSC_SAMPLES = 16 };

/* No CPU that husk runs on is outside of this; a hypervisor's leaf may be. */
#define TSC_HZ_MIN 100000000ull
#define TSC_HZ_MAX 20000000000ull

static uint64_t read_ns(clockid_t id)
{
    struct timespec ts;

    (void)clock_gettime(id, &ts); /* cannot fail for the ids used here */
    return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

uint64_t clock_now_ns(void)
{
    return read_ns(CLOCK_MONOTONIC);
}

uint64_t clock_wall_ns(void)
{
    return read_ns(CLOCK_REALTIME);
}

/* Leaf 0x40000010, EAX: TSC in kHz, where KVM and VMware know it. */
static uint64_t tsc_hz_hypervisor(void)
{
    unsigned eax, ebx, ecx, edx;

    __cpuid(1, eax, ebx, ecx, edx);
    if (!(ecx & (1u << 31)))
        return 0;
    __cpuid(0x40000000, eax, ebx, ecx, edx);
    if (eax < 0x40000010 || eax > 0x4000ffff)
        return 0;
    __cpuid(0x40000010, eax, ebx, ecx, edx);
    return (uint64_t)eax * 1000;
}

/* Leaf 0x15 (SDM vol. 2, CPUID): crystal (ECX) * EBX / EAX. Parts that leave
 * ECX 0 are measured: leaf 0x16 only gives whole MHz of the base clock. */
static uint64_t tsc_hz_crystal(void)
{
    unsigned eax, ebx, ecx, edx;

    __cpuid(0, eax, ebx, ecx, edx);
    if (eax < 0x15)
        return 0;
    __cpuid_count(0x15, 0, eax, ebx, ecx, edx);
    if (eax == 0 || ebx == 0)
        return 0;
    return (uint64_t)ecx * ebx / eax;
}

/* One moment on both clocks: of several readings the one with the least time
 * between its two ends, so that being interrupted does not count. */
static void sample(uint64_t *tsc, uint64_t *ns)
{
    uint64_t best = UINT64_MAX;

    for (int i = 0; i < TSC_SAMPLES; i++) {
        uint64_t before = clock_rdtsc();
        uint64_t now = clock_now_ns();
        uint64_t after = clock_rdtsc();

        if (after - before < best) {
            best = after - before;
            *tsc = before + best / 2;
            *ns = now;
        }
    }
}

static uint64_t tsc_hz_measured(void)
{
    const struct timespec pause = {.tv_nsec = TSC_MEASURE_NS};
    uint64_t tsc0 = 0, tsc1 = 0, ns0 = 0, ns1 = 0;

    sample(&tsc0, &ns0);
    (void)nanosleep(&pause, NULL); /* a shorter sleep measures as well */
    sample(&tsc1, &ns1);
    return (uint64_t)((double)(tsc1 - tsc0) * 1e9 / (double)(ns1 - ns0));
}

static bool plausible(uint64_t hz)
{
    return hz >= TSC_HZ_MIN && hz <= TSC_HZ_MAX;
}

uint64_t clock_tsc_hz(void)
{
    static _Atomic uint64_t known;
    uint64_t old = 0;
    uint64_t hz = atomic_load(&known);

    if (hz)
        return hz;
    hz = tsc_hz_hypervisor();
    if (!plausible(hz))
        hz = tsc_hz_crystal();
    if (!plausible(hz))
        hz = tsc_hz_measured();
    /* Of threads that come here together the first decides for all. */
    return atomic_compare_exchange_strong(&known, &old, hz) ? hz : old;
}
