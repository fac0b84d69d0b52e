#ifndef HUSK_CLI_VERB_H
#define HUSK_CLI_VERB_H

#include <stdbool.h>
#include <stdio.h>

#include "config/vmconf.h"

/*
 * What husk can be told to do: one function each. The list of verbs, their
 * help and the completions of shells come from this table; a test compares
 * husk(1) with it.
 */
struct verb {
    const char *name;
    const char *words;   /* what follows it: "[VERB]"; "" for nothing */
    const char *summary; /* one line, for the list of verbs */
    const struct vmconf_info *options; /* nr_options of them; NULL if none */
    int nr_options;
    /* argv[0] is the verb. Returns the exit status. */
    int (*run)(int argc, char **argv);
};

enum { NR_VERBS = 4 };
extern const struct verb verbs[NR_VERBS];

/* NULL if there is none of this name. */
const struct verb *verb_find(const char *name);

int cmd_run(int argc, char **argv);
int cmd_help(int argc, char **argv);
int cmd_completion(int argc, char **argv);
int cmd_version(int argc, char **argv);

/* The list of verbs; how one of them is used. */
void help_verbs(FILE *to);
void help_verb(FILE *to, const struct verb *v);

/* "husk: <sentence>" on standard error. */
void say_error(const char *text);
/* Says that there is no such verb; returns the exit status. */
int say_no_verb(const char *name);

/*
 * For verbs without options: whether the words behind argv[0] were answered
 * here, by the help or by an error; *status is then the exit status.
 */
bool verb_refuses(const struct verb *v, char **argv, int max_words,
                  int *status);

#endif
