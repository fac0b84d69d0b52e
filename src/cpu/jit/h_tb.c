#include "cpu/jit/jit.h"

/*
 * Blocks: finding, linking and dropping them. Lookups take no lock: entries
 * are published last and are reused only by jit_flush_code, when no vCPU is in
 * translated code. All changes are made under eng->lock.
 */

uint32_t h_tb_hash(gpa_t gpa, uint64_t rip, uint32_t key)
{
    uint64_t h = (gpa ^ (rip << 17) ^ key) * 0x9e3779b97f4a7c15ull;

    return (uint32_t)(h >> (64 - JIT_TB_BITS));
}

uint64_t h_cs_base(const struct jit_vcpu *jv)
{
    return (jv->key & KEY_SIZE_MASK) == 2 ? 0 : jv->st.seg[X86_CS].base;
}

uint32_t h_cs_limit(const struct jit_vcpu *jv)
{
    return (jv->key & KEY_SIZE_MASK) == 2 ? UINT32_MAX
                                          : jv->st.seg[X86_CS].limit;
}

/* May this vCPU's code be shared, by its mode? Debuggers want addresses. */
static bool may_share(const struct jit_vcpu *jv)
{
    return (jv->key & KEY_SIZE_MASK) == 2 && key_mode(jv->key) == JIT_USER &&
           !(jv->key & (KEY_STEP | KEY_BREAK)) &&
           !atomic_load(&jv->eng->nr_breakpoints);
}

/*
 * In one address space a page's shared code runs at one address: slots that
 * its jumps go through hold what is right there. False if the page is noted at
 * another address, or there is no room to note it.
 */
static bool note_page(struct jit_set *set, uint32_t page, gva_t gva)
{
    uint32_t i = page * 0x9e3779b1u >> 16;

    for (;; i++) {
        struct jit_note *n = &set->note[i & (JIT_NOTES - 1)];

        if (n->age != set->note_age) {
            if (set->nr_notes == JIT_NOTES / 4 * 3)
                return false;
            set->nr_notes++;
            n->page = page;
            n->age = set->note_age;
            n->gva = gva;
            return true;
        }
        if (n->page == page)
            return n->gva == gva;
    }
}

bool h_shared(struct jit_vcpu *jv, uint64_t page, gva_t gva)
{
    uint64_t home = atomic_load(&jv->eng->pages[page].home);

    gva &= ~GPAGE_MASK;
    if (!may_share(jv) ||
        ((home == 0 || home == (gva | 1)) && !jv->eng->share_all))
        return false;
    return note_page(jv->set, (uint32_t)page, gva);
}

uint64_t h_tb_rip(const struct jit_vcpu *jv, const struct tb *tb)
{
    return tb->key & KEY_SHARED ? jv->slide + tb->rip : tb->rip;
}

struct tb *h_tb_find(struct jit_vcpu *jv, uint64_t rip, gpa_t gpa, uint32_t key)
{
    struct jit_engine *eng = jv->eng;
    uint64_t cs_base = h_cs_base(jv);
    uint32_t limit = h_cs_limit(jv);
    uint32_t i =
        __atomic_load_n(&eng->hash[h_tb_hash(gpa, rip, key)], __ATOMIC_ACQUIRE);

    for (; i; i = __atomic_load_n(&eng->tbs[i].hash_next, __ATOMIC_ACQUIRE)) {
        struct tb *tb = &eng->tbs[i];

        if (tb->gpa == gpa && tb->rip == rip && tb->key == key &&
            tb->cs_base == cs_base && tb->cs_limit == limit && !tb->invalid)
            return tb;
    }
    return NULL;
}

void h_tb_index(struct jit_engine *eng, uint32_t n)
{
    const struct tb *tb = &eng->tbs[n];
    uint64_t end = (uint64_t)tb->host + tb->host_size;
    uint32_t i = eng->nr_indexed;

    for (; (uint64_t)i << JIT_INDEX_SHIFT < end; i++)
        eng->tb_index[i] = i << JIT_INDEX_SHIFT < tb->host ? n - 1 : n;
    __atomic_store_n(&eng->nr_indexed, i, __ATOMIC_RELEASE);
}

struct tb *h_tb_at(struct jit_engine *eng, uint64_t host_pc)
{
    uint64_t off = jit_code_offset(eng, host_pc);
    uint32_t nr = __atomic_load_n(&eng->nr_tbs, __ATOMIC_ACQUIRE), i;

