#ifndef HUSK_DEVICES_PC_PHASE_H
#define HUSK_DEVICES_PC_PHASE_H

#include <stdint.h>

/*
 * Times since something was started. A device that was loaded from a snapshot
 * may have been started before this host's clock began, so that start_ns is
 * negative, that is, wrapped: only differences to now mean anything.
 */

/* Further ahead than this is never: 146 years. */
#define PHASE_NEVER_NS ((uint64_t)1 << 62)

/* The deadline that lies offset_ns behind start_ns: now if it has passed. */
static inline uint64_t phase_deadline(uint64_t start_ns, uint64_t offset_ns,
                                      uint64_t now)
{
    uint64_t gone = now - start_ns;
    uint64_t ahead = offset_ns > gone ? offset_ns - gone : 0;

    return now + (ahead < PHASE_NEVER_NS ? ahead : PHASE_NEVER_NS);
}

#endif
