#include "machine/elf.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#include "base/endian.h"
#include "tests/unit/machine/fake_image.h"
#include "tests/unit/machine/fake_machine.h"
#include "tests/unit/test.h"

static uint8_t image[FAKE_IMAGE_MAX];

static void segments_go_to_their_physical_addresses(void **state)
{
    (void)state;
    for (int is64 = 0; is64 < 2; is64++) {
        struct fake_machine m;
        struct elf elf;
        gpa_t end = 0;
        size_t len = is64 ? fake_elf64(image, FAKE_ELF_BARE)
                          : fake_elf32(image, FAKE_ELF_BARE);

        fake_machine_init(&m, 16);
        assert_int_equal(elf_open(&elf, image, len, &m.err), 0);
        assert_int_equal(elf_load(&elf, &m.bm, &end, &m.err), 0);
        assert_true(end == 0x102000);
        assert_true(fake_machine_get64(&m, 0x100000) == get_le64("KERNEL!"));
        assert_true(fake_machine_get64(&m, 0x101ff8) == 0);
        assert_true(elf_phys_entry(&elf) == 0x100000);
        /* and nobody else may have them */
        assert_true(bootmem_claim(&m.bm, 0x101fff, 1, "it", &m.err) < 0);
        fake_machine_fini(&m);
    }
}

static void the_pvh_note_is_found_in_both_classes(void **state)
{
    struct elf elf;
    struct err err;
    uint64_t entry = 0;

    (void)state;
    assert_int_equal(
        elf_open(&elf, image, fake_elf32(image, FAKE_ELF_PVH), &err), 0);
    assert_true(elf_pvh_entry(&elf, &entry) && entry == 0x100000);
    entry = 0;
    assert_int_equal(
        elf_open(&elf, image, fake_elf64(image, FAKE_ELF_PVH), &err), 0);
    assert_true(elf_pvh_entry(&elf, &entry) && entry == 0x100000);
    assert_int_equal(
        elf_open(&elf, image, fake_elf64(image, FAKE_ELF_BARE), &err), 0);
    assert_false(elf_pvh_entry(&elf, &entry));
}

static void other_machines_are_called_by_name(void **state)
{
    struct elf elf;
    struct err err;
    size_t len = fake_elf64(image, FAKE_ELF_BARE);

    (void)state;
    put_le16(image + offsetof(Elf64_Ehdr, e_machine), EM_AARCH64);
    assert_int_equal(elf_open(&elf, image, len, &err), -EINVAL);
    assert_non_null(strstr(err.text, "arm64"));
    put_le16(image + offsetof(Elf64_Ehdr, e_machine), 0x7777);
    assert_int_equal(elf_open(&elf, image, len, &err), -EINVAL);
    assert_non_null(strstr(err.text, "another machine"));
}

static void cut_files_are_refused_wherever_they_are_cut(void **state)
{
    size_t len = fake_elf64(image, FAKE_ELF_BARE);

    (void)state;
    for (size_t n = 0; n < len; n++) {
        struct fake_machine m;
        struct elf elf;
        gpa_t end = 0;

        fake_machine_init(&m, 16);
        assert_true(elf_open(&elf, image, n, &m.err) < 0 ||
                    elf_load(&elf, &m.bm, &end, &m.err) < 0);
        fake_machine_fini(&m);
    }
}

/* Fields of the first program header that no loader may believe. */
static void hostile_segments_are_refused(void **state)
{
    static const struct {
        size_t off;
        uint64_t val;
    } bad[] = {
        {offsetof(Elf64_Phdr, p_offset), UINT64_MAX},
        {offsetof(Elf64_Phdr, p_offset), UINT64_MAX - 8},
        {offsetof(Elf64_Phdr, p_filesz), UINT64_MAX},
        {offsetof(Elf64_Phdr, p_filesz), 0x3000},
        {offsetof(Elf64_Phdr, p_memsz), 4},
        {offsetof(Elf64_Phdr, p_memsz), UINT64_MAX},
        {offsetof(Elf64_Phdr, p_memsz), (uint64_t)16 << 20},
        {offsetof(Elf64_Phdr, p_paddr), UINT64_MAX - 0xfff},
        {offsetof(Elf64_Phdr, p_paddr), 0xa0000},
        {offsetof(Elf64_Phdr, p_paddr), 0},
        {offsetof(Elf64_Phdr, p_paddr), PC_TABLES - 0x1000},
        {offsetof(Elf64_Phdr, p_memsz), 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct fake_machine m;
        struct elf elf;
        gpa_t end = 0;
        size_t len = fake_elf64(image, FAKE_ELF_BARE);

        put_le64(image + sizeof(Elf64_Ehdr) + bad[i].off, bad[i].val);
        fake_machine_init(&m, 16);
        assert_int_equal(elf_open(&elf, image, len, &m.err), 0);
        assert_true(elf_load(&elf, &m.bm, &end, &m.err) < 0);
        assert_true(m.err.text[0] != '\0');
        fake_machine_fini(&m);
    }
}

static void hostile_notes_end(void **state)
{
    size_t len = fake_elf64(image, FAKE_ELF_PVH);
    size_t note = len - 24;

    (void)state;
    for (unsigned field = 0; field < 3; field++) {
        static const uint32_t vals[] = {0, 1, 0x7fffffff, 0xffffffff,
                                        0xfffffff4};

        for (size_t i = 0; i < ARRAY_LEN(vals); i++) {
            struct elf elf;
            struct err err;
            uint64_t entry = 0;

            len = fake_elf64(image, FAKE_ELF_PVH);
            put_le32(image + note + 4 * field, vals[i]);
            assert_int_equal(elf_open(&elf, image, len, &err), 0);
            assert_false(elf_pvh_entry(&elf, &entry));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(segments_go_to_their_physical_addresses),
        cmocka_unit_test(the_pvh_note_is_found_in_both_classes),
        cmocka_unit_test(other_machines_are_called_by_name),
        cmocka_unit_test(cut_files_are_refused_wherever_they_are_cut),
        cmocka_unit_test(hostile_segments_are_refused),
        cmocka_unit_test(hostile_notes_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
