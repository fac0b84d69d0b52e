#include "cpu/jit/h_sys.h"

/*
 * String instructions: as much at once as lies on one page of each operand,
 * with the count and pointers exact at every point where the guest can see
 * them.
 */
enum { OP_MOVS = 2, OP_CMPS = 3, OP_STOS = 5, OP_LODS = 6, OP_SCAS = 7 };

struct string {
    struct jit_vcpu *jv;
    unsigned op, size, shift, seg;
    bool rep, repne, down;
    uint64_t addr_mask;
    enum jit_mode mode;
    bool on_code; /* what is written lies on a page with code: */
    gpa_t page;
};

static void decode(struct string *s, struct jit_vcpu *jv, uint64_t arg)
{
    unsigned width = arg >> 6 & 3;

    s->jv = jv;
    s->op = arg & 7;
    s->shift = arg >> 4 & 3;
    s->size = 1u << s->shift;
    s->rep = arg & H_STRING_REP;
    s->repne = arg & H_STRING_REPNE;
    s->seg = arg >> 10 & 7;
    s->addr_mask = width == 3   ? ~(uint64_t)0
                   : width == 2 ? UINT32_MAX
                                : UINT16_MAX;
    s->down = jv->flag_df;
    s->on_code = false;
    s->mode = (enum jit_mode)key_mode(jv->key);
}

static uint64_t reg_get(const struct string *s, unsigned r)
{
    return s->jv->st.gpr[r] & s->addr_mask;
}

/* 32-bit registers are zero-extended when written, 16-bit ones merged. */
static void reg_put(struct string *s, unsigned r, uint64_t v)
{
    uint64_t keep = s->addr_mask == UINT16_MAX ? ~s->addr_mask : 0;

    s->jv->st.gpr[r] = (s->jv->st.gpr[r] & keep) | (v & s->addr_mask);
}

static void advance(struct string *s, unsigned r, uint64_t n)
{
    uint64_t d = n << s->shift;

    reg_put(s, r, s->down ? reg_get(s, r) - d : reg_get(s, r) + d);
}

static enum x86_sreg segment(const struct string *s, unsigned r)
{
    return (enum x86_sreg)(r == X86_RDI ? X86_ES : s->seg);
}

static gva_t addr(const struct string *s, unsigned r)
{
    struct jit_vcpu *jv = s->jv;
    enum x86_sreg seg = segment(s, r);
    uint64_t off = reg_get(s, r);

    if ((jv->key & KEY_SIZE_MASK) == 2)
        return seg == X86_FS || seg == X86_GS ? jv->st.seg[seg].base + off
                                              : off;
    return (jv->st.seg[seg].base + off) & UINT32_MAX;
}

/* Are there limits to what a segment allows? */
static bool is_limited(const struct string *s, enum x86_sreg seg)
{
    uint32_t key = s->jv->key;

    if ((key & KEY_SIZE_MASK) == 2)
        return false;
    return key & (seg == X86_FS   ? KEY_FS_CHECK
                  : seg == X86_GS ? KEY_GS_CHECK
                                  : KEY_SEGMENTS);
}

/* How many of n elements are in the segment before its end or the wrap of the
 * address; 0 with a fault set up if not even the first one is. */
static uint64_t in_segment(struct string *s, unsigned r, uint64_t n, bool write)
{
    enum x86_sreg reg = segment(s, r);
    const struct x86_seg *seg = &s->jv->st.seg[reg];
    uint64_t off = reg_get(s, r), low = 0, high = s->addr_mask, room;

    if (!is_limited(s, reg))
        return n;
    if (!x86_seg_allows(&s->jv->st, reg, off, s->size, write)) {
        (void)x86_fault_err(&s->jv->cpu, reg == X86_SS ? X86_SS_FAULT : X86_GP,
                            0);
        return 0;
    }
    if (off > seg->limit) /* expand-down */
        low = (uint64_t)seg->limit + 1;
    else if (seg->limit < high)
        high = seg->limit;
    room =
        s->down ? ((off - low) >> s->shift) + 1 : (high - off + 1) >> s->shift;
    return room == 0 ? 1 : room < n ? room : n;
}

