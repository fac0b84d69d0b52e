#include "gdb/stub.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "cpu/debug.h"
#include "gdb/listen.h"
#include "gdb/session.h"

/*
 * The connection of a gdb session: everything runs on the loop's thread but
 * on_debug, which a vCPU calls and which only writes to an eventfd.
 *
 * A client that does not read its replies is not read from either: input is
 * taken only while no output waits. So what the buffer must hold is bounded:
 * an acknowledgement, a reply, and one stop reply that comes meanwhile.
 */
enum { OUT_MAX = 4 * (GDB_PACKET_MAX + 8), IN_MAX = 4096 };

struct gdb_stub {
    struct vcpu_set *set;
    struct loop *loop;
    struct gdb_listener listener;
    int client; /* or -1 */
    int stops;  /* eventfd: some vCPU met a debug stop */
    bool waits; /* we hold a pause until the first client came */
    void (*kill)(void *opaque);
    void *kill_opaque;
    struct gdb_session session;
    uint8_t in[IN_MAX];
    size_t in_pos, in_len;
    char out[OUT_MAX];
    size_t out_pos, out_len;
    bool out_full; /* something did not fit: the client is to be dropped */
};

/* --- The client --------------------------------------------------------- */

static void client_drop(struct gdb_stub *stub)
{
    if (stub->client < 0)
        return;
    loop_del_fd(stub->loop, stub->client);
    (void)close(stub->client);
    stub->client = -1;
    gdb_session_detach(&stub->session);
    vcpu_debug_handler(stub->set, NULL, NULL);
}

/* Write what waits. Returns -1 if the client is gone. */
static int client_flush(struct gdb_stub *stub)
{
    while (stub->out_pos < stub->out_len) {
        ssize_t n = send(stub->client, stub->out + stub->out_pos,
                         stub->out_len - stub->out_pos, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -1;
        stub->out_pos += (size_t)n;
    }
    stub->out_pos = stub->out_len = 0;
    return 0;
}

/* What the session says. */
static void on_send(void *opaque, const char *buf, size_t len)
{
    struct gdb_stub *stub = opaque;

    if (len > OUT_MAX - stub->out_len) {
        stub->out_full = true;
        return;
    }
    memcpy(stub->out + stub->out_len, buf, len);
    stub->out_len += len;
}

static void on_kill(void *opaque)
{
    struct gdb_stub *stub = opaque;

    if (stub->kill)
        stub->kill(stub->kill_opaque);
}

/* Send and, while nothing is left to send, take input. Drops the client if it
 * is gone. */
static void client_run(struct gdb_stub *stub)
{
    bool alive = !stub->out_full && client_flush(stub) == 0;

    while (alive && stub->out_len == 0 && stub->in_pos < stub->in_len) {
        gdb_session_input(&stub->session, &stub->in[stub->in_pos++], 1);
        alive = !stub->out_full && client_flush(stub) == 0;
    }
    if (alive)
        loop_mod_fd(stub->loop, stub->client,
                    stub->out_len > 0 ? EPOLLOUT : EPOLLIN);
    else
        client_drop(stub);
}

static void on_client(void *opaque, int fd, uint32_t events)
{
    struct gdb_stub *stub = opaque;
    ssize_t n;

    if (events & EPOLLIN && stub->in_pos == stub->in_len) {
        do {
            n = recv(fd, stub->in, sizeof(stub->in), 0);
        } while (n < 0 && errno == EINTR);
        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            client_drop(stub);
            return;
        }
        stub->in_pos = 0;
        stub->in_len = n > 0 ? (size_t)n : 0;
    } else if (events & (EPOLLERR | EPOLLHUP)) {
        client_drop(stub);
        return;
    }
    client_run(stub);
}

/* --- Events ------------------------------------------------------------- */

/* On the vCPU's thread. */
static void on_debug(void *opaque, struct vcpu *v)
{
    struct gdb_stub *stub = opaque;
    uint64_t one = 1;

    (void)v;
    /* Cannot fail: the counter would have to be full. */
    if (write(stub->stops, &one, sizeof(one)) < 0)
        log_err("gdb", "a stop of CPU %u was lost", v->index);
}

