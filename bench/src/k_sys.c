/* Kernel-heavy tests: the time is mostly spent in the guest kernel. */
#include "harness.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- sys ---- */
static void getppid_run(long n)
{
    for (long i = 0; i < n; i++)
        sink += (uint64_t)syscall(SYS_getppid) & 1;
}
#ifdef BENCH32
static void int80_run(long n)
{
    for (long i = 0; i < n; i++) {
        long r;
        __asm__ volatile("int $0x80" : "=a"(r) : "0"(SYS_getppid) : "memory");
        sink += (uint64_t)r & 1;
    }
}
const struct test kern_tests[] = {
    {"sys_getppid", "sys", "kcall/s", 1e-3, getppid_run, 0, 0, 0},
    {"sys_int80", "sys", "kcall/s", 1e-3, int80_run, 0, 0, 0},
    {0}};
#else
static void clock_run(long n)
{
    struct timespec t;
    for (long i = 0; i < n; i++)
        clock_gettime(CLOCK_MONOTONIC, &t);
}
static void clocksys_run(long n)
{
    struct timespec t;
    for (long i = 0; i < n; i++)
        syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
}
static int zfd, nfd;
static char kbuf[65536];
static void dev_setup(void)
{
    zfd = open("/dev/zero", O_RDONLY);
    nfd = open("/dev/null", O_WRONLY);
    if (zfd < 0 || nfd < 0)
        die("/dev/zero");
}
static void rw1_run(long n)
{
    for (long i = 0; i < n; i++)
        if (read(zfd, kbuf, 1) != 1 || write(nfd, kbuf, 1) != 1)
            die("rw");
}
static void rd64k_run(long n)
{
    for (long i = 0; i < n; i++)
        if (read(zfd, kbuf, 65536) != 65536)
            die("read");
}
static void urandom_run(long n)
{
    for (long i = 0; i < n; i++)
        if (syscall(SYS_getrandom, kbuf, 4096, 0) != 4096)
            die("getrandom");
}
static volatile int got;
static void on_sig(int s)
{
    (void)s;
    got++;
}
static void sig_setup(void)
{
    struct sigaction sa = {.sa_handler = on_sig};
    sigaction(SIGUSR1, &sa, NULL);
}
static void sig_run(long n)
{
    pid_t me = getpid();
    for (long i = 0; i < n; i++)
        kill(me, SIGUSR1);
}
static char *guard;
static void on_segv(int s, siginfo_t *si, void *u)
{
    (void)s;
    (void)si;
    (void)u;
    mprotect(guard, 4096, PROT_READ | PROT_WRITE);
}
static void segv_setup(void)
{
    struct sigaction sa = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &sa, NULL);
    guard = big_alloc(4096);
}
static void segv_run(long n) /* fault, handler, mprotect, retry */
{
    for (long i = 0; i < n; i++) {
        mprotect(guard, 4096, PROT_READ);
        *(volatile char *)guard = 1;
    }
}

/* ---- proc ---- */
static void fork_run(long n)
{
    for (long i = 0; i < n; i++) {
        pid_t p = fork();
        if (p == 0)
            _exit(0);
        if (p < 0 || waitpid(p, NULL, 0) != p)
            die("fork");
    }
}
static char prog[4200];
static const char *arg1;
static void exec_setup(void)
{
    snprintf(prog, sizeof prog, "%s/null", self_dir);
    arg1 = NULL;
    if (access(prog, X_OK))
        skip("no null program");
}
static void execbb_setup(void)
{
    snprintf(prog, sizeof prog, "%s/busybox", self_dir);
    arg1 = "true";
    if (access(prog, X_OK))
        skip("no busybox");
}
static void exec_run(long n)
{
    for (long i = 0; i < n; i++) {
        int st;
        pid_t p = fork();
        if (p == 0) {
            execl(prog, prog, arg1, (char *)0);
            _exit(127);
        }
        if (p < 0 || waitpid(p, &st, 0) != p || st)
            die("exec");
    }
}
static void *nothing(void *a)
{
    return a;
}
static void thread_run(long n)
{
    for (long i = 0; i < n; i++) {
        pthread_t t;
        if (pthread_create(&t, NULL, nothing, NULL))
            die("pthread_create");
        pthread_join(t, NULL);
    }
}
static void shell_run(long n) /* a little shell script that forks and execs */
{
    for (long i = 0; i < n; i++) {
        int st;
        pid_t p = fork();
        if (p == 0) {
            char s[16384];
            snprintf(s, sizeof s,
                     "for i in 1 2 3; do x=$(%s echo $i | %s sed s/1/2/); [ "
                     "\"$x\" ] || exit 3; done",
                     prog, prog);
            execl(prog, "sh", "-c", s, (char *)0);
            _exit(127);
        }
        if (p < 0 || waitpid(p, &st, 0) != p || st)
            die("shell");
    }
}

