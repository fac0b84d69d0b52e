#include "devices/pc/uart16550.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/clock.h"

/*
 * 16550A UART (PC16550D data sheet, section 8).
 *
 * A byte written to the transmitter is at the back end before the write
 * returns, so the holding register always reads as empty. The interrupt that
 * says so comes at once, too, but a driver that refills in its handler as long
 * as the interrupt is there would never come out of it; so after TX_BURST
 * bytes without a pause the interrupt waits for TX_PAUSE_NS. Nothing is timed
 * while the line is idle.
 *
 * The receive time-out interrupt (data below the trigger level) does not wait
 * for four character times: there is no rate at which characters come.
 */

enum { TX_BURST = 1024, TX_PAUSE_NS = 50000 };

enum {
    REG_DATA,
    REG_IER,
    REG_IIR_FCR,
    REG_LCR,
    REG_MCR,
    REG_LSR,
    REG_MSR,
    REG_SCR
};

#define IER_RDA 0x01u
#define IER_THR 0x02u
#define IER_RLS 0x04u
#define IER_MSI 0x08u

/* Values of IIR bits 0..3, by falling priority (8.6). */
#define IIR_RLS  0x06u
#define IIR_RDA  0x04u
#define IIR_CTI  0x0cu
#define IIR_THR  0x02u
#define IIR_MSI  0x00u
#define IIR_NONE 0x01u
#define IIR_FIFO 0xc0u

#define FCR_ENABLE   0x01u
#define FCR_CLEAR_RX 0x02u
#define FCR_CLEAR_TX 0x04u
#define FCR_KEPT     0xc9u

#define LCR_DLAB 0x80u

#define MCR_DTR  0x01u
#define MCR_RTS  0x02u
#define MCR_OUT1 0x04u
#define MCR_OUT2 0x08u /* PCs gate the interrupt with it */
#define MCR_LOOP 0x10u

#define LSR_DR       0x01u
#define LSR_OE       0x02u
#define LSR_ERRORS   0x1eu
#define LSR_TX_EMPTY 0x60u

#define MSR_DELTAS 0x0fu
#define MSR_TERI   0x04u
#define MSR_CTS    0x10u
#define MSR_DSR    0x20u
#define MSR_RI     0x40u
#define MSR_DCD    0x80u

/* --- Interrupts --------------------------------------------------------- */

static unsigned uart_rx_room(const struct uart16550 *u)
{
    unsigned size = u->st.fcr & FCR_ENABLE ? UART16550_FIFO : 1;

    return u->st.rx_len < size ? size - u->st.rx_len : 0;
}

static unsigned uart_rx_trigger(const struct uart16550 *u)
{
    static const uint8_t level[4] = {1, 4, 8, 14};

    return u->st.fcr & FCR_ENABLE ? level[u->st.fcr >> 6] : 1;
}

/* The pending source with the highest priority. */
static uint8_t uart_iir(const struct uart16550 *u)
{
    if ((u->st.ier & IER_RLS) && (u->st.lsr & LSR_ERRORS))
        return IIR_RLS;
    if ((u->st.ier & IER_RDA) && u->st.rx_len)
        return u->st.rx_len >= uart_rx_trigger(u) ? IIR_RDA : IIR_CTI;
    if ((u->st.ier & IER_THR) && u->st.thr_pending && !u->tx_paused)
        return IIR_THR;
    if ((u->st.ier & IER_MSI) && (u->st.msr & MSR_DELTAS))
        return IIR_MSI;
    return IIR_NONE;
}

