#include "x86/stack.h"

#include "tests/unit/x86/fake_cpu.h"

static void limits_hold_in_both_directions(void **state)
{
    static const struct {
        uint32_t limit;
        uint16_t attr;
        uint64_t off;
        unsigned len;
        bool ok;
    } cases[] = {
        {0xfff, 0x93, 0xffc, 4, true},
        {0xfff, 0x93, 0xffd, 4, false},
        {0xfff, 0x13, 0, 1, false},     /* not present */
        {0xfff, 0x97, 0xfff, 1, false}, /* expand-down: above the limit */
        {0xfff, 0x97, 0x1000, 4, true},
        {0xfff, 0x97, 0xfffd, 4, false}, /* 64 KiB is the top */
        {0xfff, 0x4097, 0xfffd, 4, true},
        {0xfff, 0x4097, 0xfffffffd, 4, false},
        {0xffffffff, 0xc093, 0xfffffffc, 4, true},
        {0xffffffff, 0xc093, 0xfffffffd, 4, false},
        {0xffffffff, 0xc093, UINT64_MAX, 2, false},
        {0xfff, 0x9f, 0x10, 4, true}, /* conforming code does not expand */
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct x86_seg seg = {.limit = cases[i].limit, .attr = cases[i].attr};

        assert_int_equal(x86_seg_in_limit(&seg, cases[i].off, cases[i].len),
                         cases[i].ok);
    }
}

static void pushes_and_pops_move_the_cursor_only(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY);
    struct x86_stack s;
    uint64_t val;

    (void)state;
    x86_stack_current(&s, &f->cpu);
    assert_int_equal(x86_push(&s, 0x1122334455667788, 4), X86_OK);
    assert_int_equal(x86_push(&s, 0xaaaa, 2), X86_OK);
    assert_int_equal(s.sp, FAKE_STACK - 6);
    assert_int_equal(f->st.gpr[X86_RSP], FAKE_STACK);
    assert_int_equal(x86_pop(&s, &val, 2), X86_OK);
    assert_int_equal(val, 0xaaaa);
    assert_int_equal(x86_pop(&s, &val, 4), X86_OK);
    assert_int_equal(val, 0x55667788);
    fake_cpu_free(f);
}

static void a_fault_leaves_the_cursor(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY_USER);
    struct x86_stack s;

    (void)state;
    f->bad_page = FAKE_STACK - GPAGE_SIZE;
    x86_stack_current(&s, &f->cpu);
    fake_expect_fault(f, x86_push(&s, 1, 4), X86_PF, X86_PF_W | X86_PF_U);
    assert_int_equal(s.sp, FAKE_STACK);
    f->st.seg[X86_SS].limit = 0xff;
    fake_expect_fault(f, x86_push(&s, 1, 4), X86_SS_FAULT, 0);
    fake_cpu_free(f);
}

static void the_new_rsp_depends_on_the_width(void **state)
{
    const uint64_t old = 0x123456789abcdef0;
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY);
    struct x86_seg ss = {.limit = 0xffffffff, .attr = 0x93};
    struct x86_stack s;

    (void)state;
    x86_stack_init(&s, &f->cpu, &ss, 0x5678, false);
    assert_int_equal(x86_stack_sp(&s, old), 0x9abc5678);
    ss.attr |= X86_SEG_DB;
    x86_stack_init(&s, &f->cpu, &ss, 0x5678, false);
    assert_int_equal(x86_stack_sp(&s, old), 0x5678);
    x86_stack_init(&s, &f->cpu, &ss, 0x1122334455667788, true);
    assert_true(x86_stack_sp(&s, old) == 0x1122334455667788);
    fake_cpu_free(f);
}

static void a_64_bit_stack_must_be_canonical(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);
    struct x86_stack s;

    (void)state;
    f->st.gpr[X86_RSP] = 0x0000800000000004;
    x86_stack_current(&s, &f->cpu);
    fake_expect_fault(f, x86_push(&s, 1, 8), X86_SS_FAULT, 0);
    fake_cpu_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_hold_in_both_directions),
        cmocka_unit_test(pushes_and_pops_move_the_cursor_only),
        cmocka_unit_test(a_fault_leaves_the_cursor),
        cmocka_unit_test(the_new_rsp_depends_on_the_width),
        cmocka_unit_test(a_64_bit_stack_must_be_canonical),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
