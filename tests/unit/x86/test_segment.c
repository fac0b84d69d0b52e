#include "x86/segment.h"

#include "tests/unit/x86/fake_cpu.h"

static void a_load_caches_the_descriptor(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY);

    (void)state;
    fake_desc(f, UDATA, 0x89abcdef, 0x12345, 0x40f2); /* not accessed yet */
    assert_int_equal(x86_load_seg(&f->cpu, X86_DS, UDATA | 3), X86_OK);
    assert_int_equal(f->st.seg[X86_DS].sel, UDATA | 3);
    assert_int_equal(f->st.seg[X86_DS].base, 0x89abcdef);
    assert_int_equal(f->st.seg[X86_DS].limit, 0x12345);
    assert_int_equal(f->st.seg[X86_DS].attr, 0x40f3);
    assert_int_equal(fake_get(f, FAKE_GDT + UDATA + 5, 1), 0xf3);
    assert_int_equal(f->mode_changes, 1);
    fake_cpu_free(f);
}

static void granularity_scales_the_limit(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY);

    (void)state;
    fake_desc(f, UDATA, 0, 0x12345fff, 0xc0f3);
    assert_int_equal(x86_load_seg(&f->cpu, X86_ES, UDATA | 3), X86_OK);
    assert_int_equal(f->st.seg[X86_ES].limit, 0x12345fff);
    fake_cpu_free(f);
}

static void real_mode_keeps_limit_and_attributes(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_REAL);

    (void)state;
    f->st.seg[X86_DS].limit = 0xffffffff; /* "unreal" */
    assert_int_equal(x86_load_seg(&f->cpu, X86_DS, 0xb800), X86_OK);
    assert_int_equal(f->st.seg[X86_DS].base, 0xb8000);
    assert_int_equal(f->st.seg[X86_DS].limit, 0xffffffff);
    fake_cpu_free(f);
}

static void v86_mode_sets_64_kib(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_V86);

    (void)state;
    f->st.seg[X86_DS].limit = 0xffffffff;
    assert_int_equal(x86_load_seg(&f->cpu, X86_DS, 0xb800), X86_OK);
    assert_int_equal(f->st.seg[X86_DS].base, 0xb8000);
    assert_int_equal(f->st.seg[X86_DS].limit, 0xffff);
    fake_cpu_free(f);
}

static void a_null_selector_clears_the_base_and_keeps_its_rpl(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG_USER);

    (void)state;
    f->st.seg[X86_FS].base = 0x7fff00000000;
    assert_int_equal(x86_load_seg(&f->cpu, X86_FS, 3), X86_OK);
    assert_int_equal(f->st.seg[X86_FS].base, 0);
    assert_int_equal(f->st.seg[X86_FS].sel, 3);
    assert_int_equal(f->st.seg[X86_FS].attr & X86_SEG_P, 0);
    fake_cpu_free(f);
}

static void a_null_stack_is_for_64_bit_kernels(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    assert_int_equal(x86_load_seg(&f->cpu, X86_SS, 0), X86_OK);
    fake_expect_fault(f, x86_load_seg(&f->cpu, X86_SS, 1), X86_GP, 0);
    fake_cpu_free(f);
    f = fake_cpu_new(FAKE_LONG_USER);
    fake_expect_fault(f, x86_load_seg(&f->cpu, X86_SS, 3), X86_GP, 0);
    fake_cpu_free(f);
    f = fake_cpu_new(FAKE_LEGACY);
    fake_expect_fault(f, x86_load_seg(&f->cpu, X86_SS, 0), X86_GP, 0);
    fake_cpu_free(f);
}

static void only_ss_starts_a_shadow(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    assert_int_equal(x86_load_seg(&f->cpu, X86_DS, KDATA), X86_OK);
    assert_int_equal(f->st.int_shadow, 0);
    assert_int_equal(x86_load_seg(&f->cpu, X86_SS, KDATA), X86_OK);
    assert_int_equal(f->st.int_shadow, 1);
    fake_cpu_free(f);
}

