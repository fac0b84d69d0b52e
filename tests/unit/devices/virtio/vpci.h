#ifndef HUSK_TESTS_UNIT_DEVICES_VIRTIO_VPCI_H
#define HUSK_TESTS_UNIT_DEVICES_VIRTIO_VPCI_H

#include "devices/virtio/virtio_pci.h"
#include "tests/unit/devices/pci/board.h"
#include "tests/unit/devices/virtio/driver.h"

/*
 * A virtio device on a board, and a driver that finds and starts it through
 * configuration space, as operating systems do.
 */
enum { VPCI_SLOT = 3, VPCI_QUEUES = 4, VPCI_RING_SIZE = 8 };

/* Where a capability says that its registers are. */
struct vpci_region {
    uint64_t addr;
    uint32_t len;
    unsigned cap; /* its offset in configuration space */
};

struct vpci {
    struct gmem gm;
    struct board b;
    struct virtio_pci vp;
    struct virtio_dev *vd;
    struct vpci_region common, notify, isr, device, window;
    uint32_t notify_multiplier;
    struct ring ring[VPCI_QUEUES];
};

/* The common registers, by offset (virtio 1.2, 4.1.4.3). */
enum {
    C_FEATURE_SELECT = 0x00,
    C_FEATURE = 0x04,
    C_DRIVER_FEATURE_SELECT = 0x08,
    C_DRIVER_FEATURE = 0x0c,
    C_CONFIG_VECTOR = 0x10,
    C_NR_QUEUES = 0x12,
    C_STATUS = 0x14,
    C_GENERATION = 0x15,
    C_QUEUE_SELECT = 0x16,
    C_QUEUE_SIZE = 0x18,
    C_QUEUE_VECTOR = 0x1a,
    C_QUEUE_ENABLE = 0x1c,
    C_QUEUE_NOTIFY_OFF = 0x1e,
    C_QUEUE_DESC = 0x20,
    C_QUEUE_AVAIL = 0x28,
    C_QUEUE_USED = 0x30,
    C_QUEUE_RESET = 0x3a
};

/* RAM and board; then the test makes its device with gm and calls
 * vpci_plug, which also assigns resources, enables mastering and finds the
 * registers. */
void vpci_init(struct vpci *p);
void vpci_plug(struct vpci *p, struct virtio_dev *vd);
/* The test frees its device afterwards. */
void vpci_fini(struct vpci *p);

uint32_t vpci_get(struct vpci *p, unsigned off, unsigned len);
void vpci_set(struct vpci *p, unsigned off, unsigned len, uint32_t val);
uint64_t vpci_features(struct vpci *p);

/* Reset, ACKNOWLEDGE, DRIVER, features, FEATURES_OK. */
void vpci_negotiate(struct vpci *p, uint64_t features);
/* Make p->ring[q] and enable it, with MSI-X vector q + 1 if MSI-X is on. */
void vpci_enable_queue(struct vpci *p, unsigned q);
/* All of it: negotiate, nr queues, DRIVER_OK. */
void vpci_start(struct vpci *p, uint64_t features, unsigned nr);
/* Before vpci_start: MSI-X with message 0x40 + v for vector v. */
void vpci_use_msix(struct vpci *p);
/* Notify queue q; then the loop has its turn. */
void vpci_kick(struct vpci *p, unsigned q);

#endif
