#include "vmfile/identity.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/test.h"

static void a_file_stays_itself_and_a_copy_is_another(void **state)
{
    char a[] = "/tmp/husk-identity-XXXXXX", b[] = "/tmp/husk-identity-XXXXXX";
    char moved[64], first[IDENTITY_MAX], again[IDENTITY_MAX];
    char other[IDENTITY_MAX];
    int fd = mkstemp(a), copy = mkstemp(b);
    struct err err;

    (void)state;
    assert_true(fd >= 0 && copy >= 0);
    assert_int_equal(identity_of(fd, first, &err), 0);
    assert_int_equal(identity_of(copy, other, &err), 0);
    (void)close(fd);
    (void)snprintf(moved, sizeof(moved), "%s-moved", a);
    assert_int_equal(rename(a, moved), 0);
    fd = open(moved, O_RDONLY | O_CLOEXEC);
    assert_int_equal(identity_of(fd, again, &err), 0);
    assert_true(identity_same(first, again));
    assert_false(identity_same(first, other));
    (void)close(fd);
    (void)close(copy);
    (void)unlink(moved);
    (void)unlink(b);
}

static void one_of_device_and_file_system_is_enough(void **state)
{
    (void)state;
    assert_true(identity_same("1a 803 77 abcd", "1a 803 77 abcd"));
    assert_true(identity_same("1a 803 77 abcd", "1a 804 77 abcd"));
    assert_true(identity_same("1a 803 77 abcd", "1a 803 78 abcd"));
    assert_false(identity_same("1a 803 77 abcd", "1a 804 78 abcd"));
    assert_false(identity_same("1a 803 0 abcd", "1a 804 0 abcd"));
    assert_false(identity_same("1a 803 77 abcd", "1b 803 77 abcd"));
    /* The inode number was used again. */
    assert_false(identity_same("1a 803 77 abcd", "1a 803 77 abce"));
    /* One of the two hosts cannot tell handles. */
    assert_true(identity_same("1a 803 77 abcd", "1a 803 77 0"));
}

static void what_is_no_identity_is_nobody(void **state)
{
    static const char *const bad[] = {"",        "1",         "1 2 3",
                                      "x y z w", "1 2 3 4 5", "1 2 3 4\n"};
    char longest[2000];

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(identity_same(bad[i], bad[i]));
    memset(longest, 'a', sizeof(longest));
    memcpy(longest, "1 2 3 ", 6);
    longest[sizeof(longest) - 1] = '\0';
    assert_false(identity_same(longest, longest));
}

static void identities_are_new_and_well_formed(void **state)
{
    char a[IDENTITY_UUID], b[IDENTITY_UUID], mac[IDENTITY_MAC];
    struct err err;

    (void)state;
    assert_int_equal(identity_uuid(a, &err), 0);
    assert_int_equal(identity_uuid(b, &err), 0);
    assert_string_not_equal(a, b);
    assert_int_equal(strlen(a), 36);
    assert_int_equal(a[14], '4');
    assert_non_null(strchr("89ab", a[19]));
    assert_int_equal(identity_mac(mac, &err), 0);
    assert_int_equal(strlen(mac), 17);
    assert_memory_equal(mac, "52:54:00:", 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_stays_itself_and_a_copy_is_another),
        cmocka_unit_test(one_of_device_and_file_system_is_enough),
        cmocka_unit_test(what_is_no_identity_is_nobody),
        cmocka_unit_test(identities_are_new_and_well_formed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
