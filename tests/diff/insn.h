#ifndef HUSK_DIFF_INSN_H
#define HUSK_DIFF_INSN_H

#include <Zydis/Zydis.h>

#include "case.h"
#include "form.h"

/* A generated instruction and what Zydis says of it. */
struct insn {
    const struct form *form;
    ZydisDecodedInstruction d;
    ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
    bool valid; /* else the CPU raises #UD */
    uint8_t len;
};

/* A case while it is made. */
struct setup {
    struct rng *r;
    struct diff_case *c;
    uint32_t addr;    /* of c->code, linear */
    uint32_t cs_base; /* less this it is what IP holds */
    uint32_t pinned;  /* general registers whose value is in use */
};

static inline bool setup_is_pinned(const struct setup *s, unsigned gpr)
{
    return s->pinned >> gpr & 1;
}

/* Set a register unless something depends on its value. */
static inline bool setup_set(struct setup *s, unsigned gpr, uint64_t val)
{
    if (setup_is_pinned(s, gpr))
        return false;
    s->c->in.gpr[gpr] = s->c->bits == 64 ? val : (uint32_t)val;
    s->pinned |= 1u << gpr;
    return true;
}

/* Note which flags are undefined where the code ends now. */
static inline void setup_mark(struct diff_case *c, uint32_t undefined)
{
    if (c->nr_marks < DIFF_MAX_MARKS)
        c->mark[c->nr_marks++] =
            (struct diff_mark){c->code_len, (uint16_t)(undefined & 0x8d5)};
}

/* Put bytes into the data pages where they are mapped; too many are dropped. */
void operand_patch(struct setup *s, uint64_t addr, const void *data,
                   unsigned len);
/* Where an operand of this size and alignment could be. */
uint64_t operand_target(struct setup *s, unsigned size, bool aligned);
/* The address of a memory operand for the registers as they are. */
uint64_t operand_address(const struct setup *s, const struct insn *in,
                         unsigned off, const ZydisDecodedOperand *op);
/*
 * Choose registers and displacements (in c->code + off) so that the memory
 * operands of an instruction are where they are interesting.
 */
void operand_place(struct setup *s, const struct insn *in, unsigned off);

/* What individual instructions need beside placed operands. off: in c->code */
void special_setup(struct setup *s, const struct insn *in, unsigned off);
/* Whether the stack pointer is SP: outside 64-bit mode, by the B flag of the
 * stack segment (SDM vol. 3, 3.4.5). */
bool operand_stack_is_16(const struct setup *s);
/* Where the stack pointer points, linear. */
uint64_t operand_stack(const struct setup *s);
/* A place to jump to: within the slot, or where it faults. */
uint64_t special_jump_target(struct setup *s);

#endif
