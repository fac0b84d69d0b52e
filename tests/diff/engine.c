#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "compare.h"
#include "cpu/vcpu.h"
#include "guest.h"
#include "image.h"
#include "rng.h"
#include "shared.h"

/*
 * The engine's side: a virtual CPU without a machine. The guest runs a case
 * and writes to a port; that write, on the CPU's own thread, stores the result
 * and puts the next case into the guest's memory.
 *
 * Each case runs twice: the second time its code is translated and linked and
 * its pages are in the TLB.
 */
struct engine_side {
    struct shared *sh;
    struct side_area *area;
    struct worker_fds fds;
    struct gmem gm;
    struct bus *pio, *mmio;
    struct cpuid_model model;
    struct vcpu_set *cpus;
    struct image image;
    struct diff_regs *regs; /* in the guest's RAM */
    _Atomic bool interrupt; /* one is requested */
    struct diff_result warm;
    bool started, second;
};

static void collect(struct engine_side *e, struct diff_result *r)
{
    r->status = DIFF_DONE;
    r->warm_differs = false;
    r->out = *e->regs;
    image_collect(&e->image, r);
}

static void load(struct engine_side *e, const struct diff_case *c)
{
    *e->regs = c->in;
    image_prepare(&e->image, c);
}

/* The batch is done, or none has begun: wait for the next. */
static uint32_t next_batch(struct engine_side *e)
{
    static const char byte = 'd';
    char go;

    if (e->started && write(e->fds.done, &byte, 1) != 1)
        _exit(0);
    e->started = true;
    if (read(e->fds.go, &go, 1) != 1)
        _exit(0);
    shared_code(e->sh, gmem_hva(&e->gm, GUEST_CODE, DIFF_CODE_SIZE));
    gmem_written(&e->gm, GUEST_CODE, DIFF_CODE_SIZE);
    return shared_next(e->sh, e->sh->first);
}

static void port_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    struct engine_side *e = dev;
    uint32_t i = atomic_load(&e->area->running);

    (void)off;
    (void)size;
    (void)val;
    if (!e->started) {
        i = DIFF_BATCH;
    } else if (!e->second) {
        collect(e, &e->area->result[i]);
        e->second = true;
        load(e, &e->sh->c[i]);
        return;
    } else {
        collect(e, &e->warm);
        e->area->result[i].warm_differs =
            compare(&e->sh->c[i], &e->area->result[i], &e->warm) != 0;
        i = shared_next(e->sh, i + 1);
    }
    while (i == DIFF_BATCH) {
        atomic_store(&e->area->running, DIFF_BATCH);
        i = next_batch(e);
    }
    atomic_store(&e->area->running, i);
    e->second = false;
    load(e, &e->sh->c[i]);
}

static const struct bus_ops port_ops = {.write = port_write};

/* -- Disturbances ---------------------------------------------------------- */

/* An interrupt controller with one request, of vector CHAOS_VECTOR, whose
 * handler returns at once: no case may notice. */
enum { CHAOS_VECTOR = 64 };

static int chaos_pending(void *intc)
{
    struct engine_side *e = intc;

    return atomic_load(&e->interrupt) ? CHAOS_VECTOR : -1;
}

static int chaos_ack(void *intc)
{
    struct engine_side *e = intc;

    return atomic_exchange(&e->interrupt, false) ? CHAOS_VECTOR : -1;
}

static uint64_t chaos_get_cr8(void *intc)
{
    (void)intc;
    return 0;
}

static void chaos_set_cr8(void *intc, uint64_t val)
{
    (void)intc;
    (void)val;
}

static void chaos_reset(void *intc, bool init)
{
    (void)intc;
    (void)init;
}

static const struct vcpu_intc_ops chaos_ops = {.pending = chaos_pending,
                                               .ack = chaos_ack,
                                               .get_cr8 = chaos_get_cr8,
                                               .set_cr8 = chaos_set_cr8,
                                               .reset = chaos_reset};

/* Interrupts all the time; now and then the CPU is stopped wherever it is,
 * and its state taken out and put back. */
static _Noreturn void disturb(struct engine_side *e)
{
    struct vcpu *v = vcpu_get(e->cpus, 0);
    static struct x86_state st;
    struct rng r;

    rng_init(&r, 1, (uint64_t)getpid());
    for (;;) {
        (void)usleep(1 + rng_below(&r, 60));
        if (rng_percent(&r, 90)) {
            atomic_store(&e->interrupt, true);
            vcpu_post(v, VCPU_EVENT_INTR, 0);
            continue;
        }
        vcpu_set_pause(e->cpus);
        vcpu_get_state(v, &st);
        vcpu_set_state(v, &st);
        vcpu_set_resume(e->cpus);
    }
}

static void on_stop(void *opaque, enum vcpu_stop_reason why)
{
    (void)opaque;
    (void)fprintf(stderr, "cpudiff: the engine stopped: %s\n",
                  why == VCPU_STOP_TRIPLE ? "triple fault" : "error");
    _exit(4);
}

static void build(struct engine_side *e, struct err *err)
{
    static const struct gmem_layout layout = {.start = 0, .size = GUEST_SIZE};
    struct vcpu_config cfg = {.nr = 1,
                              .engine = "jit",
                              .model = &e->model,
                              .gmem = &e->gm,
                              .stopped = on_stop,
                              .opaque = e};
    static struct x86_state st;

    if (cpuid_model_init(&e->model, "husk-v3", 1, err) < 0 ||
        gmem_init(&e->gm, &layout, 1, err) < 0)
        return;
    if (bus_new(&e->pio) < 0 || bus_new(&e->mmio) < 0 ||
        bus_map(e->pio, GUEST_PORT, 1, &port_ops, e, NULL) < 0) {
        (void)err_set(err, -ENOMEM, "make the buses");
        return;
    }
    cfg.pio = e->pio;
    cfg.mmio = e->mmio;
    if (vcpu_set_new(&e->cpus, &cfg, err) < 0)
        return;
    vcpu_get_state(vcpu_get(e->cpus, 0), &st);
    if (guest_build(&e->gm, &st) < 0) {
        (void)err_set(err, -EFAULT, "build the guest");
        return;
    }
    for (unsigned i = 0; i < DIFF_NR_PAGES; i++)
        e->image.page[i] = gmem_hva(&e->gm, guest_page_gpa(i), DIFF_PAGE);
    image_init(&e->image);
    e->regs = gmem_hva(&e->gm, GUEST_STATE, sizeof(*e->regs));
    vcpu_set_state(vcpu_get(e->cpus, 0), &st);
}

_Noreturn void engine_main(struct shared *sh, enum side side,
                           const struct worker_fds *fds)
{
    struct engine_side *e = aligned_alloc(64, (sizeof(*e) + 63) & ~63ul);
    struct err err = {0};

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!e)
        _exit(3);
    memset(e, 0, sizeof(*e));
    e->sh = sh;
    e->area = &sh->side[side];
    e->fds = *fds;
    build(e, &err);
    if (err.code) {
        (void)fprintf(stderr, "cpudiff: %s\n", err.text);
        _exit(3);
    }
    if (sh->chaos)
        vcpu_set_intc(vcpu_get(e->cpus, 0), &chaos_ops, e);
    vcpu_set_resume(e->cpus);
    if (sh->chaos)
        disturb(e);
    for (;;)
        (void)pause();
}