static void bad_selectors_fault_and_load_nothing(void **state)
{
    static const struct {
        enum fake_mode mode;
        uint8_t reg;
        uint16_t sel;
        uint8_t vector;
        uint16_t error;
    } cases[] = {
        {FAKE_LEGACY, X86_DS, GDT_LIMIT + 1, X86_GP, GDT_LIMIT + 1},
        {FAKE_LEGACY, X86_DS, 0x0c, X86_GP, 0x0c}, /* no LDT */
        {FAKE_LEGACY, X86_DS, TSS, X86_GP, TSS},
        {FAKE_LEGACY, X86_DS, EXEC_ONLY, X86_GP, EXEC_ONLY},
        {FAKE_LEGACY, X86_DS, KDATA | 3, X86_GP, KDATA},
        {FAKE_LEGACY, X86_DS, ABSENT_DATA, X86_NP, ABSENT_DATA},
        {FAKE_LEGACY_USER, X86_DS, KDATA, X86_GP, KDATA},
        {FAKE_LEGACY_USER, X86_GS, KCODE32, X86_GP, KCODE32},
        {FAKE_LEGACY, X86_SS, UDATA | 3, X86_GP, UDATA},
        {FAKE_LEGACY, X86_SS, KDATA | 3, X86_GP, KDATA},
        {FAKE_LEGACY, X86_SS, KCODE32, X86_GP, KCODE32},
        {FAKE_LEGACY_USER, X86_SS, RO_DATA | 3, X86_GP, RO_DATA},
        {FAKE_LEGACY_USER, X86_SS, ABSENT_DATA | 3, X86_SS_FAULT, ABSENT_DATA},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake_cpu *f = fake_cpu_new(cases[i].mode);
        enum x86_sreg reg = (enum x86_sreg)cases[i].reg;
        uint16_t old = f->st.seg[reg].sel;

        fake_expect_fault(f, x86_load_seg(&f->cpu, reg, cases[i].sel),
                          cases[i].vector, cases[i].error);
        assert_int_equal(f->st.seg[reg].sel, old);
        assert_int_equal(f->st.int_shadow, 0);
        fake_cpu_free(f);
    }
}

static void code_may_be_read_if_it_is_readable_or_conforming(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY_USER);

    (void)state;
    assert_int_equal(x86_load_seg(&f->cpu, X86_DS, UCODE32 | 3), X86_OK);
    assert_int_equal(x86_load_seg(&f->cpu, X86_ES, CONFORMING), X86_OK);
    assert_int_equal(x86_load_seg(&f->cpu, X86_FS, RO_DATA | 3), X86_OK);
    fake_cpu_free(f);
}

static void ldt_selectors_use_the_ldt(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG_USER);

    (void)state;
    fake_ldt_desc(f, 0x0f, 0x1234, 0x40f3);
    assert_int_equal(x86_load_seg(&f->cpu, X86_GS, 0x0f), X86_OK);
    assert_int_equal(f->st.seg[X86_GS].limit, 0x1234);
    fake_expect_fault(f, x86_load_seg(&f->cpu, X86_GS, 0x107), X86_GP, 0x104);
    fake_cpu_free(f);
}

static void a_page_fault_on_the_table_passes_through(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG_USER);

    (void)state;
    f->bad_page = FAKE_GDT;
    fake_expect_fault(f, x86_load_seg(&f->cpu, X86_DS, UDATA | 3), X86_PF, 0);
    fake_cpu_free(f);
}

/* -- LDTR and TR
 * --------------------------------------------------------------- */

static void lldt_reads_16_bytes_in_long_mode(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    fake_put(f, FAKE_GDT + LDT + 8, 0xffff8000, 8);
    assert_int_equal(x86_lldt(&f->cpu, LDT), X86_OK);
    assert_true(f->st.ldtr.base == 0xffff800000001800);
    assert_int_equal(f->st.ldtr.limit, 0xff);
    fake_put(f, FAKE_GDT + LDT + 8, 0x00108000, 8); /* not canonical */
    fake_expect_fault(f, x86_lldt(&f->cpu, LDT), X86_GP, LDT);
    fake_cpu_free(f);
    f = fake_cpu_new(FAKE_LEGACY);
    fake_put(f, FAKE_GDT + LDT + 8, 0xffff8000, 8);
    assert_int_equal(x86_lldt(&f->cpu, LDT), X86_OK);
    assert_int_equal(f->st.ldtr.base, FAKE_LDT);
    fake_cpu_free(f);
}

