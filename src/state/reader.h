#ifndef HUSK_STATE_READER_H
#define HUSK_STATE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "state/desc.h"

/*
 * Read a saved state (state/format.h). It may be damaged or forged: all sizes
 * and checksums are checked before any object sees a byte, and each object
 * checks its values on a scratch copy.
 */
struct state_reader {
    const uint8_t *buf; /* borrowed */
    size_t len;
};

/* Check the whole of buf, which must not change meanwhile. -EINVAL (damaged),
 * -ENOTSUP (a newer format), each with a sentence. */
MUST_CHECK int state_reader_init(struct state_reader *r, const uint8_t *buf,
                                 size_t len, struct err *err);

/*
 * Load one object into *state, which holds its defaults (usually the reset
 * state): fields that are not in the file keep theirs, and fields that desc
 * does not know are skipped. Returns 0; else -ENOENT (not in the file),
 * -ENOTSUP (saved by a newer husk), -EINVAL (a field of another type or size,
 * or desc->check refused), -ENOMEM, and *state is as it was.
 */
MUST_CHECK int state_load(const struct state_reader *r,
                          const struct state_desc *desc, uint32_t instance,
                          void *state, struct err *err);

/* The parts of a checked state, one after the other; start with zeroes. */
struct state_section {
    const uint8_t *start;
    size_t len;
    const char *name; /* not terminated */
    size_t name_len;
    uint32_t instance;
    uint16_t version;
};

struct state_value {
    const uint8_t *data;
    size_t len;
    uint16_t id;
    uint8_t type;
    size_t next; /* private */
};

bool state_next_section(const struct state_reader *r, struct state_section *s);
bool state_next_value(const struct state_section *s, struct state_value *v);

#endif
