/*
 * The doors between translated code and C.
 *
 * Translated code: GS base at the state area, RSP on the shadow stack, guest
 * registers in the host's, except guest RSP in r9 and guest r9, r10, r11 in
 * memory; r10 and r11 are scratch. C helpers run on a stack of their own and
 * touch general registers only.
 */
#include "cpu/jit/layout.h"

    .intel_syntax noprefix
    .text

.macro SAVE_GPRS
    mov gs:[JV_GPR + 0], rax
    mov gs:[JV_GPR + 8], rcx
    mov gs:[JV_GPR + 16], rdx
    mov gs:[JV_GPR + 24], rbx
    mov gs:[JV_GPR + 32], r9
    mov gs:[JV_GPR + 40], rbp
    mov gs:[JV_GPR + 48], rsi
    mov gs:[JV_GPR + 56], rdi
    mov gs:[JV_GPR + 64], r8
    mov gs:[JV_GPR + 96], r12
    mov gs:[JV_GPR + 104], r13
    mov gs:[JV_GPR + 112], r14
    mov gs:[JV_GPR + 120], r15
.endm

.macro LOAD_GPRS
    mov rax, gs:[JV_GPR + 0]
    mov rcx, gs:[JV_GPR + 8]
    mov rdx, gs:[JV_GPR + 16]
    mov rbx, gs:[JV_GPR + 24]
    mov r9, gs:[JV_GPR + 32]
    mov rbp, gs:[JV_GPR + 40]
    mov rsi, gs:[JV_GPR + 48]
    mov rdi, gs:[JV_GPR + 56]
    mov r8, gs:[JV_GPR + 64]
    mov r12, gs:[JV_GPR + 96]
    mov r13, gs:[JV_GPR + 104]
    mov r14, gs:[JV_GPR + 112]
    mov r15, gs:[JV_GPR + 120]
.endm

/* Leave translated code for C: everything of the guest but vectors saved. */
.macro TO_C
    SAVE_GPRS
    mov gs:[JV_SHADOW_SP], rsp
    mov rsp, gs:[JV_C_SP]
    pushfq
    pop qword ptr gs:[JV_ARITH]
    mov rdi, gs:[JV_SELF]
.endm

/* Arithmetic flags from JV_ARITH; clobbers rax. SAHF leaves OF alone. */
.macro LOAD_FLAGS
    mov eax, gs:[JV_ARITH]
    mov r10d, eax
    shr r10d, 11
    and r10d, 1
    add r10b, 0x7f
    mov ah, al
    sahf
.endm

/* Back to translated code at r11, all state from memory; RIP in r10, as the
 * jump cache's entries want it. */
.macro TO_CODE
    LOAD_FLAGS
    mov rsp, gs:[JV_SHADOW_SP]
    LOAD_GPRS
    mov r10, gs:[JV_RIP]
    jmp r11
.endm

/* Leave without going back to the caller: drop the return address, unless the
 * whole shadow stack was reset. */
.macro DROP_RETURN
    mov rcx, gs:[JV_SHADOW_SP]
    cmp rcx, gs:[JV_SHADOW_TOP]
    je 9f
    add rcx, 8
    mov gs:[JV_SHADOW_SP], rcx
9:
.endm

/* rax = host code or 0 */
.macro RUN_OR_EXIT
    mov r11, rax
    test rax, rax
    jz glue_exit
    TO_CODE
.endm

    .globl jit_enter
    .type jit_enter, @function
jit_enter:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    sub rsp, 8
    mov gs:[JV_HOST_SP], rsp
    mov r11, rsi
    mov eax, gs:[JV_XCR0]
    xor edx, edx
    xrstor64 gs:[JV_XSAVE]
    TO_CODE

/* Everything is in memory but the vector state; rsp is the C stack. */
glue_exit:
    mov eax, gs:[JV_XCR0]
    xor edx, edx
    xsave64 gs:[JV_XSAVE]
    fninit
    vzeroupper
    ldmxcsr gs:[JV_MXCSR]
    mov rsp, gs:[JV_HOST_SP]
    add rsp, 8
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret
    .size jit_enter, . - jit_enter

