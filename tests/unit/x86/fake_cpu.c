#include "tests/unit/x86/fake_cpu.h"

#include <stdlib.h>
#include <string.h>

#include "x86/desc.h"

static int page_fault(struct fake_cpu *f, gva_t gva, bool write, bool user)
{
    f->cpu.fault = (struct x86_event){
        .vector = X86_PF,
        .type = X86_EVENT_EXCEPTION,
        .has_error = true,
        .error = (write ? X86_PF_W : 0u) | (user ? X86_PF_U : 0u),
        .cr2 = gva,
    };
    return X86_FAULT;
}

static bool is_bad(const struct fake_cpu *f, gva_t gva, unsigned len)
{
    if (gva >= FAKE_RAM || len > FAKE_RAM - gva)
        return true;
    return f->bad_page && gva < f->bad_page + GPAGE_SIZE &&
           gva + len > f->bad_page;
}

static int fake_read(struct x86_cpu *cpu, gva_t gva, void *dst, unsigned len,
                     bool user)
{
    struct fake_cpu *f = cpu->opaque;

    f->user = user;
    if (is_bad(f, gva, len))
        return page_fault(f, gva, false, user);
    memcpy(dst, f->ram + gva, len);
    return X86_OK;
}

static int fake_write(struct x86_cpu *cpu, gva_t gva, const void *src,
                      unsigned len, bool user)
{
    struct fake_cpu *f = cpu->opaque;

    f->user = user;
    f->writes++;
    if (is_bad(f, gva, len))
        return page_fault(f, gva, true, user);
    memcpy(f->ram + gva, src, len);
    return X86_OK;
}

static void fake_flush(struct x86_cpu *cpu, enum x86_flush kind, gva_t gva,
                       unsigned pcid)
{
    struct fake_cpu *f = cpu->opaque;

    f->flushes++;
    f->flush_kind = kind;
    f->flush_gva = gva;
    f->flush_pcid = pcid;
}

static void fake_cr3_loaded(struct x86_cpu *cpu, bool keep)
{
    struct fake_cpu *f = cpu->opaque;

    f->cr3_loads++;
    f->cr3_keep = keep;
}

static void fake_mode_changed(struct x86_cpu *cpu)
{
    struct fake_cpu *f = cpu->opaque;

    f->mode_changes++;
}

static int fake_rdmsr(struct x86_cpu *cpu, uint32_t msr, uint64_t *val)
{
    struct fake_cpu *f = cpu->opaque;

    *val = f->dev_msr;
    return msr == 0x8ff ? X86_FAULT : X86_OK;
}

static int fake_wrmsr(struct x86_cpu *cpu, uint32_t msr, uint64_t val)
{
    struct fake_cpu *f = cpu->opaque;

    f->dev_msr = val;
    return msr == 0x8ff ? X86_FAULT : X86_OK;
}

static uint64_t fake_get_cr8(struct x86_cpu *cpu)
{
    return ((struct fake_cpu *)cpu->opaque)->cr8;
}

static void fake_set_cr8(struct x86_cpu *cpu, uint64_t val)
{
    ((struct fake_cpu *)cpu->opaque)->cr8 = val;
}

static const struct x86_system_ops fake_ops = {
    .read = fake_read,
    .write = fake_write,
    .flush = fake_flush,
    .cr3_loaded = fake_cr3_loaded,
    .mode_changed = fake_mode_changed,
    .rdmsr = fake_rdmsr,
    .wrmsr = fake_wrmsr,
    .get_cr8 = fake_get_cr8,
    .set_cr8 = fake_set_cr8,
};

uint64_t fake_get(const struct fake_cpu *f, gva_t gva, unsigned size)
{
    uint64_t val = 0;

    assert_in_range(gva + size, 1, FAKE_RAM);
    memcpy(&val, f->ram + gva, size);
    return val;
}

void fake_put(struct fake_cpu *f, gva_t gva, uint64_t val, unsigned size)
{
    assert_in_range(gva + size, 1, FAKE_RAM);
    memcpy(f->ram + gva, &val, size);
}

