#ifndef HUSK_X86_PAGING_H
#define HUSK_X86_PAGING_H

#include "mem/gmem.h"
#include "x86/regs.h"

/*
 * The guest's page tables: 32-bit, PAE (with latched PDPTEs) and 4-level, with
 * NX, WP, SMEP, SMAP, U/S, global, large pages, reserved bits (SDM vol. 3,
 * 4). Freestanding, like x86/system.h.
 */

/* MAXPHYADDR of every CPU model. */
enum { X86_PHYS_BITS = 48 };

enum x86_access { X86_READ, X86_WRITE, X86_FETCH };

struct x86_walk {
    gpa_t gpa;          /* of the byte asked for */
    uint8_t page_shift; /* 12, 21, 22 or 30: what one INVLPG must drop */
    bool user;          /* U/S of all levels: user code may use it */
    bool writable;      /* R/W of all levels */
    bool exec;          /* no NX at any level */
    bool dirty;         /* D is (now) set in the leaf */
    bool global;        /* G in the leaf and CR4.PGE */
};

/* Who makes the access; decides U/S, SMEP, SMAP and WP. */
enum x86_priv {
    X86_PRIV_USER,     /* CPL 3 */
    X86_PRIV_SUPER,    /* CPL 0..2, EFLAGS.AC clear (SMAP applies) */
    X86_PRIV_SUPER_AC, /* CPL 0..2, EFLAGS.AC set (SMAP does not) */
    X86_PRIV_IMPLICIT  /* descriptor tables, TSS, stacks at delivery: as
                          supervisor with AC clear */
};

/*
 * Translate gva. Sets A (and D for a write) atomically in guest memory, as a
 * CPU would, only if the access is allowed. Returns 0 with *w filled, or -1
 * with *error the page-fault error code. With paging off gpa = gva and all
 * rights are given. gva must be canonical (the caller checks).
 */
int x86_walk(const struct x86_state *st, const struct gmem *gm, gva_t gva,
             enum x86_access access, enum x86_priv priv, struct x86_walk *w,
             uint32_t *error);

/* The same without setting A or D and without checking rights (debugger). */
int x86_probe(const struct x86_state *st, const struct gmem *gm, gva_t gva,
              struct x86_walk *w);

/* Load the four PDPTEs from CR3 (PAE): 0, or -1 if a reserved bit is set. */
int x86_load_pdptes(struct x86_state *st, const struct gmem *gm);

#endif
