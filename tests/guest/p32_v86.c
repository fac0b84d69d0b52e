#include "guest32.h"

/* Virtual-8086 mode (SDM vol. 3, 21): entered by IRET, left by any
 * exception. */

enum { V86_CODE = 0x9000, V86_STACK = 0x9f00 };

static struct fault run(const uint8_t *start, const uint8_t *end,
                        uint32_t eflags)
{
    struct frame f = {.ds = SEL_DATA,
                      .es = SEL_DATA,
                      .fs = SEL_DATA,
                      .gs = SEL_DATA,
                      .cs = 0x900,
                      .eip = 0,
                      .eflags = 0x20002 | eflags,
                      .ss = 0x900,
                      .esp = 0xf00,
                      .v_ds = 0x900,
                      .v_es = 0x910,
                      .v_fs = 0x920,
                      .v_gs = 0x930};

    memcpy((void *)V86_CODE, start, (size_t)(end - start));
    return enter(&f);
}

#define RUN(name, flags) run(name, name##_end, flags)

CODE16(v_done, "movw $0x1234, %ax\n movw %ax, 0x800\n movw %ds, %bx\n"
               "int $0x81");
CODE16(v_cli, "cli");
CODE16(v_sti, "sti\n int $0x81");
CODE16(v_hlt, "hlt");
CODE16(v_pushf, "pushfw\n popw %ax\n int $0x81");
CODE16(v_iret, "iretw");
CODE16(v_in, "inb $0x40, %al\n int $0x81");
CODE16(v_int3, "int3");
CODE16(v_ud, "ud2");
CODE16(v_segment, "movw $0x1000, %ax\n movw %ax, %es\n"
                  "movl $0x5a5a1234, %es:0x10\n int $0x81");
CODE16(v_limit, "movl $0x10000, %ebx\n movb (%bx), %al\n"
                "movb (%ebx), %al");
CODE16(v_far, "lcall $0x908, $0\n int $0x81");
CODE16(v_priv, "movl %cr0, %eax");
CODE16(v_lldt, ".byte 0x0f, 0x00, 0xd0");

/* Registers and segments are on the stack of ring 0. */
static void test_state(void)
{
    struct fault f = RUN(v_done, 0x3000);

    CHECK_EQ(f.f.vector, VECTOR_DONE);
    CHECK_EQ(f.f.eflags & 0x20000, 0x20000);
    CHECK_EQ(f.f.eax & 0xffff, 0x1234);
    CHECK_EQ(f.f.ebx & 0xffff, 0x900);
    CHECK_EQ(f.f.cs, 0x900);
    CHECK_EQ(f.f.ss, 0x900);
    CHECK_EQ(f.f.esp, 0xf00);
    CHECK_EQ(f.f.v_ds, 0x900);
    CHECK_EQ(f.f.v_es, 0x910);
    CHECK_EQ(f.f.v_fs, 0x920);
    CHECK_EQ(f.f.v_gs, 0x930);
    CHECK_EQ(peek(0x9800) & 0xffff, 0x1234);
}

/* With IOPL below 3 these are #GP(0); with 3 they run. */
static void test_iopl(void)
{
    CHECK_EQ(RUN(v_cli, 0).f.vector, 13);
    CHECK_EQ(RUN(v_cli, 0).f.error, 0);
    CHECK_EQ(RUN(v_pushf, 0).f.vector, 13);
    CHECK_EQ(RUN(v_iret, 0).f.vector, 13);
    CHECK_EQ(RUN(v_done, 0).f.vector, 13); /* INT n */
    CHECK_EQ(RUN(v_hlt, 0x3000).f.vector, 13);
    CHECK_EQ(RUN(v_int3, 0).f.vector, 3 /* not sensitive to IOPL */);
    CHECK_EQ(RUN(v_ud, 0).f.vector, 6);
    CHECK_EQ(RUN(v_pushf, 0x3000).f.eax & 0x3000, 0x3000);
    CHECK_EQ(RUN(v_sti, 0x3000).f.eflags & 0x200, 0x200);
    CHECK_EQ(RUN(v_in, 0x3000).f.vector, 13); /* ports: the bitmap decides */
    CHECK_EQ(RUN(v_priv, 0x3000).f.vector, 13);
    CHECK_EQ(RUN(v_lldt, 0x3000).f.vector, 6);
}

static void test_segments(void)
{
    struct fault f;

    poke(0x10010, 0);
    CHECK_EQ(RUN(v_segment, 0x3000).f.vector, VECTOR_DONE);
    CHECK_EQ(peek(0x10010), 0x5a5a1234);
    f = RUN(v_limit, 0x3000);
    CHECK_EQ(f.f.vector, 13); /* beyond 64 KiB */
    CHECK_EQ(f.f.eip, 8);
    memset((void *)0x9080, 0x90, 16);
    *(volatile uint8_t *)0x9080 = 0xcb; /* lret */
    f = RUN(v_far, 0x3000);
    CHECK_EQ(f.f.vector, VECTOR_DONE);
    CHECK_EQ(f.f.esp, 0xf00);
}

int main(void)
{
    set_gate(3, (uint32_t)0, 0, 0);
    {
        extern const uint8_t trap_entries[];

        set_gate(3, (uint32_t)trap_entries + 16 * 3, SEL_CODE32, 0xee00);
    }
    test_state();
    test_iopl();
    test_segments();
    return 0;
}
