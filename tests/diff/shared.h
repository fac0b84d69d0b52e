#ifndef HUSK_DIFF_SHARED_H
#define HUSK_DIFF_SHARED_H

#include <stdatomic.h>
#include <sys/types.h>

#include "case.h"

/*
 * What a batch of cases and its two workers (native and engine) share: one
 * mapping at the same address in all processes, far from anything that a case
 * uses.
 */
enum { DIFF_BATCH = 1024 };
enum side { SIDE_NATIVE, SIDE_ENGINE, NR_SIDES };

struct side_area {
    _Atomic uint32_t running; /* case in work, DIFF_BATCH when done */
    struct diff_result result[DIFF_BATCH];
};

struct shared {
    uint8_t skip[DIFF_BATCH]; /* cases that are left out */
    bool chaos;               /* disturb the engine while it runs */
    uint32_t first, last;     /* cases [first, last) are to be run */
    struct diff_case c[DIFF_BATCH];
    struct side_area side[NR_SIDES];
};

/* Code of all slots, as both workers load it. */
#define DIFF_CODE_SIZE                                                         \
    ((DIFF_BATCH * DIFF_SLOT_PITCH + DIFF_PAGE - 1) & ~(DIFF_PAGE - 1))

/* Fill buf (DIFF_CODE_SIZE bytes) with the code of the batch. */
void shared_code(const struct shared *sh, uint8_t *buf);

/* The next case to run at or after i, or DIFF_BATCH. */
static inline uint32_t shared_next(const struct shared *sh, uint32_t i)
{
    while (i < sh->last && sh->skip[i])
        i++;
    return i < sh->last ? i : DIFF_BATCH;
}

/*
 * A worker's main function, in a process of its own: waits for a byte on
 * go_fd, runs shared->first to last, writes a byte to done_fd, and so on until
 * go_fd closes. Never returns.
 */
struct worker_fds {
    int go, done;
};

_Noreturn void native_main(struct shared *sh, enum side side,
                           const struct worker_fds *fds);
_Noreturn void engine_main(struct shared *sh, enum side side,
                           const struct worker_fds *fds);

#endif
