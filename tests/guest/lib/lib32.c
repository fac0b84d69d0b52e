#include "guest32.h"

struct guard {
    uint32_t esp; /* start32.S knows that it is first */
    bool active;
    struct fault *fault;
};

bool guard_call(struct guard *g, void (*fn)(uint32_t), uint32_t arg);
_Noreturn void guard_leave(const struct guard *g);
_Noreturn void load_registers(const struct frame *f);
void real_call(void);
void trap(struct frame *f);
void lib_init(void);

extern const uint8_t trap_entries[], trap_stack[], image_end[];

static struct guard guard;
static trap_handler *handlers[256];
static uint64_t idt[256] __attribute__((aligned(16)));
static uint32_t tss_words[26 + 2049] __attribute__((aligned(4096)));
static uint32_t next_page;
static unsigned failures;

static void put(char c)
{
    outb(0x402, (uint8_t)c);
    for (unsigned i = 0; i < 1000000 && !(inb(0x3fd) & 0x20); i++)
        ;
    outb(0x3f8, (uint8_t)c);
}

void print(const char *s)
{
    while (*s)
        put(*s++);
}

void print_hex(uint32_t v)
{
    unsigned shift = 28;

    while (shift && !(v >> shift & 15))
        shift -= 4;
    for (;; shift -= 4) {
        put("0123456789abcdef"[v >> shift & 15]);
        if (!shift)
            break;
    }
}

static void print_place(const char *file, int line)
{
    char text[12];
    unsigned n = sizeof(text);

    text[--n] = 0;
    for (unsigned v = (unsigned)line; v; v /= 10)
        text[--n] = (char)('0' + v % 10);
    print(file);
    print(":");
    print(text + n);
    print(": ");
}

void check(bool ok, const char *file, int line, const char *what)
{
    if (ok)
        return;
    failures++;
    print_place(file, line);
    print(what);
    print(" is false\n");
}

void check_equal(uint32_t a, uint32_t b, const char *file, int line,
                 const char *what)
{
    if (a == b)
        return;
    failures++;
    print_place(file, line);
    print(what);
    print(": ");
    print_hex(a);
    print(", not ");
    print_hex(b);
    print("\n");
}

static _Noreturn void end(uint8_t v)
{
    outb(0xf4, v);
    for (const char *s = "Shutdown"; *s; s++) /* the same for Bochs */
        outb(0x8900, (uint8_t)*s);
    for (;;)
        __asm__ volatile("cli; hlt");
}

void finish(void)
{
    print(failures ? "FAILED\n" : "passed\n");
    end(failures ? 1 : 0);
}

void skip(const char *why)
{
    print("skipped: ");
    print(why);
    print("\n");
    end(failures ? 1 : 2);
}

void trap(struct frame *f)
{
    if (handlers[f->vector]) {
        handlers[f->vector](f);
        return;
    }
    if (!guard.active) {
        print("unexpected vector ");
        print_hex(f->vector);
        print(" error ");
        print_hex(f->error);
        print(" eip ");
        print_hex(f->eip);
        print("\n");
        failures++;
        finish();
    }
    guard.active = false;
    guard.fault->f = *f;
    guard.fault->cr2 = READ_CR(2);
    guard_leave(&guard);
}

struct fault guarded(void (*fn)(uint32_t), uint32_t arg)
{
    struct fault fault = {.f.vector = NO_FAULT};

    guard.fault = &fault;
    guard.active = true;
    (void)guard_call(&guard, fn, arg);
    guard.active = false;
    return fault;
}

static void load_guarded(uint32_t regs)
{
    load_registers((const struct frame *)regs);
}

struct fault enter(const struct frame *regs)
{
    struct frame copy = *regs;

    return guarded(load_guarded, (uint32_t)&copy);
}

void set_handler(unsigned vector, trap_handler *handler)
{
    handlers[vector] = handler;
}

void set_gate(unsigned vector, uint32_t offset, uint16_t sel, uint16_t attr)
{
    idt[vector] = (offset & 0xffff) | (uint64_t)sel << 16 |
                  (uint64_t)attr << 32 | (uint64_t)(offset >> 16) << 48;
}

void set_descriptor(unsigned sel, uint32_t base, uint32_t limit, uint16_t attr)
{
    gdt[sel / 8] = (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 |
                   (uint64_t)(attr & 0xf0ff) << 40 |
                   (uint64_t)(limit >> 16 & 15) << 48 |
                   (uint64_t)(base >> 24) << 56;
}

uint32_t *tss(void)
{
    return tss_words;
}

void real_run(const void *start, const void *end)
{
    memcpy((void *)REAL_CODE, start,
           (size_t)((const uint8_t *)end - (const uint8_t *)start));
    set_descriptor(SEL_FREE, 0, 0xffff, 0x93);
    real_call();
}

uint32_t page_alloc(void)
{
    uint32_t page = next_page;

    next_page += 4096;
    memset((void *)page, 0, 4096);
    return page;
}

void *memcpy(void *dst, const void *src, size_t len)
{
    void *d = dst;

    __asm__ volatile("rep movsb" : "+D"(d), "+S"(src), "+c"(len)::"memory");
    return dst;
}

void *memset(void *dst, int v, size_t len)
{
    void *d = dst;

    __asm__ volatile("rep stosb" : "+D"(d), "+c"(len) : "a"(v) : "memory");
    return dst;
}

void lib_init(void)
{
    struct __attribute__((packed)) {
        uint16_t limit;
        uint32_t base;
    } idtr = {sizeof(idt) - 1, (uint32_t)idt};

    outb(0x3fb, 0x83); /* 115200 bit/s, 8n1 */
    outb(0x3f8, 1);
    outb(0x3f9, 0);
    outb(0x3fb, 3);
    next_page = ((uint32_t)image_end + 0xfff) & ~0xfffu;
    for (unsigned i = 0; i < 256; i++)
        set_gate(i, (uint32_t)trap_entries + 16 * i, SEL_CODE32,
                 i == VECTOR_DONE ? 0xee00 : 0x8e00);
    tss_words[1] = (uint32_t)trap_stack;
    tss_words[2] = SEL_DATA;
    tss_words[25] = 104u << 16;
    memset(tss_words + 26, 0xff, 2049 * 4);
    set_descriptor(SEL_TSS, (uint32_t)tss_words, 103, 0x89);
    __asm__ volatile("ltr %w0" ::"r"(SEL_TSS));
    __asm__ volatile("lidt %0" ::"m"(idtr));
}
