#include "x86/stack.h"

enum { TYPE_CODE = 8, TYPE_EXPAND_DOWN = 4 };

/* SDM vol. 3, 5.3. */
bool x86_seg_in_limit(const struct x86_seg *seg, uint64_t off, unsigned len)
{
    uint64_t last = off + len - 1;
    uint64_t top = seg->attr & X86_SEG_DB ? 0xffffffffu : 0xffffu;

    if (!(seg->attr & X86_SEG_P) || last < off)
        return false;
    if ((seg->attr & (TYPE_CODE | TYPE_EXPAND_DOWN)) == TYPE_EXPAND_DOWN)
        return off > seg->limit && last <= top;
    return last <= seg->limit;
}

void x86_stack_init(struct x86_stack *s, struct x86_cpu *cpu,
                    const struct x86_seg *ss, uint64_t sp, bool wide)
{
    s->cpu = cpu;
    s->ss = ss;
    s->base = wide ? 0 : ss->base;
    s->mask = ss->attr & X86_SEG_DB ? 0xffffffffu : 0xffffu;
    if (wide)
        s->mask = ~(uint64_t)0;
    s->sp = sp & s->mask;
    s->error = 0;
    s->vector = X86_SS_FAULT;
    s->user = false;
}

void x86_stack_current(struct x86_stack *s, struct x86_cpu *cpu)
{
    const struct x86_state *st = cpu->st;

    x86_stack_init(s, cpu, &st->seg[X86_SS], st->gpr[X86_RSP],
                   x86_64bit_mode(st));
    s->user = st->cpl == 3;
}

static int locate(const struct x86_stack *s, uint64_t sp, unsigned size,
                  gva_t *addr)
{
    *addr = s->base + sp;
    if (s->mask == ~(uint64_t)0) {
        if (x86_is_canonical(sp) && x86_is_canonical(sp + size - 1))
            return X86_OK;
        return x86_fault_err(s->cpu, s->vector, s->error);
    }
    *addr &= 0xffffffffu;
    if (x86_seg_in_limit(s->ss, sp, size))
        return X86_OK;
    return x86_fault_err(s->cpu, s->vector, s->error);
}

int x86_push(struct x86_stack *s, uint64_t val, unsigned size)
{
    uint64_t sp = (s->sp - size) & s->mask;
    gva_t addr;

    if (locate(s, sp, size, &addr) < 0 ||
        s->cpu->ops->write(s->cpu, addr, &val, size, s->user) < 0)
        return X86_FAULT;
    s->sp = sp;
    return X86_OK;
}

int x86_pop(struct x86_stack *s, uint64_t *val, unsigned size)
{
    uint64_t got = 0;
    gva_t addr;

    if (locate(s, s->sp, size, &addr) < 0 ||
        s->cpu->ops->read(s->cpu, addr, &got, size, s->user) < 0)
        return X86_FAULT;
    x86_stack_skip(s, size);
    *val = got;
    return X86_OK;
}

void x86_stack_skip(struct x86_stack *s, unsigned bytes)
{
    s->sp = (s->sp + bytes) & s->mask;
}

uint64_t x86_stack_sp(const struct x86_stack *s, uint64_t old)
{
    if (s->mask == ~(uint64_t)0)
        return s->sp;
    return (old & ~s->mask & 0xffffffffu) | s->sp;
}
