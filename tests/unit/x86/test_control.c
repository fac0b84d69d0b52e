#include "tests/unit/x86/fake_cpu.h"

#define KEEP ((uint64_t)1 << 63)
#define BAD  ((uint64_t)1 << 47) /* not canonical */

static int write_cr(struct fake_cpu *f, unsigned cr, uint64_t val)
{
    return x86_write_cr(&f->cpu, cr, val);
}

static uint64_t read_cr(struct fake_cpu *f, unsigned cr)
{
    uint64_t val = 0;

    assert_int_equal(x86_read_cr(&f->cpu, cr, &val), X86_OK);
    return val;
}

/* -- Who and what ------------------------------------------------------------
 */

static void control_registers_are_privileged(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG_USER);
    const uint64_t desc[2] = {0, 0};
    uint64_t val;

    (void)state;
    fake_expect_fault(f, x86_read_cr(&f->cpu, 0, &val), X86_GP, 0);
    fake_expect_fault(f, write_cr(f, 3, 0), X86_GP, 0);
    fake_expect_fault(f, write_cr(f, 8, 0), X86_GP, 0);
    fake_expect_fault(f, x86_lmsw(&f->cpu, 1), X86_GP, 0);
    fake_expect_fault(f, x86_clts(&f->cpu), X86_GP, 0);
    fake_expect_fault(f, x86_read_dr(&f->cpu, 0, &val), X86_GP, 0);
    fake_expect_fault(f, x86_write_dr(&f->cpu, 7, 0), X86_GP, 0);
    fake_expect_fault(f, x86_invlpg(&f->cpu, 0), X86_GP, 0);
    fake_expect_fault(f, x86_invpcid(&f->cpu, 2, desc), X86_GP, 0);
    fake_expect_fault(f, x86_swapgs(&f->cpu), X86_GP, 0);
    fake_expect_fault(f, x86_rdpmc(&f->cpu), X86_GP, 0);
    assert_int_equal(f->flushes + f->mode_changes + f->cr3_loads, 0);
    fake_cpu_free(f);
}

static void other_numbers_do_not_exist(void **state)
{
    static const unsigned numbers[] = {1, 5, 6, 7, 9, 15};
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);
    uint64_t val;

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(numbers); i++) {
        fake_expect_fault(f, x86_read_cr(&f->cpu, numbers[i], &val), X86_UD,
                          -1);
        fake_expect_fault(f, write_cr(f, numbers[i], 0), X86_UD, -1);
    }
    fake_cpu_free(f);
}

static void cr8_is_the_apic_s(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    assert_int_equal(write_cr(f, 8, 9), X86_OK);
    assert_int_equal(f->cr8, 9);
    assert_int_equal(read_cr(f, 8), 9);
    fake_expect_fault(f, write_cr(f, 8, 16), X86_GP, 0);
    fake_cpu_free(f);
}

static void cr2_is_a_word(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    assert_int_equal(write_cr(f, 2, 0x123456789abc), X86_OK);
    assert_int_equal(read_cr(f, 2), 0x123456789abc);
    fake_cpu_free(f);
}

/* -- CR0
 * ----------------------------------------------------------------------- */

static void cr0_refuses_contradictions(void **state)
{
    static const uint64_t bad[] = {
        (uint64_t)1 << 32,
        X86_CR0_PG,
        X86_CR0_PE | X86_CR0_NW,
    };
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY);

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        fake_expect_fault(f, write_cr(f, 0, bad[i]), X86_GP, 0);
        assert_int_equal(read_cr(f, 0), X86_CR0_PE | X86_CR0_ET);
    }
    fake_cpu_free(f);
}

static void et_is_fixed_and_unknown_low_bits_are_ignored(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY);

    (void)state;
    assert_int_equal(write_cr(f, 0, X86_CR0_PE | 0x1ffeffc0), X86_OK);
    assert_int_equal(read_cr(f, 0), X86_CR0_PE | X86_CR0_ET | X86_CR0_AM);
    fake_cpu_free(f);
}

static void paging_with_lme_activates_long_mode(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY);
    uint64_t on = X86_CR0_PE | X86_CR0_PG;

    (void)state;
    f->st.msr.efer = X86_EFER_LME;
    fake_expect_fault(f, write_cr(f, 0, on), X86_GP, 0); /* no PAE */
    f->st.cr4 = X86_CR4_PAE;
    assert_int_equal(write_cr(f, 0, on), X86_OK);
    assert_true(x86_long_mode(&f->st));
    assert_false(x86_64bit_mode(&f->st));
    assert_int_equal(f->flush_kind, X86_FLUSH_ALL);
    assert_int_equal(write_cr(f, 0, X86_CR0_PE), X86_OK);
    assert_false(x86_long_mode(&f->st));
    fake_load(f, X86_CS, KCODE64); /* L is set while paging goes on */
    fake_expect_fault(f, write_cr(f, 0, on), X86_GP, 0);
    fake_cpu_free(f);
}

