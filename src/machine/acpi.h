#ifndef HUSK_MACHINE_ACPI_H
#define HUSK_MACHINE_ACPI_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "mem/gmem.h"

/* SLP_TYP of soft-off, as \_S5 says it. */
#define ACPI_SLP_TYP_S5 5u

/* GSIs of the tables: IRQ 0 arrives at input 2, the SCI is level-triggered. */
enum { ACPI_GSI_PIT = 2, ACPI_IRQ_SCI = 9, ACPI_MAX_CPUS = 255 };

struct acpi_config {
    unsigned cpus;    /* 1..ACPI_MAX_CPUS; APIC ids count from 0 */
    uint16_t pm_base; /* I/O port of the PM block */
    gpa_t pci_mmio;   /* where the window for PCI memory begins */
};

/*
 * Write all tables (ACPI 6.5, 5.2) into buf, which holds size zeroed bytes and
 * will be at gpa (a multiple of 64); the root pointer comes first. Returns how
 * many bytes they have, or -ENOSPC if they do not fit.
 */
MUST_CHECK long acpi_build(const struct acpi_config *cfg, uint8_t *buf,
                           size_t size, gpa_t gpa);

/* The differentiated description block: AML behind its header. Returns its
 * length, or -ENOSPC. */
MUST_CHECK long acpi_build_dsdt(const struct acpi_config *cfg, uint8_t *buf,
                                size_t size);

enum { ACPI_HEADER_SIZE = 36, ACPI_RSDP_SIZE = 36 };

/* Fill the header at t, whose body is there, and the checksum of all of it. */
void acpi_finish_table(uint8_t *t, const char *signature, uint8_t revision,
                       size_t len);

#endif
