#include "x86/paging.h"

/*
 * The guest's page tables (Intel SDM vol. 3, 4.3 to 4.7; AMD APM vol. 2, 5).
 * Runs on the vCPU's thread at every miss of the software TLB. Other vCPUs
 * change the same tables meanwhile: each entry is read once, and accessed and
 * dirty bits are set by compare-exchange on what was read, so that a walk
 * never revives an entry that the guest has just taken away.
 *
 * Left out on purpose: 5-level paging, protection keys, shadow stacks (none is
 * advertised), memory types (all guest memory is write-back).
 */

enum { MAX_LEVELS = 4, ENTRIES_64 = 512, ENTRIES_32 = 1024 };

#define PTE_P    0x01ull
#define PTE_W    0x02ull
#define PTE_U    0x04ull
#define PTE_A    0x20ull
#define PTE_D    0x40ull
#define PTE_PS   0x80ull
#define PTE_G    0x100ull
#define PTE_NX   ((uint64_t)1 << 63)
#define PTE_ADDR ((((uint64_t)1 << X86_PHYS_BITS) - 1) & ~GPAGE_MASK)
/* Between MAXPHYADDR and the first bit that is ignored or reserved by mode. */
#define PTE_RSVD_PHYS                                                          \
    ((((uint64_t)1 << 52) - 1) & ~(((uint64_t)1 << X86_PHYS_BITS) - 1))
#define PTE_RSVD_PAE ((uint64_t)0x7ff << 52)
/* PDPTEs of PAE paging: bits 2:1, 8:5 and all above the address. */
#define PDPTE_RSVD (0x1e6ull | PTE_RSVD_PHYS | PTE_RSVD_PAE | PTE_NX)
/* Bit 21 of a 4-MiB PDE; 20:13 hold bits 39:32 of the address (PSE-36). */
#define PDE32_RSVD 0x200000ull

/* One walk: what is asked, and what it met from the root down. */
struct path {
    const struct gmem *gm;
    gva_t gva;
    void *entry[MAX_LEVELS]; /* NULL: in ROM or not in RAM, cannot be written */
    uint64_t val[MAX_LEVELS];
    unsigned nr;
    uint64_t all; /* AND of all entries: U and W */
    uint64_t any; /* OR of all entries: NX */
    gpa_t gpa;
    uint8_t shift;
    uint32_t error; /* P and RSVD of a walk that ended early */
};

/* What is not RAM reads as all ones, hence as an entry with reserved bits. */
static uint64_t read_entry(const struct gmem *gm, gpa_t gpa, unsigned size,
                           void **where)
{
    const struct gmem_bank *b;
    void *p;

    gpa &= gmem_a20(gm);
    b = gmem_bank(gm, gpa, size);
    *where = NULL;
    if (!b)
        return ~(uint64_t)0;
    p = b->hva + (gpa - b->start);
    if (!b->readonly)
        *where = p;
    if (size == sizeof(uint64_t))
        return __atomic_load_n((uint64_t *)p, __ATOMIC_ACQUIRE);
    return __atomic_load_n((uint32_t *)p, __ATOMIC_ACQUIRE);
}

static void add_step(struct path *p, void *entry, uint64_t val)
{
    p->entry[p->nr] = entry;
    p->val[p->nr++] = val;
    p->all &= val;
    p->any |= val;
}

static void set_leaf(struct path *p, uint64_t frame, unsigned shift)
{
    uint64_t offset = ((uint64_t)1 << shift) - 1;

    p->gpa = ((frame & ~offset) | (p->gva & offset)) & gmem_a20(p->gm);
    p->shift = (uint8_t)shift;
}

/*
 * PAE and 4-level tables, from the one at gpa table of level level (0 is the
 * page table) down. Returns 0, or -1 with p->error.
 */
