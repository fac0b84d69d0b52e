#include "config/settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/test.h"

static struct settings *parse(const char *text)
{
    struct settings *s = NULL;
    struct err err;

    assert_int_equal(settings_parse(text, strlen(text), &s, &err), 0);
    assert_non_null(s);
    return s;
}

static int refuses(const char *text, size_t len)
{
    struct settings *s = NULL;
    struct err err = {0};
    int rc = settings_parse(text, len, &s, &err);

    assert_null(s);
    assert_int_equal(err.code, rc);
    assert_true(strlen(err.text) > 0);
    return rc;
}

static int set(struct settings *s, const char *key, const char *value)
{
    struct err err = {0};
    int rc = settings_set(s, key, value, &err);

    assert_int_equal(rc, err.code);
    return rc;
}

static void expect(const struct settings *s, const char *key, const char *want)
{
    char *got = NULL;
    struct err err;

    assert_int_equal(settings_get(s, key, &got, &err), 0);
    if (want)
        assert_string_equal(got, want);
    else
        assert_null(got);
    free(got);
}

static void what_is_set_is_got(void **state)
{
    static const struct {
        const char *key, *value, *text;
    } cases[] = {
        {"cpus", "4", "4"},
        {"memory", "2G", "2147483648"},
        {"memory", "64", "67108864"},
        {"cpu", "husk-v2", "husk-v2"},
        {"engine", "jit", "jit"},
        {"boot.kernel", "/boot/vmlinuz", "/boot/vmlinuz"},
        {"boot.append", "console=ttyS0 root=/dev/vda",
         "console=ttyS0 root=/dev/vda"},
        {"protected", "yes", "true"},
        {"protected", "off", "false"},
        {"mac", "52:54:00:aB:cd:ef", "52:54:00:aB:cd:ef"},
        {"labels.team", "web & more", "web & more"},
        {"description", "\xc3\xa4", "\xc3\xa4"},
        {"disks", "a.img,format=raw;b.qcow2,ro", "a.img,format=raw;b.qcow2,ro"},
        {"disk.bus", "ide", "ide"},
        {"iso", "none", "none"},
        {"floppy", "/a.img", "/a.img"},
        {"serial", "none", "none"},
    };
    struct settings *s = settings_new();

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(set(s, cases[i].key, cases[i].value), 0);
        expect(s, cases[i].key, cases[i].text);
    }
    settings_free(s);
}

static void settings_survive_their_text(void **state)
{
    struct settings *s = settings_new(), *again;
    char *text;

    (void)state;
    assert_int_equal(set(s, "cpus", "7"), 0);
    assert_int_equal(set(s, "boot.kernel", "/k"), 0);
    assert_int_equal(set(s, "labels.a", "b"), 0);
    text = settings_print(s);
    assert_non_null(text);
    again = parse(text);
    assert_true(json_equal(settings_json(s), settings_json(again)));
    expect(again, "cpus", "7");
    expect(again, "boot.kernel", "/k");
    expect(again, "labels.a", "b");
    free(text);
    settings_free(s);
    settings_free(again);
}

static void unknown_keys_stay(void **state)
{
    struct settings *s = parse("{\"husk\":9,\"gpu\":{\"model\":[1,2.5,null]},"
                               "\"boot\":{\"menu\":true},\"cpus\":2}");
    char *text;

    (void)state;
    assert_int_equal(set(s, "cpus", "3"), 0);
    assert_int_equal(set(s, "boot.kernel", "/k"), 0);
    assert_int_equal(set(s, "boot.kernel", ""), 0);
    text = settings_print(s);
    assert_non_null(strstr(text, "\"gpu\":{\"model\":[1,2.5,null]}"));
    assert_non_null(strstr(text, "\"menu\":true"));
    assert_non_null(strstr(text, "\"husk\":9"));
    free(text);
    settings_free(s);
}

static void what_is_not_set_has_its_default(void **state)
{
    struct settings *s = settings_new();

    (void)state;
    expect(s, "cpus", "1");
    expect(s, "memory", "536870912");
    expect(s, "cpu", "husk-v3");
    expect(s, "boot.kernel", NULL);
    expect(s, "labels.none", NULL);
    assert_int_equal(settings_number(s, "memory"), 512 << 20);
    assert_string_equal(settings_text(s, "engine"), "auto");
    assert_null(settings_text(s, "boot.kernel"));
    assert_false(settings_flag(s, "protected"));
    assert_int_equal(set(s, "cpus", "8"), 0);
    assert_int_equal(settings_number(s, "cpus"), 8);
    assert_int_equal(set(s, "cpus", ""), 0);
    expect(s, "cpus", "1");
    assert_int_equal(set(s, "protected", "1"), 0);
    assert_true(settings_flag(s, "protected"));
    settings_free(s);
}

