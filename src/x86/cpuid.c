#include "x86/cpuid.h"

#include <cpuid.h>
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "x86/paging.h"
#include "x86/regs.h"

/*
 * CPU models. A model is a list of features; of those, a machine gets what the
 * host has too. Vendor, family, model and stepping stay the host's, as systems
 * choose their paths (and users their compilers' -march=native) by them.
 *
 * Speculation. A guest's indirect branches, returns and page-table switches
 * are the translator's, not the code that the guest's kernel patched in, so
 * its mitigations protect nothing and cost much: retpolines and return thunks
 * defeat the host's return prediction. What Linux 6.1 tests (cpu_set_bug_bits
 * and bugs.c) and what answers it:
 *
 *   mitigation                      Intel                   AMD
 *   retpolines                      IBRS_ALL                AutoIBRS
 *   return thunks (Retbleed, SRSO)  by enhanced IBRS        BTC_NO, SRSO_NO
 *   page-table isolation, L1TF      RDCL_NO                 by vendor
 *   VERW (MDS, TAA, MMIO, RFDS)     MDS_NO, TAA_NO,         TSA_SQ_NO,
 *                                   FBSDP_NO, PSDP_NO,      TSA_L1_NO
 *                                   SBDR_SSDP_NO, RFDS_NO
 *   speculative store bypass        SSB_NO                  SSB_NO
 *   branch history clearing         BHI_NO                  by vendor
 *   return-buffer fill at exit      PBRSB_NO                by vendor
 *   aligned indirect thunks (ITS)   ITS_NO                  by vendor
 *   gather data sampling            GDS_NO                  by vendor
 *   iTLB multihit                   PSCHANGE_MC_NO          by vendor
 *   prediction barrier at switches  only for tasks that     not offered
 *                                   ask for it
 *
 * Intel's bits are those of MSR ARCH_CAPABILITIES (msr.c). Linux fills the
 * return buffer at each task switch whatever is advertised.
 */

enum cpuid_reg { REG_EAX, REG_EBX, REG_ECX, REG_EDX, NR_REGS };

struct feature {
    uint32_t leaf, subleaf;
    enum cpuid_reg reg;
    unsigned bit;
};

