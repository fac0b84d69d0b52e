#include <assert.h>
#include <errno.h>
#include <string.h>

#include "devices/pci/dev.h"

/*
 * Configuration mechanism 1 and the board's interrupt wires. A function's
 * INTx pin drives one of four links; a link is raised while any function
 * drives it, and arrives at an I/O APIC input and at the ISA IRQ that the
 * router of the ISA bridge names.
 */

enum {
    PORT_BASE = 0xcf8, /* CONFADD at 0xcf8, CONFDATA at 0xcfc */
    PORT_SIZE = 8,
    DATA_OFF = 4,
    CF9_OFF = 1
};

#define ADDRESS_ENABLE 0x80000000u
#define ADDRESS_MASK   0x80fffffcu

#define ROUTE_OFF 0x80u
/* 82371SB, 2.3.5: 0, 1, 2, 8 and 13 are reserved. */
#define ROUTE_VALID 0xdef8u

static const struct state_field pci_host_fields[] = {
    STATE_FIELD(1, STATE_U32, struct pci_host_state, address),
};

static int pci_host_check(const void *state)
{
    const struct pci_host_state *st = state;

    return st->address & ~ADDRESS_MASK ? -EINVAL : 0;
}

const struct state_desc pci_host_state_desc = {
    .name = "pci-host",
    .version = 1,
    STATE_LAYOUT(struct pci_host_state, pci_host_fields),
    .check = pci_host_check,
};

static void host_reset(void *dev)
{
    pci_host_reset(dev);
}

const struct device_class pci_host_class = {
    .state = &pci_host_state_desc,
    .state_off = offsetof(struct pci_host, st),
    .reset = host_reset,
};

/* -- Ports --- */

/* The function that CONFADD selects, or NULL. */
static struct pci_dev *selected(const struct pci_host *h)
{
    uint32_t addr = h->st.address;
    struct pci_dev *d;

    if (!(addr & ADDRESS_ENABLE) || (addr >> 16 & 0xff) != 0)
        return NULL;
    d = h->dev[addr >> 11 & (PCI_NR_SLOTS - 1)]
              [addr >> 8 & (PCI_NR_FUNCTIONS - 1)];
    return d && !d->absent ? d : NULL;
}

static uint64_t ones(unsigned size)
{
    return UINT64_MAX >> (64 - 8 * size);
}

static uint64_t port_read(void *dev, uint64_t off, unsigned size)
{
    struct pci_host *h = dev;
    struct pci_dev *d;
    uint64_t val = ones(size);

    if (off == 0 && size == 4)
        return h->st.address;
    if (off == CF9_OFF && size == 1 && h->cfg.cf9_ops)
        return h->cfg.cf9_ops->read(h->cfg.cf9_dev, 0, 1);
    if (off < DATA_OFF || off + size > PORT_SIZE)
        return val;
    d = selected(h);
    if (d)
        val = pci_dev_config_read(
            d, (h->st.address & 0xfc) + (unsigned)(off - DATA_OFF), size);
    return val;
}

static void port_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    struct pci_host *h = dev;
    struct pci_dev *d;

    if (off == 0 && size == 4) {
        h->st.address = (uint32_t)val & ADDRESS_MASK;
    } else if (off == CF9_OFF && size == 1 && h->cfg.cf9_ops) {
        h->cfg.cf9_ops->write(h->cfg.cf9_dev, 0, 1, val);
    } else if (off >= DATA_OFF && off + size <= PORT_SIZE) {
        d = selected(h);
        if (d)
            pci_dev_config_write(
                d, (h->st.address & 0xfc) + (unsigned)(off - DATA_OFF), size,
                (uint32_t)val);
    }
}

static const struct bus_ops port_ops = {
    .read = port_read, .write = port_write, .min_size = 1, .max_size = 4};

/* -- Wires --- */

static void update_isa_locked(struct pci_host *h)
{
    uint16_t level = 0;
    uint16_t changed;

    for (unsigned link = 0; link < PCI_NR_LINKS; link++)
        if (h->link_raised[link] && !(h->link_isa[link] & ROUTE_OFF))
            level |= (uint16_t)(1u << (h->link_isa[link] & 15));
    level &= ROUTE_VALID;
    changed = level ^ h->isa_level;
    h->isa_level = level;
    for (unsigned irq = 0; irq < PCI_NR_ISA_IRQS; irq++)
        if (changed >> irq & 1)
            irq_set(&h->cfg.isa[irq], level >> irq & 1);
}

