#include "devices/pc/i8042.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

/*
 * Keyboard controller (IBM PS/2 Technical Reference, "Keyboard and Auxiliary
 * Device Controller").
 *
 * One byte is visible at a time, in the output buffer; when the guest reads it
 * the next one comes from the controller's pending answer, else from the
 * keyboard. The input buffer is always empty: commands are done at once.
 */

enum i8042_source { SRC_KBD, SRC_AUX, SRC_AUX_TIMEOUT, NR_SOURCES };

#define STATUS_OBF     0x01u
#define STATUS_SYS     0x04u
#define STATUS_CMD     0x08u
#define STATUS_UNLOCK  0x10u
#define STATUS_AUX     0x20u
#define STATUS_TIMEOUT 0x40u

#define CTR_KBD_INT 0x01u
#define CTR_AUX_INT 0x02u
#define CTR_SYS     0x04u
#define CTR_KBD_OFF 0x10u
#define CTR_AUX_OFF 0x20u
#define CTR_XLATE   0x40u

#define OUTPORT_RESET 0x01u /* low active */
#define OUTPORT_A20   0x02u
#define OUTPORT_IRQ1  0x10u
#define OUTPORT_IRQ12 0x20u

#define PORT92_RESET 0x01u
#define PORT92_A20   0x02u

enum {
    CMD_READ_CTR = 0x20,
    CMD_WRITE_CTR = 0x60,
    CMD_AUX_OFF = 0xa7,
    CMD_AUX_ON = 0xa8,
    CMD_AUX_TEST = 0xa9,
    CMD_SELF_TEST = 0xaa,
    CMD_KBD_TEST = 0xab,
    CMD_KBD_OFF = 0xad,
    CMD_KBD_ON = 0xae,
    CMD_READ_INPORT = 0xc0,
    CMD_READ_OUTPORT = 0xd0,
    CMD_WRITE_OUTPORT = 0xd1,
    CMD_WRITE_KBD_BUF = 0xd2,
    CMD_WRITE_AUX_BUF = 0xd3,
    CMD_WRITE_AUX = 0xd4,
    CMD_A20_OFF = 0xdd, /* both not IBM's, but widespread */
    CMD_A20_ON = 0xdf,
    CMD_PULSE = 0xf0 /* to 0xff */
};

/* --- Output buffer ------------------------------------------------------ */

static void i8042_update_irqs(struct i8042 *k)
{
    bool aux = k->st.obf && k->st.osrc != SRC_KBD;
    bool kbd = k->st.obf && k->st.osrc == SRC_KBD;

    irq_set(&k->irq_kbd,
            kbd && (k->st.ctr & CTR_KBD_INT) && !(k->st.ctr & CTR_KBD_OFF));
    irq_set(&k->irq_aux, aux && (k->st.ctr & CTR_AUX_INT));
}

static void i8042_fill(struct i8042 *k, uint8_t val, uint8_t src)
{
    k->st.obuf = val;
    k->st.osrc = src;
    k->st.obf = 1;
}

/* Next byte of the keyboard, translated to scan code set 1 if asked for: the
 * break prefix becomes the top bit of the code that follows it. */
static int i8042_next_key(struct i8042 *k)
{
    int val = ps2_kbd_pop(&k->st.kbd);
    int release = 0;

    if (val < 0 || !(k->st.ctr & CTR_XLATE))
        return val;
    if (val == 0xf0) {
        release = 0x80;
        val = ps2_kbd_pop(&k->st.kbd); /* keys are queued whole */
        if (val < 0)
            return val;
    }
    return ps2_kbd_translate((uint8_t)val) | release;
}

/* Put the next byte into the empty buffer. */
static void i8042_refill(struct i8042 *k)
{
    int val;

    if (!k->st.obf && k->st.has_reply) {
        k->st.has_reply = 0;
        i8042_fill(k, k->st.reply, k->st.reply_src);
    } else if (!k->st.obf && !(k->st.ctr & CTR_KBD_OFF)) {
        val = i8042_next_key(k);
        if (val >= 0)
            i8042_fill(k, (uint8_t)val, SRC_KBD);
    }
    i8042_update_irqs(k);
}

