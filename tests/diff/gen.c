#include "gen.h"

#include <string.h>

#include "guest.h"
#include "segment.h"
#include "shared.h"
#include "state.h"

/*
 * One case from its number: mode, registers, bytes, then whatever makes the
 * bytes do something.
 */

void gen_init(struct gen *g, uint64_t seed)
{
    memset(g, 0, sizeof(*g));
    g->seed = seed;
    g->sequence_percent = 20;
    form_init(&g->forms);
    (void)ZydisDecoderInit(&g->dec64, ZYDIS_MACHINE_MODE_LONG_64,
                           ZYDIS_STACK_WIDTH_64);
    (void)ZydisDecoderInit(&g->dec32, ZYDIS_MACHINE_MODE_LONG_COMPAT_32,
                           ZYDIS_STACK_WIDTH_32);
    (void)ZydisDecoderInit(&g->dec16, ZYDIS_MACHINE_MODE_LONG_COMPAT_16,
                           ZYDIS_STACK_WIDTH_16);
}

void gen_fini(struct gen *g)
{
    form_free(&g->forms);
}

/* The mask of the XSAVE family is in EDX:EAX, and natively there are more
 * components than the model has: these registers are not free for addresses. */
static bool is_mask_used(const struct insn *in)
{
    const ZydisDecodedOperandMem *m = &in->op[0].mem;

    if (in->d.meta.category != ZYDIS_CATEGORY_XSAVE &&
        in->d.meta.category != ZYDIS_CATEGORY_XSAVEOPT)
        return false;
    return (m->base != ZYDIS_REGISTER_NONE &&
            ZydisRegisterGetId(m->base) % 2 == 0 &&
            ZydisRegisterGetId(m->base) < 3) ||
           (m->index != ZYDIS_REGISTER_NONE &&
            ZydisRegisterGetId(m->index) % 2 == 0 &&
            ZydisRegisterGetId(m->index) < 3);
}

/* What decodes but must not run natively, or differs by design. */
static bool is_refused(const struct insn *in)
{
    switch (in->d.mnemonic) {
    case ZYDIS_MNEMONIC_SYSCALL:
    case ZYDIS_MNEMONIC_SYSENTER:
    case ZYDIS_MNEMONIC_SGDT: /* Linux emulates what UMIP forbids */
    case ZYDIS_MNEMONIC_SIDT:
    case ZYDIS_MNEMONIC_SLDT:
    case ZYDIS_MNEMONIC_SMSW:
    case ZYDIS_MNEMONIC_STR: return true;
    default: break;
    }
    if (is_mask_used(in))
        return true;
    /* 0x66 before a near branch: AMD and Intel differ. */
    return in->d.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE &&
           in->d.meta.branch_type != ZYDIS_BRANCH_TYPE_FAR &&
           in->d.attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE;
}

/* What fails to decode is kept only where the CPU certainly raises #UD. */
static bool is_undefined(const struct form *f, ZyanStatus status)
{
    if (f->flags & FORM_UD)
        return true;
    return status == ZYDIS_STATUS_ILLEGAL_LOCK ||
           status == ZYDIS_STATUS_BAD_REGISTER ||
           status == ZYDIS_STATUS_ILLEGAL_LEGACY_PFX ||
           status == ZYDIS_STATUS_ILLEGAL_REX;
}

bool gen_insn(const struct gen *g, struct setup *s, unsigned without,
              struct insn *in)
{
    struct diff_case *c = s->c;
    uint8_t bytes[32] = {0};
    unsigned len;
    ZyanStatus status;

    memset(in, 0, sizeof(*in));
    in->form = form_pick(&g->forms, s->r, c->bits, without);
    len = form_encode(in->form, s->r, c->bits, bytes);
    status = ZydisDecoderDecodeFull(c->bits == 64   ? &g->dec64
                                    : c->bits == 32 ? &g->dec32
                                                    : &g->dec16,
                                    bytes, sizeof(bytes), &in->d, in->op);
    in->valid = ZYAN_SUCCESS(status);
    if (in->valid) {
        if (is_refused(in) || in->d.length > len)
            return false;
        len = in->d.length;
    } else if (!is_undefined(in->form, status) || len > 15 ||
               rng_percent(s->r, 60) || (without & FORM_NOSEQ)) {
        return false;
    }
    if (c->code_len + len > DIFF_CODE_MAX)
        return false;
    in->len = (uint8_t)len;
    memcpy(c->code + c->code_len, bytes, len);
    c->code_len = (uint16_t)(c->code_len + len);
    return true;
}

static void one_make(const struct gen *g, struct setup *s)
{
    struct insn in;

    while (!gen_insn(g, s, 0, &in))
        ;
    s->c->mnemonic = in.valid ? (uint16_t)in.d.mnemonic : 0;
    if (!in.valid)
        return;
    if (in.d.cpu_flags)
        setup_mark(s->c, in.d.cpu_flags->undefined);
    operand_place(s, &in, 0);
    special_setup(s, &in, 0);
}

/* Most cases are 64-bit code; some have segments that are not flat. */
static void pick_mode(const struct gen *g, struct rng *r, struct diff_case *c)
{
    unsigned dice = rng_below(r, 100);

    c->bits = dice < 82 ? 64 : dice < 95 ? 32 : 16;
    if (g->bits)
        c->bits = (uint8_t)g->bits;
    c->kind = c->bits != 16 && rng_percent(r, g->sequence_percent)
                  ? DIFF_SEQUENCE
                  : DIFF_ONE;
}

static uint64_t data_selector(struct rng *r, bool stack)
{
    unsigned nr = NR_SEGMENTS - SEGMENT_DATA - (stack ? 1 : 0);

    if (rng_percent(r, 25))
        return DIFF_DS;
    return segment_selector(SEGMENT_DATA + rng_below(r, nr));
}

static void set_segments(struct setup *s)
{
    struct diff_regs *in = &s->c->in;
    unsigned code = (s->addr - DIFF_CODE) / SEGMENT_CODE_STEP;

    if (s->c->bits == 16) {
        in->cs = segment_selector(code);
        s->cs_base = segment_base_of(in->cs);
    }
    if (s->c->bits == 64 || s->c->kind == DIFF_SEQUENCE ||
        (s->c->bits == 32 && rng_percent(s->r, 60)))
        return;
    in->ss = data_selector(s->r, true);
    in->ds = data_selector(s->r, false);
    in->es = data_selector(s->r, false);
    in->fs = data_selector(s->r, false);
    in->fs_base = segment_base_of(in->fs);
}

void gen_case(const struct gen *g, uint64_t number, struct diff_case *c)
{
    struct rng r;
    struct setup s = {.r = &r, .c = c};

    rng_init(&r, g->seed, number);
    c->number = number;
    pick_mode(g, &r, c);
    c->code_len = 0;
    c->nr_patches = 0;
    c->patch_bytes = 0;
    c->nr_marks = 0;
    memset(c->code, 0xcc, sizeof(c->code));
    state_random(&r, &c->in, c->bits);
    s.addr = diff_code_addr((unsigned)(number % DIFF_BATCH));
    set_segments(&s);
    c->in.rip = s.addr - s.cs_base;
    if (c->kind == DIFF_SEQUENCE)
        sequence_make(g, &s);
    else
        one_make(g, &s);
    /* The guest's IRETQ loads SP only: the rest stays as its kernel has it. */
    if (operand_stack_is_16(&s))
        c->in.gpr[4] = (c->in.gpr[4] & 0xffff) |
                       ((GUEST_KERNEL + GUEST_STACK - 1) & 0xffff0000);
}
