#include "x86/task.h"

#include "tests/unit/x86/fake_cpu.h"
#include "x86/desc.h"

enum { NEXT = FAKE_RIP + 9 };

/* A complete 32-bit task in TSS2, and the current one marked busy. */
static struct fake_cpu *new_tasks(void)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY);

    fake_desc(f, TSS, FAKE_TSS, 0x2087, 0x8b);
    fake_put(f, FAKE_TSS2 + 32, FAKE_HANDLER, 4);
    fake_put(f, FAKE_TSS2 + 36, X86_FLAGS_IF | X86_FLAGS_CF, 4);
    for (unsigned i = 0; i < 8; i++)
        fake_put(f, FAKE_TSS2 + 40 + i * 4, 0x1000 + i, 4);
    fake_put(f, FAKE_TSS2 + 72, KDATA, 2);
    fake_put(f, FAKE_TSS2 + 76, KCODE32, 2);
    fake_put(f, FAKE_TSS2 + 80, KDATA, 2);
    fake_put(f, FAKE_TSS2 + 84, KDATA, 2);
    fake_put(f, FAKE_TSS2 + 96, LDT, 2);
    return f;
}

static void a_switch_saves_the_old_task_and_loads_the_new(void **state)
{
    struct fake_cpu *f = new_tasks();

    (void)state;
    for (unsigned i = 0; i < 8; i++)
        f->st.gpr[i] = 0x2000 + i;
    assert_int_equal(x86_task_switch(&f->cpu, TSS2, X86_TASK_JMP, NEXT),
                     X86_OK);
    assert_int_equal(fake_get(f, FAKE_TSS + 32, 4), NEXT);
    assert_int_equal(fake_get(f, FAKE_TSS + 36, 4), X86_FLAGS_FIXED);
    assert_int_equal(fake_get(f, FAKE_TSS + 76, 2), KCODE32);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(fake_get(f, FAKE_TSS + 40 + i * 4, 4), 0x2000 + i);
        assert_int_equal(f->st.gpr[i], 0x1000 + i);
    }
    assert_int_equal(f->st.rip, FAKE_HANDLER);
    assert_int_equal(f->st.rflags,
                     X86_FLAGS_IF | X86_FLAGS_CF | X86_FLAGS_FIXED);
    assert_int_equal(f->st.ldtr.base, FAKE_LDT);
    assert_int_equal(f->st.seg[X86_FS].attr, 0);
    assert_true(f->st.cr0 & X86_CR0_TS);
    fake_cpu_free(f);
}

static void busy_bits_and_links_follow_the_reason(void **state)
{
    static const struct {
        enum x86_task_reason reason;
        uint8_t old_type; /* behind the switch */
        bool linked;
    } cases[] = {{X86_TASK_JMP, 0x89, false},
                 {X86_TASK_CALL, 0x8b, true},
                 {X86_TASK_GATE, 0x8b, true}};

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake_cpu *f = new_tasks();

        assert_int_equal(x86_task_switch(&f->cpu, TSS2, cases[i].reason, NEXT),
                         X86_OK);
        assert_int_equal(fake_get(f, FAKE_GDT + TSS + 5, 1), cases[i].old_type);
        assert_int_equal(fake_get(f, FAKE_GDT + TSS2 + 5, 1), 0x8b);
        assert_int_equal(!!(f->st.rflags & X86_FLAGS_NT), cases[i].linked);
        assert_int_equal(fake_get(f, FAKE_TSS2, 2), cases[i].linked ? TSS : 0);
        fake_cpu_free(f);
    }
}

