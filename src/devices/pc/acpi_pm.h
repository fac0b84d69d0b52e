#ifndef HUSK_DEVICES_PC_ACPI_PM_H
#define HUSK_DEVICES_PC_ACPI_PM_H

#include <stdint.h>

#include "base/lock.h"
#include "bus/bus.h"
#include "bus/irq.h"
#include "devices/device.h"
#include "event/loop.h"

/*
 * ACPI fixed hardware (ACPI 6.5, 4.8): PM1a event and control blocks, the PM
 * timer (32 bits), one general-purpose event block, the SMI command port that
 * turns ACPI mode on and off.
 */
enum {
    /* Offsets in the 16 ports of acpi_pm_bus_ops. */
    ACPI_PM1_EVT = 0, /* 4 bytes: status, enable */
    ACPI_PM1_CNT = 4, /* 2 bytes */
    ACPI_PM_TMR = 8,  /* 4 bytes */
    ACPI_PM_PORTS = 16,
    ACPI_GPE0_PORTS = 4, /* 2 status, 2 enable: acpi_gpe_bus_ops */
    ACPI_SMI_PORTS = 2,  /* acpi_smi_bus_ops */
    /* Where the machine may put them, as QEMU's pc does. */
    ACPI_PM_BASE = 0x600,
    ACPI_PM_BASE_UEFI = 0xb000, /* OVMF switches off there, whatever it finds */
    ACPI_GPE0_BASE = 0xafe0,
    ACPI_SMI_PORT = 0xb2,
    ACPI_SMI_ENABLE = 0xf1,
    ACPI_SMI_DISABLE = 0xf0,
    ACPI_TMR_HZ = 3579545,
    ACPI_GPE_BITS = 16
};

struct acpi_pm_state {
    uint16_t pm1_sts, pm1_en, pm1_cnt;
    uint16_t gpe_sts, gpe_en;
    uint8_t smi_cmd, smi_sts;
    uint64_t tmr_base_ns; /* when the timer was 0 */
    uint64_t tmr_seen;    /* ticks up to which TMR_STS has been set */
};

struct acpi_pm {
    struct acpi_pm_state st;
    struct lock lock;
    struct irq sci;
    struct timer timer;
    void (*sleep)(void *opaque, unsigned type);
    void *opaque;
};

extern const struct bus_ops acpi_pm_bus_ops;
extern const struct bus_ops acpi_gpe_bus_ops;
extern const struct bus_ops acpi_smi_bus_ops;
extern const struct state_desc acpi_pm_state_desc;
extern const struct device_class acpi_pm_class;

/*
 * sci is level-triggered and active high. sleep is called with the lock held,
 * on a vCPU's thread, when the guest sets SLP_EN; type is SLP_TYP (the machine
 * knows which one its \_S5 names). It must only post.
 *
 * SCI_EN is set at power-on (no SMI handler has to be asked for it).
 */
void acpi_pm_init(struct acpi_pm *pm, struct irq sci, struct loop *loop,
                  void (*sleep)(void *opaque, unsigned type), void *opaque);
void acpi_pm_fini(struct acpi_pm *pm);
void acpi_pm_reset(struct acpi_pm *pm); /* lock held */

/* The operator pressed the power button. Any thread. */
void acpi_pm_power_button(struct acpi_pm *pm);
/* General-purpose event n (0..15) happened. Any thread. */
void acpi_pm_gpe(struct acpi_pm *pm, unsigned n);

#endif
