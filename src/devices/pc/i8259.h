#ifndef HUSK_DEVICES_PC_I8259_H
#define HUSK_DEVICES_PC_I8259_H

#include <stdint.h>

#include "base/lock.h"
#include "bus/bus.h"
#include "bus/irq.h"
#include "devices/device.h"

/*
 * The two cascaded interrupt controllers of a PC (8259A data sheet) and
 * their edge/level control registers (82371SB, 4.2.6). 8086 mode only.
 */
struct i8259_chip {
    uint8_t irr, imr, isr;
    uint8_t lines;  /* input levels */
    uint8_t elcr;   /* level-triggered inputs */
    uint8_t base;   /* vector of input 0 */
    uint8_t lowest; /* input with the lowest priority now */
    uint8_t icw;    /* initialisation word that is expected: 0 or 2..4 */
    uint8_t icw4;   /* ICW1 asked for an ICW4 */
    uint8_t single; /* no ICW3 */
    uint8_t auto_eoi, rotate_aeoi;
    uint8_t nested;  /* special fully nested mode */
    uint8_t special; /* special mask mode */
    uint8_t read_isr, poll;
};

struct i8259_state {
    struct i8259_chip chip[2]; /* master, slave */
};

struct i8259;
struct i8259_port {
    struct i8259 *pic;
    unsigned chip;
};

struct i8259 {
    struct i8259_state st;
    struct lock lock;
    struct irq out;
    struct i8259_port port[2];
};

extern const struct bus_ops i8259_bus_ops; /* 2 ports: dev is &pic->port[0] at
                                              0x20, &pic->port[1] at 0xa0 */
extern const struct bus_ops i8259_elcr_bus_ops; /* 2 ports at 0x4d0: dev pic */
extern const struct state_desc i8259_state_desc;
extern const struct device_class i8259_class;

/* out is the INTR wire: lapic_bus_lint0(). It is driven with the lock held. */
void i8259_init(struct i8259 *pic, struct irq out);
void i8259_fini(struct i8259 *pic);
void i8259_reset(struct i8259 *pic); /* lock held */

/* Input n, 0..15 (2 is the cascade and stays unconnected). */
struct irq i8259_irq(struct i8259 *pic, unsigned n);

/* Interrupt acknowledge cycle: the vector, a spurious one (input 7 or 15) if
 * nothing waits. Any thread, lock not held. opaque is a struct i8259. */
int i8259_ack(void *opaque);
/* The vector that i8259_ack would return now, without side effects. */
int i8259_peek(void *opaque);

#endif
