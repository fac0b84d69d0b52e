#include "gdb/regs.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum reg_kind {
    REG_U64,  /* at off of struct x86_state */
    REG_ADDR, /* the same, and must be canonical */
    REG_RO,   /* the same, and cannot be written */
    REG_FLAGS,
    REG_SEL, /* off: enum x86_sreg */
    REG_X87, /* this and the next two: at off of the XSAVE area */
    REG_SSE,
    REG_AVX,
    REG_X87_16,  /* 16 bits shown as 32 */
    REG_X87_OP,  /* 11 bits */
    REG_X87_TAGS /* one bit a register there, two bits here */
};

/* One register, or count alike ones in a row: prefix, number, suffix. */
struct reg_row {
    const char *feature; /* set where a feature begins */
    const char *types;   /* its own types, NULL if none */
    const char *name, *suffix;
    const char *type;
    uint16_t off;
    uint8_t kind, bytes, count;
};

#define ST(member) ((uint16_t)offsetof(struct x86_state, member))
#define GPR(name, reg)                                                         \
    {                                                                          \
        NULL, NULL, (name), NULL, "int64", ST(gpr[reg]), REG_U64, 8, 1         \
    }
#define SEL(name, reg)                                                         \
    {                                                                          \
        NULL, NULL, (name), NULL, "int32", (reg), REG_SEL, 4, 1                \
    }
#define REG(name, type, off, kind, bytes)                                      \
    {                                                                          \
        NULL, NULL, (name), NULL, (type), (off), (kind), (bytes), 1            \
    }

/* XSAVE area, legacy region and header (SDM vol. 1, 10.5.1 and 13.4). */
enum {
    XS_FCW = 0,
    XS_FSW = 2,
    XS_FTW = 4,
    XS_FOP = 6,
    XS_FIP = 8,
    XS_FDP = 16,
    XS_MXCSR = 24,
    XS_ST = 32,
    XS_XMM = 160,
    XS_BV = 512,
    XS_YMMH = 576
};

/* Flags types, so that gdb prints names of bits; vector types likewise. */
static const char core_types[] = "<flags id=\"i386_eflags\" size=\"4\">"
                                 "<field name=\"CF\" start=\"0\" end=\"0\"/>"
                                 "<field name=\"\" start=\"1\" end=\"1\"/>"
                                 "<field name=\"PF\" start=\"2\" end=\"2\"/>"
                                 "<field name=\"AF\" start=\"4\" end=\"4\"/>"
                                 "<field name=\"ZF\" start=\"6\" end=\"6\"/>"
                                 "<field name=\"SF\" start=\"7\" end=\"7\"/>"
                                 "<field name=\"TF\" start=\"8\" end=\"8\"/>"
                                 "<field name=\"IF\" start=\"9\" end=\"9\"/>"
                                 "<field name=\"DF\" start=\"10\" end=\"10\"/>"
                                 "<field name=\"OF\" start=\"11\" end=\"11\"/>"
                                 "<field name=\"NT\" start=\"14\" end=\"14\"/>"
                                 "<field name=\"RF\" start=\"16\" end=\"16\"/>"
                                 "<field name=\"VM\" start=\"17\" end=\"17\"/>"
                                 "<field name=\"AC\" start=\"18\" end=\"18\"/>"
                                 "<field name=\"VIF\" start=\"19\" end=\"19\"/>"
                                 "<field name=\"VIP\" start=\"20\" end=\"20\"/>"
                                 "<field name=\"ID\" start=\"21\" end=\"21\"/>"
                                 "</flags>";

static const char sse_types[] =
    "<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/>"
    "<vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"
    "<vector id=\"v16i8\" type=\"int8\" count=\"16\"/>"
    "<vector id=\"v8i16\" type=\"int16\" count=\"8\"/>"
    "<vector id=\"v4i32\" type=\"int32\" count=\"4\"/>"
    "<vector id=\"v2i64\" type=\"int64\" count=\"2\"/>"
    "<union id=\"vec128\">"
    "<field name=\"v4_float\" type=\"v4f\"/>"
    "<field name=\"v2_double\" type=\"v2d\"/>"
    "<field name=\"v16_int8\" type=\"v16i8\"/>"
    "<field name=\"v8_int16\" type=\"v8i16\"/>"
    "<field name=\"v4_int32\" type=\"v4i32\"/>"
    "<field name=\"v2_int64\" type=\"v2i64\"/>"
    "<field name=\"uint128\" type=\"uint128\"/>"
    "</union>";

