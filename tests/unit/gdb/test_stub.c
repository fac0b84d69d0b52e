#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "gdb/stub.h"
#include "tests/unit/cpu/fake_engine.h"
#include "tests/unit/fail_alloc.h"
#include "tests/unit/test.h"

/* --- A machine whose loop runs on a thread of its own ------------------- */

struct fixture {
    struct gmem gm;
    struct vcpu_set *set;
    struct loop *loop;
    struct gdb_stub *stub;
    pthread_t thread;
    bool started;
    char dir[32], path[64], address[96];
};

static void on_stopped(void *opaque, enum vcpu_stop_reason why)
{
    (void)opaque;
    (void)why;
}

static void *run_loop(void *arg)
{
    (void)loop_run(arg);
    return NULL;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct err err;

    assert_non_null(f);
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/husk-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->path, sizeof(f->path), "%s/gdb", f->dir);
    (void)snprintf(f->address, sizeof(f->address), "unix:%s", f->path);
    assert_int_equal(loop_new(&f->loop, &err), 0);
    assert_int_equal(vcpu_set_new(&f->set,
                                  &(struct vcpu_config){
                                      .nr = 1,
                                      .ops = &fake_engine_ops,
                                      .model = &fake_model,
                                      .gmem = &f->gm,
                                      .stopped = on_stopped,
                                  },
                                  &err),
                     0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    if (f->started) {
        loop_stop(f->loop, 0);
        assert_int_equal(pthread_join(f->thread, NULL), 0);
    }
    gdb_stub_free(f->stub);
    vcpu_set_free(f->set);
    loop_free(f->loop);
    assert_int_equal(rmdir(f->dir), 0); /* nothing was left in it */
    free(f);
    return 0;
}

static int listen_at(struct fixture *f, const char *address)
{
    struct err err;
    int rc = gdb_stub_new(&f->stub, f->set, f->loop, address, &err);

    assert_true(rc == 0 || strlen(err.text) > 0);
    return rc;
}

static void start(struct fixture *f)
{
    assert_int_equal(pthread_create(&f->thread, NULL, run_loop, f->loop), 0);
    f->started = true;
    vcpu_set_resume(f->set);
}

static int dial(struct fixture *f)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    struct timeval limit = {.tv_sec = 10};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    (void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", f->path);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    return fd;
}

/* Read exactly what is expected, or fail (also after 10 s without it). */
static void expect(int fd, const char *text)
{
    char buf[256];
    size_t len = strlen(text), got = 0;

    assert_true(len < sizeof(buf));
    while (got < len) {
        ssize_t n = recv(fd, buf + got, len - got, 0);

        assert_true(n > 0);
        got += (size_t)n;
    }
    assert_memory_equal(buf, text, len);
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL),
                     (ssize_t)strlen(text));
}

static void expect_end(int fd)
{
    char c;

    assert_true(recv(fd, &c, 1, 0) <= 0);
    (void)close(fd);
}

/* --- Addresses ---------------------------------------------------------- */

static void an_address_that_cannot_be_used_is_refused(void **state)
{
    assert_int_equal(listen_at(*state, "nonsense"), -EINVAL);
    assert_int_equal(listen_at(*state, "unix:/nonexistent/dir/socket"),
                     -ENOENT);
}
static void without_memory_nothing_listens(void **state)
{
    struct fixture *f = *state;
    unsigned n;

    for (n = 1; fail_alloc_at(n), listen_at(f, f->address) == -ENOMEM; n++)
        assert_int_equal(access(f->path, F_OK), -1);
    assert_false(fail_alloc_happened());
    assert_true(n > 3); /* the stub, and two of the session's */
    fail_alloc_at(0);
}

/* --- Connections -------------------------------------------------------- */

