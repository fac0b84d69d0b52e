#ifndef HUSK_CPU_JIT_JIT_H
#define HUSK_CPU_JIT_JIT_H

#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "cpu/engine.h"
#include "cpu/jit/layout.h"
#include "mem/gmem.h"
#include "x86/paging.h"
#include "x86/regs.h"
#include "x86/system.h"

/*
 * Shapes that the parts of the translator share. docs/jit.md tells how they
 * work together; layout.h has the offsets that translated code uses.
 */

/* -- Mode key ------------------------------------------------------------- */

/* What a translation depends on besides its bytes and address. */
enum jit_key {
    KEY_SIZE_MASK = 3, /* 0: 16-bit code, 1: 32-bit, 2: 64-bit */
    KEY_MODE_SHIFT = 2,
    KEY_MODE_MASK = 3 << KEY_MODE_SHIFT, /* enum jit_mode */
    KEY_REAL = 1 << 4,
    KEY_VM86 = 1 << 5,
    KEY_CPL0 = 1 << 6,
    KEY_NO_X87 = 1 << 7, /* CR0.EM or TS: #NM */
    KEY_NO_SSE = 1 << 8, /* CR0.EM or no CR4.OSFXSR: #UD */
    KEY_TS = 1 << 9,     /* SSE and AVX: #NM */
    KEY_NO_AVX = 1 << 10,
    KEY_STEP = 1 << 11,     /* one instruction, then #DB or the debugger */
    KEY_BREAK = 1 << 12,    /* DR7 arms breakpoints: single instructions */
    KEY_SS16 = 1 << 13,     /* 16-bit stack pointer */
    KEY_SEGMENTS = 1 << 14, /* ES, CS, SS or DS is not flat */
    KEY_FSGSBASE = 1 << 15,
    KEY_TSD = 1 << 16,      /* RDTSC faults */
    KEY_FS_CHECK = 1 << 17, /* limits of FS, GS must be checked */
    KEY_GS_CHECK = 1 << 18,
    KEY_OSXSAVE = 1 << 19,
    KEY_UNHOISTED = 1 << 20, /* without checks shared by several accesses */
    KEY_SMAP = 1 << 22,
    KEY_SS32 = 1 << 21,        /* 32-bit stack pointer (with neither: 64) */
    KEY_ONE = 1 << 24,         /* one instruction, then the pending test */
    KEY_SHARED = 1 << 25,      /* good at any linear address (h_shared) */
    KEY_ALIGN = 1 << 26,       /* #AC: C looks at each access */
    KEY_ODD_SEGMENTS = 1 << 23 /* one expands down or lacks a right: h_segment
                                * judges each access that is checked */
};

/* Which TLB tables memory accesses use. */
enum jit_mode { JIT_USER, JIT_SUPER, JIT_SUPER_AC, JIT_NR_MODES };

static inline unsigned key_mode(uint32_t key)
{
    return (key & KEY_MODE_MASK) >> KEY_MODE_SHIFT;
}

/* -- Per-vCPU state ------------------------------------------------------- */

struct jit_tlb {
    uint64_t tag[TLB_ENTRIES];    /* negated linear page address; see
                                     jit_tlb_never */
    uint8_t *addend[TLB_ENTRIES]; /* host address of the page */
};

struct jit_jc_entry {
    uint64_t tag; /* negated RIP; 1 never matches with RIP's index */
    const uint8_t *host;
};

static inline unsigned jit_tlb_index(uint64_t gva)
{
    return (unsigned)(gva >> 12) & (TLB_ENTRIES - 1);
}

/*
 * A tag for entry i that no address hits: that of a page of another index.
 * It is 0 for all but one entry, so that untouched memory is an empty table.
 */
static inline uint64_t jit_tlb_never(unsigned i)
{
    return i ? 0 : (uint64_t)0 - (2u << 12);
}

static inline unsigned jit_jc_index(uint64_t rip)
{
    return (unsigned)(rip + (rip >> JC_MIX)) & (JC_ENTRIES - 1);
}

/* The same for the jump cache. */
static inline uint64_t jit_jc_never(unsigned i)
{
    return i ? 0 : (uint64_t)0 - 1;
}

