#include "tests/unit/x86/fake_cpu.h"
#include "x86/desc.h"

enum { VECTOR = 0x21 };

static void deliver_ok(struct fake_cpu *f, struct x86_event ev)
{
    assert_int_equal(x86_deliver(&f->cpu, &ev), X86_OK);
}

/* The frame of a 64-bit handler, from RIP up. */
static void expect_frame64(const struct fake_cpu *f, uint64_t at, uint64_t rip,
                           uint64_t cs, uint64_t flags, uint64_t rsp,
                           uint64_t ss)
{
    assert_int_equal(fake_get(f, at, 8), rip);
    assert_int_equal(fake_get(f, at + 8, 8), cs);
    assert_int_equal(fake_get(f, at + 16, 8), flags);
    assert_int_equal(fake_get(f, at + 24, 8), rsp);
    assert_int_equal(fake_get(f, at + 32, 8), ss);
}

/* -- Long mode ------------------------------------------------------------- */

static void a_64_bit_frame_is_aligned_and_complete(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    fake_gate(f, VECTOR, X86_DESC_INT, 0, KCODE64, FAKE_HANDLER, 0);
    f->st.gpr[X86_RSP] = FAKE_STACK - 3;
    f->st.rflags |= X86_FLAGS_IF | X86_FLAGS_CF;
    deliver_ok(f, fake_external(VECTOR));
    assert_int_equal(f->st.rip, FAKE_HANDLER);
    assert_int_equal(f->st.gpr[X86_RSP], FAKE_STACK - 16 - 40);
    expect_frame64(f, f->st.gpr[X86_RSP], FAKE_RIP, KCODE64, 0x203,
                   FAKE_STACK - 3, KDATA);
    assert_int_equal(f->st.rflags, 0x3);
    assert_int_equal(f->st.seg[X86_SS].sel, KDATA);
    fake_cpu_free(f);
}

static void from_user_mode_the_stack_is_the_tss_s_and_ss_null(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG_USER);

    (void)state;
    fake_gate(f, X86_PF, X86_DESC_INT, 0, KCODE64, FAKE_HANDLER, 0);
    deliver_ok(f, fake_exception_err(X86_PF, 7));
    assert_int_equal(f->st.cpl, 0);
    assert_int_equal(f->st.gpr[X86_RSP], FAKE_STACK0 - 48);
    assert_int_equal(fake_get(f, FAKE_STACK0 - 48, 8), 7);
    expect_frame64(f, FAKE_STACK0 - 40, FAKE_RIP, UCODE64 | 3,
                   X86_FLAGS_FIXED | X86_FLAGS_RF, FAKE_STACK, UDATA | 3);
    assert_int_equal(f->st.seg[X86_CS].sel, KCODE64);
    assert_int_equal(f->st.seg[X86_SS].sel, 0);
    assert_int_equal(f->st.seg[X86_SS].attr & X86_SEG_P, 0);
    assert_false(f->user);
    fake_cpu_free(f);
}

static void from_compatibility_mode_too(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_COMPAT_USER);

    (void)state;
    fake_gate(f, 0x80, X86_DESC_INT, 3, KCODE64, FAKE_HANDLER, 0);
    deliver_ok(f, fake_int(0x80));
    expect_frame64(f, FAKE_STACK0 - 40, FAKE_RIP + 2, UCODE32 | 3,
                   X86_FLAGS_FIXED, FAKE_STACK, UDATA | 3);
    assert_true(x86_64bit_mode(&f->st));
    fake_cpu_free(f);
}

static void an_ist_stack_is_taken_at_any_level(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    fake_gate(f, X86_NMI, X86_DESC_INT, 0, KCODE64, FAKE_HANDLER, 1);
    deliver_ok(f, (struct x86_event){.vector = X86_NMI, .type = X86_EVENT_NMI});
    assert_int_equal(f->st.gpr[X86_RSP], FAKE_IST1 - 40);
    assert_int_equal(f->st.seg[X86_SS].sel, KDATA);
    assert_int_equal(f->st.nmi_blocked, 1);
    fake_cpu_free(f);
}

