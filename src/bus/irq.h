#ifndef HUSK_BUS_IRQ_H
#define HUSK_BUS_IRQ_H

#include <stdbool.h>
#include <stdint.h>

/*
 * An interrupt wire as a value: a device raises and lowers it and never knows
 * which controller is at the other end. Calls are idempotent; any thread.
 */
struct irq {
    void (*set)(void *opaque, unsigned n, bool level);
    void *opaque;
    unsigned n;
};

static inline void irq_set(const struct irq *irq, bool level)
{
    if (irq->set)
        irq->set(irq->opaque, irq->n, level);
}

/* Where message-signalled interrupts go (a write of data to addr). */
struct msi_sink {
    void (*send)(void *opaque, uint64_t addr, uint32_t data);
    void *opaque;
};

static inline void msi_send(const struct msi_sink *s, uint64_t addr,
                            uint32_t data)
{
    if (s->send)
        s->send(s->opaque, addr, data);
}

#endif
