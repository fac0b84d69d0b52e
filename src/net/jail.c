#include "net/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    MAX_FDS = 4096 /* connections of the guest */
};
#define MAX_MEMORY ((rlim_t)2 << 30)

/* Everything that the process may still ask of the kernel, and why. */
static const uint16_t allowed[] = {
    /* the guest's connections */
    SYS_connect,
    SYS_bind,
    SYS_listen,
    SYS_accept,
    SYS_accept4,
    SYS_shutdown,
    SYS_setsockopt,
    SYS_getsockopt,
    SYS_getsockname,
    SYS_getpeername,
    SYS_sendto,
    SYS_recvfrom,
    SYS_sendmsg,
    SYS_recvmsg,
    SYS_read,
    SYS_write,
    SYS_close,
    SYS_ioctl,
    SYS_fcntl, /* FIONBIO, FIONREAD; O_NONBLOCK, FD_CLOEXEC */
    /* waiting, and what time it is where the vDSO cannot tell */
    SYS_poll,
    SYS_ppoll,
    SYS_restart_syscall,
    SYS_clock_gettime,
    SYS_gettimeofday,
    SYS_time,
    /* the heap; not mprotect: nothing becomes code any more */
    SYS_brk,
    SYS_munmap,
    SYS_mremap,
    SYS_madvise,
    SYS_futex,
    /* libslirp looks whether /etc/resolv.conf has changed, and reads it */
    SYS_newfstatat,
    SYS_stat,
    SYS_fstat,
    SYS_lseek,
    /* random numbers of glib and malloc; signals; the end */
    SYS_getrandom,
    SYS_rt_sigreturn,
    SYS_rt_sigprocmask,
    SYS_getpid,
    SYS_gettid,
    SYS_exit,
    SYS_exit_group,
};
enum { NR_ALLOWED = sizeof(allowed) / sizeof(allowed[0]) };

static int set_limits(void)
{
    const struct {
        __rlimit_resource_t what;
        rlim_t max;
    } limits[] = {{RLIMIT_CORE, 0}, {RLIMIT_FSIZE, 0}, {RLIMIT_AS, MAX_MEMORY}};
    struct rlimit l;

    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        l = (struct rlimit){limits[i].max, limits[i].max};
        if (setrlimit(limits[i].what, &l) < 0)
            return -errno;
    }
    if (getrlimit(RLIMIT_NOFILE, &l) < 0)
        return -errno;
    if (l.rlim_max > MAX_FDS)
        l.rlim_max = MAX_FDS;
    l.rlim_cur = l.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &l) < 0 ? -errno : 0;
}

/*
 * With Landlock, where the kernel has it, files can only be read in the folder
 * where the list of resolvers is: others replace it there while we run. Without
 * it every file could be read that our user may read, and no other right is
 * wider.
 */
static int hide_files(void)
{
    const struct landlock_ruleset_attr attr = {
        .handled_access_fs = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1};
    struct landlock_path_beneath_attr rule = {
        .allowed_access = LANDLOCK_ACCESS_FS_READ_FILE, .parent_fd = -1};
    char path[PATH_MAX];
    char *slash;
    long fd = syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
    long rc = 0;

    if (fd < 0)
        return errno == ENOSYS || errno == EOPNOTSUPP ? 0 : -errno;
    slash = realpath("/etc/resolv.conf", path) ? strrchr(path, '/') : NULL;
    if (slash) {
        *slash = '\0';
        rule.parent_fd =
            open(*path ? path : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    }
    if (rule.parent_fd >= 0) {
        rc = syscall(SYS_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH,
                     &rule, 0);
        (void)close(rule.parent_fd);
    }
    if (rc == 0)
        rc = syscall(SYS_landlock_restrict_self, fd, 0);
    rc = rc < 0 ? -errno : 0;
    (void)close((int)fd);
    return (int)rc;
}

static struct sock_filter load(size_t off)
{
    return (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                        (uint32_t)off);
}

static struct sock_filter ret(uint32_t what)
{
    return (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, what);
}

static struct sock_filter if_equal(uint32_t val, uint8_t then, uint8_t other)
{
    return (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, val, then,
                                        other);
}

static struct sock_filter if_any(uint32_t bits, uint8_t then, uint8_t other)
{
    return (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, then,
                                        other);
}

/* The low half of argument n; the kernel looks at no more of these. */
static size_t arg(unsigned n)
{
    return offsetof(struct seccomp_data, args) + 8 * (size_t)n;
}

enum { MAX_PROGRAM = 2 * NR_ALLOWED + 32 };

/* Each rule is whole in itself, so that no jump is long. */
static size_t make_program(struct sock_filter *p)
{
    size_t n = 0;

    p[n++] = load(offsetof(struct seccomp_data, arch));
    p[n++] = if_equal(AUDIT_ARCH_X86_64, 1, 0);
    p[n++] = ret(SECCOMP_RET_KILL_PROCESS);
    p[n++] = load(offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < NR_ALLOWED; i++) {
        p[n++] = if_equal(allowed[i], 0, 1);
        p[n++] = ret(SECCOMP_RET_ALLOW);
    }
    /* socket: to other hosts and our own, never to programs by a file */
    p[n++] = if_equal(SYS_socket, 0, 5);
    p[n++] = load(arg(0));
    p[n++] = if_equal(AF_INET, 1, 0);
    p[n++] = if_equal(AF_INET6, 0, 1);
    p[n++] = ret(SECCOMP_RET_ALLOW);
    p[n++] = ret(SECCOMP_RET_ERRNO | EAFNOSUPPORT);
    /* mmap: for the heap, never for code */
    p[n++] = if_equal(SYS_mmap, 0, 4);
    p[n++] = load(arg(2));
    p[n++] = if_any(4, 1, 0); /* PROT_EXEC */
    p[n++] = ret(SECCOMP_RET_ALLOW);
    p[n++] = ret(SECCOMP_RET_KILL_PROCESS);
    /* open: to read, and nothing is created */
    p[n++] = if_equal(SYS_openat, 0, 4);
    p[n++] = load(arg(2));
    p[n++] = if_any(O_ACCMODE | O_CREAT | O_TRUNC, 1, 0);
    p[n++] = ret(SECCOMP_RET_ALLOW);
    p[n++] = ret(SECCOMP_RET_ERRNO | EACCES);
    p[n++] = ret(SECCOMP_RET_ERRNO | ENOSYS);
    return n;
}

int jail_enter(void)
{
    struct sock_filter program[MAX_PROGRAM];
    struct sock_fprog prog = {.filter = program};
    int rc = set_limits();

    if (rc < 0)
        return rc;
    prog.len = (unsigned short)make_program(program);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    rc = hide_files();
    if (rc < 0)
        return rc;
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0)
        return -errno;
    return 0;
}
