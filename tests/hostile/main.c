#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "image.h"
#include "settings.h"

/*
 * hostile: give damaged images to programs. Each must end by itself, in time,
 * with little memory, with a status that it documents, and without a signal;
 * what cannot be right must be refused with a sentence.
 *
 * The arguments are command lines, in which @ stands for the image. One that
 * begins with "maybe" may succeed with any image.
 */
enum { MAX_ARGS = 16, MAYBE = 6 };

struct options {
    const char *dir, *keep, *base;
    uint64_t seed;
    unsigned flips, seconds;
    long max_kib;
    char **commands;
};

struct run {
    const struct options *o;
    uint64_t images, runs, failed, refused;
    long max_kib;
    double slowest;
};

static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15ULL;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
    return x ^ x >> 31;
}

/* Bytes at its beginning, and how long it is. */
struct file {
    const uint8_t *d;
    uint64_t len, size;
};

static bool write_image(const struct file *m, const char *path)
{
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
    uint64_t len = m->size < m->len ? m->size : m->len;
    bool ok;

    if (fd < 0)
        return false;
    ok = write(fd, m->d, len) == (ssize_t)len && !ftruncate(fd, (off_t)m->size);
    (void)close(fd);
    return ok;
}

/* -- One run ------------------------------------------------------------- */

struct outcome {
    int status; /* exit status, or 1000 + signal */
    long kib;
    double seconds;
    char said[300];
};

static bool may_succeed(const char *command)
{
    return !strncmp(command, "maybe ", MAYBE);
}

static void child(const char *command, const char *dir, const char *image,
                  int out, unsigned seconds)
{
    char line[300], *argv[MAX_ARGS + 1], *save = NULL;
    int n = 0;

    (void)snprintf(line, sizeof(line), "%s",
                   command + (may_succeed(command) ? MAYBE : 0));
    argv[n] = strtok_r(line, " ", &save);
    while (argv[n] && n < MAX_ARGS) {
        if (!strcmp(argv[n], "@"))
            argv[n] = (char *)(uintptr_t)image;
        argv[++n] = strtok_r(NULL, " ", &save);
    }
    if (dup2(out, 1) < 0 || dup2(out, 2) < 0 || chdir(dir))
        _exit(126);
    (void)close(0);
    (void)open("/dev/null", O_RDONLY);
    (void)alarm(seconds);
    execvp(argv[0], argv);
    _exit(127);
}

static double seconds_of(const struct rusage *u)
{
    return (double)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) +
           (double)(u->ru_utime.tv_usec + u->ru_stime.tv_usec) / 1e6;
}

static struct outcome run_one(const struct options *o, const char *command,
                              const char *image)
{
    struct outcome r = {.status = -1};
    struct rusage u = {0};
    char drain[4096];
    int fds[2], status = 0;
    size_t len = 0;
    ssize_t n;
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC))
        return r;
    pid = fork();
    if (!pid)
        child(command, o->dir, image, fds[1], o->seconds);
    (void)close(fds[1]);
    while ((n = read(fds[0], drain, sizeof(drain))) > 0) {
        size_t take = sizeof(r.said) - 1 - len;

        take = take < (size_t)n ? take : (size_t)n;
        memcpy(r.said + len, drain, take);
        len += take;
    }
    (void)close(fds[0]);
    if (pid < 0 || wait4(pid, &status, 0, &u) != pid)
        return r;
    r.status =
        WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
    r.kib = u.ru_maxrss;
    r.seconds = seconds_of(&u);
    return r;
}

static const char *judge(const struct run *r, const struct outcome *c,
                         bool must_fail, char *text, size_t room)
{
    if (c->status == 1000 + SIGALRM)
        return "took too long";
    if (c->status >= 1000 || c->status == 126 || c->status == 127 ||
        c->status < 0) {
        (void)snprintf(text, room, "status %d", c->status);
        return text;
    }
    if (c->kib > r->o->max_kib) {
        (void)snprintf(text, room, "%ld KiB of memory", c->kib);
        return text;
    }
    if (must_fail && !c->status)
        return "was not refused";
    if (c->status && !c->said[0])
        return "refused without a word";
    return NULL;
}

static void keep_image(const struct run *r, const struct file *m,
                       const char *name)
{
    char path[400];

    if (!r->o->keep)
        return;
    (void)snprintf(path, sizeof(path), "%s/%s.qcow2", r->o->keep, name);
    if (write_image(m, path))
        (void)printf("    kept as %s\n", path);
}

/* All commands on one image, which each gets anew. */
static void try_image(struct run *r, const struct file *m, const char *name,
                      bool must_fail)
{
    char path[400], text[64];
    const char *wrong;
    unsigned i;

    (void)snprintf(path, sizeof(path), "%s/self.qcow2", r->o->dir);
    r->images++;
    for (i = 0; r->o->commands[i]; i++) {
        struct outcome c;

        if (!write_image(m, path)) {
            /* Longer than this file system lets a file be. */
            return;
        }
        c = run_one(r->o, r->o->commands[i], "self.qcow2");
        r->runs++;
        r->refused += c.status != 0;
        r->max_kib = c.kib > r->max_kib ? c.kib : r->max_kib;
        r->slowest = c.seconds > r->slowest ? c.seconds : r->slowest;
        wrong = judge(r, &c, must_fail && !may_succeed(r->o->commands[i]), text,
                      sizeof(text));
        if (!wrong)
            continue;
        r->failed++;
        (void)printf("%s: %s: %s: %.200s\n", name, r->o->commands[i], wrong,
                     c.said);
        keep_image(r, m, name);
    }
}