static const struct reg_row rows[] = {
    {"org.gnu.gdb.i386.core", core_types, "rax", NULL, "int64",
     ST(gpr[X86_RAX]), REG_U64, 8, 1},
    GPR("rbx", X86_RBX),
    GPR("rcx", X86_RCX),
    GPR("rdx", X86_RDX),
    GPR("rsi", X86_RSI),
    GPR("rdi", X86_RDI),
    REG("rbp", "data_ptr", ST(gpr[X86_RBP]), REG_U64, 8),
    REG("rsp", "data_ptr", ST(gpr[X86_RSP]), REG_U64, 8),
    GPR("r8", X86_R8),
    GPR("r9", X86_R9),
    GPR("r10", X86_R10),
    GPR("r11", X86_R11),
    GPR("r12", X86_R12),
    GPR("r13", X86_R13),
    GPR("r14", X86_R14),
    GPR("r15", X86_R15),
    REG("rip", "code_ptr", ST(rip), REG_ADDR, 8),
    REG("eflags", "i386_eflags", ST(rflags), REG_FLAGS, 4),
    SEL("cs", X86_CS),
    SEL("ss", X86_SS),
    SEL("ds", X86_DS),
    SEL("es", X86_ES),
    SEL("fs", X86_FS),
    SEL("gs", X86_GS),
    {NULL, NULL, "st", NULL, "i387_ext", XS_ST, REG_X87, 10, 8},
    REG("fctrl", "int", XS_FCW, REG_X87_16, 4),
    REG("fstat", "int", XS_FSW, REG_X87_16, 4),
    REG("ftag", "int", XS_FTW, REG_X87_TAGS, 4),
    REG("fiseg", "int", XS_FIP + 4, REG_X87_16, 4),
    REG("fioff", "int", XS_FIP, REG_X87, 4),
    REG("foseg", "int", XS_FDP + 4, REG_X87_16, 4),
    REG("fooff", "int", XS_FDP, REG_X87, 4),
    REG("fop", "int", XS_FOP, REG_X87_OP, 4),
    {"org.gnu.gdb.i386.sse", sse_types, "xmm", NULL, "vec128", XS_XMM, REG_SSE,
     16, 16},
    REG("mxcsr", "int", XS_MXCSR, REG_SSE, 4),
    {"org.gnu.gdb.i386.avx", NULL, "ymm", "h", "uint128", XS_YMMH, REG_AVX, 16,
     16},
    {"org.gnu.gdb.i386.segments", NULL, "fs_base", NULL, "int64",
     ST(seg[X86_FS].base), REG_ADDR, 8, 1},
    REG("gs_base", "int64", ST(seg[X86_GS].base), REG_ADDR, 8),
    {"husk.system", NULL, "k_gs_base", NULL, "int64", ST(msr.kernel_gs_base),
     REG_ADDR, 8, 1},
    REG("cr0", "int64", ST(cr0), REG_RO, 8),
    REG("cr2", "int64", ST(cr2), REG_U64, 8),
    REG("cr3", "int64", ST(cr3), REG_RO, 8),
    REG("cr4", "int64", ST(cr4), REG_RO, 8),
    REG("cr8", "int64", ST(cr8), REG_RO, 8),
    REG("efer", "int64", ST(msr.efer), REG_RO, 8),
};

/* The row of register n, and in *off its place. NULL if there is none. */
static const struct reg_row *reg_row(unsigned n, size_t *off)
{
    unsigned step;
    size_t i;

    for (i = 0; i < ARRAY_LEN(rows); i++) {
        const struct reg_row *row = &rows[i];

        if (n < row->count) {
            step = row->kind == REG_X87 ? 16 : row->bytes;
            *off = row->off + (size_t)n * step;
            return row;
        }
        n -= row->count;
    }
    return NULL;
}

unsigned gdb_regs_count(void)
{
    unsigned n = 0;
    size_t i;

    for (i = 0; i < ARRAY_LEN(rows); i++)
        n += rows[i].count;
    return n;
}

size_t gdb_reg_size(unsigned n)
{
    size_t off;
    const struct reg_row *row = reg_row(n, &off);

    return row ? row->bytes : 0;
}

/* --- The XSAVE area ----------------------------------------------------- */

/* The XSTATE_BV bit that a register is under. MXCSR is under none: it is valid
 * always (SDM vol. 1, 13.8.1). */
static uint64_t xsave_bit(const struct reg_row *row)
{
    if (row->kind == REG_AVX)
        return X86_XCR0_AVX;
    if (row->kind == REG_SSE)
        return row->off == XS_MXCSR ? 0 : X86_XCR0_SSE;
    return X86_XCR0_X87;
}

