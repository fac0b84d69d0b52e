/* Kept instructions (kept.c): never what was at the address before. */
#include "cpu/jit/kept.h"

#include <string.h>

#include "cpu/jit/jit.h"
#include "tests/unit/test.h"

#define REAL (0u | KEY_REAL | KEY_SS16 | KEY_CPL0)
#define PROT (1u | KEY_SS32 | KEY_CPL0)
#define RIP  0x7c00u

static struct cpuid_model model;

static int setup(void **state)
{
    struct err err = {0};

    if (cpuid_model_init(&model, "husk-v3", 1, &err) < 0)
        return -1;
    *state = kept_new(&model);
    return *state ? 0 : -1;
}

static int teardown(void **state)
{
    kept_free(*state);
    return 0;
}

static const struct insn *get(struct kept *k, const char *bytes, size_t len,
                              uint32_t key, uint64_t rip, int expect)
{
    const struct insn *in;

    assert_int_equal(kept_decode(k, &in, (const uint8_t *)bytes, len, key, rip),
                     expect);
    return in;
}

static void says_what_the_decoder_says(void **state)
{
    static const char code[] = "\xff\x76\x04\x90\x90"; /* push [bp+4] */
    const struct insn *in;
    struct insn want;

    assert_int_equal(
        insn_decode(&want, (const uint8_t *)code, 5, REAL, &model, RIP), 0);
    for (unsigned i = 0; i < 3; i++) {
        in = get(*state, code, 5, REAL, RIP, 0);
        assert_int_equal(in->rip, RIP);
        assert_int_equal(in->class, want.class);
        assert_memory_equal(&in->d, &want.d, sizeof(want.d));
        assert_memory_equal(in->op, want.op,
                            want.d.operand_count * sizeof(want.op[0]));
        assert_ptr_equal(in->rm, in->op); /* not the other's */
        assert_int_equal(in->mem_read, want.mem_read);
    }
}

static void code_changes(void **state)
{
    assert_int_equal(get(*state, "\x50\x90", 2, REAL, RIP, 0)->d.mnemonic,
                     ZYDIS_MNEMONIC_PUSH);
    assert_int_equal(get(*state, "\x58\x90", 2, REAL, RIP, 0)->d.mnemonic,
                     ZYDIS_MNEMONIC_POP);
    /* The last byte only, and bytes behind it. */
    assert_int_equal(
        get(*state, "\xe4\x71", 2, REAL, RIP, 0)->op[1].imm.value.u, 0x71);
    assert_int_equal(
        get(*state, "\xe4\x70", 2, REAL, RIP, 0)->op[1].imm.value.u, 0x70);
    assert_int_equal(
        get(*state, "\xe4\x70\xcc", 3, REAL, RIP, 0)->op[1].imm.value.u, 0x70);
}

static void the_mode_counts(void **state)
{
    static const char code[] = "\x68\x01\x02\x03\x04";

    assert_int_equal(get(*state, code, 5, REAL, RIP, 0)->d.length, 3);
    assert_int_equal(get(*state, code, 5, PROT, RIP, 0)->d.length, 5);
    assert_int_equal(get(*state, code, 5, REAL, RIP, 0)->d.length, 3);
}

/* The page behind it has gone: what is kept is no excuse. */
static void part_of_it_is_there(void **state)
{
    static const char code[] = "\x68\x01\x02\x03\x04";

    assert_int_equal(get(*state, code, 5, PROT, RIP, 0)->d.length, 5);
    (void)get(*state, code, 4, PROT, RIP, -1);
    assert_int_equal(get(*state, code, 5, PROT, RIP, 0)->d.length, 5);
}

static void undefined(void **state)
{
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(get(*state, "\x0f\x04\x90", 3, PROT, RIP, 1)->class,
                         IC_UD);
    assert_int_equal(get(*state, "\x50", 1, PROT, RIP, 0)->d.mnemonic,
                     ZYDIS_MNEMONIC_PUSH);
}

/* More addresses than there is room for. */
static void many(void **state)
{
    for (unsigned i = 0; i < 4096; i++) {
        const char op = (char)(0x50 + (i & 7));

        assert_int_equal(get(*state, &op, 1, PROT, i, 0)->op[0].reg.value,
                         ZYDIS_REGISTER_EAX + (ZydisRegister)(i & 7));
        assert_int_equal(get(*state, &op, 1, PROT, i, 0)->rip, i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(says_what_the_decoder_says, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(code_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(the_mode_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(part_of_it_is_there, setup, teardown),
        cmocka_unit_test_setup_teardown(undefined, setup, teardown),
        cmocka_unit_test_setup_teardown(many, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
