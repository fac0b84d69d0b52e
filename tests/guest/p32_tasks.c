#include "guest32.h"

/* Hardware task switches: by JMP, CALL and IRET, task gates in the IDT
 * (SDM vol. 3, 8). */

enum { SEL_T1 = SEL_FREE };

static uint32_t t1[26], stack1[256];
static volatile uint32_t ran, seen_cs, seen_flags, seen_tr;

static void far_jump(uint32_t sel)
{
    struct __attribute__((packed)) {
        uint32_t off;
        uint16_t sel;
    } target = {0, (uint16_t)sel};

    __asm__ volatile("ljmp *%0" ::"m"(target) : "memory");
}

static void far_call(uint32_t sel)
{
    struct __attribute__((packed)) {
        uint32_t off;
        uint16_t sel;
    } target = {0, (uint16_t)sel};

    __asm__ volatile("lcall *%0" ::"m"(target) : "memory");
}

static uint32_t current_task(void)
{
    uint32_t tr;

    __asm__ volatile("str %0" : "=r"(tr));
    return tr & 0xffff;
}

static uint32_t flags(void)
{
    uint32_t v;

    __asm__ volatile("pushfl\n popl %0" : "=r"(v));
    return v;
}

static void task_jump(void)
{
    for (;;) {
        ran++;
        seen_tr = current_task();
        seen_flags = flags();
        far_jump(SEL_TSS);
    }
}

static void task_call(void)
{
    for (;;) {
        ran++;
        seen_tr = current_task();
        seen_flags = flags();
        __asm__ volatile("iretl");
    }
}

static void prepare(void (*entry)(void))
{
    memset(t1, 0, sizeof(t1));
    t1[8] = (uint32_t)entry;
    t1[9] = 2;
    t1[10] = 0x11111111; /* EAX */
    t1[14] = (uint32_t)(stack1 + 256);
    t1[18] = SEL_DATA; /* ES */
    t1[19] = SEL_CODE32;
    for (unsigned i = 20; i < 24; i++)
        t1[i] = SEL_DATA;
    t1[25] = 104u << 16;
    set_descriptor(SEL_T1, (uint32_t)t1, 103, 0x89);
    ran = 0;
}

static unsigned type_of(unsigned sel)
{
    return (unsigned)(gdt[sel / 8] >> 40) & 15;
}

static void test_jump(void)
{
    uint32_t ebx = 0x1234abcd;

    prepare(task_jump);
    __asm__ volatile("" : "+b"(ebx));
    far_jump(SEL_T1);
    __asm__ volatile("" : "+b"(ebx));
    CHECK_EQ(ebx, 0x1234abcd);
    CHECK_EQ(ran, 1);
    CHECK_EQ(seen_tr, SEL_T1);
    CHECK_EQ(seen_flags & 0x4000, 0); /* JMP does not nest */
    CHECK_EQ(current_task(), SEL_TSS);
    CHECK_EQ(type_of(SEL_T1), 9); /* available again */
    CHECK_EQ(type_of(SEL_TSS), 11);
    CHECK_EQ(READ_CR(0) & 8, 8); /* TS is set by a switch */
    __asm__ volatile("clts");
    far_jump(SEL_T1); /* goes on in the middle of its loop */
    CHECK_EQ(ran, 2);
}

static void test_call(void)
{
    prepare(task_call);
    far_call(SEL_T1);
    CHECK_EQ(ran, 1);
    CHECK_EQ(seen_flags & 0x4000, 0x4000); /* NT */
    CHECK_EQ(t1[0] & 0xffff, SEL_TSS);     /* back link */
    CHECK_EQ(flags() & 0x4000, 0);
    CHECK_EQ(current_task(), SEL_TSS);
    CHECK_EQ(type_of(SEL_T1), 9);
    far_call(SEL_T1);
    CHECK_EQ(ran, 2);
}

static void busy_jump(uint32_t sel)
{
    far_jump(sel);
}

static void test_errors(void)
{
    struct fault f;

    prepare(task_call);
    set_descriptor(SEL_T1, (uint32_t)t1, 103, 0x8b); /* busy */
    f = guarded(busy_jump, SEL_T1);
    CHECK_EQ(f.f.vector, 13);
    CHECK_EQ(f.f.error, SEL_T1);
    set_descriptor(SEL_T1, (uint32_t)t1, 102, 0x89); /* too short */
    f = guarded(busy_jump, SEL_T1);
    CHECK_EQ(f.f.vector, 10);
    CHECK_EQ(f.f.error, SEL_T1);
    set_descriptor(SEL_T1, (uint32_t)t1, 103, 0x09); /* not present */
    f = guarded(busy_jump, SEL_T1);
    CHECK_EQ(f.f.vector, 11);
    CHECK_EQ(f.f.error, SEL_T1);
    CHECK_EQ(current_task(), SEL_TSS);
}

/* An exception through a task gate has its own registers and stack. */
static volatile uint32_t gate_error;

__attribute__((used)) static void on_gp(uint32_t error)
{
    ran++;
    gate_error = error;
    seen_tr = current_task();
    tss()[8] += 2; /* over the INT that faulted */
}

CODE(gp_task, "1: popl %eax\n pushl %eax\n call on_gp\n addl $4, %esp\n"
              "iretl\n jmp 1b");

static void test_gate(void)
{
    set_gate(0x99, 0, 0, 0x8000); /* present, no such type: #GP */
    prepare((void (*)(void))(uint32_t)gp_task);
    set_gate(13, 0, SEL_T1, 0x8500);
    __asm__ volatile("int $0x99" ::: "memory");
    CHECK_EQ(ran, 1);
    CHECK_EQ(gate_error, 0x99 * 8 + 2);
    CHECK_EQ(seen_tr, SEL_T1);
    CHECK_EQ(current_task(), SEL_TSS);
}

int main(void)
{
    test_jump();
    test_call();
    test_errors();
    test_gate();
    return 0;
}
