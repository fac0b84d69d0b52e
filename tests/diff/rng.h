#ifndef HUSK_DIFF_RNG_H
#define HUSK_DIFF_RNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Reproducible random numbers (the splitmix64 finalizer over a counter). */
struct rng {
    uint64_t state;
};

static inline uint64_t rng_mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* The generator of case number n of a seed: cases do not depend on others. */
static inline void rng_init(struct rng *r, uint64_t seed, uint64_t n)
{
    r->state = rng_mix(seed + 0x9e3779b97f4a7c15u) ^ rng_mix(~n);
}

static inline uint64_t rng_u64(struct rng *r)
{
    r->state += 0x9e3779b97f4a7c15u;
    return rng_mix(r->state);
}

/* 0 .. n - 1; n is small, so the bias does not matter. */
static inline unsigned rng_below(struct rng *r, unsigned n)
{
    return (unsigned)((rng_u64(r) >> 32) * n >> 32);
}

static inline bool rng_percent(struct rng *r, unsigned percent)
{
    return rng_below(r, 100) < percent;
}

static inline void rng_bytes(struct rng *r, void *dst, size_t len)
{
    uint8_t *p = dst;

    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)(rng_u64(r) >> 24);
}

#endif
