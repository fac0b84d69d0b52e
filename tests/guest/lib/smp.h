#ifndef GUEST_SMP_H
#define GUEST_SMP_H

#include "guest.h"

/* Application processors: each runs one function, in ring 0 of long mode. */

/* Start CPU id (its APIC id) at fn(id). False if it does not answer in time.
 * The APIC of the caller must be enabled. */
bool smp_start(unsigned id, void (*fn)(unsigned id));

static inline void pause(void)
{
    __asm__ volatile("pause" ::: "memory");
}

static inline uint64_t load(volatile uint64_t *p)
{
    return *p;
}

/* Spin until *p is v; false after a few seconds. */
bool wait_for(volatile uint64_t *p, uint64_t v);

#endif