static const struct feature features[CPUID_NR_FEATURES] = {
#define CPUID_FEATURE(name, leaf, subleaf, reg, bit)                           \
    [CPUID_##name] = {leaf, subleaf, REG_##reg, bit},
#include "x86/cpuid_features.def"
#undef CPUID_FEATURE
};

/* -- What the models have ---------------------------------------------------
 */

/* husk does these itself, on every host. */
static const uint8_t emulated[] = {
    CPUID_FPU,   CPUID_DE,   CPUID_PSE,     CPUID_TSC,          CPUID_MSR,
    CPUID_PAE,   CPUID_MCE,  CPUID_CX8,     CPUID_APIC,         CPUID_SEP,
    CPUID_MTRR,  CPUID_PGE,  CPUID_MCA,     CPUID_CMOV,         CPUID_PAT,
    CPUID_PSE36, CPUID_NX,   CPUID_X2APIC,  CPUID_TSC_DEADLINE, CPUID_UMIP,
    CPUID_LM,    CPUID_ARAT, CPUID_SYSCALL, CPUID_TSC_ADJUST,
};

/* In every model, if the host has them: x86-64-v2 and what systems use. */
static const uint8_t level2[] = {
    CPUID_CLFSH,  CPUID_MMX,     CPUID_FXSR,          CPUID_SSE,
    CPUID_SSE2,   CPUID_SSE3,    CPUID_SSSE3,         CPUID_CX16,
    CPUID_SSE41,  CPUID_SSE42,   CPUID_POPCNT,        CPUID_LAHF,
    CPUID_PCID,   CPUID_INVPCID, CPUID_SMEP,          CPUID_SMAP,
    CPUID_RDTSCP, CPUID_PDPE1GB, CPUID_ERMS,          CPUID_FSGSBASE,
    CPUID_RDPID,  CPUID_FSRM,    CPUID_INVARIANT_TSC, CPUID_3DNOWPREFETCH,
};

/* From husk-v3 on: x86-64-v3, cryptography, XSAVE, randomness. */
static const uint8_t level3[] = {
    CPUID_PCLMUL,   CPUID_FMA,     CPUID_MOVBE,      CPUID_AES,
    CPUID_XSAVE,    CPUID_AVX,     CPUID_F16C,       CPUID_RDRAND,
    CPUID_BMI1,     CPUID_AVX2,    CPUID_BMI2,       CPUID_RDSEED,
    CPUID_ADX,      CPUID_SHA,     CPUID_CLFLUSHOPT, CPUID_CLWB,
    CPUID_XSAVEOPT, CPUID_XSAVEC,  CPUID_XGETBV1,    CPUID_LZCNT,
    CPUID_VAES,     CPUID_VPCLMUL, CPUID_XSAVEERPTR, CPUID_MMXEXT,
};

/* Only in the model "host". */
static const uint8_t host_only[] = {
    CPUID_GFNI,
    CPUID_SSE4A,
    CPUID_MISALIGNSSE,
};

static const uint8_t amd_emulated[] = {
    CPUID_TOPOEXT,      CPUID_SSB_NO,    CPUID_BTC_NO,
    CPUID_LFENCE_RDTSC, CPUID_AUTOIBRS,  CPUID_SRSO_NO,
    CPUID_TSA_SQ_NO,    CPUID_TSA_L1_NO, CPUID_NULL_SEL_CLR_BASE,
};

static const uint8_t intel_emulated[] = {
    CPUID_SPEC_CTRL,
    CPUID_ARCH_CAPABILITIES,
};

struct named_model {
    const char *name;
    unsigned level;
};

static const struct named_model named_models[] = {
    {"husk-v3", 3}, {"husk-v2", 2}, {"host", 4}};

/* -- The host ----------------------------------------------------------------
 */

static void host_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t reg[NR_REGS])
{
    uint32_t max = (uint32_t)__get_cpuid_max(leaf & 0x80000000u, NULL);

    if (leaf > max) {
        memset(reg, 0, NR_REGS * sizeof(reg[0]));
        return;
    }
    __cpuid_count(leaf, subleaf, reg[REG_EAX], reg[REG_EBX], reg[REG_ECX],
                  reg[REG_EDX]);
}

static bool host_has(const struct feature *f)
{
    uint32_t reg[NR_REGS];

    host_cpuid(f->leaf, f->subleaf, reg);
    return reg[f->reg] >> f->bit & 1;
}

static void add_features(struct cpuid_model *m, const uint8_t *list, size_t nr,
                         bool ask_host)
{
    for (size_t i = 0; i < nr; i++)
        if (!ask_host || host_has(&features[list[i]]))
            m->has[list[i]] = true;
}

/* Features that mean nothing without another one. */
static void drop_dependents(struct cpuid_model *m)
{
    static const uint8_t needs[][2] = {
        {CPUID_AVX, CPUID_XSAVE},    {CPUID_XSAVEOPT, CPUID_XSAVE},
        {CPUID_XSAVEC, CPUID_XSAVE}, {CPUID_XGETBV1, CPUID_XSAVE},
        {CPUID_FMA, CPUID_AVX},      {CPUID_F16C, CPUID_AVX},
        {CPUID_AVX2, CPUID_AVX},     {CPUID_VAES, CPUID_AVX2},
        {CPUID_VPCLMUL, CPUID_AVX2}, {CPUID_INVPCID, CPUID_PCID},
    };

    for (size_t i = 0; i < ARRAY_LEN(needs); i++)
        if (!m->has[needs[i][1]])
            m->has[needs[i][0]] = false;
}

