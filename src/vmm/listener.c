#include "vmm/listener.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { SOCKET_TYPE = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC };

/* Refused means that the one who bound it has gone. */
static bool is_stale(const struct sockaddr_un *sa)
{
    int fd = socket(AF_UNIX, SOCKET_TYPE, 0);
    bool stale;

    if (fd < 0)
        return false;
    stale = connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0 &&
            errno == ECONNREFUSED;
    (void)close(fd);
    return stale;
}

static int make_way(const struct sockaddr_un *sa, const char *name,
                    struct err *err)
{
    struct stat sb;

    if (lstat(sa->sun_path, &sb) < 0)
        return 0; /* bind says what else is wrong */
    if (!S_ISSOCK(sb.st_mode))
        return err_set(err, -EEXIST,
                       "listen at '%s' for --%s: there is a file that is not "
                       "a socket",
                       sa->sun_path, name);
    if (!is_stale(sa))
        return err_set(err, -EADDRINUSE,
                       "listen at '%s' for --%s: another process does",
                       sa->sun_path, name);
    if (unlink(sa->sun_path) < 0)
        return err_sys(err, "remove the stale socket '%s'", sa->sun_path);
    return 0;
}

int listener_open(int *out, const char *path, const char *name, struct err *err)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    int fd, rc;

    if (len >= sizeof(sa.sun_path))
        return err_set(err, -ENAMETOOLONG,
                       "listen at '%s' for --%s: the path is longer than %zu "
                       "bytes",
                       path, name, sizeof(sa.sun_path) - 1);
    memcpy(sa.sun_path, path, len);
    rc = make_way(&sa, name, err);
    if (rc < 0)
        return rc;
    fd = socket(AF_UNIX, SOCKET_TYPE, 0);
    if (fd < 0)
        return err_sys(err, "make a socket for --%s", name);
    /* The file gets the mode of the socket: nobody else connects (unix(7)
     * leaves this to the system; Linux does it). */
    if (fchmod(fd, S_IRUSR | S_IWUSR) < 0 ||
        bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0) {
        rc = err_sys(err, "listen at '%s' for --%s", path, name);
        (void)close(fd);
        return rc;
    }
    if (listen(fd, 1) < 0) {
        rc = err_sys(err, "listen at '%s' for --%s", path, name);
        listener_close(fd, path);
        return rc;
    }
    *out = fd;
    return 0;
}

void listener_close(int fd, const char *path)
{
    (void)unlink(path);
    (void)close(fd);
}
