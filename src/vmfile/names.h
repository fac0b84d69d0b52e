#ifndef HUSK_VMFILE_NAMES_H
#define HUSK_VMFILE_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "base/err.h"

/* File names of a folder, sorted by their bytes. */
struct names {
    char **names;
    size_t nr, room;
};

/* Those that want accepts. None if there is no such folder; at most 65,536.
 * names_free in any case. */
MUST_CHECK int names_read(struct names *n, const char *dir,
                          bool (*want)(const char *file), struct err *err);
void names_free(struct names *n);

#endif
