#include "cpu/jit/rare.h"

#include <string.h>

/* Stack and control transfer with operand sizes or stacks that are not the
 * common ones, and everything far. */

static unsigned op_bytes(const struct rare *r)
{
    return r->in->d.operand_width / 8u;
}

static bool is_sreg(const ZydisDecodedOperand *op, unsigned *n)
{
    if (op->type != ZYDIS_OPERAND_TYPE_REGISTER)
        return false;
    *n = (unsigned)insn_sreg(op->reg.value);
    return insn_sreg(op->reg.value) >= 0;
}

static int push(struct rare *r)
{
    unsigned size = op_bytes(r), n;
    uint64_t v;

    if (is_sreg(&r->in->op[0], &n))
        return rare_push(r, r->st->seg[n].sel, size);
    if (rare_get(r, 0, &v) < 0)
        return X86_FAULT;
    return rare_push(r, v, size);
}

static int pop_segment(struct rare *r, unsigned n)
{
    uint64_t v, sp = r->st->gpr[X86_RSP];

    if (rare_pop(r, &v, op_bytes(r)) < 0)
        return X86_FAULT;
    if (x86_load_seg(r->cpu, (enum x86_sreg)n, (uint16_t)v) < 0) {
        r->st->gpr[X86_RSP] = sp;
        return X86_FAULT;
    }
    if (n == X86_SS)
        r->st->int_shadow = 1;
    return X86_OK;
}

static int pop(struct rare *r)
{
    uint64_t v, sp = r->st->gpr[X86_RSP];
    unsigned n;

    if (is_sreg(&r->in->op[0], &n))
        return pop_segment(r, n);
    if (rare_pop(r, &v, op_bytes(r)) < 0)
        return X86_FAULT;
    if (rare_put(r, 0, v, op_bytes(r)) < 0) {
        r->st->gpr[X86_RSP] = sp;
        return X86_FAULT;
    }
    return X86_OK;
}

/* #GP(0) if no code can be there; else *rip is what RIP would be. */
static int check_target(struct rare *r, uint64_t *rip)
{
    if (op_bytes(r) == 2)
        *rip &= UINT16_MAX;
    else if ((r->jv->key & KEY_SIZE_MASK) != 2)
        *rip &= UINT32_MAX;
    return h_may_run(r->jv, *rip) ? X86_OK : rare_gp(r);
}

static int jump_to(struct rare *r, uint64_t rip)
{
    if (check_target(r, &rip) < 0)
        return X86_FAULT;
    r->st->rip = rip;
    r->transferred = true;
    return X86_OK;
}

static int far_pointer(struct rare *r, uint16_t *sel, uint64_t *off)
{
    const ZydisDecodedOperand *op = &r->in->op[0];

    if (op->type == ZYDIS_OPERAND_TYPE_POINTER) {
        *sel = op->ptr.segment;
        *off = op->ptr.offset;
        return X86_OK;
    }
    return rare_far_pointer(r, op, sel, off);
}

