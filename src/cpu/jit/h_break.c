#include "cpu/jit/h_sys.h"

/*
 * Breakpoints: the guest's (DR0 to DR3; SDM vol. 3, 17.2) and the debugger's.
 * While DR7 arms one, each instruction is a block of its own and asks h_break
 * first. The debugger's are known when code is translated.
 */
enum { TYPE_EXECUTE, TYPE_WRITE, TYPE_IO, TYPE_ACCESS };

static bool armed(const struct x86_state *st, unsigned i)
{
    return st->dr7 >> 2 * i & 3;
}

static unsigned type_of(const struct x86_state *st, unsigned i)
{
    return st->dr7 >> (16 + 4 * i) & 3;
}

static uint32_t execute_hits(const struct x86_state *st, gva_t gva)
{
    uint32_t hits = 0;

    for (unsigned i = 0; i < 4; i++)
        if (armed(st, i) && type_of(st, i) == TYPE_EXECUTE && st->dr[i] == gva)
            hits |= 1u << i;
    return hits;
}

uint32_t h_break_data(const struct x86_state *st, gva_t gva, uint64_t len,
                      bool write)
{
    static const uint8_t lengths[] = {1, 2, 8, 4};
    uint32_t hits = 0;

    for (unsigned i = 0; i < 4; i++) {
        uint64_t size = lengths[st->dr7 >> (18 + 4 * i) & 3];
        gva_t at = st->dr[i] & ~(size - 1);
        unsigned type = type_of(st, i);

        if (!armed(st, i) || type == TYPE_EXECUTE || type == TYPE_IO ||
            (type == TYPE_WRITE && !write))
            continue;
        if (gva < at + size && at < gva + len)
            hits |= 1u << i;
    }
    return hits;
}

static bool any_data(const struct x86_state *st)
{
    for (unsigned i = 0; i < 4; i++)
        if (armed(st, i) &&
            (type_of(st, i) == TYPE_WRITE || type_of(st, i) == TYPE_ACCESS))
            return true;
    return false;
}

uint32_t h_break_take(struct jit_vcpu *jv)
{
    uint32_t hits = jv->break_hits | jv->held_hits;

    jv->break_hits = jv->held_hits = 0;
    return hits;
}

static int raise(struct jit_vcpu *jv, uint32_t hits)
{
    x86_debug_cause(&jv->st, hits | h_break_take(jv));
    return h_raise(jv, X86_DB, false, 0);
}

int h_break_trap(struct jit_vcpu *jv)
{
    return raise(jv, 0);
}

/* In front of each instruction; shadowed: MOV SS is before it, whose trap waits
 * until this one ends, be it by a fault (SDM vol. 3, 6.8.3). */
int h_break(struct jit_vcpu *jv, uint64_t shadowed)
{
    bool code64 = (jv->key & KEY_SIZE_MASK) == 2;
    gva_t gva = (code64 ? 0 : jv->st.seg[X86_CS].base) + jv->st.rip;
    uint32_t hits;

    if (!shadowed && jv->break_hits | jv->held_hits)
        return h_break_trap(jv);
    if (jv->flags_other & X86_FLAGS_RF) {
        jv->flags_other &= ~X86_FLAGS_RF;
    } else {
        hits = execute_hits(&jv->st, gva);
        if (hits)
            return raise(jv, hits);
    }
    if (any_data(&jv->st)) {
        h_flags_out(jv);
        jv->break_hits = (uint32_t)h_call_c(jv, breakpoint_data, jv, 0, 0, 0);
    }
    return H_CONTINUE;
}

/* At a breakpoint of the debugger. */
int h_stop(struct jit_vcpu *jv, uint64_t arg)
{
    (void)arg;
    jv->step = 0;
    jv->exit = JIT_EXIT_ENGINE;
    jv->exit_reason = ENGINE_EXIT_DEBUG;
    h_flags_out(jv);
    h_mode_changed(jv);
    return H_EXIT;
}
