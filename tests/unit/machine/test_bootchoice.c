#include "machine/bootchoice.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/crc32.h"
#include "base/endian.h"
#include "tests/unit/test.h"

enum { SECTORS = 128, SIZE = SECTORS * 512, ENTRIES = 128 };

static uint8_t disk[SIZE];
static bool broken, boots;

static int read_disk(void *opaque, uint64_t off, void *buf, uint64_t len)
{
    (void)opaque;
    assert_true(off <= SIZE && len <= SIZE - off);
    if (broken)
        return -EIO;
    memcpy(buf, disk + off, len);
    return 0;
}

static enum firmware_kind look(const char *word)
{
    struct bootchoice c;

    memset(&c, 0x55, sizeof(c));
    bootchoice_look(read_disk, NULL, SIZE, &c);
    if (!strstr(c.why, word))
        fail_msg("'%s' is not in '%s'", word, c.why);
    boots = c.boots;
    return c.firmware;
}

static enum firmware_kind look_cd(const char *word)
{
    struct bootchoice c;

    bootchoice_look_cd(read_disk, NULL, SIZE, &c);
    if (!strstr(c.why, word))
        fail_msg("'%s' is not in '%s'", word, c.why);
    boots = c.boots;
    return c.firmware;
}

static const uint8_t esp[16] = {0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11,
                                0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b};
static const uint8_t linux_data[16] = {0xaf, 0x3d, 0xc6, 0x0f};

static void put_mbr(bool code, uint8_t type, bool active)
{
    memset(disk, 0, 512);
    if (code)
        disk[0] = 0xeb;
    disk[446] = active ? 0x80 : 0;
    disk[446 + 4] = type;
    disk[510] = 0x55;
    disk[511] = 0xaa;
}

static void put_header(uint64_t lba, uint64_t entries)
{
    uint8_t *h = disk + lba * 512;

    memset(h, 0, 512);
    memcpy(h, "EFI PART\0\0\1", 12);
    put_le32(h + 12, 92);
    put_le64(h + 24, lba);
    put_le64(h + 72, entries);
    put_le32(h + 80, ENTRIES);
    put_le32(h + 84, 128);
    put_le32(h + 88, crc32_update(0, disk + entries * 512, ENTRIES * 128));
    put_le32(h + 16, crc32_update(0, h, 92));
}

/* A GPT with up to two partitions, and its copy at the end. */
static void put_gpt(const uint8_t *first, const uint8_t *second, uint8_t attr)
{
    uint8_t *e = disk + 2 * 512;

    memset(e, 0, SIZE - 2 * 512);
    memcpy(e + 3 * 128, first, 16);
    if (second)
        memcpy(e, second, 16);
    e[48] = attr;
    memcpy(disk + (SECTORS - 33) * 512, e, ENTRIES * 128);
    put_header(1, 2);
    put_header(SECTORS - 1, SECTORS - 33);
}

static int setup(void **state)
{
    (void)state;
    memset(disk, 0, sizeof(disk));
    broken = false;
    return 0;
}

static void an_empty_disk_goes_to_the_bios(void **state)
{
    struct bootchoice c;

    (void)state;
    assert_int_equal(look("neither a boot sector"), FIRMWARE_BIOS);
    assert_false(boots);
    bootchoice_look(read_disk, NULL, 1023, &c);
    assert_int_equal(c.firmware, FIRMWARE_BIOS);
    broken = true;
    assert_int_equal(look("cannot be read"), FIRMWARE_BIOS);
}

static void a_boot_sector_goes_to_the_bios(void **state)
{
    (void)state;
    put_mbr(true, 0x83, true);
    assert_int_equal(look("boot sector"), FIRMWARE_BIOS);
    assert_true(boots);
    put_mbr(false, 0x83, true);
    assert_int_equal(look("nothing to boot"), FIRMWARE_BIOS);
    assert_false(boots);
    put_mbr(false, 0xef, false);
    assert_int_equal(look("EFI system partition"), FIRMWARE_UEFI);
    put_mbr(true, 0xef, true);
    assert_int_equal(look("boot sector"), FIRMWARE_BIOS);
}

static void a_gpt_with_an_esp_alone_goes_to_uefi(void **state)
{
    (void)state;
    put_mbr(false, 0xee, false);
    put_gpt(esp, linux_data, 0);
    assert_int_equal(look("EFI system partition"), FIRMWARE_UEFI);
    put_mbr(true, 0xee, false); /* code that has nothing to load */
    assert_int_equal(look("EFI system partition"), FIRMWARE_UEFI);
    assert_true(boots);
    put_gpt(linux_data, NULL, 0);
    assert_int_equal(look("without an EFI"), FIRMWARE_BIOS);
    assert_true(boots);
    put_mbr(false, 0xee, false);
    assert_int_equal(look("no boot sector"), FIRMWARE_BIOS);
    assert_false(boots);
}