enum {
    JIT_NR_SETS = 8,
    JIT_HASH_BITS = 4096,
    JIT_ITLB = 64,
    JIT_LIST = 4096,
    JIT_NOTES = 2048
};

/* What lies behind the state area in each set's region. */
struct jit_tables {
    struct jit_tlb tlb[JIT_NR_MODES][2];
    struct jit_jc_entry jc[JIT_NR_MODES][JC_ENTRIES];
    const void *slot[SLOT_MAX];
    uint64_t slide[SLOT_MAX];
};

/* One cached address space. */
struct jit_set {
    uint8_t *region; /* GS base: state area, then the tables */
    struct jit_tables *tables;
    uint64_t cr3; /* page-table base that it is for */
    uint32_t pcid;
    bool valid, used; /* used: has entries, so a flush has work */
    uint64_t last_use;
    /* Hashes of 2-MiB and 1-GiB regions that large pages were cached for:
     * INVLPG there must drop more than one entry. */
    uint64_t large2m[2][JIT_HASH_BITS / 64];
    uint64_t large1g[2][JIT_HASH_BITS / 64];
    /* Hash of pages that the jump cache may have entries for. All three are
     * apart for the lower and the upper half of the address space: a kernel's
     * large pages shall not make flushes of user pages dear. */
    uint64_t exec[2][JIT_HASH_BITS / 64];
    bool has_exec, has_large;
    /* What was inserted since the last clearing, to undo just that; when the
     * list is full, everything is cleared. */
    uint32_t tlb_list[JIT_LIST];
    uint32_t jc_list[JIT_LIST];
    uint32_t nr_tlb, nr_jc;
    uint32_t nr_filled;
    uint16_t *filled; /* slots that hold a block, SLOT_MAX at most */
    /* Where pages with shared code run in this address space; those of another
     * age are none. */
    struct jit_note {
        uint32_t page, age;
        gva_t gva;
    } note[JIT_NOTES];
    uint32_t note_age, nr_notes;
    /* What the jump caches are for: other modes' blocks must not be found. */
    uint32_t jc_key[JIT_NR_MODES];
    uint64_t jc_cs[JIT_NR_MODES];
    uint32_t jc_limit[JIT_NR_MODES];
    struct jit_itlb {
        uint64_t gva; /* page | mode, or ~0 */
        gpa_t gpa;
        bool global;
    } itlb[JIT_ITLB];
};

enum jit_exit { JIT_EXIT_TRANSLATE, JIT_EXIT_ENGINE, JIT_EXIT_GATE };

struct jit_window {
    uint64_t tag, addend;
};

/* How a bounce access ends (h_commit). */
struct jit_commit {
    gva_t gva;
    uint32_t size;
    uint8_t mode;         /* enum jit_mode */
    uint8_t locked;       /* eng->split_lock is held */
    uint8_t bounced;      /* else the store went straight to code's page */
    uint8_t in_bounce_at; /* offset in the bounce buffer */
    gpa_t gpa[2];         /* of the parts on one or two pages */
};

/* What the translator counts, for HUSK_LOG=debug. */
enum jit_stat {
    JIT_STAT_LOOKUP,      /* dispatches through C */
    JIT_STAT_LOOKUP_SLOW, /* of these, not in the jump cache */
    JIT_STAT_LINK,
    JIT_STAT_TRANSLATE,
    JIT_STAT_SLOW, /* TLB misses of translated code */
    JIT_STAT_BOUNCE,
    JIT_STAT_CODE_STORE, /* stores to pages with code */
    JIT_STAT_INVALIDATE, /* of these, some dropped blocks */
    JIT_STAT_FAULT,
    JIT_STAT_RARE,
    JIT_STAT_FLUSH,
    JIT_STAT_FLUSH_PAGE,
    JIT_STAT_CR3,
    JIT_NR_STATS
};

struct jit_engine;

