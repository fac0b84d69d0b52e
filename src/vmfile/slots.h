#ifndef HUSK_VMFILE_SLOTS_H
#define HUSK_VMFILE_SLOTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"

/*
 * The settings inside of a VM file: a text in husk's extension of the qcow2
 * header (qcow2: "Header extensions"). The extension's length never changes;
 * its place does, whenever QEMU's tools write the header, so it is looked for
 * each time. Offsets in it:
 *
 *      0   8  magic "HUSKVM01"
 *      8   4  number of slots (2), big-endian as all numbers here
 *     12   4  offset of the first slot
 *     16   4  from one slot to the next
 *     20   4  length of a slot
 *     24   4  offset of the owner record, 512 bytes (vmlock.h)
 *     28   4  CRC-32C of bytes 0 to 27
 *   4096      slot 0, 23 KiB
 *  31744      slot 1, 23 KiB
 *  59392      owner record
 *
 * and in a slot:
 *
 *      0   8  generation; 0 in a slot that was never written
 *      8   4  length of the text
 *     12   4  CRC-32C of bytes 0 to 11 and of the text
 *     16      the text
 *
 * The valid slot of the highest generation counts. A change goes to the other
 * one and is flushed; whatever a crash tears, in pieces of up to 4 KiB, is in
 * that slot only, and neither in the file's first 4 KiB nor in the slot that
 * counts.
 *
 * Nothing here locks: who writes holds the VM's lock (vmlock.h), who reads
 * needs none. All functions may be called from any thread.
 */
enum {
    SLOTS_EXTENSION = 0x6875736b, /* type in the header: "husk" */
    SLOTS_LENGTH = 59904,         /* of the extension */
    SLOTS_MAX_TEXT = 23 * 1024 - 16,
    SLOTS_OWNER_SIZE = 512
};

/* Where the extension is now: what slots_find has seen and checked. */
struct slots {
    uint64_t offset;   /* of the extension's content, in the file */
    uint32_t slot[2];  /* of the slots, from there */
    uint32_t slot_len; /* with their 16 bytes */
    uint32_t owner;    /* of the owner record, from there */
};

/* The content of a new extension with this text in slot 0, generation 1.
 * -EFBIG with err if the text is longer than SLOTS_MAX_TEXT. */
MUST_CHECK int slots_format(uint8_t ext[SLOTS_LENGTH], const char *text,
                            size_t len, struct err *err);

/*
 * Find the extension in the qcow2 file at fd. -ENOENT: a qcow2 file without
 * one; -EMEDIUMTYPE: no qcow2 file; -EUCLEAN: a damaged one. With err, where
 * path is the file's name for a person.
 */
MUST_CHECK int slots_find(int fd, const char *path, struct slots *s,
                          struct err *err);

/*
 * Read the text that counts; the caller frees *text, which ends in a zero
 * byte. A slot that is being written by another process does not matter.
 * -EUCLEAN with err if no slot is valid.
 */
MUST_CHECK int slots_read(int fd, const char *path, char **text, size_t *len,
                          uint64_t *generation, struct err *err);

/*
 * How slots_write reaches the file; offsets are within the file. NULL stands
 * for the kernel, with arg ignored. Results are 0 or -errno.
 */
struct slots_io {
    int (*write)(void *arg, const void *buf, uint32_t len, uint64_t off);
    int (*sync)(void *arg);
    void *arg;
};

/* Replace the text; it is on stable storage when this returns. On an error the
 * old one still counts, or, when the host failed to flush, perhaps the new. */
MUST_CHECK int slots_write(int fd, const char *path, const struct slots_io *io,
                           const char *text, size_t len, struct err *err);

#endif
