#include "cpu/jit/gen.h"

/*
 * One check for all accesses of a block through one base register that keeps
 * its value: fields of a structure, neighbours in an array, globals of one
 * page. The check leaves the distance from guest to host addresses in a slot
 * of the vCPU, and each access is then [slot + base + disp].
 *
 * As with the stack window (gen_hoist.c) the check raises nothing: if the
 * range crosses a page or cannot be had, control goes to the translation
 * without shared checks, so each access faults where it should. Reads and
 * writes are apart, since a write's check must not ask for more than the
 * instructions will.
 */
enum { MAX_RANGE = 512, MAX_DISP = 1 << 20 };

struct plan {
    uint8_t active[GEN_BASE_NONE + 1][2]; /* 1 + group, or 0 */
    uint8_t from[GEN_BASE_NONE + 1];      /* where the value was set */
};

static bool usable(const struct gen *g)
{
    if (g->key & (KEY_UNHOISTED | KEY_STEP | KEY_BREAK | KEY_ALIGN))
        return false;
    return gen_64(g) ||
           ((g->key & KEY_SIZE_MASK) == 1 && !(g->key & KEY_SEGMENTS));
}

static bool common_width(const struct gen *g, const struct ginsn *in)
{
    return in->f->address_width == (gen_64(g) ? 64 : 32);
}

/* Base and distance of an operand that can share a check. */
static bool eligible(const struct gen *g, const struct ginsn *in,
                     unsigned *base, int64_t *off)
{
    const struct form_op *m = form_rm(in->f);

    if (in->f->class != IC_PLAIN || !in->f->mem || !common_width(g, in) ||
        m->index != FORM_NO_REG || m->size > 512 || m->seg == X86_FS ||
        m->seg == X86_GS)
        return false;
    *off = in->disp;
    if (m->base == FORM_RIP) {
        *base = GEN_BASE_NONE;
        *off += (int64_t)(in->rip + in->f->length);
        return !gen_shared(g) || *off == (int32_t)*off;
    }
    if (m->base == FORM_NO_REG && gen_shared(g))
        return false; /* constant where the others slide */
    if (m->base == FORM_NO_REG) {
        *base = GEN_BASE_NONE;
        if (!gen_64(g))
            *off &= UINT32_MAX;
        return true;
    }
    *base = m->base;
    return !gen_is_spilled(*base) && *off > -MAX_DISP && *off < MAX_DISP;
}

static bool widen(struct gen_group *gr, int64_t lo, int64_t hi)
{
    lo = lo < gr->lo ? lo : gr->lo;
    hi = hi > gr->hi ? hi : gr->hi;
    if (hi - lo > MAX_RANGE)
        return false;
    /* Constant addresses: the page is known. */
    if (gr->base == GEN_BASE_NONE &&
        (uint64_t)lo >> GPAGE_SHIFT != (uint64_t)(hi - 1) >> GPAGE_SHIFT)
        return false;
    gr->lo = lo;
    gr->hi = hi;
    return true;
}

static void add_access(struct gen *g, struct plan *p, unsigned i)
{
    const struct ginsn *in = &g->insns[i];
    unsigned base, size;
    struct gen_group *gr;
    uint8_t *active;
    int64_t off;

    if (g->shared[i] || !eligible(g, in, &base, &off))
        return;
    size = form_rm(in->f)->size / 8u;
    active = &p->active[base][in->f->mem_write];
    if (*active && widen(&g->group[*active - 1], off, off + size)) {
        g->group[*active - 1].count++;
        g->in_group[i] = *active;
        return;
    }
    if (g->nr_groups == GEN_MAX_GROUPS)
        return;
    gr = &g->group[g->nr_groups++];
    *gr = (struct gen_group){
        .base = (uint8_t)base,
        .write = in->f->mem_write,
        .from = p->from[base],
        .first = (uint8_t)i,
        .count = 1,
        .lo = off,
        .hi = off + size,
    };
    *active = (uint8_t)g->nr_groups;
    g->in_group[i] = *active;
}

/* Registers that the instruction writes end the groups through them. */
static void end_groups(struct gen *g, struct plan *p, unsigned i)
{
    const struct ginsn *in = &g->insns[i];

    for (unsigned left = in->f->writes; left; left &= left - 1) {
        unsigned r = (unsigned)__builtin_ctz(left);

        p->active[r][0] = p->active[r][1] = 0;
        p->from[r] = (uint8_t)(i + 1);
    }
    if (in->f->class >= IC_STRING) /* helpers write what they like */
        memset(p->active, 0, sizeof(p->active));
}

/* In front of the first access, where no flag lives if possible. */
static void place(struct gen *g, struct gen_group *gr)
{
    gr->at = gr->first;
    for (unsigned i = gr->first + 1u; i-- > gr->from;) {
        if (g->insns[i].f->class >= IC_STRING && i < gr->first)
            break;
        if (!g->insns[i].flags_live) {
            gr->at = (uint8_t)i;
            break;
        }
    }
}

