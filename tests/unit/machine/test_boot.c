#include "machine/boot.h"

#include <errno.h>
#include <string.h>

#include "base/endian.h"
#include "tests/unit/machine/fake_image.h"
#include "tests/unit/machine/fake_machine.h"
#include "tests/unit/test.h"

/* boot.c, boot_pvh.c, boot_multiboot.c and boot_cpu.c, as a kernel sees them */

static uint8_t image[FAKE_IMAGE_MAX];

static int load(struct fake_machine *m, size_t len, const char *initrd)
{
    const struct boot_source src = {.kernel = image,
                                    .kernel_len = len,
                                    .initrd = (const uint8_t *)initrd,
                                    .initrd_len = initrd ? strlen(initrd) : 0,
                                    .cmdline = "a b",
                                    .kernel_name = "/k",
                                    .initrd_name = "/i",
                                    .rsdp = PC_TABLES};

    return boot_load(&m->bm, &src, &m->st, &m->err);
}

static void formats_are_told_by_content(void **state)
{
    static const struct {
        size_t (*make)(uint8_t *buf, enum fake_elf kind);
        enum fake_elf kind;
        enum boot_format format;
    } elfs[] = {{fake_elf32, FAKE_ELF_PVH, BOOT_PVH},
                {fake_elf64, FAKE_ELF_PVH, BOOT_PVH},
                {fake_elf32, FAKE_ELF_MULTIBOOT, BOOT_MULTIBOOT},
                {fake_elf64, FAKE_ELF_MULTIBOOT, BOOT_MULTIBOOT}};
    enum boot_format format = BOOT_NR_FORMATS;
    struct err err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(elfs); i++) {
        assert_int_equal(boot_detect(image, elfs[i].make(image, elfs[i].kind),
                                     &format, &err),
                         0);
        assert_int_equal(format, elfs[i].format);
    }
    assert_int_equal(
        boot_detect(image, fake_bzimage(image, true), &format, &err), 0);
    assert_int_equal(format, BOOT_LINUX);
    assert_int_equal(boot_detect(image,
                                 fake_kludge(image, 0x100000, 0, 0, 0x100020),
                                 &format, &err),
                     0);
    assert_int_equal(format, BOOT_MULTIBOOT);
}

static void what_is_no_kernel_is_said_to_be_something(void **state)
{
    static const struct {
        size_t off;
        const char *magic, *said;
    } kinds[] = {{0x38, "ARM\x64", "arm64"},
                 {0x38, "RSC\x05", "RISC-V"},
                 {0, "\x1f\x8b\x08", "gzip"},
                 {0, "QFI\xfb", "qcow2"},
                 {0, "#!/bin/sh", "no kernel"}};
    enum boot_format format = BOOT_NR_FORMATS;
    struct err err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        memset(image, 0, sizeof(image));
        memcpy(image + kinds[i].off, kinds[i].magic, strlen(kinds[i].magic));
        assert_int_equal(boot_detect(image, 2048, &format, &err), -EINVAL);
        assert_non_null(strstr(err.text, kinds[i].said));
    }
    assert_int_equal(boot_detect(image, 0, &format, &err), -EINVAL);
    assert_int_equal(boot_detect(image, 1, &format, &err), -EINVAL);
}

static void the_bios_data_area_says_where_conventional_memory_ends(void **state)
{
    struct fake_machine m;

    (void)state;
    fake_machine_init(&m, 64);
    assert_int_equal(load(&m, fake_bzimage(image, true), NULL), 0);
    assert_int_equal(fake_machine_get32(&m, 0x40e) & 0xffff, PC_EBDA >> 4);
    assert_int_equal(fake_machine_get32(&m, 0x413) & 0xffff, 639);
    fake_machine_fini(&m);
}

