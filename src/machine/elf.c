#include "machine/elf.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/endian.h"

/* More program headers than any kernel has; bootmem holds fewer claims. */
enum { ELF_MAX_PHNUM = 64 };

/* Xen: public/elfnote.h, XEN_ELFNOTE_PHYS32_ENTRY */
enum { PVH_NOTE_TYPE = 18 };

static const struct {
    uint16_t machine;
    const char *name;
} machines[] = {
    {EM_AARCH64, "arm64"}, {EM_ARM, "32-bit ARM"},
    {EM_RISCV, "RISC-V"},  {EM_PPC64, "64-bit PowerPC"},
    {EM_PPC, "PowerPC"},   {EM_S390, "IBM Z"},
    {EM_MIPS, "MIPS"},     {EM_SPARCV9, "SPARC"},
    {258, "LoongArch"},
};

bool elf_probe(const uint8_t *buf, size_t len)
{
    return len >= SELFMAG && memcmp(buf, ELFMAG, SELFMAG) == 0;
}

static int refuse_machine(uint16_t machine, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(machines); i++)
        if (machines[i].machine == machine)
            return err_set(err, -EINVAL, "it is an ELF file for %s",
                           machines[i].name);
    return err_set(err, -EINVAL, "it is an ELF file for another machine (%u)",
                   machine);
}

static int check_ident(struct elf *elf, struct err *err)
{
    uint8_t class;

    if (elf->len < sizeof(Elf32_Ehdr))
        return err_set(err, -EINVAL, "its ELF header is truncated");
    class = elf->buf[EI_CLASS];
    if (elf->buf[EI_DATA] != ELFDATA2LSB)
        return err_set(err, -EINVAL, "it is a big-endian ELF file");
    if (class != ELFCLASS32 && class != ELFCLASS64)
        return err_set(err, -EINVAL, "its ELF class %u is invalid", class);
    elf->is64 = class == ELFCLASS64;
    if (elf->is64 && elf->len < sizeof(Elf64_Ehdr))
        return err_set(err, -EINVAL, "its ELF header is truncated");
    return 0;
}

static int check_machine(const struct elf *elf, struct err *err)
{
    uint16_t type = get_le16(elf->buf + offsetof(Elf32_Ehdr, e_type));
    uint16_t machine = get_le16(elf->buf + offsetof(Elf32_Ehdr, e_machine));

    if (machine != EM_386 && machine != EM_X86_64)
        return refuse_machine(machine, err);
    if (type != ET_EXEC && type != ET_DYN)
        return err_set(err, -EINVAL,
                       "it is an ELF file, but not an executable");
    return 0;
}

int elf_open(struct elf *elf, const uint8_t *buf, size_t len, struct err *err)
{
    int rc;

    *elf = (struct elf){.buf = buf, .len = len};
    rc = check_ident(elf, err);
    if (rc < 0)
        return rc;
    rc = check_machine(elf, err);
    if (rc < 0)
        return rc;
    if (elf->is64) {
        elf->entry = get_le64(buf + offsetof(Elf64_Ehdr, e_entry));
        elf->phoff = get_le64(buf + offsetof(Elf64_Ehdr, e_phoff));
        elf->phentsize = get_le16(buf + offsetof(Elf64_Ehdr, e_phentsize));
        elf->phnum = get_le16(buf + offsetof(Elf64_Ehdr, e_phnum));
    } else {
        elf->entry = get_le32(buf + offsetof(Elf32_Ehdr, e_entry));
        elf->phoff = get_le32(buf + offsetof(Elf32_Ehdr, e_phoff));
        elf->phentsize = get_le16(buf + offsetof(Elf32_Ehdr, e_phentsize));
        elf->phnum = get_le16(buf + offsetof(Elf32_Ehdr, e_phnum));
    }
    if (elf->phnum == 0 || elf->phnum > ELF_MAX_PHNUM ||
        elf->phentsize < (elf->is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)))
        return err_set(err, -EINVAL, "its ELF program headers are invalid");
    if (elf->phoff > len ||
        (uint64_t)elf->phnum * elf->phentsize > len - elf->phoff)
        return err_set(err, -EINVAL, "it is a truncated ELF file");
    return 0;
}

static struct elf_segment segment(const struct elf *elf, unsigned i)
{
    const uint8_t *p = elf->buf + elf->phoff + (size_t)i * elf->phentsize;

