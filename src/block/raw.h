#ifndef HUSK_BLOCK_RAW_H
#define HUSK_BLOCK_RAW_H

#include "block/blk.h"
#include "block/hostfile.h"

/*
 * A file or block device whose bytes are the disk's. A file that does not end
 * on a sector is a disk up to the next one, whose last bytes read as zeroes.
 *
 * As hostfile_open: fd >= 0 is taken over on success.
 */
MUST_CHECK int raw_open(const char *path, int fd, unsigned flags,
                        const struct hostfile_ops *ops, void *arg,
                        struct blk **out, struct err *err);

#endif
