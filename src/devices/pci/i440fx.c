#include "devices/pci/i440fx.h"

#include <string.h>

/*
 * What guests look for on this board. Left out on purpose: system management
 * mode and the SMRAM control register, and the USB function. Firmware is told
 * that SMIs are set up already, so that it does not try.
 */

enum {
    PIRQRC = 0x60,    /* 82371SB, 2.3.5: four bytes, reset value 0x80 */
    PMBASE = 0x40,    /* 82371AB, 7.2.4: bit 0 says I/O space */
    DEVACTB = 0x58,   /* 7.2.9: bit 25 lets writes of port 0xb2 make SMIs */
    PMREGMISC = 0x80, /* 7.2.13: bit 0 enables the range at PMBASE */
    PAM0 = 0x59,      /* 82441FX, 3.2.18: seven bytes */
    NR_PAM = 7
};

#define DEVACTB_APMC_EN 0x02u /* in its last byte */

/* --- Shadow RAM ----------------------------------------------------------- */

#define PAM_READ  0x1u /* reads go to RAM */
#define PAM_WRITE 0x2u

/* 82441FX, table 3-2: a bit each for reads and for writes. */
static void set_slot(struct i440fx *fx, unsigned slot, unsigned bits)
{
    static const enum gmem_shadow_mode modes[] = {
        [0] = GMEM_SHADOW_ROM,
        [PAM_READ] = GMEM_SHADOW_RAM_RO,
        [PAM_WRITE] = GMEM_SHADOW_ROM_WT,
        [PAM_READ | PAM_WRITE] = GMEM_SHADOW_RAM};

    gmem_shadow_set(fx->gm, slot, modes[bits & (PAM_READ | PAM_WRITE)]);
}

/* PAM0's upper half has the last 64 KiB below 1 MiB; each nibble of the others
 * has 16 KiB, from 0xc0000 on. */
static void pam_changed(struct i440fx *fx)
{
    const uint8_t *pam = fx->host_bridge.st.config + PAM0;
    unsigned slot = 0;

    if (!fx->gm || !fx->gm->shadow)
        return;
    for (unsigned i = 1; i < NR_PAM; i++) {
        set_slot(fx, slot++, pam[i]);
        set_slot(fx, slot++, pam[i] >> 4);
    }
    while (slot < GMEM_SHADOW_SLOTS)
        set_slot(fx, slot++, pam[0] >> 4);
}

void i440fx_open_shadow(struct i440fx *fx)
{
    uint8_t *pam = fx->host_bridge.st.config + PAM0;

    memset(pam, 0x33, NR_PAM);
    pam[0] = 0x30; /* its lower half has no meaning */
    pam_changed(fx);
}

static void bridge_written(void *opaque, unsigned off, unsigned len)
{
    if (off < PAM0 + NR_PAM && off + len > PAM0)
        pam_changed(opaque);
}

static void bridge_restored(void *opaque)
{
    pam_changed(opaque);
}

static const struct pci_dev_ops bridge_ops = {
    .config_written = bridge_written, .config_restored = bridge_restored};

static void init_host_bridge(struct i440fx *fx)
{
    static const uint8_t mask[NR_PAM] = {0x30, 0x33, 0x33, 0x33,
                                         0x33, 0x33, 0x33};
    static const struct pci_id id = {.vendor = 0x8086,
                                     .device = 0x1237,
                                     .subsys_vendor = 0x1af4,
                                     .subsys = 0x1100,
                                     .class_code = 0x060000,
                                     .revision = 2};

    pci_dev_init(&fx->host_bridge, "i440fx", &id, &bridge_ops, fx);
    pci_dev_make_writable(&fx->host_bridge, PAM0, mask, NR_PAM);
}

/* --- ISA bridge, power management ----------------------------------------- */

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
    d->initial[DEVACTB + 3] = DEVACTB_APMC_EN;
    if (pm_base) {
        d->initial[PMBASE] = (uint8_t)(pm_base | 1);
        d->initial[PMBASE + 1] = (uint8_t)(pm_base >> 8);
        d->initial[PMREGMISC] = 1;
    }
}

int i440fx_init(struct i440fx *fx, struct pci_host *h, struct gmem *gm,
                uint16_t pm_base, struct err *err)
{
    int rc;

    fx->host = h;
    fx->gm = gm;
    init_host_bridge(fx);
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
