#include "tests/unit/x86/fake_cpu.h"

enum {
    TSC_MSR = 0x10,
    PAT = 0x277,
    MTRR_CAP = 0xfe,
    MTRR_DEF = 0x2ff,
    ARCH_CAPABILITIES = 0x10a,
    SPEC_CTRL = 0x48,
    PRED_CMD = 0x49
};

#define EFER     0xc0000080u
#define STAR     0xc0000081u
#define LSTAR    0xc0000082u
#define SFMASK   0xc0000084u
#define FS_BASE  0xc0000100u
#define TSC_AUX  0xc0000103u
#define AMD_HWCR 0xc0010015u
#define KVM_MSR  0x4b564d01u
#define BAD      ((uint64_t)1 << 47)

static int rdmsr(struct fake_cpu *f, uint32_t msr, uint64_t *val)
{
    int rc;

    f->st.gpr[X86_RCX] = msr | (uint64_t)0xabcd << 32; /* ECX counts */
    rc = x86_rdmsr(&f->cpu);
    *val = f->st.gpr[X86_RDX] << 32 | f->st.gpr[X86_RAX];
    return rc;
}

static int wrmsr(struct fake_cpu *f, uint32_t msr, uint64_t val)
{
    f->st.gpr[X86_RCX] = msr;
    f->st.gpr[X86_RAX] = (val & 0xffffffff) | (uint64_t)0xabcd << 32;
    f->st.gpr[X86_RDX] = val >> 32;
    return x86_wrmsr(&f->cpu);
}

static void expect_msr(struct fake_cpu *f, uint32_t msr, uint64_t want)
{
    uint64_t val;

    assert_int_equal(rdmsr(f, msr, &val), X86_OK);
    assert_true(val == want);
}

static void msrs_are_privileged(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG_USER);
    uint64_t val;

    (void)state;
    fake_expect_fault(f, rdmsr(f, EFER, &val), X86_GP, 0);
    fake_expect_fault(f, wrmsr(f, EFER, 0), X86_GP, 0);
    fake_cpu_free(f);
}

static void unknown_msrs_fault(void **state)
{
    static const uint32_t unknown[] = {0xe7,       0x345,      0xc0000104,
                                       0xc0010131, 0xc0020000, 0xffffffff};
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);
    uint64_t val;

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(unknown); i++) {
        fake_expect_fault(f, rdmsr(f, unknown[i], &val), X86_GP, 0);
        fake_expect_fault(f, wrmsr(f, unknown[i], 0), X86_GP, 0);
    }
    fake_cpu_free(f);
}

static void plain_words_read_back(void **state)
{
    static const uint32_t words[] = {
        0x174,      0x175,      0x176,      0x1a0,      0xc0000081, 0xc0000082,
        0xc0000083, 0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102, 0xc0000103};
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(words); i++) {
        assert_int_equal(wrmsr(f, words[i], 0x12345600 + i), X86_OK);
        expect_msr(f, words[i], 0x12345600 + i);
    }
    assert_int_equal(f->st.msr.lstar, 0x12345605);
    assert_int_equal(f->st.seg[X86_FS].base, 0x12345608);
    fake_cpu_free(f);
}

static void addresses_must_be_canonical(void **state)
{
    static const uint32_t words[] = {0x175,      0x176,      0xc0000082,
                                     0xc0000083, 0xc0000100, 0xc0000101,
                                     0xc0000102};
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(words); i++) {
        assert_int_equal(wrmsr(f, words[i], (uint64_t)-1), X86_OK);
        fake_expect_fault(f, wrmsr(f, words[i], BAD), X86_GP, 0);
        expect_msr(f, words[i], (uint64_t)-1);
    }
    fake_cpu_free(f);
}

static void sfmask_and_tsc_aux_have_32_bits(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    fake_expect_fault(f, wrmsr(f, SFMASK, (uint64_t)1 << 32), X86_GP, 0);
    fake_expect_fault(f, wrmsr(f, TSC_AUX, (uint64_t)1 << 32), X86_GP, 0);
    fake_cpu_free(f);
}

