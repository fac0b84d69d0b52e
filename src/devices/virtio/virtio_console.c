#include "devices/virtio/virtio_console.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

/*
 * Flow control. Output: when the back end takes less than it was given, the
 * chain goes back to the queue, tx_off remembers how much of it is out, and
 * nothing moves until virtio_console_writable. Input: what finds no buffer is
 * not taken, and rx_ready says when the guest has put some.
 */

enum {
    RXQ = 0, /* of port 0 (virtio 1.2, 5.3.2) */
    TXQ = 1,
    NR_QUEUES = 2,
    QUEUE_SIZE = 128,
    TX_CHUNK = 4096,
    TX_SHARE = 65536 /* bytes of output in one turn of the loop */
};

#define CONSOLE_F_SIZE        ((uint64_t)1 << 0)
#define CONSOLE_F_EMERG_WRITE ((uint64_t)1 << 2)

/* 5.3.4 */
struct console_config {
    uint16_t cols;
    uint16_t rows;
    uint32_t max_nr_ports;
    uint32_t emerg_wr;
};

static const struct state_field console_port_fields[] = {
    STATE_FIELD(1, STATE_U64, struct console_port_state, tx_off),
};

/* Any tx_off is fine: a chain that is shorter counts as written. */
const struct state_desc console_port_state_desc = {
    .name = "virtio-console-port",
    .version = 1,
    STATE_LAYOUT(struct console_port_state, console_port_fields),
};

const struct device_class console_port_class = {
    .state = &console_port_state_desc,
    .state_off = offsetof(struct console_port, st),
};

static struct virtio_console *console_of(struct virtio_dev *vd)
{
    return CONTAINER_OF(vd, struct virtio_console, vd);
}

static size_t backend_write(const struct console_port *port, const void *buf,
                            size_t len)
{
    size_t taken = len;

    if (port->be.write)
        taken = port->be.write(port->be.opaque, buf, len);
    assert(taken <= len);
    return taken;
}

/* -- Output --- */

/* Write what is left of chain, *share bytes at most. Returns whether all of it
 * is out. */
static bool write_chain(struct console_port *port,
                        const struct virtq_chain *chain, size_t *share)
{
    uint8_t buf[TX_CHUNK];

    while (port->st.tx_off < chain->out_bytes) {
        size_t len = sizeof(buf) < *share ? sizeof(buf) : *share;
        size_t taken;

        len = virtq_chain_read(chain, port->st.tx_off, buf, len);
        if (len == 0)
            return false;
        taken = backend_write(port, buf, len);
        port->st.tx_off += taken;
        *share -= taken;
        if (taken < len) {
            port->tx_blocked = true;
            return false;
        }
    }
    port->st.tx_off = 0;
    return true;
}

static bool run_tx(struct virtio_dev *vd, struct console_port *port)
{
    struct virtq *vq = &vd->vq[port->txq];
    struct virtq_chain chain;
    size_t share = TX_SHARE;
    bool again = false;

    if (port->tx_blocked)
        return false;
    virtq_disable_kicks(vq);
    for (unsigned i = 0; i < QUEUE_SIZE; i++) {
        if (!virtio_pop(vd, port->txq, &chain))
            break;
        if (!write_chain(port, &chain, &share)) {
            virtq_unpop(vq);
            again = !port->tx_blocked;
            break;
        }
        virtq_push(vq, &chain, 0);
    }
    virtio_notify(vd, port->txq);
    if (again || port->tx_blocked)
        return again;
    return virtq_enable_kicks(vq);
}

void virtio_console_writable(struct virtio_console *c)
{
    lock_take(&c->vd.lock);
    c->port.tx_blocked = false;
    lock_drop(&c->vd.lock);
    virtio_requeue(&c->vd, c->port.txq);
}

/* -- Input --- */

static void run_rx(struct virtio_dev *vd, struct console_port *port)
{
    struct virtq *vq = &vd->vq[port->rxq];

    if (!port->rx_starved)
        return;
    if (!virtq_has_avail(vq) && !virtq_enable_kicks(vq))
        return;
    port->rx_starved = false;
    virtq_disable_kicks(vq);
    if (port->be.rx_ready)
        port->be.rx_ready(port->be.opaque);
}

