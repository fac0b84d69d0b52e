#include "cpu/jit/jit.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "cpu/jit/gen.h"
#include "cpu/jit/h_sys.h"

/*
 * One translation: decode a run of guest instructions, find out which flags
 * live where, emit host code, publish the block. The vCPU is outside
 * translated code.
 */
enum {
    MAX_BRANCHES = 4,
    MAX_HOST = 60000,
    /* of one translation: its instructions, and those that are peeked at */
    MAX_FORMS = TB_MAX_INSNS + (MAX_BRANCHES + 2) * FORM_MAX_PEEK
};

static uint64_t page_number(const struct jit_engine *eng, gpa_t gpa)
{
    const struct gmem_bank *b = gmem_bank(eng->gmem, gpa, 1);

    return b->page_idx + ((gpa - b->start) >> GPAGE_SHIFT);
}

static void ask_writes(struct jit_vcpu *o)
{
    atomic_fetch_or(&o->flush_request, JIT_REQ_WRITES);
    atomic_fetch_or(&o->pending, 1);
    for (unsigned n = 0; atomic_load(&o->flush_request) & JIT_REQ_WRITES; n++) {
        if (!atomic_load(&o->in_code))
            return; /* it looks before it goes back in */
        jit_spin(n);
    }
}

/*
 * Make sure that no TLB has a write entry for a page that is about to hold
 * code. Pairs with h_tlb_insert: flag first, then the hints.
 */
static void protect(struct jit_vcpu *jv, gpa_t gpa)
{
    struct jit_engine *eng = jv->eng;
    uint64_t n = page_number(eng, gpa), hint;
    unsigned owner;

    if (atomic_load(&eng->pages[n].code))
        return;
    atomic_store(&eng->pages[n].code, 1);
    atomic_thread_fence(memory_order_seq_cst);
    hint = atomic_load(&eng->write_hints[n]);
    if (!hint)
        return;
    h_drop_write(jv, n);
    owner = (unsigned)(hint >> 52 & 0x7ff);
    for (unsigned i = 0; i < eng->nr_vcpus; i++)
        if (eng->vcpu[i] && eng->vcpu[i] != jv &&
            (hint >> 63 || owner == i + 1))
            ask_writes(eng->vcpu[i]);
    atomic_store(&eng->write_hints[n], 0);
}

/* -- Decoding ------------------------------------------------------------- */

struct source {
    const uint8_t *page;  /* host address of the first page */
    const uint8_t *page2; /* of the second, or NULL */
    struct jit_page *pg, *pg2;
    gpa_t gpa2;
};

/* The bytes are read after this: a store by another vCPU is seen, or sees the
 * mark (h_commit). */
static void mark(struct jit_page *pg, uint64_t from, uint64_t len)
{
    uint64_t hi = (from + len - 1) / 64;
    uint64_t bits = 0;

    for (uint64_t i = from / 64; i <= hi && i < 64; i++)
        bits |= (uint64_t)1 << i;
    if (bits & ~atomic_load(&pg->chunks)) {
        atomic_fetch_or(&pg->chunks, bits);
        atomic_thread_fence(memory_order_seq_cst);
    }
}

/* Code bytes at off from the first page's start; those of a second page
 * follow. The chunks are marked before the bytes are read. */
static size_t copy_bytes(const struct source *s, uint64_t off, uint8_t buf[16])
{
    size_t n = off < GPAGE_SIZE ? (size_t)(GPAGE_SIZE - off) : 0;

    if (n > 15)
        n = 15;
    mark(s->pg, off, n);
    memcpy(buf, s->page + off, n);
    if (n < 15 && s->page2) {
        mark(s->pg2, 0, 15 - n);
        memcpy(buf + n, s->page2, 15 - n);
        return 15;
    }
    return n;
}

static bool is_breakpoint(const struct jit_engine *eng, uint64_t gva)
{
    for (unsigned i = 0; i < atomic_load(&eng->nr_breakpoints); i++)
        if (eng->breakpoints[i] == gva)
            return true;
    return false;
}

