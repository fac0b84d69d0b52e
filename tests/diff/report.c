#include "report.h"

#include <Zydis/Zydis.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "compare.h"
#include "image.h"
#include "shared.h"
#include "state.h"

/*
 * Mismatches for people: what ran, what should have come out, what did.
 */

static const char *const gpr_name[16] = {
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
    "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

void report_code(const struct diff_case *c)
{
    ZydisMachineMode mode = c->bits == 64   ? ZYDIS_MACHINE_MODE_LONG_64
                            : c->bits == 32 ? ZYDIS_MACHINE_MODE_LONG_COMPAT_32
                                            : ZYDIS_MACHINE_MODE_LONG_COMPAT_16;
    ZydisDisassembledInstruction dis;
    unsigned off = 0;

    while (off < c->code_len) {
        unsigned len = 1;
        bool ok = ZYAN_SUCCESS(
            ZydisDisassembleIntel(mode, c->in.rip + off, c->code + off,
                                  (ZyanUSize)(c->code_len - off), &dis));

        if (ok)
            len = dis.info.length;
        else if (c->kind == DIFF_ONE)
            len = c->code_len;
        (void)printf("  %08" PRIx64 "  ", c->in.rip + off);
        for (unsigned i = 0; i < len; i++)
            (void)printf("%02x", c->code[off + i]);
        (void)printf("  %s\n", ok ? dis.text : "(undefined)");
        off += len;
    }
}

static void print_bytes(const char *name, const uint8_t *p, unsigned len)
{
    (void)printf("    %-8s ", name);
    for (unsigned i = len; i-- > 0;)
        (void)printf("%02x%s", p[i], i && i % 8 == 0 ? "_" : "");
    (void)printf("\n");
}

void report_input(const struct diff_case *c)
{
    const uint8_t *data = c->patch_data;
    char name[16];

    for (unsigned i = 0; i < 16; i++)
        (void)printf("    %-4s %016" PRIx64 "%s", gpr_name[i], c->in.gpr[i],
                     i % 3 == 2 ? "\n" : "");
    (void)printf("\n    cs %" PRIx64 " ss %" PRIx64 " ds %" PRIx64
                 " es %" PRIx64 " fs %" PRIx64 " gs %" PRIx64,
                 c->in.cs, c->in.ss, c->in.ds, c->in.es, c->in.fs, c->in.gs);
    (void)printf("\n    flags %" PRIx64 " fs base %" PRIx64 " gs base %" PRIx64
                 "\n",
                 c->in.rflags, c->in.fs_base, c->in.gs_base);
    print_bytes("x87 ctl", c->in.xsave, 8);
    print_bytes("mxcsr", c->in.xsave + FX_MXCSR, 4);
    for (unsigned i = 0; i < 8; i++) {
        (void)snprintf(name, sizeof(name), "st%u", i);
        print_bytes(name, c->in.xsave + FX_ST + 16 * i, 10);
    }
    for (unsigned i = 0; i < 16; i++) {
        (void)snprintf(name, sizeof(name), "ymm%u hi", i);
        print_bytes(name, c->in.xsave + XSAVE_YMMH + 16 * i, 16);
        (void)snprintf(name, sizeof(name), "ymm%u", i);
        print_bytes(name, c->in.xsave + FX_XMM + 16 * i, 16);
    }
    for (unsigned i = 0; i < c->nr_patches; i++) {
        uint32_t addr = DIFF_DATA + diff_page[c->patch[i].off / DIFF_PAGE].off +
                        c->patch[i].off % DIFF_PAGE;

        (void)snprintf(name, sizeof(name), "%08x", addr);
        print_bytes(name, data, c->patch[i].len);
        data += c->patch[i].len;
    }
}

static void field(const char *name, uint64_t a, uint64_t b)
{
    if (a != b)
        (void)printf("    %-8s native %016" PRIx64 "  engine %016" PRIx64 "\n",
                     name, a, b);
}

static void field_bytes(const char *name, unsigned i, const uint8_t *a,
                        const uint8_t *b, unsigned len)
{
    char text[16];

    if (!memcmp(a, b, len))
        return;
    (void)snprintf(text, sizeof(text), "%s%u", name, i);
    print_bytes(text, a, len);
    print_bytes("  engine", b, len);
}

static void report_regs(const struct diff_regs *a, const struct diff_regs *b)
{
    for (unsigned i = 0; i < 16; i++)
        field(gpr_name[i], a->gpr[i], b->gpr[i]);
    field("rip", a->rip, b->rip);
    field("rflags", a->rflags, b->rflags);
    field("cs", a->cs, b->cs);
    field("ss", a->ss, b->ss);
    field("ds", a->ds, b->ds);
    field("es", a->es, b->es);
    field("fs", a->fs, b->fs);
    field("gs", a->gs, b->gs);
    field("fs base", a->fs_base, b->fs_base);
    field("gs base", a->gs_base, b->gs_base);
    for (unsigned i = 0; i < 3; i++)
        field_bytes("fcw/fsw/ftw ", 2 * i, a->xsave + 2 * i, b->xsave + 2 * i,
                    i == 2 ? 1 : 2);
    field_bytes("mxcsr", 0, a->xsave + FX_MXCSR, b->xsave + FX_MXCSR, 4);
    for (unsigned i = 0; i < 8; i++)
        field_bytes("st", i, a->xsave + FX_ST + 16 * i,
                    b->xsave + FX_ST + 16 * i, 10);
    for (unsigned i = 0; i < 16; i++) {
        field_bytes("xmm", i, a->xsave + FX_XMM + 16 * i,
                    b->xsave + FX_XMM + 16 * i, 16);
        field_bytes("ymmhi", i, a->xsave + XSAVE_YMMH + 16 * i,
                    b->xsave + XSAVE_YMMH + 16 * i, 16);
    }
}

/* The bytes of a changed line, or NULL. */
static const uint8_t *find_line(const struct diff_result *r, unsigned line)
{
    for (unsigned i = 0; i < r->nr_changed && i < DIFF_MAX_CHANGED; i++)
        if (r->changed[i].line == line)
            return r->changed[i].byte;
    return NULL;
}

static void report_line(unsigned line, const uint8_t *a, const uint8_t *b)
{
    uint32_t off = line * DIFF_LINE;
    uint32_t addr =
        DIFF_DATA + diff_page[off / DIFF_PAGE].off + off % DIFF_PAGE;

    if (a && b && !memcmp(a, b, DIFF_LINE))
        return;
    for (unsigned i = 0; i < DIFF_LINE; i += 8) {
        uint64_t x = 0, y = 0;

        if (a)
            memcpy(&x, a + i, 8);
        if (b)
            memcpy(&y, b + i, 8);
        if (a && b && x != y)
            (void)printf("    [%08x] native %016" PRIx64 "  engine %016" PRIx64
                         "\n",
                         addr + i, x, y);
    }
    if (!a || !b)
        (void)printf("    [%08x] written only by the %s\n", addr,
                     a ? "native side" : "engine");
}

static void report_memory(const struct diff_result *a,
                          const struct diff_result *b)
{
    for (unsigned line = 0; line < DIFF_NR_LINES; line++) {
        const uint8_t *x = find_line(a, line), *y = find_line(b, line);

        if (x || y)
            report_line(line, x, y);
    }
}

void report_difference(const struct diff_case *c, unsigned fields,
                       const struct diff_result *native,
                       const struct diff_result *engine)
{
    static const char *const status[] = {"done", "ran too long",
                                         "ended its process"};
    const struct diff_regs *a = &native->out, *b = &engine->out;

    (void)printf("case %" PRIu64 " (%u bit%s):", c->number, c->bits,
                 c->kind == DIFF_SEQUENCE ? ", sequence" : "");
    for (unsigned f = fields; f; f &= f - 1)
        (void)printf(" %s", compare_name(f));
    (void)printf("\n");
    report_code(c);
    if (fields & DIFF_IN_STATUS) {
        (void)printf("    native: %s, engine: %s\n", status[native->status],
                     status[engine->status]);
        return;
    }
    if (fields & (DIFF_IN_FAULT | DIFF_IN_CR2)) {
        field("vector", a->vector, b->vector);
        field("error", a->error, b->error);
        if (a->vector == 14 && b->vector == 14)
            field("cr2", a->cr2, b->cr2);
    }
    report_regs(a, b);
    if (fields & DIFF_IN_MEMORY)
        report_memory(native, engine);
}
