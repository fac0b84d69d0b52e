/* grub.c, grub_bls.c, grub_cmd.c, grub_env.c, grub_load.c, grub_menu.c,
 * grub_path.c, grub_test.c, grub_words.c and other grub_*.c, extlinux.c,
 * grubenv.c, vars.c, arena.c: whole configurations, as distributions have them
 * and as people change them, and what must be booted or why not. They are seeds
 * of the fuzzer, too. */
#include <dirent.h>

#include "base/fdio.h"
#include "bootdisk/extlinux.h"
#include "bootdisk/grub.h"
#include "bootdisk/grub_parse.h"
#include "tests/unit/bootdisk/boot_case.h"
#include "tests/unit/fail_alloc.h"
#include "tests/unit/test.h"

static const char folder[] = "tests/fuzz/corpus/fuzz_bootconf";

static int choose(struct boot_case *c, struct arena *arena,
                  struct bootentry *choice, struct err *err)
{
    const struct bootfiles files = {&case_ops, c, c->kind};
    size_t len = strlen(c->config);

    if (strcmp(c->config + len - 8, "grub.cfg") == 0)
        return grub_choose(&files, c->config_part, c->config, arena, choice,
                           err);
    return extlinux_choose(&files, c->config_part, c->config, arena, choice,
                           err);
}

/* The same form as what a case expects. */
static void describe(int rc, const struct bootentry *ch, const struct err *err,
                     char *out, size_t size)
{
    size_t n;

    if (rc < 0) {
        (void)snprintf(out, size, "why %s\n", err->text);
        return;
    }
    n = (size_t)snprintf(out, size, "kernel %u %s\n", ch->kernel_part,
                         ch->kernel);
    for (unsigned i = 0; i < ch->nr_initrds; i++)
        n += (size_t)snprintf(out + n, size - n, "initrd %u %s\n",
                              ch->initrd[i].part, ch->initrd[i].path);
    (void)snprintf(out + n, size - n, "cmdline %s\ntitle %s\n", ch->cmdline,
                   ch->title);
}

/* A reason is given by a part of it. */
static bool is_expected(const char *expect, const char *got)
{
    if (strncmp(expect, "why ", 4) == 0 && strncmp(got, "why ", 4) == 0) {
        char *part = strndup(expect + 4, strcspn(expect + 4, "\n"));
        bool is = strstr(got, part) != NULL;

        free(part);
        return is;
    }
    return strcmp(expect, got) == 0;
}

static void check_case(const char *name)
{
    char path[300], got[4096];
    struct bootentry choice;
    struct boot_case c;
    struct arena arena;
    struct err err = {0};
    uint8_t *text;
    size_t len;
    int rc;

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    assert_int_equal(fd_read_file(path, 1 << 20, &text, &len, &err), 0);
    case_parse(&c, (char *)text, len);
    assert_non_null(c.expect);
    arena_init(&arena, (size_t)32 << 20);
    rc = choose(&c, &arena, &choice, &err);
    assert_int_equal(rc, err.code);
    describe(rc, &choice, &err, got, sizeof(got));
    if (!is_expected(c.expect, got))
        fail_msg("%s: expected\n%sgot\n%s", name, c.expect, got);
    arena_fini(&arena);
    case_free(&c);
    free(text);
}

static void each_configuration_boots_what_its_loader_would(void **state)
{
    DIR *d = opendir(folder);
    struct dirent *de;
    unsigned nr = 0;

    (void)state;
    assert_non_null(d);
    while ((de = readdir(d)))
        if (de->d_name[0] != '.') {
            check_case(de->d_name);
            nr++;
        }
    assert_true(nr >= 30);
    (void)closedir(d);
}

/* --- Small scripts ----------------------------------------------------------
 */

static const char tail[] = "\nset timeout=0\n"
                           "menuentry a { linux /k $x }\n";

/* The arguments behind the kernel's name that a script leaves in $x, or why.
 * fail_at: which allocation fails, or 0. */
static const char *run_failing(const char *script, unsigned fail_at)
{
    static char out[512];
    char text[4096];
    struct bootentry choice;
    struct boot_case c;
    struct arena arena;
    struct err err = {0};
    int n, rc;

    n = snprintf(text, sizeof(text),
                 "=== gpt\n=== 1 uuid u1\n=== 1 /k\nk\n=== 1 /d/f\nx\n"
                 "=== 1 /empty\n=== 2 uuid u2\n=== 2 /only2\nx\n"
                 "=== 1 /grub.cfg\n%s%s\n=== config 1 /grub.cfg\n",
                 script, tail);
    case_parse(&c, text, (size_t)n);
    arena_init(&arena, (size_t)32 << 20);
    fail_alloc_at(fail_at);
    rc = choose(&c, &arena, &choice, &err);
    if (rc < 0)
        (void)snprintf(out, sizeof(out), "why %s", err.text);
    else
        (void)snprintf(out, sizeof(out), "%s",
                       choice.cmdline + strlen("BOOT_IMAGE=/k"));
    arena_fini(&arena);
    case_free(&c);
    return out;
}

static const char *run(const char *script)
{
    return run_failing(script, 0);
}

