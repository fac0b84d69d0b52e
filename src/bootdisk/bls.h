#ifndef HUSK_BOOTDISK_BLS_H
#define HUSK_BOOTDISK_BLS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "bootdisk/arena.h"

/*
 * An entry of the Boot Loader Specification (UAPI.1, type 1), as Fedora's GRUB
 * reads it: one file of lines "key value".
 */
struct bls {
    const char *id; /* the file's name without ".conf" */
    const char *title, *version;
    const char *linux;   /* NULL: it boots no kernel */
    const char *initrds; /* all that are named, with blanks between; or NULL */
    const char *options; /* of all lines; NULL: there is no such line */
    bool users;          /* it says who may boot it */
    bool other;          /* there is something that changes what is booted and
                            that husk does not know, or versions of GRUB do not
                            agree on: devicetree, efi, a key twice, lines behind
                            one without a value */
};

/* name is that of the file. -ENOMEM; everything else is an entry. */
MUST_CHECK int bls_parse(const char *name, const char *text, size_t len,
                         struct arena *arena, struct bls *out);

/* < 0, 0, > 0 for the order of ids: the newest version is the greatest. Runs of
 * digits are compared as numbers, "~" comes before the end, "+" behind it. */
int bls_compare(const char *a, const char *b);

#endif
