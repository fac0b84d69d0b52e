#ifndef HUSK_BLOCK_QCOW2_H
#define HUSK_BLOCK_QCOW2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block/blk.h"
#include "block/hostfile.h"

/*
 * qcow2 images (QEMU's docs/interop/qcow2.txt), versions 2 and 3, as struct
 * blk: read, written, and cared for. docs/vm-file.md specifies what husk makes
 * of the format; the head of qcow2_int.h has what holds at any moment.
 *
 * A file that version 2 describes stays one: it is never upgraded in place.
 *
 * Calls that name only q may come from any thread, beside data requests too.
 * Those of the section "changes of the whole image" hold up data requests
 * while they work and exclude one another. All calls that write return
 * -EROFS for a read-only image. Failures come with a sentence in err where
 * there is one; a failed call has changed nothing that can be seen in the
 * image, unless it says so.
 *
 * After the host failed to sync, nobody knows what reached the disk: the image
 * is then broken, and every later write and flush is -EIO.
 */
struct qcow2;

/* -- Opening ------------------------------------------------------------- */

enum {
    /* With BLK_*: do not open the backing file; what it has is unreadable
     * (-EIO). For those who only want metadata. */
    QCOW2_NO_BACKING = 1 << 8,
    /* Open for check only: what is wrong with refcounts is no reason to
     * refuse, nothing is repaired at open; data requests are -EIO. */
    QCOW2_FOR_CHECK = 1 << 9
};

struct qcow2_opts {
    unsigned flags;       /* BLK_*, QCOW2_* */
    uint32_t cache_bytes; /* for metadata; 0: 4 MiB; at least 64 KiB */
    const struct hostfile_ops *host; /* NULL: the kernel; not for backing */
    void *host_arg;
    /* Read-only: the disk is that of the snapshot with this id (-ENOENT), which
     * nobody deletes meanwhile. NULL: the active one. */
    const char *snapshot;
};

/*
 * Open the image at path. fd >= 0: it is open already as fd, which on success
 * belongs to the image; path then only names it in messages and is where a
 * relative backing name starts from. opts NULL: all zero.
 *
 * Opening for writing an image that was not closed cleanly takes leaked
 * clusters back first; one whose refcounts are too low is refused (-EUCLEAN:
 * needs repair). Locks are the caller's affair. Read-only: never writes, and
 * may run beside a writer (what is torn is read again).
 *
 * -EINVAL: not a qcow2 image or a broken header; -ENOTSUP: encrypted, external
 * data file, unknown incompatible feature (named); -ELOOP: backing chain too
 * long or a loop; -EUCLEAN: damaged; else the host's.
 */
MUST_CHECK int qcow2_open(const char *path, int fd,
                          const struct qcow2_opts *opts, struct qcow2 **out,
                          struct err *err);
/* The disk. blk_close of it, or qcow2_close, ends q. */
struct blk *qcow2_blk(struct qcow2 *q);
MUST_CHECK int qcow2_close(struct qcow2 *q);

/* -- Creating ------------------------------------------------------------ */

/* A header extension: 8-byte head in the file, then len bytes, padded to 8. */
struct qcow2_ext {
    uint32_t magic;
    uint32_t len;
    const void *data; /* len bytes, or NULL: zeroes */
};

struct qcow2_create {
    uint64_t size;              /* bytes, a multiple of 512 */
    uint32_t cluster_bits;      /* 9..21; 0: 16 */
    uint32_t refcount_order;    /* 0..6 for 1..64 bits; UINT32_MAX: 4 */
    const char *backing;        /* NULL, or the name as stored, <= 1023 bytes */
    const char *backing_format; /* "raw" or "qcow2"; needed with backing */
    const struct qcow2_ext *ext; /* in the first cluster, in this order */
    unsigned nr_ext;
    bool mark_husk; /* room for the mark of an orderly close */
};

/*
 * Make an image of version 3 in the empty file fd (stays the caller's); synced
 * on return, the folder is not. The header is written last: until then the
 * file is no image. A backing file is not looked at. path names it in errors.
 */
