/* vmrun: host-side stopwatch around one VM.
 *
 *   vmrun [-t seconds] [-o log] [-m guest MiB] -- command...
 *
 * Starts the command in a session of its own, stamps every line it prints, and
 * when a line holds one of these marks, samples the session's processes:
 *   @@up           first userspace line      -> HOST boot_s, rss after boot
 *   @@idle-begin / @@idle-end                -> HOST idle_cpu_pct
 *   @@done         the guest is finished     -> HOST peak rss, cpu seconds
 *   @@mono <ns>    the guest's CLOCK_MONOTONIC -> HOST clock_ratio (guest/host)
 * The session is ended (only it) at the time limit, or 10 s after @@done.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pid_t child;
static double start;
static FILE *trace;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

struct sample {
    double cpu_s;
    long rss, hwm, pss, ram_rss;
    int procs;
};
static long guest_kib; /* -m: a mapping of just this size is guest RAM */

/* Is this the first line of a mapping, and whose? */
static int mapping(const char *line, int *named)
{
    unsigned long from, to;

    if (sscanf(line, "%lx-%lx ", &from, &to) != 2)
        return 0;
    *named = strstr(line, "/memfd:guest") != NULL;
    return 1;
}

static void smaps(int pid, struct sample *s)
{
    char path[64], line[512];
    long size = 0, v;
    int named = 0;
    snprintf(path, sizeof path, "/proc/%d/smaps", pid);
    FILE *f = fopen(path, "r");
    if (!f)
        return;
    while (fgets(line, sizeof line, f)) {
        if (mapping(line, &named))
            continue;
        if (sscanf(line, "Size: %ld", &v) == 1)
            size = v;
        else if (sscanf(line, "Pss: %ld", &v) == 1) {
            s->pss += v;
            if (named || size == guest_kib)
                s->ram_rss += v;
            if (trace && v >= 4096)
                fprintf(trace, "MAP size %ld KiB, pss %ld KiB\n", size, v);
        }
    }
    fclose(f);
}

static struct sample take(int with_maps)
{
    struct sample s = {0};
    DIR *d = opendir("/proc");
    struct dirent *e;
    long hz = sysconf(_SC_CLK_TCK);
    while (d && (e = readdir(d))) {
        int pid = atoi(e->d_name), sid;
        if (pid <= 0)
            continue;
        char path[64], buf[1024], *p;
        snprintf(path, sizeof path, "/proc/%d/stat", pid);
        FILE *f = fopen(path, "r");
        if (!f)
            continue;
        size_t n = fread(buf, 1, sizeof buf - 1, f);
        fclose(f);
        buf[n] = 0;
        unsigned long ut, st, cut, cst;
        if (!(p = strrchr(buf, ')')))
            continue;
        if (sscanf(p + 2,
                   "%*c %*d %*d %d %*d %*d %*u %*u %*u %*u %*u %lu %lu %lu %lu",
                   &sid, &ut, &st, &cut, &cst) != 5)
            continue;
        if (sid != child)
            continue;
        s.cpu_s += (double)(ut + st + cut + cst) / (double)hz;
        s.procs++;
        snprintf(path, sizeof path, "/proc/%d/status", pid);
        if ((f = fopen(path, "r"))) {
            long v;
            while (fgets(buf, sizeof buf, f)) {
                if (sscanf(buf, "VmRSS: %ld", &v) == 1)
                    s.rss += v;
                if (sscanf(buf, "VmHWM: %ld", &v) == 1)
                    s.hwm += v;
            }
            fclose(f);
        }
        if (with_maps)
            smaps(pid, &s);
    }
    if (d)
        closedir(d);
    return s;
}

static void report(const char *name, double v, const char *unit)
{
    printf("HOST %s %.6g %s\n", name, v, unit);
    if (trace)
        fprintf(trace, "HOST %s %.6g %s\n", name, v, unit);
    fflush(stdout);
}