/* The hidden state must be what loading the selectors again would give. */
static void segments_are_those_of_the_gdt_in_memory(void **state)
{
    struct fake_machine m;

    (void)state;
    for (int is64 = 0; is64 < 2; is64++) {
        uint64_t code, data, tss;

        fake_machine_init(&m, 64);
        assert_int_equal(load(&m, fake_bzimage(image, is64), NULL), 0);
        assert_true(m.st.gdtr.limit >= 0x27);
        code = fake_machine_get64(&m, m.st.gdtr.base + 0x10);
        data = fake_machine_get64(&m, m.st.gdtr.base + 0x18);
        tss = fake_machine_get64(&m, m.st.gdtr.base + 0x20);
        assert_true(code == (is64 ? 0x00af9b000000ffff : 0x00cf9b000000ffff));
        assert_true(data == 0x00cf93000000ffff);
        assert_int_equal(m.st.seg[X86_CS].attr, is64 ? 0xa09b : 0xc09b);
        assert_int_equal(m.st.seg[X86_SS].attr, 0xc093);
        assert_int_equal(tss >> 40 & 0xff, m.st.tr.attr);
        assert_true((tss >> 16 & 0xffffff) == m.st.tr.base);
        assert_int_equal(tss & 0xffff, m.st.tr.limit);
        fake_machine_fini(&m);
    }
}

static void the_first_4_gib_are_mapped_to_themselves(void **state)
{
    struct fake_machine m;

    (void)state;
    fake_machine_init(&m, 64);
    assert_int_equal(load(&m, fake_bzimage(image, true), NULL), 0);
    for (uint64_t va = 0; va < PC_4G; va += (uint64_t)1 << 21) {
        uint64_t e = fake_machine_get64(&m, m.st.cr3);

        e = fake_machine_get64(&m, (e & ~0xfffull) + (va >> 30) * 8);
        assert_int_equal(e & 3, 3);
        e = fake_machine_get64(&m, (e & ~0xfffull) + (va >> 21 & 511) * 8);
        assert_true(e == (va | 0x83));
    }
    fake_machine_fini(&m);
}

static void pvh_kernels_get_their_start_info(void **state)
{
    struct fake_machine m;
    gpa_t si, mod, map;
    char text[8];

    (void)state;
    fake_machine_init(&m, 64);
    assert_int_equal(load(&m, fake_elf64(image, FAKE_ELF_PVH), "ramdisk"), 0);
    assert_true(m.st.rip == 0x100000);
    assert_int_equal(m.st.cr0 & X86_CR0_PG, 0);
    si = m.st.gpr[X86_RBX];
    assert_int_equal(fake_machine_get32(&m, si), 0x336ec578);
    assert_int_equal(fake_machine_get32(&m, si + 4), 1);
    assert_int_equal(fake_machine_get32(&m, si + 12), 1);
    mod = fake_machine_get64(&m, si + 16);
    assert_true(fake_machine_get64(&m, mod + 8) == 7);
    assert_int_equal(gmem_read(&m.gm, fake_machine_get64(&m, mod), text, 8), 0);
    assert_memory_equal(text, "ramdisk", 7);
    assert_int_equal(gmem_read(&m.gm, fake_machine_get64(&m, si + 24), text, 4),
                     0);
    assert_string_equal(text, "a b");
    assert_true(fake_machine_get64(&m, si + 32) == PC_TABLES);
    map = fake_machine_get64(&m, si + 40);
    assert_int_equal(fake_machine_get32(&m, si + 48), m.layout.nr_e820);
    assert_true(fake_machine_get64(&m, map + 24) == m.layout.e820[1].start);
    fake_machine_fini(&m);
}

static void multiboot_kernels_get_their_information(void **state)
{
    struct fake_machine m;
    gpa_t mbi, mod, map, end;
    unsigned entries = 0;
    char text[8];

    (void)state;
    fake_machine_init(&m, 64);
    assert_int_equal(load(&m, fake_elf32(image, FAKE_ELF_MULTIBOOT), "ramdisk"),
                     0);
    assert_int_equal(m.st.gpr[X86_RAX], 0x2badb002);
    assert_true(m.st.rip == 0x100000);
    mbi = m.st.gpr[X86_RBX];
    assert_int_equal(fake_machine_get32(&m, mbi) & 0x4d, 0x4d);
    assert_int_equal(fake_machine_get32(&m, mbi + 4), 639);
    assert_int_equal(fake_machine_get32(&m, mbi + 8), 63 * 1024);
    assert_int_equal(
        gmem_read(&m.gm, fake_machine_get32(&m, mbi + 16), text, 7), 0);
    assert_string_equal(text, "/k a b");
    assert_int_equal(fake_machine_get32(&m, mbi + 20), 1);
    mod = fake_machine_get32(&m, mbi + 24);
    assert_int_equal(fake_machine_get32(&m, mod) % 4096, 0);
    assert_int_equal(
        fake_machine_get32(&m, mod + 4) - fake_machine_get32(&m, mod), 7);
    assert_int_equal(gmem_read(&m.gm, fake_machine_get32(&m, mod + 8), text, 3),
                     0);
    assert_string_equal(text, "/i");
    map = fake_machine_get32(&m, mbi + 48);
    for (end = map + fake_machine_get32(&m, mbi + 44); map < end;
         map += fake_machine_get32(&m, map) + 4)
        entries++;
    assert_int_equal(entries, m.layout.nr_e820);
    fake_machine_fini(&m);
}

