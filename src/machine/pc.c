/*
 * The life of a PC. It is made in stages, in the order of the table below,
 * and taken down in the reverse order, also when a stage fails. A reset goes:
 * CPUs paused; interrupt controllers and devices; PCI functions; CPUs with
 * their APICs; memory cleared; firmware's work and kernel; CPUs resumed.
 *
 * Threads: everything here runs on the loop's thread, except that devices
 * post events from vCPU threads.
 */
#include "machine/pc.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "machine/acpi.h"
#include "machine/pc_int.h"

/* PCI slots of the virtio devices. */
enum { SLOT_RNG = 2, SLOT_CONSOLE = 3 };

/* Where PCI I/O BARs go; memory BARs share the hole with nothing. */
#define PCI_IO_BASE 0xc000u
#define PCI_IO_SIZE 0x2000u

/* --- Events -------------------------------------------------------------- */

void pc_post(struct pc *pc, enum pc_event ev, uint32_t value)
{
    uint64_t none = PC_EVENT_NONE;

    if (atomic_compare_exchange_strong(&pc->event, &none,
                                       (uint64_t)value << 32 | (uint64_t)ev))
        timer_arm(&pc->event_timer, 0);
}

static void tell_owner(void *opaque)
{
    struct pc *pc = opaque;
    uint64_t ev = atomic_load(&pc->event);

    if (ev)
        pc->cfg.event(pc->cfg.opaque, (enum pc_event)(uint32_t)ev,
                      (uint32_t)(ev >> 32));
}

static void on_reset_line(void *opaque)
{
    pc_post(opaque, PC_EVENT_RESET, 0);
}

/* Other sleep types are not offered; real chips sleep or do nothing. Type 0 is
 * the PIIX4's own for soft-off (82371AB, PMCNTRL), which OVMF uses. */
static void on_sleep(void *opaque, unsigned type)
{
    if (type == ACPI_SLP_TYP_S5 || type == 0)
        pc_post(opaque, PC_EVENT_POWER_OFF, 0);
}

static void on_debug_exit(void *opaque, uint32_t value)
{
    pc_post(opaque, PC_EVENT_DEBUG_EXIT, value);
}

static void on_vcpu_stopped(void *opaque, enum vcpu_stop_reason why)
{
    pc_post(opaque,
            why == VCPU_STOP_TRIPLE ? PC_EVENT_TRIPLE_FAULT : PC_EVENT_ERROR,
            0);
}

/* --- Stages -------------------------------------------------------------- */

/* Firmware is needed only if there is no kernel to be found. */
static int do_without(struct pc *pc, const struct err *why)
{
    pc->no_rom = *why;
    pc->cfg.firmware = FIRMWARE_NONE;
    return 0;
}

static int open_kernel(struct pc *pc, struct err *err)
{
    int rc = image_open(&pc->kernel, "kernel", pc->cfg.kernel, err);

    if (rc < 0 || !pc->cfg.initrd)
        return rc;
    rc = image_open(&pc->initrd, "initrd", pc->cfg.initrd, err);
    if (rc < 0)
        image_close(&pc->kernel);
    return rc;
}

static int make_images(struct pc *pc, struct err *err)
{
    int rc;

    if (pc->cfg.firmware != FIRMWARE_NONE) {
        rc = pc_open_firmware(pc, err);
        if (rc < 0)
            return pc->cfg.find_kernel ? do_without(pc, err) : rc;
    }
    if (!pc->cfg.kernel)
        return 0;
    rc = open_kernel(pc, err);
    if (rc < 0)
        image_close(&pc->rom);
    return rc;
}

static void drop_images(struct pc *pc)
{
    image_close(&pc->kernel);
    image_close(&pc->initrd);
    image_close(&pc->rom);
}

static int make_memory(struct pc *pc, struct err *err)
{
    int rc = memlayout_init(&pc->layout, pc->cfg.memory, pc->rom_size, err);

    if (rc < 0)
        return rc;
    if (pc->cfg.vga)
        memlayout_add_device(&pc->layout, VGA_VRAM_SIZE);
    rc = gmem_init(&pc->gmem, pc->layout.bank, pc->layout.nr_banks, err);
    /* More than the host has is asked too much, not a failure of the host. */
    return rc == -ENOMEM ? -ERANGE : rc;
}

