#include "x86/paging.h"
#include "x86/system.h"

/*
 * Model-specific registers (Intel SDM vol. 4; AMD APM vol. 2, appendix A).
 * Those of the local APIC and of the KVM interface belong to others and go
 * through the engine's operations. An MSR that is not here does not exist:
 * #GP(0), and kernels probe with that in mind.
 *
 * AMD's configuration registers (HWCR, SYSCFG, ...) hold the value that tells
 * a kernel that nothing is left to do, and ignore writes.
 */

enum {
    MSR_P5_MC_ADDR = 0x0,
    MSR_P5_MC_TYPE = 0x1,
    MSR_TSC = 0x10,
    MSR_KVM_WALL_CLOCK_OLD = 0x11,
    MSR_KVM_SYSTEM_TIME_OLD = 0x12,
    MSR_PLATFORM_ID = 0x17,
    MSR_APIC_BASE = 0x1b,
    MSR_TSC_ADJUST = 0x3b,
    MSR_FEATURE_CONTROL = 0x3a,
    MSR_SPEC_CTRL = 0x48,
    MSR_PRED_CMD = 0x49,
    MSR_UCODE_WRITE = 0x79,
    MSR_UCODE_REV = 0x8b,
    MSR_PLATFORM_INFO = 0xce,
    MSR_MTRR_CAP = 0xfe,
    MSR_ARCH_CAPABILITIES = 0x10a,
    MSR_MISC_FEATURES = 0x140,
    MSR_SYSENTER_CS = 0x174,
    MSR_SYSENTER_ESP = 0x175,
    MSR_SYSENTER_EIP = 0x176,
    MSR_MCG_CAP = 0x179,
    MSR_MCG_STATUS = 0x17a,
    MSR_MISC_ENABLE = 0x1a0,
    MSR_DEBUGCTL = 0x1d9,
    MSR_LBR_FIRST = 0x1db,
    MSR_LBR_LAST = 0x1de,
    MSR_MTRR_VAR_FIRST = 0x200,
    MSR_MTRR_VAR_LAST = 0x200 + 2 * X86_NR_VAR_MTRRS - 1,
    MSR_PAT = 0x277,
    MSR_MTRR_DEF = 0x2ff,
    MSR_TSC_DEADLINE = 0x6e0,
    MSR_X2APIC_FIRST = 0x800,
    MSR_X2APIC_LAST = 0x8ff
};

#define MSR_KVM_FIRST      0x4b564d00u
#define MSR_KVM_LAST       0x4b564dffu
#define MSR_EFER           0xc0000080u
#define MSR_STAR           0xc0000081u
#define MSR_LSTAR          0xc0000082u
#define MSR_CSTAR          0xc0000083u
#define MSR_SFMASK         0xc0000084u
#define MSR_FS_BASE        0xc0000100u
#define MSR_GS_BASE        0xc0000101u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_TSC_AUX        0xc0000103u
#define MSR_AMD_FIRST      0xc0010000u
#define MSR_AMD_LAST       0xc001ffffu

/* MTRRcap: eight variable ranges, fixed ranges, write-combining. */
#define MTRR_CAP  ((1u << 10) | (1u << 8) | X86_NR_VAR_MTRRS)
#define PHYS_MASK (((uint64_t)1 << X86_PHYS_BITS) - 1)
/* Variable masks and bases: V or the type, then the address. */
#define MTRR_ADDR      (PHYS_MASK & ~GPAGE_MASK)
#define MTRR_VALID     0x800u
#define MTRR_DEF_KNOWN 0xcffu
/* UC, WC, WT, WP, WB: the valid memory types; in the PAT also UC-. */
#define MTRR_TYPES 0x73u
#define PAT_TYPES  0xf3u