/* Elements from gva to the end of its page; 0 if one crosses it. */
static uint64_t on_page(const struct string *s, gva_t gva)
{
    uint64_t off = gva & GPAGE_MASK;

    if (!s->down)
        return (GPAGE_SIZE - off) >> s->shift;
    return off + s->size > GPAGE_SIZE ? 0 : (off >> s->shift) + 1;
}

/*
 * Host address of gva if it is RAM that may be used directly. NULL with
 * fault.type NONE: go element by element.
 */
static void *host(struct string *s, gva_t gva, bool write)
{
    struct jit_vcpu *jv = s->jv;
    const struct jit_tlb *t = &jv->set->tables->tlb[s->mode][write];
    unsigned i = jit_tlb_index(gva);
    const struct gmem_bank *b;
    struct x86_walk w;
    uint8_t *hva;
    uint64_t n;

    jv->cpu.fault.type = X86_EVENT_NONE;
    if (gva + t->tag[i] < GPAGE_SIZE)
        return t->addend[i] + (gva + t->tag[i]);
    if (!h_canonical(jv, gva)) {
        (void)x86_fault_err(&jv->cpu, X86_GP, 0);
        return NULL;
    }
    hva = h_translate(jv, gva, write ? X86_WRITE : X86_READ, s->mode, &w);
    if (!hva)
        return NULL;
    if (!write) {
        h_tlb_insert(jv, gva, s->mode, false, w.global, hva);
        return hva;
    }
    b = gmem_bank(jv->eng->gmem, w.gpa, 1);
    if (!b || b->readonly) /* none: it was moved away just now */
        return NULL;
    n = (uint64_t)(hva - jv->eng->gmem->base) >> GPAGE_SHIFT;
    s->on_code = atomic_load(&jv->eng->pages[n].code);
    s->page = w.gpa & ~GPAGE_MASK;
    if (!s->on_code) {
        h_tlb_insert(jv, gva, s->mode, true, w.global, hva);
        s->on_code = atomic_load(&jv->eng->pages[n].code);
    }
    return hva;
}

/* Where an operand is, or NULL if it has to be done by element; false on a
 * fault. */
static bool operand(struct string *s, unsigned r, bool write, void **p)
{
    *p = host(s, addr(s, r), write);
    return *p || s->jv->cpu.fault.type == X86_EVENT_NONE;
}

static void copy_up(void *dst, const void *src, uint64_t n, unsigned shift)
{
    switch (shift) {
    case 0:
        __asm__ volatile("rep movsb"
                         : "+D"(dst), "+S"(src), "+c"(n)
                         :
                         : "memory");
        break;
    case 1:
        __asm__ volatile("rep movsw"
                         : "+D"(dst), "+S"(src), "+c"(n)
                         :
                         : "memory");
        break;
    case 2:
        __asm__ volatile("rep movsl"
                         : "+D"(dst), "+S"(src), "+c"(n)
                         :
                         : "memory");
        break;
    default:
        __asm__ volatile("rep movsq"
                         : "+D"(dst), "+S"(src), "+c"(n)
                         :
                         : "memory");
        break;
    }
}

static void copy_down(void *dst, const void *src, uint64_t n, unsigned shift)
{
    __asm__ volatile("std" : : : "cc");
    copy_up(dst, src, n, shift);
    __asm__ volatile("cld" : : : "cc");
}

static void fill_up(void *dst, uint64_t n, unsigned shift, uint64_t v)
{
    switch (shift) {
    case 0:
        __asm__ volatile("rep stosb" : "+D"(dst), "+c"(n) : "a"(v) : "memory");
        break;
    case 1:
        __asm__ volatile("rep stosw" : "+D"(dst), "+c"(n) : "a"(v) : "memory");
        break;
    case 2:
        __asm__ volatile("rep stosl" : "+D"(dst), "+c"(n) : "a"(v) : "memory");
        break;
    default:
        __asm__ volatile("rep stosq" : "+D"(dst), "+c"(n) : "a"(v) : "memory");
        break;
    }
}