static void paging_stays_on_in_64_bit_mode_and_with_pcid(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    fake_expect_fault(f, write_cr(f, 0, X86_CR0_PE), X86_GP, 0);
    fake_load(f, X86_CS, KCODE32);
    f->st.cr4 |= X86_CR4_PCIDE;
    fake_expect_fault(f, write_cr(f, 0, X86_CR0_PE), X86_GP, 0);
    f->st.cr4 &= ~(uint64_t)X86_CR4_PCIDE;
    assert_int_equal(write_cr(f, 0, X86_CR0_PE), X86_OK);
    fake_cpu_free(f);
}

static void a_change_of_wp_flushes_and_one_of_ts_does_not(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);
    uint64_t cr0 = f->st.cr0;

    (void)state;
    assert_int_equal(write_cr(f, 0, cr0 | X86_CR0_TS), X86_OK);
    assert_int_equal(f->flushes, 0);
    assert_int_equal(f->mode_changes, 1);
    assert_int_equal(write_cr(f, 0, cr0 | X86_CR0_TS), X86_OK);
    assert_int_equal(f->mode_changes, 1);
    assert_int_equal(write_cr(f, 0, cr0 | X86_CR0_WP), X86_OK);
    assert_int_equal(f->flushes, 1);
    fake_cpu_free(f);
}

static void turning_pae_paging_on_loads_the_pdptes(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY);

    (void)state;
    f->st.cr4 = X86_CR4_PAE;
    f->st.cr3 = 0x3020;
    fake_put(f, 0x3028, 0x5001, 8);
    fake_put(f, 0x3038, 0x3, 8); /* reserved bit */
    fake_expect_fault(f, write_cr(f, 0, X86_CR0_PE | X86_CR0_PG), X86_GP, 0);
    assert_int_equal(f->st.cr0 & X86_CR0_PG, 0);
    fake_put(f, 0x3038, 0, 8);
    assert_int_equal(write_cr(f, 0, X86_CR0_PE | X86_CR0_PG), X86_OK);
    assert_int_equal(f->st.pdpte[1], 0x5001);
    fake_cpu_free(f);
}

static void lmsw_sets_pe_but_does_not_clear_it(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_REAL);

    (void)state;
    assert_int_equal(x86_lmsw(&f->cpu, 0xffff), X86_OK);
    assert_int_equal(f->st.cr0, X86_CR0_ET | 0xf);
    assert_int_equal(x86_lmsw(&f->cpu, 0), X86_OK);
    assert_int_equal(f->st.cr0, X86_CR0_ET | X86_CR0_PE);
    fake_cpu_free(f);
}

static void clts_clears_ts(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    f->st.cr0 |= X86_CR0_TS;
    assert_int_equal(x86_clts(&f->cpu), X86_OK);
    assert_int_equal(f->st.cr0 & X86_CR0_TS, 0);
    assert_int_equal(f->mode_changes, 1);
    assert_int_equal(x86_clts(&f->cpu), X86_OK);
    assert_int_equal(f->mode_changes, 1);
    fake_cpu_free(f);
}

/* -- CR3 and CR4
 * ----------------------------------------------------------------- */

static void cr3_refuses_address_bits_above_48(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    assert_int_equal(write_cr(f, 3, 0x123456789018), X86_OK);
    assert_int_equal(read_cr(f, 3), 0x123456789018);
    assert_int_equal(f->cr3_loads, 1);
    fake_expect_fault(f, write_cr(f, 3, (uint64_t)1 << 48), X86_GP, 0);
    fake_expect_fault(f, write_cr(f, 3, KEEP), X86_GP, 0);
    assert_int_equal(f->cr3_loads, 1);
    fake_cpu_free(f);
}

static void bit_63_keeps_the_pcid_s_translations(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    f->st.cr4 |= X86_CR4_PCIDE;
    assert_int_equal(write_cr(f, 3, KEEP | 0x5007), X86_OK);
    assert_true(f->cr3_keep);
    assert_int_equal(f->st.cr3, 0x5007);
    assert_int_equal(write_cr(f, 3, 0x5007), X86_OK);
    assert_false(f->cr3_keep);
    fake_cpu_free(f);
}

