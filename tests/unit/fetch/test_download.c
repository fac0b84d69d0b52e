/* Downloads (download.c, curl.c) from a server that says what the test wants:
 * one answer for each connection, and what was asked is kept. */
#include "fetch/download.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/test.h"

enum { MAX_ANSWERS = 4, ASKED = 4096 };

static struct server {
    int fd;
    char url[64], dir[64];
    const char *answers[MAX_ANSWERS];
    unsigned nr;
    char asked[MAX_ANSWERS][ASKED];
    pthread_t thread;
} server;

static void *serve(void *opaque)
{
    struct server *s = opaque;

    for (unsigned i = 0; i < s->nr; i++) {
        int c = accept(s->fd, NULL, NULL);
        size_t have = 0;

        while (have + 1 < ASKED && !strstr(s->asked[i], "\r\n\r\n")) {
            ssize_t n = read(c, s->asked[i] + have, ASKED - 1 - have);

            if (n <= 0)
                break;
            have += (size_t)n;
            s->asked[i][have] = '\0';
        }
        (void)!write(c, s->answers[i], strlen(s->answers[i]));
        (void)close(c);
    }
    return NULL;
}

/* The answers to come; NULL ends them. */
static void expect(const char *one, const char *two)
{
    struct server *s = &server;

    memset(s->asked, 0, sizeof(s->asked));
    s->answers[0] = one;
    s->answers[1] = two;
    s->nr = two ? 2 : 1;
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static int set_up(void **state)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);

    (void)state;
    server.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(server.fd, (struct sockaddr *)&a, sizeof(a)) < 0 ||
        listen(server.fd, 4) < 0 ||
        getsockname(server.fd, (struct sockaddr *)&a, &len) < 0)
        return -1;
    (void)snprintf(server.url, sizeof(server.url), "http://127.0.0.1:%u/x.img",
                   ntohs(a.sin_port));
    (void)strcpy(server.dir, "/tmp/husk-download-XXXXXX");
    return mkdtemp(server.dir) ? 0 : -1;
}

static int tear_down(void **state)
{
    char command[100];

    (void)state;
    (void)close(server.fd);
    (void)snprintf(command, sizeof(command), "rm -rf %s", server.dir);
    return system(command); /* NOLINT(cert-env33-c) */
}

