#ifndef HUSK_CPU_JIT_GEN_H
#define HUSK_CPU_JIT_GEN_H

#include "cpu/jit/emit.h"
#include "cpu/jit/form.h"
#include "cpu/jit/jit.h"

/*
 * The state of one translation, and the steps that the rules share. A block
 * is emitted in two parts: the hot path, and behind it the cold paths that it
 * branches to (slow accesses, exits).
 */
enum cold_kind {
    COLD_SLOW,    /* TLB miss: retry or run a copy, then resume */
    COLD_LINK,    /* leave by a link that is not patched yet */
    COLD_GLUE,    /* jump to a glue routine */
    COLD_PENDING, /* the pending test at the checked entry failed */
    COLD_SEGMENT, /* segment limit exceeded: a helper decides */
    COLD_HOIST,   /* the stack window is elsewhere */
    COLD_GROUP,   /* a shared check failed */
    COLD_DISPATCH /* an indirect call looks up its target */
};

struct cold {
    uint8_t kind;
    uint8_t glue; /* COLD_GLUE: index; PENDING: 1 = restore rcx */
    uint8_t write;
    uint8_t seg;
    uint8_t *from;     /* rel32 to patch with the address of the cold path */
    uint8_t *resume;   /* hot code to go back to */
    uint8_t *copy_end; /* write: end of the code to copy */
    uint32_t desc, table, link;
    uint16_t guest; /* offset of the instruction, for the map */
    uint64_t rip;
};

enum { GEN_MAX_COLD = 4 * TB_MAX_INSNS };

/* Accesses of a block through one base register that share a check. */
struct gen_group {
    uint8_t base; /* guest register, or GEN_BASE_NONE: constant addresses */
    bool write;
    uint8_t from;  /* first instruction that sees this value of the base */
    uint8_t first; /* first access */
    uint8_t at;    /* instruction in front of which the check is */
    uint8_t count;
    int64_t lo, hi; /* from the base, in bytes: [lo, hi) */
};

enum { GEN_BASE_NONE = 16, GEN_MAX_GROUPS = 16 };

/* One translation in the making. */
struct gen {
    struct emit e;
    struct jit_engine *eng;
    uint8_t *start;
    uint32_t key;
    unsigned mode;         /* enum jit_mode */
    uint64_t rip, cs_base; /* of the block */
    gva_t slide;           /* page of shared code now, which rips leave out */
    uint32_t cs_limit;
    unsigned code_size; /* 2, 4 or 8: default address width of the mode */
    const struct ginsn *in;
    struct ginsn insns[TB_MAX_INSNS];
    unsigned nr_insns;
    const uint8_t *page; /* host address of the block's guest page */
    const struct jit_page *pg;
    struct cold cold[GEN_MAX_COLD];
    unsigned nr_cold;
    struct tb_map map[3 * TB_MAX_INSNS + GEN_MAX_COLD];
    unsigned nr_map;
    uint32_t tb; /* index that the block will have */
    uint32_t first_link;
    bool failed; /* out of some table: translate fewer instructions */
    struct jit_vcpu *jv;
    /* Stack accesses whose check is shared (gen_hoist.c). */
    bool shared[TB_MAX_INSNS];
    unsigned hoist_at;  /* instruction in front of which the check is */
    int32_t hoist_lo;   /* from RSP there, in bytes */
    unsigned hoist_len; /* 0: no shared check in this block */
    bool win;           /* the current instruction relies on it */
    struct gen_group group[GEN_MAX_GROUPS];
    unsigned nr_groups;
    uint8_t in_group[TB_MAX_INSNS];    /* 1 + group of the instruction, or 0 */
    const struct gen_group *shared_by; /* of the current instruction */
    const struct gen_group *fresh;     /* its slot's value is still in r10 */
    /* The checked operand is at [r10 + m_idx + m_disp]. */
    unsigned m_idx;
    int32_t m_disp;
};

/* gen_mem.c */

/* r10 = linear address of in's memory operand op. */
void gen_address(struct gen *g, const struct form_op *op);
/*
 * r10 holds an offset in segment seg (X86_*, or -1 if it is linear): turn it
 * into the host address of size bytes, or leave for the slow path. Saves flags
 * around itself if they are live.
 */