static void bad_task_segments_are_refused_without_a_trace(void **state)
{
    static const struct {
        uint16_t sel;
        uint32_t limit;
        uint16_t attr;
        enum x86_task_reason reason;
        uint8_t vector;
        uint16_t error;
    } cases[] = {
        {0, 0x67, 0x89, X86_TASK_JMP, X86_GP, 0},
        {TSS2 | 4, 0x67, 0x89, X86_TASK_JMP, X86_GP, TSS2 | 4},
        {GDT_LIMIT + 1, 0x67, 0x89, X86_TASK_JMP, X86_GP, GDT_LIMIT + 1},
        {TSS2, 0x67, 0x8b, X86_TASK_JMP, X86_GP, TSS2},  /* busy */
        {TSS2, 0x67, 0x89, X86_TASK_IRET, X86_TS, TSS2}, /* not busy */
        {TSS2, 0x67, 0x82, X86_TASK_JMP, X86_GP, TSS2},  /* an LDT */
        {TSS2, 0x67, 0x93, X86_TASK_JMP, X86_GP, TSS2},  /* data */
        {TSS2, 0x67, 0x09, X86_TASK_JMP, X86_NP, TSS2},  /* not present */
        {TSS2, 0x66, 0x89, X86_TASK_JMP, X86_TS, TSS2},  /* short */
        {TSS2, 0x2a, 0x81, X86_TASK_JMP, X86_TS, TSS2},  /* short, 16-bit */
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake_cpu *f = new_tasks();

        fake_desc(f, TSS2, FAKE_TSS2, cases[i].limit, cases[i].attr);
        fake_expect_fault(
            f, x86_task_switch(&f->cpu, cases[i].sel, cases[i].reason, NEXT),
            cases[i].vector, cases[i].error);
        assert_int_equal(f->st.rip, FAKE_RIP);
        assert_int_equal(f->st.tr.sel, TSS);
        assert_int_equal(f->writes, 0);
        fake_cpu_free(f);
    }
}

static void a_page_fault_on_the_new_tss_leaves_the_old_task(void **state)
{
    struct fake_cpu *f = new_tasks();

    (void)state;
    f->bad_page = FAKE_TSS2;
    fake_expect_fault(f, x86_task_switch(&f->cpu, TSS2, X86_TASK_CALL, NEXT),
                      X86_PF, 0);
    assert_int_equal(f->st.rip, FAKE_RIP);
    assert_int_equal(f->st.tr.sel, TSS);
    fake_cpu_free(f);
}

static void bad_selectors_fault_in_the_new_task(void **state)
{
    static const struct {
        unsigned off;
        uint16_t sel;
        uint8_t vector;
        uint16_t error;
    } cases[] = {
        {76, 0, X86_TS, 0},
        {76, KDATA, X86_TS, KDATA},
        {76, KCODE32 | 3, X86_TS, KCODE32},
        {76, ABSENT_CODE, X86_NP, ABSENT_CODE},
        {80, 0, X86_TS, 0},
        {80, UDATA | 3, X86_TS, UDATA},
        {84, EXEC_ONLY, X86_TS, EXEC_ONLY},
        {84, ABSENT_DATA, X86_NP, ABSENT_DATA},
        {96, TSS, X86_TS, TSS},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake_cpu *f = new_tasks();

        fake_put(f, FAKE_TSS2 + cases[i].off, cases[i].sel, 2);
        fake_expect_fault(f, x86_task_switch(&f->cpu, TSS2, X86_TASK_JMP, NEXT),
                          cases[i].vector, cases[i].error);
        assert_int_equal(f->st.tr.sel, TSS2);
        assert_int_equal(f->st.rip, FAKE_HANDLER);
        assert_int_equal(f->mode_changes, 1);
        fake_cpu_free(f);
    }
}

static void a_16_bit_task_loads_16_bit_registers(void **state)
{
    struct fake_cpu *f = new_tasks();

    (void)state;
    fake_put(f, FAKE_TSS2 + 14, 0x1234, 2);
    fake_put(f, FAKE_TSS2 + 16, X86_FLAGS_CF, 2);
    fake_put(f, FAKE_TSS2 + 18, 0xabcd, 2);
    fake_put(f, FAKE_TSS2 + 34, KDATA, 2);
    fake_put(f, FAKE_TSS2 + 36, KCODE16, 2);
    fake_put(f, FAKE_TSS2 + 38, KDATA, 2);
    fake_put(f, FAKE_TSS2 + 40, KDATA, 2);
    fake_put(f, FAKE_TSS2 + 42, 0, 2);
    f->st.gpr[X86_RAX] = 0x77770000;
    assert_int_equal(x86_task_switch(&f->cpu, TSS16, X86_TASK_JMP, NEXT),
                     X86_OK);
    assert_int_equal(f->st.rip, 0x1234);
    assert_int_equal(f->st.gpr[X86_RAX], 0x7777abcd);
    assert_int_equal(f->st.seg[X86_CS].sel, KCODE16);
    assert_int_equal(f->st.tr.attr & X86_SEG_TYPE, X86_DESC_TSS16_BUSY);
    fake_cpu_free(f);
}

