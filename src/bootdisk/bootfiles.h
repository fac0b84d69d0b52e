#ifndef HUSK_BOOTDISK_BOOTFILES_H
#define HUSK_BOOTDISK_BOOTFILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "bootdisk/ptable.h"

/*
 * The files that a boot loader sees: those of each partition of the disk that
 * it was loaded from. Paths are absolute in their file system; symbolic links
 * are followed. The interpreters of configurations know nothing below this.
 */
struct bootfiles_stat {
    bool dir;
    uint64_t size;
    uint64_t inode; /* the same for two names of one file */
};

enum bootfiles_by { BOOTFILES_UUID, BOOTFILES_LABEL, BOOTFILES_FILE };

enum { BOOTFILES_TEXT_MAX = 1 << 20, BOOTFILES_PATH_MAX = 4096 };

/* -ENOENT: no such thing; -ELOOP, -EUCLEAN, -EIO ...: it cannot be told. */
struct bootfiles_ops {
    int (*stat)(void *o, unsigned part, const char *path,
                struct bootfiles_stat *st);
    /* A text of BOOTFILES_TEXT_MAX bytes at most (else -EFBIG) with a 0 behind
     * it; caller frees. */
    int (*read)(void *o, unsigned part, const char *path, char **text,
                size_t *len);
    /* Each name in a directory; stops at what is not 0, and returns it. */
    int (*list)(void *o, unsigned part, const char *path,
                int (*each)(void *ctx, const char *name), void *ctx);
    /* The only partition with this. -EEXIST: there are several. */
    int (*find)(void *o, enum bootfiles_by by, const char *what,
                unsigned *part);
};

struct bootfiles {
    const struct bootfiles_ops *ops;
    void *opaque;
    enum ptable_kind kind; /* how the disk is partitioned */
};

/* What shall be booted. Texts belong to the interpreter's arena. */
enum { BOOTENTRY_MAX_INITRDS = 8 };
struct bootentry {
    unsigned kernel_part;
    const char *kernel;
    unsigned nr_initrds;
    struct {
        unsigned part;
        const char *path;
    } initrd[BOOTENTRY_MAX_INITRDS];
    const char *cmdline;
    const char *title; /* of the entry */
};

#endif
