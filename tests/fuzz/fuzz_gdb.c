#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/engine.h"
#include "gdb/session.h"

/*
 * What a debugger sends, as a stream of bytes, into a session with a machine
 * of two CPUs whose engine halts at once. Frames are made here, so that the
 * fuzzer need not find checksums: a newline in the input ends a packet; input
 * that begins with a '$' goes in as it is.
 */
enum { NR = 2, MEM_SIZE = 8192 };

static struct x86_state states[NR];
static uint8_t mem[MEM_SIZE];

static int fuzz_create(void **engine, const struct engine_config *cfg,
                       struct err *err)
{
    (void)cfg;
    (void)err;
    *engine = states;
    return 0;
}

static void fuzz_destroy(void *engine)
{
    (void)engine;
}

static int fuzz_vcpu_create(void *engine, struct vcpu *v, struct err *err)
{
    (void)engine;
    (void)err;
    v->engine_vcpu = &states[v->index];
    return 0;
}

static void fuzz_vcpu(struct vcpu *v)
{
    (void)v;
}

static enum engine_exit fuzz_run(struct vcpu *v)
{
    (void)v;
    return ENGINE_EXIT_HALT;
}

static void fuzz_get_state(struct vcpu *v, struct x86_state *st)
{
    *st = states[v->index];
}

static void fuzz_set_state(struct vcpu *v, const struct x86_state *st)
{
    states[v->index] = *st;
}

static void fuzz_set_breakpoints(void *engine, const gva_t *gva, unsigned nr)
{
    (void)engine;
    (void)gva;
    (void)nr;
}

static void fuzz_set_step(struct vcpu *v, bool on)
{
    (void)v;
    (void)on;
}

static int fuzz_read(struct vcpu *v, gva_t gva, void *dst, size_t len)
{
    (void)v;
    if (gva >= MEM_SIZE || len > MEM_SIZE - gva)
        return -1;
    memcpy(dst, mem + gva, len);
    return 0;
}

static int fuzz_write(struct vcpu *v, gva_t gva, const void *src, size_t len)
{
    (void)v;
    if (gva >= MEM_SIZE || len > MEM_SIZE - gva)
        return -1;
    memcpy(mem + gva, src, len);
    return 0;
}

static const struct engine_ops fuzz_ops = {
    .name = "fuzz",
    .create = fuzz_create,
    .destroy = fuzz_destroy,
    .vcpu_create = fuzz_vcpu_create,
    .vcpu_destroy = fuzz_vcpu,
    .vcpu_thread_start = fuzz_vcpu,
    .run = fuzz_run,
    .kick = fuzz_vcpu,
    .get_state = fuzz_get_state,
    .set_state = fuzz_set_state,
    .set_breakpoints = fuzz_set_breakpoints,
    .set_step = fuzz_set_step,
    .debug_read = fuzz_read,
    .debug_write = fuzz_write,
};

static void on_stopped(void *opaque, enum vcpu_stop_reason why)
{
    (void)opaque;
    (void)why;
}

/* Whatever comes in, a reply is one whole frame that is not too long. */
static void on_send(void *opaque, const char *buf, size_t len)
{
    (void)opaque;
    if (len == 1 && (*buf == '+' || *buf == '-'))
        return;
    if (len < 4 || len > GDB_PACKET_MAX + 4 || buf[0] != '$' ||
        buf[len - 3] != '#')
        abort();
}

static struct vcpu_set *machine(void)
{
    static const struct cpuid_model model = {.name = "fuzz"};
    static struct gmem gm;
    static struct vcpu_set *set;
    struct err err;

    if (!set && vcpu_set_new(&set,
                             &(struct vcpu_config){
                                 .nr = NR,
                                 .ops = &fuzz_ops,
                                 .model = &model,
                                 .gmem = &gm,
                                 .stopped = on_stopped,
                             },
                             &err) < 0)
        abort();
    return set;
}

static void send_packet(struct gdb_session *s, const uint8_t *data, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t sum = 0;
    size_t i;

    for (i = 0; i < len; i++)
        sum = (uint8_t)(sum + data[i]);
    gdb_session_input(s, "$", 1);
    gdb_session_input(s, data, len);
    gdb_session_input(s, "#", 1);
    gdb_session_input(s, &digits[sum >> 4], 1);
    gdb_session_input(s, &digits[sum & 15], 1);
    if (s->mode == GDB_RUNNING)
        gdb_session_input(s, "\x03", 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct gdb_session s;
    const uint8_t *end = data + size;

    if (gdb_session_init(&s, machine()) < 0)
        return 0;
    s.send = on_send;
    gdb_session_attach(&s);
    if (size > 0 && *data == '$') {
        gdb_session_input(&s, data, size);
        data = end;
    }
    while (data < end) {
        const uint8_t *nl = memchr(data, '\n', (size_t)(end - data));
        const uint8_t *stop = nl ? nl : end;

        send_packet(&s, data, (size_t)(stop - data));
        data = nl ? nl + 1 : end;
    }
    gdb_session_detach(&s);
    gdb_session_fini(&s);
    return 0;
}
