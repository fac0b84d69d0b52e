#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gdb/listen.h"
#include "tests/unit/test.h"

struct fixture {
    struct gdb_listener l;
    char dir[32], path[64], address[96];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/husk-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->path, sizeof(f->path), "%s/gdb", f->dir);
    (void)snprintf(f->address, sizeof(f->address), "unix:%s", f->path);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(rmdir(f->dir), 0); /* nothing was left in it */
    free(f);
    return 0;
}

static int open_at(struct fixture *f, const char *address)
{
    struct err err = {.code = 0};
    int rc = gdb_listener_open(&f->l, address, &err);

    assert_int_equal(rc, err.code);
    assert_true(rc == 0 || strlen(err.text) > 0);
    return rc;
}

static void a_bad_address_is_refused_with_a_sentence(void **state)
{
    static const char *const bad[] = {
        "",           "unix:",       "tcp:",      "tcp:0", "tcp:65536",
        "tcp:12x",    "tcp:-1",      "tcp: 12",   "stdio", ",wait",
        "unix:,wait", "tcp:1x,wait", "tcp:,wait", "uni"};
    char path[300] = "unix:/";
    size_t i;

    for (i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(open_at(*state, bad[i]), -EINVAL);
    memset(path + 6, 'a', 200);
    assert_int_equal(open_at(*state, path), -EINVAL);
    assert_int_equal(open_at(*state, "unix:/nonexistent/dir/socket"), -ENOENT);
}

static void the_socket_is_ours_alone_and_goes_away(void **state)
{
    struct fixture *f = *state;
    struct stat st;

    assert_int_equal(open_at(f, f->address), 0);
    assert_false(f->l.wait);
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    gdb_listener_close(&f->l);
    assert_int_equal(stat(f->path, &st), -1);
}

static void wait_is_no_part_of_the_path(void **state)
{
    struct fixture *f = *state;
    char address[128];

    (void)snprintf(address, sizeof(address), "%s,wait", f->address);
    assert_int_equal(open_at(f, address), 0);
    assert_true(f->l.wait);
    assert_string_equal(f->l.path, f->path);
    gdb_listener_close(&f->l);
}

static void a_stale_socket_is_replaced_and_a_live_one_is_not(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", f->path);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(open_at(f, f->address), -EADDRINUSE);
    (void)close(fd);
    assert_int_equal(open_at(f, f->address), 0);
    gdb_listener_close(&f->l);
}

static void a_file_that_is_no_socket_is_left_alone(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    FILE *file = fopen(f->path, "we");

    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(open_at(f, f->address), -EEXIST);
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(unlink(f->path), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_bad_address_is_refused_with_a_sentence),
        TEST(the_socket_is_ours_alone_and_goes_away),
        TEST(wait_is_no_part_of_the_path),
        TEST(a_stale_socket_is_replaced_and_a_live_one_is_not),
        TEST(a_file_that_is_no_socket_is_left_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