static void fill_down(void *dst, uint64_t n, unsigned shift, uint64_t v)
{
    __asm__ volatile("std" : : : "cc");
    fill_up(dst, n, shift, v);
    __asm__ volatile("cld" : : : "cc");
}

static uint64_t load(const void *p, unsigned shift)
{
    const uint8_t *b = p;
    uint64_t v = 0;

    for (unsigned i = 0; i < 1u << shift; i++)
        v |= (uint64_t)b[i] << 8 * i;
    return v;
}

static void put_rax(struct string *s, uint64_t v)
{
    uint64_t *rax = &s->jv->st.gpr[X86_RAX];

    switch (s->shift) {
    case 0: *rax = (*rax & ~(uint64_t)0xff) | v; break;
    case 1: *rax = (*rax & ~(uint64_t)0xffff) | v; break;
    default: *rax = v; break;
    }
}

/* Flags of a - b in the operand's size. */
static uint64_t compare_flags(uint64_t a, uint64_t b, unsigned shift)
{
    unsigned up = 64 - (8u << shift);
    uint64_t f, af = (a ^ b ^ (a - b)) & 0x10, pf;

    a <<= up;
    b <<= up;
    __asm__ volatile("cmp %2, %1\n\tpushfq\n\tpop %0"
                     : "=r"(f)
                     : "r"(a), "r"(b)
                     : "cc");
    pf = (a - b) >> up & 0xff;
    pf ^= pf >> 4;
    f &= X86_FLAGS_CF | X86_FLAGS_ZF | X86_FLAGS_SF | X86_FLAGS_OF;
    return f | af | (0x9669u >> (pf & 15) & 1 ? X86_FLAGS_PF : 0);
}

static bool compares(const struct string *s)
{
    return s->op == OP_CMPS || s->op == OP_SCAS;
}

/* Compare n elements or until REPE/REPNE ends; returns how many were used. */
static uint64_t scan(struct string *s, const uint8_t *src, const uint8_t *dst,
                     uint64_t n)
{
    int64_t step = s->down ? -(int64_t)s->size : (int64_t)s->size;
    uint64_t a = s->jv->st.gpr[X86_RAX], b = 0, i;
    uint64_t mask =
        s->shift == 3 ? ~(uint64_t)0 : ((uint64_t)1 << (8u << s->shift)) - 1;

    a &= mask;
    for (i = 0; i < n; i++) {
        b = load(dst + step * (int64_t)i, s->shift);
        if (s->op == OP_CMPS)
            a = load(src + step * (int64_t)i, s->shift);
        if ((s->rep && a != b) || (s->repne && a == b)) {
            i++;
            break;
        }
    }
    s->jv->arith = compare_flags(a, b, s->shift);
    return i;
}

/* Did the compare end the repetition? */
static bool ended(const struct string *s)
{
    bool zf = s->jv->arith & X86_FLAGS_ZF;

    return compares(s) && ((s->rep && !zf) || (s->repne && zf));
}

static bool reads_src(const struct string *s)
{
    return s->op == OP_MOVS || s->op == OP_CMPS || s->op == OP_LODS;
}

static bool has_dst(const struct string *s)
{
    return s->op != OP_LODS;
}

/* One element through the general accessors: page crossings, MMIO, code. */
static int one(struct string *s, bool destination_first)
{
    struct jit_vcpu *jv = s->jv;
    uint64_t a = 0, b = 0;

    if (destination_first &&
        h_read(jv, addr(s, X86_RDI), &b, s->size, s->mode) < 0)
        return X86_FAULT;
    if (reads_src(s) && h_read(jv, addr(s, X86_RSI), &a, s->size, s->mode) < 0)
        return X86_FAULT;
    if (s->op == OP_STOS || s->op == OP_SCAS)
        a = jv->st.gpr[X86_RAX];
    if (compares(s)) {
        if (!destination_first &&
            h_read(jv, addr(s, X86_RDI), &b, s->size, s->mode) < 0)
            return X86_FAULT;
        jv->arith = compare_flags(a, b, s->shift);
    } else if (has_dst(s)) {
        if (h_write(jv, addr(s, X86_RDI), &a, s->size, s->mode) < 0)
            return X86_FAULT;
    } else {
        put_rax(s, a);
    }
    return X86_OK;
}

