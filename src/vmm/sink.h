#ifndef HUSK_VMM_SINK_H
#define HUSK_VMM_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/lock.h"
#include "event/loop.h"

/*
 * Characters from the guest on their way to a descriptor. A vCPU puts them
 * into a ring; the loop writes them out, a burst at a time. With a descriptor
 * that takes nothing for SINK_PATIENCE_NS, a vCPU that finds the ring full
 * drops what comes, so that a stalled reader does not stall the guest.
 *
 * Without a descriptor the ring keeps the newest SINK_SIZE bytes for the one
 * that comes.
 */
enum { SINK_SIZE = 1 << 17 };
#define SINK_PATIENCE_NS 200000000ull

struct sink {
    const char *name; /* for the log: "serial" */
    struct loop *loop;
    struct timer timer; /* a burst is to be written */
    struct lock io;     /* held around writes: one writer at a time */
    struct lock lock;   /* what follows; taken inside io */
    int fd;             /* owned; -1 = none */
    bool watched;       /* the loop waits for fd to take more */
    bool armed;
    bool stalled; /* nobody waits for room any more */
    bool failed;  /* said so already */
    bool is_socket;
    size_t head, len;
    uint8_t *ring;
};

/* -ENOMEM. The loop is borrowed until sink_fini. */
MUST_CHECK int sink_init(struct sink *s, const char *name, struct loop *loop);
/* Write out what is left, for SINK_PATIENCE_NS at most, and close. The loop
 * has ended. */
void sink_fini(struct sink *s);

/* Write to fd (taken; non-blocking if it can block) from now on; -1 = to
 * nobody. On the loop's thread. */
void sink_set_fd(struct sink *s, int fd);

/* Any thread. */
void sink_write(struct sink *s, const void *buf, size_t len);

#endif
