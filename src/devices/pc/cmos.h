#ifndef HUSK_DEVICES_PC_CMOS_H
#define HUSK_DEVICES_PC_CMOS_H

#include <stdint.h>

#include "base/lock.h"
#include "bus/bus.h"
#include "bus/irq.h"
#include "devices/device.h"
#include "event/loop.h"

/*
 * Real-time clock with 128 bytes of battery-backed memory (MC146818A
 * data sheet), ports 0x70 and 0x71. The clock runs with the host's wall clock
 * plus what the guest set; UTC, 24 hours, BCD at power-on.
 */
enum { CMOS_SIZE = 128, CMOS_CENTURY = 0x32 };

struct cmos_state {
    uint8_t index;
    uint8_t ram[CMOS_SIZE];     /* clock registers too, as last written */
    _Atomic uint8_t irq_masked; /* HPET legacy replacement is on */
    int64_t offset_ns;          /* guest's clock minus the host's wall clock */
    uint64_t seen_s;      /* second of the guest's clock up to which register
                             C has been brought up */
    uint64_t base_ns;     /* when the periodic divider started */
    uint64_t period_seen; /* its periods that register C has seen */
};

struct cmos {
    struct cmos_state st;
    struct lock lock;
    struct irq irq;
    struct timer timer;
    uint64_t (*wall_ns)(void); /* clock_wall_ns, or a test's */
};

extern const struct bus_ops cmos_bus_ops; /* 2 ports at 0x70 */
extern const struct state_desc cmos_state_desc;
extern const struct device_class cmos_class;

/* irq is IRQ 8. */
void cmos_init(struct cmos *cm, struct irq irq, struct loop *loop);
void cmos_fini(struct cmos *cm);
/* Keeps time and memory, stops interrupts. Lock held. */
void cmos_reset(struct cmos *cm);

/* While high, the clock does not drive IRQ 8 (HPET legacy replacement).
 * Takes no lock. */
struct irq cmos_mask_wire(struct cmos *cm);

/* Fill in what firmware reads: memory below and above 4 GiB in bytes and the
 * number of CPUs (registers 0x15..0x18, 0x30, 0x31, 0x34, 0x35, 0x5b..0x5d,
 * 0x5f). Before the guest runs. */
void cmos_set_memory(struct cmos *cm, uint64_t low, uint64_t high,
                     unsigned cpus);

/* The same for floppy drives, by their types of register 0x10; 0 = none. */
void cmos_set_floppies(struct cmos *cm, unsigned first, unsigned second);

#endif
