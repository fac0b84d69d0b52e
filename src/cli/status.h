#ifndef HUSK_CLI_STATUS_H
#define HUSK_CLI_STATUS_H

#include "vmm/vmm.h"

/*
 * Exit statuses of all verbs; husk(1) lists them. A run that ends because the
 * guest did has those of enum vmm_exit, of which the first three are the same
 * and the fourth is kept apart from all here.
 */
enum status {
    STATUS_OK = 0,
    STATUS_FAILED = 1,
    STATUS_USAGE = 2,
    STATUS_NOT_FOUND = 3,
    STATUS_STATE = 4, /* exists already, or is in a state that forbids it */
    STATUS_BUSY = 5,
    STATUS_TIMEOUT = 6,
    STATUS_PERMISSION = 7,
    STATUS_DAMAGED = 8,
    STATUS_NO_ENGINE = 9,
    STATUS_NO_SPACE = 10,
    STATUS_NR = 11
};

_Static_assert(STATUS_OK == (int)VMM_EXIT_OK &&
                   STATUS_FAILED == (int)VMM_EXIT_FAILED &&
                   STATUS_USAGE == (int)VMM_EXIT_USAGE &&
                   STATUS_NR <= (int)VMM_EXIT_TRIPLE,
               "a status must mean one thing");

struct status_info {
    const char *code; /* in "error" of --json */
    const char *when; /* for people */
};
extern const struct status_info status_info[STATUS_NR];

/* The status for a failure with this -errno. */
enum status status_of(int rc);

#endif
