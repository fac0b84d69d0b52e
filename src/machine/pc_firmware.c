/*
 * A PC that starts as a real one does: firmware in ROM below 4 GiB, the last
 * 128 KiB of it also below 1 MiB, and CPUs in power-on state. What the firmware
 * has to know of the machine it reads from the fw_cfg device (QEMU:
 * docs/specs/fw_cfg.rst); its files are made once, as nothing in them changes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/endian.h"
#include "machine/acpi.h"
#include "machine/acpi_loader.h"
#include "machine/firmware.h"
#include "machine/fw_kernel.h"
#include "machine/pc_int.h"
#include "machine/smbios.h"

enum {
    TABLES_MAX = 128 << 10,
    E820_ENTRY = 20,
    BOOT_ORDER_LINE = 64,
    BOOT_ORDER_MAX =
        PC_MAX_DISKS + PC_MAX_CDS + PC_MAX_FLOPPIES + 2, /* lines */
    ROM_LOW = 128 << 10 /* of the ROM's end, below 1 MiB */
};

/* One byte for each sleep state: bit 7 says that it works. */
static const uint8_t sleep_states[6] = {0x80, 0, 0, 0, 0, 0x80};

/* What programs print by the BIOS goes to the port, too: there may be nobody
 * who looks at the screen. */
static const uint8_t console_port[2] = {0xf8, 0x03};

/* How long the boot menu waits for a key, in milliseconds. */
static const uint8_t menu_wait[2] = {10000 & 0xff, 10000 >> 8};

struct pc_firmware {
    uint8_t *tables;
    uint8_t loader[ACPI_LOADER_MAX];
    uint8_t anchor[SMBIOS_ANCHOR_SIZE], smbios[SMBIOS_TABLES_MAX];
    uint8_t e820[2 * E820_ENTRY];
    char order[BOOT_ORDER_MAX * BOOT_ORDER_LINE];
    struct fw_kernel kernel;
};

static bool has_firmware(const struct pc *pc)
{
    return pc->cfg.firmware != FIRMWARE_NONE;
}

/* --- Image ---------------------------------------------------------------- */

int pc_open_firmware(struct pc *pc, struct err *err)
{
    size_t size = 0;
    int rc = firmware_open(&pc->rom, pc->cfg.firmware, err);

    if (rc < 0)
        return rc;
    rc = firmware_size(&pc->rom, &size, err);
    if (rc < 0)
        image_close(&pc->rom);
    else
        pc->rom_size = size;
    return rc;
}

/* Nothing decodes the rest of the area below 1 MiB: it reads as ones. */
static void load_low_rom(struct pc *pc, const uint8_t *rom)
{
    uint8_t ones[1024];

    memset(ones, 0xff, sizeof(ones));
    for (uint64_t off = 0; off < GMEM_SHADOW_SIZE - ROM_LOW;
         off += sizeof(ones))
        gmem_shadow_load(&pc->gmem, off, ones, sizeof(ones));
    gmem_shadow_load(&pc->gmem, GMEM_SHADOW_SIZE - ROM_LOW,
                     rom + pc->rom_size - ROM_LOW, ROM_LOW);
}

static int load_rom(struct pc *pc, struct err *err)
{
    uint8_t *rom = NULL;
    size_t len = 0;
    int rc = image_read(&pc->rom, FIRMWARE_MAX, &rom, &len, err);

    if (rc < 0)
        return rc;
    if (len != pc->rom_size)
        rc = err_set(err, -EINVAL, "load firmware '%s': its size has changed",
                     pc->rom.path);
    else
        rc = gmem_load(&pc->gmem, PC_4G - len, rom, len);
    if (rc == 0)
        load_low_rom(pc, rom);
    free(rom);
    return rc;
}

/* --- Files ---------------------------------------------------------------- */

static size_t put_e820(const struct pc *pc, uint8_t *p)
{
    const uint64_t high = pc->layout.high_end - PC_4G;

    put_le64(p, 0);
    put_le64(p + 8, pc->layout.low_end);
    put_le32(p + 16, E820_RAM);
    if (!high)
        return E820_ENTRY;
    put_le64(p + E820_ENTRY, PC_4G);
    put_le64(p + E820_ENTRY + 8, high);
    put_le32(p + E820_ENTRY + 16, E820_RAM);
    return 2 * (size_t)E820_ENTRY;
}

