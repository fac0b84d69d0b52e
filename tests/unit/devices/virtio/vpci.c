#include "tests/unit/devices/virtio/vpci.h"

#include <string.h>

#include "tests/unit/test.h"

void vpci_init(struct vpci *p)
{
    memset(p, 0, sizeof(*p));
    ram_init(&p->gm);
    board_init(&p->b);
}

static uint32_t cfg(struct vpci *p, unsigned off, unsigned len)
{
    return board_read(&p->b, VPCI_SLOT, 0, off, len);
}

static void find_region(struct vpci *p, struct vpci_region *r, unsigned type)
{
    unsigned cap = 0;
    unsigned bar;

    do
        cap = board_find_cap(&p->b, VPCI_SLOT, 0, cap, PCI_CAP_VENDOR);
    while (cap && cfg(p, cap + 3, 1) != type);
    r->cap = cap;
    if (!cap)
        return;
    bar = cfg(p, cap + 4, 1);
    assert_true(bar < PCI_NR_BARS);
    r->addr =
        (cfg(p, PCI_BAR0 + 4 * bar, 4) & ~0xfu) + (uint64_t)cfg(p, cap + 8, 4);
    r->len = cfg(p, cap + 12, 4);
}

void vpci_plug(struct vpci *p, struct virtio_dev *vd)
{
    struct err err;

    p->vd = vd;
    assert_int_equal(
        virtio_pci_init(&p->vp, vd, &p->b.host, VPCI_SLOT, 0, &err), 0);
    assert_int_equal(pci_assign_resources(&p->b.host, &err), 0);
    board_write(&p->b, VPCI_SLOT, 0, PCI_COMMAND, 2,
                PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    find_region(p, &p->common, 1);
    find_region(p, &p->notify, 2);
    find_region(p, &p->isr, 3);
    find_region(p, &p->device, 4);
    find_region(p, &p->window, 5);
    p->notify_multiplier = cfg(p, p->notify.cap + 16, 4);
}

void vpci_fini(struct vpci *p)
{
    board_fini(&p->b);
    virtio_pci_fini(&p->vp);
    gmem_fini(&p->gm);
}

uint32_t vpci_get(struct vpci *p, unsigned off, unsigned len)
{
    return (uint32_t)bus_read(p->b.mmio, p->common.addr + off, len);
}

void vpci_set(struct vpci *p, unsigned off, unsigned len, uint32_t val)
{
    bus_write(p->b.mmio, p->common.addr + off, len, val);
}

uint64_t vpci_features(struct vpci *p)
{
    uint64_t features;

    vpci_set(p, C_FEATURE_SELECT, 4, 0);
    features = vpci_get(p, C_FEATURE, 4);
    vpci_set(p, C_FEATURE_SELECT, 4, 1);
    return features | (uint64_t)vpci_get(p, C_FEATURE, 4) << 32;
}

void vpci_negotiate(struct vpci *p, uint64_t features)
{
    uint8_t status = VIRTIO_STATUS_ACKNOWLEDGE;

    vpci_set(p, C_STATUS, 1, 0);
    assert_int_equal(vpci_get(p, C_STATUS, 1), 0);
    vpci_set(p, C_STATUS, 1, status);
    status |= VIRTIO_STATUS_DRIVER;
    vpci_set(p, C_STATUS, 1, status);
    vpci_set(p, C_DRIVER_FEATURE_SELECT, 4, 0);
    vpci_set(p, C_DRIVER_FEATURE, 4, (uint32_t)features);
    vpci_set(p, C_DRIVER_FEATURE_SELECT, 4, 1);
    vpci_set(p, C_DRIVER_FEATURE, 4, (uint32_t)(features >> 32));
    vpci_set(p, C_STATUS, 1, status | VIRTIO_STATUS_FEATURES_OK);
}

static void set_area(struct vpci *p, unsigned off, gpa_t gpa)
{
    vpci_set(p, off, 4, (uint32_t)gpa);
    vpci_set(p, off + 4, 4, (uint32_t)(gpa >> 32));
}

void vpci_enable_queue(struct vpci *p, unsigned q)
{
    struct ring *r = &p->ring[q];

    ring_init(r, &p->gm, 0x1000 + 0x2000 * q, VPCI_RING_SIZE);
    vpci_set(p, C_QUEUE_SELECT, 2, q);
    vpci_set(p, C_QUEUE_SIZE, 2, VPCI_RING_SIZE);
    set_area(p, C_QUEUE_DESC, r->desc);
    set_area(p, C_QUEUE_AVAIL, r->avail);
    set_area(p, C_QUEUE_USED, r->used);
    if (pci_msix_enabled(&p->vp.pci))
        vpci_set(p, C_QUEUE_VECTOR, 2, q + 1);
    vpci_set(p, C_QUEUE_ENABLE, 2, 1);
}

void vpci_start(struct vpci *p, uint64_t features, unsigned nr)
{
    vpci_negotiate(p, features);
    assert_true(vpci_get(p, C_STATUS, 1) & VIRTIO_STATUS_FEATURES_OK);
    for (unsigned q = 0; q < nr; q++)
        vpci_enable_queue(p, q);
    if (pci_msix_enabled(&p->vp.pci))
        vpci_set(p, C_CONFIG_VECTOR, 2, 0);
    vpci_set(p, C_STATUS, 1,
             VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER |
                 VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_DRIVER_OK);
    virtio_dev_run(p->vd);
}

void vpci_use_msix(struct vpci *p)
{
    unsigned cap = board_find_cap(&p->b, VPCI_SLOT, 0, 0, PCI_CAP_MSIX);
    unsigned nr = (cfg(p, cap + 2, 2) & 0x7ff) + 1;
    uint32_t table = cfg(p, cap + 4, 4);
    uint64_t addr = (cfg(p, PCI_BAR0 + 4 * (table & 7), 4) & ~0xfu) +
                    (uint64_t)(table & ~7u);

    for (unsigned v = 0; v < nr; v++) {
        bus_write(p->b.mmio, addr + 16 * v, 4, 0xfee00000);
        bus_write(p->b.mmio, addr + 16 * v + 4, 4, 0);
        bus_write(p->b.mmio, addr + 16 * v + 8, 4, 0x40 + v);
        bus_write(p->b.mmio, addr + 16 * v + 12, 4, 0);
    }
    board_write(&p->b, VPCI_SLOT, 0, cap + 2, 2, PCI_MSIX_ENABLE);
}

void vpci_kick(struct vpci *p, unsigned q)
{
    vpci_set(p, C_QUEUE_SELECT, 2, q);
    bus_write(p->b.mmio,
              p->notify.addr + (uint64_t)p->notify_multiplier *
                                   vpci_get(p, C_QUEUE_NOTIFY_OFF, 2),
              2, q);
    virtio_dev_run(p->vd);
}
