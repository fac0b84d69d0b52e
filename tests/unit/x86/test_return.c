#include "tests/unit/x86/fake_cpu.h"
#include "x86/desc.h"
#include "x86/segment.h"

#define FLAGS_ALL                                                              \
    (X86_FLAGS_ARITH | X86_FLAGS_TF | X86_FLAGS_IF | X86_FLAGS_DF |            \
     X86_FLAGS_IOPL | X86_FLAGS_NT | X86_FLAGS_RF | X86_FLAGS_AC |             \
     X86_FLAGS_ID)

/* An interrupt frame at the top of the current stack. */
static void put_frame(struct fake_cpu *f, unsigned size, uint64_t rip,
                      uint64_t cs, uint64_t flags, uint64_t rsp, uint64_t ss)
{
    const uint64_t word[] = {rip, cs, flags, rsp, ss};

    for (unsigned i = 0; i < ARRAY_LEN(word); i++)
        fake_put(f, FAKE_STACK + i * size, word[i], size);
}

static void expect_iret_fault(struct fake_cpu *f, unsigned opsize,
                              unsigned vector, int error)
{
    uint64_t rsp = f->st.gpr[X86_RSP];
    uint64_t flags = f->st.rflags;
    unsigned cpl = f->st.cpl;

    fake_expect_fault(f, x86_iret(&f->cpu, opsize), vector, error);
    assert_int_equal(f->st.gpr[X86_RSP], rsp);
    assert_int_equal(f->st.rflags, flags);
    assert_int_equal(f->st.rip, FAKE_RIP);
    assert_int_equal(f->st.cpl, cpl);
    assert_int_equal(f->mode_changes, 0);
}

/* -- IRET in long mode -------------------------------------------------------
 */

static void iretq_to_user_mode_loads_everything(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    f->st.nmi_blocked = 1;
    put_frame(f, 8, 0x7fff12345678, UCODE64 | 3, FLAGS_ALL & ~X86_FLAGS_NT,
              0x7ffffffff001, UDATA | 3);
    assert_int_equal(x86_iret(&f->cpu, 8), X86_OK);
    assert_int_equal(f->st.rip, 0x7fff12345678);
    assert_int_equal(f->st.gpr[X86_RSP], 0x7ffffffff001);
    assert_int_equal(f->st.rflags,
                     (FLAGS_ALL & ~X86_FLAGS_NT) | X86_FLAGS_FIXED);
    assert_int_equal(f->st.cpl, 3);
    assert_int_equal(f->st.seg[X86_CS].sel, UCODE64 | 3);
    assert_int_equal(f->st.seg[X86_SS].sel, UDATA | 3);
    assert_int_equal(f->st.nmi_blocked, 0);
    assert_true(f->mode_changes > 0);
    fake_cpu_free(f);
}

static void iretq_within_the_kernel_pops_the_stack_too(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    put_frame(f, 8, FAKE_HANDLER, KCODE64, 2, 0x9990, KDATA);
    assert_int_equal(x86_iret(&f->cpu, 8), X86_OK);
    assert_int_equal(f->st.gpr[X86_RSP], 0x9990);
    put_frame(f, 8, FAKE_HANDLER, KCODE64, 2, 0x9998, 0);
    f->st.gpr[X86_RSP] = FAKE_STACK;
    assert_int_equal(x86_iret(&f->cpu, 8), X86_OK); /* a null SS is fine */
    assert_int_equal(f->st.seg[X86_SS].attr & X86_SEG_P, 0);
    fake_cpu_free(f);
}

static void iretq_in_user_mode_reads_with_user_rights(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG_USER);

    (void)state;
    f->st.rflags |= X86_FLAGS_IF;
    put_frame(f, 8, FAKE_HANDLER, UCODE64 | 3, X86_FLAGS_CF | X86_FLAGS_IOPL,
              0x9990, UDATA | 3);
    assert_int_equal(x86_iret(&f->cpu, 8), X86_OK);
    assert_true(f->st.rflags & X86_FLAGS_IF); /* neither IF nor IOPL moves */
    assert_int_equal(f->st.rflags & X86_FLAGS_IOPL, 0);
    fake_cpu_free(f);
}

static void the_frame_is_read_in_user_mode_s_name(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG_USER);

    (void)state;
    f->bad_page = FAKE_STACK;
    expect_iret_fault(f, 8, X86_PF, X86_PF_U);
    fake_cpu_free(f);
}