/* jit_call_c(fn, a, b, c, d): call code that may use vector registers. */
    .globl jit_call_c
    .type jit_call_c, @function
jit_call_c:
    push rbx
    mov rbx, rdi
    mov rdi, rsi
    mov rsi, rdx
    mov r9, rcx
    mov eax, gs:[JV_XCR0]
    xor edx, edx
    xsave64 gs:[JV_XSAVE]
    fninit
    vzeroupper
    ldmxcsr gs:[JV_MXCSR]
    mov rdx, r9
    mov rcx, r8
    call rbx
    mov rbx, rax
    mov eax, gs:[JV_XCR0]
    xor edx, edx
    xrstor64 gs:[JV_XSAVE]
    mov rax, rbx
    pop rbx
    ret
    .size jit_call_c, . - jit_call_c

/* r10 = linear address, r11d = descriptor; see layout.h and h_mem.c. */
    .globl glue_slow
glue_slow:
    TO_C
    mov rsi, r10
    mov edx, r11d
    mov rcx, gs:[JV_SHADOW_SP]
    mov rcx, [rcx]
    call h_slow
    test rax, rax
    jz 1f
    mov gs:[JV_GLUE_TMP], rax
    mov r11, gs:[JV_SHADOW_SP]
    lea rdx, [rdx + rdx * 4]    /* special: skip the jump behind the call */
    add [r11], rdx
    LOAD_FLAGS
    mov rsp, gs:[JV_SHADOW_SP]
    LOAD_GPRS
    mov r10, gs:[JV_GLUE_TMP]
    ret
1:  DROP_RETURN
    jmp dispatch

/* r11d = descriptor; flags are the guest's and live. */
    .globl glue_commit
glue_commit:
    TO_C
    mov esi, r11d
    mov rdx, gs:[JV_SHADOW_SP]
    mov rdx, [rdx]
    call h_commit
    test eax, eax
    jnz 1f
    LOAD_FLAGS
    mov rsp, gs:[JV_SHADOW_SP]
    LOAD_GPRS
    ret
1:  DROP_RETURN
    jmp dispatch

/* r11 = h_fn, r10 = its argument. */
    .globl glue_helper
glue_helper:
    TO_C
    mov rsi, r10
    call r11
    test eax, eax
    jnz 1f
    LOAD_FLAGS
    mov rsp, gs:[JV_SHADOW_SP]
    LOAD_GPRS
    ret
1:  DROP_RETURN
    cmp eax, 2
    je glue_exit
dispatch:
    mov rdi, gs:[JV_SELF]
    call h_lookup
    RUN_OR_EXIT

/* All state is in registers but RIP. */
    .globl glue_dispatch
glue_dispatch:
    TO_C
    jmp dispatch

/* The end of the shadow stack: r10 = where the guest returns to. */
    .globl glue_sentinel
glue_sentinel:
    lea rsp, [rsp - 8]
    jmp gs:[JV_RET_GLUE]
    .globl glue_jmp_slow
glue_jmp_slow:
    mov gs:[JV_RIP], r10
    jmp glue_dispatch
    .globl glue_jump_slow
glue_jump_slow:
    mov gs:[JV_RIP], r10
    TO_C
    call h_jump
    RUN_OR_EXIT

/* r10 = RIP to go to, in a block's own mode. No flag may change: the target
 * is unknown, so all are live. */
.macro GLUE_JMP_MODE name, mode, slow
    .globl \name
\name:
    rorx r11, r10, JC_MIX
    lea r11, [r11 + r10]
    pext r11, r11, gs:[JV_JC_MASK]
    mov gs:[JV_RCX_SAVE], rcx
    lea r11, [r11 + r11]
    mov rcx, gs:[r11 * 8 + JC_BASE(\mode)]
    lea rcx, [rcx + r10]
    jrcxz 1f
    mov rcx, gs:[JV_RCX_SAVE]
    jmp \slow
