#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "devices/pc/lapic_int.h"

/*
 * Who gets a message: inter-processor interrupts (SDM vol. 3, 11.6) and
 * message-signalled ones (11.11). No lock: what a sender reads of the other
 * APICs changes rarely and atomically.
 */

/* A destination as a sender knows it. */
struct lapic_msg {
    uint32_t dest;
    bool x2apic; /* dest has 32 bits, else 8 */
    bool logical;
    bool level;
    uint8_t mode; /* enum lapic_mode */
    uint8_t vector;
};

/* --- Destinations ------------------------------------------------------- */

static bool lapic_msg_is_broadcast(const struct lapic_msg *m)
{
    return m->dest == (m->x2apic ? 0xffffffffu : 0xffu);
}

/* Logical ids (11.6.2.2 for xAPIC, 11.12.10 for x2APIC). */
static bool lapic_matches_logical(struct lapic *l, uint32_t dest)
{
    uint32_t ldr = atomic_load_explicit(&l->st.ldr, memory_order_relaxed);

    if (lapic_is_x2apic(l))
        return dest >> 16 == ldr >> 16 && (dest & ldr & 0xffff);
    ldr >>= 24;
    if (atomic_load_explicit(&l->st.dfr, memory_order_relaxed) >> 28 == 0xf)
        return dest & ldr & 0xff; /* flat */
    return dest >> 4 == ldr >> 4 && (dest & ldr & 0xf);
}

static bool lapic_matches(struct lapic *l, const struct lapic_msg *m)
{
    if (!lapic_is_enabled(l))
        return false;
    if (lapic_msg_is_broadcast(m))
        return true;
    return m->logical ? lapic_matches_logical(l, m->dest) : m->dest == l->id;
}

/* --- Delivery ----------------------------------------------------------- */

static void lapic_deliver(struct lapic *l, const struct lapic_msg *m)
{
    switch (m->mode) {
    case LAPIC_MODE_FIXED:
    case LAPIC_MODE_LOWEST: lapic_accept(l, m->vector, m->level); break;
    case LAPIC_MODE_NMI: lapic_post(l, LAPIC_EVENT_NMI, 0); break;
    case LAPIC_MODE_INIT: lapic_post(l, LAPIC_EVENT_INIT, 0); break;
    case LAPIC_MODE_SIPI: lapic_post(l, LAPIC_EVENT_SIPI, m->vector); break;
    case LAPIC_MODE_EXTINT:
        atomic_store(&l->st.extint, 1);
        lapic_post(l, LAPIC_EVENT_INTR, 0);
        break;
    default: /* SMI: there is no SMM */
        log_guest("lapic", "message of unknown type %u", m->mode);
        break;
    }
}

/* Lowest processor priority wins; equals take turns (11.6.2.4 leaves it to
 * the platform). */
static struct lapic *lapic_bus_arbitrate(struct lapic_bus *bus,
                                         const struct lapic_msg *m)
{
    unsigned first =
        atomic_fetch_add_explicit(&bus->rotate, 1, memory_order_relaxed);
    struct lapic *best = NULL;
    uint32_t best_ppr = 0;
    unsigned i;

    for (i = 0; i < bus->nr; i++) {
        struct lapic *l = &bus->lapic[(first + i) % bus->nr];
        uint32_t ppr =
            atomic_load_explicit(&l->st.ppr, memory_order_relaxed) >> 4;

        if (!lapic_matches(l, m) ||
            !(atomic_load_explicit(&l->st.svr, memory_order_relaxed) &
              LAPIC_SVR_ENABLE))
            continue;
        if (!best || ppr < best_ppr) {
            best = l;
            best_ppr = ppr;
        }
    }
    return best;
}

static void lapic_bus_deliver(struct lapic_bus *bus, const struct lapic_msg *m)
{
    unsigned i;

    if (m->mode == LAPIC_MODE_LOWEST) {
        struct lapic *l = lapic_bus_arbitrate(bus, m);

        if (l)
            lapic_deliver(l, m);
        return;
    }
    /* The usual case by index: APIC id and index are the same. */
    if (!m->logical && !lapic_msg_is_broadcast(m)) {
        if (m->dest < bus->nr && lapic_is_enabled(&bus->lapic[m->dest]))
            lapic_deliver(&bus->lapic[m->dest], m);
        return;
    }
    for (i = 0; i < bus->nr; i++) {
        if (lapic_matches(&bus->lapic[i], m))
            lapic_deliver(&bus->lapic[i], m);
    }
}

static void lapic_bus_deliver_all(struct lapic *from, const struct lapic_msg *m,
                                  bool self)
{
    struct lapic_bus *bus = from->bus;
    unsigned i;

    for (i = 0; i < bus->nr; i++) {
        struct lapic *l = &bus->lapic[i];

        if (lapic_is_enabled(l) && (self || l != from))
            lapic_deliver(l, m);
    }
}

/* --- Senders ------------------------------------------------------------ */