static void a_bad_pdpte_refuses_cr3(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY);

    (void)state;
    f->st.cr4 = X86_CR4_PAE;
    f->st.cr0 |= X86_CR0_PG;
    f->st.cr3 = 0x3000;
    fake_put(f, 0x5000, 0x7, 8);
    fake_expect_fault(f, write_cr(f, 3, 0x5000), X86_GP, 0);
    assert_int_equal(f->st.cr3, 0x3000);
    assert_int_equal(f->cr3_loads, 0);
    fake_cpu_free(f);
}

static void cr4_refuses_what_the_model_lacks(void **state)
{
    static const struct {
        uint32_t bit;
        enum cpuid_feature feature;
    } cases[] = {
        {X86_CR4_UMIP, CPUID_UMIP},  {X86_CR4_FSGSBASE, CPUID_FSGSBASE},
        {X86_CR4_PCIDE, CPUID_PCID}, {X86_CR4_OSXSAVE, CPUID_XSAVE},
        {X86_CR4_SMEP, CPUID_SMEP},  {X86_CR4_SMAP, CPUID_SMAP},
    };
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(write_cr(f, 4, X86_CR4_PAE | cases[i].bit), X86_OK);
        assert_int_equal(f->st.cr4, X86_CR4_PAE | cases[i].bit);
        assert_int_equal(write_cr(f, 4, X86_CR4_PAE), X86_OK);
        f->model.has[cases[i].feature] = false;
        fake_expect_fault(f, write_cr(f, 4, X86_CR4_PAE | cases[i].bit), X86_GP,
                          0);
    }
    fake_expect_fault(f, write_cr(f, 4, X86_CR4_PAE | X86_CR4_VME), X86_GP, 0);
    fake_expect_fault(f, write_cr(f, 4, X86_CR4_PAE | 1u << 12), X86_GP, 0);
    fake_expect_fault(f, write_cr(f, 4, X86_CR4_PAE | 1u << 22), X86_GP, 0);
    fake_cpu_free(f);
}

static void long_mode_needs_pae(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    fake_expect_fault(f, write_cr(f, 4, 0), X86_GP, 0);
    fake_cpu_free(f);
}

static void pcide_needs_long_mode_and_pcid_0(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);
    uint64_t on = X86_CR4_PAE | X86_CR4_PCIDE;

    (void)state;
    f->st.cr3 = 0x5001;
    fake_expect_fault(f, write_cr(f, 4, on), X86_GP, 0);
    f->st.cr3 = 0x5000;
    assert_int_equal(write_cr(f, 4, on), X86_OK);
    f->st.cr3 = 0x5001;
    assert_int_equal(write_cr(f, 4, on | X86_CR4_TSD), X86_OK);
    fake_cpu_free(f);
    f = fake_cpu_new(FAKE_LEGACY);
    fake_expect_fault(f, write_cr(f, 4, on), X86_GP, 0);
    fake_cpu_free(f);
}

static void a_toggle_of_pge_flushes_everything(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    assert_int_equal(write_cr(f, 4, X86_CR4_PAE | X86_CR4_PGE), X86_OK);
    assert_int_equal(f->flushes, 1);
    assert_int_equal(f->flush_kind, X86_FLUSH_ALL);
    assert_int_equal(write_cr(f, 4, X86_CR4_PAE | X86_CR4_PGE | X86_CR4_OSFXSR),
                     X86_OK);
    assert_int_equal(f->flushes, 1);
    fake_cpu_free(f);
}

/* -- Debug registers
 * ---------------------------------------------------------------- */

static void debug_registers_keep_their_fixed_bits(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);
    uint64_t val;

    (void)state;
    assert_int_equal(x86_write_dr(&f->cpu, 6, 0), X86_OK);
    assert_int_equal(f->st.dr6, 0xffff0ff0);
    assert_int_equal(x86_write_dr(&f->cpu, 6, 0xffffffff), X86_OK);
    assert_int_equal(f->st.dr6, 0xffffefff);
    assert_int_equal(x86_write_dr(&f->cpu, 7, 0xffffdfff), X86_OK);
    assert_int_equal(f->st.dr7, 0xffff07ff);
    assert_int_equal(x86_write_dr(&f->cpu, 3, (uint64_t)-8), X86_OK);
    assert_int_equal(x86_read_dr(&f->cpu, 3, &val), X86_OK);
    assert_true(val == (uint64_t)-8);
    fake_expect_fault(f, x86_write_dr(&f->cpu, 6, (uint64_t)1 << 32), X86_GP,
                      0);
    fake_expect_fault(f, x86_write_dr(&f->cpu, 7, (uint64_t)1 << 32), X86_GP,
                      0);
    fake_cpu_free(f);
}

