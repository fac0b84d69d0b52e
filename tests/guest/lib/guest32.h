#ifndef GUEST_GUEST32_H
#define GUEST_GUEST32_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layout.h"
#include "output.h"
#include "port.h"

/*
 * What 32-bit bare guests are written with: main() runs in ring 0 of flat
 * protected mode without paging, interrupts off. As guest.h otherwise.
 */
int main(void);

struct frame {
    uint32_t edi, esi, ebp, unused, ebx, edx, ecx, eax;
    uint32_t ds, es, fs, gs;
    uint32_t vector, error;
    uint32_t eip, cs, eflags;
    uint32_t esp, ss;                /* if the ring changed */
    uint32_t v_es, v_ds, v_fs, v_gs; /* from virtual-8086 mode */
};

#define NO_FAULT    256u
#define VECTOR_DONE 0x81

struct fault {
    struct frame f;
    uint32_t cr2;
};

struct fault guarded(void (*fn)(uint32_t), uint32_t arg);
/* Load all of it by IRET; ends by an exception or INT 0x81. */
struct fault enter(const struct frame *regs);
typedef void trap_handler(struct frame *f);
void set_handler(unsigned vector, trap_handler *handler);
/* Any gate: type 0x8e00 interrupt, 0x8f00 trap, 0x8500 task; DPL in 13..14 */
void set_gate(unsigned vector, uint32_t offset, uint16_t sel, uint16_t attr);
/* attr as in struct x86_seg: type, S, DPL, P in 0..7; AVL L D G in 12..15. */
void set_descriptor(unsigned sel, uint32_t base, uint32_t limit, uint16_t attr);
uint32_t *tss(void);

/* Code for real mode, copied to REAL_CODE and run there. */
void real_run(const void *start, const void *end);

uint32_t page_alloc(void);

extern uint64_t gdt[];

#define CODE(name, text)                                                       \
    extern const uint8_t name[], name##_end[];                                 \
    __asm__(".pushsection .text\n" #name ":\n" text "\n" #name                 \
            "_end:\n.popsection\n")
#define CODE16(name, text) CODE(name, ".code16\n" text "\n.code32")

#define READ_CR(n)                                                             \
    __extension__({                                                            \
        uint32_t v_;                                                           \
        __asm__ volatile("movl %%cr" #n ", %0" : "=r"(v_));                    \
        v_;                                                                    \
    })
#define WRITE_CR(n, v)                                                         \
    __asm__ volatile("movl %0, %%cr" #n ::"r"((uint32_t)(v)) : "memory")

static inline void invlpg(uint32_t va)
{
    __asm__ volatile("invlpg (%0)" ::"r"(va) : "memory");
}

/* Low memory, which the compiler must not think about. */
static inline uint32_t peek(uint32_t addr)
{
    uint32_t v;

    __asm__ volatile("movl (%1), %0" : "=r"(v) : "r"(addr) : "memory");
    return v;
}

static inline void poke(uint32_t addr, uint32_t v)
{
    __asm__ volatile("movl %0, (%1)" ::"r"(v), "r"(addr) : "memory");
}

#endif