enum decoded { DECODED, DECODE_MORE, DECODE_BEYOND };

/* Decode the instruction at rip, which lies at off in the first page.
 * DECODE_MORE: it needs a second page that the source lacks; DECODE_BEYOND: it
 * exceeds the limit of CS. */
static enum decoded decode_one(struct gen *g, const struct source *s,
                               struct ginsn *in, uint64_t off, uint64_t rip)
{
    uint8_t buf[16] = {0};
    size_t have = copy_bytes(s, off, buf);
    int rc = form_decode(g->eng->forms, in, buf, have, g->key, rip);

    if ((rc < 0 || off + in->f->length > GPAGE_SIZE) &&
        !(s->page2 && in == g->insns))
        return DECODE_MORE;
    if (!gen_64(g) &&
        rip + (in->f->length ? in->f->length - 1u : 0) > g->cs_limit)
        return DECODE_BEYOND;
    return DECODED;
}

/* Is the n-th instruction the block's last one? */
static bool ends_run(const struct gen *g, unsigned n, unsigned branches)
{
    const struct ginsn *in = &g->insns[n];

    return in->f->ends_block || in->f->length == 0 ||
           (in->f->class == IC_JCC && branches == MAX_BRANCHES) ||
           g->key & (KEY_STEP | KEY_BREAK | KEY_ONE) ||
           /* the shadow of STI ends behind the next one */
           (n > 0 && in[-1].f->class == IC_STI);
}

/* Decode up to max instructions; returns how many. If it is none, *why is what
 * the first one lacks. A later one of that kind starts a block of its own. */
static unsigned decode_run(struct gen *g, const struct source *s, unsigned max,
                           enum decoded *why)
{
    uint64_t off = (g->cs_base + g->rip) & GPAGE_MASK, rip = g->rip;
    unsigned n = 0, branches = 0;

    *why = DECODED;
    while (n < max && off < GPAGE_SIZE) {
        struct ginsn *in = &g->insns[n];
        enum decoded d = decode_one(g, s, in, off, rip);

        if (d != DECODED) {
            if (n == 0)
                *why = d;
            break;
        }
        if (n > 0 && is_breakpoint(g->eng, g->cs_base + rip))
            break;
        branches += in->f->class == IC_JCC;
        off += in->f->length ? in->f->length : 1;
        rip += in->f->length;
        n++;
        if (ends_run(g, n - 1, branches))
            break;
    }
    return n;
}

/*
 * Which flags may be read at rip, by a look at the code there. If that code
 * is changed later, it may see flags that this block has not kept: a program
 * that passes flags into code that it patches has no such block behind it.
 */
static uint32_t peek(const struct gen *g, uint64_t rip)
{
    gva_t gva = g->cs_base + g->slide + rip;
    uint64_t off = gva & GPAGE_MASK;
    const uint8_t *p = g->page + off;
    struct x86_walk w;

    if ((gva ^ (g->cs_base + g->slide + g->rip)) >> GPAGE_SHIFT) {
        if (!h_canonical(g->jv, gva) ||
            x86_probe(&g->jv->st, g->eng->gmem, gva, &w) < 0)
            return X86_FLAGS_ARITH;
        p = gmem_hva(g->eng->gmem, w.gpa, GPAGE_SIZE - off);
        if (!p)
            return X86_FLAGS_ARITH;
    }
    return form_peek_live(g->eng->forms, p, GPAGE_SIZE - off, g->key);
}

static uint64_t target_of(const struct gen *g, const struct ginsn *in)
{
    uint64_t t = in->rip + in->f->length + (uint64_t)in->imm;

    return gen_64(g) ? t : t & UINT32_MAX;
}