static void on_stops(void *opaque, int fd, uint32_t events)
{
    struct gdb_stub *stub = opaque;
    uint64_t count;

    (void)events;
    if (read(fd, &count, sizeof(count)) < 0 || stub->client < 0)
        return;
    gdb_session_stopped(&stub->session);
    client_run(stub);
}

static void on_connect(void *opaque, int fd, uint32_t events)
{
    struct gdb_stub *stub = opaque;
    int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    (void)events;
    if (client < 0)
        return;
    if (stub->client >= 0 ||
        loop_add_fd(stub->loop, client, EPOLLIN, on_client, stub) < 0) {
        (void)close(client); /* one debugger at a time */
        return;
    }
    stub->client = client;
    stub->in_pos = stub->in_len = stub->out_pos = stub->out_len = 0;
    stub->out_full = false;
    vcpu_debug_handler(stub->set, on_debug, stub);
    gdb_session_attach(&stub->session);
    if (stub->waits)
        vcpu_set_resume(stub->set); /* the session has its own pause */
    stub->waits = false;
}

/* --- New and free ------------------------------------------------------- */

static int stub_watch(struct gdb_stub *stub, struct err *err)
{
    int rc =
        loop_add_fd(stub->loop, stub->listener.fd, EPOLLIN, on_connect, stub);

    if (rc < 0)
        return err_set(err, rc, "listen for gdb: cannot watch the socket");
    rc = loop_add_fd(stub->loop, stub->stops, EPOLLIN, on_stops, stub);
    if (rc < 0) {
        loop_del_fd(stub->loop, stub->listener.fd);
        return err_set(err, rc, "listen for gdb: cannot watch an eventfd");
    }
    return 0;
}

static int stub_init(struct gdb_stub *stub, const char *address,
                     struct err *err)
{
    int rc = gdb_session_init(&stub->session, stub->set);

    if (rc < 0)
        return err_set(err, rc, "listen for gdb: out of memory");
    stub->session.send = on_send;
    stub->session.kill = on_kill;
    stub->session.opaque = stub;
    stub->stops = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (stub->stops < 0) {
        rc = err_sys(err, "listen for gdb: make an eventfd");
        goto fini_session;
    }
    rc = gdb_listener_open(&stub->listener, address, err);
    if (rc < 0)
        goto close_stops;
    rc = stub_watch(stub, err);
    if (rc < 0)
        goto close_listener;
    return 0;

close_listener:
    gdb_listener_close(&stub->listener);
close_stops:
    (void)close(stub->stops);
fini_session:
    gdb_session_fini(&stub->session);
    return rc;
}

int gdb_stub_new(struct gdb_stub **out, struct vcpu_set *set, struct loop *loop,
                 const char *address, struct err *err)
{
    struct gdb_stub *stub = calloc(1, sizeof(*stub));
    int rc;

    if (!stub)
        return err_set(err, -ENOMEM, "listen for gdb: out of memory");
    stub->set = set;
    stub->loop = loop;
    stub->client = -1;
    rc = stub_init(stub, address, err);
    if (rc < 0) {
        free(stub);
        return rc;
    }
    stub->waits = stub->listener.wait;
    if (stub->waits)
        vcpu_set_pause(set);
    *out = stub;
    return 0;
}

void gdb_stub_on_kill(struct gdb_stub *stub, void (*fn)(void *opaque),
                      void *opaque)
{
    stub->kill = fn;
    stub->kill_opaque = opaque;
}

void gdb_stub_free(struct gdb_stub *stub)
{
    if (!stub)
        return;
    client_drop(stub);
    /* A vCPU that is in on_debug counts as running: after a pause none is. */
    vcpu_set_pause(stub->set);
    vcpu_set_resume(stub->set);
    if (stub->waits)
        vcpu_set_resume(stub->set);
    loop_del_fd(stub->loop, stub->listener.fd);
    loop_del_fd(stub->loop, stub->stops);
    gdb_listener_close(&stub->listener);
    (void)close(stub->stops);
    gdb_session_fini(&stub->session);
    free(stub);
}