/* ---- vm ---- */
static void mmap_run(long n) /* map 64 KiB, touch its 16 pages, unmap */
{
    for (long i = 0; i < n; i++) {
        char *p = mmap(NULL, 65536, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            die("mmap");
        for (int k = 0; k < 65536; k += 4096)
            p[k] = 1;
        munmap(p, 65536);
    }
}
static char *pf;
static void fault_setup(void)
{
    pf = mmap(NULL, 8u << 20, PROT_READ | PROT_WRITE,
              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pf == MAP_FAILED)
        die("mmap");
}
static void fault_run(long n) /* 256 pages (1 MiB) faulted in, then dropped */
{
    static size_t at;
    for (long i = 0; i < n; i++) {
        for (size_t k = 0; k < 1u << 20; k += 4096)
            pf[at + k] = 1;
        at = (at + (1u << 20)) & ((8u << 20) - 1);
        if (at == 0)
            madvise(pf, 8u << 20, MADV_DONTNEED);
    }
}
static int mfd;
static void filemap_setup(void)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/hbench.map.%d", tmp_dir, (int)getpid());
    mfd = open(path, O_RDWR | O_CREAT, 0600);
    if (mfd < 0)
        die(path);
    unlink(path);
    for (int i = 0; i < 16; i++)
        if (write(mfd, kbuf, 65536) != 65536)
            die("write");
}
static void filemap_run(
    long n) /* map 1 MiB of a file privately, write (copy) every 4th page */
{
    for (long i = 0; i < n; i++) {
        char *p =
            mmap(NULL, 1u << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE, mfd, 0);
        if (p == MAP_FAILED)
            die("mmap");
        for (size_t k = 0; k < 1u << 20; k += 4096) {
            sink += (uint64_t)p[k];
            if (k % 16384 == 0)
                p[k] = 1;
        }
        munmap(p, 1u << 20);
    }
}
static void
mprotect_run(long n) /* flip 16 pages ro/rw, touching them in between */
{
    for (long i = 0; i < n; i++) {
        mprotect(pf, 65536, PROT_READ);
        for (int k = 0; k < 65536; k += 4096)
            sink += (uint64_t)pf[k];
        mprotect(pf, 65536, PROT_READ | PROT_WRITE);
        for (int k = 0; k < 65536; k += 4096)
            pf[k] = 2;
    }
}

