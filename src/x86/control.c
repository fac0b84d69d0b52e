#include "x86/paging.h"
#include "x86/system.h"

/*
 * Control and debug registers, XCR0, and the instructions that drop cached
 * translations (Intel SDM vol. 3, 2.5, 4.10 and 18.2; vol. 2, MOV CR, MOV DR,
 * XSETBV, INVPCID). Each register is checked completely before it is changed.
 */

#define CR0_KNOWN                                                              \
    (X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET |          \
     X86_CR0_NE | X86_CR0_WP | X86_CR0_AM | X86_CR0_NW | X86_CR0_CD |          \
     X86_CR0_PG)
/* CR4 bits that need no feature, or one that every model has. */
#define CR4_ALWAYS                                                             \
    (X86_CR4_TSD | X86_CR4_DE | X86_CR4_PSE | X86_CR4_PAE | X86_CR4_MCE |      \
     X86_CR4_PGE | X86_CR4_PCE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT)
/* What a change of CR0 or CR4 makes stale, or puts into cached rights. */
#define CR0_TLB (X86_CR0_PG | X86_CR0_WP | X86_CR0_PE)
#define CR4_TLB                                                                \
    (X86_CR4_PGE | X86_CR4_PAE | X86_CR4_PSE | X86_CR4_PCIDE | X86_CR4_SMEP |  \
     X86_CR4_SMAP)
/* Writing these loads the PDPTEs again (SDM vol. 3, 4.4.1). */
#define CR0_PDPTE (X86_CR0_PG | X86_CR0_CD | X86_CR0_NW)
#define CR4_PDPTE (X86_CR4_PAE | X86_CR4_PGE | X86_CR4_PSE | X86_CR4_SMEP)

#define CR3_KEEP     ((uint64_t)1 << 63) /* do not flush, with CR4.PCIDE */
#define CR3_PCID     0xfffu
#define CR3_RESERVED ~(((uint64_t)1 << X86_PHYS_BITS) - 1)

#define DR7_KNOWN 0xffff27ffu
#define DR6_KNOWN 0x0000e00fu

enum { CR8_MAX = 15, INVPCID_TYPES = 4 };

static int gp(struct x86_cpu *cpu)
{
    return x86_fault_err(cpu, X86_GP, 0);
}

static int check_cpl0(struct x86_cpu *cpu)
{
    return cpu->st->cpl ? gp(cpu) : X86_OK;
}

static bool is_pae(const struct x86_state *st, uint64_t cr0, uint64_t cr4)
{
    return (cr0 & X86_CR0_PG) && (cr4 & X86_CR4_PAE) &&
           !(st->msr.efer & X86_EFER_LME);
}

/* -- Control registers ----------------------------------------------------- */

int x86_read_cr(struct x86_cpu *cpu, unsigned cr, uint64_t *val)
{
    const struct x86_state *st = cpu->st;

    if (cr == 1 || (cr > 4 && cr != 8))
        return x86_fault(cpu, X86_UD);
    if (check_cpl0(cpu) < 0)
        return X86_FAULT;
    switch (cr) {
    case 0: *val = st->cr0; break;
    case 2: *val = st->cr2; break;
    case 3: *val = st->cr3; break;
    case 4: *val = st->cr4; break;
    default: *val = cpu->ops->get_cr8(cpu); break;
    }
    return X86_OK;
}

/* Rules on CR0.PG with EFER.LME (SDM vol. 3, 10.8.5). */
static bool may_page(const struct x86_state *st, uint64_t cr0)
{
    bool on = cr0 & X86_CR0_PG;

    if (on == !!(st->cr0 & X86_CR0_PG))
        return true;
    if (on && (st->msr.efer & X86_EFER_LME))
        return (st->cr4 & X86_CR4_PAE) && !(st->seg[X86_CS].attr & X86_SEG_L);
    if (on)
        return true;
    return !(st->cr4 & X86_CR4_PCIDE) && !x86_64bit_mode(st);
}

