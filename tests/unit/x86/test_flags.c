#include "tests/unit/x86/fake_cpu.h"

#define ALL   0xffffffffu
#define IOPL3 X86_FLAGS_IOPL
/* What any program may change. */
#define FREE   (X86_FLAGS_ARITH | X86_FLAGS_TF | X86_FLAGS_DF | X86_FLAGS_NT)
#define FREE32 (FREE | X86_FLAGS_AC | X86_FLAGS_ID)

static void popf_changes_what_the_level_allows(void **state)
{
    static const struct {
        enum fake_mode mode;
        uint8_t opsize;
        uint32_t before, after;
    } cases[] = {
        {FAKE_REAL, 2, 0, FREE | X86_FLAGS_IF | IOPL3},
        {FAKE_REAL, 4, 0, FREE32 | X86_FLAGS_IF | IOPL3},
        {FAKE_LONG, 8, 0, FREE32 | X86_FLAGS_IF | IOPL3},
        {FAKE_LEGACY, 4, 0, FREE32 | X86_FLAGS_IF | IOPL3},
        {FAKE_LONG_USER, 8, 0, FREE32},
        {FAKE_LONG_USER, 2, X86_FLAGS_IF, FREE | X86_FLAGS_IF},
        {FAKE_LONG_USER, 8, IOPL3, FREE32 | X86_FLAGS_IF | IOPL3},
        {FAKE_V86, 2, X86_FLAGS_VM | IOPL3,
         X86_FLAGS_VM | IOPL3 | FREE | X86_FLAGS_IF},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake_cpu *f = fake_cpu_new(cases[i].mode);

        f->st.rflags = cases[i].before | X86_FLAGS_FIXED;
        assert_int_equal(x86_popf(&f->cpu, ALL, cases[i].opsize), X86_OK);
        assert_int_equal(f->st.rflags, cases[i].after | X86_FLAGS_FIXED);
        fake_cpu_free(f);
    }
}

static void popf_clears_rf(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    f->st.rflags |= X86_FLAGS_RF;
    assert_int_equal(x86_popf(&f->cpu, X86_FLAGS_RF, 8), X86_OK);
    assert_int_equal(f->st.rflags, X86_FLAGS_FIXED);
    fake_cpu_free(f);
}

static void v86_mode_needs_iopl_3_for_popf_cli_and_sti(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_V86);

    (void)state;
    fake_expect_fault(f, x86_popf(&f->cpu, 0, 2), X86_GP, 0);
    fake_expect_fault(f, x86_cli(&f->cpu), X86_GP, 0);
    fake_expect_fault(f, x86_sti(&f->cpu), X86_GP, 0);
    f->st.rflags |= IOPL3;
    assert_int_equal(x86_sti(&f->cpu), X86_OK);
    assert_int_equal(x86_cli(&f->cpu), X86_OK);
    fake_cpu_free(f);
}

static void the_engine_hears_of_tf_ac_and_iopl_only(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    assert_int_equal(x86_popf(&f->cpu, X86_FLAGS_IF | X86_FLAGS_CF, 8), X86_OK);
    assert_int_equal(f->mode_changes, 0);
    assert_int_equal(x86_popf(&f->cpu, X86_FLAGS_TF, 8), X86_OK);
    assert_int_equal(x86_popf(&f->cpu, X86_FLAGS_AC, 8), X86_OK);
    assert_int_equal(x86_popf(&f->cpu, IOPL3 | X86_FLAGS_AC, 8), X86_OK);
    assert_int_equal(f->mode_changes, 3);
    fake_cpu_free(f);
}

static void sti_starts_a_shadow_unless_interrupts_were_on(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    assert_int_equal(x86_sti(&f->cpu), X86_OK);
    assert_int_equal(f->st.int_shadow, 1);
    assert_true(f->st.rflags & X86_FLAGS_IF);
    f->st.int_shadow = 0;
    assert_int_equal(x86_sti(&f->cpu), X86_OK);
    assert_int_equal(f->st.int_shadow, 0);
    assert_int_equal(x86_cli(&f->cpu), X86_OK);
    assert_int_equal(f->st.rflags & X86_FLAGS_IF, 0);
    fake_cpu_free(f);
}

