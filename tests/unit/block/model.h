#ifndef HUSK_TESTS_UNIT_BLOCK_MODEL_H
#define HUSK_TESTS_UNIT_BLOCK_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "block/qcow2.h"

/*
 * An image in /tmp, the bytes that its disk should have, and random changes of
 * both. The host under it can be told to fail.
 */
struct model {
    char path[64];
    struct qcow2 *q;
    struct blk *b;
    uint8_t *want; /* size bytes */
    uint8_t *got;  /* scratch, the same */
    uint64_t size, seed;
    uint32_t cache_bytes;
    /* The host. */
    _Atomic unsigned writes, syncs; /* so far */
    unsigned fail_write;            /* the n-th from now fails; 0: none */
    unsigned fail_sync;
    int fail_with;                 /* -errno */
    const char *_Atomic last_sync; /* its reason */
};

/* The host of a model, which is its argument. */
const struct hostfile_ops *model_host(void);

/* c.size decides; zeroes mean what qcow2_create says. Failures are the test's.
 */
void model_make(struct model *m, const struct qcow2_create *c);
void model_open(struct model *m);
void model_close(struct model *m);
void model_free(struct model *m);

uint64_t model_random(struct model *m, uint64_t below);
/* One random write, zero, discard, flush or read. 0, or what it returned; the
 * model follows only what succeeded. After a failure [*off, *off + *len) may
 * have old or new bytes: model_retry makes it so that all are known again. */
int model_step(struct model *m);
void model_steps(struct model *m, unsigned n);
/* Read the whole disk and compare. */
void model_compare(struct model *m);
/* The image is sound: nothing that check finds. */
void model_check(struct model *m);
/* A copy of the file as it is now opens, is sound, and reads like want. */
void model_check_copy(struct model *m, const uint8_t *want);

#endif
