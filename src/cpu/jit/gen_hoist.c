#include "cpu/jit/gen.h"

/*
 * One check for all stack accesses of a block. Half of all memory operands
 * are at RSP plus a constant, and RSP mostly changes by constants. The window
 * (jv->win) is one page of writable stack; a block compares the range that it
 * will use with it once, and then accesses host memory directly.
 *
 * The check raises nothing. If the range lies on another page, the window
 * moves there; if it cannot (two pages, not mapped, not writable yet), control
 * goes to a second translation of the same instructions without this
 * (KEY_UNHOISTED), so faults are those of the instruction that makes them.
 */
enum { MAX_RANGE = 480, MAX_OFFSET = 2000 };

struct plan {
    int32_t at;     /* RSP against its value at the region's start */
    int32_t lo, hi; /* range of the accesses so far */
    unsigned start; /* first instruction of the region */
    int first;      /* first shared access, or -1 */
    bool ended;
    int32_t at_insn[TB_MAX_INSNS + 1];
};

static unsigned width(const struct gen *g)
{
    return gen_64(g) ? 8 : 4;
}

static bool usable(const struct gen *g)
{
    if (g->key & (KEY_UNHOISTED | KEY_STEP | KEY_BREAK | KEY_ALIGN))
        return false;
    return gen_64(g) || ((g->key & KEY_SIZE_MASK) == 1 &&
                         !(g->key & (KEY_SS16 | KEY_SEGMENTS | KEY_VM86)));
}

static bool writes_rsp(const struct ginsn *in)
{
    return in->f->writes & 1u << X86_RSP;
}

static bool is_rsp(const struct form_op *op)
{
    return op->kind == FORM_GPR && op->reg == X86_RSP && !op->high;
}

/* ADD, SUB or LEA of RSP by a constant. */
static bool constant_step(const struct gen *g, const struct ginsn *in,
                          int32_t *by)
{
    const struct form *f = in->f;
    int64_t v;

    if (!is_rsp(&f->op[0]) || f->op[0].size != 8 * width(g))
        return false;
    if (f->class == IC_LEA) {
        if (f->op[1].base != X86_RSP || f->op[1].index != FORM_NO_REG ||
            f->address_width != 8 * width(g))
            return false;
        v = in->disp;
    } else if ((f->mnemonic == ZYDIS_MNEMONIC_ADD ||
                f->mnemonic == ZYDIS_MNEMONIC_SUB) &&
               f->op[1].kind == FORM_IMM) {
        v = in->imm;
        if (f->mnemonic == ZYDIS_MNEMONIC_SUB)
            v = -v;
    } else {
        return false;
    }
    *by = (int32_t)v;
    return v > -MAX_OFFSET && v < MAX_OFFSET;
}

static bool share(struct gen *g, struct plan *p, unsigned i, int32_t off,
                  unsigned size)
{
    int32_t lo = off, hi = off + (int32_t)size;

    if (p->first >= 0) {
        lo = lo < p->lo ? lo : p->lo;
        hi = hi > p->hi ? hi : p->hi;
    }
    if (hi - lo > MAX_RANGE || lo < -MAX_OFFSET || hi > MAX_OFFSET)
        return false;
    p->lo = lo;
    p->hi = hi;
    if (p->first < 0)
        p->first = (int)i;
    g->shared[i] = true;
    return true;
}

/* A memory operand at RSP + disp, through the stack segment. */
static bool rsp_operand(const struct gen *g, const struct ginsn *in)
{
    const struct form_op *m = form_rm(in->f);

    return in->f->mem && m->index == FORM_NO_REG && m->base == X86_RSP &&
           in->f->address_width == 8 * width(g) && m->seg != X86_FS &&
           m->seg != X86_GS && m->size <= 64 * 8 && in->disp > -MAX_OFFSET &&
           in->disp < MAX_OFFSET;
}

static void plan_push(struct gen *g, struct plan *p, unsigned i)
{
    int32_t n = (int32_t)width(g);

    (void)share(g, p, i, p->at - n, width(g));
    p->at -= n;
}

static void plan_one(struct gen *g, struct plan *p, unsigned i)
{
    const struct ginsn *in = &g->insns[i];
    int32_t n = (int32_t)width(g), by;

    switch (in->f->class) {
    case IC_PUSH:
    case IC_PUSHF:
    case IC_CALL:
    case IC_CALL_IND: plan_push(g, p, i); return;
    case IC_RET: (void)share(g, p, i, p->at, width(g)); return;
    case IC_POP:
        if (!in->f->mem)
            (void)share(g, p, i, p->at, width(g));
        p->at += n;
        if (!in->f->mem && is_rsp(&in->f->op[0]))
            p->ended = true;
        return;
    case IC_PLAIN:
        if (rsp_operand(g, in))
            (void)share(g, p, i, p->at + (int32_t)in->disp,
                        form_rm(in->f)->size / 8u);
        break;
    default: break;
    }
    if (constant_step(g, in, &by))
        p->at += by;
    else if (writes_rsp(in))
        p->ended = true;
    if (p->at > 2 * MAX_OFFSET || p->at < -2 * MAX_OFFSET)
        p->ended = true;
}

