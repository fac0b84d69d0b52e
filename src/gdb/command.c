#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cpu/debug.h"
#include "gdb/regs.h"
#include "gdb/session.h"

/*
 * The packets of a debugger (GDB remote protocol, E.2 to E.6),
 * one function each; the table is at the end. All of them run while the
 * machine is stopped. An empty reply says that a packet is not known. Threads
 * are CPUs, numbered from 1.
 */
struct command {
    const char *name; /* the packet begins with it */
    void (*run)(struct gdb_session *s, struct gdb_scan *in,
                struct gdb_reply *out);
    bool silent; /* no reply now (it may come later), or its own */
};

enum { MEM_MAX = GDB_PACKET_MAX / 2, EXTRA_MAX = 64 };

static void reply_result(struct gdb_reply *out, int rc)
{
    if (rc < 0)
        gdb_reply_error(out, -rc);
    else
        gdb_reply_str(out, "OK");
}

static struct vcpu *current(struct gdb_session *s)
{
    return vcpu_get(s->set, s->cpu);
}

/* --- Threads ------------------------------------------------------------ */

enum { THREAD_ANY = -1, THREAD_ALL = -2, THREAD_BAD = -3 };

/* A thread id: the CPU's index, or one of the above. */
static int scan_thread(struct gdb_session *s, struct gdb_scan *in)
{
    uint64_t id;

    if (gdb_scan_word(in, "-1"))
        return THREAD_ALL;
    if (!gdb_scan_hex(in, &id) || id > vcpu_set_count(s->set))
        return THREAD_BAD;
    return id == 0 ? THREAD_ANY : (int)id - 1;
}

static void cmd_thread_set(struct gdb_session *s, struct gdb_scan *in,
                           struct gdb_reply *out)
{
    bool registers = gdb_scan_char(in, 'g');
    int cpu;

    if (!registers && !gdb_scan_char(in, 'c')) {
        gdb_reply_error(out, EINVAL);
        return;
    }
    cpu = scan_thread(s, in);
    if (cpu == THREAD_BAD || !gdb_scan_end(in)) {
        gdb_reply_error(out, ESRCH);
        return;
    }
    if (cpu >= 0)
        s->cpu = (unsigned)cpu;
    gdb_reply_str(out, "OK");
}

static void cmd_thread_alive(struct gdb_session *s, struct gdb_scan *in,
                             struct gdb_reply *out)
{
    reply_result(out, scan_thread(s, in) >= 0 ? 0 : -ESRCH);
}

static void cmd_thread_list(struct gdb_session *s, struct gdb_scan *in,
                            struct gdb_reply *out)
{
    unsigned i;

    (void)in;
    for (i = 0; i < vcpu_set_count(s->set); i++) {
        gdb_reply_str(out, i ? "," : "m");
        gdb_reply_num(out, i + 1);
    }
}

static void cmd_thread_list_end(struct gdb_session *s, struct gdb_scan *in,
                                struct gdb_reply *out)
{
    (void)s;
    (void)in;
    gdb_reply_str(out, "l");
}

static void cmd_thread_current(struct gdb_session *s, struct gdb_scan *in,
                               struct gdb_reply *out)
{
    if (!gdb_scan_end(in))
        return; /* another packet that begins so: qCRC */
    gdb_reply_str(out, "QC");
    gdb_reply_num(out, s->cpu + 1);
}

static const char *const mp_names[X86_NR_MP_STATES] = {
    [X86_MP_RUNNING] = "running",
    [X86_MP_HALTED] = "halted",
    [X86_MP_WAIT_SIPI] = "waiting for SIPI",
};

static const char *mode_name(const struct x86_state *st)
{
    if (!(st->cr0 & X86_CR0_PE))
        return "real";
    if (st->rflags & X86_FLAGS_VM)
        return "virtual-8086";
    if (x86_64bit_mode(st))
        return "64-bit";
    return st->seg[X86_CS].attr & X86_SEG_DB ? "32-bit" : "16-bit";
}

static void cmd_thread_extra(struct gdb_session *s, struct gdb_scan *in,
                             struct gdb_reply *out)
{
    char text[EXTRA_MAX];
    int cpu = scan_thread(s, in);

