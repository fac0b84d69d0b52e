#ifndef HUSK_CLI_ARGS_H
#define HUSK_CLI_ARGS_H

#include <stdbool.h>

#include "base/err.h"
#include "cli/verb.h"
#include "vmfile/home.h"

/*
 * The words behind a verb, taken apart by its row of the table and by the
 * options that all verbs share.
 */
enum { ARGS_MAX_WORDS = 256, ARGS_MAX_OPTIONS = 256 };

enum format { FORMAT_TABLE, FORMAT_JSON, FORMAT_JSONL, FORMAT_NAME };

struct args {
    const struct verb *verb;
    const char *words[ARGS_MAX_WORDS]; /* argv's */
    int nr_words;
    struct args_option {
        int row;                 /* of verb->options */
        const char *value;       /* NULL for a switch */
    } options[ARGS_MAX_OPTIONS]; /* in the order of the command line */
    int nr_options;
    struct home home;
    enum format format;
    bool quiet, yes, progress;
};

/*
 * Take argv apart (argv[0] is the verb). True: go on. False: it was answered
 * here, by the help or by an error; *status is then the exit status.
 */
bool args_parse(struct args *a, const struct verb *v, char **argv, int *status);

/* The last value of an option of the verb's own, by its long name; NULL if it
 * was not given. "" for a switch. */
const char *args_value(const struct args *a, const char *name);
bool args_has(const struct args *a, const char *name);

/* Whether output is JSON of either form. */
bool args_json(const struct args *a);

/* Print the error, in the form that was asked for, and return its status. */
int args_fail(const struct args *a, int rc, const struct err *err);

#endif
