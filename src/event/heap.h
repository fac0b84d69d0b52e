#ifndef HUSK_EVENT_HEAP_H
#define HUSK_EVENT_HEAP_H

#include "event/loop.h"

/*
 * The armed timers of a loop, earliest deadline first: a pairing heap that
 * lives in the timers themselves (Fredman, Sedgewick, Sleator, Tarjan: The
 * pairing heap, 1986). Inserting is constant, removing logarithmic over time.
 * The loop's lock is held around all of these.
 */

/* Returns the new root. t is in no heap. */
struct timer *heap_insert(struct timer *root, struct timer *t);
/* Take t, which is in the heap, out of it. Returns the new root, or NULL. */
struct timer *heap_remove(struct timer *root, struct timer *t);

#endif
