#include "cpu/jit/decode.h"

#include "cpu/jit/jit.h"

/*
 * The whitelist. An instruction runs as itself only if its extension is one
 * that the CPU model offers and its mnemonic is not one of those that need a
 * rule of their own; what is not known here raises #UD in the guest.
 */

/* Extensions whose instructions are plain unless listed below; -1 = never. */
static int ext_feature(ZydisISAExt ext)
{
    switch (ext) {
    case ZYDIS_ISA_EXT_BASE:
    case ZYDIS_ISA_EXT_LONGMODE:
    case ZYDIS_ISA_EXT_X87:
    case ZYDIS_ISA_EXT_PAUSE: return CPUID_CX8;
    case ZYDIS_ISA_EXT_MMX: return CPUID_MMX;
    case ZYDIS_ISA_EXT_SSE:
    case ZYDIS_ISA_EXT_SSE2:
    case ZYDIS_ISA_EXT_CLFSH: return CPUID_FXSR;
    case ZYDIS_ISA_EXT_SSE3: return CPUID_SSE3;
    case ZYDIS_ISA_EXT_SSSE3: return CPUID_SSSE3;
    case ZYDIS_ISA_EXT_SSE4: return CPUID_SSE41;
    case ZYDIS_ISA_EXT_SSE4A: return CPUID_SSE4A;
    case ZYDIS_ISA_EXT_AVX:
    case ZYDIS_ISA_EXT_AVXAES: return CPUID_AVX;
    case ZYDIS_ISA_EXT_AVX2:
    case ZYDIS_ISA_EXT_AVX2GATHER: return CPUID_AVX2;
    case ZYDIS_ISA_EXT_FMA: return CPUID_FMA;
    case ZYDIS_ISA_EXT_F16C: return CPUID_F16C;
    case ZYDIS_ISA_EXT_BMI1: return CPUID_BMI1;
    case ZYDIS_ISA_EXT_BMI2: return CPUID_BMI2;
    case ZYDIS_ISA_EXT_LZCNT: return CPUID_LZCNT;
    case ZYDIS_ISA_EXT_AES: return CPUID_AES;
    case ZYDIS_ISA_EXT_PCLMULQDQ: return CPUID_PCLMUL;
    case ZYDIS_ISA_EXT_VAES: return CPUID_VAES;
    case ZYDIS_ISA_EXT_VPCLMULQDQ: return CPUID_VPCLMUL;
    case ZYDIS_ISA_EXT_GFNI: return CPUID_GFNI;
    case ZYDIS_ISA_EXT_SHA: return CPUID_SHA;
    case ZYDIS_ISA_EXT_MOVBE: return CPUID_MOVBE;
    case ZYDIS_ISA_EXT_ADOX_ADCX: return CPUID_ADX;
    case ZYDIS_ISA_EXT_RDRAND: return CPUID_RDRAND;
    case ZYDIS_ISA_EXT_RDSEED: return CPUID_RDSEED;
    case ZYDIS_ISA_EXT_CLFLUSHOPT: return CPUID_CLFLUSHOPT;
    case ZYDIS_ISA_EXT_CLWB: return CPUID_CLWB;
    case ZYDIS_ISA_EXT_AMD3DNOW_PREFETCH:
    case ZYDIS_ISA_EXT_PREFETCHWT1: return CPUID_FXSR;
    case ZYDIS_ISA_EXT_RDTSCP: return CPUID_RDTSCP;
    case ZYDIS_ISA_EXT_RDPID: return CPUID_RDPID;
    case ZYDIS_ISA_EXT_RDWRFSGS: return CPUID_FSGSBASE;
    case ZYDIS_ISA_EXT_SMAP: return CPUID_SMAP;
    case ZYDIS_ISA_EXT_INVPCID: return CPUID_INVPCID;
    case ZYDIS_ISA_EXT_XSAVE: return CPUID_XSAVE;
    case ZYDIS_ISA_EXT_XSAVEOPT: return CPUID_XSAVEOPT;
    case ZYDIS_ISA_EXT_XSAVEC: return CPUID_XSAVEC;
    case ZYDIS_ISA_EXT_CET: return CPUID_CX8; /* ENDBR, RDSSP: hint NOPs */
    default: return -1;
    }
}