static void compatibility_mode_gets_32_bit_registers(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    /* RIP is not cut before it is compared with the limit. */
    put_frame(f, 8, 0x100401000, UCODE32 | 3, 2, 0x7000, UDATA | 3);
    expect_iret_fault(f, 8, X86_GP, 0);
    put_frame(f, 8, 0x401000, UCODE32 | 3, 2, 0x1234567800007000, UDATA | 3);
    assert_int_equal(x86_iret(&f->cpu, 8), X86_OK);
    assert_int_equal(f->st.rip, 0x401000);
    assert_int_equal(f->st.gpr[X86_RSP], 0x7000);
    fake_cpu_free(f);
}

static void a_16_bit_stack_gets_16_bits_of_sp(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    put_frame(f, 8, 0x401000, UCODE32 | 3, 2, 0xabcd7000, UDATA16 | 3);
    f->st.gpr[X86_RSP] = FAKE_STACK;
    assert_int_equal(x86_iret(&f->cpu, 8), X86_OK);
    assert_int_equal(f->st.gpr[X86_RSP], (FAKE_STACK & 0xffff0000) | 0x7000);
    fake_cpu_free(f);
    f = fake_cpu_new(FAKE_LEGACY);
    fake_load(f, X86_SS, KDATA);
    f->st.seg[X86_SS].base = (uint64_t)0 - 0x56780000; /* espfix's trick */
    f->st.gpr[X86_RSP] = 0x56780000 + FAKE_STACK;
    put_frame(f, 4, 0x401000, UCODE32 | 3, 2, 0xabcd7000, UDATA16 | 3);
    assert_int_equal(x86_iret(&f->cpu, 4), X86_OK);
    assert_int_equal(f->st.gpr[X86_RSP], 0x56787000);
    fake_cpu_free(f);
}

static void bad_selectors_fault_at_the_iret(void **state)
{
    static const struct {
        uint16_t cs, ss;
        uint8_t vector;
        uint16_t error;
    } cases[] = {
        {0, UDATA | 3, X86_GP, 0},
        {3, UDATA | 3, X86_GP, 0},
        {GDT_LIMIT + 1 + 3, UDATA | 3, X86_GP, GDT_LIMIT + 1},
        {0x4f, UDATA | 3, X86_GP, 0x4c}, /* no LDT */
        {UDATA | 3, UDATA | 3, X86_GP, UDATA},
        {UCODE64 | 2, UDATA | 3, X86_GP, UCODE64}, /* RPL is not DPL */
        {KCODE64 | 3, UDATA | 3, X86_GP, KCODE64},
        {BAD_CODE, KDATA, X86_GP, BAD_CODE},
        {ABSENT_CODE, KDATA, X86_NP, ABSENT_CODE},
        {TSS | 3, UDATA | 3, X86_GP, TSS},
        {UCODE64 | 3, 0, X86_GP, 0},
        {UCODE64 | 3, 3, X86_GP, 0}, /* null is for CPL 0..2 */
        {UCODE32 | 3, 0, X86_GP, 0},
        {UCODE64 | 3, UDATA, X86_GP, UDATA}, /* RPL */
        {UCODE64 | 3, KDATA | 3, X86_GP, KDATA},
        {UCODE64 | 3, RO_DATA | 3, X86_GP, RO_DATA},
        {UCODE64 | 3, UCODE64 | 3, X86_GP, UCODE64},
        {UCODE64 | 3, ABSENT_DATA | 3, X86_SS_FAULT, ABSENT_DATA},
        {UCODE64 | 3, GDT_LIMIT + 1 + 3, X86_GP, GDT_LIMIT + 1},
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

        put_frame(f, 8, FAKE_HANDLER, cases[i].cs, 2, 0x9990, cases[i].ss);
        expect_iret_fault(f, 8, cases[i].vector, cases[i].error);
        fake_cpu_free(f);
    }
}

static void an_inner_level_is_out_of_reach(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG_USER);

    (void)state;
    put_frame(f, 8, FAKE_HANDLER, KCODE64, 2, 0x9990, KDATA);
    expect_iret_fault(f, 8, X86_GP, KCODE64);
    fake_cpu_free(f);
}

static void a_non_canonical_rip_faults_at_the_iret(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    put_frame(f, 8, (uint64_t)1 << 47, UCODE64 | 3, 2, 0x9990, UDATA | 3);
    expect_iret_fault(f, 8, X86_GP, 0);
    put_frame(f, 8, (uint64_t)-1 << 47, UCODE64 | 3, 2, 0x9990, UDATA | 3);
    assert_int_equal(x86_iret(&f->cpu, 8), X86_OK);
    fake_cpu_free(f);
}

static void nt_faults_in_long_mode(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    f->st.rflags |= X86_FLAGS_NT;
    expect_iret_fault(f, 8, X86_GP, 0);
    fake_cpu_free(f);
}

