/*
 * The side that has the disk. The child may be anybody: it can ask for any
 * bytes of the guest's own disk, make its answer anything, and take its time,
 * and that is all.
 */
#include "bootdisk/bootdisk.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/clock.h"
#include "bootdisk/child.h"

struct bootdisk {
    struct answer a;
};

struct looking {
    struct blk *blk;
    struct child_shared *sh;
    int memory, ours, theirs; /* descriptors */
    pid_t child;
    struct err *err;
};

/* --- Shared memory and socket -----------------------------------------------
 */

/* Above the numbers that the child gets them at. */
static int move_up(int *fd)
{
    int up = fcntl(*fd, F_DUPFD_CLOEXEC, CHILD_MEMORY + 1);

    if (up < 0)
        return -errno;
    (void)close(*fd);
    *fd = up;
    return 0;
}

static int share(struct looking *l)
{
    int pair[2];

    l->memory = memfd_create("boot answer", MFD_CLOEXEC);
    if (l->memory < 0 || ftruncate(l->memory, sizeof(*l->sh)) < 0)
        return -errno;
    l->sh = mmap(NULL, sizeof(*l->sh), PROT_READ | PROT_WRITE, MAP_SHARED,
                 l->memory, 0);
    if (l->sh == MAP_FAILED) {
        l->sh = NULL;
        return -errno;
    }
    l->sh->disk_bytes = blk_size(l->blk);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    l->ours = pair[0];
    l->theirs = pair[1];
    return 0;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

static void unshare_all(struct looking *l)
{
    close_fd(&l->memory);
    close_fd(&l->ours);
    close_fd(&l->theirs);
    if (l->sh)
        (void)munmap(l->sh, sizeof(*l->sh));
}

/* --- The child --------------------------------------------------------------
 */

static int spawn(struct looking *l)
{
    char name[] = "husk", role[] = CHILD_ROLE;
    char mark[] = CHILD_MARK "=1";
    char *argv[] = {name, role, NULL}, *env[] = {mark, NULL};
    posix_spawn_file_actions_t fa;
    int rc = move_up(&l->memory);

    if (rc == 0)
        rc = move_up(&l->theirs);
    if (rc < 0 || posix_spawn_file_actions_init(&fa) != 0)
        return rc < 0 ? rc : -ENOMEM;
    if (posix_spawn_file_actions_adddup2(&fa, l->theirs, CHILD_SOCKET) != 0 ||
        posix_spawn_file_actions_adddup2(&fa, l->memory, CHILD_MEMORY) != 0)
        rc = -ENOMEM;
    else
        rc = -posix_spawn(&l->child, "/proc/self/exe", &fa, NULL, argv, env);
    (void)posix_spawn_file_actions_destroy(&fa);
    if (rc == 0)
        close_fd(&l->theirs);
    return rc;
}

static int32_t serve_read(struct looking *l, const struct child_request *q)
{
    if (q->len > CHILD_WINDOW || !range_ok(q->off, q->len, blk_size(l->blk)))
        return -EINVAL;
    return blk_read(l->blk, q->off, l->sh->window, q->len);
}

/* 0: the child has closed its end; 1: go on. */
static int serve_one(struct looking *l)
{
    struct child_request q;
    ssize_t n = recv(l->ours, &q, sizeof(q), MSG_DONTWAIT);
    int32_t rc;

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 1 : 0;
    if (n != sizeof(q))
        return 0;
    rc = serve_read(l, &q);
    return send(l->ours, &rc, sizeof(rc), MSG_NOSIGNAL | MSG_DONTWAIT) ==
           sizeof(rc);
}

static int serve(struct looking *l)
{
    uint64_t end = clock_now_ns() + BOOTDISK_SECONDS * NS_PER_SEC;
    struct pollfd p = {.fd = l->ours, .events = POLLIN};

    for (;;) {
        uint64_t now = clock_now_ns();
        int n = 0;

        if (now < end)
            n = poll(&p, 1, (int)((end - now) / 1000000) + 1);
        else
            return -ETIMEDOUT;
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0 && serve_one(l) == 0)
            return 0;
    }
}

/* It ends by itself or is ended; then nobody else has the shared memory. */
static int wait_for_child(struct looking *l, int rc)
{
    int status = 0;
    pid_t pid;

    if (rc < 0)
        (void)kill(l->child, SIGKILL);
    do
        pid = waitpid(l->child, &status, 0);
    while (pid < 0 && errno == EINTR);
    if (rc == -ETIMEDOUT)
        return err_set(l->err, rc, "looking at it took over %d seconds",
                       BOOTDISK_SECONDS);
    if (rc < 0)
        return err_set(l->err, rc, "looking at it failed: %s",
                       strerrordesc_np(-rc));
    if (pid == l->child && WIFSIGNALED(status))
        return err_set(l->err, -ECHILD,
                       "what looks at it was stopped by signal %d",
                       WTERMSIG(status));
    if (pid != l->child || status != 0)
        return err_set(l->err, -ECHILD, "what looks at it has failed");
    return 0;
}

