/*
 * The DSDT: what ACPI cannot find out by itself. The PCI root with its windows
 * and interrupt wires, the ISA devices, the CPUs, and \_S5.
 */
#include <errno.h>
#include <stdio.h>

#include "devices/pc/acpi_pm.h"
#include "devices/pc/fw_cfg.h"
#include "devices/pc/hpet.h"
#include "devices/pci/pci.h"
#include "machine/acpi.h"
#include "machine/aml.h"
#include "machine/memlayout.h"

/* \_S5: SLP_TYP for PM1a and PM1b control (7.4.2) */
static void put_s5(struct aml *a)
{
    size_t pkg;

    aml_name(a, "\\_S5_");
    pkg = aml_package(a, 4);
    aml_int(a, ACPI_SLP_TYP_S5);
    aml_int(a, 0);
    aml_int(a, 0);
    aml_int(a, 0);
    aml_end(a, pkg);
}

/* \_PIC (5.8.1): the guest says whether it uses the I/O APIC. */
static void put_pic_method(struct aml *a)
{
    size_t m;

    aml_name(a, "\\PICM");
    aml_int(a, 0);
    m = aml_method(a, "\\_PIC", 1);
    aml_store_arg(a, 0, "PICM");
    aml_end(a, m);
}

/* ISA IRQs that pci_assign_resources gives to PIRQA..PIRQD. */
static const unsigned pic_irq[PCI_NR_LINKS] = {10, 10, 11, 11};

/* Name (name, Package (128) { {slot, pin, Zero, gsi}, ... }) (6.2.13): the
 * wires are fixed, so no link devices stand between. */
static void put_routes(struct aml *a, const char *name, bool apic)
{
    size_t all, one;

    aml_name(a, name);
    all = aml_package(a, PCI_NR_SLOTS * 4);
    for (unsigned slot = 0; slot < PCI_NR_SLOTS; slot++) {
        for (unsigned pin = 0; pin < 4; pin++) {
            unsigned link = pci_link(slot, pin);

            one = aml_package(a, 4);
            aml_int(a, slot << 16 | 0xffff);
            aml_int(a, pin);
            aml_int(a, 0);
            aml_int(a, apic ? PCI_GSI_BASE + link : pic_irq[link]);
            aml_end(a, one);
        }
    }
    aml_end(a, all);
}

static void put_prt(struct aml *a)
{
    size_t m, cond;

    put_routes(a, "PRTA", true);
    put_routes(a, "PRTP", false);
    m = aml_method(a, "_PRT", 0);
    cond = aml_if(a, "PICM");
    aml_return(a);
    aml_ref(a, "PRTA");
    aml_end(a, cond);
    aml_return(a);
    aml_ref(a, "PRTP");
    aml_end(a, m);
}

static void put_root_windows(struct aml *a, gpa_t pci_mmio)
{
    size_t res;

    aml_name(a, "_CRS");
    res = aml_resources(a);
    aml_res_bus_range(a, 0, 0xff);
    aml_res_io(a, 0xcf8, 8);
    aml_res_io_range(a, 0, 0xcf7);
    aml_res_io_range(a, 0xd00, 0xffff);
    aml_res_memory_range(a, PC_LOW_END, PC_UPPER - 1, true);
    aml_res_memory_range(a, (uint32_t)pci_mmio, PC_PCI_MMIO_END - 1, false);
    aml_res_end(a, res);
}

/* Device (name) with an EISA id, opened. */
static size_t begin_device(struct aml *a, const char *name, const char *hid)
{
    size_t dev = aml_device(a, name);

    aml_name(a, "_HID");
    aml_eisaid(a, hid);
    return dev;
}

/* A device with one or two port ranges and an IRQ (0 = none). */
static void put_isa_device(struct aml *a, const char *name, const char *hid,
                           const uint16_t io[2], uint8_t len, unsigned irq)
{
    size_t dev = begin_device(a, name, hid);
    size_t res;

    aml_name(a, "_CRS");
    res = aml_resources(a);
    aml_res_io(a, io[0], len);
    if (io[1])
        aml_res_io(a, io[1], len);
    if (irq)
        aml_res_irq(a, irq);
    aml_res_end(a, res);
    aml_end(a, dev);
}

/* The second PS/2 port: nothing is plugged in, but the port is there. */
static void put_mouse(struct aml *a)
{
    size_t dev = begin_device(a, "MOU_", "PNP0F13");
    size_t res;

    aml_name(a, "_CRS");
    res = aml_resources(a);
    aml_res_irq(a, 12);
    aml_res_end(a, res);
    aml_end(a, dev);
}