static void a_trap_gate_leaves_interrupts_on(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    fake_gate(f, VECTOR, X86_DESC_TRAP, 0, KCODE64, FAKE_HANDLER, 0);
    f->st.rflags |= X86_FLAGS_IF | X86_FLAGS_TF | X86_FLAGS_NT | X86_FLAGS_RF |
                    X86_FLAGS_AC;
    deliver_ok(f, fake_external(VECTOR));
    assert_int_equal(f->st.rflags,
                     X86_FLAGS_FIXED | X86_FLAGS_IF | X86_FLAGS_AC);
    fake_cpu_free(f);
}

static void faults_push_rf_but_debug_exceptions_keep_it(void **state)
{
    static const struct {
        unsigned vector;
        bool rf;
    } cases[] = {
        {X86_UD, true}, {X86_DB, false}, {X86_MC, false}, {X86_GP, true}};

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

        fake_gate(f, cases[i].vector, X86_DESC_INT, 0, KCODE64, FAKE_HANDLER,
                  0);
        deliver_ok(f, fake_exception(cases[i].vector));
        assert_int_equal(!!(fake_get(f, FAKE_STACK - 24, 8) & X86_FLAGS_RF),
                         cases[i].rf);
        fake_cpu_free(f);
    }
}

static void software_events_return_behind_the_instruction(void **state)
{
    static const uint8_t types[] = {X86_EVENT_SOFT_INT, X86_EVENT_SOFT_EXC,
                                    X86_EVENT_ICEBP};

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(types); i++) {
        struct fake_cpu *f = fake_cpu_new(FAKE_LONG_USER);

        fake_gate(f, X86_BP, X86_DESC_INT, 3, KCODE64, FAKE_HANDLER, 0);
        deliver_ok(f, (struct x86_event){
                          .vector = X86_BP, .type = types[i], .length = 5});
        assert_int_equal(fake_get(f, FAKE_STACK0 - 40, 8), FAKE_RIP + 5);
        fake_cpu_free(f);
    }
}

/* Each fault ends in the #GP or #NP handler, whose error code says why. */
static void expect_second_fault(struct fake_cpu *f, struct x86_event ev,
                                unsigned vector, uint64_t error)
{
    fake_gate(f, vector, X86_DESC_INT, 0, KCODE64, FAKE_HANDLER + vector, 1);
    deliver_ok(f, ev);
    assert_int_equal(f->st.rip, FAKE_HANDLER + vector);
    assert_int_equal(fake_get(f, FAKE_IST1 - 48, 8), error);
    assert_int_equal(fake_get(f, FAKE_IST1 - 40, 8), FAKE_RIP);
    fake_cpu_free(f);
}

static void a_gate_s_dpl_binds_software_interrupts_only(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG_USER);

    (void)state;
    fake_gate(f, VECTOR, X86_DESC_INT, 0, KCODE64, FAKE_HANDLER, 0);
    expect_second_fault(f, fake_int(VECTOR), X86_GP, VECTOR * 8 + 2);
    f = fake_cpu_new(FAKE_LONG_USER);
    fake_gate(f, X86_DB, X86_DESC_INT, 0, KCODE64, FAKE_HANDLER, 0);
    deliver_ok(f, (struct x86_event){
                      .vector = X86_DB, .type = X86_EVENT_ICEBP, .length = 1});
    assert_int_equal(f->st.rip, FAKE_HANDLER);
    fake_cpu_free(f);
}

static void bad_gates_fault_with_their_vector_and_ext(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    f->st.idtr.limit = VECTOR * 16 + 14;
    expect_second_fault(f, fake_external(VECTOR), X86_GP, VECTOR * 8 + 3);
    f = fake_cpu_new(FAKE_LONG); /* no gate at all */
    expect_second_fault(f, fake_external(VECTOR), X86_GP, VECTOR * 8 + 3);
    f = fake_cpu_new(FAKE_LONG); /* a task gate is none in long mode */
    fake_gate(f, VECTOR, X86_DESC_TASK_GATE, 0, TSS2, 0, 0);
    expect_second_fault(f, fake_external(VECTOR), X86_GP, VECTOR * 8 + 3);
    f = fake_cpu_new(FAKE_LONG);
    fake_gate(f, VECTOR, X86_DESC_INT, 0, KCODE64, FAKE_HANDLER, 0);
    fake_put(f, FAKE_IDT + VECTOR * 16 + 5, X86_DESC_INT, 1); /* not present */
    expect_second_fault(f, fake_external(VECTOR), X86_NP, VECTOR * 8 + 3);
}