/* Offsets of the first fields are in layout.h. */
struct jit_vcpu {
    struct x86_state st;
    uint8_t pad0[JV_HOT - sizeof(struct x86_state)];
    _Atomic uint32_t pending;
    uint32_t from;
    uint32_t flag_if, flag_df, flag_ac, flags_other;
    uint64_t arith;
    uint64_t rax_save, rcx_save;
    uint64_t *shadow_sp; /* host RSP of translated code */
    uint8_t *c_sp;
    uint32_t key, pad2;
    uint64_t tmp;
    struct jit_vcpu *self;
    uint64_t *shadow_top;
    uint32_t irq_wait, pad3;
    uint64_t slot_mask;
    uint64_t xcr0_save;
    uint64_t host_sp;
    uint32_t exit;
    uint32_t link;
    uint64_t ret_glue;
    uint64_t tlb_mask;
    uint64_t slot_mask32;
    uint64_t jc_mask;
    uint32_t mxcsr_default, pad4;
    uint64_t tmp2, pad5;
    struct jit_window win[3];
    uint64_t slide; /* the page that the running block lies on, if shared */
    uint64_t pad6;
    uint64_t glue[32];
    uint64_t spill[16];
    uint8_t bounce[256];

    /* Only C looks below. */
    struct jit_engine *eng;
    struct vcpu *v;
    struct x86_cpu cpu;
    struct jit_set *set;
    struct jit_commit commit;
    struct {
        uint64_t gva; /* page | mode of the last store to a page with code */
        gpa_t gpa;
        uint8_t *hva;
    } code_page;
    enum engine_exit exit_reason;
    uint32_t step;       /* the debugger asked for one instruction */
    uint32_t break_hits; /* DR6 bits of data breakpoints that were met */
    uint32_t held_hits;  /* by MOV SS: the trap waits for one instruction */
    uint64_t use_clock;
    uint32_t xkey;     /* bits that the wanted translation has beyond key */
    bool shadow_stale; /* frames of user code are another address space's */
    uint8_t vec_live;  /* guest vectors are in the registers */
    _Atomic uint32_t in_code;
    _Atomic uint32_t flush_request; /* others ask: drop write entries */
    _Atomic uint32_t flush_done;
    struct jit_set *sets; /* JIT_NR_SETS */
    uint8_t *shadow_map, *c_map, *alt_stack;
    uint8_t *nowhere;  /* a page that cleared windows point at */
    struct gen *gen;   /* the translation that this vCPU makes */
    struct kept *kept; /* instructions that rare.c decoded */
    bool gs_stale;     /* the GS base is to be set before running */
    uint64_t stat[JIT_NR_STATS];
};

_Static_assert(offsetof(struct jit_vcpu, st.gpr) == JV_GPR, "layout.h");
_Static_assert(offsetof(struct jit_vcpu, st.rip) == JV_RIP, "layout.h");
_Static_assert(offsetof(struct jit_vcpu, st.xsave) == JV_XSAVE, "layout.h");
_Static_assert(offsetof(struct jit_vcpu, st.seg[X86_FS].base) == JV_FSBASE,
               "layout.h");
_Static_assert(offsetof(struct jit_vcpu, st.seg[X86_GS].base) == JV_GSBASE,
               "layout.h");
_Static_assert(offsetof(struct jit_vcpu, st.tsc_offset) == JV_TSC_OFFSET,
               "layout.h");
_Static_assert(offsetof(struct jit_vcpu, pending) == JV_PENDING, "layout.h");
_Static_assert(offsetof(struct jit_vcpu, from) == JV_FROM, "layout.h");
_Static_assert(offsetof(struct jit_vcpu, flag_if) == JV_IF, "layout.h");
_Static_assert(offsetof(struct jit_vcpu, arith) == JV_ARITH, "layout.h");
_Static_assert(offsetof(struct jit_vcpu, key) == JV_KEY, "layout.h");
_Static_assert(offsetof(struct jit_vcpu, irq_wait) == JV_IRQ_WAIT, "layout.h");
_Static_assert(offsetof(struct jit_vcpu, link) == JV_LINK, "layout.h");
_Static_assert(offsetof(struct jit_vcpu, jc_mask) == JV_JC_MASK, "layout.h");
_Static_assert(offsetof(struct jit_vcpu, tlb_mask) == JV_TLB_MASK, "layout.h");
_Static_assert(offsetof(struct jit_vcpu, ret_glue) == JV_RET_GLUE, "layout.h");
_Static_assert(offsetof(struct jit_vcpu, mxcsr_default) == JV_MXCSR, "layout");
_Static_assert(offsetof(struct jit_vcpu, win) == JV_WIN, "layout.h");
_Static_assert(offsetof(struct jit_vcpu, slide) == JV_SLIDE, "layout.h");
_Static_assert(offsetof(struct jit_vcpu, glue) == JV_GLUE, "layout.h");
_Static_assert(offsetof(struct jit_vcpu, spill) == JV_SPILL, "layout.h");
_Static_assert(offsetof(struct jit_vcpu, bounce) == JV_BOUNCE, "layout.h");
_Static_assert(sizeof(struct jit_vcpu) <= JV_STATE_SIZE, "layout.h");
_Static_assert(sizeof(struct jit_tables) == JV_TLB_SET_SIZE, "layout.h");

