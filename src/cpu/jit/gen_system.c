#include "cpu/jit/gen.h"
#include "cpu/jit/h_sys.h"

/*
 * Stack instructions, flags that live in memory, and whatever is done by a
 * helper.
 */

static unsigned push_size(const struct gen *g)
{
    return gen_64(g) ? 8 : g->in->f->operand_width / 8u;
}

/* r11 to the stack */
static void push_r11(struct gen *g)
{
    unsigned n = push_size(g);

    if (!g->win)
        e_store_gs(&g->e, JV_TMP, R_T1);
    gen_stack_check(g, -(int32_t)n, n, true);
    if (!g->win)
        e_load_gs(&g->e, R_T1, JV_TMP);
    gen_op_mem(g, 0x89, n == 8, R_T1);
    gen_store_done(g);
    gen_stack_adjust(g, -(int32_t)n);
}

static void gen_push(struct gen *g)
{
    const struct ginsn *in = g->in;
    unsigned n = push_size(g);

    if (in->f->mem) {
        bool win = g->win; /* is for the push */

        g->win = false;
        gen_operand(g, form_rm(in->f), n, false);
        g->win = win;
        gen_op_mem(g, 0x8b, n == 8, R_T1);
        push_r11(g);
        return;
    }
    gen_stack_check(g, -(int32_t)n, n, true);
    if (in->f->op[0].kind == FORM_IMM) {
        gen_op_mem(g, 0xc7, n == 8, 0);
        e_u32(&g->e, (uint32_t)in->imm);
    } else {
        unsigned r = in->f->op[0].reg;
        unsigned host = gen_host_reg(r);

        if (gen_is_spilled(r)) {
            gen_load_reg(g, R_T1, r);
            host = R_T1;
        }
        gen_op_mem(g, 0x89, n == 8, host);
    }
    gen_store_done(g);
    gen_stack_adjust(g, -(int32_t)n);
}

static void gen_pop(struct gen *g)
{
    const struct ginsn *in = g->in;
    unsigned n = push_size(g);
    unsigned r;

    gen_stack_check(g, 0, n, false);
    if (in->f->mem) {
        gen_op_mem(g, 0x8b, n == 8, R_T1);
        e_store_gs(&g->e, JV_TMP, R_T1);
        /* The address is computed with RSP already raised (SDM, POP), but a
         * fault must leave RSP alone. */
        gen_stack_adjust(g, (int32_t)n);
        gen_address(g, form_rm(in->f));
        gen_stack_adjust(g, -(int32_t)n);
        gen_check(g, form_rm(in->f)->seg, n, true);
        e_load_gs(&g->e, R_T1, JV_TMP);
        gen_op_mem(g, 0x89, n == 8, R_T1);
        gen_store_done(g);
        gen_stack_adjust(g, (int32_t)n);
        return;
    }
    r = in->f->op[0].reg;
    if (gen_is_spilled(r)) {
        gen_op_mem(g, 0x8b, n == 8, R_T1);
        gen_stack_adjust(g, (int32_t)n);
        gen_store_reg(g, r, R_T1);
    } else if (r == X86_RSP) {
        gen_op_mem(g, 0x8b, n == 8, R_GSP);
    } else {
        gen_op_mem(g, 0x8b, n == 8, gen_host_reg(r));
        gen_stack_adjust(g, (int32_t)n);
    }
}

static void gen_leave(struct gen *g)
{
    unsigned n = push_size(g);

    e_lea(&g->e, gen_64(g), R_T0, e_at(R_BP, 0));
    gen_check(g, X86_SS, n, false);
    e_lea(&g->e, gen_64(g), R_GSP, e_at(R_BP, (int32_t)n));
    gen_op_mem(g, 0x8b, n == 8, R_BP);
}

/* r10 += dword gs:[off], without touching flags */
static void add_word(struct gen *g, uint32_t off, int32_t bias)
{
    e_load32_gs(&g->e, R_T1, off);
    e_lea(&g->e, 1, R_T0, e_at_idx(R_T0, R_T1, 1, bias));
}