/* The same for a branch forward, perhaps to an instruction of this block. */
static uint32_t live_at_target(const struct gen *g, const struct ginsn *in)
{
    uint64_t t = target_of(g, in);
    const struct ginsn *end = &g->insns[g->nr_insns];

    for (const struct ginsn *i = in + 1; i < end && i->rip <= t; i++)
        if (i->rip == t)
            return i->flags_live;
    return peek(g, t);
}

/* Flags that live where control goes after in, besides the next one. */
static uint32_t live_out(const struct gen *g, const struct ginsn *in, bool last)
{
    switch (in->f->class) {
    case IC_JCC:
        return live_at_target(g, in) |
               (last ? peek(g, in->rip + in->f->length) : 0);
    case IC_JMP:
    case IC_CALL: return peek(g, target_of(g, in));
    default:
        if (in->f->ends_block)
            return X86_FLAGS_ARITH;
        return last ? peek(g, in->rip + in->f->length) : 0;
    }
}

/* Which arithmetic flags live before each instruction. */
static void find_live(struct gen *g)
{
    uint32_t live = 0;

    for (unsigned i = g->nr_insns; i-- > 0;) {
        struct ginsn *in = &g->insns[i];

        live |= live_out(g, in, i + 1 == g->nr_insns);
        if (g->key & (KEY_STEP | KEY_BREAK))
            live = X86_FLAGS_ARITH;
        live = (live & ~in->flags_kill) | in->f->flags_read;
        in->flags_live = live;
    }
}

/* -- Emitting ------------------------------------------------------------- */

static void emit_one(struct gen *g)
{
    switch (g->in->f->class) {
    case IC_PLAIN:
    case IC_FSTENV: gen_plain(g); break;
    case IC_NOP: break;
    case IC_LEA: gen_lea(g); break;
    case IC_BT_MEM: gen_bt_mem(g); break;
    case IC_JCC:
    case IC_LOOP:
    case IC_JMP:
    case IC_JMP_IND:
    case IC_CALL:
    case IC_CALL_IND:
    case IC_RET: gen_flow(g); break;
    default: gen_system(g); break;
    }
}

/* Behind an instruction that does not end a block by itself. */
static void emit_end(struct gen *g)
{
    const struct ginsn *last = &g->insns[g->nr_insns - 1];
    bool after_sti =
        g->nr_insns > 1 && g->insns[g->nr_insns - 2].f->class == IC_STI;

    g->in = last;
    if (g->key & KEY_STEP) {
        gen_helper(g, h_step_done, 0, gen_next_rip(g));
    } else if (last->f->class == IC_STI || after_sti) {
        gen_store_rip(g, gen_next_rip(g));
        e_jmp_gs(&g->e, JV_GLUE + 8 * GLUE_DISPATCH);
    } else {
        gen_jump(g, gen_next_rip(g));
    }
}

/* What a block does first where a breakpoint is or may be. */
static void emit_breakpoint(struct gen *g)
{
    gen_map(g, g->rip);
    if (is_breakpoint(g->eng, g->cs_base + g->rip))
        gen_helper(g, h_stop, 0, g->rip);
    if (g->key & KEY_BREAK)
        gen_helper(g, h_break, g->key & KEY_ONE, g->rip);
}

static bool emit_block(struct gen *g, struct tb *tb)
{
    gen_plan_hoist(g);
    gen_plan_groups(g);
    g->in = &g->insns[0];
    gen_entry(g, tb, g->insns[0].flags_live);
    tb->entry = (uint16_t)(g->e.p - g->start);
    emit_breakpoint(g);
    for (unsigned i = 0; i < g->nr_insns; i++) {
        g->in = &g->insns[i];
        gen_map(g, g->in->rip);
        g->win = false;
        if (g->hoist_len && i == g->hoist_at)
            gen_hoist_check(g);
        gen_group_checks(g, i);
        g->win = g->shared[i];
        g->shared_by = g->in_group[i] ? &g->group[g->in_group[i] - 1] : NULL;
        emit_one(g);
        g->shared_by = NULL;
    }
    g->win = false;
    if (!g->insns[g->nr_insns - 1].f->ends_block)
        emit_end(g);
    tb->hot_size = (uint16_t)(g->e.p - g->start);
    gen_cold_all(g);
    return !g->failed && !g->e.full && g->e.p - g->start < MAX_HOST;
}