static int descend64(struct path *p, gpa_t table, unsigned level, uint64_t rsvd)
{
    for (;; level--) {
        unsigned shift = GPAGE_SHIFT + 9 * level;
        uint64_t idx = (p->gva >> shift) & (ENTRIES_64 - 1);
        uint64_t bad = rsvd;
        bool leaf = level == 0;
        void *where;
        uint64_t e =
            read_entry(p->gm, table + idx * sizeof(e), sizeof(e), &where);

        p->error = 0;
        if (!(e & PTE_P))
            return -1;
        if (level == 3) {
            bad |= PTE_PS;
        } else if (level && (e & PTE_PS)) {
            leaf = true;
            /* Frame bits below the page size; bit 12 is PAT. */
            bad |= (((uint64_t)1 << shift) - 1) & ~(uint64_t)0x1fff;
        }
        p->error = X86_PF_P | X86_PF_RSVD;
        if (e & bad)
            return -1;
        add_step(p, where, e);
        if (leaf) {
            set_leaf(p, e & PTE_ADDR, shift);
            return 0;
        }
        table = e & PTE_ADDR;
    }
}

static int descend32(const struct x86_state *st, struct path *p)
{
    gpa_t table = st->cr3 & 0xfffff000u;
    uint64_t idx = (p->gva >> 22) & (ENTRIES_32 - 1);
    void *where;
    uint64_t e = read_entry(p->gm, table + idx * 4, 4, &where);

    p->error = 0;
    if (!(e & PTE_P))
        return -1;
    if ((e & PTE_PS) && (st->cr4 & X86_CR4_PSE)) {
        p->error = X86_PF_P | X86_PF_RSVD;
        if (e & PDE32_RSVD)
            return -1;
        add_step(p, where, (uint32_t)e);
        set_leaf(p, (e & 0xffc00000u) | ((e & 0x1fe000) << 19), 22);
        return 0;
    }
    add_step(p, where, (uint32_t)e);
    idx = (p->gva >> GPAGE_SHIFT) & (ENTRIES_32 - 1);
    e = read_entry(p->gm, (e & 0xfffff000u) + idx * 4, 4, &where);
    if (!(e & PTE_P))
        return -1;
    add_step(p, where, (uint32_t)e);
    set_leaf(p, e & 0xfffff000u, GPAGE_SHIFT);
    return 0;
}

static int descend(const struct x86_state *st, const struct gmem *gm, gva_t gva,
                   struct path *p)
{
    uint64_t rsvd = PTE_RSVD_PHYS;

    p->gm = gm;
    p->gva = gva;
    p->nr = 0;
    p->all = ~(uint64_t)0;
    p->any = 0;
    p->error = 0;
    if (!(st->msr.efer & X86_EFER_NXE))
        rsvd |= PTE_NX;
    if (st->msr.efer & X86_EFER_LMA)
        return descend64(p, st->cr3 & PTE_ADDR, 3, rsvd);
    if (st->cr4 & X86_CR4_PAE) {
        uint64_t e = st->pdpte[(gva >> 30) & 3];

        if (!(e & PTE_P))
            return -1;
        return descend64(p, e & PTE_ADDR, 1, rsvd | PTE_RSVD_PAE);
    }
    return descend32(st, p);
}

/* SDM vol. 3, 4.6.1: may this access use a page with these rights? */
static bool is_allowed(const struct x86_state *st, const struct path *p,
                       enum x86_access access, enum x86_priv priv)
{
    bool user_page = p->all & PTE_U;

    if (access == X86_FETCH && (p->any & PTE_NX))
        return false;
    if (priv == X86_PRIV_USER)
        return user_page && (access != X86_WRITE || (p->all & PTE_W));
    if (access == X86_FETCH)
        return !user_page || !(st->cr4 & X86_CR4_SMEP);
    if (user_page && (st->cr4 & X86_CR4_SMAP) && priv != X86_PRIV_SUPER_AC)
        return false;
    return access == X86_READ || (p->all & PTE_W) || !(st->cr0 & X86_CR0_WP);
}

/* SDM vol. 3, 4.7: the bits that describe the access, not the tables. */
static uint32_t access_error(const struct x86_state *st, enum x86_access access,
                             enum x86_priv priv)
{
    uint32_t error = priv == X86_PRIV_USER ? X86_PF_U : 0;
    bool nx = (st->cr4 & X86_CR4_PAE) && (st->msr.efer & X86_EFER_NXE);