/* ---- ipc ---- */
static int pa[2], pb[2];
static void echo_child(int in, int out) /* returns in the parent only */
{
    if (helper_fork())
        return;
    char c;
    while (read(in, &c, 1) == 1 && write(out, &c, 1) == 1) {
    }
    _exit(0);
}
static void pipe_setup(void)
{
    if (pipe(pa) || pipe(pb))
        die("pipe");
    echo_child(pa[0], pb[1]);
}
static void pingpong(long n, int out, int in)
{
    char c = 1;
    for (long i = 0; i < n; i++)
        if (write(out, &c, 1) != 1 || read(in, &c, 1) != 1)
            die("pingpong");
}
static void pipe_run(long n)
{
    pingpong(n, pa[1], pb[0]);
}
static void unix_setup(void)
{
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pa))
        die("socketpair");
    if (helper_fork() == 0) {
        static char b[65536];
        close(pa[0]);
        while (read(pa[1], b, sizeof b) > 0) {
        }
        _exit(0);
    }
    close(pa[1]);
}
static void stream_run(long n)
{
    for (long i = 0; i < n; i++)
        for (ssize_t done = 0, k; done < 65536; done += k)
            if ((k = write(pa[0], kbuf, (size_t)(65536 - done))) <= 0)
                die("write");
}
static void tcp_setup(void)
{
    int l = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    if (l < 0 || bind(l, (struct sockaddr *)&a, len) || listen(l, 1) ||
        getsockname(l, (struct sockaddr *)&a, &len))
        skip("no loopback network");
    int c = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(c, (struct sockaddr *)&a, len))
        skip("no loopback network");
    int s = accept(l, NULL, NULL);
    setsockopt(c, IPPROTO_TCP, 1 /* TCP_NODELAY */, &one, sizeof one);
    setsockopt(s, IPPROTO_TCP, 1, &one, sizeof one);
    if (helper_fork() == 0) {
        char b;
        close(c);
        while (read(s, &b, 1) == 1 && write(s, &b, 1) == 1) {
        }
        _exit(0);
    }
    close(s);
    pa[0] = c;
}
static void tcp_run(long n)
{
    pingpong(n, pa[0], pa[0]);
}

static void yield_setup(void)
{
    if (helper_fork() == 0)
        for (;;)
            sched_yield();
}
static void yield_run(long n) /* two runnable processes on one CPU */
{
    for (long i = 0; i < n; i++)
        sched_yield();
}