static int call_or_jmp(struct rare *r, bool call)
{
    uint64_t target, off;
    unsigned size;
    uint16_t sel;

    if (r->in->d.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR) {
        if (far_pointer(r, &sel, &off) < 0)
            return X86_FAULT;
        r->transferred = true;
        size = rare_far_bytes(r);
        return call ? x86_call_far(r->cpu, sel, off, size, r->next)
                    : x86_jmp_far(r->cpu, sel, off, size, r->next);
    }
    if (r->in->op[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
        target = r->next + (uint64_t)r->in->op[0].imm.value.s;
    else if (rare_get(r, 0, &target) < 0)
        return X86_FAULT;
    /* The target is judged before anything is pushed (SDM vol. 2, CALL). */
    if (check_target(r, &target) < 0 ||
        (call && rare_push(r, r->next, op_bytes(r)) < 0))
        return X86_FAULT;
    return jump_to(r, target);
}

static int ret(struct rare *r)
{
    uint64_t rip, sp = r->st->gpr[X86_RSP];
    unsigned extra = 0;

    if (r->in->op[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
        extra = (unsigned)(r->in->op[0].imm.value.u & UINT16_MAX);
    if (r->in->d.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR) {
        r->transferred = true;
        return x86_ret_far(r->cpu, op_bytes(r), extra);
    }
    if (rare_pop(r, &rip, op_bytes(r)) < 0)
        return X86_FAULT;
    rare_set_sp(r, rare_sp(r) + extra);
    if (jump_to(r, rip) < 0) {
        r->st->gpr[X86_RSP] = sp;
        return X86_FAULT;
    }
    return X86_OK;
}

static int leave(struct rare *r)
{
    uint64_t v, sp = r->st->gpr[X86_RSP];
    unsigned size = op_bytes(r);

    rare_set_sp(r, r->st->gpr[X86_RBP]);
    if (rare_pop(r, &v, size) < 0) {
        r->st->gpr[X86_RSP] = sp;
        return X86_FAULT;
    }
    rare_set_reg(r,
                 size == 2   ? ZYDIS_REGISTER_BP
                 : size == 4 ? ZYDIS_REGISTER_EBP
                             : ZYDIS_REGISTER_RBP,
                 v);
    return X86_OK;
}

static int enter(struct rare *r)
{
    unsigned size = op_bytes(r);
    unsigned alloc = (unsigned)(r->in->op[0].imm.value.u & UINT16_MAX);
    unsigned level = (unsigned)(r->in->op[1].imm.value.u & 31);
    uint64_t sp0 = r->st->gpr[X86_RSP], bp = r->st->gpr[X86_RBP], frame, v;
    ZydisRegister reg = size == 2   ? ZYDIS_REGISTER_BP
                        : size == 4 ? ZYDIS_REGISTER_EBP
                                    : ZYDIS_REGISTER_RBP;
    gva_t top;

    if (rare_push(r, bp, size) < 0)
        return X86_FAULT;
    frame = r->st->gpr[X86_RSP]; /* all of it, also of a 16-bit stack */
    for (unsigned i = 1; i < level; i++) {
        gva_t gva;

        bp -= size;
        v = 0;
        if (rare_linear(r, X86_SS, r->jv->key & KEY_SS16 ? bp & UINT16_MAX : bp,
                        size, false, &gva) < 0 ||
            rare_read_mem(r, gva, &v, size) < 0 || rare_push(r, v, size) < 0)
            goto undo;
    }
    if (level && rare_push(r, frame, size) < 0)
        goto undo;
    rare_set_sp(r, rare_sp(r) - alloc);
    /* The new top of the stack must be writable (SDM, ENTER). */
    if (rare_linear(r, X86_SS, rare_sp(r), size, true, &top) < 0 ||
        rare_probe_write(r, top, size) < 0)
        goto undo;
    rare_set_reg(r, reg, frame);
    return X86_OK;

undo:
    r->st->gpr[X86_RSP] = sp0;
    return X86_FAULT;
}

static int pushf(struct rare *r)
{
    uint64_t f = r->st->rflags & ~(uint64_t)(X86_FLAGS_RF | X86_FLAGS_VM);

    if ((r->jv->key & KEY_VM86) && (f & X86_FLAGS_IOPL) != X86_FLAGS_IOPL)
        return rare_gp(r);
    return rare_push(r, f, op_bytes(r));
}

static int pusha(struct rare *r)
{
    uint64_t sp = r->st->gpr[X86_RSP];

    for (unsigned i = 0; i < 8; i++) {
        uint64_t v = i == X86_RSP ? sp : r->st->gpr[i];

        if (rare_push(r, v, op_bytes(r)) < 0) {
            r->st->gpr[X86_RSP] = sp;
            return X86_FAULT;
        }
    }
    return X86_OK;
}

static int popa(struct rare *r)
{
    uint64_t sp = r->st->gpr[X86_RSP], v[8];
    unsigned size = op_bytes(r);

    for (unsigned i = 8; i-- > 0;)
        if (rare_pop(r, &v[i], size) < 0) {
            r->st->gpr[X86_RSP] = sp;
            return X86_FAULT;
        }
    for (unsigned i = 0; i < 8; i++) {
        if (i == X86_RSP)
            continue;
        rare_set_reg(r,
                     (size == 2 ? ZYDIS_REGISTER_AX : ZYDIS_REGISTER_EAX) +
                         (ZydisRegister)i,
                     v[i]);
    }
    return X86_OK;
}

/* LOOPcc and JCXZ on CX. */
static int loop16(struct rare *r)
{
    ZydisMnemonic m = r->in->d.mnemonic;
    uint64_t cx = rare_reg(r, ZYDIS_REGISTER_CX);
    bool zf = r->st->rflags & X86_FLAGS_ZF, take;

    if (m == ZYDIS_MNEMONIC_JCXZ) {
        take = cx == 0;
    } else {
        cx = (cx - 1) & UINT16_MAX;
        take = cx != 0 &&
               (m == ZYDIS_MNEMONIC_LOOP || (m == ZYDIS_MNEMONIC_LOOPE) == zf);
        rare_set_reg(r, ZYDIS_REGISTER_CX, cx);
    }
    if (!take)
        return X86_OK;
    return jump_to(r, r->next + (uint64_t)r->in->op[0].imm.value.s);
}

int rare_stack(struct rare *r)
{
    switch (r->in->d.mnemonic) {
    case ZYDIS_MNEMONIC_PUSH: return push(r);
    case ZYDIS_MNEMONIC_POP: return pop(r);
    case ZYDIS_MNEMONIC_CALL: return call_or_jmp(r, true);
    case ZYDIS_MNEMONIC_JMP: return call_or_jmp(r, false);
    case ZYDIS_MNEMONIC_RET: return ret(r);
    case ZYDIS_MNEMONIC_LEAVE: return leave(r);
    case ZYDIS_MNEMONIC_ENTER: return enter(r);
    case ZYDIS_MNEMONIC_PUSHF:
    case ZYDIS_MNEMONIC_PUSHFD:
    case ZYDIS_MNEMONIC_PUSHFQ: return pushf(r);
    case ZYDIS_MNEMONIC_PUSHA:
    case ZYDIS_MNEMONIC_PUSHAD: return pusha(r);
    case ZYDIS_MNEMONIC_POPA:
    case ZYDIS_MNEMONIC_POPAD: return popa(r);
    case ZYDIS_MNEMONIC_LOOP:
    case ZYDIS_MNEMONIC_LOOPE:
    case ZYDIS_MNEMONIC_LOOPNE:
    case ZYDIS_MNEMONIC_JCXZ:
    case ZYDIS_MNEMONIC_JECXZ: return loop16(r);
    default: return RARE_UNKNOWN;
    }
}