static void gen_pushf(struct gen *g)
{
    e_u8(&g->e, 0x9c); /* pushfq */
    e_u8(&g->e, 0x41); /* pop r10 */
    e_u8(&g->e, 0x5a);
    /* The host's system flags are IF and bit 1, always. */
    add_word(g, JV_IF, -0x200);
    add_word(g, JV_DF, 0);
    add_word(g, JV_AC, 0);
    add_word(g, JV_FLAGS_OTHER, 0);
    e_mov_rr(&g->e, R_T1, R_T0);
    push_r11(g);
}

/* STI: interrupts are taken after the next instruction at the earliest. */
static void gen_sti(struct gen *g)
{
    e_store32_gs_imm(&g->e, JV_IF, X86_FLAGS_IF);
    /* A waiting interrupt shows up at the next pending test. */
    e_load32_gs(&g->e, R_T0, JV_IRQ_WAIT);
    e_u8(&g->e, 0x65); /* mov byte gs:[pending + 1], r10b */
    e_rex(&g->e, 0, R_T0, 0, 0, true);
    e_u8(&g->e, 0x88);
    e_gs_operand(&g->e, R_T0, JV_PENDING + 1);
}

/* STAC and CLAC move between the tables of the two supervisor modes. */
static void gen_ac(struct gen *g)
{
    bool on = g->in->f->class == IC_STAC;
    unsigned mode = on || !(g->key & KEY_SMAP) ? JIT_SUPER_AC : JIT_SUPER;
    uint32_t key = (g->key & ~(uint32_t)(KEY_MODE_MASK | KEY_UNHOISTED)) |
                   mode << KEY_MODE_SHIFT;

    e_store32_gs_imm(&g->e, JV_AC, on ? X86_FLAGS_AC : 0);
    e_store32_gs_imm(&g->e, JV_KEY, key);
    e_load_gs(&g->e, R_T0, JV_GLUE + 8 * (GLUE_JMP + mode));
    e_store_gs(&g->e, JV_RET_GLUE, R_T0);
    gen_jump_rekey(g, gen_next_rip(g));
}

static void gen_rdtsc(struct gen *g)
{
    if (g->in->f->mnemonic == ZYDIS_MNEMONIC_RDTSCP) {
        /* As itself, since it waits for what is before it (SDM vol. 2). */
        e_bytes(&g->e, "\x0f\x01\xf9", 3);
        e_load32_gs(&g->e, R_CX, offsetof(struct x86_state, msr.tsc_aux));
    } else {
        e_bytes(&g->e, "\x0f\x31", 2);
    }
    /* rorx rdx, rdx, 32; rax += rdx + offset, flags untouched */
    e_bytes(&g->e, "\xc4\xe3\xfb\xf0\xd2\x20", 6);
    e_lea(&g->e, 1, R_AX, e_at_idx(R_AX, R_DX, 1, 0));
    e_load_gs(&g->e, R_T0, JV_TSC_OFFSET);
    e_lea(&g->e, 1, R_AX, e_at_idx(R_AX, R_T0, 1, 0));
    e_bytes(&g->e, "\xc4\xe3\xfb\xf0\xd0\x20", 6); /* rorx rdx, rax, 32 */
    e_mov32_rr(&g->e, R_DX, R_DX);
    e_mov32_rr(&g->e, R_AX, R_AX);
}

static void gen_rdbase(struct gen *g)
{
    unsigned r = g->in->f->op[0].reg;
    bool fs = g->in->f->mnemonic == ZYDIS_MNEMONIC_RDFSBASE;

    e_op_gs(&g->e, 0x8b, g->in->f->operand_width == 64, R_T0,
            fs ? JV_FSBASE : JV_GSBASE);
    gen_store_reg(g, r, R_T0);
}

static void gen_wrbase(struct gen *g)
{
    unsigned r = g->in->f->op[0].reg;
    uint64_t arg =
        g->in->f->mnemonic == ZYDIS_MNEMONIC_WRFSBASE ? X86_FS : X86_GS;

    gen_load_reg(g, R_T0, r);
    if (g->in->f->operand_width == 32)
        e_mov32_rr(&g->e, R_T0, R_T0);
    e_store_gs(&g->e, JV_TMP, R_T0);
    gen_helper(g, h_wrbase, arg, g->in->rip);
}

static unsigned width_code(unsigned bits)
{
    return bits == 64 ? 3 : bits == 32 ? 2 : bits == 16 ? 1 : 0;
}

