#ifndef HUSK_CLI_MAKE_H
#define HUSK_CLI_MAKE_H

#include "cli/args.h"
#include "config/settings.h"

/* What create and import share: a new VM file, and the options that say what
 * is in its settings. */

/* The path for a new VM: the home folder is there afterwards if it is in it.
 * name is the VM's. */
MUST_CHECK int make_path(const struct args *a, const char *word,
                         char path[PATH_MAX], char name[NAME_MAX + 1],
                         struct err *err);
/* Settings of options that are called as settings, or as keys of "boot". Files
 * must be there, and become absolute. */
MUST_CHECK int make_options(const struct args *a, struct settings *s,
                            struct err *err);
/* value as it goes into the settings: paths of files that are there. */
MUST_CHECK int make_absolute(const char *file, char path[PATH_MAX],
                             struct err *err);

#endif
