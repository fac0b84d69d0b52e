/* hbench: runs named tests, prints "BENCH <name> <value> <unit>" per result.
 *
 * A test is measured as a rate: the iteration count is grown until one window
 * lasts about budget/5, then the median of up to 5 windows is reported.  So a
 * test takes about the same wall time on a fast and on a slow machine, and one
 * burst of outside noise does not move the result.
 * "CHECK <name> <hex>" is a digest of the computed result after a fixed amount
 * of work: it must be the same wherever the test is run.
 */
#include "harness.h"
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

volatile uint64_t sink;
double budget_s = 0.6;
char self_dir[4096] = ".";
char tmp_dir[4096] = "/tmp";
static const char *prefix = "";
static const struct test *current;

static const struct test *const tables[] = {
    int_tests,  fp_tests,
#ifndef BENCH32
    simd_tests, mem_tests, lib_tests, interp_tests, jit_tests, smp_tests,
#endif
    kern_tests,
};

double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void skip(const char *why)
{
    printf("BENCH-SKIP %s%s %s\n", prefix, current->name, why);
    fflush(stdout);
    _exit(0);
}

void die(const char *what)
{
    printf("BENCH-FAIL %s%s %s: %s\n", prefix, current->name, what,
           strerror(errno));
    fflush(stdout);
    _exit(1);
}

void *big_alloc(size_t bytes)
{
    char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        die("mmap");
    for (size_t i = 0; i < bytes; i += 4096)
        p[i] = 1;
    return p;
}

void *huge_alloc(size_t bytes)
{
    const size_t two = 2u << 20;
    prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
    char *p = mmap(NULL, bytes + two, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        die("mmap");
    p = (char *)(((uintptr_t)p + two - 1) & ~(uintptr_t)(two - 1));
    madvise(p, bytes, MADV_HUGEPAGE);
    for (size_t i = 0; i < bytes; i += 4096)
        p[i] = 1;
    return p;
}

int helper_fork(void)
{
    pid_t parent = getpid(), p = fork();
    if (p < 0)
        die("fork");
    if (p == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        if (getppid() != parent)
            _exit(0);
    }
    return p;
}

void gen_text(char *p, size_t n)
{
    static const char *const words[] = {
        "the",    "of",          "and",     "machine", "monitor",     "guest",
        "page",   "table",       "to",      "in",      "translation", "block",
        "that",   "interrupt",   "is",      "was",     "register",    "for",
        "kernel", "cache",       "it",      "with",    "memory",      "as",
        "his",    "on",          "virtual", "be",      "at",          "by",
        "I",      "instruction", "this",    "had",     "not",         "are",
        "but",    "from",        "or",      "have",    "an",          "they",
        "which",  "one",         "you",     "were",    "her",         "all",
        "she",    "there",       "would",   "their",   "host",
    };
    uint64_t s = 0x1234567;
    size_t i = 0;
    while (i < n) {
        uint64_t r = rng(&s);
        /* the product of two uniforms favours the first words, as in real text
         */
        size_t w =
            (size_t)(((r & 0xffff) * ((r >> 16) & 0xffff) * COUNT(words)) >>
                     32);
        const char *q = words[w];
        while (*q && i < n)
            p[i++] = *q++;
        if ((r >> 40) % 61 == 0) {
            char num[24];
            int k = snprintf(num, sizeof num, " %u", (unsigned)(r >> 44));
            for (int j = 0; j < k && i < n; j++)
                p[i++] = num[j];
        }
        if (i < n)
            p[i++] = (r >> 33) % 13 ? ' ' : (r >> 37) % 3 ? ',' : '\n';
    }
}

static int cmp_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(const struct test *t)
{
    if (t->setup)
        t->setup();
    if (t->direct) {
        printf("BENCH %s%s %.6g %s\n", prefix, t->name, t->direct(), t->unit);
        return;
    }
    if (t->check_n) {
        sink = 0;
        t->run(t->check_n);
        printf("CHECK %s%s %016llx\n", prefix, t->name,
               (unsigned long long)sink);
    }
    double window = budget_s / 5, dt, total = 0;
    long n = 1;
    for (;;) {
        double t0 = now_s();
        t->run(n);
        dt = now_s() - t0;
        if (dt >= window / 4)
            break;
        n *= dt < window / 64 ? 8 : 2;
    }
    double want = (double)n * window / dt;
    n = want < 1 ? 1 : (long)want;
    double rate[5];
    int k = 0;
    while (k < 5 && (k == 0 || total < budget_s * 3)) {
        double t0 = now_s();
        t->run(n);
        dt = now_s() - t0;
        rate[k++] = (double)n * t->scale / dt;
        total += dt;
    }
    qsort(rate, (size_t)k, sizeof rate[0], cmp_double);
    printf("BENCH %s%s %.6g %s\n", prefix, t->name, rate[k / 2], t->unit);
}

/* each test gets a process of its own: crashes are contained, memory is freed
 */
static void run_isolated(const struct test *t)
{
    current = t;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); /* same page size everywhere */
        if (strcmp(t->group, "smp") != 0) { /* one CPU, as in a 1-vCPU guest */
            cpu_set_t set;
            CPU_ZERO(&set);
            CPU_SET((size_t)sched_getcpu(), &set);
            sched_setaffinity(0, sizeof set, &set);
        }
        alarm(100);
        measure(t);
        fflush(stdout);
        _exit(0);
    }
    int st;
    waitpid(pid, &st, 0);
    if (WIFSIGNALED(st)) {
        printf("BENCH-FAIL %s%s signal %d\n", prefix, t->name, WTERMSIG(st));
        fflush(stdout);
    }
}

