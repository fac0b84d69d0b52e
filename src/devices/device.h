#ifndef HUSK_DEVICES_DEVICE_H
#define HUSK_DEVICES_DEVICE_H

#include <stddef.h>
#include <stdint.h>

#include "base/lock.h"
#include "state/desc.h"

/*
 * What every device type has in common, so that the machine can walk a table
 * of its devices to reset, save and load them.
 *
 * A device is a public struct with a plain member "st", all that is saved.
 * Times in st are in the base of clock_now_ns().
 */
struct device_class {
    const struct state_desc *state;
    size_t state_off; /* of st in the device's struct */
    /* Power-on reset. The caller holds the device's lock (if it has one). */
    void (*reset)(void *dev);
    /*
     * st was replaced by a loaded snapshot: derive the rest of the device from
     * it, arm timers, drive output wires. shift_ns is to be added to each time
     * in st first (clock now minus clock when it was saved); 0 is fine for a
     * machine that was only paused. Lock held as in reset. NULL = nothing to
     * do.
     */
    void (*loaded)(void *dev, int64_t shift_ns);
};

/* One device of a machine, by its name in snapshots ("uart0"). */
struct device {
    const char *name;
    const struct device_class *cls;
    void *obj;
    struct lock *lock; /* NULL = none: only touched while CPUs are paused */
};

static inline void device_reset(const struct device *d) NO_TSA;
static inline void device_reset(const struct device *d)
{
    if (!d->cls->reset)
        return;
    if (d->lock)
        lock_take(d->lock);
    d->cls->reset(d->obj);
    if (d->lock)
        lock_drop(d->lock);
}

static inline void device_loaded(const struct device *d,
                                 int64_t shift_ns) NO_TSA;
static inline void device_loaded(const struct device *d, int64_t shift_ns)
{
    if (!d->cls->loaded)
        return;
    if (d->lock)
        lock_take(d->lock);
    d->cls->loaded(d->obj, shift_ns);
    if (d->lock)
        lock_drop(d->lock);
}

static inline void *device_state(const struct device *d)
{
    return (char *)d->obj + d->cls->state_off;
}

#endif
