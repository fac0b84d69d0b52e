#include "tests/unit/cpu/fake_engine.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static _Atomic int fail_vcpu = -1;

const struct cpuid_model fake_model = {.name = "fake", .nr_cpus = 1};

struct fake_vcpu *fake_vcpu(struct vcpu *v)
{
    return v->engine_vcpu;
}

struct fake_engine *fake_engine(struct vcpu *v)
{
    return CONTAINER_OF(fake_vcpu(v) - v->index, struct fake_engine, vcpu);
}

void fake_engine_fail(int vcpu)
{
    atomic_store(&fail_vcpu, vcpu);
}

bool fake_wait(_Atomic unsigned *word, unsigned n)
{
    struct timespec ms = {.tv_nsec = 1000000};
    unsigned i;

    for (i = 0; i < 10000 && atomic_load(word) < n; i++)
        (void)nanosleep(&ms, NULL);
    return atomic_load(word) >= n;
}

static int fake_create(void **engine, const struct engine_config *cfg,
                       struct err *err)
{
    struct fake_engine *fe;

    if (cfg->nr_vcpus > FAKE_MAX_VCPUS)
        return err_set(err, -EINVAL, "create a fake engine: too many CPUs");
    fe = aligned_alloc(64, (sizeof(*fe) + 63) / 64 * 64);
    if (!fe)
        return err_set(err, -ENOMEM, "create a fake engine: out of memory");
    memset(fe, 0, sizeof(*fe));
    fe->nr_vcpus = cfg->nr_vcpus;
    *engine = fe;
    return 0;
}

static void fake_destroy(void *engine)
{
    free(engine);
}

static int fake_vcpu_create(void *engine, struct vcpu *v, struct err *err)
{
    struct fake_engine *fe = engine;

    if (atomic_load(&fail_vcpu) == (int)v->index)
        return err_set(err, -ENOMEM, "create CPU %u: told to fail", v->index);
    v->engine_vcpu = &fe->vcpu[v->index];
    return 0;
}

static void fake_vcpu_destroy(struct vcpu *v)
{
    v->engine_vcpu = NULL;
}

static void fake_thread_start(struct vcpu *v)
{
    (void)v;
}

static void fake_take(struct vcpu *v, uint32_t bit, _Atomic unsigned *count)
{
    if (atomic_load(&v->events) & bit) {
        (void)atomic_fetch_and(&v->events, ~bit);
        (void)atomic_fetch_add(count, 1);
    }
}

/* One round of run; returns whether that ends it, with *exit set. */
static bool fake_round(struct vcpu *v, struct fake_vcpu *fv,
                       enum engine_exit *exit)
{
    int mode = atomic_load(&fv->mode);

    *exit = ENGINE_EXIT_KICK;
    if (atomic_load(&v->events) & ~(uint32_t)(VCPU_EVENT_INTR | VCPU_EVENT_NMI))
        return true;
    fake_take(v, VCPU_EVENT_INTR, &fv->intrs);
    fake_take(v, VCPU_EVENT_NMI, &fv->nmis);
    if (atomic_load(&fv->step)) {
        fv->st.rip++;
        (void)atomic_fetch_add(&fv->steps, 1);
        *exit = ENGINE_EXIT_DEBUG;
        return true;
    }
    switch (mode) {
    case FAKE_HALT:
        (void)atomic_fetch_add(&fv->halts, 1);
        *exit = ENGINE_EXIT_HALT;
        return true;
    case FAKE_TRIPLE: *exit = ENGINE_EXIT_TRIPLE; return true;
    case FAKE_ERROR: *exit = ENGINE_EXIT_ERROR; return true;
    case FAKE_BREAK:
        (void)atomic_compare_exchange_strong(&fv->mode, &mode, FAKE_BUSY);
        *exit = ENGINE_EXIT_DEBUG;
        return true;
    default: (void)sched_yield(); return false;
    }
}

static enum engine_exit fake_run(struct vcpu *v)
{
    struct fake_vcpu *fv = fake_vcpu(v);
    enum engine_exit exit;

    atomic_store(&fv->in_run, true);
    (void)atomic_fetch_add(&fv->runs, 1);
    while (!fake_round(v, fv, &exit))
        ;
    atomic_store(&fv->in_run, false);
    return exit;
}

static void fake_kick(struct vcpu *v)
{
    (void)atomic_fetch_add(&fake_vcpu(v)->kicks, 1);
}

static void fake_get_state(struct vcpu *v, struct x86_state *st)
{
    *st = fake_vcpu(v)->st;
}

static void fake_set_state(struct vcpu *v, const struct x86_state *st)
{
    fake_vcpu(v)->st = *st;
}

static void fake_set_breakpoints(void *engine, const gva_t *gva, unsigned nr)
{
    struct fake_engine *fe = engine;
    unsigned i;

    fe->nr_breakpoints = nr;
    for (i = 0; i < nr && i < FAKE_MAX_BREAKPOINTS; i++)
        fe->breakpoint[i] = gva[i];
}

static void fake_set_step(struct vcpu *v, bool on)
{
    atomic_store(&fake_vcpu(v)->step, on);
}

static uint8_t *fake_mem(struct vcpu *v, gva_t gva, size_t len)
{
    gva_t off = gva - FAKE_MEM_START;

    if (off >= FAKE_MEM_SIZE || len > FAKE_MEM_SIZE - off)
        return NULL;
    return &fake_engine(v)->mem[off];
}

static int fake_debug_read(struct vcpu *v, gva_t gva, void *dst, size_t len)
{
    const uint8_t *mem = fake_mem(v, gva, len);

    if (!mem)
        return -EFAULT;
    memcpy(dst, mem, len);
    return 0;
}

static int fake_debug_write(struct vcpu *v, gva_t gva, const void *src,
                            size_t len)
{
    uint8_t *mem = fake_mem(v, gva, len);

    if (!mem)
        return -EFAULT;
    memcpy(mem, src, len);
    return 0;
}

const struct engine_ops fake_engine_ops = {
    .name = "fake",
    .create = fake_create,
    .destroy = fake_destroy,
    .vcpu_create = fake_vcpu_create,
    .vcpu_destroy = fake_vcpu_destroy,
    .vcpu_thread_start = fake_thread_start,
    .run = fake_run,
    .kick = fake_kick,
    .get_state = fake_get_state,
    .set_state = fake_set_state,
    .set_breakpoints = fake_set_breakpoints,
    .set_step = fake_set_step,
    .debug_read = fake_debug_read,
    .debug_write = fake_debug_write,
};