static void publish(struct gen *g, struct tb *tb, gpa_t gpa,
                    const struct source *s)
{
    struct jit_engine *eng = g->eng;
    const struct ginsn *last = &g->insns[g->nr_insns - 1];
    uint32_t *bucket = &eng->hash[h_tb_hash(gpa, g->rip, g->key)];
    unsigned len = last->f->length ? last->f->length : 1;

    tb->rip = g->rip;
    tb->cs_base = g->cs_base;
    tb->cs_limit = g->cs_limit;
    tb->gpa = gpa;
    tb->key = g->key;
    tb->host = (uint32_t)(g->start - eng->code_rw);
    tb->host_size = (uint32_t)(g->e.p - g->start);
    tb->guest_size = (uint16_t)(last->rip - g->rip + len);
    tb->gpa2 = (gpa & GPAGE_MASK) + tb->guest_size > GPAGE_SIZE ? s->gpa2 : 0;
    tb->nr_insns = (uint16_t)g->nr_insns;
    tb->map = eng->nr_maps;
    tb->nr_maps = (uint16_t)g->nr_map;
    tb->links = g->first_link;
    tb->nr_links = (uint16_t)(eng->nr_links - g->first_link);
    memcpy(&eng->maps[eng->nr_maps], g->map, g->nr_map * sizeof(g->map[0]));
    eng->nr_maps += g->nr_map;
    tb->page_next = s->pg->tbs;
    s->pg->tbs = g->tb;
    if (tb->gpa2) {
        tb->page2_next = s->pg2->tbs;
        s->pg2->tbs = g->tb;
    }
    tb->hash_next = *bucket;
    eng->code_used = (uint32_t)(g->e.p - eng->code_rw);
    h_tb_index(eng, g->tb);
    __atomic_store_n(&eng->nr_tbs, eng->nr_tbs + 1, __ATOMIC_RELEASE);
    __atomic_store_n(bucket, g->tb, __ATOMIC_RELEASE);
}

static bool cache_full(const struct jit_engine *eng)
{
    return eng->code_used + MAX_HOST + 64 > eng->code_size ||
           eng->nr_tbs + 1 >= eng->max_tbs ||
           eng->nr_links + 4 * TB_MAX_INSNS >= eng->max_links ||
           eng->nr_maps + 8 * TB_MAX_INSNS >= eng->max_maps;
}

/* eng->lock is held. */
static struct tb *build(struct jit_vcpu *jv, struct gen *g, gpa_t gpa,
                        const struct source *s, enum decoded *why)
{
    struct jit_engine *eng = jv->eng;
    unsigned max = TB_MAX_INSNS;

    for (;;) {
        struct tb *tb = &eng->tbs[eng->nr_tbs];
        uint32_t at = (eng->code_used + 15) & ~(uint32_t)15;

        memset(tb, 0, sizeof(*tb));
        g->start = eng->code_rw + at;
        g->e =
            (struct emit){.p = g->start, .end = eng->code_rw + eng->code_size};
        g->tb = eng->nr_tbs;
        g->first_link = eng->nr_links;
        g->nr_cold = g->nr_map = 0;
        g->failed = false;
        if (form_cache_full(eng->forms, MAX_FORMS))
            form_cache_reset(eng->forms);
        g->nr_insns = decode_run(g, s, max, why);
        if (!g->nr_insns)
            return NULL;
        find_live(g);
        if (emit_block(g, tb)) {
            publish(g, tb, gpa, s);
            return tb;
        }
        eng->nr_links = g->first_link;
        if (g->nr_insns == 1) {
            log_err("jit", "cannot translate %s at 0x%llx",
                    ZydisMnemonicGetString(g->insns[0].f->mnemonic),
                    (unsigned long long)g->rip);
            return NULL;
        }
        max = g->nr_insns / 2;
    }
}

