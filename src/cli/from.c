#include "cli/from.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fdio.h"
#include "cli/copy.h"
#include "cli/out.h"
#include "cli/progress.h"
#include "fetch/download.h"
#include "fetch/unpack.h"

enum { MAX_URL = 4096, MAX_LIST = 1 << 20, HEAD = 4096 };

/* Of an unpacked image: more is no disk of husk's. */
#define MAX_IMAGE ((uint64_t)1 << 50)

struct from {
    const struct args *a;
    const char *word;
    char path[PATH_MAX]; /* of a file here */
    int fd;
    bool remote; /* it is somebody else's */
    bool has_sum;
    struct sum sum;
};

/* --- Addresses --------------------------------------------------------------
 */

static int hex(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *p =
        c ? strchr(digits, c >= 'A' && c <= 'F' ? c | 0x20 : c) : NULL;

    return p ? (int)(p - digits) : -1;
}

int from_file_url(const char *url, char path[PATH_MAX], struct err *err)
{
    const char *p = url + strlen("file://");
    size_t n = 0;

    if (strncasecmp(p, "localhost/", 10) == 0)
        p += strlen("localhost");
    if (*p != '/')
        return err_set(err, -EINVAL,
                       "'%.120s' names a file of another host: use "
                       "file:///PATH",
                       url);
    while (*p && n + 1 < PATH_MAX) {
        int high = *p == '%' ? hex(p[1]) : -1;
        int low = high >= 0 ? hex(p[2]) : -1;

        path[n] = *p;
        if (low >= 0)
            path[n] = (char)(high << 4 | low);
        n++;
        p += low >= 0 ? 3 : 1;
        if (!path[n - 1])
            return err_set(err, -EINVAL, "'%.120s' is no path", url);
    }
    path[n] = '\0';
    return *p ? err_set(err, -ENAMETOOLONG, "the path '%.80s...' is too long",
                        url)
              : 0;
}

int from_beside(const char *url, const char *name, char *out, size_t size,
                char base[NAME_MAX + 1])
{
    size_t end = strcspn(url, "?#"), start = end;
    const char *host = strstr(url, "://");
    int n;

    if (!host || (size_t)(host - url) + 3 >= end)
        return -EINVAL;
    while (start > (size_t)(host - url) + 3 && url[start - 1] != '/')
        start--;
    if (start == (size_t)(host - url) + 3 || start == end ||
        end - start > NAME_MAX)
        return -EINVAL;
    memcpy(base, url + start, end - start);
    base[end - start] = '\0';
    n = snprintf(out, size, "%.*s%s", (int)start, url, name);
    return n < 0 || (size_t)n >= size ? -EINVAL : 0;
}

/* --- Sums -------------------------------------------------------------------
 */

static int take_option(struct from *f, struct err *err)
{
    const char *text = args_value(f->a, "sha256");

    if (!text)
        return 0;
    f->has_sum = true;
    if (sum_parse(text, strlen(text), &f->sum) == 0 &&
        f->sum.kind == SUM_SHA256)
        return 0;
    return err_set(err, -EINVAL,
                   "--sha256: '%.80s' is no SHA-256 sum: 64 hexadecimal digits",
                   text);
}

/* Servers of images have one list for a whole folder. That there is none says
 * nothing; that the server cannot be asked does. */
static int look_beside(struct from *f, struct err *err)
{
    static const char *const lists[] = {"SHA256SUMS", "SHA512SUMS"};
    char url[MAX_URL], base[NAME_MAX + 1];

    for (size_t i = 0; !f->has_sum && i < ARRAY_LEN(lists); i++) {
        char *text = NULL;
        size_t len = 0;
        int rc;

        if (from_beside(f->word, lists[i], url, sizeof(url), base) < 0)
            return 0;
        rc = download_text(url, MAX_LIST, &text, &len, err);
        if (rc < 0 && rc != -ENOENT && rc != -EFBIG)
            return rc;
        f->has_sum = rc == 0 && sum_find(text, len, base, &f->sum) == 0;
        free(text);
    }
    return 0;
}

static int check_file(const struct from *f, struct err *err)
{
    char got[SUM_TEXT], want[SUM_TEXT];
    struct sum s;
    int rc = f->has_sum ? sum_of_fd(f->fd, f->sum.kind, &s) : 0;

    if (rc < 0) {
        errno = -rc;
        return err_sys(err, "read '%.200s'", f->word);
    }
    if (!f->has_sum || sum_same(&s, &f->sum))
        return 0;
    sum_print(&s, got);
    sum_print(&f->sum, want);
    return err_set(err, -EUCLEAN,
                   "'%.150s' has the sum %.16s... and not %.16s...: it is "
                   "damaged, or another file",
                   f->word, got, want);
}

/* --- Where it is ------------------------------------------------------------
 */

static void step(void *opaque, uint64_t done, uint64_t total)
{
    progress_at(opaque, done, total);
}

