#ifndef HUSK_BASE_CHECKED_H
#define HUSK_BASE_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

/*
 * Sizes and addresses from outside are added and multiplied only here: false
 * if the result does not fit, and *out is then not to be used. size_t is
 * uint64_t on the only hosts there are.
 */
MUST_CHECK static inline bool add_ok(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

MUST_CHECK static inline bool mul_ok(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

/* Whether [off, off + len) lies within [0, size). */
static inline bool range_ok(uint64_t off, uint64_t len, uint64_t size)
{
    return len <= size && off <= size - len;
}

/* Whether [a, a + a_len) and [b, b + b_len) share a byte. Neither may wrap. */
static inline bool ranges_overlap(uint64_t a, uint64_t a_len, uint64_t b,
                                  uint64_t b_len)
{
    return a_len && b_len && (a < b ? b - a < a_len : a - b < b_len);
}

#endif
