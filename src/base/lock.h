#ifndef HUSK_BASE_LOCK_H
#define HUSK_BASE_LOCK_H

#include <pthread.h>

#include "base/compiler.h"

/* A mutex that clang's thread-safety analysis knows. */
struct CAPABILITY("mutex") lock {
    pthread_mutex_t m;
};

void lock_init(struct lock *l);
void lock_fini(struct lock *l);

static inline void lock_take(struct lock *l) ACQUIRES(*l) NO_TSA;
static inline void lock_take(struct lock *l)
{
    (void)pthread_mutex_lock(&l->m);
}

static inline void lock_drop(struct lock *l) RELEASES(*l) NO_TSA;
static inline void lock_drop(struct lock *l)
{
    (void)pthread_mutex_unlock(&l->m);
}

#endif