static void segments_of_inner_levels_are_dropped(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    fake_load(f, X86_DS, KDATA);
    fake_load(f, X86_ES, UDATA | 3);
    fake_load(f, X86_FS, CONFORMING);
    f->st.seg[X86_GS] = (struct x86_seg){.base = 0x123456}; /* null */
    put_frame(f, 8, FAKE_HANDLER, UCODE64 | 3, 2, 0x9990, UDATA | 3);
    assert_int_equal(x86_iret(&f->cpu, 8), X86_OK);
    assert_int_equal(f->st.seg[X86_DS].sel, 0);
    assert_int_equal(f->st.seg[X86_DS].attr, 0);
    assert_int_equal(f->st.seg[X86_ES].sel, UDATA | 3);
    assert_int_equal(f->st.seg[X86_FS].sel, CONFORMING);
    assert_int_equal(f->st.seg[X86_GS].base, 0x123456);
    fake_cpu_free(f);
}

/* -- IRET elsewhere ----------------------------------------------------------
 */

static void iretd_at_the_same_level_pops_three_words(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY);

    (void)state;
    put_frame(f, 4, FAKE_HANDLER, KCODE32, X86_FLAGS_IF | X86_FLAGS_ID, 0, 0);
    assert_int_equal(x86_iret(&f->cpu, 4), X86_OK);
    assert_int_equal(f->st.rip, FAKE_HANDLER);
    assert_int_equal(f->st.gpr[X86_RSP], FAKE_STACK + 12);
    assert_int_equal(f->st.rflags,
                     X86_FLAGS_FIXED | X86_FLAGS_IF | X86_FLAGS_ID);
    fake_cpu_free(f);
}

static void a_16_bit_iret_keeps_the_upper_flags(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY);

    (void)state;
    f->st.rflags |= X86_FLAGS_AC | X86_FLAGS_ID;
    put_frame(f, 2, FAKE_HANDLER, KCODE16, X86_FLAGS_CF, 0, 0);
    assert_int_equal(x86_iret(&f->cpu, 2), X86_OK);
    assert_int_equal(f->st.rflags, X86_FLAGS_FIXED | X86_FLAGS_CF |
                                       X86_FLAGS_AC | X86_FLAGS_ID);
    assert_int_equal(f->st.gpr[X86_RSP], FAKE_STACK + 6);
    fake_cpu_free(f);
}

static void a_rip_behind_the_limit_faults(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY);

    (void)state;
    put_frame(f, 4, 0x10000, KCODE16, 2, 0, 0);
    expect_iret_fault(f, 4, X86_GP, 0);
    fake_cpu_free(f);
}

static void vm_in_the_image_enters_v86_mode(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY);

    (void)state;
    put_frame(f, 4, 0x123, 0x1000, X86_FLAGS_VM | X86_FLAGS_IF | X86_FLAGS_IOPL,
              0xfff0, 0x2000);
    fake_put(f, FAKE_STACK + 20, 0x3000, 4); /* ES */
    fake_put(f, FAKE_STACK + 24, 0x4000, 4); /* DS */
    fake_put(f, FAKE_STACK + 28, 0x5000, 4); /* FS */
    fake_put(f, FAKE_STACK + 32, 0x6000, 4); /* GS */
    assert_int_equal(x86_iret(&f->cpu, 4), X86_OK);
    assert_int_equal(f->st.cpl, 3);
    assert_int_equal(f->st.rip, 0x123);
    assert_int_equal(f->st.gpr[X86_RSP], 0xfff0);
    assert_true(f->st.rflags & X86_FLAGS_VM);
    assert_int_equal(f->st.seg[X86_CS].base, 0x10000);
    assert_int_equal(f->st.seg[X86_SS].base, 0x20000);
    assert_int_equal(f->st.seg[X86_GS].base, 0x60000);
    assert_int_equal(f->st.seg[X86_DS].limit, 0xffff);
    fake_cpu_free(f);
}

static void
vm_in_the_image_means_nothing_to_user_mode_or_long_mode(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY_USER);

    (void)state;
    put_frame(f, 4, FAKE_HANDLER, UCODE32 | 3, X86_FLAGS_VM, 0, 0);
    assert_int_equal(x86_iret(&f->cpu, 4), X86_OK);
    assert_int_equal(f->st.rflags & X86_FLAGS_VM, 0);
    fake_cpu_free(f);
    f = fake_cpu_new(FAKE_LONG);
    put_frame(f, 8, FAKE_HANDLER, KCODE64, X86_FLAGS_VM, 0x9990, KDATA);
    assert_int_equal(x86_iret(&f->cpu, 8), X86_OK);
    assert_int_equal(f->st.rflags & X86_FLAGS_VM, 0);
    fake_cpu_free(f);
}

