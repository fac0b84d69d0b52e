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
        fail();
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

void lib_init(void)
{
    struct __attribute__((packed)) {
        uint16_t limit;
        uint32_t base;
    } idtr = {sizeof(idt) - 1, (uint32_t)idt};

    output_init();
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
