#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "qdiff.h"

/* QEMU's tools as a user calls them. */

extern char **environ;

int qd_run(char *out, size_t room, const char *const argv[])
{
    posix_spawn_file_actions_t fa;
    int fds[2], status = -1;
    size_t len = 0;
    ssize_t n;
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC))
        return -1;
    (void)posix_spawn_file_actions_init(&fa);
    (void)posix_spawn_file_actions_adddup2(&fa, fds[1], 1);
    (void)posix_spawn_file_actions_adddup2(&fa, fds[1], 2);
    if (posix_spawnp(&pid, argv[0], &fa, NULL, (char **)(uintptr_t)argv,
                     environ))
        pid = -1;
    (void)posix_spawn_file_actions_destroy(&fa);
    (void)close(fds[1]);
    while ((n = read(fds[0], out + len, room - 1 - len)) > 0)
        len += (size_t)n;
    out[len] = 0;
    (void)close(fds[0]);
    if (pid > 0)
        (void)waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
}

/* A tool that must succeed. */
static bool must(struct qdiff *d, const char *const argv[])
{
    char out[4096], line[600];
    size_t len = 0, i;
    int status = qd_run(out, sizeof(out), argv);

    for (i = 0; argv[i] && len < sizeof(line) - 100; i++)
        len += (size_t)snprintf(line + len, sizeof(line) - len, "%.200s ",
                                argv[i]);
    return !status || qd_no(d, "%.150s: status %d: %.150s", line, status, out);
}

static bool img(struct qdiff *d, const char *verb, const char *a, const char *b,
                const char *c)
{
    const char *argv[] = {"qemu-img", verb, a, b, c, NULL};

    return must(d, argv);
}