    if (off >> JIT_INDEX_SHIFT >=
        __atomic_load_n(&eng->nr_indexed, __ATOMIC_ACQUIRE))
        return NULL;
    i = eng->tb_index[off >> JIT_INDEX_SHIFT];
    while (i + 1 < nr && eng->tbs[i + 1].host <= off)
        i++;
    if (i == 0 || i >= nr || off < eng->tbs[i].host ||
        off - eng->tbs[i].host >= eng->tbs[i].host_size)
        return NULL;
    return &eng->tbs[i];
}

unsigned h_tb_insn(struct jit_engine *eng, const struct tb *tb,
                   uint64_t host_pc)
{
    uint64_t off = jit_code_offset(eng, host_pc) - tb->host;
    const struct tb_map *map = &eng->maps[tb->map];
    unsigned guest = 0;

    for (unsigned i = 0; i < tb->nr_maps && map[i].host <= off; i++)
        guest = map[i].guest;
    return guest;
}

static struct jit_page *page_of(struct jit_engine *eng, gpa_t gpa)
{
    const struct gmem_bank *b = gmem_bank(eng->gmem, gpa, 1);

    if (!b)
        return NULL;
    return &eng->pages[b->page_idx + ((gpa - b->start) >> GPAGE_SHIFT)];
}

/* -- Links ---------------------------------------------------------------- */

static void patch_rel32(struct jit_engine *eng, uint32_t at, uint32_t target)
{
    /* Aligned, so another vCPU that runs here sees the old or the new. */
    __atomic_store_n((uint32_t *)(void *)(eng->code_rw + at), target - (at + 4),
                     __ATOMIC_RELEASE);
}

void h_tb_link(struct jit_engine *eng, uint32_t n, struct tb *to)
{
    struct tb_link *l = &eng->links[n];

    if (l->to || eng->tbs[l->from].invalid || to->invalid)
        return;
    l->to = (uint32_t)(to - eng->tbs);
    l->next_in = to->links_in;
    to->links_in = n;
    if (l->cross)
        eng->has_cross = true;
    patch_rel32(eng, l->patch,
                to->host + (l->checked ? to->checked : to->entry));
}

static uint8_t *put_u32(uint8_t *p, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++)
        *p++ = (uint8_t)(v >> 8 * i);
    return p;
}

/* mov r10, imm64 */
static uint8_t *put_rip(uint8_t *p, uint64_t rip)
{
    *p++ = 0x49;
    *p++ = 0xba;
    p = put_u32(p, (uint32_t)rip);
    return put_u32(p, (uint32_t)(rip >> 32));
}

/* mov r10, gs:[slide]; lea r10, [r10 + off] */
static uint8_t *put_shared_rip(uint8_t *p, uint32_t off)
{
    *p++ = 0x65;
    *p++ = 0x4c;
    *p++ = 0x8b;
    *p++ = 0x14;
    *p++ = 0x25;
    p = put_u32(p, JV_SLIDE);
    *p++ = 0x4d;
    *p++ = 0x8d;
    *p++ = 0x92;
    return put_u32(p, off);
}

/* A new slot leads to the glue everywhere. Nobody runs code that uses it. */
static void empty_slot(struct jit_engine *eng, uint32_t n)
{
    for (unsigned i = 0; i < eng->nr_vcpus; i++)
        for (unsigned s = 0; eng->vcpu[i] && s < JIT_NR_SETS; s++)
            eng->vcpu[i]->sets[s].tables->slot[n] = glue_slot;
}

uint32_t h_slot_for(struct jit_engine *eng, uint64_t target, uint32_t key,
                    uint32_t page)
{
    uint64_t mixed = (target ^ (uint64_t)page << 32) * 0x9e3779b97f4a7c15ull;
    uint16_t *hint;

    key &= ~(uint32_t)(KEY_UNHOISTED | KEY_ONE);
    hint = &eng->slot_hash[(uint32_t)(mixed >> 48) ^ (key & 0xffff)];
    if (*hint && eng->slots[*hint].rip == target &&
        eng->slots[*hint].key == key && eng->slots[*hint].page == page)
        return *hint;
    if (eng->nr_slots == SLOT_MAX)
        return 0;
    eng->slots[eng->nr_slots].rip = target;
    eng->slots[eng->nr_slots].key = key;
    eng->slots[eng->nr_slots].page = page;
    *hint = (uint16_t)eng->nr_slots;
    empty_slot(eng, eng->nr_slots);
    return eng->nr_slots++;
}

