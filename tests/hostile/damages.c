#include <string.h>

#include "image.h"

/* Values that have broken programs before. */
static const uint64_t wild[] = {
    0,           1,          511,        4095,
    4097,        0x7fffffff, 0x80000000, 0xffffffff,
    0x100000000, 1ULL << 40, 1ULL << 55, (1ULL << 56) - CL,
    1ULL << 62,  1ULL << 63, ~0ULL,      ~0ULL - CL + 1};

enum { WILD = sizeof(wild) / sizeof(wild[0]) };

/* -- The header ---------------------------------------------------------- */

static void magic(struct image *m, unsigned a)
{
    put32(m, 0, wild[a]);
}

static void version(struct image *m, unsigned a)
{
    static const uint32_t v[] = {0, 1, 4, 0xffffffff};

    put32(m, 4, v[a]);
}

static void cluster_bits(struct image *m, unsigned a)
{
    static const uint32_t v[] = {0, 8, 22, 31, 32, 63, 64, 255, 0xffffffff};

    put32(m, 20, v[a]);
}

/* Clusters of other sizes than the tables were made for. */
static void other_cluster_bits(struct image *m, unsigned a)
{
    static const uint32_t v[] = {9, 10, 11, 13, 16, 21};

    put32(m, 20, v[a]);
}

static void disk_size(struct image *m, unsigned a)
{
    static const uint64_t v[] = {(4 << 20) + 1, 1ULL << 40, 1ULL << 62,
                                 1ULL << 63, ~0ULL};

    put64(m, 24, v[a]);
}

static void encrypted(struct image *m, unsigned a)
{
    put32(m, 32, a + 1);
}

static void l1_size(struct image *m, unsigned a)
{
    static const uint32_t v[] = {0,          1,          1 << 22,
                                 0x1fffffff, 0x20000000, 0xffffffff};

    put32(m, 36, v[a]);
}

static void l1_offset(struct image *m, unsigned a)
{
    put64(m, 40, wild[a]);
}

static void reftable_offset(struct image *m, unsigned a)
{
    put64(m, 48, wild[a]);
}

static void reftable_size(struct image *m, unsigned a)
{
    static const uint32_t v[] = {0, 14, 2048, 2049, 0x100000, 0xffffffff};

    put32(m, 56, v[a]);
}

static void nr_snapshots(struct image *m, unsigned a)
{
    static const uint32_t v[] = {2, 100, 65536, 65537, 0x7fffffff, 0xffffffff};

    put32(m, 60, v[a]);
}

static void snapshots_offset(struct image *m, unsigned a)
{
    put64(m, 64, wild[a]);
}

static void incompatible(struct image *m, unsigned a)
{
    static const uint64_t v[] = {2, 4, 8, 1 << 4, 1 << 5, 1ULL << 63, ~0ULL};

    put64(m, 72, v[a]);
}

static void refcount_order(struct image *m, unsigned a)
{
    static const uint32_t v[] = {7, 8, 31, 32, 63, 64, 0xffffffff};

    put32(m, 96, v[a]);
}

static void other_refcount_order(struct image *m, unsigned a)
{
    static const uint32_t v[] = {0, 1, 2, 3, 5, 6};

    put32(m, 96, v[a]);
}

static void header_length(struct image *m, unsigned a)
{
    static const uint32_t v[] = {0,   8,    72,         103,
                                 105, 4104, 0x7fffffff, 0xfffffff8};

    put32(m, 100, v[a]);
}

static void extension_length(struct image *m, unsigned a)
{
    static const uint32_t v[] = {3985, 4096, 0x7fffffff, 0xfffffff8,
                                 0xffffffff};

    put32(m, IMG_EXT, 0x12345678);
    put32(m, IMG_EXT + 4, v[a]);
}

static void many_extensions(struct image *m, unsigned a)
{
    uint64_t at;

    (void)a;
    for (at = IMG_EXT; at + 8 <= CL; at += 8)
        put32(m, at, 0x12345678);
}

/* A table of feature names without ends, and a feature nobody knows. */
static void feature_names(struct image *m, unsigned a)
{
    (void)a;
    put64(m, 72, 1ULL << 17);
    put32(m, IMG_EXT, 0x6803f857);
    put32(m, IMG_EXT + 4, 48 * 3 + 5);
    memset(m->d + IMG_EXT + 8, 0x1b, 48 * 4);
    m->d[IMG_EXT + 8] = 0;
    m->d[IMG_EXT + 9] = 17;
}

/* -- Backing files ------------------------------------------------------- */

static void backing_place(struct image *m, unsigned a)
{
    put64(m, 8, wild[a] ? wild[a] : CL - 1);
    put32(m, 16, 8);
}

