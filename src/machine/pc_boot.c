/*
 * What firmware would have done before a kernel is entered: cache attributes,
 * virtual wire mode of the first APIC, PCI resources, text on the screen, ACPI
 * tables. Then the kernel itself.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "machine/acpi.h"
#include "machine/boot.h"
#include "machine/pc_int.h"

/* Files over this size are no kernels (nor kernels with debug symbols). */
#define KERNEL_FILE_MAX ((size_t)2 << 30)

/* Memory types (SDM vol. 3, 12.11): write-back, write-protected, and the
 * register bits. Fixed ranges: 64 KiB x 8, 16 KiB x 8 x 2, 4 KiB x 8 x 8. */
#define MTRR_WB         0x0606060606060606ull
#define MTRR_WP         0x0505050505050505ull
#define MTRR_DEF_WB     0x06u
#define MTRR_FIXED_ON   0x400u
#define MTRR_ON         0x800u
#define MTRR_MASK_VALID 0x800u
enum { FIXED_64K = 0, FIXED_16K_80000 = 1, FIXED_16K_A0000 = 2, FIXED_4K = 3 };

static void set_mtrrs(struct x86_msrs *msr, unsigned phys_bits)
{
    uint64_t mask = ((uint64_t)1 << phys_bits) - 1;

    msr->mtrr_fixed[FIXED_64K] = MTRR_WB;
    msr->mtrr_fixed[FIXED_16K_80000] = MTRR_WB;
    msr->mtrr_fixed[FIXED_16K_A0000] = 0; /* uncached */
    for (unsigned i = FIXED_4K; i < X86_NR_FIXED_MTRRS; i++)
        msr->mtrr_fixed[i] = MTRR_WP;
    msr->mtrr_base[0] = PC_HOLE; /* uncached up to 4 GiB */
    msr->mtrr_mask[0] = (mask & ~(PC_4G - PC_HOLE - 1)) | MTRR_MASK_VALID;
    msr->mtrr_def = MTRR_DEF_WB | MTRR_FIXED_ON | MTRR_ON;
}

/* SDM vol. 3, 11.5.1 and 11.9; MultiProcessor Specification 1.4, 3.6.2.2 */
enum { APIC_SVR = 0xf0, APIC_LINT0 = 0x350, APIC_LINT1 = 0x360 };
#define APIC_SVR_ON     0x1ffu
#define APIC_LVT_EXTINT 0x700u
#define APIC_LVT_NMI    0x400u

/* Virtual wire mode: interrupts of the 8259 reach the first CPU. */
static void set_virtual_wire(struct lapic *l)
{
    lapic_mmio_write(l, APIC_SVR, 4, APIC_SVR_ON);
    lapic_mmio_write(l, APIC_LINT0, 4, APIC_LVT_EXTINT);
    lapic_mmio_write(l, APIC_LINT1, 4, APIC_LVT_NMI);
}

static int load_acpi(struct pc *pc, struct err *err)
{
    size_t size = PC_TABLES_END - PC_TABLES;
    const struct acpi_config cfg = {.cpus = pc->cfg.cpus,
                                    .pm_base = pc_pm_base(pc),
                                    .pci_mmio = pc->layout.pci_mmio};
    uint8_t *buf = calloc(1, size);
    int rc = 0;
    long len;

    if (!buf)
        return err_set(err, -ENOMEM, "make the ACPI tables: out of memory");
    len = acpi_build(&cfg, buf, size, PC_TABLES);
    if (len >= 0)
        rc = gmem_load(&pc->gmem, PC_TABLES, buf, size);
    free(buf);
    if (len < 0 || rc < 0)
        return err_set(err, -ENOSPC, "make the ACPI tables: no room");
    return 0;
}

static int load_kernel(struct pc *pc, const struct boot_source *src,
                       struct x86_state *st, struct err *err)
{
    struct bootmem bm;
    struct err why = {0};
    int rc;

