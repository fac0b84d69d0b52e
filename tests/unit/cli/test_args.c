#include "cli/args.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/status.h"
#include "tests/unit/cli/capture.h"
#include "tests/unit/test.h"

static bool parse(struct args *a, int *status, const char *const *words)
{
    const struct verb *v = verb_find(words[0]);
    char *argv[16] = {NULL};
    bool go_on;
    char *said;

    assert_non_null(v);
    for (int i = 0; words[i]; i++)
        argv[i] = (char *)(uintptr_t)words[i];
    /* What is refused has a sentence, and help goes to standard output. */
    capture_begin(2);
    go_on = args_parse(a, v, argv, status);
    said = capture_end();
    if (!go_on && *status != STATUS_OK)
        assert_memory_equal(said, "husk: ", 6);
    free(said);
    return go_on;
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void words_and_options_mix(void **state)
{
    struct args a;
    int status = -1;

    (void)state;
    assert_true(parse(&a, &status,
                      WORDS("create", "-m", "1G", "web", "--home", "/h", "-d",
                            "1G", "-d", "2G", "-q")));
    assert_int_equal(a.nr_words, 1);
    assert_string_equal(a.words[0], "web");
    assert_string_equal(args_value(&a, "memory"), "1G");
    assert_string_equal(args_value(&a, "disk"), "2G"); /* the last */
    assert_int_equal(a.nr_options, 3);
    assert_null(args_value(&a, "cpus"));
    assert_string_equal(a.home.dir, "/h");
    assert_true(a.quiet && a.progress && !a.yes);
    assert_int_equal(a.format, FORMAT_TABLE);
}

static void forms_of_output_are_chosen(void **state)
{
    struct args a;
    int status = -1;

    (void)state;
    assert_true(parse(&a, &status, WORDS("list", "--json")));
    assert_int_equal(a.format, FORMAT_JSON);
    assert_true(args_json(&a));
    assert_true(parse(&a, &status, WORDS("list", "-o", "jsonl")));
    assert_int_equal(a.format, FORMAT_JSONL);
    assert_true(parse(&a, &status, WORDS("list", "--output=name")));
    assert_int_equal(a.format, FORMAT_NAME);
    assert_false(args_json(&a));
    assert_false(parse(&a, &status, WORDS("list", "-o", "xml")));
    assert_int_equal(status, STATUS_USAGE);
}

static void a_verbs_own_letter_comes_first(void **state)
{
    struct args a;
    int status = -1;

    (void)state;
    assert_true(parse(&a, &status, WORDS("export", "web", "-o", "out.img")));
    assert_string_equal(args_value(&a, "file"), "out.img");
    assert_int_equal(a.format, FORMAT_TABLE);
}

static void wrong_numbers_of_words_are_refused(void **state)
{
    struct args a;
    int status = -1;

    (void)state;
    assert_false(parse(&a, &status, WORDS("create")));
    assert_int_equal(status, STATUS_USAGE);
    assert_false(parse(&a, &status, WORDS("create", "a", "b")));
    assert_int_equal(status, STATUS_USAGE);
    assert_false(parse(&a, &status, WORDS("version", "--json")));
    assert_int_equal(status, STATUS_USAGE);
    assert_false(parse(&a, &status, WORDS("create", "a", "--help")));
    assert_int_equal(status, STATUS_OK);
}

static void failures_have_their_statuses(void **state)
{
    static const struct {
        int rc;
        enum status status;
    } cases[] = {{-EINVAL, STATUS_USAGE},
                 {-ENOENT, STATUS_NOT_FOUND},
                 {-EEXIST, STATUS_STATE},
                 {-EBUSY, STATUS_BUSY},
                 {-ETIMEDOUT, STATUS_TIMEOUT},
                 {-EACCES, STATUS_PERMISSION},
                 {-EUCLEAN, STATUS_DAMAGED},
                 {-ENOSPC, STATUS_NO_SPACE},
                 {-EIO, STATUS_FAILED},
                 {-ENOMEM, STATUS_FAILED},
                 {0, STATUS_OK}};
    struct err err = {.text = "it \"failed\" \xff"};
    struct args a = {.format = FORMAT_JSON};
    char *said;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(status_of(cases[i].rc), cases[i].status);
    for (int i = 0; i < STATUS_NR; i++) {
        assert_non_null(status_info[i].code);
        assert_non_null(status_info[i].when);
    }
    capture_begin(2);
    assert_int_equal(args_fail(&a, -EBUSY, &err), STATUS_BUSY);
    said = capture_end();
    assert_string_equal(said, "{\"error\":{\"code\":\"locked\",\"status\":5,"
                              "\"message\":\"it \\\"failed\\\" ?\"}}\n");
    free(said);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_and_options_mix),
        cmocka_unit_test(forms_of_output_are_chosen),
        cmocka_unit_test(a_verbs_own_letter_comes_first),
        cmocka_unit_test(wrong_numbers_of_words_are_refused),
        cmocka_unit_test(failures_have_their_statuses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