/* The check goes where no flag lives, if there is such a place. */
static void place(struct gen *g, const struct plan *p)
{
    unsigned at = (unsigned)p->first;

    for (unsigned i = at + 1; i-- > p->start;)
        if (!g->insns[i].flags_live) {
            at = i;
            break;
        }
    if (g->insns[at].flags_live && !g->eng->bmi2) {
        memset(g->shared, 0, sizeof(g->shared));
        return;
    }
    g->hoist_at = at;
    g->hoist_lo = p->lo - p->at_insn[at];
    g->hoist_len = (unsigned)(p->hi - p->lo);
}

void gen_plan_hoist(struct gen *g)
{
    struct plan p = {.first = -1};

    memset(g->shared, 0, sizeof(g->shared));
    g->hoist_len = 0;
    if (!usable(g))
        return;
    for (unsigned i = 0; i < g->nr_insns && !p.ended; i++) {
        p.at_insn[i] = p.at;
        plan_one(g, &p, i);
        if (p.ended && p.first < 0) { /* nothing yet: begin behind it */
            p.ended = false;
            p.at = 0;
            p.start = i + 1;
        }
    }
    if (p.first >= 0)
        place(g, &p);
}

/* Flag-free: the first and the last slot of the range are aligned, so neither
 * crosses the page, and lie in it. */
static void check_live(struct gen *g)
{
    struct cold *c;
    int32_t last = (int32_t)(g->hoist_len - width(g));
    uint32_t mask = gen_64(g) ? JV_SLOT_MASK : JV_SLOT_MASK32;

    e_store_gs(&g->e, JV_RCX_SAVE, R_CX);
    /* pext rcx, r10, gs:[page mask] */
    e_bytes(&g->e, "\x65\xc4\xe2\xaa\xf5", 5);
    e_gs_operand(&g->e, R_CX, mask);
    if (last > 0) {
        e_lea(&g->e, 1, R_T0, e_at(R_T0, last));
        /* pext r10, r10, gs:[page mask] */
        e_bytes(&g->e, "\x65\xc4\x62\xaa\xf5", 5);
        e_gs_operand(&g->e, R_T0, mask);
        e_lea(&g->e, 1, R_CX, e_at_idx(R_CX, R_T0, 1, 0));
    }
    e_u8(&g->e, 0xe3); /* jrcxz over the jump */
    e_u8(&g->e, 5);
    c = gen_cold(g, COLD_HOIST, e_jmp32(&g->e));
    c->glue = 1;
    e_load_gs(&g->e, R_CX, JV_RCX_SAVE);
    c->resume = g->e.p;
}

void gen_hoist_check(struct gen *g)
{
    struct cold *c;

    e_load_gs(&g->e, R_T0, JV_WIN + 16 * g->mode);
    e_lea(&g->e, 1, R_T0, e_at_idx(R_T0, R_GSP, 1, g->hoist_lo));
    if (g->in->flags_live) {
        check_live(g);
        return;
    }
    e_alu_imm(&g->e, 7, 1, R_T0, (int32_t)(4096 - g->hoist_len));
    c = gen_cold(g, COLD_HOIST, e_jcc32(&g->e, CC_A));
    c->resume = g->e.p;
}

/* The window is elsewhere: move it, or leave for the unshared translation. */
void gen_cold_hoist(struct gen *g, const struct cold *c)
{
    uint8_t *no;

    if (c->glue) {
        e_load_gs(&g->e, R_CX, JV_RCX_SAVE);
        gen_save_flags(g);
    }
    e_lea(&g->e, gen_64(g), R_T0, e_at(R_GSP, g->hoist_lo));
    e_mov_imm(&g->e, R_T1,
              (uint64_t)g->mode << DESC_MODE_SHIFT | DESC_WRITE | DESC_STACK |
                  (4096u - g->hoist_len) << HOIST_LIMIT_SHIFT);
    e_call_gs(&g->e, JV_GLUE + 8 * (GLUE_WINDOW + g->mode));
    e_op_rr(&g->e, 0x85, 0, R_T0, R_T0); /* test r10d, r10d */
    no = e_jcc32(&g->e, CC_Z);
    if (c->glue)
        gen_restore_flags(g);
    e_patch(e_jmp32(&g->e), c->resume);

    e_patch(no, g->e.p);
    if (c->glue)
        gen_restore_flags(g);
    e_align_rel32(&g->e, 1);
    g->in = &g->insns[g->hoist_at];
    gen_link_unhoisted(g, e_jmp32(&g->e), c->rip);
}