static void backing_length(struct image *m, unsigned a)
{
    static const uint32_t v[] = {0, 1024, 4096, 0x7fffffff, 0xffffffff};

    put_backing(m, "other.qcow2", "qcow2");
    put32(m, 16, v[a]);
}

static void backing_name(struct image *m, unsigned a)
{
    static const char *const names[] = {"self.qcow2",
                                        "json:{\"driver\":\"file\"}",
                                        "nbd://host/export",
                                        "/dev/zero",
                                        "/dev/stdin",
                                        "missing",
                                        ".",
                                        "fifo",
                                        "a\nb",
                                        "../../../../",
                                        "ssh://x/y",
                                        "/dev/mem"};
    static const char *const formats[] = {"qcow2", "raw", "vmdk", "", NULL};

    put_backing(m, names[a % 12], formats[a / 12]);
}

/* -- Tables
 * --------------------------------------------------------------------- */

static void l1_entry(struct image *m, unsigned a)
{
    put64(m, IMG_L1 * CL, wild[a]);
}

/* A table that is something else, too. */
static void l1_overlap(struct image *m, unsigned a)
{
    put64(m, IMG_L1 * CL + 8, 1ULL << 63 | (uint64_t)a * CL);
}

static void l2_entry(struct image *m, unsigned a)
{
    put64(m, IMG_L2B * CL, wild[a]);
}

static void l2_overlap(struct image *m, unsigned a)
{
    put64(m, IMG_L2B * CL, 1ULL << 63 | (uint64_t)a * CL);
}

/* All of the disk is one cluster. */
static void l2_all_one(struct image *m, unsigned a)
{
    unsigned i;

    for (i = 0; i < 512; i++)
        put64(m, (IMG_L2 + a) * CL + i * 8, 1ULL << 63 | IMG_DATA * CL);
}

static void packed_entry(struct image *m, unsigned a)
{
    put64(m, IMG_L2B * CL + (600 - 512) * 8, 1ULL << 62 | (wild[a] >> 2));
}

static void packed_rubbish(struct image *m, unsigned a)
{
    memset(m->d + IMG_PACKED * CL, (int)(a * 0x55), CL);
}

/* -- Counts
 * ---------------------------------------------------------------------- */

static void count_zero(struct image *m, unsigned a)
{
    put_count(m, a, 0);
}

static void count_high(struct image *m, unsigned a)
{
    put_count(m, a, 0xffff);
}

static void all_counts(struct image *m, unsigned a)
{
    memset(m->d + IMG_REFBLOCK * CL, a ? 0xff : 0, CL);
}

static void reftable_entry(struct image *m, unsigned a)
{
    put64(m, IMG_REFTABLE * CL, wild[a]);
}

static void reftable_overlap(struct image *m, unsigned a)
{
    put64(m, IMG_REFTABLE * CL + 8, (uint64_t)a * CL);
}

static void reftable_same(struct image *m, unsigned a)
{
    unsigned i;

    for (i = 0; i < 512; i++)
        put64(m, IMG_REFTABLE * CL + i * 8, (IMG_REFBLOCK + a) * CL);
}

/* -- Snapshots
 * --------------------------------------------------------------------- */

static void snapshot_field(struct image *m, unsigned a)
{
    static const uint8_t at[] = {0, 8, 12, 14, 32, 36, 40, 48};
    static const uint8_t len[] = {8, 4, 2, 2, 4, 4, 8, 8};
    uint64_t off = IMG_SNAPS * CL + at[a % 8], v = wild[1 + a / 8];

    switch (len[a % 8]) {
    case 2: put16(m, off, v); break;
    case 4: put32(m, off, v); break;
    default: put64(m, off, v); break;
    }
}

static void snapshot_overlap(struct image *m, unsigned a)
{
    put64(m, IMG_SNAPS * CL, (uint64_t)a * CL);
}

static void snapshot_table_overlap(struct image *m, unsigned a)
{
    put64(m, 64, (uint64_t)a * CL);
}

/* A state area: its L2 table anywhere, and its entries. */
static void state_table(struct image *m, unsigned a)
{
    put32(m, IMG_SNAPS * CL + 8, 3);
    put64(m, IMG_SNAP_L1 * CL + 16, a < WILD ? wild[a] : (a - WILD) * CL);
}

static void state_entry(struct image *m, unsigned a)
{
    unsigned i;

    state_table(m, WILD + IMG_DATA + 3);
    for (i = 0; i < 512; i++)
        put64(m, (IMG_DATA + 3) * CL + i * 8,
              a < WILD ? wild[a] : (a - WILD) * CL);
}