void gen_plan_groups(struct gen *g)
{
    struct plan p = {0};

    g->nr_groups = 0;
    memset(g->in_group, 0, sizeof(g->in_group));
    if (!usable(g))
        return;
    for (unsigned i = 0; i < g->nr_insns; i++) {
        add_access(g, &p, i);
        end_groups(g, &p, i);
    }
    for (unsigned i = 0; i < g->nr_insns; i++)
        if (g->in_group[i] && g->group[g->in_group[i] - 1].count < 2)
            g->in_group[i] = 0;
    for (unsigned k = 0; k < g->nr_groups; k++)
        if (g->group[k].count >= 2)
            place(g, &g->group[k]);
}

/* r10 = linear address of the range's start */
static void range_start(struct gen *g, const struct gen_group *gr)
{
    if (gr->base == GEN_BASE_NONE)
        gen_load_rip(g, R_T0, (uint64_t)gr->lo);
    else
        e_lea(&g->e, 1, R_T0, e_at(gen_host_reg(gr->base), (int32_t)gr->lo));
}

static uint32_t slot(const struct gen *g, const struct gen_group *gr)
{
    return JV_SPILL + 8 * (uint32_t)(gr - g->group);
}

static void check(struct gen *g, const struct gen_group *gr)
{
    uint32_t table = TLB_TABLE(g->mode, gr->write);
    bool live = g->in->flags_live;
    uint8_t *start = g->e.p;
    struct cold *c;

    range_start(g, gr);
    if (live)
        gen_save_flags(g);
    gen_tlb_index(g);
    e_op_gs_idx8(&g->e, 0x03, R_T0, R_T1, table);
    e_alu_imm(&g->e, 7, 1, R_T0, (int32_t)(4096 - (gr->hi - gr->lo)));
    c = gen_cold(g, COLD_GROUP, e_jcc32(&g->e, CC_A));
    c->resume = start; /* to be tried again from the beginning */
    c->glue = live;
    c->write = gr->write;
    c->table = table;
    c->seg = (uint8_t)(gr - g->group);
    if (gr->base != GEN_BASE_NONE) /* from guest to host addresses */
        e_op_gs_idx8(&g->e, 0x8b, R_T0, R_T1, table);
    e_op_gs_idx8(&g->e, 0x03, R_T0, R_T1, table + TLB_ADDENDS);
    e_store_gs(&g->e, slot(g, gr), R_T0);
    if (live)
        gen_restore_flags(g);
    g->fresh = gr;
}

void gen_group_checks(struct gen *g, unsigned i)
{
    g->fresh = NULL;
    for (unsigned k = 0; k < g->nr_groups; k++)
        if (g->group[k].count >= 2 && g->group[k].at == i)
            check(g, &g->group[k]);
}

void gen_by_group(struct gen *g, const struct form_op *op)
{
    const struct gen_group *gr = g->shared_by;
    int64_t off = g->in->disp;

    if (g->fresh != gr)
        e_load_gs(&g->e, R_T0, slot(g, gr));
    if (gr->base != GEN_BASE_NONE) {
        g->m_idx = gen_host_reg(gr->base);
        g->m_disp = (int32_t)off;
        return;
    }
    if (op->base == FORM_RIP)
        off += (int64_t)(g->in->rip + g->in->f->length);
    else if (!gen_64(g))
        off &= UINT32_MAX;
    g->m_idx = R_NONE;
    g->m_disp = (int32_t)(off - gr->lo);
}

/* The TLB has no entry, or the range crosses a page. */
void gen_cold_group(struct gen *g, const struct cold *c)
{
    const struct gen_group *gr = &g->group[c->seg];
    uint32_t limit = (uint32_t)(4096 - (gr->hi - gr->lo));
    uint8_t *no;

    e_op_gs_idx8(&g->e, 0x2b, R_T0, R_T1, c->table); /* sub r10, tag */
    e_mov_imm(&g->e, R_T1,
              (uint64_t)g->mode << DESC_MODE_SHIFT |
                  (c->write ? DESC_WRITE : 0u) | limit << HOIST_LIMIT_SHIFT);
    e_call_gs(&g->e, JV_GLUE + 8 * GLUE_GROUP);
    e_op_rr(&g->e, 0x85, 0, R_T0, R_T0); /* test r10d, r10d */
    no = e_jcc32(&g->e, CC_Z);
    if (c->glue)
        gen_restore_flags(g);
    e_patch(e_jmp32(&g->e), c->resume);

    e_patch(no, g->e.p);
    if (c->glue)
        gen_restore_flags(g);
    e_align_rel32(&g->e, 1);
    g->in = &g->insns[gr->at];
    gen_link_unhoisted(g, e_jmp32(&g->e), g->in->rip);
}
