#include "devices/pci/dev.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/log.h"

/*
 * One function's configuration space. It is an array of bytes with a mask of
 * what the guest may write; what depends on it (BARs on the bus, the right to
 * master, MSI-X, the wire) is recomputed as a whole after each write to it.
 */

static const struct state_field pci_dev_fields[] = {
    STATE_FIELD(1, STATE_BYTES, struct pci_dev_state, config),
    STATE_FIELD(2, STATE_U8, struct pci_dev_state, intx),
};

static int pci_dev_check(const void *state)
{
    const struct pci_dev_state *st = state;

    return st->intx <= 1 ? 0 : -EINVAL;
}

/* config is not checked: pci_dev_loaded keeps only its writable bits. */
const struct state_desc pci_dev_state_desc = {
    .name = "pci-dev",
    .version = 1,
    STATE_LAYOUT(struct pci_dev_state, pci_dev_fields),
    .check = pci_dev_check,
};

static void dev_loaded(void *dev, int64_t shift_ns)
{
    (void)shift_ns; /* no times in here */
    pci_dev_loaded(dev);
}

const struct device_class pci_dev_class = {
    .state = &pci_dev_state_desc,
    .state_off = offsetof(struct pci_dev, st),
    .loaded = dev_loaded,
};

uint32_t pci_config_get(const uint8_t *config, unsigned off, unsigned len)
{
    uint32_t val = 0;

    for (unsigned i = 0; i < len; i++)
        val |= (uint32_t)config[off + i] << (8 * i);
    return val;
}

void pci_config_put(uint8_t *config, unsigned off, unsigned len, uint32_t val)
{
    for (unsigned i = 0; i < len; i++)
        config[off + i] = (uint8_t)(val >> (8 * i));
}

/* -- Set-up --- */

static void put_initial(struct pci_dev *d, unsigned off, unsigned len,
                        uint32_t val)
{
    pci_config_put(d->initial, off, len, val);
    pci_config_put(d->st.config, off, len, val);
}

void pci_dev_init(struct pci_dev *d, const char *name, const struct pci_id *id,
                  const struct pci_dev_ops *ops, void *opaque)
{
    memset(d, 0, sizeof(*d));
    d->name = name;
    d->ops = ops;
    d->opaque = opaque;
    d->cap_end = PCI_FIRST_FREE;
    lock_init(&d->msix.lock);
    for (unsigned i = 0; i < PCI_NR_REGIONS; i++)
        d->bar[i].mapped = PCI_BAR_UNMAPPED;
    put_initial(d, PCI_VENDOR_ID, 2, id->vendor);
    put_initial(d, PCI_DEVICE_ID, 2, id->device);
    put_initial(d, PCI_REVISION, 1, id->revision);
    put_initial(d, PCI_CLASS, 3, id->class_code);
    put_initial(d, PCI_SUBSYS_VENDOR, 2, id->subsys_vendor);
    put_initial(d, PCI_SUBSYS_ID, 2, id->subsys);
    pci_config_put(d->wmask, PCI_COMMAND, 2,
                   PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER |
                       PCI_COMMAND_PARITY | PCI_COMMAND_SERR |
                       PCI_COMMAND_INTX_OFF);
    d->wmask[PCI_INT_LINE] = 0xff;
}

void pci_dev_fini(struct pci_dev *d)
{
    lock_fini(&d->msix.lock);
}

void pci_dev_use_intx(struct pci_dev *d, unsigned pin)
{
    assert(pin >= 1 && pin <= PCI_NR_LINKS);
    put_initial(d, PCI_INT_PIN, 1, pin);
}

static unsigned bar_register(unsigned index)
{
    return index == PCI_ROM_BAR ? PCI_ROM : PCI_BAR0 + 4 * index;
}

