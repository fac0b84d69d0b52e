/* Every emitter against an independent decoder: what was meant is what the
 * bytes say, for all registers and displacements. */
#include "cpu/jit/emit.h"

#include <Zydis/Zydis.h>

#include "base/compiler.h"
#include "tests/unit/test.h"

struct decoded {
    ZydisDecodedInstruction d;
    ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
};

static uint8_t code[64];

static struct emit begin(void)
{
    return (struct emit){.p = code, .end = code + sizeof(code)};
}

/* One instruction, as long as what was emitted. */
static struct decoded decode(const struct emit *e, ZydisMnemonic m)
{
    struct decoded out = {0};
    ZydisDecoder dec;

    assert_false(e->full);
    assert_true(ZYAN_SUCCESS(ZydisDecoderInit(&dec, ZYDIS_MACHINE_MODE_LONG_64,
                                              ZYDIS_STACK_WIDTH_64)));
    assert_true(ZYAN_SUCCESS(
        ZydisDecoderDecodeFull(&dec, code, sizeof(code), &out.d, out.op)));
    assert_int_equal(out.d.length, e->p - code);
    assert_int_equal(out.d.mnemonic, m);
    return out;
}

static ZydisRegister gpr(unsigned n, bool wide)
{
    return ZydisRegisterEncode(
        wide ? ZYDIS_REGCLASS_GPR64 : ZYDIS_REGCLASS_GPR32, (ZyanU8)n);
}

static void is_reg(const ZydisDecodedOperand *op, unsigned n, bool wide)
{
    assert_int_equal(op->type, ZYDIS_OPERAND_TYPE_REGISTER);
    assert_int_equal(op->reg.value, gpr(n, wide));
}

static void is_gs(const ZydisDecodedOperand *op, uint32_t off, unsigned bits)
{
    assert_int_equal(op->type, ZYDIS_OPERAND_TYPE_MEMORY);
    assert_int_equal(op->mem.segment, ZYDIS_REGISTER_GS);
    assert_int_equal(op->mem.base, ZYDIS_REGISTER_NONE);
    assert_int_equal(op->mem.index, ZYDIS_REGISTER_NONE);
    assert_int_equal(op->mem.disp.value, off);
    assert_int_equal(op->size, bits);
}

static void loads_and_stores_of_gs_slots(void **state)
{
    (void)state;
    for (unsigned r = 0; r < 16; r++) {
        for (unsigned wide = 0; wide < 2; wide++) {
            struct emit e = begin();
            struct decoded i;

            (wide ? e_load_gs : e_load32_gs)(&e, r, 0x1128);
            i = decode(&e, ZYDIS_MNEMONIC_MOV);
            is_reg(&i.op[0], r, wide);
            is_gs(&i.op[1], 0x1128, wide ? 64 : 32);
            e = begin();
            (wide ? e_store_gs : e_store32_gs)(&e, 0x80, r);
            i = decode(&e, ZYDIS_MNEMONIC_MOV);
            is_gs(&i.op[0], 0x80, wide ? 64 : 32);
            is_reg(&i.op[1], r, wide);
        }
    }
}

static void immediates_take_the_shortest_form(void **state)
{
    static const struct {
        uint64_t val;
        unsigned len; /* for registers below 8 */
    } vals[] = {
        {0, 5},           {1, 5},
        {INT32_MAX, 5},   {UINT32_MAX, 5},
        {UINT64_MAX, 7},  {(uint64_t)INT32_MIN, 7},
        {1ull << 32, 10}, {(uint64_t)INT32_MIN - 1, 10},
        {INT64_MAX, 10},
    };

    (void)state;
    for (size_t v = 0; v < ARRAY_LEN(vals); v++) {
        for (unsigned r = 0; r < 16; r++) {
            struct emit e = begin();
            struct decoded i;

            e_mov_imm(&e, r, vals[v].val);
            i = decode(&e, ZYDIS_MNEMONIC_MOV);
            is_reg(&i.op[0], r, vals[v].len != 5);
            /* The decoder extends the sign of all of them. */
            if (vals[v].len == 5)
                assert_int_equal((uint32_t)i.op[1].imm.value.u, vals[v].val);
            else
                assert_true(i.op[1].imm.value.u == vals[v].val);
            assert_int_equal(i.d.length,
                             vals[v].len + (vals[v].len == 5 && r >= 8));
        }
    }
}