static int fut;
static void fwait(int v)
{
    syscall(SYS_futex, &fut, FUTEX_WAIT_PRIVATE, v, NULL, NULL, 0);
}
static void fwake(void)
{
    syscall(SYS_futex, &fut, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
static void *fut_thread(void *a)
{
    (void)a;
    for (;;) {
        while (__atomic_load_n(&fut, __ATOMIC_ACQUIRE) != 1)
            fwait(0);
        __atomic_store_n(&fut, 0, __ATOMIC_RELEASE);
        fwake();
    }
    return NULL;
}
static void fut_setup(void)
{
    pthread_t t;
    if (pthread_create(&t, NULL, fut_thread, NULL))
        die("pthread_create");
}
static void fut_run(long n)
{
    for (long i = 0; i < n; i++) {
        __atomic_store_n(&fut, 1, __ATOMIC_RELEASE);
        fwake();
        while (__atomic_load_n(&fut, __ATOMIC_ACQUIRE) != 0)
            fwait(1);
    }
}
static void poll_setup(void)
{
    if (pipe(pa))
        die("pipe");
}
static void poll_run(long n)
{
    struct pollfd f[8];
    for (int k = 0; k < 8; k++)
        f[k] = (struct pollfd){.fd = pa[0], .events = POLLIN};
    for (long i = 0; i < n; i++)
        sink += (uint64_t)poll(f, 8, 0);
}

/* ---- fs ---- */
static char fname[4200];
static void file_setup(void)
{
    snprintf(fname, sizeof fname, "%s/hbench.%d", tmp_dir, (int)getpid());
}
static void file_run(long n) /* create, write 4 KiB, close, unlink */
{
    for (long i = 0; i < n; i++) {
        int fd = open(fname, O_RDWR | O_CREAT, 0600);
        if (fd < 0 || write(fd, kbuf, 4096) != 4096)
            die(fname);
        close(fd);
        unlink(fname);
    }
}
static void stat_run(long n)
{
    struct stat st;
    for (long i = 0; i < n; i++)
        if (stat("/proc/self/exe", &st))
            die("stat");
}
static void openclose_run(long n)
{
    for (long i = 0; i < n; i++)
        close(open("/dev/null", O_RDONLY));
}
static void fread_run(long n)
{
    for (long i = 0; i < n; i++)
        if (pread(mfd, kbuf, 65536, (i & 15) * 65536) != 65536)
            die("pread");
}

/* ---- time ---- */
static int cmp_d(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
static double
sleep_direct(void) /* median lateness of a 1 ms sleep, microseconds */
{
    double late[201];
    for (size_t i = 0; i < COUNT(late); i++) {
        struct timespec t = {0, 1000000};
        double t0 = now_s();
        nanosleep(&t, NULL);
        late[i] = (now_s() - t0 - 1e-3) * 1e6;
    }
    qsort(late, COUNT(late), sizeof late[0], cmp_d);
    return late[COUNT(late) / 2];
}
static void itimer_run(long n) /* 100 us timers, one after the other */
{
    for (long i = 0; i < n; i++) {
        struct timespec t = {0, 100000};
        nanosleep(&t, NULL);
    }
}

const struct test kern_tests[] = {
    {"sys_getppid", "sys", "kcall/s", 1e-3, getppid_run, 0, 0, 0},
    {"sys_clock_vdso", "sys", "kcall/s", 1e-3, clock_run, 0, 0, 0},
    {"sys_clock_sys", "sys", "kcall/s", 1e-3, clocksys_run, 0, 0, 0},
    {"sys_rw1", "sys", "kpair/s", 1e-3, rw1_run, dev_setup, 0, 0},
    {"sys_readzero64k", "sys", "MB/s", 65536e-6, rd64k_run, dev_setup, 0, 0},
    {"sys_getrandom4k", "sys", "MB/s", 4096e-6, urandom_run, 0, 0, 0},
    {"sys_signal", "sys", "ksig/s", 1e-3, sig_run, sig_setup, 0, 0},
    {"sys_segv", "sys", "kfault/s", 1e-3, segv_run, segv_setup, 0, 0},
    {"proc_fork", "proc", "fork/s", 1, fork_run, 0, 0, 0},
    {"proc_exec", "proc", "exec/s", 1, exec_run, exec_setup, 0, 0},
    {"proc_execbb", "proc", "exec/s", 1, exec_run, execbb_setup, 0, 0},
    {"proc_thread", "proc", "thread/s", 1, thread_run, 0, 0, 0},
    {"proc_shell", "proc", "script/s", 1, shell_run, execbb_setup, 0, 0},
    {"vm_mmap", "vm", "kpage/s", 16e-3, mmap_run, 0, 0, 0},
    {"vm_fault", "vm", "kpage/s", 256e-3, fault_run, fault_setup, 0, 0},
    {"vm_filemap", "vm", "kpage/s", 256e-3, filemap_run, filemap_setup, 0, 0},
    {"vm_mprotect", "vm", "kcall/s", 2e-3, mprotect_run, fault_setup, 0, 0},
    {"ipc_pipe", "ipc", "ktrip/s", 1e-3, pipe_run, pipe_setup, 0, 0},
    {"ipc_unix64k", "ipc", "MB/s", 65536e-6, stream_run, unix_setup, 0, 0},
    {"ipc_tcp", "ipc", "ktrip/s", 1e-3, tcp_run, tcp_setup, 0, 0},
    {"ipc_yield", "ipc", "kcall/s", 1e-3, yield_run, yield_setup, 0, 0},
    {"ipc_futex", "ipc", "ktrip/s", 1e-3, fut_run, fut_setup, 0, 0},
    {"ipc_poll8", "ipc", "kcall/s", 1e-3, poll_run, poll_setup, 0, 0},
    {"fs_create", "fs", "kfile/s", 1e-3, file_run, file_setup, 0, 0},
    {"fs_stat", "fs", "kcall/s", 1e-3, stat_run, 0, 0, 0},
    {"fs_openclose", "fs", "kpair/s", 1e-3, openclose_run, 0, 0, 0},
    {"fs_pread64k", "fs", "MB/s", 65536e-6, fread_run, filemap_setup, 0, 0},
    {"time_sleep100u", "time", "sleep/s", 1, itimer_run, 0, 0, 0},
    {"time_late1ms", "time", "us", 1, 0, 0, 0, sleep_direct},
    {0}};
#endif
