#include "x86/desc.h"

#include "tests/unit/x86/fake_cpu.h"

static void the_table_s_limit_covers_the_whole_descriptor(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);
    gva_t addr;

    (void)state;
    f->st.gdtr.limit = 0x17;
    assert_true(x86_desc_find(&f->st, 0x13, 8, &addr));
    assert_int_equal(addr, FAKE_GDT + 0x10);
    assert_false(x86_desc_find(&f->st, 0x18, 8, &addr));
    assert_false(x86_desc_find(&f->st, 0x10, 16, &addr));
    f->st.gdtr.limit = 0x16;
    assert_false(x86_desc_find(&f->st, 0x10, 8, &addr));
    f->st.gdtr.limit = 0xffff;
    assert_true(x86_desc_find(&f->st, 0xfff8, 8, &addr));
    assert_false(x86_desc_find(&f->st, 0xfff8, 16, &addr));
    fake_cpu_free(f);
}

static void without_an_ldt_its_selectors_name_nothing(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);
    gva_t addr;

    (void)state;
    f->st.ldtr.attr = 0;
    assert_false(x86_desc_find(&f->st, 4, 8, &addr));
    fake_ldt_desc(f, 4, 0, 0);
    assert_true(x86_desc_find(&f->st, 4, 8, &addr));
    assert_int_equal(addr, FAKE_LDT);
    fake_cpu_free(f);
}

static void legacy_addresses_wrap_at_4_gib(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY);
    gva_t addr;

    (void)state;
    f->st.gdtr.base = 0xfffffff8;
    assert_true(x86_desc_find(&f->st, 0x10, 8, &addr));
    assert_int_equal(addr, 8);
    fake_cpu_free(f);
}

static void faults_name_the_selector_without_its_rpl(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);
    struct x86_desc d;

    (void)state;
    f->st.ldtr.attr = 0;
    fake_expect_fault(f, x86_desc_read(&f->cpu, 0x1003, X86_TS, &d), X86_TS,
                      0x1000);
    fake_expect_fault(f, x86_desc_read(&f->cpu, 0x1007, X86_GP, &d), X86_GP,
                      0x1004);
    fake_cpu_free(f);
}

static void all_fields_are_taken_apart(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);
    struct x86_desc d;
    struct x86_seg seg;

    (void)state;
    fake_desc(f, UDATA, 0x9abcdef0, 0x54321, 0x50f7);
    assert_int_equal(x86_desc_read(&f->cpu, UDATA | 3, X86_GP, &d), X86_OK);
    x86_desc_to_seg(&d, &seg);
    assert_int_equal(seg.sel, UDATA | 3);
    assert_int_equal(seg.base, 0x9abcdef0);
    assert_int_equal(seg.limit, 0x54321);
    assert_int_equal(seg.attr, 0x50f7);
    assert_int_equal(x86_desc_dpl(d.lo), 3);
    assert_true(x86_desc_present(d.lo) && x86_desc_is_writable(d.lo));
    fake_cpu_free(f);
}

static void the_second_half_must_have_no_type(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);
    struct x86_desc d;
    uint64_t hi;

    (void)state;
    assert_int_equal(x86_desc_read(&f->cpu, LDT, X86_GP, &d), X86_OK);
    fake_put(f, FAKE_GDT + LDT + 8, 0x12345678, 8);
    assert_int_equal(x86_desc_read_high(&f->cpu, &d, X86_GP, &hi), X86_OK);
    assert_int_equal(hi, 0x12345678);
    fake_put(f, FAKE_GDT + LDT + 13, 0x10, 1);
    fake_expect_fault(f, x86_desc_read_high(&f->cpu, &d, X86_GP, &hi), X86_GP,
                      LDT);
    f->st.gdtr.limit = LDT + 14;
    fake_expect_fault(f, x86_desc_read_high(&f->cpu, &d, X86_GP, &hi), X86_GP,
                      LDT);
    fake_cpu_free(f);
}

static void a_bit_that_is_set_is_not_written_again(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);
    struct x86_desc d;

    (void)state;
    assert_int_equal(x86_desc_read(&f->cpu, KDATA, X86_GP, &d), X86_OK);
    assert_int_equal(x86_desc_set_accessed(&f->cpu, &d), X86_OK);
    assert_int_equal(f->writes, 0);
    assert_int_equal(x86_desc_read(&f->cpu, TSS, X86_GP, &d), X86_OK);
    assert_int_equal(x86_desc_set_busy(&f->cpu, &d, true), X86_OK);
    assert_int_equal(x86_desc_set_busy(&f->cpu, &d, true), X86_OK);
    assert_int_equal(f->writes, 1);
    assert_int_equal(x86_desc_type(d.lo), X86_DESC_TSS_BUSY);
    assert_int_equal(x86_desc_set_busy(&f->cpu, &d, false), X86_OK);
    assert_int_equal(fake_get(f, FAKE_GDT + TSS + 5, 1), 0x89);
    fake_cpu_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_s_limit_covers_the_whole_descriptor),
        cmocka_unit_test(without_an_ldt_its_selectors_name_nothing),
        cmocka_unit_test(legacy_addresses_wrap_at_4_gib),
        cmocka_unit_test(faults_name_the_selector_without_its_rpl),
        cmocka_unit_test(all_fields_are_taken_apart),
        cmocka_unit_test(the_second_half_must_have_no_type),
        cmocka_unit_test(a_bit_that_is_set_is_not_written_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