static void immediates_go_to_gs_slots(void **state)
{
    struct emit e = begin();
    struct decoded i;

    (void)state;
    e_store32_gs_imm(&e, 0x1000, 0x89abcdef);
    i = decode(&e, ZYDIS_MNEMONIC_MOV);
    is_gs(&i.op[0], 0x1000, 32);
    assert_int_equal((uint32_t)i.op[1].imm.value.u, 0x89abcdef);
    e = begin();
    e_store_gs_imm(&e, 0x1000, (uint64_t)-5, R_T0);
    i = decode(&e, ZYDIS_MNEMONIC_MOV);
    is_gs(&i.op[0], 0x1000, 64);
    assert_true(i.op[1].imm.value.s == -5);
    /* Through a register, when it is wide. */
    e = begin();
    e_store_gs_imm(&e, 0x1000, 0x123456789aull, R_T0);
    assert_int_equal(e.p - code, 10 + 9);
}

static void operations_between_registers(void **state)
{
    (void)state;
    for (unsigned dst = 0; dst < 16; dst++) {
        for (unsigned src = 0; src < 16; src++) {
            struct emit e = begin();
            struct decoded i;

            e_mov_rr(&e, dst, src);
            i = decode(&e, ZYDIS_MNEMONIC_MOV);
            is_reg(&i.op[0], dst, true);
            is_reg(&i.op[1], src, true);
            e = begin();
            e_mov32_rr(&e, dst, src);
            i = decode(&e, ZYDIS_MNEMONIC_MOV);
            is_reg(&i.op[0], dst, false);
            is_reg(&i.op[1], src, false);
        }
    }
}

static void alu_with_immediates(void **state)
{
    static const ZydisMnemonic group1[] = {
        ZYDIS_MNEMONIC_ADD, ZYDIS_MNEMONIC_OR,  ZYDIS_MNEMONIC_ADC,
        ZYDIS_MNEMONIC_SBB, ZYDIS_MNEMONIC_AND, ZYDIS_MNEMONIC_SUB,
        ZYDIS_MNEMONIC_XOR, ZYDIS_MNEMONIC_CMP};
    static const int32_t imms[] = {0,   1,    127,       128,
                                   -1,  -128, -129,      0x12345,
                                   255, 4096, INT32_MAX, INT32_MIN};

    (void)state;
    for (unsigned ext = 0; ext < ARRAY_LEN(group1); ext++) {
        for (size_t n = 0; n < ARRAY_LEN(imms); n++) {
            struct emit e = begin();
            unsigned r = (ext * 5 + (unsigned)n) & 15;
            struct decoded i;

            e_alu_imm(&e, ext, 1, r, imms[n]);
            i = decode(&e, group1[ext]);
            is_reg(&i.op[0], r, true);
            assert_true(i.op[1].imm.value.s == imms[n]);
        }
    }
    for (unsigned r = 0; r < 16; r++) {
        struct emit e = begin();
        struct decoded i;

        e_shr_imm(&e, 1, r, 12);
        i = decode(&e, ZYDIS_MNEMONIC_SHR);
        is_reg(&i.op[0], r, true);
        assert_int_equal(i.op[1].imm.value.u, 12);
    }
}

static void check_lea(unsigned base, unsigned idx, unsigned scale, int32_t disp)
{
    struct emit e = begin();
    struct decoded i;

    e_lea(&e, 1, R_T1, e_at_idx(base, idx, scale, disp));
    i = decode(&e, ZYDIS_MNEMONIC_LEA);
    is_reg(&i.op[0], R_T1, true);
    assert_int_equal(i.op[1].mem.base,
                     base == R_NONE ? ZYDIS_REGISTER_NONE : gpr(base, true));
    assert_int_equal(i.op[1].mem.index,
                     idx == R_NONE ? ZYDIS_REGISTER_NONE : gpr(idx, true));
    if (idx != R_NONE)
        assert_int_equal(i.op[1].mem.scale, scale);
    assert_true(i.op[1].mem.disp.value == disp);
}

/* RBP and R13 have no form without displacement, RSP and R12 none without a
 * SIB byte, RSP is no index. */
static void every_address_form(void **state)
{
    static const int32_t disps[] = {0,    1,    -1,        127,      128,
                                    -128, -129, INT32_MAX, INT32_MIN};
    static const unsigned regs[] = {0, 1,  2,  3,  4,  5,  6,  7,     8,
                                    9, 10, 11, 12, 13, 14, 15, R_NONE};

    (void)state;
    for (size_t b = 0; b < ARRAY_LEN(regs); b++)
        for (size_t x = 0; x < ARRAY_LEN(regs); x++)
            for (unsigned scale = 1; scale <= 8; scale *= 2)
                for (size_t d = 0; d < ARRAY_LEN(disps); d++)
                    if (regs[x] != R_SP)
                        check_lea(regs[b], regs[x], scale, disps[d]);
}

