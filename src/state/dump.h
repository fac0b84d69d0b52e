#ifndef HUSK_STATE_DUMP_H
#define HUSK_STATE_DUMP_H

#include <stdio.h>

#include "state/desc.h"
#include "state/reader.h"

/* Print a state struct, a line for each field, numbers in hexadecimal. */
void state_dump(FILE *out, const struct state_desc *desc, const void *state);

/* Print all of a checked saved state; descs (NULL-terminated, may be NULL)
 * give the names of the fields, whose ids are printed otherwise. */
void state_dump_file(FILE *out, const struct state_reader *r,
                     const struct state_desc *const *descs);

#endif
