#ifndef HUSK_CLI_PROGRESS_H
#define HUSK_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/args.h"

/*
 * How far something is, on standard error: a bar that moves if that is a
 * terminal, else a line for every 10%. Nothing with --quiet, --no-progress or
 * JSON, nor for what is done within half a second.
 */
struct progress {
    const char *what; /* "import" */
    bool on, bar, shown;
    unsigned last; /* percent that was shown last */
    uint64_t begun_ns;
};

void progress_begin(struct progress *p, const struct args *a, const char *what);
void progress_at(struct progress *p, uint64_t done, uint64_t total);
void progress_end(struct progress *p);
/* A qcow2_progress; arg is the struct progress. Never stops it. */
bool progress_step(void *arg, uint64_t done, uint64_t total);

#endif
