#ifndef HUSK_DEVICES_PC_RESET_PORT_H
#define HUSK_DEVICES_PC_RESET_PORT_H

#include <stdint.h>

#include "bus/bus.h"
#include "devices/device.h"

/*
 * Reset control register, port 0xcf9 (82371SB, 4.2.7). It lies inside
 * the PCI configuration address port: whoever maps 0xcf8 as one range passes
 * byte accesses at 0xcf9 on to reset_port_bus_ops (off 0, size 1).
 */
struct reset_port_state {
    uint8_t val;
};

struct reset_port {
    struct reset_port_state st;
    void (*reset)(void *opaque);
    void *opaque;
};

extern const struct bus_ops reset_port_bus_ops;
extern const struct state_desc reset_port_state_desc;
extern const struct device_class reset_port_class;

/* reset is called on a vCPU's thread when bit 2 (RST_CPU) goes from 0 to 1,
 * with the lock given to bus_map held: it must only post. */
void reset_port_init(struct reset_port *r, void (*reset)(void *opaque),
                     void *opaque);
void reset_port_reset(struct reset_port *r);

#endif