static void choose_features(struct cpuid_model *m, unsigned level)
{
    add_features(m, emulated, ARRAY_LEN(emulated), false);
    add_features(m, level2, ARRAY_LEN(level2), true);
    if (level >= 3)
        add_features(m, level3, ARRAY_LEN(level3), true);
    if (level >= 4)
        add_features(m, host_only, ARRAY_LEN(host_only), true);
    if (m->amd)
        add_features(m, amd_emulated, ARRAY_LEN(amd_emulated), false);
    else
        add_features(m, intel_emulated, ARRAY_LEN(intel_emulated), false);
    m->has[CPUID_CMP_LEGACY] = m->amd && m->nr_cpus > 1;
    drop_dependents(m);
}

/* -- Leaves ------------------------------------------------------------------
 */

static struct cpuid_leaf *add_leaf(struct cpuid_model *m, uint32_t leaf,
                                   uint32_t subleaf, bool any_subleaf)
{
    struct cpuid_leaf *l = &m->leaf[m->nr_leaves];

    if (m->nr_leaves + 1 < CPUID_MAX_LEAVES)
        m->nr_leaves++;
    memset(l, 0, sizeof(*l));
    l->leaf = leaf;
    l->subleaf = subleaf;
    l->any_subleaf = any_subleaf;
    return l;
}

static void set_leaf(struct cpuid_leaf *l, uint32_t eax, uint32_t ebx,
                     uint32_t ecx, uint32_t edx)
{
    l->eax = eax;
    l->ebx = ebx;
    l->ecx = ecx;
    l->edx = edx;
}

/* The feature bits of a leaf, on top of what is there. */
static void add_bits(const struct cpuid_model *m, struct cpuid_leaf *l)
{
    uint32_t *reg[NR_REGS] = {&l->eax, &l->ebx, &l->ecx, &l->edx};

    for (size_t i = 0; i < CPUID_NR_FEATURES; i++)
        if (m->has[i] && features[i].leaf == l->leaf &&
            features[i].subleaf == l->subleaf)
            *reg[features[i].reg] |= (uint32_t)1 << features[i].bit;
}

static struct cpuid_leaf *add_feature_leaf(struct cpuid_model *m, uint32_t leaf,
                                           uint32_t subleaf, bool any_subleaf)
{
    struct cpuid_leaf *l = add_leaf(m, leaf, subleaf, any_subleaf);

    add_bits(m, l);
    return l;
}

/* Bits that hold a number below nr: the width of the core id. */
static unsigned id_bits(unsigned nr)
{
    unsigned bits = 0;

    while (1u << bits < nr)
        bits++;
    return bits;
}

enum { LINE_BYTES = 64 };

/*
 * The same caches on every host: 32 KiB twice and 512 KiB per core, 16 MiB
 * shared. Leaf 4 and 0x8000001d have one format (APM vol. 3, appendix E).
 */
static void add_caches(struct cpuid_model *m, uint32_t leaf)
{
    static const struct cache {
        unsigned type; /* 1 data, 2 instructions, 3 both */
        unsigned level, ways, sets;
        bool shared;
    } caches[] = {
        {1, 1, 8, 64, false},
        {2, 1, 8, 64, false},
        {3, 2, 8, 1024, false},
        {3, 3, 16, 16384, true},
    };
    unsigned cores = (1u << id_bits(m->nr_cpus)) - 1;

    for (unsigned i = 0; i < ARRAY_LEN(caches); i++) {
        const struct cache *c = &caches[i];
        uint32_t eax = c->type | c->level << 5 | 1u << 8;

        if (c->shared)
            eax |= cores << 14;
        if (!m->amd)
            eax |= cores << 26;
        set_leaf(add_leaf(m, leaf, i, false), eax,
                 (LINE_BYTES - 1) | (c->ways - 1) << 22, c->sets - 1, 0);
    }
}

