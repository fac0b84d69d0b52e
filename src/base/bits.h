#ifndef HUSK_BASE_BITS_H
#define HUSK_BASE_BITS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/checked.h"
#include "base/compiler.h"

#define BIT32(n) ((uint32_t)1 << (n))
#define BIT64(n) ((uint64_t)1 << (n))

/* The low n bits set; n is 0..64. */
static inline uint64_t bits_mask(unsigned n)
{
    return n >= 64 ? UINT64_MAX : BIT64(n) - 1;
}

/* The bits of val from hi down to lo (hi >= lo). */
static inline uint64_t bits_get(uint64_t val, unsigned hi, unsigned lo)
{
    return (val >> lo) & bits_mask(hi - lo + 1);
}

/* val with its bits hi..lo replaced by field; what does not fit is cut. */
static inline uint64_t bits_set(uint64_t val, unsigned hi, unsigned lo,
                                uint64_t field)
{
    uint64_t mask = bits_mask(hi - lo + 1) << lo;

    return (val & ~mask) | ((field << lo) & mask);
}

static inline bool is_pow2(uint64_t x)
{
    return x && !(x & (x - 1));
}

/* align is a power of two. */
static inline bool is_aligned(uint64_t x, uint64_t align)
{
    return !(x & (align - 1));
}

static inline uint64_t align_down(uint64_t x, uint64_t align)
{
    return x & ~(align - 1);
}

/* False if the next multiple does not fit. */
MUST_CHECK static inline bool align_up_ok(uint64_t x, uint64_t align,
                                          uint64_t *out)
{
    if (!add_ok(x, align - 1, out))
        return false;
    *out = align_down(*out, align);
    return true;
}

#endif
