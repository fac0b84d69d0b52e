#ifndef HUSK_TESTS_POWERCUT_QIMG_H
#define HUSK_TESTS_POWERCUT_QIMG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A qcow2 image in memory, read as docs/interop/qcow2.txt of QEMU describes it
 * and by nothing of husk's own: the second opinion of the power-cut and the
 * differential test. Nothing in the image is trusted.
 */
enum { QIMG_SNAPSHOTS = 64, QIMG_EXTENSIONS = 32 };

enum qimg_incompatible {
    QIMG_DIRTY = 1,
    QIMG_CORRUPT = 2,
    QIMG_DATA_FILE = 4,
    QIMG_COMPRESSION = 8,
    QIMG_EXTENDED_L2 = 16
};

/* What one L1 table shows: the active disk or a snapshot's. */
struct qview {
    uint64_t l1_offset, disk_size, state_size;
    uint32_t l1_size; /* entries */
};

struct qsnapshot {
    struct qview view;
    char id[64], name[128]; /* cut if longer */
    uint32_t extra_size;
    uint64_t extra_offset; /* in the file */
};

struct qextension {
    uint32_t magic, len;
    uint64_t off; /* of its data, in the file */
};

struct qimg {
    const uint8_t *data;
    uint64_t size;
    uint32_t version, cluster_bits, refcount_order, header_length;
    uint32_t refcount_table_clusters, backing_size;
    uint64_t cluster, incompatible, compatible, autoclear;
    uint64_t refcount_table, snapshot_table, snapshot_bytes, backing_offset;
    uint8_t compression;
    struct qview active;
    unsigned nr_snapshots, nr_extensions;
    struct qsnapshot snapshots[QIMG_SNAPSHOTS];
    struct qextension extensions[QIMG_EXTENSIONS];
};

/* Where a guest cluster lies. */
enum qkind {
    QMAP_ABSENT, /* the backing file's, or zeroes */
    QMAP_ZERO,
    QMAP_DATA,
    QMAP_PACKED, /* compressed */
    QMAP_BAD     /* outside the file, reserved bits ... */
};

struct qmap {
    enum qkind kind;
    uint64_t off; /* in the file; of QMAP_ZERO 0 if nothing is kept for it */
    uint64_t len; /* QMAP_PACKED: bytes at most */
    bool copied;
    uint64_t subclusters; /* the bitmap of an extended entry */
};

/* NULL, or what is wrong with the head. */
const char *qimg_open(struct qimg *q, const void *data, uint64_t size);

bool qimg_range_ok(const struct qimg *q, uint64_t off, uint64_t len);
unsigned qimg_l2_entry_bytes(const struct qimg *q);
uint64_t qimg_l2_entries(const struct qimg *q);
/* Take an entry apart; e points to it (8 or 16 bytes). */
struct qmap qimg_entry(const struct qimg *q, const uint8_t *e);
/* The guest cluster with this number in a view. */
struct qmap qimg_map(const struct qimg *q, const struct qview *v,
                     uint64_t number);
/*
 * A whole guest cluster, 1 << cluster_bits bytes; what is absent is zeroes, or
 * what is in buf already if keep_absent. False if it cannot be read.
 */
bool qimg_read(const struct qimg *q, const struct qview *v, uint64_t number,
               uint8_t *buf, bool keep_absent);
const struct qextension *qimg_extension(const struct qimg *q, uint32_t magic);
uint64_t qimg_refcount(const struct qimg *q, uint64_t cluster_number);

#endif
