#ifndef HUSK_TESTS_POWERCUT_SLOTREAD_H
#define HUSK_TESTS_POWERCUT_SLOTREAD_H

#include "qimg.h"

/*
 * What husk keeps in header extensions, as docs/vm-file.md lays it down, read
 * without husk's code.
 */
struct slotread {
    const uint8_t *text;
    uint32_t len;
    uint64_t generation;
};

/* The mark of an orderly close, for which husk has another extension. */
enum slotread_mark {
    MARK_NONE, /* an image that husk did not make */
    MARK_OPEN, /* or of another length than when it was closed */
    MARK_SHUT  /* nothing is to be looked for at the next open */
};
/* CRC-32C of len bytes. */
uint32_t slotread_crc32c(const uint8_t *p, uint64_t len);

enum slotread_mark slotread_mark(const struct qimg *q);

/* The slot that counts; false if none is valid. */
bool slotread_find(const struct qimg *q, struct slotread *s);
/* The number that the workload writes as "powercut": N. */
bool slotread_tag(const struct qimg *q, uint64_t *tag);

#endif
