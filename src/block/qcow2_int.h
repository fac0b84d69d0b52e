#ifndef HUSK_BLOCK_QCOW2_INT_H
#define HUSK_BLOCK_QCOW2_INT_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/bits.h"
#include "base/checked.h"
#include "base/compiler.h"
#include "base/endian.h"
#include "base/err.h"
#include "base/lock.h"
#include "block/blk.h"
#include "block/hostfile.h"
#include "block/qcow2.h"

/*
 * The qcow2 store (format: QEMU, docs/interop/qcow2.txt).
 *
 * Words. A *reference* is an entry of a table, or of the header, that names a
 * cluster of the file. It is *live* if the header leads to it. A change is
 * *stable* once a sync that began after its write has returned; before, any
 * part of what was written since the last sync may be on the disk or not,
 * sector (512 bytes) by sector, in any order. One sector is written or not.
 *
 * What holds at every moment, for what is stable and for every mixture of it
 * with what was written since:
 *
 *   1. A cluster's refcount is at least the number of live references to it.
 *      (More is a leak: space is lost until the next open, nothing else.)
 *   2. A live reference names a cluster whose content was stable before the
 *      reference was written: guest data, data copied on write, decoded data,
 *      and tables, which begin as zeroes or as a copy.
 *   3. A refcount is lowered in memory, and the cluster's space given back,
 *      only after the absence of the reference is stable and every request
 *      that may still use the old reference has ended.
 *   4. A cluster is taken only if its refcount in memory is 0. By 3 no live
 *      reference to it can come back, whatever a power cut takes away.
 *   5. A cluster taken from within the file's old length is filled wholly
 *      before it is referred to; one beyond it is a hole, which reads as
 *      zeroes. So no sector that was flushed ever shows what a freed cluster
 *      had held.
 *   6. L1 table, refcount table, snapshot table and disk size change by one
 *      write within the header's first 512 bytes, to tables that are complete
 *      and stable; the old tables are then freed by 3. Entries of L1, L2 and
 *      refcount tables are 8 bytes and never cross a sector. (Refcounts of
 *      less than a byte share one; they too are changed by writing sectors.)
 *   7. "Copied" (bit 63) of a live entry of the active tables implies a
 *      refcount of exactly 1 before any write relies on it: it is cleared, and
 *      that is stable, before a snapshot that shares the cluster becomes live.
 *   8. While a change of the whole image can leave refcounts or "copied" flags
 *      otherwise than 1 and 7 allow to an outsider, the header's dirty bit is
 *      set and stable (version 3).
 *   9. The mark of an orderly close (qcow2_mark.c) is set only as the last
 *      write, and its absence is stable before the first refcount changes.
 *      Without it, an open for writing counts all references and lowers what
 *      is too high.
 *  10. Autoclear bits are cleared, and that is stable, before anything else is
 *      written, and husk sets none (qcow2_mark.c says why); incompatible and
 *      compatible bits and header extensions stay as they are.
 *  11. After a sync has failed, nothing more is written.
 *
 * How a flush keeps them (qcow2_flush.c): (a) write refcounts; sync, which also
 * covers data; (b) write L2 and L1 entries; sync; (c) lower the refcounts of
 * what (b) let go of. Nothing to do in (b): one sync. New tables are written
 * whole before (a).
 *
 * Threads. `lock` covers all of this but the file's data: it is dropped around
 * every transfer of data and around syncs. A request is *in flight* from
 * q_begin to q_end. Allocating writes list the guest clusters they work on;
 * others that need one of those wait. A change of the whole image freezes the
 * image: it waits until nothing is in flight and keeps new requests out.
 */

