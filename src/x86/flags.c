#include "x86/desc.h"
#include "x86/segment.h"

/*
 * The flags that programs may not change at will: IF, IOPL and the rest of
 * POPF, and the I/O permission that IOPL stands for (Intel SDM vol. 2, POPF,
 * STI, CLI; vol. 1, 19.5). VME and PVI are not advertised, hence absent.
 */

enum { TSS_IO_BASE = 102, TSS32_MIN_LIMIT = 103 };

static unsigned iopl(const struct x86_state *st)
{
    return (unsigned)(st->rflags & X86_FLAGS_IOPL) >> 12;
}

static bool is_v86(const struct x86_state *st)
{
    return st->rflags & X86_FLAGS_VM;
}

int x86_popf(struct x86_cpu *cpu, uint64_t image, unsigned opsize)
{
    struct x86_state *st = cpu->st;
    uint64_t mask =
        X86_FLAGS_ARITH | X86_FLAGS_TF | X86_FLAGS_DF | X86_FLAGS_NT;
    uint64_t old = st->rflags;
    uint64_t flags;

    if (is_v86(st) && iopl(st) < 3)
        return x86_fault_err(cpu, X86_GP, 0);
    if (opsize > 2)
        mask |= X86_FLAGS_AC | X86_FLAGS_ID;
    if (is_v86(st) || st->cpl <= iopl(st))
        mask |= X86_FLAGS_IF;
    if (!is_v86(st) && st->cpl == 0)
        mask |= X86_FLAGS_IOPL;
    flags = (old & ~mask) | (image & mask) | X86_FLAGS_FIXED;
    flags &= ~(uint64_t)X86_FLAGS_RF;
    if (opsize > 2 && !is_v86(st))
        flags &= ~(uint64_t)(X86_FLAGS_VIF | X86_FLAGS_VIP);
    st->rflags = flags;
    if ((old ^ flags) & (X86_FLAGS_TF | X86_FLAGS_IOPL | X86_FLAGS_AC))
        cpu->ops->mode_changed(cpu);
    return X86_OK;
}

static int check_if(struct x86_cpu *cpu)
{
    const struct x86_state *st = cpu->st;

    /* In virtual-8086 mode the CPL is 3, so this is IOPL < 3. */
    if ((st->cr0 & X86_CR0_PE) && st->cpl > iopl(st))
        return x86_fault_err(cpu, X86_GP, 0);
    return X86_OK;
}

int x86_cli(struct x86_cpu *cpu)
{
    if (check_if(cpu) < 0)
        return X86_FAULT;
    cpu->st->rflags &= ~(uint64_t)X86_FLAGS_IF;
    return X86_OK;
}

int x86_sti(struct x86_cpu *cpu)
{
    struct x86_state *st = cpu->st;

    if (check_if(cpu) < 0)
        return X86_FAULT;
    if (!(st->rflags & X86_FLAGS_IF))
        st->int_shadow = 1;
    st->rflags |= X86_FLAGS_IF;
    return X86_OK;
}

/*
 * The bitmap is read two bytes at a time, so the byte behind the last one must
 * lie within the TSS as well (SDM vol. 1, 19.5.2).
 */
int x86_check_io(struct x86_cpu *cpu, uint16_t port, unsigned size)
{
    const struct x86_state *st = cpu->st;
    const struct x86_seg *tr = &st->tr;
    uint16_t base, bits;
    uint32_t off;
    unsigned mask = ((1u << size) - 1) << (port & 7);

    if (!(st->cr0 & X86_CR0_PE) || (!is_v86(st) && st->cpl <= iopl(st)))
        return X86_OK;
    if (!(tr->attr & X86_SEG_P) ||
        (tr->attr & X86_SEG_TYPE & ~(unsigned)X86_DESC_BUSY) != X86_DESC_TSS ||
        tr->limit < TSS32_MIN_LIMIT)
        return x86_fault_err(cpu, X86_GP, 0);
    if (cpu->ops->read(cpu, tr->base + TSS_IO_BASE, &base, 2, false) < 0)
        return X86_FAULT;
    off = base + port / 8u;
    if (off + 1 > tr->limit)
        return x86_fault_err(cpu, X86_GP, 0);
    if (cpu->ops->read(cpu, tr->base + off, &bits, 2, false) < 0)
        return X86_FAULT;
    if (bits & mask)
        return x86_fault_err(cpu, X86_GP, 0);
    return X86_OK;
}
