/*
 * Multiboot 1 (Multiboot Specification 0.6.96): ELF32 images, ELF64 images
 * whose entry is 32-bit code, and flat images whose header gives the addresses
 * (the a.out kludge). No video mode is set; a kernel that needs one is
 * refused.
 */
#include "machine/boot_multiboot.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "machine/boot.h"
#include "machine/boot_cpu.h"
#include "machine/elf.h"

/* 3.1: the header, on a multiple of 4 in the first 8 KiB */
enum {
    MBH_SEARCH = 8192,
    MBH_FLAGS = 4,
    MBH_CHECKSUM = 8,
    MBH_SIZE = 12,
    MBH_HEADER_ADDR = 12,
    MBH_LOAD_ADDR = 16,
    MBH_LOAD_END = 20,
    MBH_BSS_END = 24,
    MBH_ENTRY = 28,
    MBH_KLUDGE_SIZE = 32
};
#define MBH_MAGIC    0x1badb002u
#define MBH_F_ALIGN  0x00000001u
#define MBH_F_MEMORY 0x00000002u
#define MBH_F_KLUDGE 0x00010000u
/* Bits 0..15 must be understood; video (bit 2) is not. */
#define MBH_F_MANDATORY  0x0000ffffu
#define MBH_F_UNDERSTOOD (MBH_F_ALIGN | MBH_F_MEMORY)

/* 3.2: the machine state; 3.3: the information block */
#define MB_EAX_MAGIC 0x2badb002u
enum {
    MBI_FLAGS = 0,
    MBI_MEM_LOWER = 4,
    MBI_MEM_UPPER = 8,
    MBI_CMDLINE = 16,
    MBI_MODS_COUNT = 20,
    MBI_MODS_ADDR = 24,
    MBI_MMAP_LENGTH = 44,
    MBI_MMAP_ADDR = 48,
    MBI_LOADER_NAME = 64,
    MBI_SIZE = 116
};
#define MBI_F_MEM     0x001u
#define MBI_F_CMDLINE 0x004u
#define MBI_F_MODS    0x008u
#define MBI_F_MMAP    0x040u
#define MBI_F_LOADER  0x200u

enum { MMAP_ENTRY_SIZE = 24, MODULE_SIZE = 16 };

/* The block: information, one module, memory map, name, then the command
 * line. */
enum {
    BLOCK_MODULE = 128,
    BLOCK_NAME = BLOCK_MODULE + MODULE_SIZE,
    BLOCK_MMAP = BLOCK_NAME + 16,
    BLOCK_SIZE = BLOCK_MMAP + MEMLAYOUT_MAX_E820 * MMAP_ENTRY_SIZE
};
static const char loader_name[] = "husk";

/* The offset of the header, or -1. */
static long find_header(const uint8_t *buf, size_t len)
{
    size_t end = len < MBH_SEARCH ? len : MBH_SEARCH;

    for (size_t off = 0; off + MBH_SIZE <= end; off += 4) {
        uint32_t sum = get_le32(buf + off) + get_le32(buf + off + MBH_FLAGS) +
                       get_le32(buf + off + MBH_CHECKSUM);

        if (get_le32(buf + off) == MBH_MAGIC && sum == 0)
            return (long)off;
    }
    return -1;
}

bool boot_multiboot_probe(const uint8_t *buf, size_t len)
{
    return find_header(buf, len) >= 0;
}

/* 3.1.3: the part of the file that is loaded, and where. */
struct kludge {
    size_t file_off;
    uint64_t load, file_len, mem_len;
    uint32_t entry;
};

