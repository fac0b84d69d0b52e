#include "vmfile/snapmeta.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/endian.h"
#include "tests/unit/fail_alloc.h"
#include "tests/unit/test.h"

enum { ROOM = 1000 };

static char parent[] = "3", text[] = "before the upgrade";
static char settings[] = "{\"husk\":1,\"name\":\"web\",\"cpus\":4}";

static size_t pack(const struct snapmeta *m, uint8_t buf[ROOM])
{
    struct err err;
    size_t len = 0;

    assert_int_equal(snapmeta_pack(m, buf, ROOM, &len, &err), 0);
    assert_true(len <= ROOM);
    return len;
}

static void what_is_packed_comes_back(void **state)
{
    const struct snapmeta m = {.doomed = true,
                               .safety = true,
                               .parent = parent,
                               .text = text,
                               .settings = settings};
    struct snapmeta got;
    uint8_t buf[ROOM];
    size_t len = pack(&m, buf);

    (void)state;
    assert_int_equal(snapmeta_unpack(&got, buf, len), 0);
    assert_true(got.doomed && got.safety);
    assert_string_equal(got.parent, parent);
    assert_string_equal(got.text, text);
    assert_string_equal(got.settings, settings);
    snapmeta_free(&got);
    /* What a later version puts behind does not matter. */
    memset(buf + len, 0xee, ROOM - len);
    assert_int_equal(snapmeta_unpack(&got, buf, ROOM), 0);
    assert_string_equal(got.settings, settings);
    snapmeta_free(&got);
}

static void the_length_of_a_state_comes_back(void **state)
{
    const struct snapmeta m = {.state_bytes = 0x123456789a,
                               .parent = parent,
                               .text = text,
                               .settings = settings};
    struct snapmeta got;
    uint8_t buf[ROOM];
    struct err err;
    size_t len = pack(&m, buf), less;

    (void)state;
    assert_int_equal(buf[5], 4);
    assert_int_equal(get_be64(buf + len - 8), 0x123456789a);
    assert_int_equal(snapmeta_unpack(&got, buf, len), 0);
    assert_int_equal(got.state_bytes, 0x123456789a);
    assert_string_equal(got.settings, settings);
    snapmeta_free(&got);
    assert_int_equal(snapmeta_unpack(&got, buf, len - 1), -EINVAL);
    snapmeta_free(&got);
    for (size_t size = 0; size < len; size++)
        assert_int_equal(snapmeta_pack(&m, buf, size, &less, &err), -E2BIG);
}

static void nothing_can_be_packed(void **state)
{
    char none[] = "";
    const struct snapmeta m = {.parent = none, .text = none};
    struct snapmeta got;
    uint8_t buf[ROOM];
    size_t len = pack(&m, buf);

    (void)state;
    assert_int_equal(snapmeta_unpack(&got, buf, len), 0);
    assert_false(got.doomed || got.safety);
    assert_string_equal(got.parent, "");
    assert_null(got.settings);
    snapmeta_free(&got);
}

static void long_settings_are_made_small(void **state)
{
    char *long_one = calloc(1, 20001);
    struct snapmeta m = {.parent = parent, .text = text}, got;
    uint8_t buf[ROOM];
    size_t len;

    (void)state;
    assert_non_null(long_one);
    memset(long_one, 'x', 20000);
    m.settings = long_one;
    len = pack(&m, buf);
    assert_int_equal(snapmeta_unpack(&got, buf, len), 0);
    assert_string_equal(got.settings, long_one);
    snapmeta_free(&got);
    free(long_one);
}

static void what_cannot_be_kept_is_refused(void **state)
{
    char *noise = calloc(1, 4001);
    struct snapmeta m = {.parent = parent, .text = text};
    uint8_t buf[ROOM];
    unsigned seed = 1;
    struct err err;
    size_t len = 0;

    (void)state;
    assert_non_null(noise);
    for (int i = 0; i < 4000; i++) {
        seed = seed * 1103515245 + 12345;
        noise[i] = (char)('0' + (seed >> 16) % 70);
    }
    m.settings = noise;
    assert_int_equal(snapmeta_pack(&m, buf, ROOM, &len, &err), -E2BIG);
    m.settings = NULL;
    m.text = noise;
    assert_int_equal(snapmeta_pack(&m, buf, ROOM, &len, &err), -E2BIG);
    assert_int_equal(snapmeta_pack(&m, buf, 10, &len, &err), -E2BIG);
    free(noise);
}

static int unpack(const uint8_t *buf, size_t len)
{
    /* Of its own, so that a sanitizer sees what is read beyond. */
    uint8_t *copy = malloc(len ? len : 1);
    struct snapmeta got;
    int rc;

    assert_non_null(copy);
    memcpy(copy, buf, len);
    rc = snapmeta_unpack(&got, copy, len);
    assert_non_null(got.parent);
    assert_non_null(got.text);
    if (rc < 0)
        assert_null(got.settings);
    snapmeta_free(&got);
    free(copy);
    return rc;
}

static void damage_is_noticed(void **state)
{
    const struct snapmeta m = {
        .parent = parent, .text = text, .settings = settings};
    uint8_t buf[ROOM];
    size_t len = pack(&m, buf);

    (void)state;
    for (size_t i = 0; i < len; i++) {
        buf[i] ^= 0x21;
        assert_true(unpack(buf, len) < 0);
        buf[i] ^= 0x21;
        assert_true(unpack(buf, i) < 0);
    }
    assert_int_equal(unpack(buf, len), 0);
    assert_int_equal(unpack((const uint8_t *)"QEMU has other things here", 26),
                     -ENOENT);
}

/* Lengths that lie, with a right sum. */
static void hostile_lengths_are_refused(void **state)
{
    static const struct {
        unsigned at, value;
    } bad[] = {{6, 0xffff},  {8, 0xffff},  {10, 0xffff},
               {12, 0xffff}, {14, 0xffff}, {14, 1}};
    const struct snapmeta m = {
        .parent = parent, .text = text, .settings = settings};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint8_t buf[ROOM];
        size_t len = pack(&m, buf);
        uint32_t crc;

        put_be16(buf + bad[i].at, (uint16_t)bad[i].value);
        put_be32(buf + 16, 0);
        crc = crc32c_update(0, buf, len);
        put_be32(buf + 16, crc);
        assert_int_equal(unpack(buf, len), -EINVAL);
    }
}

static void without_memory_it_is_empty(void **state)
{
    const struct snapmeta m = {
        .parent = parent, .text = text, .settings = settings};
    struct snapmeta got;
    uint8_t buf[ROOM];
    size_t len = pack(&m, buf);
    int rc = 0;

    (void)state;
    /* strdup's own memory is libc's, which does not fail here. */
    for (unsigned n = 1; n < 10; n++) {
        fail_alloc_at(n);
        rc = snapmeta_unpack(&got, buf, len);
        fail_alloc_at(0);
        snapmeta_free(&got);
        if (rc == 0)
            break;
        assert_true(rc == -ENOMEM || rc == -EINVAL);
    }
    assert_int_equal(rc, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_packed_comes_back),
        cmocka_unit_test(the_length_of_a_state_comes_back),
        cmocka_unit_test(nothing_can_be_packed),
        cmocka_unit_test(long_settings_are_made_small),
        cmocka_unit_test(what_cannot_be_kept_is_refused),
        cmocka_unit_test(damage_is_noticed),
        cmocka_unit_test(hostile_lengths_are_refused),
        cmocka_unit_test(without_memory_it_is_empty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
