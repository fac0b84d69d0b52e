#ifndef HUSK_STATE_WRITER_H
#define HUSK_STATE_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "state/desc.h"

/*
 * Build a saved state in memory (state/format.h). A lack of memory is kept
 * and told once, by state_writer_finish. One thread.
 */
struct state_writer {
    uint8_t *buf;
    size_t len, cap;
    uint32_t nr_sections;
    bool failed;
};

void state_writer_init(struct state_writer *w);
/* Add the object described by desc. instance tells objects of one name apart;
 * a name and instance is saved once. */
void state_save(struct state_writer *w, const struct state_desc *desc,
                uint32_t instance, const void *state);
/* Returns 0 with *buf, which the caller frees, or -ENOMEM. Ends w either way.
 */
MUST_CHECK int state_writer_finish(struct state_writer *w, uint8_t **buf,
                                   size_t *len);

#endif
