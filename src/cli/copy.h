#ifndef HUSK_CLI_COPY_H
#define HUSK_CLI_COPY_H

#include "block/blk.h"
#include "cli/args.h"
#include "vmfile/vmfile.h"

/*
 * Disk images into VMs and out of them: qcow2 and raw by husk, other formats
 * through qemu-img. What is zero becomes a hole.
 */

/* Fill the disk of a new VM from the image at file; its size becomes the
 * image's. format: what it is, or NULL: as it says itself, and raw if it says
 * nothing. */
MUST_CHECK int copy_in(const struct args *a, const char *file,
                       const char *format, struct vmfile *vf, struct err *err);

/* The same from an open file that somebody sent, as it says itself: qcow2 or
 * raw, with nothing below it. name is for err. */
MUST_CHECK int copy_in_sent(const struct args *a, const char *name, int fd,
                            struct vmfile *vf, struct err *err);

/* Write disk to a new file, which is removed again if that fails. -EEXIST. */
MUST_CHECK int copy_out(const struct args *a, struct blk *disk,
                        const char *file, const char *format, struct err *err);

/* Whether it is one of those that husk knows, itself or through qemu-img. */
bool copy_knows(const char *format);

#endif
