#ifndef HUSK_MACHINE_FW_KERNEL_H
#define HUSK_MACHINE_FW_KERNEL_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "devices/pc/fw_cfg.h"

/*
 * A kernel that firmware starts: its parts as items of the configuration
 * device (QEMU: docs/specs/fw_cfg.rst), which OVMF looks for, and a ROM that
 * starts it under a BIOS, through the kernel's own real-mode code. Only
 * bzImages; programs in that form that have nothing but real-mode code, too.
 */
#define FW_KERNEL_ROM       "genroms/kernel.bin"
#define FW_KERNEL_BOOTORDER "/rom@" FW_KERNEL_ROM

enum { FW_KERNEL_ROM_SIZE = 512 };

struct fw_kernel {
    uint8_t *image, *initrd; /* whole files; image's header is filled in */
    size_t image_len, initrd_len;
    size_t setup_len;    /* of image: its real-mode part */
    const char *cmdline; /* borrowed */
    uint8_t rom[FW_KERNEL_ROM_SIZE];
};

/*
 * Take over k->image and k->initrd, check the image, fill in its header for a
 * machine whose memory below 4 GiB ends at low_end, and make the ROM. -EINVAL
 * or -ENOSPC with err. In any case end with fw_kernel_fini.
 */
MUST_CHECK int fw_kernel_prepare(struct fw_kernel *k, uint64_t low_end,
                                 struct err *err);
/* Add all of it to fw, which borrows it. -errno as fw_cfg_add_file. */
MUST_CHECK int fw_kernel_add(struct fw_kernel *k, struct fw_cfg *fw);
void fw_kernel_fini(struct fw_kernel *k);

#endif
