#include "fetch/download.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fdio.h"
#include "fetch/curl.h"

enum { TEXT_START = 4096 };

bool download_is_url(const char *text)
{
    return strncasecmp(text, "http://", 7) == 0 ||
           strncasecmp(text, "https://", 8) == 0;
}

/* --- Files of the cache -----------------------------------------------------
 */

struct cached {
    const struct download *d;
    char path[PATH_MAX], etag[PATH_MAX + 8];
    char part[PATH_MAX + 8], part_etag[PATH_MAX + 16];
    int fd; /* of the part; it is locked */
};

static int name_files(struct cached *c, struct err *err)
{
    const struct download *d = c->d;
    struct sum by_url;
    char text[SUM_TEXT];
    int n;

    if (d->sum)
        by_url = *d->sum;
    else
        sum_of(d->url, strlen(d->url), SUM_SHA256, &by_url);
    sum_print(&by_url, text);
    n = snprintf(c->path, sizeof(c->path), "%s/%s-%s", d->dir,
                 d->sum ? "sum" : "url", text);
    if (n < 0 || n >= (int)sizeof(c->path))
        return err_set(err, -ENAMETOOLONG, "the path '%.80s...' is too long",
                       d->dir);
    (void)snprintf(c->etag, sizeof(c->etag), "%s.etag", c->path);
    (void)snprintf(c->part, sizeof(c->part), "%s.part", c->path);
    (void)snprintf(c->part_etag, sizeof(c->part_etag), "%s.etag", c->part);
    return 0;
}

/* "" if there is none. It is compared by the server only. */
static void read_etag(const char *path, char etag[CURL_TAG])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : fd_read_full(fd, etag, CURL_TAG - 1);

    etag[n > 0 ? n : 0] = '\0';
    etag[strcspn(etag, "\r\n")] = '\0';
    if (fd >= 0)
        (void)close(fd);
}

static int write_etag(const char *path, const char *etag)
{
    int fd, rc;

    (void)unlink(path);
    if (!*etag)
        return 0;
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    rc = fd_write_full(fd, etag, strlen(etag));
    (void)close(fd);
    return rc;
}

