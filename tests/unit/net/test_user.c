/*
 * The network's process from outside (user.c) and what it may still do
 * (jail.c). This program is its own helper: started under HELPER_NAME it
 * sends back what it gets, and ends when a frame says so.
 */
#include "net/user.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/helper.h"
#include "net/jail.h"
#include "tests/unit/test.h"

enum { FRAME = NET_HEAD + 60 };

/* --- The helper ------------------------------------------------------------
 */

static int fake_helper(void)
{
    static uint8_t buf[NET_HEAD + NET_MAX_FRAME];
    struct helper_answer a = {0};

    (void)send(HELPER_CONTROL, &a, sizeof(a), 0);
    for (;;) {
        struct helper_ask q;
        ssize_t n = recv(HELPER_FRAMES, buf, sizeof(buf), 0);

        if (n <= 0 || buf[NET_HEAD] == 'x')
            return 0;
        if (buf[NET_HEAD] == 'p') {
            if (recv(HELPER_CONTROL, &q, sizeof(q), 0) != sizeof(q))
                return 1;
            a.rc = q.port.host == 99 ? -EADDRINUSE : 0;
            (void)send(HELPER_CONTROL, &a, sizeof(a), 0);
        } else {
            (void)send(HELPER_FRAMES, buf, (size_t)n, 0);
        }
    }
}

/* --- The card --------------------------------------------------------------
 */

struct card {
    struct loop *loop;
    struct net_user *nu;
    struct net_ops ops;
    unsigned got, refuse;
    size_t len;
    uint8_t last;
    bool gone;
};

static bool receive(void *opaque, const void *buf, size_t len)
{
    struct card *c = opaque;

    if (c->refuse) {
        c->refuse--;
        c->ops.ready(c->ops.opaque);
        return false;
    }
    c->got++;
    c->len = len;
    c->last = ((const uint8_t *)buf)[NET_HEAD];
    loop_stop(c->loop, 1);
    return true;
}

static void writable(void *opaque)
{
    struct card *c = opaque;

    loop_stop(c->loop, 2);
}

static void gone(void *opaque)
{
    struct card *c = opaque;

    c->gone = true;
    loop_stop(c->loop, 3);
}

static void make(struct card *c)
{
    const struct net_user_card card = {receive, writable, gone, c};
    struct err err = {0};

    memset(c, 0, sizeof(*c));
    assert_int_equal(loop_new(&c->loop, &err), 0);
    assert_int_equal(net_user_new(&c->nu, c->loop, (const uint8_t[6]){2}, &err),
                     0);
    assert_int_equal(net_user_start(c->nu, &card, &err), 0);
    c->ops = net_user_ops(c->nu);
}

static void end(struct card *c)
{
    net_user_free(c->nu);
    loop_free(c->loop);
}

static int send_frame(struct card *c, uint8_t kind, size_t len)
{
    static uint8_t frame[NET_MAX_FRAME];
    struct net_head h = {0};
    struct iovec iov[] = {{&h, sizeof(h)}, {frame, len}};

    frame[0] = kind;
    return c->ops.send(c->ops.opaque, iov, 2);
}

static void frames_go_both_ways(void **state)
{
    struct card c;

    (void)state;
    make(&c);
    assert_int_equal(send_frame(&c, 'a', 60), 0);
    assert_int_equal(loop_run(c.loop), 1);
    assert_int_equal(c.len, FRAME);
    assert_int_equal(c.last, 'a');
    assert_int_equal(send_frame(&c, 'b', NET_MAX_FRAME), 0);
    assert_int_equal(loop_run(c.loop), 1);
    assert_int_equal(c.len, NET_HEAD + NET_MAX_FRAME);
    end(&c);
}

static void a_frame_waits_for_the_card(void **state)
{
    struct card c;

    (void)state;
    make(&c);
    c.refuse = 3;
    assert_int_equal(send_frame(&c, 'a', 60), 0);
    assert_int_equal(loop_run(c.loop), 1);
    assert_int_equal(c.got, 1);
    assert_int_equal(c.last, 'a');
    end(&c);
}

