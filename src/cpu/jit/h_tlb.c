#include "cpu/jit/jit.h"

/*
 * Software TLB, jump caches and their sets. A set is one cached address space
 * (PCID); switching to it moves the GS base. Everything here runs on the
 * vCPU's own thread.
 */

/* madvise(MADV_DONTNEED): whole pages of a table read as zero again. */
static void forget_memory(void *p, uint64_t len)
{
    long rc;

    __asm__ volatile("syscall"
                     : "=a"(rc)
                     : "a"(28l), "D"(p), "S"(len), "d"(4l)
                     : "rcx", "r11", "memory");
}

static void tlb_clear_all(struct jit_set *set)
{
    forget_memory(set->tables->tlb, sizeof(set->tables->tlb));
    for (unsigned m = 0; m < JIT_NR_MODES; m++)
        for (unsigned w = 0; w < 2; w++)
            set->tables->tlb[m][w].tag[0] = jit_tlb_never(0);
}

static void jc_clear(struct jit_jc_entry *jc)
{
    forget_memory(jc, sizeof(*jc) * JC_ENTRIES);
    jc[0].tag = jit_jc_never(0);
}

static void itlb_clear(struct jit_set *set)
{
    for (unsigned i = 0; i < JIT_ITLB; i++)
        set->itlb[i].gva = ~(uint64_t)0;
}

void h_slots_clear(struct jit_set *set)
{
    for (uint32_t i = 0; i < set->nr_filled; i++)
        set->tables->slot[set->filled[i]] = glue_slot;
    set->nr_filled = 0;
}

/* In the lists of what was inserted: a flush of one address space keeps it. */
#define LIST_GLOBAL_JC  (1u << 31)
#define LIST_GLOBAL_TLB (1u << 31)

static void jc_forget_one(struct jit_set *set, unsigned n)
{
    unsigned i = n & (JC_ENTRIES - 1);

    set->tables->jc[n >> JC_BITS & 3][i].tag = jit_jc_never(i);
}

void h_jc_note(struct jit_set *set, unsigned mode, unsigned i, bool global)
{
    if (set->nr_jc < JIT_LIST)
        set->jc_list[set->nr_jc++] =
            mode << JC_BITS | i | (global ? LIST_GLOBAL_JC : 0);
}

void h_jc_clear(struct jit_set *set)
{
    h_slots_clear(set);
    if (set->nr_jc < JIT_LIST)
        for (uint32_t i = 0; i < set->nr_jc; i++)
            jc_forget_one(set, set->jc_list[i]);
    else
        for (unsigned m = 0; m < JIT_NR_MODES; m++)
            jc_clear(set->tables->jc[m]);
    set->nr_jc = 0;
    for (unsigned i = 0; i < JIT_HASH_BITS / 64; i++)
        set->exec[0][i] = set->exec[1][i] = 0;
    set->has_exec = false;
    itlb_clear(set); /* its hits do not set bits in exec again */
}

static void tlb_forget_one(struct jit_set *set, unsigned n)
{
    unsigned i = n & (TLB_ENTRIES - 1), t = n >> TLB_BITS & 7;

    set->tables->tlb[t / 2][t & 1].tag[i] = jit_tlb_never(i);
}

void h_tables_clear(struct jit_set *set)
{
    if (set->nr_tlb < JIT_LIST)
        for (uint32_t i = 0; i < set->nr_tlb; i++)
            tlb_forget_one(set, set->tlb_list[i]);
    else
        tlb_clear_all(set);
    set->nr_tlb = 0;
    if (set->has_large)
        for (unsigned i = 0; i < JIT_HASH_BITS / 64; i++) {
            set->large2m[0][i] = set->large2m[1][i] = 0;
            set->large1g[0][i] = set->large1g[1][i] = 0;
        }
    set->has_large = false;
    itlb_clear(set);
    if (set->has_exec)
        h_jc_clear(set);
    set->used = false;
}

void h_windows_clear(struct jit_vcpu *jv)
{
    jv->code_page.gva = ~(uint64_t)0;
    /* Some address hits any tag: let it be no canonical one, and let what it
     * hits be nobody's memory. */
    for (unsigned m = 0; m < JIT_NR_MODES; m++) {
        jv->win[m].tag = (uint64_t)1 << 62;
        jv->win[m].addend =
            (uint64_t)(uintptr_t)jv->nowhere + ((uint64_t)1 << 62);
    }
}

void h_shadow_reset(struct jit_vcpu *jv)
{
    jv->shadow_sp = jv->shadow_top;
}