static void bad_code_segments_fault_with_their_selector(void **state)
{
    static const struct {
        uint16_t sel;
        uint8_t vector;
        uint16_t error;
    } cases[] = {
        {0, X86_GP, 1},
        {GDT_LIMIT + 1, X86_GP, GDT_LIMIT + 2},
        {KDATA, X86_GP, KDATA + 1},
        {UCODE64, X86_GP, UCODE64 + 1}, /* an outer level */
        {KCODE32, X86_GP, KCODE32 + 1},
        {BAD_CODE, X86_GP, BAD_CODE + 1},
        {ABSENT_CODE, X86_NP, ABSENT_CODE + 1},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

        fake_gate(f, VECTOR, X86_DESC_INT, 0, cases[i].sel, FAKE_HANDLER, 0);
        expect_second_fault(f, fake_external(VECTOR), cases[i].vector,
                            cases[i].error);
    }
}

static void non_canonical_targets_and_stacks_fault(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    fake_gate(f, VECTOR, X86_DESC_INT, 0, KCODE64, (uint64_t)1 << 47, 0);
    expect_second_fault(f, fake_external(VECTOR), X86_GP, 1);
    f = fake_cpu_new(FAKE_LONG);
    f->st.gpr[X86_RSP] = (uint64_t)1 << 50;
    fake_gate(f, VECTOR, X86_DESC_INT, 0, KCODE64, FAKE_HANDLER, 0);
    expect_second_fault(f, fake_external(VECTOR), X86_SS_FAULT, 1);
    f = fake_cpu_new(FAKE_LONG_USER);
    fake_put(f, FAKE_TSS + 4, (uint64_t)1 << 50, 8);
    fake_gate(f, VECTOR, X86_DESC_INT, 0, KCODE64, FAKE_HANDLER, 0);
    expect_second_fault(f, fake_external(VECTOR), X86_SS_FAULT, 1);
}

static void a_short_tss_is_an_invalid_tss(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG_USER);
    struct x86_event ev = fake_external(VECTOR);

    (void)state;
    f->st.tr.limit = 10;
    fake_gate(f, VECTOR, X86_DESC_INT, 0, KCODE64, FAKE_HANDLER, 0);
    assert_int_equal(x86_deliver(&f->cpu, &ev), X86_TRIPLE);
    fake_cpu_free(f);
}

static void the_accessed_bit_of_cs_is_set_only_if_clear(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    fake_gate(f, VECTOR, X86_DESC_INT, 0, KCODE64, FAKE_HANDLER, 0);
    deliver_ok(f, fake_external(VECTOR));
    assert_int_equal(f->writes, 1); /* the frame */
    fake_put(f, FAKE_GDT + KCODE64 + 5, 0x9a, 1);
    deliver_ok(f, fake_external(VECTOR));
    assert_int_equal(fake_get(f, FAKE_GDT + KCODE64 + 5, 1), 0x9b);
    fake_cpu_free(f);
}

/* -- Escalation ------------------------------------------------------------ */

static void a_page_fault_sets_cr2(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);
    struct x86_event ev = fake_exception_err(X86_PF, 2);

    (void)state;
    ev.cr2 = 0xdeadb000;
    fake_gate(f, X86_PF, X86_DESC_INT, 0, KCODE64, FAKE_HANDLER, 0);
    deliver_ok(f, ev);
    assert_int_equal(f->st.cr2, 0xdeadb000);
    fake_cpu_free(f);
}

static void
a_fault_on_the_way_of_a_benign_event_is_delivered_itself(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    f->bad_page = FAKE_STACK - GPAGE_SIZE;
    fake_gate(f, VECTOR, X86_DESC_INT, 0, KCODE64, FAKE_HANDLER, 0);
    fake_gate(f, X86_PF, X86_DESC_INT, 0, KCODE64, FAKE_HANDLER + 8, 1);
    deliver_ok(f, fake_external(VECTOR));
    assert_int_equal(f->st.rip, FAKE_HANDLER + 8);
    assert_int_equal(f->st.cr2, FAKE_STACK - 40);
    fake_cpu_free(f);
}

