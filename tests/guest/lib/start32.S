/*
 * The start of 32-bit guests: flat protected mode without paging, from the
 * Multiboot entry to main().
 */
#include "layout.h"

    .section .multiboot, "a"
    .balign 4
    .long 0x1badb002, 3, -(0x1badb002 + 3)

    .section .bss
    .balign 4096
    .skip 16384
boot_stack:
    .skip 8192
    .globl trap_stack
trap_stack:                     /* ESP0 */

    .text
    .globl _start
_start:
    cli
    cld
    movl $boot_stack, %esp
    lgdt gdtr
    ljmp $SEL_CODE32, $1f
1:  movl $SEL_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    movl %eax, %ss
    call lib_init
    call main
    call finish

    .section .data
    .balign 16
    .globl gdt, gdtr
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff    /* 08 code */
    .quad 0x00af9b000000ffff    /* 10 code64 */
    .quad 0x00cf93000000ffff    /* 18 data */
    .quad 0x00cffb000000ffff    /* 20 user code */
    .quad 0x00cff3000000ffff    /* 28 user data */
    .quad 0                     /* 30 */
    .quad 0x00009b000000ffff    /* 38 code16 */
    .skip 24 * 8                /* 40 TSS, 50 free */
gdt_end:
gdtr:
    .word gdt_end - gdt - 1
    .long gdt

    .text
    .balign 16
    .globl trap_entries
trap_entries:
    .set vector, 0
    .rept 256
    .balign 16
    .if vector != 8 && vector != 17 && (vector < 10 || vector > 14)
    pushl $0
    .endif
    pushl $vector
    jmp trap_common
    .set vector, vector + 1
    .endr

trap_common:                    /* builds a struct frame */
    cld
    pushl %gs
    pushl %fs
    pushl %es
    pushl %ds
    pushal
    movl $SEL_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    movl %esp, %ebp
    pushl %esp
    call trap
    movl %ebp, %esp
load_frame:
    popal
    popl %ds
    popl %es
    popl %fs
    popl %gs
    addl $8, %esp
    iretl

/* bool guard_call(struct guard *g, void (*fn)(uint32_t), uint32_t arg) */
    .globl guard_call
guard_call:
    pushl %ebx
    pushl %esi
    pushl %edi
    pushl %ebp
    pushfl
    movl 24(%esp), %eax
    movl %esp, (%eax)
    pushl 32(%esp)
    call *32(%esp)
    addl $4, %esp
    xorl %eax, %eax
guard_out:
    popfl
    popl %ebp
    popl %edi
    popl %esi
    popl %ebx
    ret

/* guard_leave(const struct guard *g): on whatever stack and segments. */
    .globl guard_leave
guard_leave:
    movl 4(%esp), %eax
    movl $SEL_DATA, %edx
    movl %edx, %ss
    movl %edx, %ds
    movl %edx, %es
    movl %edx, %fs
    movl %edx, %gs
    movl (%eax), %esp
    movl $1, %eax
    jmp guard_out

/* load_registers(const struct frame *f) */
    .globl load_registers
load_registers:
    movl 4(%esp), %esp
    jmp load_frame

/*
 * real_call(void): the code at REAL_CODE (copied there by the test) runs in
 * real mode with all segments 0 and SP REAL_STACK, and comes back by RET.
 * Real-mode interrupts are off. Called in protected mode without paging.
 */
    .globl real_call
real_call:
    pushal
    movl %esp, saved_esp
    sgdt saved_gdtr
    sidt saved_idtr
    movl $real_enter, %esi
    movl $REAL_TRAMPOLINE, %edi
    movl $(real_end - real_enter), %ecx
    rep movsb
    lidt real_idtr
    ljmp $SEL_CODE16, $REAL_TRAMPOLINE
    .code16
real_enter:
    movw $SEL_FREE, %ax         /* 64-KiB data segment, put there by C */
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %fs
    movw %ax, %gs
    movw %ax, %ss
    movl %cr0, %eax
    andb $~1, %al
    movl %eax, %cr0
    ljmp $0, $(REAL_TRAMPOLINE + (1f - real_enter))
1:  xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %fs
    movw %ax, %gs
    movw %ax, %ss
    movl $REAL_STACK, %esp
    movw $REAL_CODE, %ax
    call *%ax
    cli
    xorw %bx, %bx
    movw %bx, %ds
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl $SEL_CODE32, $real_back
real_end:
    .code32
real_back:
    movl $SEL_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    movl %eax, %ss
    movl saved_esp, %esp
    lgdt saved_gdtr
    lidt saved_idtr
    popal
    ret

    .section .data
saved_esp:
    .long 0
saved_gdtr:
    .skip 6
saved_idtr:
    .skip 6
real_idtr:
    .word 0x3ff
    .long 0

    .section .note.GNU-stack, "", @progbits
