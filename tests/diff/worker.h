#ifndef HUSK_DIFF_WORKER_H
#define HUSK_DIFF_WORKER_H

#include "shared.h"

/* A process that runs batches, started again when a case ends it. */
typedef void worker_fn(struct shared *sh, enum side side,
                       const struct worker_fds *fds);

struct worker {
    worker_fn *fn;
    struct shared *sh;
    enum side side;
    pid_t pid;
    int go, done;
};

/* Nothing is started yet. sh is borrowed. */
void worker_init(struct worker *w, worker_fn *fn, struct shared *sh,
                 enum side side);
void worker_stop(struct worker *w);

/*
 * Begin the batch, and wait for its end. A case that ends or blocks the
 * process is marked and left out. Returns 0, or -1 if no process can be
 * started at all.
 */
int worker_begin(struct worker *w);
int worker_finish(struct worker *w);

#endif
