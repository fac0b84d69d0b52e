#include "cpu/jit/gen.h"

/*
 * Control flow. Direct jumps within the block's page are linked freely; to
 * other kernel pages they are linked while both mappings stand (h_kpage_note);
 * else they go through the jump cache. A guest call is a host call, so that
 * the host predicts the return; where it lands, the guest's return address
 * (r10) is compared with the one that was pushed.
 */

void gen_load_rip(struct gen *g, unsigned reg, uint64_t rip)
{
    if (!gen_shared(g)) {
        e_mov_imm(&g->e, reg, rip);
    } else if ((int64_t)rip == (int32_t)rip) {
        e_load_gs(&g->e, reg, JV_SLIDE);
        e_lea(&g->e, 1, reg, e_at(reg, (int32_t)rip));
    } else {
        e_mov_imm(&g->e, reg, rip);
        e_store_gs(&g->e, JV_TMP2, reg == R_T1 ? R_T0 : R_T1);
        e_load_gs(&g->e, reg == R_T1 ? R_T0 : R_T1, JV_SLIDE);
        e_lea(&g->e, 1, reg, e_at_idx(R_T0, R_T1, 1, 0));
        e_load_gs(&g->e, reg == R_T1 ? R_T0 : R_T1, JV_TMP2);
    }
}

void gen_store_rip(struct gen *g, uint64_t rip)
{
    if (!gen_shared(g)) {
        e_store_gs_imm(&g->e, JV_RIP, rip, R_T1);
        return;
    }
    gen_load_rip(g, R_T1, rip);
    e_store_gs(&g->e, JV_RIP, R_T1);
}

void gen_helper(struct gen *g, h_fn *fn, uint64_t arg, uint64_t rip)
{
    gen_store_rip(g, rip);
    e_mov_imm(&g->e, R_T1, (uint64_t)(uintptr_t)fn);
    e_mov_imm(&g->e, R_T0, arg);
    e_call_gs(&g->e, JV_GLUE + 8 * GLUE_HELPER);
}

int h_step_done(struct jit_vcpu *jv, uint64_t arg);

/*
 * Shared code is told where it runs when it is entered from another page: by
 * the slot whose number is in r10, or by the address in r10.
 */
static void shared_entries(struct gen *g, struct tb *tb)
{
    e_op_gs_idx8(&g->e, 0x8b, R_T1, R_T0, SLIDE_BASE);
    e_u8(&g->e, 0xeb); /* jmp over the lea */
    e_u8(&g->e, 7);
    tb->indirect = (uint16_t)(g->e.p - g->start);
    e_bytes(&g->e, "\x4d\x8d\x9a", 3); /* lea r11, [r10 - offset] */
    e_u32(&g->e, (uint32_t)0 - (uint32_t)g->rip);
    e_store_gs(&g->e, JV_SLIDE, R_T1);
    tb->checked = (uint16_t)(g->e.p - g->start);
}

/* The test of the pending word, in front of the block's entry. */
void gen_entry(struct gen *g, struct tb *tb, uint32_t flags_live)
{
    struct cold *c;

    if (gen_shared(g))
        shared_entries(g, tb);

    if (!flags_live) {
        e_u8(&g->e, 0x65); /* cmp dword gs:[pending], 0 */
        e_u8(&g->e, 0x83);
        e_gs_operand(&g->e, 7, JV_PENDING);
        e_u8(&g->e, 0);
        c = gen_cold(g, COLD_PENDING, e_jcc32(&g->e, CC_NZ));
        c->rip = g->rip;
        return;
    }
    e_store_gs(&g->e, JV_RCX_SAVE, R_CX);
    e_load32_gs(&g->e, R_CX, JV_PENDING);
    e_u8(&g->e, 0xe3); /* jrcxz over the jump */
    e_u8(&g->e, 5);
    c = gen_cold(g, COLD_PENDING, e_jmp32(&g->e));
    c->rip = g->rip;
    c->glue = 1;
    e_load_gs(&g->e, R_CX, JV_RCX_SAVE);
}

static uint64_t linear(const struct gen *g, uint64_t rip)
{
    return g->cs_base + rip;
}

static bool same_page(const struct gen *g, uint64_t rip)
{
    return ((linear(g, rip) ^ linear(g, g->rip)) >> GPAGE_SHIFT) == 0;
}

