#ifndef HUSK_VMM_DIRECT_H
#define HUSK_VMM_DIRECT_H

#include <stdbool.h>

#include "bootdisk/bootdisk.h"
#include "config/vmconf.h"
#include "machine/boot.h"
#include "machine/firmware.h"
#include "vmm/disks.h"

/*
 * How a machine boots: a kernel that was named, the kernel that the boot loader
 * of its first disk would boot, or firmware, because the latter cannot be told.
 * The disk is looked at again at each start and each reset; nothing is kept in
 * between. All on the loop's thread.
 */
struct direct {
    const struct vmconf *conf; /* borrowed */
    const struct disk *disk;   /* borrowed; NULL = there is none */
    enum firmware_kind firmware;
    struct bootdisk_files files;
    char *cmdline;
    bool direct;    /* it was booted so last */
    bool failed;    /* and came to a triple fault */
    char how[1024]; /* a sentence's end: "by SeaBIOS: ..." */
};

void direct_init(struct direct *d, const struct vmconf *conf,
                 const struct disk *disk, enum firmware_kind firmware);
/* As pc_config's find_kernel and found_done. */
MUST_CHECK int direct_find(struct direct *d, struct boot_source *src,
                           struct err *err);
void direct_done(struct direct *d, int rc, const struct err *why);
/* The guest came to a triple fault: if its kernel was booted directly, firmware
 * shall try, once. */
void direct_failed(struct direct *d);

#endif
