#include "cli/options.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/test.h"

static const struct vmconf_info table[] = {
    {"kernel", 'k', "FILE", "a value"},
    {"cpu", 0, "MODEL", "a value, no letter"},
    {"cpus", 'c', "N", "a name that begins like another"},
    {"quick", 'q', NULL, "a switch"},
    {"no-reboot", 0, NULL, "a switch, no letter"},
};
enum { KERNEL, CPU, CPUS, QUICK, NO_REBOOT };

static struct options walk(const char *const *words)
{
    return (struct options){
        .verb = "run", .table = table, .nr = ARRAY_LEN(table), .argv = words};
}

static void expect(struct options *o, int row, const char *value)
{
    struct err err = {0};
    const char *got = "untouched";

    assert_int_equal(options_next(o, &got, &err), row);
    if (value)
        assert_string_equal(got, value);
    else
        assert_null(got);
}

#define WORDS(...)                                                             \
    (const char *const[])                                                      \
    {                                                                          \
        __VA_ARGS__, NULL                                                      \
    }

static void values_follow_or_are_in_the_word(void **state)
{
    struct options o =
        walk(WORDS("--kernel", "a", "--kernel=b", "-k", "c", "-kd",
                   "--cpu=", "--cpus", "-1", "-k", "--cpu"));

    (void)state;
    expect(&o, KERNEL, "a");
    expect(&o, KERNEL, "b");
    expect(&o, KERNEL, "c");
    expect(&o, KERNEL, "d");
    expect(&o, CPU, "");
    expect(&o, CPUS, "-1");
    expect(&o, KERNEL, "--cpu"); /* whatever it looks like */
    expect(&o, OPTIONS_END, NULL);
    expect(&o, OPTIONS_END, NULL);
}

static void letters_share_a_word(void **state)
{
    struct options o =
        walk(WORDS("-qqkx", "-qh", "-qc", "4", "--no-reboot", "--quick"));

    (void)state;
    expect(&o, QUICK, NULL);
    expect(&o, QUICK, NULL);
    expect(&o, KERNEL, "x");
    expect(&o, QUICK, NULL);
    expect(&o, OPTIONS_HELP, NULL);
    expect(&o, QUICK, NULL);
    expect(&o, CPUS, "4");
    expect(&o, NO_REBOOT, NULL);
    expect(&o, QUICK, NULL);
    expect(&o, OPTIONS_END, NULL);
}

static void other_words_are_told_apart(void **state)
{
    struct options o =
        walk(WORDS("a", "-", "", "--help", "--", "--kernel", "--", "-h"));

    (void)state;
    expect(&o, OPTIONS_WORD, "a");
    expect(&o, OPTIONS_WORD, "-");
    expect(&o, OPTIONS_WORD, "");
    expect(&o, OPTIONS_HELP, NULL);
    expect(&o, OPTIONS_WORD, "--kernel");
    expect(&o, OPTIONS_WORD, "--");
    expect(&o, OPTIONS_WORD, "-h");
    expect(&o, OPTIONS_END, NULL);
}

static void what_is_wrong_is_said_in_a_sentence(void **state)
{
    static const struct {
        const char *word;
        const char *text;
    } bad[] = {
        {"--frob", "there is no option '--frob'"},
        {"--kern", "there is no option '--kern'"},
        {"--kernels", "there is no option '--kernels'"},
        {"--=x", "there is no option '--=x'"},
        {"-Z", "there is no option '-Z'"},
        {"-Zk", "there is no option '-Z'"},
        {"--quick=1", "option '--quick' takes no value"},
        {"--no-reboot=", "option '--no-reboot' takes no value"},
        {"--kernel", "option '--kernel' needs a value"},
        {"-k", "option '-k' needs a value"},
        {"--help=x", "there is no option '--help=x'"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct options o = walk(WORDS(bad[i].word));
        struct err err = {0};
        const char *value = NULL;

        assert_int_equal(options_next(&o, &value, &err), -EINVAL);
        assert_non_null(strstr(err.text, bad[i].text));
        assert_true(strncmp(err.text, "run: ", 5) == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_follow_or_are_in_the_word),
        cmocka_unit_test(letters_share_a_word),
        cmocka_unit_test(other_words_are_told_apart),
        cmocka_unit_test(what_is_wrong_is_said_in_a_sentence),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
