#include "cpu/jit/gen.h"

/*
 * Instructions that run as themselves: the same opcode with other register
 * numbers, memory operands at [r10].
 */

bool gen_is_spilled(unsigned r)
{
    return r >= X86_R9 && r <= X86_R11;
}

unsigned gen_host_reg(unsigned r)
{
    return r == X86_RSP ? (unsigned)R_GSP : r;
}

void gen_load_reg(struct gen *g, unsigned host, unsigned r)
{
    if (gen_is_spilled(r))
        e_load_gs(&g->e, host, JV_GPR + 8 * r);
    else if (gen_host_reg(r) != host)
        e_mov_rr(&g->e, host, gen_host_reg(r));
}

void gen_store_reg(struct gen *g, unsigned r, unsigned host)
{
    if (gen_is_spilled(r))
        e_store_gs(&g->e, JV_GPR + 8 * r, host);
    else if (gen_host_reg(r) != host)
        e_mov_rr(&g->e, gen_host_reg(r), host);
}

/* One register operand on its way through an instruction. */
struct slot {
    bool used, spilled, high, read, write;
    bool as_high; /* AH..BH, encoded as such */
    unsigned guest;
    unsigned host;
};

struct enc {
    struct slot reg, vvvv, rm;
    enum gen_rm rm_kind;
    unsigned rm_raw; /* register number when rm is no general register */
    unsigned reg_raw;
    uint32_t gs_off;
};

static void slot_from(struct slot *s, const struct gen *g,
                      const struct form_op *op)
{
    if (!gen_op_is_gpr(op))
        return;
    s->used = true;
    s->guest = op->reg;
    s->high = op->high;
    s->host = gen_host_reg(s->guest);
    s->spilled = gen_is_spilled(s->guest);
    s->write = op->writes;
    s->read = op->reads || op->size < 32 ||
              g->in->f->mnemonic == ZYDIS_MNEMONIC_BSF ||
              g->in->f->mnemonic == ZYDIS_MNEMONIC_BSR;
}

/* rorx r11d, eax, 8 leaves AH in r11b; without BMI2 by two exchanges. */
static void load_high(struct gen *g, unsigned host, unsigned guest)
{
    uint8_t x = (uint8_t)(0xc0 | (guest + 4) << 3 | guest);

    e_u8(&g->e, 0x86); /* xchg xl, xh */
    e_u8(&g->e, x);
    e_op_rr(&g->e, 0x89, 0, guest, host);
    e_u8(&g->e, 0x86);
    e_u8(&g->e, x);
}

static void store_high(struct gen *g, unsigned host, unsigned guest)
{
    uint8_t x = (uint8_t)(0xc0 | (guest + 4) << 3 | guest);

    e_u8(&g->e, 0x86);
    e_u8(&g->e, x);
    e_rex(&g->e, 0, host, 0, guest, false); /* mov xl, hostb */
    e_u8(&g->e, 0x88);
    e_u8(&g->e, 0xc0 | (host & 7) << 3 | guest);
    e_u8(&g->e, 0x86);
    e_u8(&g->e, x);
}

static void slot_load(struct gen *g, struct slot *s, unsigned tmp)
{
    s->host = tmp;
    if (s->high)
        load_high(g, tmp, s->guest);
    else if (s->read)
        e_load_gs(&g->e, tmp, JV_GPR + 8 * s->guest);
}

static void slot_store(struct gen *g, const struct slot *s)
{
    if (!s->write)
        return;
    if (s->high)
        store_high(g, s->host, s->guest);
    else if (s->spilled)
        e_store_gs(&g->e, JV_GPR + 8 * s->guest, s->host);
}

static void emit_prefixes(struct gen *g, const struct enc *f)
{
    const struct form *d = g->in->f;

    if (d->lock)
        e_u8(&g->e, 0xf0);
    if (d->p66)
        e_u8(&g->e, 0x66);
    if (d->pf2)
        e_u8(&g->e, 0xf2);
    if (d->pf3)
        e_u8(&g->e, 0xf3);
    if (f->rm_kind == RM_GS)
        e_u8(&g->e, 0x65);
}

