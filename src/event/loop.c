/*
 * The event loop: one epoll set that holds the watched descriptors, a timerfd
 * for the earliest timer and an eventfd for calls from other threads.
 *
 * Both of the latter are edge-triggered and never read: an expiry or a write
 * wakes the loop once. An idle loop sleeps in epoll_wait without a timeout.
 *
 * The timerfd is set for programmed_ns. Another thread touches it only to make
 * it fire earlier; a timer that is cancelled or moved back leaves it alone and
 * at worst causes one wake-up that finds nothing. Timers armed by the loop's
 * own thread are programmed once, before it sleeps.
 *
 * lock guards the timers, the posted calls and the table of watches. It is
 * taken under device locks and no callback runs under it.
 */
#include "event/loop.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/lock.h"
#include "event/heap.h"

enum { LOOP_EVENTS = 32 };

#define NEVER UINT64_MAX

struct watch {
    struct watch *next_dead;
    loop_fd_fn *fn;
    void *opaque;
    int fd;
    uint32_t events;
    bool dead; /* removed: freed when no event in hand can name it */
};

struct post {
    struct post *next;
    void (*fn)(void *opaque);
    void *opaque;
};

struct loop {
    int epoll_fd, timer_fd, post_fd;

    struct lock lock;     /* guards all below */
    struct timer *timers; /* root of the heap */
    unsigned nr_timers;
    uint64_t programmed_ns; /* what the timerfd is set for, or NEVER */
    struct post *posts, **last_post;
    struct watch **watches; /* by descriptor */
    size_t nr_watches;
    struct watch *dead;
    pthread_t thread; /* while running */
    bool running;
    bool stopping;
    int status;
};

/* --- Making and freeing --------------------------------------------------- */

/* Add one of the loop's own descriptors; data.ptr NULL tells them apart. */
static int add_own_fd(struct loop *loop, int fd)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};

    return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev);
}

int loop_new(struct loop **out, struct err *err)
{
    struct loop *loop = calloc(1, sizeof(*loop));

    if (!loop)
        return err_set(err, -ENOMEM, "create the event loop: out of memory");
    lock_init_ranked(&loop->lock, LOCK_RANK_LOOP);
    loop->programmed_ns = NEVER;
    loop->last_post = &loop->posts;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->timer_fd =
        timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    loop->post_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (loop->epoll_fd < 0 || loop->timer_fd < 0 || loop->post_fd < 0 ||
        add_own_fd(loop, loop->timer_fd) < 0 ||
        add_own_fd(loop, loop->post_fd) < 0) {
        int rc = err_sys(err, "create the event loop");

        loop_free(loop);
        return rc;
    }
    *out = loop;
    return 0;
}

static void free_dead(struct watch *dead)
{
    while (dead) {
        struct watch *next = dead->next_dead;

        free(dead);
        dead = next;
    }
}

static void close_if_open(int fd)
{
    if (fd >= 0)
        (void)close(fd);
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    assert(!loop->running);
    while (loop->posts) {
        struct post *p = loop->posts;

        loop->posts = p->next;
        free(p);
    }
    while (loop->timers) {
        struct timer *t = loop->timers;

        loop->timers = heap_remove(t, t);
        t->armed = false;
    }
    for (size_t i = 0; i < loop->nr_watches; i++)
        free(loop->watches[i]);
    free(loop->watches);
    free_dead(loop->dead);
    close_if_open(loop->post_fd);
    close_if_open(loop->timer_fd);
    close_if_open(loop->epoll_fd);
    lock_fini(&loop->lock);
    free(loop);
}

/* --- Timers --------------------------------------------------------------- */

/* Set the timerfd, lock held. 0 would disarm it: the moment after boot. */
static void program_locked(struct loop *loop, uint64_t deadline_ns)
{
    uint64_t ns = deadline_ns ? deadline_ns : 1;
    const struct itimerspec spec = {
        .it_value = {.tv_sec = (time_t)(ns / NS_PER_SEC),
                     .tv_nsec = (long)(ns % NS_PER_SEC)}};
    int rc = timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);

    assert(rc == 0); /* a valid time on a valid descriptor */
    (void)rc;
    loop->programmed_ns = deadline_ns;
}

/* Whether the caller is the loop's thread, which programs before it sleeps. */
static bool on_own_thread_locked(const struct loop *loop)
{
    return loop->running && pthread_equal(loop->thread, pthread_self());
}

