#ifndef HUSK_BLOCK_QCOW2_WALK_H
#define HUSK_BLOCK_QCOW2_WALK_H

#include "block/qcow2_int.h"

/*
 * All references of an image, counted: what refcounts should be.
 *
 * Memory is bounded: counts are kept in chunks, which are made where something
 * is. If they become too many, those at the end of the file are given up; the
 * *window* of clusters that are counted ends there, and all tables are walked
 * again for the next one. A window has 6 Mi clusters or more, 384 GiB of a file
 * with clusters of 64 KiB, so there is hardly ever a second one.
 *
 * The image is frozen and nothing is dirty; tables are read from the file.
 */
enum {
    Q_CHUNK = 4096,
    Q_MAX_CHUNKS = 1536,        /* of 16 KiB at a time */
    Q_MAX_ALL_CHUNKS = 1 << 20, /* of the file */
    Q_MAX_WINDOWS = 64
};

/* Beside a count: what kind of table the cluster is. */
#define Q_COUNT_META BIT32(31) /* has one reference, and is nothing else */
#define Q_COUNT_L2   BIT32(30)
#define Q_COUNT_MASK (BIT32(30) - 1)

struct q_walk {
    struct qcow2 *q;
    uint64_t file_clusters; /* of the file; the last one may be a part */
    uint64_t first, end;    /* the window */
    uint32_t **chunk;       /* of all the file's */
    uint64_t nr_all_chunks, nr_chunks; /* of the file; in memory */
    uint8_t *seen; /* a bit for each cluster: an L2 table of this L1 table */
    uint64_t seen_clusters;
    uint64_t seen_first, seen_end; /* no bit is set outside of these */
    uint8_t *table;                /* one cluster: an L2 table */
    struct qcow2_check *c;         /* findings go there */
    uint64_t max_bad;              /* so many damages end the walk: -EUCLEAN */
    bool report; /* references are looked at critically: the first window */
    bool again;  /* not the first time that all windows are counted */
    bool no_memory;
    bool no_refcounts; /* those of the refcounts themselves do not count */
    qcow2_progress *progress;
    void *progress_arg;
    uint64_t steps, all_steps;
};

/* count: whether q_walk_count will be called, which needs the memory. -EFBIG:
 * the file is too long for what can be. */
MUST_CHECK int q_walk_init(struct q_walk *w, struct qcow2 *q,
                           struct qcow2_check *c, bool count);
void q_walk_fini(struct q_walk *w);
/* Count all references to clusters from `first` on; sets the window. */
MUST_CHECK int q_walk_count(struct q_walk *w, uint64_t first);
/* References to a cluster; 0 if it is not in the window. */
uint64_t q_walk_refs(const struct q_walk *w, uint64_t cluster);
bool q_walk_has(const struct q_walk *w, uint64_t cluster);
/* The first cluster at or after `at`, below end, that has references; end if
 * there is none. */
uint64_t q_walk_next(const struct q_walk *w, uint64_t at, uint64_t end);
/* A cluster has come to be a table of its own. */
void q_walk_add_table(struct q_walk *w, uint64_t cluster);

/*
 * Call visit for every non-zero entry of the tree under an L1 table of the
 * file; those of L1 itself have table 0. A table that occurs twice is visited
 * once. visit may be called for L2 entries whose cluster is outside the file.
 */
typedef int q_visit(void *arg, uint64_t table, uint64_t index, uint64_t entry);
MUST_CHECK int q_walk_tree(struct q_walk *w, uint64_t l1_off, uint32_t l1_size,
                           q_visit *visit, void *arg);

/* The clusters that an entry of an L2 table refers to; n is 0 for none. */
void q_entry_clusters(const struct qcow2 *q, uint64_t entry, uint64_t *first,
                      uint64_t *n);

#endif
