#ifndef HUSK_TESTS_UNIT_DEVICES_PC_FIXTURE_H
#define HUSK_TESTS_UNIT_DEVICES_PC_FIXTURE_H

#include "bus/bus.h"
#include "bus/irq.h"
#include "event/loop.h"
#include "tests/unit/test.h"

/* A wire that remembers its level and counts its rising edges. */
struct fake_irq {
    bool level;
    unsigned edges;
};

struct irq fake_irq(struct fake_irq *f);

/* One access as the bus would make it. */
static inline uint64_t rd(const struct bus_ops *ops, void *dev, uint64_t off,
                          unsigned size)
{
    return ops->read(dev, off, size);
}

static inline void wr(const struct bus_ops *ops, void *dev, uint64_t off,
                      unsigned size, uint64_t val)
{
    ops->write(dev, off, size, val);
}

static inline uint8_t rd8(const struct bus_ops *ops, void *dev, uint64_t off)
{
    return (uint8_t)ops->read(dev, off, 1);
}

static inline void wr8(const struct bus_ops *ops, void *dev, uint64_t off,
                       unsigned val)
{
    ops->write(dev, off, 1, val & 0xff);
}

struct loop *new_loop(void);
/* Run the loop until done(opaque) is true. */
void run_until(struct loop *loop, bool (*done)(void *), void *opaque);
/* Call what t would call now. */
static inline void fire(const struct timer *t)
{
    t->fn(t->opaque);
}

#endif
