#include "vmm/stuck.h"

#include "base/clock.h"
#include "base/log.h"

#define RETRY_NS NS_PER_SEC

static void go_on(struct stuck *s)
{
    if (!s->waits)
        return;
    s->waits = false;
    log_warn("disk", "there is space again: the guest goes on");
    pc_resume(s->pc);
}

static void wait_for_space(struct stuck *s)
{
    s->waits = true;
    log_err("disk", "there is no space left on the host for what the guest "
                    "writes: it is paused and goes on when there is");
    pc_pause(s->pc);
}

static void on_timer(void *opaque)
{
    struct stuck *s = opaque;

    if (pc_stuck_requests(s->pc) == 0) {
        go_on(s);
        return;
    }
    if (!s->waits)
        wait_for_space(s);
    else
        pc_retry_stuck(s->pc);
    timer_arm(&s->timer, clock_now_ns() + RETRY_NS);
}

void stuck_init(struct stuck *s, struct loop *loop)
{
    *s = (struct stuck){0};
    timer_init(&s->timer, loop, on_timer, s);
}

void stuck_fini(struct stuck *s)
{
    timer_cancel(&s->timer);
}

void stuck_changed(struct stuck *s)
{
    timer_arm(&s->timer, 0);
}

void stuck_retry(struct stuck *s)
{
    on_timer(s);
}
