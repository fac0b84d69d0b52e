#include "cpu/jit/jit.h"

/*
 * Memory accesses that the inline TLB could not serve: refills, page-crossing
 * operands, MMIO, ROM, and stores to pages that hold translated code.
 */

static uint64_t c_mmio_read(void *v, uint64_t gpa, uint64_t size, uint64_t d)
{
    (void)d;
    return vcpu_mmio_read(v, gpa, (unsigned)size);
}

static uint64_t c_mmio_write(void *v, uint64_t gpa, uint64_t size, uint64_t d)
{
    vcpu_mmio_write(v, gpa, (unsigned)size, d);
    return 0;
}

uint64_t h_call_c(struct jit_vcpu *jv,
                  uint64_t (*fn)(void *, uint64_t, uint64_t, uint64_t), void *a,
                  uint64_t b, uint64_t c, uint64_t d)
{
    uint64_t r;

    if (!jv->vec_live)
        return fn(a, b, c, d);
    jv->vec_live = 0;
    r = jit_call_c(fn, a, b, c, d);
    jv->vec_live = 1;
    return r;
}

uint64_t h_mmio_read(struct jit_vcpu *jv, gpa_t gpa, unsigned size)
{
    return h_call_c(jv, c_mmio_read, jv->v, gpa, size, 0);
}

void h_mmio_write(struct jit_vcpu *jv, gpa_t gpa, unsigned size, uint64_t val)
{
    (void)h_call_c(jv, c_mmio_write, jv->v, gpa, size, val);
}

static void copy(void *dst, const void *src, unsigned len)
{
    uint8_t *d = dst;
    const uint8_t *s = src;

    for (unsigned i = 0; i < len; i++)
        d[i] = s[i];
}

