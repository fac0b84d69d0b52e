#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/falloc.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * A seccomp filter stops the program at the calls that can change a file, and
 * only there. Syncs are recorded on entry, so that writes of other threads that
 * end during a sync do not count as covered by it; all else after the return.
 */
enum { MAX_TASKS = 64, MAX_IOV = 1024 };

struct task {
    pid_t tid;
    bool inside; /* stopped on entry, waiting for the return */
    struct user_regs_struct regs;
    off_t pos; /* of write and writev, before the call */
};

struct tracer {
    struct trace_writer *w;
    char dir[PATH_MAX];
    size_t dir_len;
    struct task tasks[MAX_TASKS];
    pid_t program;
    int status;
};

static const long watched[] = {SYS_write,     SYS_writev,   SYS_pwrite64,
                               SYS_pwritev,   SYS_pwritev2, SYS_fsync,
                               SYS_fdatasync, SYS_sync,     SYS_ftruncate,
                               SYS_truncate,  SYS_openat,   SYS_fallocate};

/* What could change a file unseen; programs fall back to what we see. */
static const long refused[] = {SYS_io_uring_setup, SYS_io_setup,
                               SYS_copy_file_range, SYS_sendfile, SYS_splice};

#define LOAD(field)                                                            \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define WHEN(value, result)                                                    \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)(value), 0, 1),              \
        BPF_STMT(BPF_RET | BPF_K, (result))