static uint64_t xsave_bv(const struct x86_state *st)
{
    uint64_t bv;

    memcpy(&bv, st->xsave + XS_BV, sizeof(bv));
    return bv;
}

/* A component whose bit is clear has its initial values, whatever its bytes
 * are: put these there and set the bit. */
static void xsave_materialise(struct x86_state *st, uint64_t bit)
{
    static const uint8_t fcw[2] = {0x7f, 0x03}; /* after FNINIT */
    uint64_t bv = xsave_bv(st) | bit;

    if (bv == xsave_bv(st))
        return;
    switch (bit) {
    case X86_XCR0_X87:
        memset(st->xsave, 0, XS_MXCSR);
        memset(st->xsave + XS_ST, 0, XS_XMM - XS_ST);
        memcpy(st->xsave + XS_FCW, fcw, sizeof(fcw));
        break;
    case X86_XCR0_SSE: memset(st->xsave + XS_XMM, 0, 256); break;
    default: memset(st->xsave + XS_YMMH, 0, 256); break;
    }
    memcpy(st->xsave + XS_BV, &bv, sizeof(bv));
}

/* Tag of a register that is in use (SDM vol. 1, 8.1.7). */
static unsigned x87_tag(const uint8_t *value)
{
    uint16_t exponent;
    uint64_t mantissa;

    memcpy(&mantissa, value, sizeof(mantissa));
    memcpy(&exponent, value + 8, sizeof(exponent));
    exponent &= 0x7fff;
    if (exponent == 0 && mantissa == 0)
        return 1; /* zero */
    return exponent == 0 || exponent == 0x7fff || mantissa >> 63 == 0 ? 2 : 0;
}

/* Bits of FTW count physical registers, the values lie in stack order. */
static uint16_t x87_tags(const uint8_t *area)
{
    unsigned top = (area[XS_FSW + 1] >> 3) & 7;
    uint16_t tags = 0;
    unsigned i;

    for (i = 0; i < 8; i++) {
        const uint8_t *value = area + XS_ST + (size_t)((i - top) & 7) * 16;
        unsigned tag = (area[XS_FTW] >> i) & 1 ? x87_tag(value) : 3;

        tags |= (uint16_t)(tag << (2 * i));
    }
    return tags;
}

static void x87_set_tags(uint8_t *area, uint16_t tags)
{
    unsigned i;

    area[XS_FTW] = 0;
    for (i = 0; i < 8; i++)
        if (((tags >> (2 * i)) & 3) != 3)
            area[XS_FTW] |= (uint8_t)(1u << i);
}

static void xsave_get(const struct x86_state *st, const struct reg_row *row,
                      size_t off, uint8_t *buf)
{
    uint64_t bit = xsave_bit(row);
    uint16_t val;

    if (bit & ~xsave_bv(st)) {
        struct x86_state init = {0};

        xsave_materialise(&init, bit);
        xsave_get(&init, row, off, buf);
        return;
    }
    memset(buf, 0, row->bytes);
    switch (row->kind) {
    case REG_X87_16: memcpy(buf, st->xsave + off, 2); break;
    case REG_X87_OP:
        memcpy(buf, st->xsave + off, 2);
        buf[1] &= 7;
        break;
    case REG_X87_TAGS:
        val = x87_tags(st->xsave);
        memcpy(buf, &val, sizeof(val));
        break;
    default: memcpy(buf, st->xsave + off, row->bytes); break;
    }
}

static int xsave_set(struct x86_state *st, const struct reg_row *row,
                     size_t off, const uint8_t *buf)
{
    uint16_t val;

    memcpy(&val, buf, sizeof(val));
    /* Bits 16 up are reserved and would make a restore fault. */
    if (row->off == XS_MXCSR && (buf[2] || buf[3]))
        return -EINVAL;
    if (xsave_bit(row))
        xsave_materialise(st, xsave_bit(row));
    switch (row->kind) {
    case REG_X87_16: memcpy(st->xsave + off, buf, 2); break;
    case REG_X87_OP:
        val &= 0x7ff;
        memcpy(st->xsave + off, &val, sizeof(val));
        break;
    case REG_X87_TAGS: x87_set_tags(st->xsave, val); break;
    default: memcpy(st->xsave + off, buf, row->bytes); break;
    }
    return 0;
}

/* --- The others --------------------------------------------------------- */

#define FLAGS_WRITABLE                                                         \
    (X86_FLAGS_ARITH | X86_FLAGS_TF | X86_FLAGS_IF | X86_FLAGS_DF |            \
     X86_FLAGS_IOPL | X86_FLAGS_NT | X86_FLAGS_RF | X86_FLAGS_AC |             \
     X86_FLAGS_ID)