void pci_dev_add_bar(struct pci_dev *d, unsigned index,
                     const struct pci_bar *bar)
{
    unsigned off = bar_register(index);
    uint64_t mask = ~(bar->size - 1);
    uint32_t flags = 0;

    assert(index < PCI_NR_REGIONS && bar->kind != PCI_BAR_NONE);
    assert((index == PCI_ROM_BAR) == (bar->kind == PCI_BAR_ROM));
    assert((bar->size & (bar->size - 1)) == 0 && bar->size >= 16);
    if (bar->kind == PCI_BAR_PIO)
        flags = PCI_BAR_IO;
    else if (bar->kind == PCI_BAR_MEM64)
        flags = PCI_BAR_64 | PCI_BAR_PREFETCH;
    else if (bar->prefetch)
        flags = PCI_BAR_PREFETCH;
    else if (bar->kind == PCI_BAR_ROM)
        mask |= PCI_ROM_ENABLE;
    d->bar[index] = *bar;
    d->bar[index].mapped = PCI_BAR_UNMAPPED;
    put_initial(d, off, 4, flags);
    pci_config_put(d->wmask, off, 4, (uint32_t)mask);
    if (bar->kind == PCI_BAR_MEM64) {
        assert(index + 1 < PCI_NR_BARS);
        pci_config_put(d->wmask, off + 4, 4, (uint32_t)(mask >> 32));
    }
}

unsigned pci_dev_add_cap(struct pci_dev *d, const void *cap, unsigned len)
{
    unsigned off = d->cap_end;

    assert(len >= 2 && off + len <= PCI_CONFIG_SIZE);
    memcpy(d->initial + off, cap, len);
    d->initial[off + 1] = d->initial[PCI_CAP_PTR];
    d->initial[PCI_CAP_PTR] = (uint8_t)off;
    d->initial[PCI_STATUS] |= PCI_STATUS_CAPS;
    memcpy(d->st.config, d->initial, sizeof(d->st.config));
    d->cap_end = (off + len + 3) & ~3u; /* 6.7: aligned to 4 bytes */
    return off;
}

void pci_dev_make_writable(struct pci_dev *d, unsigned off, const void *mask,
                           unsigned len)
{
    assert(off + len <= PCI_CONFIG_SIZE);
    memcpy(d->wmask + off, mask, len);
}

/* -- What follows from the configuration --- */

/* Where the guest wants the BAR; PCI_BAR_UNMAPPED if nowhere. */
static uint64_t bar_target(const struct pci_dev *d, unsigned index)
{
    const struct pci_bar *bar = &d->bar[index];
    unsigned off = bar_register(index);
    uint32_t command = pci_config_get(d->st.config, PCI_COMMAND, 2);
    bool io = bar->kind == PCI_BAR_PIO;
    uint64_t addr, limit;

    if (!(command & (io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY)))
        return PCI_BAR_UNMAPPED;
    addr = pci_config_get(d->st.config, off, 4);
    if (bar->kind == PCI_BAR_ROM && !(addr & PCI_ROM_ENABLE))
        return PCI_BAR_UNMAPPED;
    if (bar->kind == PCI_BAR_MEM64)
        addr |= (uint64_t)pci_config_get(d->st.config, off + 4, 4) << 32;
    addr &= ~(bar->size - 1);
    /* All ones is what a guest writes to learn the size, zero is what it finds
     * after reset: neither is a place. The address is aligned to the size, so
     * that the range cannot wrap if the top is excluded. */
    limit = io ? UINT16_MAX : UINT32_MAX;
    if (bar->kind == PCI_BAR_MEM64)
        limit = UINT64_MAX >> 1;
    if (addr == 0 || addr > limit - bar->size)
        return PCI_BAR_UNMAPPED;
    return addr;
}

static struct bus *bar_bus(const struct pci_dev *d, const struct pci_bar *bar)
{
    return bar->kind == PCI_BAR_PIO ? d->host->cfg.pio : d->host->cfg.mmio;
}

static void unmap_bar(struct pci_dev *d, struct pci_bar *bar)
{
    if (bar->mapped == PCI_BAR_UNMAPPED)
        return;
    if (bar->moved)
        bar->moved(bar->opaque, PCI_BAR_UNMAPPED);
    else
        bus_unmap(bar_bus(d, bar), bar->mapped);
    bar->mapped = PCI_BAR_UNMAPPED;
}

