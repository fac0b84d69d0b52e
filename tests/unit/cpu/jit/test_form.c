/* Forms (form.c, form_make.c): a known one says what the decoder says. */
#include "cpu/jit/form.h"

#include <string.h>

#include "cpu/jit/jit.h"
#include "tests/unit/test.h"

#define LONG0 (2u | KEY_CPL0 | KEY_OSXSAVE | KEY_FSGSBASE)
#define LONG3 (2u | KEY_OSXSAVE | KEY_FSGSBASE)
#define PROT0 (1u | KEY_CPL0 | KEY_SS32 | KEY_OSXSAVE)
#define REAL  (0u | KEY_REAL | KEY_SS16 | KEY_CPL0)

static struct cpuid_model model;

static int setup(void **state)
{
    struct err err = {0};

    *state = form_cache_new(&model);
    return *state ? cpuid_model_init(&model, "husk-v3", 1, &err) : -1;
}

static int teardown(void **state)
{
    form_cache_free(*state);
    return 0;
}

static uint32_t next(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 32);
}

static int64_t displacement(const struct insn *in)
{
    for (unsigned i = 0; i < in->d.operand_count_visible; i++)
        if (in->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
            in->op[i].mem.disp.has_displacement)
            return in->op[i].mem.disp.value;
    return 0;
}

/* The first immediate operand, if there is one. */
static bool immediate(const struct insn *in, int64_t *v)
{
    for (unsigned i = 0; i < in->d.operand_count_visible; i++)
        if (in->op[i].type == ZYDIS_OPERAND_TYPE_IMMEDIATE &&
            in->d.raw.imm[0].size) {
            *v = in->op[i].imm.value.s;
            return true;
        }
    return false;
}

static void compare(const struct ginsn *g, const struct insn *in,
                    const uint8_t *bytes)
{
    int64_t imm;

    if (g->f->class != in->class)
        fail_msg("%02x %02x %02x %02x %02x: class %d, not %d", bytes[0],
                 bytes[1], bytes[2], bytes[3], bytes[4], g->f->class,
                 (int)in->class);
    assert_int_equal(g->f->length, in->d.length);
    if (!in->d.length)
        return;
    assert_int_equal(g->f->mnemonic, in->d.mnemonic);
    assert_int_equal(g->f->opcode, in->d.opcode);
    assert_int_equal(g->f->operand_width, in->d.operand_width);
    assert_int_equal(g->f->address_width, in->d.address_width);
    assert_int_equal(g->f->flags_read, in->flags_read);
    if (g->flags_kill != in->flags_kill)
        fail_msg("%02x %02x %02x %02x: flags %x, not %x", bytes[0], bytes[1],
                 bytes[2], bytes[3], g->flags_kill, in->flags_kill);
    assert_int_equal(g->f->ends_block, insn_ends_block(in));
    assert_int_equal(g->f->mem, in->mem);
    if (in->class != IC_UD && g->disp != displacement(in))
        fail_msg("%02x %02x %02x %02x %02x: displacement %llx, not %llx",
                 bytes[0], bytes[1], bytes[2], bytes[3], bytes[4],
                 (unsigned long long)g->disp,
                 (unsigned long long)displacement(in));
    if (in->class != IC_UD && immediate(in, &imm) && g->imm != imm)
        fail_msg("%02x %02x %02x %02x %02x: immediate %llx, not %llx", bytes[0],
                 bytes[1], bytes[2], bytes[3], bytes[4],
                 (unsigned long long)g->imm, (unsigned long long)imm);
    assert_memory_equal(g->bytes, bytes, in->d.length);
}

/* Bytes as code has them: often a prefix, an escape, a ModRM with SIB. */
static void random_bytes(uint8_t *b, uint64_t *seed)
{
    static const uint8_t first[] = {0x66, 0x67, 0xf2, 0xf3, 0x48, 0x41,
                                    0x0f, 0xc4, 0xc5, 0x65, 0xf0, 0x2e};
    unsigned n = 0;

    for (unsigned i = 0; i < 16; i++)
        b[i] = (uint8_t)next(seed);
    while (n < 3 && next(seed) % 3 == 0)
        b[n++] = first[next(seed) % ARRAY_LEN(first)];
    if (next(seed) % 3 == 0)
        b[n++] = 0x0f;
    if (next(seed) % 8 == 0) /* another immediate or displacement of a kind */
        b[n + 1] = (uint8_t)(next(seed) & 0x3f);
}