static int write_cr0(struct x86_cpu *cpu, uint64_t val)
{
    struct x86_state *st = cpu->st;
    uint64_t changed;

    if (val >> 32 || ((val & X86_CR0_PG) && !(val & X86_CR0_PE)) ||
        ((val & X86_CR0_NW) && !(val & X86_CR0_CD)) || !may_page(st, val))
        return gp(cpu);
    val = (val & CR0_KNOWN) | X86_CR0_ET;
    changed = val ^ st->cr0;
    if ((changed & CR0_PDPTE) && is_pae(st, val, st->cr4) &&
        x86_load_pdptes(st, cpu->gmem) < 0)
        return gp(cpu);
    st->cr0 = val;
    if ((val & X86_CR0_PG) && (st->msr.efer & X86_EFER_LME))
        st->msr.efer |= X86_EFER_LMA;
    else
        st->msr.efer &= ~(uint64_t)X86_EFER_LMA;
    if (changed & CR0_TLB)
        cpu->ops->flush(cpu, X86_FLUSH_ALL, 0, 0);
    if (changed)
        cpu->ops->mode_changed(cpu);
    return X86_OK;
}

static int write_cr3(struct x86_cpu *cpu, uint64_t val)
{
    struct x86_state *st = cpu->st;
    bool keep = (st->cr4 & X86_CR4_PCIDE) && (val & CR3_KEEP);
    uint64_t old = st->cr3;

    if (keep)
        val &= ~CR3_KEEP;
    if (x86_long_mode(st) && (val & CR3_RESERVED))
        return gp(cpu);
    if (!x86_long_mode(st))
        val &= 0xffffffffu;
    st->cr3 = val;
    if (is_pae(st, st->cr0, st->cr4) && x86_load_pdptes(st, cpu->gmem) < 0) {
        st->cr3 = old;
        return gp(cpu);
    }
    cpu->ops->cr3_loaded(cpu, keep);
    return X86_OK;
}

static uint64_t cr4_known(const struct cpuid_model *m)
{
    uint64_t known = CR4_ALWAYS;

    known |= cpuid_has(m, CPUID_UMIP) ? X86_CR4_UMIP : 0;
    known |= cpuid_has(m, CPUID_FSGSBASE) ? X86_CR4_FSGSBASE : 0;
    known |= cpuid_has(m, CPUID_PCID) ? X86_CR4_PCIDE : 0;
    known |= cpuid_has(m, CPUID_XSAVE) ? X86_CR4_OSXSAVE : 0;
    known |= cpuid_has(m, CPUID_SMEP) ? X86_CR4_SMEP : 0;
    known |= cpuid_has(m, CPUID_SMAP) ? X86_CR4_SMAP : 0;
    return known;
}

static int write_cr4(struct x86_cpu *cpu, uint64_t val)
{
    struct x86_state *st = cpu->st;
    uint64_t changed = val ^ st->cr4;

    if (val & ~cr4_known(cpu->model))
        return gp(cpu);
    if (x86_long_mode(st) && !(val & X86_CR4_PAE))
        return gp(cpu);
    if ((changed & val & X86_CR4_PCIDE) &&
        (!x86_long_mode(st) || (st->cr3 & CR3_PCID)))
        return gp(cpu);
    if ((changed & CR4_PDPTE) && is_pae(st, st->cr0, val) &&
        x86_load_pdptes(st, cpu->gmem) < 0)
        return gp(cpu);
    st->cr4 = val;
    if (changed & CR4_TLB)
        cpu->ops->flush(cpu, X86_FLUSH_ALL, 0, 0);
    if (changed)
        cpu->ops->mode_changed(cpu);
    return X86_OK;
}

