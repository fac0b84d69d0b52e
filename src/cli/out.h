#ifndef HUSK_CLI_OUT_H
#define HUSK_CLI_OUT_H

#include <jansson.h>

#include "cli/args.h"

/*
 * What verbs say on standard output. They make JSON, and a table for people
 * comes from the same: so no form knows more than another. Keys are snake_case
 * and stay; bytes are integers, times RFC 3339 in UTC.
 */
enum column_kind {
    COLUMN_TEXT,
    COLUMN_NUMBER,
    COLUMN_SIZE, /* bytes: "1.5G" */
    COLUMN_AGE,  /* of a time: "3d" */
    COLUMN_FLAG  /* "yes" or nothing */
};

struct column {
    const char *title;
    const char *key; /* "disk.size" looks into an object */
    enum column_kind kind;
};

/* Print an array of objects in the form asked for, and drop it. FORMAT_NAME
 * prints the member name of each. */
void out_list(const struct args *a, json_t *rows, const struct column *columns,
              size_t nr);
/* One object: a line for each column that it has a value for. */
void out_object(const struct args *a, json_t *object,
                const struct column *columns, size_t nr);
/* A verb has changed the thing of this name: says nothing with --quiet but the
 * name, as JSON {"name": ...}, else the sentence. */
void out_done(const struct args *a, const char *name, const char *fmt, ...)
    PRINTF(3, 4);

/* "1.5G", "512M", "17" (bytes) in buf. */
enum { OUT_SIZE = 16 };
const char *out_size(uint64_t bytes, char buf[OUT_SIZE]);
/* RFC 3339 in UTC of seconds since 1970. */
enum { OUT_TIME = 32 };
const char *out_time(uint64_t seconds, char buf[OUT_TIME]);
/* What is not for a terminal becomes '?'. */
void out_text(FILE *to, const char *text);
/* text as JSON, with '?' for what is no UTF-8. */
json_t *out_json_text(const char *text);

#endif
