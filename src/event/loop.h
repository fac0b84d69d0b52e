#ifndef HUSK_EVENT_LOOP_H
#define HUSK_EVENT_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"

/*
 * One thread that waits: file descriptors (epoll), timers, and calls posted
 * from other threads. Callbacks run on the thread that is in loop_run.
 */
struct loop;

/* Create a loop. Caller frees with loop_free after loop_run has returned. */
MUST_CHECK int loop_new(struct loop **out, struct err *err);
void loop_free(struct loop *loop);

/* Run until loop_stop; returns the status given to it. A stop that came before
 * ends it at once; afterwards it can be run again. */
int loop_run(struct loop *loop);
/* End loop_run from any thread (the first status counts). */
void loop_stop(struct loop *loop, int status);

/*
 * events: EPOLLIN, EPOLLOUT ... (0 = none for now, keep it registered: not
 * even a hang-up is told then). The three functions below: any thread, but fn
 * may still be running once after loop_del_fd from another thread, so remove
 * a descriptor on the loop's own thread before closing it.
 */
typedef void loop_fd_fn(void *opaque, int fd, uint32_t events);
/* Watch fd (borrowed). -EEXIST if watched already, other -errno of epoll_ctl.
 */
MUST_CHECK int loop_add_fd(struct loop *loop, int fd, uint32_t events,
                           loop_fd_fn *fn, void *opaque);
void loop_mod_fd(struct loop *loop, int fd, uint32_t events);
/* Stop watching. On the loop's thread fn is not called again after this. */
void loop_del_fd(struct loop *loop, int fd);

/* Run fn(opaque) on the loop's thread soon, in the order posted. Any thread.
 * -ENOMEM. What has not run when the loop is freed never does. */
MUST_CHECK int loop_post(struct loop *loop, void (*fn)(void *), void *opaque);

/*
 * A one-shot timer, embedded in its owner. fn runs on the loop's thread with
 * no lock held. Arming and cancelling are allowed from any thread, also under
 * device locks and from fn. After timer_cancel from another thread fn may
 * still be running once: owners re-check their own state under their lock.
 */
struct timer {
    struct loop *loop;
    void (*fn)(void *opaque);
    void *opaque;
    uint64_t deadline_ns; /* clock_now_ns() time base */
    /* private: place in the loop's heap, which needs no memory of its own, so
     * that arming cannot fail */
    struct timer *child, *next, *prev;
    bool armed;
};

void timer_init(struct timer *t, struct loop *loop, void (*fn)(void *),
                void *opaque);
/* (Re)arm for an absolute deadline; one in the past fires at once. */
void timer_arm(struct timer *t, uint64_t deadline_ns);
void timer_cancel(struct timer *t);

#endif