int x86_write_cr(struct x86_cpu *cpu, unsigned cr, uint64_t val)
{
    if (cr == 1 || (cr > 4 && cr != 8))
        return x86_fault(cpu, X86_UD);
    if (check_cpl0(cpu) < 0)
        return X86_FAULT;
    switch (cr) {
    case 0: return write_cr0(cpu, val);
    case 3: return write_cr3(cpu, val);
    case 4: return write_cr4(cpu, val);
    case 2: cpu->st->cr2 = val; return X86_OK;
    default: break;
    }
    if (val > CR8_MAX)
        return gp(cpu);
    cpu->ops->set_cr8(cpu, val);
    return X86_OK;
}

/* LMSW can set PE but not clear it. */
int x86_lmsw(struct x86_cpu *cpu, uint16_t val)
{
    uint64_t mask = X86_CR0_MP | X86_CR0_EM | X86_CR0_TS;
    uint64_t cr0 = cpu->st->cr0;

    if (check_cpl0(cpu) < 0)
        return X86_FAULT;
    return write_cr0(cpu, (cr0 & ~mask) | (val & (mask | X86_CR0_PE)));
}

int x86_clts(struct x86_cpu *cpu)
{
    struct x86_state *st = cpu->st;

    if (check_cpl0(cpu) < 0)
        return X86_FAULT;
    if (st->cr0 & X86_CR0_TS) {
        st->cr0 &= ~(uint64_t)X86_CR0_TS;
        cpu->ops->mode_changed(cpu);
    }
    return X86_OK;
}

/* -- Debug registers ------------------------------------------------------- */

/* DR4 and DR5 are DR6 and DR7 unless CR4.DE is set. DR7.GD turns an access
 * into #DB, the one fault that leaves a trace: DR6.BD. */
static int check_dr(struct x86_cpu *cpu, unsigned *dr)
{
    struct x86_state *st = cpu->st;

    if (*dr > 7 || ((*dr == 4 || *dr == 5) && (st->cr4 & X86_CR4_DE)))
        return x86_fault(cpu, X86_UD);
    if (check_cpl0(cpu) < 0)
        return X86_FAULT;
    if (st->dr7 & X86_DR7_GD) {
        x86_debug_cause(st, X86_DR6_BD);
        return x86_fault(cpu, X86_DB);
    }
    if (*dr == 4 || *dr == 5)
        *dr += 2;
    return X86_OK;
}

int x86_read_dr(struct x86_cpu *cpu, unsigned dr, uint64_t *val)
{
    const struct x86_state *st = cpu->st;

    if (check_dr(cpu, &dr) < 0)
        return X86_FAULT;
    if (dr < 4)
        *val = st->dr[dr];
    else
        *val = dr == 6 ? st->dr6 : st->dr7;
    return X86_OK;
}

int x86_write_dr(struct x86_cpu *cpu, unsigned dr, uint64_t val)
{
    struct x86_state *st = cpu->st;

    if (check_dr(cpu, &dr) < 0)
        return X86_FAULT;
    if (dr >= 6 && val >> 32)
        return gp(cpu);
    if (dr == 6) {
        st->dr6 = (val & DR6_KNOWN) | X86_DR6_FIXED;
        return X86_OK;
    }
    if (dr == 7)
        st->dr7 = (val & DR7_KNOWN) | X86_DR7_FIXED;
    else
        st->dr[dr] = val;
    cpu->ops->mode_changed(cpu);
    return X86_OK;
}

/* -- XCR0 ------------------------------------------------------------------ */

int x86_xsetbv(struct x86_cpu *cpu)
{
    struct x86_state *st = cpu->st;
    uint64_t val = (uint32_t)st->gpr[X86_RAX] | st->gpr[X86_RDX] << 32;

    if (!(st->cr4 & X86_CR4_OSXSAVE))
        return x86_fault(cpu, X86_UD);
    if (check_cpl0(cpu) < 0)
        return X86_FAULT;
    if ((uint32_t)st->gpr[X86_RCX] != 0 || !(val & X86_XCR0_X87) ||
        (val & ~cpu->model->xcr0) ||
        ((val & X86_XCR0_AVX) && !(val & X86_XCR0_SSE)))
        return gp(cpu);
    st->xcr0 = val;
    cpu->ops->mode_changed(cpu);
    return X86_OK;
}