static void uart_update(struct uart16550 *u)
{
    irq_set(&u->irq, (u->st.mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2 &&
                         uart_iir(u) != IIR_NONE);
}

/* --- Transmitter -------------------------------------------------------- */

static void uart_tx_pause_over(void *opaque)
{
    struct uart16550 *u = opaque;

    lock_take(&u->lock);
    u->tx_paused = false;
    uart_update(u);
    lock_drop(&u->lock);
}

static void uart_rx_put(struct uart16550 *u, uint8_t byte)
{
    unsigned tail;

    if (!uart_rx_room(u)) {
        u->st.lsr |= LSR_OE;
        return;
    }
    tail = (u->st.rx_head + u->st.rx_len) % UART16550_FIFO;
    u->st.rx[tail] = byte;
    u->st.rx_len++;
}

static void uart_transmit(struct uart16550 *u, uint8_t byte)
{
    if (u->st.mcr & MCR_LOOP)
        uart_rx_put(u, byte);
    else if (u->be.write)
        u->be.write(u->be.opaque, &byte, 1);
    u->st.thr_pending = 1;
    if (++u->tx_burst >= TX_BURST && (u->st.ier & IER_THR)) {
        u->tx_burst = 0;
        u->tx_paused = true;
        timer_arm(&u->tx_pause, clock_now_ns() + TX_PAUSE_NS);
    }
}

/* --- Receiver ----------------------------------------------------------- */

static void uart_rx_drained(struct uart16550 *u)
{
    if (!u->rx_refused || u->st.rx_len || (u->st.mcr & MCR_LOOP))
        return;
    u->rx_refused = false;
    if (u->be.drained)
        u->be.drained(u->be.opaque);
}

static uint8_t uart_rx_get(struct uart16550 *u)
{
    uint8_t byte = u->st.rx[u->st.rx_head];

    if (!u->st.rx_len)
        return 0;
    u->st.rx_head = (uint8_t)((u->st.rx_head + 1) % UART16550_FIFO);
    u->st.rx_len--;
    uart_rx_drained(u);
    return byte;
}

static void uart_rx_clear(struct uart16550 *u)
{
    u->st.rx_len = 0;
    u->st.rx_head = 0;
    uart_rx_drained(u);
}

size_t uart16550_can_receive(struct uart16550 *u)
{
    size_t room;

    lock_take(&u->lock);
    room = u->st.mcr & MCR_LOOP ? 0 : uart_rx_room(u);
    if (!room)
        u->rx_refused = true;
    lock_drop(&u->lock);
    return room;
}

void uart16550_receive(struct uart16550 *u, const uint8_t *buf, size_t len)
{
    size_t i;

    lock_take(&u->lock);
    for (i = 0; i < len; i++)
        uart_rx_put(u, buf[i]);
    uart_update(u);
    lock_drop(&u->lock);
}

/* --- Registers ---------------------------------------------------------- */

/* The modem inputs: tied to a ready device, or to the outputs (8.7). */
static uint8_t uart_modem_inputs(const struct uart16550 *u)
{
    uint8_t mcr = u->st.mcr;

    if (!(mcr & MCR_LOOP))
        return MSR_CTS | MSR_DSR | MSR_DCD;
    return (uint8_t)((mcr & MCR_RTS ? MSR_CTS : 0) |
                     (mcr & MCR_DTR ? MSR_DSR : 0) |
                     (mcr & MCR_OUT1 ? MSR_RI : 0) |
                     (mcr & MCR_OUT2 ? MSR_DCD : 0));
}

static void uart_write_mcr(struct uart16550 *u, uint8_t val)
{
    uint8_t old = u->st.msr & 0xf0, now, changed;

    u->st.mcr = val & 0x1f;
    now = uart_modem_inputs(u);
    changed = (uint8_t)((old ^ now) >> 4);
    if (!(old & MSR_RI))
        changed &= (uint8_t)~MSR_TERI; /* only its trailing edge counts */
    u->st.msr = (uint8_t)(now | changed | (u->st.msr & MSR_DELTAS));
    uart_rx_drained(u);
}

static void uart_write_fcr(struct uart16550 *u, uint8_t val)
{
    if ((val ^ u->st.fcr) & FCR_ENABLE)
        val |= FCR_CLEAR_RX | FCR_CLEAR_TX;
    if (val & FCR_CLEAR_RX)
        uart_rx_clear(u);
    u->st.fcr = val & FCR_ENABLE ? val & FCR_KEPT : 0;
}

static void uart_write_ier(struct uart16550 *u, uint8_t val)
{
    /* Enabling the interrupt while the register is empty raises it (8.6). */
    if ((val & IER_THR) && !(u->st.ier & IER_THR))
        u->st.thr_pending = 1;
    u->st.ier = val & 0x0f;
}

static void uart_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    struct uart16550 *u = dev;
    uint8_t byte = (uint8_t)val;
    bool dlab = u->st.lcr & LCR_DLAB;

    (void)size;
    switch (off & 7) {
    case REG_DATA:
        if (dlab)
            u->st.dll = byte;
        else
            uart_transmit(u, byte);
        break;
    case REG_IER:
        if (dlab)
            u->st.dlm = byte;
        else
            uart_write_ier(u, byte);
        break;
    case REG_IIR_FCR: uart_write_fcr(u, byte); break;
    case REG_LCR: u->st.lcr = byte; break;
    case REG_MCR: uart_write_mcr(u, byte); break;
    case REG_SCR: u->st.scr = byte; break;
    default: break; /* LSR and MSR: factory test only */
    }
    uart_update(u);
}

static uint8_t uart_read_iir(struct uart16550 *u)
{
    uint8_t iir = uart_iir(u);

    if (iir == IIR_THR)
        u->st.thr_pending = 0;
    return iir | (u->st.fcr & FCR_ENABLE ? IIR_FIFO : 0);
}