static void a_full_socket_says_when_it_is_not(void **state)
{
    struct card c;
    unsigned n = 0;

    (void)state;
    make(&c);
    /* It waits at its control socket, so that the frames pile up. */
    assert_int_equal(send_frame(&c, 'p', 60), 0);
    while (send_frame(&c, 'y', 60000) == 0)
        assert_true(n++ < 1000);
    {
        const struct vmconf_port port = {"127.0.0.1", false, false, 1, 1};
        struct err err;

        assert_int_equal(net_user_publish(c.nu, &port, &err), 0);
    }
    while (loop_run(c.loop) != 2)
        ;
    assert_int_equal(send_frame(&c, 'z', 60), 0);
    end(&c);
}

static void its_end_is_told_once(void **state)
{
    struct card c;

    (void)state;
    make(&c);
    assert_int_equal(send_frame(&c, 'x', 60), 0);
    assert_int_equal(loop_run(c.loop), 3);
    assert_true(c.gone);
    assert_int_equal(send_frame(&c, 'a', 60), 0); /* into nothing */
    end(&c);
}

static void ports_are_kept_as_the_process_has_them(void **state)
{
    struct vmconf_port port = {"127.0.0.1", false, false, 80, 8080};
    struct card c;
    struct err err;
    unsigned nr = 0;

    (void)state;
    make(&c);
    assert_int_equal(send_frame(&c, 'p', 60), 0);
    assert_int_equal(net_user_publish(c.nu, &port, &err), 0);
    assert_int_equal(net_user_publish(c.nu, &port, &err), -EEXIST);
    port.host = 99;
    assert_int_equal(net_user_unpublish(c.nu, &port, &err), -ENOENT);
    assert_int_equal(send_frame(&c, 'p', 60), 0);
    assert_int_equal(net_user_publish(c.nu, &port, &err), -EADDRINUSE);
    (void)net_user_ports(c.nu, &nr);
    assert_int_equal(nr, 1);
    port.host = 80;
    assert_int_equal(send_frame(&c, 'p', 60), 0);
    assert_int_equal(net_user_unpublish(c.nu, &port, &err), 0);
    (void)net_user_ports(c.nu, &nr);
    assert_int_equal(nr, 0);
    end(&c);
}

/* --- The sandbox -----------------------------------------------------------
 */

/* The exit status of a child that does f within the sandbox; 128 + a signal. */
static int within(int (*f)(void))
{
    int status = 0;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(jail_enter() == 0 ? f() : 99);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int use_sockets(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int file = open("/etc/resolv.conf", O_RDONLY | O_CLOEXEC);

    return fd >= 0 && (file >= 0 || errno == ENOENT) && close(fd) == 0 ? 0 : 1;
}

/* Those of programs, which may do more than this one. */
static int use_local_sockets(void)
{
    return socket(AF_UNIX, SOCK_STREAM, 0) < 0 && errno == EAFNOSUPPORT ? 0 : 1;
}

static int map_code(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_EXEC,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return p == MAP_FAILED ? 1 : 2;
}

static int write_files(void)
{
    return open("/tmp/husk-sandbox", O_RDWR | O_CREAT | O_CLOEXEC, 0600) < 0 &&
                   errno == EACCES && unlink("/tmp/husk-sandbox") < 0 &&
                   errno == ENOSYS
               ? 0
               : 1;
}

static int start_others(void)
{
    char name[] = "true", *argv[] = {name, NULL};

    if (fork() >= 0)
        return 1;
    (void)execv("/bin/true", argv);
    return errno == ENOSYS && kill(getppid(), 0) < 0 ? 0 : 1;
}

static void the_process_keeps_sockets_only(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* their own calls are not in the list */
#endif
    assert_int_equal(within(use_sockets), 0);
    assert_int_equal(within(write_files), 0);
    assert_int_equal(within(use_local_sockets), 0);
    assert_int_equal(within(map_code), 128 + SIGSYS);
    assert_int_equal(within(start_others), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_go_both_ways),
        cmocka_unit_test(a_frame_waits_for_the_card),
        cmocka_unit_test(a_full_socket_says_when_it_is_not),
        cmocka_unit_test(its_end_is_told_once),
        cmocka_unit_test(ports_are_kept_as_the_process_has_them),
        cmocka_unit_test(the_process_keeps_sockets_only),
    };

    if (argc == 1 && strcmp(argv[0], HELPER_NAME) == 0)
        return fake_helper();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
