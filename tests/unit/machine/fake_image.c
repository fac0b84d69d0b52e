#include "tests/unit/machine/fake_image.h"

#include <elf.h>
#include <string.h>

#include "base/endian.h"

size_t fake_bzimage(uint8_t *buf, bool entry64)
{
    enum { KERNEL = 0x240, PAYLOAD = 0x210 };

    memset(buf, 0, FAKE_BZIMAGE_SETUP + KERNEL);
    buf[0x1f1] = 1; /* setup sectors */
    put_le32(buf + 0x1f4, KERNEL / 16);
    put_le16(buf + 0x1fe, 0xaa55);
    memcpy(buf + 0x200, "\xeb\x6aHdrS", 6);
    put_le16(buf + 0x206, 0x020f);
    buf[0x211] = 1;
    put_le32(buf + 0x22c, 0x7fffffff);
    put_le16(buf + 0x236, entry64 ? 1 : 0);
    put_le32(buf + 0x238, 100);
    put_le32(buf + 0x248, PAYLOAD);
    put_le32(buf + 0x24c, 16);
    put_le64(buf + 0x258, 0x1000000);
    put_le32(buf + 0x260, 0x100000);
    memcpy(buf + FAKE_BZIMAGE_SETUP, "KERNEL!", 8);
    memcpy(buf + FAKE_BZIMAGE_SETUP + PAYLOAD, "\x28\xb5\x2f\xfd", 4);
    return FAKE_BZIMAGE_SETUP + KERNEL;
}

static size_t put_multiboot(uint8_t *p, uint32_t flags)
{
    put_le32(p, 0x1badb002);
    put_le32(p + 4, flags);
    put_le32(p + 8, 0u - 0x1badb002u - flags);
    return 12;
}

/* The bytes of the segment, and of the note behind it. */
static size_t put_segment(uint8_t *p, enum fake_elf kind)
{
    size_t len = kind == FAKE_ELF_MULTIBOOT ? put_multiboot(p, 3) : 0;

    memcpy(p + len, "KERNEL!", 8);
    return len + 8;
}

static size_t put_note(uint8_t *p, enum fake_elf kind, uint32_t desc_len)
{
    if (kind != FAKE_ELF_PVH)
        return 0;
    put_le32(p, 4);
    put_le32(p + 4, desc_len);
    put_le32(p + 8, 18);
    memcpy(p + 12, "Xen", 4);
    put_le64(p + 16, 0x100000);
    return 16 + desc_len;
}

size_t fake_elf32(uint8_t *buf, enum fake_elf kind)
{
    Elf32_Ehdr eh = {
        .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_EXEC,
        .e_machine = EM_386,
        .e_version = EV_CURRENT,
        .e_entry = 0xc0100000,
        .e_phoff = sizeof(eh),
        .e_ehsize = sizeof(eh),
        .e_phentsize = sizeof(Elf32_Phdr),
        .e_phnum = kind == FAKE_ELF_PVH ? 2 : 1};
    size_t off = sizeof(eh) + 2 * sizeof(Elf32_Phdr);
    size_t seg = put_segment(buf + off, kind);
    size_t note = put_note(buf + off + seg, kind, 4);
    Elf32_Phdr ph[2] = {{.p_type = PT_LOAD,
                         .p_offset = (uint32_t)off,
                         .p_vaddr = 0xc0100000,
                         .p_paddr = 0x100000,
                         .p_filesz = (uint32_t)seg,
                         .p_memsz = 0x2000},
                        {.p_type = PT_NOTE,
                         .p_offset = (uint32_t)(off + seg),
                         .p_filesz = (uint32_t)note,
                         .p_align = 4}};

    memcpy(buf, &eh, sizeof(eh));
    memcpy(buf + sizeof(eh), ph, sizeof(ph));
    return off + seg + note;
}

size_t fake_elf64(uint8_t *buf, enum fake_elf kind)
{
    Elf64_Ehdr eh = {
        .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_EXEC,
        .e_machine = EM_X86_64,
        .e_version = EV_CURRENT,
        .e_entry = 0xffffffff80100000,
        .e_phoff = sizeof(eh),
        .e_ehsize = sizeof(eh),
        .e_phentsize = sizeof(Elf64_Phdr),
        .e_phnum = kind == FAKE_ELF_PVH ? 2 : 1};
    size_t off = sizeof(eh) + 2 * sizeof(Elf64_Phdr);
    size_t seg = put_segment(buf + off, kind);
    size_t note = put_note(buf + off + seg, kind, 8);
    Elf64_Phdr ph[2] = {{.p_type = PT_LOAD,
                         .p_offset = off,
                         .p_vaddr = 0xffffffff80100000,
                         .p_paddr = 0x100000,
                         .p_filesz = seg,
                         .p_memsz = 0x2000},
                        {.p_type = PT_NOTE,
                         .p_offset = off + seg,
                         .p_filesz = note,
                         .p_align = 8}};

    memcpy(buf, &eh, sizeof(eh));
    memcpy(buf + sizeof(eh), ph, sizeof(ph));
    return off + seg + note;
}

size_t fake_kludge(uint8_t *buf, uint32_t load, uint32_t load_end,
                   uint32_t bss_end, uint32_t entry)
{
    size_t len = put_multiboot(buf, 0x10000);

    put_le32(buf + len, load); /* the header is the first that is loaded */
    put_le32(buf + len + 4, load);
    put_le32(buf + len + 8, load_end);
    put_le32(buf + len + 12, bss_end);
    put_le32(buf + len + 16, entry);
    memcpy(buf + len + 20, "KERNEL!", 8);
    return len + 28;
}
