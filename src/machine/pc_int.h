#ifndef HUSK_MACHINE_PC_INT_H
#define HUSK_MACHINE_PC_INT_H

#include <stdatomic.h>

#include "devices/display/vga.h"
#include "devices/floppy/fdc.h"
#include "devices/ide/ide.h"
#include "devices/pc/acpi_pm.h"
#include "devices/pc/cmos.h"
#include "devices/pc/debug_port.h"
#include "devices/pc/flash.h"
#include "devices/pc/fw_cfg.h"
#include "devices/pc/hpet.h"
#include "devices/pc/i8042.h"
#include "devices/pc/i8254.h"
#include "devices/pc/i8259.h"
#include "devices/pc/ioapic.h"
#include "devices/pc/lapic.h"
#include "devices/pc/reset_port.h"
#include "devices/pc/test_dev.h"
#include "devices/pci/i440fx.h"
#include "devices/virtio/virtio_blk.h"
#include "devices/virtio/virtio_net.h"
#include "devices/virtio/virtio_pci.h"
#include "devices/virtio/virtio_rng.h"
#include "machine/image.h"
#include "machine/memlayout.h"
#include "machine/pc.h"
#include "x86/cpuid.h"

struct pc_disk_dev {
    struct virtio_blk vb;
    struct virtio_pci pci;
    bool plugged;
    bool ide;           /* instead of vb and pci: */
    unsigned ide_drive; /* which of the function's */
    char name[16];      /* "disk0" */
};

struct pc_net_dev {
    struct virtio_net vn;
    struct virtio_pci pci;
    bool plugged;
};

/* The floppy drives and what moves their data, which share a lock. */
struct pc_floppy {
    struct lock lock;
    struct i8237 dma;
    struct fdc fdc;
};

/* Inside of struct pc, shared by pc.c and the files pc_*.c. */
struct pc {
    struct pc_config cfg;
    struct loop *loop;
    struct image kernel, initrd, rom;
    size_t rom_size;        /* 0: no firmware */
    struct err no_rom;      /* why not, if it could do without; code 0 = it is
                               there, or was not asked for */
    struct pc_firmware *fw; /* its files; NULL = none */
    struct flash flash;     /* UEFI's variables, if it runs */
    uint8_t *vars;          /* what is in it */
    size_t vars_size;
    int vars_fd; /* the file that they are kept in; -1 = none */
    struct memlayout layout;
    struct gmem gmem;
    struct cpuid_model model;
    struct bus *pio, *mmio;
    struct vcpu_set *vcpus;

    struct lapic_bus lapics;
    struct i8259 pic;
    struct ioapic ioapic;
    struct i8254 pit;
    struct hpet hpet;
    struct cmos cmos;
    struct acpi_pm pm;
    struct i8042 kbd;
    struct uart16550 uart;
    struct fw_cfg fw_cfg;
    struct reset_port reset_port;
    struct debugcon debugcon;
    struct debug_exit debug_exit;
    struct test_dev test;

    struct pci_host pci;
    struct i440fx board;
    struct virtio_rng rng;
    struct virtio_pci rng_pci;
    struct virtio_console console;
    struct virtio_pci console_pci;
    struct vga vga;           /* if cfg.vga */
    struct pc_net_dev *net;   /* NULL = none */
    struct pc_disk_dev *disk; /* nr_disks of them */
    unsigned nr_disks;
    struct ide *ide;              /* NULL: there is no drive on it */
    char cd_name[PC_MAX_CDS][16]; /* "cd0" */
    struct pc_floppy *floppy;     /* NULL = no drives */

    /* An event that waits for the loop: enum pc_event | value << 32, or 0.
     * Set by any thread, only if it is 0. */
    _Atomic uint64_t event;
    struct timer event_timer;
    unsigned built; /* stages of pc.c that stand and must be undone */
};

/* The I/O port of the PM block: where the firmware would have it. */
static inline uint16_t pc_pm_base(const struct pc *pc)
{
    return pc->cfg.firmware == FIRMWARE_UEFI ? ACPI_PM_BASE_UEFI : ACPI_PM_BASE;
}