/* -- EFER
 * ---------------------------------------------------------------------- */

static void efer_takes_known_bits_and_keeps_lma(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);
    uint64_t on = X86_EFER_LME | X86_EFER_LMA;

    (void)state;
    assert_int_equal(wrmsr(f, EFER, X86_EFER_LME | X86_EFER_SCE), X86_OK);
    expect_msr(f, EFER, on | X86_EFER_SCE);
    fake_expect_fault(f, wrmsr(f, EFER, on | 2), X86_GP, 0);
    fake_expect_fault(f, wrmsr(f, EFER, on | 1 << 12), X86_GP, 0); /* SVME */
    fake_expect_fault(f, wrmsr(f, EFER, on | (uint64_t)1 << 63), X86_GP, 0);
    fake_cpu_free(f);
}

static void lme_cannot_change_under_paging(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    fake_expect_fault(f, wrmsr(f, EFER, 0), X86_GP, 0);
    assert_true(x86_long_mode(&f->st));
    fake_cpu_free(f);
    f = fake_cpu_new(FAKE_LEGACY);
    assert_int_equal(wrmsr(f, EFER, X86_EFER_LME | X86_EFER_LMA), X86_OK);
    expect_msr(f, EFER, X86_EFER_LME); /* LMA comes with paging */
    fake_cpu_free(f);
}

static void a_change_of_nxe_flushes(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY);

    (void)state;
    assert_int_equal(wrmsr(f, EFER, X86_EFER_SCE), X86_OK);
    assert_int_equal(f->flushes, 0);
    assert_int_equal(wrmsr(f, EFER, X86_EFER_SCE | X86_EFER_NXE), X86_OK);
    assert_int_equal(f->flushes, 1);
    assert_int_equal(f->mode_changes, 2);
    fake_cpu_free(f);
}

static void automatic_ibrs_is_accepted_where_it_is_advertised(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY);

    (void)state;
    assert_int_equal(wrmsr(f, EFER, X86_EFER_AUTOIBRS), X86_OK);
    f->model.has[CPUID_AUTOIBRS] = false;
    fake_expect_fault(f, wrmsr(f, EFER, X86_EFER_AUTOIBRS), X86_GP, 0);
    fake_cpu_free(f);
}

/* -- Memory types
 * ---------------------------------------------------------------- */

static void the_pat_takes_six_memory_types(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    for (unsigned type = 0; type < 256; type++) {
        bool ok = type < 8 && type != 2 && type != 3;
        int rc = wrmsr(f, PAT, (uint64_t)type << 56 | 0x010405060700);

        assert_int_equal(rc == X86_OK, ok);
    }
    fake_cpu_free(f);
}

static void mtrrs_read_back_what_is_valid(void **state)
{
    static const uint32_t fixed[] = {0x250, 0x258, 0x259, 0x268, 0x26b, 0x26f};
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);
    uint64_t val;

    (void)state;
    expect_msr(f, MTRR_CAP, 0x508);
    fake_expect_fault(f, wrmsr(f, MTRR_CAP, 0x508), X86_GP, 0);
    for (unsigned i = 0; i < ARRAY_LEN(fixed); i++) {
        assert_int_equal(wrmsr(f, fixed[i], 0x0606060505040100), X86_OK);
        expect_msr(f, fixed[i], 0x0606060505040100);
        fake_expect_fault(f, wrmsr(f, fixed[i], 2), X86_GP, 0);
    }
    assert_int_equal(wrmsr(f, 0x200, 0x80000006), X86_OK);
    assert_int_equal(wrmsr(f, 0x201, 0xffff80000800), X86_OK);
    expect_msr(f, 0x200, 0x80000006);
    expect_msr(f, 0x201, 0xffff80000800);
    assert_int_equal(wrmsr(f, 0x20f, 0x800), X86_OK);
    fake_expect_fault(f, wrmsr(f, 0x200, 0x80000007), X86_GP, 0);
    fake_expect_fault(f, wrmsr(f, 0x201, (uint64_t)1 << 48), X86_GP, 0);
    fake_expect_fault(f, wrmsr(f, 0x201, 1), X86_GP, 0);
    fake_expect_fault(f, rdmsr(f, 0x210, &val), X86_GP, 0);
    assert_int_equal(wrmsr(f, MTRR_DEF, 0xc06), X86_OK);
    expect_msr(f, MTRR_DEF, 0xc06);
    fake_expect_fault(f, wrmsr(f, MTRR_DEF, 0xc02), X86_GP, 0);
    fake_expect_fault(f, wrmsr(f, MTRR_DEF, 0x1006), X86_GP, 0);
    fake_cpu_free(f);
}

