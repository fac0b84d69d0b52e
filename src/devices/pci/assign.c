#include <errno.h>

#include "base/bits.h"
#include "base/checked.h"
#include "devices/pci/dev.h"

/*
 * Resources, as PC firmware hands them out before a kernel starts: largest
 * BARs first, so that alignment wastes nothing.
 */

enum {
    ELCR2 = 0x4d1,     /* edge/level control of IRQ 8..15 (82371SB, 2.5.7) */
    PIRQRC = 0x60,     /* in the router's configuration space */
    MAX_BAR_SHIFT = 31 /* larger BARs cannot lie in the 32-bit window */
};

static const uint8_t link_irq[PCI_NR_LINKS] = {10, 10, 11, 11};

struct cursor {
    uint64_t io, mem; /* next free address */
};

/* Take size bytes from w at *next, or return 0. */
static uint64_t take(const struct pci_window *w, uint64_t *next, uint64_t size)
{
    uint64_t base = align_down(*next + size - 1, size);

    if (base < *next || !range_ok(base - w->base, size, w->size))
        return 0;
    *next = base + size;
    return base;
}

static int place_bar(struct pci_dev *d, unsigned index, struct cursor *cur,
                     struct err *err)
{
    const struct pci_host_config *cfg = &d->host->cfg;
    const struct pci_bar *bar = &d->bar[index];
    unsigned off = PCI_BAR0 + 4 * index;
    uint64_t addr;

    if (bar->kind == PCI_BAR_PIO)
        addr = take(&cfg->io, &cur->io, bar->size);
    else
        addr = take(&cfg->mem32, &cur->mem, bar->size);
    if (!addr)
        return err_set(err, -ENOSPC, "place BAR %u of %s: window is full",
                       index, d->name);
    pci_dev_config_write(d, off, 4, (uint32_t)addr);
    if (bar->kind == PCI_BAR_MEM64)
        pci_dev_config_write(d, off + 4, 4, (uint32_t)(addr >> 32));
    return 0;
}

static int place_bars(struct pci_dev *d, uint64_t size, struct cursor *cur,
                      struct err *err)
{
    int rc = 0;

    for (unsigned i = 0; i < PCI_NR_BARS && rc == 0; i++)
        if (d->bar[i].kind != PCI_BAR_NONE && d->bar[i].size == size)
            rc = place_bar(d, i, cur, err);
    return rc;
}

static void enable(struct pci_dev *d)
{
    uint32_t command = pci_dev_config_read(d, PCI_COMMAND, 2);
    unsigned pin = d->st.config[PCI_INT_PIN];

    for (unsigned i = 0; i < PCI_NR_BARS; i++) {
        if (d->bar[i].kind == PCI_BAR_PIO)
            command |= PCI_COMMAND_IO;
        else if (d->bar[i].kind != PCI_BAR_NONE)
            command |= PCI_COMMAND_MEMORY;
    }
    if (pin)
        pci_dev_config_write(d, PCI_INT_LINE, 1,
                             link_irq[pci_link(d->slot, pin - 1)]);
    pci_dev_config_write(d, PCI_COMMAND, 2, command);
}

static void route_links(struct pci_host *h)
{
    uint64_t elcr = bus_read(h->cfg.pio, ELCR2, 1);

    for (unsigned link = 0; link < PCI_NR_LINKS; link++) {
        elcr |= 1u << (link_irq[link] - 8);
        if (h->router)
            pci_dev_config_write(h->router, PIRQRC + link, 1, link_irq[link]);
    }
    bus_write(h->cfg.pio, ELCR2, 1, elcr);
}

static int assign_locked(struct pci_host *h, struct err *err)
{
    struct pci_dev *dev[PCI_NR_SLOTS * PCI_NR_FUNCTIONS];
    struct cursor cur = {h->cfg.io.base, h->cfg.mem32.base};
    unsigned nr = 0;
    int rc = 0;

    for (unsigned slot = 0; slot < PCI_NR_SLOTS; slot++)
        for (unsigned i = 0; i < PCI_NR_FUNCTIONS; i++)
            if (h->dev[slot][i] && !h->dev[slot][i]->absent)
                dev[nr++] = h->dev[slot][i];
    for (int shift = MAX_BAR_SHIFT; shift >= 0; shift--)
        for (unsigned i = 0; i < nr && rc == 0; i++)
            rc = place_bars(dev[i], (uint64_t)1 << shift, &cur, err);
    if (rc < 0)
        return rc;
    for (unsigned i = 0; i < nr; i++)
        enable(dev[i]);
    route_links(h);
    return 0;
}

int pci_assign_resources(struct pci_host *h, struct err *err)
{
    int rc;

    lock_take(&h->lock);
    rc = assign_locked(h, err);
    lock_drop(&h->lock);
    return rc;
}
