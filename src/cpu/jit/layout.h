#ifndef HUSK_CPU_JIT_LAYOUT_H
#define HUSK_CPU_JIT_LAYOUT_H

/*
 * Numbers shared by C, assembly and translated code: where things lie from
 * the GS base. jit.h asserts that they are true.
 *
 * The GS base points at a jit_vcpu's state area. Each TLB set has its own
 * mapping of that one area followed by the set's tables, so that moving the
 * GS base switches translations and nothing else.
 */

/* struct x86_state, at offset 0 */
#define JV_GPR        0
#define JV_RIP        128
#define JV_FSBASE     208 /* seg[FS].base, seg[GS].base */
#define JV_GSBASE     224
#define JV_TSC_OFFSET 432
#define JV_XSAVE      896

#define JV_STATE_SIZE 16384 /* bytes of the aliased area */

/* struct jit_vcpu, after the architectural state */
#define JV_HOT         4096
#define JV_PENDING     (JV_HOT + 0)  /* u32: not 0 = leave translated code */
#define JV_FROM        (JV_HOT + 4)  /* u32: where an indirect jump is */
#define JV_IF          (JV_HOT + 8)  /* u32: guest RFLAGS.IF, in place */
#define JV_DF          (JV_HOT + 12) /* u32: guest RFLAGS.DF, in place */
#define JV_AC          (JV_HOT + 16) /* u32: guest RFLAGS.AC, in place */
#define JV_FLAGS_OTHER (JV_HOT + 20) /* u32: IOPL, NT, RF, VM, VIF, VIP, ID */
#define JV_ARITH       (JV_HOT + 24) /* u64: host RFLAGS when left */
#define JV_RAX_SAVE    (JV_HOT + 32)
#define JV_RCX_SAVE    (JV_HOT + 40)
#define JV_SHADOW_SP   (JV_HOT + 48) /* host RSP of translated code */
#define JV_C_SP        (JV_HOT + 56) /* host RSP for helpers */
#define JV_KEY         (JV_HOT + 64) /* u32: mode key */
#define JV_TMP         (JV_HOT + 72)
#define JV_SELF        (JV_HOT + 80) /* struct jit_vcpu *, first mapping */
#define JV_SHADOW_TOP  (JV_HOT + 88)
#define JV_IRQ_WAIT    (JV_HOT + 96)  /* u32: an interrupt waits for IF */
#define JV_SLOT_MASK   (JV_HOT + 104) /* u64: ~0xff8: an aligned stack slot */
#define JV_SLOT_MASK32 (JV_HOT + 152) /* u64: ~0xffc */
#define JV_XCR0        (JV_HOT + 112) /* u64: what is saved of vector state */
#define JV_HOST_SP     (JV_HOT + 120) /* jit_enter's frame */
#define JV_LINK        (JV_HOT + 132) /* u32: link that missed, or 0 */
#define JV_RET_GLUE    (JV_HOT + 136) /* glue_jmp_* of the current mode */
#define JV_JC_MASK     (JV_HOT + 160) /* u64: pext mask of the jump cache */
#define JV_TLB_MASK    (JV_HOT + 144) /* u64: pext mask of the page number */
#define JV_MXCSR       (JV_HOT + 168) /* u32: 0x1f80, for C */
#define JV_TMP2        (JV_HOT + 176)
#define JV_GLUE_TMP    (JV_HOT + 184) /* the glue's own */
#define JV_WIN         (JV_HOT + 192) /* 3 modes of {negated page, addend} */
#define JV_SLIDE       (JV_HOT + 240) /* u64: page that shared code runs at */
#define JV_GLUE        (JV_HOT + 256) /* addresses of the glue */
#define JV_SPILL       (JV_HOT + 512) /* hoisted addends of a block */
#define JV_BOUNCE      (JV_HOT + 640) /* 256 bytes, 64-aligned */

/* A TLB set, from the GS base. Each table has its tags, then its addends. */
#define TLB_BITS       14
#define TLB_ENTRIES    (1 << TLB_BITS)
#define TLB_BASE       JV_STATE_SIZE
#define TLB_TABLE_SIZE (TLB_ENTRIES * 16)
/* tables in the order user r, user w, super r, super w, super AC r, w */
#define TLB_TABLE(mode, write)                                                 \
    (TLB_BASE + ((mode)*2 + (write)) * TLB_TABLE_SIZE)
#define TLB_ADDENDS (TLB_ENTRIES * 8) /* from a table's start */
#define JC_BITS     14
#define JC_ENTRIES  (1 << JC_BITS)
/* An address a has entry (a + (a >> JC_MIX)) % JC_ENTRIES: functions begin at
 * multiples of 16, and a busy page at two neighbours. */
#define JC_MIX        10
#define JC_SIZE       (JC_ENTRIES * 16)
#define JC_BASE(mode) (TLB_BASE + 6 * TLB_TABLE_SIZE + (mode)*JC_SIZE)
/* Where jumps to other pages go, in this address space: one slot for each
 * target, filled when it is first used. */
#define SLOT_BITS 16
#define SLOT_MAX  (1 << SLOT_BITS)
#define SLOT_BASE JC_BASE(3)
/* What JV_SLIDE is behind the jump, for slots that lead to shared code. */
#define SLIDE_BASE      (SLOT_BASE + 8 * SLOT_MAX)
#define JV_TLB_SET_SIZE (6 * TLB_TABLE_SIZE + 3 * JC_SIZE + 16 * SLOT_MAX)

/* Access descriptor of a slow path (a u32 in r11). */
#define DESC_SIZE_MASK   0x7f
#define DESC_WRITE       0x80
#define DESC_MODE_SHIFT  8
#define DESC_FLAGS_SAVED 0x400
#define DESC_READ        0x800  /* the instruction reads the operand */
#define DESC_STACK       0x1000 /* through SS: #SS, not #GP */
#define DESC_ALIGNED     0x2000 /* #GP if not aligned to its size */
#define DESC_LOCKED      0x4000 /* LOCK, or XCHG */
#define DESC_INSN_SHIFT  16

/* Glue that translated code jumps to or calls through gs:JV_GLUE. */
#define GLUE_SLOW     0
#define GLUE_COMMIT   1
#define GLUE_HELPER   2
#define GLUE_JMP      3 /* + mode: r10 = target RIP, 3..5 */
#define GLUE_RET_MISS 6 /* + mode, 6..8 */
#define GLUE_LINK     9
#define GLUE_PENDING  10
#define GLUE_DISPATCH 11
#define GLUE_GROUP    12
#define GLUE_WINDOW   13 /* + mode, 13..15 */
#define GLUE_JUMP     16 /* + mode, 16..18: as GLUE_JMP, JV_FROM is set */
#define GLUE_NR       19

/* In JV_FROM: it is a call, which has pushed its return address. The rest is
 * an offset in the code cache. */
#define FROM_CALL 0x80000000u

/* What GLUE_GROUP and GLUE_WINDOW get in r11: a descriptor, and above it the
 * last offset in a page at which the range still fits. */
#define HOIST_LIMIT_SHIFT 16

#endif