/* Two faults in a row: first by hand, second because its gate is missing or
 * its stack is. */
static void expect_double_fault(struct x86_event first, bool page_fault,
                                bool want)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    if (page_fault) {
        f->bad_page = FAKE_STACK - GPAGE_SIZE;
        fake_gate(f, first.vector, X86_DESC_INT, 0, KCODE64, FAKE_HANDLER, 0);
        if (first.vector != X86_PF)
            fake_gate(f, X86_PF, X86_DESC_INT, 0, KCODE64, FAKE_HANDLER, 1);
    } else if (first.vector != X86_GP) {
        fake_gate(f, X86_GP, X86_DESC_INT, 0, KCODE64, FAKE_HANDLER, 1);
    }
    fake_gate(f, X86_DF, X86_DESC_INT, 0, KCODE64, FAKE_HANDLER + 8, 1);
    deliver_ok(f, first);
    assert_int_equal(f->st.rip, want ? FAKE_HANDLER + 8 : FAKE_HANDLER);
    if (want) {
        assert_int_equal(fake_get(f, FAKE_IST1 - 48, 8), 0);
        assert_int_equal(fake_get(f, FAKE_IST1 - 40, 8), FAKE_RIP);
    }
    fake_cpu_free(f);
}

static void two_faults_follow_the_table_of_the_sdm(void **state)
{
    (void)state;
    expect_double_fault(fake_exception(X86_UD), false, false);
    expect_double_fault(fake_exception(X86_UD), true, false);
    expect_double_fault(fake_int(X86_GP), true, false);
    expect_double_fault(fake_exception(X86_DE), false, true);
    expect_double_fault(fake_exception_err(X86_GP, 0), false, true);
    expect_double_fault(fake_exception_err(X86_GP, 0), true, false);
    expect_double_fault(fake_exception_err(X86_PF, 0), false, true);
    expect_double_fault(fake_exception_err(X86_PF, 0), true, true);
    expect_double_fault(fake_exception_err(X86_NP, 8), false, true);
}

static void a_fault_in_a_double_fault_is_a_triple_fault(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);
    struct x86_event ev = fake_exception_err(X86_DF, 0);

    (void)state;
    assert_int_equal(x86_deliver(&f->cpu, &ev), X86_TRIPLE);
    ev = fake_exception_err(X86_PF, 0);
    assert_int_equal(x86_deliver(&f->cpu, &ev), X86_TRIPLE);
    fake_cpu_free(f);
}

static void delivery_ends_halt_and_shadow(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    f->st.mp_state = X86_MP_HALTED;
    f->st.int_shadow = 1;
    fake_gate(f, VECTOR, X86_DESC_INT, 0, KCODE64, FAKE_HANDLER, 0);
    deliver_ok(f, fake_external(VECTOR));
    assert_int_equal(f->st.mp_state, X86_MP_RUNNING);
    assert_int_equal(f->st.int_shadow, 0);
    assert_int_equal(f->mode_changes, 1);
    fake_cpu_free(f);
}

static void a_debug_exception_clears_gd(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    f->st.dr7 |= X86_DR7_GD;
    fake_gate(f, X86_DB, X86_DESC_INT, 0, KCODE64, FAKE_HANDLER, 0);
    deliver_ok(f, fake_exception(X86_DB));
    assert_int_equal(f->st.dr7 & X86_DR7_GD, 0);
    fake_cpu_free(f);
}

/* -- Legacy protected mode --------------------------------------------------
 */

static void a_32_bit_gate_pushes_words_of_32_bits(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY);

    (void)state;
    fake_gate(f, X86_GP, X86_DESC_INT, 0, KCODE32, FAKE_HANDLER, 0);
    deliver_ok(f, fake_exception_err(X86_GP, 0x18));
    assert_int_equal(f->st.rip, FAKE_HANDLER);
    assert_int_equal(f->st.gpr[X86_RSP], FAKE_STACK - 16);
    assert_int_equal(fake_get(f, FAKE_STACK - 16, 4), 0x18);
    assert_int_equal(fake_get(f, FAKE_STACK - 12, 4), FAKE_RIP);
    assert_int_equal(fake_get(f, FAKE_STACK - 8, 4), KCODE32);
    assert_int_equal(fake_get(f, FAKE_STACK - 4, 4),
                     X86_FLAGS_FIXED | X86_FLAGS_RF);
    fake_cpu_free(f);
}