enum {
    Q_MAGIC = 0x514649fb, /* "QFI\xfb" */
    Q_SECTOR = 512,
    Q_MIN_CLUSTER_BITS = 9,
    Q_MAX_CLUSTER_BITS = 21,
    Q_V2_HEADER = 72,
    Q_V3_HEADER = 104,
    /* Limits that QEMU has, too: what is beyond is refused at open. */
    Q_MAX_L1_BYTES = 32 << 20,
    Q_MAX_RT_BYTES = 8 << 20,
    Q_MAX_SNAP_TABLE = 64 << 20,
    Q_MAX_SNAP_EXTRA = 1024,
    Q_SNAP_EXTRA_KNOWN = 24,
    Q_NO_DISK = 1, /* the disk size of an entry that has a state only */
    Q_MAX_BACKING_NAME = 1023,
    Q_MAX_CHAIN = 64,
    Q_SLICE_MAX = 4096,
    Q_CACHE_DEFAULT = 4 << 20,
    Q_CACHE_MIN = 64 << 10,
    Q_FREE_MAX = 4096 /* extents that wait to be freed */
};

/* Header extensions. */
enum {
    Q_EXT_END = 0,
    Q_EXT_BACKING_FORMAT = (int)0xe2792acau,
    Q_EXT_FEATURES = 0x6803f857,
    Q_EXT_BITMAPS = 0x23852875,
    Q_EXT_CRYPTO = 0x0537be77,
    Q_EXT_DATA_FILE = 0x44415441,
    /* What a bitmaps extension becomes when its bitmaps are gone ("husk0"
     * tells nobody anything, and nobody reads it). */
    Q_EXT_VOID = 0x68736b30,
    Q_EXT_MARK = 0x68736b31, /* of an orderly close: qcow2_mark.c */
    Q_MARK_SIZE = 24
};

#define Q_INCOMPAT_DIRTY    BIT64(0)
#define Q_INCOMPAT_CORRUPT  BIT64(1)
#define Q_INCOMPAT_DATAFILE BIT64(2)
#define Q_INCOMPAT_COMPRESS BIT64(3)
#define Q_INCOMPAT_EXTL2    BIT64(4)
#define Q_COMPAT_LAZY       BIT64(0)
#define Q_AUTOCLEAR_BITMAPS BIT64(0)

/* Entries of L1 and L2 tables. */
#define Q_COPIED     BIT64(63)
#define Q_COMPRESSED BIT64(62)
#define Q_ZERO       BIT64(0)
#define Q_OFFSET     0x00fffffffffffe00ull

struct q_header {
    uint32_t version;
    uint64_t backing_off;
    uint32_t backing_len;
    uint32_t cluster_bits;
    uint64_t size;
    uint32_t crypt;
    uint32_t l1_size; /* entries */
    uint64_t l1_off;
    uint64_t rt_off;
    uint32_t rt_clusters;
    uint32_t nr_snaps;
    uint64_t snaps_off;
    uint64_t incompat, compat, autoclear; /* 0 in version 2 */
    uint32_t refcount_order;
    uint32_t length;
    uint8_t compression; /* 0 zlib, 1 zstd */
};

/* A piece of a metadata table in memory. */
struct q_slice {
    uint64_t off; /* in the file; 0: unused */
    uint8_t *data;
    bool dirty;    /* to be written by the next commit */
    bool is_ref;   /* of a refcount block, else of an L2 table */
    bool writing;  /* a commit writes a copy: must not be read again yet */
    uint32_t next; /* in its hash chain; 0: end */
    uint32_t newer, older; /* by last use */
};

/* Slices are numbered from 1. */
struct q_cache {
    struct q_slice *slice;
    uint32_t *hash;
    uint8_t *mem;
    uint32_t nr, hash_mask, newest, oldest;
    uint32_t slice_size, slice_bits;
    uint32_t nr_dirty, nr_dirty_refs, max_dirty;
};

struct q_extent {
    uint64_t first, n; /* clusters of the file */
};

/* Extents that wait for something; sorted by nothing. */
struct q_extents {
    struct q_extent *e;
    uint32_t nr, max;
};