1:  mov rcx, gs:[JV_RCX_SAVE]
    jmp gs:[r11 * 8 + JC_BASE(\mode) + 8]
.endm
    GLUE_JMP_MODE glue_jmp_user, 0, glue_jmp_slow
    GLUE_JMP_MODE glue_jmp_super, 1, glue_jmp_slow
    GLUE_JMP_MODE glue_jmp_super_ac, 2, glue_jmp_slow
    GLUE_JMP_MODE glue_jump_user, 0, glue_jump_slow
    GLUE_JMP_MODE glue_jump_super, 1, glue_jump_slow
    GLUE_JMP_MODE glue_jump_super_ac, 2, glue_jump_slow

/* r11d = link; RIP is stored. */
    .globl glue_link
glue_link:
    TO_C
    mov esi, r11d
    call h_link
    RUN_OR_EXIT

/* r10d = slot that is empty. */
    .globl glue_slot
glue_slot:
    TO_C
    mov esi, r10d
    call h_slot
    RUN_OR_EXIT

/* RIP is stored. */
    .globl glue_pending
glue_pending:
    TO_C
    call h_pending
    RUN_OR_EXIT

/* The signal handler comes here: RIP is stored, a fault is in the vCPU. */
    .globl glue_raise
glue_raise:
    TO_C
    call h_fault
    cmp eax, 2
    je glue_exit
    jmp dispatch

/*
 * A shared check failed. r10 = lowest linear address, r11 = descriptor and
 * limit: 1 in r10 if the check will succeed now, 0 if the range crosses a page
 * or cannot be had. Flags are dead.
 */
    .globl glue_group
glue_group:
    mov gs:[JV_GLUE_TMP], rcx
    mov ecx, r10d
    and ecx, 0xfff
    shl ecx, HOIST_LIMIT_SHIFT
    cmp ecx, r11d               /* the descriptor's bits decide no tie */
    mov rcx, gs:[JV_GLUE_TMP]
    ja 1f
    TO_C
    mov rsi, r10
    movzx edx, r11w
    call h_hoist
    movzx eax, al
    mov gs:[JV_GLUE_TMP], rax
    mov rsp, gs:[JV_SHADOW_SP]
    LOAD_GPRS
    mov r10, gs:[JV_GLUE_TMP]
    ret
1:  xor r10d, r10d
    ret

/* The same for the stack window: move it if the TLB has the page. */
.macro GLUE_WINDOW_MODE name, mode
    .globl \name
\name:
    mov gs:[JV_GLUE_TMP], rcx
    mov gs:[JV_TMP], r10
    mov rcx, r10
    shr rcx, 12
    and ecx, TLB_ENTRIES - 1
    add r10, gs:[rcx * 8 + TLB_TABLE(\mode, 1)]
    mov gs:[JV_TMP2], r11
    shr r11d, HOIST_LIMIT_SHIFT
    cmp r10, r11
    mov r11, gs:[JV_TMP2]
    ja 2f
    mov r10, gs:[rcx * 8 + TLB_TABLE(\mode, 1)]
    mov gs:[JV_WIN + 16 * \mode], r10
    add r10, gs:[rcx * 8 + TLB_TABLE(\mode, 1) + TLB_ADDENDS]
    mov gs:[JV_WIN + 16 * \mode + 8], r10
    mov rcx, gs:[JV_GLUE_TMP]
    mov r10d, 1
    ret
2:  mov rcx, gs:[JV_GLUE_TMP]
    mov r10, gs:[JV_TMP]
    jmp glue_group
.endm
    GLUE_WINDOW_MODE glue_window_user, 0
    GLUE_WINDOW_MODE glue_window_super, 1
    GLUE_WINDOW_MODE glue_window_super_ac, 2

    .section .note.GNU-stack, "", @progbits