/* The widest access that a device sees: 8 bytes, not more than is left. */
static unsigned piece(unsigned left)
{
    return left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

static void mmio_in(struct jit_vcpu *jv, gpa_t gpa, uint8_t *dst, unsigned len)
{
    while (len) {
        unsigned n = piece(len);
        uint64_t v = h_mmio_read(jv, gpa, n);

        copy(dst, &v, n);
        gpa += n;
        dst += n;
        len -= n;
    }
}

static void mmio_out(struct jit_vcpu *jv, gpa_t gpa, const uint8_t *src,
                     unsigned len)
{
    while (len) {
        unsigned n = piece(len);
        uint64_t v = 0;

        copy(&v, src, n);
        h_mmio_write(jv, gpa, n, v);
        gpa += n;
        src += n;
        len -= n;
    }
}

/* Bytes to or from guest physical memory of one page, RAM or not. */
static void phys_in(struct jit_vcpu *jv, gpa_t gpa, void *dst, unsigned len)
{
    const void *hva = gmem_hva(jv->eng->gmem, gpa, len);

    if (hva)
        copy(dst, hva, len);
    else
        mmio_in(jv, gpa, dst, len);
}

static void phys_out(struct jit_vcpu *jv, gpa_t gpa, const void *src,
                     unsigned len)
{
    const struct gmem_bank *b = gmem_bank(jv->eng->gmem, gpa, len);

    if (!b) {
        mmio_out(jv, gpa, src, len);
        return;
    }
    if (b->readonly) { /* no code is known of what is behind it */
        if (b->behind)
            copy(b->behind + (gpa - b->start), src, len);
        return;
    }
    copy(b->hva + (gpa - b->start), src, len);
    (void)h_invalidate(jv->eng, jv, gpa, len);
}

static bool has_code(struct jit_vcpu *jv, const void *hva)
{
    uint64_t n =
        (uint64_t)((const uint8_t *)hva - jv->eng->gmem->base) >> GPAGE_SHIFT;

    return atomic_load(&jv->eng->pages[n].code);
}

static bool is_rom(struct jit_vcpu *jv, gpa_t gpa)
{
    const struct gmem_bank *b = gmem_bank(jv->eng->gmem, gpa, 1);

    return b && b->readonly;
}

/* Would an access succeed without changing more than an Accessed bit? */
static bool plain_access(struct jit_vcpu *jv, const struct x86_walk *w,
                         enum jit_mode mode, bool write)
{
    if (write && (!w->dirty || !w->writable))
        return false;
    if (mode == JIT_USER)
        return w->user;
    return mode == JIT_SUPER_AC || !w->user || !(jv->st.cr4 & X86_CR4_SMAP);
}

/* -- The slow path of translated code ------------------------------------- */

/* The state as it was before the instruction at ret: RIP, RAX and flags. */
static void recover(struct jit_vcpu *jv, uint32_t desc, uint64_t ret)
{
    const struct tb *tb = h_tb_at(jv->eng, ret);

    if (tb)
        jv->st.rip = h_tb_rip(jv, tb) + (desc >> DESC_INSN_SHIFT);
    if (desc & DESC_FLAGS_SAVED) {
        uint64_t ax = jv->st.gpr[X86_RAX];

        jv->arith = (ax >> 8 & 0xff) | (ax & 1 ? X86_FLAGS_OF : 0);
        jv->st.gpr[X86_RAX] = jv->rax_save;
    }
}

static struct h_slow_result slow_fault(struct jit_vcpu *jv, uint32_t desc,
                                       uint64_t ret)
{
    recover(jv, desc, ret);
    (void)h_fault(jv);
    return (struct h_slow_result){0, 0};
}

/*
 * The operand is worked on in a buffer, and h_commit writes it back. Locked
 * accesses of this kind exclude each other from here to there.
 */
static struct h_slow_result slow_bounce(struct jit_vcpu *jv, gva_t gva,
                                        uint32_t desc, const gpa_t gpa[2])
{
    unsigned size = desc & DESC_SIZE_MASK;
    unsigned first = (unsigned)(GPAGE_SIZE - (gva & GPAGE_MASK));
    unsigned at = gva & 63;

    jv->stat[JIT_STAT_BOUNCE]++;
    jv->commit.locked = desc & DESC_LOCKED && jv->eng->nr_vcpus > 1;
    if (jv->commit.locked)
        jit_lock_take(&jv->eng->split_lock);
    if (first > size)
        first = size;
    if (desc & DESC_READ || !(desc & DESC_WRITE)) {
        phys_in(jv, gpa[0], jv->bounce + at, first);
        if (first < size)
            phys_in(jv, gpa[1], jv->bounce + at + first, size - first);
    }
    jv->commit.gva = gva;
    jv->commit.size = size;
    jv->commit.bounced = 1;
    jv->commit.in_bounce_at = (uint8_t)at;
    jv->commit.gpa[0] = gpa[0];
    jv->commit.gpa[1] = gpa[1];
    return (struct h_slow_result){(uint64_t)(jv->bounce + at),
                                  desc & DESC_WRITE ? 1 : 0};
}

/* The operand lies on two pages. */
static struct h_slow_result slow_cross(struct jit_vcpu *jv, gva_t gva,
                                       uint32_t desc, uint64_t ret)
{
    enum jit_mode mode = (enum jit_mode)(desc >> DESC_MODE_SHIFT & 3);
    enum x86_access access = desc & DESC_WRITE ? X86_WRITE : X86_READ;
    gva_t second = (gva & ~GPAGE_MASK) + GPAGE_SIZE;
    struct x86_walk w[2];
    gpa_t gpa[2];

    if ((jv->key & KEY_SIZE_MASK) != 2)
        second &= UINT32_MAX;
    if (!h_translate(jv, gva, access, mode, &w[0]) &&
        jv->cpu.fault.type != X86_EVENT_NONE)
        return slow_fault(jv, desc, ret);
    if (!h_translate(jv, second, access, mode, &w[1]) &&
        jv->cpu.fault.type != X86_EVENT_NONE)
        return slow_fault(jv, desc, ret);
    gpa[0] = w[0].gpa;
    gpa[1] = w[1].gpa;
    return slow_bounce(jv, gva, desc, gpa);
}

static struct h_slow_result slow_gp(struct jit_vcpu *jv, uint32_t desc,
                                    uint64_t ret)
{
    (void)x86_fault_err(&jv->cpu, desc & DESC_STACK ? X86_SS_FAULT : X86_GP, 0);
    return slow_fault(jv, desc, ret);
}

/* What an operand of size bytes has to be aligned to where that is checked (SDM
 * vol. 3, table 6-7): vectors of any size to 16 bytes, as CPUs do; x87
 * environments to the width that they are made of. */
static unsigned alignment(unsigned size)
{
    switch (size) {
    case 1:
    case 2:
    case 4:
    case 8: return size;
    case 10: return 8; /* extended precision and decimal */
    case 28:
    case 108: return 4;
    case 14:
    case 94: return 2;
    default: return 16;
    }
}

int h_alignment(struct jit_vcpu *jv, gva_t gva, unsigned size)
{
    if (!(jv->key & KEY_ALIGN) || !(gva & (alignment(size) - 1)))
        return X86_OK;
    return x86_fault_err(&jv->cpu, X86_AC, 0);
}

/*
 * A store to a page that holds translated code. With one vCPU nobody can
 * translate the bytes between this look and the store; with more, the store
 * comes first and h_commit looks (see tb.c on the order there).
 */
static struct h_slow_result code_store(struct jit_vcpu *jv, gva_t gva,
                                       unsigned size, uint8_t *page, gpa_t gpa)
{
    uint64_t off = gva & GPAGE_MASK;

    jv->stat[JIT_STAT_CODE_STORE]++;
    if (jv->eng->nr_vcpus == 1 &&
        !h_covered(jv->eng,
                   (uint64_t)(page - jv->eng->gmem->base) >> GPAGE_SHIFT, off,
                   size))
        return (struct h_slow_result){(uint64_t)(page + off), 0};
    jv->commit.gva = gva;
    jv->commit.size = size;
    jv->commit.bounced = 0;
    jv->commit.locked = 0;
    jv->commit.gpa[0] = gpa | off;
    return (struct h_slow_result){(uint64_t)(page + off), 1};
}

struct h_slow_result h_slow(struct jit_vcpu *jv, gva_t gva, uint32_t desc,
                            uint64_t ret)
{
    unsigned size = desc & DESC_SIZE_MASK;
    enum jit_mode mode = (enum jit_mode)(desc >> DESC_MODE_SHIFT & 3);
    bool write = desc & DESC_WRITE;
    struct x86_walk w;
    uint8_t *hva;

    jv->stat[JIT_STAT_SLOW]++;
    if (desc & DESC_ALIGNED && gva & (size - 1))
        return slow_gp(jv, desc & ~(uint32_t)DESC_STACK, ret);
    if (!h_canonical(jv, gva) || !h_canonical(jv, gva + size - 1))
        return slow_gp(jv, desc, ret);
    if (h_alignment(jv, gva, size) < 0)
        return slow_fault(jv, desc, ret);
    if ((gva & GPAGE_MASK) + size > GPAGE_SIZE)
        return slow_cross(jv, gva, desc, ret);
    if (write && jv->code_page.gva == ((gva & ~GPAGE_MASK) | mode) &&
        has_code(jv, jv->code_page.hva))
        return code_store(jv, gva, size, jv->code_page.hva, jv->code_page.gpa);
    hva = h_translate(jv, gva, write ? X86_WRITE : X86_READ, mode, &w);
    if (!hva) {
        gpa_t gpa[2] = {w.gpa, 0};

        if (jv->cpu.fault.type != X86_EVENT_NONE)
            return slow_fault(jv, desc, ret);
        return slow_bounce(jv, gva, desc, gpa);
    }
    if (!write) {
        h_tlb_insert(jv, gva, mode, false, w.global, hva);
        /* Data that was written before will be again. */
        if (w.dirty && plain_access(jv, &w, mode, true) && !is_rom(jv, w.gpa) &&
            !has_code(jv, hva))
            h_tlb_insert(jv, gva, mode, true, w.global, hva);
        return (struct h_slow_result){(uint64_t)hva, 0};
    }
    if (is_rom(jv, w.gpa)) {
        gpa_t gpa[2] = {w.gpa, 0};

        return slow_bounce(jv, gva, desc | DESC_READ, gpa);
    }
    if (!has_code(jv, hva)) {
        h_tlb_insert(jv, gva, mode, true, w.global, hva);
        h_tlb_insert(jv, gva, mode, false, w.global, hva);
        if (!has_code(jv, hva))
            return (struct h_slow_result){(uint64_t)hva, 0};
    }
    jv->code_page.gva = (gva & ~GPAGE_MASK) | mode;
    jv->code_page.gpa = w.gpa & ~GPAGE_MASK;
    jv->code_page.hva = hva - (gva & GPAGE_MASK);
    return code_store(jv, gva, size, jv->code_page.hva, jv->code_page.gpa);
}

/* RIP = that of the instruction behind the one that desc names. */
static void rip_behind(struct jit_vcpu *jv, uint32_t desc, uint64_t ret)
{
    const struct tb *tb = h_tb_at(jv->eng, ret);
    unsigned at = desc >> DESC_INSN_SHIFT;
    const struct tb_map *map;

    if (!tb)
        return;
    map = &jv->eng->maps[tb->map];
    jv->st.rip = h_tb_rip(jv, tb) + tb->guest_size;
    for (unsigned i = 0; i < tb->nr_maps && map[i].host < tb->hot_size; i++)
        if (map[i].guest > at) {
            jv->st.rip = h_tb_rip(jv, tb) + map[i].guest;
            return;
        }
}

/*
 * The copy of a store has run. Returns 1 if blocks were dropped (perhaps this
 * one): RIP is then behind the instruction.
 */
int h_commit(struct jit_vcpu *jv, uint32_t desc, uint64_t ret)
{
    struct jit_commit *c = &jv->commit;
    unsigned first = (unsigned)(GPAGE_SIZE - (c->gva & GPAGE_MASK));

    if (!c->bounced) {
        (void)h_invalidate(jv->eng, jv, c->gpa[0], c->size);
    } else {
        const uint8_t *src = jv->bounce + c->in_bounce_at;

        if (first > c->size)
            first = c->size;
        phys_out(jv, c->gpa[0], src, first);
        if (first < c->size)
            phys_out(jv, c->gpa[1], src + first, c->size - first);
    }
    if (c->locked)
        jit_lock_drop(&jv->eng->split_lock);
    if (jv->shadow_sp != jv->shadow_top)
        return 0;
    /* Blocks went, and with them the shadow stack: there is no way back. */
    rip_behind(jv, desc, ret);
    return 1;
}

/* -- Accesses by C -------------------------------------------------------- */

static void *tlb_hit(struct jit_vcpu *jv, gva_t gva, enum jit_mode mode,
                     bool write)
{
    const struct jit_tlb *t = &jv->set->tables->tlb[mode][write];
    unsigned i = jit_tlb_index(gva);
    uint64_t off = gva + t->tag[i];

    return off < GPAGE_SIZE ? t->addend[i] + off : NULL;
}

int h_read(struct jit_vcpu *jv, gva_t gva, void *dst, unsigned len,
           enum jit_mode mode)
{
    uint8_t *d = dst;

    if (!h_canonical(jv, gva) || !h_canonical(jv, gva + len - 1))
        return x86_fault_err(&jv->cpu, X86_GP, 0);
    while (len) {
        unsigned n = (unsigned)(GPAGE_SIZE - (gva & GPAGE_MASK));
        uint8_t *hva = tlb_hit(jv, gva, mode, false);
        struct x86_walk w;

        if (n > len)
            n = len;
        if (!hva) {
            hva = h_translate(jv, gva, X86_READ, mode, &w);
            if (hva)
                h_tlb_insert(jv, gva, mode, false, w.global, hva);
            else if (jv->cpu.fault.type != X86_EVENT_NONE)
                return X86_FAULT;
        }
        if (hva)
            copy(d, hva, n);
        else
            mmio_in(jv, w.gpa, d, n);
        d += n;
        gva += n;
        len -= n;
    }
    return X86_OK;
}

/* All pages first, so that a fault leaves nothing half written. */
static int probe_write(struct jit_vcpu *jv, gva_t gva, unsigned len,
                       enum jit_mode mode)
{
    gva_t second = (gva + len - 1) & ~GPAGE_MASK;
    struct x86_walk w;

    if (!h_canonical(jv, gva) || !h_canonical(jv, second))
        return x86_fault_err(&jv->cpu, X86_GP, 0);
    if (second == (gva & ~GPAGE_MASK))
        return X86_OK;
    if (!h_translate(jv, second, X86_WRITE, mode, &w) &&
        jv->cpu.fault.type != X86_EVENT_NONE) {
        /* The first page's fault comes first. */
        struct x86_event f = jv->cpu.fault;

        if (h_translate(jv, gva, X86_WRITE, mode, &w) ||
            jv->cpu.fault.type == X86_EVENT_NONE)
            jv->cpu.fault = f;
        return X86_FAULT;
    }
    return X86_OK;
}

int h_write(struct jit_vcpu *jv, gva_t gva, const void *src, unsigned len,
            enum jit_mode mode)
{
    const uint8_t *s = src;

    if (probe_write(jv, gva, len, mode) < 0)
        return X86_FAULT;
    while (len) {
        unsigned n = (unsigned)(GPAGE_SIZE - (gva & GPAGE_MASK));
        uint8_t *hva = tlb_hit(jv, gva, mode, true);
        struct x86_walk w;

        if (n > len)
            n = len;
        if (hva) {
            copy(hva, s, n);
        } else {
            hva = h_translate(jv, gva, X86_WRITE, mode, &w);
            if (!hva && jv->cpu.fault.type != X86_EVENT_NONE)
                return X86_FAULT;
            if (hva && !is_rom(jv, w.gpa) && !has_code(jv, hva))
                h_tlb_insert(jv, gva, mode, true, w.global, hva);
            phys_out(jv, w.gpa, s, n);
        }
        s += n;
        gva += n;
        len -= n;
    }
    return X86_OK;
}

/*
 * Fill the TLB for a shared check at gva, or move the stack window there.
 * Raises nothing; false if the access has to be made by its instruction.
 */
bool h_hoist(struct jit_vcpu *jv, gva_t gva, uint32_t desc)
{
    enum jit_mode mode = (enum jit_mode)(desc >> DESC_MODE_SHIFT & 3);
    bool write = desc & DESC_WRITE;
    struct x86_walk w;
    uint8_t *hva;

    if (!h_canonical(jv, gva) ||
        ((jv->key & KEY_SIZE_MASK) != 2 && gva > UINT32_MAX) ||
        x86_probe(&jv->st, jv->eng->gmem, gva, &w) < 0 ||
        !plain_access(jv, &w, mode, write))
        return false;
    hva = h_translate(jv, gva, write ? X86_WRITE : X86_READ, mode, &w);
    if (!hva || (write && (is_rom(jv, w.gpa) || has_code(jv, hva))))
        return false;
    h_tlb_insert(jv, gva, mode, false, w.global, hva);
    if (write)
        h_tlb_insert(jv, gva, mode, true, w.global, hva);
    if (!tlb_hit(jv, gva, mode, write))
        return false;
    if (desc & DESC_STACK) {
        jv->win[mode].tag = (uint64_t)0 - (gva & ~GPAGE_MASK);
        jv->win[mode].addend = (uint64_t)hva - gva;
    }
    return true;
}