static void put_com1(struct aml *a)
{
    size_t dev = begin_device(a, "COM1", "PNP0501");
    size_t res;

    aml_name(a, "_UID");
    aml_int(a, 1);
    aml_name(a, "_CRS");
    res = aml_resources(a);
    aml_res_io(a, 0x3f8, 8);
    aml_res_irq(a, 4);
    aml_res_end(a, res);
    aml_end(a, dev);
}

static void put_isa_bridge(struct aml *a)
{
    size_t dev = aml_device(a, "ISA_");

    aml_name(a, "_ADR");
    aml_int(a, 0x00010000);
    put_isa_device(a, "RTC_", "PNP0B00", (const uint16_t[2]){0x70, 0}, 2, 8);
    put_isa_device(a, "KBD_", "PNP0303", (const uint16_t[2]){0x60, 0x64}, 1, 1);
    put_mouse(a);
    put_com1(a);
    aml_end(a, dev);
}

/* What has ports of the board that no other device shows (PNP0C02). */
static void put_board(struct aml *a)
{
    size_t dev = begin_device(a, "GPEH", "PNP0C02");
    size_t res;

    aml_name(a, "_CRS");
    res = aml_resources(a);
    aml_res_io(a, ACPI_GPE0_BASE, ACPI_GPE0_PORTS);
    aml_res_end(a, res);
    aml_end(a, dev);
}

static void put_hpet_device(struct aml *a)
{
    size_t dev = begin_device(a, "HPET", "PNP0103");
    size_t res;

    aml_name(a, "_UID");
    aml_int(a, 0);
    aml_name(a, "_CRS");
    res = aml_resources(a);
    aml_res_memory(a, HPET_BASE, HPET_MMIO_SIZE);
    aml_res_end(a, res);
    aml_end(a, dev);
}

static void put_fw_cfg(struct aml *a)
{
    size_t dev = aml_device(a, "FWCF");
    size_t res;

    aml_name(a, "_HID");
    aml_string(a, "QEMU0002");
    aml_name(a, "_STA");
    aml_int(a, 0x0b); /* present, working, not shown to the user */
    aml_name(a, "_CRS");
    res = aml_resources(a);
    aml_res_io(a, FW_CFG_PORT,
               FW_CFG_DMA_PORT + FW_CFG_DMA_PORTS - FW_CFG_PORT);
    aml_res_end(a, res);
    aml_end(a, dev);
}

static void put_pci_root(struct aml *a, gpa_t pci_mmio)
{
    size_t dev = begin_device(a, "PCI0", "PNP0A03");

    aml_name(a, "_ADR");
    aml_int(a, 0);
    aml_name(a, "_UID");
    aml_int(a, 0);
    put_root_windows(a, pci_mmio);
    put_prt(a);
    put_isa_bridge(a);
    put_board(a);
    aml_end(a, dev);
}

/* Processor devices (8.4); _UID is what the MADT calls the processor id. */
static void put_cpus(struct aml *a, unsigned nr)
{
    for (unsigned i = 0; i < nr; i++) {
        char name[8];
        size_t dev;

        (void)snprintf(name, sizeof(name), "C%03X", i & 0xfffu);
        dev = aml_device(a, name);
        aml_name(a, "_HID");
        aml_string(a, "ACPI0007");
        aml_name(a, "_UID");
        aml_int(a, i);
        aml_end(a, dev);
    }
}

long acpi_build_dsdt(const struct acpi_config *cfg, uint8_t *buf, size_t size)
{
    struct aml a;
    size_t sb;

    if (size < ACPI_HEADER_SIZE)
        return -ENOSPC;
    aml_init(&a, buf + ACPI_HEADER_SIZE, size - ACPI_HEADER_SIZE);
    put_s5(&a);
    put_pic_method(&a);
    sb = aml_scope(&a, "\\_SB_");
    put_pci_root(&a, cfg->pci_mmio);
    put_hpet_device(&a);
    put_fw_cfg(&a);
    put_cpus(&a, cfg->cpus);
    aml_end(&a, sb);
    if (a.failed)
        return -ENOSPC;
    acpi_finish_table(buf, "DSDT", 2, ACPI_HEADER_SIZE + a.len);
    return (long)(ACPI_HEADER_SIZE + a.len);
}
