#ifndef HUSK_X86_SYSTEM_H
#define HUSK_X86_SYSTEM_H

#include "base/compiler.h"
#include "mem/gmem.h"
#include "x86/cpuid.h"
#include "x86/regs.h"

/*
 * What the system instructions and event delivery do to the architectural
 * state, in any mode. Engine-neutral and freestanding: these functions are
 * called straight from translated code, so their objects use general
 * registers only and call nothing in libc (built with -mgeneral-regs-only;
 * the build fails on an undefined libc symbol).
 *
 * Contract of all functions that return int:
 *   X86_OK      done; st holds the state after the instruction, except RIP,
 *               which only those that transfer control change.
 *   X86_FAULT   the instruction faults: cpu->fault says how, and st is as it
 *               was before the instruction. The caller delivers the fault
 *               with x86_deliver.
 *   X86_TRIPLE  only x86_deliver: shutdown.
 * They run on the vCPU's own thread; nothing is locked.
 */
enum { X86_OK = 0, X86_FAULT = -1, X86_TRIPLE = -2 };

enum x86_flush {
    X86_FLUSH_ALL,       /* everything, global pages too */
    X86_FLUSH_NONGLOBAL, /* every PCID, global pages stay */
    X86_FLUSH_PCID,      /* one PCID, global pages stay */
    X86_FLUSH_PAGE,      /* one page in the current PCID, and global ones */
    X86_FLUSH_PAGE_PCID  /* one page of one PCID (INVPCID type 0) */
};

struct x86_cpu;

/* What the engine does for the system layer. */
struct x86_system_ops {
    /*
     * Read or write len (1..16, or up to 512 within hot paths that say so)
     * bytes of linear address gva. user: with the rights of CPL 3 (SMAP and
     * U/S apply), else as an implicit supervisor access. May cross pages. On
     * X86_FAULT cpu->fault is the page fault and no byte was written.
     */
    int (*read)(struct x86_cpu *cpu, gva_t gva, void *dst, unsigned len,
                bool user);
    int (*write)(struct x86_cpu *cpu, gva_t gva, const void *src, unsigned len,
                 bool user);
    /* Cached translations became stale. pcid/gva as the kind needs. */
    void (*flush)(struct x86_cpu *cpu, enum x86_flush kind, gva_t gva,
                  unsigned pcid);
    /* CR3 was loaded (st->cr3 is new): switch translations. keep: bit 63 of
     * the operand with CR4.PCIDE: do not flush that PCID. */
    void (*cr3_loaded)(struct x86_cpu *cpu, bool keep);
    /* CR0, CR4, EFER, XCR0, segments or CPL changed: recompute what is
     * derived (mode key). Called at the end of each function that did so. */
    void (*mode_changed)(struct x86_cpu *cpu);
    /*
     * MSRs that belong to devices or to the VM: the local APIC (0x1b,
     * 0x6e0, 0x800..0x8ff), KVM paravirtual ones that need work (0x4b564d00..
     * and 0x11, 0x12). Return X86_OK, or X86_FAULT for #GP(0).
     */
    int (*rdmsr)(struct x86_cpu *cpu, uint32_t msr, uint64_t *val);
    int (*wrmsr)(struct x86_cpu *cpu, uint32_t msr, uint64_t val);
    /* CR8 (the task priority) lives in the local APIC. */
    uint64_t (*get_cr8)(struct x86_cpu *cpu);
    void (*set_cr8)(struct x86_cpu *cpu, uint64_t val);
};

struct x86_cpu {
    struct x86_state *st;
    const struct cpuid_model *model;
    const struct x86_system_ops *ops;
    const struct gmem *gmem; /* for the PDPTEs of PAE paging */
    uint32_t apic_id;        /* as CPUID reports it: the vCPU's index */
    void *opaque;            /* the engine's vCPU */
    struct x86_event fault;  /* valid after X86_FAULT */
};

/* Fill cpu->fault with an exception without error code; returns X86_FAULT.
 * Inline, so that compilers and checkers see that it never succeeds. */
static inline int x86_fault(struct x86_cpu *cpu, unsigned vector)
{
    cpu->fault.vector = (uint8_t)vector;
    cpu->fault.type = X86_EVENT_EXCEPTION;
    cpu->fault.has_error = false;
    cpu->fault.length = 0;
    cpu->fault.error = 0;
    cpu->fault.cr2 = 0;
    return X86_FAULT;
}

/* The same with one. */
static inline int x86_fault_err(struct x86_cpu *cpu, unsigned vector,
                                uint32_t error)
{
    (void)x86_fault(cpu, vector);
    cpu->fault.has_error = true;
    cpu->fault.error = error;
    return X86_FAULT;
}

/*
 * Deliver ev through the IDT or IVT: real mode, protected (16/32-bit gates,
 * task gates by hardware task switch), virtual-8086, long mode with IST.
 * Faults on the way become a double fault or X86_TRIPLE (SDM vol. 3, table
 * 6-5). Sets CR2 for page faults, clears/sets RF, IF, TF, NT, AC as the SDM
 * says, ends HALTED. The pushed RIP is st->rip (+ ev->length for software
 * events). RF is set in the pushed image for faults (not traps).
 */
MUST_CHECK int x86_deliver(struct x86_cpu *cpu, const struct x86_event *ev);

