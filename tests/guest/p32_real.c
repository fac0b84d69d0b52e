#include "guest32.h"

/* Real mode and back: segments, 16-bit code, interrupts by the IVT, "unreal"
 * mode; and 16-bit strings and stacks. */

enum { OUT = 0x5000 }; /* results, read afterwards */

CODE16(r_basic, "movw %cs, %ax\n movw %ax, 0x5000\n"
                "movl $0x11223344, %eax\n movl %eax, 0x5004\n"
                "movw %sp, 0x5008\n"
                "smsw %ax\n movw %ax, 0x500a\n"
                "ret");
CODE16(r_segments, "movw $0x1234, %ax\n movw %ax, %es\n"
                   "movw $0x5678, %es:0x10\n" /* 0x12350 */
                   "movw $0xffff, %ax\n movw %ax, %es\n"
                   "movw %es:0x20, %ax\n movw %ax, 0x5010\n" /* 0x100010 */
                   "ret");
CODE16(r_int, "movw $0x7000 + (1f - r_int), 0x204\n" /* INT 0x81 */
              "movw $0, 0x206\n"
              "sti\n"
              "int $0x81\n"
              "pushfw\n popw %ax\n movw %ax, 0x5002\n"
              "cli\n ret\n"
              "1: pushfw\n popw %ax\n movw %ax, 0x5000\n"
              "movw %sp, 0x5004\n"
              "iretw");
CODE16(r_div, "movw $0x7000 + (1f - r_div), 0\n movw $0, 2\n"
              "xorw %ax, %ax\n xorw %dx, %dx\n xorw %cx, %cx\n"
              "2: divw %cx\n ret\n"
              "1: popw %bx\n movw %bx, 0x5000\n" /* IP of the DIV */
              "addw $2, %bx\n pushw %bx\n iretw");
CODE16(r_strings, "movw $0x5100, %si\n movw $0x5200, %di\n movw $64, %cx\n"
                  "cld\n rep movsw\n"
                  "movl $0x12340000 + 10, %ecx\n movw $0x5300, %di\n"
                  "movb $0xee, %al\n rep stosb\n movl %ecx, 0x5004\n"
                  "ret");
CODE16(r_wrap, "movw $0xffff, %bx\n movb 1(%bx), %al\n" /* wraps to 0 */
               "movb %al, 0x5000\n ret");
CODE16(r_gp, "movw $0x7000 + (1f - r_gp), 13 * 4\n movw $0, 13 * 4 + 2\n"
             "movl $0x10000, %ebx\n"
             "2: movb (%ebx), %al\n ret\n"
             "1: popw %ax\n movw %ax, 0x5000\n addw $3, %ax\n pushw %ax\n"
             "iretw");
CODE16(r_far, "lcall $0x700, $(1f - r_far)\n movw %ax, 0x5000\n ret\n"
              "1: movw %cs, %ax\n lretw");
CODE16(r_pushes, "movw %sp, %bp\n pushal\n popal\n pushl $0x55667788\n"
                 "popw %ax\n popw %bx\n movw %ax, 0x5000\n"
                 "movw %bx, 0x5002\n subw %sp, %bp\n movw %bp, 0x5004\n ret");

/* PUSH and CALL over the code behind them, which is to run as it is then. */
CODE16(r_push_code, "xorw %ax, %ax\n movw %sp, %bp\n"
                    "movw $0x7000 + (1f - r_push_code) + 2, %sp\n"
                    "pushw $0x4040\n" /* incw %ax, twice */
                    "1: nop\n nop\n"
                    "movw %ax, 0x5000\n movw %bp, %sp\n ret");
CODE16(r_call_code, "xorw %ax, %ax\n movw %sp, %bp\n"
                    "movw $0x7000 + (2f - r_call_code) + 2, %sp\n"
                    "jmp 1f\n"
                    ".org r_call_code + 0x8d\n"
                    "1: callw 2f\n" /* pushes 0x7090: NOP, JO, not taken */
                    "nop\n"
                    "2: incw %ax\n incw %ax\n nop\n"
                    "movw %ax, 0x5000\n movw %bp, %sp\n ret");
/* SP wraps in 16 bits; the upper half of ESP stays. */
CODE16(r_sp_wrap, "movl %esp, %ebp\n movl $0x12340000, %esp\n"
                  "pushw $0x5a5b\n movl %esp, 0x5000\n"
                  "popw %ax\n movw %ax, 0x5004\n movl %esp, 0x5008\n"
                  "movl %ebp, %esp\n ret");
/* A word at 0xffff is beyond the limit: #SS, with SP as it was. The handler
 * needs another stack. */
CODE16(r_sp_limit, "movw $0x7000 + (9f - r_sp_limit), 12 * 4\n"
                   "movw $0, 12 * 4 + 2\n"
                   "movl %esp, %ebp\n xorw %si, %si\n"
                   "movw $0xffff, %sp\n"
                   "1: popw %ax\n"
                   "2: movl %ebp, %esp\n movw %si, 0x5000\n ret\n"
                   "9: incw %si\n movw %sp, 0x5002\n jmp 2b");
