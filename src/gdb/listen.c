#include "gdb/listen.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define SOCKET_FLAGS (SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC)

/* --- Unix sockets ------------------------------------------------------- */

/* Whether a process listens at sa. */
static bool unix_is_live(const struct sockaddr_un *sa)
{
    int fd = socket(AF_UNIX, SOCKET_FLAGS, 0);
    bool live;

    if (fd < 0)
        return true; /* cannot tell: leave it alone */
    live = connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) == 0 ||
           errno != ECONNREFUSED;
    (void)close(fd);
    return live;
}

/* Remove a socket that a process left behind; nothing else. */
static int unix_clear(const struct sockaddr_un *sa, struct err *err)
{
    const char *path = sa->sun_path;
    struct stat st;

    if (lstat(path, &st) < 0)
        return 0; /* bind will say what is wrong, if anything is */
    if (!S_ISSOCK(st.st_mode))
        return err_set(err, -EEXIST,
                       "listen for gdb at '%s': there is a file that is no "
                       "socket",
                       path);
    if (unix_is_live(sa))
        return err_set(err, -EADDRINUSE,
                       "listen for gdb at '%s': another process does", path);
    if (unlink(path) < 0)
        return err_sys(err, "remove the stale socket '%s'", path);
    return 0;
}

static int unix_bind(int fd, const struct sockaddr_un *sa, struct err *err)
{
    if (bind(fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0)
        return err_sys(err, "listen for gdb at '%s'", sa->sun_path);
    /* Nobody can connect before listen, so there is no moment in which the
     * umask's rights count. */
    if (chmod(sa->sun_path, S_IRUSR | S_IWUSR) < 0 || listen(fd, 1) < 0) {
        int rc = err_sys(err, "listen for gdb at '%s'", sa->sun_path);

        (void)unlink(sa->sun_path);
        return rc;
    }
    return 0;
}

static int unix_open(struct gdb_listener *l, const char *path, size_t len,
                     struct err *err)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd, rc;

    if (len == 0 || len >= sizeof(sa.sun_path))
        return err_set(err, -EINVAL,
                       "listen for gdb: a socket path has 1 to %zu bytes",
                       sizeof(sa.sun_path) - 1);
    memcpy(sa.sun_path, path, len);
    rc = unix_clear(&sa, err);
    if (rc < 0)
        return rc;
    fd = socket(AF_UNIX, SOCKET_FLAGS, 0);
    if (fd < 0)
        return err_sys(err, "make a socket for gdb");
    rc = unix_bind(fd, &sa, err);
    if (rc < 0) {
        (void)close(fd);
        return rc;
    }
    l->fd = fd;
    memcpy(l->path, sa.sun_path, sizeof(l->path));
    return 0;
}

/* --- TCP ---------------------------------------------------------------- */

static int tcp_open(struct gdb_listener *l, const char *port, size_t len,
                    struct err *err)
{
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char *end;
    unsigned long n = strtoul(port, &end, 10);
    int one = 1, fd, rc;

    if (*port < '0' || *port > '9' || end != port + len || n == 0 ||
        n > UINT16_MAX)
        return err_set(err, -EINVAL,
                       "listen for gdb at port '%.*s': not a number from 1 to "
                       "65535",
                       (int)len, port);
    sa.sin_port = htons((uint16_t)n);
    fd = socket(AF_INET, SOCKET_FLAGS, 0);
    if (fd < 0)
        return err_sys(err, "make a socket for gdb");
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0 ||
        listen(fd, 1) < 0) {
        rc = err_sys(err, "listen for gdb at 127.0.0.1:%lu", n);
        (void)close(fd);
        return rc;
    }
    l->fd = fd;
    l->path[0] = '\0';
    return 0;
}

int gdb_listener_open(struct gdb_listener *l, const char *address,
                      struct err *err)
{
    static const char suffix[] = ",wait";
    size_t len = strlen(address), cut = sizeof(suffix) - 1;

    l->wait = len >= cut && strcmp(address + len - cut, suffix) == 0;
    if (l->wait)
        len -= cut;
    if (strncmp(address, "unix:", 5) == 0 && len >= 5)
        return unix_open(l, address + 5, len - 5, err);
    if (strncmp(address, "tcp:", 4) == 0 && len >= 4)
        return tcp_open(l, address + 4, len - 4, err);
    return err_set(err, -EINVAL,
                   "listen for gdb at '%s': neither unix:PATH nor tcp:PORT",
                   address);
}

void gdb_listener_close(struct gdb_listener *l)
{
    (void)close(l->fd);
    if (l->path[0])
        (void)unlink(l->path);
}
