#include "x86/desc.h"

/*
 * Descriptor tables lie in guest memory and other CPUs may change them: each
 * descriptor is read once and judged by what was read.
 */

void x86_desc_to_seg(const struct x86_desc *d, struct x86_seg *seg)
{
    seg->sel = d->sel;
    seg->base = x86_desc_base(d->lo);
    seg->limit = x86_desc_limit(d->lo);
    seg->attr = (uint16_t)(d->lo >> 40 & 0xf0ff);
}

bool x86_desc_find(const struct x86_state *st, uint16_t sel, unsigned len,
                   gva_t *addr)
{
    uint64_t base = st->gdtr.base;
    uint32_t limit = st->gdtr.limit;
    uint32_t off = sel & 0xfff8u;

    if (sel & 4) {
        if (!(st->ldtr.attr & X86_SEG_P))
            return false;
        base = st->ldtr.base;
        limit = st->ldtr.limit;
    }
    if (off + len - 1 > limit)
        return false;
    *addr = base + off;
    if (!x86_long_mode(st))
        *addr &= 0xffffffffu;
    return true;
}

int x86_desc_read(struct x86_cpu *cpu, uint16_t sel, unsigned vector,
                  struct x86_desc *d)
{
    d->sel = sel;
    if (!x86_desc_find(cpu->st, sel, sizeof(d->lo), &d->addr))
        return x86_fault_sel(cpu, vector, sel);
    return cpu->ops->read(cpu, d->addr, &d->lo, sizeof(d->lo), false);
}

int x86_desc_read_high(struct x86_cpu *cpu, const struct x86_desc *d,
                       unsigned vector, uint64_t *hi)
{
    gva_t addr;

    if (!x86_desc_find(cpu->st, d->sel, 16, &addr))
        return x86_fault_sel(cpu, vector, d->sel);
    if (cpu->ops->read(cpu, d->addr + 8, hi, sizeof(*hi), false) < 0)
        return X86_FAULT;
    if (*hi >> 40 & 0x1f)
        return x86_fault_sel(cpu, vector, d->sel);
    return X86_OK;
}

static int write_type(struct x86_cpu *cpu, struct x86_desc *d, uint64_t lo)
{
    uint8_t byte = (uint8_t)(lo >> 40);

    if (lo == d->lo)
        return X86_OK;
    if (cpu->ops->write(cpu, d->addr + 5, &byte, 1, false) < 0)
        return X86_FAULT;
    d->lo = lo;
    return X86_OK;
}

/* Nothing is written if the bit is set: kernels keep their GDT read-only. */
int x86_desc_set_accessed(struct x86_cpu *cpu, struct x86_desc *d)
{
    return write_type(cpu, d, d->lo | (uint64_t)1 << 40);
}

int x86_desc_set_busy(struct x86_cpu *cpu, struct x86_desc *d, bool busy)
{
    uint64_t bit = (uint64_t)X86_DESC_BUSY << 40;

    return write_type(cpu, d, busy ? d->lo | bit : d->lo & ~bit);
}