/* -- Images
 * -------------------------------------------------------------------- */

static void named_damages(struct run *r)
{
    struct image *m = malloc(sizeof(*m));
    char name[100];
    unsigned i, a;

    for (i = 0; m && i < nr_damages; i++) {
        for (a = 0; a < damages[i].cases; a++) {
            image_make(m);
            damages[i].apply(m, a);
            (void)snprintf(name, sizeof(name), "%s-%u", damages[i].name, a);
            try_image(r, &(struct file){m->d, IMG_ROOM, m->size}, name,
                      damages[i].verdict == MUST_FAIL);
        }
    }
    free(m);
}

/* A few bytes or words of the tables changed by lot. */
static void random_damages(struct run *r)
{
    struct image *m = malloc(sizeof(*m));
    uint64_t n, x = r->o->seed;
    char name[100];

    for (n = 0; m && n < r->o->flips; n++) {
        unsigned changes = 1 + (unsigned)(mix(x++) % 4);

        image_make(m);
        while (changes--) {
            uint64_t where = mix(x++) % 8, off = mix(x++), v = mix(x++);

            /* The header's fields, then each of the tables. */
            off = where < 3 ? off % 112
                            : (uint64_t)IMG_REFTABLE * CL +
                                  off % ((IMG_L2B + 1 - IMG_REFTABLE) * CL);
            if (where == 7)
                off = IMG_SNAPS * CL + off % 64;
            if (v & 1)
                m->d[off] ^= (uint8_t)(1U << (v >> 1) % 8);
            else
                put64(m, off & ~7ULL, v >> (v >> 58));
        }
        (void)snprintf(name, sizeof(name), "random-%" PRIu64 "-%" PRIu64,
                       r->o->seed, n);
        try_image(r, &(struct file){m->d, IMG_ROOM, m->size}, name, false);
    }
    free(m);
}

/* A VM file with other settings. */
static void settings_damages(struct run *r)
{
    static uint8_t base[1 << 20], copy[1 << 20];
    int fd = open(r->o->base, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, base, sizeof(base));
    char name[100];
    bool must_fail;
    unsigned i;

    if (len <= 0) {
        perror(r->o->base);
        r->failed++;
        return;
    }
    (void)close(fd);
    for (i = 0; i < settings_cases(); i++) {
        memcpy(copy, base, (size_t)len);
        if (!settings_damage(copy, (uint64_t)len, i, name, &must_fail)) {
            (void)printf("%s has no settings\n", r->o->base);
            r->failed++;
            return;
        }
        try_image(r, &(struct file){copy, (uint64_t)len, (uint64_t)len}, name,
                  must_fail);
    }
}

static int usage(void)
{
    (void)fprintf(stderr,
                  "usage: hostile [--seed N] [--random N] [--keep DIR]\n"
                  "               [--seconds N] [--kib N] FOLDER "
                  "COMMAND...\n");
    return 2;
}

static bool parse(struct options *o, int argc, char **argv)
{
    static const struct option longs[] = {
        {"seed", required_argument, NULL, 's'},
        {"random", required_argument, NULL, 'r'},
        {"keep", required_argument, NULL, 'k'},
        {"settings", required_argument, NULL, 'b'},
        {"seconds", required_argument, NULL, 't'},
        {"kib", required_argument, NULL, 'm'},
        {NULL, 0, NULL, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) >= 0) {
        switch (c) {
        case 's': o->seed = strtoull(optarg, NULL, 0); break;
        case 'r': o->flips = (unsigned)strtoul(optarg, NULL, 0); break;
        case 'k': o->keep = optarg; break;
        case 'b': o->base = optarg; break;
        case 't': o->seconds = (unsigned)strtoul(optarg, NULL, 0); break;
        case 'm': o->max_kib = strtol(optarg, NULL, 0); break;
        default: return false;
        }
    }
    if (optind + 2 > argc)
        return false;
    o->dir = argv[optind];
    o->commands = argv + optind + 1;
    return true;
}

int main(int argc, char **argv)
{
    struct options o = {.seed = 1, .seconds = 10, .max_kib = 64 << 10};
    struct run r = {.o = &o};

    if (!parse(&o, argc, argv))
        return usage();
    if (o.base) {
        settings_damages(&r);
    } else {
        named_damages(&r);
        random_damages(&r);
    }
    (void)printf("%" PRIu64 " images, %" PRIu64 " runs, %" PRIu64
                 " refused; at most %ld KiB, %.2f s\n",
                 r.images, r.runs, r.refused, r.max_kib, r.slowest);
    (void)printf("%" PRIu64 " passed, %" PRIu64 " failed, 0 skipped\n",
                 r.runs - r.failed, r.failed);
    return r.failed ? 1 : 0;
}