static void a_null_ldt_is_no_ldt(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    assert_int_equal(x86_lldt(&f->cpu, LDT), X86_OK);
    assert_int_equal(x86_lldt(&f->cpu, 0), X86_OK);
    fake_expect_fault(f, x86_load_seg(&f->cpu, X86_DS, 7), X86_GP, 4);
    fake_cpu_free(f);
}

static void ltr_marks_the_task_busy(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    assert_int_equal(x86_ltr(&f->cpu, TSS), X86_OK);
    assert_int_equal(fake_get(f, FAKE_GDT + TSS + 5, 1), 0x8b);
    assert_int_equal(f->st.tr.attr & X86_SEG_TYPE, 0xb);
    assert_int_equal(f->st.tr.base, FAKE_TSS);
    fake_expect_fault(f, x86_ltr(&f->cpu, TSS), X86_GP, TSS);
    fake_cpu_free(f);
}

static void lldt_and_ltr_refuse(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    fake_expect_fault(f, x86_lldt(&f->cpu, TSS), X86_GP, TSS);
    fake_expect_fault(f, x86_lldt(&f->cpu, LDT | 4), X86_GP, LDT | 4);
    fake_expect_fault(f, x86_ltr(&f->cpu, LDT), X86_GP, LDT);
    fake_expect_fault(f, x86_ltr(&f->cpu, TSS16), X86_GP, TSS16);
    fake_expect_fault(f, x86_ltr(&f->cpu, 0), X86_GP, 0);
    fake_cpu_free(f);
    f = fake_cpu_new(FAKE_LONG_USER);
    fake_expect_fault(f, x86_ltr(&f->cpu, TSS), X86_GP, 0);
    fake_expect_fault(f, x86_lldt(&f->cpu, 0), X86_GP, 0);
    fake_cpu_free(f);
    f = fake_cpu_new(FAKE_REAL);
    fake_expect_fault(f, x86_ltr(&f->cpu, TSS), X86_UD, -1);
    fake_expect_fault(f, x86_lldt(&f->cpu, 0), X86_UD, -1);
    fake_cpu_free(f);
}

/* -- LAR, LSL, VERR, VERW
 * ------------------------------------------------------- */

static void lar_and_lsl_judge_what_they_may_see(void **state)
{
    static const struct {
        enum fake_mode mode;
        uint16_t sel;
        bool lar, lsl;
    } cases[] = {
        {FAKE_LONG_USER, 0, false, false},
        {FAKE_LONG_USER, 3, false, false},
        {FAKE_LONG_USER, UDATA | 3, true, true},
        {FAKE_LONG_USER, KDATA, false, false},
        {FAKE_LONG_USER, CONFORMING | 3, true, true},
        {FAKE_LONG_USER, GDT_LIMIT + 1, false, false},
        {FAKE_LONG_USER, ABSENT_DATA | 3, true, true},
        {FAKE_LONG, KDATA | 3, false, false}, /* RPL */
        {FAKE_LONG, TSS, true, true},
        {FAKE_LONG, LDT, true, true},
        {FAKE_LONG, TSS16, false, false},
        {FAKE_LONG, TASK_GATE, false, false},
        {FAKE_LEGACY, TSS16, true, true},
        {FAKE_LEGACY, TASK_GATE, true, false},
        {FAKE_LEGACY, CALL_GATE, false, false}, /* type 0: nothing there */
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake_cpu *f = fake_cpu_new(cases[i].mode);
        uint32_t out = 77;
        bool ok;

        assert_int_equal(x86_lar(&f->cpu, cases[i].sel, &out, &ok), X86_OK);
        assert_int_equal(ok, cases[i].lar);
        assert_int_equal(out == 77, !ok);
        out = 77;
        assert_int_equal(x86_lsl(&f->cpu, cases[i].sel, &out, &ok), X86_OK);
        assert_int_equal(ok, cases[i].lsl);
        assert_int_equal(out == 77, !ok);
        fake_cpu_free(f);
    }
}