static unsigned hash_bit(uint64_t v)
{
    return (unsigned)((v * 0x9e3779b97f4a7c15ull) >> 52); /* 12 bits */
}

static bool test_bit(const uint64_t *map, uint64_t v)
{
    unsigned b = hash_bit(v);

    return map[b / 64] >> (b % 64) & 1;
}

static void set_bit(uint64_t *map, uint64_t v)
{
    unsigned b = hash_bit(v);

    map[b / 64] |= (uint64_t)1 << (b % 64);
}

/* -- Flushing ------------------------------------------------------------- */

static void notes_clear(struct jit_set *set)
{
    set->nr_notes = 0;
    if (++set->note_age)
        return;
    for (unsigned i = 0; i < JIT_NOTES; i++) /* ages begin again */
        set->note[i].age = 0;
    set->note_age = 1;
}

/* Forget an address space; callers reset the shadow stack, too. */
static void set_flush(struct jit_set *set)
{
    notes_clear(set);
    if (set->used)
        h_tables_clear(set);
}

/* Entries of [gva, gva + len), which is part of a page. */
static void jc_forget_range(struct jit_set *set, gva_t gva, unsigned len)
{
    unsigned first = jit_jc_index(gva);
    unsigned n = len + (len >> JC_MIX) + 1;

    for (unsigned m = 0; m < JIT_NR_MODES; m++)
        for (unsigned k = 0; k < n; k++) {
            unsigned i = (first + k) & (JC_ENTRIES - 1);
            struct jit_jc_entry *e = &set->tables->jc[m][i];

            if (((uint64_t)0 - e->tag) - gva < len)
                e->tag = jit_jc_never(i);
        }
}

/* Blocks on the page, and those that begin before it and reach into it. */
static void forget_page(struct jit_set *set, uint64_t vpn)
{
    struct jit_itlb *t = &set->itlb[vpn & (JIT_ITLB - 1)];
    gva_t gva = vpn << GPAGE_SHIFT;

    jc_forget_range(set, gva - 16, 16);
    jc_forget_range(set, gva, GPAGE_SIZE);
    if (t->gva >> GPAGE_SHIFT == vpn)
        t->gva = ~(uint64_t)0;
    h_slots_clear(set);
}

/* Everything but global pages, as a load of CR3 does. */
static void set_flush_nonglobal(struct jit_set *set)
{
    uint32_t kept = 0;

    notes_clear(set);
    if (!set->used)
        return;
    if (set->nr_tlb == JIT_LIST || set->nr_jc == JIT_LIST) {
        h_tables_clear(set);
        return;
    }
    for (uint32_t i = 0; i < set->nr_tlb; i++)
        if (set->tlb_list[i] & LIST_GLOBAL_TLB)
            set->tlb_list[kept++] = set->tlb_list[i];
        else
            tlb_forget_one(set, set->tlb_list[i]);
    set->nr_tlb = kept;
    kept = 0;
    for (uint32_t i = 0; i < set->nr_jc; i++)
        if (set->jc_list[i] & LIST_GLOBAL_JC)
            set->jc_list[kept++] = set->jc_list[i];
        else
            jc_forget_one(set, set->jc_list[i]);
    set->nr_jc = kept;
    itlb_clear(set);
    h_slots_clear(set);
    for (unsigned i = 0; i < JIT_HASH_BITS / 64; i++)
        set->exec[0][i] = 0;
}

static void set_flush_page(struct jit_set *set, gva_t gva)
{
    uint64_t vpn = gva >> GPAGE_SHIFT;
    unsigned i = jit_tlb_index(gva);
    uint64_t tag = (uint64_t)0 - (gva & ~GPAGE_MASK);

    if (!set->used)
        return;
    if (set->has_large && (test_bit(set->large2m[gva >> 63], gva >> 21) ||
                           test_bit(set->large1g[gva >> 63], gva >> 30))) {
        h_tables_clear(set);
        return;
    }
    for (unsigned m = 0; m < JIT_NR_MODES; m++)
        for (unsigned w = 0; w < 2; w++) {
            struct jit_tlb *t = &set->tables->tlb[m][w];

            if (t->tag[i] == tag)
                t->tag[i] = jit_tlb_never(i);
        }
    if (set->has_exec && test_bit(set->exec[gva >> 63], vpn))
        forget_page(set, vpn);
}

/* Links between kernel pages rely on translations that went. */
static void flush_shared(struct jit_vcpu *jv, gva_t gva, bool all)
{
    h_windows_clear(jv);
    h_kpages_recheck(jv, gva, all);
}