static bool kernel_half(const struct gen *g, uint64_t rip)
{
    return gen_64(g) && rip >> 63 && g->rip >> 63;
}

static bool linkable(const struct gen *g, uint64_t rip)
{
    return !(g->key & (KEY_STEP | KEY_BREAK)) &&
           (same_page(g, rip) || kernel_half(g, rip));
}

/* Make the rel32 at patch a link to target. */
static void add_link(struct gen *g, uint8_t *patch, uint64_t target)
{
    struct jit_engine *eng = g->eng;
    struct cold *c;
    uint32_t n = eng->nr_links;

    if (n + 1 >= eng->max_links) {
        g->failed = true;
        return;
    }
    eng->nr_links++;
    eng->links[n] = (struct tb_link){
        .patch = (uint32_t)(patch - eng->code_rw),
        .from = g->tb,
        .checked = target <= g->in->rip,
        .cross = !same_page(g, target),
    };
    c = gen_cold(g, COLD_LINK, patch);
    c->link = n;
    c->rip = target;
}

void gen_link_unhoisted(struct gen *g, uint8_t *patch, uint64_t rip)
{
    uint32_t n = g->eng->nr_links;

    add_link(g, patch, rip);
    if (!g->failed) {
        g->eng->links[n].unhoisted = 1;
        g->eng->links[n].checked = 0;
    }
}

/* jmp or call (ModRM extension 4 or 2) to a target on another page */
static void leave_page(struct gen *g, uint64_t target, bool call)
{
    uint32_t page = gen_shared(g) ? (uint32_t)(g->pg - g->eng->pages) : 0;
    uint32_t slot = h_slot_for(g->eng, target, g->key, page);

    if (slot) {
        e_mov_imm(&g->e, R_T0, slot);
        if (call)
            e_call_gs(&g->e, SLOT_BASE + 8 * slot);
        else
            e_jmp_gs(&g->e, SLOT_BASE + 8 * slot);
        return;
    }
    gen_load_rip(g, R_T0, target);
    if (call)
        e_call_gs(&g->e, JV_GLUE + 8 * (GLUE_JMP + g->mode));
    else
        e_jmp_gs(&g->e, JV_GLUE + 8 * (GLUE_JMP + g->mode));
}

void gen_jump(struct gen *g, uint64_t target)
{
    if (g->key & KEY_STEP) {
        gen_helper(g, h_step_done, 0, target);
    } else if (linkable(g, target)) {
        e_align_rel32(&g->e, 1);
        add_link(g, e_jmp32(&g->e), target);
    } else {
        leave_page(g, target, false);
    }
}

void gen_jump_rekey(struct gen *g, uint64_t target)
{
    uint32_t n = g->eng->nr_links;

    if (g->key & KEY_STEP) {
        gen_helper(g, h_step_done, 0, target);
    } else if (g->key & KEY_BREAK || !same_page(g, target)) {
        gen_store_rip(g, target);
        e_jmp_gs(&g->e, JV_GLUE + 8 * GLUE_DISPATCH);
    } else {
        e_align_rel32(&g->e, 1);
        add_link(g, e_jmp32(&g->e), target);
        if (!g->failed)
            g->eng->links[n].rekey = 1;
    }
}

/* Let the glue look r10 up. Should no code be allowed there, the fault is that
 * of this instruction (h_jump). */
static void by_glue(struct gen *g, uint32_t kind)
{
    e_store32_gs_imm(&g->e, JV_FROM,
                     (uint32_t)(g->e.p - g->eng->code_rw) | kind);
    e_jmp_gs(&g->e, JV_GLUE + 8 * (GLUE_JUMP + g->mode));
}

/*
 * Jump to r10 by the jump cache; kind is FROM_CALL or 0. As in glue.S, but in
 * place: the host then predicts each indirect branch of the guest by its own
 * history. No flag changes.
 */