MUST_CHECK int qcow2_create(const char *path, int fd,
                            const struct qcow2_create *c,
                            const struct qcow2_opts *opts, struct err *err);

/* -- What it is ---------------------------------------------------------- */

struct qcow2_info {
    uint32_t version; /* 2 or 3 */
    uint32_t cluster_size;
    uint32_t refcount_bits;
    bool zstd;           /* compressed clusters are zstd, else zlib */
    bool extended_l2;    /* readable only */
    bool dirty, corrupt; /* bits of the header, as they were at open */
    /* No other program has opened the file for writing since husk last did;
     * as it was at open. */
    bool only_husk;
    bool recovered; /* this open found no clean close, and put it right */
    uint64_t leaks_reclaimed;   /* bytes, by this open */
    uint64_t size;              /* of the disk */
    const char *backing;        /* as stored, or NULL; q's */
    const char *backing_format; /* or NULL; q's */
    uint32_t nr_snapshots;
};
void qcow2_info(struct qcow2 *q, struct qcow2_info *info);

struct qcow2_sizes {
    uint64_t file;      /* length of the host file */
    uint64_t used;      /* what it occupies on the host */
    uint64_t allocated; /* clusters in use, in bytes; by refcount */
};
MUST_CHECK int qcow2_sizes(struct qcow2 *q, struct qcow2_sizes *s);

/*
 * The header extension with that magic: file offset of its first data byte and
 * its length. -ENOENT. Other programs move extensions: ask again after each
 * open, keep neither.
 */
MUST_CHECK int qcow2_ext_find(struct qcow2 *q, uint32_t magic, uint64_t *off,
                              uint32_t *len);
/* Read or write bytes at `at` within it. A write is not synced, and is torn at
 * any 512 bytes of the file by a power cut. -EINVAL beyond its length. */
MUST_CHECK int qcow2_ext_read(struct qcow2 *q, uint32_t magic, uint32_t at,
                              void *buf, uint32_t len);
MUST_CHECK int qcow2_ext_write(struct qcow2 *q, uint32_t magic, uint32_t at,
                               const void *buf, uint32_t len);
/* What was written so far, extensions included, is on stable storage: a plain
 * fdatasync, no ordering of the disk's own. */
MUST_CHECK int qcow2_ext_sync(struct qcow2 *q);

/* -- Snapshots ----------------------------------------------------------- */

enum {
    QCOW2_SNAP_OPAQUE_MAX = 1000, /* 1,024 with what the format defines */
    QCOW2_SNAP_NAME_MAX = 255,
    QCOW2_SNAP_ID_MAX = 63,
    QCOW2_SNAPS_MAX = 65536
};

struct qcow2_snap {
    char *id, *name;              /* not NULL; id is unique */
    uint32_t date_sec, date_nsec; /* UTC since 1970 */
    uint64_t vm_clock_ns;
    uint64_t vm_state_size; /* as stored for QEMU; 0: disk only */
    uint64_t disk_size;     /* bytes, at that moment */
    uint64_t l1_bytes;      /* of its own table */
    uint64_t state_room;    /* bytes that its state area can have; 0: none */
    bool no_disk;           /* it has a state area only */
    uint8_t *opaque;        /* extra data behind what the format defines */
    uint32_t opaque_len;
};

/* A copy of the list, oldest entry first; free with qcow2_snaps_free. */
MUST_CHECK int qcow2_snaps(struct qcow2 *q, struct qcow2_snap **list, size_t *n,
                           struct err *err);
void qcow2_snaps_free(struct qcow2_snap *list, size_t n);
/* Bytes that only that snapshot holds: what its deletion gives back. Reads all
 * its tables. -ENOENT. */
MUST_CHECK int qcow2_snap_unique(struct qcow2 *q, const char *id,
                                 uint64_t *bytes, struct err *err);

/* -- Changes of the whole image ------------------------------------------ */

/* Bytes of a state area. */
struct qcow2_piece {
    uint64_t off; /* from the state's beginning */
    const void *data;
    uint64_t len; /* not 0 */
};

