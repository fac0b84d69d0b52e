#ifndef HUSK_BOOTDISK_EXTLINUX_H
#define HUSK_BOOTDISK_EXTLINUX_H

#include "base/compiler.h"
#include "base/err.h"
#include "bootdisk/arena.h"
#include "bootdisk/bootfiles.h"

/*
 * What EXTLINUX would boot by itself from its configuration at path (Syslinux:
 * the wiki's "Config"): the default label, after the timeout. As grub_choose.
 */
MUST_CHECK int extlinux_choose(const struct bootfiles *files, unsigned part,
                               const char *path, struct arena *arena,
                               struct bootentry *choice, struct err *err);

#endif
