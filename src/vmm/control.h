#ifndef HUSK_VMM_CONTROL_H
#define HUSK_VMM_CONTROL_H

#include "base/compiler.h"
#include "base/err.h"
#include "event/loop.h"
#include "vmm/control_msg.h"

/*
 * The socket at which a running machine takes commands (control_msg.h). All of
 * it happens on the loop's thread, which serves the disks and consoles too: no
 * client can hold it up. What a client may do is bounded: CONTROL_MAX_LINE, so
 * many clients at once (the one that has been quiet for longest makes way),
 * and CONTROL_PATIENCE_NS to finish a line or to read an answer.
 */
enum { CONTROL_MAX_CLIENTS = 8, CONTROL_MAX_UNREAD = 1 << 18 };
#define CONTROL_PATIENCE_NS 10000000000ull

struct control;

/* Carry out msg: 0 with *result (a new reference; may stay NULL), or -errno
 * with err. May end the loop. */
typedef int control_fn(void *opaque, const struct control_msg *msg,
                       json_t **result, struct err *err);

/* Listen at path (borrowed, as the loop). Only our own user may connect. */
MUST_CHECK int control_new(struct control **out, struct loop *loop,
                           const char *path, control_fn *fn, void *opaque,
                           struct err *err);
/* Sends what is left if that needs no waiting; removes the socket. On the
 * loop's thread or when it has ended. */
void control_free(struct control *c);

/*
 * The other end: send one command (an object with "do"; borrowed) to the
 * socket at path and wait for its answer, timeout_ms at most. 0 with *result
 * (a new reference); -ENOENT or -ECONNREFUSED if nobody listens; -ETIMEDOUT;
 * or what the machine answered: the errno of its code, its sentence in err.
 */
MUST_CHECK int control_call(const char *path, const json_t *command,
                            unsigned timeout_ms, json_t **result,
                            struct err *err);

#endif
