#include "guest.h"

/* What CPUID says must be so: what is advertised works, what is not raises
 * #UD or #GP; leaves and MSRs agree with each other. */

static void at(uint64_t code)
{
    __asm__ volatile("pushq %%rbx\n call *%0\n popq %%rbx" ::"a"(code)
                     : "rcx", "rdx", "rsi", "rdi", "memory", "cc");
}

CODE(i_popcnt, "popcnt %eax, %ecx\n ret");
CODE(i_crc32, "crc32 %eax, %ecx\n ret");
CODE(i_movbe, "movbe -8(%rsp), %ecx\n ret");
CODE(i_pclmul, "pclmulqdq $0, %xmm0, %xmm1\n ret");
CODE(i_aes, "aesenc %xmm0, %xmm1\n ret");
CODE(i_sha, "sha1nexte %xmm0, %xmm1\n ret");
CODE(i_avx, "vaddps %ymm0, %ymm1, %ymm2\n ret");
CODE(i_avx2, "vpaddd %ymm0, %ymm1, %ymm2\n ret");
CODE(i_fma, "vfmadd132ps %ymm0, %ymm1, %ymm2\n ret");
CODE(i_f16c, "vcvtph2ps %xmm0, %ymm1\n ret");
CODE(i_bmi1, "andn %eax, %ecx, %edx\n ret");
CODE(i_bmi2, "pext %eax, %ecx, %edx\n ret");
CODE(i_adx, "adcx %eax, %ecx\n ret");
CODE(i_rdrand, "rdrand %eax\n ret");
CODE(i_rdseed, "rdseed %eax\n ret");
CODE(i_clflushopt, "clflushopt -8(%rsp)\n ret");
CODE(i_rdtscp, "rdtscp\n ret");
CODE(i_avx512, "vpaddd %zmm0, %zmm1, %zmm2\n ret");
CODE(i_gfni, "gf2p8mulb %xmm0, %xmm1\n ret");
CODE(i_vaes, "vaesenc %ymm0, %ymm1, %ymm2\n ret");
CODE(i_rdpid, "rdpid %rax\n ret");
CODE(i_monitor, "movq %rsp, %rax\n xorl %ecx, %ecx\n monitor\n ret");
CODE(i_vmxoff, "vmxoff\n ret");
CODE(i_clzero, "leaq -64(%rsp), %rax\n clzero\n ret");
CODE(i_rdpru, "xorl %ecx, %ecx\n .byte 0x0f, 0x01, 0xfd\n ret");
CODE(i_sse4a, "extrq $4, $4, %xmm1\n ret");
CODE(i_xop, ".byte 0x8f, 0xe8, 0x78, 0xc0, 0xc8, 1\n ret");
CODE(i_3dnow, ".byte 0x0f, 0x0f, 0xc0, 0x9e\n emms\n ret");
CODE(i_rtm, "xbegin 1f\n xend\n 1: ret");
CODE(i_rdpkru, "xorl %ecx, %ecx\n rdpkru\n ret");
CODE(i_cmpxchg16b, "subq $40, %rsp\n andq $~15, %rsp\n"
                   "lock cmpxchg16b (%rsp)\n ud2");

enum reg { EAX, EBX, ECX, EDX };

struct feature {
    const char *name;
    const uint8_t *code;
    uint32_t leaf, sub;
    enum reg reg;
    unsigned bit;
};

#define F(name, leaf, sub, reg, bit)                                           \
    {                                                                          \
#        name, i_##name, leaf, sub, reg, bit                                   \
    }

static const struct feature features[] = {
    F(popcnt, 1, 0, ECX, 23),
    F(crc32, 1, 0, ECX, 20),
    F(movbe, 1, 0, ECX, 22),
    F(pclmul, 1, 0, ECX, 1),
    F(aes, 1, 0, ECX, 25),
    F(sha, 7, 0, EBX, 29),
    F(avx, 1, 0, ECX, 28),
    F(avx2, 7, 0, EBX, 5),
    F(fma, 1, 0, ECX, 12),
    F(f16c, 1, 0, ECX, 29),
    F(bmi1, 7, 0, EBX, 3),
    F(bmi2, 7, 0, EBX, 8),
    F(adx, 7, 0, EBX, 19),
    F(rdrand, 1, 0, ECX, 30),
    F(rdseed, 7, 0, EBX, 18),
    F(clflushopt, 7, 0, EBX, 23),
    F(rdtscp, 0x80000001, 0, EDX, 27),
    F(gfni, 7, 0, ECX, 8),
    F(vaes, 7, 0, ECX, 9),
    F(rdpid, 7, 0, ECX, 22),
    F(clzero, 0x80000008, 0, EBX, 0),
    F(rdpru, 0x80000008, 0, EBX, 4),
    F(sse4a, 0x80000001, 0, ECX, 6),
    F(xop, 0x80000001, 0, ECX, 11),
    F(3dnow, 0x80000001, 0, EDX, 31),
    F(rtm, 7, 0, EBX, 11),
};

