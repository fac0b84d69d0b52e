#include "x86/regs.h"

/*
 * Power-on, INIT and SIPI (Intel SDM vol. 3, table 10-1; AMD APM vol. 2, table
 * 14-1). Where the tables leave a choice, the values are KVM's, so that a
 * machine starts the same under every engine: the x87 control word is that of
 * FNINIT, not the power-on 0x40.
 */

enum {
    XSAVE_FCW = 0,
    XSAVE_MXCSR = 24,
    XSAVE_MXCSR_MASK = 28,
    XSAVE_BV = 512,
    SEG_LIMIT = 0xffff,
    ATTR_CODE = X86_SEG_P | X86_SEG_S | 0xb,
    ATTR_DATA = X86_SEG_P | X86_SEG_S | 0x3,
    ATTR_LDT = X86_SEG_P | 0x2,
    ATTR_TSS = X86_SEG_P | 0xb
};

#define RESET_PAT 0x0007040600070406ull
/* Fast strings on; branch trace and PEBS unavailable. */
#define RESET_MISC_ENABLE 0x1801ull
/* What a P6 or later puts into EDX; software reads CPUID instead. */
#define RESET_RDX 0x600u

/* No libc here, and a plain loop would become a call of memset. */
static void zero(void *p, unsigned long len)
{
    __asm__ volatile("rep stosb" : "+D"(p), "+c"(len) : "a"(0) : "memory");
}

static void set_le(uint8_t *p, uint32_t val, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        p[i] = (uint8_t)(val >> (8 * i));
}

static void set_seg(struct x86_seg *seg, uint16_t sel, uint64_t base,
                    uint16_t attr)
{
    seg->sel = sel;
    seg->base = base;
    seg->limit = SEG_LIMIT;
    seg->attr = attr;
}

/* What power-on and INIT have in common. */
static void start(struct x86_state *st, unsigned index)
{
    for (unsigned i = 0; i < X86_NR_GPRS; i++)
        st->gpr[i] = 0;
    st->gpr[X86_RDX] = RESET_RDX;
    st->rip = 0xfff0;
    st->rflags = X86_FLAGS_FIXED;
    for (unsigned i = 0; i < X86_NR_SREGS; i++)
        set_seg(&st->seg[i], 0, 0, ATTR_DATA);
    set_seg(&st->seg[X86_CS], 0xf000, 0xffff0000u, ATTR_CODE);
    set_seg(&st->ldtr, 0, 0, ATTR_LDT);
    set_seg(&st->tr, 0, 0, ATTR_TSS);
    st->gdtr.base = 0;
    st->gdtr.limit = SEG_LIMIT;
    st->idtr.base = 0;
    st->idtr.limit = SEG_LIMIT;
    st->cr2 = 0;
    st->cr3 = 0;
    st->cr4 = 0;
    st->cr8 = 0;
    for (unsigned i = 0; i < 4; i++) {
        st->dr[i] = 0;
        st->pdpte[i] = 0;
    }
    st->dr6 = X86_DR6_FIXED;
    st->dr7 = X86_DR7_FIXED;
    st->msr.efer = 0;
    st->tsc_deadline = 0;
    st->cpl = 0;
    st->int_shadow = 0;
    st->nmi_blocked = 0;
    st->nmi_pending = 0;
    st->event.type = X86_EVENT_NONE;
    st->mp_state = index ? X86_MP_WAIT_SIPI : X86_MP_RUNNING;
}

void x86_state_reset(struct x86_state *st, unsigned index)
{
    zero(st, sizeof(*st));
    start(st, index);
    st->cr0 = X86_CR0_CD | X86_CR0_NW | X86_CR0_ET;
    st->xcr0 = X86_XCR0_X87;
    st->msr.pat = RESET_PAT;
    st->msr.misc_enable = RESET_MISC_ENABLE;
    set_le(st->xsave + XSAVE_FCW, 0x37f, 2);
    set_le(st->xsave + XSAVE_MXCSR, 0x1f80, 4);
    set_le(st->xsave + XSAVE_MXCSR_MASK, 0xffff, 4);
    set_le(st->xsave + XSAVE_BV, X86_XCR0_X87 | X86_XCR0_SSE, 4);
}

/* The paravirtual areas of a CPU end with INIT, as under KVM: a kernel that
 * starts the CPU again registers new ones. */
void x86_state_init(struct x86_state *st, unsigned index)
{
    uint64_t cache = st->cr0 & (X86_CR0_CD | X86_CR0_NW);

    start(st, index);
    st->cr0 = X86_CR0_ET | cache;
    st->msr.kvm_system_time = 0;
    st->msr.kvm_pv_eoi = 0;
    st->msr.kvm_steal_time = 0;
    st->msr.kvm_async_pf = 0;
    st->msr.kvm_poll_control = 0;
}

/* SDM vol. 3, 9.4.3: CS is vector << 8 with its base to match. */
void x86_state_sipi(struct x86_state *st, uint8_t vector)
{
    st->seg[X86_CS].sel = (uint16_t)(vector << 8);
    st->seg[X86_CS].base = (uint64_t)vector << 12;
    st->rip = 0;
    st->mp_state = X86_MP_RUNNING;
}