struct qcow2_snap_new {
    const char *id;   /* NULL: the next number */
    const char *name; /* may be that of another; ids may not */
    uint32_t date_sec, date_nsec;
    uint64_t vm_clock_ns;
    const void *opaque;
    uint32_t opaque_len;
    /* The state area: ascending, none within another (-EINVAL). Where there is
     * none it reads as zeroes. */
    const struct qcow2_piece *state;
    unsigned nr_state;
    /* Nothing of the disk is kept: the entry has a state only, and its disk
     * size, of 1 byte, makes QEMU, too, refuse to apply it. */
    bool no_disk;
};

/*
 * Keep the disk as it is now under a new id. Includes a flush: on return disk
 * and snapshot are on stable storage, and a power cut leaves either all of the
 * snapshot or none. id_out (may be NULL) has room for QCOW2_SNAP_ID_MAX + 1.
 * -EEXIST: the id is taken; -EOVERFLOW: refcounts are too narrow for one more.
 */
MUST_CHECK int qcow2_snap_create(struct qcow2 *q,
                                 const struct qcow2_snap_new *s, char *id_out,
                                 struct err *err);
/* The disk becomes what it was then, its size included. All or nothing. The
 * state area stays where it is. -EINVAL: it has no disk. */
MUST_CHECK int qcow2_snap_apply(struct qcow2 *q, const char *id,
                                struct err *err);
MUST_CHECK int qcow2_snap_delete(struct qcow2 *q, const char *id,
                                 struct err *err);
/* Bytes of a snapshot's state area, as of len from off on. -ENOENT: no such
 * snapshot; -EINVAL: beyond its room; -EUCLEAN: damaged. */
MUST_CHECK int qcow2_state_read(struct qcow2 *q, const char *id, uint64_t off,
                                void *buf, uint64_t len);
/* Write within the pieces that it was made with (-EUCLEAN elsewhere, and where
 * clusters are not its own). Not synced: see qcow2_ext_sync. Torn at any 512
 * bytes of the file by a power cut. */
MUST_CHECK int qcow2_state_write(struct qcow2 *q, const char *id, uint64_t off,
                                 const void *buf, uint64_t len);
/* Change its name, its opaque data, or both (NULL: as it was). */
MUST_CHECK int qcow2_snap_change(struct qcow2 *q, const char *id,
                                 const char *name, const void *opaque,
                                 uint32_t opaque_len, struct err *err);

/* done and total in no unit but each other; false: stop (-ECANCELED; what was
 * done so far holds). May be NULL. */
typedef bool qcow2_progress(void *arg, uint64_t done, uint64_t total);

struct qcow2_check {
    uint64_t clusters;  /* looked at */
    uint64_t allocated; /* of the active disk, in clusters */
    uint64_t leaks;     /* clusters with a refcount above their references */
    uint64_t low;       /* with one below: writing would destroy data */
    uint64_t overlaps;  /* metadata that something else refers to, too */
    uint64_t outside;   /* references beyond the end of the file */
    uint64_t invalid;   /* misaligned, reserved bits, unreadable tables */
    uint64_t copied;    /* entries whose "copied" flag is wrong */
    /* After a repair: what of the above is no more. */
    uint64_t repaired;
    /* What stays wrong; 0: the image is sound. */
    uint64_t remaining;
};

/*
 * Look at every table and refcount. repair: put right what needs no guess
 * (refcounts, flags, the dirty and corrupt bits) and leave the rest as it is;
 * -EBUSY is the caller's to prevent (pins). Returns 0 when the check could be
 * carried out, whatever it found.
 */
MUST_CHECK int qcow2_check(struct qcow2 *q, bool repair, struct qcow2_check *c,
                           qcow2_progress *progress, void *arg,
                           struct err *err);

/* Move clusters from the end of the file into free ones and cut the file;
 * saved is what it became shorter by. Snapshots stay. Crash-safe; leaves the
 * disk readable and writable in between steps. */
MUST_CHECK int qcow2_compact(struct qcow2 *q, qcow2_progress *progress,
                             void *arg, uint64_t *saved, struct err *err);

#endif
