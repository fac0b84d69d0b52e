#include "replay.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * Other programs look at a cut: qemu-img must find nothing but leaks and read
 * the same contents; husk's own store must open it for writing, read the same,
 * and leave an image without leaks.
 */
extern char **environ;

struct paths {
    char image[300], raw[300];
};

static bool no(struct replay *r, const char *text, int status)
{
    (void)snprintf(r->verify.why, sizeof(r->verify.why), "%s (status %d)", text,
                   status);
    return false;
}

static bool write_file(const char *path, const uint8_t *data, uint64_t size)
{
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
    uint64_t done = 0;
    ssize_t n = 0;

    if (fd < 0)
        return false;
    while (done < size && (n = write(fd, data + done, size - done)) > 0)
        done += (uint64_t)n;
    (void)close(fd);
    return done == size;
}

/* Its exit status, with nothing of what it says. */
static int run(const char *const argv[])
{
    posix_spawn_file_actions_t fa;
    int status = -1;
    pid_t pid;

    (void)posix_spawn_file_actions_init(&fa);
    (void)posix_spawn_file_actions_addopen(&fa, 1, "/dev/null", O_WRONLY, 0);
    (void)posix_spawn_file_actions_adddup2(&fa, 1, 2);
    if (!posix_spawnp(&pid, argv[0], &fa, NULL, (char **)(uintptr_t)argv,
                      environ))
        (void)waitpid(pid, &status, 0);
    (void)posix_spawn_file_actions_destroy(&fa);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static const uint8_t *map_file(const char *path, uint64_t *size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    void *map = MAP_FAILED;

    if (fd < 0)
        return NULL;
    if (!fstat(fd, &st) && st.st_size) {
        *size = (uint64_t)st.st_size;
        map = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
    }
    (void)close(fd);
    return map == MAP_FAILED ? NULL : map;
}

static bool same_contents(struct replay *r, const char *path)
{
    uint64_t size = 0;
    const uint8_t *data = map_file(path, &size);
    bool ok = data && verify_contents(&r->verify, &r->model, data, size);

    if (!data)
        (void)no(r, "no contents", 0);
    else
        (void)munmap((void *)(uintptr_t)data, size);
    return ok;
}

static bool through_qemu(struct replay *r, const struct paths *p)
{
    const char *check[] = {"qemu-img", "check",  "-q", "-f",
                           "qcow2",    p->image, NULL};
    const char *convert[] = {"qemu-img", "convert", "-f",   "qcow2", "-O",
                             "raw",      p->image,  p->raw, NULL};
    const char *repair[] = {"qemu-img", "check", "-q",     "-f", "qcow2",
                            "-r",       "all",   p->image, NULL};
    bool dirty = r->img.incompatible & QIMG_DIRTY || r->img.version == 2;
    int status = run(check);

    /* What the dirty bit announces must be what a repair puts right. */
    if (dirty && status == 2)
        status = run(repair);
    if (status != 0 && status != 3)
        return no(r, "qemu-img check finds damage", status);
    status = run(convert);
    if (status)
        return no(r, "qemu-img convert fails", status);
    return same_contents(r, p->raw);
}

static bool sound_now(struct replay *r, const struct paths *p)
{
    uint64_t size = 0;
    const uint8_t *data = map_file(p->image, &size);
    struct qreport rep;
    bool ok = false;

    if (!data)
        return no(r, "the image is gone", 0);
    qcheck_image(&r->check, &r->img, data, size, &rep);
    if (rep.corruptions || rep.leaks || rep.not_copied || rep.false_copied)
        (void)snprintf(r->verify.why, sizeof(r->verify.why),
                       "after husk's open: %s", rep.first);
    else
        ok = verify_image(&r->verify, &r->model, &r->img);
    (void)munmap((void *)(uintptr_t)data, size);
    return ok;
}

static bool through_husk(struct replay *r, const struct paths *p)
{
    const char *open_it[] = {r->opt->opener, p->image, p->raw, NULL};
    int status = run(open_it);

    if (status)
        return no(r, "husk's store refuses it", status);
    return same_contents(r, p->raw) && sound_now(r, p);
}

bool sample_check(struct replay *r)
{
    struct paths p;
    bool ok;

    (void)snprintf(p.image, sizeof(p.image), "%s/sample-%d.qcow2", r->opt->dir,
                   getpid());
    (void)snprintf(p.raw, sizeof(p.raw), "%s/sample-%d.raw", r->opt->dir,
                   getpid());
    if (!write_file(p.image, r->disk.work, r->disk.work_size))
        return no(r, "no room for a sample", 0);
    ok = through_qemu(r, &p);
    /* QEMU may have repaired it. */
    if (ok && r->opt->opener)
        ok = write_file(p.image, r->disk.work, r->disk.work_size) &&
             through_husk(r, &p);
    (void)unlink(p.image);
    (void)unlink(p.raw);
    return ok;
}