static uint64_t make_desc(uint32_t base, uint32_t limit, uint16_t attr)
{
    uint64_t d;

    if (attr & X86_SEG_G)
        limit >>= 12;
    d = limit & 0xffff;
    d |= (uint64_t)(base & 0xffffff) << 16;
    d |= (uint64_t)(base >> 24) << 56;
    d |= (uint64_t)(limit >> 16 & 0xf) << 48;
    return d | (uint64_t)attr << 40;
}

void fake_desc(struct fake_cpu *f, uint16_t sel, uint32_t base, uint32_t limit,
               uint16_t attr)
{
    fake_put(f, FAKE_GDT + (sel & 0xfff8u), make_desc(base, limit, attr), 8);
}

void fake_ldt_desc(struct fake_cpu *f, uint16_t sel, uint32_t limit,
                   uint16_t attr)
{
    fake_put(f, FAKE_LDT + (sel & 0xfff8u), make_desc(0, limit, attr), 8);
    f->st.ldtr = (struct x86_seg){FAKE_LDT, 0xff, LDT, 0x82};
}

void fake_gate(struct fake_cpu *f, unsigned vector, unsigned type, unsigned dpl,
               uint16_t sel, uint64_t target, unsigned ist)
{
    bool wide = x86_long_mode(&f->st);
    uint64_t lo = (target & 0xffff) | (uint64_t)sel << 16 |
                  (target & 0xffff0000u) << 32 | (uint64_t)ist << 32 |
                  (uint64_t)(0x80 | dpl << 5 | type) << 40;

    fake_put(f, FAKE_IDT + vector * (wide ? 16 : 8), lo, 8);
    if (wide)
        fake_put(f, FAKE_IDT + vector * 16 + 8, target >> 32, 8);
}

void fake_load(struct fake_cpu *f, enum x86_sreg reg, uint16_t sel)
{
    struct x86_desc d = {.lo = fake_get(f, FAKE_GDT + (sel & 0xfff8u), 8),
                         .sel = sel};

    x86_desc_to_seg(&d, &f->st.seg[reg]);
}

/* attr: 0x9b code, 0x93 data, 0x60 DPL 3; 0xc000 G and D/B, 0xa000 G and L. */
static void build_gdt(struct fake_cpu *f)
{
    const uint32_t all = 0xffffffff;

    fake_desc(f, KCODE64, 0, all, 0xa09b);
    fake_desc(f, KDATA, 0, all, 0xc093);
    fake_desc(f, KCODE32, 0, all, 0xc09b);
    fake_desc(f, UCODE32, 0, all, 0xc0fb);
    fake_desc(f, UDATA, 0, all, 0xc0f3);
    fake_desc(f, UCODE64, 0, all, 0xa0fb);
    fake_desc(f, CONFORMING, 0, all, 0xc09f);
    fake_desc(f, ABSENT_DATA, 0, all, 0xc073);
    fake_desc(f, UDATA16, 0, 0xffff, 0x00f3);
    fake_desc(f, KCODE16, 0, 0xffff, 0x009b);
    fake_desc(f, RO_DATA, 0, all, 0xc0f1);
    fake_desc(f, TSS, FAKE_TSS, 0x2087, 0x0089);
    fake_desc(f, TSS2, FAKE_TSS2, 0x67, 0x0089);
    fake_desc(f, LDT, FAKE_LDT, 0xff, 0x0082);
    fake_desc(f, EXEC_ONLY, 0, all, 0xc0f9);
    fake_put(f, FAKE_GDT + TASK_GATE,
             (uint64_t)TSS2 << 16 | (uint64_t)0xe5 << 40, 8);
    fake_desc(f, ABSENT_CODE, 0, all, 0xa01b);
    fake_desc(f, BAD_CODE, 0, all, 0xe09b);
    fake_desc(f, KDATA16, 0, 0xffff, 0x0093);
    fake_desc(f, TSS16, FAKE_TSS2, 0x2b, 0x0081);
}

static void build_tss(struct fake_cpu *f)
{
    f->st.tr = (struct x86_seg){FAKE_TSS, 0x2087, TSS, 0x8b};
    if (x86_long_mode(&f->st)) {
        fake_put(f, FAKE_TSS + 4, FAKE_STACK0, 8);
        fake_put(f, FAKE_TSS + 36, FAKE_IST1, 8);
        return;
    }
    fake_put(f, FAKE_TSS + 4, FAKE_STACK0, 4);
    fake_put(f, FAKE_TSS + 8, KDATA, 2);
}