    if (cpu < 0) {
        gdb_reply_error(out, ESRCH);
        return;
    }
    vcpu_get_state(vcpu_get(s->set, (unsigned)cpu), &s->st);
    (void)snprintf(text, sizeof(text), "CPU %d: %s, %s, CPL %u", cpu,
                   s->st.mp_state < X86_NR_MP_STATES ? mp_names[s->st.mp_state]
                                                     : "?",
                   mode_name(&s->st), s->st.cpl);
    gdb_reply_hex(out, text, strlen(text));
}

/* --- Registers ---------------------------------------------------------- */

static void cmd_regs_read(struct gdb_session *s, struct gdb_scan *in,
                          struct gdb_reply *out)
{
    uint8_t buf[GDB_REG_MAX_BYTES];
    unsigned i;

    (void)in;
    vcpu_get_state(current(s), &s->st);
    for (i = 0; i < gdb_regs_count(); i++)
        gdb_reply_hex(out, buf, gdb_reg_get(&s->st, i, buf));
}

/* All of them at once: those that cannot be written stay as they are. */
static void cmd_regs_write(struct gdb_session *s, struct gdb_scan *in,
                           struct gdb_reply *out)
{
    uint8_t buf[GDB_REG_MAX_BYTES];
    unsigned i;

    vcpu_get_state(current(s), &s->st);
    for (i = 0; i < gdb_regs_count(); i++) {
        if (!gdb_scan_bytes(in, buf, gdb_reg_size(i))) {
            gdb_reply_error(out, EINVAL);
            return;
        }
        (void)gdb_reg_set(&s->st, i, buf);
    }
    vcpu_set_state(current(s), &s->st);
    gdb_reply_str(out, "OK");
}

static void cmd_reg_read(struct gdb_session *s, struct gdb_scan *in,
                         struct gdb_reply *out)
{
    uint8_t buf[GDB_REG_MAX_BYTES];
    uint64_t n;

    if (!gdb_scan_hex(in, &n) || n >= gdb_regs_count()) {
        gdb_reply_error(out, EINVAL);
        return;
    }
    vcpu_get_state(current(s), &s->st);
    gdb_reply_hex(out, buf, gdb_reg_get(&s->st, (unsigned)n, buf));
}

static int reg_write(struct gdb_session *s, struct gdb_scan *in)
{
    uint8_t buf[GDB_REG_MAX_BYTES];
    uint64_t n;
    int rc;

    if (!gdb_scan_hex(in, &n) || n >= gdb_regs_count() ||
        !gdb_scan_char(in, '=') ||
        !gdb_scan_bytes(in, buf, gdb_reg_size((unsigned)n)) ||
        !gdb_scan_end(in))
        return -EINVAL;
    vcpu_get_state(current(s), &s->st);
    rc = gdb_reg_set(&s->st, (unsigned)n, buf);
    if (rc == 0)
        vcpu_set_state(current(s), &s->st);
    return rc;
}

static void cmd_reg_write(struct gdb_session *s, struct gdb_scan *in,
                          struct gdb_reply *out)
{
    reply_result(out, reg_write(s, in));
}

/* --- Memory ------------------------------------------------------------- */

/* "addr,len" with len that a packet can hold. */
static bool scan_range(struct gdb_scan *in, gva_t *gva, size_t *len)
{
    uint64_t n;

    if (!gdb_scan_hex(in, gva) || !gdb_scan_char(in, ',') ||
        !gdb_scan_hex(in, &n) || n > MEM_MAX)
        return false;
    *len = (size_t)n;
    return true;
}

/* Up to len bytes, page by page: as many as can be read. */
static size_t mem_read(struct gdb_session *s, gva_t gva, uint8_t *buf,
                       size_t len)
{
    size_t done = 0;

    while (done < len) {
        size_t part = GPAGE_SIZE - ((gva + done) & GPAGE_MASK);

        if (part > len - done)
            part = len - done;
        if (vcpu_debug_read(current(s), gva + done, buf + done, part) < 0)
            break;
        done += part;
    }
    return done;
}

static void cmd_mem_read(struct gdb_session *s, struct gdb_scan *in,
                         struct gdb_reply *out)
{
    uint8_t buf[MEM_MAX];
    size_t len, done;
    gva_t gva;

