/*
 * Locks, and the check of their order. The ranked locks that a thread holds
 * are kept in a small array of its own; locks may be dropped in any order.
 */
#include "base/lock.h"

#include <assert.h>

void lock_init(struct lock *l)
{
    lock_init_ranked(l, LOCK_RANK_NONE);
}

void lock_init_ranked(struct lock *l, enum lock_rank rank)
{
    int rc = pthread_mutex_init(&l->m, NULL);

    assert(rc == 0); /* a default mutex needs no resource on Linux */
    (void)rc;
    l->rank = rank;
}

void lock_fini(struct lock *l)
{
    int rc = pthread_mutex_destroy(&l->m);

    assert(rc == 0); /* still held: the owner went away too early */
    (void)rc;
}

#ifdef HUSK_DEBUG

enum { LOCK_MAX_HELD = 16 };

static _Thread_local struct {
    const struct lock *lock[LOCK_MAX_HELD];
    unsigned nr;
} held;

void lock_rank_push(const struct lock *l)
{
    if (l->rank == LOCK_RANK_NONE)
        return;
    for (unsigned i = 0; i < held.nr; i++)
        assert(held.lock[i]->rank < l->rank);
    assert(held.nr < LOCK_MAX_HELD);
    held.lock[held.nr++] = l;
}

void lock_rank_pop(const struct lock *l)
{
    unsigned i = held.nr;

    if (l->rank == LOCK_RANK_NONE)
        return;
    while (i > 0 && held.lock[i - 1] != l)
        i--;
    assert(i > 0);
    held.nr--;
    for (i--; i < held.nr; i++)
        held.lock[i] = held.lock[i + 1];
}

#endif