void h_flush_all(struct jit_vcpu *jv)
{
    jv->stat[JIT_STAT_FLUSH]++;
    for (unsigned i = 0; i < JIT_NR_SETS; i++) {
        set_flush(&jv->sets[i]);
        if (&jv->sets[i] != jv->set)
            jv->sets[i].valid = false;
    }
    flush_shared(jv, 0, true);
    h_shadow_reset(jv);
}

void h_flush(struct jit_vcpu *jv, enum x86_flush kind, gva_t gva, unsigned pcid)
{
    switch (kind) {
    case X86_FLUSH_ALL:
    case X86_FLUSH_NONGLOBAL: h_flush_all(jv); break;
    case X86_FLUSH_PCID:
        for (unsigned i = 0; i < JIT_NR_SETS; i++)
            if (jv->sets[i].valid && jv->sets[i].pcid == pcid)
                set_flush_nonglobal(&jv->sets[i]);
        h_windows_clear(jv);
        h_shadow_reset(jv);
        break;
    default: /* a global page may be in every set */
        jv->stat[JIT_STAT_FLUSH_PAGE]++;
        if (test_bit(jv->set->exec[gva >> 63], gva >> GPAGE_SHIFT))
            h_shadow_reset(jv);
        for (unsigned i = 0; i < JIT_NR_SETS; i++)
            set_flush_page(&jv->sets[i], gva);
        flush_shared(jv, gva, false);
        break;
    }
}

/* -- Address spaces ------------------------------------------------------- */

static void wr_gs_base(struct jit_vcpu *jv)
{
    if (jv->eng->fsgsbase) {
        __asm__ volatile("wrgsbase %0" : : "r"(jv->set->region));
        return;
    }
    /* arch_prctl(ARCH_SET_GS) */
    long rc;

    __asm__ volatile("syscall"
                     : "=a"(rc)
                     : "a"(158l), "D"(0x1001l), "S"(jv->set->region)
                     : "rcx", "r11", "memory");
}

/* All entries of a mode. Firmware changes between real and protected mode for
 * each sector that it reads: few entries are there to be forgotten then. */
static void jc_forget_mode(struct jit_set *set, unsigned mode)
{
    uint32_t kept = 0;

    if (set->nr_jc == JIT_LIST) {
        jc_clear(set->tables->jc[mode]);
        return;
    }
    for (uint32_t i = 0; i < set->nr_jc; i++)
        if ((set->jc_list[i] >> JC_BITS & 3) == mode)
            jc_forget_one(set, set->jc_list[i]);
        else
            set->jc_list[kept++] = set->jc_list[i];
    set->nr_jc = kept;
}

void h_jc_check_key(struct jit_vcpu *jv)
{
    struct jit_set *set = jv->set;
    uint32_t key = jv->key & ~(uint32_t)KEY_MODE_MASK;
    uint64_t cs = h_cs_base(jv);
    uint32_t limit = h_cs_limit(jv);
    unsigned m = key_mode(jv->key);

    /* STAC and CLAC change between the supervisor modes without coming here:
     * both follow the key. */
    if (m != JIT_USER)
        m = JIT_SUPER;
    if (set->jc_key[m] == key && set->jc_cs[m] == cs &&
        set->jc_limit[m] == limit)
        return;
    jc_forget_mode(set, m);
    if (m == JIT_SUPER)
        jc_forget_mode(set, JIT_SUPER_AC);
    set->jc_key[m] = key;
    set->jc_cs[m] = cs;
    set->jc_limit[m] = limit;
    h_shadow_reset(jv); /* returns would come back to blocks of the old key */
}

void h_cr3_loaded(struct jit_vcpu *jv, bool keep)
{
    struct x86_state *st = &jv->st;
    bool pcide = st->cr4 & X86_CR4_PCIDE;
    uint32_t pcid = pcide ? st->cr3 & 0xfff : 0;
    uint64_t base = st->cr3 & ~(uint64_t)0xfff;
    struct jit_set *pick = NULL;

    jv->stat[JIT_STAT_CR3]++;
    h_windows_clear(jv);
    /* Kernel frames stay good (h_kpages_cr3 sees to that). */
    jv->shadow_stale = true;
    if (!(st->rip >> 63))
        h_shadow_reset(jv);
    if (!pcide) {
        pick = jv->set;
        keep = false;
    }
    for (unsigned i = 0; i < JIT_NR_SETS && !pick; i++)
        if (jv->sets[i].valid && jv->sets[i].pcid == pcid)
            pick = &jv->sets[i];
    if (!pick) {
        pick = &jv->sets[0];
        for (unsigned i = 1; i < JIT_NR_SETS; i++)
            if (!jv->sets[i].valid ||
                (pick->valid && jv->sets[i].last_use < pick->last_use))
                pick = &jv->sets[i];
        keep = false;
    }
    if (!keep || pick->cr3 != base)
        set_flush_nonglobal(pick);
    pick->valid = true;
    pick->pcid = pcid;
    pick->cr3 = base;
    pick->last_use = ++jv->use_clock;
    if (pick != jv->set) {
        jv->set = pick;
        wr_gs_base(jv);
        h_jc_check_key(jv);
    }
    h_kpages_cr3(jv);
}

