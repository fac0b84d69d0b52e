#include "tests/unit/x86/fake_cpu.h"

static struct fake_cpu *new_cpu(const char *model, unsigned nr_cpus)
{
    struct fake_cpu *f = fake_cpu_new(FAKE_LONG_USER);
    struct err err;

    assert_int_equal(cpuid_model_init(&f->model, model, nr_cpus, &err), 0);
    return f;
}

static void run(struct fake_cpu *f, uint32_t leaf, uint32_t subleaf)
{
    f->st.gpr[X86_RAX] = leaf | (uint64_t)0xabcd << 32;
    f->st.gpr[X86_RCX] = subleaf | (uint64_t)0xabcd << 32;
    x86_cpuid(&f->cpu);
}

static void all_four_registers_are_written_in_full(void **state)
{
    struct fake_cpu *f = new_cpu("husk-v3", 1);
    struct cpuid_leaf l = cpuid_lookup(&f->model, 0, 0);

    (void)state;
    f->st.gpr[X86_RBX] = f->st.gpr[X86_RDX] = UINT64_MAX;
    run(f, 0, 0);
    assert_int_equal(f->st.gpr[X86_RAX], l.eax);
    assert_int_equal(f->st.gpr[X86_RBX], l.ebx);
    assert_int_equal(f->st.gpr[X86_RCX], l.ecx);
    assert_int_equal(f->st.gpr[X86_RDX], l.edx);
    run(f, 0x5000, 0);
    assert_int_equal(f->st.gpr[X86_RAX] | f->st.gpr[X86_RBX] |
                         f->st.gpr[X86_RCX] | f->st.gpr[X86_RDX],
                     0);
    fake_cpu_free(f);
}

static void osxsave_follows_cr4(void **state)
{
    struct fake_cpu *f = new_cpu("husk-v3", 1);

    (void)state;
    run(f, 1, 0);
    assert_int_equal(f->st.gpr[X86_RCX] >> 27 & 1, 0);
    f->st.cr4 |= X86_CR4_OSXSAVE;
    run(f, 1, 0);
    assert_int_equal(f->st.gpr[X86_RCX] >> 27 & 1, 1);
    fake_cpu_free(f);
}

static void each_cpu_sees_its_own_apic_id(void **state)
{
    struct fake_cpu *f = new_cpu("husk-v3", 4);

    (void)state;
    f->cpu.apic_id = 3;
    run(f, 1, 0);
    assert_int_equal(f->st.gpr[X86_RBX] >> 24, 3);
    run(f, 0xb, 0);
    assert_int_equal(f->st.gpr[X86_RDX], 3);
    run(f, 0xb, 1);
    assert_int_equal(f->st.gpr[X86_RDX], 3);
    if (f->model.amd) {
        run(f, 0x8000001e, 0);
        assert_int_equal(f->st.gpr[X86_RAX], 3);
        assert_int_equal(f->st.gpr[X86_RBX] & 0xff, 3);
    }
    fake_cpu_free(f);
}

static void the_xsave_size_is_that_of_xcr0(void **state)
{
    struct fake_cpu *f = new_cpu("husk-v3", 1);

    (void)state;
    if (cpuid_has(&f->model, CPUID_AVX)) {
        f->st.xcr0 = 3;
        run(f, 0xd, 0);
        assert_int_equal(f->st.gpr[X86_RBX], 576);
        assert_int_equal(f->st.gpr[X86_RCX], 832);
        f->st.xcr0 = 7;
        run(f, 0xd, 0);
        assert_int_equal(f->st.gpr[X86_RBX], 832);
        run(f, 0xd, 1);
        assert_int_equal(f->st.gpr[X86_RBX], 832);
        run(f, 0xd, 2);
        assert_int_equal(f->st.gpr[X86_RAX], 256);
        assert_int_equal(f->st.gpr[X86_RBX], 576);
    }
    fake_cpu_free(f);
}

static void without_xsave_its_leaf_is_empty(void **state)
{
    struct fake_cpu *f = new_cpu("husk-v2", 1);

    (void)state;
    run(f, 0xd, 0);
    assert_int_equal(f->st.gpr[X86_RBX], 0);
    run(f, 0xd, 1);
    assert_int_equal(f->st.gpr[X86_RBX], 0);
    fake_cpu_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_four_registers_are_written_in_full),
        cmocka_unit_test(osxsave_follows_cr4),
        cmocka_unit_test(each_cpu_sees_its_own_apic_id),
        cmocka_unit_test(the_xsave_size_is_that_of_xcr0),
        cmocka_unit_test(without_xsave_its_leaf_is_empty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