static int parse_kludge(struct kludge *k, const uint8_t *buf, size_t len,
                        size_t off, struct err *err)
{
    uint32_t header, load, load_end, bss_end;

    if (len - off < MBH_KLUDGE_SIZE)
        return err_set(err, -EINVAL, "its Multiboot header is truncated");
    header = get_le32(buf + off + MBH_HEADER_ADDR);
    load = get_le32(buf + off + MBH_LOAD_ADDR);
    load_end = get_le32(buf + off + MBH_LOAD_END);
    bss_end = get_le32(buf + off + MBH_BSS_END);
    k->entry = get_le32(buf + off + MBH_ENTRY);
    if (header < load || header - load > off)
        return err_set(err, -EINVAL,
                       "its Multiboot addresses are invalid (it would begin "
                       "before the file)");
    k->load = load;
    k->file_off = off - (header - load);
    /* 0 means: to the end of the file */
    k->file_len = load_end ? (uint64_t)load_end - load : len - k->file_off;
    if ((load_end && load_end < load) || k->file_len > len - k->file_off)
        return err_set(err, -EINVAL,
                       "it is truncated: its Multiboot header asks for more "
                       "than the file has");
    k->mem_len = k->file_len;
    if (bss_end) {
        if (bss_end < load || bss_end - load < k->file_len)
            return err_set(err, -EINVAL,
                           "its Multiboot addresses are invalid (bss)");
        k->mem_len = bss_end - load;
    }
    return 0;
}

static int load_kludge(struct bootmem *bm, const struct boot_source *src,
                       size_t off, uint64_t *entry, gpa_t *end, struct err *err)
{
    struct kludge k = {0};
    int rc = parse_kludge(&k, src->kernel, src->kernel_len, off, err);

    if (rc < 0)
        return rc;
    rc = bootmem_claim(bm, k.load, k.mem_len, "its Multiboot image", err);
    if (rc < 0)
        return rc;
    *entry = k.entry;
    *end = k.load + k.mem_len;
    return bootmem_load(bm, k.load, src->kernel + k.file_off,
                        (size_t)k.file_len, "its Multiboot image", err);
}

static int load_elf(struct bootmem *bm, const struct boot_source *src,
                    uint64_t *entry, gpa_t *end, struct err *err)
{
    struct elf elf;
    int rc = elf_open(&elf, src->kernel, src->kernel_len, err);

    if (rc < 0)
        return rc;
    *entry = elf_phys_entry(&elf);
    return elf_load(&elf, bm, end, err);
}

static int load_kernel(struct bootmem *bm, const struct boot_source *src,
                       uint64_t *entry, gpa_t *end, struct err *err)
{
    long off = find_header(src->kernel, src->kernel_len);
    uint32_t flags;
    int rc;

    if (off < 0)
        return err_set(err, -EINVAL, "it has no Multiboot header");
    flags = get_le32(src->kernel + off + MBH_FLAGS);
    if (flags & MBH_F_MANDATORY & ~MBH_F_UNDERSTOOD)
        return err_set(err, -EINVAL,
                       "its Multiboot header asks for what husk does not "
                       "offer (flags 0x%" PRIx32 ")",
                       flags);
    if (flags & MBH_F_KLUDGE)
        rc = load_kludge(bm, src, (size_t)off, entry, end, err);
    else if (elf_probe(src->kernel, src->kernel_len))
        rc = load_elf(bm, src, entry, end, err);
    else
        rc = err_set(err, -EINVAL,
                     "its Multiboot header gives no addresses and it is no "
                     "ELF file");
    if (rc < 0)
        return rc;
    if (*entry >= PC_4G || !gmem_bank(bm->gm, *entry, 1))
        return err_set(err, -EINVAL,
                       "its entry 0x%" PRIx64 " is outside the guest's memory",
                       *entry);
    return 0;
}

static void put_mmap(uint8_t *p, const struct memlayout *ml)
{
    for (unsigned i = 0; i < ml->nr_e820; i++, p += MMAP_ENTRY_SIZE) {
        put_le32(p, MMAP_ENTRY_SIZE - 4);
        put_le64(p + 4, ml->e820[i].start);
        put_le64(p + 12, ml->e820[i].len);
        put_le32(p + 20, ml->e820[i].type);
    }
}

