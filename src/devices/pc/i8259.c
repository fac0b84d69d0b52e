#include "devices/pc/i8259.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

/*
 * The pair of 8259A interrupt controllers (8259A data sheet; section
 * names below are its). Left out: 8080 mode, buffered mode, and the cascade
 * addresses of ICW3, which the board fixes: the slave is on input 2.
 *
 * st.lines follows the wires. An edge sets IRR and stays until it is
 * acknowledged or the line goes low; a level-triggered input asks as long as
 * its line is high.
 */
enum { CASCADE = 2, MASTER = 0, SLAVE = 1, SPURIOUS = 7 };

#define ICW1        0x10u
#define ICW1_ICW4   0x01u
#define ICW1_SINGLE 0x02u
#define ICW4_AEOI   0x02u
#define ICW4_NESTED 0x10u
#define OCW3        0x08u
#define OCW3_READ   0x02u
#define OCW3_POLL   0x04u
#define OCW3_ESMM   0x40u

/* --- Priorities --------------------------------------------------------- */

/* Inputs that ask: a level-triggered one by its line, others by their edge. */
static uint8_t chip_requests(const struct i8259_chip *c)
{
    return (uint8_t)((c->irr & ~c->elcr) | (c->lines & c->elcr));
}

/* The set bit with the highest priority, or 8. The one after lowest wins
 * (rotation). */
static unsigned chip_first(const struct i8259_chip *c, uint8_t bits)
{
    unsigned i;

    for (i = 1; i <= 8; i++) {
        unsigned n = (c->lowest + i) & 7;

        if (bits & (1u << n))
            return n;
    }
    return 8;
}

/* Distance from the top: 0 is the highest priority, 8 none. */
static unsigned chip_rank(const struct i8259_chip *c, unsigned n)
{
    return n == 8 ? 8 : (n - c->lowest - 1) & 7;
}

/* The input that INT stands for, or -1. */
static int chip_pending(const struct i8259_chip *c, bool master)
{
    uint8_t isr = c->isr;
    unsigned n = chip_first(c, chip_requests(c) & (uint8_t)~c->imr);

    /* Special mask mode: a masked input in service blocks nobody. */
    if (c->special)
        isr &= (uint8_t)~c->imr;
    /* Special fully nested mode: further requests of the slave get through
     * while one of its interrupts is in service. */
    if (c->nested && master)
        isr &= (uint8_t) ~(1u << CASCADE);
    return n < 8 && chip_rank(c, n) < chip_rank(c, chip_first(c, isr)) ? (int)n
                                                                       : -1;
}

/* Let the slave's output, then the master's, follow their state. */
static void i8259_update(struct i8259 *pic)
{
    struct i8259_chip *m = &pic->st.chip[MASTER];
    uint8_t bit = 1u << CASCADE;

    if (chip_pending(&pic->st.chip[SLAVE], false) >= 0) {
        if (!(m->lines & bit))
            m->irr |= bit;
        m->lines |= bit;
    } else {
        m->irr &= (uint8_t)~bit;
        m->lines &= (uint8_t)~bit;
    }
    irq_set(&pic->out, chip_pending(m, true) >= 0);
}

static void i8259_set(void *opaque, unsigned n, bool level)
{
    struct i8259 *pic = opaque;
    struct i8259_chip *c = &pic->st.chip[n >> 3];
    uint8_t bit = (uint8_t)(1u << (n & 7));

    lock_take(&pic->lock);
    if (level != !!(c->lines & bit)) {
        if (level) {
            c->lines |= bit;
            c->irr |= bit;
        } else {
            c->lines &= (uint8_t)~bit;
            c->irr &= (uint8_t)~bit;
        }
        i8259_update(pic);
    }
    lock_drop(&pic->lock);
}

struct irq i8259_irq(struct i8259 *pic, unsigned n)
{
    return (struct irq){i8259_set, pic, n & 15};
}

/* --- Acknowledge and end ------------------------------------------------ */

static void chip_end(struct i8259_chip *c, unsigned n, bool rotate)
{
    if (n > 7)
        return;
    c->isr &= (uint8_t) ~(1u << n);
    if (rotate)
        c->lowest = (uint8_t)n;
}

/* An INTA cycle for input n, which asks. */
static void chip_accept(struct i8259_chip *c, unsigned n)
{
    c->irr &= (uint8_t) ~(1u << n);
    c->isr |= (uint8_t)(1u << n);
    if (c->auto_eoi)
        chip_end(c, n, c->rotate_aeoi);
}

/* Input of one chip for an INTA or a poll; spurious if none asks. */
static unsigned chip_ack(struct i8259_chip *c, bool master)
{
    int n = chip_pending(c, master);

    if (n < 0)
        return SPURIOUS; /* "DEFAULT IR7": ISR stays as it is */
    chip_accept(c, (unsigned)n);
    return (unsigned)n;
}