/* An answer of the controller goes before what the keyboard has queued. */
static void i8042_reply(struct i8042 *k, uint8_t val, uint8_t src)
{
    k->st.reply = val;
    k->st.reply_src = src;
    k->st.has_reply = 1;
}

/* --- Output port -------------------------------------------------------- */

static void i8042_pulse_reset(struct i8042 *k)
{
    if (k->reset_line)
        k->reset_line(k->reset_opaque);
}

static void i8042_tell_a20(struct i8042 *k)
{
    if (k->a20_changed)
        k->a20_changed(k->a20_opaque, i8042_a20(k));
}

/* One gate with two handles, each of which shows where it stands. Boards that
 * OR the two leave whoever knows only one of them unable to close it. */
static void i8042_set_a20(struct i8042 *k, bool open)
{
    k->st.outport &= (uint8_t)~OUTPORT_A20;
    k->st.port92 &= (uint8_t)~PORT92_A20;
    if (open) {
        k->st.outport |= OUTPORT_A20;
        k->st.port92 |= PORT92_A20;
    }
    i8042_tell_a20(k);
}

static void i8042_write_outport(struct i8042 *k, uint8_t val)
{
    k->st.outport = OUTPORT_RESET;
    i8042_set_a20(k, val & OUTPORT_A20);
    if (!(val & OUTPORT_RESET))
        i8042_pulse_reset(k);
}

static uint8_t i8042_read_outport(const struct i8042 *k)
{
    uint8_t irq = k->st.osrc == SRC_KBD ? OUTPORT_IRQ1 : OUTPORT_IRQ12;

    return k->st.outport | (k->st.obf ? irq : 0);
}

bool i8042_a20(const struct i8042 *k)
{
    return k->st.outport & OUTPORT_A20;
}

/* --- Ports 0x64 and 0x60 ------------------------------------------------ */

static void i8042_command(struct i8042 *k, uint8_t cmd)
{
    switch (cmd) {
    case CMD_READ_CTR: i8042_reply(k, k->st.ctr, SRC_KBD); break;
    case CMD_WRITE_CTR:
    case CMD_WRITE_OUTPORT:
    case CMD_WRITE_KBD_BUF:
    case CMD_WRITE_AUX_BUF:
    case CMD_WRITE_AUX: k->st.cmd = cmd; break;
    case CMD_AUX_OFF: k->st.ctr |= CTR_AUX_OFF; break;
    case CMD_AUX_ON: k->st.ctr &= (uint8_t)~CTR_AUX_OFF; break;
    case CMD_SELF_TEST:
        k->st.status |= STATUS_SYS;
        i8042_reply(k, 0x55, SRC_KBD);
        break;
    case CMD_AUX_TEST:
    case CMD_KBD_TEST: i8042_reply(k, 0x00, SRC_KBD); break;
    case CMD_KBD_OFF: k->st.ctr |= CTR_KBD_OFF; break;
    case CMD_KBD_ON: k->st.ctr &= (uint8_t)~CTR_KBD_OFF; break;
    case CMD_READ_INPORT: i8042_reply(k, 0x80, SRC_KBD); break;
    case CMD_READ_OUTPORT:
        i8042_reply(k, i8042_read_outport(k), SRC_KBD);
        break;
    case CMD_A20_OFF: i8042_set_a20(k, false); break;
    case CMD_A20_ON: i8042_set_a20(k, true); break;
    default:
        /* Bits 0..3 name by 0 the output lines to pulse; only 0 exists. */
        if (cmd >= CMD_PULSE && !(cmd & OUTPORT_RESET))
            i8042_pulse_reset(k);
        break;
    }
}

static void i8042_cmd_write(void *dev, uint64_t off, unsigned size,
                            uint64_t val)
{
    struct i8042 *k = dev;

    (void)off;
    (void)size;
    k->st.status |= STATUS_CMD;
    k->st.cmd = 0;
    i8042_command(k, (uint8_t)val);
    i8042_refill(k);
}

