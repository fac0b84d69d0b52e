#include "machine/firmware.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/unit/test.h"

static int size_of(off_t bytes, size_t *size, struct err *err)
{
    struct image img = {.fd = memfd_create("rom", MFD_CLOEXEC),
                        .what = "firmware",
                        .path = "rom.bin"};
    int rc;

    assert_true(img.fd >= 0);
    assert_int_equal(ftruncate(img.fd, bytes), 0);
    rc = firmware_size(&img, size, err);
    image_close(&img);
    return rc;
}

static void whole_pages_from_128_kib_on_are_firmware(void **state)
{
    static const off_t bad[] = {0, 4096, (128 << 10) - 4096, (256 << 10) + 1,
                                FIRMWARE_MAX + 4096};
    size_t size = 0;
    struct err err = {0};

    (void)state;
    assert_int_equal(size_of(256 << 10, &size, &err), 0);
    assert_int_equal(size, 256 << 10);
    assert_int_equal(size_of(FIRMWARE_MAX, &size, &err), 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(size_of(bad[i], &size, &err), -EINVAL);
        assert_non_null(strstr(err.text, "rom.bin"));
    }
}

static void what_is_missing_is_named_by_its_package(void **state)
{
    struct image img;
    struct err err = {0};
    int rc = firmware_open(&img, FIRMWARE_BIOS, &err);

    (void)state;
    if (rc == 0) {
        image_close(&img);
        skip();
    }
    assert_int_equal(rc, -ENOENT);
    assert_non_null(strstr(err.text, "'seabios'"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_pages_from_128_kib_on_are_firmware),
        cmocka_unit_test(what_is_missing_is_named_by_its_package),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