static int open_here(struct from *f, struct err *err)
{
    f->fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (f->fd < 0)
        return err_sys(err, "open '%.200s'", f->path);
    return check_file(f, err);
}

static int get(struct from *f, struct err *err)
{
    char dir[PATH_MAX + 8];
    struct download d = {.url = f->word, .dir = dir, .progress = step};
    struct progress p;
    int rc = look_beside(f, err);

    if (rc < 0)
        return rc;
    rc = home_create(&f->a->home, err);
    if (rc < 0)
        return rc;
    (void)snprintf(dir, sizeof(dir), "%s/cache", f->a->home.dir);
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return err_sys(err, "create '%.200s'", dir);
    d.sum = f->has_sum ? &f->sum : NULL;
    d.opaque = &p;
    progress_begin(&p, f->a, "download");
    rc = download_file(&d, f->path, &f->fd, err);
    progress_end(&p);
    return rc;
}

static int find(struct from *f, struct err *err)
{
    int rc;

    if (download_is_url(f->word)) {
        f->remote = true;
        return get(f, err);
    }
    if (strncasecmp(f->word, "file://", 7) == 0) {
        rc = from_file_url(f->word, f->path, err);
        return rc < 0 ? rc : open_here(f, err);
    }
    if (strlen(f->word) >= sizeof(f->path))
        return err_set(err, -ENAMETOOLONG, "the path '%.80s...' is too long",
                       f->word);
    (void)snprintf(f->path, sizeof(f->path), "%s", f->word);
    return open_here(f, err);
}

/* --- What it is -------------------------------------------------------------
 */

/* A file without a name in the VM's folder, which has the room: it is gone with
 * this process, however that ends. */
static int open_beside(const struct vmfile *vf, struct err *err)
{
    const char *path = vmfile_path(vf), *slash = strrchr(path, '/');
    char dir[PATH_MAX];
    int fd;

    (void)snprintf(dir, sizeof(dir), "%.*s",
                   slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
    fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) /* this file system cannot */
        fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    return fd < 0 ? err_sys(err, "make a file in '%.200s'", dir) : fd;
}

static int unpack(struct from *f, enum unpack_kind kind,
                  const struct vmfile *vf, struct err *err)
{
    struct progress p;
    struct unpack u = {.kind = kind,
                       .name = f->word,
                       .in = f->fd,
                       .max = MAX_IMAGE,
                       .progress = step,
                       .opaque = &p};
    int rc = open_beside(vf, err);

    if (rc < 0)
        return rc;
    u.out = rc;
    progress_begin(&p, f->a, "unpack");
    rc = unpack_file(&u, err);
    progress_end(&p);
    if (rc < 0) {
        (void)close(u.out);
        return rc;
    }
    (void)close(f->fd);
    f->fd = u.out;
    return 0;
}

/* What would be taken for a raw disk, and is none. */
static int check_head(const struct from *f, struct err *err)
{
    enum { TAR_MAGIC = 257 };
    char head[HEAD + 1] = "";
    ssize_t n = fd_pread_full(f->fd, head, HEAD, 0);

    if (n > TAR_MAGIC + 5 && memcmp(head + TAR_MAGIC, "ustar", 5) == 0)
        return err_set(err, -EMEDIUMTYPE,
                       "'%.200s' is a tar archive: unpack it and give the "
                       "image that is in it",
                       f->word);
    if (n > 0 && (strncasecmp(head, "<!doctype", 9) == 0 ||
                  strncasecmp(head, "<html", 5) == 0))
        return err_set(err, -EMEDIUMTYPE,
                       "'%.200s' is a page of the web, not an image", f->word);
    if (n <= 0)
        return err_set(err, -EMEDIUMTYPE, "'%.200s' is empty", f->word);
    return 0;
}

static int fill(struct from *f, struct vmfile *vf, struct err *err)
{
    uint8_t head[16] = {0};
    ssize_t n = fd_pread_full(f->fd, head, sizeof(head), 0);
    enum unpack_kind kind = n > 0 ? unpack_guess(head, (size_t)n) : UNPACK_NONE;
    int rc = 0;

    if (kind == UNPACK_NONE && !f->remote)
        return copy_in(f->a, f->path, NULL, vf, err);
    if (kind != UNPACK_NONE)
        rc = unpack(f, kind, vf, err);
    if (rc == 0)
        rc = check_head(f, err);
    return rc < 0 ? rc : copy_in_sent(f->a, f->word, f->fd, vf, err);
}

int from_fill(const struct args *a, const char *from, struct vmfile *vf,
              struct err *err)
{
    struct from *f = calloc(1, sizeof(*f)); /* it holds a path */
    int rc;

    if (!f)
        return err_set(err, -ENOMEM, "make a VM: out of memory");
    *f = (struct from){.a = a, .word = from, .fd = -1};
    rc = take_option(f, err);
    if (rc == 0)
        rc = find(f, err);
    if (rc == 0)
        rc = fill(f, vf, err);
    if (f->fd >= 0)
        (void)close(f->fd);
    free(f);
    return rc;
}
