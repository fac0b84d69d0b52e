#include "x86/segment.h"

/*
 * Segment registers and what reads descriptors for programs (Intel SDM vol. 2:
 * MOV, LLDT, LTR, LAR, LSL, VERR; vol. 3, 5). A null selector clears the base
 * of FS and GS too, as current CPUs of both vendors do (AMD advertises it as
 * NullSelectorClearsBase).
 */

enum {
    ATTR_DATA = X86_SEG_P | X86_SEG_S | 0x3,
    ATTR_V86 = ATTR_DATA | 0x60,
    RPL_MASK = 3
};

void x86_seg_copy(struct x86_seg *dst, const struct x86_seg *src)
{
    dst->sel = src->sel;
    dst->base = src->base;
    dst->limit = src->limit;
    dst->attr = src->attr;
}

void x86_seg_set_null(struct x86_seg *seg, uint16_t sel)
{
    seg->sel = sel;
    seg->base = 0;
    seg->limit = 0;
    seg->attr = 0;
}

/* A segment that protected mode left unusable becomes a 64-KiB one. */
void x86_seg_set_real(struct x86_seg *seg, uint16_t sel)
{
    seg->sel = sel;
    seg->base = (uint64_t)sel << 4;
    if (!(seg->attr & X86_SEG_P)) {
        seg->limit = 0xffff;
        seg->attr = ATTR_DATA;
    }
}

void x86_seg_set_v86(struct x86_seg *seg, uint16_t sel)
{
    seg->sel = sel;
    seg->base = (uint64_t)sel << 4;
    seg->limit = 0xffff;
    seg->attr = ATTR_V86;
}

void x86_seg_set_flat(struct x86_seg *seg, uint16_t sel, uint16_t attr)
{
    seg->sel = sel;
    seg->base = 0;
    seg->limit = 0xffffffffu;
    seg->attr = attr;
}

int x86_check_ss(struct x86_cpu *cpu, uint16_t sel, unsigned cpl,
                 unsigned vector, bool allow_null, struct x86_seg *seg)
{
    struct x86_desc d;

    if (x86_sel_is_null(sel)) {
        if (!allow_null || (sel & RPL_MASK) != cpl || cpl == 3)
            return x86_fault_err(cpu, vector, 0);
        x86_seg_set_null(seg, sel);
        seg->attr = (uint16_t)(cpl << 5);
        return X86_OK;
    }
    if (x86_desc_read(cpu, sel, vector, &d) < 0)
        return X86_FAULT;
    if ((sel & RPL_MASK) != cpl || !x86_desc_is_writable(d.lo) ||
        x86_desc_dpl(d.lo) != cpl)
        return x86_fault_sel(cpu, vector, sel);
    if (!x86_desc_present(d.lo))
        return x86_fault_sel(cpu, X86_SS_FAULT, sel);
    if (x86_desc_set_accessed(cpu, &d) < 0)
        return X86_FAULT;
    x86_desc_to_seg(&d, seg);
    return X86_OK;
}

/* Is a segment of this descriptor visible at the current CPL with sel's RPL?
 * Conforming code always is. */
static bool is_visible(const struct x86_cpu *cpu, uint16_t sel, uint64_t lo)
{
    unsigned dpl = x86_desc_dpl(lo);

    return x86_desc_is_conforming(lo) ||
           (dpl >= (sel & RPL_MASK) && dpl >= cpu->st->cpl);
}

int x86_check_data(struct x86_cpu *cpu, uint16_t sel, unsigned vector,
                   struct x86_seg *seg)
{
    struct x86_desc d;

