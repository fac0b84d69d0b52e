#include "guest32.h"

/* Segment limits, types and privileges in protected mode (SDM vol. 3, 5). */

enum { SEL = SEL_FREE, SEL2 = SEL_FREE + 8, SEL3 = SEL_FREE + 16 };

/* Data accesses through FS = SEL at the given offset. */
static void read_byte(uint32_t off)
{
    __asm__ volatile("movl %0, %%fs\n movb %%fs:(%1), %%al" ::"r"(SEL), "r"(off)
                     : "eax");
}

static void read_long(uint32_t off)
{
    __asm__ volatile("movl %0, %%fs\n movl %%fs:(%1), %%eax" ::"r"(SEL),
                     "r"(off)
                     : "eax");
}

static void write_byte(uint32_t off)
{
    __asm__ volatile("movl %0, %%fs\n movb $1, %%fs:(%1)" ::"r"(SEL), "r"(off)
                     : "memory");
}

static unsigned vector(void (*fn)(uint32_t), uint32_t off)
{
    struct fault f = guarded(fn, off);

    if (f.f.vector != NO_FAULT)
        CHECK_EQ(f.f.error, 0);
    return f.f.vector;
}

static void test_limits(void)
{
    uint32_t page = page_alloc();

    set_descriptor(SEL, page, 0xff, 0x4093);
    poke(page + 0x40, 0x12345678);
    CHECK_EQ(vector(read_byte, 0xff), NO_FAULT);
    CHECK_EQ(vector(read_byte, 0x100), 13);
    CHECK_EQ(vector(read_long, 0xfc), NO_FAULT);
    CHECK_EQ(vector(read_long, 0xfd), 13);
    CHECK_EQ(vector(read_long, 0xffffffff), 13);
    CHECK_EQ(vector(write_byte, 0xff), NO_FAULT);
    CHECK_EQ(vector(write_byte, 0x100), 13);
    set_descriptor(SEL, page, 0, 0xc093); /* 4 KiB by granularity */
    CHECK_EQ(vector(read_byte, 0xfff), NO_FAULT);
    CHECK_EQ(vector(read_byte, 0x1000), 13);
    set_descriptor(SEL, page, 0xff, 0x4091); /* read-only */
    CHECK_EQ(vector(read_byte, 0), NO_FAULT);
    CHECK_EQ(vector(write_byte, 0), 13);
    set_descriptor(SEL, 0, 0xfffff, 0xc09b); /* readable code */
    CHECK_EQ(vector(read_byte, 0), NO_FAULT);
    CHECK_EQ(vector(write_byte, 0x1000), 13);
    /* Expand-down: what is above the limit is valid. */
    set_descriptor(SEL, page - 0x100, 0xff, 0x4097);
    CHECK_EQ(vector(read_byte, 0x100), NO_FAULT);
    CHECK_EQ(vector(read_byte, 0xff), 13);
    CHECK_EQ(vector(read_byte, 0), 13);
    set_descriptor(SEL, page - 0xff00, 0xff00, 0x97); /* up to 64 KiB */
    CHECK_EQ(vector(read_byte, 0xff01), NO_FAULT);
    CHECK_EQ(vector(read_byte, 0xffff), NO_FAULT);
    CHECK_EQ(vector(read_byte, 0x10000), 13);
    CHECK_EQ(vector(read_long, 0xfffd), 13);
}

static void load_ds(uint32_t sel)
{
    __asm__ volatile("movl %0, %%ds\n movl %1, %%ds" ::"r"(sel), "r"(SEL_DATA));
}

static void load_ss(uint32_t sel)
{
    __asm__ volatile("movl %0, %%ss\n movl %1, %%ss" ::"r"(sel), "r"(SEL_DATA));
}

static void use_null(uint32_t off)
{
    __asm__ volatile("xorl %%eax, %%eax\n movl %%eax, %%gs\n"
                     "movb %%gs:(%0), %%al" ::"r"(off)
                     : "eax");
}

static void expect(void (*fn)(uint32_t), uint32_t arg, unsigned vec,
                   unsigned error)
{
    struct fault f = guarded(fn, arg);

    __asm__ volatile(
        "movl %0, %%ds\n movl %0, %%es\n movl %0, %%ss" ::"r"(SEL_DATA));
    CHECK_EQ(f.f.vector, vec);
    if (vec != NO_FAULT)
        CHECK_EQ(f.f.error, error);
}