static void the_kludge_loads_what_its_addresses_say(void **state)
{
    struct fake_machine m;
    size_t len = fake_kludge(image, 0x200000, 0x200028, 0x203000, 0x200020);

    (void)state;
    fake_machine_init(&m, 64);
    assert_int_equal(load(&m, len, NULL), 0);
    assert_true(m.st.rip == 0x200020);
    assert_true(fake_machine_get64(&m, 0x200020) == get_le64("KERNEL!"));
    assert_true(bootmem_claim(&m.bm, 0x202fff, 1, "it", &m.err) < 0);
    assert_int_equal(bootmem_claim(&m.bm, 0x203000, 1, "it", &m.err), 0);
    fake_machine_fini(&m);
}

static void kludges_that_contradict_themselves_are_refused(void **state)
{
    static const uint32_t bad[][4] = {
        /* load, end, bss, entry */
        {0x100000, 0x100029, 0, 0x100020},   /* longer than the file */
        {0x100000, 0xfffff, 0, 0x100020},    /* ends before it begins */
        {0x100000, 0, 0x100010, 0x100020},   /* bss inside */
        {0x100000, 0, 0xfffff, 0x100020},    /* bss before */
        {0x100000, 0, 0xffffffff, 0x100020}, /* bss over memory */
        {0xfffffff0, 0, 0, 0x100020},        /* over 4 GiB */
        {0xe0000, 0, 0, 0xe0020},            /* over the ACPI tables */
        {0x100000, 0, 0, 0xffffffff},        /* entry in no memory */
        {0, 0, 0, 0x20},                     /* over the vectors */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct fake_machine m;
        size_t len =
            fake_kludge(image, bad[i][0], bad[i][1], bad[i][2], bad[i][3]);

        fake_machine_init(&m, 64);
        assert_true(load(&m, len, NULL) < 0);
        assert_true(m.err.text[0] != '\0');
        fake_machine_fini(&m);
    }
}

static void an_initrd_that_does_not_fit_is_refused(void **state)
{
    static char big[(2 << 20) + 2];
    struct fake_machine m;

    (void)state;
    memset(big, 'x', sizeof(big) - 1);
    for (int i = 0; i < 2; i++) {
        size_t len = i ? fake_elf32(image, FAKE_ELF_MULTIBOOT)
                       : fake_elf32(image, FAKE_ELF_PVH);

        fake_machine_init(&m, 3);
        assert_int_equal(load(&m, len, big), -ENOSPC);
        assert_non_null(strstr(m.err.text, "initrd"));
        fake_machine_fini(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_are_told_by_content),
        cmocka_unit_test(what_is_no_kernel_is_said_to_be_something),
        cmocka_unit_test(
            the_bios_data_area_says_where_conventional_memory_ends),
        cmocka_unit_test(segments_are_those_of_the_gdt_in_memory),
        cmocka_unit_test(the_first_4_gib_are_mapped_to_themselves),
        cmocka_unit_test(pvh_kernels_get_their_start_info),
        cmocka_unit_test(multiboot_kernels_get_their_information),
        cmocka_unit_test(the_kludge_loads_what_its_addresses_say),
        cmocka_unit_test(kludges_that_contradict_themselves_are_refused),
        cmocka_unit_test(an_initrd_that_does_not_fit_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
