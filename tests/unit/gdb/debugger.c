#include "tests/unit/gdb/debugger.h"

#include <stdio.h>
#include <string.h>

#include "cpu/debug.h"

static void on_stopped(void *opaque, enum vcpu_stop_reason why)
{
    (void)opaque;
    (void)why;
}

static void on_debug(void *opaque, struct vcpu *v)
{
    struct debugger *f = opaque;

    (void)v;
    (void)atomic_fetch_add(&f->stops, 1);
}

static void on_send(void *opaque, const char *buf, size_t len)
{
    struct debugger *f = opaque;

    assert_true(f->len + len < DEBUGGER_OUT);
    memcpy(f->out + f->len, buf, len);
    f->len += len;
    f->out[f->len] = '\0';
}

static void on_kill(void *opaque)
{
    ((struct debugger *)opaque)->kills++;
}

int debugger_setup(void **state)
{
    struct debugger *f = calloc(1, sizeof(*f));
    struct x86_state st;
    struct err err;
    unsigned i;

    assert_non_null(f);
    assert_int_equal(vcpu_set_new(&f->set,
                                  &(struct vcpu_config){
                                      .nr = DEBUGGER_CPUS,
                                      .ops = &fake_engine_ops,
                                      .model = &fake_model,
                                      .gmem = &f->gm,
                                      .stopped = on_stopped,
                                  },
                                  &err),
                     0);
    for (i = 0; i < DEBUGGER_CPUS; i++) {
        vcpu_get_state(vcpu_get(f->set, i), &st);
        st.mp_state = X86_MP_RUNNING;
        vcpu_set_state(vcpu_get(f->set, i), &st);
    }
    assert_int_equal(gdb_session_init(&f->s, f->set), 0);
    f->s.send = on_send;
    f->s.kill = on_kill;
    f->s.opaque = f;
    vcpu_debug_handler(f->set, on_debug, f);
    vcpu_set_resume(f->set);
    gdb_session_attach(&f->s);
    *state = f;
    return 0;
}

int debugger_teardown(void **state)
{
    struct debugger *f = *state;

    gdb_session_detach(&f->s);
    gdb_session_fini(&f->s);
    vcpu_set_free(f->set);
    free(f);
    return 0;
}

const char *ask(struct debugger *f, const char *packet)
{
    char frame[GDB_PACKET_MAX + 8];
    unsigned sum = 0;
    const char *p;
    char *end;

    for (p = packet; *p; p++)
        sum += (uint8_t)*p;
    (void)snprintf(frame, sizeof(frame), "$%s#%02x", packet, sum & 0xff);
    f->len = 0;
    f->out[0] = '\0';
    gdb_session_input(&f->s, frame, strlen(frame));
    if (f->len < 5)
        return "(none)";
    assert_memory_equal(f->out, "+$", 2);
    end = strrchr(f->out, '#');
    assert_non_null(end);
    *end = '\0';
    return f->out + 2;
}

const char *said(struct debugger *f)
{
    char *end = strrchr(f->out, '#');

    if (end)
        *end = '\0';
    return f->len ? f->out + 1 : "(none)";
}

struct fake_vcpu *fv(struct debugger *f, unsigned i)
{
    return fake_vcpu(vcpu_get(f->set, i));
}

void wait_for_stop(struct debugger *f)
{
    assert_true(fake_wait(&f->stops, 1));
    atomic_store(&f->stops, 0);
    f->len = 0;
    gdb_session_stopped(&f->s);
}
