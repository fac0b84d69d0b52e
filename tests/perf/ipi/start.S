/*
 * From a Multiboot loader (Multiboot 0.6.96, 3.2: 32-bit protected mode, flat
 * segments) or from a start-up IPI (16-bit real mode at AP_BASE) to 64-bit C.
 * The first 4 GiB are mapped one to one with 2-MiB pages, the local APIC's
 * registers among them.
 */
        .set    AP_BASE, 0x8000
        .set    CODE32, 0x08
        .set    DATA, 0x10
        .set    CODE64, 0x18
        .set    CR0_PE, 1
        .set    CR0_PG, 0x80000000
        .set    CR4_PAE, 0x20
        .set    MSR_EFER, 0xc0000080
        .set    EFER_LME, 0x100

        .section .multiboot, "a"
        .balign 4
        .long   0x1badb002              /* magic, no flags, checksum */
        .long   0
        .long   -0x1badb002

        .text
        .code32
        .globl  start
start:
        cld
        movl    $stack_bsp, %esp
        call    map_memory
        movl    $main, %ebx
        jmp     enter_long

/* Four page directories of 512 2-MiB pages, below one PDPT. */
map_memory:
        movl    $directories, %edi
        movl    $0x83, %eax             /* present, writable, large */
        movl    $2048, %ecx
1:      movl    %eax, (%edi)
        addl    $0x200000, %eax
        addl    $8, %edi
        loop    1b
        movl    $directories + 3, %eax
        movl    $pdpt, %edi
        movl    $4, %ecx
2:      movl    %eax, (%edi)
        addl    $0x1000, %eax
        addl    $8, %edi
        loop    2b
        movl    $pdpt + 3, pml4
        ret

/* In 32-bit mode, the stack set up: call the 64-bit function at %ebx. */
        .globl  enter_long
enter_long:
        movl    $pml4, %eax
        movl    %eax, %cr3
        movl    %cr4, %eax
        orl     $CR4_PAE, %eax
        movl    %eax, %cr4
        movl    $MSR_EFER, %ecx
        rdmsr
        orl     $EFER_LME, %eax
        wrmsr
        movl    %cr0, %eax
        orl     $CR0_PG, %eax
        movl    %eax, %cr0
        lgdt    gdt_pointer
        ljmp    $CODE64, $1f
        .code64
1:      movl    $DATA, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss
        movl    %ebx, %eax
        call    *%rax
2:      hlt
        jmp     2b

/* Copied to AP_BASE: position counts only as a distance from ap_start. */
        .globl  ap_start, ap_end
        .code16
ap_start:
        cli
        xorw    %ax, %ax
        movw    %ax, %ds
        lgdtl   AP_BASE + (ap_gdt_pointer - ap_start)
        movl    %cr0, %eax
        orb     $CR0_PE, %al
        movl    %eax, %cr0
        ljmpl   $CODE32, $ap_32
        .balign 4
ap_gdt_pointer:
        .word   gdt_end - gdt - 1
        .long   gdt
ap_end:

        .code32
ap_32:
        movl    $DATA, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss
        movl    $stack_ap, %esp
        movl    $ap_main, %ebx
        jmp     enter_long

        .data
        .balign 8
gdt:
        .quad   0
        .quad   0x00cf9b000000ffff      /* CODE32 */
        .quad   0x00cf93000000ffff      /* DATA */
        .quad   0x00af9b000000ffff      /* CODE64 */
gdt_end:
gdt_pointer:
        .word   gdt_end - gdt - 1
        .long   gdt

        .bss
        .balign 4096
pml4:   .skip   4096
pdpt:   .skip   4096
directories:
        .skip   4 * 4096
        .skip   8192
stack_bsp:
        .skip   8192
stack_ap:
        .section .note.GNU-stack, "", @progbits