static void tables_are_indexed_by_words(void **state)
{
    (void)state;
    for (unsigned r = 0; r < 16; r++) {
        struct emit e = begin();
        struct decoded i;

        if (r == R_SP)
            continue;
        e_op_gs_idx8(&e, 0x8b, 15 - r, r, 0x18000);
        i = decode(&e, ZYDIS_MNEMONIC_MOV);
        is_reg(&i.op[0], 15 - r, true);
        assert_int_equal(i.op[1].mem.segment, ZYDIS_REGISTER_GS);
        assert_int_equal(i.op[1].mem.base, ZYDIS_REGISTER_NONE);
        assert_int_equal(i.op[1].mem.index, gpr(r, true));
        assert_int_equal(i.op[1].mem.scale, 8);
        assert_int_equal(i.op[1].mem.disp.value, 0x18000);
    }
}

static void jumps_go_where_they_are_patched_to(void **state)
{
    static const ZydisMnemonic jcc[] = {
        ZYDIS_MNEMONIC_JO,  ZYDIS_MNEMONIC_JNO,  ZYDIS_MNEMONIC_JB,
        ZYDIS_MNEMONIC_JNB, ZYDIS_MNEMONIC_JZ,   ZYDIS_MNEMONIC_JNZ,
        ZYDIS_MNEMONIC_JBE, ZYDIS_MNEMONIC_JNBE, ZYDIS_MNEMONIC_JS,
        ZYDIS_MNEMONIC_JNS, ZYDIS_MNEMONIC_JP,   ZYDIS_MNEMONIC_JNP,
        ZYDIS_MNEMONIC_JL,  ZYDIS_MNEMONIC_JNL,  ZYDIS_MNEMONIC_JLE,
        ZYDIS_MNEMONIC_JNLE};
    struct emit e = begin();

    (void)state;
    e_patch(e_jmp32(&e), code + 1);
    assert_true(decode(&e, ZYDIS_MNEMONIC_JMP).op[0].imm.value.s == -4);
    e = begin();
    e_patch(e_call32(&e), code + 37);
    assert_true(decode(&e, ZYDIS_MNEMONIC_CALL).op[0].imm.value.s == 32);
    for (unsigned cc = CC_O; cc <= CC_G; cc++) {
        e = begin();
        e_patch(e_jcc32(&e, cc), code);
        assert_true(decode(&e, jcc[cc]).op[0].imm.value.s == -6);
    }
}

static void jumps_go_through_gs_slots(void **state)
{
    struct emit e = begin();
    struct decoded i;

    (void)state;
    e_jmp_gs(&e, 0x1140);
    i = decode(&e, ZYDIS_MNEMONIC_JMP);
    is_gs(&i.op[0], 0x1140, 64);
    e = begin();
    e_call_gs(&e, 0x1100);
    i = decode(&e, ZYDIS_MNEMONIC_CALL);
    is_gs(&i.op[0], 0x1100, 64);
}

/* A rel32 that is patched under a running CPU must not straddle a word. */
static void rel32s_are_aligned(void **state)
{
    (void)state;
    for (unsigned start = 0; start < 8; start++) {
        for (unsigned opcode = 1; opcode <= 2; opcode++) {
            struct emit e = begin();

            e.p += start;
            e_align_rel32(&e, opcode);
            assert_int_equal(((uintptr_t)e.p + opcode) % 4, 0);
            assert_true(e.p - (code + start) < 4);
        }
    }
}

static void a_full_buffer_is_remembered_and_not_overrun(void **state)
{
    uint8_t buf[16];

    (void)state;
    for (unsigned room = 0; room < 12; room++) {
        struct emit e = {.p = buf, .end = buf + room};

        memset(buf, 0xcc, sizeof(buf));
        e_load_gs(&e, R_15, 0x1128); /* 9 bytes */
        e_u64(&e, 0);
        assert_true(e.full);
        assert_true(e.p <= e.end);
        for (unsigned i = room; i < sizeof(buf); i++)
            assert_int_equal(buf[i], 0xcc);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_and_stores_of_gs_slots),
        cmocka_unit_test(immediates_take_the_shortest_form),
        cmocka_unit_test(immediates_go_to_gs_slots),
        cmocka_unit_test(operations_between_registers),
        cmocka_unit_test(alu_with_immediates),
        cmocka_unit_test(every_address_form),
        cmocka_unit_test(tables_are_indexed_by_words),
        cmocka_unit_test(jumps_go_where_they_are_patched_to),
        cmocka_unit_test(jumps_go_through_gs_slots),
        cmocka_unit_test(rel32s_are_aligned),
        cmocka_unit_test(a_full_buffer_is_remembered_and_not_overrun),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