static void a_v86_task_needs_no_descriptors(void **state)
{
    struct fake_cpu *f = new_tasks();

    (void)state;
    fake_put(f, FAKE_TSS2 + 36, X86_FLAGS_VM, 4);
    fake_put(f, FAKE_TSS2 + 76, 0x700, 2);
    fake_put(f, FAKE_TSS2 + 32, 0x12, 4);
    assert_int_equal(x86_task_switch(&f->cpu, TSS2, X86_TASK_JMP, NEXT),
                     X86_OK);
    assert_int_equal(f->st.cpl, 3);
    assert_int_equal(f->st.seg[X86_CS].base, 0x7000);
    fake_cpu_free(f);
}

static void cr3_comes_from_the_new_task_under_paging(void **state)
{
    struct fake_cpu *f = new_tasks();

    (void)state;
    fake_put(f, FAKE_TSS2 + 28, 0x33000, 4);
    f->st.cr0 |= X86_CR0_PG;
    assert_int_equal(x86_task_switch(&f->cpu, TSS2, X86_TASK_JMP, NEXT),
                     X86_OK);
    assert_int_equal(f->st.cr3, 0x33000);
    assert_int_equal(f->cr3_loads, 1);
    fake_cpu_free(f);
}

static void the_trap_bit_raises_a_debug_exception_in_the_new_task(void **state)
{
    struct fake_cpu *f = new_tasks();

    (void)state;
    fake_put(f, FAKE_TSS2 + 100, 1, 2);
    fake_expect_fault(f, x86_task_switch(&f->cpu, TSS2, X86_TASK_JMP, NEXT),
                      X86_DB, -1);
    assert_true(f->st.dr6 & X86_DR6_BT);
    assert_int_equal(f->st.rip, FAKE_HANDLER);
    fake_cpu_free(f);
}

static void stacks_come_from_both_sizes_of_tss(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY_USER);
    struct x86_seg ss;
    uint64_t sp;

    (void)state;
    assert_int_equal(x86_task_stack(&f->cpu, 0, &ss, &sp), X86_OK);
    assert_int_equal(sp, FAKE_STACK0);
    assert_int_equal(ss.sel, KDATA);
    f->st.tr.attr = 0x83;
    fake_put(f, FAKE_TSS + 2, 0x1234, 2);
    fake_put(f, FAKE_TSS + 4, KDATA, 2);
    assert_int_equal(x86_task_stack(&f->cpu, 0, &ss, &sp), X86_OK);
    assert_int_equal(sp, 0x1234);
    f->st.tr.limit = 4;
    fake_expect_fault(f, x86_task_stack(&f->cpu, 0, &ss, &sp), X86_TS, TSS);
    fake_cpu_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_switch_saves_the_old_task_and_loads_the_new),
        cmocka_unit_test(busy_bits_and_links_follow_the_reason),
        cmocka_unit_test(bad_task_segments_are_refused_without_a_trace),
        cmocka_unit_test(a_page_fault_on_the_new_tss_leaves_the_old_task),
        cmocka_unit_test(bad_selectors_fault_in_the_new_task),
        cmocka_unit_test(a_16_bit_task_loads_16_bit_registers),
        cmocka_unit_test(a_v86_task_needs_no_descriptors),
        cmocka_unit_test(cr3_comes_from_the_new_task_under_paging),
        cmocka_unit_test(the_trap_bit_raises_a_debug_exception_in_the_new_task),
        cmocka_unit_test(stacks_come_from_both_sizes_of_tss),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