void gen_check(struct gen *g, int seg, unsigned size, bool write);
/* After the store that uses the checked address: end of what is copied. */
void gen_store_done(struct gen *g);
/* The operand op of the current instruction, ready for emit at [r10 + m_idx +
 * m_disp]: address and check, or by the shared check. */
void gen_operand(struct gen *g, const struct form_op *op, unsigned size,
                 bool write);
/* The same for size bytes at guest RSP + disp. */
void gen_stack_check(struct gen *g, int32_t disp, unsigned size, bool write);
/* op reg, [operand]: opcode of one byte, w = 64 bits wide */
void gen_op_mem(struct gen *g, unsigned op, unsigned w, unsigned reg);
/* r11 = TLB index of the address in r10; changes flags. */
void gen_tlb_index(struct gen *g);
/* Guest RSP += delta, in the stack's width. */
void gen_stack_adjust(struct gen *g, int32_t delta);
void gen_save_flags(struct gen *g);
void gen_restore_flags(struct gen *g);

/* gen_insn.c */
enum gen_rm { RM_NONE, RM_REG, RM_MEM, RM_GS };
void gen_plain(struct gen *g);
void gen_bt_mem(struct gen *g);
void gen_lea(struct gen *g);
/* r: a guest register */
bool gen_is_spilled(unsigned r);
unsigned gen_host_reg(unsigned r);
/* Value of a guest register into a host one, and back (64 bits). */
void gen_load_reg(struct gen *g, unsigned host, unsigned r);
void gen_store_reg(struct gen *g, unsigned r, unsigned host);

/* gen_flow.c */
void gen_entry(struct gen *g, struct tb *tb, uint32_t flags_live);
void gen_jump(struct gen *g, uint64_t target);
/* Of the direct jump or call g->in. */
uint64_t gen_branch_target(const struct gen *g);
/* The same when JV_KEY has changed: the target is looked up by the new key. */
void gen_jump_rekey(struct gen *g, uint64_t target);
void gen_flow(struct gen *g);
void gen_cold_dispatch(struct gen *g);
/* Call a helper with RIP stored; end: it does not come back here. */
void gen_helper(struct gen *g, h_fn *fn, uint64_t arg, uint64_t rip);
void gen_store_rip(struct gen *g, uint64_t rip);
/* reg = rip, which shared code has as a distance; may use r11 */
void gen_load_rip(struct gen *g, unsigned reg, uint64_t rip);

/* Make the rel32 at patch a link to the unshared translation from rip on. */
void gen_link_unhoisted(struct gen *g, uint8_t *patch, uint64_t rip);

/* gen_hoist.c */
void gen_plan_hoist(struct gen *g);
void gen_hoist_check(struct gen *g);
void gen_cold_hoist(struct gen *g, const struct cold *c);

/* gen_share.c */
void gen_plan_groups(struct gen *g);
/* The checks that stand in front of instruction i. */
void gen_group_checks(struct gen *g, unsigned i);
/* The current instruction's operand by its group's check. */
void gen_by_group(struct gen *g, const struct form_op *op);
void gen_cold_group(struct gen *g, const struct cold *c);

/* gen_system.c */
void gen_system(struct gen *g);

/* gen_cold.c */
struct cold *gen_cold(struct gen *g, enum cold_kind kind, uint8_t *from);
void gen_map(struct gen *g, uint64_t rip);
void gen_cold_all(struct gen *g);

static inline bool gen_64(const struct gen *g)
{
    return (g->key & KEY_SIZE_MASK) == 2;
}

static inline uint64_t gen_next_rip(const struct gen *g)
{
    uint64_t next = g->in->rip + g->in->f->length;

    return gen_64(g) ? next : next & UINT32_MAX;
}

/* Are addresses of code known only when it runs? */
static inline bool gen_shared(const struct gen *g)
{
    return g->key & KEY_SHARED;
}

static inline bool gen_op_is_gpr(const struct form_op *op)
{
    return op && op->kind == FORM_GPR;
}

#endif