static bool second_page(struct jit_vcpu *jv, struct source *s, gva_t gva)
{
    gva_t next = (gva & ~GPAGE_MASK) + GPAGE_SIZE;

    if (h_fetch(jv, next, &s->gpa2) < 0)
        return false;
    protect(jv, s->gpa2);
    s->page2 = gmem_hva(jv->eng->gmem, s->gpa2, GPAGE_SIZE);
    s->pg2 = &jv->eng->pages[page_number(jv->eng, s->gpa2)];
    return true;
}

static int no_memory_here(struct jit_vcpu *jv, gva_t gva)
{
    log_guest("jit", "the guest executes from 0x%llx, which is no memory",
              (unsigned long long)gva);
    return h_raise(jv, X86_GP, true, 0);
}

static int fetch_fault(struct jit_vcpu *jv, gva_t gva)
{
    return jv->cpu.fault.type == X86_EVENT_NONE ? no_memory_here(jv, gva)
                                                : h_fault(jv);
}

/* Where the block is to run: here alone, or anywhere. eng->lock is held. */
static void choose_address(struct jit_vcpu *jv, struct gen *g,
                           struct jit_page *pg, gva_t gva)
{
    jv->xkey &= ~(uint32_t)KEY_SHARED;
    g->rip = jv->st.rip;
    g->slide = 0;
    if (h_shared(jv, (uint64_t)(pg - jv->eng->pages), gva)) {
        jv->xkey |= KEY_SHARED;
        g->rip = gva & GPAGE_MASK;
        g->slide = gva & ~GPAGE_MASK;
    } else if (key_mode(jv->key) == JIT_USER && !atomic_load(&pg->home)) {
        atomic_store(&pg->home, (gva & ~GPAGE_MASK) | 1);
    }
    g->key = jv->key | jv->xkey;
}

int jit_translate(struct jit_vcpu *jv)
{
    struct jit_engine *eng = jv->eng;
    uint64_t base = h_cs_base(jv);
    gva_t gva = base + jv->st.rip;
    struct source s = {0};
    enum decoded why = DECODED;
    struct gen *g;
    struct tb *tb;
    gpa_t gpa;

    if (h_fetch(jv, gva, &gpa) < 0)
        return fetch_fault(jv, gva);
    if (!gmem_hva(eng->gmem, gpa & ~GPAGE_MASK, GPAGE_SIZE))
        return no_memory_here(jv, gva);
    protect(jv, gpa);
    s.page = gmem_hva(eng->gmem, gpa & ~GPAGE_MASK, GPAGE_SIZE);
    s.pg = &eng->pages[page_number(eng, gpa)];
    g = jv->gen;
    do {
        if (why == DECODE_MORE && !second_page(jv, &s, gva))
            return fetch_fault(jv, (gva & ~GPAGE_MASK) + GPAGE_SIZE);
        g->eng = eng;
        g->jv = jv;
        g->mode = key_mode(jv->key);
        g->cs_base = base;
        g->cs_limit = h_cs_limit(jv);
        g->page = s.page;
        g->pg = s.pg;
        jit_lock_take(&eng->lock);
        if (cache_full(eng)) {
            jit_lock_drop(&eng->lock);
            atomic_store(&eng->flush_wanted, true);
            return H_DISPATCH;
        }
        /* Invalidation may have cleared the flag meanwhile. */
        atomic_store(&s.pg->code, 1);
        choose_address(jv, g, s.pg, gva);
        jv->stat[JIT_STAT_TRANSLATE]++;
        tb = build(jv, g, gpa, &s, &why);
        jit_lock_drop(&eng->lock);
    } while (!tb && why == DECODE_MORE && !s.page2);
    if (why == DECODE_BEYOND)
        return h_raise(jv, X86_GP, true, 0);
    return tb ? H_DISPATCH : H_EXIT;
}