static size_t put_disks(const struct pc *pc, char *text)
{
    size_t len = 0;

    for (unsigned i = 0; i < pc->nr_disks; i++) {
        const struct pc_disk_dev *d = &pc->disk[i];

        if (d->ide)
            len += pc_ide_path(pc, d->ide_drive, text + len, BOOT_ORDER_LINE);
        else
            len += (size_t)snprintf(text + len, BOOT_ORDER_LINE,
                                    "/pci@i0cf8/scsi@%x/disk@0,0\n",
                                    d->pci.pci.slot);
    }
    return len;
}

static size_t put_cds(const struct pc *pc, char *text)
{
    size_t len = 0;

    for (unsigned i = 0; i < pc->cfg.nr_cds; i++)
        len += pc_ide_path(pc, pc_cd_drive(i), text + len, BOOT_ORDER_LINE);
    return len;
}

static size_t put_floppies(const struct pc *pc, char *text)
{
    size_t len = 0;

    for (unsigned i = 0; i < pc->cfg.nr_floppies; i++)
        len += pc_floppy_path(i, text + len, BOOT_ORDER_LINE);
    return len;
}

static size_t put_net(const struct pc *pc, char *text)
{
    return pc->net && bootorder_names(&pc->cfg.boot, BOOTORDER_NET)
               ? (size_t)snprintf(text, BOOT_ORDER_LINE,
                                  "/pci@i0cf8/ethernet@%x/ethernet-phy@0\n",
                                  pc->net->pci.pci.slot)
               : 0;
}

/* Open Firmware paths as QEMU writes them (QEMU: docs/bootindex.txt), one a
 * line, the first to boot first: devices of each kind in their order. */
static size_t put_order(const struct pc *pc, char *text)
{
    size_t len = 0;

    if (pc->cfg.kernel)
        len = (size_t)snprintf(text, BOOT_ORDER_LINE, FW_KERNEL_BOOTORDER "\n");
    for (unsigned i = 0; i < BOOTORDER_NR_KINDS; i++)
        switch (bootorder_at(&pc->cfg.boot, i)) {
        case BOOTORDER_DISK: len += put_disks(pc, text + len); break;
        case BOOTORDER_CD: len += put_cds(pc, text + len); break;
        case BOOTORDER_NET: len += put_net(pc, text + len); break;
        case BOOTORDER_FLOPPY: len += put_floppies(pc, text + len); break;
        case BOOTORDER_NR_KINDS: break;
        }
    return len ? len + 1 : 0; /* with its final 0 */
}

static int add_acpi(struct pc *pc, struct pc_firmware *f)
{
    const struct acpi_config cfg = {.cpus = pc->cfg.cpus,
                                    .pm_base = pc_pm_base(pc),
                                    .pci_mmio = pc->layout.pci_mmio};
    long size, len;
    int rc;

    f->tables = calloc(1, TABLES_MAX);
    if (!f->tables)
        return -ENOMEM;
    size = acpi_build(&cfg, f->tables, TABLES_MAX, 0);
    if (size < 0)
        return (int)size;
    len = acpi_loader_build(f->tables, (size_t)size, f->loader,
                            sizeof(f->loader));
    if (len < 0)
        return (int)len;
    rc = fw_cfg_add_file(&pc->fw_cfg, ACPI_LOADER_RSDP, f->tables,
                         ACPI_RSDP_SIZE);
    if (rc == 0)
        rc = fw_cfg_add_file(&pc->fw_cfg, ACPI_LOADER_TABLES, f->tables,
                             (size_t)size);
    if (rc == 0)
        rc = fw_cfg_add_file(&pc->fw_cfg, "etc/table-loader", f->loader,
                             (size_t)len);
    return rc;
}

