#include "x86/cpuid.h"

#include <cpuid.h>
#include <errno.h>
#include <string.h>

#include "tests/unit/test.h"

static struct cpuid_model make(const char *name, unsigned nr_cpus)
{
    struct cpuid_model m;
    struct err err;

    assert_int_equal(cpuid_model_init(&m, name, nr_cpus, &err), 0);
    return m;
}

static const char *const names[] = {"husk-v3", "husk-v2", "host"};

static void an_unknown_name_is_refused_with_the_names_there_are(void **state)
{
    struct cpuid_model m;
    struct err err;

    (void)state;
    assert_int_equal(cpuid_model_init(&m, "pentium", 1, &err), -EINVAL);
    assert_non_null(strstr(err.text, "pentium"));
    assert_non_null(strstr(err.text, "husk-v3"));
}

static void vendor_and_family_are_the_host_s(void **state)
{
    struct cpuid_model m = make("husk-v3", 1);
    struct cpuid_leaf l = cpuid_lookup(&m, 0, 0);
    uint32_t a, b, c, d;

    (void)state;
    __cpuid(0, a, b, c, d);
    assert_int_equal(l.ebx, b);
    assert_int_equal(l.ecx, c);
    assert_int_equal(l.edx, d);
    __cpuid(1, a, b, c, d);
    assert_int_equal(cpuid_lookup(&m, 1, 0).eax, a);
}

static void the_brand_is_husk_s(void **state)
{
    struct cpuid_model m = make("husk-v3", 1);
    struct cpuid_leaf l = cpuid_lookup(&m, 0x80000002, 0);

    (void)state;
    assert_memory_equal(&l.eax, "husk virtual CPU", 16);
}

static void a_hypervisor_is_announced_with_kvm_s_interface(void **state)
{
    struct cpuid_model m = make("husk-v3", 1);
    struct cpuid_leaf l = cpuid_lookup(&m, 0x40000000, 0);

    (void)state;
    assert_true(cpuid_lookup(&m, 1, 0).ecx >> 31);
    assert_memory_equal(&l.ebx, "KVMKVMKVM\0\0", 12);
    assert_int_equal(cpuid_lookup(&m, 0x40000001, 0).eax, 0x0100004b);
    assert_true(cpuid_lookup(&m, 0x40000010, 0).eax > 100000);
}

/* Bits of leaf 7 EBX, ECX, EDX, 0xd.1 EAX and 0x80000001 ECX that no model may
 * ever show: what the translator does not do. */
static void what_is_not_done_is_not_advertised(void **state)
{
    static const struct {
        uint32_t leaf, subleaf;
        unsigned reg;
        uint32_t never;
    } bits[] = {
        /* MONITOR, VMX, SMX, EST, TM2, PDCM */
        {1, 0, 2, 1u << 3 | 1u << 5 | 1u << 6 | 1u << 7 | 1u << 8 | 1u << 15},
        /* VME, PSN, DS, ACPI, SS, TM, PBE */
        {1, 0, 3,
         1u << 1 | 1u << 18 | 1u << 21 | 1u << 22 | 1u << 27 | 1u << 29 |
             1u << 31},
        /* SGX, HLE, RTM, PQM, PQE, MPX, AVX-512, PT */
        {7, 0, 1,
         1u << 2 | 1u << 4 | 1u << 11 | 1u << 12 | 1u << 14 | 1u << 15 |
             1u << 16 | 1u << 17 | 1u << 21 | 1u << 25 | 0xdc000000u},
        /* AVX-512, PKU, OSPKE, WAITPKG, CET_SS, LA57, ENQCMD, KL, PKS */
        {7, 0, 2,
         1u << 1 | 1u << 3 | 1u << 4 | 1u << 5 | 1u << 6 | 1u << 7 | 1u << 11 |
             1u << 12 | 1u << 14 | 1u << 16 | 1u << 23 | 1u << 29 | 1u << 31},
        /* AVX-512, UINTR, CET_IBT, AMX */
        {7, 0, 3,
         1u << 2 | 1u << 3 | 1u << 5 | 1u << 8 | 1u << 20 | 0x3c00000u},
        /* XSAVES, XFD */
        {0xd, 1, 0, 1u << 3 | 1u << 4},
        /* SVM, XOP, SKINIT, FMA4, TBM, performance counters, MONITORX */
        {0x80000001, 0, 2,
         1u << 2 | 1u << 10 | 1u << 11 | 1u << 12 | 1u << 15 | 1u << 16 |
             1u << 21 | 1u << 23 | 1u << 24 | 1u << 28 | 1u << 29},
        /* 3DNow! */
        {0x80000001, 0, 3, 3u << 30},
        /* CLZERO, RDPRU, WBNOINVD, IBPB, IBRS, STIBP */
        {0x80000008, 0, 1,
         1u << 0 | 1u << 4 | 1u << 9 | 1u << 12 | 1u << 14 | 1u << 15},
    };

    (void)state;
    for (unsigned n = 0; n < ARRAY_LEN(names); n++) {
        struct cpuid_model m = make(names[n], 2);

        for (unsigned i = 0; i < ARRAY_LEN(bits); i++) {
            struct cpuid_leaf l =
                cpuid_lookup(&m, bits[i].leaf, bits[i].subleaf);
            const uint32_t reg[] = {l.eax, l.ebx, l.ecx, l.edx};

            assert_int_equal(reg[bits[i].reg] & bits[i].never, 0);
        }
        assert_int_equal(m.xcr0 & ~(uint64_t)7, 0);
    }
}