static void a_known_form_is_what_the_decoder_says(void **state)
{
    static const uint32_t keys[] = {LONG0, LONG3, PROT0, REAL,
                                    REAL & ~(uint32_t)KEY_REAL};
    struct form_cache *c = *state;
    uint64_t seed = 1;

    for (unsigned i = 0; i < 400000; i++) {
        uint32_t key = keys[next(&seed) % ARRAY_LEN(keys)];
        uint8_t bytes[16];
        size_t len = next(&seed) % 4 ? 15 : next(&seed) % 16;
        struct insn in = {0};
        struct ginsn g;
        int rc;

        random_bytes(bytes, &seed);
        if (form_cache_full(c, 2))
            form_cache_reset(c);
        rc = insn_decode(&in, bytes, len, key, &model, 0x1000);
        assert_int_equal(form_decode(c, &g, bytes, len, key, 0x1000), rc);
        if (rc < 0)
            continue;
        compare(&g, &in, bytes);
        /* And once more, now that its form is there; others' fields differ. */
        assert_int_equal(form_decode(c, &g, bytes, len, key, 0x1000), rc);
        compare(&g, &in, bytes);
    }
}

static void fields_are_each_ones_own(void **state)
{
    static const uint8_t one[] = {0x81, 0x43, 0x10, 1, 0, 0, 0};
    static const uint8_t two[] = {0x81, 0x43, 0xf0, 2, 0, 0, 0x80};
    struct ginsn a, b;

    form_cache_reset(*state);
    assert_int_equal(form_decode(*state, &a, one, sizeof(one), LONG3, 0x1000),
                     0);
    assert_int_equal(form_decode(*state, &b, two, sizeof(two), LONG3, 0x2000),
                     0);
    assert_ptr_equal(a.f, b.f);
    assert_int_equal(a.disp, 0x10);
    assert_int_equal(a.imm, 1);
    assert_int_equal(b.disp, -0x10);
    assert_int_equal(b.imm, (int32_t)0x80000002);
    assert_int_equal(b.rip, 0x2000);
}

/* Of a shift by an immediate all but the count is the form's. */
static void a_count_of_zero_keeps_the_flags(void **state)
{
    static const uint8_t by_one[] = {0x48, 0xc1, 0xe0, 1};
    static const uint8_t by_zero[] = {0x48, 0xc1, 0xe0, 0};
    static const uint8_t by_64[] = {0x48, 0xc1, 0xe0, 64};
    struct ginsn in;

    form_cache_reset(*state);
    assert_int_equal(form_decode(*state, &in, by_zero, 4, LONG3, 0), 0);
    assert_int_equal(in.flags_kill, 0);
    assert_int_equal(form_decode(*state, &in, by_one, 4, LONG3, 0), 0);
    assert_int_equal(in.flags_kill, X86_FLAGS_ARITH);
    assert_int_equal(form_decode(*state, &in, by_64, 4, LONG3, 0), 0);
    assert_int_equal(in.flags_kill, 0);
}

static void a_full_cache_is_said_to_be(void **state)
{
    struct form_cache *c = *state;
    struct ginsn in;
    unsigned n = 0;

    form_cache_reset(c);
    for (; !form_cache_full(c, 1); n++) {
        uint8_t b[] = {0x66, 0x0f, 0xd8, (uint8_t)n, (uint8_t)n, 0, 0, 0, 0};

        b[2] = (uint8_t)(0x60 + n / 256 % 32);
        b[0] = n & 1 ? 0x66 : 0x2e;
        (void)form_decode(c, &in, b, sizeof(b), n & 2 ? LONG0 : LONG3, 0);
        assert_true(n < 1000000);
    }
    form_cache_reset(c);
    assert_false(form_cache_full(c, 1000));
}

static void a_look_ahead_finds_dead_flags(void **state)
{
    static const uint8_t kills[] = {0x48, 0x89, 0xd8, 0x48, 0x01, 0xd8};
    static const uint8_t reads[] = {0x48, 0x89, 0xd8, 0x74, 0x00};
    static const uint8_t system[] = {0x0f, 0x05};
    struct form_cache *c = *state;

    form_cache_reset(c);
    assert_int_equal(form_peek_live(c, kills, sizeof(kills), LONG3), 0);
    assert_true(form_peek_live(c, reads, sizeof(reads), LONG3) & X86_FLAGS_ZF);
    assert_int_equal(form_peek_live(c, system, sizeof(system), LONG3),
                     X86_FLAGS_ARITH);
    assert_int_equal(form_peek_live(c, kills, 0, LONG3), X86_FLAGS_ARITH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_known_form_is_what_the_decoder_says),
        cmocka_unit_test(fields_are_each_ones_own),
        cmocka_unit_test(a_count_of_zero_keeps_the_flags),
        cmocka_unit_test(a_full_cache_is_said_to_be),
        cmocka_unit_test(a_look_ahead_finds_dead_flags),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
