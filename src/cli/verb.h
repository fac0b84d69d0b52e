#ifndef HUSK_CLI_VERB_H
#define HUSK_CLI_VERB_H

#include <stdbool.h>
#include <stdio.h>

#include "config/vmconf.h"

/*
 * What husk can be told to do: one function each. The parser, the list of
 * verbs, their help, their manual pages and the completions of shells come
 * from this table; a test compares husk(1) with it.
 */
struct args;

/* Options that verbs share, as bits of struct verb's globals. */
enum {
    GLOBAL_HOME,
    GLOBAL_OUTPUT,
    GLOBAL_JSON,
    GLOBAL_QUIET,
    GLOBAL_VERBOSE,
    GLOBAL_YES,
    GLOBAL_NO_PROGRESS,
    VERB_NR_GLOBALS
};
extern const struct vmconf_info verb_globals[VERB_NR_GLOBALS];

/* What its words are, for completion. */
enum words { WORDS_NONE, WORDS_VM, WORDS_FILE, WORDS_VERB, WORDS_SHELL };

struct verb {
    const char *name;
    const char *alias;   /* other names for it: "ls ps"; "" for none */
    const char *words;   /* what follows it: "[VERB]"; "" for nothing */
    const char *summary; /* one line, for the list of verbs */
    const char *notes;   /* more, for its help and manual page; "" for none */
    const struct vmconf_info *options; /* nr_options of them; NULL if none */
    int nr_options;
    unsigned globals;         /* 1 << GLOBAL_... */
    int min_words, max_words; /* of the words behind it */
    enum words kind;
    int (*run)(struct args *a); /* returns the exit status */
};

enum { NR_VERBS = 28 };
extern const struct verb verbs[NR_VERBS];

/* By name or alias; NULL if there is none. */
const struct verb *verb_find(const char *name);
/* Whether the verb has this shared option, and what it looks like there: its
 * letter can be another option's. */
bool verb_has_global(const struct verb *v, int global);
struct vmconf_info verb_global(const struct verb *v, int global);

int cmd_run(struct args *a);
int cmd_create(struct args *a);
int cmd_info(struct args *a);
int cmd_list(struct args *a);
int cmd_set(struct args *a);
int cmd_get(struct args *a);
int cmd_edit(struct args *a);
int cmd_insert(struct args *a);
int cmd_eject(struct args *a);
int cmd_rename(struct args *a);
int cmd_delete(struct args *a);
int cmd_recover(struct args *a);
int cmd_purge(struct args *a);
int cmd_protect(struct args *a);
int cmd_unprotect(struct args *a);
int cmd_port(struct args *a);
int cmd_snapshot(struct args *a);
int cmd_snapshots(struct args *a);
int cmd_restore(struct args *a);
int cmd_check(struct args *a);
int cmd_compact(struct args *a);
int cmd_import(struct args *a);
int cmd_export(struct args *a);
int cmd_screen(struct args *a);
int cmd_key(struct args *a);
int cmd_help(struct args *a);
int cmd_completion(struct args *a);
int cmd_version(struct args *a);

/* The list of verbs; how one of them is used. */
void help_verbs(FILE *to);
void help_verb(FILE *to, const struct verb *v);

/* "husk: <sentence>" on standard error. */
void say_error(const char *text);
/* Says that there is no such verb; returns the exit status. */
int say_no_verb(const char *name);

#endif
