#include "guest.h"

/* Long mode, compatibility mode, protected mode, real mode, and all the way
 * back (SDM vol. 3, 9.8.5, 9.9), many times, with the registers kept. */

#define LOW   "0x7000"
#define SAVED "0x7f00" /* RSP, CR3 */
#define MARKS 0x7e00   /* what each mode has written */

CODE(tour,
     "pushq %rbx\n pushq %rbp\n pushq %r12\n pushq %r13\n pushq %r14\n"
     "pushq %r15\n"
     "movq $0x123456789abcdef, %rbx\n movq %rbx, %r12\n"
     "movq %rsp, " SAVED "\n movq %cr3, %rax\n movq %rax, " SAVED " + 8\n"
     "ljmp *" LOW " + (far_compat - tour)\n"
     "far_compat: .long " LOW " + (in_compat - tour)\n .word 0x08\n"
     ".code32\n"
     "in_compat:\n"
     "movl %cs, %eax\n movl %eax, 0x7e00\n"
     "incl %ebx\n" /* the upper half is lost or kept: not relied on */
     "movl %cr0, %eax\n andl $0x7fffffff, %eax\n movl %eax, %cr0\n"
     "movl $0xc0000080, %ecx\n rdmsr\n andl $~0x100, %eax\n wrmsr\n"
     "rdmsr\n movl %eax, 0x7e04\n"
     "movl $0x18, %eax\n movl %eax, %ds\n movl %eax, %ss\n"
     "movl $0x11223344, 0x7e08\n"
     "ljmp $0x38, $" LOW " + (in_16 - tour)\n"
     ".code16\n"
     "in_16:\n"
     "movw $0x58, %ax\n movw %ax, %ds\n movw %ax, %es\n movw %ax, %ss\n"
     "movl %cr0, %eax\n andb $0xfe, %al\n movl %eax, %cr0\n"
     "ljmp $0, $" LOW " + (in_real - tour)\n"
     "in_real:\n"
     "xorw %ax, %ax\n movw %ax, %ds\n movw %ax, %ss\n movw $0x7d00, %sp\n"
     "movw %cs, %ax\n notw %ax\n movw %ax, 0x7e0c\n"
     "pushl $0x5a5a1234\n popl 0x7e10\n"
     "movl %cr0, %eax\n orb $1, %al\n movl %eax, %cr0\n"
     "ljmpl $0x08, $" LOW " + (in_prot - tour)\n"
     ".code32\n"
     "in_prot:\n"
     "movl $0x18, %eax\n movl %eax, %ds\n movl %eax, %es\n movl %eax, %ss\n"
     "movl %cs, %eax\n movl %eax, 0x7e14\n"
     "movl $0xc0000080, %ecx\n rdmsr\n orl $0x100, %eax\n wrmsr\n"
     "movl " SAVED " + 8, %eax\n movl %eax, %cr3\n"
     "movl %cr0, %eax\n orl $0x80000000, %eax\n movl %eax, %cr0\n"
     "ljmp $0x10, $" LOW " + (in_long - tour)\n"
     ".code64\n"
     "in_long:\n"
     "movq " SAVED ", %rsp\n movl %cs, %eax\n movl %eax, 0x7e18\n"
     "movl $0xc0000080, %ecx\n rdmsr\n movl %eax, 0x7e1c\n"
     "popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbp\n popq %rbx\n"
     "ret\n");

static uint32_t mark(unsigned off)
{
    uint32_t v;

    __asm__ volatile("movl (%1), %0"
                     : "=r"(v)
                     : "r"((uint64_t)MARKS + off)
                     : "memory");
    return v;
}

int main(void)
{
    uint64_t low = 0x7000;

    gdt[SEL_FREE / 8 + 1] = 0x000093000000ffff; /* 58: 64 KiB of data */
    for (unsigned i = 0; i < 50; i++) {
        memset((void *)(uint64_t)MARKS, 0, 64);
        memcpy((void *)low, tour, (size_t)(tour_end - tour));
        __asm__ volatile("call *%0" ::"r"(low)
                         : "rax", "rcx", "rdx", "memory", "cc");
        CHECK_EQ(mark(0), SEL_CODE32);
        CHECK_EQ(mark(4) & 0x500, 0); /* LME, LMA */
        CHECK_EQ(mark(8), 0x11223344);
        CHECK_EQ(mark(12) & 0xffff, 0xffff);
        CHECK_EQ(mark(16), 0x5a5a1234);
        CHECK_EQ(mark(20) & 0xffff, SEL_CODE32);
        CHECK_EQ(mark(24), SEL_CODE64);
        CHECK_EQ(mark(28) & 0x500, 0x500);
    }
    return 0;
}