int i8259_ack(void *opaque)
{
    struct i8259 *pic = opaque;
    struct i8259_chip *m = &pic->st.chip[MASTER], *s = &pic->st.chip[SLAVE];
    unsigned n;
    int vector;

    lock_take(&pic->lock);
    n = chip_ack(m, true);
    vector = (int)(m->base + n);
    if (n == CASCADE)
        vector = (int)(s->base + chip_ack(s, false));
    i8259_update(pic);
    lock_drop(&pic->lock);
    return vector;
}

int i8259_peek(void *opaque)
{
    struct i8259 *pic = opaque;
    int n, vector;

    lock_take(&pic->lock);
    n = chip_pending(&pic->st.chip[MASTER], true);
    vector = pic->st.chip[MASTER].base + (n < 0 ? SPURIOUS : n);
    if (n == CASCADE) {
        n = chip_pending(&pic->st.chip[SLAVE], false);
        vector = pic->st.chip[SLAVE].base + (n < 0 ? SPURIOUS : n);
    }
    lock_drop(&pic->lock);
    return vector;
}

/* --- Ports -------------------------------------------------------------- */

/* ICW1 clears all but the wires and the base. */
static void chip_start_init(struct i8259_chip *c, uint8_t val)
{
    uint8_t base = c->base, lines = c->lines, elcr = c->elcr;

    memset(c, 0, sizeof(*c));
    c->base = base;
    c->lines = lines; /* a new edge is needed to be seen (ICW1, a.) */
    c->elcr = elcr;
    c->lowest = 7;
    c->icw = 2;
    c->icw4 = val & ICW1_ICW4;
    c->single = !!(val & ICW1_SINGLE);
}

static void chip_ocw2(struct i8259_chip *c, uint8_t val)
{
    unsigned level = val & 7;
    unsigned top = chip_first(c, c->isr);

    switch (val >> 5) {
    case 0: c->rotate_aeoi = 0; break;
    case 1: chip_end(c, top, false); break;
    case 3: chip_end(c, level, false); break;
    case 4: c->rotate_aeoi = 1; break;
    case 5: chip_end(c, top, true); break;
    case 6: c->lowest = (uint8_t)level; break;
    case 7: chip_end(c, level, true); break;
    default: break;
    }
}

static void chip_ocw3(struct i8259_chip *c, uint8_t val)
{
    if (val & OCW3_READ)
        c->read_isr = val & 1;
    if (val & OCW3_POLL)
        c->poll = 1;
    if (val & OCW3_ESMM)
        c->special = (val >> 5) & 1;
}

static void chip_write_data(struct i8259_chip *c, uint8_t val)
{
    switch (c->icw) {
    case 2:
        c->base = val & 0xf8;
        c->icw = !c->single ? 3 : c->icw4 ? 4 : 0;
        break;
    case 3: c->icw = c->icw4 ? 4 : 0; break;
    case 4:
        c->auto_eoi = !!(val & ICW4_AEOI);
        c->nested = !!(val & ICW4_NESTED);
        c->icw = 0;
        break;
    default: c->imr = val; break;
    }
}

static void i8259_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    const struct i8259_port *port = dev;
    struct i8259_chip *c = &port->pic->st.chip[port->chip];
    uint8_t byte = (uint8_t)val;

    (void)size;
    if (off & 1)
        chip_write_data(c, byte);
    else if (byte & ICW1)
        chip_start_init(c, byte);
    else if (byte & OCW3)
        chip_ocw3(c, byte);
    else
        chip_ocw2(c, byte);
    i8259_update(port->pic);
}

static uint64_t i8259_read(void *dev, uint64_t off, unsigned size)
{
    const struct i8259_port *port = dev;
    struct i8259_chip *c = &port->pic->st.chip[port->chip];
    uint64_t val;

    (void)size;
    if (c->poll) { /* a poll is an INTA cycle ("POLL COMMAND") */
        int n = chip_pending(c, port->chip == MASTER);

        c->poll = 0;
        if (n < 0)
            return 0;
        chip_accept(c, (unsigned)n);
        val = 0x80u | (unsigned)n;
        i8259_update(port->pic);
        return val;
    }
    if (off & 1)
        return c->imr;
    return c->read_isr ? c->isr : chip_requests(c);
}

const struct bus_ops i8259_bus_ops = {
    .read = i8259_read, .write = i8259_write, .min_size = 1, .max_size = 1};

/* Timer, keyboard, cascade, RTC and FPU inputs are always edge-triggered. */
static const uint8_t elcr_mask[2] = {0xf8, 0xde};

