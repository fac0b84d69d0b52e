#include "tests/unit/x86/fake_cpu.h"

enum { NEXT = FAKE_RIP + 2 };

#define ENTRY  0xffffffff81000000ull
#define ENTRY2 0xffffffff82000000ull
#define BAD    ((uint64_t)1 << 47) /* not canonical */

static struct fake_cpu *new_cpu(enum fake_mode mode, bool amd)
{
    struct fake_cpu *f = fake_cpu_new(mode);

    f->model.amd = amd;
    f->st.msr.efer |= X86_EFER_SCE;
    f->st.msr.star = (uint64_t)UCODE32 << 48 | (uint64_t)KCODE64 << 32 | 0x1234;
    f->st.msr.lstar = ENTRY;
    f->st.msr.cstar = ENTRY2;
    f->st.msr.sfmask = X86_FLAGS_IF | X86_FLAGS_TF | X86_FLAGS_DF |
                       X86_FLAGS_AC | X86_FLAGS_NT;
    f->st.msr.sysenter_cs = KCODE64;
    f->st.msr.sysenter_esp = ENTRY2;
    f->st.msr.sysenter_eip = ENTRY;
    return f;
}

static void syscall_saves_and_masks_the_flags(void **state)
{
    struct fake_cpu *f = new_cpu(FAKE_LONG_USER, false);
    uint64_t flags = X86_FLAGS_FIXED | X86_FLAGS_IF | X86_FLAGS_TF |
                     X86_FLAGS_CF | X86_FLAGS_AC;

    (void)state;
    f->st.rflags = flags | X86_FLAGS_RF;
    assert_int_equal(x86_syscall(&f->cpu, NEXT), X86_OK);
    assert_int_equal(f->st.gpr[X86_RCX], NEXT);
    assert_int_equal(f->st.gpr[X86_R11], flags);
    assert_int_equal(f->st.rflags, X86_FLAGS_FIXED | X86_FLAGS_CF);
    assert_true(f->st.rip == ENTRY);
    assert_int_equal(f->st.cpl, 0);
    assert_int_equal(f->st.seg[X86_CS].sel, KCODE64);
    assert_int_equal(f->st.seg[X86_CS].attr, 0xa09b);
    assert_int_equal(f->st.seg[X86_SS].sel, KDATA);
    assert_int_equal(f->st.seg[X86_SS].attr, 0xc093);
    assert_int_equal(f->st.gpr[X86_RSP], FAKE_STACK);
    fake_cpu_free(f);
}

static void syscall_needs_sce(void **state)
{
    struct fake_cpu *f = new_cpu(FAKE_LONG_USER, true);

    (void)state;
    f->st.msr.efer &= ~(uint64_t)X86_EFER_SCE;
    fake_expect_fault(f, x86_syscall(&f->cpu, NEXT), X86_UD, -1);
    fake_expect_fault(f, x86_sysret(&f->cpu, 8), X86_UD, -1);
    fake_cpu_free(f);
}

static void syscall_outside_64_bit_mode_is_amd_s(void **state)
{
    struct fake_cpu *f = new_cpu(FAKE_COMPAT_USER, false);

    (void)state;
    fake_expect_fault(f, x86_syscall(&f->cpu, NEXT), X86_UD, -1);
    fake_cpu_free(f);
    f = new_cpu(FAKE_COMPAT_USER, true);
    assert_int_equal(x86_syscall(&f->cpu, NEXT), X86_OK);
    assert_true(f->st.rip == ENTRY2);
    assert_true(x86_64bit_mode(&f->st));
    fake_cpu_free(f);
}

static void syscall_in_legacy_mode_goes_to_star(void **state)
{
    struct fake_cpu *f = new_cpu(FAKE_LEGACY_USER, true);

    (void)state;
    f->st.rflags |= X86_FLAGS_IF | X86_FLAGS_TF;
    f->st.gpr[X86_R11] = 5;
    assert_int_equal(x86_syscall(&f->cpu, NEXT), X86_OK);
    assert_int_equal(f->st.rip, 0x1234);
    assert_int_equal(f->st.gpr[X86_RCX], NEXT);
    assert_int_equal(f->st.gpr[X86_R11], 5);
    assert_int_equal(f->st.rflags, X86_FLAGS_FIXED | X86_FLAGS_TF);
    assert_int_equal(f->st.seg[X86_CS].attr, 0xc09b);
    fake_cpu_free(f);
    f = new_cpu(FAKE_REAL, true);
    fake_expect_fault(f, x86_syscall(&f->cpu, NEXT), X86_UD, -1);
    fake_cpu_free(f);
}