/* What Intel calls immune; cpuid.c says what each bit disarms. */
#define ARCH_CAPABILITIES                                                      \
    (1u << 0 | 1u << 1 | 1u << 3 | 1u << 4 | 1u << 5 | 1u << 6 | 1u << 8 |     \
     1u << 13 | 1u << 14 | 1u << 15 | 1u << 20 | 1u << 24 | 1u << 26 |         \
     1u << 27)
#define ARCH_ITS_NO ((uint64_t)1 << 62)

/* IBRS, STIBP, SSBD: stored, without effect on translated code. */
#define SPEC_CTRL_KNOWN 7u
#define PRED_CMD_IBPB   1u
#define FEATURE_LOCKED  1u
/* Branch trace and LBR enable: accepted, nothing is recorded. */
#define DEBUGCTL_KNOWN 3u
/* What Linux looks at, so that it does not try to load microcode. */
#define UCODE_REV_INTEL ((uint64_t)1 << 32)
#define UCODE_REV_AMD   0x01000065u

/* -- AMD's configuration registers ----------------------------------------- */

static const struct amd_msr {
    uint32_t msr;
    uint32_t val;
} amd_msrs[] = {
    /* What counted before CPUID could tell: there as on any AMD, but idle. */
    {0xc0010000, 0},        /* PERFEVTSEL0 */
    {0xc0010001, 0},        /* PERFEVTSEL1 */
    {0xc0010002, 0},        /* PERFEVTSEL2 */
    {0xc0010003, 0},        /* PERFEVTSEL3 */
    {0xc0010004, 0},        /* PERFCTR0 */
    {0xc0010005, 0},        /* PERFCTR1 */
    {0xc0010006, 0},        /* PERFCTR2 */
    {0xc0010007, 0},        /* PERFCTR3 */
    {0xc0010010, 0},        /* SYSCFG: no memory encryption, no TOM2 */
    {0xc0010015, 1u << 24}, /* HWCR: TscFreqSel, TSC counts at P0 */
    {0xc001001a, 0},        /* TOP_MEM */
    {0xc001001d, 0},        /* TOP_MEM2 */
    {0xc001001f, 1u << 14}, /* NB_CFG: InitApicIdCpuIdLo */
    {0xc0010020, 0},        /* PATCH_LOADER */
    {0xc0010055, 0},        /* INT_PENDING: no C1E */
    {0xc0010058, 0},        /* MMIO_CONF_BASE: disabled */
    {0xc0010061, 0},        /* PSTATE_CUR_LIMIT */
    {0xc0010062, 0},        /* PSTATE_CTL */
    {0xc0010063, 0},        /* PSTATE_STATUS */
    {0xc0010117, 0},        /* VM_HSAVE_PA */
    {0xc0011022, 0},        /* DC_CFG */
    {0xc0011029, 1u << 1},  /* DE_CFG: LFENCE is serialising */
    {0xc001102a, 0},        /* BU_CFG2 */
};

static const struct amd_msr *find_amd(const struct x86_cpu *cpu, uint32_t msr)
{
    if (!cpu->model->amd || msr < MSR_AMD_FIRST || msr > MSR_AMD_LAST)
        return NULL;
    for (unsigned i = 0; i < ARRAY_LEN(amd_msrs); i++)
        if (amd_msrs[i].msr == msr)
            return &amd_msrs[i];
    return NULL;
}

/* -- MTRRs and PAT --------------------------------------------------------- */

/* Index of a fixed-range MTRR, or -1. */
static int fixed_mtrr(uint32_t msr)
{
    switch (msr) {
    case 0x250: return 0;
    case 0x258: return 1;
    case 0x259: return 2;
    default: break;
    }
    return msr >= 0x268 && msr <= 0x26f ? (int)msr - 0x268 + 3 : -1;
}

