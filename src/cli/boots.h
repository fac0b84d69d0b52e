#ifndef HUSK_CLI_BOOTS_H
#define HUSK_CLI_BOOTS_H

#include <jansson.h>

#include "cli/vm.h"

/*
 * How a VM that does not run will boot at its next start, as JSON: "text" for a
 * person, "direct", and either "kernel", "entry", "loader" and "append" or
 * "why". The disk is looked at now. NULL: out of memory.
 */
json_t *boots_next(const struct args *a, const struct vm *vm);

#endif
