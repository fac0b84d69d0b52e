#ifndef HUSK_TESTS_POWERCUT_TRACE_H
#define HUSK_TESTS_POWERCUT_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/*
 * What a program did to the files of one folder, in the order in which the
 * host saw it: a recorder writes it, the replayer reads it. The file is a row
 * of heads, each followed by the data of its event; numbers are the host's.
 *
 * Writes to a file named "marks" are no writes but what the program wants to
 * tell the replayer (marks.h); they stand among the other events at the place
 * where they happened.
 */
enum trace_kind {
    TRACE_NAME = 1, /* data: the name of the file that from now has this id */
    TRACE_WRITE,    /* data at off */
    TRACE_SIZE,     /* the file now ends at off */
    TRACE_ZERO,     /* len bytes at off now read as zeroes (hole or not) */
    TRACE_SYNC,     /* all of the file is stable, or (O_DSYNC) len at off */
    TRACE_MARK      /* data: one mark */
};

struct trace_event {
    uint8_t kind;
    uint8_t file;
    uint8_t unused[6];
    uint64_t off;
    uint64_t len; /* of the data, or of the range of TRACE_ZERO */
};

enum { TRACE_FILES = 16 };

/* The writing side; not for several threads. */
struct trace_writer {
    FILE *out;
    char names[TRACE_FILES][64];
    unsigned nr_names;
};

/* -1 with errno set. */
int trace_create(struct trace_writer *w, const char *path);
int trace_close(struct trace_writer *w);
/* The id of the file of this name, made if it is new; -1 if there are too
 * many. */
int trace_file(struct trace_writer *w, const char *name);
bool trace_is_marks(const struct trace_writer *w, int file);
void trace_put(struct trace_writer *w, enum trace_kind kind, int file,
               uint64_t off, uint64_t len, const void *data);

/* The reading side: the whole trace in memory. */
struct trace {
    const uint8_t *bytes;
    size_t size;
};

int trace_open(struct trace *t, const char *path);
void trace_unmap(struct trace *t);
/* The event at *pos, its data in *data, and *pos behind it; false at the end
 * or where the trace is cut. */
bool trace_next(const struct trace *t, size_t *pos, struct trace_event *ev,
                const uint8_t **data);

#endif