static void emit_map(struct gen *g)
{
    switch (g->in->f->map) {
    case ZYDIS_OPCODE_MAP_0F: e_u8(&g->e, 0x0f); break;
    case ZYDIS_OPCODE_MAP_0F38:
        e_u8(&g->e, 0x0f);
        e_u8(&g->e, 0x38);
        break;
    case ZYDIS_OPCODE_MAP_0F3A:
        e_u8(&g->e, 0x0f);
        e_u8(&g->e, 0x3a);
        break;
    default: break;
    }
}

static unsigned rm_number(const struct enc *f)
{
    switch (f->rm_kind) {
    case RM_MEM: return R_T0;
    case RM_REG: return f->rm.used ? f->rm.host : f->rm_raw;
    default: return 0;
    }
}

/* Index register of the memory operand, for REX.X. */
static unsigned index_number(const struct gen *g, const struct enc *f)
{
    return f->rm_kind == RM_MEM && g->m_idx != R_NONE ? g->m_idx : 0;
}

static void emit_modrm(struct gen *g, const struct enc *f, unsigned reg)
{
    switch (f->rm_kind) {
    case RM_MEM:
        e_mem(&g->e, reg, e_at_idx(R_T0, g->m_idx, 1, g->m_disp));
        break;
    case RM_GS: e_gs_operand(&g->e, reg, f->gs_off); break;
    default: e_u8(&g->e, 0xc0 | (reg & 7) << 3 | (rm_number(f) & 7)); break;
    }
}

/* A fourth operand in the upper half of the last byte: 64-bit mode alone has
 * more than eight of them and looks at all bits. */
static void emit_imm(struct gen *g)
{
    const struct form *d = g->in->f;

    if (d->is4)
        e_u8(&g->e, g->in->bytes[d->length - 1] & (gen_64(g) ? 0xff : 0x7f));
    else if (d->imm_at)
        e_bytes(&g->e, g->in->bytes + d->imm_at,
                (size_t)(d->length - d->imm_at));
}

/* Does a byte register without REX mean SPL..DIL here? */
static bool needs_rex(const struct gen *g, const struct enc *f)
{
    const struct form *d = g->in->f;

    return (f->reg.used && form_reg(d)->size == 8 && !f->reg.as_high &&
            f->reg.host >= 4) ||
           (f->rm.used && form_rm(d)->size == 8 && !f->rm.as_high &&
            f->rm.host >= 4 && f->rm_kind == RM_REG);
}

static void emit_legacy(struct gen *g, const struct enc *f, unsigned opcode,
                        unsigned reg)
{
    const struct form *d = g->in->f;

    emit_prefixes(g, f);
    e_rex(&g->e, d->w, reg, index_number(g, f), rm_number(f), needs_rex(g, f));
    emit_map(g);
    e_u8(&g->e, opcode);
    emit_modrm(g, f, reg);
    emit_imm(g);
}

/* The register is in the opcode's low bits: mov r, imm; bswap. */
static void emit_opcode_reg(struct gen *g, const struct enc *f)
{
    const struct form *d = g->in->f;

    emit_prefixes(g, f);
    e_rex(&g->e, d->w, 0, 0, f->reg.host, needs_rex(g, f));
    emit_map(g);
    e_u8(&g->e, (d->opcode & ~7u) | (f->reg.host & 7));
    emit_imm(g);
}

