/* The table of verbs (verb.c), and what is printed from it (help.c). */
#include "cli/verb.h"

#include <stdlib.h>
#include <string.h>

#include "tests/unit/cli/capture.h"
#include "tests/unit/test.h"

/* What f prints, cut at the size of buf. */
static void print_verb(char *buf, size_t size, const struct verb *v)
{
    FILE *f = fmemopen(buf, size, "w");

    assert_non_null(f);
    if (v)
        help_verb(f, v);
    else
        help_verbs(f);
    assert_int_equal(fclose(f), 0);
}

static void every_verb_is_found_and_listed(void **state)
{
    char text[4096] = "";

    (void)state;
    print_verb(text, sizeof(text), NULL);
    for (size_t i = 0; i < NR_VERBS; i++) {
        assert_ptr_equal(verb_find(verbs[i].name), &verbs[i]);
        assert_non_null(strstr(text, verbs[i].name));
        assert_non_null(strstr(text, verbs[i].summary));
    }
    assert_null(verb_find("fly"));
    assert_null(verb_find(""));
    assert_null(verb_find("ru"));
}

static void help_names_every_option(void **state)
{
    (void)state;
    for (size_t i = 0; i < NR_VERBS; i++) {
        char text[8192] = "";

        print_verb(text, sizeof(text), &verbs[i]);
        assert_non_null(strstr(text, verbs[i].name));
        for (int n = 0; n < verbs[i].nr_options; n++) {
            const struct vmconf_info *o = &verbs[i].options[n];
            char want[64];

            (void)snprintf(want, sizeof(want), "--%s%s%s ", o->name,
                           o->arg ? " " : "", o->arg ? o->arg : "");
            assert_non_null(strstr(text, want));
            assert_non_null(strstr(text, o->help));
        }
    }
}

/* A letter or a name twice would hide one of the two. */
static void no_option_hides_another(void **state)
{
    (void)state;
    for (size_t i = 0; i < NR_VERBS; i++)
        for (int n = 0; n < verbs[i].nr_options; n++)
            for (int m = 0; m < n; m++) {
                const struct vmconf_info *a = &verbs[i].options[n];
                const struct vmconf_info *b = &verbs[i].options[m];

                assert_string_not_equal(a->name, b->name);
                assert_true(!a->letter || a->letter != b->letter);
                assert_true(a->letter != 'h');
            }
}

/* A verb's own option comes before one that all share. */
static void shared_options_give_way(void **state)
{
    (void)state;
    for (size_t i = 0; i < NR_VERBS; i++)
        for (int g = 0; g < VERB_NR_GLOBALS; g++) {
            struct vmconf_info o = verb_global(&verbs[i], g);

            if (!verb_has_global(&verbs[i], g))
                continue;
            for (int n = 0; n < verbs[i].nr_options; n++) {
                const struct vmconf_info *own = &verbs[i].options[n];

                assert_string_not_equal(own->name, o.name);
                assert_true(!o.letter || own->letter != o.letter);
            }
        }
}

static void aliases_find_their_verb_and_hide_none(void **state)
{
    (void)state;
    assert_ptr_equal(verb_find("ls"), verb_find("list"));
    assert_ptr_equal(verb_find("ps"), verb_find("list"));
    assert_ptr_equal(verb_find("rm"), verb_find("delete"));
    assert_null(verb_find("ls ps"));
    for (size_t i = 0; i < NR_VERBS; i++) {
        char words[64], *save = NULL;

        (void)snprintf(words, sizeof(words), "%s", verbs[i].alias);
        for (char *w = strtok_r(words, " ", &save); w;
             w = strtok_r(NULL, " ", &save))
            assert_ptr_equal(verb_find(w), &verbs[i]);
    }
}

static void an_error_is_one_line_without_control_characters(void **state)
{
    char *said;

    (void)state;
    capture_begin(2);
    say_error("a\x1b[2Jb\nc");
    said = capture_end();
    assert_string_equal(said, "husk: a?[2Jb?c\n");
    free(said);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_verb_is_found_and_listed),
        cmocka_unit_test(help_names_every_option),
        cmocka_unit_test(no_option_hides_another),
        cmocka_unit_test(shared_options_give_way),
        cmocka_unit_test(aliases_find_their_verb_and_hide_none),
        cmocka_unit_test(an_error_is_one_line_without_control_characters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