static void a_16_bit_gate_pushes_words_of_16_bits(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY);

    (void)state;
    /* The upper half of the offset belongs to 32-bit gates only. */
    fake_gate(f, VECTOR, X86_DESC_TRAP16, 0, KCODE32, 0x10000 + FAKE_HANDLER,
              0);
    deliver_ok(f, fake_external(VECTOR));
    assert_int_equal(f->st.rip, FAKE_HANDLER);
    assert_int_equal(f->st.gpr[X86_RSP], FAKE_STACK - 6);
    assert_int_equal(fake_get(f, FAKE_STACK - 6, 2), FAKE_RIP);
    assert_int_equal(fake_get(f, FAKE_STACK - 4, 2), KCODE32);
    fake_cpu_free(f);
}

static void an_inner_level_takes_ss_and_esp_from_the_tss(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY_USER);

    (void)state;
    fake_gate(f, 0x80, X86_DESC_TRAP, 3, KCODE32, FAKE_HANDLER, 0);
    deliver_ok(f, fake_int(0x80));
    assert_int_equal(f->st.cpl, 0);
    assert_int_equal(f->st.seg[X86_SS].sel, KDATA);
    assert_int_equal(f->st.gpr[X86_RSP], FAKE_STACK0 - 20);
    assert_int_equal(fake_get(f, FAKE_STACK0 - 4, 4), UDATA | 3);
    assert_int_equal(fake_get(f, FAKE_STACK0 - 8, 4), FAKE_STACK);
    assert_int_equal(fake_get(f, FAKE_STACK0 - 20, 4), FAKE_RIP + 2);
    assert_int_equal(f->st.seg[X86_DS].sel, UDATA | 3);
    fake_cpu_free(f);
}

static void a_bad_inner_stack_is_an_invalid_tss(void **state)
{
    static const struct {
        uint16_t ss;
        uint8_t vector;
        uint16_t error;
    } cases[] = {
        {0, X86_TS, 0},
        {UDATA, X86_TS, UDATA},
        {KDATA | 1, X86_TS, KDATA},
        {KCODE32, X86_TS, KCODE32},
        {GDT_LIMIT + 1, X86_TS, GDT_LIMIT + 1},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY_USER);
        struct x86_event ev = fake_int(0x80);

        fake_gate(f, 0x80, X86_DESC_TRAP, 3, KCODE32, FAKE_HANDLER, 0);
        fake_put(f, FAKE_TSS + 8, cases[i].ss, 2);
        /* A conforming handler needs no new stack. */
        fake_gate(f, cases[i].vector, X86_DESC_TRAP, 0, CONFORMING, 0x7777, 0);
        assert_int_equal(x86_deliver(&f->cpu, &ev), X86_OK);
        assert_int_equal(f->st.rip, 0x7777);
        assert_int_equal(f->st.cpl, 3);
        assert_int_equal(fake_get(f, FAKE_STACK - 16, 4), cases[i].error);
        fake_cpu_free(f);
    }
}

static void a_16_bit_stack_wraps_and_keeps_the_upper_half_of_esp(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY);

    (void)state;
    fake_load(f, X86_SS, KDATA16);
    f->st.gpr[X86_RSP] = 0x12340004;
    fake_gate(f, VECTOR, X86_DESC_INT, 0, KCODE32, FAKE_HANDLER, 0);
    deliver_ok(f, fake_external(VECTOR));
    assert_int_equal(f->st.gpr[X86_RSP], 0x1234fff8);
    assert_int_equal(fake_get(f, 0xfff8, 4), FAKE_RIP);
    fake_cpu_free(f);
}

static void a_target_behind_the_limit_faults(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY);

    (void)state;
    fake_gate(f, VECTOR, X86_DESC_INT, 0, KCODE16, 0x10000, 0);
    fake_gate(f, X86_GP, X86_DESC_INT, 0, KCODE32, FAKE_HANDLER, 0);
    deliver_ok(f, fake_external(VECTOR));
    assert_int_equal(f->st.rip, FAKE_HANDLER);
    assert_int_equal(fake_get(f, FAKE_STACK - 16, 4), 1);
    fake_cpu_free(f);
}

