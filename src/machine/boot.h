#ifndef HUSK_MACHINE_BOOT_H
#define HUSK_MACHINE_BOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "machine/bootmem.h"
#include "x86/regs.h"

/*
 * Direct boot: a kernel image, in one of the formats below, is put into guest
 * memory and the bootstrap CPU's state is set to its entry, as its boot
 * protocol says. Images are hostile: every loader is a function of the bytes
 * that it is given and writes only through bootmem.
 */
struct boot_source {
    const uint8_t *kernel;
    size_t kernel_len;
    const uint8_t *initrd; /* NULL if there is none */
    size_t initrd_len;
    const char *cmdline; /* never NULL, as are the files' names */
    const char *kernel_name, *initrd_name;
    gpa_t rsdp; /* where the ACPI root pointer is */
    bool vga;   /* there is a VGA, showing text */
};

enum boot_format {
    BOOT_LINUX,     /* bzImage */
    BOOT_PVH,       /* ELF with a PVH entry note */
    BOOT_MULTIBOOT, /* Multiboot 1, ELF or a.out kludge */
    BOOT_NR_FORMATS
};

/* Tell the format by content; -EINVAL with err saying what it is instead. */
MUST_CHECK int boot_detect(const uint8_t *buf, size_t len,
                           enum boot_format *out, struct err *err);

/*
 * Load src into the freshly cleared memory of bm and set up st, which is in
 * power-on state. On an error (-errno with err) memory is half filled.
 */
MUST_CHECK int boot_load(struct bootmem *bm, const struct boot_source *src,
                         struct x86_state *st, struct err *err);

/* For loaders: put the initrd, if there is one, at the lowest or the highest
 * place in [min, end). */
struct boot_range {
    gpa_t min, end;
    bool high;
};
MUST_CHECK int boot_load_initrd(struct bootmem *bm,
                                const struct boot_source *src,
                                const struct boot_range *range, gpa_t *out,
                                struct err *err);

/* One loader for each format; the same contract. */
MUST_CHECK int boot_linux_load(struct bootmem *bm,
                               const struct boot_source *src,
                               struct x86_state *st, struct err *err);
MUST_CHECK int boot_pvh_load(struct bootmem *bm, const struct boot_source *src,
                             struct x86_state *st, struct err *err);
MUST_CHECK int boot_multiboot_load(struct bootmem *bm,
                                   const struct boot_source *src,
                                   struct x86_state *st, struct err *err);

#endif
