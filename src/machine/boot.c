#include "machine/boot.h"

#include <errno.h>
#include <string.h>

#include "base/endian.h"
#include "machine/boot_linux.h"
#include "machine/boot_multiboot.h"
#include "machine/elf.h"

/* The BIOS data area: size of conventional memory and segment of the EBDA
 * (IBM PS/2 and PC BIOS Interface Technical Reference, "BIOS Data Area"). */
#define BDA_EBDA_SEG 0x40e
#define BDA_MEM_KIB  0x413

/* Kernels that people try by mistake: their magic at a fixed place. */
static const struct {
    size_t off;
    const char *magic;
    size_t len;
    const char *what;
} foreign[] = {
    {0x38, "ARM\x64", 4, "it is a kernel for arm64"},
    {0x38, "RSC\x05", 4, "it is a kernel for RISC-V"},
    {0x24, "\x18\x28\x6f\x01", 4, "it is a kernel for 32-bit ARM"},
    {4, "zimg", 4, "it is a compressed EFI kernel, which no x86 kernel is"},
    {0, "\x27\x05\x19\x56", 4, "it is a U-Boot image"},
    {0, "\x1f\x8b", 2, "it is gzip data: unpack it first"},
    {0, "\xfd\x37zXZ", 5, "it is xz data: unpack it first"},
    {0, "\x28\xb5\x2f\xfd", 4, "it is zstd data: unpack it first"},
    {0, "QFI\xfb", 4, "it is a qcow2 disk image"},
    {0x8001, "CD001", 5, "it is a CD image"},
};

static const char *foreign_kind(const uint8_t *buf, size_t len)
{
    for (size_t i = 0; i < ARRAY_LEN(foreign); i++)
        if (len >= foreign[i].off + foreign[i].len &&
            memcmp(buf + foreign[i].off, foreign[i].magic, foreign[i].len) == 0)
            return foreign[i].what;
    return NULL;
}

static int detect_elf(const uint8_t *buf, size_t len, enum boot_format *out,
                      struct err *err)
{
    struct elf elf;
    uint64_t entry = 0;
    int rc = elf_open(&elf, buf, len, err);

    if (rc < 0)
        return rc;
    if (elf_pvh_entry(&elf, &entry)) {
        *out = BOOT_PVH;
        return 0;
    }
    return err_set(err, -EINVAL,
                   "it is an ELF file with neither a PVH entry note nor a "
                   "Multiboot header");
}

int boot_detect(const uint8_t *buf, size_t len, enum boot_format *out,
                struct err *err)
{
    const char *kind;

    if (len == 0)
        return err_set(err, -EINVAL, "it is empty");
    if (boot_linux_probe(buf, len)) {
        *out = BOOT_LINUX;
        return 0;
    }
    if (boot_multiboot_probe(buf, len)) {
        *out = BOOT_MULTIBOOT;
        return 0;
    }
    if (elf_probe(buf, len))
        return detect_elf(buf, len, out, err);
    kind = foreign_kind(buf, len);
    if (kind)
        return err_set(err, -EINVAL, "%s", kind);
    return err_set(err, -EINVAL,
                   "it is no kernel that husk knows (bzImage, ELF with a PVH "
                   "entry, Multiboot)");
}

static int load_bda(struct bootmem *bm, struct err *err)
{
    uint8_t seg[2], kib[2];
    int rc;

    put_le16(seg, PC_EBDA >> 4);
    put_le16(kib, PC_EBDA >> 10);
    rc = bootmem_load(bm, BDA_EBDA_SEG, seg, 2, "the BIOS data area", err);
    if (rc < 0)
        return rc;
    return bootmem_load(bm, BDA_MEM_KIB, kib, 2, "the BIOS data area", err);
}

int boot_load_initrd(struct bootmem *bm, const struct boot_source *src,
                     const struct boot_range *range, gpa_t *out,
                     struct err *err)
{
    const struct bootmem_want want = {.what = "the initrd",
                                      .len = src->initrd_len,
                                      .min = range->min,
                                      .end = range->end,
                                      .high = range->high};
    int rc;

    if (!src->initrd)
        return 0;
    if (src->initrd_len == 0)
        return err_set(err, -EINVAL, "the initrd is empty");
    rc = bootmem_place(bm, &want, out, err);
    if (rc < 0)
        return rc;
    return bootmem_load(bm, *out, src->initrd, src->initrd_len, want.what, err);
}

int boot_load(struct bootmem *bm, const struct boot_source *src,
              struct x86_state *st, struct err *err)
{
    static int (*const load[BOOT_NR_FORMATS])(
        struct bootmem *, const struct boot_source *, struct x86_state *,
        struct err *) = {
        [BOOT_LINUX] = boot_linux_load,
        [BOOT_PVH] = boot_pvh_load,
        [BOOT_MULTIBOOT] = boot_multiboot_load,
    };
    enum boot_format format = BOOT_LINUX;
    int rc = boot_detect(src->kernel, src->kernel_len, &format, err);

    if (rc < 0)
        return rc;
    rc = load_bda(bm, err);
    if (rc < 0)
        return rc;
    return load[format](bm, src, st, err);
}
