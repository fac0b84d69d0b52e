#ifndef HUSK_CLI_MAN_H
#define HUSK_CLI_MAN_H

#include "cli/verb.h"

/* The manual page husk-VERB(1), in mdoc(7). */
void man_verb(FILE *to, const struct verb *v);

#endif
