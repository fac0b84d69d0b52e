#ifndef HUSK_TESTS_UNIT_FAIL_ALLOC_H
#define HUSK_TESTS_UNIT_FAIL_ALLOC_H

#include <stdbool.h>

/*
 * Let allocations fail: unit tests are linked so that calls of malloc, calloc,
 * realloc, reallocarray and aligned_alloc from husk's own code come here.
 *
 *     for (unsigned n = 1; fail_alloc_at(n), (rc = f()) == -ENOMEM; n++)
 *         assert that nothing has changed;
 *     assert_false(fail_alloc_happened());
 */

/* The n-th allocation from now fails, once (1 is the next); 0: none does. */
void fail_alloc_at(unsigned n);
/* Whether one has failed since fail_alloc_at. */
bool fail_alloc_happened(void);
/* How many there were since fail_alloc_at. */
unsigned fail_alloc_count(void);

#endif