static void drop_memory(struct pc *pc)
{
    gmem_fini(&pc->gmem);
}

static int make_buses(struct pc *pc, struct err *err)
{
    if (bus_new(&pc->pio) < 0)
        return err_set(err, -ENOMEM, "make the buses: out of memory");
    if (bus_new(&pc->mmio) < 0) {
        bus_free(pc->pio);
        return err_set(err, -ENOMEM, "make the buses: out of memory");
    }
    return 0;
}

static void drop_buses(struct pc *pc)
{
    bus_free(pc->mmio);
    bus_free(pc->pio);
}

static void drop_lapics(struct pc *pc)
{
    lapic_bus_fini(&pc->lapics);
}

static void on_a20(void *opaque, bool open)
{
    struct pc *pc = opaque;

    gmem_set_a20(&pc->gmem, open);
}

static void init_timers(struct pc *pc)
{
    struct hpet_wires wires = {0};

    i8254_init(&pc->pit, pc_isa_irq(pc, 0), pc->loop);
    cmos_init(&pc->cmos, pc_isa_irq(pc, 8), pc->loop);
    cmos_set_memory(&pc->cmos, pc->layout.low_end, pc->layout.high_end - PC_4G,
                    pc->cfg.cpus);
    pc_fill_hpet_wires(pc, &wires);
    hpet_init(&pc->hpet, &wires, pc->loop);
    acpi_pm_init(&pc->pm, pc_isa_irq(pc, ACPI_IRQ_SCI), pc->loop, on_sleep, pc);
}

static int make_devices(struct pc *pc, struct err *err)
{
    struct msi_sink sink = lapic_bus_sink(&pc->lapics);

    (void)err;
    i8259_init(&pc->pic, lapic_bus_lint0(&pc->lapics));
    ioapic_init(&pc->ioapic, &sink);
    init_timers(pc);
    i8042_init(&pc->kbd, pc_isa_irq(pc, 1), pc_isa_irq(pc, 12), on_reset_line,
               pc);
    i8042_on_a20(&pc->kbd, on_a20, pc);
    uart16550_init(&pc->uart, pc_isa_irq(pc, 4), &pc->cfg.serial, pc->loop);
    fw_cfg_init(&pc->fw_cfg, &pc->gmem, pc->cfg.memory, pc->cfg.cpus);
    reset_port_init(&pc->reset_port, on_reset_line, pc);
    pc->debugcon = (struct debugcon){pc->cfg.debugcon, pc->cfg.debugcon_opaque};
    pc->debug_exit = (struct debug_exit){on_debug_exit, pc};
    test_dev_init(&pc->test);
    pc_fill_test_lines(pc, pc->test.line);
    return 0;
}

static void drop_devices(struct pc *pc)
{
    test_dev_fini(&pc->test);
    fw_cfg_fini(&pc->fw_cfg);
    uart16550_fini(&pc->uart);
    i8042_fini(&pc->kbd);
    acpi_pm_fini(&pc->pm);
    hpet_fini(&pc->hpet);
    cmos_fini(&pc->cmos);
    i8254_fini(&pc->pit);
    ioapic_fini(&pc->ioapic);
    i8259_fini(&pc->pic);
}

static int make_pci_host(struct pc *pc, struct err *err)
{
    struct pci_host_config cfg = {
        .pio = pc->pio,
        .mmio = pc->mmio,
        .io = {PCI_IO_BASE, PCI_IO_SIZE},
        .mem32 = {PC_PCI_MMIO, PC_PCI_MMIO_END - PC_PCI_MMIO},
        .cf9_ops = &reset_port_bus_ops,
        .cf9_dev = &pc->reset_port,
    };

    pc_fill_pci_wires(pc, &cfg);
    return pci_host_init(&pc->pci, &cfg, err);
}

static int make_rng(struct pc *pc, struct err *err)
{
    const struct virtio_env env = {.gm = &pc->gmem, .loop = pc->loop};

    return virtio_rng_init(&pc->rng, &env, err);
}

static void drop_rng(struct pc *pc)
{
    virtio_rng_fini(&pc->rng);
}