/* The part, locked; what is under its name then is what we hold. */
static int open_part(struct cached *c, struct err *err)
{
    struct stat ours, named;

    c->fd = open(c->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (c->fd < 0)
        return err_sys(err, "create '%.200s'", c->part);
    if (flock(c->fd, LOCK_EX | LOCK_NB) == 0 && fstat(c->fd, &ours) == 0 &&
        stat(c->part, &named) == 0 && ours.st_ino == named.st_ino)
        return 0;
    (void)close(c->fd);
    c->fd = -1;
    return err_set(err, -EBUSY,
                   "download '%.200s': another husk does so now: try again "
                   "when it is done",
                   c->d->url);
}

static void drop_part(const struct cached *c)
{
    (void)unlink(c->part);
    (void)unlink(c->part_etag);
}

/* --- One request ------------------------------------------------------------
 */

static int on_begin(void *opaque, const char *version)
{
    const struct cached *c = opaque;

    return write_etag(c->part_etag, version);
}

static int on_write(void *opaque, const void *buf, size_t len, uint64_t off)
{
    const struct cached *c = opaque;

    /* The server began anew. */
    if (off == 0 && ftruncate(c->fd, 0) < 0)
        return -errno;
    return fd_pwrite_full(c->fd, buf, len, off);
}

static void on_progress(void *opaque, uint64_t done, uint64_t total)
{
    const struct cached *c = opaque;

    if (c->d->progress)
        c->d->progress(c->d->opaque, done, total);
}

/* What is there already can go on if it is known to be of the same file: by
 * its version, or because a sum will tell. */
static int fetch(struct cached *c, struct err *err)
{
    char version[CURL_TAG];
    struct curl_request r = {.url = c->d->url,
                             .write = on_write,
                             .begin = on_begin,
                             .progress = on_progress,
                             .opaque = c};
    struct stat st;
    int rc;

    read_etag(c->part_etag, version);
    if (fstat(c->fd, &st) == 0 && st.st_size > 0 && (*version || c->d->sum)) {
        r.from = (uint64_t)st.st_size;
        r.if_version = version;
        rc = curl_get(&r, err);
        if (rc != -ERANGE)
            return rc;
    }
    if (ftruncate(c->fd, 0) < 0)
        return err_sys(err, "write '%.200s'", c->part);
    read_etag(c->etag, version);
    r.from = 0;
    r.if_version = access(c->path, F_OK) == 0 && *version ? version : NULL;
    return curl_get(&r, err);
}

/* --- The whole file ---------------------------------------------------------
 */

static int check_sum(const struct download *d, int fd, struct err *err)
{
    char want[SUM_TEXT], got[SUM_TEXT];
    struct sum s;
    int rc = sum_of_fd(fd, d->sum->kind, &s);

    if (rc < 0) {
        errno = -rc;
        return err_sys(err, "read what was downloaded");
    }
    if (sum_same(&s, d->sum))
        return 0;
    sum_print(d->sum, want);
    sum_print(&s, got);
    return err_set(err, -EUCLEAN,
                   "'%.150s' has the sum %.16s... and not %.16s...: it was "
                   "damaged on its way, or is another file",
                   d->url, got, want);
}

/* The part becomes the file: it, and then its version, so that a crash between
 * the two leaves a file that is asked for again. */
static int publish(const struct cached *c, struct err *err)
{
    if (fsync(c->fd) < 0)
        return err_sys(err, "write '%.200s'", c->part);
    (void)unlink(c->etag);
    if (rename(c->part, c->path) < 0)
        return err_sys(err, "rename '%.200s'", c->part);
    if (c->d->sum)
        (void)unlink(c->part_etag);
    else
        (void)rename(c->part_etag, c->etag);
    return 0;
}

static int fetch_and_check(struct cached *c, struct err *err)
{
    int rc = fetch(c, err);

    if (rc == 1) { /* what we have is still what there is */
        drop_part(c);
        return 0;
    }
    if (rc == 0 && c->d->sum)
        rc = check_sum(c->d, c->fd, err);
    if (rc == 0)
        rc = publish(c, err);
    /* What was cut short is of use; what is wrong, or fills a disk, is not. */
    if (rc == -EUCLEAN || rc == -ENOSPC || rc == -EDQUOT || rc == -ENOENT)
        drop_part(c);
    return rc;
}

/* What is there under its sum, if it still has it. */
static bool have_it(const struct cached *c, int *fd)
{
    struct err err;

    if (!c->d->sum)
        return false;
    *fd = open(c->path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        return false;
    if (check_sum(c->d, *fd, &err) == 0)
        return true;
    (void)close(*fd);
    return false;
}

int download_file(const struct download *d, char path[PATH_MAX], int *fd,
                  struct err *err)
{
    struct cached *c = calloc(1, sizeof(*c)); /* it holds four paths */
    int rc;

    if (!c)
        return err_set(err, -ENOMEM, "download: out of memory");
    c->d = d;
    c->fd = -1;
    rc = name_files(c, err);
    if (rc == 0 && !have_it(c, fd)) {
        rc = open_part(c, err);
        if (rc == 0)
            rc = fetch_and_check(c, err);
        if (rc == 0) {
            *fd = open(c->path, O_RDONLY | O_CLOEXEC);
            rc = *fd < 0 ? err_sys(err, "open '%.200s'", c->path) : 0;
        }
        if (c->fd >= 0)
            (void)close(c->fd);
    }
    if (rc == 0)
        (void)snprintf(path, PATH_MAX, "%s", c->path);
    free(c);
    return rc;
}

/* --- Small texts ------------------------------------------------------------
 */

struct text {
    char *buf;
    size_t len, room, max;
};

static int add_text(void *opaque, const void *buf, size_t len, uint64_t off)
{
    struct text *t = opaque;
    size_t room = t->room ? t->room : TEXT_START;
    char *more;

    (void)off;
    if (len > t->max - t->len)
        return -EFBIG;
    while (room < t->len + len)
        room *= 2;
    if (room > t->room) {
        more = realloc(t->buf, room);
        if (!more)
            return -ENOMEM;
        t->buf = more;
        t->room = room;
    }
    memcpy(t->buf + t->len, buf, len);
    t->len += len;
    return 0;
}

int download_text(const char *url, size_t max, char **text, size_t *len,
                  struct err *err)
{
    struct text t = {.max = max};
    const struct curl_request r = {.url = url, .write = add_text, .opaque = &t};
    int rc = curl_get(&r, err);

    if (rc < 0) {
        free(t.buf);
        return rc;
    }
    *text = t.buf;
    *len = t.len;
    return 0;
}
