#ifndef HUSK_X86_REGS_H
#define HUSK_X86_REGS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The architectural state of one CPU, in the one form that every engine loads
 * and saves (Intel SDM vol. 3, 2 and AMD APM vol. 2, 3). The local APIC is a
 * device with its own saved state.
 */

enum x86_gpr {
    X86_RAX,
    X86_RCX,
    X86_RDX,
    X86_RBX,
    X86_RSP,
    X86_RBP,
    X86_RSI,
    X86_RDI,
    X86_R8,
    X86_R9,
    X86_R10,
    X86_R11,
    X86_R12,
    X86_R13,
    X86_R14,
    X86_R15,
    X86_NR_GPRS
};

/* Numbers as in the segment-register field of instructions. */
enum x86_sreg { X86_ES, X86_CS, X86_SS, X86_DS, X86_FS, X86_GS, X86_NR_SREGS };

/* attr: bits 40..55 of the descriptor shifted down to 0..15 (bits 8..11, the
 * limit, are 0): type 0..3, S 4, DPL 5..6, P 7, AVL 12, L 13, D/B 14, G 15.
 * limit is in bytes, the granularity already applied. A null segment has
 * P = 0. */
struct x86_seg {
    uint64_t base;
    uint32_t limit;
    uint16_t sel;
    uint16_t attr;
};

#define X86_SEG_TYPE   0x000fu
#define X86_SEG_S      0x0010u
#define X86_SEG_DPL(a) (((a) >> 5) & 3u)
#define X86_SEG_P      0x0080u
#define X86_SEG_L      0x2000u
#define X86_SEG_DB     0x4000u
#define X86_SEG_G      0x8000u

struct x86_dtable {
    uint64_t base;
    uint16_t limit;
};

#define X86_FLAGS_CF    0x00000001u
#define X86_FLAGS_FIXED 0x00000002u
#define X86_FLAGS_PF    0x00000004u
#define X86_FLAGS_AF    0x00000010u
#define X86_FLAGS_ZF    0x00000040u
#define X86_FLAGS_SF    0x00000080u
#define X86_FLAGS_TF    0x00000100u
#define X86_FLAGS_IF    0x00000200u
#define X86_FLAGS_DF    0x00000400u
#define X86_FLAGS_OF    0x00000800u
#define X86_FLAGS_IOPL  0x00003000u
#define X86_FLAGS_NT    0x00004000u
#define X86_FLAGS_RF    0x00010000u
#define X86_FLAGS_VM    0x00020000u
#define X86_FLAGS_AC    0x00040000u
#define X86_FLAGS_VIF   0x00080000u
#define X86_FLAGS_VIP   0x00100000u
#define X86_FLAGS_ID    0x00200000u
#define X86_FLAGS_ARITH 0x000008d5u

#define X86_CR0_PE 0x00000001u
#define X86_CR0_MP 0x00000002u
#define X86_CR0_EM 0x00000004u
#define X86_CR0_TS 0x00000008u
#define X86_CR0_ET 0x00000010u
#define X86_CR0_NE 0x00000020u
#define X86_CR0_WP 0x00010000u
#define X86_CR0_AM 0x00040000u
#define X86_CR0_NW 0x20000000u
#define X86_CR0_CD 0x40000000u
#define X86_CR0_PG 0x80000000u

#define X86_CR4_VME        0x00000001u
#define X86_CR4_PVI        0x00000002u
#define X86_CR4_TSD        0x00000004u
#define X86_CR4_DE         0x00000008u
#define X86_CR4_PSE        0x00000010u
#define X86_CR4_PAE        0x00000020u
#define X86_CR4_MCE        0x00000040u
#define X86_CR4_PGE        0x00000080u
#define X86_CR4_PCE        0x00000100u
#define X86_CR4_OSFXSR     0x00000200u
#define X86_CR4_OSXMMEXCPT 0x00000400u
#define X86_CR4_UMIP       0x00000800u
#define X86_CR4_FSGSBASE   0x00010000u
#define X86_CR4_PCIDE      0x00020000u
#define X86_CR4_OSXSAVE    0x00040000u
#define X86_CR4_SMEP       0x00100000u
#define X86_CR4_SMAP       0x00200000u

#define X86_EFER_SCE      0x00000001u
#define X86_EFER_LME      0x00000100u
#define X86_EFER_LMA      0x00000400u
#define X86_EFER_NXE      0x00000800u
#define X86_EFER_FFXSR    0x00004000u
#define X86_EFER_AUTOIBRS 0x00200000u

#define X86_DR6_FIXED 0xffff0ff0u /* bits that read as one */
#define X86_DR6_B     0x0000000fu
#define X86_DR6_BD    0x00002000u
#define X86_DR6_BS    0x00004000u
#define X86_DR6_BT    0x00008000u
#define X86_DR7_FIXED 0x00000400u
#define X86_DR7_GD    0x00002000u