static void gen_string(struct gen *g)
{
    const struct ginsn *in = g->in;
    uint64_t arg =
        H_STRING_OP(in->f->opcode >> 1 & 7) |
        H_STRING_SIZE(in->f->opcode & 1 ? width_code(in->f->operand_width)
                                        : 0) |
        H_STRING_ADDR(width_code(in->f->address_width));

    if (in->f->rep)
        arg |= H_STRING_REP;
    if (in->f->repne)
        arg |= H_STRING_REPNE;
    arg |= H_STRING_SEG((uint64_t)in->f->string_seg) |
           H_STRING_LENGTH(in->f->length);
    gen_helper(g, h_string, arg, in->rip);
}

static uint32_t cr_offset(unsigned n)
{
    switch (n) {
    case 0: return offsetof(struct x86_state, cr0);
    case 2: return offsetof(struct x86_state, cr2);
    case 3: return offsetof(struct x86_state, cr3);
    default: return offsetof(struct x86_state, cr4);
    }
}

/* A selector to a general register: 16 bits are merged, more are zeroed. */
static void read_selector(struct gen *g, unsigned r, int seg)
{
    uint32_t off = (uint32_t)(offsetof(struct x86_state, seg) +
                              (size_t)seg * sizeof(struct x86_seg) +
                              offsetof(struct x86_seg, sel));

    if (g->in->f->operand_width == 16) {
        gen_load_reg(g, R_T0, r);
        e_u8(&g->e, 0x66); /* mov r10w, gs:[selector] */
        e_op_gs(&g->e, 0x8b, 0, R_T0, off);
    } else {
        e_load32_gs(&g->e, R_T0, off);
        e_bytes(&g->e, "\x45\x0f\xb7\xd2", 4); /* movzx r10d, r10w */
    }
    gen_store_reg(g, r, R_T0);
}

/* MOV from and to selectors and CR0, 2, 3, 4 by registers, at CPL 0. */
static void gen_mov_system(struct gen *g)
{
    const struct ginsn *in = g->in;
    const struct form_op *dst = &in->f->op[0], *src = &in->f->op[1];
    uint64_t arg = (uint64_t)dst->reg | (uint64_t)src->reg << 8 |
                   (uint64_t)in->f->length << 16;

    if (src->kind == FORM_SEGMENT) {
        read_selector(g, dst->reg, src->reg);
    } else if (dst->kind == FORM_SEGMENT) {
        gen_helper(g, h_mov_seg, arg, in->rip);
    } else if (src->kind == FORM_CONTROL) {
        e_load_gs(&g->e, R_T0, cr_offset(src->reg));
        gen_store_reg(g, dst->reg, R_T0);
    } else {
        gen_helper(g, h_mov_cr, arg, in->rip);
    }
}

static h_fn *helper_of(unsigned mnemonic)
{
    switch (mnemonic) {
    case ZYDIS_MNEMONIC_RDMSR: return h_rdmsr;
    case ZYDIS_MNEMONIC_WRMSR: return h_wrmsr;
    case ZYDIS_MNEMONIC_CPUID: return h_cpuid;
    case ZYDIS_MNEMONIC_SYSCALL: return h_syscall;
    case ZYDIS_MNEMONIC_SYSRET: return h_sysret;
    case ZYDIS_MNEMONIC_IRET:
    case ZYDIS_MNEMONIC_IRETD:
    case ZYDIS_MNEMONIC_IRETQ: return h_iret;
    case ZYDIS_MNEMONIC_SWAPGS: return h_swapgs;
    case ZYDIS_MNEMONIC_HLT: return h_hlt;
    case ZYDIS_MNEMONIC_POPF:
    case ZYDIS_MNEMONIC_POPFD:
    case ZYDIS_MNEMONIC_POPFQ: return h_popf;
    default: return h_rare;
    }
}

/* INVLPG, XSAVEC, XRSTOR ...: the linear address goes in a slot. */
static void gen_address_helper(struct gen *g)
{
    const struct ginsn *in = g->in;
    int seg = form_rm(in->f)->seg;
    uint64_t arg = H_AREA_LENGTH(in->f->length);
    h_fn *fn = h_xsave;

    gen_address(g, form_rm(in->f));
    if (seg == X86_FS || seg == X86_GS) {
        e_load_gs(&g->e, R_T1, seg == X86_FS ? JV_FSBASE : JV_GSBASE);
        e_lea(&g->e, 1, R_T0, e_at_idx(R_T0, R_T1, 1, 0));
    }
    e_store_gs(&g->e, JV_TMP, R_T0);
    switch (in->f->mnemonic) {
    case ZYDIS_MNEMONIC_INVLPG: fn = h_invlpg; break;
    case ZYDIS_MNEMONIC_XSAVEC64: arg |= H_AREA_SAVEC; break;
    case ZYDIS_MNEMONIC_XRSTOR64: arg |= H_AREA_RESTORE; break;
    default: break;
    }
    gen_helper(g, fn, arg, in->rip);
}

