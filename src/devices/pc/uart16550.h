#ifndef HUSK_DEVICES_PC_UART16550_H
#define HUSK_DEVICES_PC_UART16550_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/lock.h"
#include "bus/bus.h"
#include "bus/irq.h"
#include "devices/device.h"
#include "event/loop.h"

/*
 * 16550A serial port (PC16550D data sheet): 8 ports,
 * 16-byte receive FIFO, transmitter as fast as its back end.
 */
enum { UART16550_FIFO = 16, UART16550_PORTS = 8 };

/* The other end of the line. Called with the UART's lock held: neither may
 * call back into the UART. NULL members are skipped. */
struct uart16550_backend {
    /* The guest sent len bytes. */
    void (*write)(void *opaque, const uint8_t *buf, size_t len);
    /* uart16550_can_receive has answered 0, and the FIFO is empty now. */
    void (*drained)(void *opaque);
    void *opaque;
};

struct uart16550_state {
    uint8_t ier, fcr, lcr, mcr, lsr, msr, scr, dll, dlm;
    uint8_t thr_pending; /* THR-empty interrupt waits to be read */
    uint8_t rx_len, rx_head;
    uint8_t rx[UART16550_FIFO];
};

struct uart16550 {
    struct uart16550_state st;
    struct lock lock;
    struct irq irq;
    struct uart16550_backend be;
    struct timer tx_pause; /* see uart16550.c */
    unsigned tx_burst;
    bool tx_paused;
    bool rx_refused; /* uart16550_can_receive has answered 0 */
};

extern const struct bus_ops uart16550_bus_ops;
extern const struct state_desc uart16550_state_desc;
extern const struct device_class uart16550_class;

/* The loop runs short pauses of long transmissions. */
void uart16550_init(struct uart16550 *u, struct irq irq,
                    const struct uart16550_backend *be, struct loop *loop);
/* Not while the loop runs a callback of it. */
void uart16550_fini(struct uart16550 *u);
void uart16550_reset(struct uart16550 *u); /* lock held */

/* Bytes that uart16550_receive takes now; grows only by the guest's reads, so
 * with one producer it is a promise. Any thread, but not
 * from a back end's callback. When it is 0, be.drained tells when to go on. */
size_t uart16550_can_receive(struct uart16550 *u);
/* Give len bytes to the guest; what does not fit overruns (LSR.OE). */
void uart16550_receive(struct uart16550 *u, const uint8_t *buf, size_t len);

#endif