/* Download what the answers say; the text of the file, or NULL. */
static const char *get(const struct sum *sum, int *rc)
{
    static char text[64];
    const struct download d = {
        .url = server.url, .dir = server.dir, .sum = sum};
    struct err err = {0};
    char path[PATH_MAX];
    ssize_t n = 0;
    int fd = -1;

    *rc = download_file(&d, path, &fd, &err);
    if (server.nr)
        assert_int_equal(pthread_join(server.thread, NULL), 0);
    server.nr = 0;
    if (*rc < 0) {
        assert_int_equal(*rc, err.code);
        return NULL;
    }
    n = pread(fd, text, sizeof(text) - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    (void)close(fd);
    return text;
}

static bool asked(unsigned i, const char *line)
{
    return strstr(server.asked[i], line) != NULL;
}

/* Whether the folder has a file whose name ends so. */
static bool is_there(const char *end)
{
    char command[160];

    (void)snprintf(command, sizeof(command), "ls %s/*%s >/dev/null 2>&1",
                   server.dir, end);
    return system(command) == 0; /* NOLINT(cert-env33-c) */
}

#define OK(headers, body)                                                      \
    "HTTP/1.1 200 OK\r\nConnection: close\r\n" headers "\r\n" body

static void a_file_is_kept_while_its_version_lasts(void **state)
{
    int rc;

    (void)state;
    expect(OK("ETag: \"one\"\r\nContent-Length: 3\r\n", "abc"), NULL);
    assert_string_equal(get(NULL, &rc), "abc");
    assert_false(is_there(".part"));
    expect("HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n", NULL);
    assert_string_equal(get(NULL, &rc), "abc");
    assert_true(asked(0, "If-None-Match: \"one\"\r\n"));
    expect(OK("Content-Length: 2\r\n", "de"), NULL);
    assert_string_equal(get(NULL, &rc), "de");
    expect(OK("Content-Length: 2\r\n", "fg"), NULL);
    assert_string_equal(get(NULL, &rc), "fg");
    assert_false(asked(0, "If-"));
}

static void what_was_cut_short_goes_on(void **state)
{
    int rc;

    (void)state;
    expect(OK("ETag: \"v\"\r\nContent-Length: 6\r\n", "abc"), NULL);
    assert_null(get(NULL, &rc));
    assert_int_equal(rc, -EIO);
    assert_true(is_there(".part"));
    expect("HTTP/1.1 206 Partial Content\r\nConnection: close\r\n"
           "ETag: \"v\"\r\nContent-Range: bytes 3-5/6\r\n"
           "Content-Length: 3\r\n\r\ndef",
           NULL);
    assert_string_equal(get(NULL, &rc), "abcdef");
    assert_true(asked(0, "Range: bytes=3-\r\n"));
    assert_true(asked(0, "If-Range: \"v\"\r\n"));
    assert_false(is_there(".part"));
}

static void another_version_begins_anew(void **state)
{
    int rc;

    (void)state;
    expect(OK("ETag: \"v\"\r\nContent-Length: 6\r\n", "abc"), NULL);
    assert_null(get(NULL, &rc));
    expect(OK("ETag: \"w\"\r\nContent-Length: 2\r\n", "xy"), NULL);
    assert_string_equal(get(NULL, &rc), "xy");
    /* A server that ends before what we have: once more, from the start. */
    expect(OK("ETag: \"w\"\r\nContent-Length: 9\r\n", "pqrst"), NULL);
    assert_null(get(NULL, &rc));
    expect("HTTP/1.1 416 Range Not Satisfiable\r\nConnection: close\r\n"
           "Content-Length: 0\r\n\r\n",
           OK("Content-Length: 1\r\n", "z"));
    assert_string_equal(get(NULL, &rc), "z");
}

static void a_sum_decides(void **state)
{
    struct sum sum;
    int rc;

    (void)state;
    sum_of("abc", 3, SUM_SHA256, &sum);
    expect(OK("Content-Length: 3\r\n", "abx"), NULL);
    assert_null(get(&sum, &rc));
    assert_int_equal(rc, -EUCLEAN);
    assert_false(is_there(""));
    expect(OK("Content-Length: 3\r\n", "abc"), NULL);
    assert_string_equal(get(&sum, &rc), "abc");
    server.nr = 0; /* and from then on nobody is asked */
    assert_string_equal(get(&sum, &rc), "abc");
}

static void what_is_not_there_leaves_nothing(void **state)
{
    int rc;

    (void)state;
    expect("HTTP/1.1 404 Not Found\r\nConnection: close\r\n"
           "Content-Length: 2\r\n\r\nno",
           NULL);
    assert_null(get(NULL, &rc));
    assert_int_equal(rc, -ENOENT);
    assert_false(is_there(""));
}

static void a_redirection_leaves_the_web_to_nowhere(void **state)
{
    int rc;

    (void)state;
    expect("HTTP/1.1 302 Found\r\nConnection: close\r\n"
           "Location: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n",
           NULL);
    assert_null(get(NULL, &rc));
    assert_int_equal(rc, -EIO);
}

static void a_text_is_bounded(void **state)
{
    struct err err;
    char *text = NULL;
    size_t len = 0;

    (void)state;
    expect(OK("", "hello"), OK("", "hello!"));
    assert_int_equal(download_text(server.url, 5, &text, &len, &err), 0);
    assert_int_equal(len, 5);
    assert_memory_equal(text, "hello", 5);
    free(text);
    assert_int_equal(download_text(server.url, 5, &text, &len, &err), -EFBIG);
    assert_int_equal(pthread_join(server.thread, NULL), 0);
    server.nr = 0;
}

static void addresses_are_known_by_their_head(void **state)
{
    (void)state;
    assert_true(download_is_url("http://x/"));
    assert_true(download_is_url("HTTPS://x/"));
    assert_false(download_is_url("file:///x"));
    assert_false(download_is_url("http:/x"));
    assert_false(download_is_url("ftp://x/"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_is_kept_while_its_version_lasts,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_cut_short_goes_on, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(another_version_begins_anew, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_sum_decides, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_not_there_leaves_nothing,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_redirection_leaves_the_web_to_nowhere,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_text_is_bounded, set_up, tear_down),
        cmocka_unit_test(addresses_are_known_by_their_head),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