/* Another PUSH at the same address each time. */
CODE16(r_patch, "movw $4, %cx\n xorw %dx, %dx\n"
                "1: movw $0x1111, %ax\n movw $0x2222, %bx\n"
                "2: pushw %ax\n popw %si\n addw %si, %dx\n"
                "xorb $3, 0x7000 + (2b - r_patch)\n" /* AX, BX in turn */
                "loop 1b\n movw %dx, 0x5000\n ret");
CODE16(r_es_source, "movw $0x530, %ax\n movw %ax, %es\n"
                    "xorw %si, %si\n cld\n es lodsb\n"
                    "movb %al, 0x5000\n movw $0, %ax\n movw %ax, %es\n"
                    "ret");

#define RUN(name) real_run(name, name##_end)

static uint32_t out16(unsigned off)
{
    return peek(OUT + off) & 0xffff;
}

static void test_basic(void)
{
    RUN(r_basic);
    CHECK_EQ(out16(0), 0);
    CHECK_EQ(peek(OUT + 4), 0x11223344);
    CHECK_EQ(out16(8), REAL_STACK - 2);
    CHECK_EQ(out16(10) & 1, 0);
    RUN(r_segments);
    CHECK_EQ(peek(0x12350) & 0xffff, 0x5678);
    CHECK_EQ(out16(0x10), peek(0x100010) & 0xffff); /* A20 is on */
}

static void test_interrupts(void)
{
    RUN(r_int);
    CHECK_EQ(out16(0) & 0x200, 0);     /* IF is off in the handler */
    CHECK_EQ(out16(2) & 0x200, 0x200); /* and back after IRET */
    CHECK_EQ(out16(4), REAL_STACK - 2 - 6);
    RUN(r_div);
    CHECK_EQ(out16(0), REAL_CODE + 18);
    RUN(r_gp);
    CHECK_EQ(out16(0), REAL_CODE + 18);
}

static void test_data(void)
{
    for (unsigned i = 0; i < 64; i++)
        poke(0x5100 + 2 * i, i * 0x101);
    RUN(r_strings);
    for (unsigned i = 0; i < 64; i++)
        CHECK_EQ(peek(0x5200 + 2 * i) & 0xffff, peek(0x5100 + 2 * i) & 0xffff);
    CHECK_EQ(peek(0x5300), 0xeeeeeeee);
    CHECK_EQ(peek(OUT + 4), 0x12340000);
    poke(0, (peek(0) & ~0xffu) | 0x3c);
    RUN(r_wrap);
    CHECK_EQ(peek(OUT) & 0xff, 0x3c);
    RUN(r_far);
    CHECK_EQ(out16(0), 0x700);
    RUN(r_pushes);
    CHECK_EQ(out16(0), 0x7788);
    CHECK_EQ(out16(2), 0x5566);
    CHECK_EQ(out16(4), 0);
}

static void test_stack(void)
{
    RUN(r_sp_wrap);
    CHECK_EQ(peek(OUT), 0x1234fffe);
    CHECK_EQ(out16(4), 0x5a5b);
    CHECK_EQ(peek(OUT + 8), 0x12340000);
    RUN(r_patch);
    CHECK_EQ(out16(0), 0x6666);
    RUN(r_push_code);
    CHECK_EQ(out16(0), 2);
    RUN(r_call_code);
    CHECK_EQ(out16(0), 0);
    RUN(r_sp_limit);
    CHECK_EQ(out16(0), 1);
    CHECK_EQ(out16(2), 0xffff - 6);
    poke(0, (peek(0) & ~0xffu) | 0x3c);
    poke(0x5300, 0x99);
    RUN(r_es_source);
    CHECK_EQ(peek(OUT) & 0xff, 0x99);
}

/* A flat limit that was loaded in protected mode stays in real mode. */
CODE16(r_unreal, "lgdtl 0x5040\n"
                 "movl %cr0, %eax\n orb $1, %al\n movl %eax, %cr0\n"
                 "movw $0x18, %bx\n movw %bx, %fs\n"
                 "andb $0xfe, %al\n movl %eax, %cr0\n"
                 "movl $0x200000, %ebx\n"
                 "movl $0xfeedbeef, %fs:(%ebx)\n"
                 "ret");

static void test_unreal(void)
{
    struct __attribute__((packed)) {
        uint16_t limit;
        uint32_t base;
    } gdtr;

    __asm__ volatile("sgdt %0" : "=m"(gdtr));
    memcpy((void *)0x5040, &gdtr, 6);
    poke(0x200000, 0);
    RUN(r_unreal);
    CHECK_EQ(peek(0x200000), 0xfeedbeef);
}

int main(void)
{
    outb(0x21, 0xff); /* there are no handlers for the 8259s' interrupts */
    outb(0xa1, 0xff);
    for (unsigned i = 0; i < 20; i++) {
        test_basic();
        test_interrupts();
        test_data();
        test_stack();
    }
    test_unreal();
    return 0;
}