static void iret_in_v86_mode_needs_iopl_3(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_V86);

    (void)state;
    put_frame(f, 2, 0x123, 0x1000, X86_FLAGS_CF, 0, 0);
    expect_iret_fault(f, 2, X86_GP, 0);
    f->st.rflags |= X86_FLAGS_IOPL;
    assert_int_equal(x86_iret(&f->cpu, 2), X86_OK);
    assert_int_equal(f->st.seg[X86_CS].base, 0x10000);
    assert_int_equal(f->st.rflags, X86_FLAGS_VM | X86_FLAGS_IOPL |
                                       X86_FLAGS_FIXED | X86_FLAGS_CF);
    assert_int_equal(f->st.cpl, 3);
    fake_cpu_free(f);
}

static void iret_in_real_mode_loads_cs_and_flags(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_REAL);

    (void)state;
    put_frame(f, 2, 0x123, 0x700, 0xffff, 0, 0);
    assert_int_equal(x86_iret(&f->cpu, 2), X86_OK);
    assert_int_equal(f->st.rip, 0x123);
    assert_int_equal(f->st.seg[X86_CS].base, 0x7000);
    assert_int_equal(f->st.rflags, X86_FLAGS_ARITH | X86_FLAGS_TF |
                                       X86_FLAGS_IF | X86_FLAGS_DF |
                                       X86_FLAGS_IOPL | X86_FLAGS_NT |
                                       X86_FLAGS_FIXED);
    assert_int_equal(f->st.gpr[X86_RSP], FAKE_STACK + 6);
    assert_int_equal(f->st.cpl, 0);
    fake_cpu_free(f);
}

static void iret_with_nt_switches_back_to_the_linked_task(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY);

    (void)state;
    fake_desc(f, TSS2, FAKE_TSS2, 0x67, 0x8b); /* busy */
    fake_desc(f, TSS, FAKE_TSS, 0x2087, 0x8b);
    fake_put(f, FAKE_TSS, TSS2, 2);
    fake_put(f, FAKE_TSS2 + 32, FAKE_HANDLER, 4);
    fake_put(f, FAKE_TSS2 + 76, KCODE32, 2);
    fake_put(f, FAKE_TSS2 + 80, KDATA, 2);
    f->st.rflags |= X86_FLAGS_NT;
    assert_int_equal(x86_iret(&f->cpu, 4), X86_OK);
    assert_int_equal(f->st.rip, FAKE_HANDLER);
    assert_int_equal(f->st.tr.sel, TSS2);
    assert_int_equal(fake_get(f, FAKE_TSS + 32, 4), FAKE_RIP + 1);
    assert_int_equal(fake_get(f, FAKE_TSS + 36, 4) & X86_FLAGS_NT, 0);
    assert_int_equal(fake_get(f, FAKE_GDT + TSS + 5, 1), 0x89);
    fake_cpu_free(f);
}

/* -- Far RET ------------------------------------------------------------------
 */

static void far_ret_at_the_same_level_pops_its_parameters(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY);

    (void)state;
    put_frame(f, 4, FAKE_HANDLER, KCODE32, 0, 0, 0);
    assert_int_equal(x86_ret_far(&f->cpu, 4, 12), X86_OK);
    assert_int_equal(f->st.rip, FAKE_HANDLER);
    assert_int_equal(f->st.gpr[X86_RSP], FAKE_STACK + 8 + 12);
    fake_cpu_free(f);
}

static void far_ret_to_an_outer_level_releases_both_stacks(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY);

    (void)state;
    fake_put(f, FAKE_STACK, FAKE_HANDLER, 4);
    fake_put(f, FAKE_STACK + 4, UCODE32 | 3, 4);
    fake_put(f, FAKE_STACK + 16, 0x9000, 4); /* behind 8 bytes of parameters */
    fake_put(f, FAKE_STACK + 20, UDATA | 3, 4);
    assert_int_equal(x86_ret_far(&f->cpu, 4, 8), X86_OK);
    assert_int_equal(f->st.cpl, 3);
    assert_int_equal(f->st.gpr[X86_RSP], 0x9008);
    assert_int_equal(f->st.seg[X86_DS].attr, 0); /* was the kernel's */
    fake_cpu_free(f);
}