static int add_smbios(struct pc *pc, struct pc_firmware *f)
{
    const struct smbios_config cfg = {.cpus = pc->cfg.cpus,
                                      .low = pc->layout.low_end,
                                      .high = pc->layout.high_end - PC_4G};
    size_t len = smbios_build(&cfg, f->anchor, f->smbios);
    int rc = fw_cfg_add_file(&pc->fw_cfg, "etc/smbios/smbios-anchor", f->anchor,
                             sizeof(f->anchor));

    if (rc == 0)
        rc = fw_cfg_add_file(&pc->fw_cfg, "etc/smbios/smbios-tables", f->smbios,
                             len);
    return rc;
}

static int add_rest(struct pc *pc, struct pc_firmware *f)
{
    const struct {
        const char *name;
        const void *data;
        size_t len;
    } files[] = {
        {"etc/e820", f->e820, put_e820(pc, f->e820)},
        {"etc/system-states", sleep_states, sizeof(sleep_states)},
        {"etc/sercon-port", console_port,
         pc->cfg.serial.write ? sizeof(console_port) : 0},
        {"etc/boot-menu-wait", menu_wait,
         pc->cfg.boot.menu ? sizeof(menu_wait) : 0},
        {"bootorder", f->order, put_order(pc, f->order)},
    };
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(files); i++)
        if (files[i].len)
            rc = fw_cfg_add_file(&pc->fw_cfg, files[i].name, files[i].data,
                                 files[i].len);
    return rc;
}

/* Files over these sizes are no kernels and no RAM disks. */
#define KERNEL_MAX ((size_t)256 << 20)
#define INITRD_MAX ((size_t)1 << 30)

static int read_kernel(struct pc *pc, struct fw_kernel *k, struct err *err)
{
    struct err why = {0};
    int rc = image_read(&pc->kernel, KERNEL_MAX, &k->image, &k->image_len, err);

    k->cmdline = pc->cfg.append;
    if (rc == 0 && pc->cfg.initrd)
        rc = image_read(&pc->initrd, INITRD_MAX, &k->initrd, &k->initrd_len,
                        err);
    if (rc < 0)
        return rc;
    rc = fw_kernel_prepare(k, pc->layout.low_end, &why);
    if (rc < 0)
        return err_set(err, rc, "boot kernel '%s': %s", pc->kernel.path,
                       why.text);
    return 0;
}

int pc_make_firmware(struct pc *pc, struct err *err)
{
    struct pc_firmware *f;
    int rc;

    if (!has_firmware(pc))
        return 0;
    f = calloc(1, sizeof(*f));
    if (!f)
        return err_set(err, -ENOMEM,
                       "make the firmware's files: out of "
                       "memory");
    pc->fw = f;
    pc->fw_cfg.boot_menu = pc->cfg.boot.menu;
    if (pc->cfg.kernel) {
        rc = read_kernel(pc, &f->kernel, err);
        if (rc < 0) {
            pc_drop_firmware(pc);
            return rc;
        }
    }
    rc = add_acpi(pc, f);
    if (rc == 0)
        rc = add_smbios(pc, f);
    if (rc == 0)
        rc = add_rest(pc, f);
    if (rc == 0 && pc->cfg.kernel)
        rc = fw_kernel_add(&f->kernel, &pc->fw_cfg);
    if (rc < 0) {
        pc_drop_firmware(pc);
        return err_set(err, rc, "make the firmware's files: %s",
                       rc == -ENOMEM ? "out of memory" : "no room");
    }
    return 0;
}

void pc_drop_firmware(struct pc *pc)
{
    if (pc->fw) {
        fw_kernel_fini(&pc->fw->kernel);
        free(pc->fw->tables);
    }
    free(pc->fw);
    pc->fw = NULL;
}

/* --- Power-on ------------------------------------------------------------- */

int pc_boot_firmware(struct pc *pc, struct err *err)
{
    struct x86_state st;
    int rc = load_rom(pc, err);

    pc_show_vga(pc, true);
    if (rc < 0)
        return rc;
    for (unsigned i = 0; i < pc->cfg.cpus; i++) {
        vcpu_get_state(vcpu_get(pc->vcpus, i), &st);
        lapic_set_tsc(lapic_bus_get(&pc->lapics, i), (int64_t)st.tsc_offset,
                      clock_tsc_hz());
        vcpu_set_state(vcpu_get(pc->vcpus, i), &st);
    }
    return 0;
}