static void report_memory(const char *when, struct sample s)
{
    char n[64];
#define R(what, v)                                                             \
    (snprintf(n, sizeof n, "%s_%s", what, when),                               \
     report(n, (double)(v) / 1024, "MiB"))
    R("rss", s.rss);
    R("hwm", s.hwm);
    R("pss", s.pss);
    R("guest_ram_rss", s.ram_rss);
    R("own_pss", s.pss - s.ram_rss);
#undef R
}

static struct sample idle0;
static double idle_t0, mono_g0, mono_h0, done_at;

static void on_line(const char *l)
{
    double t = now();
    const char *m;
    if (trace) {
        fprintf(trace, "[%9.3f] %s\n", t - start, l);
        fflush(trace);
    }
    if ((m = strstr(l, "@@mono "))) {
        double g = atof(m + 7) * 1e-9;
        if (mono_h0 == 0) {
            mono_g0 = g;
            mono_h0 = t;
        } else
            report("clock_ratio", (g - mono_g0) / (t - mono_h0), "guest/host");
    }
    if (strstr(l, "@@up")) {
        report("boot_s", t - start, "s");
        struct sample s = take(1);
        report("boot_cpu_s", s.cpu_s, "s");
        report_memory("boot", s);
    } else if (strstr(l, "@@idle-begin")) {
        idle0 = take(0);
        idle_t0 = t;
    } else if (strstr(l, "@@idle-end")) {
        struct sample s = take(1);
        report("idle_cpu_pct", 100 * (s.cpu_s - idle0.cpu_s) / (t - idle_t0),
               "%core");
        report_memory("idle", s);
    } else if (strstr(l, "@@done")) {
        struct sample s = take(1);
        report("run_s", t - start, "s");
        report("run_cpu_s", s.cpu_s, "s");
        report_memory("end", s);
        done_at = t;
    } else if ((m = strstr(l, "BENCH")) || (m = strstr(l, "CHECK ")) ||
               (m = strstr(l, "GUEST "))) {
        puts(m);
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    double limit = 600;
    int c, fds[2], st = 0;
    while ((c = getopt(argc, argv, "+t:o:m:")) != -1) {
        if (c == 't')
            limit = atof(optarg);
        else if (c == 'm')
            guest_kib = atol(optarg) * 1024;
        else if (c == 'o')
            trace = fopen(optarg, "w");
        else
            return 2;
    }
    if (optind >= argc || pipe2(fds, O_CLOEXEC))
        return 2;
    start = now();
    child = fork();
    if (child == 0) {
        setsid();
        dup2(fds[1], 1);
        dup2(fds[1], 2);
        freopen("/dev/null", "r", stdin);
        execvp(argv[optind], argv + optind);
        perror(argv[optind]);
        _exit(127);
    }
    close(fds[1]);
    char line[8192];
    size_t len = 0;
    int timed_out = 0;
    for (;;) {
        struct pollfd p = {fds[0], POLLIN, 0};
        double t = now();
        if (t - start > limit) {
            timed_out = 1;
            break;
        }
        if (done_at > 0 && t - done_at > 10)
            break;
        if (poll(&p, 1, 200) <= 0)
            continue;
        char b[4096];
        ssize_t n = read(fds[0], b, sizeof b);
        if (n <= 0)
            break;
        for (ssize_t i = 0; i < n; i++) {
            if (b[i] == '\r')
                continue;
            if (b[i] == '\n' || len == sizeof line - 1) {
                line[len] = 0;
                on_line(line);
                len = 0;
            }
            if (b[i] != '\n')
                line[len++] = b[i];
        }
    }
    if (len) {
        line[len] = 0;
        on_line(line);
    }
    for (int i = 0; i < 50 && waitpid(child, &st, WNOHANG) == 0; i++) {
        if (timed_out || done_at > 0)
            kill(-child, i < 20 ? SIGTERM : SIGKILL);
        usleep(100000);
    }
    if (timed_out) {
        printf("HOST timeout %.0f s\n", limit);
        return 124;
    }
    if (done_at <= 0) {
        printf("HOST exit_without_done %d status\n",
               WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st));
        return 1;
    }
    report("exit_after_done_s", now() - done_at, "s");
    return 0;
}