static void put_module(uint8_t *block, uint32_t string, gpa_t initrd,
                       size_t len)
{
    put_le32(block + MBI_MODS_COUNT, 1);
    put_le32(block + BLOCK_MODULE, (uint32_t)initrd);
    put_le32(block + BLOCK_MODULE + 4, (uint32_t)(initrd + len));
    put_le32(block + BLOCK_MODULE + 8, string);
}

static void put_info(uint8_t *block, uint32_t at, const struct memlayout *ml,
                     bool module)
{
    put_le32(block + MBI_FLAGS, MBI_F_MEM | MBI_F_CMDLINE | MBI_F_MMAP |
                                    MBI_F_LOADER | (module ? MBI_F_MODS : 0u));
    put_le32(block + MBI_MEM_LOWER, PC_EBDA >> 10);
    put_le32(block + MBI_MEM_UPPER,
             (uint32_t)((ml->low_end - PC_TABLES_END) >> 10));
    put_le32(block + MBI_MODS_ADDR, at + BLOCK_MODULE);
    put_le32(block + MBI_MMAP_LENGTH, ml->nr_e820 * MMAP_ENTRY_SIZE);
    put_le32(block + MBI_MMAP_ADDR, at + BLOCK_MMAP);
    put_le32(block + MBI_LOADER_NAME, at + BLOCK_NAME);
    memcpy(block + BLOCK_NAME, loader_name, sizeof(loader_name));
    put_mmap(block + BLOCK_MMAP, ml);
}

/* Behind the block: the module's name, then the command line, which begins with
 * the kernel's name, as loaders have it (3.3). *len with both final zeros. */
static char *make_strings(const struct boot_source *src, size_t *len)
{
    char *s = NULL;
    int n = asprintf(&s, "%s%c%s %s", src->initrd_name, 0, src->kernel_name,
                     src->cmdline);

    if (n < 0)
        return NULL;
    *len = (size_t)n + 1;
    return s;
}

static int load_info(struct bootmem *bm, const struct boot_source *src,
                     gpa_t initrd, gpa_t *out, struct err *err)
{
    static const char what[] = "the Multiboot information";
    uint8_t block[BLOCK_SIZE] = {0};
    size_t len = 0;
    char *strings = make_strings(src, &len);
    uint32_t at;
    int rc;

    if (!strings)
        return err_set(err, -ENOMEM, "out of memory");
    rc = bootmem_place_low(bm, BLOCK_SIZE + len, what, out, err);
    if (rc < 0)
        goto end;
    at = (uint32_t)*out;
    put_info(block, at, bm->layout, src->initrd != NULL);
    put_le32(block + MBI_CMDLINE,
             at + BLOCK_SIZE + (uint32_t)strlen(strings) + 1);
    if (src->initrd)
        put_module(block, at + BLOCK_SIZE, initrd, src->initrd_len);
    rc = bootmem_load(bm, *out, block, sizeof(block), what, err);
    if (rc == 0)
        rc = bootmem_load(bm, *out + BLOCK_SIZE, strings, len, what, err);
end:
    free(strings);
    return rc;
}

int boot_multiboot_load(struct bootmem *bm, const struct boot_source *src,
                        struct x86_state *st, struct err *err)
{
    /* Modules follow the kernel, on a page boundary (3.1.2, bit 0), as GRUB
     * places them. */
    struct boot_range range = {.end = PC_4G};
    uint64_t entry = 0;
    gpa_t initrd = 0, info = 0;
    int rc = load_kernel(bm, src, &entry, &range.min, err);

    if (rc < 0)
        return rc;
    if (range.min < PC_TABLES_END)
        range.min = PC_TABLES_END;
    rc = boot_load_initrd(bm, src, &range, &initrd, err);
    if (rc < 0)
        return rc;
    rc = load_info(bm, src, initrd, &info, err);
    if (rc < 0)
        return rc;
    st->gpr[X86_RAX] = MB_EAX_MAGIC;
    st->gpr[X86_RBX] = info;
    return boot_cpu_protected(bm, st, (uint32_t)entry, err);
}
