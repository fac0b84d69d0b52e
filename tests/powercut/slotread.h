#ifndef HUSK_TESTS_POWERCUT_SLOTREAD_H
#define HUSK_TESTS_POWERCUT_SLOTREAD_H

#include "qimg.h"

/*
 * The settings as docs/vm-file.md lays them down, read without husk's code.
 */
struct slotread {
    const uint8_t *text;
    uint32_t len;
    uint64_t generation;
};

/* The slot that counts; false if none is valid. */
bool slotread_find(const struct qimg *q, struct slotread *s);
/* The number that the workload writes as "powercut": N. */
bool slotread_tag(const struct qimg *q, uint64_t *tag);

#endif