void timer_init(struct timer *t, struct loop *loop, void (*fn)(void *),
                void *opaque)
{
    *t = (struct timer){.loop = loop, .fn = fn, .opaque = opaque};
}

static void disarm_locked(struct timer *t)
{
    struct loop *loop = t->loop;

    if (!t->armed)
        return;
    loop->timers = heap_remove(loop->timers, t);
    loop->nr_timers--;
    t->armed = false;
}

void timer_arm(struct timer *t, uint64_t deadline_ns)
{
    struct loop *loop = t->loop;

    lock_take(&loop->lock);
    disarm_locked(t);
    t->deadline_ns = deadline_ns;
    t->armed = true;
    loop->timers = heap_insert(loop->timers, t);
    loop->nr_timers++;
    if (loop->timers == t && deadline_ns < loop->programmed_ns &&
        !on_own_thread_locked(loop))
        program_locked(loop, deadline_ns);
    lock_drop(&loop->lock);
}

void timer_cancel(struct timer *t)
{
    lock_take(&t->loop->lock);
    disarm_locked(t);
    lock_drop(&t->loop->lock);
}

/* Fire what is due. Timers that fire may arm themselves for the past: each
 * round ends after as many as were armed at its start. */
static void run_timers(struct loop *loop)
{
    uint64_t now = clock_now_ns();
    unsigned left;

    lock_take(&loop->lock);
    for (left = loop->nr_timers; left > 0; left--) {
        struct timer *t = loop->timers;
        void (*fn)(void *);
        void *opaque;

        if (!t || t->deadline_ns > now)
            break;
        disarm_locked(t);
        fn = t->fn; /* t may go away once the lock is dropped */
        opaque = t->opaque;
        lock_drop(&loop->lock);
        fn(opaque);
        lock_take(&loop->lock);
    }
    lock_drop(&loop->lock);
}

/* --- Posted calls --------------------------------------------------------- */

static void wake(struct loop *loop)
{
    const uint64_t one = 1;
    /* Never blocks: its counter would overflow only after 2^64 calls. */
    ssize_t n = write(loop->post_fd, &one, sizeof(one));

    assert(n == (ssize_t)sizeof(one));
    (void)n;
}

int loop_post(struct loop *loop, void (*fn)(void *), void *opaque)
{
    struct post *p = malloc(sizeof(*p));
    bool first;

    if (!p)
        return -ENOMEM;
    *p = (struct post){.fn = fn, .opaque = opaque};
    lock_take(&loop->lock);
    first = !loop->posts;
    *loop->last_post = p;
    loop->last_post = &p->next;
    lock_drop(&loop->lock);
    if (first) /* else the loop has been woken and not looked yet */
        wake(loop);
    return 0;
}

static void run_posts(struct loop *loop)
{
    struct post *p;

    lock_take(&loop->lock);
    p = loop->posts;
    loop->posts = NULL;
    loop->last_post = &loop->posts;
    lock_drop(&loop->lock);
    while (p) {
        struct post *next = p->next;

        p->fn(p->opaque);
        free(p);
        p = next;
    }
}

/* --- Descriptors ---------------------------------------------------------- */

/* The table slot of fd, made if there is none yet; NULL without memory. */
static struct watch **slot_locked(struct loop *loop, int fd)
{
    size_t idx = (size_t)fd;

    if (idx >= loop->nr_watches) {
        size_t nr = idx + 16; /* descriptors come in order: grow in steps */
        struct watch **grown =
            reallocarray(loop->watches, nr, sizeof(struct watch *));

        if (!grown)
            return NULL;
        memset(grown + loop->nr_watches, 0,
               (nr - loop->nr_watches) * sizeof(struct watch *));
        loop->watches = grown;
        loop->nr_watches = nr;
    }
    return &loop->watches[idx];
}

static struct watch *find_locked(struct loop *loop, int fd)
{
    return fd >= 0 && (size_t)fd < loop->nr_watches ? loop->watches[fd] : NULL;
}

/* Tell epoll what is wanted of w: from none to some it is added, and back
 * removed, since epoll tells hang-ups even to those who want nothing. */
