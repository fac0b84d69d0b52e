#ifndef HUSK_DEVICES_PC_I8042_H
#define HUSK_DEVICES_PC_I8042_H

#include <stdbool.h>
#include <stdint.h>

#include "base/lock.h"
#include "bus/bus.h"
#include "bus/irq.h"
#include "devices/device.h"
#include "devices/pc/ps2_kbd.h"

/*
 * Keyboard controller (IBM PS/2 Technical Reference, "Keyboard and Auxiliary
 * Device Controller") with a keyboard on its first port; nothing is plugged
 * into the second one, which answers with a time-out as the chip does.
 * Ports 0x60 and 0x64, and the system port 0x92 (fast A20 and reset).
 */
struct i8042_state {
    uint8_t ctr;     /* command byte */
    uint8_t outport; /* output port: bit 0 reset (low active), bit 1 A20 */
    uint8_t cmd;     /* command that waits for its parameter, or 0 */
    uint8_t obf;     /* output buffer holds a byte */
    uint8_t obuf;    /* that byte */
    uint8_t osrc;    /* where it came from: enum i8042_source in i8042.c */
    uint8_t reply;   /* controller's answer that waits for the buffer */
    uint8_t reply_src;
    uint8_t has_reply;
    uint8_t status; /* only SYS and CMD are kept here */
    uint8_t port92;
    struct ps2_kbd_state kbd;
};

struct i8042 {
    struct i8042_state st;
    struct lock lock;
    struct irq irq_kbd, irq_aux;
    void (*reset_line)(void *opaque);
    void *reset_opaque;
    void (*a20_changed)(void *opaque, bool open);
    void *a20_opaque;
};

extern const struct bus_ops i8042_data_bus_ops;   /* one port: 0x60 */
extern const struct bus_ops i8042_cmd_bus_ops;    /* one port: 0x64 */
extern const struct bus_ops i8042_port92_bus_ops; /* one port: 0x92 */
extern const struct state_desc i8042_state_desc;
extern const struct device_class i8042_class;

/* kbd is IRQ 1 and aux IRQ 12. reset_line is called on a vCPU's thread with
 * the lock held when the guest pulses the CPU reset: it must only post. */
void i8042_init(struct i8042 *k, struct irq kbd, struct irq aux,
                void (*reset_line)(void *opaque), void *opaque);
void i8042_fini(struct i8042 *k);
void i8042_reset(struct i8042 *k); /* lock held */

/* Whether the A20 gate is open. Port 92 and the output port both set it, and
 * both read as it is. */
bool i8042_a20(const struct i8042 *k);
/* Have somebody told when it may have changed, also by a reset: on a vCPU's
 * thread too, with the lock held. Before the guest runs. */
void i8042_on_a20(struct i8042 *k, void (*changed)(void *opaque, bool open),
                  void *opaque);

/* A key goes down or up: its scan code set 1 make code, 0xe0nn for extended
 * keys. Dropped when the keyboard's buffer is full. Any thread. */
void i8042_key(struct i8042 *k, uint16_t code, bool down);

#endif