/* Guest clusters that an allocating write works on; on the writer's stack. */
struct q_alloc_busy {
    uint64_t first, n;
    struct q_alloc_busy *next;
};

/* One cluster that was decompressed last. */
struct q_decoded {
    struct lock lock;
    uint64_t entry; /* of its L2 table; 0: none */
    uint8_t *data;
};

/* One write of a commit: a copy of a slice or of a sector of the L1 table. */
struct q_write {
    uint64_t off;
    uint32_t len;
    uint32_t slice; /* to be unpinned afterwards; 0: of the L1 table */
    uint8_t *data;
};

struct q_snap {
    struct qcow2_snap s;
    uint64_t l1_off;
    uint32_t l1_size;
    uint32_t extra_len; /* as stored, all of it */
    uint64_t icount;
};

struct qcow2 {
    struct blk blk;
    struct hostfile f;
    char *path;
    unsigned flags;
    struct blk *backing; /* or NULL */
    char *backing_name, *backing_format;

    struct lock lock;
    pthread_cond_t changed; /* anything that somebody may wait for */

    /* All below: under lock, but for what never changes after open. */
    struct q_header h;
    uint32_t cluster_bits, cluster_size; /* fixed */
    uint32_t l2_bits, l2_entry_size;     /* fixed; entries per table: 2^bits */
    uint32_t rb_bits;      /* fixed; refcounts per block: 2^bits */
    uint64_t refcount_max; /* fixed */
    bool writable;         /* fixed */
    bool closed, only_husk, recovered, was_dirty,
        was_corrupt; /* fixed at open */
    uint64_t reclaimed;

    uint64_t *l1;      /* entries as the host reads them */
    uint8_t *l1_dirty; /* a byte for each sector of the table */
    uint32_t nr_l1_dirty;
    uint64_t *rt;
    uint64_t rt_entries;
    bool rt_broken; /* the header's words on it are nonsense: for check only */
    struct q_cache cache;
    struct q_snap *snaps;
    uint32_t nr_snaps;
    uint64_t snaps_bytes; /* of the table in the file */

    /* Allocation (qcow2_alloc.c). */
    uint64_t hint;          /* no free cluster below */
    uint64_t fresh_from;    /* never written from here on: reads as zeroes */
    bool session;           /* the mark is off, and that is stable */
    uint64_t mark;          /* where it is in the file; 0: there is none */
    bool leaked;            /* something was not given back: no clean close */
    struct q_extents freed; /* no longer referred to; not yet stable */
    struct q_extents released; /* the same, stable */
    struct q_alloc_busy *busy;

    /* Requests and commits (qcow2_flush.c). */
    unsigned frozen; /* a change of the whole image is under way */
    unsigned epoch;  /* 0 or 1 */
    uint64_t in_flight[2];
    bool commit_running, releasing;
    uint64_t commits_begun;
    uint64_t commits_good; /* the last one that made all before it stable */
    bool tables_unsynced;  /* the last commit did not make its entries stable */
    struct q_write *batch; /* what the commit under way writes */
    uint8_t *batch_mem;
    uint32_t nr_batch;
    _Atomic int broken;               /* -EIO after a sync failed */
    _Atomic uint64_t written, synced; /* writes that returned; how many of them
                                         are stable */

    struct q_decoded decoded;
};

/* As err_sys, of a negative errno that is at hand. */
#define err_rc(err, rc, ...) (errno = -(rc), err_sys(err, __VA_ARGS__))

static inline struct qcow2 *q_of(struct blk *b)
{
    return CONTAINER_OF(b, struct qcow2, blk);
}

static inline uint64_t q_clusters(const struct qcow2 *q, uint64_t bytes)
{
    return (bytes >> q->cluster_bits) + !!(bytes & (q->cluster_size - 1));
}

/* -- qcow2_header.c ------------------------------------------------------- */