enum x86_vector {
    X86_DE = 0,
    X86_DB = 1,
    X86_NMI = 2,
    X86_BP = 3,
    X86_OF = 4,
    X86_BR = 5,
    X86_UD = 6,
    X86_NM = 7,
    X86_DF = 8,
    X86_TS = 10,
    X86_NP = 11,
    X86_SS_FAULT = 12,
    X86_GP = 13,
    X86_PF = 14,
    X86_MF = 16,
    X86_AC = 17,
    X86_MC = 18,
    X86_XM = 19
};

#define X86_PF_P    1u
#define X86_PF_W    2u
#define X86_PF_U    4u
#define X86_PF_RSVD 8u
#define X86_PF_I    16u

#define X86_XCR0_X87    1u
#define X86_XCR0_SSE    2u
#define X86_XCR0_AVX    4u
#define X86_XCR0_AVX512 0xe0u

/* Standard-format XSAVE area: legacy region, header, AVX, AVX-512. */
#define X86_XSAVE_SIZE 2816u

enum x86_mp_state {
    X86_MP_RUNNING,   /* executes, or would */
    X86_MP_HALTED,    /* in HLT */
    X86_MP_WAIT_SIPI, /* after INIT on an application processor */
    X86_NR_MP_STATES
};

#define X86_NR_VAR_MTRRS   8
#define X86_NR_FIXED_MTRRS 11

struct x86_msrs {
    uint64_t efer, star, lstar, cstar, sfmask, kernel_gs_base;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t pat, tsc_aux, tsc_adjust, misc_enable, spec_ctrl, debugctl;
    uint64_t mtrr_def, mtrr_fixed[X86_NR_FIXED_MTRRS];
    uint64_t mtrr_base[X86_NR_VAR_MTRRS], mtrr_mask[X86_NR_VAR_MTRRS];
    /* KVM paravirtual interface (KVM: x86/msr.rst) */
    uint64_t kvm_wall_clock, kvm_system_time, kvm_pv_eoi, kvm_steal_time;
    uint64_t kvm_async_pf, kvm_poll_control;
};

/* An event that has been recognised but not delivered. */
struct x86_event {
    uint8_t vector;
    uint8_t type; /* enum x86_event_type */
    uint8_t has_error;
    uint8_t length; /* of the instruction, for software types: RIP is its start
                       and the pushed RIP is RIP + length */
    uint32_t error;
    uint64_t cr2; /* of a page fault: written when it is delivered */
};

enum x86_event_type {
    X86_EVENT_NONE,
    X86_EVENT_EXTERNAL, /* from the interrupt controller */
    X86_EVENT_NMI,
    X86_EVENT_EXCEPTION, /* a fault or trap of the CPU */
    X86_EVENT_SOFT_INT,  /* INT n */
    X86_EVENT_SOFT_EXC,  /* INT3, INTO: DPL is checked */
    X86_EVENT_ICEBP      /* INT1: DPL is not checked */
};

struct x86_state {
    uint64_t gpr[X86_NR_GPRS];
    uint64_t rip;
    uint64_t rflags; /* architectural; bit 1 is always set */
    struct x86_seg seg[X86_NR_SREGS];
    struct x86_seg ldtr, tr;
    struct x86_dtable gdtr, idtr;
    uint64_t cr0, cr2, cr3, cr4, cr8;
    uint64_t xcr0;
    uint64_t dr[4], dr6, dr7;
    uint64_t pdpte[4];   /* latched in PAE mode (SDM vol. 3, 4.4.1) */
    uint64_t tsc_offset; /* guest TSC = host TSC + offset */
    uint64_t tsc_deadline;
    struct x86_msrs msr;
    uint8_t cpl;         /* SS.DPL, kept apart: hot */
    uint8_t mp_state;    /* enum x86_mp_state */
    uint8_t int_shadow;  /* after STI or MOV SS: no interrupt before the next
                            instruction has ended */
    uint8_t nmi_blocked; /* until the next IRET */
    uint8_t nmi_pending;
    uint8_t smbase_unused[3];
    struct x86_event event; /* NONE if nothing is pending */
    /* Standard format (not compacted), SDM vol. 1, 13.4. */
    uint8_t xsave[X86_XSAVE_SIZE] __attribute__((aligned(64)));
};

/* Power-on state (SDM vol. 3, 10.1.1); index 0 is the bootstrap processor, the
 * others wait for a SIPI. Keeps nothing. */
void x86_state_reset(struct x86_state *st, unsigned index);
/* After INIT (SDM vol. 3, 10.1.1): keeps FPU, MTRRs, TSC, most MSRs. */
void x86_state_init(struct x86_state *st, unsigned index);
/* Start an application processor at vector << 12. */
void x86_state_sipi(struct x86_state *st, uint8_t vector);

/* 48-bit linear addresses: bits 63..47 are equal. */
static inline bool x86_is_canonical(uint64_t va)
{
    return va + ((uint64_t)1 << 47) < (uint64_t)1 << 48;
}

static inline bool x86_long_mode(const struct x86_state *st)
{
    return st->msr.efer & X86_EFER_LMA;
}

static inline bool x86_64bit_mode(const struct x86_state *st)
{
    return x86_long_mode(st) && (st->seg[X86_CS].attr & X86_SEG_L);
}

#endif
