/*
 * A list of what is allowed, written as a program for the kernel's filter
 * (seccomp(2)). It is short enough to need no library.
 */
#include "bootdisk/sandbox.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__has_feature)
#    if __has_feature(address_sanitizer)
#        define SANITIZED 1
#    endif
#endif
#if defined(__SANITIZE_ADDRESS__) && !defined(SANITIZED)
#    define SANITIZED 1
#endif
#if !defined(SANITIZED)
#    define SANITIZED 0
#endif

/* --- Limits -----------------------------------------------------------------
 */

static int set_limits(void)
{
    const struct {
        int what;
        rlim_t max;
    } limits[] = {
        {RLIMIT_CPU, SANDBOX_CPU_SECONDS},
        {RLIMIT_CORE, 0},
        {RLIMIT_FSIZE, 0},
        {RLIMIT_NPROC, 0},
        {RLIMIT_NOFILE, 0},
        /* A sanitizer maps terabytes that it does not touch. */
        {RLIMIT_AS,
         SANITIZED ? RLIM_INFINITY : (rlim_t)SANDBOX_MEMORY_MB << 20},
    };

    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        struct rlimit l = {limits[i].max, limits[i].max};

        if (limits[i].max != RLIM_INFINITY &&
            setrlimit((__rlimit_resource_t)limits[i].what, &l) < 0)
            return -errno;
    }
    return 0;
}

/* --- System calls -----------------------------------------------------------
 */

#define LOAD(field)                                                            \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define ARG(n)    args[n] /* the low half comes first: the host's byte order */
#define ALLOW     BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define KILL      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)
#define IF_IS(k)  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (k), 0, 1)
#define IF_NOT(k) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (k), 1, 0)
#define MAY(nr)   IF_IS(nr), ALLOW
/* The call, if none of these bits is set in its n-th argument. The number is
 * loaded again for what comes after. */
#define MAY_WITHOUT(nr, n, bits)                                               \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (nr), 0, 4), LOAD(ARG(n)),             \
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (bits), 1, 0), ALLOW, KILL
/* The call, if its first argument is this. */
#define MAY_ON(nr, fd)                                                         \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (nr), 0, 4), LOAD(ARG(0)),             \
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (fd), 0, 1), ALLOW, KILL

static int filter_calls(int keep)
{
    struct sock_filter code[] = {
        LOAD(arch),
        IF_NOT(AUDIT_ARCH_X86_64),
        KILL,
        LOAD(nr),
        /* The questions to the parent, and its answers. */
        MAY_ON(__NR_sendto, (unsigned)keep),
        MAY_ON(__NR_recvfrom, (unsigned)keep),
        /* malloc and free; never memory that can be executed. */
        MAY(__NR_brk),
        MAY(__NR_munmap),
        MAY(__NR_mremap),
        MAY(__NR_madvise),
        MAY_WITHOUT(__NR_mmap, 2, PROT_EXEC),
        MAY_WITHOUT(__NR_mprotect, 2, PROT_EXEC),
        MAY(__NR_futex), /* its locks */
        /* libext2fs asks what time it is; malloc, for a random number. */
        MAY(__NR_clock_gettime),
        MAY(__NR_getrandom),
        /* The end. */
        MAY(__NR_exit_group),
        MAY(__NR_exit),
#if SANITIZED
        /* What a sanitizer's own run time does, also to say what it found. */
        MAY(__NR_write),
        MAY(__NR_getpid),
        MAY(__NR_gettid),
        MAY(__NR_sched_yield),
        MAY(__NR_rt_sigprocmask),
        MAY(__NR_rt_sigaction),
        MAY(__NR_sigaltstack),
        MAY(__NR_prctl),
#endif
        KILL,
    };
    const struct sock_fprog prog = {ARRAY_LEN(code), code};

    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0 ? -errno : 0;
}

int sandbox_enter(int keep)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return -errno;
    if (keep > 0 && close_range(0, (unsigned)keep - 1, 0) < 0)
        return -errno;
    if (close_range((unsigned)keep + 1, ~0u, 0) < 0)
        return -errno;
    if (set_limits() < 0)
        return -errno;
    return filter_calls(keep);
}
