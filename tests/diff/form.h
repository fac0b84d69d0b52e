#ifndef HUSK_DIFF_FORM_H
#define HUSK_DIFF_FORM_H

#include <stdbool.h>
#include <stdint.h>

#include "rng.h"

/*
 * The table of encodings (insn.def) in a form that bytes can be made from.
 */
enum form_prefix { FORM_NO_PREFIX, FORM_NP, FORM_66, FORM_F3, FORM_F2 };
enum form_map { FORM_MAP_1, FORM_MAP_0F, FORM_MAP_0F38, FORM_MAP_0F3A };
enum form_modrm { FORM_NO_MODRM, FORM_MODRM, FORM_MODRM_MEM, FORM_MODRM_REG };
enum form_imm { FORM_NO_IMM, FORM_IB, FORM_IW, FORM_IZ, FORM_IV, FORM_MOFF };

#define FORM_OSZ   0x001u /* 0x66 and REX.W choose the operand size */
#define FORM_O16   0x002u /* 0x66 does */
#define FORM_WSZ   0x004u /* REX.W does */
#define FORM_LOCK  0x008u
#define FORM_REP   0x010u
#define FORM_I64   0x020u /* not in 64-bit mode */
#define FORM_O64   0x040u /* only there */
#define FORM_NOSEQ 0x080u /* leads out of a sequence, or needs set-up */
#define FORM_JB    0x100u /* branch, 8-bit displacement */
#define FORM_JZ    0x200u /* branch, 32-bit displacement */
#define FORM_UD    0x800u /* raises #UD */
#define FORM_WIDE  0x400u /* x87 and vectors; made up by the parser */

/* VEX.L and VEX.W (FORM_ANY: each value is a different instruction or size;
 * FORM_IGNORED: the CPU does not look). */
enum form_bit { FORM_ZERO, FORM_ONE, FORM_ANY, FORM_IGNORED };

struct form {
    bool vex;
    uint8_t vex_l, vex_w; /* enum form_bit */
    uint8_t prefix;       /* enum form_prefix */
    uint8_t map;          /* enum form_map */
    uint8_t opcode, opcode_last;
    uint8_t modrm; /* enum form_modrm */
    bool has_ext;
    uint8_t ext, ext_last;
    uint8_t imm[2]; /* enum form_imm */
    uint16_t flags;
    uint16_t weight;
};

struct form_table {
    struct form *form;
    unsigned nr;
    unsigned total_weight;
};

/* Parse insn.def. Ends the program on a mistake in it. Free with form_free. */
void form_init(struct form_table *t);
void form_free(struct form_table *t);
/* Choose one by weight that exists in this mode and has none of the flags. */
const struct form *form_pick(const struct form_table *t, struct rng *r,
                             unsigned bits, unsigned without);

/*
 * Make the bytes of an instruction: random registers, addressing form,
 * prefixes, displacements and immediates. Whether it decodes is not checked.
 * Returns the length, at most 24.
 */
unsigned form_encode(const struct form *f, struct rng *r, unsigned bits,
                     uint8_t *out);

#endif