static bool advertised(const struct feature *f)
{
    struct cpuid c;
    const uint32_t *regs = &c.eax;

    if (f->leaf < 0x80000000 ? cpuid(0, 0).eax < f->leaf
                             : cpuid(0x80000000, 0).eax < f->leaf)
        return false;
    c = cpuid(f->leaf, f->sub);
    return regs[f->reg] >> f->bit & 1;
}

static void test_features(void)
{
    for (unsigned i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
        const struct feature *f = &features[i];
        unsigned vector = (unsigned)guarded(at, (uint64_t)f->code).f.vector;

        if (vector == (advertised(f) ? NO_FAULT : 6))
            continue;
        print(f->name);
        print(advertised(f) ? ": advertised, vector "
                            : ": not advertised, vector ");
        print_hex(vector);
        print("\n");
        CHECK(false);
    }
    CHECK_EQ(guarded(at, (uint64_t)i_vmxoff).f.vector, 6);
    CHECK_EQ(guarded(at, (uint64_t)i_avx512).f.vector, 6); /* not in XCR0 */
}

static void rdmsr_it(uint64_t msr)
{
    (void)rdmsr((uint32_t)msr);
}

struct write {
    uint32_t msr;
    uint64_t v;
};

static void wrmsr_it(uint64_t arg)
{
    const struct write *w = (const struct write *)arg;

    wrmsr(w->msr, w->v);
}

static unsigned write_vector(uint32_t msr, uint64_t v)
{
    struct write w = {msr, v};

    return (unsigned)guarded(wrmsr_it, (uint64_t)&w).f.vector;
}