static h_fn *stack_helper(const struct form *f, uint64_t *op)
{
    *op = H_PUSH_REG;
    switch (f->mnemonic) {
    case ZYDIS_MNEMONIC_CALL: return h_call_near;
    case ZYDIS_MNEMONIC_RET: return h_ret_near;
    case ZYDIS_MNEMONIC_POP: *op = H_POP_REG; return h_stack;
    case ZYDIS_MNEMONIC_PUSH:
        if (f->op[0].kind == FORM_SEGMENT)
            *op = H_PUSH_SEG;
        else if (f->op[0].kind == FORM_IMM)
            *op = H_PUSH_IMM;
        return h_stack;
    default: *op = H_PUSH_FLAGS; return h_stack;
    }
}

static uint32_t stack_immediate(const struct gen *g)
{
    const struct ginsn *in = g->in;

    if (in->f->mnemonic == ZYDIS_MNEMONIC_CALL)
        return (uint32_t)gen_branch_target(g);
    if (in->f->op[0].kind != FORM_IMM)
        return 0;
    return (uint32_t)(in->f->mnemonic == ZYDIS_MNEMONIC_RET
                          ? in->imm & UINT16_MAX
                          : in->imm);
}

/* Calls go on where their target's block is linked. */
static void gen_stack(struct gen *g)
{
    const struct ginsn *in = g->in;
    uint64_t op;
    h_fn *fn = stack_helper(in->f, &op);

    gen_helper(g, fn,
               H_STACK_OP(op) | H_STACK_LENGTH(in->f->length) |
                   H_STACK_SIZE(in->f->operand_width / 8u) |
                   H_STACK_REG(in->f->op[0].reg) |
                   H_STACK_IMM(stack_immediate(g)),
               in->rip);
    if (fn == h_call_near)
        gen_jump(g, gen_branch_target(g));
}

static void gen_by_helper(struct gen *g)
{
    uint64_t arg = g->in->f->length | (uint64_t)g->in->f->operand_width << 8;
    h_fn *fn = helper_of(g->in->f->mnemonic);

    if (g->in->f->class == IC_RARE || g->in->f->class == IC_UD)
        fn = h_rare;
    if (g->in->f->class == IC_RARE)
        arg |= H_RARE_EXPECT((uint64_t)g->in->f->mnemonic);
    gen_helper(g, fn, arg, g->in->rip);
}

void gen_system(struct gen *g)
{
    switch (g->in->f->class) {
    case IC_PUSH: gen_push(g); break;
    case IC_POP: gen_pop(g); break;
    case IC_LEAVE: gen_leave(g); break;
    case IC_PUSHF: gen_pushf(g); break;
    case IC_CLI: e_store32_gs_imm(&g->e, JV_IF, 0); break;
    case IC_STI: gen_sti(g); break;
    case IC_CLD: e_store32_gs_imm(&g->e, JV_DF, 0); break;
    case IC_STD: e_store32_gs_imm(&g->e, JV_DF, X86_FLAGS_DF); break;
    case IC_STAC:
    case IC_CLAC: gen_ac(g); break;
    case IC_RDTSC: gen_rdtsc(g); break;
    case IC_STRING: gen_string(g); break;
    case IC_STACK: gen_stack(g); break;
    case IC_FSGSBASE:
        if (g->in->f->mnemonic == ZYDIS_MNEMONIC_RDFSBASE ||
            g->in->f->mnemonic == ZYDIS_MNEMONIC_RDGSBASE)
            gen_rdbase(g);
        else
            gen_wrbase(g);
        break;
    case IC_MOV_SYSTEM: gen_mov_system(g); break;
    case IC_ADDRESS: gen_address_helper(g); break;
    default: gen_by_helper(g); break;
    }
}
