#ifndef HUSK_BASE_CLOCK_H
#define HUSK_BASE_CLOCK_H

#include <stdint.h>

#define NS_PER_SEC 1000000000ull

/* CLOCK_MONOTONIC in nanoseconds: the time base of every device timer. */
uint64_t clock_now_ns(void);
/* CLOCK_REALTIME in nanoseconds since 1970: wall-clock devices and kvmclock. */
uint64_t clock_wall_ns(void);

/*
 * The host's TSC frequency in Hz, from CPUID 0x15/0x16 or the hypervisor's
 * timing leaf (0x40000010) if they give it, else measured once over about
 * 10 ms. Any thread; the first call decides.
 */
uint64_t clock_tsc_hz(void);

static inline uint64_t clock_rdtsc(void)
{
    return __builtin_ia32_rdtsc();
}

#endif
