#include "base/err.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/test.h"

static void err_set_returns_the_code_and_keeps_the_sentence(void **state)
{
    struct err err = {.code = 0};

    (void)state;
    assert_int_equal(err_set(&err, -EINVAL, "open '%s': %d", "x", 7), -EINVAL);
    assert_int_equal(err.code, -EINVAL);
    assert_string_equal(err.text, "open 'x': 7");
}

static void err_sys_appends_the_reason(void **state)
{
    struct err err;

    (void)state;
    errno = ENOENT;
    assert_int_equal(err_sys(&err, "open '%s'", "x"), -ENOENT);
    assert_int_equal(err.code, -ENOENT);
    assert_string_equal(err.text, "open 'x': No such file or directory");
}

static void err_sys_copes_with_an_unknown_errno(void **state)
{
    struct err err;

    (void)state;
    errno = 4095;
    assert_int_equal(err_sys(&err, "try"), -4095);
    assert_string_equal(err.text, "try: unknown error");
}

static void a_text_that_is_too_long_is_cut(void **state)
{
    char name[1000];
    struct err err;

    (void)state;
    memset(name, 'a', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    (void)err_set(&err, -E2BIG, "%s", name);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    errno = EIO;
    (void)err_sys(&err, "%s", name);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(err_set_returns_the_code_and_keeps_the_sentence),
        cmocka_unit_test(err_sys_appends_the_reason),
        cmocka_unit_test(err_sys_copes_with_an_unknown_errno),
        cmocka_unit_test(a_text_that_is_too_long_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
