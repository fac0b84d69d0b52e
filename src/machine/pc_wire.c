/*
 * Who interrupts whom: ISA wires to the 8259s and the I/O APIC, PCI links,
 * HPET, and the local APICs between all of them and the CPUs.
 */
#include <errno.h>

#include "base/clock.h"
#include "machine/acpi.h"
#include "machine/pc_int.h"

/* The same numbers, so that messages pass without translation. */
_Static_assert((int)LAPIC_EVENT_INTR == (int)VCPU_EVENT_INTR &&
                   (int)LAPIC_EVENT_NMI == (int)VCPU_EVENT_NMI &&
                   (int)LAPIC_EVENT_INIT == (int)VCPU_EVENT_INIT &&
                   (int)LAPIC_EVENT_SIPI == (int)VCPU_EVENT_SIPI,
               "APIC and vCPU events differ");

/* An ISA wire ends at both controllers; the guest masks one of them. */
static void isa_set(void *opaque, unsigned n, bool level)
{
    struct pc *pc = opaque;
    struct irq pic = i8259_irq(&pc->pic, n);
    struct irq apic = ioapic_irq(&pc->ioapic, n == 0 ? ACPI_GSI_PIT : n);

    irq_set(&pic, level);
    irq_set(&apic, level);
}

struct irq pc_isa_irq(struct pc *pc, unsigned n)
{
    return (struct irq){isa_set, pc, n};
}

struct irq pc_gsi(struct pc *pc, unsigned gsi)
{
    return ioapic_irq(&pc->ioapic, gsi);
}

void pc_fill_test_lines(struct pc *pc, struct irq line[TEST_DEV_LINES])
{
    for (unsigned i = 0; i < TEST_DEV_LINES; i++)
        line[i] = i < PCI_NR_ISA_IRQS ? pc_isa_irq(pc, i) : pc_gsi(pc, i);
}

void pc_fill_hpet_wires(struct pc *pc, struct hpet_wires *wires)
{
    for (unsigned i = 0; i < HPET_GSIS; i++)
        wires->gsi[i] = pc_gsi(pc, i);
    wires->legacy0 = pc_isa_irq(pc, 0);
    wires->legacy8 = pc_isa_irq(pc, 8);
    wires->replace_pit = i8254_mask_wire(&pc->pit);
    wires->replace_rtc = cmos_mask_wire(&pc->cmos);
}

/* In PIC mode the links arrive at the 8259s alone: their I/O APIC inputs are
 * the GSIs. */
void pc_fill_pci_wires(struct pc *pc, struct pci_host_config *cfg)
{
    for (unsigned i = 0; i < PCI_NR_LINKS; i++)
        cfg->gsi[i] = pc_gsi(pc, PCI_GSI_BASE + i);
    for (unsigned i = 0; i < PCI_NR_ISA_IRQS; i++)
        cfg->isa[i] = i8259_irq(&pc->pic, i);
    cfg->msi = lapic_bus_sink(&pc->lapics);
}

/* --- Local APICs --------------------------------------------------------- */

static void post(void *opaque, unsigned cpu, unsigned ev, uint8_t vector)
{
    struct pc *pc = opaque;

    /* NULL while the machine is being made or taken down */
    if (pc->vcpus)
        vcpu_post(vcpu_get(pc->vcpus, cpu), (enum vcpu_event)ev, vector);
}

static void moved(void *opaque, unsigned cpu, uint64_t gpa)
{
    struct pc *pc = opaque;

    if (pc->vcpus)
        atomic_store(&vcpu_get(pc->vcpus, cpu)->apic_base, gpa);
}

int pc_make_lapics(struct pc *pc, struct err *err)
{
    const struct lapic_ops ops = {
        .post = post,
        .moved = moved,
        .opaque = pc,
        .eoi = ioapic_eoi,
        .ioapic = &pc->ioapic,
        .pic_ack = i8259_ack,
        .pic_peek = i8259_peek,
        .pic = &pc->pic,
    };
    int rc =
        lapic_bus_init(&pc->lapics, pc->cfg.cpus, &ops, pc->loop, &pc->gmem);

    if (rc < 0)
        return err_set(err, rc, "make %u interrupt controllers: %s",
                       pc->cfg.cpus,
                       rc == -ENOMEM ? "out of memory" : "too many CPUs");
    return 0;
}

static const struct vcpu_intc_ops intc_ops = {
    .pending = lapic_pending,
    .ack = lapic_ack,
    .get_cr8 = lapic_get_cr8,
    .set_cr8 = lapic_set_cr8,
    .rdmsr = lapic_rdmsr,
    .wrmsr = lapic_wrmsr,
    .mmio_read = lapic_mmio_read,
    .mmio_write = lapic_mmio_write,
    .reset = lapic_reset,
};

void pc_tie_lapics(struct pc *pc)
{
    for (unsigned i = 0; i < pc->cfg.cpus; i++)
        vcpu_set_intc(vcpu_get(pc->vcpus, i), &intc_ops,
                      lapic_bus_get(&pc->lapics, i));
}
