#ifndef HUSK_BLOCK_OPEN_H
#define HUSK_BLOCK_OPEN_H

#include "block/blk.h"

/*
 * Open a disk of any format. format: "raw", "qcow2", or NULL: qcow2 if the file
 * begins as such; raw only for a block device, or for a file that begins like
 * no image format that is known (a guest that owns a raw disk can write any
 * header into it, so say "raw" wherever it is known). fd as with qcow2_open.
 *
 * -EINVAL: unknown format, or the file's is not to be told; -EMEDIUMTYPE: the
 * file is an image of another kind, named in err.
 */
MUST_CHECK int blk_open(const char *path, int fd, const char *format,
                        unsigned flags, struct blk **out, struct err *err);

/* What the first bytes of a file say: "qcow2", "vmdk", "vdi", "vhdx", "vhd",
 * "luks", "qed", "parallels", or NULL for nothing known. */
const char *blk_guess_format(const void *head, uint64_t len);

#endif
