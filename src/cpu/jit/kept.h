#ifndef HUSK_CPU_JIT_KEPT_H
#define HUSK_CPU_JIT_KEPT_H

#include "cpu/jit/decode.h"

/*
 * Decoded instructions that a vCPU keeps for the next time: decoding one takes
 * longer than most of what rare instructions do. Used by the vCPU's thread.
 */
struct kept;

/* Borrows the model that instructions are decoded for. NULL: no memory. */
struct kept *kept_new(const struct cpuid_model *model);
void kept_free(struct kept *k);

/*
 * Decode as insn_decode() does, which see, with its results. *in stays good
 * until the next call.
 */
int kept_decode(struct kept *k, const struct insn **in, const uint8_t *bytes,
                size_t len, uint32_t key, uint64_t rip);

#endif