static void has_and_leaves_agree(void **state)
{
    (void)state;
    for (unsigned n = 0; n < ARRAY_LEN(names); n++) {
        struct cpuid_model m = make(names[n], 2);

#define CPUID_FEATURE(name, leaf_, subleaf_, reg_, bit_)                       \
    assert_int_equal(cpuid_has(&m, CPUID_##name),                              \
                     CPUID_REG_##reg_(cpuid_lookup(&m, leaf_, subleaf_)) >>    \
                         (bit_)&1);
#define CPUID_REG_EAX(l) (l).eax
#define CPUID_REG_EBX(l) (l).ebx
#define CPUID_REG_ECX(l) (l).ecx
#define CPUID_REG_EDX(l) (l).edx
#include "x86/cpuid_features.def"
#undef CPUID_FEATURE
    }
}

static void husk_v2_has_no_avx(void **state)
{
    struct cpuid_model m = make("husk-v2", 1);

    (void)state;
    assert_false(cpuid_has(&m, CPUID_AVX));
    assert_false(cpuid_has(&m, CPUID_XSAVE));
    assert_int_equal(m.xcr0, 1);
    assert_int_equal(cpuid_lookup(&m, 0xd, 0).eax, 0);
}

static void a_higher_model_has_all_of_a_lower_one(void **state)
{
    struct cpuid_model v2 = make("husk-v2", 1);
    struct cpuid_model v3 = make("husk-v3", 1);
    struct cpuid_model host = make("host", 1);

    (void)state;
    for (unsigned i = 0; i < CPUID_NR_FEATURES; i++) {
        assert_true(v3.has[i] || !v2.has[i]);
        assert_true(host.has[i] || !v3.has[i]);
    }
    assert_false(v3.has[CPUID_GFNI]);
}

static void topology_leaves_agree(void **state)
{
    static const unsigned counts[] = {1, 2, 3, 4, 8};

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(counts); i++) {
        unsigned nr = counts[i];
        struct cpuid_model m = make("husk-v3", nr);
        struct cpuid_leaf core = cpuid_lookup(&m, 0xb, 1);

        assert_int_equal(cpuid_lookup(&m, 1, 0).ebx >> 16 & 0xff, nr);
        assert_int_equal(cpuid_lookup(&m, 1, 0).edx >> 28 & 1, nr > 1);
        assert_int_equal(core.ebx, nr);
        assert_true(1u << core.eax >= nr);
        assert_int_equal(core.ecx >> 8 & 0xff, 2);
        assert_int_equal(cpuid_lookup(&m, 0xb, 2).ebx, 0);
        if (m.amd) {
            struct cpuid_leaf l = cpuid_lookup(&m, 0x80000008, 0);

            assert_int_equal((l.ecx & 0xff) + 1, nr);
            assert_int_equal(l.ecx >> 12 & 0xf, core.eax);
            /* 0x8000001e must be there: kernels take the core id from it. */
            assert_true(cpuid_lookup(&m, 0x8000001e, 0).any_subleaf);
        }
    }
}

