#include "cli/from.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/test.h"

static int path_of(const char *url, char path[PATH_MAX])
{
    struct err err = {0};
    int rc = from_file_url(url, path, &err);

    assert_int_equal(rc, err.code);
    return rc;
}

static void file_addresses_are_paths_of_this_host(void **state)
{
    char path[PATH_MAX];

    (void)state;
    assert_int_equal(path_of("file:///a/b%20c%2", path), 0);
    assert_string_equal(path, "/a/b c%2");
    assert_int_equal(path_of("FILE://localhost/x", path), 0);
    assert_string_equal(path, "/x");
    assert_int_equal(path_of("file://elsewhere/x", path), -EINVAL);
    assert_int_equal(path_of("file://", path), -EINVAL);
    assert_int_equal(path_of("file:///a%00b", path), -EINVAL);
}

static int beside(const char *url, char out[64], char base[NAME_MAX + 1])
{
    return from_beside(url, "SUMS", out, 64, base);
}

static void a_list_lies_beside_its_image(void **state)
{
    char out[64], base[NAME_MAX + 1];

    (void)state;
    assert_int_equal(beside("http://h/a/b.img?x=/y#z", out, base), 0);
    assert_string_equal(out, "http://h/a/SUMS");
    assert_string_equal(base, "b.img");
    assert_int_equal(beside("http://h/b", out, base), 0);
    assert_string_equal(out, "http://h/SUMS");
    assert_int_equal(beside("http://h", out, base), -EINVAL);
    assert_int_equal(beside("http://h/", out, base), -EINVAL);
    assert_int_equal(beside("http://", out, base), -EINVAL);
    assert_int_equal(beside("no address", out, base), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_addresses_are_paths_of_this_host),
        cmocka_unit_test(a_list_lies_beside_its_image),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