static int change_events(struct loop *loop, struct watch *w, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = w};
    int op = EPOLL_CTL_MOD;

    if (w->events == 0 && events == 0)
        return 0;
    if (w->events == 0)
        op = EPOLL_CTL_ADD;
    else if (events == 0)
        op = EPOLL_CTL_DEL;
    if (epoll_ctl(loop->epoll_fd, op, w->fd, &ev) < 0)
        return -errno;
    w->events = events;
    return 0;
}

int loop_add_fd(struct loop *loop, int fd, uint32_t events, loop_fd_fn *fn,
                void *opaque)
{
    struct watch **slot;
    struct watch *w;
    int rc = 0;

    if (fd < 0)
        return -EBADF;
    w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    w->fd = fd;
    w->fn = fn;
    w->opaque = opaque;
    lock_take(&loop->lock);
    slot = slot_locked(loop, fd);
    if (!slot)
        rc = -ENOMEM;
    else if (*slot)
        rc = -EEXIST;
    else
        rc = change_events(loop, w, events);
    if (rc == 0) {
        *slot = w;
        w = NULL;
    }
    lock_drop(&loop->lock);
    free(w);
    return rc;
}

void loop_mod_fd(struct loop *loop, int fd, uint32_t events)
{
    struct watch *w;

    lock_take(&loop->lock);
    w = find_locked(loop, fd);
    assert(w); /* the caller watches it */
    (void)change_events(loop, w, events);
    lock_drop(&loop->lock);
}

void loop_del_fd(struct loop *loop, int fd)
{
    struct watch *w;

    lock_take(&loop->lock);
    w = find_locked(loop, fd);
    if (w) {
        (void)change_events(loop, w, 0);
        loop->watches[fd] = NULL;
        w->dead = true;
        w->next_dead = loop->dead;
        loop->dead = w;
    }
    lock_drop(&loop->lock);
    /* A loop that sleeps would keep it until something else happens. */
}

static void run_fd(struct loop *loop, const struct epoll_event *ev)
{
    struct watch *w = ev->data.ptr;
    uint32_t wanted;

    lock_take(&loop->lock);
    /* An earlier call of this round may have changed what is wanted. */
    wanted = w->dead ? 0 : w->events | EPOLLERR | EPOLLHUP;
    if (w->events == 0)
        wanted = 0;
    lock_drop(&loop->lock);
    if (ev->events & wanted)
        w->fn(w->opaque, w->fd, ev->events & wanted);
}

/* --- Running -------------------------------------------------------------- */

/*
 * What has to be true before the loop sleeps: the timerfd fires no later than
 * the earliest timer, and nobody holds a removed watch. Returns false to end.
 */
static bool prepare_sleep(struct loop *loop)
{
    struct watch *dead;
    bool go_on;

    lock_take(&loop->lock);
    /* A programmed moment that has passed fires no more. Forget it even when
     * no timer is armed: others compare with it. */
    if (loop->programmed_ns <= clock_now_ns())
        loop->programmed_ns = NEVER;
    if (loop->timers && loop->timers->deadline_ns < loop->programmed_ns)
        program_locked(loop, loop->timers->deadline_ns);
    dead = loop->dead;
    loop->dead = NULL;
    go_on = !loop->stopping;
    lock_drop(&loop->lock);
    free_dead(dead);
    return go_on;
}

static void run_once(struct loop *loop)
{
    struct epoll_event ev[LOOP_EVENTS];
    int n = epoll_wait(loop->epoll_fd, ev, LOOP_EVENTS, -1);

    assert(n >= 0 || errno == EINTR);
    run_timers(loop);
    run_posts(loop);
    for (int i = 0; i < n; i++) {
        if (ev[i].data.ptr)
            run_fd(loop, &ev[i]);
    }
}

int loop_run(struct loop *loop)
{
    int status;

    lock_take(&loop->lock);
    assert(!loop->running);
    loop->thread = pthread_self();
    loop->running = true;
    lock_drop(&loop->lock);

    while (prepare_sleep(loop))
        run_once(loop);

    lock_take(&loop->lock);
    loop->running = false;
    loop->stopping = false;
    status = loop->status;
    lock_drop(&loop->lock);
    return status;
}

void loop_stop(struct loop *loop, int status)
{
    lock_take(&loop->lock);
    if (!loop->stopping) {
        loop->stopping = true;
        loop->status = status;
    }
    lock_drop(&loop->lock);
    wake(loop);
}
