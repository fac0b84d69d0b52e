#include "cpu/debug.h"

#include <errno.h>

#include "cpu/vcpu_set.h"

/*
 * Debug stops. A vCPU whose engine reports one raises the pause count itself
 * (once for all vCPUs that stop together), so that the others stop within
 * microseconds, and tells the handler. The handler's thread then makes that
 * pause its own with vcpu_debug_take.
 */

void vcpu_debug_handler(struct vcpu_set *set, vcpu_debug_fn *fn, void *opaque)
{
    lock_take(&set->lock);
    set->debug_fn = fn;
    set->debug_opaque = opaque;
    lock_drop(&set->lock);
}

void vcpu_debug_exit(struct vcpu *v)
{
    struct vcpu_set *set = v->set;
    vcpu_debug_fn *fn;
    void *opaque;

    lock_take(&set->lock);
    fn = set->debug_fn;
    opaque = set->debug_opaque;
    if (fn) {
        v->debug_stop = true;
        if (!set->debug_paused)
            vcpu_set_pause_locked(set);
        set->debug_paused = true;
    }
    lock_drop(&set->lock);
    if (fn)
        fn(opaque, v);
}

void vcpu_debug_take(struct vcpu_set *set)
{
    vcpu_set_pause(set);
    lock_take(&set->lock);
    if (set->debug_paused)
        vcpu_set_resume_locked(set);
    set->debug_paused = false;
    lock_drop(&set->lock);
}

bool vcpu_debug_stopped(struct vcpu *v)
{
    bool stopped;

    lock_take(&v->set->lock);
    stopped = v->debug_stop;
    v->debug_stop = false;
    lock_drop(&v->set->lock);
    return stopped;
}

void vcpu_debug_hold(struct vcpu *v, bool on)
{
    lock_take(&v->set->lock);
    v->held = on;
    lock_drop(&v->set->lock);
}

int vcpu_debug_breakpoints(struct vcpu_set *set, const gva_t *gva, unsigned nr)
{
    if (!set->ops->set_breakpoints)
        return -ENOTSUP;
    set->ops->set_breakpoints(set->engine, gva, nr);
    return 0;
}

int vcpu_debug_step(struct vcpu *v, bool on)
{
    if (!v->set->ops->set_step)
        return -ENOTSUP;
    v->set->ops->set_step(v, on);
    return 0;
}

int vcpu_debug_read(struct vcpu *v, gva_t gva, void *dst, size_t len)
{
    if (!v->set->ops->debug_read)
        return -ENOTSUP;
    return v->set->ops->debug_read(v, gva, dst, len);
}

int vcpu_debug_write(struct vcpu *v, gva_t gva, const void *src, size_t len)
{
    if (!v->set->ops->debug_write)
        return -ENOTSUP;
    return v->set->ops->debug_write(v, gva, src, len);
}
