#include "cli/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "block/open.h"
#include "block/raw.h"
#include "cli/progress.h"
#include "cli/vm.h"

enum { PIECE = 2 << 20, GRAIN = 64 << 10, HEAD = 4096 };

/* Formats; qemu's name is NULL for those that husk knows. */
static const struct known {
    const char *name, *qemu;
} known[] = {
    {"qcow2", NULL}, {"raw", NULL},    {"vmdk", "vmdk"},
    {"vdi", "vdi"},  {"vhdx", "vhdx"}, {"vhd", "vpc"},
};

static const struct known *find_format(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(known[i].name, name) == 0)
            return &known[i];
    return NULL;
}

bool copy_knows(const char *format)
{
    return find_format(format) != NULL;
}

/* --- Copying ----------------------------------------------------------------
 */

static bool is_zero(const uint8_t *p, size_t len)
{
    return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

/* Runs of grains that are not zero, each in one write. */
static int write_piece(struct blk *to, uint64_t off, const uint8_t *buf,
                       size_t len)
{
    size_t at = 0;

    while (at < len) {
        size_t start, end;

        while (at < len &&
               is_zero(buf + at, len - at < GRAIN ? len - at : GRAIN))
            at += GRAIN;
        start = end = at;
        while (end < len &&
               !is_zero(buf + end, len - end < GRAIN ? len - end : GRAIN))
            end += GRAIN;
        end = end < len ? end : len;
        if (start < end) {
            int rc = blk_write(to, off + start, buf + start, end - start, 0);

            if (rc < 0)
                return rc;
        }
        at = end;
    }
    return 0;
}

struct copy {
    struct blk *from, *to;
    uint8_t *buf;
    const char *what;
};

static int copy_piece(const struct copy *c, uint64_t off, size_t len,
                      struct err *err)
{
    const char *step = "read";
    int rc = blk_read(c->from, off, c->buf, len);

    if (rc == 0) {
        step = "write";
        rc = write_piece(c->to, off, c->buf, len);
    }
    if (rc == 0)
        return 0;
    errno = -rc;
    return err_sys(err, "%s: %s the disk at byte %llu", c->what, step,
                   (unsigned long long)off);
}

/* Where there is something from off on, as far as the file system knows; the
 * size if there is nothing more. fd: a raw disk's file, or -1. */
static uint64_t next_data(int fd, uint64_t off, uint64_t size)
{
    off_t at = fd < 0 ? (off_t)off : lseek(fd, (off_t)off, SEEK_DATA);

    if (at < 0)
        return errno == ENXIO ? size : off;
    return (uint64_t)at < size ? (uint64_t)at & ~(uint64_t)(GRAIN - 1) : size;
}

/* All of one disk to another of the same size, which reads as zeroes. fd as
 * for next_data. */
static int copy_disk(const struct args *a, struct blk *from, int fd,
                     struct blk *to, const char *what, struct err *err)
{
    uint64_t size = blk_size(from);
    struct copy c = {from, to, malloc(PIECE), what};
    struct progress p;
    int rc = 0;

    if (!c.buf)
        return err_set(err, -ENOMEM, "%s: out of memory", what);
    progress_begin(&p, a, what);
    for (uint64_t off = next_data(fd, 0, size); rc == 0 && off < size;
         off = next_data(fd, off + PIECE, size)) {
        size_t len = size - off < PIECE ? (size_t)(size - off) : PIECE;

        rc = copy_piece(&c, off, len, err);
        progress_at(&p, off + len, size);
    }
    progress_end(&p);
    free(c.buf);
    if (rc == 0 && (rc = blk_flush(to)) < 0) {
        errno = -rc;
        return err_sys(err, "%s: flush the disk", what);
    }
    return rc;
}

/* --- qemu-img ---------------------------------------------------------------
 */

/* qemu-img convert -f FROM -O TO source target, its words on our stderr. */
static int qemu_convert(const char *source, const char *from,
                        const char *target, const char *to, struct err *err)
{
    /* Words beginning with '-' or with "name:" would be options and protocols:
     * both are made paths. */
    const char *argv[] = {"qemu-img", "convert", "-f",   from,   "-O",
                          to,         "--",      source, target, NULL};
    union {
        const char **words;
        char *const *argv; /* as posix_spawn has it, which changes none */
    } u = {.words = argv};
    int status = 0;
    pid_t pid;
    int rc = posix_spawnp(&pid, "qemu-img", NULL, NULL, u.argv, environ);

    if (rc == ENOENT)
        return err_set(err, -ENOTSUP,
                       "the format needs qemu-img, which is not there: install "
                       "qemu-utils");
    if (rc) {
        errno = rc;
        return err_sys(err, "run qemu-img");
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    return err_set(err, -EIO, "qemu-img could not convert '%s'", source);
}

/* A file beside path that is gone when it is closed, by way of a name that
 * qemu-img can open. */
static int temporary(const char *path, char name[PATH_MAX], struct err *err)
{
    const char *slash = strrchr(path, '/');
    int dir = slash ? (int)(slash - path) + 1 : 0, fd;
    int n = snprintf(name, PATH_MAX, "%s%.*s.husk-convert-XXXXXX",
                     slash ? "" : "./", dir, path);

    if (n < 0 || n >= PATH_MAX)
        return err_set(err, -ENAMETOOLONG, "the path is too long");
    fd = mkostemp(name, O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, "create '%s'", name);
    (void)close(fd);
    return 0;
}

/* --- In ---------------------------------------------------------------------
 */

/* What the file says that it is; "raw" if it says nothing. */
static int guess(const char *file, const char **format, struct err *err)
{
    uint8_t head[HEAD] = {0};
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    ssize_t n;
    struct stat st;

    if (fd < 0)
        return err_sys(err, "open '%s'", file);
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        (void)close(fd);
        return err_set(err, -EINVAL, "open '%s': it is a directory", file);
    }
    n = pread(fd, head, sizeof(head), 0);
    (void)close(fd);
    *format = n > 0 ? blk_guess_format(head, (uint64_t)n) : NULL;
    if (!*format)
        *format = "raw";
    if (find_format(*format))
        return 0;
    return err_set(err, -ENOTSUP, "import '%s': husk cannot read %s images",
                   file, *format);
}

static int fill(const struct args *a, struct blk *from, int fd,
                struct vmfile *vf, struct err *err)
{
    struct blk *to = qcow2_blk(vmfile_qcow2(vf));
    int rc = blk_resize(to, (blk_size(from) + 511) & ~511ull, err);

    return rc < 0 ? rc : copy_disk(a, from, fd, to, a->verb->name, err);
}

/* An image that somebody sent can be based on any file of the host, which the
 * VM would then have. */
static int check_backing(const struct args *a, const char *file,
                         struct err *err)
{
    const struct qcow2_opts opts = {.flags = BLK_RDONLY | QCOW2_NO_BACKING};
    struct qcow2_info info;
    struct qcow2 *q = NULL;
    int rc = qcow2_open(file, -1, &opts, &q, err);

    if (rc < 0)
        return rc;
    qcow2_info(q, &info);
    if (info.backing && !vm_confirm(a, "'%s' is based on '%s'. Read that, too?",
                                    file, info.backing))
        rc = err_set(err, -EACCES,
                     "'%.120s' is based on '%.120s': --yes reads that, too",
                     file, info.backing);
    if (qcow2_close(q) < 0 && rc == 0)
        rc = err_set(err, -EIO, "read '%s': input/output error", file);
    return rc;
}

static int fill_native(const struct args *a, const char *file,
                       const char *format, struct vmfile *vf, struct err *err)
{
    struct blk *from = NULL;
    int rc = 0, fd = -1;

    if (strcmp(format, "qcow2") == 0)
        rc = check_backing(a, file, err);
    if (rc == 0)
        rc = blk_open(file, -1, format, BLK_RDONLY, &from, err);
    if (rc < 0 || !from)
        return rc;
    if (strcmp(format, "raw") == 0)
        fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    rc = fill(a, from, fd, vf, err);
    if (fd >= 0)
        (void)close(fd);
    if (blk_close(from) < 0 && rc == 0)
        rc = err_set(err, -EIO, "read '%s': input/output error", file);
    return rc;
}

int copy_in(const struct args *a, const char *file, const char *format,
            struct vmfile *vf, struct err *err)
{
    const struct known *k;
    char source[PATH_MAX], plain[PATH_MAX];
    int rc = 0;

    if (!realpath(file, source))
        return err_sys(err, "open '%s'", file);
    if (!format)
        rc = guess(source, &format, err);
    if (rc < 0 || !format)
        return rc;
    k = find_format(format);
    if (!k)
        return err_set(err, -EINVAL, "husk does not know the format '%.40s'",
                       format);
    if (!k->qemu)
        return fill_native(a, source, format, vf, err);
    rc = temporary(vmfile_path(vf), plain, err);
    if (rc < 0)
        return rc;
    rc = qemu_convert(source, k->qemu, plain, "raw", err);
    if (rc == 0)
        rc = fill_native(a, plain, "raw", vf, err);
    (void)unlink(plain);
    return rc;
}

/* What is sent must not choose among our files: what lies below it, or what
 * qemu-img would read for it. */
static int check_alone(const char *path, struct err *err)
{
    const struct qcow2_opts opts = {.flags = BLK_RDONLY | QCOW2_NO_BACKING};
    struct qcow2_info info;
    struct qcow2 *q = NULL;
    int rc = qcow2_open(path, -1, &opts, &q, err);

    if (rc < 0)
        return rc;
    qcow2_info(q, &info);
    if (info.backing)
        rc = err_set(err, -EACCES, "it is based on another file, '%.120s'",
                     info.backing);
    (void)!qcow2_close(q);
    return rc;
}

int copy_in_sent(const struct args *a, const char *name, int fd,
                 struct vmfile *vf, struct err *err)
{
    const char *format = NULL;
    char path[40];
    struct err why = {0};
    int rc;

    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    rc = guess(path, &format, &why);
    if (rc == 0 && find_format(format)->qemu)
        rc = err_set(&why, -ENOTSUP,
                     "it is a %s image: save it as a file and import that",
                     format);
    if (rc == 0 && strcmp(format, "qcow2") == 0)
        rc = check_alone(path, &why);
    if (rc == 0)
        rc = fill_native(a, path, format, vf, &why);
    return rc < 0 ? err_set(err, rc, "'%.150s': %s", name, why.text) : 0;
}

/* --- Out --------------------------------------------------------------------
 */

static int open_new(const char *file, const char *format, uint64_t size,
                    struct blk **out, struct err *err)
{
    const struct qcow2_create c = {.size = size, .refcount_order = UINT32_MAX};
    int fd = open(file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    int rc = 0;

    if (fd < 0)
        return err_sys(err, "create '%s'", file);
    if (strcmp(format, "qcow2") == 0)
        rc = qcow2_create(file, fd, &c, NULL, err);
    else if (ftruncate(fd, (off_t)size) < 0)
        rc = err_sys(err, "create '%s'", file);
    if (rc == 0)
        rc = blk_open(file, fd, format, 0, out, err);
    if (rc < 0) {
        (void)close(fd);
        (void)unlink(file);
    }
    return rc;
}

static int write_native(const struct args *a, struct blk *disk,
                        const char *file, const char *format, struct err *err)
{
    struct blk *to = NULL;
    int rc = open_new(file, format, blk_size(disk), &to, err), closed;

    if (rc < 0)
        return rc;
    rc = copy_disk(a, disk, -1, to, a->verb->name, err);
    closed = blk_close(to);
    if (rc == 0 && closed < 0) {
        errno = -closed;
        rc = err_sys(err, "write '%s'", file);
    }
    if (rc < 0)
        (void)unlink(file);
    return rc;
}

int copy_out(const struct args *a, struct blk *disk, const char *file,
             const char *format, struct err *err)
{
    const struct known *k = find_format(format);
    char plain[PATH_MAX], target[PATH_MAX];
    int rc;

    if (!k)
        return err_set(err, -EINVAL, "husk does not know the format '%.40s'",
                       format);
    if (access(file, F_OK) == 0)
        return err_set(err, -EEXIST, "export to '%s': it is there already",
                       file);
    if (!k->qemu)
        return write_native(a, disk, file, format, err);
    (void)snprintf(target, sizeof(target), "%s%s",
                   strchr(file, '/') ? "" : "./", file);
    rc = temporary(file, plain, err);
    if (rc < 0)
        return rc;
    (void)unlink(plain);
    rc = write_native(a, disk, plain, "raw", err);
    if (rc == 0)
        rc = qemu_convert(plain, "raw", target, k->qemu, err);
    (void)unlink(plain);
    if (rc < 0)
        (void)unlink(file);
    return rc;
}
