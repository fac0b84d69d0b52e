#include "x86/system.h"

/*
 * The CPUID instruction: the model's leaves with the bits that depend on the
 * CPU's state or number (Intel SDM vol. 2, CPUID). Freestanding, unlike
 * cpuid.c which builds the model.
 */

enum {
    MSR_APIC_BASE = 0x1b,
    APIC_ENABLED = 1 << 11,
    LEAF1_APIC = 1 << 9, /* EDX */
    LEAF1_OSXSAVE = 1 << 27,
    LEAF1_APIC_ID_SHIFT = 24,
    XSAVE_LEGACY_SIZE = 576, /* legacy region and header */
    XSAVE_AVX_SIZE = 256
};

static void clear_leaf(struct cpuid_leaf *l, uint32_t leaf, uint32_t subleaf)
{
    l->leaf = leaf;
    l->subleaf = subleaf;
    l->any_subleaf = false;
    l->eax = 0;
    l->ebx = 0;
    l->ecx = 0;
    l->edx = 0;
}

static const struct cpuid_leaf *find_leaf(const struct cpuid_model *m,
                                          uint32_t leaf, uint32_t subleaf)
{
    for (unsigned i = 0; i < m->nr_leaves; i++)
        if (m->leaf[i].leaf == leaf &&
            (m->leaf[i].any_subleaf || m->leaf[i].subleaf == subleaf))
            return &m->leaf[i];
    return NULL;
}

struct cpuid_leaf cpuid_lookup(const struct cpuid_model *m, uint32_t leaf,
                               uint32_t subleaf)
{
    const struct cpuid_leaf *found = find_leaf(m, leaf, subleaf);
    struct cpuid_leaf l;

    clear_leaf(&l, leaf, subleaf);
    if (found) {
        l.any_subleaf = found->any_subleaf;
        l.eax = found->eax;
        l.ebx = found->ebx;
        l.ecx = found->ecx;
        l.edx = found->edx;
    }
    return l;
}

/* Of the standard and the compacted format alike: AVX is the only extended
 * component, so it follows the header in both. */
static uint32_t xsave_size(uint64_t xcr0)
{
    return XSAVE_LEGACY_SIZE + (xcr0 & X86_XCR0_AVX ? XSAVE_AVX_SIZE : 0);
}

/* One that is switched off looks as if it were not there (SDM vol. 3, 10.4.3).
 */
static bool has_apic(struct x86_cpu *cpu)
{
    uint64_t base = 0;

    return cpu->ops->rdmsr(cpu, MSR_APIC_BASE, &base) < 0 ||
           (base & APIC_ENABLED);
}

/* What this CPU adds to a leaf that the model has, or hides of it. */
static void add_dynamic(struct x86_cpu *cpu, struct cpuid_leaf *l)
{
    const struct x86_state *st = cpu->st;

    switch (l->leaf) {
    case 1:
        l->ebx |= cpu->apic_id << LEAF1_APIC_ID_SHIFT;
        if (st->cr4 & X86_CR4_OSXSAVE)
            l->ecx |= LEAF1_OSXSAVE;
        if (!has_apic(cpu))
            l->edx &= ~(uint32_t)LEAF1_APIC;
        break;
    case 0x80000001: /* AMD has a copy there */
        if (!has_apic(cpu))
            l->edx &= ~(uint32_t)LEAF1_APIC;
        break;
    case 0xb: l->edx = cpu->apic_id; break;
    case 0xd:
        if (l->subleaf == 0 ? l->eax != 0 : l->subleaf == 1)
            l->ebx = xsave_size(st->xcr0);
        break;
    case 0x8000001e:
        l->eax = cpu->apic_id;
        l->ebx |= cpu->apic_id & 0xff;
        break;
    default: break;
    }
}

void x86_cpuid(struct x86_cpu *cpu)
{
    struct x86_state *st = cpu->st;
    uint32_t leaf = (uint32_t)st->gpr[X86_RAX];
    uint32_t subleaf = (uint32_t)st->gpr[X86_RCX];
    struct cpuid_leaf l = cpuid_lookup(cpu->model, leaf, subleaf);

    if (find_leaf(cpu->model, leaf, subleaf))
        add_dynamic(cpu, &l);
    st->gpr[X86_RAX] = l.eax;
    st->gpr[X86_RBX] = l.ebx;
    st->gpr[X86_RCX] = l.ecx;
    st->gpr[X86_RDX] = l.edx;
}