static int take_answer(struct looking *l, struct bootdisk **out)
{
    struct bootdisk *b = malloc(sizeof(*b));

    if (!b)
        return err_set(l->err, -ENOMEM, "out of memory");
    memcpy(&b->a, &l->sh->answer, sizeof(b->a));
    if (!answer_check(&b->a, blk_size(l->blk))) {
        free(b);
        return err_set(l->err, -ECHILD, "what looks at it has lied");
    }
    if (b->a.code < 0) {
        int rc = err_set(l->err, b->a.code, "%s", b->a.why);

        free(b);
        return rc;
    }
    *out = b;
    return 0;
}

int bootdisk_look(struct blk *blk, struct bootdisk **out, struct err *err)
{
    struct looking l = {
        .blk = blk, .memory = -1, .ours = -1, .theirs = -1, .err = err};
    int rc = getenv(CHILD_MARK) ? -ECHILD : share(&l);

    if (rc == 0)
        rc = spawn(&l);
    if (rc < 0) {
        (void)err_set(err, rc, "no process can be made that looks at it: %s",
                      strerrordesc_np(-rc));
        unshare_all(&l);
        return rc;
    }
    rc = wait_for_child(&l, serve(&l));
    if (rc == 0)
        rc = take_answer(&l, out);
    unshare_all(&l);
    return rc;
}

void bootdisk_free(struct bootdisk *b)
{
    free(b);
}

/* --- The answer -------------------------------------------------------------
 */

const char *bootdisk_kernel(const struct bootdisk *b)
{
    return b->a.file[0].path;
}

const char *bootdisk_title(const struct bootdisk *b)
{
    return b->a.title;
}

const char *bootdisk_cmdline(const struct bootdisk *b)
{
    return b->a.cmdline;
}

const char *bootdisk_loader(const struct bootdisk *b)
{
    return b->a.grub ? "GRUB" : "EXTLINUX";
}

/* --- Loading ----------------------------------------------------------------
 */

/* buf has zeroes, and room for all of the file. */
static int load_file(struct blk *blk, const struct bootdisk *b,
                     const struct answer_file *f, uint8_t *buf, struct err *err)
{
    for (uint32_t i = 0; i < f->nr; i++) {
        const struct ext2_run *r = &b->a.run[f->first + i];
        uint64_t len = r->len;
        int rc;

        if (r->off >= f->size)
            continue;
        if (len > f->size - r->off)
            len = f->size - r->off;
        rc = blk_read(blk, r->disk, buf + r->off, len);
        if (rc < 0)
            return err_set(err, rc, "'%.80s' cannot be read: %s", f->path,
                           strerrordesc_np(-rc));
    }
    return 0;
}

static int make_room(uint64_t size, uint64_t max, const char *path,
                     uint8_t **out, struct err *err)
{
    if (size == 0 || size > max)
        return err_set(err, -EFBIG, "'%.80s' has %llu bytes, not 1 to %llu",
                       path, (unsigned long long)size, (unsigned long long)max);
    *out = calloc(1, (size_t)size);
    return *out ? 0
                : err_set(err, -ENOMEM, "'%.80s' cannot be read: out of memory",
                          path);
}

/* Each begins at a multiple of four, with zeroes before it (Linux:
 * Documentation /driver-api/early-userspace/buffer-format.rst). */
static uint64_t initrd_at(const struct bootdisk *b, uint32_t n)
{
    uint64_t at = 0;

    for (uint32_t i = 1; i < n; i++) {
        uint64_t size = b->a.file[i].size;

        if (size > BOOTDISK_INITRD_MAX)
            return UINT64_MAX / 2;
        at = (at + size + 3) & ~(uint64_t)3;
    }
    return at;
}

static int load_initrds(struct blk *blk, const struct bootdisk *b,
                        struct bootdisk_files *out, struct err *err)
{
    uint32_t nr = b->a.nr_files;
    uint64_t size = initrd_at(b, nr);
    int rc;

    if (nr < 2)
        return 0;
    rc = make_room(size, BOOTDISK_INITRD_MAX, b->a.file[1].path, &out->initrd,
                   err);
    for (uint32_t i = 1; rc == 0 && i < nr; i++)
        rc = load_file(blk, b, &b->a.file[i], out->initrd + initrd_at(b, i),
                       err);
    out->initrd_len = (size_t)size;
    return rc;
}

int bootdisk_load(struct blk *blk, const struct bootdisk *b,
                  struct bootdisk_files *out, struct err *err)
{
    const struct answer_file *k = &b->a.file[0];
    int rc;

    *out = (struct bootdisk_files){.kernel = NULL};
    rc = make_room(k->size, BOOTDISK_KERNEL_MAX, k->path, &out->kernel, err);
    if (rc == 0) {
        out->kernel_len = (size_t)k->size;
        rc = load_file(blk, b, k, out->kernel, err);
    }
    if (rc == 0)
        rc = load_initrds(blk, b, out, err);
    if (rc < 0) {
        free(out->kernel);
        free(out->initrd);
        *out = (struct bootdisk_files){.kernel = NULL};
    }
    return rc;
}