enum { SHORTHAND_NONE, SHORTHAND_SELF, SHORTHAND_ALL, SHORTHAND_OTHERS };

#define ICR_LOGICAL 0x0800u
#define ICR_ASSERT  0x4000u
#define ICR_LEVEL   0x8000u

void lapic_bus_ipi(struct lapic *l, uint32_t low, uint32_t high)
{
    struct lapic_msg m = {
        .dest = high,
        .x2apic = lapic_is_x2apic(l),
        .logical = low & ICR_LOGICAL,
        .mode = (uint8_t)lapic_mode_of(low),
        .vector = (uint8_t)low,
    };
    bool fixed = m.mode == LAPIC_MODE_FIXED || m.mode == LAPIC_MODE_LOWEST;

    /* The INIT level de-assert only set arbitration ids (11.6.1). */
    if (m.mode == LAPIC_MODE_INIT && (low & ICR_LEVEL) && !(low & ICR_ASSERT))
        return;
    if (fixed && m.vector < 16) {
        lapic_error(l, LAPIC_ESR_SEND_ILLEGAL);
        return;
    }
    switch ((low >> 18) & 3) {
    case SHORTHAND_SELF: /* for fixed interrupts alone (table 11-3) */
        if (fixed)
            lapic_accept(l, m.vector, false);
        break;
    case SHORTHAND_ALL: lapic_bus_deliver_all(l, &m, true); break;
    case SHORTHAND_OTHERS: lapic_bus_deliver_all(l, &m, false); break;
    default: lapic_bus_deliver(l->bus, &m); break;
    }
}

#define MSI_ADDR_MASK    0xfffffffffff00000ull
#define MSI_ADDR         0xfee00000u
#define MSI_ADDR_LOGICAL 0x4u
#define MSI_ADDR_HINT    0x8u

void lapic_bus_deliver_msi(void *opaque, uint64_t addr, uint32_t data)
{
    struct lapic_bus *bus = opaque;
    struct lapic_msg m = {
        .dest = (addr >> 12) & 0xff,
        .logical = addr & MSI_ADDR_LOGICAL,
        .level = data & ICR_LEVEL,
        .mode = (uint8_t)lapic_mode_of(data),
        .vector = (uint8_t)data,
    };

    if ((addr & MSI_ADDR_MASK) != MSI_ADDR) {
        log_guest("lapic", "message to 0x%llx, which is no APIC",
                  (unsigned long long)addr);
        return;
    }
    if (m.mode == LAPIC_MODE_SIPI || m.mode == LAPIC_MODE_RESERVED)
        return; /* not for devices (table in 11.11.2) */
    lapic_bus_deliver(bus, &m);
}

/* --- Wires -------------------------------------------------------------- */

static void lapic_bus_set_lint0(void *opaque, unsigned n, bool level)
{
    struct lapic_bus *bus = opaque;
    unsigned i;

    (void)n;
    if (atomic_exchange(&bus->lint0, level) == level)
        return;
    for (i = 0; i < bus->nr; i++)
        lapic_lint_changed(&bus->lapic[i], LAPIC_LVT_LINT0, level);
}

static void lapic_bus_set_lint1(void *opaque, unsigned n, bool level)
{
    struct lapic_bus *bus = opaque;
    unsigned i;

    (void)n;
    if (atomic_exchange(&bus->lint1, level) == level)
        return;
    for (i = 0; i < bus->nr; i++)
        lapic_lint_changed(&bus->lapic[i], LAPIC_LVT_LINT1, level);
}

struct irq lapic_bus_lint0(struct lapic_bus *bus)
{
    return (struct irq){lapic_bus_set_lint0, bus, 0};
}

struct irq lapic_bus_lint1(struct lapic_bus *bus)
{
    return (struct irq){lapic_bus_set_lint1, bus, 1};
}

/* --- Life --------------------------------------------------------------- */

int lapic_bus_init(struct lapic_bus *bus, unsigned nr,
                   const struct lapic_ops *ops, struct loop *loop,
                   struct gmem *gmem)
{
    unsigned i;

    if (nr == 0 || nr > 255)
        return -EINVAL;
    memset(bus, 0, sizeof(*bus));
    bus->lapic =
        aligned_alloc(_Alignof(struct lapic), nr * sizeof(struct lapic));
    if (!bus->lapic)
        return -ENOMEM;
    memset(bus->lapic, 0, nr * sizeof(struct lapic));
    bus->nr = nr;
    bus->ops = *ops;
    bus->gmem = gmem;
    for (i = 0; i < nr; i++) {
        struct lapic *l = &bus->lapic[i];

        l->bus = bus;
        l->id = i;
        lapic_timer_init(l, loop);
        lapic_reset(l, false);
    }
    return 0;
}

void lapic_bus_fini(struct lapic_bus *bus)
{
    unsigned i;

    for (i = 0; i < bus->nr; i++)
        lapic_timer_fini(&bus->lapic[i]);
    free(bus->lapic);
    bus->lapic = NULL;
    bus->nr = 0;
}