/* Parse and check the first cluster's fixed part; err names path. */
MUST_CHECK int q_header_parse(struct q_header *h, const uint8_t *buf,
                              uint64_t len, const char *path, struct err *err);
/* The first 72 or 104 bytes. buf has room for Q_V3_HEADER; returns the length.
 */
uint32_t q_header_put(const struct q_header *h, uint8_t *buf);
/* Write h as one sector's worth, and take it over as q->h if that worked. */
MUST_CHECK int q_header_write(struct qcow2 *q, const struct q_header *h);
/* Refuse unknown incompatible features by their names in the image. */
MUST_CHECK int q_header_check_features(struct qcow2 *q, struct err *err);
/* Backing name and format into q. */
MUST_CHECK int q_header_read_names(struct qcow2 *q, struct err *err);
/* Where the head of the extension stands; -ENOENT, -EINVAL: broken list. */
MUST_CHECK int q_ext_locate(struct qcow2 *q, uint32_t magic, uint64_t *off,
                            uint32_t *len);

/* -- qcow2_mark.c --------------------------------------------------------- */

/* Where the mark is, if there is one, into q->mark. */
MUST_CHECK int q_mark_find(struct qcow2 *q);
/* Whether the file was closed in order; *same: and nobody wrote since. */
bool q_mark_is_set(struct qcow2 *q, bool *same);
MUST_CHECK int q_mark_clear(struct qcow2 *q);
/* The last write. */
MUST_CHECK int q_mark_set(struct qcow2 *q);

/* -- qcow2_cache.c -------------------------------------------------------- */

MUST_CHECK int q_cache_init(struct qcow2 *q, uint32_t bytes);
void q_cache_fini(struct qcow2 *q);
/* The slice at file offset off (a multiple of the slice size), read if need be.
 * Valid until the next call of a q_cache function. */
MUST_CHECK int q_cache_get(struct qcow2 *q, uint64_t off, bool is_ref,
                           struct q_slice **out) REQUIRES(q->lock);
/* Whether q_cache_get of it needs no reading. */
bool q_cache_has(const struct qcow2 *q, uint64_t off) REQUIRES(q->lock);
void q_cache_dirty(struct qcow2 *q, struct q_slice *s) REQUIRES(q->lock);
/* Forget what is cached of [off, off + len): it is to be written otherwise. */
void q_cache_drop(struct qcow2 *q, uint64_t off, uint64_t len)
    REQUIRES(q->lock);
void q_cache_drop_all(struct qcow2 *q) REQUIRES(q->lock);
/* Write the dirty refcounts: allowed at any time (invariants 1 and 3). */
MUST_CHECK int q_cache_write_refs(struct qcow2 *q) REQUIRES(q->lock);
/* Write the dirty slices of L2 tables. Only where all they refer to is stable.
 */
MUST_CHECK int q_cache_write_l2(struct qcow2 *q) REQUIRES(q->lock);

/* -- qcow2_refcount.c ----------------------------------------------------- */

MUST_CHECK int q_rt_load(struct qcow2 *q, struct err *err);
MUST_CHECK int q_ref_get(struct qcow2 *q, uint64_t cluster, uint64_t *count)
    REQUIRES(q->lock);
/* Add delta (1 or -1, ...) to the refcounts of n clusters; blocks are made as
 * needed. Stops at the first that fails (-EOVERFLOW, -EUCLEAN: below 0): what
 * was done stays done; *done (may be NULL) says how many. */
MUST_CHECK int q_ref_add(struct qcow2 *q, uint64_t first, uint64_t n,
                         int64_t delta, uint64_t *done) REQUIRES(q->lock);
MUST_CHECK int q_ref_set(struct qcow2 *q, uint64_t cluster, uint64_t count)
    REQUIRES(q->lock);