/* Where an MTRR's value lies, or NULL if msr is none. */
static uint64_t *find_mtrr(struct x86_state *st, uint32_t msr)
{
    int fixed = fixed_mtrr(msr);

    if (fixed >= 0)
        return &st->msr.mtrr_fixed[fixed];
    if (msr == MSR_MTRR_DEF)
        return &st->msr.mtrr_def;
    if (msr < MSR_MTRR_VAR_FIRST || msr > MSR_MTRR_VAR_LAST)
        return NULL;
    msr -= MSR_MTRR_VAR_FIRST;
    return msr & 1 ? &st->msr.mtrr_mask[msr / 2] : &st->msr.mtrr_base[msr / 2];
}

/* Is each of the nr low bytes one of types (a bit mask)? */
static bool are_types(uint64_t val, unsigned nr, unsigned types)
{
    for (unsigned i = 0; i < nr; i++) {
        unsigned type = (unsigned)(val >> (8 * i)) & 0xff;

        if (type > 7 || !(types >> type & 1))
            return false;
    }
    return true;
}

static bool is_valid_mtrr(uint32_t msr, uint64_t val)
{
    if (fixed_mtrr(msr) >= 0)
        return are_types(val, 8, MTRR_TYPES);
    if (msr == MSR_MTRR_DEF)
        return !(val & ~(uint64_t)MTRR_DEF_KNOWN) &&
               are_types(val, 1, MTRR_TYPES);
    if (msr & 1)
        return !(val & ~(MTRR_ADDR | MTRR_VALID));
    return !(val & ~(MTRR_ADDR | 0xff)) && are_types(val, 1, MTRR_TYPES);
}

/* -- Plain registers ------------------------------------------------------- */

/* MSRs that are a word of the state; NULL if msr is none of them. */
static uint64_t *find_word(struct x86_state *st, uint32_t msr)
{
    switch (msr) {
    case MSR_SYSENTER_CS: return &st->msr.sysenter_cs;
    case MSR_SYSENTER_ESP: return &st->msr.sysenter_esp;
    case MSR_SYSENTER_EIP: return &st->msr.sysenter_eip;
    case MSR_MISC_ENABLE: return &st->msr.misc_enable;
    case MSR_PAT: return &st->msr.pat;
    case MSR_DEBUGCTL: return &st->msr.debugctl;
    case MSR_EFER: return &st->msr.efer;
    case MSR_STAR: return &st->msr.star;
    case MSR_LSTAR: return &st->msr.lstar;
    case MSR_CSTAR: return &st->msr.cstar;
    case MSR_SFMASK: return &st->msr.sfmask;
    case MSR_FS_BASE: return &st->seg[X86_FS].base;
    case MSR_GS_BASE: return &st->seg[X86_GS].base;
    case MSR_KERNEL_GS_BASE: return &st->msr.kernel_gs_base;
    case MSR_TSC_AUX: return &st->msr.tsc_aux;
    default: return find_mtrr(st, msr);
    }
}

/* Does the model have this word at all? */
static bool has_word(const struct cpuid_model *m, uint32_t msr)
{
    return msr != MSR_TSC_AUX || cpuid_has(m, CPUID_RDTSCP) ||
           cpuid_has(m, CPUID_RDPID);
}

static bool is_valid_word(uint32_t msr, uint64_t val)
{
    switch (msr) {
    case MSR_SYSENTER_ESP:
    case MSR_SYSENTER_EIP:
    case MSR_LSTAR:
    case MSR_CSTAR:
    case MSR_FS_BASE:
    case MSR_GS_BASE:
    case MSR_KERNEL_GS_BASE: return x86_is_canonical(val);
    case MSR_TSC_AUX:
    case MSR_SFMASK: return !(val >> 32);
    case MSR_PAT: return are_types(val, 8, PAT_TYPES);
    case MSR_DEBUGCTL: return !(val & ~(uint64_t)DEBUGCTL_KNOWN);
    default: break;
    }
    return msr < MSR_MTRR_VAR_FIRST || msr > MSR_MTRR_DEF ||
           is_valid_mtrr(msr, val);
}

