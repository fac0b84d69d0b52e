#include "vmm/console.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/unit/test.h"
#include "vmm/listener.h"

struct fixture {
    struct loop *loop;
    struct console con;
    pthread_t thread;
    char dir[64], path[96], where[112];
    /* the guest: takes at most room bytes */
    _Atomic size_t room, got_len;
    char got[4096];
};

static size_t receive(void *opaque, const uint8_t *buf, size_t len)
{
    struct fixture *f = opaque;
    size_t room = atomic_load(&f->room), at = atomic_load(&f->got_len);

    len = len < room ? len : room;
    assert_true(at + len <= sizeof(f->got));
    memcpy(f->got + at, buf, len);
    atomic_fetch_sub(&f->room, len);
    atomic_store(&f->got_len, at + len);
    return len;
}

static void escape(void *opaque)
{
    (void)opaque;
}

static void *run(void *opaque)
{
    struct fixture *f = opaque;

    (void)loop_run(f->loop);
    return NULL;
}

static void setup(struct fixture *f)
{
    struct err err;

    memset(f, 0, sizeof(*f));
    atomic_store(&f->room, sizeof(f->got));
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/husk-con-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->path, sizeof(f->path), "%s/it", f->dir);
    (void)snprintf(f->where, sizeof(f->where), "unix:%s", f->path);
    assert_int_equal(loop_new(&f->loop, &err), 0);
    assert_int_equal(console_init(&f->con, "serial", f->loop), 0);
}

static int open_at(struct fixture *f, const char *where)
{
    const struct console_guest guest = {receive, escape, f};
    struct err err;

    return console_open(&f->con, where, &guest, &err);
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
    console_fini(&f->con);
    loop_free(f->loop);
    (void)unlink(f->path);
    assert_int_equal(rmdir(f->dir), 0);
}

static int dial(const struct fixture *f)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memcpy(sa.sun_path, f->path, strlen(f->path) + 1);
    assert_int_equal(connect(fd, (const struct sockaddr *)&sa, sizeof(sa)), 0);
    return fd;
}

static void await(const struct fixture *f, size_t len)
{
    for (int i = 0; i < 20000 && atomic_load(&f->got_len) < len; i++)
        (void)usleep(1000);
    assert_int_equal(atomic_load(&f->got_len), len);
}

static void expect(int fd, const char *text)
{
    char buf[64];
    size_t len = strlen(text), got = 0;

    while (got < len) {
        ssize_t n = read(fd, buf + got, len - got);

        assert_true(n > 0);
        got += (size_t)n;
    }
    assert_memory_equal(buf, text, len);
}

static void a_file_gets_the_output_and_nothing_of_before(void **state)
{
    struct fixture f;
    char buf[16] = {0};
    int fd;

    (void)state;
    setup(&f);
    fd = open(f.path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "old contents", 12), 12);
    assert_int_equal(open_at(&f, f.path), 0);
    start(&f);
    console_write(&f.con, (const uint8_t *)"new", 3);
    stop(&f);
    console_fini(&f.con);
    assert_int_equal(pread(fd, buf, sizeof(buf), 0), 3);
    assert_memory_equal(buf, "new", 3);
    (void)close(fd);
    assert_int_equal(console_init(&f.con, "serial", f.loop), 0);
    teardown(&f);
}

static void a_client_talks_both_ways_and_the_next_one_too(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    assert_int_equal(open_at(&f, f.where), 0);
    console_write(&f.con, (const uint8_t *)"boot", 4); /* waits for the first */
    start(&f);
    for (size_t i = 1; i <= 3; i++) {
        int fd = dial(&f);

        if (i == 1)
            expect(fd, "boot");
        assert_int_equal(write(fd, "hello", 5), 5);
        await(&f, 5 * i);
        console_write(&f.con, (const uint8_t *)"back", 4);
        expect(fd, "back");
        (void)close(fd);
    }
    stop(&f);
    teardown(&f);
}

static void input_waits_until_the_guest_takes_it(void **state)
{
    struct fixture f;
    char data[3000];
    int fd;

    (void)state;
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (char)('a' + i % 26);
    setup(&f);
    atomic_store(&f.room, 10);
    assert_int_equal(open_at(&f, f.where), 0);
    start(&f);
    fd = dial(&f);
    assert_int_equal(write(fd, data, sizeof(data)), (ssize_t)sizeof(data));
    await(&f, 10);
    for (size_t len = 10; len < sizeof(data);) {
        size_t more = sizeof(data) - len < 16 ? sizeof(data) - len : 16;

        atomic_store(&f.room, more);
        console_resume(&f.con);
        len += more;
        await(&f, len);
    }
    assert_memory_equal(f.got, data, sizeof(data));
    (void)close(fd);
    stop(&f);
    teardown(&f);
}

static void the_socket_is_for_its_owner_and_goes_at_the_end(void **state)
{
    struct fixture f;
    struct stat sb;

    (void)state;
    setup(&f);
    assert_int_equal(open_at(&f, f.where), 0);
    assert_int_equal(stat(f.path, &sb), 0);
    assert_true(S_ISSOCK(sb.st_mode));
    assert_int_equal(sb.st_mode & 0777, 0600);
    console_fini(&f.con);
    assert_int_equal(stat(f.path, &sb), -1);
    assert_int_equal(console_init(&f.con, "serial", f.loop), 0);
    teardown(&f);
}

static void only_stale_sockets_are_replaced(void **state)
{
    struct fixture f;
    struct err err;
    struct stat sb;
    int fd = -1, second = -1, file;

    (void)state;
    setup(&f);
    assert_int_equal(listener_open(&fd, f.path, "serial", &err), 0);
    assert_int_equal(listener_open(&second, f.path, "serial", &err),
                     -EADDRINUSE);
    (void)close(fd); /* as if its process had been killed */
    assert_int_equal(listener_open(&second, f.path, "serial", &err), 0);
    listener_close(second, f.path);

    file = open(f.path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    (void)close(file);
    assert_int_equal(listener_open(&fd, f.path, "serial", &err), -EEXIST);
    assert_int_equal(stat(f.path, &sb), 0);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_gets_the_output_and_nothing_of_before),
        cmocka_unit_test(a_client_talks_both_ways_and_the_next_one_too),
        cmocka_unit_test(input_waits_until_the_guest_takes_it),
        cmocka_unit_test(the_socket_is_for_its_owner_and_goes_at_the_end),
        cmocka_unit_test(only_stale_sockets_are_replaced),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
