/*
 * From the Multiboot entry (32-bit, flat, no paging) to main() in long mode:
 * the first 4 GiB mapped one to one for ring 0, SSE and AVX on, interrupts
 * off. Also what C cannot say: exception entries, guarded calls, and loading
 * all registers at once.
 */
#include "layout.h"

    .section .multiboot, "a"
    .balign 4
    .long 0x1badb002, 3, -(0x1badb002 + 3)

    .section .bss
    .balign 4096
    .globl boot_pml4
boot_pml4:
    .skip 4096
boot_pdpt:
    .skip 4096
boot_pd:
    .skip 4 * 4096
    .skip 16384
boot_stack:
    .skip 16384
    .globl trap_stack
trap_stack:                     /* RSP0 */
    .skip 8192
    .globl ist_stack
ist_stack:                      /* IST1 */

    .text
    .code32
    .globl _start
_start:
    cli
    cld
    movl $boot_stack, %esp
    movl $boot_pdpt + 7, boot_pml4
    movl $4, %ecx
    movl $boot_pdpt, %edi
    movl $boot_pd + 7, %eax
1:  movl %eax, (%edi)
    addl $4096, %eax
    addl $8, %edi
    loop 1b
    movl $2048, %ecx
    movl $boot_pd, %edi
    movl $0x83, %eax
1:  movl %eax, (%edi)
    addl $0x200000, %eax
    addl $8, %edi
    loop 1b
    lgdt boot_gdtr
    call to_long
    .code64
    call lib_init
    call main
    call finish

/* Common to all CPUs: called in protected mode, returns in long mode (the
 * return address is widened). */
    .code32
    .globl to_long
to_long:
    movl %cr4, %eax
    orl $0x620, %eax            /* PAE, OSFXSR, OSXMMEXCPT */
    movl %eax, %cr4
    movl $boot_pml4, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x901, %eax            /* SCE, LME, NXE */
    wrmsr
    movl %cr0, %eax
    andl $~0xc, %eax            /* EM, TS */
    orl $0x80010022, %eax       /* PG, WP, NE, MP */
    movl %eax, %cr0
    ljmp $SEL_CODE64, $1f
    .code64
1:  movl $SEL_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movl (%rsp), %eax           /* 32-bit return address */
    addq $4, %rsp
    andq $~15, %rsp
    jmp *%rax

    .section .data
    .balign 16
    .globl gdt, boot_gdtr
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff    /* 08 code32 */
    .quad 0x00af9b000000ffff    /* 10 code64 */
    .quad 0x00cf93000000ffff    /* 18 data */
    .quad 0x00cffb000000ffff    /* 20 user code32 */
    .quad 0x00cff3000000ffff    /* 28 user data */
    .quad 0x00affb000000ffff    /* 30 user code64 */
    .quad 0x00009b000000ffff    /* 38 code16 */
    .skip 24 * 8                /* 40 TSS, 50 free */
gdt_end:
boot_gdtr:
    .word gdt_end - gdt - 1
    .quad gdt

    .text
    .code64
/* 256 entries of 16 bytes; those with an error code have it pushed. */
    .balign 16
    .globl trap_entries
trap_entries:
    .set vector, 0
    .rept 256
    .balign 16
    .if vector != 8 && vector != 17 && vector != 21 && (vector < 10 || vector > 14)
    pushq $0
    .endif
    pushq $vector
    jmp trap_common
    .set vector, vector + 1
    .endr

trap_common:                    /* builds a struct frame */
    cld
    pushq %r15
    pushq %r14
    pushq %r13
    pushq %r12
    pushq %r11
    pushq %r10
    pushq %r9
    pushq %r8
    pushq %rdi
    pushq %rsi
    pushq %rbp
    pushq $0                    /* the place of rsp among the numbers */
    pushq %rbx
    pushq %rdx
    pushq %rcx
    pushq %rax
    movq %rsp, %rdi
    movq %rsp, %rbp
    andq $~15, %rsp
    call trap
    movq %rbp, %rsp
load_frame:
    popq %rax
    popq %rcx
    popq %rdx
    popq %rbx
    addq $8, %rsp
    popq %rbp
    popq %rsi
    popq %rdi
    popq %r8
    popq %r9
    popq %r10
    popq %r11
    popq %r12
    popq %r13
    popq %r14
    popq %r15
    addq $16, %rsp              /* vector, error code */
    iretq

/* bool guard_call(struct guard *g, void (*fn)(uint64_t), uint64_t arg):
 * false if fn came back, true if an exception ended it. */
    .globl guard_call
guard_call:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    pushfq
    movq %rsp, (%rdi)
    movq %rdx, %rdi
    call *%rsi
    xorl %eax, %eax
guard_out:
    popfq
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret

/* guard_leave(const struct guard *g): out of the exception, into guard_call's
 * caller. */
    .globl guard_leave
guard_leave:
    movq (%rdi), %rsp
    movl $SEL_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl $1, %eax
    jmp guard_out

/* load_registers(const struct frame *f): goes there by IRETQ. */
    .globl load_registers
load_registers:
    movq %rdi, %rsp
    jmp load_frame

/* The code that an application processor starts with, at AP_START. */
    .globl ap_code, ap_code_end
    .code16
ap_code:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    lgdtl AP_START + (ap_gdtr - ap_code)
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl $SEL_CODE32, $AP_START + (1f - ap_code)
    .code32
1:  movl $SEL_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl AP_STACK, %esp
    movl $to_long, %eax
    call *%eax
    .code64
    movl $ap_main, %eax
    call *%rax
1:  hlt
    jmp 1b
    .balign 4
ap_gdtr:
    .word gdt_end - gdt - 1
    .long gdt
ap_code_end:

    .section .note.GNU-stack, "", @progbits
