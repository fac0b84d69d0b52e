#ifndef HUSK_CPU_JIT_DECODE_H
#define HUSK_CPU_JIT_DECODE_H

#include <Zydis/Zydis.h>
#include <stdbool.h>
#include <stdint.h>

#include "x86/cpuid.h"

/*
 * Guest instructions as the translator needs them: Zydis' decoding, the class
 * that says which rule translates it, and which arithmetic flags matter.
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
    uint32_t flags_live; /* before it, by somebody later or itself */
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

/* Hardware number of a general register operand; *high is set for AH..BH. */
unsigned insn_gpr(ZydisRegister r, bool *high);

/* Does it end a block? */
bool insn_ends_block(const struct insn *in);

/* Does it write through CS, in protected mode? */
bool insn_writes_code_segment(const struct insn *in, uint32_t key);

/* Which arithmetic flags may be read after execution arrives at bytes. */
uint32_t insn_peek_live(const uint8_t *bytes, size_t len, uint32_t key);

#endif
