#ifndef HUSK_TESTS_HOSTILE_IMAGE_H
#define HUSK_TESTS_HOSTILE_IMAGE_H

#include <stdint.h>

/*
 * A small sound qcow2 image, laid out by hand, for others to damage. Clusters
 * of 4 KiB, counts of 16 bits:
 *
 *   0 header   1 refcount table   2 refcount block   3 L1   4, 5 L2
 *   6..9 data   10 snapshot table   11 the snapshot's L1   12 compressed data
 */
enum {
    CL = 4096,
    IMG_CLUSTERS = 13,
    IMG_REFTABLE = 1,
    IMG_REFBLOCK,
    IMG_L1,
    IMG_L2,
    IMG_L2B,
    IMG_DATA,
    IMG_SNAPS = 10,
    IMG_SNAP_L1,
    IMG_PACKED,
    IMG_ROOM = IMG_CLUSTERS * CL,
    /* Where husk's header extension and the backing name would be. */
    IMG_EXT = 104
};

struct image {
    uint8_t d[IMG_ROOM];
    uint64_t size; /* of the file; more than IMG_ROOM: a hole */
};

void image_make(struct image *m);

void put16(struct image *m, uint64_t off, uint64_t v);
void put32(struct image *m, uint64_t off, uint64_t v);
void put64(struct image *m, uint64_t off, uint64_t v);
/* The refcount of a cluster. */
void put_count(struct image *m, unsigned cluster, uint64_t v);
/* The name of a backing file; NULL format: none is said. */
void put_backing(struct image *m, const char *name, const char *format);

/* What is wrong with an image, and whether opening it must fail. */
struct damage {
    const char *name;
    /* a: the case of a family. */
    void (*apply)(struct image *m, unsigned a);
    unsigned cases;
    enum {
        MAY_OPEN, /* what is wrong shows later, or never */
        MUST_FAIL
    } verdict;
};

extern const struct damage damages[];
extern const unsigned nr_damages;

#endif
