#include "bootdisk/bls.h"

#include <string.h>

#include "tests/unit/test.h"

static void assert_older(const char *a, const char *b)
{
    if (bls_compare(a, b) >= 0 || bls_compare(b, a) <= 0)
        fail_msg("'%s' is not older than '%s'", a, b);
}

static void file_names_go_by_version(void **state)
{
    (void)state;
    assert_older("id-6.5.6-300.fc39.x86_64", "id-6.10.3-200.fc39.x86_64");
    assert_older("id-6.5.6-200.fc39.x86_64", "id-6.5.6-300.fc39.x86_64");
    assert_older("id-0-rescue", "id-6.5.6-300.fc39.x86_64");
    assert_older("id-6.5.0~rc1-1", "id-6.5.0-1");
    assert_older("id-6.5.0-1", "id-6.5.0+git1-1");
    assert_older("id-6.5-1", "id-6.5.1-1");
    assert_older("id-6.a-1", "id-6.1-1");
    assert_older("a-1-1", "b-1-1");
    assert_older("a", "b");
    assert_int_equal(bls_compare("id-6.05-1", "id-6.5-1"), 0);
    assert_int_equal(bls_compare("", ""), 0);
}

static void lines_are_keys_and_values(void **state)
{
    static const char text[] = "# comment\n  title\tMy Linux \r\n"
                               "linux /vmlinuz\ninitrd /a\ninitrd /b /c\n"
                               "options ro quiet\n\n";
    struct arena a;
    struct bls b;

    (void)state;
    arena_init(&a, 4096);
    assert_int_equal(bls_parse("x.conf", text, strlen(text), &a, &b), 0);
    assert_string_equal(b.id, "x");
    assert_string_equal(b.title, "My Linux");
    assert_string_equal(b.linux, "/vmlinuz");
    assert_string_equal(b.initrds, "/a /b /c");
    assert_string_equal(b.options, "ro quiet");
    assert_false(b.users || b.other);
    assert_int_equal(bls_parse("x", "efi /e", 6, &a, &b), 0);
    assert_true(b.other && !b.linux);
    assert_string_equal(b.title, "x");
    assert_int_equal(bls_parse("x", "linux a\n\nlinux b", 17, &a, &b), 0);
    assert_true(b.other);
    assert_string_equal(b.title, "b");
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_names_go_by_version),
        cmocka_unit_test(lines_are_keys_and_values),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
