#ifndef HUSK_DEVICES_PC_HPET_H
#define HUSK_DEVICES_PC_HPET_H

#include <stdint.h>

#include "base/lock.h"
#include "bus/bus.h"
#include "bus/irq.h"
#include "devices/device.h"
#include "event/loop.h"

/*
 * High precision event timer (HPET 1.0a): a 64-bit counter
 * at 100 MHz, three 64-bit comparators, no FSB (MSI) delivery.
 */
enum { HPET_TIMERS = 3, HPET_GSIS = 24, HPET_MMIO_SIZE = 0x400 };
#define HPET_BASE      0xfed00000u
#define HPET_PERIOD_FS 10000000u
/* The low half of the capabilities register: the ACPI table's event timer
 * block id. Three 64-bit timers, legacy replacement, revision 1. */
#define HPET_BLOCK_ID  0x8086a201u
#define HPET_ROUTE_CAP 0x00f00104u /* GSIs 2, 8, 20..23 */

struct hpet_timer {
    uint64_t config, comparator, period;
    uint64_t next; /* counter value of the next match, not wrapped */
};

struct hpet_state {
    uint64_t config, isr;
    uint64_t counter; /* while halted; while running: its value at start_ns */
    uint64_t start_ns;
    struct hpet_timer timer[HPET_TIMERS];
};

struct hpet;
struct hpet_event {
    struct hpet *hpet;
    unsigned n;
    struct timer timer;
};

/* Where its interrupts go. */
struct hpet_wires {
    struct irq gsi[HPET_GSIS]; /* only those of HPET_ROUTE_CAP are used */
    struct irq legacy0;        /* timer 0 under legacy replacement: ISA IRQ 0 */
    struct irq legacy8;        /* timer 1: ISA IRQ 8 */
    /* High while legacy replacement is on: i8254_mask_wire and
     * cmos_mask_wire hang here. */
    struct irq replace_pit, replace_rtc;
};

struct hpet {
    struct hpet_state st;
    struct lock lock;
    struct hpet_wires wires;
    struct hpet_event event[HPET_TIMERS];
};

extern const struct bus_ops hpet_bus_ops;
extern const struct state_desc hpet_state_desc;
extern const struct device_class hpet_class;

/* wires is copied. */
void hpet_init(struct hpet *h, const struct hpet_wires *wires,
               struct loop *loop);
void hpet_fini(struct hpet *h);
void hpet_reset(struct hpet *h); /* lock held */

#endif
