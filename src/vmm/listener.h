#ifndef HUSK_VMM_LISTENER_H
#define HUSK_VMM_LISTENER_H

#include "base/compiler.h"
#include "base/err.h"

/*
 * Listen at a Unix socket that only our own user may connect to. A socket
 * that nobody listens at any more is replaced; any other file is left alone.
 * name is the option that asked for it. -errno with err.
 */
MUST_CHECK int listener_open(int *out, const char *path, const char *name,
                             struct err *err);
/* Close and remove the socket. */
void listener_close(int fd, const char *path);

#endif
