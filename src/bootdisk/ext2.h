#ifndef HUSK_BOOTDISK_EXT2_H
#define HUSK_BOOTDISK_EXT2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "bootdisk/bootfiles.h"
#include "bootdisk/reader.h"

/*
 * A file system ext2, ext3 or ext4, read by libext2fs. It is hostile, and so is
 * the library's state after reading it: this runs in a process that has given
 * up all rights (sandbox.h), and may end or hang there.
 */
struct ext2;

enum { EXT2_TEXT = 40 };

/* disk's bytes [start, start + len), borrowed. -ENOENT: there is no such file
 * system; -EUCLEAN: it is damaged; -ENOMEM. */
MUST_CHECK int ext2_open(const struct reader *disk, uint64_t start,
                         uint64_t len, struct ext2 **out);
void ext2_close(struct ext2 *e);

/* As search --fs-uuid has it, with small letters. */
void ext2_uuid(const struct ext2 *e, char uuid[EXT2_TEXT]);
void ext2_label(const struct ext2 *e, char label[EXT2_TEXT]);
/*
 * Why what it says now is not what it will say after the next mount: it was not
 * unmounted, so that its journal has news (which GRUB ignores and a kernel does
 * not), or is known to be damaged. NULL: it is clean.
 */
const char *ext2_problem(const struct ext2 *e);

/* As bootfiles_ops has them. */
MUST_CHECK int ext2_stat(struct ext2 *e, const char *path,
                         struct bootfiles_stat *st);
MUST_CHECK int ext2_read(struct ext2 *e, const char *path, char **text,
                         size_t *len);
MUST_CHECK int ext2_list(struct ext2 *e, const char *path,
                         int (*each)(void *ctx, const char *name), void *ctx);

/* A part of a file that lies in one piece on the disk; all in bytes. What no
 * run covers is zeroes. */
struct ext2_run {
    uint64_t off;  /* in the file */
    uint64_t disk; /* of the whole disk */
    uint64_t len;
};

/* Where a file is: at most *nr runs, *nr is set to how many there are. They may
 * reach beyond the file's end by less than a block. -E2BIG: too many;
 * -ENOTSUP: its bytes are not plainly on the disk. */
MUST_CHECK int ext2_map(struct ext2 *e, const char *path, struct ext2_run *run,
                        size_t *nr, uint64_t *size);

#endif