/* One socket of nr_cpus cores with one thread each. */
static void add_topology(struct cpuid_model *m)
{
    unsigned bits = id_bits(m->nr_cpus);

    set_leaf(add_leaf(m, 0xb, 0, false), 0, 1, 1 << 8 | 0, 0);
    set_leaf(add_leaf(m, 0xb, 1, false), bits, m->nr_cpus, 2 << 8 | 1, 0);
    set_leaf(add_leaf(m, 0xb, 2, false), 0, 0, 2, 0);
}

static void add_basic(struct cpuid_model *m)
{
    enum { MAX_BASIC = 0xd, HYPERVISOR = 31, HTT = 28 };
    uint32_t reg[NR_REGS];
    struct cpuid_leaf *l = add_leaf(m, 0, 0, true);

    host_cpuid(0, 0, reg);
    set_leaf(l, MAX_BASIC, reg[REG_EBX], reg[REG_ECX], reg[REG_EDX]);

    host_cpuid(1, 0, reg);
    l = add_feature_leaf(m, 1, 0, true);
    l->eax = reg[REG_EAX];
    l->ebx = LINE_BYTES / 8 << 8 | m->nr_cpus << 16;
    l->ecx |= 1u << HYPERVISOR;
    if (m->nr_cpus > 1)
        l->edx |= 1u << HTT;

    if (!m->amd) {
        /* "See leaf 4", for caches and for TLBs. */
        set_leaf(add_leaf(m, 2, 0, true), 0x00feff01, 0, 0, 0);
        add_caches(m, 4);
    }
    (void)add_feature_leaf(m, 6, 0, true);
    (void)add_feature_leaf(m, 7, 0, false);
    add_topology(m);
}

static void add_xsave(struct cpuid_model *m)
{
    enum { LEGACY_SIZE = 576, AVX_SIZE = 256 };
    struct cpuid_leaf *l;

    if (!m->has[CPUID_XSAVE])
        return;
    m->xcr0 = X86_XCR0_X87 | X86_XCR0_SSE;
    if (m->has[CPUID_AVX])
        m->xcr0 |= X86_XCR0_AVX;
    l = add_leaf(m, 0xd, 0, false);
    l->eax = (uint32_t)m->xcr0;
    l->ecx = LEGACY_SIZE + (m->has[CPUID_AVX] ? AVX_SIZE : 0);
    (void)add_feature_leaf(m, 0xd, 1, false);
    if (m->has[CPUID_AVX])
        set_leaf(add_leaf(m, 0xd, 2, false), AVX_SIZE, LEGACY_SIZE, 0, 0);
}

/* KVM: x86/cpuid.rst, and the timing leaf that several monitors share. */
static void add_hypervisor(struct cpuid_model *m)
{
    enum {
        CLOCKSOURCE = 1 << 0,
        NOP_IO_DELAY = 1 << 1,
        CLOCKSOURCE2 = 1 << 3,
        PV_EOI = 1 << 6,
        CLOCKSOURCE_STABLE = 1 << 24,
        APIC_BUS_KHZ = 1000000
    };
    uint32_t sig[3] = {0, 0, 0};

    memcpy(sig, "KVMKVMKVM\0\0", sizeof(sig));
    set_leaf(add_leaf(m, 0x40000000, 0, true), 0x40000010, sig[0], sig[1],
             sig[2]);
    set_leaf(add_leaf(m, 0x40000001, 0, true),
             CLOCKSOURCE | NOP_IO_DELAY | CLOCKSOURCE2 | PV_EOI |
                 CLOCKSOURCE_STABLE,
             0, 0, 0);
    set_leaf(add_leaf(m, 0x40000010, 0, true),
             (uint32_t)(clock_tsc_hz() / 1000), APIC_BUS_KHZ, 0, 0);
}

