#include "vmm/sink.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

/* Long enough to gather a burst, too short to be noticed at a prompt. */
#define BURST_NS 1000000ull

/* The oldest bytes in one piece. */
static size_t peek(struct sink *s, const uint8_t **p)
{
    size_t n;

    lock_take(&s->lock);
    *p = s->ring + s->head;
    n = s->len < SINK_SIZE - s->head ? s->len : SINK_SIZE - s->head;
    lock_drop(&s->lock);
    return n;
}

static void consume(struct sink *s, size_t n)
{
    lock_take(&s->lock);
    s->head = (s->head + n) % SINK_SIZE;
    s->len -= n;
    s->stalled = false;
    lock_drop(&s->lock);
}

static ssize_t write_some(const struct sink *s, const void *p, size_t n)
{
    return s->is_socket ? send(s->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL)
                        : write(s->fd, p, n);
}

/* The reader is gone or the file is full: what is waiting is lost, what comes
 * is tried again. Said once for each descriptor. */
static void lose(struct sink *s, int error)
{
    if (!s->failed)
        log_err(s->name, "output is lost: %s", strerrordesc_np(error));
    s->failed = true;
    lock_take(&s->lock);
    s->len = 0;
    lock_drop(&s->lock);
}

/* Write until the ring is empty or the descriptor is full. Returns whether it
 * is empty. Called with io held. */
static bool drain_locked(struct sink *s)
{
    const uint8_t *p = NULL;
    size_t n;

    while (s->fd >= 0 && (n = peek(s, &p)) > 0) {
        ssize_t done = write_some(s, p, n);

        if (done > 0) {
            consume(s, (size_t)done);
        } else if (done < 0 && errno == EAGAIN) {
            return false;
        } else if (done == 0 || errno != EINTR) {
            lose(s, done == 0 ? EIO : errno);
        }
    }
    return true;
}

static bool drain(struct sink *s)
{
    bool empty;

    lock_take(&s->io);
    empty = drain_locked(s);
    lock_drop(&s->io);
    return empty;
}

static void on_writable(void *opaque, int fd, uint32_t events)
{
    struct sink *s = opaque;

    (void)events;
    if (drain(s))
        loop_mod_fd(s->loop, fd, 0);
}

static void watch(struct sink *s)
{
    if (s->watched) {
        loop_mod_fd(s->loop, s->fd, EPOLLOUT);
        return;
    }
    s->watched = loop_add_fd(s->loop, s->fd, EPOLLOUT, on_writable, s) == 0;
}

static void on_burst(void *opaque)
{
    struct sink *s = opaque;

    lock_take(&s->lock);
    s->armed = false;
    lock_drop(&s->lock);
    if (!drain(s))
        watch(s);
}

int sink_init(struct sink *s, const char *name, struct loop *loop)
{
    *s = (struct sink){.name = name, .loop = loop, .fd = -1};
    s->ring = malloc(SINK_SIZE);
    if (!s->ring)
        return -ENOMEM;
    lock_init(&s->io);
    lock_init(&s->lock);
    timer_init(&s->timer, loop, on_burst, s);
    return 0;
}

void sink_set_fd(struct sink *s, int fd)
{
    struct stat sb;

    lock_take(&s->io);
    if (s->watched)
        loop_del_fd(s->loop, s->fd);
    if (s->fd >= 0)
        (void)close(s->fd);
    s->fd = fd;
    s->watched = false;
    s->failed = false;
    s->is_socket = fd >= 0 && fstat(fd, &sb) == 0 && S_ISSOCK(sb.st_mode);
    lock_drop(&s->io);
    if (fd >= 0 && !drain(s))
        watch(s);
}

/* Wait until the descriptor takes something, and give it that. False if it
 * does not before the deadline. */
static bool wait_and_drain(struct sink *s, uint64_t deadline_ns)
{
    struct pollfd pfd = {.events = POLLOUT};
    uint64_t now = clock_now_ns();
    bool ok;

    lock_take(&s->io);
    pfd.fd = s->fd;
    ok = s->fd >= 0 && now < deadline_ns &&
         poll(&pfd, 1, (int)((deadline_ns - now) / 1000000) + 1) != 0;
    if (ok)
        (void)drain_locked(s);
    lock_drop(&s->io);
    return ok;
}

void sink_fini(struct sink *s)
{
    uint64_t deadline = clock_now_ns() + SINK_PATIENCE_NS;
    const uint8_t *p = NULL;

    timer_cancel(&s->timer);
    (void)drain(s);
    while (s->fd >= 0 && peek(s, &p) > 0 && wait_and_drain(s, deadline))
        ;
    sink_set_fd(s, -1);
    lock_fini(&s->lock);
    lock_fini(&s->io);
    free(s->ring);
}

/* Append what there is room for; with no descriptor, over the oldest. */
static size_t put(struct sink *s, const uint8_t *p, size_t len)
{
    size_t room, at, first;
    bool arm;

    lock_take(&s->lock);
    if (s->fd < 0 && len > SINK_SIZE - s->len) {
        size_t drop = len - (SINK_SIZE - s->len);

        drop = drop < s->len ? drop : s->len;
        s->head = (s->head + drop) % SINK_SIZE;
        s->len -= drop;
    }
    room = SINK_SIZE - s->len;
    len = len < room ? len : room;
    at = (s->head + s->len) % SINK_SIZE;
    first = len < SINK_SIZE - at ? len : SINK_SIZE - at;
    memcpy(s->ring + at, p, first);
    memcpy(s->ring, p + first, len - first);
    s->len += len;
    arm = s->fd >= 0 && !s->armed && len > 0;
    s->armed = s->armed || arm;
    lock_drop(&s->lock);
    if (arm)
        timer_arm(&s->timer, clock_now_ns() + BURST_NS);
    return len;
}

static bool is_stalled(struct sink *s)
{
    bool stalled;

    lock_take(&s->lock);
    stalled = s->stalled;
    lock_drop(&s->lock);
    return stalled;
}

static void set_stalled(struct sink *s)
{
    lock_take(&s->lock);
    s->stalled = true;
    lock_drop(&s->lock);
    log_warn(s->name, "nobody reads the output: some of it is dropped");
}

void sink_write(struct sink *s, const void *buf, size_t len)
{
    const uint8_t *p = buf;
    uint64_t deadline = 0;

    while (len > 0) {
        size_t n = put(s, p, len);

        p += n;
        len -= n;
        if (len == 0 || is_stalled(s))
            return;
        if (deadline == 0)
            deadline = clock_now_ns() + SINK_PATIENCE_NS;
        if (!wait_and_drain(s, deadline)) {
            set_stalled(s);
            return;
        }
    }
}
