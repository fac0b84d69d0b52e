#ifndef HUSK_CLI_OPTIONS_H
#define HUSK_CLI_OPTIONS_H

#include <stdbool.h>

#include "base/compiler.h"
#include "base/err.h"
#include "config/vmconf.h"

/*
 * A walk over the words of a command line, by a table of options:
 * "--name VALUE", "--name=VALUE", "-n VALUE", "-nVALUE", letters in one word
 * ("-ab"), and "--" before words that are no options. Names cannot be
 * abbreviated: a script would break when an option is added.
 */
struct options {
    const char *verb;                /* for error sentences */
    const struct vmconf_info *table; /* borrowed, nr rows */
    int nr;
    const char *const *argv; /* the words behind the verb; NULL ends them */
    const char *letters;     /* what is left of a word like "-ab", or NULL */
    bool only_words;         /* "--" was there */
};

/* What options_next returns besides rows of the table. */
enum { OPTIONS_HELP = 256, OPTIONS_WORD, OPTIONS_END };

/*
 * The next option: its row, with *value (of argv; NULL for a switch).
 * OPTIONS_HELP for --help and -h, OPTIONS_WORD with *value for a word that is
 * no option, OPTIONS_END behind the last. -EINVAL with err for what is none
 * of these; the walk is then over.
 */
MUST_CHECK int options_next(struct options *o, const char **value,
                            struct err *err);

#endif
