#ifndef HUSK_DEVICES_VIRTIO_VIRTIO_PCI_H
#define HUSK_DEVICES_VIRTIO_VIRTIO_PCI_H

#include "devices/pci/pci.h"
#include "devices/virtio/virtio.h"

/*
 * A virtio device on PCI: the modern transport only (virtio 1.2, 4.1), with
 * MSI-X and INTx. BAR 1 holds the MSI-X table, BAR 4 the registers.
 */
struct virtio_pci {
    struct virtio_pci_state {
        uint32_t feature_select, driver_feature_select;
        uint16_t queue_select;
        uint16_t config_vector;
        uint8_t isr;
    } st; /* under vd->lock */
    struct pci_dev pci;
    struct virtio_dev *vd;
    unsigned cfg_cap; /* offset of the configuration access capability */
};

extern const struct state_desc virtio_pci_state_desc;

/* Put vd (borrowed) on h at slot and function; vd->transport is filled. */
MUST_CHECK int virtio_pci_init(struct virtio_pci *vp, struct virtio_dev *vd,
                               struct pci_host *h, unsigned slot,
                               unsigned function, struct err *err);
/* After pci_host_fini, before the device is freed. */
void virtio_pci_fini(struct virtio_pci *vp);
/* Power-on state of the transport and the device; pci_host_reset does the
 * configuration space. While the vCPUs are paused. */
void virtio_pci_reset(struct virtio_pci *vp);
/* reset is the above; loaded does the device too and comes after the loading
 * of vd, its queues and pci. Locks for itself. */
extern const struct device_class virtio_pci_class;

#endif
