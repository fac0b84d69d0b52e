#ifndef HUSK_DEVICES_PCI_PCI_H
#define HUSK_DEVICES_PCI_PCI_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "base/lock.h"
#include "bus/bus.h"
#include "bus/irq.h"
#include "devices/device.h"
#include "devices/pci/regs.h"
#include "state/desc.h"

/*
 * PCI bus 0 behind configuration mechanism 1 (PCI Local Bus 3.0, 3.2.2.3.2):
 * functions with a type 0 header, base addresses that the guest moves,
 * capabilities, INTx wires and MSI-X.
 *
 * Locks: pci_host.lock is held around configuration accesses (the bus takes
 * it), and mapping or unmapping a BAR happens under it; so code that runs in a
 * BAR access must never take it. pci_host.irq_lock and pci_msix.lock are
 * taken last: only the interrupt controllers come below them.
 */

enum {
    PCI_NR_SLOTS = 32,
    PCI_NR_FUNCTIONS = 8,
    PCI_NR_LINKS = 4, /* interrupt wires of the board: PIRQA..PIRQD */
    PCI_NR_ISA_IRQS = 16,
    PCI_MSIX_MAX = 64 /* vectors of one function */
};

/* First of the four I/O APIC inputs that carry the links. */
#define PCI_GSI_BASE 16

/*
 * The link (0 = PIRQA) that pin (0 = INTA#) of slot is soldered to. It arrives
 * at GSI PCI_GSI_BASE + link, and at the ISA IRQ in byte 0x60 + link of the
 * ISA bridge's configuration space (bit 7 set = nowhere). _PRT says the same.
 */
static inline unsigned pci_link(unsigned slot, unsigned pin)
{
    return (slot + pin) & (PCI_NR_LINKS - 1);
}

struct pci_dev;
struct pci_host;

enum pci_bar_kind {
    PCI_BAR_NONE,
    PCI_BAR_PIO,
    PCI_BAR_MEM32,
    PCI_BAR_MEM64,
    PCI_BAR_ROM /* PCI_ROM_BAR, and only that */
};

struct pci_bar {
    enum pci_bar_kind kind;
    uint64_t size; /* bytes, a power of two */
    const struct bus_ops *ops;
    void *opaque;
    struct lock *lock; /* as for bus_map */
    bool prefetch;     /* a MEM32 says that reads have no effects */
    /* Instead of being on the bus (ops is not used): told where it is now, and
     * PCI_BAR_UNMAPPED when it leaves there. Called with the host's lock. */
    void (*moved)(void *opaque, uint64_t addr);
    uint64_t mapped; /* where it is now; PCI_BAR_UNMAPPED */
};

#define PCI_BAR_UNMAPPED UINT64_MAX

/* What a kind of function adds to plain configuration space; all optional.
 * Called with the host's lock held. */
struct pci_dev_ops {
    /* Refresh st.config[off .. off + len) before it is read. */
    void (*config_read)(void *opaque, unsigned off, unsigned len);
    /* Writable bits of [off, off + len) were written. */
    void (*config_written)(void *opaque, unsigned off, unsigned len);
    /* All of st.config was replaced, by a reset or from a snapshot. */
    void (*config_restored)(void *opaque);
};

struct pci_dev_state {
    uint8_t config[PCI_CONFIG_SIZE];
    uint8_t intx; /* the function asks for its wire */
};

extern const struct state_desc pci_dev_state_desc;

/* MSI-X: PCI Local Bus 3.0, 6.8.2. */
struct pci_msix_state {
    uint32_t table[PCI_MSIX_MAX * 4]; /* address low, high, data, control */
    uint64_t pending;
};

extern const struct state_desc pci_msix_state_desc;

struct pci_msix {
    struct pci_msix_state st;
    struct lock lock; /* st and what follows */
    unsigned nr;      /* vectors; 0 = no MSI-X */
    unsigned cap;     /* offset of the capability */
    _Atomic bool enabled;
    bool masked; /* by function mask, or because mastering is off */
};

/* One function. Embedded in its owner, which borrows bus and host. */
struct pci_dev {
    struct pci_dev_state st;
    const char *name;
    const struct pci_dev_ops *ops;
    void *opaque;
    struct pci_host *host; /* NULL until pci_host_add */
    unsigned slot, function;
    bool absent; /* as if nothing were there: changed right after a reset, while
                    no CPU runs; not function 0 of several */
    uint8_t initial[PCI_CONFIG_SIZE]; /* after reset */
    uint8_t wmask[PCI_CONFIG_SIZE];   /* bits that the guest may write */
    struct pci_bar bar[PCI_NR_REGIONS];
    unsigned cap_end; /* where the next capability goes */
    struct pci_msix msix;
    _Atomic bool master; /* the command register lets it reach memory */
    /* Under host->irq_lock, as is st.intx: */
    bool intx_off;    /* by the command register, or because MSI-X is used */
    bool intx_driven; /* what the wire sees of st.intx */
};

struct pci_id {
    uint16_t vendor, device, subsys_vendor, subsys;
    uint32_t class_code; /* base class << 16 | subclass << 8 | interface */
    uint8_t revision;
};

/* Prepare a function: name is for logs, ops may be NULL. */
void pci_dev_init(struct pci_dev *d, const char *name, const struct pci_id *id,
                  const struct pci_dev_ops *ops, void *opaque);