static void test_msrs(void)
{
    static const uint32_t plain[] = {
        0x10,       0x1b,       0x174,      0x175,      0x176,
        0x277,      0x2ff,      0xc0000080, 0xc0000081, 0xc0000082,
        0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102, 0xfe};

    for (unsigned i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
        CHECK_EQ(guarded(rdmsr_it, plain[i]).f.vector, NO_FAULT);
    CHECK_EQ(guarded(rdmsr_it, 0x13371337).f.vector, 13);
    CHECK_EQ(guarded(rdmsr_it, 0xc0fffff0).f.vector, 13);
    CHECK_EQ(write_vector(0x13371337, 0), 13);
    CHECK_EQ(write_vector(0xfe, 0), 13); /* MTRRcap is read-only */
    CHECK_EQ(write_vector(0xc0000080, 1ull << 40), 13);
    CHECK_EQ(write_vector(0x277, 0x0202020202020202), 13); /* bad type */
    CHECK_EQ(write_vector(0x277, 0x0007040600070406), NO_FAULT);
    CHECK_EQ(rdmsr(0x277), 0x0007040600070406);
    /* LME cannot change while paging is on. */
    CHECK_EQ(write_vector(0xc0000080, rdmsr(0xc0000080) & ~0x100ull), 13);
    CHECK_EQ(rdmsr(0xc0000080) & 0x500, 0x500);
}

static void set_cr0(uint64_t v)
{
    WRITE_CR(0, v);
}

static void set_cr4(uint64_t v)
{
    WRITE_CR(4, v);
}

static void test_control(void)
{
    uint64_t cr0 = READ_CR(0), cr4 = READ_CR(4);

    CHECK_EQ(guarded(set_cr0, cr0 & ~1ull).f.vector, 13); /* PG without PE */
    CHECK_EQ(guarded(set_cr0, (cr0 | 1 << 29) & ~(1ull << 30)).f.vector, 13);
    CHECK_EQ(guarded(set_cr0, cr0 & ~0x10ull).f.vector, NO_FAULT);
    CHECK_EQ(READ_CR(0), cr0 | 0x10); /* ET is 1 whatever is written */
    CHECK_EQ(guarded(set_cr4, cr4 & ~0x20ull).f.vector, 13); /* PAE */
    CHECK_EQ(guarded(set_cr4, cr4 | 0x8000).f.vector, 13);
    if (!has_smap())
        CHECK_EQ(guarded(set_cr4, cr4 | 0x200000).f.vector, 13);
    if (!has_umip())
        CHECK_EQ(guarded(set_cr4, cr4 | 0x800).f.vector, 13);
    if (!(cpuid(7, 0).ecx & 8)) /* protection keys */
        CHECK_EQ(guarded(set_cr4, cr4 | 0x400000).f.vector, 13);
    CHECK_EQ(READ_CR(4), cr4);
    /* CPUID mirrors CR4.OSXSAVE. */
    if (has_xsave()) {
        CHECK_EQ(cpuid(1, 0).ecx >> 27 & 1, 1);
        WRITE_CR(4, cr4 & ~0x40000ull);
        CHECK_EQ(cpuid(1, 0).ecx >> 27 & 1, 0);
        CHECK_EQ(guarded(at, (uint64_t)i_avx).f.vector, 6);
        WRITE_CR(4, cr4);
    }
}

static void test_leaves(void)
{
    struct cpuid c = cpuid(0, 0), d = cpuid(0x80000000, 0);

    CHECK(c.eax >= 7);
    CHECK(d.eax >= 0x80000008);
    c = cpuid(0x80000008, 0);
    CHECK((c.eax & 0xff) >= 36);
    CHECK_EQ(c.eax >> 8 & 0xff, 48);
    CHECK(cpuid(0x80000001, 0).edx >> 29 & 1); /* long mode */
    CHECK(cpuid(0x80000001, 0).edx >> 20 & 1); /* NX */
    CHECK_EQ(cpuid(1, 0).ebx >> 24, 0);        /* APIC id */
}

/* An APIC that is switched off is not advertised. */
static void test_apic_bit(void)
{
    uint64_t base = rdmsr(0x1b);

    CHECK_EQ(cpuid(1, 0).edx >> 9 & 1, 1);
    wrmsr(0x1b, base & ~0x800ull);
    CHECK_EQ(cpuid(1, 0).edx >> 9 & 1, 0);
    wrmsr(0x1b, base);
    CHECK_EQ(cpuid(1, 0).edx >> 9 & 1, 1);
}

/* What is written to the TSC shows in TSC_ADJUST, and the other way round. */
static void test_tsc_adjust(void)
{
    uint64_t tsc;

    if (!(cpuid(7, 0).ebx >> 1 & 1))
        return;
    CHECK_EQ(rdmsr(0x3b), 0);
    tsc = rdtsc();
    wrmsr(0x3b, 1ull << 50);
    CHECK(rdtsc() - tsc >= 1ull << 50);
    CHECK_EQ(rdmsr(0x3b), 1ull << 50);
    wrmsr(0x10, 0);
    CHECK(rdmsr(0x3b) >> 63); /* minus what it was */
    wrmsr(0x3b, 0);
    CHECK(rdtsc() - tsc < 1ull << 50);
}

CODE(i_vmcall, "vmcall\n ret");
CODE(i_vmmcall, "vmmcall\n ret");

static uint64_t hypercall(const uint8_t *code, uint64_t nr)
{
    uint64_t rax = nr;

    __asm__ volatile("call *%1" : "+a"(rax) : "r"(code) : "memory", "cc");
    return rax;
}

/* Where CPUID shows KVM, either vendor's call answers. */
static void test_hypercall(void)
{
    if (cpuid(0x40000000, 0).ebx != 0x4b4d564b)
        return;
    CHECK_EQ(hypercall(i_vmcall, 1), 0);
    CHECK_EQ(hypercall(i_vmmcall, 1), 0);
    CHECK_EQ(hypercall(i_vmmcall, 12345), (uint64_t)-1000);
}

/* CPUID changes no flags and clears the upper halves. */
static void test_side_effects(void)
{
    uint64_t a = ~0ull, b = ~0ull, c = 0, d = ~0ull, flags;

    a = 0xffffffff00000000;
    __asm__ volatile("stc\n cpuid\n pushfq\n popq %4"
                     : "+a"(a), "+b"(b), "+c"(c), "+d"(d), "=r"(flags));
    CHECK_EQ(flags & 1, 1);
    CHECK_EQ((a | b | c | d) >> 32, 0);
}

int main(void)
{
    test_features();
    test_msrs();
    test_control();
    test_leaves();
    test_side_effects();
    test_apic_bit();
    test_tsc_adjust();
    test_hypercall();
    (void)i_monitor;
    (void)i_rdpkru;
    (void)i_cmpxchg16b;
    return 0;
}
