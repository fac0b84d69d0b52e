/*
 * ELF kernels with a PVH entry note, as Linux's vmlinux has one (Xen:
 * docs/misc/pvh.pandoc, public/arch-x86/hvm/start_info.h): entered in 32-bit
 * protected mode with EBX at a start_info block.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/endian.h"
#include "machine/boot.h"
#include "machine/boot_cpu.h"
#include "machine/elf.h"

/* struct hvm_start_info, version 1 */
enum {
    SI_MAGIC = 0,
    SI_VERSION = 4,
    SI_NR_MODULES = 12,
    SI_MODLIST = 16,
    SI_CMDLINE = 24,
    SI_RSDP = 32,
    SI_MEMMAP = 40,
    SI_MEMMAP_ENTRIES = 48,
    SI_SIZE = 56
};
#define SI_MAGIC_VALUE 0x336ec578u /* "xEn3" with bit 7 of the E set */

enum { MODULE_SIZE = 32, MEMMAP_ENTRY_SIZE = 24 };

/* All of it in one block: start_info, one module, the memory map. */
enum {
    BLOCK_MODULE = 64,
    BLOCK_MEMMAP = 128,
    BLOCK_SIZE = BLOCK_MEMMAP + MEMLAYOUT_MAX_E820 * MEMMAP_ENTRY_SIZE
};

static int load_cmdline(struct bootmem *bm, const char *cmdline, gpa_t *at,
                        struct err *err)
{
    size_t len = strlen(cmdline) + 1;
    int rc = bootmem_place_low(bm, len, "the command line", at, err);

    if (rc < 0)
        return rc;
    return bootmem_load(bm, *at, cmdline, len, "the command line", err);
}

static void put_memmap(const struct memlayout *ml, uint8_t *p)
{
    for (unsigned i = 0; i < ml->nr_e820; i++, p += MEMMAP_ENTRY_SIZE) {
        put_le64(p, ml->e820[i].start);
        put_le64(p + 8, ml->e820[i].len);
        put_le32(p + 16, ml->e820[i].type);
    }
}

static int load_start_info(struct bootmem *bm, const struct boot_source *src,
                           gpa_t initrd, gpa_t *out, struct err *err)
{
    uint8_t block[BLOCK_SIZE] = {0};
    gpa_t cmdline = 0;
    int rc = load_cmdline(bm, src->cmdline, &cmdline, err);

    if (rc < 0)
        return rc;
    rc = bootmem_place_low(bm, sizeof(block), "the start info", out, err);
    if (rc < 0)
        return rc;
    put_le32(block + SI_MAGIC, SI_MAGIC_VALUE);
    put_le32(block + SI_VERSION, 1);
    if (src->initrd) {
        put_le32(block + SI_NR_MODULES, 1);
        put_le64(block + SI_MODLIST, *out + BLOCK_MODULE);
        put_le64(block + BLOCK_MODULE, initrd);
        put_le64(block + BLOCK_MODULE + 8, src->initrd_len);
    }
    put_le64(block + SI_CMDLINE, cmdline);
    put_le64(block + SI_RSDP, src->rsdp);
    put_le64(block + SI_MEMMAP, *out + BLOCK_MEMMAP);
    put_le32(block + SI_MEMMAP_ENTRIES, bm->layout->nr_e820);
    put_memmap(bm->layout, block + BLOCK_MEMMAP);
    return bootmem_load(bm, *out, block, sizeof(block), "the start info", err);
}

int boot_pvh_load(struct bootmem *bm, const struct boot_source *src,
                  struct x86_state *st, struct err *err)
{
    struct elf elf;
    uint64_t entry = 0;
    /* At the top of low memory: a kernel may use what follows its own image
     * before it looks at its modules. */
    struct boot_range range = {.end = PC_4G, .high = true};
    gpa_t initrd = 0, info = 0;
    int rc = elf_open(&elf, src->kernel, src->kernel_len, err);

    if (rc < 0)
        return rc;
    if (!elf_pvh_entry(&elf, &entry))
        return err_set(err, -EINVAL, "it has no PVH entry note");
    rc = elf_load(&elf, bm, &range.min, err);
    if (rc < 0)
        return rc;
    if (entry >= PC_4G || !gmem_bank(bm->gm, entry, 1))
        return err_set(
            err, -EINVAL,
            "its PVH entry 0x%" PRIx64 " is outside the guest's memory", entry);
    rc = boot_load_initrd(bm, src, &range, &initrd, err);
    if (rc < 0)
        return rc;
    rc = load_start_info(bm, src, initrd, &info, err);
    if (rc < 0)
        return rc;
    st->gpr[X86_RBX] = info;
    return boot_cpu_protected(bm, st, (uint32_t)entry, err);
}
