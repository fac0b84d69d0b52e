#include "gdb/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/debug.h"
#include "gdb/regs.h"
#include "x86/system.h"

/*
 * Attach, run, stop, detach (all-stop mode of the GDB remote protocol, E.11):
 *
 *   DETACHED --attach--> STOPPED --resume--> RUNNING
 *   RUNNING  --breakpoint, step done, Ctrl-C--> STOPPED
 *   any      --detach--> DETACHED
 *
 * In STOPPED, and only there, the session holds one pause of the vCPU set, so
 * that it may look at and change the CPUs.
 */

int gdb_session_init(struct gdb_session *s, struct vcpu_set *set)
{
    memset(s, 0, sizeof(*s));
    s->set = set;
    s->xml_len = gdb_regs_xml(NULL, 0);
    s->xml = malloc(s->xml_len + 1);
    s->actions = calloc(vcpu_set_count(set), 1);
    if (!s->xml || !s->actions) {
        gdb_session_fini(s);
        return -ENOMEM;
    }
    (void)gdb_regs_xml(s->xml, s->xml_len + 1);
    return 0;
}

void gdb_session_fini(struct gdb_session *s)
{
    free(s->xml);
    free(s->actions);
    s->xml = s->actions = NULL;
}

/* --- Stopping and going on ---------------------------------------------- */

/* The first vCPU that met a debug stop; forgets those of the others, which
 * meet their breakpoints again when they go on. -1 if none did. */
static int session_find_stopped(struct gdb_session *s)
{
    unsigned i = vcpu_set_count(s->set);
    int found = -1;

    while (i-- > 0)
        if (vcpu_debug_stopped(vcpu_get(s->set, i)))
            found = (int)i;
    return found;
}

static void session_clear_actions(struct gdb_session *s)
{
    unsigned i;

    for (i = 0; i < vcpu_set_count(s->set); i++) {
        struct vcpu *v = vcpu_get(s->set, i);

        (void)vcpu_debug_step(v, false); /* an engine without it: no step */
        vcpu_debug_hold(v, false);
    }
}

void gdb_session_resume(struct gdb_session *s)
{
    unsigned i;

    for (i = 0; i < vcpu_set_count(s->set); i++) {
        struct vcpu *v = vcpu_get(s->set, i);

        vcpu_debug_hold(v, s->actions[i] == 0);
        (void)vcpu_debug_step(v, s->actions[i] == 's');
    }
    s->mode = GDB_RUNNING;
    vcpu_set_resume(s->set);
}

int gdb_session_set_breakpoints(struct gdb_session *s)
{
    gva_t gva[GDB_MAX_BREAKPOINTS];
    unsigned i;

    for (i = 0; i < s->nr_bp; i++)
        gva[i] = s->bp[i].gva;
    return vcpu_debug_breakpoints(s->set, gva, s->nr_bp);
}

/* Why s->cpu stopped, as far as gdb wants to know: that its PC needs no
 * correction, as it would after a real INT3. */
static const char *session_stop_reason(struct gdb_session *s)
{
    gva_t pc;
    unsigned i;

    vcpu_get_state(vcpu_get(s->set, s->cpu), &s->st);
    pc = x86_linear(&s->st, X86_CS, s->st.rip);
    for (i = 0; i < s->nr_bp; i++) {
        if (s->bp[i].gva != pc)
            continue;
        if (s->bp[i].hardware)
            return s->hwbreak ? "hwbreak:;" : "";
        return s->swbreak ? "swbreak:;" : "";
    }
    return "";
}

void gdb_session_stop_reply(struct gdb_session *s, unsigned signal)
{
    gdb_reply_start(&s->reply);
    gdb_reply_str(&s->reply, "T");
    gdb_reply_num(&s->reply, signal);
    gdb_reply_str(&s->reply, "thread:");
    gdb_reply_num(&s->reply, s->cpu + 1);
    gdb_reply_str(&s->reply, ";");
    if (signal == GDB_SIGTRAP)
        gdb_reply_str(&s->reply, session_stop_reason(s));
}

static void session_send(struct gdb_session *s)
{
    s->send(s->opaque, s->reply.buf, s->reply.len);
}

static void session_stop(struct gdb_session *s, unsigned signal)
{
    s->mode = GDB_STOPPED;
    session_clear_actions(s);
    gdb_session_stop_reply(s, signal);
    gdb_reply_end(&s->reply);
    session_send(s);
}

void gdb_session_stopped(struct gdb_session *s)
{
    int cpu;

    if (s->mode != GDB_RUNNING)
        return; /* an echo of stops that have been dealt with */
    vcpu_debug_take(s->set);
    cpu = session_find_stopped(s);
    if (cpu < 0) {
        vcpu_set_resume(s->set);
        return;
    }
    s->cpu = (unsigned)cpu;
    session_stop(s, GDB_SIGTRAP);
}

static void session_interrupt(struct gdb_session *s)
{
    int cpu;

    if (s->mode != GDB_RUNNING)
        return;
    vcpu_debug_take(s->set);
    cpu = session_find_stopped(s); /* a breakpoint came first */
    if (cpu >= 0)
        s->cpu = (unsigned)cpu;
    session_stop(s, cpu >= 0 ? GDB_SIGTRAP : GDB_SIGINT);
}

/* --- Attach and detach -------------------------------------------------- */

void gdb_session_attach(struct gdb_session *s)
{
    vcpu_debug_take(s->set);
    (void)session_find_stopped(s);
    memset(&s->rx, 0, sizeof(s->rx));
    s->reply.len = 0;
    s->no_acks = s->swbreak = s->hwbreak = false;
    s->cpu = 0;
    s->mode = GDB_STOPPED;
}

void gdb_session_detach(struct gdb_session *s)
{
    if (s->mode == GDB_DETACHED)
        return;
    if (s->mode == GDB_RUNNING)
        vcpu_debug_take(s->set);
    s->nr_bp = 0;
    (void)gdb_session_set_breakpoints(s);
    session_clear_actions(s);
    (void)session_find_stopped(s);
    s->mode = GDB_DETACHED;
    vcpu_set_resume(s->set);
}

/* --- Input -------------------------------------------------------------- */

static void session_packet(struct gdb_session *s)
{
    bool acks = !s->no_acks; /* also for the packet that ends them */

    if (acks)
        s->send(s->opaque, "+", 1);
    if (s->mode == GDB_STOPPED && gdb_command(s, s->rx.buf, s->rx.len))
        session_send(s);
}

void gdb_session_input(struct gdb_session *s, const void *buf, size_t len)
{
    const uint8_t *in = buf;
    size_t i;

    for (i = 0; i < len; i++) {
        switch (gdb_rx_byte(&s->rx, in[i])) {
        case GDB_RX_NONE: break;
        case GDB_RX_PACKET: session_packet(s); break;
        case GDB_RX_INTERRUPT: session_interrupt(s); break;
        case GDB_RX_BAD:
            if (!s->no_acks)
                s->send(s->opaque, "-", 1);
            break;
        case GDB_RX_NACK:
            if (!s->no_acks && s->reply.len > 0)
                session_send(s);
            break;
        }
    }
}