static void many(struct string *s, void *src, void *dst, uint64_t *n)
{
    uint64_t rax = s->jv->st.gpr[X86_RAX];
    int64_t last = (int64_t)((*n - 1) << s->shift);

    switch (s->op) {
    case OP_MOVS:
        (s->down ? copy_down : copy_up)(dst, src, *n, s->shift);
        break;
    case OP_STOS:
        (s->down ? fill_down : fill_up)(dst, *n, s->shift, rax);
        break;
    case OP_LODS:
        put_rax(s, load((uint8_t *)src + (s->down ? -last : last), s->shift));
        break;
    default: *n = scan(s, src, dst, *n); break;
    }
}

/* n elements at gva were written to a page with code. */
static void written(struct string *s, gva_t gva, uint64_t n)
{
    uint64_t off = gva & GPAGE_MASK, len = n << s->shift;

    if (s->down)
        off -= len - s->size;
    (void)h_invalidate(s->jv->eng, s->jv, s->page + off, len);
}

/* How many of n elements lie on one page of each operand. */
static uint64_t fit(const struct string *s, uint64_t n)
{
    uint64_t k;

    if (reads_src(s) && (k = on_page(s, addr(s, X86_RSI))) < n)
        n = k;
    if (has_dst(s) && (k = on_page(s, addr(s, X86_RDI))) < n)
        n = k;
    return n;
}

/* An element on two pages: false if one of them faults. */
static bool crosses(struct string *s, gva_t gva, bool write)
{
    enum x86_access access = write ? X86_WRITE : X86_READ;
    gva_t last = gva + s->size - 1;
    struct jit_vcpu *jv = s->jv;
    struct x86_walk w;

    if (!h_canonical(jv, gva) || !h_canonical(jv, last)) {
        (void)x86_fault_err(&jv->cpu, X86_GP, 0);
        return false;
    }
    return (h_translate(jv, gva, access, s->mode, &w) ||
            jv->cpu.fault.type == X86_EVENT_NONE) &&
           (h_translate(jv, last & ~GPAGE_MASK, access, s->mode, &w) ||
            jv->cpu.fault.type == X86_EVENT_NONE);
}

/* Is the first of at most *max elements of an operand in its segment, aligned
 * (then all are) if it has to be, and on a page that does not fault? */
static bool begin(struct string *s, unsigned r, bool write, uint64_t *max,
                  void **p)
{
    *max = in_segment(s, r, *max, write);
    if (!*max || h_alignment(s->jv, addr(s, r), s->size) < 0)
        return false;
    return on_page(s, addr(s, r)) ? operand(s, r, write, p)
                                  : crosses(s, addr(s, r), write);
}

/* Up to max elements; returns how many, 0 on a fault. */
static uint64_t chunk(struct string *s, uint64_t max)
{
    bool first = s->op == OP_CMPS; /* which fault is raised shows it */
    void *src = NULL, *dst = NULL;
    uint64_t n;

    s->on_code = false;
    if (first && !begin(s, X86_RDI, false, &max, &dst))
        return 0;
    if (reads_src(s) && !begin(s, X86_RSI, false, &max, &src))
        return 0;
    if (has_dst(s) && !first && !begin(s, X86_RDI, !compares(s), &max, &dst))
        return 0;
    n = fit(s, max);
    if (!n || (reads_src(s) && !src) || (has_dst(s) && !dst)) {
        n = 1;
        if (one(s, first) < 0)
            return 0;
    } else {
        many(s, src, dst, &n);
        if (s->on_code)
            written(s, addr(s, X86_RDI), n);
    }
    if (reads_src(s))
        advance(s, X86_RSI, n);
    if (has_dst(s))
        advance(s, X86_RDI, n);
    return n;
}