static void lar_gives_the_rights_and_lsl_the_limit_in_bytes(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG_USER);
    uint32_t out;
    bool ok;

    (void)state;
    assert_int_equal(x86_lar(&f->cpu, UDATA | 3, &out, &ok), X86_OK);
    assert_int_equal(out, 0x00cff300);
    assert_int_equal(x86_lsl(&f->cpu, UDATA | 3, &out, &ok), X86_OK);
    assert_int_equal(out, 0xffffffff);
    fake_cpu_free(f);
}

static void verr_and_verw_check_the_type(void **state)
{
    static const struct {
        uint16_t sel;
        bool read, write;
    } cases[] = {
        {UDATA | 3, true, true},    {RO_DATA | 3, true, false},
        {UCODE64 | 3, true, false}, {EXEC_ONLY | 3, false, false},
        {KDATA, false, false},      {CONFORMING, true, false},
        {TSS, false, false},        {0, false, false},
    };
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG_USER);
    bool ok;

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(x86_verify(&f->cpu, cases[i].sel, false, &ok), X86_OK);
        assert_int_equal(ok, cases[i].read);
        assert_int_equal(x86_verify(&f->cpu, cases[i].sel, true, &ok), X86_OK);
        assert_int_equal(ok, cases[i].write);
    }
    fake_cpu_free(f);
}

static void none_of_them_exists_in_real_style_modes(void **state)
{
    static const enum fake_mode modes[] = {FAKE_REAL, FAKE_V86};
    uint32_t out;
    bool ok;

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(modes); i++) {
        struct fake_cpu *f = fake_cpu_new(modes[i]);

        fake_expect_fault(f, x86_lar(&f->cpu, KDATA, &out, &ok), X86_UD, -1);
        fake_expect_fault(f, x86_lsl(&f->cpu, KDATA, &out, &ok), X86_UD, -1);
        fake_expect_fault(f, x86_verify(&f->cpu, KDATA, 0, &ok), X86_UD, -1);
        fake_cpu_free(f);
    }
}

static void only_fs_and_gs_have_a_base_in_64_bit_mode(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG_USER);

    (void)state;
    f->st.seg[X86_DS].base = 0x1000;
    f->st.seg[X86_GS].base = 0xffff888000000000;
    assert_int_equal(x86_linear(&f->st, X86_DS, 0x10), 0x10);
    assert_true(x86_linear(&f->st, X86_GS, 0x10) == 0xffff888000000010);
    fake_load(f, X86_CS, UCODE32 | 3);
    assert_int_equal(x86_linear(&f->st, X86_DS, 0xfffff010), 0x10);
    fake_cpu_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_load_caches_the_descriptor),
        cmocka_unit_test(granularity_scales_the_limit),
        cmocka_unit_test(real_mode_keeps_limit_and_attributes),
        cmocka_unit_test(v86_mode_sets_64_kib),
        cmocka_unit_test(a_null_selector_clears_the_base_and_keeps_its_rpl),
        cmocka_unit_test(a_null_stack_is_for_64_bit_kernels),
        cmocka_unit_test(only_ss_starts_a_shadow),
        cmocka_unit_test(bad_selectors_fault_and_load_nothing),
        cmocka_unit_test(code_may_be_read_if_it_is_readable_or_conforming),
        cmocka_unit_test(ldt_selectors_use_the_ldt),
        cmocka_unit_test(a_page_fault_on_the_table_passes_through),
        cmocka_unit_test(lldt_reads_16_bytes_in_long_mode),
        cmocka_unit_test(a_null_ldt_is_no_ldt),
        cmocka_unit_test(ltr_marks_the_task_busy),
        cmocka_unit_test(lldt_and_ltr_refuse),
        cmocka_unit_test(lar_and_lsl_judge_what_they_may_see),
        cmocka_unit_test(lar_gives_the_rights_and_lsl_the_limit_in_bytes),
        cmocka_unit_test(verr_and_verw_check_the_type),
        cmocka_unit_test(none_of_them_exists_in_real_style_modes),
        cmocka_unit_test(only_fs_and_gs_have_a_base_in_64_bit_mode),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
