/* What is printed: tables and JSON (out.c), progress (progress.c), manual
 * pages (man.c). */
#include "cli/out.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/man.h"
#include "cli/progress.h"
#include "tests/unit/cli/capture.h"
#include "tests/unit/test.h"

static const struct column columns[] = {
    {"NAME", "name", COLUMN_TEXT},
    {"SIZE", "disk.size", COLUMN_SIZE},
    {"N", "n", COLUMN_NUMBER},
    {"ON", "on", COLUMN_FLAG},
};

static json_t *rows(void)
{
    return json_pack("[{s:s, s:{s:I}, s:i, s:b}, {s:s, s:n}]", "name", "web",
                     "disk", "size", (json_int_t)1536 << 20, "n", 12, "on", 1,
                     "name", "a\x1b[2Jb", "disk");
}

static char *list(enum format format)
{
    const struct args a = {.format = format};

    capture_begin(1);
    out_list(&a, rows(), columns, ARRAY_LEN(columns));
    return capture_end();
}

static void a_table_has_columns_and_no_control_characters(void **state)
{
    char *text = list(FORMAT_TABLE);

    (void)state;
    assert_string_equal(text, "NAME    SIZE   N  ON\n"
                              "web     1.5G  12  yes\n"
                              "a?[2Jb            \n");
    free(text);
}

static void json_is_what_the_table_is_made_of(void **state)
{
    char *text = list(FORMAT_JSON), *lines = list(FORMAT_JSONL);
    char *names = list(FORMAT_NAME), *second;
    json_t *all = json_loads(text, 0, NULL), *want = rows();

    (void)state;
    assert_true(json_equal(all, want));
    /* Two lines, an object in each. */
    second = strchr(lines, '\n') + 1;
    assert_int_equal(second[0], '{');
    assert_ptr_equal(strchr(second, '\n') + 1, lines + strlen(lines));
    assert_non_null(strstr(lines, "\"size\":1610612736"));
    assert_string_equal(names, "web\na?[2Jb\n");
    json_decref(all);
    json_decref(want);
    free(text);
    free(lines);
    free(names);
}

static void an_object_has_a_line_for_each_value(void **state)
{
    const struct args a = {.format = FORMAT_TABLE};
    char *text;

    (void)state;
    capture_begin(1);
    out_object(&a, json_pack("{s:s, s:i}", "name", "web", "n", 0), columns,
               ARRAY_LEN(columns));
    text = capture_end();
    assert_string_equal(text, "NAME           web\nN              0\n");
    free(text);
}

static void sizes_are_short(void **state)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {{0, "0"},
                 {1023, "1023"},
                 {1024, "1K"},
                 {1536, "1.5K"},
                 {(uint64_t)1 << 20, "1M"},
                 {(uint64_t)200 << 20, "200M"},
                 {((uint64_t)1 << 30) - 1, "1G"},
                 {(uint64_t)20 << 30, "20G"},
                 {(uint64_t)3 << 40, "3T"},
                 {UINT64_MAX, "15E"}};
    char buf[OUT_SIZE];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_string_equal(out_size(cases[i].bytes, buf), cases[i].text);
}

static void times_are_utc(void **state)
{
    char buf[OUT_TIME];

    (void)state;
    assert_string_equal(out_time(0, buf), "1970-01-01T00:00:00Z");
    assert_string_equal(out_time(1700000000, buf), "2023-11-14T22:13:20Z");
}

static void done_is_a_sentence_a_name_or_json(void **state)
{
    static const struct {
        struct args a;
        const char *text;
    } cases[] = {{{.format = FORMAT_TABLE}, "made 'web'\n"},
                 {{.quiet = true}, "web\n"},
                 {{.format = FORMAT_NAME}, "web\n"},
                 {{.format = FORMAT_JSON}, "{\"name\":\"web\"}\n"}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *text;

        capture_begin(1);
        out_done(&cases[i].a, "web", "made '%s'", "web");
        text = capture_end();
        assert_string_equal(text, cases[i].text);
        free(text);
    }
}

static void text_that_is_no_utf_8_becomes_some(void **state)
{
    json_t *v = out_json_text("a\xff\x62");

    (void)state;
    assert_string_equal(json_string_value(v), "a?b");
    json_decref(v);
}

/* --- Progress ---------------------------------------------------------------
 */

static char *run_progress(const struct args *a, bool patient)
{
    struct progress p;

    capture_begin(2);
    progress_begin(&p, a, "import");
    if (patient)
        p.begun_ns -= NS_PER_SEC;
    for (uint64_t i = 0; i <= 95; i++)
        assert_true(progress_step(&p, i, 100));
    progress_end(&p);
    return capture_end();
}

static void progress_is_a_line_for_every_tenth(void **state)
{
    const struct args a = {.progress = true};
    char *text = run_progress(&a, true), *at = text;
    int lines = 0;

    (void)state;
    for (; (at = strchr(at, '\n')); at++)
        lines++;
    assert_int_equal(lines, 11);
    assert_memory_equal(text, "import: 0%\nimport: 10%\n", 23);
    assert_non_null(strstr(text, "import: 100%\n"));
    free(text);
}

static void progress_is_not_shown_where_it_is_not_wanted(void **state)
{
    static const struct args off[] = {
        {.progress = false},
        {.progress = true, .quiet = true},
        {.progress = true, .format = FORMAT_JSON}};
    const struct args on = {.progress = true};
    char *text;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(off); i++) {
        text = run_progress(&off[i], true);
        assert_string_equal(text, "");
        free(text);
    }
    text = run_progress(&on, false); /* done at once */
    assert_string_equal(text, "");
    free(text);
}

/* --- Manual pages -----------------------------------------------------------
 */

static void a_page_names_every_option(void **state)
{
    (void)state;
    for (size_t i = 0; i < NR_VERBS; i++) {
        const struct verb *v = &verbs[i];
        char text[16384] = "", want[64];
        FILE *f = fmemopen(text, sizeof(text), "w");

        assert_non_null(f);
        man_verb(f, v);
        assert_int_equal(fclose(f), 0);
        assert_non_null(strstr(text, v->summary));
        for (int n = 0; n < v->nr_options; n++) {
            (void)snprintf(want, sizeof(want), "Fl -%s", v->options[n].name);
            assert_non_null(strstr(text, want));
        }
        assert_true(!(v->globals & 1u << GLOBAL_JSON) ||
                    strstr(text, "Fl -json"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_has_columns_and_no_control_characters),
        cmocka_unit_test(json_is_what_the_table_is_made_of),
        cmocka_unit_test(an_object_has_a_line_for_each_value),
        cmocka_unit_test(sizes_are_short),
        cmocka_unit_test(times_are_utc),
        cmocka_unit_test(done_is_a_sentence_a_name_or_json),
        cmocka_unit_test(text_that_is_no_utf_8_becomes_some),
        cmocka_unit_test(progress_is_a_line_for_every_tenth),
        cmocka_unit_test(progress_is_not_shown_where_it_is_not_wanted),
        cmocka_unit_test(a_page_names_every_option),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
