#include <assert.h>
#include <string.h>

#include "devices/pci/dev.h"

/*
 * MSI-X (PCI Local Bus 3.0, 6.8.2). The guest reaches table and pending bits
 * through a BAR of their own; the bus holds msix.lock around those accesses.
 * Messages are sent under that lock, so that none leaves after the write that
 * masked its vector has returned.
 */

enum {
    MSIX_BAR_SIZE = 4096,
    MSIX_PBA = 2048,   /* offset of the pending bits */
    ENTRY_SIZE = 16,   /* address low, high, data, vector control */
    ENTRY_CONTROL = 3, /* index of its 32-bit word */
    ENTRY_MASKED = 1   /* in vector control */
};

_Static_assert(PCI_MSIX_MAX *ENTRY_SIZE <= MSIX_PBA, "table fits its half");

static const struct state_field pci_msix_fields[] = {
    STATE_FIELD(1, STATE_U32, struct pci_msix_state, table),
    STATE_FIELD(2, STATE_U64, struct pci_msix_state, pending),
};

/* All values are possible: what lies beyond the device's vectors is unused. */
const struct state_desc pci_msix_state_desc = {
    .name = "pci-msix",
    .version = 1,
    STATE_LAYOUT(struct pci_msix_state, pci_msix_fields),
};

const struct device_class pci_msix_class = {
    .state = &pci_msix_state_desc,
    .state_off = offsetof(struct pci_msix, st),
};

static void send_locked(struct pci_dev *d, unsigned vector)
{
    const uint32_t *entry = &d->msix.st.table[(size_t)vector * 4];

    d->msix.st.pending &= ~((uint64_t)1 << vector);
    msi_send(&d->host->cfg.msi, (uint64_t)entry[1] << 32 | entry[0], entry[2]);
}

static bool is_masked(const struct pci_msix *mx, unsigned vector)
{
    return mx->masked ||
           (mx->st.table[vector * 4 + ENTRY_CONTROL] & ENTRY_MASKED);
}

/* Send what was held back and no longer is. */
static void flush_locked(struct pci_dev *d)
{
    struct pci_msix *mx = &d->msix;

    if (!pci_msix_enabled(d) || mx->masked)
        return;
    for (unsigned v = 0; v < mx->nr; v++)
        if ((mx->st.pending >> v & 1) && !is_masked(mx, v))
            send_locked(d, v);
}

void pci_msix_notify(struct pci_dev *d, unsigned vector)
{
    struct pci_msix *mx = &d->msix;

    if (vector >= mx->nr)
        return;
    lock_take(&mx->lock);
    if (pci_msix_enabled(d)) {
        if (is_masked(mx, vector))
            mx->st.pending |= (uint64_t)1 << vector;
        else
            send_locked(d, vector);
    }
    lock_drop(&mx->lock);
}

void pci_msix_update(struct pci_dev *d)
{
    struct pci_msix *mx = &d->msix;
    uint32_t control;

    if (!mx->nr)
        return;
    control = pci_config_get(d->st.config, mx->cap + 2, 2);
    lock_take(&mx->lock);
    atomic_store_explicit(&mx->enabled, (control & PCI_MSIX_ENABLE) != 0,
                          memory_order_relaxed);
    /* A message is a memory write: without mastering it has to wait too. */
    mx->masked = (control & PCI_MSIX_FUNCTION_MASK) || !pci_dev_is_master(d);
    flush_locked(d);
    lock_drop(&mx->lock);
}

void pci_msix_reset(struct pci_dev *d)
{
    struct pci_msix *mx = &d->msix;

    lock_take(&mx->lock);
    memset(&mx->st, 0, sizeof(mx->st));
    for (unsigned v = 0; v < mx->nr; v++)
        mx->st.table[v * 4 + ENTRY_CONTROL] = ENTRY_MASKED;
    lock_drop(&mx->lock);
}

/* -- The BAR --- */

static uint32_t read_dword(const struct pci_dev *d, uint64_t off)
{
    const struct pci_msix *mx = &d->msix;

    if (off / ENTRY_SIZE < mx->nr)
        return mx->st.table[off / 4];
    if (off == MSIX_PBA)
        return (uint32_t)mx->st.pending;
    if (off == MSIX_PBA + 4)
        return (uint32_t)(mx->st.pending >> 32);
    return 0;
}

static void write_dword(struct pci_dev *d, uint64_t off, uint32_t val)
{
    struct pci_msix *mx = &d->msix;

    if (off / ENTRY_SIZE >= mx->nr)
        return;
    if (off / 4 % 4 == 0)
        val &= ~(uint32_t)3; /* 6.8.2.4: the low address bits are zero */
    else if (off / 4 % 4 == ENTRY_CONTROL)
        val &= ENTRY_MASKED;
    mx->st.table[off / 4] = val;
}

static uint64_t msix_read(void *dev, uint64_t off, unsigned size)
{
    const struct pci_dev *d = dev;
    uint64_t val;

    off &= ~(uint64_t)3;
    val = read_dword(d, off);
    if (size == 8)
        val |= (uint64_t)read_dword(d, off + 4) << 32;
    return val;
}

static void msix_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    struct pci_dev *d = dev;

    off &= ~(uint64_t)3;
    write_dword(d, off, (uint32_t)val);
    if (size == 8)
        write_dword(d, off + 4, (uint32_t)(val >> 32));
    flush_locked(d);
}

/* 6.8.2: accesses are aligned and of 4 or 8 bytes. */
static const struct bus_ops msix_bus_ops = {
    .read = msix_read, .write = msix_write, .min_size = 4, .max_size = 8};

void pci_dev_add_msix(struct pci_dev *d, unsigned bar, unsigned nr)
{
    static const uint8_t control_mask[2] = {
        0, (PCI_MSIX_ENABLE | PCI_MSIX_FUNCTION_MASK) >> 8};
    uint8_t cap[12] = {PCI_CAP_MSIX};

    assert(nr >= 1 && nr <= PCI_MSIX_MAX);
    pci_config_put(cap, 2, 2, nr - 1);
    pci_config_put(cap, 4, 4, bar);
    pci_config_put(cap, 8, 4, MSIX_PBA | bar);
    d->msix.nr = nr;
    d->msix.cap = pci_dev_add_cap(d, cap, sizeof(cap));
    pci_dev_make_writable(d, d->msix.cap + 2, control_mask, 2);
    pci_dev_add_bar(d, bar,
                    &(struct pci_bar){.kind = PCI_BAR_MEM32,
                                      .size = MSIX_BAR_SIZE,
                                      .ops = &msix_bus_ops,
                                      .opaque = d,
                                      .lock = &d->msix.lock});
    pci_msix_reset(d);
}
