/* What the translator lets run as itself, and what it does not. */
#include "cpu/jit/decode.h"

#include <stdio.h>
#include <string.h>

#include "cpu/jit/jit.h"
#include "tests/unit/test.h"

/* 64-bit code at CPL 0 and 3, 32-bit code at CPL 0, with everything on. */
#define LONG0 (2u | KEY_CPL0 | KEY_OSXSAVE | KEY_FSGSBASE)
#define LONG3 (2u | KEY_OSXSAVE | KEY_FSGSBASE)
#define PROT0 (1u | KEY_CPL0 | KEY_SS32 | KEY_OSXSAVE)
#define REAL  (0u | KEY_REAL | KEY_SS16 | KEY_CPL0)
#define VM86  (0u | KEY_VM86 | KEY_SS16)

static struct cpuid_model model;

static int setup(void **state)
{
    struct err err = {0};

    (void)state;
    return cpuid_model_init(&model, "husk-v3", 1, &err);
}

/* One row: the bytes in hexadecimal. */
struct row {
    const char *hex;
    uint32_t key;
    enum insn_class class;
};

static size_t parse_hex(const char *hex, uint8_t *out)
{
    size_t n = 0;
    unsigned byte = 0;
    int used = 0;

    for (; sscanf(hex, "%2x%n", &byte, &used) == 1; hex += used)
        out[n++] = (uint8_t)byte;
    return n;
}

static struct insn decode(const char *hex, uint32_t key, int want)
{
    uint8_t bytes[16] = {0};
    struct insn in = {0};
    size_t len = parse_hex(hex, bytes);
    int rc = insn_decode(&in, bytes, len, key, &model, 0x1000);

    if (rc != want)
        fail_msg("%s: %d, not %d", hex, rc, want);
    if (rc == 0)
        assert_int_equal(in.d.length, len);
    return in;
}

static void expect(const struct row *rows, size_t nr)
{
    for (size_t i = 0; i < nr; i++) {
        struct insn in =
            decode(rows[i].hex, rows[i].key, rows[i].class == IC_UD ? 1 : 0);

        if (in.class != rows[i].class)
            fail_msg("%s (key %x): class %d, not %d", rows[i].hex, rows[i].key,
                     (int)in.class, (int)rows[i].class);
    }
}

static void ordinary_instructions_run_as_themselves(void **state)
{
    static const struct row rows[] = {
        {"48 01 d8", LONG3, IC_PLAIN},                /* add rax, rbx */
        {"48 8b 04 25 00 10 00 00", LONG3, IC_PLAIN}, /* mov rax, [4096] */
        {"0f b0 0b", LONG3, IC_PLAIN},                /* cmpxchg */
        {"66 0f 6f 00", LONG3, IC_PLAIN},             /* movdqa */
        {"c5 fd 6f 00", LONG3, IC_PLAIN},             /* vmovdqa ymm */
        {"48 8d 04 9b", LONG3, IC_LEA},
        {"90", LONG3, IC_NOP},
        {"50", LONG3, IC_PUSH},
        {"58", LONG3, IC_POP},
        {"c9", LONG3, IC_LEAVE},
        {"9c", LONG3, IC_PUSHF},
        {"74 00", LONG3, IC_JCC},
        {"e2 00", LONG3, IC_LOOP},
        {"eb 00", LONG3, IC_JMP},
        {"ff e0", LONG3, IC_JMP_IND},
        {"e8 00 00 00 00", LONG3, IC_CALL},
        {"ff d0", LONG3, IC_CALL_IND},
        {"c3", LONG3, IC_RET},
        {"fc", LONG3, IC_CLD},
        {"f3 48 a5", LONG3, IC_STRING},
    };

    (void)state;
    expect(rows, ARRAY_LEN(rows));
}

/* Run natively, each of these would do something to the host, or with the
 * host's values. */
