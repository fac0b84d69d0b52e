#ifndef GUEST_GUEST_H
#define GUEST_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layout.h"
#include "output.h"
#include "port.h"

/*
 * What bare guests are written with. main() runs in ring 0 of long mode with
 * the first 4 GiB mapped one to one (2-MiB pages, supervisor) and interrupts
 * off. It returns when it is done; failed checks are counted.
 *
 * All of this is single-threaded state of one CPU unless it says otherwise.
 */

int main(void);

/* -- Exceptions and interrupts -------------------------------------------- */

struct frame {
    uint64_t gpr[16]; /* gpr[4] is unused: rsp is below */
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12 };

#define NO_FAULT 256u

/* How a guarded piece of code ended. */
struct fault {
    struct frame f; /* f.vector NO_FAULT: it returned */
    uint64_t cr2;
};

/* Call fn(arg); an exception without a handler ends it. */
struct fault guarded(void (*fn)(uint64_t), uint64_t arg);
/* Load these registers (any ring, any mode of long mode); ends by an
 * exception, or by INT 0x81, which any ring may call. */
struct fault enter(const struct frame *regs);
#define VECTOR_DONE 0x81

/* Run handler on a vector from now on, instead of ending a guard; it may
 * change the frame. NULL takes it off. Any CPU. */
typedef void trap_handler(struct frame *f);
void set_handler(unsigned vector, trap_handler *handler);
/* From a handler: end the guard after all, as if there were no handler. */
void guard_end(struct frame *f);
/* Descriptor fields of a gate: DPL and IST. */
void set_gate(unsigned vector, unsigned dpl, unsigned ist);
/* The TSS of the first CPU: 104 bytes and an I/O bitmap of 8 KiB and 1. */
uint8_t *tss(void);
void set_tss_limit(uint32_t limit);
extern uint64_t gdt[];

/* -- Paging ---------------------------------------------------------------- */

#define PTE_P    0x001ull
#define PTE_W    0x002ull
#define PTE_U    0x004ull
#define PTE_A    0x020ull
#define PTE_D    0x040ull
#define PTE_PS   0x080ull
#define PTE_G    0x100ull
#define PTE_NX   0x8000000000000000ull
#define PTE_ADDR 0x000ffffffffff000ull

/* Nothing is mapped here at the start. */
#define TEST_VA 0x0000008000000000ull

/* A page of RAM, zeroed. */
uint64_t page_alloc(void);
/* The entry for va at a level (1: 4-KiB page, 2: 2 MiB, 3: 1 GiB) of the
 * current CR3; the tables above are made with all rights. */
uint64_t *pte(uint64_t va, unsigned level);
/* Map a page and INVLPG. flags as in a page-table entry. */
void map_page(uint64_t va, uint64_t pa, uint64_t flags);
/* Copy the bytes [start, end) into a new page mapped at va with flags. */
void map_code(uint64_t va, const void *start, const void *end, uint64_t flags);

/* -- Instructions ---------------------------------------------------------- */

/* A piece of position-independent code with a name and an end. */
#define CODE(name, text)                                                       \
    extern const uint8_t name[], name##_end[];                                 \
    __asm__(".pushsection .text\n" #name ":\n" text "\n" #name                 \
            "_end:\n.popsection\n")

static inline uint64_t rdmsr(uint32_t msr)
{
    uint32_t lo, hi;

    __asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
    return lo | (uint64_t)hi << 32;
}

static inline void wrmsr(uint32_t msr, uint64_t v)
{
    __asm__ volatile("wrmsr" ::"a"((uint32_t)v), "d"((uint32_t)(v >> 32)),
                     "c"(msr)
                     : "memory");
}

#define READ_CR(n)                                                             \
    __extension__({                                                            \
        uint64_t v_;                                                           \
        __asm__ volatile("movq %%cr" #n ", %0" : "=r"(v_));                    \
        v_;                                                                    \
    })
#define WRITE_CR(n, v)                                                         \
    __asm__ volatile("movq %0, %%cr" #n ::"r"((uint64_t)(v)) : "memory")
#define READ_DR(n)                                                             \
    __extension__({                                                            \
        uint64_t v_;                                                           \
        __asm__ volatile("movq %%dr" #n ", %0" : "=r"(v_));                    \
        v_;                                                                    \
    })
#define WRITE_DR(n, v)                                                         \
    __asm__ volatile("movq %0, %%dr" #n ::"r"((uint64_t)(v)) : "memory")

static inline void invlpg(uint64_t va)
{
    __asm__ volatile("invlpg (%0)" ::"r"(va) : "memory");
}

static inline uint64_t rdtsc(void)
{
    uint32_t lo, hi;

    __asm__ volatile("lfence\n rdtsc" : "=a"(lo), "=d"(hi)::"memory");
    return lo | (uint64_t)hi << 32;
}

static inline void sti(void)
{
    __asm__ volatile("sti" ::: "memory");
}

static inline void cli(void)
{
    __asm__ volatile("cli" ::: "memory");
}

struct cpuid {
    uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid(uint32_t leaf, uint32_t sub)
{
    struct cpuid c;

    __asm__ volatile("cpuid"
                     : "=a"(c.eax), "=b"(c.ebx), "=c"(c.ecx), "=d"(c.edx)
                     : "a"(leaf), "c"(sub));
    return c;
}

/* Features that tests ask for. */
bool has_smep(void);
bool has_smap(void);
bool has_umip(void);
bool has_pcid(void);
bool has_invpcid(void);
bool has_gigapages(void);
bool has_x2apic(void);
bool has_tsc_deadline(void);
bool has_xsave(void);
bool has_avx(void);
bool has_fsgsbase(void);

static inline uint64_t mem_read64(uint64_t va)
{
    return *(volatile uint64_t *)va;
}

static inline void mem_write64(uint64_t va, uint64_t v)
{
    *(volatile uint64_t *)va = v;
}

int memcmp(const void *a, const void *b, size_t len);

#endif