/* -- Blocks --------------------------------------------------------------- */

enum { TB_MAX_INSNS = 64 };

/* Which guest instruction a stretch of host code belongs to. */
struct tb_map {
    uint16_t host;  /* offset of its first byte in the block's hot part */
    uint16_t guest; /* offset from the block's first byte */
};

struct tb {
    uint64_t rip;      /* of the first instruction (CS-relative); where code
                          is shared, its offset in the page */
    uint64_t cs_base;  /* 0 in 64-bit mode */
    uint32_t cs_limit; /* no instruction lies beyond; all ones in 64-bit */
    gpa_t gpa;         /* of the first byte */
    gpa_t gpa2;        /* of the second page's start, if it spans two, else 0 */
    uint32_t key;
    uint32_t host; /* offset in the code cache: the entry from slots */
    /* From host: the entry with the pending test; the same for who comes with
     * the address in r10; the entry without. */
    uint16_t checked, indirect, entry;
    uint16_t hot_size;
    uint32_t host_size;
    uint16_t guest_size;
    uint16_t nr_insns;
    uint32_t map;       /* first index in eng->maps */
    uint32_t hash_next; /* indices in eng->tbs; 0 = none */
    uint32_t page_next, page2_next;
    uint32_t links_in; /* first link that goes here */
    uint32_t links;    /* first own link */
    uint16_t nr_links;
    uint16_t nr_maps;
    bool invalid;
    bool in_slot; /* some slot of some set may hold it */
};

/* A direct jump out of a block: rel32 that can be patched. */
struct tb_link {
    uint32_t patch;    /* offset in the code cache of the rel32 */
    uint32_t stub;     /* where it goes when it is not linked */
    uint32_t from;     /* block */
    uint32_t to;       /* block, or 0 */
    uint32_t next_in;  /* next link to the same block */
    uint8_t checked;   /* goes backward: enter through the pending test */
    uint8_t cross;     /* other page: only while both mappings stand */
    uint8_t rekey;     /* behind STAC or CLAC: to a block of another mode */
    uint8_t unhoisted; /* to the translation without shared checks */
};

/* What the translator knows of a RAM page that has code. */
struct jit_page {
    _Atomic uint64_t chunks; /* 64-byte pieces that translations cover */
    uint32_t tbs;            /* first block on it */
    _Atomic uint32_t code;   /* no write entries in any TLB */
    _Atomic uint64_t home;   /* where user code on it is not shared, or 0 */
};

/* What other threads ask of a vCPU (flush_request). */
enum {
    JIT_REQ_WRITES = 1, /* drop write entries; the asker waits */
    JIT_REQ_BLOCKS = 2, /* blocks went: drop jump caches and shadow stack */
    JIT_REQ_ALL = 4     /* memory is elsewhere: drop all that is cached */
};

enum {
    JIT_TB_BITS = 18,
    JIT_HASH_SIZE = 1 << JIT_TB_BITS,
    JIT_KPAGES = 4096,
    JIT_INDEX_SHIFT = 9
};

/* A lock that freestanding code may take (futex). */
struct jit_lock {
    _Atomic uint32_t word;
};

