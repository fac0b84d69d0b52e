#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gdb/regs.h"
#include "tests/unit/test.h"

/* Numbers of gdb's amd64 layout. */
enum {
    RAX = 0,
    RSI = 4,
    RIP = 16,
    EFLAGS = 17,
    CS = 18,
    ST0 = 24,
    FCTRL = 32,
    FSTAT = 33,
    FTAG = 34,
    XMM0 = 40,
    MXCSR = 56,
    YMM0H = 57,
    FS_BASE = 73,
    K_GS_BASE = 75,
    CR0 = 76,
    NR_REGS = 82
};

static uint64_t get(const struct x86_state *st, unsigned n)
{
    uint8_t buf[GDB_REG_MAX_BYTES] = {0};
    uint64_t val;

    assert_true(gdb_reg_get(st, n, buf) > 0);
    memcpy(&val, buf, sizeof(val));
    return val;
}

static int set(struct x86_state *st, unsigned n, uint64_t val)
{
    uint8_t buf[GDB_REG_MAX_BYTES] = {0};

    memcpy(buf, &val, sizeof(val));
    return gdb_reg_set(st, n, buf);
}

static void registers_have_the_amd64_numbers(void **state)
{
    struct x86_state st = {0};

    (void)state;
    assert_int_equal(gdb_regs_count(), NR_REGS);
    assert_int_equal((int)RIP, (int)GDB_REG_RIP);
    st.gpr[X86_RAX] = 1;
    st.gpr[X86_RSI] = 2;
    st.rip = 3;
    st.seg[X86_CS].sel = 4;
    st.seg[X86_FS].base = 5;
    st.msr.kernel_gs_base = 6;
    st.cr0 = 7;
    assert_int_equal(get(&st, RAX), 1);
    assert_int_equal(get(&st, RSI), 2);
    assert_int_equal(get(&st, RIP), 3);
    assert_int_equal(get(&st, CS), 4);
    assert_int_equal(get(&st, FS_BASE), 5);
    assert_int_equal(get(&st, K_GS_BASE), 6);
    assert_int_equal(get(&st, CR0), 7);
    assert_int_equal(gdb_reg_size(EFLAGS), 4);
    assert_int_equal(gdb_reg_size(ST0), 10);
    assert_int_equal(gdb_reg_size(YMM0H), 16);
    assert_int_equal(gdb_reg_size(NR_REGS), 0);
    assert_int_equal(gdb_reg_size(UINT32_MAX), 0);
}

static void what_was_written_is_read_back(void **state)
{
    struct x86_state st;
    uint8_t in[GDB_REG_MAX_BYTES], out[GDB_REG_MAX_BYTES];
    unsigned n, i;

    (void)state;
    memset(&st, 0, sizeof(st));
    for (i = 0; i < sizeof(in); i++)
        in[i] = (uint8_t)(0x11 + i);
    in[7] = 0; /* canonical */
    in[6] = 0;
    for (n = 0; n < CR0; n++) {
        if (n == EFLAGS || (n >= CS && n < ST0) || (n >= FCTRL && n < XMM0) ||
            n == MXCSR)
            continue;
        assert_int_equal(gdb_reg_set(&st, n, in), 0);
        assert_int_equal(gdb_reg_get(&st, n, out), gdb_reg_size(n));
        assert_memory_equal(in, out, gdb_reg_size(n));
    }
}

static void x87_registers_are_initial_until_written(void **state)
{
    struct x86_state st;
    uint64_t bv;

    (void)state;
    memset(&st, 0, sizeof(st));
    memset(st.xsave, 0xee, 512); /* junk that XSTATE_BV says is not there */
    assert_int_equal(get(&st, FCTRL), 0x37f);
    assert_int_equal(get(&st, FSTAT), 0);
    assert_int_equal(get(&st, FTAG), 0xffff);
    assert_int_equal(get(&st, ST0), 0);
    assert_int_equal(get(&st, XMM0), 0);
    assert_int_equal(set(&st, ST0, 1), 0);
    memcpy(&bv, st.xsave + 512, sizeof(bv));
    assert_int_equal(bv, X86_XCR0_X87);
    assert_int_equal(get(&st, ST0), 1);
    assert_int_equal(get(&st, ST0 + 1), 0);
    assert_int_equal(get(&st, FCTRL), 0x37f);
    assert_int_equal(get(&st, MXCSR) & 0xff, 0xee); /* belongs to no bit */
}

