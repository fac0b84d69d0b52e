#ifndef HUSK_CLI_FACTS_H
#define HUSK_CLI_FACTS_H

#include <jansson.h>

#include "cli/vm.h"

/* What is known of a VM, as JSON; made from its file, which may be in use. */

/* For a row of a list; a VM that cannot be read has its name and "error". */
json_t *facts_row(const struct args *a, const char *path, const char *name);
/* All; NULL with err. */
json_t *facts_all(const struct args *a, const char *word, struct err *err);
/* A snapshot, with the bytes that only it holds if vf can tell. */
json_t *facts_snapshot(struct vmfile *vf, const struct vmsnap *s,
                       const char *parent);

#endif
