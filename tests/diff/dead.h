#ifndef HUSK_DIFF_DEAD_H
#define HUSK_DIFF_DEAD_H

#include "case.h"

/*
 * The arithmetic flags that the instruction at rip, or one that follows it
 * before any branch, overwrites without their having been read. 0 if rip is
 * not in the case's code.
 */
uint64_t dead_flags(const struct diff_case *c, uint64_t rip);

#endif
