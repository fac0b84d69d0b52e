#include "cpu/jit/gen.h"
#include "cpu/jit/h_sys.h"

/* The second part of a block: what the hot path branches to and rarely takes.
 */

struct cold *gen_cold(struct gen *g, enum cold_kind kind, uint8_t *from)
{
    struct cold *c;

    if (g->nr_cold == GEN_MAX_COLD) {
        g->failed = true;
        g->nr_cold--;
    }
    c = &g->cold[g->nr_cold++];
    memset(c, 0, sizeof(*c));
    c->kind = (uint8_t)kind;
    c->from = from;
    if (g->in) {
        c->guest = (uint16_t)(g->in->rip - g->rip);
        c->rip = g->in->rip;
    }
    return c;
}

void gen_map(struct gen *g, uint64_t rip)
{
    if (g->nr_map == sizeof(g->map) / sizeof(g->map[0])) {
        g->failed = true;
        return;
    }
    g->map[g->nr_map++] = (struct tb_map){
        .host = (uint16_t)(g->e.p - g->start),
        .guest = (uint16_t)(rip - g->rip),
    };
}

static void jmp_to(struct gen *g, const uint8_t *target)
{
    uint8_t *rel = e_jmp32(&g->e);

    e_patch(rel, target);
}

static void cold_slow(struct gen *g, const struct cold *c)
{
    e_op_gs_idx8(&g->e, 0x2b, R_T0, R_T1, c->table); /* sub r10, tag */
    e_mov_imm(&g->e, R_T1, c->desc);
    e_call_gs(&g->e, JV_GLUE + 8 * GLUE_SLOW);
    jmp_to(g, c->resume);
    if (!c->write)
        return;
    /* glue_slow returns behind the jump for what needs h_commit. */
    if (!c->copy_end) {
        g->failed = true;
        return;
    }
    e_bytes(&g->e, c->resume, (size_t)(c->copy_end - c->resume));
    e_mov_imm(&g->e, R_T1, c->desc);
    e_call_gs(&g->e, JV_GLUE + 8 * GLUE_COMMIT);
    jmp_to(g, c->copy_end);
}

static void cold_segment(struct gen *g, const struct cold *c)
{
    gen_store_rip(g, c->rip);
    if (c->glue)
        gen_restore_flags(g);
    e_store_gs(&g->e, JV_GLUE_TMP, R_T0);
    e_mov_imm(&g->e, R_T1, (uint64_t)(uintptr_t)h_segment);
    e_mov_imm(&g->e, R_T0,
              H_SEGMENT_REG(c->seg) | H_SEGMENT_WRITE(c->write) |
                  H_SEGMENT_SIZE(c->desc & DESC_SIZE_MASK) |
                  (c->desc & DESC_ALIGNED ? H_SEGMENT_ALIGNED : 0));
    e_call_gs(&g->e, JV_GLUE + 8 * GLUE_HELPER);
    e_load_gs(&g->e, R_T0, JV_GLUE_TMP);
    if (c->glue)
        gen_save_flags(g);
    jmp_to(g, c->resume);
}

static void cold_one(struct gen *g, const struct cold *c)
{
    e_patch(c->from, g->e.p);
    switch (c->kind) {
    case COLD_SLOW: cold_slow(g, c); break;
    case COLD_LINK:
        g->eng->links[c->link].stub = (uint32_t)(g->e.p - g->eng->code_rw);
        gen_store_rip(g, c->rip);
        e_mov_imm(&g->e, R_T1, c->link);
        e_jmp_gs(&g->e, JV_GLUE + 8 * GLUE_LINK);
        break;
    case COLD_GLUE: e_jmp_gs(&g->e, JV_GLUE + 8u * c->glue); break;
    case COLD_PENDING:
        if (c->glue)
            e_load_gs(&g->e, R_CX, JV_RCX_SAVE);
        gen_store_rip(g, c->rip);
        e_jmp_gs(&g->e, JV_GLUE + 8 * GLUE_PENDING);
        break;
    case COLD_SEGMENT: cold_segment(g, c); break;
    case COLD_HOIST: gen_cold_hoist(g, c); break;
    case COLD_GROUP: gen_cold_group(g, c); break;
    case COLD_DISPATCH: gen_cold_dispatch(g); break;
    default: g->failed = true; break;
    }
}

void gen_cold_all(struct gen *g)
{
    /* Cold paths may add cold paths: the bound is read each time. */
    for (unsigned i = 0; i < g->nr_cold && !g->e.full && !g->failed; i++) {
        gen_map(g, g->rip + g->cold[i].guest);
        cold_one(g, &g->cold[i]);
    }
}