    if (!scan_range(in, &gva, &len) || !gdb_scan_end(in)) {
        gdb_reply_error(out, EINVAL);
        return;
    }
    done = mem_read(s, gva, buf, len);
    if (done == 0 && len > 0)
        gdb_reply_error(out, EFAULT);
    else
        gdb_reply_hex(out, buf, done);
}

static int mem_write(struct gdb_session *s, struct gdb_scan *in, bool binary)
{
    uint8_t buf[MEM_MAX];
    size_t len, done = 0;
    gva_t gva;

    if (!scan_range(in, &gva, &len) || !gdb_scan_char(in, ':'))
        return -EINVAL;
    if (binary ? !gdb_scan_binary(in, buf, len)
               : !gdb_scan_bytes(in, buf, len) || !gdb_scan_end(in))
        return -EINVAL;
    while (done < len) {
        size_t part = GPAGE_SIZE - ((gva + done) & GPAGE_MASK);
        int rc;

        if (part > len - done)
            part = len - done;
        rc = vcpu_debug_write(current(s), gva + done, buf + done, part);
        if (rc < 0)
            return rc;
        done += part;
    }
    return 0;
}

static void cmd_mem_write(struct gdb_session *s, struct gdb_scan *in,
                          struct gdb_reply *out)
{
    reply_result(out, mem_write(s, in, false));
}

static void cmd_mem_write_binary(struct gdb_session *s, struct gdb_scan *in,
                                 struct gdb_reply *out)
{
    reply_result(out, mem_write(s, in, true));
}

/* --- Breakpoints -------------------------------------------------------- */

static unsigned bp_find(const struct gdb_session *s, gva_t gva, bool hardware)
{
    unsigned i;

    for (i = 0; i < s->nr_bp; i++)
        if (s->bp[i].gva == gva && s->bp[i].hardware == hardware)
            break;
    return i;
}

static int bp_insert(struct gdb_session *s, gva_t gva, bool hardware)
{
    unsigned i = bp_find(s, gva, hardware);
    int rc;

    if (i < s->nr_bp)
        return 0;
    if (s->nr_bp == GDB_MAX_BREAKPOINTS)
        return -ENOSPC;
    s->bp[s->nr_bp++] = (struct gdb_breakpoint){gva, hardware};
    rc = gdb_session_set_breakpoints(s);
    if (rc < 0)
        s->nr_bp--;
    return rc;
}

static int bp_remove(struct gdb_session *s, gva_t gva, bool hardware)
{
    unsigned i = bp_find(s, gva, hardware);

    if (i == s->nr_bp)
        return 0;
    s->bp[i] = s->bp[--s->nr_bp];
    return gdb_session_set_breakpoints(s);
}

/* "type,addr,kind": types 0 and 1; kind, the size of an INT3, is nothing to
 * us. Watchpoints (2 to 4) are not known. */
static void bp_change(struct gdb_session *s, struct gdb_scan *in,
                      struct gdb_reply *out,
                      int (*change)(struct gdb_session *, gva_t, bool))
{
    uint64_t type, kind;
    gva_t gva;

    if (!gdb_scan_hex(in, &type) || !gdb_scan_char(in, ',') ||
        !gdb_scan_hex(in, &gva) || !gdb_scan_char(in, ',') ||
        !gdb_scan_hex(in, &kind))
        gdb_reply_error(out, EINVAL);
    else if (type <= 1)
        reply_result(out, change(s, gva, type == 1));
}

static void cmd_bp_insert(struct gdb_session *s, struct gdb_scan *in,
                          struct gdb_reply *out)
{
    bp_change(s, in, out, bp_insert);
}

static void cmd_bp_remove(struct gdb_session *s, struct gdb_scan *in,
                          struct gdb_reply *out)
{
    bp_change(s, in, out, bp_remove);
}

/* --- Running ------------------------------------------------------------ */

/* One action of vCont: "c", "s", "Cxx", "Sxx", with ":thread" or for all that
 * have none yet. Signals mean nothing to a CPU. */