/* The slot of a link to a user block that lies on two pages; 0: none. */
static uint32_t link_slot(struct jit_vcpu *jv, const struct tb *from)
{
    bool shared = from->key & KEY_SHARED;
    uint64_t target = jv->st.rip - (shared ? jv->slide : 0);

    if (key_mode(jv->key) != JIT_USER)
        return 0;
    return h_slot_for(
        jv->eng, target, from->key,
        shared ? (uint32_t)(page_of(jv->eng, from->gpa) - jv->eng->pages) : 0);
}

/*
 * The link's target cannot be relied on: let it be found by a slot, or by the
 * jump cache (mov r10, slot or RIP; jmp gs:[...]). The code for that is made
 * here, since few links need it.
 */
void h_tb_link_alt(struct jit_vcpu *jv, uint32_t n)
{
    struct jit_engine *eng = jv->eng;
    const struct tb *from = &eng->tbs[eng->links[n].from];
    uint32_t at = eng->code_used, way, slot;
    uint8_t *p = eng->code_rw + at;

    if (at + 32 > eng->code_size || eng->links[n].rekey)
        return; /* by the glue each time, then */
    way = JV_GLUE + 8 * (GLUE_JMP + key_mode(jv->key));
    slot = link_slot(jv, from);
    if (slot) {
        *p++ = 0x41; /* mov r10d, slot */
        *p++ = 0xba;
        p = put_u32(p, slot);
        way = SLOT_BASE + 8 * slot;
    } else if (from->key & KEY_SHARED) {
        p = put_shared_rip(p, (uint32_t)(jv->st.rip - jv->slide));
    } else {
        p = put_rip(p, jv->st.rip);
    }
    *p++ = 0x65; /* jmp gs:[way] */
    *p++ = 0xff;
    *p++ = 0x24;
    *p++ = 0x25;
    p = put_u32(p, way);
    eng->code_used = (uint32_t)(p - eng->code_rw);
    patch_rel32(eng, eng->links[n].patch, at);
}

static void unlink_one(struct jit_engine *eng, uint32_t n)
{
    struct tb_link *l = &eng->links[n];

    if (!l->to)
        return;
    patch_rel32(eng, l->patch, l->stub);
    l->to = 0;
}

void h_tb_unlink_in(struct jit_engine *eng, struct tb *tb)
{
    uint32_t n = tb->links_in;

    while (n) {
        uint32_t next = eng->links[n].next_in;

        unlink_one(eng, n);
        n = next;
    }
    tb->links_in = 0;
}

/* Take link n out of its target's list. */
static void link_forget(struct jit_engine *eng, uint32_t n)
{
    struct tb_link *l = &eng->links[n];
    uint32_t *p;

    if (!l->to)
        return;
    for (p = &eng->tbs[l->to].links_in; *p && *p != n;
         p = &eng->links[*p].next_in)
        ;
    if (*p)
        *p = l->next_in;
    unlink_one(eng, n);
}

static void unlink_cross(struct jit_engine *eng)
{
    if (!eng->has_cross)
        return;
    for (uint32_t n = 1; n < eng->nr_links; n++)
        if (eng->links[n].cross)
            link_forget(eng, n);
    eng->has_cross = false;
}

/* -- Kernel pages --------------------------------------------------------- */

static struct jit_kpage *kpage_slot(struct jit_engine *eng, gva_t gva)
{
    return &eng->kpages[(gva >> GPAGE_SHIFT) & (JIT_KPAGES - 1)];
}

static uint64_t pml4e_read(struct jit_vcpu *jv, unsigned i)
{
    const uint64_t *p = gmem_hva(
        jv->eng->gmem, (jv->st.cr3 & 0xffffffffff000ull) + 8ull * i, 8);

    /* Accessed may change; it says nothing about the mapping. */
    return p ? (*p & ~(uint64_t)0x20) | 2 : 0;
}

