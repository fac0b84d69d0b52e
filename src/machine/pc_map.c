/*
 * The address map and the device table of the PC: where each device answers,
 * and in which order devices are reset. PCI functions place themselves.
 */
#include <errno.h>
#include <inttypes.h>

#include "machine/pc_int.h"

enum map_space { MAP_PIO, MAP_MMIO };
enum map_condition {
    MAP_ALWAYS,
    MAP_DEBUGCON,
    MAP_DEBUG_EXIT,
    MAP_UEFI,
    MAP_NOT_UEFI,
    MAP_VGA
};

#define NO_LOCK SIZE_MAX

struct mapping {
    enum map_space space;
    uint64_t base, size;
    const struct bus_ops *ops;
    size_t dev_off, lock_off; /* in struct pc */
    enum map_condition when;
};

#define WITH_LOCK(d, l) offsetof(struct pc, d), offsetof(struct pc, l)
#define NO_LOCK_FOR(d)  offsetof(struct pc, d), NO_LOCK

static const struct mapping map[] = {
    {MAP_PIO, 0x20, 2, &i8259_bus_ops, WITH_LOCK(pic.port[0], pic.lock),
     MAP_ALWAYS},
    {MAP_PIO, 0xa0, 2, &i8259_bus_ops, WITH_LOCK(pic.port[1], pic.lock),
     MAP_ALWAYS},
    {MAP_PIO, 0x4d0, 2, &i8259_elcr_bus_ops, WITH_LOCK(pic, pic.lock),
     MAP_ALWAYS},
    {MAP_PIO, 0x40, 4, &i8254_bus_ops, WITH_LOCK(pit, pit.lock), MAP_ALWAYS},
    {MAP_PIO, 0x61, 1, &i8254_port61_bus_ops, WITH_LOCK(pit, pit.lock),
     MAP_ALWAYS},
    {MAP_PIO, 0x60, 1, &i8042_data_bus_ops, WITH_LOCK(kbd, kbd.lock),
     MAP_ALWAYS},
    {MAP_PIO, 0x64, 1, &i8042_cmd_bus_ops, WITH_LOCK(kbd, kbd.lock),
     MAP_ALWAYS},
    {MAP_PIO, 0x92, 1, &i8042_port92_bus_ops, WITH_LOCK(kbd, kbd.lock),
     MAP_ALWAYS},
    {MAP_PIO, 0x70, 2, &cmos_bus_ops, WITH_LOCK(cmos, cmos.lock), MAP_ALWAYS},
    {MAP_PIO, 0x3f8, UART16550_PORTS, &uart16550_bus_ops,
     WITH_LOCK(uart, uart.lock), MAP_ALWAYS},
    {MAP_PIO, FW_CFG_PORT, FW_CFG_PORTS, &fw_cfg_bus_ops,
     WITH_LOCK(fw_cfg, fw_cfg.lock), MAP_ALWAYS},
    {MAP_PIO, FW_CFG_DMA_PORT, FW_CFG_DMA_PORTS, &fw_cfg_dma_bus_ops,
     WITH_LOCK(fw_cfg, fw_cfg.lock), MAP_ALWAYS},
    {MAP_PIO, ACPI_PM_BASE, ACPI_PM_PORTS, &acpi_pm_bus_ops,
     WITH_LOCK(pm, pm.lock), MAP_NOT_UEFI},
    {MAP_PIO, ACPI_PM_BASE_UEFI, ACPI_PM_PORTS, &acpi_pm_bus_ops,
     WITH_LOCK(pm, pm.lock), MAP_UEFI},
    {MAP_PIO, ACPI_GPE0_BASE, ACPI_GPE0_PORTS, &acpi_gpe_bus_ops,
     WITH_LOCK(pm, pm.lock), MAP_ALWAYS},
    {MAP_PIO, ACPI_SMI_PORT, ACPI_SMI_PORTS, &acpi_smi_bus_ops,
     WITH_LOCK(pm, pm.lock), MAP_ALWAYS},
    {MAP_PIO, 0x402, 1, &debugcon_bus_ops, NO_LOCK_FOR(debugcon), MAP_DEBUGCON},
    {MAP_PIO, 0xf4, 4, &debug_exit_bus_ops, NO_LOCK_FOR(debug_exit),
     MAP_DEBUG_EXIT},
    {MAP_PIO, VGA_VBE_PORT, VGA_VBE_PORTS, &vga_vbe_bus_ops,
     WITH_LOCK(vga, vga.lock), MAP_VGA},
    {MAP_PIO, VGA_MONO_PORT, VGA_MONO_PORTS, &vga_mono_bus_ops,
     WITH_LOCK(vga, vga.lock), MAP_VGA},
    {MAP_PIO, VGA_PORT, VGA_PORTS, &vga_bus_ops, WITH_LOCK(vga, vga.lock),
     MAP_VGA},
    {MAP_PIO, VGA_COLOR_PORT, VGA_COLOR_PORTS, &vga_color_bus_ops,
     WITH_LOCK(vga, vga.lock), MAP_VGA},
    {MAP_MMIO, VGA_WINDOW, VGA_WINDOW_SIZE, &vga_window_bus_ops,
     WITH_LOCK(vga, vga.lock), MAP_VGA},
    {MAP_PIO, TEST_DEV_WORD_PORT, 4, &test_dev_word_bus_ops,
     WITH_LOCK(test, test.lock), MAP_DEBUG_EXIT},
    {MAP_PIO, TEST_DEV_LINE_PORT, TEST_DEV_LINES, &test_dev_line_bus_ops,
     WITH_LOCK(test, test.lock), MAP_DEBUG_EXIT},
    {MAP_MMIO, TEST_DEV_MEM_BASE, TEST_DEV_MEM_SIZE, &test_dev_mem_bus_ops,
     WITH_LOCK(test, test.lock), MAP_DEBUG_EXIT},
    {MAP_MMIO, IOAPIC_BASE, IOAPIC_MMIO_SIZE, &ioapic_bus_ops,
     WITH_LOCK(ioapic, ioapic.lock), MAP_ALWAYS},
    {MAP_MMIO, HPET_BASE, HPET_MMIO_SIZE, &hpet_bus_ops,
     WITH_LOCK(hpet, hpet.lock), MAP_ALWAYS},
};