/* Make sure that there is a refcount block for the cluster. */
MUST_CHECK int q_ref_block(struct qcow2 *q, uint64_t cluster) REQUIRES(q->lock);
/* Find n clusters in a row behind all others, and make blocks for them. */
MUST_CHECK int q_ref_row(struct qcow2 *q, uint64_t n, uint64_t *first)
    REQUIRES(q->lock);
/* Make the block of a range, at a cluster of that range that is free. */
MUST_CHECK int q_ref_block_at(struct qcow2 *q, uint64_t block, uint64_t cluster)
    REQUIRES(q->lock);
uint64_t q_ref_read(const uint8_t *block, uint64_t i, uint32_t order);
void q_ref_write(uint8_t *block, uint64_t i, uint32_t order, uint64_t count);

/* -- qcow2_alloc.c -------------------------------------------------------- */

/* Up to n clusters in a row, at least one; refcount 1 in memory. *fresh: they
 * are a hole and read as zeroes. */
MUST_CHECK int q_alloc(struct qcow2 *q, uint64_t n, uint64_t *first,
                       uint64_t *got, bool *fresh) REQUIRES(q->lock);
/* Exactly n in a row. */
MUST_CHECK int q_alloc_row(struct qcow2 *q, uint64_t n, uint64_t *first)
    REQUIRES(q->lock);
/* Nothing ever referred to them: free at once. */
void q_unalloc(struct qcow2 *q, uint64_t first, uint64_t n) REQUIRES(q->lock);
/* The reference is gone from memory: free when that is stable. If there is no
 * room to remember it, the space is lost until the next open. */
void q_free_later(struct qcow2 *q, uint64_t first, uint64_t n)
    REQUIRES(q->lock);
/* What an L2 entry refers to, whatever its kind. */
void q_free_entry(struct qcow2 *q, uint64_t entry) REQUIRES(q->lock);
/* Before the first change of a refcount (invariants 9, 10). */
MUST_CHECK int q_session(struct qcow2 *q) REQUIRES(q->lock);
/* Whether data must not go there: header and the tables the header names. */
bool q_hits_tables(const struct qcow2 *q, uint64_t off, uint64_t len);

/* -- qcow2_l2.c ----------------------------------------------------------- */

enum q_kind { Q_UNALLOC, Q_ZERO_PLAIN, Q_ZERO_ALLOC, Q_NORMAL, Q_PACKED };

struct q_run {
    enum q_kind kind;
    uint64_t off;    /* in the file, of the first cluster; alloc, normal */
    uint64_t n;      /* clusters of that kind in a row, in the file, too */
    uint64_t entry;  /* of the first */
    uint64_t bitmap; /* of its subclusters; extended entries only */
    bool copied;     /* all of them may be written in place */
};

MUST_CHECK int q_l1_load(struct qcow2 *q, struct err *err);
/* What the guest's clusters from `cluster` on are, at most max of them. */
MUST_CHECK int q_map(struct qcow2 *q, uint64_t cluster, uint64_t max,
                     struct q_run *run) REQUIRES(q->lock);
/* The kind of an entry, and the file offset it has. -EUCLEAN: nonsense. */
MUST_CHECK int q_entry_kind(const struct qcow2 *q, uint64_t entry,
                            enum q_kind *kind, uint64_t *off);
/* Where a compressed cluster's bytes are, and at most how many. */
void q_packed_range(const struct qcow2 *q, uint64_t entry, uint64_t *off,
                    uint64_t *len);
/* Make sure that there is an L2 table of the active disk's own. */
MUST_CHECK int q_l2_own(struct qcow2 *q, uint64_t cluster) REQUIRES(q->lock);
/* Guest clusters up to the end of the slice that `cluster`'s entry is in. */
uint64_t q_l2_in_slice(const struct qcow2 *q, uint64_t cluster);
MUST_CHECK int q_l2_get(struct qcow2 *q, uint64_t cluster, uint64_t *entry)
    REQUIRES(q->lock);