static void the_machine_stops_for_a_debugger_and_runs_on_without(void **state)
{
    struct fixture *f = *state;
    struct fake_vcpu *fv = fake_vcpu(vcpu_get(f->set, 0));
    unsigned n;
    int fd;

    assert_int_equal(listen_at(f, f->address), 0);
    start(f);
    assert_true(fake_wait(&fv->runs, 1));
    fd = dial(f);
    say(fd, "$qAttached#8f");
    expect(fd, "+$1#31");
    assert_false(atomic_load(&fv->in_run));
    n = atomic_load(&fv->runs);
    (void)close(fd);
    assert_true(fake_wait(&fv->runs, n + 1));
    fd = dial(f); /* and another time */
    say(fd, "$?#3f");
    expect(fd, "+$T05thread:01;#");
    (void)close(fd);
}

static void with_wait_nothing_runs_before_a_debugger_says_so(void **state)
{
    struct fixture *f = *state;
    struct fake_vcpu *fv = fake_vcpu(vcpu_get(f->set, 0));
    struct timespec ms = {.tv_nsec = 5000000};
    char address[128];
    int fd;

    (void)snprintf(address, sizeof(address), "%s,wait", f->address);
    assert_int_equal(listen_at(f, address), 0);
    start(f);
    (void)nanosleep(&ms, NULL);
    assert_int_equal(atomic_load(&fv->runs), 0);
    fd = dial(f);
    say(fd, "$?#3f");
    expect(fd, "+$T05thread:01;#07");
    assert_int_equal(atomic_load(&fv->runs), 0);
    say(fd, "$c#63");
    expect(fd, "+");
    assert_true(fake_wait(&fv->runs, 1));
    (void)close(fd);
}

static void a_breakpoint_and_ctrl_c_reach_the_debugger(void **state)
{
    struct fixture *f = *state;
    struct fake_vcpu *fv = fake_vcpu(vcpu_get(f->set, 0));
    unsigned n;
    int fd;

    assert_int_equal(listen_at(f, f->address), 0);
    start(f);
    fd = dial(f);
    say(fd, "$?#3f");
    expect(fd, "+$T05thread:01;#07");
    atomic_store(&fv->mode, FAKE_BREAK);
    say(fd, "$c#63");
    expect(fd, "+$T05thread:01;#07");
    n = atomic_load(&fv->runs);
    say(fd, "$c#63");
    expect(fd, "+");
    assert_true(fake_wait(&fv->runs, n + 1));
    say(fd, "\x03");
    expect(fd, "$T02thread:01;#04");
    (void)close(fd);
}

static void a_second_debugger_is_turned_away(void **state)
{
    struct fixture *f = *state;
    int first, second;

    assert_int_equal(listen_at(f, f->address), 0);
    start(f);
    first = dial(f);
    say(first, "$qAttached#8f");
    expect(first, "+$1#31");
    second = dial(f);
    expect_end(second);
    say(first, "$qAttached#8f");
    expect(first, "+$1#31");
    (void)close(first);
}

/* One that asks and never reads: its questions wait, we do not. */
static void a_debugger_that_does_not_read_is_not_read_from(void **state)
{
    struct fixture *f = *state;
    static const char question[] = "$g#67";
    struct timeval limit = {.tv_usec = 200000};
    size_t sent = 0;
    char buf[4096];
    ssize_t n;
    int fd;

    assert_int_equal(listen_at(f, f->address), 0);
    start(f);
    fd = dial(f);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    while (sent < 2000000 &&
           send(fd, question, sizeof(question) - 1, MSG_NOSIGNAL) > 0)
        sent += sizeof(question) - 1;
    assert_true(sent < 2000000);
    n = recv(fd, buf, sizeof(buf), 0);
    assert_true(n > 0);
    assert_memory_equal(buf, "+$", 2);
    (void)close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_address_that_cannot_be_used_is_refused),
        TEST(without_memory_nothing_listens),
        TEST(the_machine_stops_for_a_debugger_and_runs_on_without),
        TEST(with_wait_nothing_runs_before_a_debugger_says_so),
        TEST(a_breakpoint_and_ctrl_c_reach_the_debugger),
        TEST(a_second_debugger_is_turned_away),
        TEST(a_debugger_that_does_not_read_is_not_read_from),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
