#include "vmm/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/unit/test.h"

struct fixture {
    struct loop *loop;
    struct sink sink;
    pthread_t thread;
    int fd[2]; /* ours, the sink's */
};

static void *run(void *opaque)
{
    struct fixture *f = opaque;

    (void)loop_run(f->loop);
    return NULL;
}

static void setup(struct fixture *f)
{
    struct err err;

    assert_int_equal(loop_new(&f->loop, &err), 0);
    assert_int_equal(sink_init(&f->sink, "test", f->loop), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, f->fd),
                     0);
}

static void start(struct fixture *f)
{
    assert_int_equal(pthread_create(&f->thread, NULL, run, f), 0);
}

static void stop(struct fixture *f)
{
    loop_stop(f->loop, 0);
    (void)pthread_join(f->thread, NULL);
}

static void teardown(struct fixture *f)
{
    sink_fini(&f->sink);
    loop_free(f->loop);
    (void)close(f->fd[0]);
}

static void read_full(int fd, void *buf, size_t len)
{
    char *p = buf;

    while (len > 0) {
        ssize_t n = read(fd, p, len);

        assert_true(n > 0);
        p += n;
        len -= (size_t)n;
    }
}

static void what_is_written_comes_out_in_order(void **state)
{
    struct fixture f;
    uint32_t got[1000];

    (void)state;
    setup(&f);
    sink_set_fd(&f.sink, f.fd[1]);
    start(&f);
    for (uint32_t i = 0; i < 1000; i++)
        sink_write(&f.sink, &i, sizeof(i));
    read_full(f.fd[0], got, sizeof(got));
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(got[i], i);
    stop(&f);
    teardown(&f);
}

struct reader {
    int fd;
    size_t want;
    bool ok;
};

static void *read_slowly(void *opaque)
{
    struct reader *r = opaque;
    uint8_t buf[4096], next = 0;
    size_t got = 0;

    r->ok = true;
    while (got < r->want) {
        ssize_t n = read(r->fd, buf, sizeof(buf));

        if (n <= 0)
            break;
        for (ssize_t i = 0; i < n; i++)
            r->ok = r->ok && buf[i] == next++;
        got += (size_t)n;
    }
    r->ok = r->ok && got == r->want;
    return NULL;
}

static void more_than_the_ring_holds_waits_for_the_reader(void **state)
{
    static uint8_t data[4 * SINK_SIZE];
    struct fixture f;
    struct reader r = {.want = sizeof(data)};
    pthread_t thread;

    (void)state;
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)i;
    setup(&f);
    sink_set_fd(&f.sink, f.fd[1]);
    start(&f);
    r.fd = f.fd[0];
    assert_int_equal(pthread_create(&thread, NULL, read_slowly, &r), 0);
    for (size_t i = 0; i < sizeof(data); i += 1000)
        sink_write(&f.sink, data + i,
                   sizeof(data) - i < 1000 ? sizeof(data) - i : 1000);
    (void)pthread_join(thread, NULL);
    assert_true(r.ok);
    stop(&f);
    teardown(&f);
}

/* Not timed, but it must come to an end: a reader that never reads. */
static void a_stalled_reader_does_not_stall_the_guest(void **state)
{
    static uint8_t data[8 * SINK_SIZE];
    struct fixture f;

    (void)state;
    setup(&f);
    sink_set_fd(&f.sink, f.fd[1]);
    start(&f);
    for (size_t i = 0; i < sizeof(data); i++)
        sink_write(&f.sink, data + i, 1);
    stop(&f);
    teardown(&f);
}

static void a_reader_that_comes_late_gets_the_newest(void **state)
{
    static uint8_t data[SINK_SIZE + 5000], got[SINK_SIZE];
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 31 + i / 256);
    setup(&f);
    for (size_t i = 0; i < sizeof(data); i += 7)
        sink_write(&f.sink, data + i,
                   sizeof(data) - i < 7 ? sizeof(data) - i : 7);
    start(&f);
    sink_set_fd(&f.sink, f.fd[1]);
    read_full(f.fd[0], got, sizeof(got));
    assert_memory_equal(got, data + 5000, sizeof(got));
    stop(&f);
    teardown(&f);
}

static void what_is_left_is_written_at_the_end(void **state)
{
    struct fixture f;
    char got[5];

    (void)state;
    setup(&f);
    sink_set_fd(&f.sink, f.fd[1]);
    sink_write(&f.sink, "after", 5); /* the loop does not run any more */
    sink_fini(&f.sink);
    read_full(f.fd[0], got, 5);
    assert_memory_equal(got, "after", 5);
    loop_free(f.loop);
    (void)close(f.fd[0]);
}

static void a_reader_that_has_gone_is_no_harm(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    sink_set_fd(&f.sink, f.fd[1]);
    (void)close(f.fd[0]);
    f.fd[0] = -1;
    start(&f);
    for (int i = 0; i < 100000; i++)
        sink_write(&f.sink, "x", 1);
    stop(&f);
    teardown(&f);
}

static void a_full_device_is_no_harm(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    sink_set_fd(&f.sink, open("/dev/full", O_WRONLY | O_CLOEXEC));
    (void)close(f.fd[1]);
    start(&f);
    for (int i = 0; i < 1000; i++)
        sink_write(&f.sink, "0123456789", 10);
    stop(&f);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_comes_out_in_order),
        cmocka_unit_test(more_than_the_ring_holds_waits_for_the_reader),
        cmocka_unit_test(a_stalled_reader_does_not_stall_the_guest),
        cmocka_unit_test(a_reader_that_comes_late_gets_the_newest),
        cmocka_unit_test(what_is_left_is_written_at_the_end),
        cmocka_unit_test(a_reader_that_has_gone_is_no_harm),
        cmocka_unit_test(a_full_device_is_no_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
