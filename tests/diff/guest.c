#include "guest.h"

#include <string.h>

#include "segment.h"
#include "shared.h"
#include "state.h"

/*
 * Tables as Linux has them, as far as user code can tell: the same selectors
 * with the same descriptors, so that LAR, far transfers and segment loads end
 * alike on both sides.
 */
extern const uint8_t guest_blob[], guest_blob_start[], guest_blob_end[];

#define PTE_P  0x001u
#define PTE_W  0x002u
#define PTE_U  0x004u
#define PTE_PS 0x080u
#define PTE_NX 0x8000000000000000u

struct tables {
    struct gmem *gm;
    gpa_t next; /* free page for another table */
};

static uint64_t *entry(const struct tables *t, gpa_t table, unsigned index)
{
    return gmem_hva(t->gm, table + 8 * (gpa_t)index, 8);
}

/* The entry that maps gva at a level (1: 4 KiB, 2: 2 MiB). */
static uint64_t *walk(struct tables *t, gva_t gva, unsigned level)
{
    gpa_t table = GUEST_TABLES;

    for (unsigned l = 4;; l--) {
        uint64_t *e = entry(t, table, (gva >> (3 + 9 * l)) & 511);

        if (l == level)
            return e;
        if (!*e) {
            *e = t->next | PTE_P | PTE_W | PTE_U;
            t->next += DIFF_PAGE;
        }
        table = *e & ~(uint64_t)0xfff;
    }
}

static void build_pages(struct gmem *gm)
{
    struct tables t = {gm, GUEST_TABLES + DIFF_PAGE};

    *walk(&t, GUEST_KERNEL, 2) = 0 | PTE_P | PTE_W | PTE_PS;
    for (uint32_t off = 0; off < DIFF_CODE_SIZE; off += DIFF_PAGE)
        *walk(&t, DIFF_CODE + off, 1) = (GUEST_CODE + off) | PTE_P | PTE_U;
    for (unsigned i = 0; i < DIFF_NR_PAGES; i++)
        *walk(&t, DIFF_DATA + diff_page[i].off, 1) =
            guest_page_gpa(i) | PTE_P | PTE_U | PTE_NX |
            (diff_page[i].writable ? PTE_W : 0);
}

static int build_gdt(struct gmem *gm)
{
    static const uint64_t flat = 0x000f00000000ffff;
    uint64_t gdt[16] = {0};
    uint64_t tss = GUEST_KERNEL + GUEST_TSS;

    gdt[1] = flat | (uint64_t)0xc09b << 40; /* ring 0: 32-bit, 64-bit, data */
    gdt[2] = flat | (uint64_t)0xa09b << 40;
    gdt[3] = flat | (uint64_t)0xc093 << 40;
    gdt[4] = flat | (uint64_t)0xc0fb << 40; /* ring 3: 32-bit, data, 64-bit */
    gdt[5] = flat | (uint64_t)0xc0f3 << 40;
    gdt[6] = flat | (uint64_t)0xa0fb << 40;
    gdt[8] = 0x67 | (tss & 0xffffff) << 16 | (uint64_t)0x8b << 40 |
             (tss >> 24 & 0xff) << 56;
    gdt[9] = tss >> 32;
    gdt[10] = (8 * NR_SEGMENTS - 1) | (uint64_t)GUEST_LDT << 16 |
              (uint64_t)0x82 << 40 | (uint64_t)0x80 << 56;
    gdt[11] = 0xffffffff;
    return gmem_load(gm, GUEST_GDT, gdt, sizeof(gdt));
}

static int build_ldt(struct gmem *gm)
{
    uint64_t ldt[NR_SEGMENTS];

    for (unsigned i = 0; i < NR_SEGMENTS; i++)
        ldt[i] = segment_descriptor(i);
    return gmem_load(gm, GUEST_LDT, ldt, sizeof(ldt));
}