/* Put bytes into the guest's buffers until one or the other ends. */
static size_t fill_rx(struct virtio_dev *vd, struct console_port *port,
                      const uint8_t *buf, size_t len)
{
    struct virtq *vq = &vd->vq[port->rxq];
    struct virtq_chain chain;
    size_t done = 0;

    while (done < len) {
        size_t part;

        if (!virtio_pop(vd, port->rxq, &chain)) {
            if (virtq_enable_kicks(vq))
                continue;
            port->rx_starved = true;
            break;
        }
        part = virtq_chain_write(&chain, 0, buf + done, len - done);
        virtq_push(vq, &chain, part);
        done += part;
        if (part == 0) { /* 5.3.6.1: input buffers are writable */
            virtio_break(vd);
            port->rx_starved = true;
            break;
        }
    }
    return done;
}

size_t virtio_console_receive(struct virtio_console *c, const void *buf,
                              size_t len)
{
    struct console_port *port = &c->port;
    size_t done = 0;

    lock_take(&c->vd.lock);
    if (virtio_queue_is_live(&c->vd, port->rxq)) {
        done = fill_rx(&c->vd, port, buf, len);
        virtio_notify(&c->vd, port->rxq);
    } else {
        port->rx_starved = true;
    }
    lock_drop(&c->vd.lock);
    return done;
}

/* -- The device --- */

static bool console_queue(struct virtio_dev *vd, unsigned q)
{
    struct virtio_console *c = console_of(vd);

    if (q == c->port.txq)
        return run_tx(vd, &c->port);
    run_rx(vd, &c->port);
    return false;
}

static void console_queue_reset(struct virtio_dev *vd, unsigned q)
{
    struct console_port *port = &console_of(vd)->port;

    if (q == port->txq) {
        port->st.tx_off = 0;
        port->tx_blocked = false; /* the back end says so again if it is */
    } else {
        port->rx_starved = true;
    }
}

static void console_reset(struct virtio_dev *vd)
{
    for (unsigned q = 0; q < NR_QUEUES; q++)
        console_queue_reset(vd, q);
}

static void console_loaded(struct virtio_dev *vd)
{
    console_of(vd)->port.tx_blocked = false;
    console_of(vd)->port.rx_starved = true;
}

static void console_config_read(struct virtio_dev *vd, uint32_t off, void *dst,
                                unsigned len)
{
    const struct virtio_console *c = console_of(vd);
    struct console_config cfg = {
        .cols = c->cols, .rows = c->rows, .max_nr_ports = 1};

    memcpy(dst, (const uint8_t *)&cfg + off, len);
}

/* A byte for the console of a kernel that has no driver running (5.3.5). */
static void console_config_write(struct virtio_dev *vd, uint32_t off,
                                 const void *src, unsigned len)
{
    if (off == offsetof(struct console_config, emerg_wr) && len)
        (void)backend_write(&console_of(vd)->port, src, 1);
}

static const struct virtio_type console_type = {
    .name = "virtio-console",
    .id = VIRTIO_ID_CONSOLE,
    .pci_class = 0x078000, /* communication controller, other */
    .features = CONSOLE_F_EMERG_WRITE,
    .nr_queues = NR_QUEUES,
    .queue_size = QUEUE_SIZE,
    .config_size = sizeof(struct console_config),
    .config_read = console_config_read,
    .config_write = console_config_write,
    .queue = console_queue,
    .queue_reset = console_queue_reset,
    .reset = console_reset,
    .loaded = console_loaded,
};

int virtio_console_init(struct virtio_console *c, const struct virtio_env *env,
                        const struct console_backend *be, uint16_t cols,
                        uint16_t rows, struct err *err)
{
    bool sized = cols && rows;

    memset(c, 0, sizeof(*c));
    c->cols = cols;
    c->rows = rows;
    c->port = (struct console_port){
        .rxq = RXQ, .txq = TXQ, .be = *be, .rx_starved = true};
    return virtio_dev_init(&c->vd, &console_type, env,
                           sized ? CONSOLE_F_SIZE : 0, err);
}

void virtio_console_fini(struct virtio_console *c)
{
    virtio_dev_fini(&c->vd);
}

void virtio_console_resize(struct virtio_console *c, uint16_t cols,
                           uint16_t rows)
{
    lock_take(&c->vd.lock);
    c->cols = cols;
    c->rows = rows;
    if (c->vd.features & CONSOLE_F_SIZE)
        virtio_config_changed(&c->vd);
    lock_drop(&c->vd.lock);
}