static void set_mode(struct fake_cpu *f, enum fake_mode mode)
{
    static const struct {
        uint16_t cs, ds;
        uint8_t cpl;
        bool wide;
    } modes[] = {
        [FAKE_LEGACY] = {KCODE32, KDATA, 0, false},
        [FAKE_LEGACY_USER] = {UCODE32 | 3, UDATA | 3, 3, false},
        [FAKE_LONG] = {KCODE64, KDATA, 0, true},
        [FAKE_LONG_USER] = {UCODE64 | 3, UDATA | 3, 3, true},
        [FAKE_COMPAT_USER] = {UCODE32 | 3, UDATA | 3, 3, true},
    };
    struct x86_state *st = &f->st;

    st->gpr[X86_RSP] = FAKE_STACK;
    st->rip = FAKE_RIP;
    st->cr0 = X86_CR0_ET;
    st->seg[X86_CS] = (struct x86_seg){0, 0xffff, 0, 0x9b};
    if (mode == FAKE_REAL) {
        st->idtr.base = FAKE_IDT;
        st->idtr.limit = 0x3ff;
        return;
    }
    st->cr0 |= X86_CR0_PE;
    if (mode == FAKE_V86) {
        st->rflags |= X86_FLAGS_VM;
        st->cpl = 3;
        for (unsigned i = 0; i < X86_NR_SREGS; i++)
            st->seg[i] = (struct x86_seg){0, 0xffff, 0, 0xf3};
        return;
    }
    if (modes[mode].wide) {
        st->cr0 |= X86_CR0_PG;
        st->cr4 |= X86_CR4_PAE;
        st->msr.efer |= X86_EFER_LME | X86_EFER_LMA | X86_EFER_SCE;
    }
    for (unsigned i = 0; i < X86_NR_SREGS; i++)
        fake_load(f, (enum x86_sreg)i, modes[mode].ds);
    fake_load(f, X86_CS, modes[mode].cs);
    st->cpl = modes[mode].cpl;
}

struct fake_cpu *fake_cpu_new(enum fake_mode mode)
{
    struct fake_cpu *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    f->cpu = (struct x86_cpu){.st = &f->st,
                              .model = &f->model,
                              .ops = &fake_ops,
                              .gmem = &f->gmem,
                              .opaque = f};
    f->gmem.bank[0] = (struct gmem_bank){.size = FAKE_RAM, .hva = f->ram};
    f->gmem.nr_banks = 1;
    f->model.amd = true;
    f->model.xcr0 = 7;
    memset(f->model.has, true, sizeof(f->model.has));
    x86_state_reset(&f->st, 0);
    f->st.gdtr.base = FAKE_GDT;
    f->st.gdtr.limit = GDT_LIMIT;
    f->st.idtr.base = FAKE_IDT;
    f->st.idtr.limit = 0xfff;
    build_gdt(f);
    set_mode(f, mode);
    build_tss(f);
    return f;
}

void fake_cpu_free(struct fake_cpu *f)
{
    free(f);
}

struct x86_event fake_external(unsigned vector)
{
    return (struct x86_event){.vector = (uint8_t)vector,
                              .type = X86_EVENT_EXTERNAL};
}

struct x86_event fake_exception(unsigned vector)
{
    return (struct x86_event){.vector = (uint8_t)vector,
                              .type = X86_EVENT_EXCEPTION};
}

struct x86_event fake_exception_err(unsigned vector, uint32_t error)
{
    struct x86_event ev = fake_exception(vector);

    ev.has_error = true;
    ev.error = error;
    return ev;
}

struct x86_event fake_int(unsigned vector)
{
    return (struct x86_event){
        .vector = (uint8_t)vector, .type = X86_EVENT_SOFT_INT, .length = 2};
}

void fake_expect_fault(const struct fake_cpu *f, int rc, unsigned vector,
                       int error)
{
    assert_int_equal(rc, X86_FAULT);
    assert_int_equal(f->cpu.fault.type, X86_EVENT_EXCEPTION);
    assert_int_equal(f->cpu.fault.vector, vector);
    assert_int_equal(f->cpu.fault.has_error, error >= 0);
    if (error >= 0)
        assert_int_equal(f->cpu.fault.error, error);
}