/* XCR1 is XCR0 & XINUSE. Every component counts as in use, which the SDM
 * allows for those it cannot tell (vol. 1, 13.6). */
int x86_xgetbv(struct x86_cpu *cpu)
{
    struct x86_state *st = cpu->st;
    uint32_t max = cpuid_has(cpu->model, CPUID_XGETBV1) ? 1 : 0;

    if (!(st->cr4 & X86_CR4_OSXSAVE))
        return x86_fault(cpu, X86_UD);
    if ((uint32_t)st->gpr[X86_RCX] > max)
        return gp(cpu);
    st->gpr[X86_RAX] = (uint32_t)st->xcr0;
    st->gpr[X86_RDX] = st->xcr0 >> 32;
    return X86_OK;
}

/* -- Cached translations --------------------------------------------------- */

static unsigned current_pcid(const struct x86_state *st)
{
    return st->cr4 & X86_CR4_PCIDE ? (unsigned)st->cr3 & CR3_PCID : 0;
}

int x86_invlpg(struct x86_cpu *cpu, gva_t gva)
{
    const struct x86_state *st = cpu->st;

    if (check_cpl0(cpu) < 0)
        return X86_FAULT;
    if (x86_is_canonical(gva))
        cpu->ops->flush(cpu, X86_FLUSH_PAGE, gva, current_pcid(st));
    return X86_OK;
}

int x86_invpcid(struct x86_cpu *cpu, uint64_t type, const uint64_t desc[2])
{
    static const uint8_t kinds[INVPCID_TYPES] = {X86_FLUSH_PAGE_PCID,
                                                 X86_FLUSH_PCID, X86_FLUSH_ALL,
                                                 X86_FLUSH_NONGLOBAL};
    const struct x86_state *st = cpu->st;
    uint64_t pcid = desc[0];

    if (!cpuid_has(cpu->model, CPUID_INVPCID))
        return x86_fault(cpu, X86_UD);
    if (check_cpl0(cpu) < 0)
        return X86_FAULT;
    if (type >= INVPCID_TYPES || pcid > CR3_PCID)
        return gp(cpu);
    if (type < 2 && pcid && !(st->cr4 & X86_CR4_PCIDE))
        return gp(cpu);
    if (type == 0 && !x86_is_canonical(desc[1]))
        return gp(cpu);
    cpu->ops->flush(cpu, (enum x86_flush)kinds[type], desc[1], (unsigned)pcid);
    return X86_OK;
}

/* -- Odds and ends --------------------------------------------------------- */

/* A base is no part of the mode, so nobody is told. */
int x86_swapgs(struct x86_cpu *cpu)
{
    struct x86_state *st = cpu->st;
    uint64_t base = st->seg[X86_GS].base;

    if (!x86_64bit_mode(st))
        return x86_fault(cpu, X86_UD);
    if (check_cpl0(cpu) < 0)
        return X86_FAULT;
    st->seg[X86_GS].base = st->msr.kernel_gs_base;
    st->msr.kernel_gs_base = base;
    return X86_OK;
}

int x86_rdpmc(struct x86_cpu *cpu)
{
    return gp(cpu);
}

/* -- Calls to the host ------------------------------------------------------
 */

/* Linux: Documentation/virt/kvm/x86/hypercalls.rst, uapi/linux/kvm_para.h */
enum { HC_VAPIC_POLL_IRQ = 1, HC_EPERM = 1, HC_ENOSYS = 1000 };

void x86_hypercall(struct x86_cpu *cpu)
{
    struct x86_state *st = cpu->st;
    int64_t ret = -HC_ENOSYS;

    if (st->cpl)
        ret = -HC_EPERM;
    else if (st->gpr[X86_RAX] == HC_VAPIC_POLL_IRQ)
        ret = 0;
    st->gpr[X86_RAX] = x86_64bit_mode(st) ? (uint64_t)ret : (uint32_t)ret;
}
