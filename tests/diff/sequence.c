#include <string.h>

#include "gen.h"
#include "state.h"

/*
 * Blocks of instructions with branches, loops and calls among them, for what
 * single instructions cannot show: flags that live across others, checks that
 * are shared, blocks that are linked, faults in the middle.
 *
 * A few registers are reserved and written by nothing else: pointers into the
 * data pages, an index, and the counter of the one loop. So addresses stay
 * known, and every sequence ends: what jumps backwards counts down.
 */
enum { MAX_FIXUPS = 8, MAX_FUNCTIONS = 2 };

struct fixup {
    unsigned at; /* where the rel32 or rel8 is, in c->code */
    bool wide;
    unsigned items; /* to be set when so many more items are emitted */
    uint32_t undefined;
};

struct sequence {
    const struct gen *g;
    struct setup *s;
    uint32_t pointers, reserved; /* sets of registers */
    unsigned index, counter;
    struct fixup fixup[MAX_FIXUPS];
    unsigned nr_fixups;
    unsigned call_at[MAX_FUNCTIONS], nr_calls;
    unsigned loop_start;
    bool in_loop, looped;
    uint32_t undefined; /* flags that are, where the code ends now */
    uint32_t call_undefined[MAX_FUNCTIONS];
};

/* Undefined flags must not be read: what comes of it is undefined too. */
enum { ARITH = 0x8d5 };

static bool reads_undefined(const struct sequence *q, const struct insn *in)
{
    return in->d.cpu_flags && in->d.cpu_flags->tested & q->undefined;
}

static void note_flags(struct sequence *q, const struct insn *in)
{
    const ZydisAccessedFlags *f = in->d.cpu_flags;

    if (!f)
        return;
    /* A count of zero leaves all as it is. */
    if (in->d.meta.category != ZYDIS_CATEGORY_SHIFT &&
        in->d.meta.category != ZYDIS_CATEGORY_ROTATE)
        q->undefined &= ~(f->modified | f->set_0 | f->set_1);
    q->undefined |= f->undefined & ARITH;
}

static void emit(struct sequence *q, const void *bytes, unsigned len)
{
    struct diff_case *c = q->s->c;

    memcpy(c->code + c->code_len, bytes, len);
    c->code_len = (uint16_t)(c->code_len + len);
}

static void emit_byte(struct sequence *q, unsigned v)
{
    uint8_t byte = (uint8_t)v;

    emit(q, &byte, 1);
}

static bool has_room(const struct sequence *q)
{
    return q->s->c->code_len < DIFF_CODE_MAX - 150;
}

static bool is_gpr(ZydisRegister reg)
{
    ZydisRegisterClass k = ZydisRegisterGetClass(reg);

    return k >= ZYDIS_REGCLASS_GPR8 && k <= ZYDIS_REGCLASS_GPR64;
}

/* AH..DH count as the registers that they are part of. */
static unsigned gpr_number(ZydisRegister reg)
{
    ZydisRegister all =
        ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);

    return (unsigned)ZydisRegisterGetId(all) & 15;
}

static bool in_set(uint32_t set, ZydisRegister reg)
{
    return is_gpr(reg) && (set >> gpr_number(reg) & 1);
}

static bool is_stack_insn(const struct insn *in)
{
    return in->d.meta.category == ZYDIS_CATEGORY_PUSH ||
           in->d.meta.category == ZYDIS_CATEGORY_POP;
}

static bool operand_fits(const struct sequence *q, const struct insn *in,
                         const ZydisDecodedOperand *op)
{
    if (op->type == ZYDIS_OPERAND_TYPE_REGISTER) {
        bool writes = op->actions & (ZYDIS_OPERAND_ACTION_WRITE |
                                     ZYDIS_OPERAND_ACTION_CONDWRITE);

        if (op->reg.value == ZYDIS_REGISTER_RSP ||
            op->reg.value == ZYDIS_REGISTER_ESP)
            return !writes ||
                   (is_stack_insn(in) &&
                    op->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN);
        return !writes || !in_set(q->reserved, op->reg.value);
    }
    if (op->type != ZYDIS_OPERAND_TYPE_MEMORY ||
        op->mem.type == ZYDIS_MEMOP_TYPE_AGEN)
        return true;
    if (in->d.address_width != q->s->c->bits)
        return false;
    if (op->mem.index != ZYDIS_REGISTER_NONE &&
        (!is_gpr(op->mem.index) || gpr_number(op->mem.index) != q->index))
        return false;
    if (op->mem.base == ZYDIS_REGISTER_NONE)
        return op->mem.index == ZYDIS_REGISTER_NONE;
    return op->mem.base == ZYDIS_REGISTER_RIP ||
           in_set(q->pointers, op->mem.base);
}