/* Mnemonics with a feature bit of their own, apart from their extension. */
static int own_feature(ZydisMnemonic m)
{
    switch (m) {
    case ZYDIS_MNEMONIC_VMCALL: /* KVM's interface, not VMX or SVM */
    case ZYDIS_MNEMONIC_VMMCALL: return CPUID_CX8;
    case ZYDIS_MNEMONIC_POPCNT: return CPUID_POPCNT;
    case ZYDIS_MNEMONIC_CRC32:
    case ZYDIS_MNEMONIC_PCMPESTRI:
    case ZYDIS_MNEMONIC_PCMPESTRM:
    case ZYDIS_MNEMONIC_PCMPISTRI:
    case ZYDIS_MNEMONIC_PCMPISTRM:
    case ZYDIS_MNEMONIC_PCMPGTQ: return CPUID_SSE42;
    case ZYDIS_MNEMONIC_CMPXCHG16B: return CPUID_CX16;
    case ZYDIS_MNEMONIC_SYSCALL:
    case ZYDIS_MNEMONIC_SYSRET: return CPUID_SYSCALL;
    default: return -1;
    }
}

static enum insn_class mov_class(const struct insn *in)
{
    for (unsigned i = 0; i < in->d.operand_count_visible; i++) {
        if (in->op[i].type != ZYDIS_OPERAND_TYPE_REGISTER)
            continue;
        switch (ZydisRegisterGetClass(in->op[i].reg.value)) {
        case ZYDIS_REGCLASS_SEGMENT:
        case ZYDIS_REGCLASS_CONTROL:
        case ZYDIS_REGCLASS_DEBUG: return IC_SYSTEM;
        case ZYDIS_REGCLASS_TEST: return IC_UD;
        default: break;
        }
    }
    return IC_PLAIN;
}

static bool op_is_segment(const ZydisDecodedOperand *op)
{
    return op->type == ZYDIS_OPERAND_TYPE_REGISTER &&
           ZydisRegisterGetClass(op->reg.value) == ZYDIS_REGCLASS_SEGMENT;
}

/* Instructions of the base set that are done in C. */
static bool is_rare(ZydisMnemonic m)
{
    switch (m) {
    case ZYDIS_MNEMONIC_AAA:
    case ZYDIS_MNEMONIC_AAS:
    case ZYDIS_MNEMONIC_AAM:
    case ZYDIS_MNEMONIC_AAD:
    case ZYDIS_MNEMONIC_DAA:
    case ZYDIS_MNEMONIC_DAS:
    case ZYDIS_MNEMONIC_SALC:
    case ZYDIS_MNEMONIC_ARPL:
    case ZYDIS_MNEMONIC_BOUND:
    case ZYDIS_MNEMONIC_INTO:
    case ZYDIS_MNEMONIC_PUSHA:
    case ZYDIS_MNEMONIC_PUSHAD:
    case ZYDIS_MNEMONIC_POPA:
    case ZYDIS_MNEMONIC_POPAD:
    case ZYDIS_MNEMONIC_LDS:
    case ZYDIS_MNEMONIC_LES:
    case ZYDIS_MNEMONIC_LFS:
    case ZYDIS_MNEMONIC_LGS:
    case ZYDIS_MNEMONIC_LSS:
    case ZYDIS_MNEMONIC_ENTER:
    case ZYDIS_MNEMONIC_XLAT:
    case ZYDIS_MNEMONIC_INT:
    case ZYDIS_MNEMONIC_INT1:
    case ZYDIS_MNEMONIC_INT3:
    case ZYDIS_MNEMONIC_IN:
    case ZYDIS_MNEMONIC_OUT:
    case ZYDIS_MNEMONIC_INSB:
    case ZYDIS_MNEMONIC_INSW:
    case ZYDIS_MNEMONIC_INSD:
    case ZYDIS_MNEMONIC_OUTSB:
    case ZYDIS_MNEMONIC_OUTSW:
    case ZYDIS_MNEMONIC_OUTSD:
    case ZYDIS_MNEMONIC_LGDT:
    case ZYDIS_MNEMONIC_LIDT:
    case ZYDIS_MNEMONIC_SGDT:
    case ZYDIS_MNEMONIC_SIDT:
    case ZYDIS_MNEMONIC_LLDT:
    case ZYDIS_MNEMONIC_LTR:
    case ZYDIS_MNEMONIC_SLDT:
    case ZYDIS_MNEMONIC_STR:
    case ZYDIS_MNEMONIC_LMSW:
    case ZYDIS_MNEMONIC_SMSW:
    case ZYDIS_MNEMONIC_CLTS:
    case ZYDIS_MNEMONIC_LAR:
    case ZYDIS_MNEMONIC_LSL:
    case ZYDIS_MNEMONIC_VERR:
    case ZYDIS_MNEMONIC_VERW:
    case ZYDIS_MNEMONIC_INVD:
    case ZYDIS_MNEMONIC_WBINVD:
    case ZYDIS_MNEMONIC_RDPMC:
    case ZYDIS_MNEMONIC_SYSENTER:
    case ZYDIS_MNEMONIC_SYSEXIT:
    case ZYDIS_MNEMONIC_UD0:
    case ZYDIS_MNEMONIC_UD1:
    case ZYDIS_MNEMONIC_UD2: return true;
    default: return false;
    }
}

