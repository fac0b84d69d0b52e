#include "tests/unit/x86/fake_cpu.h"
#include "x86/desc.h"

enum { NEXT = FAKE_RIP + 7 };

static int jump(struct fake_cpu *f, uint16_t sel, uint64_t off, unsigned opsize)
{
    return x86_jmp_far(&f->cpu, sel, off, opsize, NEXT);
}

static int call(struct fake_cpu *f, uint16_t sel, uint64_t off, unsigned opsize)
{
    return x86_call_far(&f->cpu, sel, off, opsize, NEXT);
}

/* A call gate of type and parameter count to sel:target. */
static void put_gate(struct fake_cpu *f, unsigned type, unsigned nr_params,
                     uint16_t sel, uint64_t target)
{
    fake_put(f, FAKE_GDT + CALL_GATE,
             (target & 0xffff) | (uint64_t)sel << 16 |
                 (uint64_t)nr_params << 32 | (uint64_t)(0xe0 | type) << 40 |
                 (target & 0xffff0000) << 32,
             8);
    if (x86_long_mode(&f->st))
        fake_put(f, FAKE_GDT + CALL_GATE + 8, target >> 32, 8);
}

/* -- Direct
 * --------------------------------------------------------------------- */

static void a_far_jump_loads_cs(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY);

    (void)state;
    assert_int_equal(jump(f, KCODE16, 0xffff1234, 2), X86_OK);
    assert_int_equal(f->st.rip, 0x1234);
    assert_int_equal(f->st.seg[X86_CS].sel, KCODE16);
    assert_int_equal(f->st.seg[X86_CS].attr & X86_SEG_DB, 0);
    assert_int_equal(f->st.gpr[X86_RSP], FAKE_STACK);
    assert_int_equal(f->mode_changes, 1);
    fake_cpu_free(f);
}

static void real_mode_loads_a_paragraph(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_REAL);

    (void)state;
    assert_int_equal(jump(f, 0x1234, 0x56, 2), X86_OK);
    assert_int_equal(f->st.seg[X86_CS].base, 0x12340);
    assert_int_equal(f->st.rip, 0x56);
    fake_expect_fault(f, jump(f, 0x1234, 0x10000, 4), X86_GP, 0);
    fake_cpu_free(f);
}

static void entering_protected_mode_takes_a_far_jump(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_REAL);

    (void)state;
    f->st.cr0 |= X86_CR0_PE;
    assert_int_equal(jump(f, KCODE32, 0x12345678, 4), X86_OK);
    assert_int_equal(f->st.rip, 0x12345678);
    assert_int_equal(f->st.cpl, 0);
    assert_true(f->st.seg[X86_CS].attr & X86_SEG_DB);
    fake_cpu_free(f);
}

static void entering_64_bit_mode_takes_a_far_jump(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    fake_load(f, X86_CS, KCODE32);
    assert_false(x86_64bit_mode(&f->st));
    assert_int_equal(jump(f, KCODE64, 0x100000, 4), X86_OK);
    assert_true(x86_64bit_mode(&f->st));
    fake_cpu_free(f);
}

static void a_far_call_pushes_the_return_address(void **state)
{
    static const struct {
        enum fake_mode mode;
        uint16_t sel;
        uint8_t size;
    } cases[] = {{FAKE_REAL, 0x700, 2},
                 {FAKE_LEGACY, KCODE16, 2},
                 {FAKE_LEGACY, KCODE32, 4},
                 {FAKE_LONG, KCODE64, 4},
                 {FAKE_LONG, KCODE64, 8}};

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake_cpu *f = fake_cpu_new(cases[i].mode);
        unsigned size = cases[i].size;
        uint16_t cs = f->st.seg[X86_CS].sel;

        assert_int_equal(call(f, cases[i].sel, FAKE_HANDLER, size), X86_OK);
        assert_int_equal(f->st.rip, FAKE_HANDLER);
        assert_int_equal(f->st.gpr[X86_RSP], FAKE_STACK - 2 * size);
        assert_int_equal(fake_get(f, FAKE_STACK - 2 * size, size), NEXT);
        assert_int_equal(fake_get(f, FAKE_STACK - size, size), cs);
        fake_cpu_free(f);
    }
}

static void conforming_code_runs_at_the_caller_s_level(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY_USER);

    (void)state;
    assert_int_equal(jump(f, CONFORMING, FAKE_HANDLER, 4), X86_OK);
    assert_int_equal(f->st.cpl, 3);
    assert_int_equal(f->st.seg[X86_CS].sel, CONFORMING | 3);
    fake_cpu_free(f);
}