static void sysret_restores_what_syscall_saved(void **state)
{
    struct fake_cpu *f = new_cpu(FAKE_LONG, false);

    (void)state;
    f->st.gpr[X86_RCX] = 0x7fff00001000;
    f->st.gpr[X86_R11] =
        X86_FLAGS_IF | X86_FLAGS_TF | X86_FLAGS_RF | X86_FLAGS_VM | 0x28;
    assert_int_equal(x86_sysret(&f->cpu, 8), X86_OK);
    assert_int_equal(f->st.rip, 0x7fff00001000);
    assert_int_equal(f->st.rflags,
                     X86_FLAGS_FIXED | X86_FLAGS_IF | X86_FLAGS_TF);
    assert_int_equal(f->st.cpl, 3);
    assert_int_equal(f->st.seg[X86_CS].sel, UCODE64 | 3);
    assert_int_equal(f->st.seg[X86_CS].attr, 0xa0fb);
    assert_int_equal(f->st.seg[X86_SS].sel, UDATA | 3);
    assert_int_equal(f->st.seg[X86_SS].attr, 0xc0f3);
    fake_cpu_free(f);
}

static void a_32_bit_sysret_enters_compatibility_mode(void **state)
{
    struct fake_cpu *f = new_cpu(FAKE_LONG, false);

    (void)state;
    f->st.gpr[X86_RCX] = 0xffffffff00001000;
    assert_int_equal(x86_sysret(&f->cpu, 4), X86_OK);
    assert_int_equal(f->st.rip, 0x1000);
    assert_int_equal(f->st.seg[X86_CS].sel, UCODE32 | 3);
    assert_int_equal(f->st.seg[X86_CS].attr, 0xc0fb);
    fake_cpu_free(f);
}

static void a_bad_rcx_faults_in_the_kernel_on_intel_only(void **state)
{
    struct fake_cpu *f = new_cpu(FAKE_LONG, false);

    (void)state;
    f->st.gpr[X86_RCX] = BAD;
    fake_expect_fault(f, x86_sysret(&f->cpu, 8), X86_GP, 0);
    assert_int_equal(f->st.cpl, 0);
    assert_int_equal(x86_sysret(&f->cpu, 4), X86_OK);
    fake_cpu_free(f);
    f = new_cpu(FAKE_LONG, true);
    f->st.gpr[X86_RCX] = BAD;
    assert_int_equal(x86_sysret(&f->cpu, 8), X86_OK);
    assert_true(f->st.rip == BAD);
    assert_int_equal(f->st.cpl, 3);
    fake_cpu_free(f);
}

static void amd_s_sysret_leaves_a_null_stack_segment_null(void **state)
{
    struct fake_cpu *f = new_cpu(FAKE_LONG, true);

    (void)state;
    f->st.seg[X86_SS] = (struct x86_seg){0};
    assert_int_equal(x86_sysret(&f->cpu, 4), X86_OK);
    assert_int_equal(f->st.seg[X86_SS].sel, UDATA | 3);
    assert_int_equal(f->st.seg[X86_SS].attr & X86_SEG_P, 0);
    assert_int_equal(X86_SEG_DPL(f->st.seg[X86_SS].attr), 3);
    fake_cpu_free(f);
}

static void the_ways_out_are_the_kernel_s(void **state)
{
    struct fake_cpu *f = new_cpu(FAKE_LONG_USER, false);

    (void)state;
    fake_expect_fault(f, x86_sysret(&f->cpu, 8), X86_GP, 0);
    fake_expect_fault(f, x86_sysexit(&f->cpu, 8), X86_GP, 0);
    fake_cpu_free(f);
}

static void sysenter_keeps_tf(void **state)
{
    struct fake_cpu *f = new_cpu(FAKE_COMPAT_USER, false);

    (void)state;
    f->st.rflags |= X86_FLAGS_IF | X86_FLAGS_TF | X86_FLAGS_RF;
    assert_int_equal(x86_sysenter(&f->cpu), X86_OK);
    assert_true(f->st.rip == ENTRY);
    assert_true(f->st.gpr[X86_RSP] == ENTRY2);
    assert_int_equal(f->st.rflags, X86_FLAGS_FIXED | X86_FLAGS_TF);
    assert_true(x86_64bit_mode(&f->st));
    assert_int_equal(f->st.cpl, 0);
    fake_cpu_free(f);
}