static bool scan_action(struct gdb_session *s, struct gdb_scan *in)
{
    bool step = gdb_scan_char(in, 's'), cont = gdb_scan_char(in, 'c');
    char action = step ? 's' : 'c';
    int cpu = THREAD_ALL;
    uint64_t sig;
    unsigned i;

    if (!step && !cont) {
        action = gdb_scan_char(in, 'S') ? 's' : 'c';
        if (action == 'c' && !gdb_scan_char(in, 'C'))
            return false;
        if (!gdb_scan_hex(in, &sig))
            return false;
    }
    if (gdb_scan_char(in, ':'))
        cpu = scan_thread(s, in);
    if (cpu == THREAD_BAD)
        return false;
    if (cpu == THREAD_ANY)
        cpu = (int)s->cpu;
    for (i = 0; i < vcpu_set_count(s->set); i++)
        if ((cpu == THREAD_ALL || cpu == (int)i) && !s->actions[i])
            s->actions[i] = action;
    return true;
}

/* "action;action...". The replies of these commands come when a CPU stops;
 * only an error is replied at once. */
static bool scan_actions(struct gdb_session *s, struct gdb_scan *in)
{
    memset(s->actions, 0, vcpu_set_count(s->set));
    do {
        if (!scan_action(s, in))
            return false;
    } while (gdb_scan_char(in, ';'));
    return gdb_scan_end(in);
}

static void cmd_vcont(struct gdb_session *s, struct gdb_scan *in,
                      struct gdb_reply *out)
{
    if (scan_actions(s, in))
        gdb_session_resume(s);
    else
        gdb_reply_error(out, EINVAL);
}

static void cmd_vcont_query(struct gdb_session *s, struct gdb_scan *in,
                            struct gdb_reply *out)
{
    (void)s;
    (void)in;
    gdb_reply_str(out, "vCont;c;C;s;S");
}

/* c and s, the older forms: an address to go on from, all CPUs or one. */
static void resume_old(struct gdb_session *s, struct gdb_scan *in,
                       struct gdb_reply *out, char action)
{
    uint64_t rip;

    if (!gdb_scan_end(in)) {
        vcpu_get_state(current(s), &s->st);
        if (!gdb_scan_hex(in, &rip) || !gdb_scan_end(in) ||
            gdb_reg_set(&s->st, GDB_REG_RIP, &rip) < 0) {
            gdb_reply_error(out, EINVAL);
            return;
        }
        vcpu_set_state(current(s), &s->st);
    }
    memset(s->actions, action == 'c' ? 'c' : 0, vcpu_set_count(s->set));
    s->actions[s->cpu] = action;
    gdb_session_resume(s);
}

static void cmd_continue(struct gdb_session *s, struct gdb_scan *in,
                         struct gdb_reply *out)
{
    resume_old(s, in, out, 'c');
}

static void cmd_step(struct gdb_session *s, struct gdb_scan *in,
                     struct gdb_reply *out)
{
    resume_old(s, in, out, 's');
}

static void cmd_why(struct gdb_session *s, struct gdb_scan *in,
                    struct gdb_reply *out)
{
    (void)in;
    (void)out;
    gdb_session_stop_reply(s, GDB_SIGTRAP);
}

static void cmd_detach(struct gdb_session *s, struct gdb_scan *in,
                       struct gdb_reply *out)
{
    (void)in;
    gdb_session_detach(s);
    gdb_reply_str(out, "OK");
}

static void cmd_kill(struct gdb_session *s, struct gdb_scan *in,
                     struct gdb_reply *out)
{
    (void)in;
    (void)out;
    if (s->kill)
        s->kill(s->opaque);
    gdb_session_detach(s);
}

/* --- What the two sides can do ------------------------------------------ */

/* Features, each ended by "+", "-", "?" or "=value", separated by ";". */
static bool has_feature(const struct gdb_scan *in, const char *name)
{
    struct gdb_scan s = *in;

    while (!gdb_scan_end(&s)) {
        if (gdb_scan_word(&s, name) &&
            (gdb_scan_end(&s) || gdb_scan_char(&s, ';')))
            return true;
        while (!gdb_scan_end(&s) && *s.p++ != ';')
            ;
    }
    return false;
}

