#include "cpu/jit/h_sys.h"

/*
 * INVLPG, and the state-saving instructions on areas that lie in one page of
 * plain RAM. The guest's vector state is in the registers, so the host's own
 * instruction does the work; everything unusual is left to rare_vector.c.
 */
enum { AREA_HEADER = 512, AREA_END = 832, AREA_SSE = 576 };

int h_invlpg(struct jit_vcpu *jv, uint64_t arg)
{
    bool step = jv->key & KEY_STEP;

    h_flags_out(jv);
    if (x86_invlpg(&jv->cpu, jv->tmp) < 0)
        return h_fault(jv);
    jv->st.rip += arg & 0xff;
    return step ? h_step_done(jv, 0) : H_DISPATCH;
}

/* Host address of [gva, gva + len) by the TLB, or NULL. */
static uint8_t *area(struct jit_vcpu *jv, gva_t gva, unsigned len, bool write)
{
    const struct jit_tlb *t = &jv->set->tables->tlb[key_mode(jv->key)][write];
    unsigned i = jit_tlb_index(gva);
    uint64_t off = gva + t->tag[i];

    if (gva & 63 || off > GPAGE_SIZE - len)
        return NULL;
    return t->addend[i] + off;
}

static uint64_t get64(const uint8_t *p)
{
    uint64_t v = 0;

    for (unsigned i = 8; i-- > 0;)
        v = v << 8 | p[i];
    return v;
}

static void put64(uint8_t *p, uint64_t v)
{
    for (unsigned i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

/* FOP, FIP and FDP are those of translated code: none of the guest's. */
static void scrub(uint8_t *p)
{
    p[6] = p[7] = 0;
    put64(p + 8, 0);
    put64(p + 16, 0);
}

static void save(uint8_t *p, uint32_t mask, bool compact)
{
    if (compact)
        __asm__ volatile("xsavec64 (%0)"
                         :
                         : "r"(p), "a"(mask), "d"(0)
                         : "memory");
    else
        __asm__ volatile("xsave64 (%0)"
                         :
                         : "r"(p), "a"(mask), "d"(0)
                         : "memory");
    if (mask & get64(p + AREA_HEADER) & X86_XCR0_X87)
        scrub(p);
}

/* Would XRSTOR accept this copy, and MXCSR with it? (SDM vol. 1, 13.8) */
static bool header_ok(const struct jit_vcpu *jv, const uint8_t *p)
{
    uint64_t bv = get64(p + AREA_HEADER), comp = get64(p + AREA_HEADER + 8);

    for (unsigned i = 16; i < 64; i += 8)
        if (get64(p + AREA_HEADER + i))
            return false;
    if (get64(p + 24) & 0xfffd0000u)
        return false;
    if (!(comp >> 63))
        return !comp && !(bv & ~jv->st.xcr0);
    comp &= ~((uint64_t)1 << 63);
    return cpuid_has(jv->eng->model, CPUID_XSAVEC) && !(comp & ~jv->st.xcr0) &&
           !(bv & ~comp);
}

/* From a copy: the guest may change the area while it is looked at. */
static bool restore(struct jit_vcpu *jv, const uint8_t *p, uint32_t mask,
                    unsigned len)
{
    uint8_t buf[AREA_END] __attribute__((aligned(64)));

    for (unsigned i = 0; i < len; i += 8)
        put64(buf + i, get64(p + i));
    if (!header_ok(jv, buf))
        return false;
    __asm__ volatile("xrstor64 (%0)"
                     :
                     : "r"(buf), "a"(mask), "d"(0)
                     : "memory");
    return true;
}

int h_xsave(struct jit_vcpu *jv, uint64_t arg)
{
    bool load = arg & H_AREA_RESTORE;
    uint32_t mask = (uint32_t)jv->st.gpr[X86_RAX] & (uint32_t)jv->st.xcr0;
    unsigned len = mask & X86_XCR0_AVX ? AREA_END : AREA_SSE;
    uint8_t *p = jv->key & KEY_STEP ? NULL : area(jv, jv->tmp, len, !load);

    if (!p)
        return h_rare(jv, arg & 0xff);
    if (!load)
        save(p, mask, arg & H_AREA_SAVEC);
    else if (!restore(jv, p, mask, len))
        return h_rare(jv, arg & 0xff);
    return H_CONTINUE;
}