/* -- Filling -------------------------------------------------------------- */

static void note_write(struct jit_vcpu *jv, uint64_t page, gva_t gva)
{
    _Atomic uint64_t *hint = &jv->eng->write_hints[page];
    uint64_t mine = (gva >> GPAGE_SHIFT & 0xfffffffffffffull) |
                    (uint64_t)(jv->v->index + 1) << 52;
    uint64_t old = atomic_load(hint);

    if (old == mine || old >> 63)
        return;
    if (old == 0 && atomic_compare_exchange_strong(hint, &old, mine))
        return;
    atomic_fetch_or(hint, (uint64_t)1 << 63);
}

void h_tlb_insert(struct jit_vcpu *jv, gva_t gva, enum jit_mode mode,
                  bool write, bool global, void *hva)
{
    struct jit_set *set = jv->set;
    struct jit_tlb *t = &set->tables->tlb[mode][write];
    unsigned i = jit_tlb_index(gva);
    uint8_t *page = (uint8_t *)hva - (gva & GPAGE_MASK);

    if (write) {
        uint64_t n = (uint64_t)(page - jv->eng->gmem->base) >> GPAGE_SHIFT;

        /* Pairs with protect() in tb.c: hint first, then look again. */
        note_write(jv, n, gva);
        atomic_thread_fence(memory_order_seq_cst);
        if (atomic_load(&jv->eng->pages[n].code))
            return;
    }
    set->used = true;
    if (set->nr_tlb < JIT_LIST)
        set->tlb_list[set->nr_tlb++] = ((unsigned)mode * 2 + write)
                                           << TLB_BITS |
                                       i | (global ? LIST_GLOBAL_TLB : 0);
    t->tag[i] = (uint64_t)0 - (gva & ~GPAGE_MASK);
    t->addend[i] = page;
}

static void drop_page(struct jit_tlb *t, unsigned i, const uint8_t *page)
{
    if (t->addend[i] == page)
        t->tag[i] = jit_tlb_never(i);
}

/* All write entries, or those of the page at that host address. */
static void drop_listed(struct jit_set *set, const uint8_t *page)
{
    if (set->nr_tlb == JIT_LIST) { /* too many to know */
        h_tables_clear(set);
        return;
    }
    for (uint32_t k = 0; k < set->nr_tlb; k++) {
        unsigned n = set->tlb_list[k] >> TLB_BITS & 7;
        unsigned i = set->tlb_list[k] & (TLB_ENTRIES - 1);
        struct jit_tlb *t = &set->tables->tlb[n / 2][n & 1];

        if (n & 1 && (!page || t->addend[i] == page))
            t->tag[i] = jit_tlb_never(i);
    }
}

void h_drop_write(struct jit_vcpu *jv, uint64_t ram_page)
{
    const uint8_t *page = jv->eng->gmem->base + (ram_page << GPAGE_SHIFT);
    uint64_t hint = atomic_load(&jv->eng->write_hints[ram_page]);

    for (unsigned s = 0; s < JIT_NR_SETS; s++) {
        if (!jv->sets[s].used)
            continue;
        if (hint >> 63)
            drop_listed(&jv->sets[s], page);
        else
            for (unsigned m = 0; m < JIT_NR_MODES; m++)
                drop_page(&jv->sets[s].tables->tlb[m][1],
                          jit_tlb_index(hint << GPAGE_SHIFT), page);
    }
    h_windows_clear(jv);
}

/* Somebody else needs a page to have no write entries. */
static void drop_all_writes(struct jit_vcpu *jv)
{
    for (unsigned s = 0; s < JIT_NR_SETS; s++)
        if (jv->sets[s].used)
            drop_listed(&jv->sets[s], 0);
    h_windows_clear(jv);
}