static int is_kernel_group(const char *g)
{
    static const char *const k[] = {"sys", "proc", "vm", "ipc", "fs", "time"};
    for (size_t i = 0; i < COUNT(k); i++)
        if (!strcmp(g, k[i]))
            return 1;
    return 0;
}

static int is_user_group(const char *g)
{
    return !is_kernel_group(g) && strcmp(g, "jit") && strcmp(g, "smp");
}

static int wanted(const struct test *t, const char *list)
{
    char copy[4096];
    snprintf(copy, sizeof copy, "%s", list);
    for (char *w = strtok(copy, ","); w; w = strtok(NULL, ",")) {
        if (!strcmp(w, t->name) || !strcmp(w, t->group))
            return 1;
        if (!strcmp(w, "all") && strcmp(t->group, "smp"))
            return 1;
        if (!strcmp(w, "user") && is_user_group(t->group))
            return 1;
        if (!strcmp(w, "kernel") && is_kernel_group(t->group))
            return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    int c, list_only = 0;
    while ((c = getopt(argc, argv, "w:p:t:l")) != -1) {
        if (c == 'w')
            budget_s = atof(optarg) / 1000;
        else if (c == 'p')
            prefix = optarg;
        else if (c == 't')
            snprintf(tmp_dir, sizeof tmp_dir, "%s", optarg);
        else if (c == 'l')
            list_only = 1;
        else {
            fprintf(stderr, "usage: hbench [-w ms-per-test] [-p name-prefix] "
                            "[-t tmpfs-dir] [-l] [tests]\n"
                            "tests: names, groups, user, kernel, all; "
                            "separated by commas\n");
            return 2;
        }
    }
    const char *list = optind < argc ? argv[optind] : "all";
    ssize_t n = readlink("/proc/self/exe", self_dir, sizeof self_dir - 1);
    if (n > 0) {
        self_dir[n] = 0;
        char *s = strrchr(self_dir, '/');
        if (s)
            *s = 0;
    }
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < COUNT(tables); i++)
        for (const struct test *t = tables[i]; t->name; t++) {
            if (!wanted(t, list))
                continue;
            if (list_only)
                printf("%s %s %s\n", t->name,
                       is_kernel_group(t->group) ? "kernel"
                       : is_user_group(t->group) ? "user"
                                                 : t->group,
                       t->group);
            else
                run_isolated(t);
        }
    return 0;
}