    if (access == X86_WRITE)
        error |= X86_PF_W;
    if (access == X86_FETCH && (nx || (st->cr4 & X86_CR4_SMEP)))
        error |= X86_PF_I;
    return error;
}

static bool set_bits(void *entry, uint64_t *val, uint64_t bits, bool wide)
{
    uint64_t old = *val;
    uint32_t old32 = (uint32_t)old;

    if ((old & bits) == bits)
        return true;
    *val = old | bits;
    if (!entry)
        return true;
    if (wide)
        return __atomic_compare_exchange_n((uint64_t *)entry, &old, *val, false,
                                           __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
    return __atomic_compare_exchange_n((uint32_t *)entry, &old32,
                                       (uint32_t)*val, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_RELAXED);
}

/* False if another CPU changed an entry since it was read. */
static bool set_accessed(struct path *p, bool write, bool wide)
{
    for (unsigned i = 0; i + 1 < p->nr; i++)
        if (!set_bits(p->entry[i], &p->val[i], PTE_A, wide))
            return false;
    return set_bits(p->entry[p->nr - 1], &p->val[p->nr - 1],
                    write ? PTE_A | PTE_D : PTE_A, wide);
}

static void fill_flat(const struct gmem *gm, gva_t gva, struct x86_walk *w)
{
    w->gpa = gva & gmem_a20(gm);
    w->page_shift = GPAGE_SHIFT;
    w->user = true;
    w->writable = true;
    w->exec = true;
    w->dirty = true;
    w->global = false;
}

static void fill(const struct x86_state *st, const struct path *p,
                 struct x86_walk *w)
{
    uint64_t leaf = p->val[p->nr - 1];

    w->gpa = p->gpa;
    w->page_shift = p->shift;
    w->user = p->all & PTE_U;
    w->writable = p->all & PTE_W;
    w->exec = !(p->any & PTE_NX);
    w->dirty = leaf & PTE_D;
    w->global = (leaf & PTE_G) && (st->cr4 & X86_CR4_PGE);
}

/*
 * The loop ends: each further turn means that another vCPU or a device wrote
 * the entry in the few instructions since it was read, and those stop when the
 * machine is paused.
 */
/* NOLINTNEXTLINE(readability-function-size): seven by its contract */
int x86_walk(const struct x86_state *st, const struct gmem *gm, gva_t gva,
             enum x86_access access, enum x86_priv priv, struct x86_walk *w,
             uint32_t *error)
{
    bool wide = st->cr4 & X86_CR4_PAE;
    struct path p;

    if (!(st->cr0 & X86_CR0_PG)) {
        fill_flat(gm, gva, w);
        return 0;
    }
    do {
        if (descend(st, gm, gva, &p) < 0) {
            *error = p.error | access_error(st, access, priv);
            return -1;
        }
        if (!is_allowed(st, &p, access, priv)) {
            *error = X86_PF_P | access_error(st, access, priv);
            return -1;
        }
    } while (!set_accessed(&p, access == X86_WRITE, wide));
    fill(st, &p, w);
    return 0;
}

int x86_probe(const struct x86_state *st, const struct gmem *gm, gva_t gva,
              struct x86_walk *w)
{
    struct path p;

    if (!(st->cr0 & X86_CR0_PG)) {
        fill_flat(gm, gva, w);
        return 0;
    }
    if (descend(st, gm, gva, &p) < 0)
        return -1;
    fill(st, &p, w);
    return 0;
}

/* SDM vol. 3, 4.4.1. Nothing is loaded if one of them is bad. */
int x86_load_pdptes(struct x86_state *st, const struct gmem *gm)
{
    gpa_t table = st->cr3 & 0xffffffe0u;
    uint64_t e[4];
    void *where;

    for (unsigned i = 0; i < 4; i++) {
        e[i] = read_entry(gm, table + i * sizeof(e[0]), sizeof(e[0]), &where);
        if ((e[i] & PTE_P) && (e[i] & PDPTE_RSVD))
            return -1;
    }
    for (unsigned i = 0; i < 4; i++)
        st->pdpte[i] = e[i];
    return 0;
}