static void cmd_supported(struct gdb_session *s, struct gdb_scan *in,
                          struct gdb_reply *out)
{
    (void)gdb_scan_char(in, ':');
    s->swbreak = has_feature(in, "swbreak+");
    s->hwbreak = has_feature(in, "hwbreak+");
    gdb_reply_str(out, "PacketSize=");
    gdb_reply_num(out, GDB_PACKET_MAX);
    gdb_reply_str(out, ";qXfer:features:read+;QStartNoAckMode+;vContSupported+"
                       ";swbreak+;hwbreak+");
}

static void cmd_no_acks(struct gdb_session *s, struct gdb_scan *in,
                        struct gdb_reply *out)
{
    (void)in;
    s->no_acks = true;
    gdb_reply_str(out, "OK");
}

/* "annex:offset,length": "m" and a part, or "l" and the last part. */
static void cmd_features(struct gdb_session *s, struct gdb_scan *in,
                         struct gdb_reply *out)
{
    uint64_t off, len;
    bool last;

    if (!gdb_scan_word(in, "target.xml:")) {
        gdb_reply_error(out, 0);
        return;
    }
    if (!gdb_scan_hex(in, &off) || !gdb_scan_char(in, ',') ||
        !gdb_scan_hex(in, &len) || off > s->xml_len) {
        gdb_reply_error(out, EINVAL);
        return;
    }
    if (len > MEM_MAX)
        len = MEM_MAX; /* fits even if all of it must be escaped */
    last = len >= s->xml_len - off;
    gdb_reply_str(out, last ? "l" : "m");
    gdb_reply_binary(out, s->xml + off, last ? s->xml_len - off : len);
}

static void cmd_attached(struct gdb_session *s, struct gdb_scan *in,
                         struct gdb_reply *out)
{
    (void)s;
    (void)in;
    gdb_reply_str(out, "1"); /* so that gdb detaches when it quits */
}

static void cmd_symbol(struct gdb_session *s, struct gdb_scan *in,
                       struct gdb_reply *out)
{
    (void)s;
    (void)in;
    gdb_reply_str(out, "OK"); /* we need no symbols */
}

/* --- The table ---------------------------------------------------------- */

/* The first match counts: longer names before their beginnings. */
static const struct command commands[] = {
    {"?", cmd_why, false},
    {"c", cmd_continue, false},
    {"D", cmd_detach, false},
    {"g", cmd_regs_read, false},
    {"G", cmd_regs_write, false},
    {"H", cmd_thread_set, false},
    {"k", cmd_kill, true},
    {"m", cmd_mem_read, false},
    {"M", cmd_mem_write, false},
    {"p", cmd_reg_read, false},
    {"P", cmd_reg_write, false},
    {"s", cmd_step, false},
    {"T", cmd_thread_alive, false},
    {"X", cmd_mem_write_binary, false},
    {"Z", cmd_bp_insert, false},
    {"z", cmd_bp_remove, false},
    {"vCont?", cmd_vcont_query, false},
    {"vCont;", cmd_vcont, false},
    {"qAttached", cmd_attached, false},
    {"qC", cmd_thread_current, false},
    {"qfThreadInfo", cmd_thread_list, false},
    {"qsThreadInfo", cmd_thread_list_end, false},
    {"qSupported", cmd_supported, false},
    {"qSymbol:", cmd_symbol, false},
    {"qThreadExtraInfo,", cmd_thread_extra, false},
    {"qXfer:features:read:", cmd_features, false},
    {"QStartNoAckMode", cmd_no_acks, false},
};

bool gdb_command(struct gdb_session *s, const char *buf, size_t len)
{
    struct gdb_scan in = {buf, buf + len};
    size_t i;

    gdb_reply_start(&s->reply);
    for (i = 0; i < ARRAY_LEN(commands); i++) {
        if (!gdb_scan_word(&in, commands[i].name))
            continue;
        commands[i].run(s, &in, &s->reply);
        break;
    }
    if (s->mode == GDB_RUNNING ||
        (i < ARRAY_LEN(commands) && commands[i].silent)) {
        s->reply.len = 0; /* nothing for a NACK to repeat */
        return false;
    }
    gdb_reply_end(&s->reply);
    return true;
}
