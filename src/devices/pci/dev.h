#ifndef HUSK_DEVICES_PCI_DEV_H
#define HUSK_DEVICES_PCI_DEV_H

#include "devices/pci/pci.h"

/*
 * Inside src/devices/pci: one function, as its host sees it. Except for the
 * first two all are called with host->lock held.
 */

/* Bytes of configuration space as a number, and back. */
uint32_t pci_config_get(const uint8_t *config, unsigned off, unsigned len);
void pci_config_put(uint8_t *config, unsigned off, unsigned len, uint32_t val);

/* A guest's access: off + len <= PCI_CONFIG_SIZE, len is 1, 2 or 4. */
uint32_t pci_dev_config_read(struct pci_dev *d, unsigned off, unsigned len);
void pci_dev_config_write(struct pci_dev *d, unsigned off, unsigned len,
                          uint32_t val);
void pci_dev_reset(struct pci_dev *d);
void pci_dev_unmap(struct pci_dev *d);

/* The capability's control word, or the right to master, may have changed. */
void pci_msix_update(struct pci_dev *d);
void pci_msix_reset(struct pci_dev *d);

/* The command register or MSI-X decided whether the wire is used. */
void pci_intx_gate(struct pci_dev *d, bool off);

#endif
