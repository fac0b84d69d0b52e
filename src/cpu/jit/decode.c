#include "cpu/jit/decode.h"

#include <string.h>

#include "cpu/jit/jit.h"

/* From bytes to a struct insn, by Zydis and by what it gets wrong. */

unsigned insn_gpr(ZydisRegister r, bool *high)
{
    *high = r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH;
    if (r >= ZYDIS_REGISTER_AL && r <= ZYDIS_REGISTER_BL)
        return (unsigned)(r - ZYDIS_REGISTER_AL);
    if (*high)
        return (unsigned)(r - ZYDIS_REGISTER_AH);
    if (r >= ZYDIS_REGISTER_SPL && r <= ZYDIS_REGISTER_R15B)
        return (unsigned)(r - ZYDIS_REGISTER_SPL) + 4;
    return (unsigned)ZydisRegisterGetId(r) & 15;
}

int insn_sreg(ZydisRegister r)
{
    switch (r) {
    case ZYDIS_REGISTER_ES: return X86_ES;
    case ZYDIS_REGISTER_CS: return X86_CS;
    case ZYDIS_REGISTER_SS: return X86_SS;
    case ZYDIS_REGISTER_DS: return X86_DS;
    case ZYDIS_REGISTER_FS: return X86_FS;
    case ZYDIS_REGISTER_GS: return X86_GS;
    default: return -1;
    }
}

enum x86_sreg insn_segment(const ZydisDecodedOperand *op)
{
    int n = insn_sreg(op->mem.segment);

    return n < 0 ? X86_DS : (enum x86_sreg)n;
}

static bool is_gpr(const ZydisDecodedOperand *op)
{
    if (!op || op->type != ZYDIS_OPERAND_TYPE_REGISTER)
        return false;
    switch (ZydisRegisterGetClass(op->reg.value)) {
    case ZYDIS_REGCLASS_GPR8:
    case ZYDIS_REGCLASS_GPR16:
    case ZYDIS_REGCLASS_GPR32:
    case ZYDIS_REGCLASS_GPR64: return true;
    default: return false;
    }
}

/* Shifts and rotations: a count of zero leaves all flags alone. */
static bool is_shift(const ZydisDecodedInstruction *d)
{
    switch (d->mnemonic) {
    case ZYDIS_MNEMONIC_SHL:
    case ZYDIS_MNEMONIC_SHR:
    case ZYDIS_MNEMONIC_SAR:
    case ZYDIS_MNEMONIC_ROL:
    case ZYDIS_MNEMONIC_ROR:
    case ZYDIS_MNEMONIC_RCL:
    case ZYDIS_MNEMONIC_RCR:
    case ZYDIS_MNEMONIC_SHLD:
    case ZYDIS_MNEMONIC_SHRD: return true;
    default: return false;
    }
}

uint8_t insn_count_mask(const ZydisDecodedInstruction *d)
{
    if (!is_shift(d) || !d->raw.imm[0].size)
        return 0;
    return d->operand_width == 64 ? 63 : 31;
}

/* May the flags stay as they are? */
static bool may_keep_flags(const ZydisDecodedInstruction *d, bool counted)
{
    if (!is_shift(d))
        return d->meta.category == ZYDIS_CATEGORY_STRINGOP;
    return !counted && !((d->opcode & ~1u) == 0xd0 && /* by one */
                         d->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT);
}

uint32_t insn_flags_kill(const ZydisDecodedInstruction *d, bool counted)
{
    const ZydisAccessedFlags *f = d->cpu_flags;

    if (!f || may_keep_flags(d, counted))
        return 0;
    return (f->modified | f->set_0 | f->set_1 | f->undefined) & X86_FLAGS_ARITH;
}

static void flags_of(struct insn *in)
{
    const ZydisAccessedFlags *f = in->d.cpu_flags;
    uint8_t mask = insn_count_mask(&in->d);

    in->flags_read = in->flags_kill = 0;
    if (!f)
        return;
    in->flags_read = f->tested & X86_FLAGS_ARITH;
    in->flags_kill = insn_flags_kill(&in->d, mask & in->d.raw.imm[0].value.u);
    if (in->class >= IC_HELPER || in->class == IC_UD || in->class == IC_PUSHF)
        in->flags_read = X86_FLAGS_ARITH;
}

static void find_operands(struct insn *in)
{
    in->reg = in->rm = in->vvvv = NULL;
    in->mem = in->mem_read = in->mem_write = false;
    for (unsigned i = 0; i < in->d.operand_count_visible; i++) {
        const ZydisDecodedOperand *op = &in->op[i];

        switch (op->encoding) {
        case ZYDIS_OPERAND_ENCODING_MODRM_REG:
        case ZYDIS_OPERAND_ENCODING_OPCODE: in->reg = op; break;
        case ZYDIS_OPERAND_ENCODING_MODRM_RM: in->rm = op; break;
        case ZYDIS_OPERAND_ENCODING_NDSNDD: in->vvvv = op; break;
        default:
            if (op->type == ZYDIS_OPERAND_TYPE_MEMORY)
                in->rm = op; /* moffs */
            break;
        }
    }
    if (in->rm && in->rm->type == ZYDIS_OPERAND_TYPE_MEMORY &&
        in->rm->mem.type == ZYDIS_MEMOP_TYPE_MEM) {
        in->mem = true;
        in->mem_read = in->rm->actions & ZYDIS_OPERAND_ACTION_MASK_READ;
        in->mem_write = in->rm->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
        /* An unmasked exception keeps an x87 store from happening: what is
         * written back in its place must be what was there. */
        if (in->mem_write && insn_is_x87(in))
            in->mem_read = true;
    }
    if (!is_gpr(in->vvvv))
        in->vvvv = NULL;
}