static void emit_vex(struct gen *g, const struct enc *f, unsigned reg)
{
    const struct form *d = g->in->f;
    unsigned vvvv = f->vvvv.used ? f->vvvv.host : d->vex_v;
    unsigned rm = rm_number(f);

    if (f->rm_kind == RM_GS)
        e_u8(&g->e, 0x65);
    e_u8(&g->e, 0xc4);
    e_u8(&g->e, (~reg >> 3 & 1) << 7 | (~index_number(g, f) >> 3 & 1) << 6 |
                    (~rm >> 3 & 1) << 5 | d->vex_m);
    e_u8(&g->e, (unsigned)d->w << 7 | (~vvvv & 15) << 3 |
                    (unsigned)d->vex_l << 2 | d->vex_pp);
    e_u8(&g->e, d->opcode);
    if (d->modrm) /* not VZEROUPPER */
        emit_modrm(g, f, reg);
    emit_imm(g);
}

static void emit_form(struct gen *g, const struct enc *f)
{
    const struct form *d = g->in->f;
    unsigned reg = f->reg.used ? f->reg.host : f->reg_raw;
    unsigned op = d->opcode;

    if (d->vex) {
        emit_vex(g, f, reg);
        return;
    }
    if (d->modrm) {
        if (d->map == ZYDIS_OPCODE_MAP_DEFAULT && op == 0x82)
            op = 0x80; /* an alias that 64-bit mode lacks */
        emit_legacy(g, f, op, reg);
        return;
    }
    if (d->map == ZYDIS_OPCODE_MAP_DEFAULT && op >= 0xa0 &&
        op <= 0xa3) { /* moffs */
        static const uint8_t mov[] = {0x8a, 0x8b, 0x88, 0x89};

        emit_prefixes(g, f);
        gen_op_mem(g, mov[op - 0xa0], d->w, R_AX);
        return;
    }
    if (d->map == ZYDIS_OPCODE_MAP_DEFAULT && op >= 0x40 &&
        op <= 0x4f) { /* INC, DEC of 16- and 32-bit modes */
        emit_prefixes(g, f);
        e_rex(&g->e, 0, 0, 0, f->reg.host, false);
        e_u8(&g->e, 0xff);
        e_u8(&g->e, 0xc0 | (op >> 3 & 1) << 3 | (f->reg.host & 7));
        return;
    }
    if (d->map == ZYDIS_OPCODE_MAP_DEFAULT && op >= 0x91 &&
        op <= 0x97) { /* xchg rAX, reg */
        emit_prefixes(g, f);
        e_rex(&g->e, d->w, R_AX, 0, f->reg.host, false);
        e_u8(&g->e, 0x87);
        e_u8(&g->e, 0xc0 | (f->reg.host & 7));
        return;
    }
    if (f->reg.used) {
        emit_opcode_reg(g, f);
        return;
    }
    emit_prefixes(g, f);
    e_rex(&g->e, d->w, 0, 0, 0, false);
    emit_map(g);
    e_u8(&g->e, op);
    emit_imm(g);
}

/* Would the encoding need a REX prefix, which AH..BH exclude? */
static bool high_conflict(const struct enc *f)
{
    return f->rm_kind == RM_MEM || (f->reg.used && f->reg.host >= 8) ||
           (f->rm.used && f->rm.host >= 8) || f->reg.spilled || f->rm.spilled;
}

static bool rm_by_slot(const struct gen *g, const struct enc *f)
{
    return f->rm.spilled && !f->rm.high && !form_rm(g->in->f)->writes &&
           g->in->f->mnemonic != ZYDIS_MNEMONIC_BT;
}