static uint64_t elcr_read(void *dev, uint64_t off, unsigned size)
{
    const struct i8259 *pic = dev;

    (void)size;
    return pic->st.chip[off & 1].elcr;
}

static void elcr_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    struct i8259 *pic = dev;

    (void)size;
    pic->st.chip[off & 1].elcr = (uint8_t)val & elcr_mask[off & 1];
    i8259_update(pic);
}

const struct bus_ops i8259_elcr_bus_ops = {
    .read = elcr_read, .write = elcr_write, .min_size = 1, .max_size = 1};

/* --- Life --------------------------------------------------------------- */

void i8259_reset(struct i8259 *pic)
{
    unsigned i;

    for (i = 0; i < 2; i++) {
        struct i8259_chip *c = &pic->st.chip[i];
        uint8_t lines = c->lines;

        memset(c, 0, sizeof(*c));
        /* Firmware's choice of vectors; the chip itself has none yet. */
        c->base = i == MASTER ? 0x08 : 0x70;
        c->lowest = 7;
        c->lines = lines;
    }
    i8259_update(pic);
}

void i8259_init(struct i8259 *pic, struct irq out)
{
    unsigned i;

    memset(pic, 0, sizeof(*pic));
    lock_init_ranked(&pic->lock, LOCK_RANK_IRQCHIP);
    pic->out = out;
    for (i = 0; i < 2; i++)
        pic->port[i] = (struct i8259_port){pic, i};
    i8259_reset(pic);
}

void i8259_fini(struct i8259 *pic)
{
    lock_fini(&pic->lock);
}

/* Both chips in one table: ids 1.. are the master's, 33.. the slave's. */
#define CHIP_FIELDS(first, i)                                                  \
    STATE_FIELD((first) + 0, STATE_U8, struct i8259_state, chip[i].irr),       \
        STATE_FIELD((first) + 1, STATE_U8, struct i8259_state, chip[i].imr),   \
        STATE_FIELD((first) + 2, STATE_U8, struct i8259_state, chip[i].isr),   \
        STATE_FIELD((first) + 3, STATE_U8, struct i8259_state, chip[i].lines), \
        STATE_FIELD((first) + 4, STATE_U8, struct i8259_state, chip[i].elcr),  \
        STATE_FIELD((first) + 5, STATE_U8, struct i8259_state, chip[i].base),  \
        STATE_FIELD((first) + 6, STATE_U8, struct i8259_state,                 \
                    chip[i].lowest),                                           \
        STATE_FIELD((first) + 7, STATE_U8, struct i8259_state, chip[i].icw),   \
        STATE_FIELD((first) + 8, STATE_U8, struct i8259_state, chip[i].icw4),  \
        STATE_FIELD((first) + 9, STATE_U8, struct i8259_state,                 \
                    chip[i].single),                                           \
        STATE_FIELD((first) + 10, STATE_U8, struct i8259_state,                \
                    chip[i].auto_eoi),                                         \
        STATE_FIELD((first) + 11, STATE_U8, struct i8259_state,                \
                    chip[i].rotate_aeoi),                                      \
        STATE_FIELD((first) + 12, STATE_U8, struct i8259_state,                \
                    chip[i].nested),                                           \
        STATE_FIELD((first) + 13, STATE_U8, struct i8259_state,                \
                    chip[i].special),                                          \
        STATE_FIELD((first) + 14, STATE_U8, struct i8259_state,                \
                    chip[i].read_isr),                                         \
        STATE_FIELD((first) + 15, STATE_U8, struct i8259_state, chip[i].poll)

static const struct state_field i8259_fields[] = {
    CHIP_FIELDS(1, 0),
    CHIP_FIELDS(33, 1),
};

static int i8259_check(const void *state)
{
    const struct i8259_state *st = state;
    unsigned i;

    for (i = 0; i < 2; i++) {
        const struct i8259_chip *c = &st->chip[i];

        if (c->lowest > 7 || c->icw > 4 || c->icw == 1 || c->base & 7 ||
            c->elcr & ~elcr_mask[i])
            return -EINVAL;
    }
    return 0;
}

const struct state_desc i8259_state_desc = {
    .name = "i8259",
    .version = 1,
    STATE_LAYOUT(struct i8259_state, i8259_fields),
    .check = i8259_check,
};

static void i8259_class_reset(void *dev)
{
    i8259_reset(dev);
}

static void i8259_loaded(void *dev, int64_t shift_ns)
{
    (void)shift_ns;
    i8259_update(dev);
}

const struct device_class i8259_class = {
    .state = &i8259_state_desc,
    .state_off = offsetof(struct i8259, st),
    .reset = i8259_class_reset,
    .loaded = i8259_loaded,
};