static bool is_elsewhere(uint32_t msr)
{
    return msr == MSR_APIC_BASE || msr == MSR_TSC_DEADLINE ||
           msr == MSR_KVM_WALL_CLOCK_OLD || msr == MSR_KVM_SYSTEM_TIME_OLD ||
           (msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST) ||
           (msr >= MSR_KVM_FIRST && msr <= MSR_KVM_LAST);
}

static bool has_spec_ctrl(const struct cpuid_model *m)
{
    return cpuid_has(m, CPUID_SPEC_CTRL);
}

/* -- Reading --------------------------------------------------------------- */

/* False: no such MSR. */
static bool read_constant(const struct x86_cpu *cpu, uint32_t msr,
                          uint64_t *val)
{
    const struct amd_msr *amd = find_amd(cpu, msr);
    const struct cpuid_model *m = cpu->model;

    *val = 0;
    if (amd) {
        *val = amd->val;
        return true;
    }
    switch (msr) {
    case MSR_P5_MC_ADDR:
    case MSR_P5_MC_TYPE:
    case MSR_PLATFORM_INFO:
    case MSR_MISC_FEATURES:
    case MSR_MCG_CAP: /* no banks */
    case MSR_MCG_STATUS: return true;
    case MSR_PLATFORM_ID: return !m->amd;
    case MSR_FEATURE_CONTROL: *val = FEATURE_LOCKED; return !m->amd;
    case MSR_UCODE_REV:
        *val = m->amd ? UCODE_REV_AMD : UCODE_REV_INTEL;
        return true;
    case MSR_MTRR_CAP: *val = MTRR_CAP; return true;
    case MSR_ARCH_CAPABILITIES:
        *val = ARCH_CAPABILITIES | ARCH_ITS_NO;
        return cpuid_has(m, CPUID_ARCH_CAPABILITIES);
    default: return msr >= MSR_LBR_FIRST && msr <= MSR_LBR_LAST;
    }
}

static int read_msr(struct x86_cpu *cpu, uint32_t msr, uint64_t *val)
{
    struct x86_state *st = cpu->st;
    const uint64_t *word = find_word(st, msr);

    if (is_elsewhere(msr))
        return cpu->ops->rdmsr(cpu, msr, val) < 0
                   ? x86_fault_err(cpu, X86_GP, 0)
                   : X86_OK;
    if (word && has_word(cpu->model, msr)) {
        *val = *word;
        return X86_OK;
    }
    if (msr == MSR_TSC) {
        *val = __builtin_ia32_rdtsc() + st->tsc_offset;
        return X86_OK;
    }
    if (msr == MSR_TSC_ADJUST && cpuid_has(cpu->model, CPUID_TSC_ADJUST)) {
        *val = st->msr.tsc_adjust;
        return X86_OK;
    }
    if (msr == MSR_SPEC_CTRL && has_spec_ctrl(cpu->model)) {
        *val = st->msr.spec_ctrl;
        return X86_OK;
    }
    if (read_constant(cpu, msr, val))
        return X86_OK;
    return x86_fault_err(cpu, X86_GP, 0);
}

int x86_rdmsr(struct x86_cpu *cpu)
{
    struct x86_state *st = cpu->st;
    uint64_t val = 0;

    if (st->cpl)
        return x86_fault_err(cpu, X86_GP, 0);
    if (read_msr(cpu, (uint32_t)st->gpr[X86_RCX], &val) < 0)
        return X86_FAULT;
    st->gpr[X86_RAX] = (uint32_t)val;
    st->gpr[X86_RDX] = val >> 32;
    return X86_OK;
}

/* -- Writing --------------------------------------------------------------- */