static void what_tells_of_the_host_never_does(void **state)
{
    static const char *const sensitive[] = {"0f 05",       "0f 07",
                                            "0f 34",       "0f a2",
                                            "0f 01 d0",    "0f 01 f9",
                                            "f4",          "0f 01 00",
                                            "0f 01 08",    "0f 01 20",
                                            "0f 00 00",    "0f 00 08",
                                            "0f 02 00",    "0f 03 00",
                                            "0f 20 c0",    "0f 30",
                                            "0f 32",       "0f 33",
                                            "cd 80",       "cc",
                                            "cf",          "48 cf",
                                            "e4 10",       "ec",
                                            "6c",          "8e d8",
                                            "0f a0",       "0f a1",
                                            "0f b2 00",    "0f 09",
                                            "f3 0f c7 f8", "9d",
                                            "0f 01 f8",    "0f ae 00",
                                            "48 0f ae 20", "0f 01 d5",
                                            "0f 01 d6",    "0f 01 c8",
                                            "0f 01 c9",    "0f 01 fa",
                                            "0f 01 fc",    "0f 01 ee",
                                            "f3 0f 1e c8", "0f 01 c1",
                                            "0f 01 d9",    "c7 f8 00 00 00 00",
                                            "c6 f8 00"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sensitive); i++) {
        for (unsigned cpl0 = 0; cpl0 < 2; cpl0++) {
            uint8_t bytes[16] = {0};
            struct insn in = {0};
            size_t len = parse_hex(sensitive[i], bytes);

            (void)insn_decode(&in, bytes, len, cpl0 ? LONG0 : LONG3, &model, 0);
            if (in.class == IC_PLAIN ||
                (in.class == IC_NOP && strcmp(sensitive[i], "f3 0f 1e c8")))
                fail_msg("%s runs as itself", sensitive[i]);
        }
    }
}

/* The models have neither AVX-512 nor what is not x86-64-v3. */
static void what_is_not_advertised_is_undefined(void **state)
{
    static const struct row rows[] = {
        {"62 f1 7c 48 58 c1", LONG3, IC_UD},    /* vaddps zmm */
        {"62 f1 7c 08 58 c1", LONG3, IC_UD},    /* vaddps xmm by EVEX */
        {"0f 01 c8", LONG0, IC_UD},             /* monitor */
        {"0f 01 fa", LONG3, IC_UD},             /* monitorx */
        {"0f 01 fc", LONG3, IC_UD},             /* clzero */
        {"0f 01 ee", LONG3, IC_UD},             /* rdpkru */
        {"c7 f8 00 00 00 00", LONG3, IC_UD},    /* xbegin */
        {"0f 01 d8", LONG0, IC_UD},             /* vmrun */
        {"0f 01 c2", LONG0, IC_UD},             /* vmlaunch */
        {"8f e9 78 01 c8", LONG3, IC_UD},       /* TBM */
        {"c4 e3 79 69 c1 10", LONG3, IC_UD},    /* FMA4 */
        {"0f 0f c1 9e", LONG3, IC_UD},          /* 3DNow! */
        {"06", LONG3, IC_UD},                   /* push es */
        {"27", LONG3, IC_UD},                   /* daa */
        {"ea 00 00 00 00 08 00", LONG3, IC_UD}, /* far jump */
        {"f0 48 01 d8", LONG3, IC_UD},          /* lock on a register */
        {"f0 48 8b 00", LONG3, IC_UD},          /* lock mov */
    };

    (void)state;
    expect(rows, ARRAY_LEN(rows));
}

static void privilege_and_mode_choose_the_rule(void **state)
{
    static const struct row rows[] = {
        {"fa", LONG0, IC_CLI},
        {"fa", LONG3, IC_RARE},       /* IOPL decides */
        {"0f 01 d9", LONG0, IC_RARE}, /* vmmcall: a call to the host */
        {"0f 01 c1", LONG3, IC_RARE}, /* vmcall */
        {"fb", LONG0, IC_STI},
        {"0f 01 cb", LONG0, IC_STAC},
        {"0f 01 cb", LONG3, IC_UD},
        {"0f 31", LONG3, IC_RDTSC},
        {"0f 31", LONG3 | KEY_TSD, IC_RARE},
        {"f3 48 0f ae c0", LONG3, IC_FSGSBASE},
        {"f3 48 0f ae c0", LONG3 & ~(uint32_t)KEY_FSGSBASE, IC_UD},
        {"50", PROT0, IC_PUSH},
        {"66 50", PROT0, IC_STACK}, /* 16 bits on a 32-bit stack */
        {"50", VM86, IC_RARE},
    };

    (void)state;
    expect(rows, ARRAY_LEN(rows));
}

/* A page may end anywhere; the same bytes are then asked for again. */
static void a_cut_instruction_asks_for_more(void **state)
{
    static const char *const whole[] = {
        "48 8b 84 8b 78 56 34 12", "48 b8 11 22 33 44 55 66 77 88",
        "66 66 2e 0f 1f 84 00 00 00 00 00", "c5 fd 6f 80 00 10 00 00",
        "f0 48 0f b1 0d 00 00 00 00"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(whole); i++) {
        uint8_t bytes[16] = {0};
        size_t len = parse_hex(whole[i], bytes);

        for (size_t n = 0; n <= len; n++) {
            struct insn in = {0};

            assert_int_equal(insn_decode(&in, bytes, n, LONG3, &model, 0),
                             n < len ? -1 : 0);
        }
    }
}