static void a_task_gate_switches_and_pushes_the_error_there(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY);

    (void)state;
    fake_put(f, FAKE_TSS2 + 32, FAKE_HANDLER, 4);
    fake_put(f, FAKE_TSS2 + 56, FAKE_IST1, 4);
    fake_put(f, FAKE_TSS2 + 76, KCODE32, 2);
    fake_put(f, FAKE_TSS2 + 80, KDATA, 2);
    fake_gate(f, X86_DF, X86_DESC_TASK_GATE, 0, TSS2, 0, 0);
    deliver_ok(f, fake_exception_err(X86_DF, 0));
    assert_int_equal(f->st.rip, FAKE_HANDLER);
    assert_int_equal(f->st.tr.sel, TSS2);
    assert_int_equal(f->st.gpr[X86_RSP], FAKE_IST1 - 4);
    assert_int_equal(fake_get(f, FAKE_TSS + 32, 4), FAKE_RIP);
    assert_true(f->st.rflags & X86_FLAGS_NT);
    fake_cpu_free(f);
}

/* -- Virtual-8086 mode and real mode -----------------------------------------
 */

static void leaving_v86_mode_saves_and_clears_the_data_segments(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_V86);

    (void)state;
    for (unsigned i = 0; i < X86_NR_SREGS; i++)
        f->st.seg[i].sel = (uint16_t)(0x100 + i);
    fake_gate(f, VECTOR, X86_DESC_INT, 0, KCODE32, FAKE_HANDLER, 0);
    deliver_ok(f, fake_external(VECTOR));
    assert_int_equal(f->st.cpl, 0);
    assert_int_equal(f->st.rflags & X86_FLAGS_VM, 0);
    assert_int_equal(f->st.gpr[X86_RSP], FAKE_STACK0 - 36);
    assert_int_equal(fake_get(f, FAKE_STACK0 - 4, 4), 0x100 + X86_GS);
    assert_int_equal(fake_get(f, FAKE_STACK0 - 8, 4), 0x100 + X86_FS);
    assert_int_equal(fake_get(f, FAKE_STACK0 - 12, 4), 0x100 + X86_DS);
    assert_int_equal(fake_get(f, FAKE_STACK0 - 16, 4), 0x100 + X86_ES);
    assert_int_equal(fake_get(f, FAKE_STACK0 - 20, 4), 0x100 + X86_SS);
    assert_true(fake_get(f, FAKE_STACK0 - 28, 4) & X86_FLAGS_VM);
    assert_int_equal(f->st.seg[X86_DS].attr, 0);
    assert_int_equal(f->st.seg[X86_GS].sel, 0);
    fake_cpu_free(f);
}

static void int_n_in_v86_mode_needs_iopl_3(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_V86);

    (void)state;
    fake_gate(f, VECTOR, X86_DESC_INT, 3, KCODE32, FAKE_HANDLER, 0);
    fake_gate(f, X86_GP, X86_DESC_INT, 0, KCODE32, FAKE_HANDLER + 8, 0);
    deliver_ok(f, fake_int(VECTOR));
    assert_int_equal(f->st.rip, FAKE_HANDLER + 8);
    assert_int_equal(fake_get(f, FAKE_STACK0 - 40, 4), 0);
    fake_cpu_free(f);
    f = fake_cpu_new(FAKE_V86);
    f->st.rflags |= X86_FLAGS_IOPL;
    fake_gate(f, VECTOR, X86_DESC_INT, 3, KCODE32, FAKE_HANDLER, 0);
    deliver_ok(f, fake_int(VECTOR));
    assert_int_equal(f->st.rip, FAKE_HANDLER);
    fake_cpu_free(f);
}

