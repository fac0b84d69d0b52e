#include "machine/bzimage_sum.h"

#include <string.h>

#include "base/crc32.h"
#include "base/endian.h"
#include "tests/unit/test.h"

enum { LEN = 1000, PE = 0x80, CHECKSUM = PE + 0x18 + 64 };

static uint8_t image[LEN];

/* As the kernel's build does it: the CRC of all but the last four bytes goes
 * there without its final complement. */
static void seal(void)
{
    put_le32(image + LEN - 4, ~crc32_update(0, image, LEN - 4));
}

static void fill(void)
{
    for (unsigned i = 0; i < LEN; i++)
        image[i] = (uint8_t)(i * 7 + i / 256);
}

static void fill_pe(uint16_t magic, unsigned directory)
{
    fill();
    memcpy(image, "MZ", 2);
    put_le32(image + 0x3c, PE);
    memcpy(image + PE, "PE\0", 4);
    put_le16(image + PE + 0x18, magic);
    put_le32(image + CHECKSUM, 0);
    put_le64(image + PE + 0x18 + directory + 32, 0);
}

static void every_changed_bit_is_noticed(void **state)
{
    (void)state;
    fill();
    seal();
    assert_true(bzimage_sum_ok(image, LEN));
    for (unsigned bit = 0; bit < 8 * LEN; bit += 13) {
        image[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(bzimage_sum_ok(image, LEN));
        image[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void a_signature_changes_nothing(void **state)
{
    static const struct {
        uint16_t magic;
        unsigned directory;
    } kinds[] = {{0x10b, 96}, {0x20b, 112}};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        fill_pe(kinds[i].magic, kinds[i].directory);
        seal();
        assert_true(bzimage_sum_ok(image, LEN));
        put_le32(image + CHECKSUM, 0x12345678);
        put_le64(image + PE + 0x18 + kinds[i].directory + 32, 0x123456789);
        assert_true(bzimage_sum_ok(image, LEN));
        image[PE + 0x18 + kinds[i].directory + 40] ^= 1;
        assert_false(bzimage_sum_ok(image, LEN));
    }
}

static void hostile_pe_offsets_stay_inside(void **state)
{
    static const uint32_t offsets[] = {0,       LEN - 256,  LEN - 255,
                                       LEN - 1, 0x7fffffff, 0xffffffff};
    uint8_t tiny[4] = {'M', 'Z', 0, 0};

    (void)state;
    for (unsigned i = 0; i < 6; i++) {
        fill_pe(0x20b, 112);
        put_le32(image + 0x3c, offsets[i]);
        if (offsets[i] < LEN - 4)
            memcpy(image + offsets[i], "PE\0", 4);
        (void)bzimage_sum_ok(image, LEN);
    }
    (void)bzimage_sum_ok(tiny, sizeof(tiny));
    (void)bzimage_sum_ok(tiny, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_changed_bit_is_noticed),
        cmocka_unit_test(a_signature_changes_nothing),
        cmocka_unit_test(hostile_pe_offsets_stay_inside),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