/* pc_map.c: put all devices on the buses. -errno with err. */
MUST_CHECK int pc_map_devices(struct pc *pc, struct err *err);
/* Reset every device that is no CPU, APIC or PCI function. */
void pc_reset_devices(struct pc *pc);

/* pc_wire.c: device n's interrupt, on the 8259s and the I/O APIC. */
struct irq pc_isa_irq(struct pc *pc, unsigned n);
struct irq pc_gsi(struct pc *pc, unsigned gsi);
void pc_fill_hpet_wires(struct pc *pc, struct hpet_wires *wires);
void pc_fill_test_lines(struct pc *pc, struct irq line[TEST_DEV_LINES]);
void pc_fill_pci_wires(struct pc *pc, struct pci_host_config *cfg);
/* Make the local APICs; then tie them to the CPUs. */
MUST_CHECK int pc_make_lapics(struct pc *pc, struct err *err);
void pc_tie_lapics(struct pc *pc);

/* pc_boot.c: what firmware would leave behind, and the kernel. The CPUs and
 * devices are in power-on state, memory is clear. */
MUST_CHECK int pc_boot(struct pc *pc, struct err *err);
/* The same with the kernel that the owner finds; -errno with err also if it
 * finds none. */
MUST_CHECK int pc_boot_found(struct pc *pc, struct err *err);

/* pc_firmware.c: open the image; the files of fw_cfg; power-on. */
MUST_CHECK int pc_open_firmware(struct pc *pc, struct err *err);
MUST_CHECK int pc_make_firmware(struct pc *pc, struct err *err);
void pc_drop_firmware(struct pc *pc);
MUST_CHECK int pc_boot_firmware(struct pc *pc, struct err *err);

/* pc_vars.c: the flash device with UEFI's variables, if that is the firmware.
 */
MUST_CHECK int pc_make_vars(struct pc *pc, struct err *err);
void pc_reset_vars(struct pc *pc);
void pc_drop_vars(struct pc *pc);

/* pc_vga.c: the screen, if there is one; its PCI function, likewise. */
MUST_CHECK int pc_make_vga(struct pc *pc, struct err *err);
void pc_drop_vga(struct pc *pc);
MUST_CHECK int pc_plug_vga(struct pc *pc, struct err *err);
void pc_reset_vga(struct pc *pc);
/* After a reset: who starts the machine? */
void pc_show_vga(struct pc *pc, bool firmware);

/* pc_disk.c: the devices; their PCI functions, which go after the host. */
MUST_CHECK int pc_make_disks(struct pc *pc, struct err *err);
void pc_drop_disks(struct pc *pc);
MUST_CHECK int pc_plug_disks(struct pc *pc, struct err *err);
void pc_unplug_disks(struct pc *pc);
void pc_reset_disks(struct pc *pc);

/* pc_ide.c: the function with its drives, if there are any; after the disks. */
MUST_CHECK int pc_make_ide(struct pc *pc, struct err *err);
void pc_drop_ide(struct pc *pc);
MUST_CHECK int pc_plug_ide(struct pc *pc, struct err *err);
/* What Open Firmware calls a drive, as a line; which drive a CD is in. */
size_t pc_ide_path(const struct pc *pc, unsigned drive, char *text,
                   size_t size);
unsigned pc_cd_drive(unsigned cd);

/* pc_floppy.c: the floppy drives with their DMA, if there are any. */
MUST_CHECK int pc_make_floppy(struct pc *pc, struct err *err);
void pc_drop_floppy(struct pc *pc);
void pc_reset_floppy(struct pc *pc);
/* What Open Firmware calls a drive, as a line. */
size_t pc_floppy_path(unsigned drive, char *text, size_t size);

/* pc_net.c: the same for the network card. */
MUST_CHECK int pc_make_net(struct pc *pc, struct err *err);
void pc_drop_net(struct pc *pc);
MUST_CHECK int pc_plug_net(struct pc *pc, struct err *err);
void pc_unplug_net(struct pc *pc);
void pc_reset_net(struct pc *pc);

/* pc.c: remember an event for the owner. Any thread, any locks held. */
void pc_post(struct pc *pc, enum pc_event ev, uint32_t value);

#endif