static void by_jump_cache(struct gen *g, uint32_t kind)
{
    uint32_t jc = JC_BASE(g->mode);

    if (!g->eng->fast_pext) {
        by_glue(g, kind);
        return;
    }
    e_bytes(&g->e, "\xc4\x43\xfb\xf0\xda", 5); /* rorx r11, r10, imm8 */
    e_u8(&g->e, JC_MIX);
    e_lea(&g->e, 1, R_T1, e_at_idx(R_T1, R_T0, 1, 0));
    e_bytes(&g->e, "\x65\xc4\x62\xa2\xf5", 5); /* pext r11, r11, gs:[] */
    e_gs_operand(&g->e, R_T1, JV_JC_MASK);
    e_store_gs(&g->e, JV_RCX_SAVE, R_CX);
    e_lea(&g->e, 1, R_T1, e_at_idx(R_T1, R_T1, 1, 0));
    e_op_gs_idx8(&g->e, 0x8b, R_CX, R_T1, jc);
    e_lea(&g->e, 1, R_CX, e_at_idx(R_CX, R_T0, 1, 0));
    e_u8(&g->e, 0xe3); /* jrcxz over the miss: 9 + 12 + 8 bytes */
    e_u8(&g->e, 29);
    e_load_gs(&g->e, R_CX, JV_RCX_SAVE);
    by_glue(g, kind);
    e_load_gs(&g->e, R_CX, JV_RCX_SAVE);
    e_u8(&g->e, 0x65); /* jmp gs:[r11 * 8 + jc + 8] */
    e_u8(&g->e, 0x42);
    e_u8(&g->e, 0xff);
    e_u8(&g->e, 4 << 3 | 4);
    e_u8(&g->e, 3u << 6 | (R_T1 & 7) << 3 | 5);
    e_u32(&g->e, jc + 8);
}

/* The look-up of an indirect call. */
void gen_cold_dispatch(struct gen *g)
{
    by_jump_cache(g, FROM_CALL);
}

uint64_t gen_branch_target(const struct gen *g)
{
    uint64_t t = g->in->rip + g->in->f->length + (uint64_t)g->in->imm;

    if (gen_64(g))
        return t;
    return g->in->f->operand_width == 16 ? t & UINT16_MAX : t & UINT32_MAX;
}

static unsigned condition(const struct ginsn *in)
{
    return in->f->opcode & 15u;
}

static void flow_jcc(struct gen *g)
{
    uint64_t target = gen_branch_target(g);

    if (linkable(g, target)) {
        e_align_rel32(&g->e, 2);
        add_link(g, e_jcc32(&g->e, condition(g->in)), target);
        return;
    }
    uint8_t *skip = e_jcc32(&g->e, condition(g->in) ^ 1);

    gen_jump(g, target);
    e_patch(skip, g->e.p);
}

/* LOOPcc and JrCXZ: the host's own, which reach only 127 bytes. */
static void flow_loop(struct gen *g)
{
    uint64_t target = gen_branch_target(g);
    uint8_t *over;

    if (g->in->f->address_width == 32)
        e_u8(&g->e, 0x67);
    e_u8(&g->e, g->in->f->opcode);
    e_u8(&g->e, 5);
    over = e_jmp32(&g->e);
    gen_jump(g, target);
    e_patch(over, g->e.p);
    gen_jump(g, gen_next_rip(g));
}

/*
 * The return lands here with the guest's return address in r10. If it is not
 * the one that was pushed, control goes where nobody has looked which flags
 * live: the comparison must not change any.
 */
static void landing(struct gen *g, uint64_t next)
{
    uint64_t neg = (uint64_t)0 - next;
    struct cold *c;

    if (gen_shared(g)) {               /* the page that the call has pushed */
        e_bytes(&g->e, "\x41\x5b", 2); /* pop r11 */
        e_store_gs(&g->e, JV_SLIDE, R_T1);
        e_store_gs(&g->e, JV_RCX_SAVE, R_CX);
        e_bytes(&g->e, "\x49\xf7\xd3", 3); /* not r11: no flags */
        e_lea(&g->e, 1, R_CX, e_at_idx(R_T0, R_T1, 1, (int32_t)(neg + 1)));
        e_load_gs(&g->e, R_T1, JV_RCX_SAVE);
    } else if ((int64_t)neg == (int32_t)neg) {
        e_mov_rr(&g->e, R_T1, R_CX);
        e_lea(&g->e, 1, R_CX, e_at(R_T0, (int32_t)neg));
    } else {
        e_store_gs(&g->e, JV_RCX_SAVE, R_CX);
        e_mov_imm(&g->e, R_T1, neg);
        e_lea(&g->e, 1, R_CX, e_at_idx(R_T0, R_T1, 1, 0));
        e_load_gs(&g->e, R_T1, JV_RCX_SAVE);
    }
    /* jrcxz over "mov rcx, r11; jmp miss" (3 + 5 bytes) */
    e_u8(&g->e, 0xe3);
    e_u8(&g->e, 8);
    e_mov_rr(&g->e, R_CX, R_T1);
    c = gen_cold(g, COLD_GLUE, e_jmp32(&g->e));
    c->glue = (uint8_t)(GLUE_RET_MISS + g->mode);
    e_mov_rr(&g->e, R_CX, R_T1);
    gen_jump(g, next);
}