static void add_brand(struct cpuid_model *m)
{
    char brand[48] = "husk virtual CPU";

    for (unsigned i = 0; i < 3; i++) {
        uint32_t reg[NR_REGS];

        memcpy(reg, brand + i * sizeof(reg), sizeof(reg));
        set_leaf(add_leaf(m, 0x80000002 + i, 0, true), reg[REG_EAX],
                 reg[REG_EBX], reg[REG_ECX], reg[REG_EDX]);
    }
}

/* AMD's leaf 0x80000001 repeats these bits of leaf 1's EDX. */
#define AMD_REPEATED 0x0183f3ffu

static void add_extended(struct cpuid_model *m)
{
    uint32_t leaf1_edx = cpuid_lookup(m, 1, 0).edx;
    struct cpuid_leaf *l = add_leaf(m, 0x80000000, 0, true);

    l->eax = m->amd ? 0x80000021 : 0x80000008;
    if (m->amd)
        set_leaf(l, l->eax, cpuid_lookup(m, 0, 0).ebx,
                 cpuid_lookup(m, 0, 0).ecx, cpuid_lookup(m, 0, 0).edx);
    l = add_feature_leaf(m, 0x80000001, 0, true);
    if (m->amd) {
        l->eax = cpuid_lookup(m, 1, 0).eax;
        l->edx |= leaf1_edx & AMD_REPEATED;
    }
    add_brand(m);
    (void)add_feature_leaf(m, 0x80000007, 0, true);
    l = add_feature_leaf(m, 0x80000008, 0, true);
    l->eax = m->phys_bits | 48 << 8;
    if (m->amd)
        l->ecx = (m->nr_cpus - 1) | id_bits(m->nr_cpus) << 12;
}

/* Sizes and associativity as APM vol. 3, appendix E, encodes them; the same
 * caches as in add_caches. */
static void add_amd(struct cpuid_model *m)
{
    set_leaf(add_leaf(m, 0x80000005, 0, true), 0xff40ff40, 0xff40ff40,
             0x20080140, 0x20080140);
    set_leaf(add_leaf(m, 0x80000006, 0, true), 0x48002200, 0x68004200,
             0x02006140, 0x00808140);
    add_caches(m, 0x8000001d);
    /* EAX and the core id in EBX are each CPU's own. */
    (void)add_leaf(m, 0x8000001e, 0, true);
    (void)add_feature_leaf(m, 0x80000021, 0, true);
}

static bool is_amd(void)
{
    uint32_t reg[NR_REGS];

    host_cpuid(0, 0, reg);
    return reg[REG_EBX] == signature_AMD_ebx ||
           reg[REG_EBX] == 0x6f677948; /* "Hygo", HygonGenuine */
}

static const struct named_model *find_model(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(named_models); i++)
        if (strcmp(named_models[i].name, name) == 0)
            return &named_models[i];
    return NULL;
}

int cpuid_model_init(struct cpuid_model *m, const char *name, unsigned nr_cpus,
                     struct err *err)
{
    const struct named_model *named = find_model(name);

    if (!named)
        return err_set(err, -EINVAL,
                       "unknown CPU model '%s' (husk-v3, husk-v2, host)", name);
    memset(m, 0, sizeof(*m));
    m->name = named->name;
    m->nr_cpus = nr_cpus;
    m->phys_bits = X86_PHYS_BITS;
    m->amd = is_amd();
    m->xcr0 = X86_XCR0_X87;
    choose_features(m, named->level);
    add_basic(m);
    add_xsave(m);
    add_hypervisor(m);
    add_extended(m);
    if (m->amd)
        add_amd(m);
    return 0;
}

void cpuid_limit_phys(struct cpuid_model *m, unsigned bits)
{
    if (bits >= m->phys_bits)
        return;
    m->phys_bits = bits;
    for (unsigned i = 0; i < m->nr_leaves; i++)
        if (m->leaf[i].leaf == 0x80000008)
            m->leaf[i].eax = (m->leaf[i].eax & ~0xffu) | bits;
}
