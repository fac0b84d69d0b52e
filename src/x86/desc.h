#ifndef HUSK_X86_DESC_H
#define HUSK_X86_DESC_H

#include "x86/system.h"

/*
 * Segment and system descriptors as they lie in the GDT and LDT (Intel SDM
 * vol. 3, 3.4.5 and 3.5). Internal to src/x86.
 */
struct x86_desc {
    uint64_t lo; /* the 8 bytes; of a 16-byte descriptor the first half */
    gva_t addr;
    uint16_t sel; /* with its RPL */
};

/* Types of system descriptors; bit 1 of a TSS type is "busy". */
enum {
    X86_DESC_TSS16 = 1,
    X86_DESC_LDT = 2,
    X86_DESC_TSS16_BUSY = 3,
    X86_DESC_CALL16 = 4,
    X86_DESC_TASK_GATE = 5,
    X86_DESC_INT16 = 6,
    X86_DESC_TRAP16 = 7,
    X86_DESC_TSS = 9,
    X86_DESC_TSS_BUSY = 11,
    X86_DESC_CALL = 12,
    X86_DESC_INT = 14,
    X86_DESC_TRAP = 15,
    X86_DESC_BUSY = 2
};

static inline unsigned x86_desc_type(uint64_t lo)
{
    return (unsigned)(lo >> 40) & 0xf;
}

static inline bool x86_desc_is_system(uint64_t lo)
{
    return !(lo >> 44 & 1);
}

static inline unsigned x86_desc_dpl(uint64_t lo)
{
    return (unsigned)(lo >> 45) & 3;
}

static inline bool x86_desc_present(uint64_t lo)
{
    return lo >> 47 & 1;
}

/* The L and D bits of a code segment. */
static inline bool x86_desc_long(uint64_t lo)
{
    return lo >> 53 & 1;
}

static inline bool x86_desc_big(uint64_t lo)
{
    return lo >> 54 & 1;
}

/* Code and data segments only. */
static inline bool x86_desc_is_code(uint64_t lo)
{
    return !x86_desc_is_system(lo) && (x86_desc_type(lo) & 8);
}

static inline bool x86_desc_is_conforming(uint64_t lo)
{
    return x86_desc_is_code(lo) && (x86_desc_type(lo) & 4);
}

static inline bool x86_desc_is_readable(uint64_t lo)
{
    return !x86_desc_is_system(lo) &&
           (!x86_desc_is_code(lo) || (x86_desc_type(lo) & 2));
}

static inline bool x86_desc_is_writable(uint64_t lo)
{
    return !x86_desc_is_system(lo) && (x86_desc_type(lo) & 0xa) == 2;
}

static inline uint32_t x86_desc_base(uint64_t lo)
{
    return (uint32_t)(lo >> 16 & 0xffffff) | (uint32_t)(lo >> 56) << 24;
}

static inline uint32_t x86_desc_limit(uint64_t lo)
{
    uint32_t limit = (uint32_t)(lo & 0xffff) | (uint32_t)(lo >> 32 & 0xf0000);

    return lo >> 55 & 1 ? limit << 12 | 0xfff : limit;
}

/* A selector that names nothing: index 0 of the GDT. */
static inline bool x86_sel_is_null(uint16_t sel)
{
    return !(sel & 0xfffc);
}

/* The cached form, with sel as it stands in d. */
void x86_desc_to_seg(const struct x86_desc *d, struct x86_seg *seg);

/*
 * Where len bytes of sel's descriptor lie. False if they are beyond the
 * table's limit or sel is in an LDT and there is none.
 */
bool x86_desc_find(const struct x86_state *st, uint16_t sel, unsigned len,
                   gva_t *addr);

/*
 * Read sel's descriptor. X86_FAULT with vector(sel) if it is outside its
 * table, or with a page fault. Null selectors are the caller's business.
 */
MUST_CHECK int x86_desc_read(struct x86_cpu *cpu, uint16_t sel, unsigned vector,
                             struct x86_desc *d);

/* The second half of a 16-byte descriptor; vector(sel) if it is beyond the
 * limit or its type field is not 0. */
MUST_CHECK int x86_desc_read_high(struct x86_cpu *cpu, const struct x86_desc *d,
                                  unsigned vector, uint64_t *hi);

/* Set A (code and data), or set or clear B (TSS), in memory and in d. */
MUST_CHECK int x86_desc_set_accessed(struct x86_cpu *cpu, struct x86_desc *d);
MUST_CHECK int x86_desc_set_busy(struct x86_cpu *cpu, struct x86_desc *d,
                                 bool busy);

/* A fault whose error code is a selector. */
static inline int x86_fault_sel(struct x86_cpu *cpu, unsigned vector,
                                uint16_t sel)
{
    return x86_fault_err(cpu, vector, sel & 0xfffcu);
}

#endif