/* -- Time
 * ----------------------------------------------------------------------------
 */

static void the_tsc_goes_on_from_what_was_written(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);
    uint64_t first, second;

    (void)state;
    assert_int_equal(wrmsr(f, TSC_MSR, (uint64_t)1 << 60), X86_OK);
    assert_int_equal(rdmsr(f, TSC_MSR, &first), X86_OK);
    assert_int_equal(rdmsr(f, TSC_MSR, &second), X86_OK);
    assert_true(first >= (uint64_t)1 << 60);
    assert_true(second >= first);
    assert_true(second < (uint64_t)1 << 61);
    fake_cpu_free(f);
}

/* -- Devices
 * -----------------------------------------------------------------------------
 */

static void device_msrs_go_to_the_engine(void **state)
{
    static const uint32_t msrs[] = {0x11,  0x12,  0x1b,    0x6e0,
                                    0x800, 0x83f, KVM_MSR, 0x4b564d00};
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(msrs); i++) {
        assert_int_equal(wrmsr(f, msrs[i], 0x1000 + i), X86_OK);
        assert_int_equal(f->dev_msr, 0x1000 + i);
        expect_msr(f, msrs[i], 0x1000 + i);
    }
    fake_cpu_free(f);
}

static void what_the_engine_refuses_is_a_protection_fault(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);
    uint64_t val;

    (void)state;
    fake_expect_fault(f, wrmsr(f, 0x8ff, 0), X86_GP, 0);
    fake_expect_fault(f, rdmsr(f, 0x8ff, &val), X86_GP, 0);
    fake_cpu_free(f);
}

/* -- Vendors
 * -------------------------------------------------------------------------------
 */

static void amd_s_configuration_reads_as_done_and_ignores_writes(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);
    uint64_t val;

    (void)state;
    expect_msr(f, AMD_HWCR, 1 << 24);
    expect_msr(f, 0xc0011029, 2);
    assert_int_equal(wrmsr(f, AMD_HWCR, 0), X86_OK);
    expect_msr(f, AMD_HWCR, 1 << 24);
    f->model.amd = false;
    fake_expect_fault(f, rdmsr(f, AMD_HWCR, &val), X86_GP, 0);
    fake_expect_fault(f, wrmsr(f, AMD_HWCR, 0), X86_GP, 0);
    fake_cpu_free(f);
}

static void speculation_msrs_exist_where_they_are_advertised(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);
    uint64_t val;

    (void)state;
    assert_int_equal(wrmsr(f, SPEC_CTRL, 5), X86_OK);
    expect_msr(f, SPEC_CTRL, 5);
    fake_expect_fault(f, wrmsr(f, SPEC_CTRL, 8), X86_GP, 0);
    assert_int_equal(wrmsr(f, PRED_CMD, 1), X86_OK);
    fake_expect_fault(f, wrmsr(f, PRED_CMD, 2), X86_GP, 0);
    fake_expect_fault(f, rdmsr(f, PRED_CMD, &val), X86_GP, 0);
    f->model.has[CPUID_SPEC_CTRL] = false;
    fake_expect_fault(f, wrmsr(f, SPEC_CTRL, 0), X86_GP, 0);
    fake_expect_fault(f, rdmsr(f, SPEC_CTRL, &val), X86_GP, 0);
    fake_expect_fault(f, wrmsr(f, PRED_CMD, 0), X86_GP, 0);
    fake_cpu_free(f);
}

