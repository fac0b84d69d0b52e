#ifndef HUSK_DIFF_DEAD_H
#define HUSK_DIFF_DEAD_H

#include "case.h"

/*
 * The arithmetic flags that are certainly overwritten before anything reads
 * them, from the instruction at rip on. 0 if rip is not in the case's code.
 */
uint64_t dead_flags(const struct diff_case *c, uint64_t rip);

#endif
