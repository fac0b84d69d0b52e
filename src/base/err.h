#ifndef HUSK_BASE_ERR_H
#define HUSK_BASE_ERR_H

#include "base/compiler.h"

/*
 * Why something that a person asked for failed: one sentence without a final
 * full stop or newline, saying what was tried, on what, and why it failed.
 */
struct err {
    int code; /* -errno */
    char text[400];
};

/* Fill err and return code (negative errno), so that it can be returned. */
int err_set(struct err *err, int code, const char *fmt, ...) PRINTF(3, 4);

/* The same from errno: its text is appended after ": ". Returns -errno. */
int err_sys(struct err *err, const char *fmt, ...) PRINTF(2, 3);

#endif