    if (x86_sel_is_null(sel)) {
        x86_seg_set_null(seg, sel);
        return X86_OK;
    }
    if (x86_desc_read(cpu, sel, vector, &d) < 0)
        return X86_FAULT;
    if (!x86_desc_is_readable(d.lo) || !is_visible(cpu, sel, d.lo))
        return x86_fault_sel(cpu, vector, sel);
    if (!x86_desc_present(d.lo))
        return x86_fault_sel(cpu, X86_NP, sel);
    if (x86_desc_set_accessed(cpu, &d) < 0)
        return X86_FAULT;
    x86_desc_to_seg(&d, seg);
    return X86_OK;
}

int x86_load_seg(struct x86_cpu *cpu, enum x86_sreg reg, uint16_t sel)
{
    struct x86_state *st = cpu->st;
    struct x86_seg seg;
    int rc;

    if (!(st->cr0 & X86_CR0_PE)) {
        x86_seg_set_real(&st->seg[reg], sel);
    } else if (st->rflags & X86_FLAGS_VM) {
        x86_seg_set_v86(&st->seg[reg], sel);
    } else {
        if (reg == X86_SS)
            rc = x86_check_ss(cpu, sel, st->cpl, X86_GP, x86_64bit_mode(st),
                              &seg);
        else
            rc = x86_check_data(cpu, sel, X86_GP, &seg);
        if (rc < 0)
            return rc;
        x86_seg_copy(&st->seg[reg], &seg);
    }
    if (reg == X86_SS)
        st->int_shadow = 1;
    cpu->ops->mode_changed(cpu);
    return X86_OK;
}

/* What LLDT and LTR have in common: privilege, table, type and presence. */
static int read_system(struct x86_cpu *cpu, uint16_t sel, unsigned type,
                       unsigned other_type, struct x86_desc *d, uint64_t *base)
{
    unsigned got;

    if (sel & 4)
        return x86_fault_sel(cpu, X86_GP, sel);
    if (x86_desc_read(cpu, sel, X86_GP, d) < 0)
        return X86_FAULT;
    got = x86_desc_type(d->lo);
    if (!x86_desc_is_system(d->lo) || (got != type && got != other_type))
        return x86_fault_sel(cpu, X86_GP, sel);
    if (!x86_desc_present(d->lo))
        return x86_fault_sel(cpu, X86_NP, sel);
    *base = x86_desc_base(d->lo);
    if (x86_long_mode(cpu->st)) {
        uint64_t hi;

        if (x86_desc_read_high(cpu, d, X86_GP, &hi) < 0)
            return X86_FAULT;
        *base |= hi << 32;
        if (!x86_is_canonical(*base))
            return x86_fault_sel(cpu, X86_GP, sel);
    }
    return X86_OK;
}

static int check_privileged(struct x86_cpu *cpu)
{
    if (x86_is_real_style(cpu->st))
        return x86_fault(cpu, X86_UD);
    if (cpu->st->cpl)
        return x86_fault_err(cpu, X86_GP, 0);
    return X86_OK;
}

int x86_lldt(struct x86_cpu *cpu, uint16_t sel)
{
    struct x86_state *st = cpu->st;
    struct x86_desc d;
    uint64_t base;

    if (check_privileged(cpu) < 0)
        return X86_FAULT;
    if (x86_sel_is_null(sel)) {
        x86_seg_set_null(&st->ldtr, sel);
        return X86_OK;
    }
    if (read_system(cpu, sel, X86_DESC_LDT, X86_DESC_LDT, &d, &base) < 0)
        return X86_FAULT;
    x86_desc_to_seg(&d, &st->ldtr);
    st->ldtr.base = base;
    return X86_OK;
}

int x86_ltr(struct x86_cpu *cpu, uint16_t sel)
{
    struct x86_state *st = cpu->st;
    unsigned other = x86_long_mode(st) ? X86_DESC_TSS : X86_DESC_TSS16;
    struct x86_desc d;
    uint64_t base;

    if (check_privileged(cpu) < 0)
        return X86_FAULT;
    if (x86_sel_is_null(sel))
        return x86_fault_err(cpu, X86_GP, 0);
    if (read_system(cpu, sel, X86_DESC_TSS, other, &d, &base) < 0 ||
        x86_desc_set_busy(cpu, &d, true) < 0)
        return X86_FAULT;
    x86_desc_to_seg(&d, &st->tr);
    st->tr.base = base;
    return X86_OK;
}