/* Interrupt controllers first: a device that is reset lowers its wire. */
static const struct {
    const char *name; /* in snapshots */
    const struct device_class *cls;
    size_t dev_off, lock_off;
} devices[] = {
    {"pic", &i8259_class, WITH_LOCK(pic, pic.lock)},
    {"ioapic", &ioapic_class, WITH_LOCK(ioapic, ioapic.lock)},
    {"pit", &i8254_class, WITH_LOCK(pit, pit.lock)},
    {"hpet", &hpet_class, WITH_LOCK(hpet, hpet.lock)},
    {"cmos", &cmos_class, WITH_LOCK(cmos, cmos.lock)},
    {"acpi_pm", &acpi_pm_class, WITH_LOCK(pm, pm.lock)},
    {"i8042", &i8042_class, WITH_LOCK(kbd, kbd.lock)},
    {"uart0", &uart16550_class, WITH_LOCK(uart, uart.lock)},
    {"fw_cfg", &fw_cfg_class, WITH_LOCK(fw_cfg, fw_cfg.lock)},
    {"reset_port", &reset_port_class, NO_LOCK_FOR(reset_port)},
};

static void *at(struct pc *pc, size_t off)
{
    return (char *)pc + off;
}

static struct lock *lock_at(struct pc *pc, size_t off)
{
    return off == NO_LOCK ? NULL : at(pc, off);
}

static bool is_wanted(const struct pc *pc, enum map_condition when)
{
    switch (when) {
    case MAP_DEBUGCON: return pc->cfg.debugcon != NULL;
    case MAP_DEBUG_EXIT: return pc->cfg.debug_exit;
    case MAP_UEFI: return pc->cfg.firmware == FIRMWARE_UEFI;
    case MAP_NOT_UEFI: return pc->cfg.firmware != FIRMWARE_UEFI;
    case MAP_VGA: return pc->cfg.vga != PC_VGA_NONE;
    case MAP_ALWAYS: break;
    }
    return true;
}

int pc_map_devices(struct pc *pc, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(map); i++) {
        const struct mapping *m = &map[i];
        int rc;

        if (!is_wanted(pc, m->when))
            continue;
        rc = bus_map(m->space == MAP_PIO ? pc->pio : pc->mmio, m->base, m->size,
                     m->ops, at(pc, m->dev_off), lock_at(pc, m->lock_off));
        if (rc < 0)
            return err_set(err, rc, "map a device at 0x%" PRIx64 ": %s",
                           m->base,
                           rc == -ENOMEM ? "out of memory" : "address in use");
    }
    return 0;
}

void pc_reset_devices(struct pc *pc)
{
    for (size_t i = 0; i < ARRAY_LEN(devices); i++) {
        struct device d = {.name = devices[i].name,
                           .cls = devices[i].cls,
                           .obj = at(pc, devices[i].dev_off),
                           .lock = lock_at(pc, devices[i].lock_off)};

        device_reset(&d);
    }
}