static bool io(struct qdiff *d, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* One command of qemu-io, which fails without a status but with a sentence. */
static bool io(struct qdiff *d, const char *fmt, ...)
{
    const char *argv[] = {"qemu-io", "-d", "unmap",      "-f", "qcow2",
                          "-c",      "",   "disk.qcow2", NULL};
    char command[200], out[4096];
    va_list ap;
    int status;

    va_start(ap, fmt);
    (void)vsnprintf(command, sizeof(command), fmt, ap);
    va_end(ap);
    argv[6] = command;
    status = qd_run(out, sizeof(out), argv);
    if (status || strstr(out, "failed") || strstr(out, "rror"))
        return qd_no(d, "qemu-io %s: %.200s", command, out);
    return true;
}

static bool write_source(struct qdiff *d, uint64_t bytes)
{
    int fd = open("source", O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
    ssize_t n = fd < 0 ? -1 : write(fd, d->buf, bytes);

    if (fd >= 0)
        (void)close(fd);
    return n == (ssize_t)bytes || qd_no(d, "no room for a source");
}

static bool do_write(struct qdiff *d)
{
    uint64_t first, n, i;

    qd_range(d, &first, &n);
    d->seq++;
    for (i = 0; i < n; i++)
        d->disk.version[first + i] = (uint32_t)d->seq;
    qd_fill(d, d->disk.version + first, first, n);
    qd_say(d, "qemu-io write %" PRIu64 "+%" PRIu64, first, n);
    return write_source(d, n * QD_SECTOR) &&
           io(d, "write -s source %" PRIu64 " %" PRIu64, first * QD_SECTOR,
              n * QD_SECTOR);
}

/* A whole cluster that can be compressed: version 1. QEMU writes such only
 * where nothing is allocated yet. */
static bool do_packed(struct qdiff *d)
{
    uint64_t per = (1ULL << d->cluster_bits) / QD_SECTOR, first, n, i;
    uint32_t *v;

    qd_range(d, &first, &n);
    first -= first % per;
    if (first + per > d->disk.nr)
        return true;
    v = malloc(per * sizeof(*v));
    for (i = 0; v && i < per; i++)
        v[i] = 1;
    if (!v)
        return qd_no(d, "out of memory");
    qd_fill(d, v, first, per);
    qd_say(d, "qemu-io write -c %" PRIu64 "+%" PRIu64, first, per);
    if (!write_source(d, per * QD_SECTOR)) {
        free(v);
        return false;
    }
    if (io(d, "write -c -s source %" PRIu64 " %" PRIu64, first * QD_SECTOR,
           per * QD_SECTOR))
        memcpy(d->disk.version + first, v, per * sizeof(*v));
    else
        d->why[0] = 0;
    free(v);
    return true;
}

static bool do_zero(struct qdiff *d)
{
    uint64_t first, n;
    bool unmap = qd_random(d, 2);

    qd_range(d, &first, &n);
    memset(d->disk.version + first, 0, n * sizeof(uint32_t));
    qd_say(d, "qemu-io write -z%s %" PRIu64 "+%" PRIu64, unmap ? " -u" : "",
           first, n);
    return io(d, "write -z %s %" PRIu64 " %" PRIu64, unmap ? "-u" : "",
              first * QD_SECTOR, n * QD_SECTOR);
}

static bool do_discard(struct qdiff *d)
{
    uint64_t first, n;

    qd_range(d, &first, &n);
    qd_say(d, "qemu-io discard %" PRIu64 "+%" PRIu64, first, n);
    return io(d, "discard %" PRIu64 " %" PRIu64, first * QD_SECTOR,
              n * QD_SECTOR) &&
           qd_learn_discard(d, first, n);
}

static bool do_snapshot(struct qdiff *d)
{
    struct qd_snapshot *s = qd_snapshot_new(d);

    /* Narrow counts overflow, of compressed clusters at once. */
    if (!s || d->refcount_bits < 8)
        return true;
    qd_say(d, "qemu-img snapshot -c %s", s->name);
    if (!img(d, "snapshot", "-c", s->name, "disk.qcow2"))
        return false;
    s->used = true;
    s->by_husk = false;
    return qd_disk_copy(&s->disk, &d->disk);
}

/* QEMU goes back only to disks of the same size, and not beside bitmaps. */
static bool do_apply(struct qdiff *d)
{
    struct qd_snapshot *s = qd_snapshot_any(d);

    if (!s || s->disk.nr != d->disk.nr || d->bitmaps)
        return true;
    qd_say(d, "qemu-img snapshot -a %s", s->name);
    return img(d, "snapshot", "-a", s->name, "disk.qcow2") &&
           qd_disk_copy(&d->disk, &s->disk);
}

static bool do_delete(struct qdiff *d)
{
    struct qd_snapshot *s = qd_snapshot_any(d);

    if (!s)
        return true;
    qd_say(d, "qemu-img snapshot -d %s", s->name);
    s->used = false;
    return img(d, "snapshot", "-d", s->name, "disk.qcow2");
}

static bool has_snapshots(const struct qdiff *d)
{
    unsigned i;

    for (i = 0; i < QD_SNAPSHOTS; i++)
        if (d->snapshots[i].used)
            return true;
    return false;
}

/* What is added shows nothing of the backing file. */
static bool do_resize(struct qdiff *d)
{
    uint64_t nr = d->disk.nr + 1 + qd_random(d, 200);
    char size[32];

    /* Version 2 cannot keep the sizes of snapshots apart. */
    if (nr > 16384 || (d->old_version && has_snapshots(d)))
        return true;
    (void)snprintf(size, sizeof(size), "%" PRIu64, nr * QD_SECTOR);
    qd_say(d, "qemu-img resize %s", size);
    return img(d, "resize", "disk.qcow2", size, NULL) &&
           qd_disk_resize(&d->disk, nr, 0);
}

static bool do_amend(struct qdiff *d)
{
    bool old = !d->old_version;
    char out[4096];
    const char *argv[] = {"qemu-img",   "amend",
                          "-o",         old ? "compat=0.10" : "compat=1.1",
                          "disk.qcow2", NULL};
    int status;

    /* QEMU leaks the clusters of bitmaps on the way to version 2. */
    if (d->refcount_bits != 16 || d->bitmaps)
        return true;
    qd_say(d, "qemu-img amend %s", argv[3]);
    status = qd_run(out, sizeof(out), argv);
    /* It does not take everything back: snapshots of other sizes. */
    if (status && old && strstr(out, "snapshot"))
        return true;
    if (status)
        return qd_no(d, "qemu-img amend %s: %.200s", argv[3], out);
    d->old_version = old;
    return true;
}

/* From one backing file to another with the same contents, or safely to none:
 * what the snapshots see comes from the backing file, too. */
static bool do_rebase(struct qdiff *d)
{
    int to = d->base == 1 ? 2 : 1;
    char name[1100], format[] = "raw";
    const char *argv[] = {"qemu-img", "rebase", "-f",   "qcow2",      "-b",
                          name,       "-F",     format, "disk.qcow2", NULL};
    size_t len, i;

    if (!d->base)
        return true;
    /* As long as a name can be: the path of the same file. */
    (void)snprintf(name, sizeof(name), "base%d.raw", to);
    if (qd_random(d, 2)) {
        len = 1023 - strlen(name);
        for (i = 0; i < len; i++)
            name[i] = i + 1 == len || i % 2 ? '/' : '.';
        (void)snprintf(name + len, sizeof(name) - len, "base%d.raw", to);
    }
    qd_say(d, "qemu-img rebase -b %.20s... (%zu)", name, strlen(name));
    d->base = to;
    return must(d, argv);
}

static bool do_bitmap(struct qdiff *d)
{
    char name[16], out[4096];
    const char *add[] = {"qemu-img", "bitmap",     "--add", "-f",
                         "qcow2",    "disk.qcow2", name,    NULL};

    if (d->old_version)
        return true;
    (void)snprintf(name, sizeof(name), "b%u", (unsigned)qd_random(d, 3));
    d->bitmaps = true;
    add[2] = qd_random(d, 3) ? "--add" : "--remove";
    qd_say(d, "qemu-img bitmap %s %s", add[2], name);
    /* It may be there already, or not. */
    return qd_run(out, sizeof(out), add) < 2 ||
           qd_no(d, "qemu-img bitmap: %.200s", out);
}

/* QEMU 7.2 that opens an image with bitmaps (or with any autoclear bit that it
 * clears) for repair writes a header without snapshots: they are lost. */
static bool do_check(struct qdiff *d)
{
    if (d->bitmaps && has_snapshots(d))
        return true;
    qd_say(d, "qemu-img check -r all");
    return img(d, "check", "-r", "all", "disk.qcow2");
}

bool qd_qemu_step(struct qdiff *d)
{
    unsigned dice = (unsigned)qd_random(d, 100);

    if (dice < 40)
        return do_write(d);
    if (dice < 46)
        return do_packed(d);
    if (dice < 54)
        return do_zero(d);
    if (dice < 62)
        return do_discard(d);
    if (dice < 70)
        return do_snapshot(d);
    if (dice < 74)
        return do_apply(d);
    if (dice < 79)
        return do_delete(d);
    if (dice < 84)
        return do_resize(d);
    if (dice < 89)
        return do_amend(d);
    if (dice < 93)
        return do_rebase(d);
    if (dice < 97)
        return do_bitmap(d);
    return do_check(d);
}
