#ifndef HUSK_BOOTDISK_PTABLE_H
#define HUSK_BOOTDISK_PTABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "bootdisk/reader.h"

/*
 * The partitions of a disk with sectors of 512 bytes: a master boot record with
 * its extended partitions (PC/AT), or a GUID partition table (UEFI 2.10, 5).
 * What they say is the guest's: all that is kept lies inside the disk.
 */
enum ptable_kind {
    PTABLE_NONE, /* a file system over the whole disk, or nothing */
    PTABLE_MBR,
    PTABLE_GPT
};

enum { PTABLE_MAX = 128 };

struct partition {
    unsigned number;     /* as Linux and GRUB count: from 1; logical ones of a
                            master boot record from 5. 0: the whole disk */
    uint64_t start, len; /* bytes */
    bool esp;            /* an EFI system partition */
    bool active;         /* marked as the one that a BIOS boots */
};

struct ptable {
    enum ptable_kind kind;
    bool boot_code; /* there is something for a BIOS in the first sector */
    bool grub;      /* and it is GRUB's */
    bool esp;       /* one of the partitions is */
    struct partition part[PTABLE_MAX];
    unsigned nr; /* with PTABLE_NONE: 1, the whole disk */
};

/*
 * Read the table. -EINVAL with err if it contradicts itself or both copies of a
 * GUID partition table are damaged; -errno with err if the disk cannot be read.
 */
MUST_CHECK int ptable_read(const struct reader *r, struct ptable *t,
                           struct err *err);

#endif
