#include "cpu/jit/jit.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "base/log.h"

/*
 * Host signals of translated code. Most faults of the guest never get here
 * (the TLB finds them); what does: division (#DE), x87 and SSE exceptions
 * (#MF, #XM), misaligned SSE operands (#GP), and the shadow stack running
 * into its guard page.
 */
static _Thread_local struct jit_vcpu *current;

static struct sigaction old_segv, old_fpe, old_bus, old_ill;

static void chain(int sig, siginfo_t *si, void *uc)
{
    const struct sigaction *old = sig == SIGSEGV  ? &old_segv
                                  : sig == SIGFPE ? &old_fpe
                                  : sig == SIGBUS ? &old_bus
                                                  : &old_ill;

    if (old->sa_flags & SA_SIGINFO && old->sa_sigaction) {
        old->sa_sigaction(sig, si, uc);
        return;
    }
    (void)signal(sig, SIG_DFL);
    (void)raise(sig);
}

static bool in_guard(const struct jit_vcpu *jv, const void *addr)
{
    const uint8_t *a = addr;

    return a >= jv->shadow_map && a < jv->shadow_map + GPAGE_SIZE;
}

/* Is the instruction the host call of a guest's? (gen_flow.c) */
static bool is_guest_call(const uint8_t *p)
{
    uint32_t off;

    if (p[0] == 0xe8)
        return true;
    if (memcmp(p, "\x65\xff\x14\x25", 4) != 0)
        return false;
    memcpy(&off, p + 4, 4);
    return off >= SLOT_BASE ||
           (off >= JV_GLUE + 8 * GLUE_JMP && off < JV_GLUE + 8 * GLUE_RET_MISS);
}

/* Too many guest calls: forget them, and do the call again. Shared code has
 * pushed its page before it. */
static void restart_shadow(struct jit_vcpu *jv, ucontext_t *uc)
{
    greg_t *g = uc->uc_mcontext.gregs;
    const struct tb *tb = h_tb_at(jv->eng, (uint64_t)g[REG_RIP]);
    uint64_t *top = jv->shadow_top;

    if (tb && tb->key & KEY_SHARED &&
        is_guest_call(jit_code_at(jv->eng, (uint64_t)g[REG_RIP])))
        *--top = jv->slide;
    g[REG_RSP] = (greg_t)(uintptr_t)top;
}

/* Which exception a signal stands for; -1 if none. */
static int vector_of(const struct jit_vcpu *jv, int sig, const ucontext_t *uc)
{
    long trap = uc->uc_mcontext.gregs[REG_TRAPNO];

    switch (trap) {
    case X86_DE:
    case X86_MF: return (int)trap;
    case X86_XM: return jv->st.cr4 & X86_CR4_OSXMMEXCPT ? X86_XM : X86_UD;
    case X86_UD: return X86_UD;
    case X86_GP: return X86_GP;
    default: return sig == SIGFPE ? X86_DE : -1;
    }
}

static void to_guest(struct jit_vcpu *jv, ucontext_t *uc, const struct tb *tb,
                     int vector)
{
    greg_t *g = uc->uc_mcontext.gregs;
    unsigned at = h_tb_insn(jv->eng, tb, (uint64_t)g[REG_RIP]);

    jv->st.rip = h_tb_rip(jv, tb) + at;
    jv->cpu.fault = (struct x86_event){
        .vector = (uint8_t)vector,
        .type = X86_EVENT_EXCEPTION,
        .has_error = vector == X86_GP,
    };
    g[REG_RIP] = (greg_t)(uintptr_t)glue_raise;
}

static void on_signal(int sig, siginfo_t *si, void *opaque)
{
    ucontext_t *uc = opaque;
    greg_t *g = uc->uc_mcontext.gregs;
    struct jit_vcpu *jv = current;
    const struct tb *tb;
    int vector;

    if (!jv) {
        chain(sig, si, opaque);
        return;
    }
    if (sig == SIGSEGV && in_guard(jv, si->si_addr)) {
        restart_shadow(jv, uc);
        return;
    }
    tb = h_tb_at(jv->eng, (uint64_t)g[REG_RIP]);
    vector = tb ? vector_of(jv, sig, uc) : -1;
    if (vector < 0) {
        chain(sig, si, opaque);
        return;
    }
    to_guest(jv, uc, tb, vector);
}

void jit_fault_init(void)
{
    struct sigaction sa = {.sa_sigaction = on_signal,
                           .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};

    (void)sigemptyset(&sa.sa_mask);
    (void)sigaction(SIGSEGV, &sa, &old_segv);
    (void)sigaction(SIGFPE, &sa, &old_fpe);
    (void)sigaction(SIGBUS, &sa, &old_bus);
    (void)sigaction(SIGILL, &sa, &old_ill);
}

void jit_fault_thread(struct jit_vcpu *jv)
{
    stack_t ss = {.ss_sp = jv->alt_stack, .ss_size = JIT_ALT_STACK};

    current = jv;
    (void)sigaltstack(&ss, NULL);
}