static void maximum_leaves_are_honest(void **state)
{
    struct cpuid_model m = make("husk-v3", 1);
    uint32_t basic = cpuid_lookup(&m, 0, 0).eax;
    uint32_t extended = cpuid_lookup(&m, 0x80000000, 0).eax;
    uint32_t hypervisor = cpuid_lookup(&m, 0x40000000, 0).eax;

    (void)state;
    for (unsigned i = 0; i < m.nr_leaves; i++) {
        uint32_t leaf = m.leaf[i].leaf;

        assert_true(leaf <= basic ||
                    (leaf >= 0x40000000 && leaf <= hypervisor) ||
                    (leaf >= 0x80000000 && leaf <= extended));
    }
    assert_true(m.nr_leaves < CPUID_MAX_LEAVES);
}

static void kernels_find_nothing_to_mitigate(void **state)
{
    struct cpuid_model m = make("husk-v3", 1);

    (void)state;
    if (m.amd) {
        assert_true(cpuid_has(&m, CPUID_AUTOIBRS));
        assert_true(cpuid_has(&m, CPUID_SRSO_NO));
        assert_true(cpuid_has(&m, CPUID_BTC_NO));
        assert_true(cpuid_has(&m, CPUID_SSB_NO));
        assert_true(cpuid_has(&m, CPUID_TSA_SQ_NO));
        assert_true(cpuid_has(&m, CPUID_TSA_L1_NO));
        assert_false(cpuid_has(&m, CPUID_SPEC_CTRL));
    } else {
        assert_true(cpuid_has(&m, CPUID_ARCH_CAPABILITIES));
        assert_true(cpuid_has(&m, CPUID_SPEC_CTRL));
    }
}

static void unknown_leaves_are_zero(void **state)
{
    struct cpuid_model m = make("husk-v3", 1);
    struct cpuid_leaf l = cpuid_lookup(&m, 0x12345678, 9);

    (void)state;
    assert_int_equal(l.eax | l.ebx | l.ecx | l.edx, 0);
    l = cpuid_lookup(&m, 7, 1);
    assert_int_equal(l.eax | l.ebx | l.ecx | l.edx, 0);
}

static void address_bits_are_only_lowered(void **state)
{
    struct cpuid_model m = make("husk-v3", 1);
    uint32_t was = cpuid_lookup(&m, 0x80000008, 0).eax;

    (void)state;
    cpuid_limit_phys(&m, 52);
    assert_int_equal(cpuid_lookup(&m, 0x80000008, 0).eax, was);
    cpuid_limit_phys(&m, 40);
    assert_int_equal(m.phys_bits, 40);
    assert_int_equal(cpuid_lookup(&m, 0x80000008, 0).eax, (was & ~0xffu) | 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unknown_name_is_refused_with_the_names_there_are),
        cmocka_unit_test(vendor_and_family_are_the_host_s),
        cmocka_unit_test(the_brand_is_husk_s),
        cmocka_unit_test(a_hypervisor_is_announced_with_kvm_s_interface),
        cmocka_unit_test(what_is_not_done_is_not_advertised),
        cmocka_unit_test(has_and_leaves_agree),
        cmocka_unit_test(husk_v2_has_no_avx),
        cmocka_unit_test(a_higher_model_has_all_of_a_lower_one),
        cmocka_unit_test(topology_leaves_agree),
        cmocka_unit_test(maximum_leaves_are_honest),
        cmocka_unit_test(kernels_find_nothing_to_mitigate),
        cmocka_unit_test(unknown_leaves_are_zero),
        cmocka_unit_test(address_bits_are_only_lowered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