/*
 * The descriptor that LAR, LSL, VERR or VERW asks for; *ok says whether it
 * exists and is visible. Gates and system types are judged by the caller,
 * which gives the types it knows as a bit mask.
 */
static int examine(struct x86_cpu *cpu, uint16_t sel, unsigned types,
                   uint64_t *lo, bool *ok)
{
    struct x86_desc d;

    *ok = false;
    if (x86_is_real_style(cpu->st))
        return x86_fault(cpu, X86_UD);
    if (x86_sel_is_null(sel) ||
        !x86_desc_find(cpu->st, sel, sizeof(d.lo), &d.addr))
        return X86_OK;
    if (cpu->ops->read(cpu, d.addr, lo, sizeof(*lo), false) < 0)
        return X86_FAULT;
    if (x86_desc_is_system(*lo) && !(types >> x86_desc_type(*lo) & 1))
        return X86_OK;
    *ok = is_visible(cpu, sel, *lo);
    return X86_OK;
}

int x86_lar(struct x86_cpu *cpu, uint16_t sel, uint32_t *out, bool *ok)
{
    /* SDM vol. 2, LAR: which system types are valid. */
    unsigned types = x86_long_mode(cpu->st) ? 0x1a04 : 0x1a3e;
    uint64_t lo;

    if (examine(cpu, sel, types, &lo, ok) < 0)
        return X86_FAULT;
    if (*ok) /* SDM vol. 2: limit bits 16..19 are undefined; CPUs keep them */
        *out = (uint32_t)(lo >> 32) & 0x00ffff00;
    return X86_OK;
}

int x86_lsl(struct x86_cpu *cpu, uint16_t sel, uint32_t *out, bool *ok)
{
    /* SDM vol. 2, LSL: as LAR but no gates. */
    unsigned types = x86_long_mode(cpu->st) ? 0x0a04 : 0x0a0e;
    uint64_t lo;

    if (examine(cpu, sel, types, &lo, ok) < 0)
        return X86_FAULT;
    if (*ok)
        *out = x86_desc_limit(lo);
    return X86_OK;
}

int x86_verify(struct x86_cpu *cpu, uint16_t sel, bool write, bool *ok)
{
    uint64_t lo;

    if (examine(cpu, sel, 0, &lo, ok) < 0)
        return X86_FAULT;
    if (*ok)
        *ok = write ? x86_desc_is_writable(lo) : x86_desc_is_readable(lo);
    return X86_OK;
}

bool x86_seg_allows(const struct x86_state *st, enum x86_sreg reg, uint64_t off,
                    unsigned len, bool write)
{
    const struct x86_seg *s = &st->seg[reg];
    bool code = s->attr & 8, second = s->attr & 2; /* writable or readable */
    uint64_t last = off + len - 1;

    if (x86_is_real_style(st))
        return last <= s->limit;
    if (!(s->attr & X86_SEG_P) || (write && code) ||
        ((write || code) && !second))
        return false;
    if (!code && (s->attr & 4)) /* expand-down */
        return off > s->limit &&
               last <= (s->attr & X86_SEG_DB ? UINT32_MAX : UINT16_MAX);
    return last <= s->limit;
}

/* In 64-bit mode only FS and GS have a base (SDM vol. 3, 3.4.4). */
gva_t x86_linear(const struct x86_state *st, enum x86_sreg seg, uint64_t off)
{
    if (!x86_64bit_mode(st))
        return (st->seg[seg].base + off) & 0xffffffffu;
    if (seg == X86_FS || seg == X86_GS)
        return st->seg[seg].base + off;
    return off;
}