static uint64_t i8042_cmd_read(void *dev, uint64_t off, unsigned size)
{
    const struct i8042 *k = dev;
    unsigned val = k->st.status | STATUS_UNLOCK;

    (void)off;
    (void)size;
    if (k->st.obf) {
        val |= STATUS_OBF;
        if (k->st.osrc != SRC_KBD)
            val |= STATUS_AUX;
        if (k->st.osrc == SRC_AUX_TIMEOUT)
            val |= STATUS_TIMEOUT;
    }
    return val;
}

static void i8042_write_ctr(struct i8042 *k, uint8_t val)
{
    k->st.ctr = val;
    k->st.status &= (uint8_t)~STATUS_SYS;
    if (val & CTR_SYS)
        k->st.status |= STATUS_SYS;
}

static void i8042_data_write(void *dev, uint64_t off, unsigned size,
                             uint64_t val)
{
    struct i8042 *k = dev;
    uint8_t byte = (uint8_t)val, cmd = k->st.cmd;

    (void)off;
    (void)size;
    k->st.status &= (uint8_t)~STATUS_CMD;
    k->st.cmd = 0;
    switch (cmd) {
    case CMD_WRITE_CTR: i8042_write_ctr(k, byte); break;
    case CMD_WRITE_OUTPORT: i8042_write_outport(k, byte); break;
    case CMD_WRITE_KBD_BUF: i8042_reply(k, byte, SRC_KBD); break;
    case CMD_WRITE_AUX_BUF: i8042_reply(k, byte, SRC_AUX); break;
    case CMD_WRITE_AUX: /* nobody there to take it */
        i8042_reply(k, 0xfe, SRC_AUX_TIMEOUT);
        break;
    default:
        k->st.ctr &= (uint8_t)~CTR_KBD_OFF; /* sending turns the clock on */
        ps2_kbd_write(&k->st.kbd, byte);
        break;
    }
    i8042_refill(k);
}

static uint64_t i8042_data_read(void *dev, uint64_t off, unsigned size)
{
    struct i8042 *k = dev;
    uint8_t val = k->st.obuf; /* stays readable when there is nothing new */

    (void)off;
    (void)size;
    if (k->st.obf) {
        k->st.obf = 0;
        i8042_update_irqs(k); /* low, so that the next byte makes an edge */
        i8042_refill(k);
    }
    return val;
}

const struct bus_ops i8042_data_bus_ops = {.read = i8042_data_read,
                                           .write = i8042_data_write,
                                           .min_size = 1,
                                           .max_size = 1};
const struct bus_ops i8042_cmd_bus_ops = {.read = i8042_cmd_read,
                                          .write = i8042_cmd_write,
                                          .min_size = 1,
                                          .max_size = 1};

/* --- Port 0x92 ---------------------------------------------------------- */

static uint64_t port92_read(void *dev, uint64_t off, unsigned size)
{
    const struct i8042 *k = dev;

    (void)off;
    (void)size;
    return k->st.port92;
}

static void port92_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    struct i8042 *k = dev;
    bool pulse = (val & PORT92_RESET) && !(k->st.port92 & PORT92_RESET);

    (void)off;
    (void)size;
    k->st.port92 = (uint8_t)val;
    i8042_set_a20(k, val & PORT92_A20);
    if (pulse)
        i8042_pulse_reset(k);
}

const struct bus_ops i8042_port92_bus_ops = {
    .read = port92_read, .write = port92_write, .min_size = 1, .max_size = 1};

/* --- Keys and life ------------------------------------------------------ */

void i8042_key(struct i8042 *k, uint16_t code, bool down)
{
    lock_take(&k->lock);
    ps2_kbd_key(&k->st.kbd, code, down);
    i8042_refill(k);
    lock_drop(&k->lock);
}

