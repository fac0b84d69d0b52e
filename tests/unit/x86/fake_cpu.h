#ifndef HUSK_TESTS_UNIT_X86_FAKE_CPU_H
#define HUSK_TESTS_UNIT_X86_FAKE_CPU_H

#include "tests/unit/test.h"
#include "x86/system.h"

/*
 * A CPU whose memory is an array at linear address 0, with descriptor tables,
 * a TSS and stacks in it, and whose engine only counts what it is told.
 */

/* Where things lie. */
enum {
    FAKE_RAM = 0x100000,
    FAKE_GDT = 0x1000,
    FAKE_LDT = 0x1800,
    FAKE_IDT = 0x2000,
    FAKE_TSS = 0x4000,
    FAKE_TSS2 = 0x5000,
    FAKE_STACK = 0x8000,  /* top of the current stack */
    FAKE_STACK0 = 0x9000, /* top of the TSS's stack for CPL 0 */
    FAKE_IST1 = 0xa000,
    FAKE_HANDLER = 0x7000,
    FAKE_RIP = 0x6000
};

/* Selectors in the GDT. */
enum {
    KCODE64 = 0x08,
    KDATA = 0x10,
    KCODE32 = 0x18,
    UCODE32 = 0x20,
    UDATA = 0x28,
    UCODE64 = 0x30,
    CONFORMING = 0x38,
    ABSENT_DATA = 0x40, /* DPL 3 */
    UDATA16 = 0x48,     /* a 16-bit stack segment */
    KCODE16 = 0x50,
    RO_DATA = 0x58, /* DPL 3 */
    TSS = 0x60,
    TSS2 = 0x70,
    LDT = 0x80,
    CALL_GATE = 0x90, /* DPL 3, to kernel code */
    EXEC_ONLY = 0xa0, /* DPL 3 */
    TASK_GATE = 0xa8, /* DPL 3, to TSS2 */
    ABSENT_CODE = 0xb0,
    BAD_CODE = 0xb8, /* L and D both set */
    KDATA16 = 0xc0,
    TSS16 = 0xc8,
    GDT_LIMIT = 0xcf
};

enum fake_mode {
    FAKE_REAL,
    FAKE_V86,    /* IOPL 0 */
    FAKE_LEGACY, /* 32-bit protected mode, CPL 0 */
    FAKE_LEGACY_USER,
    FAKE_LONG,
    FAKE_LONG_USER,
    FAKE_COMPAT_USER
};

struct fake_cpu {
    struct x86_cpu cpu;
    struct x86_state st;
    struct cpuid_model model;
    struct gmem gmem;
    uint8_t ram[FAKE_RAM];

    gva_t bad_page; /* accesses to it are page faults; 0: none */
    unsigned flushes, cr3_loads, mode_changes, writes;
    enum x86_flush flush_kind;
    gva_t flush_gva;
    unsigned flush_pcid;
    bool cr3_keep;
    bool user; /* rights of the last access */
    uint64_t cr8;
    uint64_t dev_msr; /* any MSR of a device, below 0x8ff */
};

/* A fresh one; the caller frees it with fake_cpu_free. */
struct fake_cpu *fake_cpu_new(enum fake_mode mode);
void fake_cpu_free(struct fake_cpu *f);

/* Little-endian words at linear addresses. */
uint64_t fake_get(const struct fake_cpu *f, gva_t gva, unsigned size);
void fake_put(struct fake_cpu *f, gva_t gva, uint64_t val, unsigned size);

/* A descriptor; flags are bits 40..55 (attr without limit), as in x86_seg. */
void fake_desc(struct fake_cpu *f, uint16_t sel, uint32_t base, uint32_t limit,
               uint16_t attr);
/* The same in the LDT; loads LDTR. */
void fake_ldt_desc(struct fake_cpu *f, uint16_t sel, uint32_t limit,
                   uint16_t attr);
/* A gate in the IDT of the mode. type as in x86/desc.h. */
void fake_gate(struct fake_cpu *f, unsigned vector, unsigned type, unsigned dpl,
               uint16_t sel, uint64_t target, unsigned ist);

/* Put sel into a register as its GDT descriptor says, without checks. */
void fake_load(struct fake_cpu *f, enum x86_sreg reg, uint16_t sel);

/* An event of each kind. */
struct x86_event fake_external(unsigned vector);
struct x86_event fake_exception(unsigned vector);
struct x86_event fake_exception_err(unsigned vector, uint32_t error);
struct x86_event fake_int(unsigned vector);

/* f->cpu.fault is this one; error < 0: without error code. */
void fake_expect_fault(const struct fake_cpu *f, int rc, unsigned vector,
                       int error);

#endif
