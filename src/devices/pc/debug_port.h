#ifndef HUSK_DEVICES_PC_DEBUG_PORT_H
#define HUSK_DEVICES_PC_DEBUG_PORT_H

#include <stdint.h>

#include "bus/bus.h"

/* Two tiny debugging aids without state. */

/* Port 0x402: each byte goes to write; reading gives 0xe9, by which firmware
 * sees that somebody listens. */
struct debugcon {
    void (*write)(void *opaque, uint8_t byte);
    void *opaque;
};
extern const struct bus_ops debugcon_bus_ops; /* 1 port */

/* Port 0xf4: a write of value ends the run; the machine makes its exit status
 * (value << 1) | 1. Called on a vCPU's thread: must only post. */
struct debug_exit {
    void (*exit)(void *opaque, uint32_t value);
    void *opaque;
};
extern const struct bus_ops debug_exit_bus_ops; /* 4 ports, as one register */

#endif