/* Change an entry; the table must be the disk's own. */
MUST_CHECK int q_l2_set(struct qcow2 *q, uint64_t cluster, uint64_t entry)
    REQUIRES(q->lock);
void q_l1_set(struct qcow2 *q, uint64_t i, uint64_t entry) REQUIRES(q->lock);

/* -- qcow2_flush.c -------------------------------------------------------- */

/* A request's bracket; begin waits while the image is frozen. */
unsigned q_begin(struct qcow2 *q) REQUIRES(q->lock);
void q_end(struct qcow2 *q, unsigned epoch) REQUIRES(q->lock);
/* Before a change that makes an L2 slice and an L1 sector dirty: if there are
 * too many, write them, for which the lock may be dropped. */
MUST_CHECK int q_make_room(struct qcow2 *q) REQUIRES(q->lock);
/* At the head of every request that writes: invariants 9 and 10, and not too
 * many clusters may wait to be freed. */
MUST_CHECK int q_before_change(struct qcow2 *q) REQUIRES(q->lock);
/* Everything that was written before is stable. */
MUST_CHECK int q_flush(struct qcow2 *q) REQUIRES(q->lock);
/* why: see hostfile_ops.datasync. */
MUST_CHECK int q_sync(struct qcow2 *q, const char *why);
/* Any write that is not the guest's data. */
MUST_CHECK int q_write_meta(struct qcow2 *q, uint64_t off, const void *buf,
                            uint64_t len);
/* Nothing is in flight, no commit runs, everything is stable. */
MUST_CHECK int q_freeze(struct qcow2 *q) REQUIRES(q->lock);
void q_thaw(struct qcow2 *q) REQUIRES(q->lock);
/* A flush by the one who has frozen the image. */
MUST_CHECK int q_flush_frozen(struct qcow2 *q) REQUIRES(q->lock);

/* -- qcow2_io.c, qcow2_zero.c, qcow2_compress.c --------------------------- */

int q_readv(struct blk *b, uint64_t off, const struct iovec *iov, int n);
/* Whether an allocating write works on any of these guest clusters. */
bool q_is_busy(const struct qcow2 *q, uint64_t first, uint64_t n)
    REQUIRES(q->lock);
int q_readv_cached(struct blk *b, uint64_t off, const struct iovec *iov, int n);
int q_map_extent(struct blk *b, uint64_t off, const struct iovec *iov, int n,
                 bool write, struct blk_extent *e);
void q_unmap_extent(struct blk *b, const struct blk_extent *e, bool written);
int q_writev(struct blk *b, uint64_t off, const struct iovec *iov, int n,
             unsigned flags);
int q_zero(struct blk *b, uint64_t off, uint64_t len, unsigned flags);
int q_discard(struct blk *b, uint64_t off, uint64_t len);
/* Wait until no allocating write is at work on these guest clusters and there
 * is room for a change of their entries. The lock may have been dropped before,
 * but not after that. */
MUST_CHECK int q_ready(struct qcow2 *q, uint64_t first, uint64_t n)
    REQUIRES(q->lock);
void q_decoded_forget(struct qcow2 *q);
MUST_CHECK int q_zero_tail(struct qcow2 *q);
MUST_CHECK int q_zero_beyond(struct qcow2 *q, uint64_t from, uint64_t to)
    REQUIRES(q->lock);
/* Bytes of the disk as a run says; within it; no lock held. */
MUST_CHECK int q_read_run(struct qcow2 *q, const struct q_run *run,
                          uint64_t cluster, uint64_t off,
                          const struct iovec *iov, int n, uint64_t skip,
                          uint64_t len);
MUST_CHECK int q_read_packed(struct qcow2 *q, uint64_t entry, uint64_t at,
                             const struct iovec *iov, int n, uint64_t skip,
                             uint64_t len);
/* One cluster from src[src_len] into dst[dst_len]; -EIO if it does not decode
 * to that. */
