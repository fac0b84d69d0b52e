#ifndef HUSK_GDB_SESSION_H
#define HUSK_GDB_SESSION_H

#include "cpu/vcpu.h"
#include "gdb/packet.h"

/*
 * A debugger's view of the machine, without its connection: bytes come in by
 * gdb_session_input and go out through send. All functions on one thread that
 * is no vCPU's.
 */
enum gdb_session_mode {
    GDB_DETACHED,
    GDB_STOPPED, /* the session holds one pause of the set */
    GDB_RUNNING  /* a stop reply is owed */
};

enum { GDB_MAX_BREAKPOINTS = 256 };

struct gdb_breakpoint {
    gva_t gva;
    bool hardware; /* what gdb asked for: they work alike */
};

struct gdb_session {
    struct vcpu_set *set;
    /* Send len bytes to the debugger; must take them all. */
    void (*send)(void *opaque, const char *buf, size_t len);
    /* gdb's "kill": end the machine. */
    void (*kill)(void *opaque);
    void *opaque;

    enum gdb_session_mode mode;
    bool no_acks;
    bool swbreak, hwbreak; /* gdb understands these stop reasons */
    unsigned cpu;          /* that registers and memory are of */
    struct gdb_breakpoint bp[GDB_MAX_BREAKPOINTS];
    unsigned nr_bp;
    char *actions; /* what each CPU does next: 'c', 's', or 0 */
    char *xml;     /* target description */
    size_t xml_len;
    struct gdb_rx rx;
    struct gdb_reply reply; /* the last one, for a NACK */
    struct x86_state st;    /* scratch */
};

/* -ENOMEM. set is borrowed; the other members of s are set by the caller
 * afterwards. */
MUST_CHECK int gdb_session_init(struct gdb_session *s, struct vcpu_set *set);
void gdb_session_fini(struct gdb_session *s);

/* A debugger came: stop the machine. It went: remove its breakpoints, and let
 * the machine run (also when it was detached already). */
void gdb_session_attach(struct gdb_session *s);
void gdb_session_detach(struct gdb_session *s);

void gdb_session_input(struct gdb_session *s, const void *buf, size_t len);

/* Some vCPU met a debug stop: if the debugger waits for one, tell it. */
void gdb_session_stopped(struct gdb_session *s);

/* --- Between session.c and command.c ------------------------------------ */

/* Let each CPU do what actions say; the reply comes when one stops. */
void gdb_session_resume(struct gdb_session *s);
/* Make the engine's breakpoints those of s. 0 or -errno. */
int gdb_session_set_breakpoints(struct gdb_session *s);
/* Put the stop reply for s->cpu into s->reply (without its end). */
void gdb_session_stop_reply(struct gdb_session *s, unsigned signal);
/* Execute one packet. Returns whether s->reply is to be sent. */
bool gdb_command(struct gdb_session *s, const char *buf, size_t len);

enum { GDB_SIGINT = 2, GDB_SIGTRAP = 5 };

#endif