static int flags_set(struct x86_state *st, uint32_t val)
{
    if ((val ^ st->rflags) & (X86_FLAGS_VM | X86_FLAGS_VIF | X86_FLAGS_VIP))
        return -EPERM;
    st->rflags = (st->rflags & ~(uint64_t)FLAGS_WRITABLE) |
                 (val & FLAGS_WRITABLE) | X86_FLAGS_FIXED;
    return 0;
}

/* In real and virtual-8086 mode a selector is a base; elsewhere a new one
 * would take a descriptor with checks that a debugger has no part in. */
static int sel_set(struct x86_state *st, size_t reg, uint32_t val)
{
    if (st->seg[reg].sel == val)
        return 0;
    if (val > UINT16_MAX)
        return -EINVAL;
    if ((st->cr0 & X86_CR0_PE) && !(st->rflags & X86_FLAGS_VM))
        return -EPERM;
    st->seg[reg].sel = (uint16_t)val;
    st->seg[reg].base = (uint64_t)val << 4;
    return 0;
}

static bool is_canonical(uint64_t addr)
{
    uint64_t top = addr >> 47;

    return top == 0 || top == UINT64_MAX >> 47;
}

size_t gdb_reg_get(const struct x86_state *st, unsigned n, void *buf)
{
    size_t off;
    const struct reg_row *row = reg_row(n, &off);
    uint32_t sel;

    if (!row)
        return 0;
    switch (row->kind) {
    case REG_U64:
    case REG_ADDR:
    case REG_RO:
    case REG_FLAGS: memcpy(buf, (const uint8_t *)st + off, row->bytes); break;
    case REG_SEL:
        sel = st->seg[off].sel;
        memcpy(buf, &sel, sizeof(sel));
        break;
    default: xsave_get(st, row, off, buf); break;
    }
    return row->bytes;
}

int gdb_reg_set(struct x86_state *st, unsigned n, const void *buf)
{
    size_t off;
    const struct reg_row *row = reg_row(n, &off);
    uint64_t val = 0;

    if (!row)
        return -EINVAL;
    memcpy(&val, buf, row->bytes < 8 ? row->bytes : 8);
    switch (row->kind) {
    case REG_RO:
        return memcmp((uint8_t *)st + off, buf, row->bytes) ? -EPERM : 0;
    case REG_FLAGS: return flags_set(st, (uint32_t)val);
    case REG_SEL: return sel_set(st, off, (uint32_t)val);
    case REG_ADDR:
        if (!is_canonical(val))
            return -EINVAL;
        memcpy((uint8_t *)st + off, &val, sizeof(val));
        return 0;
    case REG_U64: memcpy((uint8_t *)st + off, &val, sizeof(val)); return 0;
    default: return xsave_set(st, row, off, buf);
    }
}

/* --- The description ---------------------------------------------------- */

struct text {
    char *buf;
    size_t size, len;
};

static void text_add(struct text *t, const char *fmt, ...) PRINTF(2, 3);

static void text_add(struct text *t, const char *fmt, ...)
{
    bool room = t->len < t->size;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(room ? t->buf + t->len : NULL, room ? t->size - t->len : 0,
                  fmt, ap);
    va_end(ap);
    t->len += n > 0 ? (size_t)n : 0;
}

static void xml_row(struct text *t, const struct reg_row *row)
{
    const char *suffix = row->suffix ? row->suffix : "";
    unsigned i;

    for (i = 0; i < row->count; i++) {
        text_add(t, "<reg name=\"%s", row->name);
        if (row->count > 1)
            text_add(t, "%u%s", i, suffix);
        text_add(t, "\" bitsize=\"%u\" type=\"%s\"/>", row->bytes * 8u,
                 row->type);
    }
}

size_t gdb_regs_xml(char *buf, size_t size)
{
    struct text t = {.size = size};
    size_t i;

    t.buf = buf;
    text_add(&t, "<?xml version=\"1.0\"?>"
                 "<!DOCTYPE target SYSTEM \"gdb-target.dtd\">"
                 "<target><architecture>i386:x86-64</architecture>");
    for (i = 0; i < ARRAY_LEN(rows); i++) {
        if (rows[i].feature)
            text_add(&t, "%s<feature name=\"%s\">%s", i ? "</feature>" : "",
                     rows[i].feature, rows[i].types ? rows[i].types : "");
        xml_row(&t, &rows[i]);
    }
    text_add(&t, "</feature></target>");
    return t.len;
}