static void map_bar(struct pci_dev *d, unsigned index, uint64_t addr)
{
    struct pci_bar *bar = &d->bar[index];
    int rc = 0;

    if (addr == PCI_BAR_UNMAPPED || bar->mapped == addr)
        return;
    if (bar->moved)
        bar->moved(bar->opaque, addr);
    else
        rc = bus_map(bar_bus(d, bar), addr, bar->size, bar->ops, bar->opaque,
                     bar->lock);
    if (rc < 0)
        log_guest(d->name, "BAR %u at 0x%llx: error %d", index,
                  (unsigned long long)addr, -rc);
    else
        bar->mapped = addr;
}

/* All leave before any arrives, so that two BARs can change places. */
static void update_bars(struct pci_dev *d)
{
    uint64_t target[PCI_NR_REGIONS];

    for (unsigned i = 0; i < PCI_NR_REGIONS; i++) {
        target[i] = PCI_BAR_UNMAPPED;
        if (d->bar[i].kind == PCI_BAR_NONE)
            continue;
        target[i] = bar_target(d, i);
        if (target[i] != d->bar[i].mapped)
            unmap_bar(d, &d->bar[i]);
    }
    for (unsigned i = 0; i < PCI_NR_REGIONS; i++)
        map_bar(d, i, target[i]);
}

static void update(struct pci_dev *d)
{
    uint32_t command = pci_config_get(d->st.config, PCI_COMMAND, 2);

    atomic_store_explicit(&d->master, (command & PCI_COMMAND_MASTER) != 0,
                          memory_order_release);
    update_bars(d);
    pci_msix_update(d);
    pci_intx_gate(d, (command & PCI_COMMAND_INTX_OFF) || pci_msix_enabled(d));
}

static void restored(struct pci_dev *d)
{
    update(d);
    if (d->ops && d->ops->config_restored)
        d->ops->config_restored(d->opaque);
}

void pci_dev_unmap(struct pci_dev *d)
{
    for (unsigned i = 0; i < PCI_NR_REGIONS; i++)
        unmap_bar(d, &d->bar[i]);
}

void pci_dev_reset(struct pci_dev *d)
{
    memcpy(d->st.config, d->initial, sizeof(d->st.config));
    pci_intx_set(d, false);
    pci_msix_reset(d);
    restored(d);
}

void pci_dev_loaded(struct pci_dev *d)
{
    lock_take(&d->host->lock);
    for (unsigned i = 0; i < PCI_CONFIG_SIZE; i++)
        d->st.config[i] = (uint8_t)((d->st.config[i] & d->wmask[i]) |
                                    (d->initial[i] & ~d->wmask[i]));
    restored(d);
    lock_drop(&d->host->lock);
    pci_intx_set(d, d->st.intx);
}

/* -- Guest accesses --- */

static bool touches(unsigned off, unsigned len, unsigned reg, unsigned reg_len)
{
    return off < reg + reg_len && reg < off + len;
}

uint32_t pci_dev_config_read(struct pci_dev *d, unsigned off, unsigned len)
{
    if (touches(off, len, PCI_STATUS, 1)) {
        lock_take(&d->host->irq_lock);
        d->st.config[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTX;
        if (d->st.intx)
            d->st.config[PCI_STATUS] |= PCI_STATUS_INTX;
        lock_drop(&d->host->irq_lock);
    }
    if (d->ops && d->ops->config_read)
        d->ops->config_read(d->opaque, off, len);
    return pci_config_get(d->st.config, off, len);
}

void pci_dev_config_write(struct pci_dev *d, unsigned off, unsigned len,
                          uint32_t val)
{
    bool changed = false;

    for (unsigned i = 0; i < len; i++) {
        uint8_t old = d->st.config[off + i];
        uint8_t mask = d->wmask[off + i];
        uint8_t new = (uint8_t)((old & ~mask) | ((val >> (8 * i)) & mask));

        changed |= new != old;
        d->st.config[off + i] = new;
    }
    if (changed && (touches(off, len, PCI_COMMAND, 2) ||
                    touches(off, len, PCI_BAR0, 4 * PCI_NR_BARS) ||
                    touches(off, len, PCI_ROM, 4) ||
                    (d->msix.nr && touches(off, len, d->msix.cap + 2, 2))))
        update(d);
    if (d->ops && d->ops->config_written)
        d->ops->config_written(d->opaque, off, len);
}