/* -- The file
 * ------------------------------------------------------------------------ */

static void cut(struct image *m, unsigned a)
{
    static const uint32_t v[] = {
        0,      1,      71,     72,         103,     104,
        511,    CL,     CL + 1, 2 * CL,     3 * CL,  3 * CL + 8,
        4 * CL, 5 * CL, 6 * CL, 6 * CL + 1, 10 * CL, 11 * CL - 1};

    m->size = v[a];
}

/* Sparse files as long as file systems let them be. */
static void long_file(struct image *m, unsigned a)
{
    static const unsigned bits[] = {32, 40, 43};

    m->size = 1ULL << bits[a];
}

/* The same, and its tables, too: a walk over all of it takes for ever. */
static void long_tables(struct image *m, unsigned a)
{
    long_file(m, a);
    put32(m, 56, 2048);     /* 8 MiB of refcount table */
    put64(m, 48, 16 << 20); /* in a hole */
    put32(m, 36, 1 << 22);  /* 32 MiB of L1 */
    put64(m, 40, 64 << 20);
    put64(m, 24, 1ULL << 42);
}

static void long_snapshots(struct image *m, unsigned a)
{
    long_file(m, a);
    put32(m, 60, 65535);
    put64(m, 64, 16 << 20); /* entries of zeroes */
}

#define FAMILY(f, n, v)                                                        \
    {                                                                          \
#        f, f, (n), (v)                                                        \
    }

const struct damage damages[] = {
    FAMILY(magic, WILD, MUST_FAIL),
    FAMILY(version, 4, MUST_FAIL),
    FAMILY(cluster_bits, 9, MUST_FAIL),
    FAMILY(other_cluster_bits, 6, MAY_OPEN),
    FAMILY(disk_size, 5, MUST_FAIL),
    FAMILY(encrypted, 3, MUST_FAIL),
    FAMILY(l1_size, 6, MAY_OPEN),
    FAMILY(l1_offset, WILD, MAY_OPEN),
    FAMILY(reftable_offset, WILD, MAY_OPEN),
    FAMILY(reftable_size, 6, MAY_OPEN),
    FAMILY(nr_snapshots, 6, MAY_OPEN),
    FAMILY(snapshots_offset, WILD, MAY_OPEN),
    FAMILY(incompatible, 7, MAY_OPEN),
    FAMILY(refcount_order, 7, MUST_FAIL),
    FAMILY(other_refcount_order, 6, MAY_OPEN),
    FAMILY(header_length, 8, MUST_FAIL),
    FAMILY(extension_length, 5, MUST_FAIL),
    FAMILY(many_extensions, 1, MAY_OPEN),
    FAMILY(feature_names, 1, MUST_FAIL),
    FAMILY(backing_place, WILD, MAY_OPEN),
    FAMILY(backing_length, 5, MAY_OPEN),
    FAMILY(backing_name, 60, MUST_FAIL),
    FAMILY(l1_entry, WILD, MAY_OPEN),
    FAMILY(l1_overlap, IMG_CLUSTERS, MAY_OPEN),
    FAMILY(l2_entry, WILD, MAY_OPEN),
    FAMILY(l2_overlap, IMG_CLUSTERS, MAY_OPEN),
    FAMILY(l2_all_one, 2, MAY_OPEN),
    FAMILY(packed_entry, WILD, MAY_OPEN),
    FAMILY(packed_rubbish, 4, MAY_OPEN),
    FAMILY(count_zero, IMG_CLUSTERS, MAY_OPEN),
    FAMILY(count_high, IMG_CLUSTERS, MAY_OPEN),
    FAMILY(all_counts, 2, MAY_OPEN),
    FAMILY(reftable_entry, WILD, MAY_OPEN),
    FAMILY(reftable_overlap, IMG_CLUSTERS, MAY_OPEN),
    FAMILY(reftable_same, 3, MAY_OPEN),
    FAMILY(snapshot_field, 8 * (WILD - 1), MAY_OPEN),
    FAMILY(snapshot_overlap, IMG_CLUSTERS, MAY_OPEN),
    FAMILY(state_table, WILD + IMG_CLUSTERS, MAY_OPEN),
    FAMILY(state_entry, WILD + IMG_CLUSTERS, MAY_OPEN),
    FAMILY(snapshot_table_overlap, IMG_CLUSTERS, MAY_OPEN),
    FAMILY(cut, 18, MAY_OPEN),
    FAMILY(long_file, 3, MAY_OPEN),
    FAMILY(long_tables, 3, MAY_OPEN),
    FAMILY(long_snapshots, 3, MAY_OPEN),
};

const unsigned nr_damages = sizeof(damages) / sizeof(damages[0]);