/* Linux up to 6.13 relies on it when it returns from 32-bit signal handlers. */
static void
return_to_an_outer_level_takes_the_rpl_of_null_selectors(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    x86_seg_set_null(&f->st.seg[X86_DS], 3);
    x86_seg_set_null(&f->st.seg[X86_GS], 2);
    f->st.seg[X86_GS].base = 0x1234000;
    put_frame(f, 8, FAKE_HANDLER, UCODE64 | 3, X86_FLAGS_FIXED, FAKE_STACK,
              UDATA | 3);
    assert_int_equal(x86_iret(&f->cpu, 8), X86_OK);
    assert_int_equal(f->st.seg[X86_DS].sel, 0);
    assert_int_equal(f->st.seg[X86_GS].sel, 0);
    assert_int_equal(f->st.seg[X86_GS].base, 0x1234000);
    fake_cpu_free(f);
}

static void far_ret_in_64_bit_mode_keeps_the_stack_of_its_level(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    put_frame(f, 8, FAKE_HANDLER, KCODE64, 0, 0, 0);
    assert_int_equal(x86_ret_far(&f->cpu, 8, 0), X86_OK);
    assert_int_equal(f->st.gpr[X86_RSP], FAKE_STACK + 16);
    assert_int_equal(f->st.seg[X86_SS].sel, KDATA);
    fake_cpu_free(f);
}

static void a_bad_far_ret_changes_nothing(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG);

    (void)state;
    put_frame(f, 8, FAKE_HANDLER, UCODE64 | 3, 0x9990, RO_DATA | 3, 0);
    fake_expect_fault(f, x86_ret_far(&f->cpu, 8, 0), X86_GP, RO_DATA);
    assert_int_equal(f->st.gpr[X86_RSP], FAKE_STACK);
    assert_int_equal(f->st.cpl, 0);
    fake_cpu_free(f);
}

static void far_ret_in_real_mode(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_REAL);

    (void)state;
    put_frame(f, 2, 0x123, 0x700, 0, 0, 0);
    assert_int_equal(x86_ret_far(&f->cpu, 2, 6), X86_OK);
    assert_int_equal(f->st.seg[X86_CS].base, 0x7000);
    assert_int_equal(f->st.gpr[X86_RSP], FAKE_STACK + 10);
    fake_cpu_free(f);
}

static void a_stack_behind_its_limit_is_a_stack_fault(void **state)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LEGACY);

    (void)state;
    f->st.seg[X86_SS].limit = FAKE_STACK + 6;
    fake_expect_fault(f, x86_ret_far(&f->cpu, 4, 0), X86_SS_FAULT, 0);
    expect_iret_fault(f, 4, X86_SS_FAULT, 0);
    fake_cpu_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(iretq_to_user_mode_loads_everything),
        cmocka_unit_test(iretq_within_the_kernel_pops_the_stack_too),
        cmocka_unit_test(iretq_in_user_mode_reads_with_user_rights),
        cmocka_unit_test(the_frame_is_read_in_user_mode_s_name),
        cmocka_unit_test(compatibility_mode_gets_32_bit_registers),
        cmocka_unit_test(a_16_bit_stack_gets_16_bits_of_sp),
        cmocka_unit_test(bad_selectors_fault_at_the_iret),
        cmocka_unit_test(an_inner_level_is_out_of_reach),
        cmocka_unit_test(a_non_canonical_rip_faults_at_the_iret),
        cmocka_unit_test(nt_faults_in_long_mode),
        cmocka_unit_test(segments_of_inner_levels_are_dropped),
        cmocka_unit_test(iretd_at_the_same_level_pops_three_words),
        cmocka_unit_test(a_16_bit_iret_keeps_the_upper_flags),
        cmocka_unit_test(a_rip_behind_the_limit_faults),
        cmocka_unit_test(vm_in_the_image_enters_v86_mode),
        cmocka_unit_test(
            vm_in_the_image_means_nothing_to_user_mode_or_long_mode),
        cmocka_unit_test(iret_in_v86_mode_needs_iopl_3),
        cmocka_unit_test(iret_in_real_mode_loads_cs_and_flags),
        cmocka_unit_test(iret_with_nt_switches_back_to_the_linked_task),
        cmocka_unit_test(far_ret_at_the_same_level_pops_its_parameters),
        cmocka_unit_test(far_ret_to_an_outer_level_releases_both_stacks),
        cmocka_unit_test(
            return_to_an_outer_level_takes_the_rpl_of_null_selectors),
        cmocka_unit_test(far_ret_in_64_bit_mode_keeps_the_stack_of_its_level),
        cmocka_unit_test(a_bad_far_ret_changes_nothing),
        cmocka_unit_test(far_ret_in_real_mode),
        cmocka_unit_test(a_stack_behind_its_limit_is_a_stack_fault),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