/* Three pushes: top is 5; physical 5, 6, 7 hold st0 = 1.0, st1 = 0, st2 = an
 * infinity. */
static void the_tag_word_counts_physical_registers(void **state)
{
    static const uint8_t one[10] = {[7] = 0x80, [8] = 0xff, [9] = 0x3f};
    static const uint8_t zero[10] = {0};
    static const uint8_t inf[10] = {[7] = 0x80, [8] = 0xff, [9] = 0x7f};
    struct x86_state st;

    (void)state;
    memset(&st, 0, sizeof(st));
    assert_int_equal(set(&st, FSTAT, 5 << 11), 0);
    assert_int_equal(gdb_reg_set(&st, ST0, one), 0);
    assert_int_equal(gdb_reg_set(&st, ST0 + 1, zero), 0);
    assert_int_equal(gdb_reg_set(&st, ST0 + 2, inf), 0);
    assert_int_equal(set(&st, FTAG, 0x03ff), 0);
    assert_int_equal(st.xsave[4], 0xe0);
    assert_int_equal(get(&st, FTAG), 0x93ff);
}

static void control_registers_cannot_be_written(void **state)
{
    struct x86_state st = {.cr0 = X86_CR0_PE};
    unsigned n;

    (void)state;
    for (n = CR0; n < NR_REGS; n++) {
        if (n == CR0 + 1)
            continue; /* CR2 */
        assert_int_equal(set(&st, n, get(&st, n)), 0);
        assert_int_equal(set(&st, n, get(&st, n) ^ 1), -EPERM);
    }
    assert_int_equal(st.cr0, X86_CR0_PE);
}

static void selectors_change_in_real_mode_only(void **state)
{
    struct x86_state st = {0};

    (void)state;
    assert_int_equal(set(&st, CS, 0x1234), 0);
    assert_int_equal(st.seg[X86_CS].base, 0x12340);
    assert_int_equal(set(&st, CS, 0x12345), -EINVAL);
    st.cr0 = X86_CR0_PE;
    assert_int_equal(set(&st, CS, 0x1234), 0);
    assert_int_equal(set(&st, CS, 8), -EPERM);
    st.rflags = X86_FLAGS_VM;
    assert_int_equal(set(&st, CS, 8), 0);
}

static void values_that_no_cpu_holds_are_refused(void **state)
{
    struct x86_state st = {.rflags = X86_FLAGS_FIXED};

    (void)state;
    assert_int_equal(set(&st, RIP, 0x800000000000), -EINVAL);
    assert_int_equal(set(&st, RIP, 0xffff800000000000), 0);
    assert_int_equal(set(&st, MXCSR, 0x10000), -EINVAL);
    assert_int_equal(set(&st, MXCSR, 0x1f80), 0);
    assert_int_equal(set(&st, EFLAGS, X86_FLAGS_VM), -EPERM);
    assert_int_equal(
        set(&st, EFLAGS, 0xfffdffff & ~X86_FLAGS_VIF & ~X86_FLAGS_VIP), 0);
    assert_int_equal(st.rflags, 0x257fd7);
    assert_int_equal(set(&st, NR_REGS, 0), -EINVAL);
}

static void the_description_names_every_register(void **state)
{
    size_t len = gdb_regs_xml(NULL, 0);
    char *xml = malloc(len + 1);
    const char *p;
    unsigned n = 0;

    (void)state;
    assert_non_null(xml);
    assert_int_equal(gdb_regs_xml(xml, len + 1), len);
    assert_int_equal(strlen(xml), len);
    for (p = xml; (p = strstr(p, "<reg name=")); p++)
        n++;
    assert_int_equal(n, gdb_regs_count());
    assert_non_null(strstr(xml, "\"ymm15h\" bitsize=\"128\""));
    free(xml);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registers_have_the_amd64_numbers),
        cmocka_unit_test(what_was_written_is_read_back),
        cmocka_unit_test(x87_registers_are_initial_until_written),
        cmocka_unit_test(the_tag_word_counts_physical_registers),
        cmocka_unit_test(control_registers_cannot_be_written),
        cmocka_unit_test(selectors_change_in_real_mode_only),
        cmocka_unit_test(values_that_no_cpu_holds_are_refused),
        cmocka_unit_test(the_description_names_every_register),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
