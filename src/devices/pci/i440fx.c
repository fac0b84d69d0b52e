#include "devices/pci/i440fx.h"

#include <string.h>

/*
 * What guests look for on this board. Left out on purpose: shadow RAM (PAM)
 * and SMRAM control of the host bridge, and the IDE and USB functions.
 */

enum {
    PIRQRC = 0x60,   /* 82371SB, 2.3.5: four bytes, reset value 0x80 */
    PMBASE = 0x40,   /* 82371AB, 7.2.4: bit 0 says I/O space */
    PMREGMISC = 0x80 /* 7.2.13: bit 0 enables the range at PMBASE */
};

static void isa_routes(struct i440fx *fx)
{
    for (unsigned link = 0; link < PCI_NR_LINKS; link++)
        pci_host_route(fx->host, link, fx->isa_bridge.st.config[PIRQRC + link]);
}

static void isa_written(void *opaque, unsigned off, unsigned len)
{
    if (off < PIRQRC + PCI_NR_LINKS && off + len > PIRQRC)
        isa_routes(opaque);
}

static void isa_restored(void *opaque)
{
    isa_routes(opaque);
}

static const struct pci_dev_ops isa_ops = {.config_written = isa_written,
                                           .config_restored = isa_restored};

static void init_isa_bridge(struct i440fx *fx)
{
    static const uint8_t mask[PCI_NR_LINKS] = {0x8f, 0x8f, 0x8f, 0x8f};
    static const struct pci_id id = {.vendor = 0x8086,
                                     .device = 0x7000,
                                     .subsys_vendor = 0x1af4,
                                     .subsys = 0x1100,
                                     .class_code = 0x060100};
    struct pci_dev *d = &fx->isa_bridge;

    pci_dev_init(d, "piix3", &id, &isa_ops, fx);
    memset(d->initial + PIRQRC, 0x80, PCI_NR_LINKS);
    pci_dev_make_writable(d, PIRQRC, mask, PCI_NR_LINKS);
}

static void init_pm(struct i440fx *fx, uint16_t pm_base)
{
    static const struct pci_id id = {.vendor = 0x8086,
                                     .device = 0x7113,
                                     .subsys_vendor = 0x1af4,
                                     .subsys = 0x1100,
                                     .class_code = 0x068000,
                                     .revision = 3};
    struct pci_dev *d = &fx->pm;

    pci_dev_init(d, "piix4-pm", &id, NULL, NULL);
    if (pm_base) {
        d->initial[PMBASE] = (uint8_t)(pm_base | 1);
        d->initial[PMBASE + 1] = (uint8_t)(pm_base >> 8);
        d->initial[PMREGMISC] = 1;
    }
}

int i440fx_init(struct i440fx *fx, struct pci_host *h, uint16_t pm_base,
                struct err *err)
{
    static const struct pci_id id = {.vendor = 0x8086,
                                     .device = 0x1237,
                                     .subsys_vendor = 0x1af4,
                                     .subsys = 0x1100,
                                     .class_code = 0x060000,
                                     .revision = 2};
    int rc;

    fx->host = h;
    pci_dev_init(&fx->host_bridge, "i440fx", &id, NULL, NULL);
    init_isa_bridge(fx);
    init_pm(fx, pm_base);
    rc = pci_host_add(h, &fx->host_bridge, 0, 0, err);
    if (rc == 0)
        rc = pci_host_add(h, &fx->isa_bridge, 1, 0, err);
    if (rc == 0)
        rc = pci_host_add(h, &fx->pm, 1, 3, err);
    if (rc == 0)
        h->router = &fx->isa_bridge;
    else
        i440fx_fini(fx);
    return rc;
}

void i440fx_fini(struct i440fx *fx)
{
    pci_dev_fini(&fx->pm);
    pci_dev_fini(&fx->isa_bridge);
    pci_dev_fini(&fx->host_bridge);
}
