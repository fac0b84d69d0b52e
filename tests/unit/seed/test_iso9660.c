#include "seed/iso9660.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "tests/unit/fail_alloc.h"
#include "tests/unit/test.h"

enum { SECTOR = 2048, PRIMARY = 16, JOLIET = 17, ROOT = 156 };

struct found {
    const uint8_t *data;
    size_t len;
};

/* Read as a system would: descriptor, root, records; raw is the name there. */
static struct found find(const uint8_t *image, size_t len, unsigned descriptor,
                         const void *raw, size_t raw_len)
{
    const uint8_t *vd = image + (size_t)descriptor * SECTOR;
    const uint8_t *p = image + (size_t)get_le32(vd + ROOT + 2) * SECTOR;

    assert_memory_equal(vd + 1, "CD001\1", 6);
    assert_int_equal(get_le32(vd + 80), len / SECTOR);
    assert_int_equal(get_be32(vd + 84), len / SECTOR);
    while (p[0]) {
        if (p[32] == raw_len && memcmp(p + 33, raw, raw_len) == 0)
            return (struct found){image + (size_t)get_le32(p + 2) * SECTOR,
                                  get_le32(p + 10)};
        assert_int_equal(p[0] % 2, 0);
        p += p[0];
    }
    return (struct found){NULL, 0};
}

static void files_are_found_by_both_names(void **state)
{
    static const char one[] = "one", zero[3000] = "long";
    const struct iso_file files[] = {
        {"empty", "", 0}, {"meta-data", one, 3}, {"zz", zero, sizeof(zero)}};
    static const uint8_t joliet[] = "\0m\0e\0t\0a\0-\0d\0a\0t\0a\0;\0001";
    uint8_t *image = NULL;
    struct found f;
    size_t len = 0;

    (void)state;
    assert_int_equal(iso9660_make("cidata", files, 3, &image, &len), 0);
    assert_int_equal(len % SECTOR, 0);
    f = find(image, len, PRIMARY, "META_DATA.;1", 12);
    assert_int_equal(f.len, 3);
    assert_memory_equal(f.data, "one", 3);
    f = find(image, len, JOLIET, joliet, 22);
    assert_int_equal(f.len, 3);
    assert_memory_equal(f.data, "one", 3);
    f = find(image, len, PRIMARY, "ZZ.;1", 5);
    assert_int_equal(f.len, 3000);
    assert_memory_equal(f.data, "long", 5);
    assert_true(f.data + 4096 == image + len);
    f = find(image, len, PRIMARY, "EMPTY.;1", 8);
    assert_int_equal(f.len, 0);
    assert_non_null(f.data);
    free(image);
}

static void the_label_is_in_both_tables(void **state)
{
    uint8_t *image = NULL;
    size_t len = 0;

    (void)state;
    assert_int_equal(iso9660_make("cidata", NULL, 0, &image, &len), 0);
    assert_memory_equal(image + PRIMARY * SECTOR + 40, "cidata          ", 16);
    assert_memory_equal(image + JOLIET * SECTOR + 40, "\0c\0i\0d\0a\0t\0a\0 ",
                        14);
    assert_memory_equal(image + JOLIET * SECTOR + 88, "%/E", 3);
    assert_int_equal(image[18 * SECTOR], 255);
    free(image);
}

static void no_memory_is_an_error(void **state)
{
    uint8_t *image = NULL;
    size_t len = 0;

    (void)state;
    fail_alloc_at(1);
    assert_int_equal(iso9660_make("x", NULL, 0, &image, &len), -ENOMEM);
    fail_alloc_at(0);
    assert_null(image);
}

static void what_no_sector_can_count_is_refused(void **state)
{
    const struct iso_file file = {"big", "", (size_t)1 << 40};
    uint8_t *image = NULL;
    size_t len = 0;

    (void)state;
    assert_int_equal(iso9660_make("x", &file, 1, &image, &len), -E2BIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_found_by_both_names),
        cmocka_unit_test(the_label_is_in_both_tables),
        cmocka_unit_test(no_memory_is_an_error),
        cmocka_unit_test(what_no_sector_can_count_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