bool h_kpage_note(struct jit_vcpu *jv, gva_t gva, gpa_t gpa)
{
    struct jit_engine *eng = jv->eng;
    struct jit_kpage *k = kpage_slot(eng, gva);
    unsigned top = gva >> 39 & 511;
    uint64_t e = pml4e_read(jv, top);

    gva = (gva & ~GPAGE_MASK) | 1; /* not 0: in use */
    gpa &= ~GPAGE_MASK;
    if (atomic_load(&eng->pml4e[top]) != e) {
        if (atomic_load(&eng->pml4e[top]))
            unlink_cross(eng);
        atomic_store(&eng->pml4e[top], e);
    }
    if (k->gva && k->gva != gva)
        return false; /* taken by another page: do not link */
    if (k->gva && k->gpa != gpa)
        unlink_cross(eng);
    if (!k->gva)
        eng->kpages_used[eng->nr_kpages++] = (uint32_t)(k - eng->kpages);
    k->gpa = gpa;
    k->gva = gva;
    return true;
}

static bool kpage_holds(struct jit_vcpu *jv, const struct jit_kpage *k)
{
    struct x86_walk w;
    gva_t gva = k->gva & ~GPAGE_MASK;

    return x86_probe(&jv->st, jv->eng->gmem, gva, &w) == 0 && w.exec &&
           (w.gpa & ~GPAGE_MASK) == k->gpa;
}

void h_kpages_recheck(struct jit_vcpu *jv, gva_t gva, bool all)
{
    struct jit_engine *eng = jv->eng;
    bool broken = false;

    if (!eng->has_cross)
        return;
    if (!all) {
        struct jit_kpage *k = kpage_slot(eng, gva);

        if (k->gva != ((gva & ~GPAGE_MASK) | 1) || kpage_holds(jv, k))
            return;
    }
    jit_lock_take(&eng->lock);
    for (uint32_t i = 0; i < eng->nr_kpages && !broken; i++)
        broken = !kpage_holds(jv, &eng->kpages[eng->kpages_used[i]]);
    if (broken) {
        unlink_cross(eng);
        for (uint32_t i = 0; i < eng->nr_kpages; i++)
            eng->kpages[eng->kpages_used[i]].gva = 0;
        eng->nr_kpages = 0;
    }
    jit_lock_drop(&eng->lock);
}

void h_kpages_cr3(struct jit_vcpu *jv)
{
    struct jit_engine *eng = jv->eng;

    if (!eng->has_cross)
        return;
    for (unsigned i = 256; i < 512; i++) {
        uint64_t e = atomic_load(&eng->pml4e[i]);

        if (e && e != pml4e_read(jv, i)) {
            jit_lock_take(&eng->lock);
            unlink_cross(eng);
            for (unsigned j = 256; j < 512; j++)
                atomic_store(&eng->pml4e[j], 0);
            jit_lock_drop(&eng->lock);
            return;
        }
    }
}

/* -- Invalidation --------------------------------------------------------- */

/* The place that holds the next index of a page's list after tb. */
static uint32_t *page_link(struct tb *tb, gpa_t page)
{
    return (tb->gpa & ~GPAGE_MASK) == page ? &tb->page_next : &tb->page2_next;
}

static void page_remove(struct jit_engine *eng, struct tb *tb, gpa_t page)
{
    struct jit_page *pg = page_of(eng, page);
    uint32_t me = (uint32_t)(tb - eng->tbs);
    uint32_t *p;

    if (!pg)
        return;
    for (p = &pg->tbs; *p && *p != me; p = page_link(&eng->tbs[*p], page))
        ;
    if (*p)
        *p = *page_link(tb, page);
}

static void hash_remove(struct jit_engine *eng, struct tb *tb)
{
    uint32_t me = (uint32_t)(tb - eng->tbs);
    uint32_t *p = &eng->hash[h_tb_hash(tb->gpa, tb->rip, tb->key)];

    for (; *p && *p != me; p = &eng->tbs[*p].hash_next)
        ;
    if (*p)
        __atomic_store_n(p, tb->hash_next, __ATOMIC_RELEASE);
}

