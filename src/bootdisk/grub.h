#ifndef HUSK_BOOTDISK_GRUB_H
#define HUSK_BOOTDISK_GRUB_H

#include "base/compiler.h"
#include "base/err.h"
#include "bootdisk/arena.h"
#include "bootdisk/bootfiles.h"

/*
 * What GRUB would boot by itself from the configuration at path (grub.cfg) of
 * partition part: the file is carried out as GRUB does it, and so is its
 * default entry, without a person at the keyboard. choice's texts belong to
 * arena.
 *
 * -EINVAL with err: it does something that husk is not sure of, waits for a
 * person, or would write to the disk before it boots (as with grub-reboot);
 * other -errno with err: a file cannot be read.
 */
MUST_CHECK int grub_choose(const struct bootfiles *files, unsigned part,
                           const char *path, struct arena *arena,
                           struct bootentry *choice, struct err *err);

#endif