static uint8_t uart_read_lsr(struct uart16550 *u)
{
    uint8_t lsr = u->st.lsr | LSR_TX_EMPTY | (u->st.rx_len ? LSR_DR : 0);

    u->st.lsr = 0;
    return lsr;
}

static uint8_t uart_read_msr(struct uart16550 *u)
{
    uint8_t msr = u->st.msr;

    u->st.msr &= (uint8_t)~MSR_DELTAS;
    return msr;
}

static uint64_t uart_read(void *dev, uint64_t off, unsigned size)
{
    struct uart16550 *u = dev;
    bool dlab = u->st.lcr & LCR_DLAB;
    uint8_t val;

    (void)size;
    switch (off & 7) {
    case REG_DATA: val = dlab ? u->st.dll : uart_rx_get(u); break;
    case REG_IER: val = dlab ? u->st.dlm : u->st.ier; break;
    case REG_IIR_FCR: val = uart_read_iir(u); break;
    case REG_LCR: val = u->st.lcr; break;
    case REG_MCR: val = u->st.mcr; break;
    case REG_LSR: val = uart_read_lsr(u); break;
    case REG_MSR: val = uart_read_msr(u); break;
    default: val = u->st.scr; break;
    }
    uart_update(u);
    return val;
}

const struct bus_ops uart16550_bus_ops = {
    .read = uart_read, .write = uart_write, .min_size = 1, .max_size = 1};

/* --- Life --------------------------------------------------------------- */

void uart16550_reset(struct uart16550 *u)
{
    memset(&u->st, 0, sizeof(u->st));
    u->st.msr = uart_modem_inputs(u);
    u->tx_burst = 0;
    u->tx_paused = false;
    timer_cancel(&u->tx_pause);
    uart_rx_drained(u);
    uart_update(u);
}

void uart16550_init(struct uart16550 *u, struct irq irq,
                    const struct uart16550_backend *be, struct loop *loop)
{
    memset(u, 0, sizeof(*u));
    lock_init_ranked(&u->lock, LOCK_RANK_DEVICE);
    timer_init(&u->tx_pause, loop, uart_tx_pause_over, u);
    u->irq = irq;
    u->be = *be;
    uart16550_reset(u);
}

void uart16550_fini(struct uart16550 *u)
{
    timer_cancel(&u->tx_pause);
    lock_fini(&u->lock);
}

static const struct state_field uart16550_fields[] = {
    STATE_FIELD(1, STATE_U8, struct uart16550_state, ier),
    STATE_FIELD(2, STATE_U8, struct uart16550_state, fcr),
    STATE_FIELD(3, STATE_U8, struct uart16550_state, lcr),
    STATE_FIELD(4, STATE_U8, struct uart16550_state, mcr),
    STATE_FIELD(5, STATE_U8, struct uart16550_state, lsr),
    STATE_FIELD(6, STATE_U8, struct uart16550_state, msr),
    STATE_FIELD(7, STATE_U8, struct uart16550_state, scr),
    STATE_FIELD(8, STATE_U8, struct uart16550_state, dll),
    STATE_FIELD(9, STATE_U8, struct uart16550_state, dlm),
    STATE_FIELD(10, STATE_U8, struct uart16550_state, thr_pending),
    STATE_FIELD(11, STATE_U8, struct uart16550_state, rx_len),
    STATE_FIELD(12, STATE_U8, struct uart16550_state, rx_head),
    STATE_FIELD(13, STATE_BYTES, struct uart16550_state, rx),
};

static int uart16550_check(const void *state)
{
    const struct uart16550_state *st = state;

    return st->rx_len <= UART16550_FIFO && st->rx_head < UART16550_FIFO &&
                   !(st->ier & 0xf0) && !(st->mcr & 0xe0) &&
                   !(st->lsr & ~LSR_ERRORS)
               ? 0
               : -EINVAL;
}

const struct state_desc uart16550_state_desc = {
    .name = "uart16550",
    .version = 1,
    STATE_LAYOUT(struct uart16550_state, uart16550_fields),
    .check = uart16550_check,
};

static void uart16550_class_reset(void *dev)
{
    uart16550_reset(dev);
}

static void uart16550_loaded(void *dev, int64_t shift_ns)
{
    struct uart16550 *u = dev;

    (void)shift_ns;
    u->tx_paused = false;
    uart_rx_drained(u);
    uart_update(u);
}

const struct device_class uart16550_class = {
    .state = &uart16550_state_desc,
    .state_off = offsetof(struct uart16550, st),
    .reset = uart16550_class_reset,
    .loaded = uart16550_loaded,
};
