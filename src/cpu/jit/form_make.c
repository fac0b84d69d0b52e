#include "cpu/jit/form.h"

#include <string.h>

#include "cpu/jit/jit.h"
#include "x86/regs.h"

/* Forms from what the decoder says. */

static uint8_t address_reg(ZydisRegister r)
{
    bool high;

    if (r == ZYDIS_REGISTER_NONE)
        return FORM_NO_REG;
    if (r == ZYDIS_REGISTER_RIP || r == ZYDIS_REGISTER_EIP)
        return FORM_RIP;
    return (uint8_t)insn_gpr(r, &high);
}

static void register_op(struct form_op *o, ZydisRegister r)
{
    switch (ZydisRegisterGetClass(r)) {
    case ZYDIS_REGCLASS_GPR8:
    case ZYDIS_REGCLASS_GPR16:
    case ZYDIS_REGCLASS_GPR32:
    case ZYDIS_REGCLASS_GPR64:
        o->kind = FORM_GPR;
        o->reg = (uint8_t)insn_gpr(r, &o->high);
        break;
    case ZYDIS_REGCLASS_SEGMENT:
        o->kind = FORM_SEGMENT;
        o->reg = (uint8_t)insn_sreg(r);
        break;
    case ZYDIS_REGCLASS_CONTROL:
        o->kind = FORM_CONTROL;
        o->reg = (uint8_t)ZydisRegisterGetId(r);
        break;
    default: o->kind = FORM_OTHER; break;
    }
}

static void operand(struct form_op *o, const ZydisDecodedOperand *op)
{
    o->size = op->size;
    o->writes = op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
    o->reads = op->actions != ZYDIS_OPERAND_ACTION_WRITE;
    switch (op->type) {
    case ZYDIS_OPERAND_TYPE_REGISTER: register_op(o, op->reg.value); break;
    case ZYDIS_OPERAND_TYPE_MEMORY:
        o->kind = FORM_MEM;
        o->base = address_reg(op->mem.base);
        o->index = address_reg(op->mem.index);
        o->scale = op->mem.scale;
        o->seg = (uint8_t)insn_segment(op);
        break;
    case ZYDIS_OPERAND_TYPE_IMMEDIATE: o->kind = FORM_IMM; break;
    default: o->kind = FORM_OTHER; break;
    }
}

static bool vector_ext(ZydisISAExt ext, ZydisMnemonic m)
{
    if (m == ZYDIS_MNEMONIC_POPCNT || m == ZYDIS_MNEMONIC_CRC32)
        return false;
    switch (ext) {
    case ZYDIS_ISA_EXT_BASE:
    case ZYDIS_ISA_EXT_LONGMODE:
    case ZYDIS_ISA_EXT_X87:
    case ZYDIS_ISA_EXT_BMI1:
    case ZYDIS_ISA_EXT_LZCNT:
    case ZYDIS_ISA_EXT_MOVBE:
    case ZYDIS_ISA_EXT_ADOX_ADCX:
    case ZYDIS_ISA_EXT_RDRAND:
    case ZYDIS_ISA_EXT_RDSEED: return false;
    default: return true;
    }
}

static bool mandatory(const ZydisDecodedInstruction *d, uint8_t prefix)
{
    for (unsigned i = 0; i < d->raw.prefix_count; i++)
        if (d->raw.prefixes[i].value == prefix &&
            d->raw.prefixes[i].type == ZYDIS_PREFIX_TYPE_MANDATORY)
            return true;
    return false;
}

