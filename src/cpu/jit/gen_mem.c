#include "cpu/jit/gen.h"

/*
 * Memory operands: from a guest linear address in r10 to a host address in
 * r10 by the inline TLB. The entry's tag is the negated page address, so that
 * one addition and one unsigned compare test page and crossing at once.
 */

void gen_save_flags(struct gen *g)
{
    e_store_gs(&g->e, JV_RAX_SAVE, R_AX);
    e_u8(&g->e, 0x9f); /* lahf */
    e_u8(&g->e, 0x0f); /* seto al */
    e_u8(&g->e, 0x90);
    e_u8(&g->e, 0xc0);
}

void gen_restore_flags(struct gen *g)
{
    e_u8(&g->e, 0x04); /* add al, 0x7f: sets OF if al was 1 */
    e_u8(&g->e, 0x7f);
    e_u8(&g->e, 0x9e); /* sahf */
    e_load_gs(&g->e, R_AX, JV_RAX_SAVE);
}

/* A guest address register in a host one: itself, or loaded into tmp. */
static unsigned address_reg(struct gen *g, unsigned r, unsigned tmp)
{
    if (r == FORM_NO_REG)
        return R_NONE;
    if (!gen_is_spilled(r))
        return gen_host_reg(r);
    gen_load_reg(g, tmp, r);
    return tmp;
}

void gen_address(struct gen *g, const struct form_op *op)
{
    unsigned width = g->in->f->address_width;
    unsigned base, idx;
    int64_t disp = g->in->disp;

    if (op->base == FORM_RIP) {
        uint64_t a = g->in->rip + g->in->f->length + (uint64_t)disp;

        if (gen_shared(g)) {
            gen_load_rip(g, R_T0, a);
            if (width == 32)
                e_mov32_rr(&g->e, R_T0, R_T0);
        } else {
            e_mov_imm(&g->e, R_T0, width == 32 ? a & UINT32_MAX : a);
        }
        return;
    }
    base = address_reg(g, op->base, R_T0);
    idx = address_reg(g, op->index, R_T1);
    if (base == R_NONE && idx == R_NONE) {
        uint64_t a = (uint64_t)disp;

        if (width == 32)
            a &= UINT32_MAX;
        else if (width == 16)
            a &= UINT16_MAX;
        e_mov_imm(&g->e, R_T0, a);
        return;
    }
    if (width == 64 && idx == R_NONE && disp == 0) {
        if (base != R_T0)
            e_mov_rr(&g->e, R_T0, base);
        return;
    }
    e_lea(&g->e, width == 64, R_T0,
          e_at_idx(base, idx, op->scale, (int32_t)disp));
    if (width == 16) { /* movzx r10d, r10w */
        e_bytes(&g->e, "\x45\x0f\xb7\xd2", 4);
    }
}

/* Must accesses through seg be checked against its limit? */
static bool checked_segment(const struct gen *g, int seg)
{
    if (gen_64(g))
        return false;
    if (seg == X86_FS)
        return g->key & KEY_FS_CHECK;
    if (seg == X86_GS)
        return g->key & KEY_GS_CHECK;
    return g->key & KEY_SEGMENTS;
}

static uint32_t seg_base_off(int seg)
{
    return (uint32_t)(offsetof(struct x86_state, seg) +
                      (size_t)seg * sizeof(struct x86_seg));
}

static void gen_seg_limit(struct gen *g, int seg, unsigned size, bool write,
                          bool live)
{
    uint32_t limit =
        seg_base_off(seg) + (uint32_t)offsetof(struct x86_seg, limit);
    uint8_t *from;
    struct cold *c;

    if (g->key & KEY_ODD_SEGMENTS) {
        from = e_jmp32(&g->e);
    } else {
        /* limit - offset must be at least size - 1, as signed numbers */
        e_load32_gs(&g->e, R_T1, limit);
        e_op_rr(&g->e, 0x29, 1, R_T0, R_T1); /* sub r11, r10 */
        e_alu_imm(&g->e, 7, 1, R_T1, (int32_t)size - 1);
        from = e_jcc32(&g->e, CC_L);
    }
    c = gen_cold(g, COLD_SEGMENT, from);
    c->seg = (uint8_t)seg;
    c->write = write;
    c->desc = size | (g->in->f->aligned ? DESC_ALIGNED : 0);
    c->glue = live; /* flags are to be restored */
    c->resume = g->e.p;
}