static int make_console(struct pc *pc, struct err *err)
{
    const struct virtio_env env = {.gm = &pc->gmem, .loop = pc->loop};

    return virtio_console_init(&pc->console, &env, &pc->cfg.console, 0, 0, err);
}

static void drop_console(struct pc *pc)
{
    virtio_console_fini(&pc->console);
}

static void drop_pci(struct pc *pc)
{
    pc_drain_disks(pc); /* what ends now still interrupts */
    pci_host_fini(&pc->pci);
    pc_unplug_net(pc);
    pc_unplug_disks(pc);
    virtio_pci_fini(&pc->console_pci);
    virtio_pci_fini(&pc->rng_pci);
    i440fx_fini(&pc->board);
}

/* The host lets go of its functions before these are freed, so the host and
 * all that is on it are one stage. */
static int make_pci(struct pc *pc, struct err *err)
{
    int rc = make_pci_host(pc, err);

    if (rc < 0)
        return rc;
    rc = i440fx_init(&pc->board, &pc->pci, &pc->gmem, pc_pm_base(pc), err);
    if (rc < 0)
        goto drop_host;
    rc = virtio_pci_init(&pc->rng_pci, &pc->rng.vd, &pc->pci, SLOT_RNG, 0, err);
    if (rc < 0)
        goto drop_board;
    rc = virtio_pci_init(&pc->console_pci, &pc->console.vd, &pc->pci,
                         SLOT_CONSOLE, 0, err);
    if (rc < 0)
        goto drop_rng;
    rc = pc_plug_disks(pc, err);
    if (rc == 0)
        rc = pc_plug_vga(pc, err);
    if (rc == 0)
        rc = pc_plug_ide(pc, err);
    if (rc == 0)
        rc = pc_plug_net(pc, err);
    if (rc < 0)
        goto drop_disks;
    return 0;

drop_disks:
    drop_pci(pc);
    return rc;
drop_rng:
    pci_host_fini(&pc->pci);
    virtio_pci_fini(&pc->rng_pci);
    i440fx_fini(&pc->board);
    return rc;
drop_board:
    pci_host_fini(&pc->pci);
    i440fx_fini(&pc->board);
    return rc;
drop_host:
    pci_host_fini(&pc->pci);
    return rc;
}

/*
 * OVMF maps all that the CPU could address, with pages of 2 MiB: in 40 bits it
 * looks at how much memory there is instead. That, and what it adds for PCI,
 * must fit.
 */
#define UEFI_PHYS_BITS  40
#define UEFI_MEMORY_MAX ((uint64_t)1 << (UEFI_PHYS_BITS - 1))

static void limit_phys(struct pc *pc)
{
    if (pc->cfg.firmware == FIRMWARE_UEFI && pc->cfg.memory <= UEFI_MEMORY_MAX)
        cpuid_limit_phys(&pc->model, UEFI_PHYS_BITS);
}

static int make_vcpus(struct pc *pc, struct err *err)
{
    const struct vcpu_config cfg = {
        .nr = pc->cfg.cpus,
        .engine = pc->cfg.engine,
        .ops = pc->cfg.ops,
        .model = &pc->model,
        .gmem = &pc->gmem,
        .pio = pc->pio,
        .mmio = pc->mmio,
        .stopped = on_vcpu_stopped,
        .opaque = pc,
    };
    int rc = cpuid_model_init(&pc->model, pc->cfg.cpu, pc->cfg.cpus, err);

    if (rc < 0)
        return rc;
    limit_phys(pc);
    rc = vcpu_set_new(&pc->vcpus, &cfg, err);
    if (rc < 0)
        return rc;
    pc_tie_lapics(pc);
    return 0;
}

/* First of all: then nothing runs that could touch a device. */
static void drop_vcpus(struct pc *pc)
{
    struct vcpu_set *set = pc->vcpus;

    vcpu_set_free(set);
    pc->vcpus = NULL;
}