static void user_mode_needs_iopl_for_cli(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG_USER);

    (void)state;
    fake_expect_fault(f, x86_cli(&f->cpu), X86_GP, 0);
    fake_expect_fault(f, x86_sti(&f->cpu), X86_GP, 0);
    f->st.rflags |= IOPL3;
    assert_int_equal(x86_cli(&f->cpu), X86_OK);
    fake_cpu_free(f);
}

/* -- I/O permission -----------------------------------------------------------
 */

static void the_kernel_and_iopl_3_may_use_any_port(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    assert_int_equal(x86_check_io(&f->cpu, 0xffff, 4), X86_OK);
    fake_cpu_free(f);
    f = fake_cpu_new(FAKE_REAL);
    assert_int_equal(x86_check_io(&f->cpu, 0x60, 1), X86_OK);
    fake_cpu_free(f);
    f = fake_cpu_new(FAKE_LONG_USER);
    f->st.tr.limit = 0x67;
    f->st.rflags |= IOPL3;
    assert_int_equal(x86_check_io(&f->cpu, 0x60, 1), X86_OK);
    fake_cpu_free(f);
}

static void each_byte_s_bit_counts(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG_USER);

    (void)state;
    fake_put(f, FAKE_TSS + 102, 0x68, 2);
    fake_put(f, FAKE_TSS + 0x68 + 0x60 / 8, 0x0100, 2); /* port 0x68 */
    assert_int_equal(x86_check_io(&f->cpu, 0x67, 1), X86_OK);
    assert_int_equal(x86_check_io(&f->cpu, 0x64, 4), X86_OK);
    fake_expect_fault(f, x86_check_io(&f->cpu, 0x68, 1), X86_GP, 0);
    fake_expect_fault(f, x86_check_io(&f->cpu, 0x67, 2), X86_GP, 0);
    fake_expect_fault(f, x86_check_io(&f->cpu, 0x65, 4), X86_GP, 0);
    assert_int_equal(x86_check_io(&f->cpu, 0x69, 1), X86_OK);
    fake_cpu_free(f);
}

static void v86_mode_always_asks_the_bitmap(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_V86);

    (void)state;
    f->st.rflags |= IOPL3;
    fake_put(f, FAKE_TSS + 102, 0x68, 2);
    fake_put(f, FAKE_TSS + 0x68, 1, 1);
    fake_expect_fault(f, x86_check_io(&f->cpu, 0, 1), X86_GP, 0);
    assert_int_equal(x86_check_io(&f->cpu, 1, 1), X86_OK);
    fake_cpu_free(f);
}

static void ports_behind_the_limit_are_forbidden(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG_USER);

    (void)state;
    fake_put(f, FAKE_TSS + 102, 0x68, 2);
    f->st.tr.limit = 0x68 + 1;
    assert_int_equal(x86_check_io(&f->cpu, 7, 1), X86_OK);
    fake_expect_fault(f, x86_check_io(&f->cpu, 8, 1), X86_GP, 0);
    f->st.tr.limit = 102;
    fake_expect_fault(f, x86_check_io(&f->cpu, 0, 1), X86_GP, 0);
    f->st.tr.limit = 0x2087;
    f->st.tr.attr = 0x83; /* a 16-bit TSS has no bitmap */
    fake_expect_fault(f, x86_check_io(&f->cpu, 0, 1), X86_GP, 0);
    fake_cpu_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(popf_changes_what_the_level_allows),
        cmocka_unit_test(popf_clears_rf),
        cmocka_unit_test(v86_mode_needs_iopl_3_for_popf_cli_and_sti),
        cmocka_unit_test(the_engine_hears_of_tf_ac_and_iopl_only),
        cmocka_unit_test(sti_starts_a_shadow_unless_interrupts_were_on),
        cmocka_unit_test(user_mode_needs_iopl_for_cli),
        cmocka_unit_test(the_kernel_and_iopl_3_may_use_any_port),
        cmocka_unit_test(each_byte_s_bit_counts),
        cmocka_unit_test(v86_mode_always_asks_the_bitmap),
        cmocka_unit_test(ports_behind_the_limit_are_forbidden),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
