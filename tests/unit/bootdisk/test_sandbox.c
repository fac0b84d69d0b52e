/* sandbox.c: in processes of the test's own, each of which tries one thing. */
#include "bootdisk/sandbox.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/compiler.h"
#include "tests/unit/test.h"

enum { NO_SANDBOX = 99 };

/* The status of a process that enters the sandbox, then does what. */
static int in_sandbox(int (*what)(int fd))
{
    int pair[2], status = 0;
    pid_t pid;

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(sandbox_enter(pair[1]) < 0 ? NO_SANDBOX : what(pair[1]));
    (void)close(pair[1]);
    assert_int_equal(send(pair[0], "q", 1, 0), 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    (void)close(pair[0]);
    return status;
}

static int try_memory(int fd)
{
    char *p = malloc(1 << 20), c = 0;

    (void)fd;
    if (!p)
        return 1;
    memset(p, 1, 1 << 20);
    free(p);
    return recv(fd, &c, 1, 0) == 1 && c == 'q' && send(fd, &c, 1, 0) == 1 ? 0
                                                                          : 2;
}

static int try_open(int fd)
{
    (void)fd;
    return open("/dev/null", O_RDONLY) >= 0 ? 0 : 1;
}

static int try_socket(int fd)
{
    (void)fd;
    return socket(AF_INET, SOCK_STREAM, 0) >= 0 ? 0 : 1;
}

static int try_exec(int fd)
{
    char name[] = "/bin/true";
    char *argv[] = {name, NULL};

    (void)fd;
    return execv(name, argv);
}

static int try_fork(int fd)
{
    (void)fd;
    return fork() >= 0 ? 0 : 1;
}

static int try_kill(int fd)
{
    (void)fd;
    return kill(getppid(), 0);
}

static int try_ptrace(int fd)
{
    (void)fd;
    return (int)syscall(SYS_ptrace, 0, 0, 0, 0);
}

static int try_executable_memory(int fd)
{
    (void)fd;
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
                -1, 0) == MAP_FAILED;
}

static int try_making_memory_executable(int fd)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)fd;
    return p == MAP_FAILED || mprotect(p, 4096, PROT_READ | PROT_EXEC) < 0;
}

static int try_another_descriptor(int fd)
{
    char c;

    return recv(fd + 1, &c, 1, 0) >= 0 ? 0 : 1;
}

static int try_dup(int fd)
{
    return dup(fd) >= 0 ? 0 : 1;
}

static int try_old_calls(int fd)
{
    (void)fd;
    return (int)syscall(0x40000000 | SYS_getpid); /* x32 */
}

static void memory_and_the_socket_work(void **state)
{
    (void)state;
    assert_int_equal(in_sandbox(try_memory), 0);
}

static void everything_else_ends_it(void **state)
{
    int (*const tries[])(int fd) = {try_open,
                                    try_socket,
                                    try_exec,
                                    try_fork,
                                    try_kill,
                                    try_ptrace,
                                    try_dup,
                                    try_old_calls,
                                    try_executable_memory,
                                    try_making_memory_executable,
                                    try_another_descriptor};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(tries); i++) {
        int status = in_sandbox(tries[i]);

        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
            fail_msg("try %zu: status %#x", i, (unsigned)status);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_and_the_socket_work),
        cmocka_unit_test(everything_else_ends_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
