#ifndef HUSK_DEVICES_VIRTIO_VIRTIO_CONSOLE_H
#define HUSK_DEVICES_VIRTIO_VIRTIO_CONSOLE_H

#include "devices/virtio/virtio.h"

/*
 * Console device (virtio 1.2, 5.3) with one port. All of a port is in struct
 * console_port, so that more can follow with VIRTIO_CONSOLE_F_MULTIPORT,
 * which is not offered.
 */

/*
 * What the port is connected to. Its functions are called with the device's
 * lock held, mostly on the loop's thread, and must not call back into the
 * device. Unset functions do nothing (output is then dropped).
 */
struct console_backend {
    /* Take up to len bytes of output; returns how many. Fewer: the device
     * waits for virtio_console_writable. */
    size_t (*write)(void *opaque, const void *buf, size_t len);
    /* virtio_console_receive will take something again. */
    void (*rx_ready)(void *opaque);
    void *opaque;
};

struct console_port {
    struct console_port_state {
        uint64_t tx_off; /* bytes of the first waiting chain that are out */
    } st;
    unsigned rxq, txq;
    struct console_backend be;
    bool tx_blocked; /* the back end is full */
    bool rx_starved; /* the guest had no buffer: rx_ready is owed */
};

extern const struct state_desc console_port_state_desc;
/* For struct console_port; reset and loaded with the transport. */
extern const struct device_class console_port_class;

struct virtio_console {
    struct virtio_dev vd;
    struct console_port port;
    uint16_t cols, rows;
};

/* cols, rows: size of the terminal in characters; 0 = unknown. */
MUST_CHECK int virtio_console_init(struct virtio_console *c,
                                   const struct virtio_env *env,
                                   const struct console_backend *be,
                                   uint16_t cols, uint16_t rows,
                                   struct err *err);
void virtio_console_fini(struct virtio_console *c);

/*
 * Input for the guest. Returns how many bytes were taken; if fewer than len,
 * the rest may be offered again after rx_ready. Any thread, without the lock.
 */
MUST_CHECK size_t virtio_console_receive(struct virtio_console *c,
                                         const void *buf, size_t len);
/* The back end takes output again. Any thread, without the lock. */
void virtio_console_writable(struct virtio_console *c);
/* The terminal's size changed; only when init had one. */
void virtio_console_resize(struct virtio_console *c, uint16_t cols,
                           uint16_t rows);

#endif