    bootmem_init(&bm, &pc->gmem, &pc->layout);
    rc = boot_load(&bm, src, st, &why);
    if (rc < 0)
        return err_set(err, rc, "boot kernel '%s': %s", pc->kernel.path,
                       why.text);
    return 0;
}

/* The files' bytes are only held during the load. */
static int read_and_load(struct pc *pc, struct x86_state *st, struct err *err)
{
    struct boot_source src = {.cmdline = pc->cfg.append,
                              .kernel_name = pc->kernel.path,
                              .initrd_name = "",
                              .rsdp = PC_TABLES,
                              .vga = pc_vga(pc) != NULL};
    uint8_t *kernel = NULL, *initrd = NULL;
    int rc =
        image_read(&pc->kernel, KERNEL_FILE_MAX, &kernel, &src.kernel_len, err);

    if (rc < 0)
        return rc;
    if (pc->initrd.fd >= 0) {
        src.initrd_name = pc->initrd.path;
        rc = image_read(&pc->initrd, pc->layout.low_end, &initrd,
                        &src.initrd_len, err);
        if (rc < 0)
            goto free_kernel;
    }
    src.kernel = kernel;
    src.initrd = initrd;
    rc = load_kernel(pc, &src, st, err);
    free(initrd);
free_kernel:
    free(kernel);
    return rc;
}

static void set_cpu(struct pc *pc, unsigned i, struct x86_state *st)
{
    struct lapic *l = lapic_bus_get(&pc->lapics, i);

    set_mtrrs(&st->msr, pc->model.phys_bits);
    lapic_set_tsc(l, (int64_t)st->tsc_offset, clock_tsc_hz());
    vcpu_set_state(vcpu_get(pc->vcpus, i), st);
}

/* What is the same for any kernel; st is of the first CPU. */
static int prepare(struct pc *pc, struct x86_state *st, struct err *err)
{
    int rc;

    pc_show_vga(pc, false);
    rc = pci_assign_resources(&pc->pci, err);

    if (rc < 0)
        return rc;
    if (pc_vga(pc))
        vga_set_text_mode(&pc->vga);
    i440fx_open_shadow(&pc->board);
    rc = load_acpi(pc, err);
    if (rc == 0)
        vcpu_get_state(vcpu_get(pc->vcpus, 0), st);
    return rc;
}

static void set_cpus(struct pc *pc, struct x86_state *first)
{
    struct x86_state st;

    set_cpu(pc, 0, first);
    set_virtual_wire(lapic_bus_get(&pc->lapics, 0));
    for (unsigned i = 1; i < pc->cfg.cpus; i++) {
        vcpu_get_state(vcpu_get(pc->vcpus, i), &st);
        set_cpu(pc, i, &st);
    }
}

int pc_boot(struct pc *pc, struct err *err)
{
    struct x86_state st;
    int rc = prepare(pc, &st, err);

    if (rc == 0)
        rc = read_and_load(pc, &st, err);
    if (rc == 0)
        set_cpus(pc, &st);
    return rc;
}

/* Only a Linux kernel: what else a file may be was meant for another loader. */
static int load_found(struct pc *pc, struct boot_source *src, struct err *err)
{
    struct x86_state st;
    struct bootmem bm;
    int rc = prepare(pc, &st, err);

    if (rc < 0)
        return rc;
    src->rsdp = PC_TABLES;
    src->vga = pc_vga(pc) != NULL;
    bootmem_init(&bm, &pc->gmem, &pc->layout);
    rc = boot_linux_load(&bm, src, &st, err);
    if (rc == 0)
        set_cpus(pc, &st);
    return rc;
}

int pc_boot_found(struct pc *pc, struct err *err)
{
    struct boot_source src = {
        .cmdline = "", .kernel_name = "", .initrd_name = ""};
    int rc = pc->cfg.find_kernel(pc->cfg.opaque, &src, err);

    if (rc < 0)
        return rc;
    rc = load_found(pc, &src, err);
    pc->cfg.found_done(pc->cfg.opaque, rc, err);
    return rc;
}