/* Give every operand that has no host register of its own a scratch one. */
static void load_slots(struct gen *g, struct enc *f)
{
    bool high = (f->reg.high || f->rm.high) && high_conflict(f);
    unsigned tmp[2] = {R_T1, R_T0};
    unsigned n = 0, max = f->rm_kind == RM_MEM ? 1 : 2;
    struct slot *all[] = {&f->reg, &f->vvvv, &f->rm};

    if (rm_by_slot(g, f)) {
        f->rm_kind = RM_GS;
        f->gs_off = JV_GPR + 8 * f->rm.guest;
        f->rm.used = f->rm.spilled = false;
    }
    for (unsigned i = 0; i < 3; i++) {
        struct slot *s = all[i];

        if (s->high && !high) {
            s->host = s->guest + 4; /* AH..BH as they are */
            s->as_high = true;
            continue;
        }
        if (!s->used || (!s->spilled && !s->high))
            continue;
        if (n == max && f->vvvv.used && s == &f->vvvv && f->reg.spilled &&
            !f->reg.read) {
            /* the destination's scratch may hold a source before */
            slot_load(g, s, f->reg.host);
            continue;
        }
        if (n == max) {
            g->failed = true;
            return;
        }
        slot_load(g, s, tmp[n++]);
    }
    if (!high) /* keep slot_store from treating them as scratch */
        f->reg.high = f->rm.high = f->vvvv.high = false;
}

static bool writes_two(const struct gen *g)
{
    return g->in->f->mnemonic == ZYDIS_MNEMONIC_MULX;
}

static void emit_with_slots(struct gen *g, struct enc *f)
{
    if (f->rm_kind == RM_MEM && writes_two(g) && f->reg.spilled &&
        f->vvvv.spilled) { /* mulx: the address register is free afterwards */
        f->reg.host = R_T1;
        f->vvvv.host = R_T0;
    } else {
        load_slots(g, f);
    }
    emit_form(g, f);
}

static void store_slots(struct gen *g, const struct enc *f)
{
    /* The first destination last: on equal registers it wins (MULX; XADD,
     * which has it in rm). */
    slot_store(g, &f->vvvv);
    slot_store(g, &f->reg);
    slot_store(g, &f->rm);
}

static void form_init(struct gen *g, struct enc *f)
{
    memset(f, 0, sizeof(*f));
    slot_from(&f->reg, g, form_reg(g->in->f));
    slot_from(&f->vvvv, g, form_vvvv(g->in->f));
    f->reg_raw = g->in->f->reg_raw;
    f->rm_raw = g->in->f->rm_raw;
    if (g->in->f->mem) {
        f->rm_kind = RM_MEM;
    } else {
        f->rm_kind = RM_REG;
        slot_from(&f->rm, g, form_rm(g->in->f));
    }
}

/* Outside 64-bit mode VZEROUPPER and VZEROALL leave registers 8 to 15 alone.
 * A VEX.128 move onto itself clears the upper half. */
static void gen_vzero32(struct gen *g)
{
    bool all = g->in->f->mnemonic == ZYDIS_MNEMONIC_VZEROALL;

    for (unsigned n = 0; n < 8; n++) {
        e_u8(&g->e, 0xc5);
        if (all) { /* vpxor xmm, xmm, xmm */
            e_u8(&g->e, 0x81 | (~n & 15) << 3);
            e_u8(&g->e, 0xef);
        } else { /* vmovaps xmm, xmm */
            e_u8(&g->e, 0xf8);
            e_u8(&g->e, 0x28);
        }
        e_u8(&g->e, 0xc0 | n << 3 | n);
    }
}

void gen_plain(struct gen *g)
{
    struct enc f;

    if (!gen_64(g) && (g->in->f->mnemonic == ZYDIS_MNEMONIC_VZEROALL ||
                       g->in->f->mnemonic == ZYDIS_MNEMONIC_VZEROUPPER)) {
        gen_vzero32(g);
        return;
    }
    form_init(g, &f);
    if (g->in->f->mem)
        gen_operand(g, form_rm(g->in->f), form_rm(g->in->f)->size / 8u,
                    g->in->f->mem_write);
    emit_with_slots(g, &f);
    if (g->in->f->class == IC_FSTENV) /* FIP, FOP, FDP: of the host, not his */
        for (int32_t off = 12; off <= 24; off += 4) {
            if (g->in->f->operand_width == 16)
                break;
            /* mov dword [operand + off], 0 or 0xffff0000 */
            e_op_mem(&g->e, 0xc7, 0, 0,
                     e_at_idx(R_T0, g->m_idx, 1, g->m_disp + off));
            e_u32(&g->e, off == 24 ? 0xffff0000u : 0);
        }
    store_slots(g, &f); /* in the copy, too: the commit uses the scratches */
    if (g->in->f->mem_write)
        gen_store_done(g);
}

