#ifndef HUSK_X86_CPUID_H
#define HUSK_X86_CPUID_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"

/*
 * Named CPU models: what CPUID says, the same under every engine. The default
 * is husk-v3 (x86-64-v3 plus AES, SHA, PCLMUL, FSGSBASE, RDRAND/RDSEED, ADX,
 * PCID, SMEP/SMAP/UMIP, 1-GiB pages, as the host has them).
 */
struct cpuid_leaf {
    uint32_t leaf, subleaf;
    bool any_subleaf;
    uint32_t eax, ebx, ecx, edx;
};

enum { CPUID_MAX_LEAVES = 64 };

/* Features that a translator or an instruction check asks for by name. */
enum cpuid_feature {
#define CPUID_FEATURE(name, leaf, subleaf, reg, bit) CPUID_##name,
#include "x86/cpuid_features.def"
#undef CPUID_FEATURE
    CPUID_NR_FEATURES
};

struct cpuid_model {
    const char *name;
    struct cpuid_leaf leaf[CPUID_MAX_LEAVES];
    unsigned nr_leaves;
    bool has[CPUID_NR_FEATURES];
    uint64_t xcr0;      /* bits that XSETBV may set */
    unsigned phys_bits; /* MAXPHYADDR */
    unsigned nr_cpus;
    bool amd; /* vendor where AMD and Intel differ */
};

/*
 * Build the model called name (husk-v3, husk-v2, host) for this host and a
 * machine of nr_cpus. Features that the host lacks are left out. Includes the
 * KVM paravirtual leaves 0x40000000, 0x40000001, 0x40000010. -EINVAL with err
 * for an unknown name.
 */
MUST_CHECK int cpuid_model_init(struct cpuid_model *m, const char *name,
                                unsigned nr_cpus, struct err *err);

/* Advertise fewer physical address bits than the CPU has. */
void cpuid_limit_phys(struct cpuid_model *m, unsigned bits);

static inline bool cpuid_has(const struct cpuid_model *m, enum cpuid_feature f)
{
    return m->has[f];
}

/* The static values of a leaf (zeroes if it is not in the model). */
struct cpuid_leaf cpuid_lookup(const struct cpuid_model *m, uint32_t leaf,
                               uint32_t subleaf);

#endif