/* Outside 64-bit mode VEX.W does not widen general registers. */
static bool vex_w(const ZydisDecodedInstruction *d, bool long_mode)
{
    if (long_mode || !d->raw.vex.W)
        return d->raw.vex.W;
    if (d->meta.isa_ext == ZYDIS_ISA_EXT_BMI1 ||
        d->meta.isa_ext == ZYDIS_ISA_EXT_BMI2)
        return false;
    switch (d->mnemonic) {
    case ZYDIS_MNEMONIC_VMOVD:
    case ZYDIS_MNEMONIC_VCVTSI2SS:
    case ZYDIS_MNEMONIC_VCVTSI2SD:
    case ZYDIS_MNEMONIC_VCVTSS2SI:
    case ZYDIS_MNEMONIC_VCVTSD2SI:
    case ZYDIS_MNEMONIC_VCVTTSS2SI:
    case ZYDIS_MNEMONIC_VCVTTSD2SI:
    case ZYDIS_MNEMONIC_VPINSRD:
    case ZYDIS_MNEMONIC_VPEXTRD:
    case ZYDIS_MNEMONIC_VPINSRB:
    case ZYDIS_MNEMONIC_VPEXTRB:
    case ZYDIS_MNEMONIC_VPINSRW:
    case ZYDIS_MNEMONIC_VPEXTRW:
    case ZYDIS_MNEMONIC_VPCMPESTRI:
    case ZYDIS_MNEMONIC_VPCMPESTRM:
    case ZYDIS_MNEMONIC_VEXTRACTPS:
    case ZYDIS_MNEMONIC_VMOVMSKPS:
    case ZYDIS_MNEMONIC_VMOVMSKPD:
    case ZYDIS_MNEMONIC_VPMOVMSKB: return false;
    default: return true;
    }
}

static void vex_encoding(struct form *f, const ZydisDecodedInstruction *d,
                         bool long_mode)
{
    f->vex = true;
    f->w = vex_w(d, long_mode);
    f->vex_l = d->raw.vex.L;
    f->vex_pp = d->raw.vex.pp;
    f->vex_m = d->raw.vex.m_mmmm;
    f->vex_v = (uint8_t)(15u - d->raw.vex.vvvv);
    if (!long_mode)
        f->vex_v &= 7;
    f->reg_raw = (uint8_t)(d->raw.modrm.reg | (d->raw.vex.R ? 0u : 8u));
    f->rm_raw =
        (uint8_t)(d->raw.modrm.rm | (d->raw.vex.B || !long_mode ? 0u : 8u));
}

static void legacy_encoding(struct form *f, const ZydisDecodedInstruction *d,
                            bool long_mode)
{
    f->w = long_mode && d->raw.rex.W;
    f->reg_raw =
        (uint8_t)(d->raw.modrm.reg | (long_mode && d->raw.rex.R ? 8u : 0u));
    f->rm_raw =
        (uint8_t)(d->raw.modrm.rm | (long_mode && d->raw.rex.B ? 8u : 0u));
}

static void encoding(struct form *f, const struct insn *in, bool long_mode)
{
    const ZydisDecodedInstruction *d = &in->d;

    f->opcode = d->opcode;
    f->map = (uint8_t)d->opcode_map;
    f->modrm = d->attributes & ZYDIS_ATTRIB_HAS_MODRM;
    f->lock = d->attributes & ZYDIS_ATTRIB_HAS_LOCK;
    f->rep = d->attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE);
    f->repne = d->attributes & ZYDIS_ATTRIB_HAS_REPNE;
    f->p66 = mandatory(d, 0x66) || (d->operand_width == 16 &&
                                    !vector_ext(d->meta.isa_ext, d->mnemonic));
    f->pf2 = mandatory(d, 0xf2);
    f->pf3 = mandatory(d, 0xf3);
    if (d->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX)
        vex_encoding(f, d, long_mode);
    else
        legacy_encoding(f, d, long_mode);
    f->imm_at = d->raw.imm[0].offset;
    f->imm_size = d->raw.imm[0].size / 8u;
    f->imm_signed = d->raw.imm[0].is_signed;
    f->disp_at = d->raw.disp.offset;
    f->disp_size = d->raw.disp.size / 8u;
    for (unsigned i = 0; i < d->operand_count_visible; i++)
        f->is4 |= in->op[i].encoding == ZYDIS_OPERAND_ENCODING_IS4;
}

/* Vector operands that must be aligned: legacy SSE's, unless the instruction
 * says that it is for unaligned ones; VEX only where it says aligned. */