static int leave_at(struct jit_vcpu *jv, uint64_t rip)
{
    jv->st.rip = rip;
    return jv->key & KEY_STEP ? h_step_done(jv, 0) : H_DISPATCH;
}

/* Elements at any alignment, each in one access: other CPUs may look. */
typedef uint16_t any16 __attribute__((aligned(1), may_alias));
typedef uint32_t any32 __attribute__((aligned(1), may_alias));
typedef uint64_t any64 __attribute__((aligned(1), may_alias));

static uint64_t load_one(const volatile void *p, unsigned shift)
{
    switch (shift) {
    case 0: return *(const volatile uint8_t *)p;
    case 1: return *(const volatile any16 *)p;
    case 2: return *(const volatile any32 *)p;
    default: return *(const volatile any64 *)p;
    }
}

static void store_one(volatile void *p, unsigned shift, uint64_t v)
{
    switch (shift) {
    case 0: *(volatile uint8_t *)p = (uint8_t)v; break;
    case 1: *(volatile any16 *)p = (uint16_t)v; break;
    case 2: *(volatile any32 *)p = (uint32_t)v; break;
    default: *(volatile any64 *)p = v; break;
    }
}

/* Where the element at r is, if the TLB knows a page that has all of it and
 * nothing limits the segment; else NULL. */
static uint8_t *known(const struct string *s, unsigned r, bool write)
{
    const struct jit_tlb *t = &s->jv->set->tables->tlb[s->mode][write];
    gva_t gva = addr(s, r);
    unsigned i = jit_tlb_index(gva);

    if (is_limited(s, segment(s, r)) || gva + t->tag[i] >= GPAGE_SIZE ||
        !on_page(s, gva) || (s->jv->key & KEY_ALIGN))
        return NULL;
    return t->addend[i] + (gva + t->tag[i]);
}

/*
 * One element without a prefix: boot loaders copy and unpack with loops of
 * these. False if it needs more than a look at the TLB.
 */
static bool quick(struct string *s)
{
    uint8_t *src = NULL, *dst = NULL;
    uint64_t v;

    if (compares(s) || (reads_src(s) && !(src = known(s, X86_RSI, false))) ||
        (has_dst(s) && !(dst = known(s, X86_RDI, true))))
        return false;
    v = src ? load_one(src, s->shift) : s->jv->st.gpr[X86_RAX];
    if (dst)
        store_one(dst, s->shift, v);
    else
        put_rax(s, v);
    if (src)
        advance(s, X86_RSI, 1);
    if (dst)
        advance(s, X86_RDI, 1);
    return true;
}

int h_string(struct jit_vcpu *jv, uint64_t arg)
{
    uint64_t next = jv->st.rip + (arg >> 16 & 15), left, n;
    bool step = jv->key & (KEY_STEP | KEY_BREAK); /* by repetition */
    struct string s;

    decode(&s, jv, arg);
    jv->arith &= X86_FLAGS_ARITH;
    if (!s.rep && !s.repne) {
        if (!quick(&s) && !chunk(&s, 1))
            return h_fault(jv);
    } else {
        left = reg_get(&s, X86_RCX);
        while (left) {
            n = chunk(&s, step ? 1 : left);
            if (!n)
                return h_fault(jv);
            left -= n;
            reg_put(&s, X86_RCX, left);
            if (ended(&s))
                break;
            if (left && (step || atomic_load(&jv->pending)))
                return leave_at(jv, jv->st.rip);
        }
    }
    /* Code may have been dropped, and the way back with it. */
    if (jv->key & KEY_STEP || jv->shadow_sp == jv->shadow_top)
        return leave_at(jv, next);
    return H_CONTINUE;
}