void h_requests(struct jit_vcpu *jv)
{
    uint32_t req = atomic_load(&jv->flush_request);

    if (!req)
        return;
    if (req & JIT_REQ_WRITES)
        drop_all_writes(jv);
    if (req & JIT_REQ_ALL)
        h_flush_all(jv);
    if (req & JIT_REQ_BLOCKS) {
        for (unsigned s = 0; s < JIT_NR_SETS; s++)
            if (jv->sets[s].valid)
                h_jc_clear(&jv->sets[s]);
        h_shadow_reset(jv);
    }
    atomic_fetch_and(&jv->flush_request, ~req);
}

/* Note that large page w was cached at gva. */
static void note_large(struct jit_set *set, gva_t gva, unsigned shift)
{
    if (shift == GPAGE_SHIFT)
        return;
    set->has_large = true;
    if (shift > 22)
        set_bit(set->large1g[gva >> 63], gva >> 30);
    else
        set_bit(set->large2m[gva >> 63], gva >> 21);
    if (shift == 22) /* 4 MiB: both halves */
        set_bit(set->large2m[gva >> 63], (gva >> 21) ^ 1);
}

bool h_canonical(const struct jit_vcpu *jv, gva_t gva)
{
    if (!(jv->st.msr.efer & X86_EFER_LMA))
        return true;
    return (uint64_t)((int64_t)(gva << 16) >> 16) == gva;
}

/*
 * Host address of gva for an access, or NULL: cpu->fault.type then says
 * whether it is a fault (EXCEPTION) or no RAM (NONE; w->gpa is the address).
 */
void *h_translate(struct jit_vcpu *jv, gva_t gva, enum x86_access access,
                  enum jit_mode mode, struct x86_walk *w)
{
    static const uint8_t privs[] = {X86_PRIV_USER, X86_PRIV_SUPER,
                                    X86_PRIV_SUPER_AC};
    uint32_t error;
    void *hva;

    jv->cpu.fault.type = X86_EVENT_NONE;
    if (x86_walk(&jv->st, jv->eng->gmem, gva, access,
                 (enum x86_priv)privs[mode], w, &error) < 0) {
        jv->cpu.fault.type = X86_EVENT_EXCEPTION;
        jv->cpu.fault.vector = X86_PF;
        jv->cpu.fault.has_error = 1;
        jv->cpu.fault.length = 0;
        jv->cpu.fault.error = error;
        jv->cpu.fault.cr2 = gva;
        return NULL;
    }
    hva = gmem_hva(jv->eng->gmem, w->gpa, 1);
    if (hva)
        note_large(jv->set, gva, w->page_shift);
    return hva;
}

int h_fetch(struct jit_vcpu *jv, gva_t gva, gpa_t *gpa)
{
    enum jit_mode mode = (enum jit_mode)key_mode(jv->key);
    uint64_t want = (gva & ~GPAGE_MASK) | (uint64_t)mode;
    struct jit_itlb *t = &jv->set->itlb[gva >> GPAGE_SHIFT & (JIT_ITLB - 1)];
    struct x86_walk w;

    if (t->gva == want) {
        *gpa = t->gpa | (gva & GPAGE_MASK);
        return 0;
    }
    if (!h_canonical(jv, gva))
        return x86_fault_err(&jv->cpu, X86_GP, 0);
    if (!h_translate(jv, gva, X86_FETCH, mode, &w))
        return -1;
    jv->set->used = true;
    jv->set->has_exec = true;
    set_bit(jv->set->exec[gva >> 63], gva >> GPAGE_SHIFT);
    t->gva = want;
    t->global = w.global;
    t->gpa = w.gpa & ~GPAGE_MASK;
    *gpa = w.gpa;
    return 0;
}

/* Shared code may run anywhere: its entries cannot be told by an address. */
void h_jc_forget(struct jit_vcpu *jv, const struct tb *tb)
{
    unsigned i = jit_jc_index(tb->rip);

    for (unsigned s = 0; s < JIT_NR_SETS; s++) {
        if (!jv->sets[s].has_exec)
            continue;
        if (tb->key & KEY_SHARED) {
            h_jc_clear(&jv->sets[s]);
            continue;
        }
        for (unsigned m = 0; m < JIT_NR_MODES; m++) {
            struct jit_jc_entry *e = &jv->sets[s].tables->jc[m][i];

            if (e->tag == (uint64_t)0 - tb->rip)
                e->tag = jit_jc_never(i);
        }
    }
}