static void sysenter_in_legacy_mode_is_32_bits_wide(void **state)
{
    struct fake_cpu *f = new_cpu(FAKE_LEGACY_USER, true);

    (void)state;
    f->st.msr.sysenter_cs = KCODE32;
    assert_int_equal(x86_sysenter(&f->cpu), X86_OK);
    assert_int_equal(f->st.rip, ENTRY & 0xffffffff);
    assert_int_equal(f->st.gpr[X86_RSP], ENTRY2 & 0xffffffff);
    assert_int_equal(f->st.seg[X86_CS].attr, 0xc09b);
    assert_int_equal(f->st.seg[X86_SS].sel, KCODE32 + 8);
    fake_cpu_free(f);
}

static void sysenter_without_a_segment_faults(void **state)
{
    struct fake_cpu *f = new_cpu(FAKE_LONG_USER, false);

    (void)state;
    f->st.msr.sysenter_cs = 3;
    fake_expect_fault(f, x86_sysenter(&f->cpu), X86_GP, 0);
    fake_cpu_free(f);
    f = new_cpu(FAKE_REAL, false);
    fake_expect_fault(f, x86_sysenter(&f->cpu), X86_GP, 0);
    fake_cpu_free(f);
}

static void amd_has_no_sysenter_in_long_mode(void **state)
{
    struct fake_cpu *f = new_cpu(FAKE_COMPAT_USER, true);

    (void)state;
    fake_expect_fault(f, x86_sysenter(&f->cpu), X86_UD, -1);
    fake_expect_fault(f, x86_sysexit(&f->cpu, 4), X86_UD, -1);
    fake_cpu_free(f);
}

static void sysexit_takes_both_widths(void **state)
{
    struct fake_cpu *f = new_cpu(FAKE_LONG, false);

    (void)state;
    f->st.gpr[X86_RDX] = 0x7fff00001000;
    f->st.gpr[X86_RCX] = 0x7fff00002000;
    assert_int_equal(x86_sysexit(&f->cpu, 8), X86_OK);
    assert_int_equal(f->st.rip, 0x7fff00001000);
    assert_int_equal(f->st.gpr[X86_RSP], 0x7fff00002000);
    assert_int_equal(f->st.seg[X86_CS].sel, (KCODE64 + 32) | 3);
    assert_int_equal(f->st.seg[X86_SS].sel, (KCODE64 + 40) | 3);
    fake_cpu_free(f);
    f = new_cpu(FAKE_LONG, false);
    f->st.gpr[X86_RDX] = 0x7fff00001000;
    f->st.gpr[X86_RCX] = 0x7fff00002000;
    assert_int_equal(x86_sysexit(&f->cpu, 4), X86_OK);
    assert_int_equal(f->st.rip, 0x1000);
    assert_int_equal(f->st.gpr[X86_RSP], 0x2000);
    assert_int_equal(f->st.seg[X86_CS].sel, (KCODE64 + 16) | 3);
    assert_int_equal(f->st.seg[X86_SS].attr, 0xc0f3);
    fake_cpu_free(f);
}

static void sysexit_refuses_bad_addresses(void **state)
{
    struct fake_cpu *f = new_cpu(FAKE_LONG, false);

    (void)state;
    f->st.gpr[X86_RDX] = BAD;
    fake_expect_fault(f, x86_sysexit(&f->cpu, 8), X86_GP, 0);
    f->st.gpr[X86_RDX] = 0;
    f->st.gpr[X86_RCX] = BAD;
    fake_expect_fault(f, x86_sysexit(&f->cpu, 8), X86_GP, 0);
    assert_int_equal(f->st.cpl, 0);
    fake_cpu_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(syscall_saves_and_masks_the_flags),
        cmocka_unit_test(syscall_needs_sce),
        cmocka_unit_test(syscall_outside_64_bit_mode_is_amd_s),
        cmocka_unit_test(syscall_in_legacy_mode_goes_to_star),
        cmocka_unit_test(sysret_restores_what_syscall_saved),
        cmocka_unit_test(a_32_bit_sysret_enters_compatibility_mode),
        cmocka_unit_test(a_bad_rcx_faults_in_the_kernel_on_intel_only),
        cmocka_unit_test(amd_s_sysret_leaves_a_null_stack_segment_null),
        cmocka_unit_test(the_ways_out_are_the_kernel_s),
        cmocka_unit_test(sysenter_keeps_tf),
        cmocka_unit_test(sysenter_in_legacy_mode_is_32_bits_wide),
        cmocka_unit_test(sysenter_without_a_segment_faults),
        cmocka_unit_test(amd_has_no_sysenter_in_long_mode),
        cmocka_unit_test(sysexit_takes_both_widths),
        cmocka_unit_test(sysexit_refuses_bad_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