/* After the host has gone (pci_host_fini). */
void pci_dev_fini(struct pci_dev *d);

/* The rest of the set-up comes before pci_host_add. */

/* Use pin (1 = INTA#). */
void pci_dev_use_intx(struct pci_dev *d, unsigned pin);
/* bar: all but mapped; a MEM64 uses index and index + 1. */
void pci_dev_add_bar(struct pci_dev *d, unsigned index,
                     const struct pci_bar *bar);
/* Append a capability of len bytes (its first byte is id, the second is
 * overwritten with the link); returns its offset. */
unsigned pci_dev_add_cap(struct pci_dev *d, const void *cap, unsigned len);
/* Let the guest write the bits of mask, which counts from off. */
void pci_dev_make_writable(struct pci_dev *d, unsigned off, const void *mask,
                           unsigned len);
/* Add MSI-X with nr vectors, table and pending bits in a 4-KiB BAR of its
 * own. */
void pci_dev_add_msix(struct pci_dev *d, unsigned bar, unsigned nr);

/*
 * For the machine's table of devices; the functions lock for themselves.
 * pci_host_class resets all functions too; pci_msix_class is for dev->msix.
 * A device's own classes come after those of its function.
 */
extern const struct device_class pci_host_class, pci_dev_class, pci_msix_class;

/* Raise or lower the function's INTx wire. Any thread, device locks held. */
void pci_intx_set(struct pci_dev *d, bool level);
/* Send vector's message, or remember it while masked. Nothing happens while
 * MSI-X is disabled. Any thread, device locks held. */
void pci_msix_notify(struct pci_dev *d, unsigned vector);
/* Whether the guest uses MSI-X (and the wire is therefore silent). */
static inline bool pci_msix_enabled(const struct pci_dev *d)
{
    return atomic_load_explicit(&d->msix.enabled, memory_order_relaxed);
}
/* Whether the function may read and write guest memory. */
static inline bool pci_dev_is_master(const struct pci_dev *d)
{
    return atomic_load_explicit(&d->master, memory_order_acquire);
}
/*
 * After st and msix.st were loaded from a snapshot (the machine is paused):
 * drops forged read-only bits, moves the BARs and sets the wire.
 */
void pci_dev_loaded(struct pci_dev *d);

/* A range of addresses for BARs. */
struct pci_window {
    uint64_t base, size;
};

struct pci_host_config {
    struct bus *pio, *mmio;
    struct irq gsi[PCI_NR_LINKS];    /* I/O APIC inputs 16..19 */
    struct irq isa[PCI_NR_ISA_IRQS]; /* PIC (and I/O APIC) inputs 0..15 */
    struct msi_sink msi;
    struct pci_window io, mem32; /* for pci_assign_resources */
    /* Port 0xcf9 lies inside the address register, which takes only 4-byte
     * accesses; bytes at 0xcf9 go here (off 0), under pci_host.lock. NULL =
     * nobody. */
    const struct bus_ops *cf9_ops;
    void *cf9_dev;
};

struct pci_host_state {
    uint32_t address; /* CONFADD: enable, bus, slot, function, register */
};

extern const struct state_desc pci_host_state_desc;

struct pci_host {
    struct pci_host_state st;
    struct pci_host_config cfg;
    struct lock lock;     /* configuration accesses */
    struct lock irq_lock; /* the next three, and the functions' wires */
    unsigned link_raised[PCI_NR_LINKS]; /* how many functions drive it */
    uint8_t link_isa[PCI_NR_LINKS];     /* PIRQRC of the ISA bridge */
    uint16_t isa_level;                 /* what isa[] was told */
    struct pci_dev *router; /* its bytes 0x60..0x63 are PIRQRC; or NULL */
    struct pci_dev *dev[PCI_NR_SLOTS][PCI_NR_FUNCTIONS];
};

/* Map ports 0xcf8..0xcff. cfg is copied, buses are borrowed. */
MUST_CHECK int pci_host_init(struct pci_host *h,
                             const struct pci_host_config *cfg,
                             struct err *err);
/* Unmap the ports and all BARs. Before the functions' owners free them. */
void pci_host_fini(struct pci_host *h);
/* Power-on state of the host and of every function's configuration space,
 * MSI-X and wire: BARs disappear. While the vCPUs are paused. Devices reset
 * their other state themselves. */
void pci_host_reset(struct pci_host *h);

/* Put d at slot and function (borrows d). Function 0 of a slot first.
 * -EEXIST if something is there. Before the vCPUs run. */
MUST_CHECK int pci_host_add(struct pci_host *h, struct pci_dev *d,
                            unsigned slot, unsigned function, struct err *err);

/* For the ISA bridge: link goes to the ISA IRQ in reg (PIRQRC format). */
void pci_host_route(struct pci_host *h, unsigned link, uint8_t reg);

/*
 * What firmware does: place all BARs, enable decoding, route PIRQA, B to ISA
 * IRQ 10 and PIRQC, D to 11, make these level-triggered (ELCR) and fill the
 * interrupt-line registers. For machines that boot a kernel directly, after
 * each reset, while the vCPUs are paused. -ENOSPC if a window is full.
 */
MUST_CHECK int pci_assign_resources(struct pci_host *h, struct err *err);

#endif
