#ifndef HUSK_BOOTDISK_BOOTDISK_H
#define HUSK_BOOTDISK_BOOTDISK_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "block/blk.h"

/*
 * The kernel that a disk's own boot loader would boot next, so that it can be
 * booted without firmware: found by reading the boot loader's configuration in
 * an ext2, ext3 or ext4 file system. Everything that interprets what the guest
 * wrote runs in a child process without rights (sandbox.h); here, its answer is
 * checked and the bytes are read.
 *
 * The disk must not be written to meanwhile. It is only read.
 *
 * The program that calls this is started again (/proc/self/exe) with CHILD_ROLE
 * (child.h) as its only argument: its main has to call child_main then.
 */
struct bootdisk;

enum {
    BOOTDISK_KERNEL_MAX = 128 << 20,
    BOOTDISK_INITRD_MAX = 512 << 20,
    BOOTDISK_SECONDS = 15 /* the child has no longer */
};

/*
 * Look what would be booted. -errno with err, whose text says why husk cannot
 * tell: "the file system of partition 1 was not unmounted". -ECHILD,
 * -ETIMEDOUT: the child was stopped, failed, or took too long.
 */
MUST_CHECK int bootdisk_look(struct blk *blk, struct bootdisk **out,
                             struct err *err);
void bootdisk_free(struct bootdisk *b);

/* b's: "/boot/vmlinuz-6.1.0-13-amd64"; the entry's title; its arguments as the
 * boot loader would hand them to the kernel; "GRUB" or "EXTLINUX". */
const char *bootdisk_kernel(const struct bootdisk *b);
const char *bootdisk_title(const struct bootdisk *b);
const char *bootdisk_cmdline(const struct bootdisk *b);
const char *bootdisk_loader(const struct bootdisk *b);

/* The files themselves; caller frees kernel and initrd. */
struct bootdisk_files {
    uint8_t *kernel, *initrd; /* initrd: all of them, or NULL */
    size_t kernel_len, initrd_len;
};
/* -EFBIG, -EINVAL (the kernel is no bzImage's size or empty), -ENOMEM, or what
 * the disk says; with err. */
MUST_CHECK int bootdisk_load(struct blk *blk, const struct bootdisk *b,
                             struct bootdisk_files *out, struct err *err);

#endif