static void dr4_and_dr5_are_aliases_unless_de_is_set(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);
    uint64_t val;

    (void)state;
    assert_int_equal(x86_read_dr(&f->cpu, 4, &val), X86_OK);
    assert_int_equal(val, f->st.dr6);
    assert_int_equal(x86_read_dr(&f->cpu, 5, &val), X86_OK);
    assert_int_equal(val, f->st.dr7);
    f->st.cr4 |= X86_CR4_DE;
    fake_expect_fault(f, x86_read_dr(&f->cpu, 4, &val), X86_UD, -1);
    fake_expect_fault(f, x86_write_dr(&f->cpu, 5, 0), X86_UD, -1);
    fake_cpu_free(f);
}

static void gd_turns_an_access_into_a_debug_exception(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);
    uint64_t val;

    (void)state;
    assert_int_equal(x86_write_dr(&f->cpu, 7, X86_DR7_GD), X86_OK);
    fake_expect_fault(f, x86_read_dr(&f->cpu, 0, &val), X86_DB, -1);
    assert_true(f->st.dr6 & X86_DR6_BD);
    fake_cpu_free(f);
}

/* -- XCR0
 * -------------------------------------------------------------------------------
 */

static int xsetbv(struct fake_cpu *f, uint64_t index, uint64_t val)
{
    f->st.gpr[X86_RCX] = index;
    f->st.gpr[X86_RAX] = val & 0xffffffff;
    f->st.gpr[X86_RDX] = val >> 32;
    return x86_xsetbv(&f->cpu);
}

static void xcr0_takes_what_the_model_has(void **state)
{
    static const uint64_t good[] = {1, 3, 7};
    static const uint64_t bad[] = {0, 2, 5, 0xe7, (uint64_t)1 << 63 | 1};
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    fake_expect_fault(f, xsetbv(f, 0, 1), X86_UD, -1);
    f->st.cr4 |= X86_CR4_OSXSAVE;
    for (unsigned i = 0; i < ARRAY_LEN(good); i++) {
        assert_int_equal(xsetbv(f, 0, good[i]), X86_OK);
        assert_int_equal(f->st.xcr0, good[i]);
    }
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
        fake_expect_fault(f, xsetbv(f, 0, bad[i]), X86_GP, 0);
    fake_expect_fault(f, xsetbv(f, 1, 1), X86_GP, 0);
    assert_int_equal(f->st.xcr0, 7);
    fake_cpu_free(f);
}

static void xgetbv_is_for_everybody(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG_USER);

    (void)state;
    fake_expect_fault(f, x86_xgetbv(&f->cpu), X86_UD, -1);
    f->st.cr4 |= X86_CR4_OSXSAVE;
    f->st.xcr0 = 7;
    f->st.gpr[X86_RDX] = 5;
    assert_int_equal(x86_xgetbv(&f->cpu), X86_OK);
    assert_int_equal(f->st.gpr[X86_RAX], 7);
    assert_int_equal(f->st.gpr[X86_RDX], 0);
    f->st.gpr[X86_RCX] = 1;
    assert_int_equal(x86_xgetbv(&f->cpu), X86_OK);
    f->st.gpr[X86_RCX] = 2;
    fake_expect_fault(f, x86_xgetbv(&f->cpu), X86_GP, 0);
    fake_cpu_free(f);
}

/* -- Translations
 * -------------------------------------------------------------------------- */

static void invlpg_names_page_and_pcid(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    f->st.cr3 = 0x5007;
    assert_int_equal(x86_invlpg(&f->cpu, 0x1234567), X86_OK);
    assert_int_equal(f->flush_kind, X86_FLUSH_PAGE);
    assert_int_equal(f->flush_gva, 0x1234567);
    assert_int_equal(f->flush_pcid, 0);
    f->st.cr4 |= X86_CR4_PCIDE;
    assert_int_equal(x86_invlpg(&f->cpu, 0), X86_OK);
    assert_int_equal(f->flush_pcid, 7);
    assert_int_equal(f->flushes, 2);
    assert_int_equal(x86_invlpg(&f->cpu, BAD), X86_OK); /* nothing there */
    assert_int_equal(f->flushes, 2);
    fake_cpu_free(f);
}