static const struct {
    int (*make)(struct pc *pc, struct err *err);
    void (*drop)(struct pc *pc);
} stages[] = {
    {make_images, drop_images},
    {make_memory, drop_memory},
    {make_buses, drop_buses},
    {pc_make_lapics, drop_lapics},
    {make_devices, drop_devices},
    {pc_map_devices, NULL},
    {make_rng, drop_rng},
    {make_console, drop_console},
    {pc_make_disks, pc_drop_disks},
    {pc_make_net, pc_drop_net},
    {pc_make_ide, pc_drop_ide},
    {pc_make_vga, pc_drop_vga},
    {pc_make_floppy, pc_drop_floppy},
    {make_pci, drop_pci},
    {pc_make_firmware, pc_drop_firmware},
    {pc_make_vars, pc_drop_vars},
    {make_vcpus, drop_vcpus},
};

static void undo_stages(struct pc *pc)
{
    while (pc->built > 0) {
        pc->built--;
        if (stages[pc->built].drop)
            stages[pc->built].drop(pc);
    }
}

int pc_new(struct pc **out, const struct pc_config *cfg, struct loop *loop,
           struct err *err)
{
    struct pc *pc = calloc(1, sizeof(*pc));
    int rc;

    if (!pc)
        return err_set(err, -ENOMEM, "make the machine: out of memory");
    pc->cfg = *cfg;
    pc->loop = loop;
    pc->kernel.fd = -1;
    pc->initrd.fd = -1;
    pc->rom.fd = -1;
    timer_init(&pc->event_timer, loop, tell_owner, pc);
    for (; pc->built < ARRAY_LEN(stages); pc->built++) {
        rc = stages[pc->built].make(pc, err);
        if (rc < 0) {
            pc_free(pc);
            return rc;
        }
    }
    *out = pc;
    return 0;
}

void pc_free(struct pc *pc)
{
    undo_stages(pc);
    timer_cancel(&pc->event_timer);
    free(pc);
}

/* --- Reset --------------------------------------------------------------- */

static void power_on(struct pc *pc)
{
    pc_reset_devices(pc);
    pci_host_reset(&pc->pci);
    pc_reset_vars(pc);
    pc_reset_vga(pc);
    virtio_pci_reset(&pc->rng_pci);
    virtio_pci_reset(&pc->console_pci);
    pc_reset_disks(pc);
    pc_reset_floppy(pc);
    pc_reset_net(pc);
    vcpu_set_reset(pc->vcpus);
    gmem_clear(&pc->gmem);
}

/* What looks at a disk must not see a write of the guest's that is still on its
 * way. A kernel that cannot be loaded has left traces. */
static int load_found(struct pc *pc, struct err *err)
{
    int rc;

    pc_drain_disks(pc);
    rc = pc_boot_found(pc, err);
    if (rc == 0 || (!pc->rom_size && !pc->no_rom.code))
        return rc;
    if (!pc->rom_size) {
        *err = pc->no_rom;
        return err->code;
    }
    power_on(pc);
    return pc_boot_firmware(pc, err);
}

int pc_load(struct pc *pc, struct err *err)
{
    power_on(pc);
    if (pc->cfg.find_kernel)
        return load_found(pc, err);
    return pc->rom_size ? pc_boot_firmware(pc, err) : pc_boot(pc, err);
}

void pc_start(struct pc *pc)
{
    vcpu_set_resume(pc->vcpus);
}

int pc_reset(struct pc *pc, struct err *err)
{
    int rc;

    vcpu_set_pause(pc->vcpus);
    rc = pc_load(pc, err);
    if (rc < 0)
        return rc;
    /* What was posted before the pause is this reset, or came too late. */
    atomic_store(&pc->event, PC_EVENT_NONE);
    vcpu_set_resume(pc->vcpus);
    return 0;
}

void pc_pause(struct pc *pc)
{
    vcpu_set_pause(pc->vcpus);
}

void pc_resume(struct pc *pc)
{
    vcpu_set_resume(pc->vcpus);
}

void pc_power_button(struct pc *pc)
{
    acpi_pm_power_button(&pc->pm);
}

struct vcpu_set *pc_vcpus(struct pc *pc)
{
    return pc->vcpus;
}

struct uart16550 *pc_uart(struct pc *pc)
{
    return &pc->uart;
}

struct virtio_console *pc_console(struct pc *pc)
{
    return &pc->console;
}