static void update_wire_locked(struct pci_dev *d)
{
    struct pci_host *h = d->host;
    bool driven = d->st.intx && !d->intx_off && d->initial[PCI_INT_PIN];
    unsigned link;

    if (driven == d->intx_driven)
        return;
    d->intx_driven = driven;
    link = pci_link(d->slot, d->initial[PCI_INT_PIN] - 1u);
    if (driven ? h->link_raised[link]++ : --h->link_raised[link])
        return; /* another function keeps it up */
    irq_set(&h->cfg.gsi[link], driven);
    update_isa_locked(h);
}

void pci_intx_set(struct pci_dev *d, bool level)
{
    assert(d->host);
    lock_take(&d->host->irq_lock);
    d->st.intx = level;
    update_wire_locked(d);
    lock_drop(&d->host->irq_lock);
}

void pci_intx_gate(struct pci_dev *d, bool off)
{
    lock_take(&d->host->irq_lock);
    d->intx_off = off;
    update_wire_locked(d);
    lock_drop(&d->host->irq_lock);
}

void pci_host_route(struct pci_host *h, unsigned link, uint8_t reg)
{
    assert(link < PCI_NR_LINKS);
    lock_take(&h->irq_lock);
    h->link_isa[link] = reg;
    update_isa_locked(h);
    lock_drop(&h->irq_lock);
}

/* -- Set-up --- */

int pci_host_init(struct pci_host *h, const struct pci_host_config *cfg,
                  struct err *err)
{
    int rc;

    memset(h, 0, sizeof(*h));
    h->cfg = *cfg;
    for (unsigned link = 0; link < PCI_NR_LINKS; link++)
        h->link_isa[link] = ROUTE_OFF;
    lock_init_ranked(&h->lock, LOCK_RANK_PCI);
    lock_init(&h->irq_lock);
    rc = bus_map(cfg->pio, PORT_BASE, PORT_SIZE, &port_ops, h, &h->lock);
    if (rc < 0) {
        lock_fini(&h->irq_lock);
        lock_fini(&h->lock);
        return err_set(err, rc, "map the PCI configuration ports: error %d",
                       -rc);
    }
    return 0;
}

static void for_each_dev(struct pci_host *h, void (*fn)(struct pci_dev *d))
{
    for (unsigned slot = 0; slot < PCI_NR_SLOTS; slot++)
        for (unsigned i = 0; i < PCI_NR_FUNCTIONS; i++)
            if (h->dev[slot][i])
                fn(h->dev[slot][i]);
}

void pci_host_fini(struct pci_host *h)
{
    bus_unmap(h->cfg.pio, PORT_BASE);
    for_each_dev(h, pci_dev_unmap);
    lock_fini(&h->irq_lock);
    lock_fini(&h->lock);
}

void pci_host_reset(struct pci_host *h)
{
    lock_take(&h->lock);
    h->st.address = 0;
    for_each_dev(h, pci_dev_reset);
    lock_drop(&h->lock);
}

int pci_host_add(struct pci_host *h, struct pci_dev *d, unsigned slot,
                 unsigned function, struct err *err)
{
    struct pci_dev *first;

    assert(slot < PCI_NR_SLOTS && function < PCI_NR_FUNCTIONS);
    assert(!d->host);
    if (h->dev[slot][function])
        return err_set(err, -EEXIST, "add %s to PCI slot %u.%u: taken", d->name,
                       slot, function);
    first = h->dev[slot][0];
    assert(first || function == 0); /* guests look at function 0 first */
    if (first && function) {
        first->initial[PCI_HEADER_TYPE] |= PCI_HEADER_MULTI;
        first->st.config[PCI_HEADER_TYPE] |= PCI_HEADER_MULTI;
    }
    d->host = h;
    d->slot = slot;
    d->function = function;
    h->dev[slot][function] = d;
    lock_take(&h->lock);
    pci_dev_reset(d);
    lock_drop(&h->lock);
    return 0;
}
