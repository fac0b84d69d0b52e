#ifndef HUSK_TESTS_POWERCUT_BARRIER_H
#define HUSK_TESTS_POWERCUT_BARRIER_H

#include "block/hostfile.h"
#include "marks.h"

/*
 * The functions under the store, as the workload gives them to it: the
 * kernel's, and before each sync a mark that says who asked for it, so that the
 * replayer can leave out the syncs of one place in the code.
 */
struct barrier {
    int marks; /* descriptor of the file of marks */
    /* So many writes and syncs until the process ends on the spot, as if it
     * had been killed; 0: never. */
    unsigned end_in;
    /* One of so many writes finds no space; 0: none. */
    unsigned full_each;
    _Atomic uint64_t writes;
};

enum { BARRIER_KILLED = 2 }; /* exit status */

extern const struct hostfile_ops barrier_ops; /* arg: struct barrier */

void barrier_mark(const struct barrier *b, const struct mark *k);
/* Before each call that changes the file: the place of a kill. */
void barrier_step(struct barrier *b);
/* The mark of a sync that is not the block layer's own. */
void barrier_name(const struct barrier *b, const char *name);

#endif
