#ifndef HUSK_CPU_JIT_DECODE_H
#define HUSK_CPU_JIT_DECODE_H

#include <Zydis/Zydis.h>
#include <stdbool.h>
#include <stdint.h>

#include "x86/cpuid.h"
#include "x86/regs.h"

/*
 * Guest instructions, decoded: what Zydis says, the class that says which rule
 * translates it, and which arithmetic flags matter. What the rules work with
 * is made from this (form.h).
 */
enum insn_class {
    IC_UD,    /* not on the list: #UD */
    IC_PLAIN, /* runs as itself, operands renamed */
    IC_NOP,
    IC_LEA,
    IC_BT_MEM, /* bit string in memory, index in a register */
    IC_PUSH,
    IC_POP,
    IC_LEAVE,
    IC_PUSHF,
    IC_JCC,
    IC_LOOP, /* LOOPcc, JrCXZ */
    IC_JMP,
    IC_JMP_IND,
    IC_CALL,
    IC_CALL_IND,
    IC_RET,
    IC_CLI,
    IC_STI,
    IC_STAC,
    IC_CLAC,
    IC_CLD,
    IC_STD,
    IC_RDTSC,
    IC_STRING,
    IC_FSGSBASE,
    IC_MOV_SYSTEM, /* selectors and control registers, inline or by helper */
    IC_ADDRESS,    /* a helper that gets the linear address of the operand */
    IC_FSTENV,     /* x87 environment images: pointers are scrubbed */
    IC_HELPER,     /* a helper; may go on in the block */
    IC_STACK,      /* near, on a 16-bit stack or of another width: by helper */
    IC_SYSTEM,     /* a helper that ends the block */
    IC_RARE        /* done in C from the decoded form; ends the block */
};

struct insn {
    ZydisDecodedInstruction d;
    ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
    uint64_t rip;
    uint8_t bytes[16];
    enum insn_class class;
    uint32_t flags_read; /* of X86_FLAGS_ARITH */
    uint32_t flags_kill; /* certainly overwritten */
    /* Operands by their place in the encoding; NULL = absent. */
    const ZydisDecodedOperand *reg, *rm, *vvvv;
    bool mem; /* rm is a memory operand that is accessed */
    bool mem_write, mem_read;
};

/*
 * Decode the instruction at bytes (len are readable) under the mode key.
 * Returns 0; -1 if more bytes are needed; 1 if it is invalid or not offered
 * by the model: class is then IC_UD and d.length may be 0.
 */
int insn_decode(struct insn *in, const uint8_t *bytes, size_t len, uint32_t key,
                const struct cpuid_model *model, uint64_t rip);

/* whitelist.c: the class of a decoded instruction; in->class is scratch. */
enum insn_class whitelist_class(struct insn *in, uint32_t key,
                                const struct cpuid_model *model);
/* Is it one of the x87's, whatever extension brought it? */
bool insn_is_x87(const struct insn *in);

/* Hardware number of a general register operand; *high is set for AH..BH. */
unsigned insn_gpr(ZydisRegister r, bool *high);

/* X86_ES to X86_GS, or -1 for any other register. */
int insn_sreg(ZydisRegister r);
/* The segment that a memory operand is in. */
enum x86_sreg insn_segment(const ZydisDecodedOperand *op);

/* Does it end a block? */
bool insn_ends_block(const struct insn *in);

/* Does it write through CS, in protected mode? */
bool insn_writes_code_segment(const struct insn *in, uint32_t key);

/* Of a shift by an immediate: which bits of it are the count; else 0. */
uint8_t insn_count_mask(const ZydisDecodedInstruction *d);

/*
 * Flags that the instruction overwrites for certain; counted: it is a shift by
 * an immediate that is not 0. What the SDM calls undefined counts as
 * overwritten: no program can rely on it.
 */
uint32_t insn_flags_kill(const ZydisDecodedInstruction *d, bool counted);

#endif
