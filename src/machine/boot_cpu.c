#include "machine/boot_cpu.h"

#include <string.h>

#include "base/endian.h"

/* Selectors of the Linux boot protocol, __BOOT_CS and __BOOT_DS; the TSS
 * satisfies PVH, which wants a valid task register. */
enum { SEL_CODE = 0x10, SEL_DATA = 0x18, SEL_TSS = 0x20, GDT_ENTRIES = 6 };

enum { TSS32_LIMIT = 0x67, PD_ENTRIES = 512 };

#define ATTR_CODE32 0xc09bu /* G, D, present, code, readable, accessed */
#define ATTR_CODE64 0xa09bu /* G, L */
#define ATTR_DATA   0xc093u
#define ATTR_TSS    0x008bu /* present, busy 32- or 64-bit TSS */

/* Identity map: one PML4, one PDPT and four page directories of 2-MiB pages
 * (SDM vol. 3, 4.5). */
#define PAGING_SIZE (6 * GPAGE_SIZE)
#define PTE_P       0x1u
#define PTE_W       0x2u
#define PTE_PS      0x80u

/* An 8-byte descriptor (SDM vol. 3, 3.4.5) with base 0; limit in bytes or
 * pages as attr's G bit says. */
static uint64_t descriptor(uint16_t attr, uint32_t limit)
{
    return (uint64_t)(limit & 0xffff) | (uint64_t)attr << 40 |
           (uint64_t)(limit >> 16 & 0xf) << 48;
}

static void set_seg(struct x86_seg *seg, uint16_t sel, uint16_t attr,
                    uint32_t limit)
{
    *seg = (struct x86_seg){.sel = sel, .attr = attr, .limit = limit};
}

/* The GDT in a page of its own, the (empty) TSS behind it. */
static int load_gdt(struct bootmem *bm, struct x86_state *st, uint16_t code,
                    struct err *err)
{
    uint8_t gdt[GDT_ENTRIES * 8] = {0};
    gpa_t at = 0;
    gpa_t tss;
    int rc = bootmem_place_low(bm, GPAGE_SIZE, "the boot GDT", &at, err);

    if (rc < 0)
        return rc;
    tss = at + 0x100;
    put_le64(gdt + SEL_CODE, descriptor(code, 0xfffff));
    put_le64(gdt + SEL_DATA, descriptor(ATTR_DATA, 0xfffff));
    /* Below 4 GiB: base bits 0..23 and 24..31, then the upper half is zero */
    put_le64(gdt + SEL_TSS, descriptor(ATTR_TSS, TSS32_LIMIT) |
                                (tss & 0xffffff) << 16 |
                                (tss >> 24 & 0xff) << 56);
    st->gdtr = (struct x86_dtable){.base = at, .limit = sizeof(gdt) - 1};
    set_seg(&st->tr, SEL_TSS, ATTR_TSS, TSS32_LIMIT);
    st->tr.base = tss;
    return bootmem_load(bm, at, gdt, sizeof(gdt), "the boot GDT", err);
}

static int set_segments(struct bootmem *bm, struct x86_state *st, uint16_t code,
                        struct err *err)
{
    static const enum x86_sreg data[] = {X86_ES, X86_SS, X86_DS, X86_FS,
                                         X86_GS};

    set_seg(&st->seg[X86_CS], SEL_CODE, code, UINT32_MAX);
    for (size_t i = 0; i < ARRAY_LEN(data); i++)
        set_seg(&st->seg[data[i]], SEL_DATA, ATTR_DATA, UINT32_MAX);
    memset(&st->ldtr, 0, sizeof(st->ldtr));
    st->idtr = (struct x86_dtable){0};
    st->rflags = X86_FLAGS_FIXED;
    st->cpl = 0;
    return load_gdt(bm, st, code, err);
}

int boot_cpu_protected(struct bootmem *bm, struct x86_state *st, uint32_t entry,
                       struct err *err)
{
    st->cr0 = X86_CR0_PE | X86_CR0_ET;
    st->rip = entry;
    return set_segments(bm, st, ATTR_CODE32, err);
}

static int load_identity_map(struct bootmem *bm, gpa_t *out, struct err *err)
{
    uint8_t table[PAGING_SIZE];
    gpa_t at = 0;
    int rc =
        bootmem_place_low(bm, PAGING_SIZE, "the boot page tables", &at, err);

    if (rc < 0)
        return rc;
    memset(table, 0, sizeof(table));
    put_le64(table, (at + GPAGE_SIZE) | PTE_P | PTE_W);
    for (unsigned i = 0; i < 4; i++)
        put_le64(table + GPAGE_SIZE + (size_t)i * 8,
                 (at + (2 + i) * GPAGE_SIZE) | PTE_P | PTE_W);
    for (unsigned i = 0; i < 4 * PD_ENTRIES; i++)
        put_le64(table + 2 * GPAGE_SIZE + (size_t)i * 8,
                 (uint64_t)i << 21 | PTE_P | PTE_W | PTE_PS);
    *out = at;
    return bootmem_load(bm, at, table, sizeof(table), "the boot page tables",
                        err);
}

int boot_cpu_long(struct bootmem *bm, struct x86_state *st, uint64_t entry,
                  struct err *err)
{
    int rc = load_identity_map(bm, &st->cr3, err);

    if (rc < 0)
        return rc;
    st->cr0 = X86_CR0_PE | X86_CR0_ET | X86_CR0_PG;
    st->cr4 = X86_CR4_PAE;
    st->msr.efer = X86_EFER_LME | X86_EFER_LMA;
    st->rip = entry;
    return set_segments(bm, st, ATTR_CODE64, err);
}
