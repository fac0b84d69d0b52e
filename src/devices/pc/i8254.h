#ifndef HUSK_DEVICES_PC_I8254_H
#define HUSK_DEVICES_PC_I8254_H

#include <stdbool.h>
#include <stdint.h>

#include "base/lock.h"
#include "bus/bus.h"
#include "bus/irq.h"
#include "devices/device.h"
#include "event/loop.h"

/*
 * Programmable interval timer (8254 data sheet), ports 0x40..0x43, and
 * the system control port 0x61 that holds the gate and output of channel 2.
 * Channel 0 is IRQ 0.
 */
enum { I8254_HZ = 1193182, I8254_CHANNELS = 3 };

struct i8254_channel {
    uint64_t start_ns; /* when counting began (rising gate, or the load) */
    uint32_t count;    /* initial count, 1..0x10000 (10000 in BCD) */
    uint32_t held;     /* clocks counted so far while the gate is low */
    uint16_t latch;
    uint8_t latched; /* bytes of latch that are still to be read */
    uint8_t status, status_latched;
    uint8_t mode; /* 0..5 */
    uint8_t bcd, access;
    uint8_t write_state, write_low;
    uint8_t read_high; /* the next unlatched read gives the high byte */
    uint8_t gate;
    uint8_t loaded;  /* a count was written since the mode */
    uint8_t running; /* counting: gate allows it */
};

struct i8254_state {
    struct i8254_channel ch[I8254_CHANNELS];
    uint64_t tick; /* next output edge of channel 0, in its clocks */
    uint8_t out0;  /* level of IRQ 0 */
    _Atomic uint8_t irq_masked; /* HPET legacy replacement is on */
    uint8_t speaker;            /* bits 0 and 1 of port 0x61 */
};

struct i8254 {
    struct i8254_state st;
    struct lock lock;
    struct irq irq;
    struct timer timer;
};

extern const struct bus_ops i8254_bus_ops;        /* 4 ports at 0x40 */
extern const struct bus_ops i8254_port61_bus_ops; /* 1 port at 0x61 */
extern const struct state_desc i8254_state_desc;
extern const struct device_class i8254_class;

void i8254_init(struct i8254 *pit, struct irq irq, struct loop *loop);
void i8254_fini(struct i8254 *pit);
void i8254_reset(struct i8254 *pit); /* lock held */

/* A wire into the timer: while high, channel 0 does not drive IRQ 0 (HPET
 * legacy replacement). Takes no lock. */
struct irq i8254_mask_wire(struct i8254 *pit);

#endif
