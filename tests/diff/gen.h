#ifndef HUSK_DIFF_GEN_H
#define HUSK_DIFF_GEN_H

#include "insn.h"

/* Makes cases: number n of a seed is always the same one. */
struct gen {
    uint64_t seed;
    struct form_table forms;
    ZydisDecoder dec64, dec32, dec16;
    unsigned bits;             /* 0, or only cases of this mode */
    unsigned sequence_percent; /* how many are sequences */
};

void gen_init(struct gen *g, uint64_t seed);
void gen_fini(struct gen *g);

/* Make a case for the code slot that its number stands for (shared.h). */
void gen_case(const struct gen *g, uint64_t number, struct diff_case *c);

/*
 * Append an instruction to c->code and decode it; off is where it starts.
 * without: form flags that must not occur. False if what came out is no
 * instruction that is worth a test; the code is then as it was.
 */
bool gen_insn(const struct gen *g, struct setup *s, unsigned without,
              struct insn *in);

/* A block of instructions with branches among them (sequence.c). */
void sequence_make(const struct gen *g, struct setup *s);

#endif