static void bad_destinations_fault(void **state)
{
    static const struct {
        enum fake_mode mode;
        uint16_t sel;
        uint64_t off;
        uint8_t vector;
        uint16_t error;
    } cases[] = {
        {FAKE_LEGACY, 0, 0, X86_GP, 0},
        {FAKE_LEGACY, GDT_LIMIT + 1, 0, X86_GP, GDT_LIMIT + 1},
        {FAKE_LEGACY, KDATA, 0, X86_GP, KDATA},
        {FAKE_LEGACY, UCODE32 | 3, 0, X86_GP, UCODE32},
        {FAKE_LEGACY, KCODE32 | 1, 0, X86_GP, KCODE32},
        {FAKE_LEGACY, ABSENT_CODE, 0, X86_NP, ABSENT_CODE},
        {FAKE_LEGACY, KCODE16, 0x10000, X86_GP, 0},
        {FAKE_LEGACY, LDT, 0, X86_GP, LDT},
        {FAKE_LEGACY_USER, KCODE32, 0, X86_GP, KCODE32},
        {FAKE_LEGACY_USER, TSS2, 0, X86_GP, TSS2}, /* DPL 0 */
        {FAKE_LONG, BAD_CODE, 0, X86_GP, BAD_CODE},
        {FAKE_LONG, KCODE64, (uint64_t)1 << 47, X86_GP, 0},
        {FAKE_LONG, TSS2, 0, X86_GP, TSS2},
        {FAKE_LONG, TASK_GATE, 0, X86_GP, TASK_GATE},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake_cpu *f = fake_cpu_new(cases[i].mode);
        uint16_t cs = f->st.seg[X86_CS].sel;

        fake_expect_fault(f, jump(f, cases[i].sel, cases[i].off, 8),
                          cases[i].vector, cases[i].error);
        fake_expect_fault(f, call(f, cases[i].sel, cases[i].off, 8),
                          cases[i].vector, cases[i].error);
        assert_int_equal(f->st.rip, FAKE_RIP);
        assert_int_equal(f->st.seg[X86_CS].sel, cs);
        assert_int_equal(f->st.gpr[X86_RSP], FAKE_STACK);
        fake_cpu_free(f);
    }
}

static void a_call_whose_push_faults_does_not_happen(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY);

    (void)state;
    f->bad_page = FAKE_STACK - GPAGE_SIZE;
    fake_expect_fault(f, call(f, KCODE32, FAKE_HANDLER, 4), X86_PF, X86_PF_W);
    assert_int_equal(f->st.rip, FAKE_RIP);
    assert_int_equal(f->st.gpr[X86_RSP], FAKE_STACK);
    fake_cpu_free(f);
}

/* -- Call gates
 * ------------------------------------------------------------------ */

static void a_gate_to_an_inner_level_switches_stacks_and_copies(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY_USER);

    (void)state;
    put_gate(f, X86_DESC_CALL, 2, KCODE32, 0x12345678);
    fake_put(f, FAKE_STACK, 0x11111111, 4);
    fake_put(f, FAKE_STACK + 4, 0x22222222, 4);
    assert_int_equal(call(f, CALL_GATE | 3, 0xbad, 4), X86_OK);
    assert_int_equal(f->st.cpl, 0);
    assert_int_equal(f->st.rip, 0x12345678);
    assert_int_equal(f->st.seg[X86_SS].sel, KDATA);
    assert_int_equal(f->st.gpr[X86_RSP], FAKE_STACK0 - 24);
    assert_int_equal(fake_get(f, FAKE_STACK0 - 4, 4), UDATA | 3);
    assert_int_equal(fake_get(f, FAKE_STACK0 - 8, 4), FAKE_STACK);
    assert_int_equal(fake_get(f, FAKE_STACK0 - 12, 4), 0x22222222);
    assert_int_equal(fake_get(f, FAKE_STACK0 - 16, 4), 0x11111111);
    assert_int_equal(fake_get(f, FAKE_STACK0 - 20, 4), UCODE32 | 3);
    assert_int_equal(fake_get(f, FAKE_STACK0 - 24, 4), NEXT);
    fake_cpu_free(f);
}

static void a_16_bit_gate_pushes_16_bit_words(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY);

    (void)state;
    put_gate(f, X86_DESC_CALL16, 0, KCODE32, 0x12345678);
    assert_int_equal(call(f, CALL_GATE, 0, 4), X86_OK);
    assert_int_equal(f->st.rip, 0x5678);
    assert_int_equal(f->st.gpr[X86_RSP], FAKE_STACK - 4);
    fake_cpu_free(f);
}