MUST_CHECK int q_decode(bool zstd, const uint8_t *src, uint64_t src_len,
                        uint8_t *dst, uint64_t dst_len);

/* -- qcow2_snapshot.c, qcow2_resize.c ------------------------------------- */

MUST_CHECK int q_snaps_load(struct qcow2 *q, struct err *err);
void q_snaps_free(struct q_snap *list, uint32_t n);
void q_snap_free(struct q_snap *s); /* what it points to */
MUST_CHECK int q_snap_copy(struct qcow2_snap *out, const struct qcow2_snap *s);
struct q_snap *q_snap_find(struct qcow2 *q, const char *id);
/* Write a table to new clusters; 0 entries: no table, off 0. */
MUST_CHECK int q_snaps_write(struct qcow2 *q, const struct q_snap *list,
                             uint32_t n, uint64_t *off, uint64_t *bytes)
    REQUIRES(q->lock);
int q_resize(struct blk *b, uint64_t size, struct err *err);
/* Write an L1 table of `size` entries to new clusters; synced by the caller. */
MUST_CHECK int q_l1_write_new(struct qcow2 *q, const uint64_t *l1,
                              uint32_t size, uint64_t *off) REQUIRES(q->lock);
uint64_t q_l1_entries(const struct qcow2 *q, uint64_t disk_size);
/* Let go of what the active L1 table has beyond the disk: QEMU leaves the state
 * of a snapshot there that it has restored. The image is frozen. */
MUST_CHECK int q_drop_beyond(struct qcow2 *q) REQUIRES(q->lock);

/* -- qcow2_state.c -------------------------------------------------------- */

/* Where the state area of a snapshot with that disk begins, as if on its disk;
 * and how many bytes its L1 table reaches from there. */
uint64_t q_state_start(const struct qcow2 *q, uint64_t disk_size);
uint64_t q_state_room(const struct qcow2 *q, const struct q_snap *s);
/* Entries of an L1 table for that disk and the new state. -EINVAL: its pieces
 * are in no order; -EFBIG. */
MUST_CHECK int q_state_size(const struct qcow2 *q,
                            const struct qcow2_snap_new *s, uint64_t disk_size,
                            uint32_t *l1_size);
/* Write the state to new clusters, its entries to l1[l1_size]; synced by the
 * caller, who counts anew if this fails. */
MUST_CHECK int q_state_write_new(struct qcow2 *q,
                                 const struct qcow2_snap_new *s,
                                 uint64_t disk_size, uint64_t *l1,
                                 uint32_t l1_size) REQUIRES(q->lock);

/* -- qcow2_check.c ------------------------------------------ */

/* Lower what is too high and set the flags that are wrong; refuses what is too
 * low. The image has just been opened. */
MUST_CHECK int q_recover(struct qcow2 *q, struct err *err);
/* The same for an image in use, which is frozen and flushed. */
MUST_CHECK int q_recount(struct qcow2 *q, struct err *err) REQUIRES(q->lock);
/* qcow2_rebuild.c: write new refcounts, from all the other references. *done is
 * clear, and nothing has changed, if those are damaged, too. */
MUST_CHECK int q_refcounts_rebuild(struct qcow2 *q, bool *done)
    REQUIRES(q->lock);
/* Invariant 8: set it, or clear it, and make that stable. Version 3 only. */
MUST_CHECK int q_set_dirty(struct qcow2 *q, bool on) REQUIRES(q->lock);

/* -- backing.c ------------------------------------------------------------ */

struct q_chain {
    unsigned depth;
    uint64_t dev[Q_MAX_CHAIN], ino[Q_MAX_CHAIN];
};
MUST_CHECK int q_backing_open(struct qcow2 *q, struct q_chain *chain,
                              struct err *err);
MUST_CHECK int q_open_in_chain(const char *path, int fd,
                               const struct qcow2_opts *opts,
                               struct q_chain *chain, struct qcow2 **out,
                               struct err *err);

#endif