static bool has_memory(const struct insn *in)
{
    for (unsigned i = 0; i < in->d.operand_count_visible; i++)
        if (in->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
            in->op[i].mem.type == ZYDIS_MEMOP_TYPE_MEM)
            return true;
    return false;
}

static bool insn_fits(const struct sequence *q, const struct insn *in)
{
    switch (in->d.mnemonic) {
    case ZYDIS_MNEMONIC_DIV: /* mostly #DE */
    case ZYDIS_MNEMONIC_IDIV:
        if (rng_percent(q->s->r, 90))
            return false;
        break;
    case ZYDIS_MNEMONIC_BT: /* register offsets reach anywhere */
    case ZYDIS_MNEMONIC_BTS:
    case ZYDIS_MNEMONIC_BTR:
    case ZYDIS_MNEMONIC_BTC:
        if (in->op[0].type == ZYDIS_OPERAND_TYPE_MEMORY &&
            in->op[1].type == ZYDIS_OPERAND_TYPE_REGISTER)
            return false;
        break;
    default: break;
    }
    for (unsigned i = 0; i < in->d.operand_count; i++)
        if (!operand_fits(q, in, &in->op[i]))
            return false;
    return true;
}

/* Small and mostly aligned displacements from pointers; without a base, an
 * address in a data page. */
static void place(struct sequence *q, const struct insn *in, unsigned off)
{
    struct setup *s = q->s;
    const ZydisDecodedOperand *op = NULL;
    unsigned size = in->d.raw.disp.size / 8;
    int64_t disp = (int64_t)rng_below(s->r, 240) - 120;
    uint64_t target = DIFF_DATA + 0x1000 + rng_below(s->r, 0x1f00);

    for (unsigned i = 0; i < in->d.operand_count_visible && !op; i++)
        if (in->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
            op = &in->op[i];
    if (!op || !size)
        return;
    if (rng_percent(s->r, 80)) {
        disp &= ~(int64_t)31;
        target &= ~(uint64_t)31;
    }
    if (op->mem.base == ZYDIS_REGISTER_RIP)
        disp = (int64_t)target - (int64_t)(s->addr + off + in->len);
    else if (op->mem.base == ZYDIS_REGISTER_NONE)
        disp = (int64_t)target;
    memcpy(s->c->code + off + in->d.raw.disp.offset, &disp, size);
}

static void emit_insn(struct sequence *q)
{
    struct diff_case *c = q->s->c;
    bool want_memory = rng_percent(q->s->r, 40);
    unsigned without = rng_percent(q->s->r, 60) ? FORM_WIDE : 0;
    struct insn in;

    for (unsigned tries = 0; tries < 400; tries++) {
        unsigned off = c->code_len;

        if (!gen_insn(q->g, q->s, FORM_NOSEQ | without, &in))
            continue;
        if (in.valid && !reads_undefined(q, &in) &&
            (!want_memory || has_memory(&in) || tries > 200) &&
            insn_fits(q, &in)) {
            place(q, &in, off);
            note_flags(q, &in);
            setup_mark(c, q->undefined);
            return;
        }
        c->code_len = (uint16_t)off;
        memset(c->code + off, 0xcc, 24);
    }
}

static void emit_rel(struct sequence *q, bool wide)
{
    static const uint8_t zero[4] = {0};

    emit(q, zero, wide ? 4 : 1);
}

/* A branch over the next few items. */
static void emit_forward(struct sequence *q)
{
    struct rng *r = q->s->r;
    unsigned cc = rng_below(r, 16);
    bool wide = rng_percent(r, 50), always = rng_percent(r, 15);

    if (q->nr_fixups == MAX_FIXUPS || (q->undefined && !always))
        return;
    if (always) {
        emit_byte(q, wide ? 0xe9 : 0xeb);
    } else if (wide) {
        emit_byte(q, 0x0f);
        emit_byte(q, 0x80 + cc);
    } else {
        emit_byte(q, 0x70 + cc);
    }
    q->fixup[q->nr_fixups++] = (struct fixup){
        q->s->c->code_len, wide, 1 + rng_below(r, 3), q->undefined};
    emit_rel(q, wide);
    setup_mark(q->s->c, q->undefined);
}

static void fix(struct sequence *q, const struct fixup *f)
{
    unsigned size = f->wide ? 4 : 1;
    uint32_t rel = q->s->c->code_len - f->at - size;

    if (!f->wide && rel > 127)
        rel = 0;
    memcpy(q->s->c->code + f->at, &rel, size);
}

/* More flags are undefined here than it seemed. */
static void remark(struct sequence *q)
{
    struct diff_case *c = q->s->c;

    for (unsigned i = 0; i < c->nr_marks; i++)
        if (c->mark[i].off == c->code_len)
            c->mark[i].undefined |= (uint16_t)q->undefined;
    setup_mark(c, q->undefined);
}

/* Define all flags again: cmp al, al. */
static void define_flags(struct sequence *q)
{
    static const uint8_t cmp[2] = {0x38, 0xc0};

    if (!q->undefined)
        return;
    emit(q, cmp, 2);
    q->undefined = 0;
    setup_mark(q->s->c, 0);
}

/* One item more is done: resolve the branches that wait for it. */
static void item_done(struct sequence *q, bool all)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < q->nr_fixups; i++) {
        struct fixup *f = &q->fixup[i];

        if (all || --f->items == 0) {
            fix(q, f);
            q->undefined |= f->undefined;
        } else {
            q->fixup[kept++] = *f;
        }
    }
    q->nr_fixups = kept;
    if (q->undefined)
        remark(q);
}