static void a_64_bit_gate_switches_to_the_tss_s_rsp(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG_USER);

    (void)state;
    put_gate(f, X86_DESC_CALL, 0, KCODE64, 0xffff800000001000);
    assert_int_equal(call(f, CALL_GATE | 3, 0, 8), X86_OK);
    assert_int_equal(f->st.cpl, 0);
    assert_int_equal(f->st.rip, 0xffff800000001000);
    assert_int_equal(f->st.gpr[X86_RSP], FAKE_STACK0 - 32);
    assert_int_equal(fake_get(f, FAKE_STACK0 - 32, 8), NEXT);
    assert_int_equal(f->st.seg[X86_SS].sel, 0);
    fake_cpu_free(f);
}

static void a_jump_through_a_gate_stays_at_its_level(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY);

    (void)state;
    put_gate(f, X86_DESC_CALL, 0, KCODE32, FAKE_HANDLER);
    assert_int_equal(jump(f, CALL_GATE, 0, 4), X86_OK);
    assert_int_equal(f->st.rip, FAKE_HANDLER);
    assert_int_equal(f->st.gpr[X86_RSP], FAKE_STACK);
    fake_cpu_free(f);
    f = fake_cpu_new(FAKE_LEGACY_USER);
    put_gate(f, X86_DESC_CALL, 0, KCODE32, FAKE_HANDLER);
    fake_expect_fault(f, jump(f, CALL_GATE | 3, 0, 4), X86_GP, KCODE32);
    fake_cpu_free(f);
}

static void bad_gates_fault(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    put_gate(f, X86_DESC_CALL, 0, KCODE32, FAKE_HANDLER); /* not 64-bit */
    fake_expect_fault(f, call(f, CALL_GATE, 0, 8), X86_GP, KCODE32);
    put_gate(f, X86_DESC_CALL, 0, KCODE64, FAKE_HANDLER);
    fake_put(f, FAKE_GDT + CALL_GATE + 13, 1, 1); /* a type in the upper half */
    fake_expect_fault(f, call(f, CALL_GATE, 0, 8), X86_GP, CALL_GATE);
    put_gate(f, X86_DESC_CALL, 0, 0, FAKE_HANDLER);
    fake_expect_fault(f, call(f, CALL_GATE, 0, 8), X86_GP, 0);
    put_gate(f, X86_DESC_CALL16, 0, KCODE64, FAKE_HANDLER);
    fake_expect_fault(f, call(f, CALL_GATE, 0, 8), X86_GP, CALL_GATE);
    put_gate(f, X86_DESC_CALL, 0, KCODE64, FAKE_HANDLER);
    fake_put(f, FAKE_GDT + CALL_GATE + 5, 0x60 | X86_DESC_CALL, 1);
    fake_expect_fault(f, call(f, CALL_GATE, 0, 8), X86_NP, CALL_GATE);
    fake_cpu_free(f);
}

static void far_transfers_to_tasks_switch(void **state)
{
    static const uint16_t sels[] = {TSS2, TASK_GATE};

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(sels); i++) {
        struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY);

        fake_desc(f, TSS, FAKE_TSS, 0x2087, 0x8b);
        fake_put(f, FAKE_TSS2 + 32, FAKE_HANDLER, 4);
        fake_put(f, FAKE_TSS2 + 76, KCODE32, 2);
        fake_put(f, FAKE_TSS2 + 80, KDATA, 2);
        assert_int_equal(call(f, sels[i], 0, 4), X86_OK);
        assert_int_equal(f->st.rip, FAKE_HANDLER);
        assert_int_equal(fake_get(f, FAKE_TSS2, 2), TSS);
        assert_int_equal(fake_get(f, FAKE_TSS + 32, 4), NEXT);
        fake_cpu_free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_far_jump_loads_cs),
        cmocka_unit_test(real_mode_loads_a_paragraph),
        cmocka_unit_test(entering_protected_mode_takes_a_far_jump),
        cmocka_unit_test(entering_64_bit_mode_takes_a_far_jump),
        cmocka_unit_test(a_far_call_pushes_the_return_address),
        cmocka_unit_test(conforming_code_runs_at_the_caller_s_level),
        cmocka_unit_test(bad_destinations_fault),
        cmocka_unit_test(a_call_whose_push_faults_does_not_happen),
        cmocka_unit_test(a_gate_to_an_inner_level_switches_stacks_and_copies),
        cmocka_unit_test(a_16_bit_gate_pushes_16_bit_words),
        cmocka_unit_test(a_64_bit_gate_switches_to_the_tss_s_rsp),
        cmocka_unit_test(a_jump_through_a_gate_stays_at_its_level),
        cmocka_unit_test(bad_gates_fault),
        cmocka_unit_test(far_transfers_to_tasks_switch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