/* Nothing can be 16 bytes long (SDM vol. 2, 2.3.11). */
static void too_long_is_not_too_short(void **state)
{
    uint8_t bytes[16];
    struct insn in = {0};

    (void)state;
    memset(bytes, 0x66, sizeof(bytes));
    assert_int_equal(insn_decode(&in, bytes, sizeof(bytes), LONG3, &model, 0),
                     1);
    assert_int_equal(in.class, IC_UD);
}

static void flags_are_known_to_the_bit(void **state)
{
    struct insn in;

    (void)state;
    in = decode("48 01 d8", LONG3, 0); /* add */
    assert_int_equal(in.flags_read, 0);
    assert_int_equal(in.flags_kill, X86_FLAGS_ARITH);
    in = decode("48 11 d8", LONG3, 0); /* adc */
    assert_int_equal(in.flags_read, X86_FLAGS_CF);
    in = decode("48 ff c0", LONG3, 0); /* inc */
    assert_int_equal(in.flags_kill, X86_FLAGS_ARITH & ~X86_FLAGS_CF);
    in = decode("48 d3 e0", LONG3, 0); /* shl rax, cl: perhaps by 0 */
    assert_int_equal(in.flags_kill, 0);
    in = decode("48 89 d8", LONG3, 0); /* mov */
    assert_int_equal(in.flags_read | in.flags_kill, 0);
    in = decode("76 00", LONG3, 0); /* jbe */
    assert_int_equal(in.flags_read, X86_FLAGS_CF | X86_FLAGS_ZF);
}

static void general_registers_have_their_numbers(void **state)
{
    static const struct {
        ZydisRegister reg;
        unsigned number;
        bool high;
    } rows[] = {
        {ZYDIS_REGISTER_AL, 0, false},  {ZYDIS_REGISTER_BL, 3, false},
        {ZYDIS_REGISTER_AH, 0, true},   {ZYDIS_REGISTER_BH, 3, true},
        {ZYDIS_REGISTER_SPL, 4, false}, {ZYDIS_REGISTER_DIL, 7, false},
        {ZYDIS_REGISTER_R8B, 8, false}, {ZYDIS_REGISTER_R15B, 15, false},
        {ZYDIS_REGISTER_AX, 0, false},  {ZYDIS_REGISTER_R15W, 15, false},
        {ZYDIS_REGISTER_ESP, 4, false}, {ZYDIS_REGISTER_R12D, 12, false},
        {ZYDIS_REGISTER_RAX, 0, false}, {ZYDIS_REGISTER_R15, 15, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        bool high = !rows[i].high;

        assert_int_equal(insn_gpr(rows[i].reg, &high), rows[i].number);
        assert_int_equal(high, rows[i].high);
    }
}

/* 16-bit stacks and other widths: by a helper, unless each instruction has to
 * be looked at or an operand lies in memory. */
static void odd_stacks_are_for_helpers(void **state)
{
    static const struct row rows[] = {
        {"50", REAL, IC_STACK},
        {"1e", REAL, IC_STACK}, /* push ds */
        {"6a ff", REAL, IC_STACK},
        {"58", REAL, IC_STACK},
        {"9c", REAL, IC_STACK},
        {"e8 00 00", REAL, IC_STACK},
        {"c2 04 00", REAL, IC_STACK},
        {"66 50", PROT0, IC_STACK},
        {"50", PROT0 | KEY_SS16, IC_STACK},
        {"1f", REAL, IC_RARE},    /* pop ds */
        {"ff 37", REAL, IC_RARE}, /* push [bx] */
        {"8f 07", REAL, IC_RARE},
        {"cb", REAL, IC_RARE},
        {"c9", REAL, IC_RARE},
        {"50", REAL | KEY_STEP, IC_RARE},
        {"1e", REAL | KEY_STEP, IC_RARE},
        {"e8 00 00", REAL | KEY_BREAK, IC_RARE},
        {"50", KEY_VM86 | KEY_SS16, IC_RARE},
        {"66 50", LONG3, IC_RARE},
        {"a4", REAL | KEY_SEGMENTS, IC_STRING},
    };

    (void)state;
    expect(rows, ARRAY_LEN(rows));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(odd_stacks_are_for_helpers),
        cmocka_unit_test(ordinary_instructions_run_as_themselves),
        cmocka_unit_test(what_tells_of_the_host_never_does),
        cmocka_unit_test(what_is_not_advertised_is_undefined),
        cmocka_unit_test(privilege_and_mode_choose_the_rule),
        cmocka_unit_test(a_cut_instruction_asks_for_more),
        cmocka_unit_test(too_long_is_not_too_short),
        cmocka_unit_test(flags_are_known_to_the_bit),
        cmocka_unit_test(general_registers_have_their_numbers),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
