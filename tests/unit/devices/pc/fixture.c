#include "tests/unit/devices/pc/fixture.h"

#include "base/clock.h"

static void fake_set(void *opaque, unsigned n, bool level)
{
    struct fake_irq *f = opaque;

    (void)n;
    if (level && !f->level)
        f->edges++;
    f->level = level;
}

struct irq fake_irq(struct fake_irq *f)
{
    return (struct irq){fake_set, f, 0};
}

struct loop *new_loop(void)
{
    struct loop *loop;
    struct err err;

    assert_int_equal(loop_new(&loop, &err), 0);
    return loop;
}

struct poll {
    struct loop *loop;
    struct timer timer;
    bool (*done)(void *);
    void *opaque;
};

static void poll_once(void *opaque)
{
    struct poll *p = opaque;

    if (p->done(p->opaque))
        loop_stop(p->loop, 0);
    else
        timer_arm(&p->timer, clock_now_ns() + 1000000);
}

void run_until(struct loop *loop, bool (*done)(void *), void *opaque)
{
    struct poll p = {.loop = loop, .done = done, .opaque = opaque};

    timer_init(&p.timer, loop, poll_once, &p);
    timer_arm(&p.timer, 0);
    assert_int_equal(loop_run(loop), 0);
}
