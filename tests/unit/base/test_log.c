#include "base/log.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/test.h"

/* What is written to standard error between begin and end. */
struct capture {
    int saved, pipe[2];
    char text[8192];
};

static void begin(struct capture *c)
{
    assert_int_equal(pipe2(c->pipe, O_CLOEXEC | O_NONBLOCK), 0);
    c->saved = dup(STDERR_FILENO);
    assert_true(c->saved >= 0);
    assert_true(dup2(c->pipe[1], STDERR_FILENO) >= 0);
}

static void end(struct capture *c)
{
    ssize_t n;

    assert_true(dup2(c->saved, STDERR_FILENO) >= 0);
    n = read(c->pipe[0], c->text, sizeof(c->text) - 1);
    c->text[n > 0 ? n : 0] = '\0';
    (void)close(c->saved);
    (void)close(c->pipe[0]);
    (void)close(c->pipe[1]);
}

static unsigned count_lines(const char *text)
{
    unsigned nr = 0;

    for (; *text; text++)
        nr += *text == '\n';
    return nr;
}

static void a_line_names_the_instance(void **state)
{
    struct capture c;

    (void)state;
    log_set_level(LOG_WARN);
    begin(&c);
    log_err("uart0", "cannot write: %d", 5);
    end(&c);
    assert_string_equal(c.text, "husk: uart0: cannot write: 5\n");
}

static void less_important_lines_are_left_out(void **state)
{
    struct capture c;

    (void)state;
    begin(&c);
    log_set_level(LOG_WARN);
    log_info("a", "x");
    log_debug("a", "x");
    log_warn("a", "warn");
    log_set_level(LOG_DEBUG);
    log_debug("a", "debug");
    log_set_level(LOG_WARN);
    end(&c);
    assert_string_equal(c.text, "husk: a: warn\nhusk: a: debug\n");
}

static void the_environment_sets_the_level(void **state)
{
    struct capture c;

    (void)state;
    begin(&c);
    assert_int_equal(setenv("HUSK_LOG", "info", 1), 0);
    log_init_from_env();
    log_info("a", "1");
    log_debug("a", "2");
    assert_int_equal(setenv("HUSK_LOG", "nonsense", 1), 0);
    log_init_from_env();
    log_info("a", "3");
    assert_int_equal(unsetenv("HUSK_LOG"), 0);
    log_init_from_env();
    log_warn("a", "4");
    end(&c);
    assert_string_equal(c.text, "husk: a: 1\nhusk: a: 4\n");
}

static void bytes_that_steer_a_terminal_are_replaced(void **state)
{
    struct capture c;

    (void)state;
    begin(&c);
    log_err("a", "%s", "\x1b[2J\r\n\x7f");
    end(&c);
    assert_string_equal(c.text, "husk: a: ?[2J???\n");
}

static void a_long_line_is_cut_and_still_ends(void **state)
{
    struct capture c;
    char text[2000];

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    begin(&c);
    log_err("a", "%s", text);
    log_err(text, "b");
    end(&c);
    assert_int_equal(count_lines(c.text), 2);
    assert_true(strlen(c.text) < 1100);
}

static void guest_lines_are_off_by_default(void **state)
{
    struct capture c;

    (void)state;
    log_init_from_env();
    begin(&c);
    log_guest("a", "bad");
    end(&c);
    assert_string_equal(c.text, "");
}

static void a_flood_of_guest_lines_is_cut(void **state)
{
    struct capture c;

    (void)state;
    log_set_guest(true);
    begin(&c);
    for (int i = 0; i < 10000; i++)
        log_guest("a", "bad");
    end(&c);
    log_set_guest(false);
    /* However slow: two seconds' worth and the line about the rest, unless
     * this takes many seconds. */
    assert_true(count_lines(c.text) >= 10);
    assert_true(count_lines(c.text) < 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_names_the_instance),
        cmocka_unit_test(less_important_lines_are_left_out),
        cmocka_unit_test(the_environment_sets_the_level),
        cmocka_unit_test(bytes_that_steer_a_terminal_are_replaced),
        cmocka_unit_test(a_long_line_is_cut_and_still_ends),
        cmocka_unit_test(guest_lines_are_off_by_default),
        cmocka_unit_test(a_flood_of_guest_lines_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
