#include "cli/cloud.h"

#include <string.h>

#include "tests/unit/test.h"

static void a_vm_without_such_settings_has_no_disk(void **state)
{
    struct settings *s = settings_new();
    struct blk *b = NULL;
    struct err err = {0};

    (void)state;
    assert_int_equal(settings_force(s, "name", "vm", &err), 0);
    assert_int_equal(cloud_disk(s, &b, &err), 0);
    assert_null(b);
    settings_free(s);
}

static void the_disk_is_a_cd_that_nobody_writes(void **state)
{
    struct settings *s = settings_new();
    struct blk *b = NULL;
    struct err err = {0};
    char label[6];

    (void)state;
    assert_int_equal(settings_set(s, "cloud.user", "me", &err), 0);
    assert_int_equal(
        settings_set(s, "cloud.user-data", "#cloud-config\na: b\n", &err), 0);
    assert_int_equal(cloud_disk(s, &b, &err), 0);
    assert_non_null(b);
    assert_true(b->flags & BLK_RDONLY);
    assert_int_equal(blk_read(b, 16 * 2048 + 40, label, 6), 0);
    assert_memory_equal(label, "cidata", 6);
    assert_int_equal(blk_close(b), 0);
    settings_free(s);
}

static void wrong_settings_are_an_error(void **state)
{
    struct settings *s = settings_new();
    struct blk *b = NULL;
    struct err err = {0};

    (void)state;
    assert_int_equal(settings_set(s, "cloud.password", "plain", &err), 0);
    assert_true(cloud_disk(s, &b, &err) < 0);
    assert_null(b);
    settings_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_vm_without_such_settings_has_no_disk),
        cmocka_unit_test(the_disk_is_a_cd_that_nobody_writes),
        cmocka_unit_test(wrong_settings_are_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
