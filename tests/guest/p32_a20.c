#include "guest32.h"

/*
 * The A20 gate, by each of its handles: with it closed, 0x105100 is 0x5100 for
 * data, strings and code; memory keeps what it has. All of it runs below 1 MiB
 * in real mode, where both can be reached.
 */
enum { OUT = 0x5000 }; /* results, read afterwards */

/* What is at 0x105100 and 0x105200 is the guest's own: it comes back. */
#define BEGIN                                                                  \
    "movw $0xffff, %ax\n movw %ax, %es\n"                                      \
    "movl %es:0x5110, %ebp\n movl %es:0x5114, %ebx\n"                          \
    "pushl %ebx\n pushl %ebp\n"                                                \
    "movl $0x11111111, 0x5100\n movl $0x11111111, 0x5104\n"                    \
    "movl $0x22222222, %es:0x5110\n movl $0x22222222, %es:0x5114\n"
#define END                                                                    \
    "popl %ebp\n popl %ebx\n"                                                  \
    "movl %ebp, %es:0x5110\n movl %ebx, %es:0x5114\n"                          \
    "ret"

/* 0x5000: seen closed; 0x5004: written closed; 0x5008, c: seen open again */
#define LOOK_CLOSED                                                            \
    "movl %es:0x5110, %eax\n movl %eax, 0x5000\n"                              \
    "movl $0x33333333, %es:0x5110\n"                                           \
    "movw $0x5114, %di\n movw $1, %cx\n movl $0x44444444, %eax\n"              \
    "cld\n rep stosl\n"
#define LOOK_OPEN                                                              \
    "movl 0x5100, %eax\n movl %eax, 0x5004\n"                                  \
    "movl %es:0x5110, %eax\n movl %eax, 0x5008\n"                              \
    "movl 0x5104, %eax\n movl %eax, 0x500c\n"                                  \
    "movl %es:0x5114, %eax\n movl %eax, 0x5010\n"

CODE16(a_port92, BEGIN "inb $0x92, %al\n movb %al, 0x5020\n"
                       "andb $0xfc, %al\n outb %al, $0x92\n" LOOK_CLOSED
                       "inb $0x92, %al\n movb %al, 0x5021\n"
                       "orb $2, %al\n outb %al, $0x92\n" LOOK_OPEN END);
CODE16(a_output_port,
       BEGIN "movb $0xd1, %al\n outb %al, $0x64\n"
             "movb $0xdd, %al\n outb %al, $0x60\n" LOOK_CLOSED
             "movb $0xd1, %al\n outb %al, $0x64\n"
             "movb $0xdf, %al\n outb %al, $0x60\n" LOOK_OPEN END);
CODE16(a_command, BEGIN "movb $0xdd, %al\n outb %al, $0x64\n" LOOK_CLOSED
                        "movb $0xdf, %al\n outb %al, $0x64\n" LOOK_OPEN END);
/* One handle closes what the other opened, and the other way round. */
CODE16(a_both, BEGIN "movb $0xdd, %al\n outb %al, $0x64\n"
                     "inb $0x92, %al\n movb %al, 0x5020\n" LOOK_CLOSED
                     "movb $2, %al\n outb %al, $0x92\n" LOOK_OPEN END);
/* Code at FFFF:5210, called while the gate is open, closed and open. */
CODE16(a_code, "movw $0xffff, %ax\n movw %ax, %es\n"
               "pushl %es:0x5210\n pushl %es:0x5214\n"
               "movl $0xcb01b0, 0x5200\n"     /* mov al, 1; retf */
               "movl $0xcb02b0, %es:0x5210\n" /* mov al, 2; retf */
               "movw $0x5000, %si\n movw $3, %cx\n"
               "1: inb $0x92, %al\n orb $2, %al\n" /* 3, 1: open; 2: closed */
               "testb $1, %cl\n jnz 2f\n andb $0xfd, %al\n"
               "2: andb $0xfe, %al\n outb %al, $0x92\n"
               "lcallw $0xffff, $0x5210\n"
               "movb %al, (%si)\n incw %si\n loop 1b\n"
               "popl %es:0x5214\n popl %es:0x5210\n"
               "ret");

#define RUN(name) real_run(name, name##_end)

static void check_data(void)
{
    CHECK_EQ(peek(OUT), 0x11111111);
    CHECK_EQ(peek(OUT + 4), 0x33333333);
    CHECK_EQ(peek(OUT + 8), 0x22222222);
    CHECK_EQ(peek(OUT + 12), 0x44444444);
    CHECK_EQ(peek(OUT + 16), 0x22222222);
    for (unsigned i = 0; i < 0x14; i += 4)
        poke(OUT + i, 0);
}

int main(void)
{
    outb(0x21, 0xff); /* there are no handlers for the 8259s' interrupts */
    outb(0xa1, 0xff);
    for (unsigned i = 0; i < 20; i++) {
        RUN(a_port92);
        check_data();
        CHECK_EQ(peek(OUT + 0x20) & 0x202, 2); /* it reads as it is */
        RUN(a_output_port);
        check_data();
        RUN(a_command);
        check_data();
        RUN(a_both);
        check_data();
        RUN(a_code);
        CHECK_EQ(peek(OUT) & 0xffffff, 0x020102);
    }
    return 0;
}
