#include "vmm/control.h"

#include <errno.h>
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

/* The loop has a thread of its own; the test is the client. */
struct fixture {
    struct loop *loop;
    struct control *control;
    pthread_t thread;
    char path[64];
    _Atomic unsigned calls;
    _Atomic bool refuse;
};

static int on_command(void *opaque, const struct control_msg *msg,
                      json_t **result, struct err *err)
{
    struct fixture *f = opaque;

    atomic_fetch_add(&f->calls, 1);
    if (atomic_load(&f->refuse))
        return err_set(err, -EBUSY, "not now");
    if (msg->cmd == CONTROL_QUIT)
        loop_stop(f->loop, 0);
    if (msg->cmd == CONTROL_STATUS) { /* a long answer */
        char text[60000];

        memset(text, 'x', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        *result = json_pack("{s:s}", "text", text);
    }
    if (msg->cmd == CONTROL_DISK_RESIZE)
        *result = json_pack("{s:I}", "size", (json_int_t)msg->size);
    return 0;
}

static void *run_loop(void *opaque)
{
    struct fixture *f = opaque;

    (void)loop_run(f->loop);
    return NULL;
}

static void begin(struct fixture *f)
{
    struct err err;

    memset(f, 0, sizeof(*f));
    (void)snprintf(f->path, sizeof(f->path), "/tmp/husk-control-%d", getpid());
    assert_int_equal(loop_new(&f->loop, &err), 0);
    assert_int_equal(
        control_new(&f->control, f->loop, f->path, on_command, f, &err), 0);
    assert_int_equal(pthread_create(&f->thread, NULL, run_loop, f), 0);
}

static void end(struct fixture *f)
{
    loop_stop(f->loop, 0);
    (void)pthread_join(f->thread, NULL);
    control_free(f->control);
    loop_free(f->loop);
    assert_int_equal(access(f->path, F_OK), -1);
}

static int connect_client(const struct fixture *f)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)strcpy(sa.sun_path, f->path);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* A line from the machine, without its end; "" if it hung up. */
static const char *hear(int fd)
{
    static char line[1 << 17];
    size_t n = 0;

    while (n < sizeof(line) - 1 && recv(fd, line + n, 1, 0) == 1 &&
           line[n] != '\n')
        n++;
    line[n] = '\0';
    return line;
}

static void a_line_is_answered_by_a_line(void **state)
{
    struct fixture f;
    int fd;

    (void)state;
    begin(&f);
    fd = connect_client(&f);
    say(fd, "{\"do\":\"ping\",\"id\":1}\n");
    assert_string_equal(hear(fd), "{\"id\":1,\"result\":{}}");
    say(fd, "{\"do\":\"pi");
    say(fd, "ng\",\"id\":2}\n{\"do\":\"ping\",\"id\":3}\n{");
    assert_string_equal(hear(fd), "{\"id\":2,\"result\":{}}");
    assert_string_equal(hear(fd), "{\"id\":3,\"result\":{}}");
    say(fd, "}\n");
    assert_non_null(strstr(hear(fd), "\"EINVAL\""));
    say(fd, "\n");
    assert_non_null(strstr(hear(fd), "\"EINVAL\""));
    assert_int_equal(atomic_load(&f.calls), 3);
    (void)close(fd);
    end(&f);
}

static void the_socket_is_its_owners_alone(void **state)
{
    struct fixture f;
    struct stat sb;

    (void)state;
    begin(&f);
    assert_int_equal(stat(f.path, &sb), 0);
    assert_int_equal(sb.st_mode & 0777, 0600);
    end(&f);
}

static void many_lines_at_once_are_all_answered(void **state)
{
    static char lines[400 * 32];
    struct fixture f;
    size_t len = 0;
    int fd;

    (void)state;
    begin(&f);
    fd = connect_client(&f);
    for (int i = 0; i < 400; i++)
        len += (size_t)sprintf(lines + len, "{\"do\":\"ping\",\"id\":%d}\n", i);
    say(fd, lines);
    for (int i = 0; i < 400; i++) {
        char expected[64];

        (void)sprintf(expected, "{\"id\":%d,\"result\":{}}", i);
        assert_string_equal(hear(fd), expected);
    }
    (void)close(fd);
    end(&f);
}

/* Its answers wait in its socket, and nobody waits for it. */
static void one_that_does_not_read_holds_up_nobody(void **state)
{
    struct fixture f;
    int slow, fd;

    (void)state;
    begin(&f);
    slow = connect_client(&f);
    for (int i = 0; i < 50; i++)
        say(slow, "{\"do\":\"status\"}\n");
    fd = connect_client(&f);
    say(fd, "{\"do\":\"ping\"}\n");
    assert_string_equal(hear(fd), "{\"result\":{}}");
    assert_true(atomic_load(&f.calls) < 51);
    for (int i = 0; i < 50; i++)
        assert_int_equal(strlen(hear(slow)), 60000 - 1 + 22);
    assert_int_equal(atomic_load(&f.calls), 51);
    (void)close(fd);
    (void)close(slow);
    end(&f);
}