/* Where control goes. */
static enum insn_class flow_class(const struct insn *in)
{
    bool rel = in->op[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE &&
               in->op[0].imm.is_relative;

    if (in->d.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
        return IC_RARE;
    switch (in->d.mnemonic) {
    case ZYDIS_MNEMONIC_JMP: return rel ? IC_JMP : IC_JMP_IND;
    case ZYDIS_MNEMONIC_CALL: return rel ? IC_CALL : IC_CALL_IND;
    case ZYDIS_MNEMONIC_RET: return IC_RET;
    default: return in->d.address_width == 16 ? IC_RARE : IC_LOOP;
    }
}

/* Instructions that belong to the base set and need a rule. */
static enum insn_class base_class(const struct insn *in)
{
    switch (in->d.mnemonic) {
    case ZYDIS_MNEMONIC_MOV: return mov_class(in);
    case ZYDIS_MNEMONIC_LEA: return IC_LEA;
    case ZYDIS_MNEMONIC_BT:
    case ZYDIS_MNEMONIC_BTS:
    case ZYDIS_MNEMONIC_BTR:
    case ZYDIS_MNEMONIC_BTC: return in->mem && in->reg ? IC_BT_MEM : IC_PLAIN;
    case ZYDIS_MNEMONIC_PUSH:
        return op_is_segment(&in->op[0]) ? IC_RARE : IC_PUSH;
    case ZYDIS_MNEMONIC_POP:
        return op_is_segment(&in->op[0]) ? IC_RARE : IC_POP;
    case ZYDIS_MNEMONIC_LEAVE: return IC_LEAVE;
    case ZYDIS_MNEMONIC_PUSHF:
    case ZYDIS_MNEMONIC_PUSHFD:
    case ZYDIS_MNEMONIC_PUSHFQ: return IC_PUSHF;
    case ZYDIS_MNEMONIC_JMP:
    case ZYDIS_MNEMONIC_CALL:
    case ZYDIS_MNEMONIC_RET:
    case ZYDIS_MNEMONIC_JCXZ:
    case ZYDIS_MNEMONIC_JECXZ:
    case ZYDIS_MNEMONIC_JRCXZ:
    case ZYDIS_MNEMONIC_LOOP:
    case ZYDIS_MNEMONIC_LOOPE:
    case ZYDIS_MNEMONIC_LOOPNE: return flow_class(in);
    case ZYDIS_MNEMONIC_CLI: return IC_CLI;
    case ZYDIS_MNEMONIC_STI: return IC_STI;
    case ZYDIS_MNEMONIC_CLD: return IC_CLD;
    case ZYDIS_MNEMONIC_STD: return IC_STD;
    case ZYDIS_MNEMONIC_RDTSC: return IC_RDTSC;
    case ZYDIS_MNEMONIC_NOP:
    case ZYDIS_MNEMONIC_PREFETCH:
    case ZYDIS_MNEMONIC_PREFETCHW: return IC_NOP;
    case ZYDIS_MNEMONIC_SYSCALL:
    case ZYDIS_MNEMONIC_SYSRET:
    case ZYDIS_MNEMONIC_IRET:
    case ZYDIS_MNEMONIC_IRETD:
    case ZYDIS_MNEMONIC_IRETQ:
    case ZYDIS_MNEMONIC_SWAPGS:
    case ZYDIS_MNEMONIC_INVLPG:
    case ZYDIS_MNEMONIC_POPF:
    case ZYDIS_MNEMONIC_POPFD:
    case ZYDIS_MNEMONIC_POPFQ:
    case ZYDIS_MNEMONIC_HLT:
    case ZYDIS_MNEMONIC_WRMSR: return IC_SYSTEM;
    case ZYDIS_MNEMONIC_RDMSR:
    case ZYDIS_MNEMONIC_CPUID: return IC_HELPER;
    case ZYDIS_MNEMONIC_RSM:
    case ZYDIS_MNEMONIC_GETSEC: return IC_UD;
    default: return is_rare(in->d.mnemonic) ? IC_RARE : IC_PLAIN;
    }
}

static bool is_string(ZydisMnemonic m)
{
    switch (m) {
    case ZYDIS_MNEMONIC_MOVSB:
    case ZYDIS_MNEMONIC_MOVSW:
    case ZYDIS_MNEMONIC_MOVSQ:
    case ZYDIS_MNEMONIC_STOSB:
    case ZYDIS_MNEMONIC_STOSW:
    case ZYDIS_MNEMONIC_STOSD:
    case ZYDIS_MNEMONIC_STOSQ:
    case ZYDIS_MNEMONIC_LODSB:
    case ZYDIS_MNEMONIC_LODSW:
    case ZYDIS_MNEMONIC_LODSD:
    case ZYDIS_MNEMONIC_LODSQ:
    case ZYDIS_MNEMONIC_SCASB:
    case ZYDIS_MNEMONIC_SCASW:
    case ZYDIS_MNEMONIC_SCASD:
    case ZYDIS_MNEMONIC_SCASQ:
    case ZYDIS_MNEMONIC_CMPSB:
    case ZYDIS_MNEMONIC_CMPSW:
    case ZYDIS_MNEMONIC_CMPSQ: return true;
    default: return false;
    }
}

static enum insn_class other_class(const struct insn *in)
{
    switch (in->d.mnemonic) {
    case ZYDIS_MNEMONIC_RDTSCP: return IC_RDTSC;
    case ZYDIS_MNEMONIC_RDPID:
    case ZYDIS_MNEMONIC_INVPCID:
    case ZYDIS_MNEMONIC_VMCALL:
    case ZYDIS_MNEMONIC_VMMCALL:
    case ZYDIS_MNEMONIC_XSETBV:
    case ZYDIS_MNEMONIC_XGETBV:
    case ZYDIS_MNEMONIC_XSAVE:
    case ZYDIS_MNEMONIC_XSAVE64:
    case ZYDIS_MNEMONIC_XSAVEC:
    case ZYDIS_MNEMONIC_XSAVEC64:
    case ZYDIS_MNEMONIC_XSAVEOPT:
    case ZYDIS_MNEMONIC_XSAVEOPT64:
    case ZYDIS_MNEMONIC_XRSTOR:
    case ZYDIS_MNEMONIC_XRSTOR64:
    case ZYDIS_MNEMONIC_FXSAVE:
    case ZYDIS_MNEMONIC_FXSAVE64:
    case ZYDIS_MNEMONIC_FXRSTOR:
    case ZYDIS_MNEMONIC_FXRSTOR64:
    case ZYDIS_MNEMONIC_MASKMOVQ:
    case ZYDIS_MNEMONIC_MASKMOVDQU:
    case ZYDIS_MNEMONIC_VMASKMOVDQU:
    case ZYDIS_MNEMONIC_CLFLUSH: /* they fault as loads do */
    case ZYDIS_MNEMONIC_CLFLUSHOPT:
    case ZYDIS_MNEMONIC_CLWB:
    case ZYDIS_MNEMONIC_VGATHERDPD:
    case ZYDIS_MNEMONIC_VGATHERDPS:
    case ZYDIS_MNEMONIC_VGATHERQPD:
    case ZYDIS_MNEMONIC_VGATHERQPS:
    case ZYDIS_MNEMONIC_VPGATHERDD:
    case ZYDIS_MNEMONIC_VPGATHERDQ:
    case ZYDIS_MNEMONIC_VPGATHERQD:
    case ZYDIS_MNEMONIC_VPGATHERQQ:
    case ZYDIS_MNEMONIC_VMASKMOVPS:
    case ZYDIS_MNEMONIC_VMASKMOVPD:
    case ZYDIS_MNEMONIC_VPMASKMOVD:
    case ZYDIS_MNEMONIC_VPMASKMOVQ: return IC_RARE;
    case ZYDIS_MNEMONIC_FNSTENV:
    case ZYDIS_MNEMONIC_FNSAVE: return IC_FSTENV;
    case ZYDIS_MNEMONIC_STAC: return IC_STAC;
    case ZYDIS_MNEMONIC_CLAC: return IC_CLAC;
    case ZYDIS_MNEMONIC_RDFSBASE:
    case ZYDIS_MNEMONIC_RDGSBASE:
    case ZYDIS_MNEMONIC_WRFSBASE:
    case ZYDIS_MNEMONIC_WRGSBASE: return IC_FSGSBASE;
    case ZYDIS_MNEMONIC_PREFETCHNTA:
    case ZYDIS_MNEMONIC_PREFETCHT0:
    case ZYDIS_MNEMONIC_PREFETCHT1:
    case ZYDIS_MNEMONIC_PREFETCHT2:
    case ZYDIS_MNEMONIC_PREFETCHW:
    case ZYDIS_MNEMONIC_PREFETCH:
    case ZYDIS_MNEMONIC_PREFETCHWT1:
    case ZYDIS_MNEMONIC_ENDBR32:
    case ZYDIS_MNEMONIC_ENDBR64:
    case ZYDIS_MNEMONIC_RDSSPD:
    case ZYDIS_MNEMONIC_RDSSPQ: return IC_NOP;
    case ZYDIS_MNEMONIC_INCSSPD:
    case ZYDIS_MNEMONIC_INCSSPQ:
    case ZYDIS_MNEMONIC_CLRSSBSY:
    case ZYDIS_MNEMONIC_SETSSBSY:
    case ZYDIS_MNEMONIC_RSTORSSP:
    case ZYDIS_MNEMONIC_SAVEPREVSSP:
    case ZYDIS_MNEMONIC_WRSSD:
    case ZYDIS_MNEMONIC_WRSSQ:
    case ZYDIS_MNEMONIC_WRUSSD:
    case ZYDIS_MNEMONIC_WRUSSQ: return IC_UD;
    default: return IC_PLAIN;
    }
}

bool insn_is_x87(const struct insn *in)
{
    return in->d.meta.isa_ext == ZYDIS_ISA_EXT_X87 ||
           in->d.mnemonic == ZYDIS_MNEMONIC_FISTTP; /* Zydis: SSE3 */
}

static bool is_sse(ZydisISAExt ext)
{
    switch (ext) {
    case ZYDIS_ISA_EXT_SSE:
    case ZYDIS_ISA_EXT_SSE2:
    case ZYDIS_ISA_EXT_SSE3:
    case ZYDIS_ISA_EXT_SSSE3:
    case ZYDIS_ISA_EXT_SSE4:
    case ZYDIS_ISA_EXT_SSE4A:
    case ZYDIS_ISA_EXT_AES:
    case ZYDIS_ISA_EXT_PCLMULQDQ:
    case ZYDIS_ISA_EXT_SHA:
    case ZYDIS_ISA_EXT_GFNI: return true;
    default: return false;
    }
}

/* SSE instructions that work without CR4.OSFXSR: they use no XMM state. */
static bool sse_free(const struct insn *in)
{
    switch (in->d.mnemonic) {
    case ZYDIS_MNEMONIC_MFENCE:
    case ZYDIS_MNEMONIC_LFENCE:
    case ZYDIS_MNEMONIC_SFENCE:
    case ZYDIS_MNEMONIC_MOVNTI:
    case ZYDIS_MNEMONIC_PAUSE:
    case ZYDIS_MNEMONIC_POPCNT:
    case ZYDIS_MNEMONIC_CRC32:
    case ZYDIS_MNEMONIC_FXSAVE:
    case ZYDIS_MNEMONIC_FXRSTOR:
    case ZYDIS_MNEMONIC_FXSAVE64:
    case ZYDIS_MNEMONIC_FXRSTOR64: return true;
    default: return in->class == IC_NOP;
    }
}

/* What CR0 and CR4 make of FPU and vector instructions: RARE raises it. */
static enum insn_class fpu_gate(const struct insn *in, uint32_t key)
{
    ZydisISAExt ext = in->d.meta.isa_ext;

    if (in->class == IC_NOP)
        return IC_NOP;
    if (insn_is_x87(in) || ext == ZYDIS_ISA_EXT_MMX)
        return key & KEY_NO_X87 ? IC_RARE : in->class;
    if (in->d.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX) {
        if (ext == ZYDIS_ISA_EXT_BMI1 || ext == ZYDIS_ISA_EXT_BMI2)
            return in->class;
        if (key & KEY_NO_AVX)
            return IC_UD;
        return key & KEY_TS ? IC_RARE : in->class;
    }
    if (is_sse(ext) && !sse_free(in)) {
        if (key & KEY_NO_SSE)
            return IC_UD;
        return key & KEY_TS ? IC_RARE : in->class;
    }
    return in->class;
}

static enum insn_class classify(const struct insn *in,
                                const struct cpuid_model *model)
{
    int feature = ext_feature(in->d.meta.isa_ext);
    int own = own_feature(in->d.mnemonic);

    /* XBEGIN is of the category, too. */
    if (in->d.meta.category == ZYDIS_CATEGORY_COND_BR &&
        in->d.meta.isa_ext == ZYDIS_ISA_EXT_BASE && /* not XBEGIN */
        in->d.meta.isa_ext != ZYDIS_ISA_EXT_RTM &&
        in->d.mnemonic != ZYDIS_MNEMONIC_LOOP &&
        in->d.mnemonic != ZYDIS_MNEMONIC_LOOPE &&
        in->d.mnemonic != ZYDIS_MNEMONIC_LOOPNE &&
        in->d.mnemonic != ZYDIS_MNEMONIC_JCXZ &&
        in->d.mnemonic != ZYDIS_MNEMONIC_JECXZ &&
        in->d.mnemonic != ZYDIS_MNEMONIC_JRCXZ)
        return IC_JCC;
    if (own >= 0)
        feature = own;
    if (feature < 0 || !cpuid_has(model, (enum cpuid_feature)feature))
        return IC_UD;
    if (in->d.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
        in->d.encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
        return IC_UD;
    if (is_string(in->d.mnemonic) ||
        ((in->d.mnemonic == ZYDIS_MNEMONIC_MOVSD ||
          in->d.mnemonic == ZYDIS_MNEMONIC_CMPSD) &&
         in->d.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT))
        return IC_STRING;
    switch (in->d.meta.isa_ext) {
    case ZYDIS_ISA_EXT_BASE:
    case ZYDIS_ISA_EXT_LONGMODE: return base_class(in);
    default: return other_class(in);
    }
}

/* Stack operations of the mode's own width are inline; others are rare. */
static bool common_stack(const struct insn *in, uint32_t key)
{
    if ((key & KEY_SIZE_MASK) == 2)
        return in->d.operand_width == 64;
    return (key & KEY_SIZE_MASK) == 1 && !(key & KEY_SS16) &&
           in->d.operand_width == 32;
}

bool insn_writes_code_segment(const struct insn *in, uint32_t key)
{
    switch (in->d.mnemonic) {
    case ZYDIS_MNEMONIC_VMASKMOVPS:
    case ZYDIS_MNEMONIC_VMASKMOVPD:
    case ZYDIS_MNEMONIC_VPMASKMOVD:
    case ZYDIS_MNEMONIC_VPMASKMOVQ: /* by element, or not at all */
    case ZYDIS_MNEMONIC_ARPL: return false;
    default: break;
    }
    return (key & KEY_SIZE_MASK) != 2 && !(key & (KEY_REAL | KEY_VM86)) &&
           in->mem_write && in->rm->mem.segment == ZYDIS_REGISTER_CS;
}

/* MOV of selectors and control registers that has a rule of its own. */
static bool mov_system(const struct insn *in, uint32_t key)
{
    ZydisRegister dst = in->op[0].reg.value, src = in->op[1].reg.value;

    if (in->d.mnemonic != ZYDIS_MNEMONIC_MOV || in->mem ||
        (key & KEY_SIZE_MASK) != 2)
        return false;
    if (ZydisRegisterGetClass(src) == ZYDIS_REGCLASS_SEGMENT)
        return true;
    if (ZydisRegisterGetClass(dst) == ZYDIS_REGCLASS_SEGMENT)
        return dst != ZYDIS_REGISTER_CS && dst != ZYDIS_REGISTER_SS;
    if (ZydisRegisterGetClass(src) == ZYDIS_REGCLASS_CONTROL)
        return key & KEY_CPL0 && src <= ZYDIS_REGISTER_CR4 &&
               src != ZYDIS_REGISTER_CR1;
    return key & KEY_CPL0 && dst == ZYDIS_REGISTER_CR3;
}

/* The forms of XSAVE that 64-bit kernels switch tasks with. */
static bool state_area(const struct insn *in, uint32_t key)
{
    if ((key & KEY_SIZE_MASK) != 2 || !(key & KEY_OSXSAVE) || key & KEY_TS)
        return false;
    return in->d.mnemonic == ZYDIS_MNEMONIC_XSAVE64 ||
           in->d.mnemonic == ZYDIS_MNEMONIC_XSAVEC64 ||
           in->d.mnemonic == ZYDIS_MNEMONIC_XRSTOR64;
}

/* AMD's CPUs refuse the 64-bit forms outside 64-bit mode, where others take
 * them for the 32-bit ones. */
static bool refused_width(const struct insn *in, uint32_t key,
                          const struct cpuid_model *model)
{
    if ((key & KEY_SIZE_MASK) == 2 || !model->amd ||
        in->d.encoding != ZYDIS_INSTRUCTION_ENCODING_VEX || !in->d.raw.vex.W)
        return false;
    return in->d.mnemonic == ZYDIS_MNEMONIC_VPINSRD ||
           in->d.mnemonic == ZYDIS_MNEMONIC_VPINSRQ ||
           in->d.mnemonic == ZYDIS_MNEMONIC_VPEXTRD ||
           in->d.mnemonic == ZYDIS_MNEMONIC_VPEXTRQ;
}

/* Those that a helper knows: without operands in memory. */
static bool stack_helper(const struct insn *in, uint32_t key)
{
    if ((key & KEY_SIZE_MASK) == 2 || key & (KEY_VM86 | KEY_STEP | KEY_BREAK) ||
        in->mem)
        return false;
    return in->class == IC_PUSH || in->class == IC_POP ||
           in->class == IC_PUSHF || in->class == IC_CALL || in->class == IC_RET;
}

/* Instructions that use the stack: in translated code if they are common. */
static enum insn_class stack_gate(const struct insn *in, uint32_t key)
{
    if (common_stack(in, key) && !(key & KEY_VM86))
        return in->class;
    return stack_helper(in, key) ? IC_STACK : IC_RARE;
}

/* Where instructions run one by one, C also sees that a jump's target is one.
 * Translated code notices only when it looks for a block there. */
static enum insn_class target_gate(const struct insn *in, uint32_t key)
{
    if (key & (KEY_STEP | KEY_BREAK))
        return IC_RARE;
    return in->class == IC_JMP_IND ? IC_JMP_IND : stack_gate(in, key);
}

/* Rare ones that have a rule of their own in some modes. */
static enum insn_class rare_gate(const struct insn *in, uint32_t key)
{
    if (state_area(in, key))
        return IC_ADDRESS;
    if (in->d.mnemonic == ZYDIS_MNEMONIC_PUSH &&
        !(key & (KEY_VM86 | KEY_STEP | KEY_BREAK)) &&
        (key & KEY_SIZE_MASK) != 2 && op_is_segment(&in->op[0]))
        return IC_STACK;
    return in->class;
}

/* What privilege and mode make of an instruction. */
static enum insn_class mode_gate(const struct insn *in, uint32_t key)
{
    if (in->class != IC_UD && insn_writes_code_segment(in, key))
        return IC_RARE;
    switch (in->class) {
    case IC_PUSH:
    case IC_POP:
    case IC_LEAVE:
    case IC_PUSHF:
    case IC_CALL: return stack_gate(in, key);
    case IC_CALL_IND:
    case IC_RET:
    case IC_JMP_IND: return target_gate(in, key);
    case IC_CLI:
    case IC_STI: return key & KEY_CPL0 ? in->class : IC_RARE;
    case IC_STAC:
    case IC_CLAC: return key & KEY_CPL0 ? in->class : IC_UD;
    case IC_FSGSBASE: return key & KEY_FSGSBASE ? in->class : IC_UD;
    case IC_RDTSC: return key & KEY_TSD ? IC_RARE : in->class;
    case IC_SYSTEM:
        if (in->d.mnemonic == ZYDIS_MNEMONIC_INVLPG)
            return (key & KEY_SIZE_MASK) == 2 && key & KEY_CPL0 && in->mem
                       ? IC_ADDRESS
                       : IC_RARE;
        return mov_system(in, key) ? IC_MOV_SYSTEM : in->class;
    case IC_RARE: return rare_gate(in, key);
    default: return in->class;
    }
}

enum insn_class whitelist_class(struct insn *in, uint32_t key,
                                const struct cpuid_model *model)
{
    in->class = refused_width(in, key, model) ? IC_UD : classify(in, model);
    in->class = fpu_gate(in, key);
    return mode_gate(in, key);
}

bool insn_ends_block(const struct insn *in)
{
    switch (in->class) {
    case IC_UD:
    case IC_LOOP:
    case IC_JMP:
    case IC_JMP_IND:
    case IC_CALL:
    case IC_CALL_IND:
    case IC_RET:
    case IC_STAC:
    case IC_CLAC:
    case IC_SYSTEM:
    case IC_RARE: return true;
    case IC_STACK:
        return in->d.mnemonic == ZYDIS_MNEMONIC_CALL ||
               in->d.mnemonic == ZYDIS_MNEMONIC_RET;
    case IC_ADDRESS: return in->d.mnemonic == ZYDIS_MNEMONIC_INVLPG;
    case IC_MOV_SYSTEM: /* loads of CR3 */
        return in->op[0].reg.value == ZYDIS_REGISTER_CR3;
    default: return false;
    }
}
