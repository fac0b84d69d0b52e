#include "vmm/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "vmm/listener.h"

/*
 * A client is a line that grows, and an answer that shrinks. While an answer
 * is not sent no more is read, so a client cannot pile up work: it waits.
 *
 * One timer looks after the patience of all; it is armed only while a client
 * owes the rest of a line or the reading of an answer.
 */

struct client {
    struct control *c;
    int fd;            /* -1 = free */
    uint64_t since_ns; /* it has owed something for so long, or been quiet */
    size_t in_len;
    char *out; /* the answer, or NULL */
    size_t out_len, out_off;
    bool eof; /* it says nothing more */
    char in[CONTROL_MAX_LINE];
};

struct control {
    struct loop *loop;
    const char *path;
    int listener;
    control_fn *fn;
    void *opaque;
    struct timer patience;
    struct client client[CONTROL_MAX_CLIENTS];
};

/* --- Clients -------------------------------------------------------------- */

static bool owes(const struct client *cl)
{
    return cl->fd >= 0 && (cl->out || cl->in_len);
}

static void drop(struct client *cl)
{
    if (cl->fd < 0)
        return;
    loop_del_fd(cl->c->loop, cl->fd);
    (void)close(cl->fd);
    cl->fd = -1;
    free(cl->out);
    cl->out = NULL;
    cl->in_len = 0;
}

/* A client that owes something is looked after in time. */
static void watch_patience(struct client *cl)
{
    struct control *c = cl->c;

    if (owes(cl) && !c->patience.armed)
        timer_arm(&c->patience, cl->since_ns + CONTROL_PATIENCE_NS);
}

static void on_patience(void *opaque)
{
    struct control *c = opaque;
    uint64_t now = clock_now_ns();
    uint64_t next = UINT64_MAX;

    for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++) {
        struct client *cl = &c->client[i];
        uint64_t end = cl->since_ns + CONTROL_PATIENCE_NS;

        if (!owes(cl))
            continue;
        if (end <= now)
            drop(cl);
        else if (end < next)
            next = end;
    }
    if (next != UINT64_MAX)
        timer_arm(&c->patience, next);
}

/* Send what the socket takes. false: the client is gone. */
static bool send_out(struct client *cl)
{
    while (cl->out) {
        ssize_t n = send(cl->fd, cl->out + cl->out_off,
                         cl->out_len - cl->out_off, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN))
            return true;
        if (n < 0) {
            drop(cl);
            return false;
        }
        cl->out_off += (size_t)n;
        if (cl->out_off < cl->out_len)
            continue;
        free(cl->out);
        cl->out = NULL;
    }
    return true;
}

static void take_line(struct client *cl, const char *line, size_t len)
{
    struct control *c = cl->c;
    struct control_msg msg;
    struct err err = {0};
    json_t *result = NULL;
    int rc = control_parse(line, len, &msg, &err);

    if (rc == 0)
        rc = c->fn(c->opaque, &msg, &result, &err);
    cl->out = control_answer(&msg, rc, result, &err);
    control_msg_fini(&msg);
    cl->out_len = cl->out ? strlen(cl->out) : 0;
    cl->out_off = 0;
    if (!cl->out || cl->out_len > CONTROL_MAX_UNREAD) {
        log_warn("control", "an answer is lost: out of memory");
        drop(cl);
    }
}

/* Answer the lines that are there, while their answers get away. */
static void take_lines(struct client *cl)
{
    char *end;

    while (cl->fd >= 0 && !cl->out &&
           (end = memchr(cl->in, '\n', cl->in_len))) {
        size_t len = (size_t)(end - cl->in);

        take_line(cl, cl->in, len);
        if (cl->fd < 0 || !send_out(cl))
            return;
        cl->since_ns = clock_now_ns();
        cl->in_len -= len + 1;
        memmove(cl->in, end + 1, cl->in_len);
    }
    if (cl->fd >= 0 && cl->in_len == sizeof(cl->in) && !cl->out) {
        log_warn("control", "a client sends a line of more than %d bytes",
                 CONTROL_MAX_LINE);
        drop(cl);
    }
}

static void read_in(struct client *cl)
{
    ssize_t n =
        recv(cl->fd, cl->in + cl->in_len, sizeof(cl->in) - cl->in_len, 0);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        drop(cl);
        return;
    }
    cl->eof = n == 0;
    cl->in_len += (size_t)n;
}

static void on_client(void *opaque, int fd, uint32_t events)
{
    struct client *cl = opaque;

    (void)fd;
    if (!owes(cl)) /* a line that comes in drops has one beginning */
        cl->since_ns = clock_now_ns();
    if ((events & EPOLLOUT) && !send_out(cl))
        return;
    if ((events & (EPOLLERR | EPOLLHUP)) && cl->out) {
        drop(cl);
        return;
    }
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !cl->out)
        read_in(cl);
    if (cl->fd >= 0)
        take_lines(cl);
    if (cl->fd < 0)
        return;
    if (cl->eof && !cl->out) {
        drop(cl);
        return;
    }
    loop_mod_fd(cl->c->loop, cl->fd, cl->out ? EPOLLOUT : EPOLLIN);
    watch_patience(cl);
}

/* --- The listener --------------------------------------------------------- */

/* A place for one more: a free one, or that of the quietest. */
static struct client *make_room(struct control *c)
{
    struct client *oldest = &c->client[0];

    for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++) {
        struct client *cl = &c->client[i];

        if (cl->fd < 0)
            return cl;
        if (cl->since_ns < oldest->since_ns)
            oldest = cl;
    }
    drop(oldest);
    return oldest;
}

static void on_listener(void *opaque, int fd, uint32_t events)
{
    struct control *c = opaque;
    int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct client *cl;

    (void)events;
    if (client < 0)
        return;
    cl = make_room(c);
    if (loop_add_fd(c->loop, client, EPOLLIN, on_client, cl) < 0) {
        (void)close(client);
        return;
    }
    cl->fd = client;
    cl->eof = false;
    cl->since_ns = clock_now_ns();
}

int control_new(struct control **out, struct loop *loop, const char *path,
                control_fn *fn, void *opaque, struct err *err)
{
    struct control *c = calloc(1, sizeof(*c));
    int rc;

    if (!c)
        return err_set(err, -ENOMEM, "listen at '%s': out of memory", path);
    *c = (struct control){
        .loop = loop, .path = path, .fn = fn, .opaque = opaque};
    for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++) {
        c->client[i].c = c;
        c->client[i].fd = -1;
    }
    timer_init(&c->patience, loop, on_patience, c);
    rc = listener_open(&c->listener, path, "control", err);
    if (rc < 0)
        goto free_c;
    rc = loop_add_fd(loop, c->listener, EPOLLIN, on_listener, c);
    if (rc < 0) {
        rc = err_set(err, rc, "listen at '%s': %s", path, strerrordesc_np(-rc));
        goto close_listener;
    }
    *out = c;
    return 0;

close_listener:
    listener_close(c->listener, path);
free_c:
    free(c);
    return rc;
}

void control_free(struct control *c)
{
    for (unsigned i = 0; i < CONTROL_MAX_CLIENTS; i++)
        if (c->client[i].fd >= 0 && send_out(&c->client[i]))
            drop(&c->client[i]);
    timer_cancel(&c->patience);
    loop_del_fd(c->loop, c->listener);
    listener_close(c->listener, c->path);
    free(c);
}