static void emit_loop_end(struct sequence *q)
{
    struct diff_case *c = q->s->c;
    bool loop = q->counter == 1 && rng_percent(q->s->r, 50);
    int32_t rel;

    q->in_loop = false;
    q->looped = true;
    define_flags(q); /* they come to the loop's start again */
    if (loop && c->code_len - q->loop_start < 100) {
        emit_byte(q, 0xe2);
        rel = (int32_t)q->loop_start - c->code_len - 1;
        emit(q, &rel, 1);
        return;
    }
    if (c->bits == 64) { /* dec */
        emit_byte(q, 0x48 | (q->counter >> 3));
        emit_byte(q, 0xff);
        emit_byte(q, 0xc8 | (q->counter & 7));
    } else {
        emit_byte(q, 0x48 | q->counter);
    }
    emit_byte(q, 0x0f);
    emit_byte(q, 0x85);
    rel = (int32_t)q->loop_start - c->code_len - 4;
    emit(q, &rel, 4);
}

/* An indirect jump to the next item. */
static void emit_jump_register(struct sequence *q)
{
    unsigned reg = rng_below(q->s->r, q->s->c->bits == 64 ? 16 : 8);
    uint32_t target;

    if (q->reserved >> reg & 1)
        return;
    if (reg & 8)
        emit_byte(q, 0x41);
    emit_byte(q, 0xb8 | (reg & 7)); /* mov reg, imm32 */
    target = q->s->addr + q->s->c->code_len + 4 + (reg & 8 ? 3 : 2);
    emit(q, &target, 4);
    if (reg & 8)
        emit_byte(q, 0x41);
    setup_mark(q->s->c, q->undefined);
    emit_byte(q, 0xff);
    emit_byte(q, 0xe0 | (reg & 7));
    setup_mark(q->s->c, q->undefined);
}

static void emit_call(struct sequence *q)
{
    if (q->nr_calls == MAX_FUNCTIONS)
        return;
    emit_byte(q, 0xe8);
    q->call_undefined[q->nr_calls] = q->undefined;
    q->call_at[q->nr_calls++] = q->s->c->code_len;
    emit_rel(q, true);
    setup_mark(q->s->c, q->undefined);
}