static void wrong_values_are_refused(void **state)
{
    static const struct {
        const char *key, *value;
    } bad[] = {
        {"cpus", "0"},
        {"cpus", "256"},
        {"cpus", "-1"},
        {"cpus", "two"},
        {"cpus", "1x"},
        {"memory", "0"},
        {"memory", "lots"},
        {"memory", "16777215T"},
        {"cpu", "a b"},
        {"engine", "kvm"},
        {"uuid", "1234"},
        {"mac", "52:54"},
        {"mac", "52:54:00:aB:cd:eg"},
        {"protected", "maybe"},
        {"serial", "out.log"},
        {"console", "unix:x"},
        {"disks", "10G"},
        {"disk.bus", "scsi"},
        {"disks", "a,format=x"},
        {"labels.a", "x\ny"},
        {"description", "a\x1b"},
        {"description", "\xff\xfe"},
        {"labels.a", "\xff"},
    };
    struct settings *s = settings_new();

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(set(s, bad[i].key, bad[i].value), -EINVAL);
    assert_int_equal(json_object_size(settings_json(s)), 1);
    assert_int_equal(set(s, "cpu s", "1"), -ENOENT);
    assert_int_equal(set(s, "boot", "1"), -ENOENT);
    assert_int_equal(set(s, "husk", "2"), -ENOENT);
    assert_int_equal(set(s, "labels.", "2"), -ENOENT);
    assert_int_equal(set(s, "labels.a b", "2"), -ENOENT);
    assert_int_equal(set(s, "file", "2"), -ENOENT);
    assert_int_equal(set(s, "name", "x"), -EPERM);
    settings_free(s);
}

static void texts_that_are_no_settings_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "x",
        "[]",
        "null",
        "{",
        "{}x",
        "{\"cpus\":1,\"cpus\":2}",
        "{\"cpus\":\"1\"}",
        "{\"cpus\":0}",
        "{\"cpus\":1.5}",
        "{\"memory\":-1}",
        "{\"memory\":99999999999999999999}",
        "{\"boot\":1}",
        "{\"boot\":{\"kernel\":5}}",
        "{\"boot\":{\"kernel\":\"\"}}",
        "{\"boot\":{\"append\":\"a\\nb\"}}",
        "{\"boot\":{\"append\":\"a\\u0000b\"}}",
        "{\"labels\":[]}",
        "{\"labels\":{\"a\":1}}",
        "{\"labels\":{\"a b\":\"x\"}}",
        "{\"disks\":\"x\"}",
        "{\"disks\":[5]}",
        "{\"disks\":[\"\"]}",
        "{\"protected\":\"yes\"}",
        "{\"uuid\":\"zzzzzzzz-0000-0000-0000-000000000000\"}",
        "{\"name\":\"a/b\"}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(refuses(bad[i], strlen(bad[i])), -EINVAL);
    assert_int_equal(refuses("{}\0{}", 5), -EINVAL);
}

/* Thousands of brackets: the parser's depth has a bound. */
static void deep_texts_are_refused(void **state)
{
    char *text = malloc(23001);

    (void)state;
    assert_non_null(text);
    memset(text, '[', 23000);
    assert_int_equal(refuses(text, 23000), -EINVAL);
    free(text);
}

static void labels_are_few(void **state)
{
    struct settings *s = settings_new();
    char key[32];

    (void)state;
    for (int i = 0; i < SETTINGS_MAX_LABELS; i++) {
        (void)snprintf(key, sizeof(key), "labels.l%d", i);
        assert_int_equal(set(s, key, "x"), 0);
    }
    assert_int_equal(set(s, "labels.more", "x"), -EINVAL);
    assert_int_equal(set(s, "labels.l0", "y"), 0);
    for (int i = 0; i < SETTINGS_MAX_LABELS; i++) {
        (void)snprintf(key, sizeof(key), "labels.l%d", i);
        assert_int_equal(set(s, key, ""), 0);
    }
    /* The last one takes the object with it. */
    assert_null(json_object_get(settings_json(s), "labels"));
    settings_free(s);
}

static void husks_own_keys_are_apart(void **state)
{
    struct settings *s = settings_new();
    struct err err;

    (void)state;
    assert_true(settings_is_own("file"));
    assert_true(settings_is_own("parent"));
    assert_true(settings_is_own("husk"));
    assert_false(settings_is_own("name"));
    assert_null(settings_own(s, "file"));
    assert_int_equal(settings_set_own(s, "file", "1 2 3 4", &err), 0);
    assert_string_equal(settings_own(s, "file"), "1 2 3 4");
    assert_int_equal(settings_set_own(s, "file", NULL, &err), 0);
    assert_null(settings_own(s, "file"));
    settings_free(s);
}

static void every_default_is_a_value(void **state)
{
    struct settings *s = settings_new();
    struct err err;

    (void)state;
    for (unsigned i = 0; i < settings_nr_keys; i++) {
        const struct settings_key *k = &settings_keys[i];

        /* Sizes are MiB where a person says them. */
        if (k->value && strcmp(k->name, "memory") != 0)
            assert_int_equal(settings_force(s, k->name, k->value, &err), 0);
        assert_true(strlen(k->help) > 0);
    }
    settings_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_set_is_got),
        cmocka_unit_test(settings_survive_their_text),
        cmocka_unit_test(unknown_keys_stay),
        cmocka_unit_test(what_is_not_set_has_its_default),
        cmocka_unit_test(wrong_values_are_refused),
        cmocka_unit_test(texts_that_are_no_settings_are_refused),
        cmocka_unit_test(deep_texts_are_refused),
        cmocka_unit_test(labels_are_few),
        cmocka_unit_test(husks_own_keys_are_apart),
        cmocka_unit_test(every_default_is_a_value),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