static void a_loader_for_a_bios_goes_first(void **state)
{
    (void)state;
    put_mbr(true, 0xee, false);
    put_gpt(esp, (const uint8_t *)"Hah!IdontNeedEFI", 0);
    assert_int_equal(look("boot loader for a BIOS"), FIRMWARE_BIOS);
    put_mbr(false, 0xee, false); /* but not without its first part */
    assert_int_equal(look("no boot loader"), FIRMWARE_UEFI);
    put_mbr(true, 0xee, false);
    put_gpt(esp, linux_data, 4); /* marked for syslinux */
    assert_int_equal(look("boot loader for a BIOS"), FIRMWARE_BIOS);
    put_gpt(esp, linux_data, 0);
    put_mbr(true, 0x83, true); /* hybrid */
    assert_int_equal(look("boot loader for a BIOS"), FIRMWARE_BIOS);
}

static void the_copy_of_a_gpt_counts(void **state)
{
    (void)state;
    put_mbr(false, 0xee, false);
    put_gpt(esp, NULL, 0);
    disk[512 + 40]++; /* the header */
    assert_int_equal(look("EFI system partition"), FIRMWARE_UEFI);
    put_gpt(esp, NULL, 0);
    disk[1024 + 60]++; /* an entry */
    assert_int_equal(look("EFI system partition"), FIRMWARE_UEFI);
    disk[SIZE - 512 + 40]++;
    assert_int_equal(look("damaged"), FIRMWARE_BIOS);
    assert_false(boots);
    put_mbr(true, 0xee, false);
    assert_int_equal(look("damaged"), FIRMWARE_BIOS);
    assert_true(boots);
}

/* A CD with a catalogue whose first entry is for one platform, and with a
 * section for another one. */
static void put_cd(uint8_t first, uint8_t section)
{
    uint8_t *cat = disk + 20 * 2048;

    memset(disk, 0, sizeof(disk));
    memcpy(disk + 17 * 2048, "\0CD001\1EL TORITO SPECIFICATION", 31);
    put_le32(disk + 17 * 2048 + 0x47, 20);
    cat[0] = 1;
    cat[1] = first;
    cat[30] = 0x55;
    cat[31] = 0xaa;
    cat[32] = 0x88;
    cat[64] = 0x91;
    cat[65] = section;
    cat[66] = 1;
    cat[96] = 0x88;
}

static void a_cd_has_a_catalogue(void **state)
{
    (void)state;
    assert_int_equal(look_cd("no CD"), FIRMWARE_BIOS);
    assert_false(boots);
    put_cd(0, 0xef);
    assert_int_equal(look_cd("a BIOS boots"), FIRMWARE_BIOS);
    assert_true(boots);
    put_cd(0xef, 0xef);
    assert_int_equal(look_cd("only UEFI"), FIRMWARE_UEFI);
    put_cd(0xef, 0);
    assert_int_equal(look_cd("a BIOS boots"), FIRMWARE_BIOS);
    put_cd(1, 2); /* a Power PC and a Macintosh */
    assert_int_equal(look_cd("nothing to boot"), FIRMWARE_BIOS);
    assert_false(boots);
    put_cd(0, 0);
    disk[20 * 2048 + 32] = disk[20 * 2048 + 96] = 0; /* not bootable */
    assert_int_equal(look_cd("nothing to boot"), FIRMWARE_BIOS);
    put_cd(0, 0);
    put_le32(disk + 17 * 2048 + 0x47, UINT32_MAX);
    assert_int_equal(look_cd("nothing to boot"), FIRMWARE_BIOS);
    broken = true;
    assert_int_equal(look_cd("no CD"), FIRMWARE_BIOS);
}

static void headers_that_lie_are_damaged(void **state)
{
    static const struct {
        unsigned off;
        uint64_t val;
        bool wide;
    } lies[] = {{72, UINT64_MAX, true},
                {72, UINT64_MAX / 512, true},
                {72, SECTORS - 1, true},
                {80, 0, false},
                {80, 1025, false},
                {80, UINT32_MAX, false},
                {84, 0, false},
                {84, 64, false},
                {84, UINT32_MAX, false},
                {84, 132, false},
                {12, 91, false},
                {12, UINT32_MAX, false},
                {24, 2, true}};

    (void)state;
    put_mbr(false, 0xee, false);
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        uint8_t *h = disk + 512;
        uint32_t len;

        put_gpt(esp, NULL, 0);
        disk[SIZE - 512] = 0; /* no copy */
        if (lies[i].wide)
            put_le64(h + lies[i].off, lies[i].val);
        else
            put_le32(h + lies[i].off, (uint32_t)lies[i].val);
        put_le32(h + 16, 0);
        len = get_le32(h + 12);
        put_le32(h + 16, crc32_update(0, h, len < 512 ? len : 512));
        assert_int_equal(look("damaged"), FIRMWARE_BIOS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_empty_disk_goes_to_the_bios, setup),
        cmocka_unit_test_setup(a_boot_sector_goes_to_the_bios, setup),
        cmocka_unit_test_setup(a_gpt_with_an_esp_alone_goes_to_uefi, setup),
        cmocka_unit_test_setup(a_loader_for_a_bios_goes_first, setup),
        cmocka_unit_test_setup(the_copy_of_a_gpt_counts, setup),
        cmocka_unit_test_setup(headers_that_lie_are_damaged, setup),
        cmocka_unit_test_setup(a_cd_has_a_catalogue, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
