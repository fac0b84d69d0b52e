#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *err, int code, const char *fmt, ...)
{
    va_list ap;

    err->code = code;
    va_start(ap, fmt);
    (void)vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    return code;
}

int err_sys(struct err *err, const char *fmt, ...)
{
    /* Formatting may change errno, so it is read first. */
    int errnum = errno;
    const char *why = strerrordesc_np(errnum);
    size_t len;
    va_list ap;

    err->code = -errnum;
    va_start(ap, fmt);
    (void)vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    len = strlen(err->text);
    (void)snprintf(err->text + len, sizeof(err->text) - len, ": %s",
                   why ? why : "unknown error");
    return -errnum;
}