/* opsize is 2, 4 or 8 bytes; next_rip is the address after the instruction. */
MUST_CHECK int x86_iret(struct x86_cpu *cpu, unsigned opsize);
MUST_CHECK int x86_syscall(struct x86_cpu *cpu, uint64_t next_rip);
MUST_CHECK int x86_sysret(struct x86_cpu *cpu, unsigned opsize);
MUST_CHECK int x86_sysenter(struct x86_cpu *cpu);
MUST_CHECK int x86_sysexit(struct x86_cpu *cpu, unsigned opsize);
MUST_CHECK int x86_jmp_far(struct x86_cpu *cpu, uint16_t sel, uint64_t off,
                           unsigned opsize, uint64_t next_rip);
MUST_CHECK int x86_call_far(struct x86_cpu *cpu, uint16_t sel, uint64_t off,
                            unsigned opsize, uint64_t next_rip);
MUST_CHECK int x86_ret_far(struct x86_cpu *cpu, unsigned opsize,
                           unsigned pop_bytes);

/* MOV/POP to a segment register (not CS), in any mode. */
MUST_CHECK int x86_load_seg(struct x86_cpu *cpu, enum x86_sreg reg,
                            uint16_t sel);
MUST_CHECK int x86_lldt(struct x86_cpu *cpu, uint16_t sel);
MUST_CHECK int x86_ltr(struct x86_cpu *cpu, uint16_t sel);
/* LAR, LSL, VERR, VERW: *ok is the new ZF; *out only written if *ok. Fault
 * only by page faults on the descriptor table. */
MUST_CHECK int x86_lar(struct x86_cpu *cpu, uint16_t sel, uint32_t *out,
                       bool *ok);
MUST_CHECK int x86_lsl(struct x86_cpu *cpu, uint16_t sel, uint32_t *out,
                       bool *ok);
MUST_CHECK int x86_verify(struct x86_cpu *cpu, uint16_t sel, bool write,
                          bool *ok);

/* Privilege (CPL 0 or real mode) is checked here, with #GP(0) / #UD. */
MUST_CHECK int x86_read_cr(struct x86_cpu *cpu, unsigned cr, uint64_t *val);
MUST_CHECK int x86_write_cr(struct x86_cpu *cpu, unsigned cr, uint64_t val);
MUST_CHECK int x86_lmsw(struct x86_cpu *cpu, uint16_t val);
MUST_CHECK int x86_clts(struct x86_cpu *cpu);
MUST_CHECK int x86_read_dr(struct x86_cpu *cpu, unsigned dr, uint64_t *val);
MUST_CHECK int x86_write_dr(struct x86_cpu *cpu, unsigned dr, uint64_t val);
/* ECX and EDX:EAX are taken from and put into st->gpr. */
MUST_CHECK int x86_rdmsr(struct x86_cpu *cpu);
MUST_CHECK int x86_wrmsr(struct x86_cpu *cpu);
MUST_CHECK int x86_xsetbv(struct x86_cpu *cpu);
MUST_CHECK int x86_xgetbv(struct x86_cpu *cpu);
MUST_CHECK int x86_invlpg(struct x86_cpu *cpu, gva_t gva);
MUST_CHECK int x86_invpcid(struct x86_cpu *cpu, uint64_t type,
                           const uint64_t desc[2]);
MUST_CHECK int x86_swapgs(struct x86_cpu *cpu);
MUST_CHECK int x86_rdpmc(struct x86_cpu *cpu); /* #GP: none are advertised */
/* A #DB with these causes comes. The breakpoints of an earlier one go from DR6;
 * its other bits stay until they are written (SDM vol. 3, 17.2.3). */
static inline void x86_debug_cause(struct x86_state *st, uint32_t bits)
{
    st->dr6 = (st->dr6 & ~(uint64_t)X86_DR6_B) | bits;
}
/* VMCALL and VMMCALL: the call that RAX names, of those that KVM has. None does
 * anything here; the guest learns that from RAX. Never fails. */
void x86_hypercall(struct x86_cpu *cpu);
/* Does CPL/IOPL/TSS bitmap allow this port access? */
MUST_CHECK int x86_check_io(struct x86_cpu *cpu, uint16_t port, unsigned size);
/* POPF/STI/CLI with their privilege rules (VME and PVI are not advertised).
 * image is what was popped, opsize 2, 4 or 8. STI sets int_shadow. */
MUST_CHECK int x86_popf(struct x86_cpu *cpu, uint64_t image, unsigned opsize);
MUST_CHECK int x86_cli(struct x86_cpu *cpu);
MUST_CHECK int x86_sti(struct x86_cpu *cpu);
/* Outside 64-bit mode: may len bytes at off be accessed, by the segment's
 * limit and type (SDM vol. 3, 5.3 and 5.5)? */
bool x86_seg_allows(const struct x86_state *st, enum x86_sreg reg, uint64_t off,
                    unsigned len, bool write);
/* The current linear address of seg:off without limit checks. */
gva_t x86_linear(const struct x86_state *st, enum x86_sreg seg, uint64_t off);

/* CPUID with EAX/ECX of st->gpr; dynamic bits (OSXSAVE, APIC id, XSAVE size
 * for the current XCR0) are filled in from st. */
void x86_cpuid(struct x86_cpu *cpu);

#endif
