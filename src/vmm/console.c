#include "vmm/console.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/listener.h"
#include "vmm/tty.h"

/* --- Input --------------------------------------------------------------- */

static void stop_input(struct console *c)
{
    if (c->in_watched)
        loop_del_fd(c->loop, c->in);
    if (c->in_owned)
        (void)close(c->in);
    c->in = -1;
    c->in_watched = c->in_owned = c->in_polled = false;
}

/* The client of a socket went: the next one may come. */
static void hang_up(struct console *c)
{
    stop_input(c);
    if (c->listener < 0)
        return;
    sink_set_fd(&c->out, -1);
    c->pending = 0;
    loop_mod_fd(c->loop, c->listener, EPOLLIN);
}

/* Returns whether there was something, or may be soon. */
static bool fill(struct console *c)
{
    ssize_t n = read(c->in, c->input, sizeof(c->input));

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0) {
        hang_up(c); /* end of file leaves the guest running */
        return false;
    }
    if (c->terminal && memchr(c->input, TTY_ESCAPE, (size_t)n)) {
        stop_input(c);
        c->guest.escape(c->guest.opaque);
        return false;
    }
    c->pending = (size_t)n;
    return true;
}

/* Offer what is pending. Returns whether the guest took all of it. */
static bool offer(struct console *c)
{
    size_t n;

    if (c->pending == 0)
        return true;
    n = c->guest.receive(c->guest.opaque, c->input, c->pending);
    memmove(c->input, c->input + n, c->pending - n);
    c->pending -= n;
    return c->pending == 0;
}

/* The input is read again when the guest has taken what was read before. */
static void pump(struct console *c)
{
    bool ready;

    if (c->in < 0)
        return;
    ready = offer(c);
    if (c->in_watched)
        loop_mod_fd(c->loop, c->in, ready ? EPOLLIN : 0);
    /* A file has an end, and the guest takes a FIFO's worth at a time. */
    while (ready && c->in_polled && c->in >= 0)
        ready = fill(c) && offer(c);
}

static void on_input(void *opaque, int fd, uint32_t events)
{
    struct console *c = opaque;

    (void)fd;
    (void)events;
    if (c->pending == 0)
        (void)fill(c);
    pump(c);
}

static void on_resume(void *opaque)
{
    pump(opaque);
}

static int start_input(struct console *c, int fd, bool owned)
{
    int rc;

    c->in = fd;
    c->in_owned = owned;
    c->pending = 0;
    rc = loop_add_fd(c->loop, fd, EPOLLIN, on_input, c);
    c->in_watched = rc == 0;
    c->in_polled = rc == -EPERM;
    if (rc < 0 && rc != -EPERM) {
        stop_input(c);
        return rc;
    }
    pump(c);
    return 0;
}

/* --- Kinds of place ------------------------------------------------------ */

/*
 * A descriptor for the same output that does not block. O_NONBLOCK belongs to
 * the open file, which the person's shell may share, so terminals and pipes
 * are opened anew; files keep their offset and never block for long.
 */
static int dup_output(int fd)
{
    struct stat sb;
    char path[32];
    int copy = -1;

    if (fstat(fd, &sb) < 0)
        return -1;
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (S_ISCHR(sb.st_mode) || S_ISFIFO(sb.st_mode))
        copy = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (copy < 0)
        copy = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    return copy;
}

static int open_stdio(struct console *c, struct err *err)
{
    int fd = dup_output(STDOUT_FILENO);

    if (fd < 0)
        return err_sys(err, "use standard output for --%s", c->name);
    sink_set_fd(&c->out, fd);
    if (!c->guest.receive)
        return 0;
    c->terminal = tty_is_ours();
    /* A background job would be stopped by reading from the terminal. */
    if (isatty(STDIN_FILENO) && !c->terminal)
        return 0;
    /* Closed or not readable: the guest runs without input. */
    (void)start_input(c, STDIN_FILENO, false);
    return 0;
}

static int open_file(struct console *c, const char *path, struct err *err)
{
    int fd = open(
        path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
        0666);

    if (fd < 0)
        return err_sys(err, "open '%s' for --%s", path, c->name);
    sink_set_fd(&c->out, fd);
    return 0;
}

static void on_client(void *opaque, int fd, uint32_t events)
{
    struct console *c = opaque;
    int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    int out;

    (void)events;
    if (client < 0)
        return;
    out = fcntl(client, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (out < 0 || start_input(c, client, true) < 0) {
        (void)close(client);
        if (out >= 0)
            (void)close(out);
        return;
    }
    loop_mod_fd(c->loop, fd, 0); /* others wait until this one has gone */
    sink_set_fd(&c->out, out);
}

static int open_socket(struct console *c, const char *path, struct err *err)
{
    int rc = listener_open(&c->listener, path, c->name, err);

    if (rc < 0)
        return rc;
    c->path = path;
    rc = loop_add_fd(c->loop, c->listener, EPOLLIN, on_client, c);
    if (rc < 0) {
        errno = -rc;
        return err_sys(err, "listen at '%s' for --%s", path, c->name);
    }
    return 0;
}

int console_init(struct console *c, const char *name, struct loop *loop)
{
    *c = (struct console){.name = name, .loop = loop, .in = -1, .listener = -1};
    timer_init(&c->resume, loop, on_resume, c);
    return sink_init(&c->out, name, loop);
}

void console_fini(struct console *c)
{
    timer_cancel(&c->resume);
    stop_input(c);
    if (c->listener >= 0) {
        loop_del_fd(c->loop, c->listener);
        listener_close(c->listener, c->path);
    }
    sink_fini(&c->out);
}

int console_open(struct console *c, const char *where,
                 const struct console_guest *guest, struct err *err)
{
    static const char unix_prefix[] = "unix:";

    c->guest = *guest;
    if (strcmp(where, "stdio") == 0)
        return open_stdio(c, err);
    if (strncmp(where, unix_prefix, sizeof(unix_prefix) - 1) == 0)
        return open_socket(c, where + sizeof(unix_prefix) - 1, err);
    return open_file(c, where, err);
}

void console_write(void *console, const uint8_t *buf, size_t len)
{
    struct console *c = console;

    sink_write(&c->out, buf, len);
}

void console_resume(void *console)
{
    struct console *c = console;

    timer_arm(&c->resume, 0);
}
