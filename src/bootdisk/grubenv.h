#ifndef HUSK_BOOTDISK_GRUBENV_H
#define HUSK_BOOTDISK_GRUBENV_H

#include <stddef.h>

#include "base/compiler.h"
#include "bootdisk/vars.h"

/*
 * GRUB's environment block, the file grubenv: a signature, lines NAME=VALUE in
 * which a backslash makes the next character part of the value, and "#" up to
 * the end (GRUB manual, "The GRUB environment block").
 */
enum { GRUBENV_MAX = 64 << 10 };

/* Set every variable of it in v. -EINVAL: it is no such block, as GRUB would
 * say; -ENOMEM. */
MUST_CHECK int grubenv_load(const char *text, size_t len, struct vars *v);

#endif