static unsigned op_bytes(const struct gen *g)
{
    return gen_64(g) ? 8 : g->in->f->operand_width / 8u;
}

static void push_return(struct gen *g, uint64_t next)
{
    unsigned n = op_bytes(g);

    gen_stack_check(g, -(int32_t)n, n, true);
    if (gen_shared(g) || (n == 8 && (int64_t)next != (int32_t)next)) {
        gen_load_rip(g, R_T1, next);
        gen_op_mem(g, 0x89, 1, R_T1);
    } else {
        gen_op_mem(g, 0xc7, n == 8, 0);
        e_u32(&g->e, (uint32_t)next);
    }
    gen_store_done(g);
    gen_stack_adjust(g, -(int32_t)n);
}

/* What the landing takes off again. */
static void push_slide(struct gen *g)
{
    if (!gen_shared(g))
        return;
    e_u8(&g->e, 0x65); /* push qword gs:[slide] */
    e_u8(&g->e, 0xff);
    e_gs_operand(&g->e, 6, JV_SLIDE);
}

static void flow_call(struct gen *g)
{
    uint64_t target = gen_branch_target(g), next = gen_next_rip(g);

    push_return(g, next);
    if (g->key & KEY_STEP) {
        gen_helper(g, h_step_done, 0, target);
        return;
    }
    push_slide(g);
    if (linkable(g, target)) {
        e_align_rel32(&g->e, 1);
        add_link(g, e_call32(&g->e), target);
    } else {
        leave_page(g, target, true);
    }
    landing(g, next);
}

/* r10 = the branch target of an indirect jump or call */
static void load_target(struct gen *g)
{
    const struct ginsn *in = g->in;

    if (in->f->mem) {
        unsigned size = op_bytes(g);

        bool win = g->win; /* is for the push of a call */

        g->win = false;
        gen_operand(g, form_rm(in->f), size, false);
        g->win = win;
        gen_op_mem(g, 0x8b, size == 8, R_T0);
    } else {
        gen_load_reg(g, R_T0, in->f->op[0].reg);
        if (!gen_64(g))
            e_mov32_rr(&g->e, R_T0, R_T0);
    }
    if (!gen_64(g) && in->f->operand_width == 16)
        e_bytes(&g->e, "\x45\x0f\xb7\xd2", 4); /* movzx r10d, r10w */
}

static void flow_call_ind(struct gen *g)
{
    uint64_t next = gen_next_rip(g);

    load_target(g);
    e_store_gs(&g->e, JV_TMP2, R_T0);
    push_return(g, next);
    e_load_gs(&g->e, R_T0, JV_TMP2);
    push_slide(g);
    /* The look-up is a cold path only in that the return shall land here. */
    (void)gen_cold(g, COLD_DISPATCH, e_call32(&g->e));
    landing(g, next);
}

static void flow_ret(struct gen *g)
{
    unsigned n = op_bytes(g);
    int32_t extra = 0;

    if (g->in->f->op[0].kind == FORM_IMM)
        extra = (int32_t)(g->in->imm & UINT16_MAX);
    gen_stack_check(g, 0, n, false);
    gen_op_mem(g, 0x8b, n == 8, R_T0);
    gen_stack_adjust(g, (int32_t)n + extra);
    e_u8(&g->e, 0xc3);
}

void gen_flow(struct gen *g)
{
    switch (g->in->f->class) {
    case IC_JCC: flow_jcc(g); break;
    case IC_LOOP: flow_loop(g); break;
    case IC_JMP: gen_jump(g, gen_branch_target(g)); break;
    case IC_JMP_IND:
        load_target(g);
        by_jump_cache(g, 0);
        break;
    case IC_CALL: flow_call(g); break;
    case IC_CALL_IND: flow_call_ind(g); break;
    case IC_RET: flow_ret(g); break;
    default: break;
    }
}