/* SIB with base 101b and mod 00 has a displacement and no base, whatever REX.B
 * says (SDM vol. 2, table 2-3); Zydis makes r13 of it. */
static void fix_sib(struct insn *in)
{
    for (unsigned i = 0; i < in->d.operand_count; i++) {
        ZydisDecodedOperand *op = &in->op[i];

        if (op->type != ZYDIS_OPERAND_TYPE_MEMORY ||
            op->mem.base == ZYDIS_REGISTER_NONE || in->d.raw.modrm.mod != 0 ||
            in->d.raw.modrm.rm != 4 || in->d.raw.sib.base != 5 ||
            in->d.address_width == 16 ||
            op->encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM)
            continue;
        op->mem.base = ZYDIS_REGISTER_NONE;
        op->mem.disp.has_displacement = ZYAN_TRUE;
        op->mem.disp.value = in->d.raw.disp.value;
    }
}

/* F3 REX.B 90 exchanges rAX and r8; only without REX.B it is PAUSE. F3 then
 * means nothing, as DS does. */
static ZyanStatus decode_one(const ZydisDecoder *dec, struct insn *in,
                             const uint8_t *bytes, size_t len)
{
    ZyanStatus s = ZydisDecoderDecodeFull(dec, bytes, len, &in->d, in->op);
    uint8_t copy[15];

    if (ZYAN_FAILED(s) || in->d.mnemonic != ZYDIS_MNEMONIC_PAUSE ||
        !in->d.raw.rex.B)
        return s;
    len = in->d.length;
    for (size_t i = 0; i < len; i++)
        copy[i] = bytes[i] == 0xf3 ? 0x3e : bytes[i];
    return ZydisDecoderDecodeFull(dec, copy, len, &in->d, in->op);
}

static void decoder_for(ZydisDecoder *dec, uint32_t key)
{
    switch (key & KEY_SIZE_MASK) {
    case 0:
        (void)ZydisDecoderInit(dec,
                               key & (KEY_REAL | KEY_VM86)
                                   ? ZYDIS_MACHINE_MODE_REAL_16
                                   : ZYDIS_MACHINE_MODE_LEGACY_16,
                               ZYDIS_STACK_WIDTH_16);
        break;
    case 1:
        (void)ZydisDecoderInit(dec, ZYDIS_MACHINE_MODE_LEGACY_32,
                               ZYDIS_STACK_WIDTH_32);
        break;
    default:
        (void)ZydisDecoderInit(dec, ZYDIS_MACHINE_MODE_LONG_64,
                               ZYDIS_STACK_WIDTH_64);
        break;
    }
    /* The model offers neither: their bytes are hint NOPs. */
    (void)ZydisDecoderEnableMode(dec, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
    (void)ZydisDecoderEnableMode(dec, ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
    (void)ZydisDecoderEnableMode(dec, ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
    (void)ZydisDecoderEnableMode(dec, ZYDIS_DECODER_MODE_KNC, ZYAN_FALSE);
}

int insn_decode(struct insn *in, const uint8_t *bytes, size_t len, uint32_t key,
                const struct cpuid_model *model, uint64_t rip)
{
    ZydisDecoder dec;
    ZyanStatus s;

    decoder_for(&dec, key);
    if (!cpuid_has(model, CPUID_LZCNT))
        (void)ZydisDecoderEnableMode(&dec, ZYDIS_DECODER_MODE_LZCNT,
                                     ZYAN_FALSE);
    if (!cpuid_has(model, CPUID_BMI1))
        (void)ZydisDecoderEnableMode(&dec, ZYDIS_DECODER_MODE_TZCNT,
                                     ZYAN_FALSE);
    in->rip = rip;
    in->class = IC_UD;
    in->reg = in->rm = in->vvvv = NULL;
    in->mem = in->mem_read = in->mem_write = false;
    s = decode_one(&dec, in, bytes, len);
    if (s == ZYDIS_STATUS_NO_MORE_DATA && len < 15)
        return -1;
    if (ZYAN_FAILED(s)) {
        in->d.length = 0;
        in->flags_read = X86_FLAGS_ARITH;
        in->flags_kill = 0;
        return 1;
    }
    memcpy(in->bytes, bytes, in->d.length);
    fix_sib(in);
    find_operands(in);
    in->class = whitelist_class(in, key, model);
    flags_of(in);
    return in->class == IC_UD;
}
