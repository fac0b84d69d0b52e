#ifndef HUSK_GDB_STUB_H
#define HUSK_GDB_STUB_H

#include "base/compiler.h"
#include "base/err.h"
#include "cpu/vcpu.h"
#include "event/loop.h"

/*
 * The remote stub: lets gdb debug the guest ("target remote"). CPUs are
 * threads 1 to n. One debugger at a time; the machine stops when it comes and
 * runs on when it goes. Addresses are linear ones, translated by the page
 * tables of the chosen CPU.
 */
struct gdb_stub;

/*
 * Listen at address: "unix:PATH" (only our own user may connect; a socket
 * that nobody listens on any more is replaced, another file is not) or
 * "tcp:PORT" (127.0.0.1 only; 1 to 65535). ",wait" behind it keeps the
 * machine from running until a debugger has come and let it go.
 *
 * set and loop are borrowed until gdb_stub_free; everything runs on the
 * loop's thread. -EINVAL, -EADDRINUSE, -ENOMEM or another -errno, with err.
 */
MUST_CHECK int gdb_stub_new(struct gdb_stub **out, struct vcpu_set *set,
                            struct loop *loop, const char *address,
                            struct err *err);

/* Whom to tell that the debugger said "kill": ends the machine. Without one
 * it lets the machine run on. */
void gdb_stub_on_kill(struct gdb_stub *stub, void (*fn)(void *opaque),
                      void *opaque);

/* Detach, close, and remove the socket. On the loop's thread, or after
 * loop_run; before vcpu_set_free and loop_free. */
void gdb_stub_free(struct gdb_stub *stub);

#endif