/*
 * BT and kin with a register index: the bit string may reach far from the
 * operand's address. The address is adjusted by the index in whole operands,
 * the rest stays in r11.
 */
void gen_bt_mem(struct gen *g)
{
    const struct ginsn *in = g->in;
    const struct form_op *rm = form_rm(in->f);
    unsigned bits = rm->size, log = bits == 64 ? 6 : bits == 32 ? 5 : 4;
    struct slot s = {0};
    struct ginsn copy = *in;

    gen_address(g, rm);
    slot_from(&s, g, form_reg(in->f));
    gen_save_flags(g);
    /* The index may be in rax, which the flags have taken. */
    if (s.guest == X86_RAX)
        e_load_gs(&g->e, R_T1, JV_RAX_SAVE);
    else
        gen_load_reg(g, R_T1, s.guest);
    if (bits == 16) /* movsx r11, r11w */
        e_bytes(&g->e, "\x4d\x0f\xbf\xdb", 4);
    else if (bits == 32) /* movsxd r11, r11d */
        e_bytes(&g->e, "\x4d\x63\xdb", 3);
    e_rex(&g->e, 1, 0, 0, R_T1, false); /* sar r11, log */
    e_u8(&g->e, 0xc1);
    e_u8(&g->e, 0xf8 | (R_T1 & 7));
    e_u8(&g->e, log);
    e_lea(&g->e, in->f->address_width == 64, R_T0,
          e_at_idx(R_T0, R_T1, bits / 8, 0));
    if (in->f->address_width == 16)
        e_bytes(&g->e, "\x45\x0f\xb7\xd2", 4);
    gen_restore_flags(g);
    copy.flags_live = X86_FLAGS_ARITH;
    g->in = &copy;
    gen_check(g, rm->seg, bits / 8, in->f->mem_write);
    g->in = in;
    /* r11 = index mod bits, flag-free */
    gen_load_reg(g, R_T1, s.guest);
    gen_save_flags(g);
    e_alu_imm(&g->e, 4, 0, R_T1, (int32_t)bits - 1);
    gen_restore_flags(g);
    if (in->f->lock)
        e_u8(&g->e, 0xf0);
    if (bits == 16)
        e_u8(&g->e, 0x66);
    e_rex(&g->e, bits == 64, R_T1, 0, R_T0, false);
    e_u8(&g->e, 0x0f);
    e_u8(&g->e, in->f->opcode);
    e_mem(&g->e, R_T1, e_at(R_T0, 0));
    if (in->f->mem_write)
        gen_store_done(g);
}

void gen_lea(struct gen *g)
{
    const struct ginsn *in = g->in;
    struct slot s = {0};
    unsigned width = in->f->operand_width;

    slot_from(&s, g, form_reg(in->f));
    gen_address(g, form_rm(in->f));
    if (width == 16) { /* keep the upper bits */
        if (s.spilled) {
            e_u8(&g->e, 0x65); /* mov word gs:[slot], r10w */
            e_bytes(&g->e, "\x66\x44\x89", 3);
            e_gs_operand(&g->e, R_T0, JV_GPR + 8 * s.guest);
        } else {
            e_u8(&g->e, 0x66);
            e_op_rr(&g->e, 0x89, 0, R_T0, s.host);
        }
        return;
    }
    if (width == 32)
        e_mov32_rr(&g->e, s.spilled ? R_T0 : s.host, R_T0);
    else if (!s.spilled)
        e_mov_rr(&g->e, s.host, R_T0);
    if (s.spilled)
        e_store_gs(&g->e, JV_GPR + 8 * s.guest, R_T0);
}
