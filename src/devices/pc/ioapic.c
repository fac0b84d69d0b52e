#include "devices/pc/ioapic.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/bits.h"

/*
 * I/O APIC (82093AA data sheet, 3.0). Each change ends in
 * ioapic_service, which sends what may be sent:
 *
 *   edge   st.irr holds a rising edge until it is sent; an edge that arrives
 *          while the pin is masked is lost, as on the chip
 *   level  st.irr follows the wire; sent while Remote IRR is clear, and again
 *          after the EOI while the wire is still high
 */

enum { REG_ID = 0, REG_VERSION = 1, REG_ARBITRATION = 2, REG_REDIR = 0x10 };
enum { OFF_INDEX = 0x00, OFF_DATA = 0x10, OFF_EOI = 0x40 };

#define REDIR_VECTOR     0xffu
#define REDIR_MODE(e)    (((e) >> 8) & 7)
#define REDIR_LOGICAL    BIT64(11)
#define REDIR_STATUS     BIT64(12)
#define REDIR_REMOTE_IRR BIT64(14)
#define REDIR_LEVEL      BIT64(15)
#define REDIR_MASKED     BIT64(16)
#define REDIR_RO         (REDIR_STATUS | REDIR_REMOTE_IRR)
/* Destination, mask and bits 0..15. */
#define REDIR_WMASK 0xff0000000001ffffull

enum { MODE_FIXED = 0, MODE_LOWEST = 1 };

/* A pin's entry as a message (SDM vol. 3, 11.11). */
static void ioapic_send(const struct ioapic *io, uint64_t entry)
{
    uint64_t addr = 0xfee00000u | (entry >> 56) << 12;
    uint32_t data = (uint32_t)(entry & 0x7ff); /* vector, delivery mode */

    if (entry & REDIR_LOGICAL)
        addr |= 1u << 2;
    if (REDIR_MODE(entry) == MODE_LOWEST)
        addr |= 1u << 3;
    data |= 1u << 14; /* assert */
    if (entry & REDIR_LEVEL)
        data |= 1u << 15;
    msi_send(&io->sink, addr, data);
}

static void ioapic_service(struct ioapic *io, unsigned pin)
{
    uint64_t *entry = &io->st.redir[pin];

    if (!(io->st.irr & BIT32(pin)) || (*entry & REDIR_MASKED))
        return;
    if (!(*entry & REDIR_LEVEL)) {
        io->st.irr &= ~BIT32(pin);
        ioapic_send(io, *entry);
        return;
    }
    if (*entry & REDIR_REMOTE_IRR)
        return;
    /* Only these modes are answered by an EOI. */
    if (REDIR_MODE(*entry) <= MODE_LOWEST)
        *entry |= REDIR_REMOTE_IRR;
    ioapic_send(io, *entry & ~REDIR_REMOTE_IRR);
}

static void ioapic_set(void *opaque, unsigned pin, bool level)
{
    struct ioapic *io = opaque;
    uint32_t bit = BIT32(pin);
    uint64_t entry;

    lock_take(&io->lock);
    entry = io->st.redir[pin];
    if (level != !!(io->st.lines & bit)) {
        io->st.lines ^= bit;
        if (!level)
            io->st.irr &= (entry & REDIR_LEVEL) ? ~bit : ~0u;
        else if ((entry & REDIR_LEVEL) || !(entry & REDIR_MASKED))
            io->st.irr |= bit;
        ioapic_service(io, pin);
    }
    lock_drop(&io->lock);
}

struct irq ioapic_irq(struct ioapic *io, unsigned pin)
{
    return (struct irq){ioapic_set, io, pin < IOAPIC_PINS ? pin : 0};
}

static void ioapic_eoi_locked(struct ioapic *io, uint8_t vector)
    REQUIRES(io->lock)
{
    unsigned pin;

    for (pin = 0; pin < IOAPIC_PINS; pin++) {
        uint64_t entry = io->st.redir[pin];

        if ((entry & REDIR_VECTOR) != vector || !(entry & REDIR_REMOTE_IRR))
            continue;
        io->st.redir[pin] = entry & ~REDIR_REMOTE_IRR;
        ioapic_service(io, pin);
    }
}

void ioapic_eoi(void *opaque, uint8_t vector)
{
    struct ioapic *io = opaque;

    lock_take(&io->lock);
    ioapic_eoi_locked(io, vector);
    lock_drop(&io->lock);
}

/* --- Registers ---------------------------------------------------------- */