static uint64_t efer_known(const struct cpuid_model *m)
{
    uint64_t known = X86_EFER_LMA;

    known |= cpuid_has(m, CPUID_SYSCALL) ? X86_EFER_SCE : 0;
    known |= cpuid_has(m, CPUID_LM) ? X86_EFER_LME : 0;
    known |= cpuid_has(m, CPUID_NX) ? X86_EFER_NXE : 0;
    known |= cpuid_has(m, CPUID_AUTOIBRS) ? X86_EFER_AUTOIBRS : 0;
    return known;
}

/* LMA is the CPU's: what is written to it is ignored. */
static int write_efer(struct x86_cpu *cpu, uint64_t val)
{
    struct x86_state *st = cpu->st;
    uint64_t changed;

    if (val & ~efer_known(cpu->model))
        return x86_fault_err(cpu, X86_GP, 0);
    val = (val & ~(uint64_t)X86_EFER_LMA) | (st->msr.efer & X86_EFER_LMA);
    changed = val ^ st->msr.efer;
    if ((changed & X86_EFER_LME) && (st->cr0 & X86_CR0_PG))
        return x86_fault_err(cpu, X86_GP, 0);
    st->msr.efer = val;
    if (changed & X86_EFER_NXE)
        cpu->ops->flush(cpu, X86_FLUSH_ALL, 0, 0);
    if (changed)
        cpu->ops->mode_changed(cpu);
    return X86_OK;
}

/* Registers whose writes do nothing that a guest can tell. */
static bool write_ignored(const struct x86_cpu *cpu, uint32_t msr, uint64_t val)
{
    if (find_amd(cpu, msr))
        return true;
    switch (msr) {
    case MSR_P5_MC_ADDR:
    case MSR_P5_MC_TYPE:
    case MSR_UCODE_WRITE:
    case MSR_UCODE_REV: return true;
    case MSR_MISC_FEATURES:
    case MSR_MCG_STATUS: return val == 0;
    case MSR_PRED_CMD:
        return has_spec_ctrl(cpu->model) && !(val & ~(uint64_t)PRED_CMD_IBPB);
    default: return false;
    }
}

/* Either way of setting the TSC shows in the other (SDM vol. 3, 17.17.3). */
static void adjust_tsc(struct x86_state *st, uint64_t by)
{
    st->tsc_offset += by;
    st->msr.tsc_adjust += by;
}

static int write_msr(struct x86_cpu *cpu, uint32_t msr, uint64_t val)
{
    struct x86_state *st = cpu->st;
    uint64_t *word = find_word(st, msr);

    if (is_elsewhere(msr))
        return cpu->ops->wrmsr(cpu, msr, val) < 0
                   ? x86_fault_err(cpu, X86_GP, 0)
                   : X86_OK;
    if (msr == MSR_EFER)
        return write_efer(cpu, val);
    if (word && has_word(cpu->model, msr) && is_valid_word(msr, val)) {
        *word = val;
        return X86_OK;
    }
    if (msr == MSR_TSC) {
        adjust_tsc(st, val - __builtin_ia32_rdtsc() - st->tsc_offset);
        return X86_OK;
    }
    if (msr == MSR_TSC_ADJUST && cpuid_has(cpu->model, CPUID_TSC_ADJUST)) {
        adjust_tsc(st, val - st->msr.tsc_adjust);
        return X86_OK;
    }
    if (msr == MSR_SPEC_CTRL && has_spec_ctrl(cpu->model) &&
        !(val & ~(uint64_t)SPEC_CTRL_KNOWN)) {
        st->msr.spec_ctrl = val;
        return X86_OK;
    }
    if (write_ignored(cpu, msr, val))
        return X86_OK;
    return x86_fault_err(cpu, X86_GP, 0);
}

int x86_wrmsr(struct x86_cpu *cpu)
{
    struct x86_state *st = cpu->st;
    uint64_t val = (uint32_t)st->gpr[X86_RAX] | st->gpr[X86_RDX] << 32;

    if (st->cpl)
        return x86_fault_err(cpu, X86_GP, 0);
    return write_msr(cpu, (uint32_t)st->gpr[X86_RCX], val);
}