static void test_loads(void)
{
    CHECK_EQ(vector(use_null, 0x1000), 13);
    expect(load_ss, 0, 13, 0);
    expect(load_ss, SEL_CODE32, 13, SEL_CODE32);
    expect(load_ss, SEL_USER_DATA, 13, SEL_USER_DATA & ~3u);
    expect(load_ds, 0x7ff8, 13, 0x7ff8);
    expect(load_ds, SEL_TSS, 13, SEL_TSS);
    set_descriptor(SEL, 0, 0xfffff, 0xc099); /* execute-only */
    expect(load_ds, SEL, 13, SEL);
    set_descriptor(SEL, 0, 0xfffff, 0xc013); /* not present */
    expect(load_ds, SEL, 11, SEL);
    expect(load_ss, SEL, 12, SEL);
    set_descriptor(SEL, 0, 0xfffff, 0xc091); /* read-only stack */
    expect(load_ss, SEL, 13, SEL);
    set_descriptor(SEL, 0, 0xfffff, 0xc092); /* accessed is set by a load */
    expect(load_ds, SEL, NO_FAULT, 0);
    CHECK_EQ((uint32_t)(gdt[SEL / 8] >> 40) & 1, 1);
}

/* A 16-bit stack segment: PUSH uses SP, and wraps in it. */
static void test_stack16(void)
{
    uint32_t page = page_alloc(), esp;

    (void)page_alloc();
    set_descriptor(SEL, page, 0xffff, 0x93);
    __asm__ volatile("movl %%esp, %%ebx\n"
                     "movl %1, %%ss\n movl $0xabcd0100, %%esp\n"
                     "pushl $0x11223344\n pushw $0x5566\n"
                     "movl %%esp, %0\n"
                     "movl %2, %%ss\n movl %%ebx, %%esp"
                     : "=&r"(esp)
                     : "r"(SEL), "r"(SEL_DATA)
                     : "ebx", "memory");
    CHECK_EQ(esp, 0xabcd00fa);
    CHECK_EQ(peek(page + 0xfc), 0x11223344);
    CHECK_EQ(peek(page + 0xfa) & 0xffff, 0x5566);
    __asm__ volatile("movl %%esp, %%ebx\n"
                     "movl %1, %%ss\n movl $0xabcd00f0, %%esp\n"
                     "subw $0xf0, %%sp\n"
                     "movl %2, %%ss\n movl %%esp, %0\n movl %%ebx, %%esp"
                     : "=&r"(esp)
                     : "r"(SEL), "r"(SEL_DATA)
                     : "ebx", "memory");
    CHECK_EQ(esp, 0xabcd0000);
}

/* PUSH below the limit of an expand-down stack is #SS(0). */
static void push_there(uint32_t esp)
{
    __asm__ volatile("movl %%esp, %%ebx\n movl %0, %%ss\n movl %1, %%esp\n"
                     "pushl $1\n"
                     "movl %2, %%ss\n movl %%ebx, %%esp" ::"r"(SEL),
                     "r"(esp), "r"(SEL_DATA)
                     : "ebx", "memory");
}

CODE(set_done, "int $0x81");

static void test_stack_limit(void)
{
    uint32_t page = page_alloc();

    /* A good stack is needed to deliver the fault: by a task's ring 0, so
     * run it in ring 3. */
    struct frame f = {.ds = SEL_USER_DATA,
                      .es = SEL_USER_DATA,
                      .fs = SEL_USER_DATA,
                      .gs = SEL_USER_DATA,
                      .cs = SEL_USER_CODE32,
                      .eflags = 2,
                      .ss = SEL | 3};
    struct fault g;

    extern const uint8_t push_code[];

    set_descriptor(SEL, page, 0xff, 0x40f7); /* expand-down, DPL 3 */
    f.eip = (uint32_t)push_code;
    f.esp = 0x102;
    g = enter(&f);
    CHECK_EQ(g.f.vector, 12);
    CHECK_EQ(g.f.error, 0);
    CHECK_EQ(g.f.esp, 0x102);
    f.esp = 0x104;
    g = enter(&f);
    CHECK_EQ(g.f.vector, VECTOR_DONE);
    CHECK_EQ(g.f.esp, 0x100);
    (void)push_there;
}

CODE(push_code, "pushl $0x77\n int $0x81");

/* Code segments: limit of EIP, far jumps and calls, conforming code. */
static void far_jump(uint32_t sel)
{
    struct __attribute__((packed)) {
        uint32_t off;
        uint16_t sel;
    } target = {0, (uint16_t)sel};

    __asm__ volatile("ljmp *%0" ::"m"(target));
}

static void far_call(uint32_t sel)
{
    struct __attribute__((packed)) {
        uint32_t off;
        uint16_t sel;
    } target = {0, (uint16_t)sel};

    __asm__ volatile("lcall *%0" ::"m"(target) : "eax", "memory");
}

CODE(small_code, "nop\n nop\n int $0x81");
CODE(far_ret, "movl %cs, %eax\n lret");
CODE16(code16, "movl $0x12345678, %eax\n movw $0x9abc, %ax\n int $0x81");

