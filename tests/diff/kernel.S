/*
 * The whole kernel of the guest that runs cases in an engine: every exception
 * and the start come to the same place, which stores the registers, tells the
 * host by a port write, loads what the host has put there, and returns to user
 * code. It is copied to GUEST_BLOB (guest.h) and addresses the state page
 * absolutely, in the uppermost 2 GiB.
 */

#define ST 0xffffffff80024000
#define PORT 0xe0

    .section .rodata
    .balign 16
    .globl guest_blob, guest_blob_start, guest_blob_end
guest_blob:

/* 256 entries of 16 bytes: those with an error code have it pushed already.
 * Vector 64 is the interrupt that comes at any time (engine.c). */
    .set vector, 0
    .rept 256
    .balign 16
    .if vector == 64
    iretq
    .endif
    .if vector != 8 && vector != 17 && (vector < 10 || vector > 14)
    pushq $0
    .endif
    pushq $vector
    jmp save
    .set vector, vector + 1
    .endr

    .balign 16
save:
    movq %rax, ST + 0
    movq %rcx, ST + 8
    movq %rdx, ST + 16
    movq %rbx, ST + 24
    movq %rbp, ST + 40
    movq %rsi, ST + 48
    movq %rdi, ST + 56
    movq %r8, ST + 64
    movq %r9, ST + 72
    movq %r10, ST + 80
    movq %r11, ST + 88
    movq %r12, ST + 96
    movq %r13, ST + 104
    movq %r14, ST + 112
    movq %r15, ST + 120
    popq ST + 192               /* vector */
    popq ST + 200               /* error code */
    popq ST + 128               /* rip */
    popq ST + 144               /* cs */
    popq ST + 136               /* rflags */
    popq ST + 32                /* rsp */
    popq ST + 152               /* ss */
    movq %cr2, %rax
    movq %rax, ST + 208
    xorl %eax, %eax
    movw %ds, %ax
    movq %rax, ST + 160
    movw %es, %ax
    movq %rax, ST + 168
    movw %fs, %ax
    movq %rax, ST + 216
    movw %gs, %ax
    movq %rax, ST + 224
    rdfsbase %rax
    movq %rax, ST + 176
    rdgsbase %rax
    movq %rax, ST + 184
    movl $7, %eax
    xorl %edx, %edx
    movq $ST + 256, %rbx
    xsave64 (%rbx)
guest_blob_start:
    outb %al, $PORT
    movl $7, %eax
    xorl %edx, %edx
    movq $ST + 256, %rbx
    xrstor64 (%rbx)
    movl ST + 160, %eax
    movl %eax, %ds
    movl ST + 168, %eax
    movl %eax, %es
    movl ST + 216, %eax
    movl %eax, %fs
    movl ST + 224, %eax
    movl %eax, %gs
    movq ST + 176, %rax
    wrfsbase %rax
    movq ST + 184, %rax
    wrgsbase %rax
    pushq ST + 152
    pushq ST + 32
    pushq ST + 136
    pushq ST + 144
    pushq ST + 128
    movq ST + 0, %rax
    movq ST + 8, %rcx
    movq ST + 16, %rdx
    movq ST + 24, %rbx
    movq ST + 40, %rbp
    movq ST + 48, %rsi
    movq ST + 56, %rdi
    movq ST + 64, %r8
    movq ST + 72, %r9
    movq ST + 80, %r10
    movq ST + 88, %r11
    movq ST + 96, %r12
    movq ST + 104, %r13
    movq ST + 112, %r14
    movq ST + 120, %r15
    iretq
guest_blob_end:

    .section .note.GNU-stack, "", @progbits
