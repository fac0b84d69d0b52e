#include "fetch/sum.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/unit/test.h"

/* FIPS 180-4's example, "abc". */
#define ABC256                                                                 \
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define ABC512                                                                 \
    "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"         \
    "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"

static void known_sums_come_out(void **state)
{
    char text[SUM_TEXT];
    struct sum s;

    (void)state;
    sum_of("abc", 3, SUM_SHA256, &s);
    sum_print(&s, text);
    assert_string_equal(text, ABC256);
    sum_of("abc", 3, SUM_SHA512, &s);
    sum_print(&s, text);
    assert_string_equal(text, ABC512);
}

static void a_file_is_read_from_its_beginning(void **state)
{
    int fd = memfd_create("sum", MFD_CLOEXEC);
    struct sum got, want;

    (void)state;
    assert_int_equal(write(fd, "abc", 3), 3);
    assert_int_equal(sum_of_fd(fd, SUM_SHA256, &got), 0);
    sum_of("abc", 3, SUM_SHA256, &want);
    assert_true(sum_same(&got, &want));
    want.bytes[31] ^= 1;
    assert_false(sum_same(&got, &want));
    (void)close(fd);
    assert_int_equal(sum_of_fd(-1, SUM_SHA256, &got), -EBADF);
}

static void only_whole_sums_are_read(void **state)
{
    struct sum s;
    char text[SUM_TEXT];

    (void)state;
    assert_int_equal(sum_parse(ABC256, 64, &s), 0);
    assert_int_equal(s.kind, SUM_SHA256);
    assert_int_equal(sum_parse(ABC512, 128, &s), 0);
    assert_int_equal(s.kind, SUM_SHA512);
    assert_int_equal(sum_parse(ABC256, 63, &s), -EINVAL);
    assert_int_equal(sum_parse("", 0, &s), -EINVAL);
    memcpy(text, ABC256, 65);
    text[5] = 'g';
    assert_int_equal(sum_parse(text, 64, &s), -EINVAL);
    text[5] = 'F';
    assert_int_equal(sum_parse(text, 64, &s), 0);
    assert_int_equal(s.bytes[2] & 15, 15);
}

static int find(const char *list, const char *name, struct sum *s)
{
    return sum_find(list, strlen(list), name, s);
}

static void all_forms_of_a_list_are_read(void **state)
{
    struct sum s;

    (void)state;
    assert_int_equal(find(ABC256 "  a.img\n", "a.img", &s), 0);
    assert_int_equal(find(ABC256 " *a.img", "a.img", &s), 0);
    assert_int_equal(find("# x\r\n" ABC256 "  ./a.img\r\n", "a.img", &s), 0);
    assert_int_equal(s.kind, SUM_SHA256);
    assert_int_equal(find("SHA512 (a.img) = " ABC512 "\n", "a.img", &s), 0);
    assert_int_equal(s.kind, SUM_SHA512);
}

static void another_files_sum_is_not_taken(void **state)
{
    struct sum s;

    (void)state;
    assert_int_equal(find("", "a", &s), -ENOENT);
    assert_int_equal(find(ABC256 "  a.img.xz\n", "a.img", &s), -ENOENT);
    assert_int_equal(find(ABC256 "  xa.img\n", "a.img", &s), -ENOENT);
    assert_int_equal(find(ABC256 "a  a.img\n", "a.img", &s), -ENOENT);
    assert_int_equal(find("SHA512 (b) = " ABC512 "\n", "a", &s), -ENOENT);
    assert_int_equal(find("SHA512 (", "a", &s), -ENOENT);
    assert_int_equal(find("SHA256 (a) = ", "a", &s), -ENOENT);
    assert_int_equal(find(ABC256 "  ", "", &s), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_sums_come_out),
        cmocka_unit_test(a_file_is_read_from_its_beginning),
        cmocka_unit_test(only_whole_sums_are_read),
        cmocka_unit_test(all_forms_of_a_list_are_read),
        cmocka_unit_test(another_files_sum_is_not_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
