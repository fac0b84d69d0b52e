#ifndef HUSK_DEVICES_PC_IOAPIC_H
#define HUSK_DEVICES_PC_IOAPIC_H

#include <stdint.h>

#include "base/lock.h"
#include "bus/bus.h"
#include "bus/irq.h"
#include "devices/device.h"

/*
 * I/O APIC with 24 inputs (82093AA data sheet; version 0x20 with the EOI
 * register of the ICH family).
 */
enum { IOAPIC_PINS = 24, IOAPIC_MMIO_SIZE = 0x1000, IOAPIC_VERSION = 0x20 };
#define IOAPIC_BASE 0xfec00000u

struct ioapic_state {
    uint64_t redir[IOAPIC_PINS];
    uint32_t lines; /* input levels, before polarity */
    uint32_t irr;   /* edges that wait for the mask; active level inputs */
    uint8_t index, id;
};

struct ioapic {
    struct ioapic_state st;
    struct lock lock;
    struct msi_sink sink;
};

extern const struct bus_ops ioapic_bus_ops;
extern const struct state_desc ioapic_state_desc;
extern const struct device_class ioapic_class;

/* Interrupts leave as MSIs into sink (lapic_bus_sink()), with the lock held. */
void ioapic_init(struct ioapic *io, const struct msi_sink *sink);
void ioapic_fini(struct ioapic *io);
void ioapic_reset(struct ioapic *io); /* lock held */

/* Input pin 0..23. High is active unless the guest inverts the polarity: an
 * ACPI "active low" wire of this machine is still driven high when active, so
 * the polarity bit is kept but does not change the meaning of the level. */
struct irq ioapic_irq(struct ioapic *io, unsigned pin);

/* A CPU ended a level-triggered interrupt. opaque is a struct ioapic; any
 * thread, lock not held. */
void ioapic_eoi(void *opaque, uint8_t vector);

#endif
