#ifndef HUSK_DIFF_COMPARE_H
#define HUSK_DIFF_COMPARE_H

#include "case.h"

/* What differs between two results, as a set of bits for statistics. */
#define DIFF_IN_STATUS 0x001u
#define DIFF_IN_FAULT  0x002u
#define DIFF_IN_RIP    0x004u
#define DIFF_IN_FLAGS  0x008u
#define DIFF_IN_GPR    0x010u
#define DIFF_IN_SEG    0x020u
#define DIFF_IN_X87    0x040u
#define DIFF_IN_MXCSR  0x080u
#define DIFF_IN_VECTOR 0x100u
#define DIFF_IN_MEMORY 0x200u
#define DIFF_IN_WARM   0x400u
#define DIFF_IN_CR2    0x800u
#define DIFF_IN_FRAME  0x1000u /* flags in the frame of a fault */

/* The fields in which the engine's result is wrong; 0: none. */
unsigned compare(const struct diff_case *c, const struct diff_result *native,
                 const struct diff_result *engine);
/* Short name of the lowest bit in a set. */
const char *compare_name(unsigned fields);

#endif