static void gen_seg_base(struct gen *g, int seg)
{
    if (gen_64(g)) {
        if (seg != X86_FS && seg != X86_GS)
            return;
        e_load_gs(&g->e, R_T1, seg == X86_FS ? JV_FSBASE : JV_GSBASE);
        e_lea(&g->e, 1, R_T0, e_at_idx(R_T0, R_T1, 1, 0));
        return;
    }
    if (seg != X86_FS && seg != X86_GS && !(g->key & KEY_SEGMENTS))
        return;
    e_load_gs(&g->e, R_T1, seg_base_off(seg));
    e_lea(&g->e, 0, R_T0, e_at_idx(R_T0, R_T1, 1, 0));
}

void gen_tlb_index(struct gen *g)
{
    if (g->eng->fast_pext) { /* pext r11, r10, gs:[mask] */
        e_bytes(&g->e, "\x65\xc4\x62\xaa\xf5", 5);
        e_gs_operand(&g->e, R_T1, JV_TLB_MASK);
        return;
    }
    e_mov_rr(&g->e, R_T1, R_T0);
    e_shr_imm(&g->e, 1, R_T1, GPAGE_SHIFT);
    e_rex(&g->e, 0, 0, 0, R_T1, false); /* and r11d, imm32 */
    e_u8(&g->e, 0x81);
    e_u8(&g->e, 0xc0 | 4 << 3 | (R_T1 & 7));
    e_u32(&g->e, TLB_ENTRIES - 1);
}

static void gen_tlb(struct gen *g, unsigned size, bool write, uint32_t desc)
{
    uint32_t table = TLB_TABLE(g->mode, write);
    struct cold *c;

    gen_tlb_index(g);
    e_op_gs_idx8(&g->e, 0x03, R_T0, R_T1, table); /* add r10, tag */
    e_alu_imm(&g->e, 7, 1, R_T0, (int32_t)(4096 - size));
    c = gen_cold(g, COLD_SLOW,
                 g->key & KEY_ALIGN ? e_jmp32(&g->e) : e_jcc32(&g->e, CC_A));
    c->table = table;
    c->write = write;
    c->desc = desc;
    e_op_gs_idx8(&g->e, 0x03, R_T0, R_T1,
                 table + TLB_ADDENDS); /* add r10, addend */
    c->resume = g->e.p;
    c->copy_end = NULL;
}

void gen_check(struct gen *g, int seg, unsigned size, bool write)
{
    bool live = g->in->flags_live != 0;
    uint32_t desc = size | (write ? DESC_WRITE : 0) |
                    g->mode << DESC_MODE_SHIFT | (live ? DESC_FLAGS_SAVED : 0) |
                    (g->in->f->mem_read ? DESC_READ : 0) |
                    (seg == X86_SS ? DESC_STACK : 0) |
                    (g->in->f->locked ? DESC_LOCKED : 0) |
                    (g->in->f->aligned ? DESC_ALIGNED : 0) |
                    (uint32_t)(g->in->rip - g->rip) << DESC_INSN_SHIFT;

    g->m_idx = R_NONE;
    g->m_disp = 0;
    if (live)
        gen_save_flags(g);
    if (seg >= 0) {
        if (checked_segment(g, seg))
            gen_seg_limit(g, seg, size, write, live);
        gen_seg_base(g, seg);
    }
    gen_tlb(g, size, write, desc);
    if (live)
        gen_restore_flags(g);
}

void gen_store_done(struct gen *g)
{
    for (unsigned i = g->nr_cold; i-- > 0;) {
        struct cold *c = &g->cold[i];

        if (c->kind == COLD_SLOW && c->write && !c->copy_end) {
            c->copy_end = g->e.p;
            return;
        }
    }
}

void gen_op_mem(struct gen *g, unsigned op, unsigned w, unsigned reg)
{
    e_op_mem(&g->e, op, w, reg, e_at_idx(R_T0, g->m_idx, 1, g->m_disp));
}

/* By the window: r10 = its addend, the operand is at RSP + disp from it. */
static void by_window(struct gen *g, int32_t disp)
{
    e_load_gs(&g->e, R_T0, JV_WIN + 16 * g->mode + 8);
    g->m_idx = R_GSP;
    g->m_disp = disp;
}

void gen_operand(struct gen *g, const struct form_op *op, unsigned size,
                 bool write)
{
    if (g->win) {
        by_window(g, (int32_t)g->in->disp);
        return;
    }
    if (g->shared_by) {
        gen_by_group(g, op);
        return;
    }
    gen_address(g, op);
    gen_check(g, op->seg, size, write);
}

void gen_stack_check(struct gen *g, int32_t disp, unsigned size, bool write)
{
    if (g->win) {
        by_window(g, disp);
        return;
    }
    e_lea(&g->e, gen_64(g), R_T0, e_at(R_GSP, disp));
    gen_check(g, X86_SS, size, write);
}

void gen_stack_adjust(struct gen *g, int32_t delta)
{
    e_lea(&g->e, gen_64(g), R_GSP, e_at(R_GSP, delta));
}
