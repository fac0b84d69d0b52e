#ifndef HUSK_TESTS_POWERCUT_VERIFY_H
#define HUSK_TESTS_POWERCUT_VERIFY_H

#include "model.h"
#include "qcheck.h"

/* Whether an image holds what the model says; false with a sentence in why. */
struct verify {
    uint8_t *cluster; /* room for one */
    uint64_t base;    /* as in the model */
    char why[200];
};

bool verify_image(struct verify *v, struct model *m, const struct qimg *q);
/* The same for the plain contents of the disk (bytes of any length). */
bool verify_contents(struct verify *v, const struct model *m,
                     const uint8_t *data, uint64_t size);

#endif
