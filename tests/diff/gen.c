#include "gen.h"

#include <string.h>

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
    status = ZydisDecoderDecodeFull(c->bits == 64 ? &g->dec64 : &g->dec32,
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

void gen_case(const struct gen *g, uint64_t number, struct diff_case *c)
{
    struct rng r;
    struct setup s = {.r = &r, .c = c};

    rng_init(&r, g->seed, number);
    c->number = number;
    c->bits = rng_percent(&r, 85) ? 64 : 32;
    if (g->bits)
        c->bits = (uint8_t)g->bits;
    c->kind = rng_percent(&r, g->sequence_percent) ? DIFF_SEQUENCE : DIFF_ONE;
    c->code_len = 0;
    c->nr_patches = 0;
    c->patch_bytes = 0;
    c->nr_marks = 0;
    memset(c->code, 0xcc, sizeof(c->code));
    state_random(&r, &c->in, c->bits);
    s.addr = diff_code_addr((unsigned)(number % DIFF_BATCH));
    c->in.rip = s.addr;
    if (c->kind == DIFF_SEQUENCE)
        sequence_make(g, &s);
    else
        one_make(g, &s);
}