struct jit_engine {
    const struct cpuid_model *model;
    struct gmem *gmem;
    unsigned nr_vcpus;
    struct jit_vcpu *vcpu[256];
    struct jit_lock lock;       /* everything below */
    struct jit_lock split_lock; /* locked accesses to two pages */
    _Atomic uint32_t exclusive; /* futex word: 1 = nobody may enter code */
    _Atomic bool flush_wanted;  /* the code cache is full */

    uint8_t *code_rw, *code_rx; /* two mappings of the code cache */
    uint32_t code_size, code_used;
    struct tb *tbs; /* [0] is unused */
    uint32_t nr_tbs, max_tbs;
    /* The last block that begins at or before each so many bytes of code. */
    uint32_t *tb_index;
    uint32_t nr_indexed;
    struct tb_link *links; /* [0] is unused */
    uint32_t nr_links, max_links;
    struct tb_map *maps;
    uint32_t nr_maps, max_maps;
    uint32_t *hash;
    struct form_cache *forms;
    struct jit_page *pages;        /* by RAM page number */
    _Atomic uint64_t *write_hints; /* by RAM page: who may have write entries */
    /* Kernel pages that cross-page links rely on: linear page to RAM page. */
    struct jit_kpage {
        uint64_t gva, gpa;
    } * kpages;
    /* Targets of jumps to other pages; a slot's number is its index. */
    struct jit_slot {
        uint64_t rip; /* from shared code: offset from its page */
        uint32_t key;
        uint32_t page; /* that jumps, if its code is shared */
    } * slots;
    uint16_t *slot_hash; /* by target: the last slot made for it */
    uint32_t nr_slots;
    uint32_t kpages_used[JIT_KPAGES]; /* slots of kpages in use */
    uint32_t nr_kpages;
    bool has_cross; /* some link between pages is in place */
    /* Top-level entries that kernel pages were found through. */
    _Atomic uint64_t pml4e[512];
    gva_t breakpoints[64];
    _Atomic unsigned nr_breakpoints;
    bool bmi2, fsgsbase;
    bool fast_pext; /* not a microcoded one */
    bool share_all; /* for tests: all 64-bit user code */
};

/* -- Between the parts ---------------------------------------------------- */

/* An entry of tb, as translated code is to be run: at is from tb->host. */
static inline const uint8_t *jit_code(const struct jit_engine *eng,
                                      const struct tb *tb, unsigned at)
{
    return eng->code_rx + tb->host + at;
}

/* From host addresses of translated code to offsets in the cache, and back. */
static inline uint64_t jit_code_offset(const struct jit_engine *eng,
                                       uint64_t host_pc)
{
    return host_pc - (uint64_t)(uintptr_t)eng->code_rx;
}

static inline const uint8_t *jit_code_at(const struct jit_engine *eng,
                                         uint64_t host_pc)
{
    return eng->code_rx + jit_code_offset(eng, host_pc);
}

void jit_lock_take(struct jit_lock *l);
void jit_lock_drop(struct jit_lock *l);

/* glue.S */
void jit_enter(struct jit_vcpu *jv, const void *code);
uint64_t jit_call_c(uint64_t (*fn)(void *, uint64_t, uint64_t, uint64_t),
                    void *a, uint64_t b, uint64_t c, uint64_t d);
extern const char glue_slow[], glue_commit[], glue_helper[], glue_jmp_user[],
    glue_jmp_super[], glue_jmp_super_ac[], glue_jmp_slow[], glue_link[],
    glue_pending[], glue_dispatch[], glue_sentinel[], glue_group[],
    glue_window_user[], glue_window_super[], glue_window_super_ac[],
    glue_raise[], glue_slot[], glue_jump_user[], glue_jump_super[],
    glue_jump_super_ac[], glue_jump_slow[];

/* Run fn where vector registers may be used, from wherever we are. */
uint64_t h_call_c(struct jit_vcpu *jv,
                  uint64_t (*fn)(void *, uint64_t, uint64_t, uint64_t), void *a,
                  uint64_t b, uint64_t c, uint64_t d);