static bool aligned(const struct insn *in)
{
    switch (in->d.mnemonic) {
    case ZYDIS_MNEMONIC_VMOVAPS:
    case ZYDIS_MNEMONIC_VMOVAPD:
    case ZYDIS_MNEMONIC_VMOVDQA:
    case ZYDIS_MNEMONIC_VMOVNTPS:
    case ZYDIS_MNEMONIC_VMOVNTPD:
    case ZYDIS_MNEMONIC_VMOVNTDQ:
    case ZYDIS_MNEMONIC_VMOVNTDQA:
    case ZYDIS_MNEMONIC_CMPXCHG16B: return true;
    case ZYDIS_MNEMONIC_MOVUPS:
    case ZYDIS_MNEMONIC_MOVUPD:
    case ZYDIS_MNEMONIC_MOVDQU:
    case ZYDIS_MNEMONIC_LDDQU:
    case ZYDIS_MNEMONIC_PCMPESTRI:
    case ZYDIS_MNEMONIC_PCMPESTRM:
    case ZYDIS_MNEMONIC_PCMPISTRI:
    case ZYDIS_MNEMONIC_PCMPISTRM: return false;
    default:
        return in->rm->size == 128 &&
               in->d.encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
               in->d.meta.isa_ext != ZYDIS_ISA_EXT_BASE &&
               in->d.meta.isa_ext != ZYDIS_ISA_EXT_SHA; /* up to the CPU */
    }
}

static int8_t place(const struct insn *in, const ZydisDecodedOperand *op)
{
    return (int8_t)(op ? op - in->op : -1);
}

/* ES:DI is the destination; a source has ES by a prefix only. */
static bool is_string_source(const ZydisDecodedOperand *op)
{
    bool high;

    return op->type == ZYDIS_OPERAND_TYPE_MEMORY &&
           (op->mem.segment != ZYDIS_REGISTER_ES ||
            insn_gpr(op->mem.base, &high) == X86_RSI);
}

/* The source's segment of a string instruction. */
static uint8_t string_segment(const struct insn *in)
{
    for (unsigned i = 0; i < in->d.operand_count; i++)
        if (is_string_source(&in->op[i]))
            return (uint8_t)insn_segment(&in->op[i]);
    return X86_DS;
}

static void operands(struct form *f, const struct insn *in)
{
    for (unsigned i = 0; i < in->d.operand_count_visible; i++)
        operand(&f->op[i], &in->op[i]);
    for (unsigned i = 0; i < in->d.operand_count; i++) {
        struct form_op o = {0};

        operand(&o, &in->op[i]);
        if (o.kind == FORM_GPR && o.writes)
            f->writes |= (uint16_t)(1u << o.reg);
    }
    f->reg = place(in, in->reg);
    f->rm = place(in, in->rm);
    f->vvvv = place(in, in->vvvv);
    f->mem = in->mem;
    f->mem_read = in->mem_read;
    f->mem_write = in->mem_write;
    f->aligned = in->mem && aligned(in);
    f->locked = f->lock || (in->d.mnemonic == ZYDIS_MNEMONIC_XCHG && in->mem);
    f->string_seg = in->class == IC_STRING ? string_segment(in) : X86_DS;
}

int form_make(struct form *f, const uint8_t *bytes, size_t len, uint32_t key,
              const struct cpuid_model *model)
{
    struct insn in;
    int rc = insn_decode(&in, bytes, len, key, model, 0);

    if (rc < 0)
        return rc;
    memset(f, 0, sizeof(*f));
    f->class = (uint8_t)in.class;
    f->length = in.d.length;
    f->flags_read = in.flags_read;
    f->reg = f->rm = f->vvvv = -1;
    f->ends_block = insn_ends_block(&in);
    if (!in.d.length)
        return rc;
    f->mnemonic = (uint16_t)in.d.mnemonic;
    f->operand_width = in.d.operand_width;
    f->address_width = in.d.address_width;
    f->count_mask = insn_count_mask(&in.d);
    f->flags_kill = insn_flags_kill(&in.d, f->count_mask != 0);
    encoding(f, &in, (key & KEY_SIZE_MASK) == 2);
    operands(f, &in);
    return rc;
}