static int install_filter(void)
{
    struct sock_filter code[64] = {
        LOAD(arch),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS), LOAD(nr)};
    unsigned short n = 4;
    struct sock_fprog prog = {.filter = code};
    size_t i;

    for (i = 0; i < sizeof(watched) / sizeof(watched[0]); i++) {
        struct sock_filter two[] = {WHEN(watched[i], SECCOMP_RET_TRACE)};

        memcpy(code + n, two, sizeof(two));
        n = (unsigned short)(n + 2);
    }
    for (i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct sock_filter two[] = {
            WHEN(refused[i], SECCOMP_RET_ERRNO | ENOSYS)};

        memcpy(code + n, two, sizeof(two));
        n = (unsigned short)(n + 2);
    }
    code[n++] =
        (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    prog.len = n;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

static struct task *task_get(struct tracer *t, pid_t tid)
{
    struct task *free_one = NULL;
    unsigned i;

    for (i = 0; i < MAX_TASKS; i++) {
        if (t->tasks[i].tid == tid)
            return &t->tasks[i];
        if (!t->tasks[i].tid && !free_one)
            free_one = &t->tasks[i];
    }
    if (free_one)
        *free_one = (struct task){.tid = tid};
    return free_one;
}

/* The id of a path in the folder, -1 for all others. */
static int file_of_path(struct tracer *t, const char *path)
{
    if (strncmp(path, t->dir, t->dir_len) || path[t->dir_len] != '/' ||
        strchr(path + t->dir_len + 1, '/'))
        return -1;
    return trace_file(t->w, path + t->dir_len + 1);
}

static int file_of_fd(struct tracer *t, pid_t tid, unsigned long fd)
{
    char link[64], path[PATH_MAX];
    ssize_t n;

    (void)snprintf(link, sizeof(link), "/proc/%d/fd/%d", tid, (int)fd);
    n = readlink(link, path, sizeof(path) - 1);
    if (n < 0)
        return -1;
    path[n] = 0;
    return file_of_path(t, path);
}

static uint64_t size_of_fd(pid_t tid, unsigned long fd)
{
    char link[64];
    struct stat st;

    (void)snprintf(link, sizeof(link), "/proc/%d/fd/%d", tid, (int)fd);
    return stat(link, &st) ? 0 : (uint64_t)st.st_size;
}

static off_t pos_of_fd(pid_t tid, unsigned long fd)
{
    char name[64], line[64];
    off_t pos = 0;
    FILE *f;

    (void)snprintf(name, sizeof(name), "/proc/%d/fdinfo/%d", tid, (int)fd);
    f = fopen(name, "re");
    if (!f)
        return 0;
    if (fgets(line, sizeof(line), f) && !strncmp(line, "pos:", 4))
        pos = strtol(line + 4, NULL, 10);
    (void)fclose(f);
    return pos;
}

/* The program's bytes, as one event. */
static void put_written(struct tracer *t, int file, pid_t tid, uint64_t off,
                        struct iovec *from, unsigned nr, size_t len)
{
    char *copy = malloc(len ? len : 1);
    struct iovec to = {copy, len};
    ssize_t n = copy ? process_vm_readv(tid, &to, 1, from, nr, 0) : -1;

    if (n != (ssize_t)len)
        (void)fprintf(stderr, "record: cannot read what was written\n");
    else
        trace_put(t->w, TRACE_WRITE, file, off, len, copy);
    free(copy);
}

static void put_vector(struct tracer *t, int file, const struct task *k,
                       uint64_t off, size_t len)
{
    unsigned nr = k->regs.rdx < MAX_IOV ? (unsigned)k->regs.rdx : MAX_IOV;
    struct iovec iov[MAX_IOV], to = {iov, nr * sizeof(iov[0])};
    struct iovec from = {(void *)k->regs.rsi, nr * sizeof(iov[0])};
    size_t left = len;
    unsigned i;

    if (process_vm_readv(k->tid, &to, 1, &from, 1, 0) != (ssize_t)to.iov_len)
        return;
    for (i = 0; i < nr && left; i++) {
        if (iov[i].iov_len > left)
            iov[i].iov_len = left;
        left -= iov[i].iov_len;
    }
    put_written(t, file, k->tid, off, iov, i, len);
}

static void put_write(struct tracer *t, int file, const struct task *k,
                      size_t len)
{
    bool vector =
        k->regs.orig_rax != SYS_write && k->regs.orig_rax != SYS_pwrite64;
    bool at = k->regs.orig_rax != SYS_write && k->regs.orig_rax != SYS_writev;
    uint64_t off = at ? k->regs.r10 : (uint64_t)k->pos;
    struct iovec one = {(void *)k->regs.rsi, len};

    if (vector)
        put_vector(t, file, k, off, len);
    else
        put_written(t, file, k->tid, off, &one, 1, len);
    if (k->regs.orig_rax == SYS_pwritev2 && (k->regs.r9 & RWF_DSYNC))
        trace_put(t->w, TRACE_SYNC, file, off, len, NULL);
}

static void put_fallocate(struct tracer *t, int file, const struct task *k)
{
    unsigned long mode = k->regs.rsi;

    if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
        trace_put(t->w, TRACE_ZERO, file, k->regs.rdx, k->regs.r10, NULL);
    if (!(mode & FALLOC_FL_KEEP_SIZE))
        trace_put(t->w, TRACE_SIZE, file, size_of_fd(k->tid, k->regs.rdi), 0,
                  NULL);
}

static void on_return(struct tracer *t, struct task *k)
{
    struct user_regs_struct now;
    int file;

    k->inside = false;
    if (ptrace(PTRACE_GETREGS, k->tid, 0, &now) || (long long)now.rax < 0)
        return;
    if (k->regs.orig_rax == SYS_openat) {
        file = file_of_fd(t, k->tid, now.rax);
        if (file >= 0 && (k->regs.rdx & O_TRUNC))
            trace_put(t->w, TRACE_SIZE, file, 0, 0, NULL);
        return;
    }
    file = file_of_fd(t, k->tid, k->regs.rdi);
    if (file < 0)
        return;
    switch (k->regs.orig_rax) {
    case SYS_fsync:
    case SYS_fdatasync: break;
    case SYS_ftruncate:
        trace_put(t->w, TRACE_SIZE, file, k->regs.rsi, 0, NULL);
        break;
    case SYS_fallocate: put_fallocate(t, file, k); break;
    default: put_write(t, file, k, now.rax); break;
    }
}

static void on_entry(struct tracer *t, struct task *k)
{
    int file;

    if (ptrace(PTRACE_GETREGS, k->tid, 0, &k->regs))
        return;
    k->inside = true;
    if (k->regs.orig_rax == SYS_write || k->regs.orig_rax == SYS_writev)
        k->pos = pos_of_fd(k->tid, k->regs.rdi);
    if (k->regs.orig_rax != SYS_fsync && k->regs.orig_rax != SYS_fdatasync)
        return;
    file = file_of_fd(t, k->tid, k->regs.rdi);
    if (file >= 0)
        trace_put(t->w, TRACE_SYNC, file, 0, 0, NULL);
}

/* What one stop of a task means; the signal that it is to get. */
static int on_stop(struct tracer *t, struct task *k, int status)
{
    int sig = WSTOPSIG(status), event = status >> 16;

    if (sig == (SIGTRAP | 0x80)) {
        if (k->inside)
            on_return(t, k);
        return 0;
    }
    if (sig == SIGTRAP && event == PTRACE_EVENT_SECCOMP)
        on_entry(t, k);
    if (sig == SIGTRAP || (sig == SIGSTOP && !event))
        return 0; /* ours, or that of a new task */
    return sig;
}

static void follow(struct tracer *t)
{
    struct task *k;
    int status, sig;
    pid_t tid;

    while ((tid = waitpid(-1, &status, __WALL)) > 0) {
        k = task_get(t, tid);
        if (!k)
            break;
        if (!WIFSTOPPED(status)) {
            k->tid = 0;
            if (tid == t->program)
                t->status = status;
            continue;
        }
        sig = on_stop(t, k, status);
        (void)ptrace(k->inside ? PTRACE_SYSCALL : PTRACE_CONT, tid, 0, sig);
    }
}

static void run_program(const char *dir, char **argv)
{
    if (chdir(dir) || ptrace(PTRACE_TRACEME, 0, 0, 0) || raise(SIGSTOP) ||
        install_filter())
        _exit(127);
    execvp(argv[0], argv);
    _exit(127);
}

int record_ptrace(struct trace_writer *w, const char *dir, char **argv)
{
    struct tracer *t = calloc(1, sizeof(*t));
    long opts = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACESECCOMP |
                PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
    int status;

    if (!t || !realpath(dir, t->dir)) {
        free(t);
        return -1;
    }
    t->w = w;
    t->dir_len = strlen(t->dir);
    t->status = -1;
    t->program = fork();
    if (!t->program)
        run_program(dir, argv);
    if (t->program < 0 || waitpid(t->program, &status, 0) != t->program ||
        !WIFSTOPPED(status) || ptrace(PTRACE_SETOPTIONS, t->program, 0, opts) ||
        ptrace(PTRACE_CONT, t->program, 0, 0)) {
        perror("record: ptrace");
        free(t);
        return -1;
    }
    follow(t);
    status = t->status;
    free(t);
    if (status == -1)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