void i8042_reset(struct i8042 *k)
{
    memset(&k->st, 0, sizeof(k->st));
    /* As firmware leaves it: a kernel that is booted directly finds the
     * keyboard translated and A20 open. */
    k->st.ctr = CTR_KBD_INT | CTR_AUX_INT | CTR_SYS | CTR_XLATE;
    k->st.status = STATUS_SYS;
    k->st.outport = OUTPORT_RESET;
    i8042_set_a20(k, true);
    ps2_kbd_reset(&k->st.kbd);
    i8042_update_irqs(k);
}

void i8042_init(struct i8042 *k, struct irq kbd, struct irq aux,
                void (*reset_line)(void *opaque), void *opaque)
{
    memset(k, 0, sizeof(*k));
    lock_init_ranked(&k->lock, LOCK_RANK_DEVICE);
    k->irq_kbd = kbd;
    k->irq_aux = aux;
    k->reset_line = reset_line;
    k->reset_opaque = opaque;
    i8042_reset(k);
}

void i8042_on_a20(struct i8042 *k, void (*changed)(void *opaque, bool open),
                  void *opaque)
{
    k->a20_changed = changed;
    k->a20_opaque = opaque;
}

void i8042_fini(struct i8042 *k)
{
    lock_fini(&k->lock);
}

static const struct state_field i8042_fields[] = {
    STATE_FIELD(1, STATE_U8, struct i8042_state, ctr),
    STATE_FIELD(2, STATE_U8, struct i8042_state, outport),
    STATE_FIELD(3, STATE_U8, struct i8042_state, cmd),
    STATE_FIELD(4, STATE_U8, struct i8042_state, obf),
    STATE_FIELD(5, STATE_U8, struct i8042_state, obuf),
    STATE_FIELD(6, STATE_U8, struct i8042_state, osrc),
    STATE_FIELD(7, STATE_U8, struct i8042_state, reply),
    STATE_FIELD(8, STATE_U8, struct i8042_state, reply_src),
    STATE_FIELD(9, STATE_U8, struct i8042_state, has_reply),
    STATE_FIELD(10, STATE_U8, struct i8042_state, status),
    STATE_FIELD(11, STATE_U8, struct i8042_state, port92),
    STATE_FIELD(32, STATE_BYTES, struct i8042_state, kbd.queue),
    STATE_FIELD(33, STATE_U8, struct i8042_state, kbd.head),
    STATE_FIELD(34, STATE_U8, struct i8042_state, kbd.len),
    STATE_FIELD(35, STATE_U8, struct i8042_state, kbd.cmd),
    STATE_FIELD(36, STATE_U8, struct i8042_state, kbd.scanning),
    STATE_FIELD(37, STATE_U8, struct i8042_state, kbd.set),
    STATE_FIELD(38, STATE_U8, struct i8042_state, kbd.leds),
    STATE_FIELD(39, STATE_U8, struct i8042_state, kbd.typematic),
    STATE_FIELD(40, STATE_U8, struct i8042_state, kbd.last),
};

static int i8042_check(const void *state)
{
    const struct i8042_state *st = state;

    if (st->osrc >= NR_SOURCES || st->reply_src >= NR_SOURCES ||
        st->status & ~(STATUS_SYS | STATUS_CMD))
        return -EINVAL;
    return ps2_kbd_check(&st->kbd);
}

const struct state_desc i8042_state_desc = {
    .name = "i8042",
    .version = 1,
    STATE_LAYOUT(struct i8042_state, i8042_fields),
    .check = i8042_check,
};

static void i8042_class_reset(void *dev)
{
    i8042_reset(dev);
}

static void i8042_loaded(void *dev, int64_t shift_ns)
{
    (void)shift_ns;
    i8042_update_irqs(dev);
    i8042_set_a20(dev, i8042_a20(dev));
}

const struct device_class i8042_class = {
    .state = &i8042_state_desc,
    .state_off = offsetof(struct i8042, st),
    .reset = i8042_class_reset,
    .loaded = i8042_loaded,
};