static void words_are_what_a_shell_makes_of_them(void **state)
{
    (void)state;
    assert_string_equal(run("set x=1"), " 1");
    assert_string_equal(run("x=1;x=${x}2"), " 12");
    assert_string_equal(run("set y='a  b'; set x=$y"), " a");
    assert_string_equal(run("set y='a  b'; set x=\"$y\""), " a b");
    assert_string_equal(run("set x=\"\\$y\\\\\\a\""), " $y\\\\\\\\a");
    assert_string_equal(run("set x=a\\ b"), " a b");
    assert_string_equal(run("set x=a#b # c"), " a#b");
    assert_string_equal(run("set x='$y'\"z\"w"), " $yzw");
    assert_string_equal(run("set x=a\\\nb"), " ab");
    assert_string_equal(run("false; set x=$?"), " 1");
    assert_string_equal(run("function f { set x=$1-$2-$#-$@; }\nf a b"),
                        " a-b-2-a");
}

static void conditions_are_what_test_says(void **state)
{
    static const char *const yes[] = {
        "[ a = a ]",
        "[ a != b ]",
        "[ -n a ]",
        "[ -z \"\" ]",
        "[ a ]",
        "[ ! -n \"\" ]",
        "[ 2 -lt 10 ]",
        "[ 10 -ge 10 ]",
        "[ 1 -ne 2 ]",
        "[ a = b -o c = c ]",
        "[ a = a -a c = c ]",
        "[ ( a = b -o a = a ) -a -n x ]",
        "test -f /d/f",
        "[ -d /d ]",
        "[ -e /d ]",
        "[ -s /d/f ]",
        "! [ -s /empty ]",
        "! [ -e /none ]",
        "true",
        "! false",
        "[ -f (hd0,gpt2)/only2 ]",
        "search --set=y --fs-uuid u2; [ \"$y\" = hd0,gpt2 ]",
        "search -n -u u2 -s; [ -f /only2 ]; search -u u1 -s",
        "search --file --set=y /only2; [ $y = hd0,gpt2 ]",
        "search.fs_uuid u2 y hd0; [ $y = hd0,gpt2 ]"};
    char script[256];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        (void)snprintf(script, sizeof(script),
                       "if %s; then set x=yes; else set x=no; fi", yes[i]);
        if (strcmp(run(script), " yes") != 0)
            fail_msg("%s: %s", yes[i], run(script));
    }
    assert_string_equal(run("if false; then true; elif true; then x=2; fi"),
                        " 2");
}

static void what_cannot_be_known_is_not_guessed(void **state)
{
    static const char *const unsure[] = {
        "if loadfont f; then set x=1; fi",
        "if [ -f (hd1)/x ]; then set x=1; fi",
        "search --set=x --fs-uuid nobody",
        "if sleep 1; then set root=hd0,gpt2; fi",
        "if keystatus --shift; then set timeout=9; set default=1; fi",
        "if loadfont f; then function linux { true; }; fi",
        "if play 1; then save_env y; fi",
        "regexp a b",
        "set x=*",
        "true | false",
        "true && false",
        "while true; do true; done",
        "configfile /d/f",
        "[ a -nt b ]",
        "[ a",
        "set x=$\"text\"",
        "linux /k",
        "search --fs-uuid u1 u2",
        "function f { f; }\nf",
        "menuentry b --weird { true; }",
        "menuentry { true; }",
        "}",
        "fi",
        "if true; then",
        "set x='",
        "set x=${y",
        "load_env --weird"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(unsure); i++)
        if (strncmp(run(unsure[i]), "why ", 4) != 0)
            fail_msg("%s: %s", unsure[i], run(unsure[i]));
}

static void what_only_changes_the_screen_does_not_matter(void **state)
{
    (void)state;
    assert_string_equal(run("if loadfont f; then set gfxmode=auto; fi\nx=1"),
                        " 1");
    assert_string_equal(run("if [ -f (hd1)/x -a a = b ]; then x=1; else x=2; "
                            "fi"),
                        " 2");
}

static void a_script_that_never_ends_is_left(void **state)
{
    char script[4000] = "function f0 { true; }\n", *p = script;
    int n;

    (void)state;
    p += strlen(p);
    for (n = 1; n < 20; n++)
        p += sprintf(p, "function f%d { f%d; f%d; f%d }\n", n, n - 1, n - 1,
                     n - 1);
    (void)sprintf(p, "f%d", n - 1);
    assert_non_null(strstr(run(script), "does not end"));
}

static void a_script_that_grows_is_left(void **state)
{
    char script[4000] = "x=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n", *p = script;

    (void)state;
    p += strlen(p);
    for (int n = 0; n < 40; n++)
        p += sprintf(p, "x=\"$x$x\"\n");
    assert_non_null(strstr(run(script), "too big"));
}

/* Each allocation of a whole interpretation fails once. */
static void when_memory_runs_out_nothing_is_left(void **state)
{
    (void)state;
    for (unsigned n = 1; n < 200; n++) {
        const char *got = run_failing(
            "x=1; if [ -f /d/f ]; then x=2; fi; function f { x=3; }; f", n);
        bool failed = fail_alloc_happened();

        fail_alloc_at(0);
        assert_string_equal(strncmp(got, "why ", 4) == 0 ? " 3" : got, " 3");
        if (!failed)
            return;
    }
    fail();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_configuration_boots_what_its_loader_would),
        cmocka_unit_test(words_are_what_a_shell_makes_of_them),
        cmocka_unit_test(conditions_are_what_test_says),
        cmocka_unit_test(what_cannot_be_known_is_not_guessed),
        cmocka_unit_test(what_only_changes_the_screen_does_not_matter),
        cmocka_unit_test(a_script_that_never_ends_is_left),
        cmocka_unit_test(a_script_that_grows_is_left),
        cmocka_unit_test(when_memory_runs_out_nothing_is_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