static void arch_capabilities_claims_immunity(void **state)
{
    /* RDCL_NO, IBRS_ALL, SSB_NO, MDS_NO, BHI_NO, GDS_NO, RFDS_NO, ITS_NO. */
    uint64_t want = 1 << 0 | 1 << 1 | 1 << 4 | 1 << 5 | 1 << 20 | 1 << 26 |
                    1 << 27 | (uint64_t)1 << 62;
    /* RSBA, TSX_CTRL, MCU_CONTROL, FB_CLEAR, FB_CLEAR_CTRL, RRSBA,
     * RFDS_CLEAR: each would ask for more. */
    uint64_t never =
        1 << 2 | 1 << 7 | 1 << 9 | 1 << 17 | 1 << 18 | 1 << 19 | 1 << 28;
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);
    uint64_t val;

    (void)state;
    assert_int_equal(rdmsr(f, ARCH_CAPABILITIES, &val), X86_OK);
    assert_true((val & want) == want);
    assert_true((val & never) == 0);
    fake_expect_fault(f, wrmsr(f, ARCH_CAPABILITIES, val), X86_GP, 0);
    f->model.has[CPUID_ARCH_CAPABILITIES] = false;
    fake_expect_fault(f, rdmsr(f, ARCH_CAPABILITIES, &val), X86_GP, 0);
    fake_cpu_free(f);
}

static void the_microcode_is_never_loaded(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);
    uint64_t val;

    (void)state;
    assert_int_equal(wrmsr(f, 0x8b, 0), X86_OK);
    assert_int_equal(rdmsr(f, 0x8b, &val), X86_OK);
    assert_true(val != 0);
    assert_int_equal(wrmsr(f, 0x79, 0x1234), X86_OK);
    fake_expect_fault(f, rdmsr(f, 0x79, &val), X86_GP, 0);
    fake_cpu_free(f);
}

static void there_are_no_machine_check_banks(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);
    uint64_t val;

    (void)state;
    expect_msr(f, 0x179, 0);
    expect_msr(f, 0x17a, 0);
    assert_int_equal(wrmsr(f, 0x17a, 0), X86_OK);
    fake_expect_fault(f, rdmsr(f, 0x400, &val), X86_GP, 0);
    fake_cpu_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(msrs_are_privileged),
        cmocka_unit_test(unknown_msrs_fault),
        cmocka_unit_test(plain_words_read_back),
        cmocka_unit_test(addresses_must_be_canonical),
        cmocka_unit_test(sfmask_and_tsc_aux_have_32_bits),
        cmocka_unit_test(efer_takes_known_bits_and_keeps_lma),
        cmocka_unit_test(lme_cannot_change_under_paging),
        cmocka_unit_test(a_change_of_nxe_flushes),
        cmocka_unit_test(automatic_ibrs_is_accepted_where_it_is_advertised),
        cmocka_unit_test(the_pat_takes_six_memory_types),
        cmocka_unit_test(mtrrs_read_back_what_is_valid),
        cmocka_unit_test(the_tsc_goes_on_from_what_was_written),
        cmocka_unit_test(device_msrs_go_to_the_engine),
        cmocka_unit_test(what_the_engine_refuses_is_a_protection_fault),
        cmocka_unit_test(amd_s_configuration_reads_as_done_and_ignores_writes),
        cmocka_unit_test(speculation_msrs_exist_where_they_are_advertised),
        cmocka_unit_test(arch_capabilities_claims_immunity),
        cmocka_unit_test(the_microcode_is_never_loaded),
        cmocka_unit_test(there_are_no_machine_check_banks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
