#ifndef HUSK_CPU_JIT_FORM_H
#define HUSK_CPU_JIT_FORM_H

#include "cpu/jit/decode.h"

/*
 * Guest instructions as the rules of translation (gen_*.c) need them, in two
 * parts: the form, which all instructions with the same bytes up to ModRM and
 * SIB have in common, and what is each one's own: its place, displacement and
 * immediate. Forms are made by the decoder and kept, so that an instruction
 * whose form is known costs a lookup.
 */
enum form_kind {
    FORM_NONE,
    FORM_GPR,
    FORM_SEGMENT, /* X86_ES ... */
    FORM_CONTROL,
    FORM_MEM,
    FORM_IMM,
    FORM_OTHER /* vector registers and the like: encoded as they were */
};

enum { FORM_NO_REG = 255, FORM_RIP = 16 };

struct form_op {
    uint8_t kind; /* enum form_kind */
    uint8_t reg;  /* hardware number */
    bool high;    /* AH..BH */
    bool reads, writes;
    uint16_t size; /* bits */
    /* FORM_MEM: registers by number, FORM_RIP or FORM_NO_REG */
    uint8_t base, index, scale;
    uint8_t seg; /* X86_*; what the instruction means by default, too */
};

struct form {
    uint16_t mnemonic; /* ZydisMnemonic */
    uint8_t class;     /* enum insn_class */
    uint8_t length;    /* of the whole instruction; 0: it cannot be decoded */
    uint8_t operand_width, address_width; /* bits */

    /* The encoding, for instructions that run as themselves. */
    uint8_t opcode;
    uint8_t map; /* ZydisOpcodeMap */
    bool vex;    /* else legacy */
    bool modrm;  /* has one */
    bool lock, rep, repne;
    bool p66, pf2, pf3; /* prefixes that must be there */
    bool w;             /* REX.W, as the mode has it; VEX.W likewise */
    uint8_t vex_l, vex_pp, vex_m, vex_v; /* vvvv, not inverted */
    uint8_t reg_raw, rm_raw;             /* ModRM fields with their REX bits */
    uint8_t imm_at, imm_size;            /* the first immediate, in bytes */
    bool imm_signed;
    uint8_t disp_at, disp_size; /* in bytes */
    bool is4;                   /* the last byte names a register */

    struct form_op op[ZYDIS_MAX_OPERAND_COUNT_VISIBLE];
    /* By their place in the encoding; -1 = absent. */
    int8_t reg, rm, vvvv;
    bool mem; /* rm is a memory operand that is accessed */
    bool mem_read, mem_write;
    bool aligned; /* #GP if the operand is not aligned to its size */
    bool locked;  /* LOCK, or XCHG with memory */
    bool ends_block;
    uint8_t string_seg;              /* IC_STRING: X86_* of the source */
    uint16_t writes;                 /* general registers, by number */
    uint32_t flags_read, flags_kill; /* of X86_FLAGS_ARITH */
    uint8_t count_mask; /* the immediate is a count: of 0, no flag changes */
};

/* One guest instruction. */
struct ginsn {
    const struct form *f;
    uint64_t rip;
    int64_t disp, imm; /* as operands have them */
    uint32_t flags_kill;
    uint32_t flags_live; /* before it, by somebody later or itself */
    uint8_t bytes[16];
};

/* Forms that were met, by their bytes. One for each engine, under its lock. */
struct form_cache;

/* Borrows the model that instructions are decoded for. */
struct form_cache *form_cache_new(const struct cpuid_model *model);
void form_cache_free(struct form_cache *c);
/* Forget everything: no ginsn is in use. */
void form_cache_reset(struct form_cache *c);
/* Room for fewer than n more forms? Then reset it before going on. */
bool form_cache_full(const struct form_cache *c, unsigned n);

/*
 * Decode as insn_decode() does, which see, with its results. in->f stays good
 * until the cache is reset; there is room for one more form in it.
 */
int form_decode(struct form_cache *c, struct ginsn *in, const uint8_t *bytes,
                size_t len, uint32_t key, uint64_t rip);

/* Which arithmetic flags may be read after execution arrives at bytes, by a
 * look at up to so many instructions; it makes as many forms. */
enum { FORM_MAX_PEEK = 6 };
uint32_t form_peek_live(struct form_cache *c, const uint8_t *bytes, size_t len,
                        uint32_t key);

/* form_make.c: one form, by the decoder. key: what of the mode key decides. */
int form_make(struct form *f, const uint8_t *bytes, size_t len, uint32_t key,
              const struct cpuid_model *model);

static inline const struct form_op *form_reg(const struct form *f)
{
    return f->reg < 0 ? NULL : &f->op[f->reg];
}

static inline const struct form_op *form_rm(const struct form *f)
{
    return f->rm < 0 ? NULL : &f->op[f->rm];
}

static inline const struct form_op *form_vvvv(const struct form *f)
{
    return f->vvvv < 0 ? NULL : &f->op[f->vvvv];
}

#endif