static void a_line_without_end_is_not_heard_out(void **state)
{
    static char line[CONTROL_MAX_LINE + 1];
    struct fixture f;
    int fd;

    (void)state;
    begin(&f);
    fd = connect_client(&f);
    memset(line, ' ', CONTROL_MAX_LINE);
    say(fd, line);
    assert_string_equal(hear(fd), "");
    (void)close(fd);
    fd = connect_client(&f);
    line[CONTROL_MAX_LINE - 1] = '\n'; /* one that just fits */
    say(fd, line);
    assert_non_null(strstr(hear(fd), "\"EINVAL\""));
    (void)close(fd);
    end(&f);
}

static void the_quietest_makes_way_for_a_new_one(void **state)
{
    int fd[CONTROL_MAX_CLIENTS + 1];
    struct fixture f;

    (void)state;
    begin(&f);
    for (int i = 0; i < CONTROL_MAX_CLIENTS; i++) {
        fd[i] = connect_client(&f);
        say(fd[i], "{\"do\":\"ping\"}\n");
        assert_string_equal(hear(fd[i]), "{\"result\":{}}");
    }
    say(fd[0], "{\"do\":\"ping\"}\n");
    assert_string_equal(hear(fd[0]), "{\"result\":{}}");
    fd[CONTROL_MAX_CLIENTS] = connect_client(&f);
    say(fd[CONTROL_MAX_CLIENTS], "{\"do\":\"ping\"}\n");
    assert_string_equal(hear(fd[CONTROL_MAX_CLIENTS]), "{\"result\":{}}");
    assert_string_equal(hear(fd[1]), ""); /* it was that one */
    say(fd[0], "{\"do\":\"ping\"}\n");
    assert_string_equal(hear(fd[0]), "{\"result\":{}}");
    for (int i = 0; i <= CONTROL_MAX_CLIENTS; i++)
        (void)close(fd[i]);
    end(&f);
}

static void the_answer_to_quit_gets_out(void **state)
{
    struct fixture f;
    int fd;

    (void)state;
    begin(&f);
    fd = connect_client(&f);
    say(fd, "{\"do\":\"quit\"}\n");
    assert_string_equal(hear(fd), "{\"result\":{}}");
    end(&f);
    assert_string_equal(hear(fd), "");
    (void)close(fd);
}

static void one_that_says_no_more_is_still_answered(void **state)
{
    struct fixture f;
    int fd;

    (void)state;
    begin(&f);
    fd = connect_client(&f);
    say(fd, "{\"do\":\"ping\",\"id\":1}\n{\"do\":\"status\"}\n");
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    assert_string_equal(hear(fd), "{\"id\":1,\"result\":{}}");
    assert_true(strlen(hear(fd)) > 60000);
    assert_string_equal(hear(fd), "");
    (void)close(fd);
    end(&f);
}

/* --- The other end --- */

static int call(const char *path, json_t *command, json_t **result,
                struct err *err)
{
    int rc = control_call(path, command, 5000, result, err);

    json_decref(command);
    return rc;
}

static void a_call_brings_the_answer(void **state)
{
    struct fixture f;
    json_t *result = NULL;
    struct err err;

    (void)state;
    begin(&f);
    assert_int_equal(call(f.path,
                          json_pack("{s:s, s:i, s:i}", "do", "disk-resize",
                                    "disk", 0, "size", 1024),
                          &result, &err),
                     0);
    assert_int_equal(json_integer_value(json_object_get(result, "size")), 1024);
    json_decref(result);
    assert_int_equal(
        call(f.path, json_pack("{s:s}", "do", "status"), &result, &err), 0);
    json_decref(result);
    end(&f);
}

static void a_call_brings_the_machines_error(void **state)
{
    struct fixture f;
    json_t *result = NULL;
    struct err err;

    (void)state;
    begin(&f);
    atomic_store(&f.refuse, true);
    assert_int_equal(
        call(f.path, json_pack("{s:s}", "do", "ping"), &result, &err), -EBUSY);
    assert_string_equal(err.text, "not now");
    assert_null(result);
    end(&f);
    assert_int_equal(
        call(f.path, json_pack("{s:s}", "do", "ping"), &result, &err), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_answered_by_a_line),
        cmocka_unit_test(the_socket_is_its_owners_alone),
        cmocka_unit_test(many_lines_at_once_are_all_answered),
        cmocka_unit_test(one_that_does_not_read_holds_up_nobody),
        cmocka_unit_test(a_line_without_end_is_not_heard_out),
        cmocka_unit_test(the_quietest_makes_way_for_a_new_one),
        cmocka_unit_test(the_answer_to_quit_gets_out),
        cmocka_unit_test(one_that_says_no_more_is_still_answered),
        cmocka_unit_test(a_call_brings_the_answer),
        cmocka_unit_test(a_call_brings_the_machines_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