static void real_mode_uses_the_vector_table(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_REAL);

    (void)state;
    fake_put(f, FAKE_IDT + 4 * X86_GP, 0x0700abcd, 4);
    f->st.seg[X86_CS].sel = 0x123;
    f->st.gpr[X86_RSP] = 0x77770002;
    f->st.rflags |= X86_FLAGS_IF | X86_FLAGS_AC | X86_FLAGS_TF;
    deliver_ok(f, fake_exception_err(X86_GP, 0x1234));
    assert_int_equal(f->st.seg[X86_CS].sel, 0x700);
    assert_int_equal(f->st.seg[X86_CS].base, 0x7000);
    assert_int_equal(f->st.rip, 0xabcd);
    assert_int_equal(f->st.rflags, X86_FLAGS_FIXED);
    assert_int_equal(f->st.gpr[X86_RSP], 0x7777fffc); /* no error code */
    assert_int_equal(fake_get(f, 0xfffc, 2), FAKE_RIP);
    assert_int_equal(fake_get(f, 0xfffe, 2), 0x123);
    fake_cpu_free(f);
}

static void a_short_vector_table_shuts_the_cpu_down(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_REAL);
    struct x86_event ev = fake_exception(X86_UD);

    (void)state;
    f->st.idtr.limit = 0;
    assert_int_equal(x86_deliver(&f->cpu, &ev), X86_TRIPLE);
    fake_cpu_free(f);
}

static void a_triple_fault_leaves_the_program_as_it_was(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG_USER);
    struct x86_event ev = fake_exception(X86_UD);

    (void)state;
    f->st.idtr.limit = 0;
    assert_int_equal(x86_deliver(&f->cpu, &ev), X86_TRIPLE);
    assert_int_equal(f->st.rip, FAKE_RIP);
    assert_int_equal(f->st.cpl, 3);
    assert_int_equal(f->st.gpr[X86_RSP], FAKE_STACK);
    fake_cpu_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_64_bit_frame_is_aligned_and_complete),
        cmocka_unit_test(from_user_mode_the_stack_is_the_tss_s_and_ss_null),
        cmocka_unit_test(from_compatibility_mode_too),
        cmocka_unit_test(an_ist_stack_is_taken_at_any_level),
        cmocka_unit_test(a_trap_gate_leaves_interrupts_on),
        cmocka_unit_test(faults_push_rf_but_debug_exceptions_keep_it),
        cmocka_unit_test(software_events_return_behind_the_instruction),
        cmocka_unit_test(a_gate_s_dpl_binds_software_interrupts_only),
        cmocka_unit_test(bad_gates_fault_with_their_vector_and_ext),
        cmocka_unit_test(bad_code_segments_fault_with_their_selector),
        cmocka_unit_test(non_canonical_targets_and_stacks_fault),
        cmocka_unit_test(a_short_tss_is_an_invalid_tss),
        cmocka_unit_test(the_accessed_bit_of_cs_is_set_only_if_clear),
        cmocka_unit_test(a_page_fault_sets_cr2),
        cmocka_unit_test(
            a_fault_on_the_way_of_a_benign_event_is_delivered_itself),
        cmocka_unit_test(two_faults_follow_the_table_of_the_sdm),
        cmocka_unit_test(a_fault_in_a_double_fault_is_a_triple_fault),
        cmocka_unit_test(delivery_ends_halt_and_shadow),
        cmocka_unit_test(a_debug_exception_clears_gd),
        cmocka_unit_test(a_32_bit_gate_pushes_words_of_32_bits),
        cmocka_unit_test(a_16_bit_gate_pushes_words_of_16_bits),
        cmocka_unit_test(an_inner_level_takes_ss_and_esp_from_the_tss),
        cmocka_unit_test(a_bad_inner_stack_is_an_invalid_tss),
        cmocka_unit_test(a_16_bit_stack_wraps_and_keeps_the_upper_half_of_esp),
        cmocka_unit_test(a_target_behind_the_limit_faults),
        cmocka_unit_test(a_task_gate_switches_and_pushes_the_error_there),
        cmocka_unit_test(leaving_v86_mode_saves_and_clears_the_data_segments),
        cmocka_unit_test(int_n_in_v86_mode_needs_iopl_3),
        cmocka_unit_test(real_mode_uses_the_vector_table),
        cmocka_unit_test(a_short_vector_table_shuts_the_cpu_down),
        cmocka_unit_test(a_triple_fault_leaves_the_program_as_it_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
