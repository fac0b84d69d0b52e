#ifndef HUSK_BLOCK_QCOW2_WALK_H
#define HUSK_BLOCK_QCOW2_WALK_H

#include "block/qcow2_int.h"

/*
 * All references of an image, counted: what refcounts should be.
 *
 * Memory is bounded: references to one window of the file's clusters are
 * counted at a time, and all tables are walked for each window. One window is
 * 8 Mi clusters, 512 GiB of a file with clusters of 64 KiB, so there is hardly
 * ever a second one.
 *
 * The image is frozen and nothing is dirty; tables are read from the file.
 */
enum { Q_WINDOW = 8 << 20, Q_MAX_WINDOWS = 4096 };

/* Beside a count: what kind of table the cluster is. */
#define Q_COUNT_META BIT32(31) /* has one reference, and is nothing else */
#define Q_COUNT_L2   BIT32(30)
#define Q_COUNT_MASK (BIT32(30) - 1)

struct q_walk {
    struct qcow2 *q;
    uint64_t file_clusters; /* of the file; the last one may be a part */
    uint64_t first, n;      /* the window */
    uint32_t *count;        /* of the window's clusters */
    uint8_t *seen;          /* a bit for each cluster: an L2 table of this L1 */
    uint64_t seen_clusters;
    uint8_t *table;        /* one cluster: an L2 table or a refcount block */
    struct qcow2_check *c; /* findings go there */
    bool report; /* references are looked at critically: the first window */
    bool again;  /* not the first time that all windows are counted */
    qcow2_progress *progress;
    void *progress_arg;
    uint64_t steps, all_steps;
};

/* count: whether q_walk_count will be called, which needs the memory. */
MUST_CHECK int q_walk_init(struct q_walk *w, struct qcow2 *q,
                           struct qcow2_check *c, bool count);
void q_walk_fini(struct q_walk *w);
/* How many windows there are. */
uint64_t q_walk_windows(const struct q_walk *w);
/* Count all references to clusters of window i. */
MUST_CHECK int q_walk_count(struct q_walk *w, uint64_t i);
/* References to a cluster; 0 beyond the file; must be of this window. */
uint64_t q_walk_refs(const struct q_walk *w, uint64_t cluster);
bool q_walk_has(const struct q_walk *w, uint64_t cluster);

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