/* h_run.c: dispatch */
const void *h_lookup(struct jit_vcpu *jv);
/* The same for an indirect JMP or CALL, whose place is in jv->from. */
const void *h_jump(struct jit_vcpu *jv);
/* Can code be there: is RIP canonical, or in the segment? */
bool h_may_run(const struct jit_vcpu *jv, uint64_t rip);
const void *h_link(struct jit_vcpu *jv, uint32_t n);
const void *h_pending(struct jit_vcpu *jv);
const void *h_slot(struct jit_vcpu *jv, uint32_t n);
/* Serve flush_request. */
void h_requests(struct jit_vcpu *jv);
/* Can an interrupt or NMI be delivered to a halted CPU? */
bool h_wakes(struct jit_vcpu *jv);
void h_shadow_reset(struct jit_vcpu *jv);
/* RAM page of gva for execution (its gpa), or -1 with a fault set up. */
int h_fetch(struct jit_vcpu *jv, gva_t gva, gpa_t *gpa);

/* h_mem.c: memory */
struct h_slow_result {
    uint64_t host;    /* 0: a fault was delivered, go to the dispatcher */
    uint64_t special; /* 1: run the copy, then commit */
};
struct h_slow_result h_slow(struct jit_vcpu *jv, gva_t gva, uint32_t desc,
                            uint64_t ret);
int h_commit(struct jit_vcpu *jv, uint32_t desc, uint64_t ret);
void *h_translate(struct jit_vcpu *jv, gva_t gva, enum x86_access access,
                  enum jit_mode mode, struct x86_walk *w);
/* X86_FAULT with #AC set up if it is checked, and an operand of size bytes is
 * not aligned at gva. */
int h_alignment(struct jit_vcpu *jv, gva_t gva, unsigned size);
int h_read(struct jit_vcpu *jv, gva_t gva, void *dst, unsigned len,
           enum jit_mode mode);
int h_write(struct jit_vcpu *jv, gva_t gva, const void *src, unsigned len,
            enum jit_mode mode);
/* Fill the TLB for [gva, gva + len) without raising anything. */
bool h_hoist(struct jit_vcpu *jv, gva_t gva, uint32_t desc);
uint64_t h_mmio_read(struct jit_vcpu *jv, gpa_t gpa, unsigned size);
void h_mmio_write(struct jit_vcpu *jv, gpa_t gpa, unsigned size, uint64_t val);

/* h_tlb.c */
void h_flush(struct jit_vcpu *jv, enum x86_flush kind, gva_t gva,
             unsigned pcid);
void h_flush_all(struct jit_vcpu *jv);
void h_cr3_loaded(struct jit_vcpu *jv, bool keep);
void h_tlb_insert(struct jit_vcpu *jv, gva_t gva, enum jit_mode mode,
                  bool write, bool global, void *hva);
void h_drop_write(struct jit_vcpu *jv, uint64_t ram_page);
void h_mode_changed(struct jit_vcpu *jv);
void h_jc_clear(struct jit_set *set);
/* The mode key may have changed: forget jumps to blocks of another. */
void h_jc_check_key(struct jit_vcpu *jv);
/* Entry i of mode's jump cache was filled. */
void h_jc_note(struct jit_set *set, unsigned mode, unsigned i, bool global);
struct tb;
void h_jc_forget(struct jit_vcpu *jv, const struct tb *tb);
void h_slots_clear(struct jit_set *set);
void h_tables_clear(struct jit_set *set);
void h_windows_clear(struct jit_vcpu *jv);
extern const struct x86_system_ops h_system_ops;

/* h_tb.c: blocks, freestanding part */
struct tb *h_tb_find(struct jit_vcpu *jv, uint64_t rip, gpa_t gpa,
                     uint32_t key);
/*
 * Is the code at gva, on that RAM page, to be translated for any address? It is
 * where the page was run at another address before: code of libraries and
 * position-independent programs, which each process has elsewhere.
 */
bool h_shared(struct jit_vcpu *jv, uint64_t page, gva_t gva);
/* RIP of the block's first instruction, as it runs now. */
uint64_t h_tb_rip(const struct jit_vcpu *jv, const struct tb *tb);
/* Base and limit of CS as blocks have them. */
uint64_t h_cs_base(const struct jit_vcpu *jv);
uint32_t h_cs_limit(const struct jit_vcpu *jv);
uint32_t h_tb_hash(gpa_t gpa, uint64_t rip, uint32_t key);
struct tb *h_tb_at(struct jit_engine *eng, uint64_t host_pc);
unsigned h_tb_insn(struct jit_engine *eng, const struct tb *tb,
                   uint64_t host_pc);
