#include "guest.h"

/*
 * State of the one CPU that runs tests; a bare guest has nowhere else to keep
 * it.
 */
struct guard {
    uint64_t rsp; /* start.S knows that it is first */
    bool active;
    struct fault *fault;
};

bool guard_call(struct guard *g, void (*fn)(uint64_t), uint64_t arg);
_Noreturn void guard_leave(const struct guard *g);
_Noreturn void load_registers(const struct frame *f);
void trap(struct frame *f);
void lib_init(void);

extern const uint8_t trap_entries[], trap_stack[], ist_stack[], image_end[];
extern uint64_t boot_pml4[];

static struct guard guard;
static trap_handler *handlers[256];
static uint64_t idt[512] __attribute__((aligned(16)));
static uint8_t tss_bytes[104 + 8193] __attribute__((aligned(4096)));
static uint64_t next_page;

/* -- Exceptions ------------------------------------------------------------ */

static _Noreturn void unexpected(const struct frame *f)
{
    print("unexpected vector ");
    print_hex(f->vector);
    print(" error ");
    print_hex(f->error);
    print(" rip ");
    print_hex(f->rip);
    print(" cr2 ");
    print_hex(READ_CR(2));
    print(" rsp ");
    print_hex(f->rsp);
    print("\n");
    fail();
}

void trap(struct frame *f)
{
    if (handlers[f->vector])
        handlers[f->vector](f);
    else
        guard_end(f);
}

void guard_end(struct frame *f)
{
    if (!guard.active)
        unexpected(f);
    guard.active = false;
    guard.fault->f = *f;
    guard.fault->cr2 = READ_CR(2);
    guard_leave(&guard);
}

struct fault guarded(void (*fn)(uint64_t), uint64_t arg)
{
    struct fault fault = {.f.vector = NO_FAULT};

    guard.fault = &fault;
    guard.active = true;
    (void)guard_call(&guard, fn, arg);
    guard.active = false;
    return fault;
}

static void load_guarded(uint64_t regs)
{
    load_registers((const struct frame *)regs);
}

/* An IRETQ that faults pushes below the frame that it was to pop: room for
 * that, and for the handler. */
struct fault enter(const struct frame *regs)
{
    static struct {
        _Alignas(16) uint8_t room[4096];
        struct frame copy;
    } stack;

    stack.copy = *regs;
    return guarded(load_guarded, (uint64_t)&stack.copy);
}

void set_handler(unsigned vector, trap_handler *handler)
{
    handlers[vector] = handler;
}

void set_gate(unsigned vector, unsigned dpl, unsigned ist)
{
    uint64_t addr = (uint64_t)(trap_entries + 16 * vector);

    idt[2 * vector] =
        (addr & 0xffff) | (uint64_t)SEL_CODE64 << 16 | (uint64_t)ist << 32 |
        (uint64_t)(0x8e00 | dpl << 13) << 32 | (addr >> 16 & 0xffff) << 48;
    idt[2 * vector + 1] = addr >> 32;
}

uint8_t *tss(void)
{
    return tss_bytes;
}

void set_tss_limit(uint32_t limit)
{
    uint64_t base = (uint64_t)tss_bytes;

    gdt[SEL_TSS / 8] = (limit & 0xffff) | (base & 0xffffff) << 16 |
                       0x890000000000 | (base >> 24 & 0xff) << 56;
    gdt[SEL_TSS / 8 + 1] = base >> 32;
    __asm__ volatile("ltr %w0" ::"r"(SEL_TSS));
}

static void init_traps(void)
{
    struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } idtr = {sizeof(idt) - 1, (uint64_t)idt};
    uint64_t rsp0 = (uint64_t)trap_stack, ist1 = (uint64_t)ist_stack;
    uint16_t map = 104;

    for (unsigned i = 0; i < 256; i++)
        set_gate(i, i == VECTOR_DONE ? 3 : 0, i == 8 ? 1 : 0);
    memcpy(tss_bytes + 4, &rsp0, 8);
    memcpy(tss_bytes + 36, &ist1, 8);
    memset(tss_bytes + 104, 0xff, 8193);
    memcpy(tss_bytes + 102, &map, 2);
    set_tss_limit(103);
    __asm__ volatile("lidt %0" ::"m"(idtr));
}

/* -- Paging ---------------------------------------------------------------- */

uint64_t page_alloc(void)
{
    uint64_t page = next_page;

    next_page += 4096;
    memset((void *)page, 0, 4096);
    return page;
}

uint64_t *pte(uint64_t va, unsigned level)
{
    uint64_t table = READ_CR(3) & PTE_ADDR;

    for (unsigned l = 4;; l--) {
        uint64_t *e = (uint64_t *)table + (va >> (3 + 9 * l) & 511);

        if (l == level)
            return e;
        if (!(*e & PTE_P))
            *e = page_alloc() | PTE_P | PTE_W | PTE_U;
        table = *e & PTE_ADDR;
    }
}

void map_page(uint64_t va, uint64_t pa, uint64_t flags)
{
    *(volatile uint64_t *)pte(va, 1) = pa | flags;
    invlpg(va);
}

void map_code(uint64_t va, const void *start, const void *end, uint64_t flags)
{
    uint64_t page = page_alloc();

    memcpy((void *)page, start,
           (size_t)((const uint8_t *)end - (const uint8_t *)start));
    map_page(va, page, flags);
}

/* -- CPUID ----------------------------------------------------------------- */

bool has_smep(void)
{
    return cpuid(7, 0).ebx >> 7 & 1;
}

bool has_smap(void)
{
    return cpuid(7, 0).ebx >> 20 & 1;
}

bool has_umip(void)
{
    return cpuid(7, 0).ecx >> 2 & 1;
}

bool has_pcid(void)
{
    return cpuid(1, 0).ecx >> 17 & 1;
}

bool has_invpcid(void)
{
    return cpuid(7, 0).ebx >> 10 & 1;
}

bool has_gigapages(void)
{
    return cpuid(0x80000001, 0).edx >> 26 & 1;
}

bool has_x2apic(void)
{
    return cpuid(1, 0).ecx >> 21 & 1;
}

bool has_tsc_deadline(void)
{
    return cpuid(1, 0).ecx >> 24 & 1;
}

bool has_xsave(void)
{
    return cpuid(1, 0).ecx >> 26 & 1;
}

bool has_avx(void)
{
    return cpuid(1, 0).ecx >> 28 & 1;
}

bool has_fsgsbase(void)
{
    return cpuid(7, 0).ebx & 1;
}

/* -- The C library's part that gcc expects --------------------------------- */

int memcmp(const void *a, const void *b, size_t len)
{
    const uint8_t *x = a, *y = b;

    for (size_t i = 0; i < len; i++)
        if (x[i] != y[i])
            return x[i] < y[i] ? -1 : 1;
    return 0;
}

void lib_init(void)
{
    next_page = ((uint64_t)image_end + 0xfff) & ~0xfffull;
    output_init();
    init_traps();
    if (has_xsave()) {
        WRITE_CR(4, READ_CR(4) | 0x40000);
        __asm__ volatile("xsetbv" ::"a"(has_avx() ? 7 : 3), "d"(0), "c"(0));
    }
}
