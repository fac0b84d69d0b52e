#include "x86/regs.h"

#include <string.h>

#include "tests/unit/test.h"

static void power_on_starts_at_the_reset_vector(void **state)
{
    struct x86_state st;

    (void)state;
    memset(&st, 0xff, sizeof(st));
    x86_state_reset(&st, 0);
    assert_int_equal(st.seg[X86_CS].base + st.rip, 0xfffffff0);
    assert_int_equal(st.rflags, 2);
    assert_int_equal(st.cr0, 0x60000010);
    assert_int_equal(st.dr6, 0xffff0ff0);
    assert_int_equal(st.dr7, 0x400);
    assert_int_equal(st.xcr0, 1);
    assert_int_equal(st.mp_state, X86_MP_RUNNING);
    assert_int_equal(st.gpr[X86_RAX], 0);
    assert_int_equal(st.msr.lstar, 0);
    assert_true(st.msr.pat == 0x0007040600070406);
}

static void the_fpu_starts_as_fninit_leaves_it(void **state)
{
    struct x86_state st;
    uint16_t fcw;
    uint32_t mxcsr;

    (void)state;
    x86_state_reset(&st, 0);
    memcpy(&fcw, st.xsave, 2);
    memcpy(&mxcsr, st.xsave + 24, 4);
    assert_int_equal(fcw, 0x37f);
    assert_int_equal(mxcsr, 0x1f80);
    assert_int_equal(st.xsave[512], 3);
}

static void other_cpus_wait(void **state)
{
    struct x86_state st;

    (void)state;
    x86_state_reset(&st, 1);
    assert_int_equal(st.mp_state, X86_MP_WAIT_SIPI);
    x86_state_sipi(&st, 0x9a);
    assert_int_equal(st.mp_state, X86_MP_RUNNING);
    assert_int_equal(st.seg[X86_CS].sel, 0x9a00);
    assert_int_equal(st.seg[X86_CS].base, 0x9a000);
    assert_int_equal(st.rip, 0);
}

static void init_keeps_what_it_must(void **state)
{
    struct x86_state st;

    (void)state;
    x86_state_reset(&st, 1);
    st.xsave[0] = 0x12;
    st.xcr0 = 7;
    st.tsc_offset = 1234;
    st.msr.mtrr_def = 0xc06;
    st.msr.pat = 0x0606;
    st.msr.lstar = 5;
    st.msr.tsc_aux = 1;
    st.msr.kvm_wall_clock = 7;
    x86_state_init(&st, 1);
    assert_int_equal(st.xsave[0], 0x12);
    assert_int_equal(st.xcr0, 7);
    assert_int_equal(st.tsc_offset, 1234);
    assert_int_equal(st.msr.mtrr_def, 0xc06);
    assert_int_equal(st.msr.pat, 0x0606);
    assert_int_equal(st.msr.lstar, 5);
    assert_int_equal(st.msr.tsc_aux, 1);
    assert_int_equal(st.msr.kvm_wall_clock, 7);
}

static void init_resets_the_rest(void **state)
{
    struct x86_state st;

    (void)state;
    x86_state_reset(&st, 1);
    st.cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_CD;
    st.cr3 = st.cr4 = st.cr2 = 0x1000;
    st.msr.efer = X86_EFER_LME | X86_EFER_LMA;
    st.msr.kvm_system_time = 1;
    st.msr.kvm_pv_eoi = 1;
    st.cpl = 3;
    st.rflags = 0x202;
    st.mp_state = X86_MP_HALTED;
    st.nmi_blocked = st.nmi_pending = st.int_shadow = 1;
    st.event.type = X86_EVENT_NMI;
    x86_state_init(&st, 1);
    assert_int_equal(st.cr0, X86_CR0_ET | X86_CR0_CD); /* CD, NW are kept */
    assert_int_equal(st.cr2 | st.cr3 | st.cr4, 0);
    assert_int_equal(st.msr.efer, 0);
    assert_int_equal(st.msr.kvm_system_time, 0);
    assert_int_equal(st.msr.kvm_pv_eoi, 0);
    assert_int_equal(st.cpl, 0);
    assert_int_equal(st.rflags, 2);
    assert_int_equal(st.mp_state, X86_MP_WAIT_SIPI);
    assert_int_equal(st.nmi_blocked | st.nmi_pending | st.int_shadow, 0);
    assert_int_equal(st.event.type, X86_EVENT_NONE);
    x86_state_init(&st, 0);
    assert_int_equal(st.mp_state, X86_MP_RUNNING);
    assert_int_equal(st.seg[X86_CS].base, 0xffff0000);
}

static void canonical_means_48_bits(void **state)
{
    (void)state;
    assert_true(x86_is_canonical(0));
    assert_true(x86_is_canonical(0x00007fffffffffff));
    assert_false(x86_is_canonical(0x0000800000000000));
    assert_false(x86_is_canonical(0xffff7fffffffffff));
    assert_true(x86_is_canonical(0xffff800000000000));
    assert_true(x86_is_canonical(UINT64_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(power_on_starts_at_the_reset_vector),
        cmocka_unit_test(the_fpu_starts_as_fninit_leaves_it),
        cmocka_unit_test(other_cpus_wait),
        cmocka_unit_test(init_keeps_what_it_must),
        cmocka_unit_test(init_resets_the_rest),
        cmocka_unit_test(canonical_means_48_bits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
