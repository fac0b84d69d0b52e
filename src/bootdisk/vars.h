#ifndef HUSK_BOOTDISK_VARS_H
#define HUSK_BOOTDISK_VARS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "bootdisk/arena.h"

/*
 * The variables of a boot loader's script. One may be unknown: it was set
 * where husk cannot tell whether the boot loader would have gone there.
 */
enum { VARS_MAX = 1024 };

struct var {
    struct var *next;
    const char *name, *value; /* value NULL: it is not set */
    bool unknown, exported;
};

struct vars {
    struct arena *arena; /* borrowed; has all names and values */
    struct var *first;
    unsigned nr;
};

/* NULL if it is not set; may be unknown. */
const struct var *vars_find(const struct vars *v, const char *name);
/* Its value, "" if it is not set or unknown. */
const char *vars_text(const struct vars *v, const char *name);
/* Copies both; a value of NULL unsets it. -ENOMEM, also if there are too many.
 */
MUST_CHECK int vars_set(struct vars *v, const char *name, const char *value);
MUST_CHECK int vars_set_unknown(struct vars *v, const char *name);
MUST_CHECK int vars_export(struct vars *v, const char *name);
/* Unset all that were not exported. */
void vars_drop_local(struct vars *v);

#endif