static void emit_item(struct sequence *q)
{
    unsigned dice = rng_below(q->s->r, 100);

    if (dice < 12) {
        emit_forward(q);
        return; /* a branch to its own end is no test */
    }
    if (dice < 17)
        emit_call(q);
    else if (dice < 20)
        emit_jump_register(q);
    else if (dice < 28 && !q->in_loop && !q->looped) {
        q->in_loop = true;
        q->loop_start = q->s->c->code_len;
    } else if (dice < 40 && q->in_loop)
        emit_loop_end(q);
    else
        emit_insn(q);
    item_done(q, false);
}

/* The called functions, behind the end of the main path. */
static void emit_functions(struct sequence *q)
{
    for (unsigned i = 0; i < q->nr_calls; i++) {
        struct fixup f = {.at = q->call_at[i], .wide = true};

        emit_byte(q, 0xcc);
        fix(q, &f);
        q->undefined = q->call_undefined[i];
        setup_mark(q->s->c, q->undefined);
        for (unsigned n = rng_below(q->s->r, 3); n && has_room(q); n--)
            emit_insn(q);
        define_flags(q);
        emit_byte(q, 0xc3);
    }
}

static unsigned reserve(struct sequence *q)
{
    unsigned reg;

    do
        reg = rng_below(q->s->r, q->s->c->bits == 64 ? 16 : 8);
    while (q->reserved >> reg & 1);
    q->reserved |= 1u << reg;
    return reg;
}

static uint64_t pointer_value(struct sequence *q)
{
    struct rng *r = q->s->r;
    uint64_t v;

    if (rng_percent(r, 5))
        return operand_target(q->s, 32, true);
    if (rng_percent(r, 12)) /* across the boundary of two pages */
        return DIFF_DATA + 0x2000 + rng_below(r, 64) - 32;
    v = DIFF_DATA + 0x1000 + 256 + rng_below(r, 0x1d00);
    return rng_percent(r, 85) ? v & ~(uint64_t)31 : v;
}

static void set_registers(struct sequence *q)
{
    struct diff_regs *in = &q->s->c->in;
    struct rng *r = q->s->r;
    unsigned nr = 2 + rng_below(r, 3);

    q->pointers = 1u << 4;
    q->reserved = 1u << 4;
    for (unsigned i = 0; i < nr; i++)
        q->pointers |= 1u << reserve(q);
    for (unsigned i = 0; i < 16; i++)
        if (q->pointers >> i & 1)
            in->gpr[i] = pointer_value(q);
    q->index = reserve(q);
    in->gpr[q->index] = (uint64_t)rng_below(r, 8) * 32 - 128;
    if (q->s->c->bits == 32)
        in->gpr[q->index] &= 0xffffffff;
    q->counter = reserve(q);
    in->gpr[q->counter] = 1 + rng_below(r, 6);
    in->gpr[4] = (DIFF_DATA + 0x1200 + rng_below(r, 0x1b00)) &
                 ~(uint64_t)(rng_percent(r, 90) ? 7 : 0);
    if (rng_percent(r, 90)) { /* or the first exception ends it */
        in->xsave[FX_FCW] |= 0x3f;
        in->xsave[FX_FSW] &= 0x7f;
        in->xsave[FX_FSW + 1] &= 0x7f;
        in->xsave[FX_MXCSR] |= 0x80;
        in->xsave[FX_MXCSR + 1] |= 0x1f;
    }
    if (rng_percent(r, 80)) {
        in->xsave[FX_FTW] = 0;
        in->rflags &= ~(uint64_t)0x400;
    }
}

void sequence_make(const struct gen *g, struct setup *s)
{
    struct sequence q = {.g = g, .s = s};
    unsigned items = 2 + rng_below(s->r, 14);

    s->c->mnemonic = 0;
    set_registers(&q);
    for (; items && has_room(&q); items--)
        emit_item(&q);
    if (q.in_loop)
        emit_loop_end(&q);
    item_done(&q, true);
    remark(&q);
    emit_functions(&q);
}