    if (elf->is64)
        return (struct elf_segment){
            .type = get_le32(p + offsetof(Elf64_Phdr, p_type)),
            .offset = get_le64(p + offsetof(Elf64_Phdr, p_offset)),
            .vaddr = get_le64(p + offsetof(Elf64_Phdr, p_vaddr)),
            .paddr = get_le64(p + offsetof(Elf64_Phdr, p_paddr)),
            .filesz = get_le64(p + offsetof(Elf64_Phdr, p_filesz)),
            .memsz = get_le64(p + offsetof(Elf64_Phdr, p_memsz)),
            .align = get_le64(p + offsetof(Elf64_Phdr, p_align)),
        };
    return (struct elf_segment){
        .type = get_le32(p + offsetof(Elf32_Phdr, p_type)),
        .offset = get_le32(p + offsetof(Elf32_Phdr, p_offset)),
        .vaddr = get_le32(p + offsetof(Elf32_Phdr, p_vaddr)),
        .paddr = get_le32(p + offsetof(Elf32_Phdr, p_paddr)),
        .filesz = get_le32(p + offsetof(Elf32_Phdr, p_filesz)),
        .memsz = get_le32(p + offsetof(Elf32_Phdr, p_memsz)),
        .align = get_le32(p + offsetof(Elf32_Phdr, p_align)),
    };
}

static bool in_file(const struct elf *elf, const struct elf_segment *s)
{
    return s->offset <= elf->len && s->filesz <= elf->len - s->offset;
}

/* Find the PVH note among the notes of one segment. Each round takes at least
 * the 12 bytes of a note header from the segment. */
static bool pvh_note(const uint8_t *p, size_t len, size_t align,
                     uint64_t *entry)
{
    while (len >= sizeof(Elf32_Nhdr)) {
        uint64_t namesz = get_le32(p);
        uint64_t descsz = get_le32(p + 4);
        uint32_t type = get_le32(p + 8);
        uint64_t desc = (sizeof(Elf32_Nhdr) + namesz + align - 1) & -align;
        uint64_t next = (desc + descsz + align - 1) & -align;

        if (desc > len || descsz > len - desc)
            return false;
        if (type == PVH_NOTE_TYPE && namesz == 4 &&
            memcmp(p + sizeof(Elf32_Nhdr), "Xen", 4) == 0 &&
            (descsz == 4 || descsz == 8)) {
            *entry = descsz == 4 ? get_le32(p + desc) : get_le64(p + desc);
            return true;
        }
        if (next >= len)
            return false;
        p += next;
        len -= next;
    }
    return false;
}

bool elf_pvh_entry(const struct elf *elf, uint64_t *entry)
{
    for (unsigned i = 0; i < elf->phnum; i++) {
        struct elf_segment s = segment(elf, i);

        if (s.type == PT_NOTE && in_file(elf, &s) &&
            pvh_note(elf->buf + s.offset, s.filesz, s.align == 8 ? 8 : 4,
                     entry))
            return true;
    }
    return false;
}

int elf_load(const struct elf *elf, struct bootmem *bm, gpa_t *end,
             struct err *err)
{
    int rc;

    *end = 0;
    for (unsigned i = 0; i < elf->phnum; i++) {
        struct elf_segment s = segment(elf, i);

        if (s.type != PT_LOAD || s.memsz == 0)
            continue;
        if (!in_file(elf, &s))
            return err_set(err, -EINVAL, "it is a truncated ELF file");
        if (s.filesz > s.memsz)
            return err_set(err, -EINVAL, "its ELF segment %u is invalid", i);
        rc = bootmem_claim(bm, s.paddr, s.memsz, "its ELF segment", err);
        if (rc < 0)
            return rc;
        rc = bootmem_load(bm, s.paddr, elf->buf + s.offset, s.filesz,
                          "its ELF segment", err);
        if (rc < 0)
            return rc;
        if (s.paddr + s.memsz > *end)
            *end = s.paddr + s.memsz;
    }
    if (*end == 0)
        return err_set(err, -EINVAL, "its ELF file has nothing to load");
    return 0;
}

uint64_t elf_phys_entry(const struct elf *elf)
{
    for (unsigned i = 0; i < elf->phnum; i++) {
        struct elf_segment s = segment(elf, i);

        if (s.type == PT_LOAD && elf->entry >= s.vaddr &&
            elf->entry - s.vaddr < s.memsz)
            return elf->entry - s.vaddr + s.paddr;
    }
    return elf->entry;
}