/* No I/O map: its offset is the limit. RSP0 is all that is used. */
static int build_tss(struct gmem *gm)
{
    uint8_t tss[0x68] = {0};
    uint64_t rsp0 = GUEST_KERNEL + GUEST_STACK;

    memcpy(tss + 4, &rsp0, 8);
    tss[0x66] = 0x68;
    return gmem_load(gm, GUEST_TSS, tss, sizeof(tss));
}

/* As Linux does, let ring 3 call only the vectors of INT3 and INTO. */
static int build_idt(struct gmem *gm)
{
    uint64_t idt[512];

    for (unsigned i = 0; i < 256; i++) {
        uint64_t addr = GUEST_KERNEL + GUEST_BLOB + 16 * i;
        uint64_t attr = i == 3 || i == 4 ? 0xee00 : 0x8e00;

        idt[2 * i] = (addr & 0xffff) | (uint64_t)0x10 << 16 | attr << 32 |
                     (addr >> 16 & 0xffff) << 48;
        idt[2 * i + 1] = addr >> 32;
    }
    return gmem_load(gm, GUEST_IDT, idt, sizeof(idt));
}

static struct x86_seg segment(uint16_t sel, uint16_t attr)
{
    return (struct x86_seg){.limit = 0xffffffff, .sel = sel, .attr = attr};
}

static void build_state(struct x86_state *st)
{
    uint64_t start = (uint64_t)(guest_blob_start - guest_blob);
    uint32_t mxcsr = 0x1f80;
    uint16_t fcw = 0x37f;

    memset(st->gpr, 0, sizeof(st->gpr));
    st->gpr[X86_RSP] = GUEST_KERNEL + GUEST_STACK;
    st->rip = GUEST_KERNEL + GUEST_BLOB + start;
    st->rflags = X86_FLAGS_FIXED;
    st->cr0 = X86_CR0_PE | X86_CR0_MP | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP |
              X86_CR0_AM | X86_CR0_PG;
    st->cr3 = GUEST_TABLES;
    st->cr4 = X86_CR4_PAE | X86_CR4_PGE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT |
              X86_CR4_OSXSAVE | X86_CR4_FSGSBASE;
    st->msr.efer = X86_EFER_SCE | X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE;
    st->xcr0 = DIFF_XSAVE_MASK;
    st->seg[X86_CS] = segment(0x10, 0xa09b);
    st->seg[X86_SS] = segment(0x18, 0xc093);
    for (unsigned i = X86_DS; i <= X86_GS; i++)
        st->seg[i] = segment(0x18, 0xc093);
    st->seg[X86_ES] = st->seg[X86_DS];
    st->tr = (struct x86_seg){GUEST_KERNEL + GUEST_TSS, 0x67, 0x40, 0x008b};
    st->ldtr = (struct x86_seg){GUEST_KERNEL + GUEST_LDT, 8 * NR_SEGMENTS - 1,
                                0x50, 0x0082};
    st->gdtr = (struct x86_dtable){GUEST_KERNEL + GUEST_GDT, 127};
    st->idtr = (struct x86_dtable){GUEST_KERNEL + GUEST_IDT, 4095};
    st->cpl = 0;
    st->mp_state = X86_MP_RUNNING;
    memset(st->xsave, 0, sizeof(st->xsave));
    memcpy(st->xsave + FX_FCW, &fcw, 2);
    memcpy(st->xsave + FX_MXCSR, &mxcsr, 4);
    st->xsave[XSAVE_HEADER] = DIFF_XSAVE_MASK;
}

int guest_build(struct gmem *gm, struct x86_state *st)
{
    int rc;

    build_pages(gm);
    build_state(st);
    rc = gmem_load(gm, GUEST_BLOB, guest_blob,
                   (size_t)(guest_blob_end - guest_blob));
    if (!rc)
        rc = build_gdt(gm);
    if (!rc)
        rc = build_ldt(gm);
    if (!rc)
        rc = build_tss(gm);
    if (!rc)
        rc = build_idt(gm);
    return rc;
}