/* eng->lock is held: block n, which is complete, can be found by h_tb_at(). */
void h_tb_index(struct jit_engine *eng, uint32_t n);
void h_tb_link(struct jit_engine *eng, uint32_t n, struct tb *to);
/*
 * The slot of a jump to another page, in code of that key: 0 if there are too
 * many. Kernel pages have links; others are good for one address space only.
 * Slots enter by the pending test, since no one knows here whether the jump
 * closes a loop. page: that jumps, if its code is shared. eng->lock is held.
 */
uint32_t h_slot_for(struct jit_engine *eng, uint64_t target, uint32_t key,
                    uint32_t page);
void h_tb_link_alt(struct jit_vcpu *jv, uint32_t n);
void h_tb_unlink_in(struct jit_engine *eng, struct tb *tb);
/* Drop the blocks on [gpa, gpa + len) of one RAM page. True if any went. */
bool h_invalidate(struct jit_engine *eng, struct jit_vcpu *jv, gpa_t gpa,
                  uint64_t len);
/* Do translations cover any of these bytes of a RAM page? */
bool h_covered(const struct jit_engine *eng, uint64_t page, uint64_t off,
               uint64_t len);
void h_written(void *opaque, gpa_t gpa, uint64_t len);
/* eng->lock is held: may links rely on gva being mapped to gpa? If it was
 * mapped otherwise before, all links between kernel pages are undone. */
bool h_kpage_note(struct jit_vcpu *jv, gva_t gva, gpa_t gpa);
/* Translations of gva, or all, were flushed: do the links still hold? */
void h_kpages_recheck(struct jit_vcpu *jv, gva_t gva, bool all);
/* CR3 was loaded: is the kernel's part of the address space the same? */
void h_kpages_cr3(struct jit_vcpu *jv);

/* h_sys.c: called by translated code through glue_helper */
typedef int h_fn(struct jit_vcpu *jv, uint64_t arg);
enum { H_CONTINUE = 0, H_DISPATCH = 1, H_EXIT = 2 };
void h_flags_in(struct jit_vcpu *jv);  /* st.rflags to the split form */
void h_flags_out(struct jit_vcpu *jv); /* and back */
int h_deliver(struct jit_vcpu *jv, const struct x86_event *ev);
int h_fault(struct jit_vcpu *jv); /* deliver jv->cpu.fault */
int h_raise(struct jit_vcpu *jv, unsigned vector, bool has_error,
            uint32_t error);
bool h_canonical(const struct jit_vcpu *jv, gva_t gva);

/* h_break.c: deliver what was met as a trap */
int h_break_trap(struct jit_vcpu *jv);
/* DR6 bits of what was met; forgets it. */
uint32_t h_break_take(struct jit_vcpu *jv);
/* DR6 bits of the data breakpoints that an access meets. */
uint32_t h_break_data(const struct x86_state *st, gva_t gva, uint64_t len,
                      bool write);
/* breakpoint.c: DR6 bits of those that the instruction at RIP will meet. */
uint64_t breakpoint_data(void *opaque, uint64_t b, uint64_t c, uint64_t d);

/*
 * Between two looks at what another vCPU's thread is about to do, the n-th. It
 * answers within a microsecond if it runs; if it does not, it may be waiting
 * for the very processor that this thread keeps busy.
 */
enum { JIT_SPINS = 1000 };
static inline void jit_spin(unsigned n)
{
    if (n < JIT_SPINS)
        __builtin_ia32_pause();
    else
        (void)sched_yield();
}

/* tb.c */
int jit_translate(struct jit_vcpu *jv);
void jit_flush_code(struct jit_engine *eng);

/* cache.c */
MUST_CHECK int jit_cache_init(struct jit_engine *eng, struct err *err);
void jit_cache_fini(struct jit_engine *eng);

/* fault.c */
enum { JIT_ALT_STACK = 64 << 10 }; /* bytes, for signal handlers */
void jit_fault_init(void);
void jit_fault_thread(struct jit_vcpu *jv);

#endif