static void test_code(void)
{
    struct fault f;

    set_descriptor(SEL, (uint32_t)small_code, 3, 0x409b);
    f = guarded(far_jump, SEL);
    CHECK_EQ(f.f.vector, VECTOR_DONE);
    CHECK_EQ(f.f.cs, SEL);
    CHECK_EQ(f.f.eip, 4);
    set_descriptor(SEL, (uint32_t)small_code, 2, 0x409b);
    f = guarded(far_jump, SEL); /* INT does not fit */
    CHECK_EQ(f.f.vector, 13);
    CHECK_EQ(f.f.error, 0);
    CHECK_EQ(f.f.eip, 2);
    set_descriptor(SEL, (uint32_t)code16, 0xffff, 0x9b);
    f = guarded(far_jump, SEL);
    CHECK_EQ(f.f.vector, VECTOR_DONE);
    CHECK_EQ(f.f.eax, 0x12349abc);
    set_descriptor(SEL, (uint32_t)far_ret, 0xff, 0x409b);
    expect(far_call, SEL, NO_FAULT, 0);
    expect(far_jump, SEL_DATA, 13, SEL_DATA);
    expect(far_jump, 0, 13, 0);
    expect(far_jump, SEL_USER_CODE32, 13, SEL_USER_CODE32 & ~3u);
    set_descriptor(SEL, (uint32_t)far_ret, 0xff, 0x401b);
    expect(far_jump, SEL, 11, SEL);
    expect(far_call, SEL, 11, SEL);
}

/* A call gate from ring 3 to ring 0 with two parameters. */
extern const uint8_t gate_entry[];

CODE(gate_user, "pushl $0x1111\n pushl $0x2222\n lcall $0x5b, $0\n"
                "movl %cs, %ecx\n movl %esp, %edx\n int $0x81");
CODE(gate_entry, "movl %cs, %eax\n movl 8(%esp), %ebx\n"
                 "movl 12(%esp), %esi\n movl %esp, %edi\n lret $8");

static void test_call_gate(void)
{
    struct frame f = {.ds = SEL_USER_DATA,
                      .es = SEL_USER_DATA,
                      .fs = SEL_USER_DATA,
                      .gs = SEL_USER_DATA,
                      .cs = SEL_USER_CODE32,
                      .eflags = 2,
                      .eip = (uint32_t)gate_user,
                      .ss = SEL_USER_DATA};
    uint32_t entry = (uint32_t)gate_entry;
    struct fault g;

    f.esp = page_alloc() + 0x800;
    gdt[SEL2 / 8] = (entry & 0xffff) | (uint64_t)SEL_CODE32 << 16 | 2ull << 32 |
                    0xec00ull << 32 | (uint64_t)(entry >> 16) << 48;
    g = enter(&f);
    CHECK_EQ(g.f.vector, VECTOR_DONE);
    CHECK_EQ(g.f.eax, SEL_CODE32);
    CHECK_EQ(g.f.ebx, 0x2222);
    CHECK_EQ(g.f.esi, 0x1111);
    CHECK_EQ(g.f.edi, tss()[1] - 24); /* SS, ESP, two, CS, EIP */
    CHECK_EQ(g.f.ecx, SEL_USER_CODE32);
    CHECK_EQ(g.f.edx, f.esp);
    gdt[SEL2 / 8] &= ~(0x6000ull << 32); /* DPL 0 */
    g = enter(&f);
    CHECK_EQ(g.f.vector, 13);
    CHECK_EQ(g.f.error, SEL2);
    gdt[SEL2 / 8] |= 0x6000ull << 32;
    gdt[SEL2 / 8] &= ~(0x8000ull << 32); /* not present */
    g = enter(&f);
    CHECK_EQ(g.f.vector, 11);
    CHECK_EQ(g.f.error, SEL2);
}

/* LAR, LSL, VERR, VERW, ARPL. */
static void test_queries(void)
{
    uint32_t ar = 0, limit = 0;
    bool ok, readable, writable;
    uint16_t dst = 0x10;

    __asm__ volatile("larl %2, %0\n setz %1"
                     : "=r"(ar), "=q"(ok)
                     : "r"(SEL_USER_DATA));
    CHECK(ok);
    CHECK_EQ(ar & 0xf0ff00, 0xc0f300);
    __asm__ volatile("lsll %2, %0\n setz %1"
                     : "=r"(limit), "=q"(ok)
                     : "r"(SEL_DATA));
    CHECK(ok);
    CHECK_EQ(limit, 0xffffffff);
    __asm__ volatile("larl %2, %0\n setz %1" : "+r"(ar), "=q"(ok) : "r"(0));
    CHECK(!ok);
    __asm__ volatile("verr %w2\n setz %0\n verw %w2\n setz %1"
                     : "=q"(readable), "=q"(writable)
                     : "r"(SEL_CODE32));
    CHECK(readable && !writable);
    __asm__ volatile("arpl %w2, %w0\n setz %1" : "+r"(dst), "=q"(ok) : "r"(3));
    CHECK(ok);
    CHECK_EQ(dst, 0x13);
}

int main(void)
{
    test_limits();
    test_loads();
    test_stack16();
    test_stack_limit();
    test_code();
    test_call_gate();
    test_queries();
    (void)set_done;
    return 0;
}
