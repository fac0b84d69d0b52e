#ifndef HUSK_BASE_LOCK_H
#define HUSK_BASE_LOCK_H

#include <pthread.h>
#include <stdbool.h>

#include "base/compiler.h"
#include "base/lock_ranks.h"

/* A mutex that clang's thread-safety analysis knows. */
struct CAPABILITY("mutex") lock {
    pthread_mutex_t m;
    enum lock_rank rank; /* looked at outside of release builds */
};

/* An unranked lock. */
void lock_init(struct lock *l);
/* A lock whose place in the order of lock_ranks.h is checked. */
void lock_init_ranked(struct lock *l, enum lock_rank rank);
void lock_fini(struct lock *l);

#ifdef HUSK_DEBUG
/* Assert that the calling thread may take l now; note that it did, or that it
 * let go. At most 16 ranked locks nest. */
void lock_rank_push(const struct lock *l);
void lock_rank_pop(const struct lock *l);
#else
static inline void lock_rank_push(const struct lock *l)
{
    (void)l;
}

static inline void lock_rank_pop(const struct lock *l)
{
    (void)l;
}
#endif

static inline void lock_take(struct lock *l) ACQUIRES(*l) NO_TSA;
static inline void lock_take(struct lock *l)
{
    lock_rank_push(l);
    (void)pthread_mutex_lock(&l->m);
}

/* Take it if it is free. The caller is NO_TSA, too. */
static inline bool lock_try(struct lock *l) NO_TSA;
static inline bool lock_try(struct lock *l)
{
    if (pthread_mutex_trylock(&l->m) != 0)
        return false;
    lock_rank_push(l);
    return true;
}

static inline void lock_drop(struct lock *l) RELEASES(*l) NO_TSA;
static inline void lock_drop(struct lock *l)
{
    (void)pthread_mutex_unlock(&l->m);
    lock_rank_pop(l);
}

#endif
