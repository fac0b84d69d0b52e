#ifndef HUSK_GDB_LISTEN_H
#define HUSK_GDB_LISTEN_H

#include <stdbool.h>
#include <sys/un.h>

#include "base/compiler.h"
#include "base/err.h"

/* A listening socket of the stub, from an address in words. */
struct gdb_listener {
    int fd;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* or empty */
    bool wait; /* the address ended with ",wait" */
};

/* "unix:PATH" or "tcp:PORT": see gdb_stub_new. */
MUST_CHECK int gdb_listener_open(struct gdb_listener *l, const char *address,
                                 struct err *err);
/* Close, and remove the socket's file. */
void gdb_listener_close(struct gdb_listener *l);

#endif