static void drop(struct jit_engine *eng, struct jit_vcpu *jv, struct tb *tb)
{
    tb->invalid = true;
    hash_remove(eng, tb);
    page_remove(eng, tb, tb->gpa & ~GPAGE_MASK);
    if (tb->gpa2)
        page_remove(eng, tb, tb->gpa2);
    h_tb_unlink_in(eng, tb);
    for (unsigned i = 0; i < tb->nr_links; i++)
        link_forget(eng, tb->links + i);
    if (!jv)
        return;
    h_jc_forget(jv, tb);
    for (unsigned i = 0; tb->in_slot && i < JIT_NR_SETS; i++)
        h_slots_clear(&jv->sets[i]);
}

/* Bytes of page that tb was translated from: [*from, *to). */
static void extent(const struct tb *tb, gpa_t page, uint64_t *from,
                   uint64_t *to)
{
    uint64_t off = tb->gpa & GPAGE_MASK;
    uint64_t end = off + tb->guest_size;

    if ((tb->gpa & ~GPAGE_MASK) == page) {
        *from = off;
        *to = end > GPAGE_SIZE ? GPAGE_SIZE : end;
    } else {
        *from = 0;
        *to = end - GPAGE_SIZE;
    }
}

static uint64_t chunk_mask(uint64_t from, uint64_t to)
{
    uint64_t lo = from / 64, hi = (to - 1) / 64;

    return (hi == 63 ? ~(uint64_t)0 : ((uint64_t)1 << (hi + 1)) - 1) &
           ~(((uint64_t)1 << lo) - 1);
}

bool h_covered(const struct jit_engine *eng, uint64_t page, uint64_t off,
               uint64_t len)
{
    return atomic_load(&eng->pages[page].chunks) & chunk_mask(off, off + len);
}

/* [from, to) in whole chunks: what is written next is likely beside it, and
 * then finds nothing left to drop. */
static bool invalidate_page(struct jit_engine *eng, struct jit_vcpu *jv,
                            struct jit_page *pg, gpa_t page, uint64_t from,
                            uint64_t to)
{
    uint64_t chunks = 0, f, t;
    bool any = false;
    uint32_t next;

    from &= ~(uint64_t)63;
    to = (to + 63) & ~(uint64_t)63;

    for (uint32_t i = pg->tbs; i; i = next) {
        struct tb *tb = &eng->tbs[i];

        next = *page_link(tb, page);
        extent(tb, page, &f, &t);
        if (f < to && from < t) {
            drop(eng, jv, tb);
            any = true;
        } else {
            chunks |= chunk_mask(f, t);
        }
    }
    atomic_store(&pg->chunks, chunks);
    if (!pg->tbs) {
        atomic_store(&pg->code, 0);
        atomic_store(&pg->home, 0);
    }
    return any;
}

/* Tell the other vCPUs that blocks went. */
static void tell_others(struct jit_engine *eng, const struct jit_vcpu *jv)
{
    for (unsigned i = 0; i < eng->nr_vcpus; i++) {
        struct jit_vcpu *o = eng->vcpu[i];

        if (!o || o == jv)
            continue;
        atomic_fetch_or(&o->flush_request, JIT_REQ_BLOCKS);
        atomic_fetch_or(&o->pending, 1);
    }
}

bool h_invalidate(struct jit_engine *eng, struct jit_vcpu *jv, gpa_t gpa,
                  uint64_t len)
{
    struct jit_page *pg = page_of(eng, gpa);
    uint64_t from = gpa & GPAGE_MASK;
    bool any;

    /* The store is seen before the look: tb.c marks before it reads. */
    if (eng->nr_vcpus > 1)
        atomic_thread_fence(memory_order_seq_cst);
    if (!pg || !atomic_load(&pg->code) ||
        !(atomic_load(&pg->chunks) & chunk_mask(from, from + len)))
        return false;
    jit_lock_take(&eng->lock);
    any = invalidate_page(eng, jv, pg, gpa & ~GPAGE_MASK, from, from + len);
    jit_lock_drop(&eng->lock);
    if (!any)
        return false;
    if (jv)
        jv->stat[JIT_STAT_INVALIDATE]++;
    tell_others(eng, jv);
    if (jv)
        h_shadow_reset(jv);
    return true;
}

void h_written(void *opaque, gpa_t gpa, uint64_t len)
{
    struct jit_engine *eng = opaque;

    while (len) {
        uint64_t n = GPAGE_SIZE - (gpa & GPAGE_MASK);

        if (n > len)
            n = len;
        (void)h_invalidate(eng, NULL, gpa, n);
        gpa += n;
        len -= n;
    }
}
