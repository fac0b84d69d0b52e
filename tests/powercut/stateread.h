#ifndef HUSK_TESTS_POWERCUT_STATEREAD_H
#define HUSK_TESTS_POWERCUT_STATEREAD_H

#include "qimg.h"

/*
 * State areas of snapshots, read as docs/vm-file.md describes them and by
 * nothing of husk's own.
 */

/* The entry that has the firmware's variables. */
#define STATE_VARIABLES "husk-uefi"

/* Bytes of the state of a snapshot; false if they cannot be read. */
bool state_read(const struct qimg *q, const struct qview *v, uint64_t off,
                void *buf, uint64_t len);

/* The version that all sectors of the variables hold, 0 if there are none; -1:
 * no copy is valid, or its sectors differ. */
int64_t state_variables(const struct qimg *q);

#endif
