#ifndef HUSK_VMM_VMM_H
#define HUSK_VMM_VMM_H

#include "base/compiler.h"
#include "base/err.h"
#include "config/vmconf.h"

/* Exit statuses of a run, as --help and husk(1) list them. An end by signal N
 * is 128 + N; with --debug-exit the guest chooses an odd one. */
enum vmm_exit {
    VMM_EXIT_OK = 0,     /* power-off, reset with --no-reboot, or Ctrl-] */
    VMM_EXIT_FAILED = 1, /* the host or the engine failed */
    VMM_EXIT_USAGE = 2,  /* bad usage or bad input; nothing has run */
    VMM_EXIT_TRIPLE = 3  /* triple fault with --no-reboot */
};

/*
 * Run one machine in this process until it ends. Returns 0 with *status, or
 * -errno with err if it did not start or a reset failed; everything that was
 * opened or created is closed and removed again (but files with output).
 * Blocks signals and ignores SIGPIPE for the process.
 */
MUST_CHECK int vmm_run(const struct vmconf *conf, int *status, struct err *err);

#endif