static void ioapic_write_redir(struct ioapic *io, unsigned reg, uint32_t val)
{
    unsigned pin = (reg - REG_REDIR) / 2;
    unsigned shift = reg & 1 ? 32 : 0;
    uint64_t wmask = REDIR_WMASK & ~REDIR_RO & (0xffffffffull << shift);
    uint64_t old = io->st.redir[pin];
    uint64_t entry = (old & ~wmask) | (((uint64_t)val << shift) & wmask);
    uint32_t bit = BIT32(pin);

    if (!(entry & REDIR_LEVEL)) {
        /* An edge pin waits for no EOI: guests without a use for the EOI
         * register clear Remote IRR this way. */
        entry &= ~REDIR_REMOTE_IRR;
        if (old & REDIR_LEVEL)
            io->st.irr &= ~bit;
    } else if (io->st.lines & bit) {
        io->st.irr |= bit;
    } else {
        io->st.irr &= ~bit;
    }
    io->st.redir[pin] = entry;
    ioapic_service(io, pin);
}

static uint32_t ioapic_read_reg(const struct ioapic *io)
{
    unsigned reg = io->st.index;

    switch (reg) {
    case REG_ID:
    case REG_ARBITRATION: return (uint32_t)io->st.id << 24;
    case REG_VERSION: return IOAPIC_VERSION | (IOAPIC_PINS - 1) << 16;
    default:
        if (reg < REG_REDIR || reg >= REG_REDIR + 2 * IOAPIC_PINS)
            return 0;
        return (uint32_t)(io->st.redir[(reg - REG_REDIR) / 2] >>
                          (reg & 1 ? 32 : 0));
    }
}

static uint64_t ioapic_read(void *dev, uint64_t off, unsigned size)
{
    const struct ioapic *io = dev;

    (void)size;
    switch (off & 0xff) {
    case OFF_INDEX: return io->st.index;
    case OFF_DATA: return ioapic_read_reg(io);
    default: return 0;
    }
}

/* The bus holds the lock. */
static void ioapic_write(void *dev, uint64_t off, unsigned size,
                         uint64_t val) NO_TSA
{
    struct ioapic *io = dev;
    unsigned reg = io->st.index;

    (void)size;
    switch (off & 0xff) {
    case OFF_INDEX: io->st.index = (uint8_t)val; break;
    case OFF_DATA:
        if (reg == REG_ID)
            io->st.id = (val >> 24) & 0xf;
        else if (reg >= REG_REDIR && reg < REG_REDIR + 2 * IOAPIC_PINS)
            ioapic_write_redir(io, reg, (uint32_t)val);
        break;
    case OFF_EOI: ioapic_eoi_locked(io, (uint8_t)val); break;
    default: break;
    }
}

const struct bus_ops ioapic_bus_ops = {
    .read = ioapic_read, .write = ioapic_write, .min_size = 4, .max_size = 4};

/* --- Life --------------------------------------------------------------- */

void ioapic_reset(struct ioapic *io)
{
    unsigned i;

    for (i = 0; i < IOAPIC_PINS; i++)
        io->st.redir[i] = REDIR_MASKED;
    io->st.irr = 0;
    io->st.index = 0;
    io->st.id = 0;
}

void ioapic_init(struct ioapic *io, const struct msi_sink *sink)
{
    memset(io, 0, sizeof(*io));
    lock_init_ranked(&io->lock, LOCK_RANK_IRQCHIP);
    io->sink = *sink;
    ioapic_reset(io);
}

void ioapic_fini(struct ioapic *io)
{
    lock_fini(&io->lock);
}

static const struct state_field ioapic_fields[] = {
    STATE_FIELD(1, STATE_U64, struct ioapic_state, redir),
    STATE_FIELD(2, STATE_U32, struct ioapic_state, lines),
    STATE_FIELD(3, STATE_U32, struct ioapic_state, irr),
    STATE_FIELD(4, STATE_U8, struct ioapic_state, index),
    STATE_FIELD(5, STATE_U8, struct ioapic_state, id),
};

static int ioapic_check(const void *state)
{
    const struct ioapic_state *st = state;
    unsigned i;

    if (st->id > 0xf || st->irr >> IOAPIC_PINS || st->lines >> IOAPIC_PINS)
        return -EINVAL;
    for (i = 0; i < IOAPIC_PINS; i++) {
        if (st->redir[i] & ~REDIR_WMASK)
            return -EINVAL;
    }
    return 0;
}

const struct state_desc ioapic_state_desc = {
    .name = "ioapic",
    .version = 1,
    STATE_LAYOUT(struct ioapic_state, ioapic_fields),
    .check = ioapic_check,
};

static void ioapic_class_reset(void *dev)
{
    ioapic_reset(dev);
}

const struct device_class ioapic_class = {
    .state = &ioapic_state_desc,
    .state_off = offsetof(struct ioapic, st),
    .reset = ioapic_class_reset,
};
