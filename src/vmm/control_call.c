#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmm/control.h"

/* The caller's end of a control socket: blocking, with the kernel's time-outs,
 * each of which starts anew with every part that comes. */

enum { MAX_ANSWER = CONTROL_MAX_UNREAD + 1 };

static int connect_to(const char *path, unsigned timeout_ms, struct err *err)
{
    const struct timeval tv = {.tv_sec = timeout_ms / 1000,
                               .tv_usec = timeout_ms % 1000 * 1000};
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    int fd, rc;

    if (len >= sizeof(sa.sun_path))
        return err_set(err, -ENAMETOOLONG,
                       "connect to '%s': the path is longer than %zu bytes",
                       path, sizeof(sa.sun_path) - 1);
    memcpy(sa.sun_path, path, len);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_sys(err, "connect to '%s'", path);
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) < 0 ||
        connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0) {
        rc = err_sys(err, "connect to the machine at '%s'", path);
        (void)close(fd);
        return rc;
    }
    return fd;
}

static int lost(const char *path, struct err *err)
{
    if (errno == EAGAIN)
        return err_set(err, -ETIMEDOUT, "the machine at '%s' does not answer",
                       path);
    return err_sys(err, "talk to the machine at '%s'", path);
}

static int send_line(int fd, const char *path, const json_t *command,
                     struct err *err)
{
    char *text = json_dumps(command, JSON_COMPACT);
    size_t len = text ? strlen(text) : 0;
    int rc = 0;

    if (!text)
        return err_set(err, -ENOMEM, "talk to the machine: out of memory");
    text[len] = '\n'; /* the string's end is not sent */
    for (size_t off = 0; off < len + 1 && rc == 0;) {
        ssize_t n = send(fd, text + off, len + 1 - off, MSG_NOSIGNAL);

        if (n >= 0)
            off += (size_t)n;
        else if (errno != EINTR)
            rc = lost(path, err);
    }
    free(text);
    return rc;
}

/* Up to the newline; *out is the caller's to free. */
static int read_line(int fd, const char *path, char **out, size_t *len,
                     struct err *err)
{
    char *buf = malloc(MAX_ANSWER);
    size_t got = 0;

    if (!buf)
        return err_set(err, -ENOMEM, "talk to the machine: out of memory");
    while (got < MAX_ANSWER) {
        ssize_t n = recv(fd, buf + got, MAX_ANSWER - got, 0);
        char *end;

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            int rc = n < 0
                         ? lost(path, err)
                         : err_set(err, -EPIPE,
                                   "the machine at '%s' ended the talk", path);
            free(buf);
            return rc;
        }
        end = memchr(buf + got, '\n', (size_t)n);
        got += (size_t)n;
        if (end) {
            *len = (size_t)(end - buf);
            *out = buf;
            return 0;
        }
    }
    free(buf);
    return err_set(err, -EMSGSIZE, "the answer of '%s' does not end", path);
}

static int errno_of(const char *name)
{
    for (int e = 1; name && e < 200; e++)
        if (strerrorname_np(e) && strcmp(strerrorname_np(e), name) == 0)
            return e;
    return EIO;
}

static int read_answer(const char *path, const char *line, size_t len,
                       json_t **result, struct err *err)
{
    json_t *all = json_loadb(line, len, 0, NULL);
    json_t *good = json_object_get(all, "result");
    json_t *bad = json_object_get(all, "error");
    const char *said = json_string_value(json_object_get(bad, "message"));
    int rc = 0;

    if (good)
        *result = json_incref(good);
    else if (said)
        rc = err_set(err,
                     -errno_of(json_string_value(json_object_get(bad, "code"))),
                     "%s", said);
    else
        rc = err_set(err, -EPROTO, "the answer of '%s' makes no sense", path);
    json_decref(all);
    return rc;
}

int control_call(const char *path, const json_t *command, unsigned timeout_ms,
                 json_t **result, struct err *err)
{
    char *line = NULL;
    size_t len = 0;
    int rc;
    int fd = connect_to(path, timeout_ms, err);

    if (fd < 0)
        return fd;
    rc = send_line(fd, path, command, err);
    if (rc == 0)
        rc = read_line(fd, path, &line, &len, err);
    (void)close(fd);
    if (rc == 0)
        rc = read_answer(path, line, len, result, err);
    free(line);
    return rc;
}