static void each_type_of_invpcid_has_its_flush(void **state)
{
    static const enum x86_flush kinds[] = {X86_FLUSH_PAGE_PCID, X86_FLUSH_PCID,
                                           X86_FLUSH_ALL, X86_FLUSH_NONGLOBAL};
    const uint64_t desc[2] = {5, 0x1000};
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    f->st.cr4 |= X86_CR4_PCIDE;
    for (unsigned i = 0; i < ARRAY_LEN(kinds); i++) {
        assert_int_equal(x86_invpcid(&f->cpu, i, desc), X86_OK);
        assert_int_equal(f->flush_kind, kinds[i]);
        assert_int_equal(f->flush_pcid, 5);
        assert_int_equal(f->flush_gva, 0x1000);
    }
    fake_expect_fault(f, x86_invpcid(&f->cpu, 4, desc), X86_GP, 0);
    fake_cpu_free(f);
}

static void invpcid_checks_its_descriptor(void **state)
{
    const uint64_t large[2] = {0x1000, 0};
    const uint64_t bad[2] = {0, BAD};
    const uint64_t five[2] = {5, 0};
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    fake_expect_fault(f, x86_invpcid(&f->cpu, 2, large), X86_GP, 0);
    fake_expect_fault(f, x86_invpcid(&f->cpu, 0, bad), X86_GP, 0);
    assert_int_equal(x86_invpcid(&f->cpu, 1, bad), X86_OK);
    fake_expect_fault(f, x86_invpcid(&f->cpu, 0, five), X86_GP, 0);
    fake_expect_fault(f, x86_invpcid(&f->cpu, 1, five), X86_GP, 0);
    f->model.has[CPUID_INVPCID] = false;
    fake_expect_fault(f, x86_invpcid(&f->cpu, 2, bad), X86_UD, -1);
    fake_cpu_free(f);
}

static void swapgs_swaps(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    f->st.seg[X86_GS].base = 1;
    f->st.msr.kernel_gs_base = 2;
    assert_int_equal(x86_swapgs(&f->cpu), X86_OK);
    assert_int_equal(f->st.seg[X86_GS].base, 2);
    assert_int_equal(f->st.msr.kernel_gs_base, 1);
    fake_cpu_free(f);
    f = fake_cpu_new(FAKE_LEGACY);
    fake_expect_fault(f, x86_swapgs(&f->cpu), X86_UD, -1);
    fake_cpu_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(control_registers_are_privileged),
        cmocka_unit_test(other_numbers_do_not_exist),
        cmocka_unit_test(cr8_is_the_apic_s),
        cmocka_unit_test(cr2_is_a_word),
        cmocka_unit_test(cr0_refuses_contradictions),
        cmocka_unit_test(et_is_fixed_and_unknown_low_bits_are_ignored),
        cmocka_unit_test(paging_with_lme_activates_long_mode),
        cmocka_unit_test(paging_stays_on_in_64_bit_mode_and_with_pcid),
        cmocka_unit_test(a_change_of_wp_flushes_and_one_of_ts_does_not),
        cmocka_unit_test(turning_pae_paging_on_loads_the_pdptes),
        cmocka_unit_test(lmsw_sets_pe_but_does_not_clear_it),
        cmocka_unit_test(clts_clears_ts),
        cmocka_unit_test(cr3_refuses_address_bits_above_48),
        cmocka_unit_test(bit_63_keeps_the_pcid_s_translations),
        cmocka_unit_test(a_bad_pdpte_refuses_cr3),
        cmocka_unit_test(cr4_refuses_what_the_model_lacks),
        cmocka_unit_test(long_mode_needs_pae),
        cmocka_unit_test(pcide_needs_long_mode_and_pcid_0),
        cmocka_unit_test(a_toggle_of_pge_flushes_everything),
        cmocka_unit_test(debug_registers_keep_their_fixed_bits),
        cmocka_unit_test(dr4_and_dr5_are_aliases_unless_de_is_set),
        cmocka_unit_test(gd_turns_an_access_into_a_debug_exception),
        cmocka_unit_test(xcr0_takes_what_the_model_has),
        cmocka_unit_test(xgetbv_is_for_everybody),
        cmocka_unit_test(invlpg_names_page_and_pcid),
        cmocka_unit_test(each_type_of_invpcid_has_its_flush),
        cmocka_unit_test(invpcid_checks_its_descriptor),
        cmocka_unit_test(swapgs_swaps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
